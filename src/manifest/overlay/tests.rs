//! The example of two clusters, origins, waivers, limits; the mistakes are stories (`manifest/cases/overlay*.txt`).

use crate::manifest::{From, Purpose, SourceFile, agents_named, bundled, listing, load, load_for, rendered};
use crate::model::{AgentCatalogue, Kind, Spec};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn file(path: &str, text: impl Into<Vec<u8>>) -> SourceFile {
    SourceFile { path: path.into(), bytes: text.into() }
}

/// The example of two clusters, as a cluster reads it that follows one of them.
fn example(cluster: &str) -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/clusters");
    let mut files = Vec::new();
    for folder in ["base", cluster] {
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        files.extend(paths.iter().map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            file(&format!("{folder}/{name}"), std::fs::read(path).unwrap())
        }));
    }
    files
}

fn without_origins(mut spec: Spec) -> Spec {
    spec.origins.clear();
    spec
}

#[test]
fn one_base_makes_two_clusters_without_findings() {
    let load = |cluster: &str| {
        let files = example(cluster);
        let loaded = load(&files, &bundled::complete(AgentCatalogue::default(), &agents_named(&files)));
        let unwanted: Vec<_> = loaded.diagnostics.iter().filter(|found| found.code != "HA0605").collect();
        assert!(unwanted.is_empty(), "{unwanted:#?}");
        loaded.spec.unwrap()
    };
    let (prod, test) = (load("prod"), load("test"));
    assert_eq!((prod.cluster.name.as_str(), test.cluster.name.as_str()), ("prod", "test"));
    let address = |spec: &Spec| spec.nodes["n1"].addresses[0].to_string();
    assert_eq!((address(&prod), address(&test)), ("192.0.2.11".into(), "198.51.100.11".into()));
    let start = |spec: &Spec| spec.resources["web-server"].operations[&crate::model::OpName::Start].timeout;
    assert_eq!((start(&prod), start(&test)), (Duration::from_secs(120), Duration::from_secs(20)));
    let threshold = |spec: &Spec| spec.resources["web-server"].failure.threshold;
    assert_eq!((threshold(&prod), threshold(&test)), (3, 1));
    assert_eq!(prod.resources["web-ip"].params["cidr_netmask"], "24", "a number where a text is wanted");
    assert!(prod.resources.contains_key("certificates") && !test.resources.contains_key("certificates"));
}

#[test]
fn what_is_rendered_reads_as_the_same_cluster_and_has_an_origin_for_every_field() {
    for cluster in ["prod", "test"] {
        let files = example(cluster);
        let output = rendered(&files);
        assert_eq!(output.diagnostics, []);
        let text: Vec<String> = output
            .documents
            .iter()
            .map(|document| document.lines.iter().map(|line| format!("{}\n", line.text)).collect())
            .collect();
        let again = load(&[file("all.yaml", text.join("---\n"))], &AgentCatalogue::default());
        let first = load(&files, &AgentCatalogue::default());
        assert_eq!(again.spec.map(without_origins), first.spec.map(without_origins), "{}", text.join("---\n"));
        for field in output.documents.iter().flat_map(|document| &document.lines).filter_map(|line| line.field.as_ref())
        {
            // What stands at the place that is told is what the field says, or what its variables are put into.
            let source = files.iter().find(|file| file.path == field.origin.file).expect("a file of the tree");
            let source = std::str::from_utf8(&source.bytes).unwrap();
            let line: String = source
                .lines()
                .nth(field.origin.line as usize - 1)
                .unwrap()
                .chars()
                .skip(field.origin.column as usize - 1)
                .collect();
            let shown = match &field.value {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Array(items) => {
                    items.first().map_or("[".into(), |item| item.to_string().trim_matches(['"', '[', ']']).to_owned())
                }
                other => other.to_string(),
            };
            let there = line.trim_start_matches(['"', '[', ' ']);
            let fits = match field.origin.from {
                From::Text => there.starts_with("${"),
                From::Own | From::Base | From::Patch | From::Variable | From::Default => there.starts_with(&shown),
            };
            assert!(fits, "{} = {shown} at {}: {line}", field.path, field.origin);
        }
    }
}

#[test]
fn origins_say_who_says_a_field() {
    let output = rendered(&example("prod"));
    let field = |name: &str, path: &str| {
        let document = output.documents.iter().find(|document| document.value["metadata"]["name"] == name).unwrap();
        let field = document.lines.iter().filter_map(|line| line.field.as_ref()).find(|field| field.path == path);
        field.unwrap_or_else(|| panic!("{name} {path}")).origin.to_string()
    };
    assert_eq!(field("web-server", "spec.agent"), "base/web.yaml:23:10");
    assert_eq!(field("web-server", "spec.operations.start.timeout"), "prod/overlay.yaml:16:41 patch");
    assert_eq!(field("web-ip", "spec.params.ip"), "base/web.yaml:13:9 with network from prod/overlay.yaml:9:14");
    assert_eq!(
        field("prod", "metadata.name"),
        "prod/overlay.yaml:8:14 value of cluster, used at base/cluster.yaml:4:19"
    );
    assert_eq!(
        field("web-ip", "spec.params.cidr_netmask"),
        "base/overlay.yaml:14:40 default of netmask, used at base/web.yaml:15:19"
    );
    assert_eq!(field("certificates", "spec.agent"), "prod/certificates.yaml:6:10");
}

