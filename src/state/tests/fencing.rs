//! The life of a fencing attempt.

use super::*;

#[test]
fn a_confirmed_attempt_ends_the_claims_of_that_boot_only() {
    let mut case = Case::new();
    case.run("db@n3");
    case.run("web@n2");
    case.suspect("n3");
    let attempt = case.fence("n3", "n1");
    assert_eq!(case.state.claims.len(), 2, "an attempt is no evidence");
    case.result(attempt, FenceOutcome::Off).unwrap();
    assert!(!case.state.claims.contains_key(&key("db@n3")) && case.state.claims.contains_key(&key("web@n2")));
    assert_eq!(case.membership("n3"), Membership::Fenced);
    assert_eq!(case.state.attempts[&attempt].on, SwitchOn::Wanted);
    assert!(case.ask(Case::join("n3", 1, 2)).is_err());
    case.ok(Case::join("n3", 2, 1));
    assert_eq!(case.membership("n3"), Membership::Online);
}

#[test]
fn a_failed_or_unknown_attempt_proves_nothing() {
    for outcome in [FenceOutcome::Failed("no".into()), FenceOutcome::Unknown("lost".into())] {
        let mut case = Case::new();
        case.run("db@n3");
        case.suspect("n3");
        let attempt = case.fence("n3", "n1");
        case.result(attempt, outcome.clone()).unwrap();
        assert_eq!(case.state.claims.len(), 1, "{outcome:?}");
        assert_eq!(case.membership("n3"), Membership::Suspect);
        assert!(matches!(case.result(attempt, FenceOutcome::Off), Err(Refusal::NoAttempt { .. })), "too late");
        case.fence("n3", "n2");
    }
}

#[test]
fn nobody_is_fenced_without_suspicion_by_itself_or_with_other_devices() {
    let mut case = Case::new();
    assert!(matches!(case.ask(case.fence_command("n3", "n1")), Err(Refusal::NotAllowed { .. })));
    case.suspect("n3");
    let mut wrong = case.fence_command("n3", "n1");
    if let Command::FenceStart { devices, .. } = &mut wrong {
        devices.clear();
    }
    assert!(matches!(case.ask(wrong), Err(Refusal::NotAllowed { .. })));
    assert!(matches!(case.ask(case.fence_command("n3", "n3")), Err(Refusal::NotOnline { .. })));
    case.suspect("n2");
    assert!(matches!(case.ask(case.fence_command("n3", "n2")), Err(Refusal::NotOnline { .. })));
    let mut old = case.fence_command("n3", "n1");
    if let Command::FenceStart { boot, .. } = &mut old {
        *boot = incarnation("n3", 9, 1).boot;
    }
    assert!(matches!(case.ask(old), Err(Refusal::StaleIncarnation { .. })));
}

#[test]
fn one_attempt_at_a_time_until_its_deadline() {
    let mut case = Case::new();
    case.suspect("n3");
    let first = case.fence("n3", "n1");
    assert_eq!(case.ask(case.fence_command("n3", "n2")), Err(Refusal::AttemptOpen { attempt: first }));
    case.tick(20_000);
    assert!(matches!(case.state.attempts[&first].outcome, Some(FenceOutcome::Unknown(_))));
    let second = case.fence("n3", "n2");
    assert!(matches!(case.result(first, FenceOutcome::Off), Err(Refusal::NoAttempt { .. })));
    case.result(second, FenceOutcome::Off).unwrap();
}

#[test]
fn an_attempt_ends_with_the_daemon_that_made_it() {
    let mut case = Case::new();
    case.suspect("n3");
    let attempt = case.fence("n3", "n2");
    case.ok(Case::join("n2", 1, 2));
    assert!(matches!(case.state.attempts[&attempt].outcome, Some(FenceOutcome::Unknown(_))));
    let stale = Command::FenceResult { attempt, executor: incarnation("n2", 1, 1), outcome: FenceOutcome::Off };
    assert!(case.ask(stale).is_err());
}

#[test]
fn a_suspect_executor_may_be_replaced_at_once() {
    let mut case = Case::new();
    case.suspect("n3");
    let first = case.fence("n3", "n2");
    case.suspect("n2");
    let second = case.fence("n3", "n1");
    assert!(first < second && case.state.attempts[&first].outcome.is_some());
}

#[test]
fn a_new_boot_stays_joining_until_the_attempt_against_its_node_ends() {
    for ends in [0, 1, 2] {
        let mut case = Case::new();
        case.run("db@n3");
        case.suspect("n3");
        let attempt = case.fence("n3", "n2");
        case.reboot("n3", 2);
        assert_eq!(case.membership("n3"), Membership::Joining);
        assert!(case.state.claims.is_empty(), "the reboot itself is evidence");
        case.assign("db@n3", Role::Started);
        assert!(matches!(case.claim("db@n3"), Err(Refusal::NotOnline { .. })));
        match ends {
            0 => case.result(attempt, FenceOutcome::Failed("no".into())).unwrap(),
            1 => case.tick(20_000),
            // Nobody is left to report: it must not wait for ever.
            _ => case.reboot("n2", 2),
        }
        assert_eq!(case.membership("n3"), Membership::Online, "{ends}");
    }
}

