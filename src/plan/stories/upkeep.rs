//! Probes, fencing, failures, overrides, changes: what keeps a resource alive.

use super::*;

#[test]
fn an_idle_cluster_changes_nothing() {
    let mut w = two();
    w.resources(&["a", "b"]).runs(&["a@n1", "b@n2"]);
    assert!(w.assign().changes(&w.state).is_empty());
    assert_eq!(w.steps(), "");
    assert_eq!(verdict(&w, "a"), Verdict::Keep);
}

#[test]
fn resources_spread_over_the_nodes_by_name() {
    let mut w = two();
    w.resources(&["a", "b", "c"]);
    assert_eq!(w.placed(), "a@n1 b@n2 c@n1");
    assert_eq!(w.steps(), "!Start a@n1, !Start b@n2, !Start c@n1");
}

#[test]
fn a_reason_alone_is_no_change() {
    let mut w = two();
    w.resources(&["a"]).commit();
    w.state.assignment.get_mut(&id("a")).unwrap().to.reason = Reason::TargetRole;
    assert!(w.assign().changes(&w.state).is_empty());
}

#[test]
fn a_start_waits_for_every_nodes_word() {
    let mut w = two();
    w.resources(&["a"]).unprobe("a", "n2");
    assert_eq!(w.steps(), "!Probe a@n2, Start a@n1");
    assert_eq!(verdict(&w, "a"), Verdict::Wait(Reason::NotProbed { node: "n2".into() }));
    w.state.nodes.get_mut("n2").unwrap().membership = Membership::Left;
    assert_eq!(w.steps(), "!Start a@n1");
}

#[test]
fn an_old_boots_word_does_not_count() {
    let mut w = two();
    w.resources(&["a"]);
    w.state.nodes.get_mut("n2").unwrap().incarnation.boot = "another".into();
    assert_eq!(w.steps(), "!Probe a@n2, Start a@n1");
}

#[test]
fn nodes_are_asked_in_maintenance_too() {
    let mut w = two();
    w.resources(&["a"]).unprobe("a", "n2").over(Scope::Cluster, OverrideKind::Maintenance);
    assert_eq!(w.steps(), "!Probe a@n2");
}

#[test]
fn a_witness_is_neither_asked_nor_used() {
    let mut w = two();
    w.node("n3", NodeRole::Witness).resources(&["a"]).unprobe("a", "n3");
    assert_eq!(w.steps(), "!Start a@n1");
}

#[test]
fn a_clone_is_asked_for_under_number_nought() {
    let mut w = two();
    w.resources(&["a"]).unprobe("a", "n1").cloned("a-clone", "a");
    assert_eq!(w.steps(), "!Probe a:0@n1, Start a:0@n1, Start a:1@n2");
}

#[test]
fn a_lost_node_is_fenced_before_its_resource_starts_elsewhere() {
    let mut w = two();
    w.resources(&["a"]).runs(&["a@n1"]).suspect("n1");
    assert_eq!(w.placed(), "a@n2");
    let fence = w.assign().fence;
    assert_eq!((fence.len(), &fence[0].node, &fence[0].executor), (1, &"n1".into(), &"n2".into()));
    assert_eq!(w.steps(), "Start a@n2, Fence n1");
    assert_eq!(verdict(&w, "a"), Verdict::Wait(Reason::Fencing { node: "n1".into() }));
    assert_eq!(w.play(), "Fence n1, Start a@n2");
}

#[test]
fn a_lost_node_with_nothing_on_it_is_left_alone() {
    let mut w = two();
    w.resources(&["a"]).runs(&["a@n2"]).suspect("n1");
    assert!(w.assign().fence.is_empty());
}

#[test]
fn a_lost_node_that_never_answered_holds_a_start_up() {
    let mut w = three();
    w.resources(&["a"]).unprobe("a", "n3").suspect("n3");
    assert_eq!(w.assign().fence.len(), 1);
    assert_eq!(w.steps(), "Start a@n1, Fence n3");
}

#[test]
fn without_fencing_a_lost_nodes_resources_stay_blocked() {
    let mut w = two();
    w.resources(&["a"]).runs(&["a@n1"]).suspect("n1");
    w.spec.cluster.fencing.enabled = false;
    assert_eq!(w.placed(), "a@n1");
    assert!(w.assign().fence.is_empty());
    assert!(matches!(w.assign().verdicts[&id("a")], Verdict::Blocked(Reason::NotProvenOff { .. })));
    assert!(matches!(verdict(&w, "a"), Verdict::Blocked(Reason::NotProvenOff { .. })));
    assert_eq!(w.steps(), "");
}

