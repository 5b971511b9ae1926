//! What is refused at once instead of being waited for, and what is only told.

use super::error::ErrorCode;
use super::operate::{Ready, prepare};
use super::types::{OperateRequest, Operation, WaitFor};
use super::*;
use crate::model::{Digest, Reading, Revision, Strength};
use crate::plan::testing::World;
use crate::state::{Membership, OverrideKind, Scope, State, Target};
use std::sync::Arc;

/// A state in which the spec of this world is the target.
fn state(world: &World) -> State {
    let mut state = world.state.clone();
    state.last_override = crate::model::OverrideId(100);
    state.specs.insert(Digest::default(), Arc::new(world.spec.clone()));
    let revision = Revision::new("a".repeat(40));
    let by = "anna".to_owned();
    state.target = Some(Target { revision, spec: Digest::default(), accepted_at: state.index, accepted_ms: 0, by });
    state
}

fn ask(world: &World, operation: Operation, force: bool) -> Result<Ready, ApiError> {
    let request = OperateRequest { operation, reason: String::new(), expires_ms: None, dry_run: false, force };
    prepare(&state(world), &request, "anna")
}

fn move_to(world: &World, resource: &str, to: &str) -> Result<Ready, ApiError> {
    ask(world, Operation::Move { resource: resource.into(), to: to.into() }, false)
}

/// Message and hints of a refusal.
fn refused(answer: Result<Ready, ApiError>) -> String {
    let error = answer.expect_err("accepted");
    assert_eq!(error.code, ErrorCode::Unsafe);
    format!("{} | {}", error.message, error.hints.join(" | "))
}

fn group_on_n1() -> World {
    let mut w = World::new(&["n1", "n2", "n3"]);
    w.resources(&["ip", "db"]).group("g", &["ip", "db"]).runs(&["ip@n1", "db@n1"]);
    w
}

#[test]
fn a_move_to_a_node_that_may_run_it_is_accepted_and_waits_for_all_members() {
    let ready = move_to(&group_on_n1(), "g", "n2").expect("nothing is in the way");
    assert_eq!(ready.wait_for, WaitFor::RunsOn { instances: vec!["ip".into(), "db".into()], node: "n2".into() });
}

#[test]
fn a_move_to_a_node_banned_by_failures_names_them_and_cleanup() {
    let mut w = group_on_n1();
    w.record("db@n2", 3);
    let told = refused(move_to(&w, "g", "n2"));
    assert_eq!(told, "g cannot go to n2: db failed 3 times on n2 | `hafen cleanup db` forgets its failures");
    w.record("db@n2", 1).start_failed = true;
    assert!(refused(move_to(&w, "g", "n2")).contains("a start of db failed on n2"));
    assert!(ask(&w, Operation::Move { resource: "g".into(), to: "n2".into() }, true).is_ok(), "forced");
    assert!(move_to(&w, "g", "n3").is_ok(), "only n2 is banned");
}

#[test]
fn a_move_against_a_location_names_its_line() {
    let mut w = group_on_n1();
    w.locate("g", "n2", Strength::Forbidden, 0);
    let line = crate::model::Origin { file: "rules.yaml".into(), line: 4, column: 1 };
    let object = crate::model::ObjectRef { kind: crate::model::Kind::Location, name: "g-n2-0".into() };
    w.spec.origins.insert(object, line);
    let told = refused(move_to(&w, "g", "n2"));
    assert!(told.contains("Location g-n2-0 keeps ip off n2 (rules.yaml:4:1)"), "{told}");
    assert!(told.contains("change rules.yaml:4:1, and push"), "{told}");
}

#[test]
fn a_move_to_a_node_that_lacks_the_agent_or_room_is_refused() {
    let mut w = group_on_n1();
    w.probe("db", "n2", Reading::NotInstalled);
    assert!(refused(move_to(&w, "g", "n2")).contains("n2 lacks what the agent of db needs"));
    let mut w = group_on_n1();
    w.resource("db").utilization.insert("memory".into(), 8);
    for (node, memory) in [("n1", 8), ("n2", 4)] {
        w.spec.nodes.get_mut(node).unwrap().capacity.insert("memory".into(), memory);
    }
    assert!(refused(move_to(&w, "g", "n2")).contains("n2 has no room"));
}

