//! The picture of a status, held by `golden/*.txt`; `UPDATE_EXPECT=1` rewrites them.

use super::*;
use crate::api::types::{AlarmView, LevelView, LinkView, OverrideView, TargetView, TrustView, VerdictView};
use crate::model::{FencingAction, NodeRole, Role};

const NOW_MS: u64 = 1_777_636_800_000;

/// Compares with a golden file, without styles.
pub fn expect(name: &str, text: &str) {
    let plain = anstream::adapter::strip_str(text).to_string();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/golden").join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, plain).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(plain, expected, "{} differs: run with UPDATE_EXPECT=1 and read the change", path.display());
}

fn node(name: &str, membership: MembershipView, up: bool) -> NodeView {
    NodeView {
        name: name.into(),
        role: Some(NodeRole::Voter),
        membership,
        since_ms: Some(NOW_MS - 3_600_000 * 5),
        leader: name == "n1",
        boot: Some("b1".into()),
        version: Some("0.1.0".into()),
        recipient: None,
        links: if name == "n1" { vec![] } else { vec![link(name, 0, up), link(name, 1, true)] },
        notes: vec![],
        fencing: levels(name, up),
    }
}

fn levels(name: &str, up: bool) -> Vec<LevelView> {
    let trust = |by: &str, reason: &str| {
        Some(TrustView { by: by.into(), reason: reason.into(), at_ms: NOW_MS - 3_600_000 * 72 })
    };
    let level = |level, device: &str, trust| LevelView { level, devices: vec![device.into()], trust };
    match (name, up) {
        ("n1", _) => vec![level(1, "ipmi-n1", trust("a fencing that worked", ""))],
        (_, true) => vec![level(1, "ipmi", trust("ann", "tested by hand"))],
        (_, false) => vec![level(1, "ipmi", trust("ann", "tested by hand")), level(2, "pdu", None)],
    }
}

fn link(node: &str, link: u32, up: bool) -> LinkView {
    let address = format!("192.0.2.{link}");
    LinkView { node: node.into(), link, address, up, last_heard_ms: Some(if up { 50 } else { 130_000 }) }
}

fn resource(instance: &str, on: Option<&str>, phase: Option<&str>, verdict: Verdict, reason: &str) -> ResourceView {
    ResourceView {
        instance: instance.into(),
        agent: Some("ocf:heartbeat:Dummy".into()),
        node: on.map(Into::into),
        role: Some(Role::Started),
        phase: phase.map(Into::into),
        since_ms: Some(NOW_MS - 90_000),
        verdict: VerdictView { verdict, reason: reason.into(), at: Some("db.yaml:3:1".into()) },
        blocked_by: (verdict == Verdict::Blocked).then(|| reason.into()),
        fail_count: 0,
        last_failure: None,
    }
}

pub fn healthy() -> StatusView {
    StatusView {
        api_version: Default::default(),
        kind: Default::default(),
        cluster: Some("prod".into()),
        node: "n1".into(),
        health: Health::Healthy,
        summary: "healthy: 2 nodes online, 1 resource running".into(),
        problems: vec![],
        target: Some(TargetView {
            revision: "a".repeat(40),
            accepted_ms: NOW_MS - 300_000,
            by: "anna".into(),
            signature: None,
        }),
        last_good: None,
        generation: 0,
        leader: Some("n1".into()),
        term: 3,
        voters: vec!["n1".into(), "n2".into()],
        index: 120,
        now_ms: NOW_MS,
        nodes: vec![node("n1", MembershipView::Online, true), node("n2", MembershipView::Online, true)],
        resources: vec![resource("db", Some("n1"), Some("Running"), Verdict::Keep, "runs where it should")],
        fencing: vec![],
        overrides: vec![],
        devices: vec![],
        alarms: vec![],
        rollout: Default::default(),
        webhook: None,
    }
}

