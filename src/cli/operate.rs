//! What drain, move, maintenance and cleanup share: ask, then wait until it has taken effect.
//!
//! Progress goes to stderr, one line whenever it changes. Ctrl-C ends the waiting, not the operation.

use super::error::{CliError, Exit, Kind};
use super::{Context, plan, render};
use crate::api::Client;
use crate::api::client::ClientError;
use crate::api::types::{OperateRequest, Operation, OperationView, Progress, StatusView, WaitFor};
use std::time::{Duration, Instant};

/// How often the status is looked at: it is answered from memory over a local socket.
pub const POLL: Duration = Duration::from_millis(200);

/// Why, for how long, and whether at all.
#[derive(Debug, clap::Args)]
pub struct Wish {
    /// Why, for those who look at the status
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub reason: String,
    /// When it ends by itself: `10m`, `18:30`, `2026-05-01T12:00`
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Show what would follow, do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// How long to wait for the effect.
#[derive(Debug, clap::Args)]
pub struct Waiting {
    /// How long to wait for the effect before exiting with 124
    #[arg(long, default_value = "10m", value_parser = render::parse_duration, value_name = "TIME")]
    pub timeout: Duration,
    /// Return as soon as it is committed
    #[arg(long)]
    pub no_wait: bool,
}

/// Proposes an operation and waits for it.
pub async fn operate(
    context: &Context,
    operation: Operation,
    wish: &Wish,
    force: bool,
    waiting: Option<&Waiting>,
) -> Result<Exit, CliError> {
    let client = context.client()?;
    let until = wish.until.as_deref().map(|text| render::parse_until(text, &jiff::Zoned::now())).transpose();
    let request = OperateRequest {
        operation,
        reason: wish.reason.clone(),
        expires_ms: until.map_err(CliError::usage)?,
        dry_run: wish.dry_run,
        force,
    };
    let answer: OperationView = client.post("/v1/operate", &request).await?;
    for stop in &answer.stops {
        render::say(&format!("{}: {stop}", render::warn("warning")));
    }
    if let Some(planned) = &answer.plan {
        if planned.actions.is_empty() {
            render::print("nothing would be started, stopped or moved\n")?;
        }
        if !planned.is_empty() {
            render::print(&plan::text(planned, super::changes::Detail::Concise))?;
        }
        return Ok(Exit::Ok);
    }
    render::say(&answer.summary);
    match waiting {
        Some(waiting) if !waiting.no_wait => {
            wait_for(&client, &answer.wait_for, answer.index.unwrap_or(0), waiting.timeout).await
        }
        Some(_) | None => Ok(Exit::Ok),
    }
}

/// Waits until the effect is seen in a status that has applied `index`.
pub async fn wait_for(client: &Client, what: &WaitFor, index: u64, timeout: Duration) -> Result<Exit, CliError> {
    let deadline = Instant::now() + timeout;
    let mut said = String::new();
    loop {
        let status = poll(client).await?;
        let progress = match status.index >= index {
            true => what.progress(&status),
            false => Progress::Missing("this node has not applied it yet".to_owned()),
        };
        let missing = match progress {
            Progress::Reached => return Ok(Exit::Ok),
            Progress::Stuck(why) => {
                return Err(CliError::new(Kind::Failed, why).hint("`hafen status` shows all of it"));
            }
            Progress::Missing(missing) => missing,
        };
        if missing != said {
            render::say(&render::faint(&missing));
            said.clone_from(&missing);
        }
        if Instant::now() >= deadline {
            return Err(timed_out(timeout, &missing));
        }
        tokio::time::sleep(POLL).await;
    }
}

pub fn timed_out(timeout: Duration, missing: &str) -> CliError {
    let waited = crate::model::duration::format(timeout);
    CliError::new(Kind::TimedOut, format!("not done after {waited}: {missing}"))
        .hint("it goes on by itself; `hafen status -w` shows how far it is")
}

async fn poll(client: &Client) -> Result<StatusView, ClientError> {
    client.get("/v1/status", &[]).await
}
