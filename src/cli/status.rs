//! `hafen status`: the verdict in one line, then what stands behind it, failures first.

use super::error::{CliError, Exit, Kind};
use super::{Context, Format, OutputFormat, render};
use crate::api::Client;
use crate::api::types::{
    AttemptOutcome, DeviceFault, DeviceView, FencingView, Health, MembershipView, NodeView, ResourceView, StatusView,
    TrialView, Verdict, WebhookView,
};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

/// Between two pictures of `--watch`.
const REDRAW: Duration = Duration::from_secs(1);

/// How the cluster is
///
/// Exits 0 if it is healthy or on its way there, 1 if it is degraded, 106 without a quorum.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen status
  hafen status -w
  hafen status --revision 3f2a91c
  hafen status --export state.json")]
pub struct Args {
    /// Redraw every second
    #[arg(short, long)]
    watch: bool,
    /// Only say whether this commit is the target (0) or not (1)
    #[arg(long, value_name = "REV", conflicts_with_all = ["watch", "export"])]
    revision: Option<String>,
    /// Write how the cluster is to a file, without secrets: for `plan`, `diff` and `why` elsewhere, and for bug reports
    #[arg(long, value_name = "FILE", conflicts_with = "watch")]
    export: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let client = context.client()?;
    if let Some(file) = &args.export {
        let bytes = client.bytes("/v1/export").await?;
        std::fs::write(file, bytes).map_err(|error| {
            CliError::new(Kind::CouldNotTell, format!("failed to write `{}`: {error}", file.display()))
        })?;
        return Ok(Exit::Ok);
    }
    if args.watch {
        return watch(&client, args.format.output).await;
    }
    let status: StatusView = client.get("/v1/status", &[]).await?;
    if let Some(revision) = &args.revision {
        return about_revision(&status, revision);
    }
    show(&status, args.format.output)?;
    Ok(exit(status.health))
}

fn show(status: &StatusView, format: OutputFormat) -> Result<(), CliError> {
    match format {
        OutputFormat::Json => render::print_json(status),
        OutputFormat::Text => render::print(&text(status)),
    }
}

/// Until it is interrupted. A daemon that is away for a while is part of the picture.
async fn watch(client: &Client, format: OutputFormat) -> Result<Exit, CliError> {
    let clear = if std::io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
    loop {
        match client.get::<StatusView>("/v1/status", &[]).await {
            Ok(status) => {
                render::print(clear)?;
                show(&status, format)?;
            }
            Err(error) => render::print(&format!("{clear}{}\n", CliError::from(error).render()))?,
        }
        tokio::time::sleep(REDRAW).await;
    }
}

fn about_revision(status: &StatusView, revision: &str) -> Result<Exit, CliError> {
    let Some(target) = &status.target else {
        render::print("no: no revision was accepted yet\n")?;
        return Ok(Exit::No);
    };
    if revision.len() >= 4 && target.revision.starts_with(revision) {
        render::print(&format!(
            "yes: {} is the target, accepted {} from {}\n",
            short(&target.revision),
            render::time(target.accepted_ms),
            target.by
        ))?;
        return Ok(Exit::Ok);
    }
    if let Some(held) =
        status.rollout.held.iter().find(|held| revision.len() >= 4 && held.revision.starts_with(revision))
    {
        let at = render::time(held.at_ms);
        render::print(&format!("no: the cluster returned from {} {at}: {}\n", short(&held.revision), held.why))?;
        return Ok(Exit::No);
    }
    render::print(&format!("no: the target is {}\n", short(&target.revision)))?;
    Ok(Exit::No)
}

fn exit(health: Health) -> Exit {
    match health {
        Health::Healthy | Health::Converging | Health::Unconfigured => Exit::Ok,
        Health::Degraded => Exit::No,
        Health::NoQuorum => Exit::NoQuorum,
    }
}

pub fn short(revision: &str) -> &str {
    revision.get(..10).unwrap_or(revision)
}

/// The whole picture, styled.
pub fn text(status: &StatusView) -> String {
    let mut text = verdict_line(status);
    text += &target_line(status);
    section(&mut text, "nodes", status.nodes.iter().map(|node| node_row(node, status)).collect());
    section(&mut text, "resources", status.resources.iter().map(|row| resource_row(row, status)).collect());
    section(&mut text, "last fencing", status.fencing.iter().take(1).map(|a| fencing_row(a, status.now_ms)).collect());
    section(&mut text, "fencing levels", levels(status));
    section(&mut text, "fencing devices", devices(status));
    section(&mut text, "overrides", overrides(status));
    let alarms =
        status.alarms.iter().map(|a| vec![format!("{} ago", render::age(status.now_ms, a.at_ms)), a.text.clone()]);
    section(&mut text, "alarms", alarms.collect());
    section(&mut text, "webhooks", status.webhook.iter().flat_map(|webhook| webhooks(webhook, status)).collect());
    // The first one is in the verdict already.
    let more = status.problems.iter().skip(1).map(|problem| vec![problem.clone()]).collect();
    section(&mut text, "also wrong", more);
    text
}

