//! Nodes: joining, leaving, suspicion, evidence.

use super::*;

#[test]
fn a_restarted_daemon_takes_its_claims_over_and_must_look_again() {
    let mut case = Case::new();
    case.run("db@n1");
    let before = case.held("db@n1").clone();
    case.ok(Case::join("n1", 1, 2));
    let after = case.held("db@n1");
    assert_eq!((after.epoch, after.phase), (before.epoch, before.phase));
    assert_eq!(after.incarnation, incarnation("n1", 1, 2));
    assert_eq!(after.changed_at, case.state.index, "what the old daemon saw is stale");
    assert!(!case.state.is_probed(&"web".into(), &"n1".into()));
    let old = Command::Release { key: key("db@n1"), epoch: before.epoch, incarnation: before.incarnation };
    assert!(matches!(case.ask(old), Err(Refusal::StaleIncarnation { .. })));
}

#[test]
fn a_new_boot_is_evidence_against_the_old_one_which_is_burnt() {
    let mut case = Case::new();
    case.run("db@n2");
    case.reboot("n2", 2);
    assert!(case.state.claims.is_empty());
    assert!(matches!(case.ask(Case::join("n2", 1, 5)), Err(Refusal::BurntBoot { .. })));
    assert_eq!(case.membership("n2"), Membership::Online);
}

#[test]
fn a_new_boot_is_not_let_in_before_the_leader_says_that_the_old_one_is_over() {
    let mut case = Case::new();
    case.run("db@n2");
    let old = incarnation("n2", 1, 1).boot;
    let counts = Err(Refusal::OldBootCounts { node: "n2".into(), boot: old.clone() });
    assert_eq!(case.ask(Case::join("n2", 2, 1)), counts, "heard or not, nobody has said so");
    case.suspect("n2");
    assert_eq!(case.ask(Case::join("n2", 2, 1)), counts, "silence is no proof either");
    assert!(case.state.claims.contains_key(&key("db@n2")));
    let over = |leader, boot: &BootId| Command::Rebooted { leader, node: "n2".into(), boot: boot.clone() };
    assert_eq!(case.ask(over(incarnation("n9", 1, 1), &old)), Err(Refusal::NotLeader));
    assert!(case.ask(over(case.leader(), &incarnation("n2", 2, 1).boot)).is_err(), "the boot that counts is meant");
    case.ok(over(case.leader(), &old));
    assert!(case.state.claims.is_empty());
    case.ok(Case::join("n2", 2, 1));
    assert_eq!(case.membership("n2"), Membership::Online);
    assert!(matches!(case.ask(Case::join("n2", 1, 5)), Err(Refusal::BurntBoot { .. })));
}

#[test]
fn a_node_that_left_comes_back_with_a_new_boot_without_a_word_of_the_leader() {
    let mut case = Case::new();
    case.ok(Command::Leave { node: "n3".into(), incarnation: incarnation("n3", 1, 1) });
    case.ok(Case::join("n3", 2, 1));
    assert_eq!(case.membership("n3"), Membership::Online);
}

#[test]
fn an_older_daemon_start_does_not_join_and_the_same_one_may_twice() {
    let mut case = Case::new();
    case.ok(Case::join("n1", 1, 3));
    let joined = case.state.nodes["n1"].joined_at;
    case.ok(Case::join("n1", 1, 3));
    assert_eq!(case.state.nodes["n1"].joined_at, joined, "an answer was lost, nothing more");
    assert!(matches!(case.ask(Case::join("n1", 1, 2)), Err(Refusal::StaleIncarnation { .. })));
}

