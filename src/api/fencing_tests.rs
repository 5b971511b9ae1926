//! What `hafen fence` accepts, and the words of each refusal.

use super::*;
use crate::model::{Digest, Revision};
use crate::plan::testing::World;
use crate::state::Target;
use std::sync::Arc;

fn world() -> World {
    let mut w = World::new(&["n1", "n2", "n3"]);
    for node in ["n1", "n2", "n3"] {
        w.document(node);
    }
    w.resources(&["db"]).runs(&["db@n1"]);
    w
}

fn ask(world: &World, node: &str, what: FenceKind, level: Option<u32>) -> Result<ReadyFence, ApiError> {
    let mut state = world.state.clone();
    state.specs.insert(Digest::default(), Arc::new(world.spec.clone()));
    let (revision, by) = (Revision::new("a".repeat(40)), "anna".to_owned());
    state.target = Some(Target { revision, spec: Digest::default(), accepted_at: state.index, accepted_ms: 0, by });
    prepare(&state, &FenceRequest { node: node.into(), what, reason: "seen".into(), level }, "anna")
}

/// The message and the hints of a refusal.
fn refused(answer: Result<ReadyFence, ApiError>) -> String {
    let error = answer.expect_err("accepted");
    format!("{} | {}", error.message, error.hints.join(" | "))
}

#[test]
fn a_test_needs_a_drained_node_that_is_up() {
    let mut w = world();
    let told = refused(ask(&w, "n1", FenceKind::Test, None));
    assert_eq!(told, "n1 still runs db | drain it first: hafen drain n1");
    let told = refused(ask(&w, "n2", FenceKind::Test, None));
    assert!(told.starts_with("n2 is not drained"), "{told}");
    w.drain("n2");
    let ready = ask(&w, "n2", FenceKind::Test, None).expect("is drained");
    assert_eq!(ready.summary, "n2 is powered off to test level 1 of its fencing (pdu-n2)");
    let kind = OverrideKind::TestFence { level: 0 };
    assert!(matches!(&ready.commands[..], [Command::SetOverride { kind: found, .. }] if *found == kind));
    assert_eq!(ready.attempt, Some(w.state.last_attempt.0 + 1));
    let told = refused(ask(&w, "n2", FenceKind::Test, Some(2)));
    assert!(told.contains("n2 has one fencing level, not a level 2"), "{told}");
    w.suspect("n2");
    let told = refused(ask(&w, "n2", FenceKind::Test, None));
    assert!(told.contains("n2 is Suspect, not Online"), "{told}");
}

#[test]
fn what_no_attempt_would_be_made_for_is_refused() {
    let mut w = world();
    assert!(ask(&w, "n1", FenceKind::Fence, None).is_ok());
    assert!(refused(ask(&w, "n9", FenceKind::Fence, None)).contains("no node `n9`"));
    let mut disabled = w.clone();
    disabled.spec.cluster.fencing.enabled = false;
    assert!(refused(ask(&disabled, "n1", FenceKind::Fence, None)).starts_with("fencing is disabled"));
    let mut bare = w.clone();
    bare.state.nodes.get_mut("n1").unwrap().document.as_mut().map(Arc::make_mut).unwrap().node.fencing.clear();
    assert!(refused(ask(&bare, "n1", FenceKind::Fence, None)).starts_with("n1 has no fencing devices"));
    let mut under_way = w.clone();
    under_way.attempt("n1", 0, "n2");
    assert!(refused(ask(&under_way, "n1", FenceKind::Fence, None)).contains("against n1 is going on"));
    w.suspect("n2").suspect("n3");
    assert!(refused(ask(&w, "n1", FenceKind::Fence, None)).starts_with("no other node is online"));
}

#[test]
fn a_watchdog_cannot_be_tested_from_outside() {
    let mut w = world();
    w.drain("n2");
    let document = w.state.nodes.get_mut("n2").unwrap().document.as_mut().map(Arc::make_mut).unwrap();
    document.devices.values_mut().for_each(|device| device.agent = "watchdog".into());
    let told = refused(ask(&w, "n2", FenceKind::Test, None));
    assert!(told.contains("is its watchdog") && told.contains("hafen fence trust n2 --level 1"), "{told}");
}

#[test]
fn trust_is_given_to_one_level_or_all_and_never_without_a_reason() {
    let mut w = world();
    let document = w.state.nodes.get_mut("n2").unwrap().document.as_mut().map(Arc::make_mut).unwrap();
    document.node.fencing.push(vec!["pdu-n2".into()]);
    let levels = |ready: ReadyFence| -> Vec<u32> {
        let level = |command: &Command| match command {
            Command::Trust { level, reason, .. } if reason == "seen" => *level,
            other => panic!("{other:?}"),
        };
        ready.commands.iter().map(level).collect()
    };
    assert_eq!(levels(ask(&w, "n2", FenceKind::Trust, None).unwrap()), [0, 1]);
    assert_eq!(levels(ask(&w, "n2", FenceKind::Trust, Some(2)).unwrap()), [1]);
    assert!(refused(ask(&w, "n2", FenceKind::Trust, Some(0))).contains("2 fencing levels"));
    let request = FenceRequest { node: "n2".into(), what: FenceKind::Trust, reason: " ".into(), level: None };
    assert_eq!(prepare(&w.state, &request, "anna").unwrap_err().code, ErrorCode::Usage);
}

#[test]
fn a_wish_can_be_taken_back() {
    let mut w = world();
    assert!(refused(ask(&w, "n1", FenceKind::Cancel, None)).contains("nobody asked to fence n1"));
    w.over(Scope::Node("n1".into()), OverrideKind::Fence);
    let ready = ask(&w, "n1", FenceKind::Cancel, None).expect("was asked for");
    assert!(matches!(ready.commands[..], [Command::ClearOverride { .. }]));
}

#[test]
fn a_watchdog_is_disarmed_where_nothing_runs_and_armed_again() {
    let mut w = world();
    assert!(refused(ask(&w, "n2", FenceKind::Disarm, None)).contains("has no level of fencing that is its watchdog"));
    for node in w.state.nodes.values_mut() {
        let mut document = (**node.document.as_ref().unwrap()).clone();
        document.devices.values_mut().for_each(|device| device.agent = "watchdog".into());
        node.document = Some(Arc::new(document));
    }
    assert!(refused(ask(&w, "n1", FenceKind::Disarm, None)).contains("`hafen drain n1` first"));
    let ready = ask(&w, "n2", FenceKind::Disarm, None).expect("runs nothing");
    assert!(matches!(ready.commands[..], [Command::SetOverride { kind: OverrideKind::Disarm, .. }]));
    assert!(refused(ask(&w, "n2", FenceKind::Arm, None)).contains("nobody disarmed"));
    w.over(Scope::Node("n2".into()), OverrideKind::Disarm);
    let ready = ask(&w, "n2", FenceKind::Arm, None).expect("is disarmed");
    assert!(matches!(ready.commands[..], [Command::ClearOverride { .. }]));
}