#[test]
fn a_late_off_of_the_old_boot_says_nothing_of_the_new_one() {
    let mut case = Case::new();
    case.suspect("n3");
    let attempt = case.fence("n3", "n1");
    case.reboot("n3", 2);
    case.result(attempt, FenceOutcome::Off).unwrap();
    assert_eq!(case.membership("n3"), Membership::Online);
    assert!(!case.state.nodes["n3"].burnt.contains(&incarnation("n3", 2, 1).boot));
}

#[test]
fn a_restarted_daemon_of_the_victim_waits_too_and_is_burnt_by_the_result() {
    let mut case = Case::new();
    case.run("db@n3");
    case.suspect("n3");
    let attempt = case.fence("n3", "n1");
    case.ok(Case::join("n3", 1, 2));
    assert_eq!(case.membership("n3"), Membership::Joining);
    case.result(attempt, FenceOutcome::Off).unwrap();
    assert_eq!(case.membership("n3"), Membership::Fenced);
    assert!(case.state.claims.is_empty());
}

#[test]
fn a_failed_stop_or_an_operator_may_have_a_heard_node_fenced() {
    let mut case = Case::new();
    let (by, reason) = ("ann".to_owned(), "smoke".to_owned());
    let scope = Scope::Node("n3".into());
    case.ok(Command::SetOverride { scope, kind: OverrideKind::Fence, by, reason, expires_ms: None });
    let attempt = case.fence("n3", "n1");
    assert_eq!(case.membership("n3"), Membership::Suspect);
    case.result(attempt, FenceOutcome::Off).unwrap();
    assert!(case.state.overrides.is_empty(), "done");
}

#[test]
fn an_operators_wish_to_fence_ends_with_the_boot_it_was_about() {
    let mut case = Case::new();
    let (by, reason) = ("ann".to_owned(), "smoke".to_owned());
    let scope = Scope::Node("n3".into());
    case.ok(Command::SetOverride { scope, kind: OverrideKind::Fence, by, reason, expires_ms: None });
    case.ok(Case::join("n3", 1, 2));
    assert_eq!(case.state.overrides.len(), 1, "a restarted daemon is no reboot");
    case.reboot("n3", 2);
    assert!(case.state.overrides.is_empty());
}

#[test]
fn a_device_that_fails_its_check_is_news_once_and_again_when_it_answers() {
    let mut case = Case::new();
    let device = case.state.spec().unwrap().devices.keys().next().unwrap().clone();
    let checked = |incarnation, error: Option<&str>| Command::DeviceChecked {
        node: "n2".into(),
        incarnation,
        device: device.clone(),
        error: error.map(Into::into),
    };
    let now = incarnation("n2", 1, 1);
    assert_eq!(case.ask(checked(now.clone(), None)), Err(Refusal::NothingToDo));
    assert!(case.ask(checked(incarnation("n2", 1, 9), Some("no answer"))).is_err(), "only its own daemon may say so");
    case.ok(checked(now.clone(), Some("no answer")));
    assert_eq!(case.ask(checked(now.clone(), Some("still none"))), Err(Refusal::NothingToDo));
    assert_eq!(case.state.nodes["n2"].bad_devices[&device].why, "no answer");
    case.ok(checked(now.clone(), None));
    assert!(case.state.nodes["n2"].bad_devices.is_empty());
    let stranger = Command::DeviceChecked {
        node: "n2".into(),
        incarnation: now.clone(),
        device: "nothing".into(),
        error: Some("no".into()),
    };
    assert!(matches!(case.ask(stranger), Err(Refusal::NotAllowed { .. })), "the state does not grow by names");
    case.ok(checked(now, Some("no answer")));
    case.reboot("n2", 2);
    assert!(case.state.nodes["n2"].bad_devices.is_empty(), "that boot's word went with it");
}

#[test]
fn untested_levels_do_not_count_where_tests_are_required() {
    let mut case = Case::new();
    case.world.spec.cluster.fencing.require_tested = true;
    case.push("2");
    case.run("db@n3");
    case.suspect("n3");
    let attempt = case.fence("n3", "n1");
    case.result(attempt, FenceOutcome::Off).unwrap();
    assert_eq!(case.state.claims.len(), 1);
    let digest = State::level_digest(&case.state.nodes["n3"], 0).unwrap();
    let trust =
        |digest| Command::Trust { node: "n3".into(), level: 0, digest, by: "ann".into(), reason: "seen".into() };
    assert!(case.ask(trust(Digest::of(b"other"))).is_err());
    case.ok(trust(digest));
    let attempt = case.fence("n3", "n1");
    case.result(attempt, FenceOutcome::Off).unwrap();
    assert!(case.state.claims.is_empty());
}