/// Something of everything.
pub fn example() -> StatusView {
    let mut status = healthy();
    status.health = Health::Degraded;
    status.summary = "degraded: web:1 is blocked: stop failed on n2 (and 2 more) [1 override]".into();
    status.problems = ["web:1 is blocked: stop failed on n2", "n3 was fenced and is not back", "link 0 to n2 is down"]
        .map(String::from)
        .to_vec();
    status.generation = 1;
    status.nodes[1] = node("n2", MembershipView::Online, false);
    let mut fenced = node("n3", MembershipView::Fenced, true);
    fenced.links = vec![LinkView { last_heard_ms: None, up: false, ..link("n3", 0, false) }];
    fenced.notes = vec!["drained".into()];
    status.nodes.push(fenced);
    let mut absent = node("n4", MembershipView::Absent, true);
    (absent.since_ms, absent.links) = (None, vec![]);
    absent.notes = vec!["never joined: `hafen token` here, `hafen join` there".into()];
    status.nodes.push(absent);
    let mut failed = resource("ip", Some("n1"), Some("Running"), Verdict::Keep, "runs where it should");
    (failed.fail_count, failed.last_failure) = (2, Some("not running".into()));
    status.resources = vec![
        resource("web:1", Some("n2"), Some("Stopping"), Verdict::Blocked, "stop failed on n2"),
        resource("backup", None, None, Verdict::Wait, "no node may run it: n3 was fenced"),
        resource("web:0", Some("n1"), Some("Starting"), Verdict::Act, "n3 is lost"),
        resource("db", Some("n1"), Some("Running"), Verdict::Keep, "runs where it should"),
        failed,
    ];
    status.fencing = vec![FencingView {
        attempt: 7,
        node: "n3".into(),
        action: FencingAction::Reboot,
        level: 1,
        devices: vec!["ipmi-n3".into()],
        executor: "n1".into(),
        reason: "not heard for 1.5s".into(),
        started_ms: NOW_MS - 70_000,
        ended_ms: Some(NOW_MS - 60_000),
        outcome: AttemptOutcome::Off,
        error: None,
    }];
    status.overrides = vec![OverrideView {
        id: 1,
        what: "drain".into(),
        scope: "node n3".into(),
        by: "anna".into(),
        reason: "new disk".into(),
        since_ms: NOW_MS - 1000,
        expires_ms: Some(NOW_MS + 600_000),
    }];
    let device = |name: &str, checked_ms, failing| DeviceView {
        name: name.into(),
        agent: "fence_ipmilan".into(),
        checked_ms,
        failing,
    };
    let fault = DeviceFault { node: "n3".into(), since_ms: NOW_MS - 600_000, why: "no answer within 1m".into() };
    status.devices = vec![
        device("ipmi-n1", None, vec![fault]),
        device("ipmi-n2", Some(NOW_MS - 180_000), vec![]),
        device("ipmi-n3", Some(NOW_MS - 240_000), vec![]),
    ];
    status.alarms = vec![AlarmView {
        index: 99,
        at_ms: NOW_MS - 60_000,
        text: "boot b9 of n3 is heard although it was proven off".into(),
    }];
    status
}

#[test]
fn a_healthy_cluster_is_a_short_picture() {
    expect("status-healthy.txt", &text(&healthy()));
}

#[test]
fn failures_come_first_and_everything_odd_is_named() {
    expect("status-degraded.txt", &text(&example()));
}

#[test]
fn the_json_of_a_status_is_the_document_of_the_api() {
    let json = serde_json::to_string_pretty(&example()).unwrap() + "\n";
    expect("status-degraded.json", &json);
    assert_eq!(serde_json::from_str::<StatusView>(&json).unwrap(), example());
}

#[test]
fn a_document_fits_its_published_schema() {
    let schema = serde_json::to_value(schemars::schema_for!(StatusView)).unwrap();
    let document = serde_json::to_value(example()).unwrap();
    assert!(jsonschema::is_valid(&schema, &document));
    let mut other = document;
    other["kind"] = "Plan".into();
    assert!(!jsonschema::is_valid(&schema, &other));
}

#[test]
fn a_drain_goes_on_where_only_the_next_node_is_missing_and_stops_at_a_failed_stop() {
    use crate::api::types::{Progress, WaitFor};
    let drained = WaitFor::NodeEmpty { node: "n1".into() };
    let mut status = healthy();
    status.resources = vec![resource("db", Some("n1"), Some("Stopping"), Verdict::Blocked, "no node may run it")];
    status.resources[0].blocked_by = None;
    assert_eq!(drained.progress(&status), Progress::Missing("db still on n1".into()));
    status.resources[0].blocked_by = Some("stop failed: timed out".into());
    assert_eq!(drained.progress(&status), Progress::Stuck("db is blocked: stop failed: timed out".into()));
    status.resources[0].phase = None;
    assert_eq!(drained.progress(&status), Progress::Reached);
}

#[test]
fn exit_codes_follow_the_verdict() {
    let codes = [Health::Healthy, Health::Converging, Health::Unconfigured, Health::Degraded, Health::NoQuorum];
    assert_eq!(codes.map(|health| exit(health) as u8), [0, 0, 0, 1, 106]);
}

#[test]
fn a_node_is_back_when_it_is_online_with_another_boot() {
    use crate::api::types::{Progress, WaitFor};
    let after = |boot: &str| WaitFor::BackAfter { node: "n2".into(), boot: boot.into() };
    let mut status = healthy();
    assert!(matches!(after("b1").progress(&status), Progress::Missing(_)), "the old boot is no return");
    assert_eq!(after("b0").progress(&status), Progress::Reached);
    status.nodes[1].membership = MembershipView::Fenced;
    assert!(matches!(after("b0").progress(&status), Progress::Missing(_)));
}
