//! An exported state, read back elsewhere: the same cluster, the same plan, and no secret.

use super::offline::{self, Other};
use crate::api::differences;
use crate::api::types::{DiffView, Impact};
use crate::manifest::{self, Purpose, SourceFile};
use crate::model::{AgentCatalogue, Listing, Spec};
use crate::state::{State, StateDocument};

const CLUSTER: &str = "apiVersion: hafen/v1alpha1\nkind: Cluster\nmetadata: { name: c }\nspec: { fencing: { enabled: false } }\n---\n\
apiVersion: hafen/v1alpha1\nkind: Node\nmetadata: { name: n1 }\nspec: { addresses: [192.0.2.1], labels: { rack: a } }\n---\n\
apiVersion: hafen/v1alpha1\nkind: Node\nmetadata: { name: n2 }\nspec: { addresses: [192.0.2.2] }\n---\n\
apiVersion: hafen/v1alpha1\nkind: Location\nmetadata: { name: here }\nspec: { resource: db, nodes: [n1], strength: Preferred }\n---\n";

fn db(params: &str) -> String {
    format!(
        "apiVersion: hafen/v1alpha1\nkind: Resource\nmetadata: {{ name: db }}\nspec:\n  agent: ocf:heartbeat:Dummy\n  \
         params: {{ {params} }}\n"
    )
}

const PARAMS: &str = "state: /run/db, password: planted1, options: \"user=u,password=planted2\", args: \"-p planted1\"";

fn read(params: &str) -> (Spec, Listing) {
    read_text(&db(params))
}

fn read_text(db: &str) -> (Spec, Listing) {
    let text = (CLUSTER.to_owned() + db).replace(", labels: { rack: a }", "");
    let files = [SourceFile { path: "a.yaml".into(), bytes: text.into_bytes() }];
    let loaded = manifest::load_for(Purpose::Plan, &files, &AgentCatalogue::default());
    (loaded.spec.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics)), manifest::listing(&files))
}

/// A cluster that follows these manifests and has planted secrets in everything that people and agents can write.
fn running(spec: &Spec, documents: &Listing) -> State {
    let node = |n: u32| {
        format!(
            "\"n{n}\": {{ \"membership\": \"Online\", \"boot\": \"b{n}\", \"sinceMs\": 5, \
        \"attributes\": {{ \"db-pass\": \"planted1\", \"x\": \"is planted1\" }} }}"
        )
    };
    let text = format!(
        "{{ \"apiVersion\": \"hafen/v1alpha1\", \"kind\": \"State\", \"nowMs\": 77, \"lastEpoch\": 3, \"nodes\": {{ {}, {} }}, \
         \"claims\": [{{ \"instance\": \"db\", \"node\": \"n1\", \"phase\": \"Running\", \
            \"role\": \"Started\", \"epoch\": 3 }}], \
         \"probes\": [{{ \"resource\": \"db\", \"node\": \"n2\", \"reading\": \"Stopped\", \"text\": \"said planted1\" }}], \
         \"history\": [{{ \"instance\": \"db\", \"node\": \"n1\", \"lastAction\": \"Start\", \
            \"lastStatus\": {{ \"Exited\": 0 }}, \"lastFailure\": \"login with planted1 failed\" }}], \
         \"overrides\": {{ \"1\": {{ \"scope\": \"Cluster\", \"kind\": \"Maintenance\", \"by\": \"ann\", \
            \"reason\": \"https://u:planted3@h/ is down\", \"expiresMs\": 1 }} }} }}",
        node(1),
        node(2)
    );
    let mut document = StateDocument::parse(&text).unwrap();
    let mut followed = StateDocument::export(&following(spec), documents).unwrap().target.unwrap();
    followed.spec = spec.clone();
    document.target = Some(followed);
    document.state(spec)
}

/// Nothing but a target.
fn following(spec: &Spec) -> State {
    let (digest, _) = crate::state::target::spec_to_chunks(spec);
    let target = crate::state::Target {
        revision: crate::model::Revision::new("a".repeat(40)),
        spec: digest,
        accepted_at: Default::default(),
        accepted_ms: 7,
        by: "ann".into(),
    };
    State { target: Some(target), specs: [(digest, std::sync::Arc::new(spec.clone()))].into(), ..State::default() }
}

