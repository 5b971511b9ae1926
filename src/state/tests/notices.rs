//! Notices: who is told of an operation, who is waited for, and when it is over.

use super::*;
use crate::state::snapshot::encode;

/// Both copies of `drbd` run, and whoever operates one announces it.
pub fn notifying() -> Case {
    let mut case = Case::new();
    case.state.feature_level = 1;
    case.world.spec.clones.get_mut("ms").unwrap().notify = true;
    case.push("2");
    case.probe_all();
    // Before the level was raised nobody announced anything.
    case.run("drbd:0@n1");
    case.run("drbd:1@n2");
    case.state.feature_level = 2;
    case
}

impl Case {
    pub fn announce_command(&self, operation: ActionKind, texts: &[&str]) -> Command {
        let keys: Vec<_> = texts.iter().map(|text| key(text)).collect();
        Command::Announce(Announcement {
            node: keys[0].node.clone(),
            incarnation: self.state.nodes[&keys[0].node].incarnation.clone(),
            resource: keys[0].instance.resource.clone(),
            operation,
            planned: keys.iter().map(|key| (operation, key.clone())).collect(),
            keys,
        })
    }

    pub fn told_command(&self, text: &str, status: ExecStatus) -> Command {
        let (claim, (number, notice)) = (self.held(text), self.state.notices.iter().next_back().unwrap());
        Command::Notified(Told {
            notice: *number,
            stage: notice.stage,
            key: key(text),
            epoch: claim.epoch,
            incarnation: claim.incarnation.clone(),
            status,
            text: "no".into(),
        })
    }

    fn announce(&mut self, operation: ActionKind, texts: &[&str]) {
        self.ok(self.announce_command(operation, texts));
    }

    fn told(&mut self, text: &str) {
        self.ok(self.told_command(text, ExecStatus::Exited(0)));
    }

    /// `Before drbd:0@n1 drbd:1@n2`: the stage of the only notice and who owes an answer; empty without one.
    fn round(&self) -> String {
        assert!(self.state.notices.len() < 2);
        let Some(notice) = self.state.notices.values().next() else { return String::new() };
        let owed: Vec<_> = notice.owed.keys().map(|key| format!(" {key}")).collect();
        format!("{:?}{}", notice.stage, owed.concat())
    }
}

#[test]
fn a_promotion_is_told_to_every_active_copy_before_and_after_it() {
    let mut case = notifying();
    case.assign("drbd:0@n1", Role::Promoted);
    case.announce(ActionKind::Promote, &["drbd:0@n1"]);
    assert_eq!(case.round(), "Before drbd:0@n1 drbd:1@n2");
    let copies = &case.state.notices.values().next().unwrap().copies;
    assert_eq!(copies.promote, [(id("drbd:0"), "n1".into())]);
    assert_eq!((copies.active.len(), copies.unpromoted.len(), copies.promoted.len()), (2, 2, 0));
    case.told("drbd:1@n2");
    assert_eq!(case.round(), "Before drbd:0@n1");
    let early = case.advance("drbd:0@n1", Phase::Promoting);
    assert!(matches!(early, Err(Refusal::NotAllowed { .. })), "asked for before it was announced: {early:?}");
    case.told("drbd:0@n1");
    assert_eq!(case.round(), "Doing");
    case.advance("drbd:0@n1", Phase::Promoting).unwrap();
    assert_eq!(case.round(), "Doing");
    case.report("drbd:0@n1", ActionKind::Promote, 0).unwrap();
    assert_eq!(case.round(), "After drbd:0@n1 drbd:1@n2");
    case.told("drbd:0@n1");
    case.told("drbd:1@n2");
    assert_eq!(case.round(), "");
}

#[test]
fn a_start_is_told_to_the_others_before_and_to_all_after_it_and_a_stop_to_the_rest() {
    let mut case = notifying();
    case.stop("drbd:1@n2");
    case.announce(ActionKind::Start, &["drbd:1@n2"]);
    assert_eq!(case.round(), "Before drbd:0@n1");
    assert_eq!(case.state.notices.values().next().unwrap().copies.inactive, [id("drbd:1")]);
    let early = case.claim("drbd:1@n2");
    assert!(matches!(early, Err(Refusal::NotAllowed { .. })), "asked for before it was announced: {early:?}");
    case.told("drbd:0@n1");
    case.claim("drbd:1@n2").unwrap();
    case.report("drbd:1@n2", ActionKind::Start, 0).unwrap();
    assert_eq!(case.round(), "After drbd:0@n1 drbd:1@n2");
    case.told("drbd:0@n1");
    case.told("drbd:1@n2");
    case.announce(ActionKind::Stop, &["drbd:1@n2"]);
    assert_eq!(case.round(), "Before drbd:0@n1 drbd:1@n2");
    case.told("drbd:0@n1");
    case.told("drbd:1@n2");
    case.stop("drbd:1@n2");
    assert_eq!(case.round(), "After drbd:0@n1");
}

