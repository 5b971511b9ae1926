//! What an import writes reads as what was imported.

use crate::model::Spec;
use crate::pacemaker::{Import, import, manifests};
use crate::plan::transition;
use crate::state::StateDocument;
use std::collections::BTreeMap;

/// A cluster with something of everything.
const CIB: &str = include_str!("import_tests.xml");

fn imported(text: &str) -> Import {
    import(text, Some(1_700_000_000)).unwrap()
}

/// The same cluster, by way of its manifests.
fn loaded(import: &Import) -> Spec {
    let (_, loaded) = super::cib::read_back(import);
    let spec = loaded.spec.unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics));
    Spec { origins: BTreeMap::new(), ..spec }
}

#[test]
fn names_that_are_none_here_are_told() {
    let text = r#"<cib><configuration><crm_config/><nodes><node id="1" uname="a"/></nodes><resources>
        <primitive id="r:x" class="ocf" provider="pacemaker" type="Dummy"/></resources><constraints/></configuration></cib>"#;
    let (_, loaded) = super::cib::read_back(&imported(text));
    assert!(loaded.spec.is_none());
    assert!(loaded.diagnostics.iter().any(|found| found.message == "`r:x` is not a name"), "{:?}", loaded.diagnostics);
}

#[test]
fn what_is_written_loads_as_what_was_imported() {
    let import = imported(CIB);
    let spec = loaded(&import);
    assert_eq!(format!("{spec:#?}"), format!("{:#?}", import.spec));
    assert_eq!(spec, import.spec);
}

#[test]
fn a_state_document_beside_the_manifests_gives_the_same_plan() {
    let import = imported(CIB);
    let spec = loaded(&import);
    let text = StateDocument::of(&import.state).text();
    let state = StateDocument::parse(&text).unwrap().state(&spec);
    assert_eq!(state, import.state);
    assert!(!state.claims.is_empty() && state.nodes.len() == 3);
    assert_eq!(transition(&spec, &state), transition(&import.spec, &import.state));
}

#[test]
fn sets_are_written_as_one_document_and_defaults_are_left_out() {
    let import = imported(CIB);
    let files = manifests::write(&import.spec, &import.sets);
    let of = |name: &str| files.iter().find(|(file, _)| *file == name).map(|(_, text)| text.as_str()).unwrap();
    let boot = of("constraints.yaml").split("---\n").find(|text| text.contains("name: boot\n")).unwrap();
    assert_eq!(
        boot,
        "apiVersion: hafen/v1alpha1\nkind: Order\nmetadata:\n  name: boot\nspec:\n  sets:\n    - members: [disk, net]\n    - members: [web, mail]\n      sequential: false\n"
    );
    assert!(!of("constraints.yaml").contains("boot.2"));
    assert!(!of("resources.yaml").contains("stickiness: 0"));
}

#[test]
fn a_document_of_another_kind_is_no_state() {
    let text = r#"{"apiVersion":"hafen/v1alpha1","kind":"Plan"}"#;
    assert!(StateDocument::parse(text).unwrap_err().to_string().contains("`Plan`"));
    assert!(StateDocument::parse("{").is_err());
}
