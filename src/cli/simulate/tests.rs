//! Pictures of stories, and how the command ends.

use super::super::status::tests::expect;
use super::*;
use crate::manifest::{self, SourceFile};
use crate::model::AgentCatalogue;

/// The spec of a folder of examples.
pub fn example(name: &str) -> Spec {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(name);
    manifests::read(&root).unwrap()
}

/// The spec of one file.
pub fn spec(text: &str) -> Spec {
    let file = SourceFile { path: "cluster.yaml".into(), bytes: text.into() };
    let loaded = manifest::load(&[file], &AgentCatalogue::default());
    loaded.spec.unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics))
}

fn args(words: &[&str]) -> faults::FaultArgs {
    #[derive(clap::Parser)]
    struct Words {
        #[command(flatten)]
        faults: faults::FaultArgs,
    }
    <Words as clap::Parser>::try_parse_from(std::iter::once(&"simulate").chain(words)).unwrap().faults
}

fn simulate(spec: &Spec, words: &[&str]) -> crate::api::types::SimulationView {
    let state = whatif::healthy(spec);
    let before = whatif::Homes::now(&state);
    let mut play = Play::new(spec, state);
    let told = play.step(&args(words).of(spec).unwrap());
    view::simulation(spec, &[told], &before, &play.end())
}

fn picture(name: &str, spec: &Spec, words: &[&str]) {
    expect(&format!("simulate-{name}.txt"), &text::simulation(&simulate(spec, words)));
}

#[test]
fn a_lost_node_is_fenced_and_its_services_start_elsewhere() {
    picture("node-down", &example("quickstart"), &["--node-down", "n1"]);
}
#[test]
fn without_its_device_a_lost_node_keeps_what_it_ran() {
    picture("device-down", &example("quickstart"), &["--node-down", "n1", "--device-down", "pdu"]);
}
#[test]
fn two_of_three_are_no_majority() {
    picture("no-quorum", &example("quickstart"), &["--node-down", "n1,n2"]);
}
#[test]
fn one_link_of_two_changes_nothing() {
    picture("link-down", &example("quickstart"), &["--link-down", "0"]);
}
#[test]
fn a_monitor_that_fails_restarts_and_a_stop_that_fails_fences() {
    picture("monitor", &example("quickstart"), &["--fail", "web-server:monitor@n1"]);
    picture("stop", &example("quickstart"), &["--fail", "web-server:monitor@n1", "--fail", "web-server:stop@n1"]);
}
#[test]
fn a_promoted_copy_that_is_lost_has_a_successor() {
    picture("promoted", &example("drbd"), &["--node-down", "n1"]);
}

/// A cluster that promises too much.
const BOASTING: &str = "\
apiVersion: hafen/v1alpha1
kind: Cluster
metadata: { name: lab }
spec: { survive: 1 }
---
{ apiVersion: hafen/v1alpha1, kind: FencingDevice, metadata: { name: pdu }, spec: { agent: fence_dummy } }
---
apiVersion: hafen/v1alpha1
kind: Node
metadata: { name: n1, labels: { rack: a } }
spec: { addresses: [192.0.2.1], fencing: [[pdu]] }
---
apiVersion: hafen/v1alpha1
kind: Node
metadata: { name: n2, labels: { rack: a } }
spec: { addresses: [192.0.2.2], fencing: [[pdu]] }
---
apiVersion: hafen/v1alpha1
kind: Node
metadata: { name: n3, labels: { rack: b } }
spec: { addresses: [192.0.2.3], fencing: [[pdu]] }
---
apiVersion: hafen/v1alpha1
kind: Resource
metadata: { name: tape }
spec: { agent: ocf:pacemaker:Dummy, params: { state: /run/tape }, maxOutage: 2m }
---
apiVersion: hafen/v1alpha1
kind: Resource
metadata: { name: backup }
spec: { agent: ocf:pacemaker:Dummy, params: { state: /run/backup }, maxOutage: 10m }
---
apiVersion: hafen/v1alpha1
kind: Location
metadata: { name: tape-is-in-n1 }
spec: { resource: tape, nodes: [n1] }
---
apiVersion: hafen/v1alpha1
kind: Order
metadata: { name: tape-before-backup }
spec: { first: { resource: tape }, then: { resource: backup } }
---
apiVersion: hafen/v1alpha1
kind: Scenario
metadata: { name: hopeful }
spec:
  steps: [{ nodeDown: [n1] }]
  expect: { placed: { tape: [n2] }, homeless: [], fenced: [n1], quorum: false }
---
apiVersion: hafen/v1alpha1
kind: Scenario
metadata: { name: sober }
spec:
  steps: [{ fail: [{ resource: tape, operation: Monitor, node: n1 }, { resource: tape, operation: Start, node: n2 }] }]
  expect: { placed: { tape: [n1], backup: [n2] }, promoted: {}, homeless: [] }