#[test]
fn a_resource_that_only_one_node_may_run_fences_nobody() {
    let mut w = two();
    w.resources(&["a"]).runs(&["a@n1"]).suspect("n1").locate("a", "n1", Strength::Required, 0);
    assert!(w.assign().fence.is_empty());
    assert_eq!(w.placed(), "a@n1");
}

#[test]
fn no_second_attempt_while_one_is_open() {
    let mut w = three();
    w.resources(&["a"]).runs(&["a@n1"]).suspect("n1").attempt("n1", 0, "n2");
    assert!(w.assign().fence.is_empty());
    w.state.now_ms += 60_000;
    // Past its deadline the level failed; the pause between rounds begins there.
    assert!(w.assign().fence.is_empty());
    w.state.now_ms += 10_000;
    assert_eq!(w.assign().fence[0].executor, "n3".into());
}

#[test]
fn a_lost_executor_is_replaced_at_once_on_the_same_level() {
    let mut w = three();
    w.resources(&["a"]).levels("n1", 2).runs(&["a@n1"]).suspect("n1").attempt("n1", 0, "n2");
    assert!(w.assign().fence.is_empty());
    w.suspect("n2");
    let fence = w.assign().fence;
    assert_eq!((fence.len(), fence[0].level, &fence[0].executor), (1, 0, &"n3".into()));
}

#[test]
fn what_waits_for_a_fencing_that_failed_says_so() {
    let mut w = two();
    w.resources(&["a"]).runs(&["a@n1"]).suspect("n1");
    let now_ms = w.state.now_ms;
    let first = w.attempt("n1", 0, "n2");
    (first.outcome, first.ended_ms) = (Some(FenceOutcome::Failed("no answer".into())), now_ms);
    assert!(matches!(verdict(&w, "a"), Verdict::Blocked(Reason::FencingFailed { .. })));
    assert_eq!(w.state.next_expiry_ms(), Some(now_ms + 10_000), "the next round needs the time to advance");
    w.state.now_ms += 10_000;
    assert_eq!(w.assign().fence.len(), 1);
    assert_eq!(w.state.next_expiry_ms(), None);
}

#[test]
fn the_next_level_follows_at_once_and_the_round_after_a_pause() {
    let mut w = three();
    w.resources(&["a"]).levels("n1", 2).runs(&["a@n1"]).suspect("n1");
    let now_ms = w.state.now_ms;
    let first = w.attempt("n1", 0, "n2");
    (first.outcome, first.ended_ms) = (Some(FenceOutcome::Failed("no".into())), now_ms);
    assert_eq!(w.assign().fence[0].level, 1);
    let second = w.attempt("n1", 1, "n2");
    (second.outcome, second.ended_ms) = (Some(FenceOutcome::Unknown("lost".into())), now_ms);
    assert!(w.assign().fence.is_empty());
    w.state.now_ms += 10_000;
    assert_eq!((w.assign().fence[0].level, &w.assign().fence[0].executor), (0, &"n3".into()));
}

#[test]
fn a_node_fenced_too_often_stays_off() {
    let mut w = two();
    w.resources(&["a"]).runs(&["a@n1"]).suspect("n1");
    assert_eq!(w.assign().fence[0].action, FencingAction::Reboot);
    w.state.nodes.get_mut("n1").unwrap().fenced_ms = vec![999_000; 3];
    assert_eq!(w.assign().fence[0].action, FencingAction::Off);
}

#[test]
fn a_failure_that_must_be_fenced_takes_the_whole_node() {
    let mut w = two();
    w.resources(&["a", "b"]).runs(&["a@n1", "b@n1"]).failed("a@n1", FailureKind::TimedOut).fence = true;
    assert_eq!(w.steps(), "Start a@n2, Start b@n2, Fence n1");
    assert_eq!(w.assign().fence.len(), 1);
}

