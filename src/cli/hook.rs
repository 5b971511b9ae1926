//! `hafen hook`: git's hooks of the node's repository.
//!
//! Input → output: what git says on stdin and in the environment, and the daemon's judgement → words for the pusher on
//! stderr (git shows them as `remote: …`), and git's answer. `pre-receive` only looks: findings, and the plan.
//! `proc-receive` proposes, and answers ok, refused, or that the outcome is unknown.
//!
//! Invariant: an outcome that is not known is never answered as ok, and never as a plain refusal.

use super::error::{CliError, Exit, Kind};
use super::{Context, changes, diagnostics, plan, render};
use crate::api::client::{Client, ClientError};
use crate::api::types::{CheckView, PushAnswer, PushRequest, PushView};
use crate::manifest::SourceFile;
use crate::model::{Revision, Severity};
use crate::source::receive::{PushOptions, Report, check_updates, parse_updates, read_request, write_report};
use crate::source::{ReadLimits, Repo};
use std::path::PathBuf;

/// Answer git (called by the hooks of the repository, not by people)
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_enum)]
    name: Hook,
    /// The daemon's socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Hook {
    PreReceive,
    ProcReceive,
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let client = match &args.socket {
        Some(socket) => Client::at(socket.clone())?,
        None => context.client()?,
    };
    match args.name {
        Hook::PreReceive => pre_receive(&client).await,
        Hook::ProcReceive => proc_receive(&client).await,
    }
}

fn refused(why: impl std::fmt::Display) -> CliError {
    CliError::new(Kind::Failed, format!("push refused: {why}"))
}

async fn pre_receive(client: &Client) -> Result<Exit, CliError> {
    let updates = parse_updates(std::io::stdin().lock()).map_err(refused)?;
    let (update, revision) = check_updates(&updates).map_err(refused)?;
    let options = PushOptions::from_env().map_err(refused)?;
    let repo = Repo::open_in_hook().map_err(refused)?;
    let request = PushRequest {
        revision: revision.to_string(),
        parent: update.old.as_ref().map(ToString::to_string),
        options: names(&options),
        quarantine: repo.quarantine().map(|path| path.to_string_lossy().into_owned()),
    };
    let check: CheckView = match client.post("/v1/check", &request).await {
        Ok(check) => check,
        Err(error) => {
            let error = CliError::from(error);
            return Err(CliError { message: format!("push refused: {}", error.message), ..error });
        }
    };
    show_findings(&check, &repo, revision);
    if check.has_errors() {
        return Err(refused("the manifests are not valid").hint("`hafen explain CODE` says more about a finding"));
    }
    if let Some(found) = &check.plan {
        render::say(plan::text(found, changes::Detail::Concise).trim_end());
    }
    match &check.refusal {
        Some(refusal) => Err(refused(refusal)),
        None if options.dry_run => Err(refused("it was a dry run")),
        None => Ok(Exit::Ok),
    }
}

/// As git hands them over.
fn names(options: &PushOptions) -> Vec<String> {
    let PushOptions { allow_rewind, allow_removals, abandon, allow_held, outside_window, dry_run, plan, path } =
        options.clone();
    let flags = [
        ("allow-rewind", allow_rewind),
        ("allow-removals", allow_removals),
        ("abandon", abandon),
        ("allow-held", allow_held),
        ("outside-window", outside_window),
        ("dry-run", dry_run),
    ];
    flags
        .into_iter()
        .filter(|(_, given)| *given)
        .map(|(name, _)| name.to_owned())
        .chain(plan.map(|id| format!("plan={id}")))
        .chain(path.map(|folder| format!("path={folder}")))
        .collect()
}

fn show_findings(check: &CheckView, repo: &Repo, revision: &Revision) {
    // Notes are for `hafen validate`; a pusher reads what needs doing.
    let found: Vec<_> = check.diagnostics.iter().filter(|found| found.severity != Severity::Note).cloned().collect();
    if found.is_empty() {
        return;
    }
    // Without the files the findings are shown all the same, only without the lines they are about.
    let files = repo.read_files(revision, "", ReadLimits::default()).unwrap_or_default();
    let files: Vec<SourceFile> = files.into_iter().map(|(path, bytes)| SourceFile { path, bytes }).collect();
    render::say(diagnostics::render(diagnostics::Format::Text, &found, &[], &files, true).trim_end());
}