fn export() -> (State, String) {
    let (spec, documents) = read(PARAMS);
    let state = running(&spec, &documents);
    let text = StateDocument::export(&state, &documents).unwrap().text();
    (state, text)
}

#[test]
fn no_planted_secret_survives_an_export() {
    let (state, text) = export();
    assert_eq!(format!("{state:?}").matches("planted").count(), 13, "they are in the state");
    assert!(!text.contains("planted"), "{text}");
    assert!(text.contains("-p (hidden)") && text.contains("user=u,password=(hidden)") && text.contains("/run/db"));
}

#[test]
fn read_beside_its_own_manifests_an_export_is_the_same_state() {
    let (mut state, text) = export();
    let (spec, _) = read(PARAMS);
    let mut back = StateDocument::parse(&text).unwrap().state(&spec);
    // What people and agents said is covered; nothing is planned by it.
    for state in [&mut state, &mut back] {
        state.history.values_mut().for_each(|record| record.last_failure.clear());
        state.probes.values_mut().for_each(|probe| probe.text.clear());
        state.overrides.values_mut().for_each(|o| o.reason.clear());
        state.nodes.values_mut().for_each(|node| node.attributes.clear());
    }
    assert_eq!(back, state);
    assert_eq!(back.spec().map(|spec| spec.resources["db"].params["password"].as_str()), Some("planted1"));
}

fn plan(params: &str) -> crate::api::types::PlanView {
    planned(&export().1, read(params))
}

/// What these manifests would do to the cluster of an export.
fn planned(text: &str, (spec, documents): (Spec, Listing)) -> crate::api::types::PlanView {
    let document = StateDocument::parse(text).unwrap();
    let target = document.target.as_ref().unwrap();
    let diff = DiffView { from: Some(target.revision.to_string()), ..differences(&target.documents, &documents) };
    offline::plan(&Other { state: document.state(&spec), spec, diff: Some(diff) })
}

#[test]
fn a_plan_beside_an_export_is_that_of_the_cluster() {
    let same = plan(PARAMS);
    assert_eq!((same.changes.len(), same.actions.len()), (0, 0), "{same:?}");
    assert_eq!(same.warnings.len(), 3, "what is hidden is not compared: {:?}", same.warnings);
    let changed = plan(&PARAMS.replace("/run/db", "/run/other"));
    assert_eq!(changed.actions.iter().map(|a| a.impact).collect::<Vec<_>>(), [Impact::Restart]);
    let field = &changed.changes[0].fields[0];
    assert_eq!((field.path.as_str(), field.at.as_deref()), ("params.state", Some("a.yaml:26:20")));
}

#[test]
fn ciphertext_stays_at_home_and_a_change_of_it_is_seen_all_the_same() {
    let sealed = |armor: &str| {
        let armor: String = armor.lines().map(|line| format!("        {line}\n")).collect();
        read_text(&format!("{}  secrets:\n    passwd:\n      age: |\n{armor}", db("state: /run/db")))
    };
    let armor = include_str!("../agent/sealed/for-node.age");
    let (spec, documents) = sealed(armor);
    let text = StateDocument::export(&running(&spec, &documents), &documents).unwrap().text();
    let line = armor.lines().nth(1).unwrap();
    assert!(!text.contains(line) && !text.contains("BEGIN AGE"), "{text}");
    let same = planned(&text, sealed(armor));
    assert_eq!((same.changes.len(), same.actions.len(), same.warnings.len()), (0, 0, 0), "{same:?}");
    let changed = planned(&text, sealed(include_str!("../agent/sealed/for-other.age")));
    assert_eq!(changed.actions.iter().map(|a| a.impact).collect::<Vec<_>>(), [Impact::Restart]);
    let field = &changed.changes[0].fields[0];
    let shown =
        |text: &Option<String>| text.as_deref().is_some_and(|text| text.starts_with("(sealed ") && text.len() == 21);
    assert_eq!(field.path, "secrets.passwd.age");
    assert!(shown(&field.from) && shown(&field.to) && field.from != field.to, "{field:?}");
}