#[test]
fn a_failed_stop_that_cannot_be_fenced_blocks() {
    let mut w = two();
    w.resources(&["a"]).runs(&["a@n1"]).failed("a@n1", FailureKind::Failed).blocked = true;
    assert_eq!(w.steps(), "");
    assert_eq!(w.placed(), "a@n1");
    assert!(matches!(verdict(&w, "a"), Verdict::Blocked(Reason::FailedBlocked { .. })));
}

#[test]
fn what_died_is_settled_and_started_in_place() {
    let mut w = two();
    w.resources(&["a", "b"]).runs(&["a@n2"]).failed("a@n2", FailureKind::Died);
    assert_eq!(w.play(), "Start b@n1, Stop a@n2, Start a@n2");
}

#[test]
fn too_many_failures_move_it_until_they_are_forgotten() {
    let mut w = two();
    w.resources(&["a"]).runs(&["a@n1"]).record("a@n1", 3);
    assert_eq!(w.placed(), "a@n2");
    assert_eq!(w.steps(), "Start a@n2, !Stop a@n1");
    w.state.now_ms += 600_000;
    assert_eq!(w.placed(), "a@n1");
}

#[test]
fn threshold_nought_never_bans() {
    let mut w = two();
    w.resources(&["a"]).runs(&["a@n1"]).record("a@n1", 99);
    w.resource("a").failure.threshold = 0;
    assert_eq!(w.steps(), "");
}

#[test]
fn a_failed_start_goes_elsewhere_and_comes_back_after_a_pause() {
    let mut w = two();
    w.resources(&["a"]);
    let later = w.state.now_ms + 5_000;
    for node in ["a@n1", "a@n2"] {
        let record = w.record(node, 1);
        (record.start_failed, record.retry_ms) = (true, later);
    }
    assert_eq!(w.placed(), "");
    assert!(matches!(w.assign().verdicts[&id("a")], Verdict::Wait(Reason::Backoff { .. })));
    w.state.now_ms = later;
    assert_eq!(w.steps(), "!Start a@n1");
    w.state.history.remove(&key("a@n2"));
    assert_eq!(w.placed(), "a@n2", "nothing failed there, so it comes before another try");
}

#[test]
fn on_fail_move_stop_and_standby() {
    let mut w = two();
    w.resources(&["a", "b"]).runs(&["a@n1", "b@n1"]).record("a@n1", 1).moved = true;
    assert_eq!(w.placed(), "a@n2 b@n1");
    w.record("a@n1", 1).stopped = true;
    assert_eq!(w.placed(), "b@n1");
    w.record("a@n1", 1).standby = true;
    assert_eq!(w.placed(), "a@n2 b@n2");
}

#[test]
fn a_node_without_the_program_is_banned() {
    let mut w = two();
    w.resources(&["a"]).probe("a", "n1", Reading::NotInstalled);
    assert_eq!(w.steps(), "!Start a@n2");
}

#[test]
fn a_drained_node_is_emptied() {
    let mut w = two();
    w.resources(&["a"]).runs(&["a@n1"]).drain("n1");
    assert_eq!(w.steps(), "Start a@n2, !Stop a@n1");
    let graph = w.graph();
    assert_eq!(graph.ready(&"n1".into()).next().unwrap().reason, Reason::Draining { node: "n1".into() });
    assert_eq!(w.play(), "Stop a@n1, Start a@n2");
}

#[test]
fn an_expired_override_is_no_more() {
    let mut w = two();
    w.resources(&["a"]).runs(&["a@n1"]);
    w.over(Scope::Node("n1".into()), OverrideKind::Drain).expires_ms = Some(1_000_000);
    assert_eq!(w.steps(), "");
}

#[test]
fn a_move_is_beaten_by_a_ban() {
    let mut w = three();
    w.resources(&["a"]).runs(&["a@n1"]);
    w.over(Scope::Resource("a".into()), OverrideKind::Move { to: "n3".into() });
    assert_eq!(w.placed(), "a@n3");
    w.locate("a", "n3", Strength::Forbidden, 0);
    assert_eq!(w.placed(), "a@n1");
}

#[test]
fn a_ban_by_an_operator_moves_it() {
    let mut w = two();
    w.resources(&["a"]).runs(&["a@n1"]);
    w.over(Scope::Resource("a".into()), OverrideKind::Ban { node: "n1".into() });
    assert_eq!(w.placed(), "a@n2");
}

