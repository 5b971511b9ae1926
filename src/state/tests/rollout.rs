//! Commits on trial, the way back, and what is held.

use super::*;
use crate::state::rollout::{Held, Trial};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);

/// Revision `1` is good; `2`, with another `db`, is on trial.
fn tried(by: ConfirmedBy) -> Case {
    let mut case = Case::new();
    case.state.feature_level = FEATURE_LEVEL;
    case.world.spec.cluster.confirmation = Some(Confirmation { deadline: DEADLINE, stable: Duration::ZERO, by });
    case.world.resource("db").priority = 7;
    case.push("2");
    case
}

fn revision(text: &str) -> Revision {
    Revision::from(text)
}

impl Case {
    fn overdue(&self, text: &str) -> Command {
        Command::Overdue { leader: self.leader(), revision: revision(text), why: "db is down".into() }
    }

    fn confirm(&self, text: &str) -> Command {
        Command::Confirm { leader: Some(self.leader()), revision: revision(text), by: "healthy".into() }
    }

    fn time_passes(&mut self, long: Duration) {
        let elapsed_ms = long.as_millis() as u64;
        self.ok(Command::Tick { leader: self.leader(), elapsed_ms: 0, wall_ms: 1_000_000 });
        self.ok(Command::Tick { leader: self.leader(), elapsed_ms, wall_ms: 0 });
    }

    fn followed(&self) -> &str {
        self.state.target.as_ref().unwrap().revision.as_str()
    }
}

#[test]
fn what_is_not_confirmed_in_time_is_returned_from_and_main_stays() {
    let mut case = tried(ConfirmedBy::Health);
    assert!(matches!(case.ask(case.overdue("2")), Err(Refusal::NotAllowed { .. })), "it has time left");
    assert_eq!(case.state.next_expiry_ms(), case.state.rollout.until_ms());
    case.time_passes(DEADLINE);
    let other = Command::Overdue { leader: incarnation("n2", 1, 1), revision: revision("2"), why: String::new() };
    assert_eq!(case.ask(other), Err(Refusal::NotLeader));
    assert!(matches!(case.ask(case.overdue("1")), Err(Refusal::TargetMoved { .. })));
    case.ok(case.overdue("2"));
    assert_eq!((case.followed(), case.state.tip().unwrap().as_str()), ("1", "2"));
    assert_eq!(case.state.spec().unwrap().resources["db"].priority, 0, "its spec was kept");
    assert_eq!(case.state.last_good, None);
    assert_eq!(case.state.specs.len(), 1, "what it returned from is forgotten");
    let read = crate::state::snapshot::decode(&crate::state::snapshot::encode(&case.state)).unwrap();
    assert_eq!(read, case.state, "it is stored");
}

#[test]
fn the_same_manifests_come_back_only_if_somebody_means_it() {
    let mut case = tried(ConfirmedBy::Health);
    case.time_passes(DEADLINE);
    case.ok(case.overdue("2"));
    // Another commit, with another comment above.
    let (kind, name) = (Kind::Resource, "db".to_owned());
    let moved = Origin { file: "db.yaml".into(), line: 9, column: 1 };
    case.world.spec.origins.insert(ObjectRef { kind, name }, moved);
    let (digest, chunks) = spec_to_chunks(&case.world.spec);
    for (number, bytes) in chunks.into_iter().enumerate() {
        case.ok(Command::SpecChunk { digest, number: number as u32, total: 1, bytes });
    }
    let set = Command::SetTarget { revision: revision("3"), parent: Some(revision("1")), spec: digest, by: "b".into() };
    assert_eq!(case.ask(set.clone()), Err(Refusal::Held { revision: revision("2"), why: "db is down".into() }));
    let release = Command::ReleaseHold { revision: revision("2"), by: "b".into() };
    case.ok(release.clone());
    assert_eq!(case.ask(release), Err(Refusal::NothingToDo));
    case.ok(set);
    assert_eq!((case.followed(), case.state.tip().unwrap().as_str()), ("3", "3"));
    assert!(matches!(case.state.rollout.trial, Trial::On { .. }), "it is tried anew");
}

#[test]
fn a_confirmed_commit_is_never_returned_from_by_itself() {
    let mut case = tried(ConfirmedBy::Operator);
    let by_hand = Command::Confirm { leader: None, revision: revision("2"), by: "ann".into() };
    case.ok(by_hand.clone());
    assert_eq!(case.ask(by_hand), Err(Refusal::NothingToDo));
    case.time_passes(DEADLINE);
    assert_eq!(case.ask(case.overdue("2")), Err(Refusal::NothingToDo));
    assert_eq!((case.followed(), case.state.next_expiry_ms()), ("2", None));
}

