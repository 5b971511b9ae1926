//! One story per rule: a small cluster, what is planned, and what comes of it.
//!
//! `steps()` lists every missing step by kind; a `!` marks what can be done now. `play()` does the plan to its end.

use super::testing::{World, id, key, show};
use super::{StepKind, Verdict};
use crate::model::*;
use crate::state::{FailureKind, FenceOutcome, Membership, OverrideKind, Phase, Scope};

fn two() -> World {
    World::new(&["n1", "n2"])
}

fn three() -> World {
    World::new(&["n1", "n2", "n3"])
}

fn verdict(world: &World, instance: &str) -> Verdict {
    world.graph().verdicts().get(&id(instance)).cloned().unwrap_or(Verdict::Keep)
}

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
fn a_start_under_way_is_still_in_the_graph() {
    let mut w = two();
    w.resources(&["a", "b"]).order("a", "b");
    w.commit().claim("a@n1", Phase::Starting, Role::Started);
    assert_eq!(w.steps(), "!Start a@n1, Start b@n2");
    assert_eq!(verdict(&w, "b"), Verdict::Wait(Reason::After { instance: id("a"), role: None }));
}

#[test]
fn required_order_starts_forward_and_stops_backward() {
    let mut w = two();
    w.resources(&["a", "b"]).order("a", "b");
    assert_eq!(w.steps(), "!Start a@n1, Start b@n2");
    assert_eq!(w.state.assignment[&id("b")].to.after.len(), 1);
    assert_eq!(w.play(), "Start a@n1, Start b@n2");
    w.resource("a").target_role = TargetRole::Stopped;
    assert_eq!(w.play(), "Stop b@n2, Stop a@n1");
}

#[test]
fn what_requires_a_recovering_resource_restarts_with_it() {
    let mut w = two();
    w.resources(&["a", "b", "c"]).runs(&["a@n1", "b@n2", "c@n1"]).order("a", "b");
    w.order("b", "c");
    w.failed("a@n1", FailureKind::Died);
    assert_eq!(w.play(), "Stop c@n1, Stop b@n2, Stop a@n1, Start a@n1, Start b@n2, Start c@n1");
}

#[test]
fn asymmetric_order_does_not_stop_what_runs() {
    let mut w = two();
    w.resources(&["a", "b"]).runs(&["a@n1", "b@n2"]).order("a", "b").symmetric = false;
    w.failed("a@n1", FailureKind::Died);
    assert_eq!(w.play(), "Stop a@n1, Start a@n1");
}

#[test]
fn advisory_order_counts_only_when_both_happen() {
    let mut w = two();
    w.resources(&["a", "b"]).order("a", "b").strength = OrderStrength::Advisory;
    assert_eq!(w.steps(), "!Start a@n1, Start b@n2");
    w.resource("a").target_role = TargetRole::Stopped;
    assert_eq!(w.steps(), "!Start b@n2");
}

#[test]
fn serialised_starts_never_happen_at_once() {
    let mut w = two();
    w.resources(&["a", "b"]).order("a", "b").strength = OrderStrength::Serialize;
    assert_eq!(w.steps(), "!Start a@n1, Start b@n2");
    w.claim("b@n2", Phase::Starting, Role::Started);
    assert_eq!(w.steps(), "Start a@n1, !Start b@n2");
}

#[test]
fn nothing_requires_what_runs_nowhere() {
    let mut w = two();
    w.resources(&["a", "b"]).order("a", "b");
    w.locate("a", "n1", Strength::Forbidden, 0);
    w.locate("a", "n2", Strength::Forbidden, 0);
    assert_eq!(w.placed(), "");
    assert!(matches!(w.assign().verdicts[&id("a")], Verdict::Blocked(Reason::NoNode { .. })));
    assert!(matches!(w.assign().verdicts[&id("b")], Verdict::Wait(Reason::After { .. })));
}

#[test]
fn locations_prefer_avoid_and_forbid() {
    let mut w = three();
    w.resources(&["a", "b", "c"]).locate("a", "n3", Strength::Preferred, 10);
    w.locate("b", "n1", Strength::Avoid, 10);
    w.locate("c", "n1", Strength::Forbidden, 0);
    assert_eq!(w.placed(), "a@n3 b@n2 c@n2");
}

#[test]
fn a_required_location_is_the_only_place() {
    let mut w = two();
    w.resources(&["a"]).locate("a", "n2", Strength::Required, 0);
    assert_eq!(w.placed(), "a@n2");
    w.state.nodes.get_mut("n2").unwrap().membership = Membership::Left;
    assert_eq!(w.placed(), "");
}