fn section(text: &mut String, title: &str, rows: Vec<Vec<String>>) {
    if !rows.is_empty() {
        *text += &format!("\n{}\n{}", render::strong(title), render::table(&rows));
    }
}

fn verdict_line(status: &StatusView) -> String {
    let cluster = status.cluster.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
    let line = match status.health {
        Health::Healthy => render::good(&status.summary),
        Health::Converging | Health::Unconfigured => render::busy(&status.summary),
        Health::Degraded => render::warn(&status.summary),
        Health::NoQuorum => render::bad(&status.summary),
    };
    format!("{cluster}{line}\n")
}

fn target_line(status: &StatusView) -> String {
    let leader = status.leader.as_deref().unwrap_or("none");
    let generation = match status.generation {
        0 => String::new(),
        raised => format!(", generation {raised}"),
    };
    let seen = format!("as {} sees it, leader {leader}{generation}", status.node);
    match &status.target {
        None => format!("{}\n", render::faint(&seen)),
        Some(target) => format!(
            "target {} from {}{}, accepted {} ago{}; {}\n",
            short(&target.revision),
            target.by,
            target.signature.as_ref().map(|signature| format!(", {}", signature.words())).unwrap_or_default(),
            render::age(status.now_ms, target.accepted_ms),
            trial(status),
            render::faint(&seen)
        ),
    }
}

/// How the target does, behind when it was accepted.
fn trial(status: &StatusView) -> String {
    let rollout = &status.rollout;
    match (rollout.trial, rollout.until_ms) {
        (TrialView::On | TrialView::Returned, Some(until)) => {
            let left = render::age(until, status.now_ms);
            let how =
                if rollout.by.as_deref() == Some("Operator") { "`hafen confirm`" } else { "confirmed when healthy" };
            format!(", on trial for another {left} ({how})")
        }
        (TrialView::Passed, _) => ", confirmed".to_owned(),
        (TrialView::Failed, _) => ", not confirmed in time".to_owned(),
        (TrialView::Off | TrialView::On | TrialView::Returned, _) => String::new(),
    }
}

fn node_row(node: &NodeView, status: &StatusView) -> Vec<String> {
    let word = format!("{:?}", node.membership);
    let membership = match node.membership {
        MembershipView::Online => render::good(&word),
        MembershipView::Joining => render::busy(&word),
        MembershipView::Suspect | MembershipView::Fenced => render::bad(&word),
        MembershipView::Absent | MembershipView::Left => render::warn(&word),
    };
    let links: Vec<String> = node
        .links
        .iter()
        .map(|link| match (link.up, link.last_heard_ms) {
            (true, _) => format!("{} up", link.address),
            (false, Some(ms)) => render::bad(&format!("{} down for {}", link.address, render::age(ms, 0))),
            (false, None) => render::bad(&format!("{} never up", link.address)),
        })
        .collect();
    let mut notes = node.notes.clone();
    if node.leader {
        notes.insert(0, "leader".into());
    }
    vec![
        node.name.clone(),
        node.role.map_or_else(|| "-".to_owned(), |role| format!("{role:?}")),
        membership,
        node.since_ms.map(|since| render::age(status.now_ms, since)).unwrap_or_default(),
        links.join(", "),
        notes.join(", "),
    ]
}

/// The word of a verdict, coloured.
pub fn verdict_word(verdict: Verdict) -> String {
    match verdict {
        Verdict::Keep => render::good("ok"),
        Verdict::Act => render::busy("acting"),
        Verdict::Wait => render::warn("waiting"),
        Verdict::Blocked => render::bad("BLOCKED"),
    }
}