#[test]
fn a_notify_that_failed_or_timed_out_holds_nothing_up_and_is_told() {
    let mut case = notifying();
    case.announce(ActionKind::Stop, &["drbd:1@n2"]);
    let index = LogIndex(case.state.index.0 + 1);
    let late = case.told_command("drbd:0@n1", ExecStatus::TimedOut);
    let (answers, events) = case.state.apply(index, &Entry { at_ms: 0, commands: vec![late.clone()] });
    assert_eq!(answers, [Ok(())]);
    assert_eq!(events[0].text, "notify before stop of drbd:0@n1 timed out: no");
    assert_eq!(case.ask(late), Err(Refusal::NothingToDo), "an answer counts once");
    case.ok(case.told_command("drbd:1@n2", ExecStatus::Exited(1)));
    assert_eq!(case.round(), "Doing");
    assert!(case.held("drbd:0@n1").failure.is_none());
    assert!(case.state.history.values().all(|record| record.fail_count == 0));
}

#[test]
fn who_is_lost_stops_or_is_left_alone_is_not_waited_for() {
    let mut case = notifying();
    case.announce(ActionKind::Stop, &["drbd:1@n2"]);
    let mut lost = Case { state: case.state.clone(), world: case.world.clone() };
    lost.suspect("n2");
    assert_eq!(lost.round(), "Before drbd:0@n1");
    lost.told("drbd:0@n1");
    let attempt = lost.fence("n2", "n1");
    lost.result(attempt, FenceOutcome::Off).unwrap();
    assert_eq!(lost.round(), "After drbd:0@n1", "a copy that was fenced does not run any more either");

    let scope = Scope::Node("n1".into());
    let (kind, by, reason) = (OverrideKind::Maintenance, "ann".to_owned(), "disks".to_owned());
    case.ok(Command::SetOverride { scope, kind, by, reason, expires_ms: None });
    assert_eq!(case.round(), "Before drbd:1@n2");
    case.monitor("drbd:1@n2", Reading::Stopped).unwrap();
    assert_eq!(case.round(), "Doing", "what died cannot be told");
}

#[test]
fn an_operation_that_fails_or_is_withdrawn_ends_its_notice() {
    let mut case = notifying();
    case.assign("drbd:0@n1", Role::Promoted);
    case.announce(ActionKind::Promote, &["drbd:0@n1"]);
    let number = *case.state.notices.keys().next().unwrap();
    let mut failed = Case { state: case.state.clone(), world: case.world.clone() };
    failed.told("drbd:0@n1");
    failed.told("drbd:1@n2");
    failed.advance("drbd:0@n1", Phase::Promoting).unwrap();
    failed.report("drbd:0@n1", ActionKind::Promote, 1).unwrap();
    assert_eq!(failed.round(), "");

    let withdraw = |incarnation| Command::Withdraw { notice: number, key: key("drbd:0@n1"), incarnation };
    assert!(case.ask(withdraw(incarnation("n1", 1, 9))).is_err());
    case.ok(withdraw(incarnation("n1", 1, 1)));
    assert_eq!(case.round(), "");
    assert_eq!(case.ask(withdraw(incarnation("n1", 1, 1))), Err(Refusal::NothingToDo));
}

#[test]
fn one_operation_is_announced_once_and_only_where_somebody_listens() {
    let mut case = notifying();
    let stop = case.announce_command(ActionKind::Stop, &["drbd:1@n2"]);
    case.ok(stop.clone());
    assert_eq!(case.ask(stop), Err(Refusal::NothingToDo));
    // Not a step of the proposer's node, no copy, no clone with notify.
    case.run("db@n1");
    for (operation, text) in
        [(ActionKind::Monitor, "drbd:0@n1"), (ActionKind::Promote, "drbd:1@n3"), (ActionKind::Stop, "db@n1")]
    {
        let command = case.announce_command(operation, &[text]);
        assert_eq!(case.ask(command), Err(Refusal::NothingToDo), "{operation} {text}");
    }
    case.state.feature_level = 1;
    let early = case.announce_command(ActionKind::Stop, &["drbd:0@n1"]);
    assert!(matches!(case.ask(early), Err(Refusal::NotAllowed { .. })));
}

#[test]
fn what_needs_nothing_of_format_2_is_stored_as_format_1() {
    let mut case = notifying();
    case.state.durations.clear();
    assert_eq!(encode(&case.state)[0], 1);
    case.announce(ActionKind::Stop, &["drbd:1@n2"]);
    assert_eq!(encode(&case.state)[0], 2);
}

#[test]
fn what_was_withdrawn_is_refused_when_it_comes_late_and_what_is_under_way_is_not_announced_again() {
    let mut case = notifying();
    case.assign("drbd:0@n1", Role::Promoted);
    let withdraw = |case: &Case| Command::Withdraw {
        notice: *case.state.notices.keys().next_back().unwrap(),
        key: key("drbd:0@n1"),
        incarnation: case.state.nodes["n1"].incarnation.clone(),
    };
    case.announce(ActionKind::Promote, &["drbd:0@n1"]);
    case.told("drbd:0@n1");
    case.told("drbd:1@n2");
    case.ok(withdraw(&case));
    let late = case.advance("drbd:0@n1", Phase::Promoting);
    assert!(matches!(&late, Err(Refusal::NotAllowed { why }) if why.contains("nobody announced")), "{late:?}");
    case.announce(ActionKind::Promote, &["drbd:0@n1"]);
    case.told("drbd:0@n1");
    case.told("drbd:1@n2");
    case.advance("drbd:0@n1", Phase::Promoting).unwrap();
    case.ok(withdraw(&case));
    assert_eq!(case.ask(case.announce_command(ActionKind::Promote, &["drbd:0@n1"])), Err(Refusal::NothingToDo));
}