#[test]
fn a_node_that_left_joins_with_its_next_daemon_only() {
    let mut case = Case::new();
    case.run("db@n3");
    let leave = Command::Leave { node: "n3".into(), incarnation: incarnation("n3", 1, 1) };
    assert!(matches!(case.ask(leave.clone()), Err(Refusal::NotAllowed { .. })), "it still holds a claim");
    case.stop("db@n3");
    case.ok(leave);
    assert_eq!(case.membership("n3"), Membership::Left);
    assert!(matches!(case.ask(Case::join("n3", 1, 1)), Err(Refusal::StaleIncarnation { .. })), "an old message");
    case.ok(Case::join("n3", 1, 2));
    assert_eq!(case.membership("n3"), Membership::Online);
}

#[test]
fn who_is_not_admitted_does_not_join_and_a_dropped_node_takes_its_burnt_boots_nowhere() {
    let mut case = Case::new();
    assert!(matches!(case.ask(Case::join("n9", 1, 1)), Err(Refusal::NotAllowed { .. })));
    case.suspect("n3");
    let boot = incarnation("n3", 1, 1).boot;
    let (by, reason) = ("ann".to_owned(), "I pulled the plug".to_owned());
    case.ok(Command::ConfirmOff { node: "n3".into(), boot, by, reason });
    assert!(matches!(case.ask(Command::Drop { node: "n3".into() }), Err(Refusal::NotAllowed { .. })), "it is listed");
    case.world.spec.nodes.remove("n3");
    case.push("2");
    case.ok(Command::Drop { node: "n3".into() });
    assert!(case.ask(Case::join("n3", 1, 2)).is_err(), "the burnt boot must not come back as a stranger");
}

#[test]
fn a_node_is_dropped_only_when_nothing_is_left_of_it() {
    let mut case = Case::new();
    case.run("db@n3");
    case.world.spec.nodes.remove("n3");
    case.push("2");
    let drop = Command::Drop { node: "n3".into() };
    assert!(case.ask(drop.clone()).is_err(), "it holds a claim");
    case.stop("db@n3");
    assert!(case.ask(drop.clone()).is_err(), "it is online");
    assert!(case.state.nodes["n3"].document.is_some(), "its document and devices stay");
    case.ok(Command::Leave { node: "n3".into(), incarnation: incarnation("n3", 1, 1) });
    case.ok(drop);
    assert!(!case.state.nodes.contains_key("n3"));
}

#[test]
fn suspicion_is_the_newest_leaders_and_names_a_boot() {
    let mut case = Case::new();
    let stranger = incarnation("n2", 1, 1);
    let boot = incarnation("n3", 1, 1).boot;
    let suspect = |leader: &Incarnation, boot: &BootId| Command::Suspect {
        leader: leader.clone(),
        node: "n3".into(),
        boot: boot.clone(),
        reason: String::new(),
    };
    assert_eq!(case.ask(suspect(&stranger, &boot)), Err(Refusal::NotLeader));
    case.ok(Command::LeaderStart { node: "n2".into(), incarnation: stranger.clone(), term: 2 });
    assert_eq!(case.ask(suspect(&incarnation("n1", 1, 1), &boot)), Err(Refusal::NotLeader));
    let older = Command::LeaderStart { node: "n1".into(), incarnation: incarnation("n1", 1, 1), term: 1 };
    assert_eq!(case.ask(older), Err(Refusal::NotLeader));
    let other = incarnation("n3", 2, 1).boot;
    assert!(matches!(case.ask(suspect(&stranger, &other)), Err(Refusal::StaleIncarnation { .. })));
    case.ok(suspect(&stranger, &boot));
    assert_eq!(case.ask(suspect(&stranger, &boot)), Err(Refusal::NothingToDo));
}

#[test]
fn a_suspicion_is_cleared_by_its_number_and_not_once_fencing_began() {
    let mut case = Case::new();
    let boot = incarnation("n3", 1, 1).boot;
    let clear =
        |case: &Case, number| Command::Clear { leader: case.leader(), node: "n3".into(), boot: boot.clone(), number };
    case.suspect("n3");
    case.ok(clear(&case, 1));
    assert_eq!(case.membership("n3"), Membership::Online);
    case.suspect("n3");
    assert_eq!(case.ask(clear(&case, 1)), Err(Refusal::NothingToDo), "that was another suspicion");
    case.fence("n3", "n1");
    assert!(matches!(case.ask(clear(&case, 2)), Err(Refusal::AttemptOpen { .. })));
}

