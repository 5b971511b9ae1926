//! `hafen wait`.

use super::error::{CliError, Exit, Kind};
use super::operate::{POLL, timed_out};
use super::{Context, render};
use crate::api::types::{AttemptOutcome, Health, MembershipView, StatusView, TrialView, Verdict};
use std::time::{Duration, Instant};

/// A cluster at rest for so long that is not healthy does not become so by itself.
const AT_REST_GRACE: Duration = Duration::from_secs(10);
/// Something blocked for so long will not go on by itself; shorter, and a verdict may just be old.
const BLOCKED_GRACE: Duration = Duration::from_secs(5);

/// Wait until the cluster has done what it was told
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  git push && hafen wait
  hafen wait --for synced --timeout 2m
  hafen wait --revision 3f2a91c --for confirmed")]
pub struct Args {
    /// What to wait for
    #[arg(long = "for", value_enum, value_delimiter = ',', default_value = "synced,healthy", value_name = "WHAT")]
    wanted: Vec<Wanted>,
    /// And until this commit is the target
    #[arg(long, value_name = "REV")]
    revision: Option<String>,
    /// How long to wait before exiting with 124
    #[arg(long, default_value = "5m", value_parser = render::parse_duration, value_name = "TIME")]
    timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Wanted {
    /// Everything runs where it is to run
    Synced,
    /// And nothing is wrong
    Healthy,
    /// The commit is confirmed, where the Cluster asks for that
    Confirmed,
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let client = context.client()?;
    let deadline = Instant::now() + args.timeout;
    let (mut said, mut blocked_since) = (String::new(), None);
    let mut at_rest_since: Option<Instant> = None;
    loop {
        // A daemon that is just being started is waited for.
        let answer = client.get::<StatusView>("/v1/status", &[]).await.map_err(CliError::from);
        let missing = match &answer {
            Ok(status) => missing(status, &args.wanted, args.revision.as_deref()),
            Err(error) => Some(error.message.clone()),
        };
        if let Some(why) = answer.as_ref().ok().and_then(|status| returned(status, args.revision.as_deref())) {
            return Err(CliError::new(Kind::Failed, why).hint("mend or revert it with another commit on top"));
        }
        let Some(missing) = missing else {
            return Ok(Exit::Ok);
        };
        if missing != said {
            render::say(&render::faint(&missing));
            said.clone_from(&missing);
        }
        let blocked = answer.as_ref().is_ok_and(is_blocked);
        blocked_since = if blocked { blocked_since.or(Some(Instant::now())) } else { None };
        if blocked_since.is_some_and(|since: Instant| since.elapsed() >= BLOCKED_GRACE) {
            return Err(CliError::new(Kind::Failed, missing).hint("`hafen status` shows all of it"));
        }
        let at_rest = answer.as_ref().is_ok_and(|status| at_rest(status, args.revision.as_deref()));
        at_rest_since = if at_rest { at_rest_since.or(Some(Instant::now())) } else { None };
        if at_rest_since.is_some_and(|since| since.elapsed() >= AT_REST_GRACE) {
            return Err(CliError::new(Kind::Failed, missing)
                .hint("everything runs, the rest needs you; `hafen wait --for synced` asks for no more than that"));
        }
        if Instant::now() >= deadline {
            return Err(match answer {
                Err(error) => error,
                Ok(status) if status.health == Health::NoQuorum => CliError::new(Kind::NoQuorum, missing),
                Ok(_) => timed_out(args.timeout, &missing),
            });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Everything runs where it should, on nodes that are all there, for the commit asked for: nothing is going to change.
fn at_rest(status: &StatusView, revision: Option<&str>) -> bool {
    missing(status, &[Wanted::Synced], revision).is_none()
        && status.fencing.iter().all(|attempt| attempt.outcome != AttemptOutcome::Open)
        && status.nodes.iter().all(|node| match node.membership {
            MembershipView::Online | MembershipView::Left | MembershipView::Absent => true,
            MembershipView::Joining | MembershipView::Suspect | MembershipView::Fenced => false,
        })
        && status.nodes.iter().flat_map(|node| &node.links).all(|link| link.up)
}

fn is_blocked(status: &StatusView) -> bool {
    status.resources.iter().any(|row| row.verdict.verdict == Verdict::Blocked)
}

/// Why the commit asked for will not be reached any more.
fn returned(status: &StatusView, revision: Option<&str>) -> Option<String> {
    let held = status.rollout.held.iter().find(|held| revision.is_some_and(|it| held.revision.starts_with(it)))?;
    let followed = status.target.as_ref().is_some_and(|target| target.revision == held.revision);
    let why = || format!("the cluster returned from {}: {}", super::status::short(&held.revision), held.why);
    (!followed).then(why)
}

/// What keeps the wish from being true; none: it is.
fn missing(status: &StatusView, wanted: &[Wanted], revision: Option<&str>) -> Option<String> {
    if status.health == Health::NoQuorum || is_blocked(status) {
        return Some(status.summary.clone());
    }
    let target = status.target.as_ref().map(|target| target.revision.as_str());
    match (revision, target) {
        (_, None) => return Some("no manifests were pushed yet".to_owned()),
        (Some(wanted), Some(target)) if !target.starts_with(wanted) => {
            return Some(format!("the target is still {}", super::status::short(target)));
        }
        (Some(_) | None, Some(_)) => {}
    }
    wanted.iter().find_map(|wanted| match wanted {
        Wanted::Synced => {
            let busy: Vec<String> = status
                .resources
                .iter()
                .filter(|row| row.verdict.verdict != Verdict::Keep)
                .map(|row| format!("{} ({})", row.instance, row.verdict.reason))
                .collect();
            (!busy.is_empty()).then(|| busy.join(", "))
        }
        Wanted::Healthy => (status.health != Health::Healthy).then(|| status.summary.clone()),
        Wanted::Confirmed => match status.rollout.trial {
            TrialView::Off | TrialView::Passed => None,
            TrialView::On | TrialView::Returned => Some("the commit is on trial".to_owned()),
            TrialView::Failed => Some("the commit was not confirmed in time".to_owned()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::status::tests::{example, healthy};
    use super::*;
    use crate::api::types::HeldView;

    #[test]
    fn synced_waits_for_what_is_not_yet_where_it_belongs() {
        assert_eq!(missing(&healthy(), &[Wanted::Synced, Wanted::Healthy], None), None);
        let mut busy = healthy();
        busy.resources[0].verdict.verdict = Verdict::Act;
        busy.resources[0].verdict.reason = "to be started".into();
        assert_eq!(missing(&busy, &[Wanted::Synced], None).unwrap(), "db (to be started)");
    }

    #[test]
    fn a_blocked_resource_is_the_first_thing_missing_whatever_is_wanted() {
        let status = example();
        assert!(is_blocked(&status));
        assert!(missing(&status, &[Wanted::Synced], None).unwrap().contains("blocked"));
    }

    #[test]
    fn a_cluster_at_rest_that_is_not_healthy_is_not_waited_for_for_ever() {
        let mut status = healthy();
        (status.health, status.summary) = (Health::Degraded, "degraded: fencing never tested".into());
        assert!(missing(&status, &[Wanted::Healthy], None).is_some());
        assert!(at_rest(&status, None));
        assert!(!at_rest(&status, Some("bbbb")), "a push is still to come");
        status.nodes[0].membership = MembershipView::Suspect;
        assert!(!at_rest(&status, None));
    }

    #[test]
    fn a_commit_that_was_returned_from_is_waited_for_no_longer() {
        let mut status = healthy();
        status.rollout.trial = TrialView::On;
        assert_eq!(missing(&status, &[Wanted::Confirmed], None).unwrap(), "the commit is on trial");
        let held = HeldView { revision: "bbbb1234".into(), at_ms: 1, why: "db is down".into() };
        status.rollout.held.push(held);
        assert_eq!(returned(&status, Some("bbbb")).unwrap(), "the cluster returned from bbbb1234: db is down");
        assert_eq!(returned(&status, Some("aaaa")), None);
        assert_eq!(returned(&status, None), None);
    }

    #[test]
    fn another_revision_than_the_target_is_waited_for() {
        let status = healthy();
        assert_eq!(missing(&status, &[Wanted::Synced], Some("aaaa")), None);
        assert_eq!(missing(&status, &[], Some("bbbb")).unwrap(), "the target is still aaaaaaaaaa");
    }
}
