//! `hafen hook`: git's hooks of the node's repository.
//!
//! `pre-receive` judges what is pushed, while its objects are still in git's quarantine, and shows findings and plan to
//! the pusher. `proc-receive` proposes it and tells git what became of it; only the daemon moves `main`.
//!
//! A daemon that cannot be reached refuses the push. Words go to stderr, which git shows as `remote: …`.

use super::error::{CliError, Exit};
use super::{Context, diagnostics, plan, render};
use crate::api::types::{CheckView, PushAnswer, PushRequest, PushView};
use crate::api::Client;
use crate::api::client::ClientError;
use crate::manifest::SourceFile;
use crate::model::{Revision, Severity};
use crate::source::Repo;
use crate::source::receive::{self, PushOptions, Report};
use std::path::{Path, PathBuf};

/// Answer git (called by the hooks of the repository, not by people)
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `pre-receive` or `proc-receive`
    name: String,
    /// The daemon's socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let data_dir = match args.socket.as_deref().and_then(Path::parent) {
        Some(folder) => folder.to_owned(),
        None => context.data_dir.clone(),
    };
    match args.name.as_str() {
        "pre-receive" => pre_receive(&data_dir).await,
        "proc-receive" => proc_receive(&data_dir).await,
        other => Err(CliError::usage(format!("no hook `{other}`"))),
    }
}

fn refused(why: impl std::fmt::Display) -> Exit {
    render::say(&format!("push refused: {why}"));
    Exit::No
}

fn not_running(error: &ClientError) -> Exit {
    render::say(&error.to_string());
    refused("the daemon is not running, start it with `systemctl start hafen`")
}

async fn pre_receive(data_dir: &Path) -> Result<Exit, CliError> {
    let updates = match receive::parse_updates(std::io::stdin().lock()) {
        Ok(updates) => updates,
        Err(error) => return Ok(refused(error)),
    };
    let (update, revision) = match receive::check_updates(&updates) {
        Ok(checked) => checked,
        Err(error) => return Ok(refused(error)),
    };
    if let Err(error) = PushOptions::from_env() {
        return Ok(refused(error));
    }
    let repo = match Repo::open_in_hook() {
        Ok(repo) => repo,
        Err(error) => return Ok(refused(error)),
    };
    let request = PushRequest {
        revision: revision.to_string(),
        parent: update.old.as_ref().map(ToString::to_string),
        options: options_from_env(),
        quarantine: repo.quarantine().map(|path| path.display().to_string()),
    };
    let client = match Client::new(data_dir) {
        Ok(client) => client,
        Err(error) => return Ok(refused(error)),
    };
    let check: CheckView = match client.post("/v1/check", &request).await {
        Ok(check) => check,
        Err(error @ (ClientError::Unreachable { .. } | ClientError::Denied { .. })) => return Ok(not_running(&error)),
        Err(error) => return Ok(refused(error)),
    };
    show(&check, &repo, revision);
    if check.has_errors() {
        return Ok(refused("the manifests have errors; nothing was changed"));
    }
    if let Some(why) = &check.refusal {
        return Ok(refused(why));
    }
    Ok(Exit::Ok)
}

fn options_from_env() -> Vec<String> {
    let count = std::env::var("GIT_PUSH_OPTION_COUNT").ok().and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
    (0..count.min(MAX_OPTIONS)).filter_map(|number| std::env::var(format!("GIT_PUSH_OPTION_{number}")).ok()).collect()
}

/// There are four options; more of them are a mistake that was refused before.
const MAX_OPTIONS: usize = 16;

/// Findings with their source lines, then the plan.
fn show(check: &CheckView, repo: &Repo, revision: &Revision) {
    let found: Vec<_> = check.diagnostics.iter().filter(|d| d.severity != Severity::Note).cloned().collect();
    if !found.is_empty() {
        let files = repo.read_files(revision, "", Default::default()).unwrap_or_default();
        let files: Vec<SourceFile> = files.into_iter().map(|(path, bytes)| SourceFile { path, bytes }).collect();
        render::say(&diagnostics::render(diagnostics::Format::Text, &found, &files, false));
    }
    if let Some(view) = &check.plan {
        render::say(&anstream::adapter::strip_str(&plan::text(view)).to_string());
    }
}

async fn proc_receive(data_dir: &Path) -> Result<Exit, CliError> {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let request = match receive::read_request(&mut input, &mut output) {
        Ok(request) => request,
        Err(error) => return Ok(refused(error)),
    };
    let mut reports = Vec::new();
    for update in &request.updates {
        let report = match propose(data_dir, update, &request.options).await {
            Ok(view) => match view.answer {
                PushAnswer::Accepted => Report::Accepted { name: update.name.clone() },
                PushAnswer::Refused | PushAnswer::Unknown => Report::Refused {
                    name: update.name.clone(),
                    reason: view.reason.unwrap_or_else(|| "refused".into()),
                },
            },
            Err(error) => Report::Refused { name: update.name.clone(), reason: error.message },
        };
        reports.push(report);
    }
    receive::write_report(&mut output, &reports)
        .map_err(|error| CliError::usage(format!("git went away before it was told: {error}")))?;
    Ok(Exit::Ok)
}

async fn propose(
    data_dir: &Path,
    update: &receive::RefUpdate,
    options: &[String],
) -> Result<PushView, CliError> {
    let updates = std::slice::from_ref(update);
    let (update, revision) =
        receive::check_updates(updates).map_err(|error| CliError::usage(error.to_string()))?;
    let request = PushRequest {
        revision: revision.to_string(),
        parent: update.old.as_ref().map(ToString::to_string),
        options: options.to_vec(),
        quarantine: None,
    };
    let client = Client::new(data_dir)?;
    Ok(client.post("/v1/push", &request).await?)
}