#[test]
fn opt_in_clusters_run_only_what_is_named() {
    let mut w = two();
    w.spec.cluster.symmetric = false;
    w.resources(&["a", "b"]).locate("a", "n2", Strength::Preferred, 1);
    assert_eq!(w.placed(), "a@n2");
}

#[test]
fn stickiness_holds_against_smaller_wishes() {
    let mut w = two();
    w.resources(&["a"]).runs(&["a@n1"]).locate("a", "n2", Strength::Preferred, 5);
    w.resource("a").stickiness = 10;
    assert_eq!(w.placed(), "a@n1");
    w.resource("a").stickiness = 1;
    assert_eq!(w.placed(), "a@n2");
}

#[test]
fn required_colocation_follows_and_dies_with_it() {
    let mut w = two();
    w.resources(&["a", "b"]).locate("a", "n2", Strength::Preferred, 5);
    w.colocate("b", "a", Strength::Required, 0);
    assert_eq!(w.placed(), "a@n2 b@n2");
    w.resource("a").target_role = TargetRole::Stopped;
    assert_eq!(w.placed(), "");
}

#[test]
fn forbidden_colocation_parts_them() {
    let mut w = two();
    w.resources(&["a", "b"]).locate("a", "n2", Strength::Preferred, 5);
    w.locate("b", "n2", Strength::Preferred, 50);
    w.colocate("b", "a", Strength::Forbidden, 0);
    let placed = w.placed();
    assert!(placed == "a@n1 b@n2" || placed == "a@n2 b@n1", "{placed}");
    w.resource("a").target_role = TargetRole::Stopped;
    assert_eq!(w.placed(), "b@n2");
}

#[test]
fn a_dependants_ban_moves_its_primary() {
    let mut w = two();
    w.resources(&["a", "b"]).runs(&["a@n1"]).colocate("b", "a", Strength::Required, 0);
    w.locate("b", "n1", Strength::Forbidden, 0);
    assert_eq!(w.placed(), "a@n2 b@n2");
    // Where that would leave no node the primary stays.
    w.locate("b", "n2", Strength::Forbidden, 0);
    assert_eq!(w.placed(), "a@n1");
}

#[test]
fn preferred_colocation_gives_way() {
    let mut w = two();
    w.resources(&["a", "b"]).locate("b", "n1", Strength::Forbidden, 0);
    w.locate("a", "n1", Strength::Required, 0);
    w.colocate("b", "a", Strength::Preferred, 500);
    assert_eq!(w.placed(), "a@n1 b@n2");
}

#[test]
fn higher_priority_is_placed_first() {
    let mut w = two();
    w.resources(&["a", "b"]).locate("a", "n1", Strength::Preferred, 10);
    w.locate("b", "n1", Strength::Preferred, 10);
    w.colocate("a", "b", Strength::Avoid, 100);
    w.resource("b").priority = 5;
    assert_eq!(w.placed(), "a@n2 b@n1");
}

#[test]
fn capacity_bounds_what_a_node_takes() {
    let mut w = two();
    w.resources(&["a", "b", "c"]);
    for node in ["n1", "n2"] {
        w.spec.nodes.get_mut(node).unwrap().capacity.insert("memory".into(), 4);
    }
    for resource in ["a", "b", "c"] {
        w.resource(resource).utilization.insert("memory".into(), 3);
    }
    assert_eq!(w.placed(), "a@n1 b@n2");
}

#[test]
fn a_group_starts_in_order_on_one_node() {
    let mut w = two();
    w.resources(&["ip", "fs", "web"]).group("g", &["fs", "ip", "web"]);
    assert_eq!(w.play(), "Start fs@n1, Start ip@n1, Start web@n1");
    w.failed("ip@n1", FailureKind::Died);
    assert_eq!(w.play(), "Stop web@n1, Stop ip@n1, Start ip@n1, Start web@n1");
    w.drain("n1");
    assert_eq!(w.play(), "Stop web@n1, Stop ip@n1, Stop fs@n1, Start fs@n2, Start ip@n2, Start web@n2");
}

#[test]
fn a_members_threshold_moves_its_group() {
    let mut w = two();
    w.resources(&["a", "b", "c"]).group("g", &["a", "b", "c"]).runs(&["a@n1", "b@n1", "c@n1"]).record("b@n1", 3);
    assert_eq!(w.placed(), "a@n2 b@n2 c@n2");
    w.record("b@n2", 3);
    assert_eq!(w.placed(), "a@n1", "with no node left, only later members stay down");
}

#[test]
fn a_clone_runs_on_every_node() {
    let mut w = three();
    w.resources(&["a"]).cloned("c", "a");
    assert_eq!(w.placed(), "a:0@n1 a:1@n2 a:2@n3");
    w.drain("n2");
    assert_eq!(w.placed(), "a:0@n1 a:1@n3");
}