#[test]
fn an_operator_confirms_only_what_is_silent_with_a_name_and_a_reason() {
    let mut case = Case::new();
    case.run("db@n3");
    let confirm = |boot: u64, by: &str, reason: &str| Command::ConfirmOff {
        node: "n3".into(),
        boot: incarnation("n3", boot, 1).boot,
        by: by.into(),
        reason: reason.into(),
    };
    assert!(matches!(case.ask(confirm(1, "ann", "off")), Err(Refusal::NotAllowed { .. })), "it is heard");
    case.suspect("n3");
    assert!(matches!(case.ask(confirm(2, "ann", "off")), Err(Refusal::StaleIncarnation { .. })));
    assert!(matches!(case.ask(confirm(1, "ann", " ")), Err(Refusal::NotAllowed { .. })));
    case.ok(confirm(1, "ann", "the plug is out"));
    assert!(case.state.claims.is_empty());
    assert_eq!(case.membership("n3"), Membership::Fenced);
    assert!(matches!(case.ask(Case::join("n3", 1, 2)), Err(Refusal::BurntBoot { .. })));
}

#[test]
fn overrides_come_one_of_a_kind_expire_by_ticks_and_name_what_exists() {
    let mut case = Case::new();
    let set = |scope: Scope, kind: OverrideKind, expires_ms| Command::SetOverride {
        scope,
        kind,
        by: "ann".into(),
        reason: "a test".into(),
        expires_ms,
    };
    let drain = |until| set(Scope::Node("n1".into()), OverrideKind::Drain, until);
    assert!(matches!(
        case.ask(set(Scope::Node("n9".into()), OverrideKind::Drain, None)),
        Err(Refusal::UnknownNode { .. })
    ));
    assert!(matches!(
        case.ask(set(Scope::Resource("nothing".into()), OverrideKind::Stop, None)),
        Err(Refusal::UnknownResource { .. })
    ));
    let nowhere = set(Scope::Resource("db".into()), OverrideKind::Move { to: "n9".into() }, None);
    assert!(matches!(case.ask(nowhere), Err(Refusal::UnknownNode { .. })));
    case.ok(drain(None));
    case.ok(drain(Some(case.state.now_ms + 50_000)));
    assert_eq!(case.state.overrides.len(), 1);
    case.tick(49_999);
    assert!(case.state.drained(&"n1".into()).is_some());
    case.tick(1);
    assert!(case.state.drained(&"n1".into()).is_none());
    assert_eq!(case.ask(Command::ClearOverride { id: OverrideId(1), by: "ann".into() }), Err(Refusal::NothingToDo));
}

#[test]
fn a_shutdown_ends_with_the_next_join_and_claims_outlive_every_override() {
    let mut case = Case::new();
    case.run("db@n1");
    let (by, reason) = ("n1".to_owned(), "down".to_owned());
    let scope = Scope::Node("n1".into());
    case.ok(Command::SetOverride { scope, kind: OverrideKind::Shutdown, by, reason, expires_ms: None });
    assert_eq!(case.state.claims.len(), 1);
    case.ok(Case::join("n1", 1, 2));
    assert!(case.state.overrides.is_empty());
}

