//! Statuses of constructed states.

use super::*;
use crate::model::{
    ActionKind, BootId, Definition, Digest, Epoch, FencingAction, Incarnation, LogIndex, Revision, Role,
};
use crate::state::{Alarm, Failure, FailureKind, NodeState, Override, SwitchOn};

const NOW_MS: u64 = 100 * 3600 * 1000;

fn member(membership: Membership) -> NodeState {
    NodeState {
        membership,
        joined_at: LogIndex(1),
        port: 7443,
        version: "0.1.0".into(),
        feature_level: 1,
        listed: true,
        ..NodeState::new(&Incarnation { boot: BootId::new("boot-1"), counter: 1 })
    }
}

fn claim(phase: Phase) -> Claim {
    Claim {
        incarnation: Incarnation::default(),
        epoch: Epoch(1),
        definition: Digest::default(),
        phase,
        role: Role::Started,
        granted_at: LogIndex(1),
        changed_at: LogIndex(1),
        since_ms: 0,
        after: Vec::new(),
        found: false,
        failure: None,
    }
}

fn key(instance: &str, node: &str) -> ClaimKey {
    ClaimKey { instance: instance.parse().unwrap(), node: node.into() }
}

/// n1 and n2 are online, db runs on n1.
fn state() -> State {
    let target = Target {
        revision: Revision::new("a".repeat(40)),
        spec: Digest::default(),
        accepted_at: LogIndex(1),
        accepted_ms: 0,
        by: "anna".into(),
    };
    let online = |name: &str| (NodeId::new(name), member(Membership::Online));
    State {
        target: Some(target),
        now_ms: NOW_MS,
        nodes: BTreeMap::from([online("n1"), online("n2")]),
        claims: BTreeMap::from([(key("db", "n1"), claim(Phase::Running))]),
        ..State::default()
    }
}

struct Around {
    leader: Option<&'static str>,
    verdicts: Vec<(&'static str, Verdict, &'static str)>,
    links: Vec<LinkView>,
    conditions: Vec<String>,
    checked: BTreeMap<DeviceId, Checked>,
}

const QUIET: Around =
    Around { leader: Some("n1"), verdicts: vec![], links: vec![], conditions: vec![], checked: BTreeMap::new() };

fn view(state: &State, around: Around) -> StatusView {
    let verdict = |(instance, verdict, reason): (&str, Verdict, &str)| {
        (instance.parse().unwrap(), VerdictView { verdict, reason: reason.into(), at: None })
    };
    status(&Input {
        state,
        leadership: &Leadership { leader: around.leader.map(Into::into), ..Leadership::default() },
        node: &"n1".into(),
        links: &around.links,
        verdicts: &around.verdicts.into_iter().map(verdict).collect(),
        conditions: &around.conditions,
        checked: &around.checked,
        wall_ms: 0,
        signature: None,
    })
}

#[test]
fn all_in_place_is_healthy() {
    let found = view(&state(), QUIET);
    assert_eq!((found.health, found.problems.len()), (Health::Healthy, 0), "{:?}", found.problems);
    assert_eq!(found.summary, "healthy: 2 nodes online, 1 resource running");
}

#[test]
fn without_a_leader_nothing_else_counts() {
    let mut lost = state();
    lost.nodes.insert("n2".into(), member(Membership::Suspect));
    let found = view(&lost, Around { leader: None, ..QUIET });
    assert_eq!(found.health, Health::NoQuorum);
    assert!(found.summary.starts_with("no quorum"), "{}", found.summary);
}

#[test]
fn before_the_first_push_it_says_what_to_do() {
    let found = view(&State { target: None, claims: BTreeMap::new(), ..state() }, QUIET);
    assert_eq!(found.health, Health::Unconfigured);
    assert!(found.summary.contains("push"), "{}", found.summary);
}

#[test]
fn failures_come_first_then_what_waits_then_what_is_done() {
    let mut busy = state();
    for name in ["b-acts", "a-keeps", "c-blocked"] {
        busy.claims.insert(key(name, "n1"), claim(Phase::Running));
    }
    let verdicts = vec![
        ("db", Verdict::Keep, ""),
        ("a-keeps", Verdict::Keep, ""),
        ("b-acts", Verdict::Act, "moves"),
        ("c-blocked", Verdict::Blocked, "stop failed"),
        ("d-nowhere", Verdict::Wait, "no node"),
    ];
    let found = view(&busy, Around { verdicts, ..QUIET });
    let order: Vec<&str> = found.resources.iter().map(|row| row.instance.as_str()).collect();
    assert_eq!(order, ["c-blocked", "d-nowhere", "b-acts", "a-keeps", "db"]);
    assert_eq!(found.problems, ["c-blocked is blocked: stop failed", "d-nowhere does not run: no node"]);
    assert_eq!(found.summary, "degraded: c-blocked is blocked: stop failed (and 1 more)");
}