#[test]
fn copies_keep_their_numbers_and_places() {
    let mut w = three();
    w.resources(&["a"]).cloned("c", "a").max = Some(2);
    w.runs(&["a:0@n3", "a:1@n2"]);
    assert_eq!(w.steps(), "");
    w.suspect("n3");
    assert_eq!(w.placed(), "a:0@n1 a:1@n2");
    assert_eq!(w.play(), "Fence n3, Start a:0@n1");
}

#[test]
fn too_many_copies_are_stopped_the_unhealthy_first() {
    let mut w = three();
    w.resources(&["a"]).cloned("c", "a").max = Some(2);
    w.runs(&["a:0@n1", "a:1@n2", "a:2@n3"]).failed("a:0@n1", FailureKind::Failed);
    assert_eq!(w.placed(), "a:1@n2 a:2@n3");
    assert_eq!(w.play(), "Stop a:0@n1");
}

#[test]
fn ordered_copies_start_one_after_the_other() {
    let mut w = two();
    w.resources(&["a"]).cloned("c", "a").ordered = true;
    assert_eq!(w.steps(), "!Start a:0@n1, Start a:1@n2");
}

#[test]
fn interleaved_clones_wait_for_the_copy_beside_them() {
    let mut w = two();
    w.resources(&["a", "b"]).cloned("ca", "a");
    w.cloned("cb", "b").interleave = true;
    w.order("ca", "cb");
    w.runs(&["a:0@n1", "a:1@n2", "b:0@n1", "b:1@n2"]).failed("a:0@n1", FailureKind::Died);
    assert_eq!(w.play(), "Stop b:0@n1, Stop a:0@n1, Start a:0@n1, Start b:0@n1");
    w.spec.clones.get_mut("cb").unwrap().interleave = false;
    w.failed("a:0@n1", FailureKind::Died);
    assert_eq!(w.play(), "Stop b:0@n1, Stop b:1@n2, Stop a:0@n1, Start a:0@n1, Start b:0@n1, Start b:1@n2");
}

#[test]
fn a_cloned_group_is_copied_whole() {
    let mut w = two();
    w.resources(&["a", "b"]).group("g", &["a", "b"]).cloned("c", "g");
    assert_eq!(w.play(), "Start a:0@n1, Start a:1@n2, Start b:0@n1, Start b:1@n2");
    w.failed("a:0@n1", FailureKind::Died);
    assert_eq!(w.play(), "Stop b:0@n1, Stop a:0@n1, Start a:0@n1, Start b:0@n1");
}

fn promotable(w: &mut World) {
    w.resources(&["db"]).cloned("c", "db").promotable = Some(Promotable { max: 1, per_node: 1 });
}

#[test]
fn the_best_promotion_score_is_promoted() {
    let mut w = two();
    promotable(&mut w);
    assert_eq!(w.placed(), "db:0@n1 db:1@n2", "without a score nothing is promoted");
    w.attribute("n2", "master-db", "10").attribute("n1", "master-db", "5");
    assert_eq!(w.placed(), "db:0@n1 db:1@n2*");
    assert_eq!(w.play(), "Start db:0@n1, Start db:1@n2, Promote db:1@n2");
    w.attribute("n1", "master-db", "100");
    assert_eq!(w.play(), "Demote db:1@n2, Promote db:0@n1");
}

#[test]
fn a_promoted_copy_is_demoted_before_it_stops() {
    let mut w = two();
    promotable(&mut w);
    w.attribute("n1", "master-db", "5").runs(&["db:1@n2"]).promoted("db:0@n1").drain("n1");
    assert_eq!(w.play(), "Demote db:0@n1, Stop db:0@n1");
}

#[test]
fn a_lost_promoted_copy_is_fenced_before_another_is_promoted() {
    let mut w = two();
    promotable(&mut w);
    w.attribute("n1", "master-db", "5").attribute("n2", "master-db", "5");
    w.runs(&["db:1@n2"]).promoted("db:0@n1").suspect("n1");
    assert_eq!(w.placed(), "db:1@n2*");
    assert_eq!(w.play(), "Fence n1, Promote db:1@n2");
}

#[test]
fn what_follows_the_promoted_copy_moves_with_it() {
    let mut w = two();
    promotable(&mut w);
    w.resources(&["fs"]).order("c.Promote", "fs");
    w.colocate("fs", "c", Strength::Required, 0).with.role = Some(Role::Promoted);
    w.attribute("n1", "master-db", "5").attribute("n2", "master-db", "3");
    assert_eq!(w.play(), "Start db:0@n1, Start db:1@n2, Promote db:0@n1, Start fs@n1");
    w.over(Scope::Node("n1".into()), OverrideKind::Drain);
    assert_eq!(w.play(), "Stop fs@n1, Demote db:0@n1, Stop db:0@n1, Promote db:1@n2, Start fs@n2");
}