#[test]
fn stopped_by_target_role_and_by_override() {
    let mut w = two();
    w.resources(&["a", "b"]).runs(&["a@n1", "b@n1"]).resource("a").target_role = TargetRole::Stopped;
    w.over(Scope::Resource("b".into()), OverrideKind::Stop);
    assert_eq!(w.steps(), "!Stop a@n1, !Stop b@n1");
    assert_eq!(w.play(), "Stop a@n1, Stop b@n1");
}

#[test]
fn unmanaged_resources_are_left_alone_but_counted() {
    let mut w = two();
    w.resources(&["a", "b"]).runs(&["a@n1"]).colocate("b", "a", Strength::Required, 0);
    w.failed("a@n1", FailureKind::Died);
    w.resource("a").managed = false;
    assert_eq!(w.steps(), "!Start b@n1");
    assert_eq!(verdict(&w, "a"), Verdict::Blocked(Reason::Unmanaged));
}

#[test]
fn a_node_in_maintenance_keeps_what_it_has_and_gets_nothing() {
    let mut w = two();
    w.resources(&["a", "b"]).runs(&["a@n1"]).over(Scope::Node("n1".into()), OverrideKind::Maintenance);
    w.failed("a@n1", FailureKind::Died);
    assert_eq!(w.steps(), "!Start b@n2");
}

#[test]
fn a_resource_gone_from_git_is_stopped() {
    let mut w = two();
    w.resources(&["a"]).runs(&["a@n1"]).spec.resources.clear();
    let changes = w.assign().changes(&w.state);
    assert!(changes.len() == 1 && changes[0].to.is_none());
    assert_eq!(w.steps(), "!Stop a@n1");
}

#[test]
fn a_renamed_resource_waits_for_its_old_self() {
    let mut w = two();
    w.resources(&["a", "b"]).runs(&["a@n1"]);
    w.resource("b").params = w.spec.resources["a"].params.clone();
    let mut unprobed = two();
    unprobed.resources(&["a", "b"]).runs(&["a@n1"]);
    unprobed.resource("b").params = unprobed.spec.resources["a"].params.clone();
    unprobed.spec.resources.remove("a");
    assert_eq!(unprobed.steps(), "Probe b@n1, Probe b@n2, Start b@n1, !Stop a@n1", "a probe would see the old one");
    w.probe_all().spec.resources.remove("a");
    assert_eq!(w.steps(), "Start b@n1, !Stop a@n1");
}

#[test]
fn changed_parameters_restart_it() {
    let mut w = two();
    w.resources(&["a"]).runs(&["a@n1"]).resource("a").params.insert("x".into(), "1".into());
    assert_eq!(w.steps(), "!Probe a@n2, Start a@n1, !Stop a@n1");
    assert_eq!(w.play(), "Stop a@n1, Start a@n1");
}

#[test]
fn a_secret_that_was_sealed_anew_restarts_it_and_one_that_only_moved_does_not() {
    let sealed = |line: u32, text: &[u8]| {
        let at = Origin { file: "a.yaml".into(), line, column: 1 };
        SecretRef::Age(AgeSecret { at, seal: Digest::of(text), recipients: Vec::new(), armor: line.to_string() })
    };
    let mut w = two();
    w.resources(&["a"]).resource("a").secrets.insert("passwd".into(), sealed(7, b"one"));
    w.runs(&["a@n1"]).probe("a", "n2", Reading::Stopped);
    w.resource("a").secrets.insert("passwd".into(), sealed(9, b"one"));
    assert_eq!(w.steps(), "");
    w.resource("a").secrets.insert("passwd".into(), sealed(9, b"two"));
    assert_eq!(w.play(), "Stop a@n1, Start a@n1");
    w.resource("a").secrets.clear();
    assert_eq!(w.play(), "Stop a@n1, Start a@n1");
}

#[test]
fn a_node_that_an_operator_wants_off_is_fenced_while_it_is_heard() {
    let mut w = two();
    w.resources(&["a"]).runs(&["a@n2"]).over(Scope::Node("n1".into()), OverrideKind::Fence);
    assert_eq!(w.assign().fence[0].node, "n1".into());
    assert_eq!(w.steps(), "");
    w.drain("n2");
    assert_eq!(w.placed(), "", "nothing is given to a node that is about to go");
}