async fn proc_receive(client: &Client) -> Result<Exit, CliError> {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let request = read_request(&mut input, &mut output).map_err(refused)?;
    let reports: Vec<Report> = match check_updates(&request.updates) {
        Err(error) => {
            let refuse = |name: &String| Report::Refused { name: name.clone(), reason: error.to_string() };
            request.updates.iter().map(|update| refuse(&update.name)).collect()
        }
        Ok((update, revision)) => {
            let push = PushRequest {
                revision: revision.to_string(),
                parent: update.old.as_ref().map(ToString::to_string),
                options: request.options.clone(),
                quarantine: None,
            };
            vec![report(&update.name, revision, client.post::<PushView>("/v1/push", &push).await)]
        }
    };
    write_report(&mut output, &reports).map_err(refused)?;
    Ok(Exit::Ok)
}

/// What git is told of the one ref.
fn report(name: &str, revision: &Revision, answer: Result<PushView, ClientError>) -> Report {
    let name = name.to_owned();
    // What to do comes first: git's line may be cut.
    let unknown = |why: &str| {
        format!("UNKNOWN, it may have been accepted: run `hafen status --revision {}` ({why})", revision.short())
    };
    let reason = match answer {
        Ok(PushView { answer: PushAnswer::Accepted, .. }) => return Report::Accepted { name },
        Ok(PushView { answer: PushAnswer::Refused, reason, .. }) => reason.unwrap_or_else(|| "refused".to_owned()),
        Ok(PushView { answer: PushAnswer::Unknown, reason, .. }) => {
            unknown(reason.as_deref().unwrap_or("no answer from the cluster"))
        }
        Err(ClientError::Refused(error)) if error.code != crate::api::ErrorCode::Unknown => error.message,
        Err(error @ (ClientError::Unreachable { .. } | ClientError::Denied { .. })) => {
            format!("{error}: start it with `systemctl start hafen`")
        }
        Err(
            error @ (ClientError::Refused(_)
            | ClientError::TimedOut { .. }
            | ClientError::Broken(_)
            | ClientError::BadAnswer(_)),
        ) => unknown(&error.to_string()),
    };
    Report::Refused { name, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ApiError, ErrorCode};

    fn told(answer: Result<PushView, ClientError>) -> Result<(), String> {
        match report("refs/heads/main", &Revision::new("a".repeat(40)), answer) {
            Report::Accepted { .. } => Ok(()),
            Report::Refused { reason, .. } => Err(reason),
        }
    }

    fn view(answer: PushAnswer, reason: Option<&str>) -> PushView {
        PushView {
            api_version: Default::default(),
            kind: Default::default(),
            revision: "a".repeat(40),
            answer,
            reason: reason.map(Into::into),
            check: None,
        }
    }

    #[test]
    fn only_an_accepted_push_is_ok() {
        assert_eq!(told(Ok(view(PushAnswer::Accepted, None))), Ok(()));
        assert_eq!(told(Ok(view(PushAnswer::Refused, Some("another push won")))), Err("another push won".into()));
        let refused = ClientError::Refused(ApiError::new(ErrorCode::NoQuorum, "no quorum"));
        assert_eq!(told(Err(refused)), Err("no quorum".into()));
        let gone = ClientError::Unreachable { socket: "/x".into() };
        assert!(told(Err(gone)).unwrap_err().contains("systemctl start hafen"));
    }

    #[test]
    fn what_is_not_known_is_said_to_be_unknown_with_the_question_to_ask() {
        let late = ClientError::TimedOut { after: std::time::Duration::from_secs(60) };
        let unsure = ClientError::Refused(ApiError::new(ErrorCode::Unknown, "the outcome is unknown"));
        for answer in [Ok(view(PushAnswer::Unknown, None)), Err(late), Err(unsure)] {
            let reason = told(answer).unwrap_err();
            assert!(reason.starts_with("UNKNOWN"), "{reason}");
            assert!(reason.contains("hafen status --revision aaaaaaaaaa"), "{reason}");
        }
    }

    #[test]
    fn options_are_named_as_the_pusher_wrote_them() {
        let plan = "00010203-ff000001-09090909".parse().ok();
        let options = PushOptions { allow_removals: true, dry_run: true, plan, ..PushOptions::default() };
        assert_eq!(names(&options), ["allow-removals", "dry-run", "plan=00010203-ff000001-09090909"]);
        assert_eq!(PushOptions::parse(names(&options).iter().map(String::as_str)).unwrap(), options);
    }
}