#[test]
fn unpromoted_by_target_role_or_after_a_failed_demote() {
    let mut w = two();
    promotable(&mut w);
    w.attribute("n1", "master-db", "5").runs(&["db:1@n2"]).promoted("db:0@n1");
    w.record("db:0@n1", 1).demoted = true;
    assert_eq!(w.play(), "Demote db:0@n1");
    w.state.history.clear();
    w.resource("db").target_role = TargetRole::Unpromoted;
    assert_eq!(w.placed(), "db:0@n1 db:1@n2");
}

#[test]
fn two_copies_of_a_plain_resource_stop_by_policy() {
    let mut w = two();
    w.resources(&["a"]).runs(&["a@n2"]).claim("a@n1", Phase::Running, Role::Started).found = true;
    assert_eq!(w.steps(), "Start a@n2, !Stop a@n1, !Stop a@n2");
    w.resource("a").multiple_active = MultipleActive::StopUnexpected;
    assert_eq!(w.steps(), "!Stop a@n1");
    w.resource("a").multiple_active = MultipleActive::Block;
    assert_eq!(w.steps(), "");
    assert_eq!(verdict(&w, "a"), Verdict::Blocked(Reason::MultipleActive));
    w.resource("a").multiple_active = MultipleActive::StopOnly;
    assert_eq!(w.steps(), "!Stop a@n1, !Stop a@n2");
}

#[test]
fn a_service_found_running_is_adopted_where_it_is() {
    let mut w = two();
    w.resources(&["a"]).claim("a@n2", Phase::Running, Role::Started).found = true;
    // Before the leader has seen it, nobody stops it.
    assert!(w.graph().is_empty());
    w.assigned("a@n1", Role::Started);
    assert!(w.graph().steps().all(|step| step.kind == StepKind::Probe), "{:?}", w.graph());
    assert_eq!(w.steps(), "");
    assert_eq!(w.placed(), "a@n2");
}

#[test]
fn why_names_every_part_and_its_line() {
    let mut w = two();
    w.resources(&["a"]).runs(&["a@n1"]).locate("a", "n2", Strength::Preferred, 7);
    let origin = Origin { file: "x.yaml".into(), line: 3, column: 1 };
    w.spec.origins.insert(ObjectRef { kind: Kind::Location, name: "a-n2-0".into() }, origin.clone());
    w.drain("n1");
    let told = super::explain(&w.spec, &w.state, &"a".into()).unwrap();
    assert!(told.nodes[&NodeId::from("n2")].chosen);
    assert_eq!(told.nodes[&NodeId::from("n2")].contributions[0].origin, Some(origin));
    assert!(told.nodes[&NodeId::from("n1")].score.is_never());
    assert!(told.nodes[&NodeId::from("n1")].contributions.iter().any(|part| part.what.contains("drained")));
    assert_eq!(told.instances[0].node, Some("n2".into()));
    assert!(super::explain(&w.spec, &w.state, &"nothing".into()).is_none());
}

#[test]
fn predictions_speak_of_moves_and_restarts() {
    use super::{PredictedKind, predict};
    let mut w = two();
    w.resources(&["a", "b"]).runs(&["a@n1", "b@n2"]).order("a", "b");
    let mut spec = w.spec.clone();
    spec.resources.get_mut("a").unwrap().params.insert("x".into(), "1".into());
    let kinds = |world: &World, spec: &Spec| {
        predict(spec, &world.state).iter().map(|a| (a.kind, a.node.to_string())).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&w, &spec), [(PredictedKind::Restart, "n2".into()), (PredictedKind::Restart, "n1".to_owned())]);
    w.suspect("n1");
    assert_eq!(
        kinds(&w, &w.spec),
        [
            (PredictedKind::Fence, "n1".to_owned()),
            (PredictedKind::Restart, "n2".into()),
            (PredictedKind::Move, "n2".into())
        ]
    );
}

#[test]
fn what_a_step_waits_for_can_be_asked() {
    let mut w = two();
    w.resources(&["a", "b"]).order("a", "b");
    w.commit();
    let graph = w.graph();
    let start = graph.steps().find(|step| step.key == key("b@n2")).unwrap();
    assert_eq!(graph.waiting_for(start).into_iter().map(show).collect::<Vec<_>>(), ["Start a@n1"]);
    assert_eq!(graph.edges().len(), 1);
}

#[test]
fn a_cycle_of_orders_starts_nothing_and_hangs_nobody() {
    let mut w = two();
    w.resources(&["a", "b"]).order("a", "b");
    w.order("b", "a");
    assert_eq!(w.play(), "");
}