#[test]
fn the_second_half_of_a_reboot_is_the_executors_or_the_leaders() {
    let mut case = Case::new();
    case.suspect("n3");
    let attempt = case.fence("n3", "n2");
    case.result(attempt, FenceOutcome::Off).unwrap();
    let on = |executor| Command::SwitchedOn { attempt, executor, error: None };
    assert!(case.ask(on(incarnation("n9", 1, 1))).is_err());
    case.ok(Case::join("n2", 1, 2));
    case.ok(on(incarnation("n2", 1, 2)));
    assert_eq!(case.state.attempts[&attempt].on, SwitchOn::Done);
    assert!(case.ask(on(incarnation("n1", 1, 1))).is_err(), "done is done");
}

#[test]
fn a_node_that_is_fenced_too_often_stays_off() {
    let mut case = Case::new();
    let most = case.world.spec.cluster.fencing.max_fences as u64;
    for boot in 1..=most + 1 {
        case.suspect("n3");
        let attempt = case.fence("n3", "n1");
        case.result(attempt, FenceOutcome::Off).unwrap();
        let on = case.state.attempts[&attempt].on.clone();
        assert_eq!(on == SwitchOn::Wanted, boot <= most, "{boot}");
        case.ok(Case::join("n3", boot + 1, 1));
    }
    assert!(!case.state.alarms.is_empty());
}

#[test]
fn a_test_is_one_attempt_and_leaves_the_node_alone_if_it_fails() {
    for outcome in [FenceOutcome::Failed("no answer".into()), FenceOutcome::Unknown("lost".into())] {
        let mut case = Case::new();
        let (by, reason) = ("ann".to_owned(), String::new());
        let kind = OverrideKind::TestFence { level: 0 };
        case.ok(Command::SetOverride { scope: Scope::Node("n3".into()), kind, by, reason, expires_ms: None });
        assert!(case.state.fence_asked(&"n3".into()).is_some(), "it may be fenced while it is heard");
        let attempt = case.fence("n3", "n1");
        case.result(attempt, outcome).unwrap();
        assert!(case.state.overrides.is_empty() && case.state.fence_asked(&"n3".into()).is_none());
        let suspicion = case.state.nodes["n3"].suspicion.clone().unwrap();
        let (node, boot) = ("n3".into(), case.state.nodes["n3"].incarnation.boot.clone());
        case.ok(Command::Clear { leader: case.leader(), node, boot, number: suspicion.number });
        assert_eq!(case.membership("n3"), Membership::Online);
    }
}

#[test]
fn a_wish_to_fence_outlives_a_failed_attempt() {
    let mut case = Case::new();
    let (by, reason, kind) = ("ann".to_owned(), String::new(), OverrideKind::Fence);
    case.ok(Command::SetOverride { scope: Scope::Node("n3".into()), kind, by, reason, expires_ms: None });
    let attempt = case.fence("n3", "n1");
    case.result(attempt, FenceOutcome::Failed("no answer".into())).unwrap();
    assert!(case.state.fence_asked(&"n3".into()).is_some());
}

#[test]
fn who_vouches_for_a_level_says_why_and_it_is_told() {
    let mut case = Case::new();
    let digest = State::level_digest(&case.state.nodes["n3"], 0).unwrap();
    let (by, reason) = ("ann".to_owned(), "pulled the plug".repeat(100));
    case.ok(Command::Trust { node: "n3".into(), level: 0, digest, by, reason });
    let key = TrustKey { node: "n3".into(), level: 0, digest };
    assert_eq!(case.state.trust[&key].reason.len(), 300, "bounded");
}

/// The boot of n3 was proven off by level 0, and is heard.
fn lied() -> Case {
    let mut case = Case::new();
    case.suspect("n3");
    let attempt = case.fence("n3", "n1");
    case.result(attempt, FenceOutcome::Off).unwrap();
    let boot = incarnation("n3", 1, 1).boot;
    case.ok(Command::Contradiction { leader: case.leader(), node: "n3".into(), boot });
    case
}

#[test]
fn a_level_that_lied_is_not_trusted_for_the_boot_that_ended_some_other_way() {
    let mut case = lied();
    case.reboot("n3", 2);
    assert!(case.state.trust.is_empty(), "{:?}", case.state.trust);
}

#[test]
fn a_lie_is_remembered_as_long_as_the_boot_counts_that_it_was_about() {
    let mut case = lied();
    for _ in 0..100 {
        let attempt = case.fence("n3", "n2");
        case.result(attempt, FenceOutcome::Failed("no answer".into())).unwrap();
    }
    let outcomes: Vec<_> = case.state.attempts.values().map(|attempt| attempt.outcome.clone()).collect();
    assert_eq!(outcomes.len(), 32);
    assert_eq!(outcomes[0], Some(FenceOutcome::Off));
}