#[test]
fn a_blocked_claim_is_blocked_before_any_planner_says_so() {
    let mut failed = state();
    let failure = Failure {
        action: ActionKind::Stop,
        kind: FailureKind::TimedOut,
        at_ms: 0,
        text: "timed out after 20s".into(),
        blocked: true,
        fence: false,
    };
    failed.claims.get_mut(&key("db", "n1")).unwrap().failure = Some(failure);
    let found = view(&failed, Around { verdicts: vec![("db", Verdict::Keep, "")], ..QUIET });
    assert_eq!(found.resources[0].verdict.verdict, Verdict::Blocked);
    assert_eq!(found.resources[0].blocked_by.as_deref(), Some("stop failed: timed out after 20s"));
    assert!(found.resources[0].verdict.reason.contains("hafen cleanup db"), "{:?}", found.resources[0]);
    assert_eq!(found.health, Health::Degraded);
}

#[test]
fn on_the_way_is_no_failure() {
    let mut moving = state();
    moving.claims.insert(key("db", "n1"), claim(Phase::Stopping));
    let found = view(&moving, Around { verdicts: vec![("db", Verdict::Act, "moves")], ..QUIET });
    assert_eq!((found.health, found.summary.as_str()), (Health::Converging, "converging: 1 resource on the way"));
}

#[test]
fn lost_nodes_links_and_conditions_degrade() {
    let mut lost = state();
    lost.nodes.insert("n3".into(), member(Membership::Fenced));
    let down = LinkView { node: "n2".into(), link: 1, address: "192.0.2.2".into(), up: false, last_heard_ms: None };
    let conditions = vec!["fencing level 1 of n1 was never tested".to_owned()];
    let found = view(&lost, Around { links: vec![down], conditions, ..QUIET });
    assert_eq!(
        found.problems,
        ["n3 was fenced and is not back", "link 1 to n2 is down", "fencing level 1 of n1 was never tested"]
    );
}

#[test]
fn a_left_node_is_no_problem() {
    let mut left = state();
    left.nodes.insert("n2".into(), member(Membership::Left));
    assert_eq!(view(&left, QUIET).health, Health::Healthy);
}

#[test]
fn an_alarm_degrades_for_a_day() {
    let mut alarmed = state();
    let alarm = |at_ms| Alarm { at: LogIndex(1), at_ms, text: "a burnt boot is heard".into() };
    alarmed.alarms = vec![alarm(NOW_MS - ALARM_DEGRADES_MS)];
    assert_eq!(view(&alarmed, QUIET).health, Health::Healthy);
    alarmed.alarms.push(alarm(NOW_MS - ALARM_DEGRADES_MS + 1));
    let found = view(&alarmed, QUIET);
    assert_eq!((found.health, found.alarms.len()), (Health::Degraded, 2));
}

#[test]
fn a_failed_attempt_degrades_until_one_succeeds() {
    let mut fenced = state();
    let attempt = |outcome| Attempt {
        node: "n3".into(),
        boot: BootId::new("b"),
        level: 0,
        devices: vec!["ipmi".into()],
        executor: Incarnation::default(),
        executor_node: "n1".into(),
        action: FencingAction::Off,
        started_ms: 1,
        deadline_ms: 2,
        reason: "not heard".into(),
        outcome,
        ended_ms: 2,
        on: SwitchOn::NotWanted,
    };
    fenced.attempts.insert(AttemptId(1), attempt(Some(FenceOutcome::Failed("timeout".into()))));
    let found = view(&fenced, QUIET);
    assert_eq!((found.health, found.fencing[0].level), (Health::Degraded, 1));
    fenced.attempts.insert(AttemptId(2), attempt(None));
    let found = view(&fenced, QUIET);
    assert_eq!((found.health, found.fencing[0].ended_ms), (Health::Converging, None), "an open attempt is work");
    fenced.attempts.insert(AttemptId(2), attempt(Some(FenceOutcome::Off)));
    assert_eq!(view(&fenced, QUIET).health, Health::Healthy);
}

#[test]
fn overrides_are_shown_as_drift_at_the_node_and_in_the_verdict() {
    let mut drained = state();
    let drain = Override {
        scope: Scope::Node("n2".into()),
        kind: OverrideKind::Drain,
        by: "anna".into(),
        reason: "disk".into(),
        since_ms: 5,
        expires_ms: Some(9),
    };
    drained.overrides.insert(crate::model::OverrideId(3), drain);
    let found = view(&drained, QUIET);
    assert_eq!(found.nodes[1].notes, ["drained"]);
    assert_eq!((found.health, found.overrides[0].expires_ms), (Health::Healthy, Some(9)));
    assert!(found.summary.ends_with("[1 override]"), "{}", found.summary);
}

