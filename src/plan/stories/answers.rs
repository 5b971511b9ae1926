//! What the planner says of itself: verdicts, why, predictions.

use super::*;

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
    let told = crate::plan::explain(&w.spec, &w.state, &"a".into()).unwrap();
    assert!(told.nodes[&NodeId::from("n2")].chosen);
    assert_eq!(told.nodes[&NodeId::from("n2")].contributions[0].origin, Some(origin));
    assert!(told.nodes[&NodeId::from("n1")].score.is_never());
    assert!(told.nodes[&NodeId::from("n1")].contributions.iter().any(|part| part.what.contains("drained")));
    assert_eq!(told.instances[0].node, Some("n2".into()));
    assert!(crate::plan::explain(&w.spec, &w.state, &"nothing".into()).is_none());
}

#[test]
fn why_tells_who_is_behind_what_the_others_want() {
    let mut w = two();
    w.resources(&["a", "b", "c"]).group("grp", &["a", "b"]);
    w.locate("b", "n1", Strength::Forbidden, 1);
    w.colocate("c", "a", Strength::Required, 0);
    w.locate("c", "n2", Strength::Preferred, 3);
    let told = crate::plan::explain(&w.spec, &w.state, &"a".into()).unwrap();
    let causes = |node: &str| -> Vec<String> {
        let parts = told.nodes[&NodeId::from(node)].contributions.iter();
        parts.flat_map(|part| &part.because).map(|cause| format!("{} {}", cause.score, cause.what)).collect()
    };
    assert_eq!(causes("n1"), ["-INFINITY b: Location b-n1-0"]);
    assert_eq!(causes("n2"), ["3 c: Location c-n2-1"]);
}

#[test]
fn why_tells_what_speaks_for_and_against_promotion() {
    let mut w = two();
    w.resources(&["db"]).runs(&["db:0@n1", "db:1@n2"]);
    w.cloned("dbs", "db").promotable = Some(Promotable { max: 1, per_node: 1 });
    w.attribute("n1", "master-db", "10").attribute("n2", "master-db", "5");
    w.locate("dbs", "n1", Strength::Forbidden, 1);
    w.spec.locations.values_mut().next().unwrap().role = Some(Role::Promoted);
    let told = crate::plan::explain(&w.spec, &w.state, &"dbs".into()).unwrap();
    let parts = |promotion: &crate::plan::PromotionExplanation| -> Vec<String> {
        promotion.contributions.iter().map(|part| format!("{} {}", part.score, part.what)).collect()
    };
    let [first, second] = told.promotion.as_slice() else { panic!("{:?}", told.promotion) };
    assert_eq!(parts(first), ["10 promotion score (attribute master-db)", "-INFINITY Location dbs-n1-0"]);
    assert_eq!(parts(second), ["5 promotion score (attribute master-db)"]);
    assert_eq!((first.promoted, second.promoted), (false, true));
}

#[test]
fn predictions_speak_of_moves_and_restarts() {
    use crate::plan::{PredictedKind, predict};
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

#[test]
fn a_probe_is_asked_for_what_the_state_means() {
    let mut w = two();
    w.resources(&["a"]);
    let definition = Definition { resource: w.spec.resources["a"].clone(), clone: None };
    assert_eq!(crate::plan::instances::identity(&definition.resource), crate::state::State::identity(&definition));
}

/// What is down for how long, as `a@n1 40000 TimeOut`.
fn outages(world: &World, spec: &crate::model::Spec) -> Vec<String> {
    let told = |outage: &crate::plan::Outage| {
        let lasts = outage.lasts.map_or("for good".to_owned(), |lasts| format!("{} {:?}", lasts.ms, lasts.basis));
        let role = if outage.role == Role::Promoted { " promoted" } else { "" };
        format!("{}@{}{role} {lasts}", outage.instance, outage.node)
    };
    crate::plan::foretell(spec, &world.state).outages.iter().map(told).collect()
}

#[test]
fn an_outage_lasts_as_long_as_the_chain_of_what_is_done_meanwhile() {
    let mut w = two();
    w.resources(&["a", "b", "c"]).runs(&["a@n1", "b@n2", "c@n1"]).order("a", "b");
    for name in ["a", "b", "c"] {
        for operation in w.resource(name).operations.values_mut() {
            operation.timeout = std::time::Duration::from_secs(10);
        }
    }
    let mut spec = w.spec.clone();
    spec.resources.get_mut("a").unwrap().params.insert("x".into(), "1".into());
    // b stops, a stops, a starts, b starts; c is left alone. Stops have the 20 s that were theirs when they started.
    assert_eq!(outages(&w, &spec), ["a@n1 30000 TimeOut", "b@n2 60000 TimeOut"]);
    let measured = |times: &[(ActionKind, &[u32])]| times.iter().map(|(action, ms)| (*action, ms.to_vec())).collect();
    let a = measured(&[(ActionKind::Start, &[300, 900, 100]), (ActionKind::Stop, &[50])]);
    w.state.durations.insert("a".into(), a);
    assert_eq!(outages(&w, &spec), ["a@n1 950 Measured", "b@n2 30950 TimeOut"], "a's slowest, b's time-outs");
    w.state.durations.insert("b".into(), measured(&[(ActionKind::Start, &[7]), (ActionKind::Stop, &[3])]));
    assert_eq!(outages(&w, &spec), ["a@n1 950 Measured", "b@n2 960 Measured"]);
    spec.resources.remove("b");
    spec.orders.clear();
    assert_eq!(outages(&w, &spec), ["a@n1 950 Measured", "b@n2 for good"]);
}

#[test]
fn what_a_lost_node_ran_is_down_until_it_is_proven_off_and_started_elsewhere() {
    let mut w = two();
    w.resources(&["a"]).runs(&["a@n1"]).suspect("n1");
    w.spec.cluster.fencing.timeout = std::time::Duration::from_secs(60);
    let times = [(ActionKind::Start, vec![500])].into_iter().collect();
    w.state.durations.insert("a".into(), times);
    assert_eq!(outages(&w, &w.spec), ["a@n1 60500 TimeOut"]);
    let now_ms = w.state.now_ms;
    let before = w.attempt("n1", 0, "n2");
    (before.outcome, before.started_ms, before.ended_ms) = (Some(FenceOutcome::Off), now_ms - 1_500, now_ms);
    before.boot = crate::model::BootId::new("an earlier one");
    assert_eq!(outages(&w, &w.spec), ["a@n1 2000 Measured"]);
}
