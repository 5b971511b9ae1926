//! The schemas in the tree are those of the types.

use super::*;
use std::path::Path;

#[test]
fn the_schemas_of_the_outputs_are_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    for (name, schema) in schemas() {
        let path = folder.join(format!("output-{name}.json"));
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, text).unwrap();
        } else {
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(found, text, "{} is stale: run the tests with UPDATE_EXPECT=1", path.display());
        }
    }
}

#[test]
fn a_document_of_another_kind_is_refused() {
    let plan = serde_json::to_string(&PlanView::default()).unwrap();
    assert!(plan.starts_with(r#"{"apiVersion":"hafen/v1alpha1","kind":"Plan""#), "{plan}");
    assert!(serde_json::from_str::<PlanView>(&plan).is_ok());
    assert!(serde_json::from_str::<PlanView>(&plan.replace("\"Plan\"", "\"Why\"")).is_err());
}

#[test]
fn fail_on_finds_what_it_names_and_nothing_else() {
    let action = |impact| PlannedAction {
        impact,
        object: "db".into(),
        node: None,
        from: None,
        role: None,
        reason: String::new(),
        at: None,
        takes: None,
        after: vec![],
    };
    let plan = PlanView { actions: vec![action(Impact::Migrate)], ..PlanView::default() };
    assert!(plan.does(FailOn::Move) && plan.does(FailOn::Any));
    assert!(!plan.does(FailOn::Restart) && !plan.does(FailOn::Outage) && !plan.does(FailOn::Fence));
    assert!(!PlanView::default().does(FailOn::Any));
}
