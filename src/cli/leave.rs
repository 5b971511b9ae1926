//! `hafen leave`, and the waiting that `hafen agent --stop` shares with it.

use super::error::{CliError, Exit, Kind};
use super::operate::POLL;
use super::{Context, render};
use crate::api::client::ClientError;
use crate::api::types::{Progress, ShutdownKind, ShutdownRequest, StatusView, WaitFor};
use std::time::{Duration, Instant};

/// Take this node out of the cluster, for good
///
/// Remove its Node document from git first, and push. This drains it, stops the daemon and gives up its vote. What the
/// node knew is put aside in a folder of its data directory; `hafen join` makes the machine a node again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen leave
  hafen leave --timeout 30m")]
pub struct Args {
    /// How long to wait for it before exiting with 124
    #[arg(long, default_value = "10m", value_parser = render::parse_duration, value_name = "TIME")]
    timeout: Duration,
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    shut_down(context, ShutdownKind::Leave, args.timeout).await
}

/// Asks the daemon to end, and waits until it is gone.
pub async fn shut_down(context: &Context, what: ShutdownKind, timeout: Duration) -> Result<Exit, CliError> {
    let client = context.client()?;
    let () = client.post("/v1/shutdown", &ShutdownRequest { what }).await?;
    let deadline = Instant::now() + timeout;
    let mut said = String::new();
    loop {
        let missing = match client.get::<StatusView>("/v1/status", &[]).await {
            Err(ClientError::Unreachable { .. } | ClientError::Broken(_)) => return Ok(Exit::Ok),
            Err(ClientError::TimedOut { .. }) => "the daemon does not answer".to_owned(),
            Err(error @ (ClientError::Denied { .. } | ClientError::BadAnswer(_) | ClientError::Refused(_))) => {
                return Err(error.into());
            }
            Ok(status) => match (WaitFor::NodeEmpty { node: status.node.clone() }).progress(&status) {
                Progress::Reached => "everything is stopped here, leaving".to_owned(),
                Progress::Missing(missing) | Progress::Stuck(missing) => missing,
            },
        };
        if missing != said {
            render::say(&render::faint(&missing));
            said.clone_from(&missing);
        }
        if Instant::now() >= deadline {
            let waited = crate::model::duration::format(timeout);
            return Err(CliError::new(Kind::TimedOut, format!("the daemon still runs after {waited}: {missing}")));
        }
        tokio::time::sleep(POLL).await;
    }
}