#[test]
fn a_long_gap_between_ticks_expires_nothing_and_the_time_never_goes_back() {
    let mut case = Case::new();
    let scope = Scope::Node("n1".into());
    let expires_ms = Some(case.state.now_ms + 1);
    let (by, reason) = ("ann".to_owned(), "a test".to_owned());
    case.ok(Command::SetOverride { scope, kind: OverrideKind::Drain, by, reason, expires_ms });
    let before = case.state.now_ms;
    case.tick(3_600_000);
    assert_eq!(case.state.overrides.len(), 1);
    assert_eq!(case.state.alarms.len(), 1);
    assert!(case.state.now_ms > before);
    case.ok(Command::LeaderStart { node: "n2".into(), incarnation: incarnation("n2", 1, 1), term: 2 });
    let now = case.state.now_ms;
    case.ok(Command::Tick { leader: incarnation("n2", 1, 1), elapsed_ms: 0, wall_ms: 5 });
    assert_eq!(case.state.now_ms, now, "a wall clock that is behind");
    let old = Command::Tick { leader: incarnation("n1", 1, 1), elapsed_ms: 5, wall_ms: 0 };
    assert_eq!(case.ask(old), Err(Refusal::NotLeader));
}

#[test]
fn a_token_admits_one_node_and_the_same_one_again() {
    let mut case = Case::new();
    let token = Token {
        secret_hash: Digest::of(b"s"),
        role: TokenFor::Node,
        expires_ms: u64::MAX,
        by: "ann".into(),
        used_by: None,
    };
    case.ok(Command::PutToken { id: 1, token });
    let admit = |node: &str, token| Command::Admit { token, node: node.into(), addresses: Vec::new(), port: 1 };
    assert!(case.ask(admit("n1", 1)).is_err(), "there is one of that name");
    case.ok(admit("n4", 1));
    case.ok(admit("n4", 1));
    assert!(case.ask(admit("n5", 1)).is_err());
    assert!(case.ask(admit("n6", 2)).is_err());
    case.ok(Case::join("n4", 1, 1));
}

#[test]
fn feature_levels_rise_once_everybody_supports_them() {
    let mut case = Case::new();
    assert_eq!(case.ask(Command::RaiseLevel { level: 1 }), Err(Refusal::NothingToDo));
    assert!(matches!(case.ask(Command::RaiseLevel { level: FEATURE_LEVEL + 1 }), Err(Refusal::NotAllowed { .. })));
    let old = JoinFacts { feature_level: 0, ..facts() };
    let join = Command::Join { node: "n1".into(), incarnation: incarnation("n1", 1, 2), facts: old };
    assert!(matches!(case.ask(join), Err(Refusal::NotAllowed { .. })));
}

#[test]
fn going_on_alone_ends_what_the_named_nodes_held_and_nothing_else() {
    let mut case = Case::new();
    case.run("db@n2");
    case.run("drbd:0@n3");
    let recover = |generation, off: &[&str]| Command::Recover {
        node: "n1".into(),
        generation,
        off: off.iter().map(|name| NodeId::new(*name)).collect(),
        by: "ann".into(),
        reason: "the other room burnt down".into(),
    };
    assert!(matches!(case.ask(recover(1, &["n1"])), Err(Refusal::NotAllowed { .. })), "who goes on is not off");
    case.ok(recover(1, &["n2", "nobody"]));
    assert_eq!(case.state.generation, 1);
    assert_eq!(case.membership("n2"), Membership::Fenced, "online or not: the statement counts");
    let held: Vec<String> = case.state.claims.keys().map(ToString::to_string).collect();
    assert_eq!(held, ["drbd:0@n3"], "nobody said that n3 is off");
    assert!(case.state.alarms.last().is_some_and(|alarm| alarm.text.contains("burnt down")));
    // Nobody of the former generation is let in without a new token, not even with a new boot.
    assert!(matches!(case.ask(Case::join("n2", 2, 1)), Err(Refusal::NotAllowed { .. })));
    assert_eq!(case.ask(recover(1, &["n3"])), Err(Refusal::NothingToDo), "once is enough");
    case.state.admitted.insert("n2".into(), Admitted { addresses: Vec::new(), port: 7443 });
    assert!(matches!(case.ask(Case::join("n2", 1, 2)), Err(Refusal::BurntBoot { .. })));
    case.ok(Case::join("n2", 2, 1));
    assert_eq!(case.membership("n2"), Membership::Online);
}