#[test]
fn the_agent_of_a_claim_is_the_one_it_pins() {
    let mut pinned = state();
    let spec = crate::manifest::load(
        &[crate::manifest::SourceFile {
            path: "a.yaml".into(),
            bytes: b"apiVersion: hafen/v1alpha1\nkind: Cluster\nmetadata: { name: c }\nspec: {}\n---\n\
                apiVersion: hafen/v1alpha1\nkind: Node\nmetadata: { name: n1 }\nspec: { addresses: [192.0.2.1] }\n---\n\
                apiVersion: hafen/v1alpha1\nkind: Resource\nmetadata: { name: db }\nspec: { agent: ocf:heartbeat:Dummy }\n"
                .to_vec(),
        }],
        &crate::model::AgentCatalogue::default(),
    );
    let spec = spec.spec.unwrap_or_else(|| panic!("{:?}", spec.diagnostics));
    let resource = spec.resources.values().next().unwrap().clone();
    pinned.definitions.insert(Digest::default(), Arc::new(Definition { resource, clone: None }));
    pinned.specs.insert(Digest::default(), Arc::new(spec));
    let found = view(&pinned, QUIET);
    assert_eq!(found.resources[0].agent.as_deref(), Some("ocf:heartbeat:Dummy"));
    assert_eq!(found.cluster.as_deref(), Some("c"));
    assert!(found.nodes[1].notes[0].starts_with("unlisted"), "{:?}", found.nodes[1].notes);
}

#[test]
fn a_device_that_a_node_cannot_use_degrades_and_its_age_is_told() {
    let mut w = crate::plan::testing::World::new(&["n1", "n2"]);
    let bad = crate::state::BadDevice { since_ms: NOW_MS - 5_000, why: "no answer".into() };
    w.state.nodes.get_mut("n2").unwrap().bad_devices.insert("pdu-n1".into(), bad);
    w.state.specs.insert(Digest::default(), Arc::new(w.spec.clone()));
    let state = State { target: state().target, now_ms: NOW_MS, ..w.state };
    let checked = BTreeMap::from([(DeviceId::new("pdu-n2"), Checked { at_ms: NOW_MS - 60_000, error: None })]);
    let found = view(&state, Around { checked, ..QUIET });
    assert_eq!(found.health, Health::Degraded);
    assert_eq!(found.problems, ["fencing device pdu-n1 cannot be used by n2: no answer"]);
    let [n1, n2] = found.devices.as_slice() else { panic!("{:?}", found.devices) };
    assert_eq!((n1.failing[0].node.as_str(), n1.checked_ms), ("n2", None));
    assert_eq!((n2.failing.len(), n2.checked_ms), (0, Some(NOW_MS - 60_000)));
}

#[test]
fn each_level_tells_who_trusts_it_and_a_node_that_stays_off_says_why() {
    let mut w = crate::plan::testing::World::new(&["n1", "n2"]);
    w.document("n2");
    let mut state = w.state.clone();
    let spec = Digest::default();
    state.specs.insert(spec, Arc::new(w.spec.clone()));
    let (revision, by) = (Revision::new("a".repeat(40)), "anna".to_owned());
    state.target = Some(Target { revision, spec, accepted_at: LogIndex(1), accepted_ms: 0, by });
    let level = |state: &State| view(state, QUIET).nodes[1].fencing.clone();
    let untested = LevelView { level: 1, devices: vec!["pdu-n2".into()], trust: None };
    assert_eq!(level(&state), [untested]);
    let digest = State::level_digest(&state.nodes["n2"], 0).unwrap();
    let trust = crate::state::Trust { by: "ann".into(), reason: "unplugged it".into(), at_ms: 7 };
    state.trust.insert(TrustKey { node: "n2".into(), level: 0, digest }, trust);
    let told = TrustView { by: "ann".into(), reason: "unplugged it".into(), at_ms: 7 };
    assert_eq!(level(&state)[0].trust, Some(told));

    let most = w.spec.cluster.fencing.max_fences as usize;
    let fenced = state.nodes.get_mut("n2").unwrap();
    fenced.membership = Membership::Fenced;
    fenced.fenced_ms = vec![w.state.now_ms; most];
    let notes = |state: &State| view(state, QUIET).nodes[1].notes.join("; ");
    assert!(!notes(&state).contains("quarantined"), "{}", notes(&state));
    state.nodes.get_mut("n2").unwrap().fenced_ms.push(w.state.now_ms);
    assert!(notes(&state).contains("quarantined: fenced"), "{}", notes(&state));
}