#[test]
fn a_move_to_a_node_that_gets_nothing_says_why_and_how_to_end_it() {
    let mut w = group_on_n1();
    w.drain("n2");
    assert!(refused(move_to(&w, "g", "n2")).contains("`hafen undrain n2`"));
    let mut w = group_on_n1();
    w.over(Scope::Node("n2".into()), OverrideKind::Maintenance);
    assert!(refused(move_to(&w, "g", "n2")).contains("n2 is in maintenance | `hafen maintenance off`"));
    let mut w = group_on_n1();
    w.state.nodes.get_mut("n2").unwrap().membership = Membership::Fenced;
    assert!(refused(move_to(&w, "g", "n2")).contains("n2 is not online"));
    let mut w = group_on_n1();
    w.over(Scope::Cluster, OverrideKind::Maintenance);
    assert!(refused(move_to(&w, "g", "n2")).contains("maintenance off"));
}

#[test]
fn what_is_to_be_stopped_cannot_be_moved() {
    let mut w = group_on_n1();
    for name in ["ip", "db"] {
        w.resource(name).target_role = crate::model::TargetRole::Stopped;
    }
    assert!(refused(move_to(&w, "g", "n2")).contains("it is to be stopped"));
}

#[test]
fn one_copy_of_a_clone_goes_to_the_node_and_is_waited_for() {
    let mut w = World::new(&["n1", "n2", "n3"]);
    w.resources(&["a"]).cloned("a-clone", "a").max = Some(2);
    w.runs(&["a:0@n1", "a:1@n2"]);
    let ready = move_to(&w, "a-clone", "n3").expect("n3 is free");
    let WaitFor::RunsOn { instances, .. } = ready.wait_for else { panic!("{ready:?}") };
    assert_eq!(instances.len(), 1, "one copy: {instances:?}");
}

#[test]
fn a_drain_that_would_stop_what_could_run_elsewhere_is_refused_with_the_reasons() {
    let mut w = group_on_n1();
    for node in ["db@n2", "db@n3"] {
        w.record(node, 3);
    }
    let drain = || Operation::Drain { node: "n1".into() };
    let told = refused(ask(&w, drain(), false));
    assert!(told.starts_with("n1 cannot be emptied: db would run nowhere: db failed 3 times on n2;"), "{told}");
    assert!(told.ends_with("`hafen cleanup db` forgets its failures | `--force` stops it"), "{told}");
    let ready = ask(&w, drain(), true).expect("forced");
    assert!(ready.stops.iter().any(|stop| stop.contains("db failed 3 times on n2")), "{:?}", ready.stops);
    w.state.history.clear();
    assert_eq!(ask(&w, drain(), false).expect("n2 and n3 take over").stops, [""; 0]);
}

#[test]
fn a_drain_tells_what_only_this_node_may_run_and_stops_it() {
    let mut w = group_on_n1();
    w.resources(&["local"]).runs(&["local@n1"]).locate("local", "n1", Strength::Required, 0);
    let ready = ask(&w, Operation::Drain { node: "n1".into() }, false).expect("not refused");
    assert_eq!(ready.stops, ["local stops: no node but n1 may run it"]);
}

#[test]
fn a_drain_that_something_will_not_follow_is_refused() {
    let mut w = group_on_n1();
    w.resources(&["by-hand"]).runs(&["by-hand@n1"]).resource("by-hand").managed = false;
    let told = refused(ask(&w, Operation::Drain { node: "n1".into() }, false));
    assert!(told.contains("by-hand stays there: unmanaged or in maintenance"), "{told}");
}

#[test]
fn leaving_a_node_for_nowhere_is_refused() {
    let mut w = group_on_n1();
    for node in ["ip@n2", "ip@n3"] {
        w.record(node, 3);
    }
    let away = || Operation::Ban { resource: "g".into(), node: "n1".into() };
    let told = refused(ask(&w, away(), false));
    assert!(told.contains("would run nowhere: ip failed 3 times on n2; ip failed 3 times on n3"), "{told}");
    w.state.history.clear();
    assert!(ask(&w, away(), false).is_ok());
}
