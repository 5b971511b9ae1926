//! Scores, colocations and groups: who goes where.

use super::*;

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
fn a_cluster_that_runs_places_nothing_on_a_remote_node() {
    let mut w = two();
    w.node("far", NodeRole::Remote).resources(&["link", "a"]).locate("a", "far", Strength::Required, 0);
    w.spec.nodes.get_mut("far").unwrap().connection = Some("link".into());
    w.document("far");
    assert_eq!(w.placed(), "a@far link@n1");
    // A leader means that what is planned is done; nobody can do it there yet.
    w.state.leader = Some(crate::state::Leader {
        node: "n1".into(),
        incarnation: crate::plan::testing::incarnation("n1"),
        term: 1,
        may_set_clock: false,
    });
    assert_eq!(w.placed(), "link@n1");
    // Nor is it there where nobody let it in.
    w.state.leader = None;
    w.state.nodes.remove("far");
    assert_eq!(w.placed(), "link@n1");
}

#[test]
fn a_cluster_that_runs_leaves_members_alone_that_come_before_one_that_has_no_node() {
    let mut w = two();
    w.resources(&["a", "b"]).group("grp", &["a", "b"]);
    w.cloned("grps", "grp");
    w.runs(&["a:0@n1", "a:1@n2"]).locate("b", "n1", Strength::Forbidden, 0);
    w.locate("b", "n2", Strength::Forbidden, 0);
    assert_eq!(w.placed(), "");
    w.state.leader = Some(crate::state::Leader {
        node: "n1".into(),
        incarnation: crate::plan::testing::incarnation("n1"),
        term: 1,
        may_set_clock: false,
    });
    assert_eq!(w.placed(), "a:0@n1 a:1@n2");
}

#[test]
fn a_remote_node_is_no_other_home_where_nothing_runs_on_it() {
    let mut w = two();
    w.node("far", NodeRole::Remote).resources(&["link", "a"]);
    w.spec.nodes.get_mut("far").unwrap().connection = Some("link".into());
    w.document("far");
    w.locate("a", "n2", Strength::Forbidden, 0);
    assert!(crate::plan::has_other_home(&w.spec, &w.state, &"a".into()));
    w.state.leader = Some(crate::state::Leader {
        node: "n1".into(),
        incarnation: crate::plan::testing::incarnation("n1"),
        term: 1,
        may_set_clock: false,
    });
    assert!(!crate::plan::has_other_home(&w.spec, &w.state, &"a".into()));
}

#[test]
fn a_cluster_that_runs_neither_asks_for_nor_starts_what_it_only_plans_for() {
    let mut w = two();
    w.resources(&["vm", "app"]).unprobe("app", "n1").unprobe("vm", "n1");
    w.resource("app").inside = Some("vm".into());
    w.state.leader = Some(crate::state::Leader {
        node: "n1".into(),
        incarnation: crate::plan::testing::incarnation("n1"),
        term: 1,
        may_set_clock: false,
    });
    w.commit();
    let graph = w.graph();
    let asks = |name: &str| {
        graph.steps().any(|step| step.kind == StepKind::Probe && step.key.instance.resource.as_str() == name)
    };
    assert!(asks("vm") && !asks("app"));
    let verdict = verdict(&w, "app");
    assert!(matches!(verdict, Verdict::Blocked(Reason::NotInThisVersion { .. })), "{verdict:?}");
}