fn resource_row(row: &ResourceView, status: &StatusView) -> Vec<String> {
    let now_ms = status.now_ms;
    let silent = |name: &String| {
        status.nodes.iter().any(|node| &node.name == name && node.membership == MembershipView::Suspect)
    };
    let state = match (&row.phase, row.role) {
        // Nobody can tell what a node does that is not heard.
        (Some(_), _) if row.node.as_ref().is_some_and(silent) => "may run".to_owned(),
        (Some(phase), Some(role)) if phase == "Running" => role.to_string(),
        (Some(phase), _) => phase.clone(),
        (None, _) => "-".to_owned(),
    };
    let mut reason = match row.verdict.verdict {
        Verdict::Keep => String::new(),
        Verdict::Act | Verdict::Wait | Verdict::Blocked => row.verdict.reason.clone(),
    };
    if row.fail_count > 0 {
        let failures = format!("failed {} times: {}", row.fail_count, row.last_failure.as_deref().unwrap_or("unknown"));
        reason = if reason.is_empty() { failures } else { format!("{reason}; {failures}") };
    }
    vec![
        row.instance.clone(),
        row.node.clone().unwrap_or_else(|| "-".to_owned()),
        state,
        row.since_ms.filter(|_| row.phase.is_some()).map(|since| render::age(now_ms, since)).unwrap_or_default(),
        verdict_word(row.verdict.verdict),
        reason,
    ]
}

fn fencing_row(attempt: &FencingView, now_ms: u64) -> Vec<String> {
    let outcome = match attempt.outcome {
        AttemptOutcome::Open => render::busy("going on"),
        AttemptOutcome::Off => render::good("proven off"),
        AttemptOutcome::Failed => render::bad("failed"),
        AttemptOutcome::Unknown => render::bad("outcome unknown"),
    };
    let when = render::age(now_ms, attempt.ended_ms.unwrap_or(attempt.started_ms));
    let detail = format!("level {} ({}) by {}", attempt.level, attempt.devices.join(", "), attempt.executor);
    let error = attempt.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    vec![attempt.node.clone(), format!("{outcome}{error}"), format!("{when} ago"), detail, attempt.reason.clone()]
}

/// What nobody has seen work, and the rest by who vouches for it, with its age.
fn levels(status: &StatusView) -> Vec<Vec<String>> {
    let mut untested = Vec::new();
    let mut trusted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (node, level) in status.nodes.iter().flat_map(|node| node.fencing.iter().map(move |level| (node, level))) {
        let name = format!("{} level {}", node.name, level.level);
        let Some(trust) = &level.trust else {
            untested.push(name);
            continue;
        };
        let reason = if trust.reason.is_empty() { String::new() } else { format!(": {}", trust.reason) };
        let age = render::age(status.now_ms, trust.at_ms);
        trusted.entry(format!("by {}{reason}", trust.by)).or_default().push(format!("{name} {age} ago"));
    }
    let mut rows = Vec::new();
    if !untested.is_empty() {
        rows.push(vec![render::warn("never tested"), String::new(), untested.join(", ")]);
    }
    rows.extend(trusted.into_iter().map(|(by, levels)| vec![render::good("trusted"), by, levels.join(", ")]));
    rows
}

/// What fails in a row each, the rest in one.
fn devices(status: &StatusView) -> Vec<Vec<String>> {
    let fault = |device: &DeviceView| {
        let name = device.name.clone();
        let row = move |fault: &DeviceFault| {
            let since = format!("for {}", render::age(status.now_ms, fault.since_ms));
            vec![render::bad("FAILS"), format!("{name} on {}", fault.node), since, fault.why.clone()]
        };
        device.failing.iter().map(row).collect::<Vec<_>>()
    };
    let mut rows: Vec<Vec<String>> = status.devices.iter().flat_map(fault).collect();
    let fine = |device: &&DeviceView| device.failing.iter().all(|fault| fault.node != status.node);
    let checked = status.devices.iter().filter(fine).filter_map(|device| {
        let age = render::age(status.now_ms, device.checked_ms?);
        Some(format!("{} {age} ago", device.name))
    });
    let checked: Vec<String> = checked.collect();
    if !checked.is_empty() {
        rows.push(vec![render::good("ok"), format!("checked by {}", status.node), checked.join(", ")]);
    }
    rows
}

/// Only what was refused: that one came is no news.
fn webhooks(webhook: &WebhookView, status: &StatusView) -> Option<Vec<String>> {
    let last = webhook.last_refusal.as_ref()?;
    let count = format!("{} of {} to {}", webhook.refused, webhook.refused + webhook.accepted, status.node);
    let age = format!("the last {} ago", render::age(status.now_ms, last.at_ms));
    Some(vec![render::warn("refused"), count, age, last.why.clone()])
}

fn overrides(status: &StatusView) -> Vec<Vec<String>> {
    let row = |o: &crate::api::types::OverrideView| {
        let ends = match o.expires_ms {
            Some(at) => format!("ends in {}", render::age(at, status.now_ms)),
            None => "until cleared".to_owned(),
        };
        let reason = if o.reason.is_empty() { String::new() } else { format!(": {}", o.reason) };
        vec![render::warn(&o.what), o.scope.clone(), ends, format!("by {}{reason}", o.by)]
    };
    status.overrides.iter().map(row).collect()
}

#[cfg(test)]
pub mod tests;