#[test]
fn one_return_never_leads_to_another() {
    let mut case = tried(ConfirmedBy::Health);
    case.world.resource("db").priority = 8;
    case.push("3");
    assert_eq!(case.state.last_good.as_ref().unwrap().revision.as_str(), "1", "2 was never good");
    case.world.spec.cluster.confirmation = None;
    case.time_passes(DEADLINE);
    case.ok(case.overdue("3"));
    assert_eq!(case.followed(), "1");
    assert_eq!(case.state.rollout.trial, Trial::Off, "as 1 asks for");
    let back = |from: &str| Command::Rollback { from: revision(from), by: "ann".into(), reason: "why not".into() };
    assert!(matches!(case.ask(back("1")), Err(Refusal::NotAllowed { .. })));
}

#[test]
fn a_return_that_is_bad_as_well_raises_an_alarm_and_stays() {
    let mut case = tried(ConfirmedBy::Operator);
    case.ok(case.confirm("2"));
    case.world.resource("db").priority = 8;
    case.push("3");
    case.time_passes(DEADLINE);
    case.ok(case.overdue("3"));
    let by_itself = matches!(case.state.rollout.trial, Trial::On { returned: true, by: ConfirmedBy::Health, .. });
    assert!(by_itself, "a person who was not there for the commit is not there for the return");
    assert!(case.state.alarms.is_empty());
    case.time_passes(DEADLINE);
    case.ok(case.overdue("2"));
    assert_eq!((case.followed(), case.state.alarms.len()), ("2", 1));
    // And it still is what the next push comes back to.
    case.world.resource("db").priority = 9;
    case.push("4");
    assert_eq!(case.state.last_good.as_ref().unwrap().revision.as_str(), "2");
}

#[test]
fn without_anything_good_before_it_stays_and_may_still_be_confirmed() {
    let mut case = tried(ConfirmedBy::Health);
    case.state.last_good = None;
    case.time_passes(DEADLINE);
    case.ok(case.overdue("2"));
    assert_eq!((case.followed(), case.state.alarms.len()), ("2", 1));
    assert!(matches!(case.state.rollout.trial, Trial::Failed { .. }));
    assert_eq!(case.ask(case.overdue("2")), Err(Refusal::NothingToDo));
    case.ok(case.confirm("2"));
    assert!(matches!(case.state.rollout.trial, Trial::Passed { .. }));
}

#[test]
fn what_did_not_run_before_and_is_unchanged_does_not_count() {
    let case = tried(ConfirmedBy::Health);
    let excused = case.state.rollout.excused().unwrap();
    assert!(excused.contains("web") && excused.contains("drbd"), "nothing ran: {excused:?}");
    assert!(!excused.contains("db"), "it was changed");
}

#[test]
fn a_person_returns_without_a_trial_and_main_may_be_taken_along() {
    let mut case = Case::new();
    case.world.resource("db").priority = 7;
    case.push("2");
    let spec = case.state.last_good.as_ref().unwrap().spec;
    let back = |from: &str| Command::Rollback { from: revision(from), by: "ann".into(), reason: "slow".into() };
    assert!(matches!(case.ask(back("1")), Err(Refusal::TargetMoved { .. })));
    case.ok(back("2"));
    assert_eq!((case.followed(), case.state.tip().unwrap().as_str()), ("1", "2"));
    let to_itself = Command::SetTarget { revision: revision("1"), parent: Some(revision("1")), spec, by: "b".into() };
    case.ok(to_itself);
    assert_eq!(case.state.tip().unwrap().as_str(), "1");
}

#[test]
fn holds_are_bounded_and_the_oldest_goes() {
    let mut case = Case::new();
    for number in 0..40 {
        case.world.resource("db").priority = 100 + number;
        case.push(&format!("bad-{number}"));
        let from = revision(&format!("bad-{number}"));
        case.ok(Command::Rollback { from, by: "ann".into(), reason: String::new() });
    }
    let held: Vec<&Held> = case.state.rollout.held.iter().collect();
    assert_eq!(held.len(), 16);
    assert_eq!(held.last().unwrap().revision.as_str(), "bad-39");
}

#[test]
fn suspended_nothing_else_is_followed() {
    let mut case = Case::new();
    let set = |kind| Command::SetOverride {
        scope: Scope::Cluster,
        kind,
        by: "ann".into(),
        reason: "audit".into(),
        expires_ms: None,
    };
    case.ok(set(OverrideKind::Suspend));
    let spec = case.state.target.as_ref().unwrap().spec;
    let push = Command::SetTarget { revision: revision("2"), parent: Some(revision("1")), spec, by: "b".into() };
    let Err(Refusal::NotAllowed { why }) = case.ask(push) else { panic!("it was taken") };
    assert_eq!(why, "ann has suspended changes: audit; `hafen resume` ends that");
}