#[test]
fn a_watchdog_needs_no_attempt() {
    let mut w = two();
    w.spec.devices.values_mut().for_each(|device| device.agent = "watchdog".into());
    w.document("n1");
    w.resources(&["a"]).runs(&["a@n1"]).suspect("n1");
    assert_eq!(w.placed(), "a@n2");
    assert!(w.assign().fence.is_empty());
    assert_eq!(w.steps(), "Start a@n2");
    assert_eq!(verdict(&w, "a"), Verdict::Wait(Reason::NodeLost { node: "n1".into() }));
}

#[test]
fn a_node_removed_from_git_is_emptied() {
    let mut w = two();
    w.resources(&["a"]).runs(&["a@n1"]).spec.nodes.remove("n1");
    assert_eq!(w.play(), "Stop a@n1, Start a@n2");
}

#[test]
fn a_failed_stop_on_the_only_node_waits_for_an_operator() {
    let mut w = World::new(&["n1"]);
    w.resources(&["a"]).runs(&["a@n1"]).failed("a@n1", FailureKind::TimedOut).fence = true;
    assert!(w.assign().fence.is_empty());
    assert_eq!(w.steps(), "");
    assert!(matches!(verdict(&w, "a"), Verdict::Blocked(Reason::FailedBlocked { .. })));
}

#[test]
fn a_witness_fences_where_nobody_else_can() {
    let mut w = two();
    w.node("n3", NodeRole::Witness).resources(&["a"]).runs(&["a@n1"]).suspect("n1");
    assert_eq!(w.assign().fence[0].executor, "n2".into());
    w.state.nodes.get_mut("n2").unwrap().membership = Membership::Left;
    assert_eq!(w.assign().fence[0].executor, "n3".into());
}

#[test]
fn parameters_that_the_agent_takes_over_disturb_nobody() {
    let mut w = two();
    w.resources(&["a", "b"]).order("a", "b");
    w.runs(&["a@n1", "b@n1"]).resource("a").params.insert("size".into(), "1".into());
    let agent = w.resource("a").agent.clone();
    let reload = Some(Reload { legacy: false, params: ["size".to_owned()].into() });
    w.spec.agents.insert(agent, AgentTraits { unique: Default::default(), reload });
    w.probe("a", "n2", Reading::Stopped);
    assert_eq!(w.clone().play(), "Stop b@n1, Stop a@n1, Start a@n1, Start b@n1", "not every program knows how");
    w.state.feature_level = 2;
    assert_eq!(w.steps(), "!Reload a@n1");
    let predicted = crate::plan::predict(&w.spec, &w.state);
    assert_eq!((predicted.len(), predicted[0].kind), (1, crate::plan::PredictedKind::Reload));
    let mut other = w.clone();
    other.resource("a").params.insert("state".into(), "/elsewhere".into());
    assert_eq!(other.play(), "Stop b@n1, Stop a@n1, Start a@n1, Start b@n1");
    // Once begun it is seen to its end, and a failed one is followed by a stop.
    w.claim("a@n1", Phase::Reloading, Role::Started);
    w.resource("a").params.insert("state".into(), "/elsewhere".into());
    w.probe("a", "n2", Reading::Stopped);
    assert_eq!(w.steps(), "!Reload a@n1");
    w.failed("a@n1", FailureKind::Failed).action = ActionKind::Reload;
    assert_eq!(w.play(), "Stop b@n1, Stop a@n1, Start a@n1, Start b@n1");
}

#[test]
fn a_test_of_one_level_uses_that_level_alone() {
    let mut w = two();
    w.spec.nodes.get_mut("n1").unwrap().fencing = vec![vec!["pdu-n1".into()], vec!["pdu-n2".into()]];
    w.document("n1");
    w.resources(&["a"]).runs(&["a@n2"]).over(Scope::Node("n1".into()), OverrideKind::TestFence { level: 1 });
    let fence = w.assign().fence;
    assert_eq!((fence.len(), fence[0].level, fence[0].devices.clone()), (1, 1, vec!["pdu-n2".into()]));
    // Tried before, for other reasons: the test is about this level all the same.
    let now_ms = w.state.now_ms;
    let before = w.attempt("n1", 1, "n2");
    (before.outcome, before.ended_ms) = (Some(FenceOutcome::Failed("no".into())), now_ms);
    assert_eq!(w.assign().fence[0].level, 1);
    w.state.overrides.clear();
    assert!(w.assign().fence.is_empty(), "and when it is over nobody wants it off");
}
