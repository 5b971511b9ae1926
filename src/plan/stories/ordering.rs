//! Order constraints: what comes first, what follows.

use super::*;

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
fn what_git_no_longer_names_stops_in_the_reverse_of_its_start() {
    let mut w = two();
    w.resources(&["fs", "db"]).runs(&["fs@n1", "db@n1"]);
    w.state.claims.get_mut(&key("db@n1")).unwrap().after = vec![id("fs")];
    w.spec.resources.clear();
    assert_eq!(w.steps(), "!Stop db@n1, Stop fs@n1");
}