";

fn survived(spec: &Spec, losses: usize) -> crate::api::types::SurvivalView {
    survive::survey(spec, &whatif::healthy(spec), &whatif::Terms::any(losses)).unwrap()
}

#[test]
fn losses_are_told_with_the_lines_that_forbid_a_home() {
    expect("simulate-survive.txt", &survive::picture(&survived(&spec(BOASTING), 1)));
    expect("simulate-survive-quickstart.txt", &survive::picture(&survived(&example("quickstart"), 2)));
    let one = survived(&example("quickstart"), 1);
    assert!(one.survives && survive::picture(&one).starts_with("\u{1b}"), "{one:#?}");
}

#[test]
fn promises_that_do_not_hold_are_findings() {
    let found = whatif::findings(&spec(BOASTING), &whatif::one_by_one);
    let file = SourceFile { path: "cluster.yaml".into(), bytes: BOASTING.into() };
    expect("simulate-findings.txt", &crate::cli::diagnostics::render(Default::default(), &found, &[], &[file], false));
    let modest = BOASTING.replace("survive: 1", "survive: 0").replace("maxOutage: 2m", "maxOutage: 1h");
    assert_eq!(whatif::findings(&spec(&modest), &whatif::one_by_one), []);
}

#[test]
fn scenarios_end_as_expected_or_are_told() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/mariadb");
    let (mariadb, scenarios) = suite::read(&root, &root.join("scenarios.yaml")).unwrap();
    let view = suite::play(&mariadb, &whatif::healthy(&mariadb), &scenarios);
    assert_eq!((view.passed, view.failed), (5, 0), "{}", suite::picture(&view));

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("cluster.yaml"), BOASTING).unwrap();
    let (lab, scenarios) = suite::read(folder.path(), folder.path()).unwrap();
    let view = suite::play(&lab, &whatif::healthy(&lab), &scenarios);
    assert_eq!((view.passed, view.failed), (1, 1), "{}", suite::picture(&view));
    expect("simulate-suite.txt", &suite::picture(&view));
    expect("simulate-suite.xml", &suite::junit(&view));
    let report = suite::junit(&view);
    let report = roxmltree::Document::parse(&report).unwrap();
    assert_eq!(report.descendants().filter(|node| node.has_tag_name("failure")).count(), 1);

    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("s.yaml"), BOASTING.split("---\n").last().unwrap()).unwrap();
    std::fs::write(folder.path().join("cluster.yaml"), BOASTING.rsplitn(3, "---\n").last().unwrap()).unwrap();
    let (_, scenarios) = suite::read(folder.path(), elsewhere.path()).unwrap();
    assert_eq!(scenarios.iter().map(|scenario| scenario.name.as_str()).collect::<Vec<_>>(), ["sober"]);
    assert!(suite::read(folder.path(), folder.path()).unwrap_err().message.contains("no document of kind Scenario"));
}

#[test]
fn the_worst_time_down_is_a_sum() {
    expect("simulate-outages.txt", &outages::picture(&outages::view(&spec(BOASTING))));
}

#[test]
fn what_the_manifests_do_not_know_cannot_fail() {
    let spec = example("quickstart");
    let refused = |words: &[&str]| args(words).of(&spec).unwrap_err();
    let error = refused(&["--node-down", "m1"]);
    assert_eq!((error.exit() as u8, error.hints[0].as_str()), (105, "did you mean `n1`?"));
    assert!(refused(&["--device-down", "pda"]).hints[0].contains("pdu"));
    assert_eq!(refused(&["--link-down", "2"]).message, "there is no link 2: they are 0 to 1");
    assert!(refused(&["--fail", "web:stop@n1"]).hints.iter().any(|hint| hint.contains("web-ip, web-server")));
    let wrong = |text: &str| text.parse::<faults::Failing>().unwrap_err();
    assert!(wrong("db@n1").contains("RESOURCE:OPERATION@NODE"));
    assert!(wrong("db:reload@n1").contains("monitor, start, stop, promote, demote"));
}

#[test]
fn documents_fit_their_published_schemas() {
    let lab = spec(BOASTING);
    let schema = |name: &str| {
        let (_, schema) = crate::api::types::schemas().into_iter().find(|(known, _)| *known == name).unwrap();
        serde_json::to_value(schema).unwrap()
    };
    let fits = |name: &str, view: serde_json::Value| assert!(jsonschema::is_valid(&schema(name), &view), "{name}");
    fits("simulation", serde_json::to_value(simulate(&lab, &["--node-down", "n1"])).unwrap());
    fits("survival", serde_json::to_value(survived(&lab, 1)).unwrap());
    fits("outages", serde_json::to_value(outages::view(&lab)).unwrap());
    fits("suite", serde_json::to_value(suite::play(&lab, &whatif::healthy(&lab), &[])).unwrap());
}