#[test]
fn a_listing_has_the_fields_as_they_came_out_with_their_true_places() {
    let listing = listing(&example("prod"));
    let field = |kind, name: &str, path: &str| {
        let field = &listing.get(kind, name).unwrap().fields[path];
        format!("{} {}", field.value, field.at)
    };
    assert_eq!(field(Kind::Resource, "web-server", "operations.start.timeout"), "2m prod/overlay.yaml:16:41");
    assert_eq!(field(Kind::Node, "n2", "addresses"), "[192.0.2.12] base/cluster.yaml:26:20");
    assert_eq!(listing.all().filter(|(kind, _, _)| *kind == Kind::Overlay).count(), 0);
}

#[test]
fn where_the_paths_begin_changes_nothing_but_the_paths() {
    let spec = |change: &dyn Fn(&str) -> String| {
        let mut files = example("prod");
        files.iter_mut().for_each(|file| file.path = change(&file.path));
        let loaded = load(&files, &AgentCatalogue::default());
        (without_origins(loaded.spec.unwrap()), loaded.diagnostics.len())
    };
    // As a repository has them, and as they are seen from the folder of the cluster.
    let here = spec(&|path: &str| path.to_owned());
    let from_prod = |path: &str| path.strip_prefix("prod/").map_or_else(|| format!("../{path}"), str::to_owned);
    assert_eq!(here, spec(&from_prod));
    assert_eq!(here, spec(&|path: &str| format!("/srv/{path}")));
}

#[test]
fn without_an_overlay_a_dollar_is_a_dollar() {
    let text = "apiVersion: hafen/v1alpha1\nkind: Cluster\nmetadata: { name: a }\nspec: {}\n---\napiVersion: hafen/v1alpha1\n\
                kind: Resource\nmetadata: { name: a }\nspec: { agent: 'ocf:heartbeat:anything', params: { cmdline: '${HOME} $${x' } }\n";
    let loaded = load(&[file("a.yaml", text)], &AgentCatalogue::default());
    assert_eq!(loaded.spec.unwrap().resources["a"].params["cmdline"], "${HOME} $${x");
}

#[test]
fn a_waiver_counts_where_the_value_stands_and_where_it_is_used_and_one_of_a_base_may_be_unused() {
    let base = "apiVersion: hafen/v1alpha1\nkind: Overlay\nmetadata: { name: base }\nspec: { variables: { name: { type: String, default: a } } }\n\
                ---\napiVersion: hafen/v1alpha1\nkind: Cluster\nmetadata:\n  name: ${name} # hafen: ignore[HA0510] nobody votes yet\n\
                spec: {} # hafen: ignore[HA0506] another cluster needs it\n";
    let codes = |base: &str, overlay: &str| -> Vec<String> {
        let overlay = format!(
            "apiVersion: hafen/v1alpha1\nkind: Overlay\nmetadata: {{ name: o }}\nspec:\n  bases: [../base]\n{overlay}"
        );
        let loaded = load(&[file("base/a.yaml", base), file("c/o.yaml", overlay)], &AgentCatalogue::default());
        loaded.diagnostics.into_iter().map(|found| found.code).collect()
    };
    let none: [&str; 0] = [];
    assert_eq!(codes(base, ""), none, "waived where it is used");
    let bare = base.replace(" # hafen: ignore[HA0510] nobody votes yet", "");
    assert_eq!(codes(&bare, ""), ["HA0510"]);
    let value = "  values:\n    name: b";
    assert_eq!(codes(&bare, &format!("{value}\n")), ["HA0510"]);
    assert_eq!(codes(&bare, &format!("{value} # hafen: ignore[HA0510] a test\n")), none, "where it stands");
    assert_eq!(codes(&bare, &format!("{value} # hafen: ignore[HA0506] a test\n")), ["HA0510", "HA0903"]);
}

#[test]
fn values_cannot_make_a_small_tree_large() {
    let lines: String = (0..3000).map(|number| format!("    p{number}: \"{}\"\n", "${v}".repeat(20))).collect();
    let text = format!(
        "apiVersion: hafen/v1alpha1\nkind: Overlay\nmetadata: {{ name: o }}\nspec: {{ variables: {{ v: {{ type: String, default: \"{}\" }} }} }}\n---\n\
         apiVersion: hafen/v1alpha1\nkind: Resource\nmetadata: {{ name: a }}\nspec:\n  agent: systemd:a\n  params:\n{}",
        "x".repeat(4000),
        lines.lines().take(1900).map(|line| format!("{line}\n")).collect::<String>()
    );
    let loaded = load(&[file("a.yaml", text)], &AgentCatalogue::default());
    assert!(loaded.spec.is_none());
    assert_eq!(
        loaded.diagnostics.iter().filter(|found| found.code == "HA0106").count(),
        1,
        "{:#?}",
        loaded.diagnostics.len()
    );
}

proptest! {
    /// One edit of the example is loaded or refused, and does not panic; the same in whatever order the files come.
    #[test]
    fn every_edit_of_an_overlay_is_loaded_or_refused(place in any::<proptest::sample::Index>(), with in "[ -~\\n]{0,3}|\\$\\{[a-z]{0,3}\\}?", cut in 0..6_usize, which in 0..5_usize) {
        let mut files = example("prod");
        let file = &mut files[which];
        let start = place.index(file.bytes.len());
        file.bytes.splice(start..(start + cut).min(file.bytes.len()), with.bytes());
        let forwards = load_for(Purpose::Plan, &files, &AgentCatalogue::default());
        let errors = forwards.diagnostics.iter().any(|found| found.severity == crate::model::Severity::Error);
        prop_assert_eq!(forwards.spec.is_none(), errors);
        files.reverse();
        prop_assert_eq!(load_for(Purpose::Plan, &files, &AgentCatalogue::default()), forwards);
        let _ = (rendered(&files), listing(&files));
    }
}
