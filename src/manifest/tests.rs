//! Stories (`cases/*.txt`), the examples of the repository, properties and limits.

use super::*;
use crate::model::{
    ActionMeta, AgentMetadata, Kind, ObjectRef, OnFail, OpName, ParameterMeta, QuorumLoss, Requires, Resource, Severity,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn file(path: &str, text: impl Into<Vec<u8>>) -> SourceFile {
    SourceFile { path: path.into(), bytes: text.into() }
}
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
fn load_text(text: &str) -> Loaded {
    load(&[file("a.yaml", text)], &AgentCatalogue::default())
}

/// Three fenced voters, so that a story is only about its own rule.
const BASE: &str = include_str!("cases/base.yaml");

/// Findings as the stories show them: with the line and what is pointed at.
fn show(files: &[SourceFile], diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for found in diagnostics {
        let place = format!("{}:{}:{}", found.file, found.line, found.column);
        writeln!(text, "{}[{}] {place}: {}", found.severity, found.code, found.message).unwrap();
        let source = files.iter().find(|file| file.path == found.file).map(|file| String::from_utf8_lossy(&file.bytes));
        if let Some(line) =
            source.as_deref().and_then(|source| source.lines().nth((found.line as usize).wrapping_sub(1)))
        {
            let end = if found.end_line == found.line { found.end_column as usize } else { line.chars().count() + 1 };
            let width = end.saturating_sub(found.column as usize).max(1);
            writeln!(text, "  | {line}\n  | {}{}", " ".repeat(found.column as usize - 1), "^".repeat(width)).unwrap();
        }
        if let Some(help) = &found.help {
            writeln!(text, "  help: {help}").unwrap();
        }
    }
    if text.is_empty() { "no findings\n".into() } else { text }
}

#[test]
fn stories_end_as_they_say() {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder("src/manifest/cases")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    assert!(paths.len() > 20);
    let mut wrong = Vec::new();
    for path in paths {
        let story = std::fs::read_to_string(&path).unwrap();
        let (input, expected) = story.split_once("==> expected\n").unwrap_or((&story, ""));
        let mut sections = input.split("==> ");
        let header = sections.next().unwrap();
        let mut files: Vec<SourceFile> = Vec::new();
        let mut catalogue = AgentCatalogue::default();
        if header.contains("# base: three nodes") {
            files.push(file("base.yaml", BASE));
        }
        for section in sections {
            let (name, text) = section.split_once('\n').unwrap();
            match name {
                "catalogue" => catalogue = small_catalogue(),
                "catalogue of the snapshot" => {
                    catalogue = bundled::complete(AgentCatalogue::default(), &agents_named(&files));
                }
                _ => files.push(file(name, text)),
            }
        }
        let loaded = load(&files, &catalogue);
        assert_eq!(loaded.spec.is_none(), loaded.diagnostics.iter().any(|found| found.severity == Severity::Error));
        let shown = show(&files, &loaded.diagnostics);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, format!("{input}==> expected\n{shown}")).unwrap();
        } else if shown != expected {
            wrong.push(format!("{}\n--- expected\n{expected}--- found\n{shown}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Two OCF agents and three fence agents, with a little of their real metadata.
fn small_catalogue() -> AgentCatalogue {
    let parameter = |required, unique| ParameterMeta { required, unique, ..Default::default() };
    let action = |seconds| ActionMeta { timeout: Some(Duration::from_secs(seconds)), interval: None };
    let address = AgentMetadata {
        name: "IPaddr2".into(),
        parameters: BTreeMap::from([
            // As the real one has it.
            (
                "ip".into(),
                ParameterMeta {
                    shortdesc: "IPv4 or IPv6 address".into(),
                    default: Some(String::new()),
                    ..parameter(true, true)
                },
            ),
            ("cidr_netmask".into(), parameter(false, false)),
            ("nic".into(), parameter(false, false)),
        ]),
        actions: BTreeMap::from([("start".into(), action(20)), ("stop".into(), action(20))]),
        ..Default::default()
    };
    let web = AgentMetadata {
        name: "nginx".into(),
        parameters: BTreeMap::from([("configfile".into(), parameter(false, true))]),
        actions: BTreeMap::from([("start".into(), action(40)), ("stop".into(), action(60))]),
        ..Default::default()
    };
    let power = AgentMetadata {
        name: "fence_ipmilan".into(),
        parameters: ["action", "ip", "ipaddr", "plug", "username", "login", "password", "passwd"]
            .map(|name| (name.to_owned(), parameter(matches!(name, "action" | "ip" | "ipaddr"), false)))
            .into(),
        actions: ["off", "on", "status"].map(|name| (name.to_owned(), ActionMeta::default())).into(),
        ..Default::default()
    };
    let unread = AgentMetadata {
        name: "fence_unread".into(),
        actions: [("off".to_owned(), ActionMeta::default())].into(),
        ..Default::default()
    };
    let metadata = [
        ("ocf:heartbeat:IPaddr2", address),
        ("ocf:heartbeat:nginx", web),
        ("fence_ipmilan", power),
        ("fence_unread", unread),
    ];
    let installed = [
        "ocf:heartbeat:IPaddr2",
        "ocf:heartbeat:nginx",
        "ocf:heartbeat:apache",
        "fence_ipmilan",
        "fence_lab",
        "fence_unread",
    ];
    AgentCatalogue {
        metadata: metadata.into_iter().map(|(name, metadata)| (name.to_owned(), metadata)).collect(),
        installed: installed.into_iter().map(str::to_owned).collect(),
        ..Default::default()
    }
}

fn example(name: &str) -> Vec<SourceFile> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder("manifests").join(name)).unwrap() {
        let path = entry.unwrap().path();
        files.push(file(path.file_name().unwrap().to_str().unwrap(), std::fs::read(&path).unwrap()));
    }
    files
}

#[test]
fn examples_load_without_findings() {
    for (name, resources) in [("office", 5), ("quickstart", 2), ("mariadb", 2), ("drbd", 4)] {
        let files = example(name);
        let loaded = load(&files, &AgentCatalogue::default());
        assert_eq!(loaded.diagnostics, [], "{name}");
        assert_eq!(loaded.spec.unwrap().resources.len(), resources, "{name}");
    }
}

#[test]
fn the_example_of_what_is_only_planned_says_so() {
    let loaded = load(&example("containers"), &AgentCatalogue::default());
    let codes: Vec<&str> = loaded.diagnostics.iter().map(|found| found.code.as_str()).collect();
    assert_eq!(codes, ["HA0526"; 4], "{:#?}", loaded.diagnostics);
    let spec = loaded.spec.unwrap();
    assert_eq!(spec.nodes["legacy"].connection, Some("legacy-link".into()));
    let members: Vec<&str> = spec.groups["web-replica"].members.iter().map(|member| member.as_str()).collect();
    assert_eq!(members, ["web-ip", "web-podman", "web-remote", "httpd"]);
    assert_eq!(
        (spec.clones["web"].max, spec.resources["web-remote"].inside.clone()),
        (Some(3), Some("web-podman".into()))
    );
}

#[test]
fn schemas_accept_the_examples() {
    let schemas = schema();
    let validator = jsonschema::validator_for(&schemas["manifest.json"]).unwrap();
    let mut documents = 0;
    for name in
        ["quickstart", "mariadb", "drbd", "containers", "office", "clusters/base", "clusters/prod", "clusters/test"]
    {
        let files = example(name);
        let files: Vec<&SourceFile> = files.iter().collect();
        for (_, document) in parse_all(&files, &mut Report::new(Purpose::Run, &files)) {
            let value = structure::to_json(&document.root);
            assert!(validator.is_valid(&value), "{name}: {value}");
            documents += 1;
        }
    }
    assert!(documents > 20);
    let null = serde_json::json!({ "apiVersion": API_VERSION, "kind": "Cluster", "metadata": {"name": "a"}, "spec": {"fencing": null} });
    assert!(!validator.is_valid(&null));
}

#[test]
fn the_order_of_files_does_not_matter() {
    let mut files = example("drbd");
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let forwards = load(&files, &AgentCatalogue::default());
    files.reverse();
    let backwards = load(&files, &AgentCatalogue::default());
    assert!(forwards.spec.is_some());
    assert_eq!(forwards, backwards);
}

#[test]
fn origins_name_the_place_of_every_document() {
    let spec = load(&example("quickstart"), &AgentCatalogue::default()).spec.unwrap();
    assert_eq!(spec.origins.len(), 8);
    assert_eq!(spec.origin(Kind::Resource, "web-ip").unwrap().to_string(), "web.yaml:10:19");
    assert!(spec.origins.contains_key(&ObjectRef { kind: Kind::Cluster, name: "quickstart".into() }));
}

#[test]
fn agents_named_are_those_of_resources_and_devices() {
    let named = agents_named(&example("drbd"));
    let expected = [
        "fence_apc_snmp",
        "ocf:heartbeat:Filesystem",
        "ocf:heartbeat:IPaddr2",
        "ocf:heartbeat:mysql",
        "ocf:linbit:drbd",
    ];
    assert_eq!(named.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    let odd =
        "spec: { agent: fence_../../bin/sh }\n---\nspec: { agent: systemd:nginx }\n---\nspec: { agent: redfish }\n";
    assert!(agents_named(&[file("a.yaml", odd)]).is_empty());
}

fn resource_of(cluster: &str, group: &str, clone: &str, resource: &str) -> Resource {
    let text = format!(
        "apiVersion: hafen/v1alpha1
kind: Cluster
metadata: {{ name: c }}
spec: {{ {cluster} }}
---
apiVersion: hafen/v1alpha1
kind: Group
metadata: {{ name: g }}
spec: {{ members: [r], {group} }}
---
apiVersion: hafen/v1alpha1
kind: Clone
metadata: {{ name: cl }}
spec: {{ resource: g, {clone} }}
---
apiVersion: hafen/v1alpha1
kind: Resource
metadata: {{ name: r }}
spec: {{ agent: 'ocf:heartbeat:Dummy', {resource} }}
"
    );
    let loaded = load_text(&text);
    let spec = loaded.spec.unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics));
    spec.resources.into_values().next().unwrap()
}

#[test]
fn defaults_are_those_of_the_table() {
    let resource = resource_of("", "", "", "");
    let operation = |name| &resource.operations[&name];
    assert_eq!(resource.operations.len(), 3);
    assert_eq!(operation(OpName::Monitor).interval, Duration::from_secs(10));
    assert_eq!(operation(OpName::Start).interval, Duration::ZERO);
    assert!(resource.operations.values().all(|operation| operation.timeout == Duration::from_secs(20)));
    assert_eq!(operation(OpName::Monitor).on_fail, OnFail::Restart);
    assert_eq!(operation(OpName::Stop).on_fail, OnFail::Fence);
    assert_eq!((resource.failure.threshold, resource.failure.timeout), (3, Duration::from_secs(600)));
    assert_eq!((resource.stickiness, resource.priority, resource.managed), (1, 0, true));
    assert_eq!((resource.requires, resource.quorum_loss), (Requires::Fencing, QuorumLoss::Stop));

    let unfenced = resource_of("fencing: { enabled: false }, quorumLoss: Freeze", "", "", "");
    assert_eq!(unfenced.operations[&OpName::Stop].on_fail, OnFail::Block);
    assert_eq!((unfenced.requires, unfenced.quorum_loss), (Requires::Quorum, QuorumLoss::Freeze));
}

#[test]
fn the_nearest_setting_wins_field_by_field() {
    let (cluster, group, clone, own) = ("stickiness: 1", "stickiness: 20", "stickiness: 300", "stickiness: 4000");
    let defaults = format!("defaults: {{ {cluster}, priority: 7, failure: {{ timeout: 5m }} }}");
    let of = |group: &str, clone: &str, own: &str| resource_of(&defaults, group, clone, own).stickiness;
    assert_eq!(of(group, clone, own), 4000);
    assert_eq!(of(group, clone, ""), 20);
    assert_eq!(of("", clone, ""), 300);
    assert_eq!(of("", "", ""), 1);

    let merged = resource_of(
        &defaults,
        "operations: { start: { timeout: 33s }, monitor: { interval: 5s } }",
        "failure: { threshold: 9 }",
        "operations: { monitor: { timeout: 44s } }",
    );
    assert_eq!(merged.operations[&OpName::Start].timeout, Duration::from_secs(33));
    let monitor = &merged.operations[&OpName::Monitor];
    assert_eq!((monitor.interval, monitor.timeout), (Duration::from_secs(5), Duration::from_secs(44)));
    assert_eq!((merged.failure.threshold, merged.failure.timeout), (9, Duration::from_secs(300)));
    assert_eq!(merged.priority, 7);
}

#[test]
fn limits_hold_and_findings_stay_bounded() {
    let deep = "[".repeat(100_000);
    assert!(load_text(&deep).spec.is_none());
    let deep = format!("a: {}{}", "[".repeat(200), "]".repeat(200));
    assert!(load_text(&deep).diagnostics.iter().any(|found| found.code == "HA0106"));
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(laughs, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    assert!(load_text(&laughs).diagnostics.iter().any(|found| found.code == "HA0106"));
    let keys: String = (0..3_000).map(|number| format!("k{number}: v\n")).collect();
    assert!(load_text(&keys).diagnostics.iter().any(|found| found.code == "HA0106"));
    let noise = "---\n'\n".repeat(5_000);
    assert!(load_text(&noise).diagnostics.len() < 100);
    let wrong = format!("{BASE}---\nkind: Resource\n").repeat(2_000);
    let loaded = load_text(&wrong);
    assert_eq!(loaded.diagnostics.len(), report::MAX_DIAGNOSTICS + 1);
    assert_eq!(loaded.diagnostics.last().unwrap().code, "HA0901");
}

fn large_tree(resources: usize) -> Vec<SourceFile> {
    let mut text = String::from(BASE);
    for number in 0..resources {
        write!(
            text,
            "---\napiVersion: hafen/v1alpha1\nkind: Resource\nmetadata: {{ name: r{number} }}\nspec:\n  agent: ocf:heartbeat:IPaddr2\n  params:\n    ip: 10.1.2.3\n    cidr_netmask: \"24\"\n  operations:\n    monitor: {{ interval: 10s, timeout: 20s }}\n"
        )
        .unwrap();
        if number % 4 == 3 {
            let before = number - 1;
            write!(text, "---\napiVersion: hafen/v1alpha1\nkind: Order\nmetadata: {{ name: o{number} }}\nspec:\n  first: {{ resource: r{before} }}\n  then: {{ resource: r{number} }}\n---\napiVersion: hafen/v1alpha1\nkind: Location\nmetadata: {{ name: l{number} }}\nspec: {{ resource: r{number}, nodes: [n1], strength: Preferred }}\n").unwrap();
        }
    }
    vec![file("large.yaml", text)]
}

/// A bound with much room, so that only a quadratic step breaks it: `time` prints the real number.
#[test]
fn time_grows_with_the_size_and_not_with_its_square() {
    let time = |resources| {
        let files = large_tree(resources);
        let start = Instant::now();
        assert!(load(&files, &AgentCatalogue::default()).spec.is_some());
        start.elapsed()
    };
    let (small, large) = (time(300).max(Duration::from_millis(20)), time(3_000));
    assert!(large < small * 60, "{small:?} for 300 and {large:?} for 3,000 resources");
}

#[test]
#[ignore = "a measurement"]
fn ten_thousand_documents() {
    let files = large_tree(6_700);
    let start = Instant::now();
    let loaded = load(&files, &AgentCatalogue::default());
    println!("{:?} for {} documents", start.elapsed(), loaded.spec.unwrap().origins.len());
}

#[test]
#[ignore = "a measurement"]
fn hostile_files_take_time_in_proportion() {
    let numbered = |count: usize, of: fn(usize) -> String| (0..count).map(of).collect::<String>();
    let texts = [
        "- ".repeat(500_000),
        "? ".repeat(500_000),
        "[".repeat(1_000_000),
        "{a: ".repeat(250_000),
        "---\n".repeat(250_000),
        "a: b\n".repeat(200_000),
        "'".repeat(999_999),
        "\"\n".repeat(500_000),
        "---\n[\n".repeat(150_000),
        "# c\n".repeat(250_000),
        "- &a b\n".repeat(150_000),
        "a: |\n b\n".repeat(100_000),
        " ".repeat(1_000_000),
        "a".repeat(1_000_000),
        "---\nkind: x\n".repeat(80_000),
        numbered(100_000, |n| format!("k{n}: v\n")),
        numbered(60_000, |n| {
            format!(
                "---\nkind: Group\napiVersion: {API_VERSION}\nmetadata: {{name: g{n}}}\nspec: {{members: [x{n}]}}\n"
            )
        }),
        format!(
            "kind: Group\napiVersion: {API_VERSION}\nmetadata: {{name: g}}\nspec: {{members: [{}]}}\n",
            numbered(60_000, |n| format!("x{n}, "))
        ),
    ];
    for text in texts {
        let start = Instant::now();
        let found = load_text(&text).diagnostics.len();
        println!("{:>9.1?} {found:>5} findings {} kB {:?}", start.elapsed(), text.len() / 1000, &text[..12]);
    }
}

/// The metadata of an agent of this machine, as far as these tests need it; None if it is not installed.
fn installed_metadata(agent: &str) -> Option<AgentMetadata> {
    let mut command = match agent.strip_prefix("ocf:").and_then(|agent| agent.split_once(':')) {
        Some((provider, name)) => {
            let mut command = std::process::Command::new(format!("/usr/lib/ocf/resource.d/{provider}/{name}"));
            command.arg("meta-data").env("OCF_ROOT", "/usr/lib/ocf");
            command
        }
        None => {
            let mut command = std::process::Command::new(agent);
            command.args(["-o", "metadata"]);
            command
        }
    };
    let text = String::from_utf8(command.output().ok()?.stdout).unwrap();
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(&text, options).unwrap();
    let mut metadata = AgentMetadata { name: agent.into(), ..Default::default() };
    for node in document.descendants() {
        let name = || node.attribute("name").unwrap_or_default().to_owned();
        if node.has_tag_name("parameter") {
            let is = |key| node.attribute(key) == Some("1");
            let content = node.children().find(|child| child.has_tag_name("content"));
            let default = content.and_then(|content| content.attribute("default")).map(str::to_owned);
            let meta = ParameterMeta { required: is("required"), unique: is("unique"), default, ..Default::default() };
            metadata.parameters.insert(name(), meta);
        } else if node.has_tag_name("action") {
            let timeout = node.attribute("timeout").and_then(|text| crate::model::duration::parse(text).ok());
            metadata.actions.entry(name()).or_insert(ActionMeta { timeout, interval: None });
        }
    }
    Some(metadata)
}

#[test]
fn examples_suit_the_agents_of_this_machine() {
    for name in ["quickstart", "mariadb", "drbd"] {
        let files = example(name);
        let mut catalogue = AgentCatalogue::default();
        for agent in agents_named(&files) {
            if let Some(metadata) = installed_metadata(&agent) {
                assert!(!metadata.parameters.is_empty(), "{agent}");
                catalogue.installed.insert(agent.clone());
                catalogue.metadata.insert(agent, metadata);
            }
        }
        // What is not installed here is not judged.
        let mut diagnostics = load(&files, &catalogue).diagnostics;
        diagnostics.retain(|found| found.code != "HA0602");
        assert_eq!(diagnostics, [], "{name}");
    }
}

#[test]
fn sets_that_stand_for_millions_of_pairs_are_refused_at_once() {
    let names =
        |from: usize, count: usize| (from..from + count).map(|n| format!("r{n}")).collect::<Vec<_>>().join(", ");
    let order = |name: &str, members: usize| {
        format!(
            "apiVersion: hafen/v1alpha1\nkind: Order\nmetadata: {{ name: {name} }}\nspec: {{ sets: [{{ members: [{}], \
             sequential: false }}, {{ members: [{}], sequential: false }}] }}\n---\n",
            names(0, members),
            names(10_000, members)
        )
    };
    let messages = |text: String| -> Vec<String> {
        let loaded = load(&[file("a.yaml", text)], &AgentCatalogue::default());
        assert!(loaded.spec.is_none());
        loaded.diagnostics.into_iter().filter(|found| found.code == "HA0106").map(|found| found.message).collect()
    };
    assert_eq!(messages(order("wide", 750)), ["these sets stand for 562500 pairs; the limit is 10000"]);
    assert_eq!(messages(order("fits", 100)), Vec::<String>::new());
    let many: String = (0..6).map(|n| order(&format!("o{n}"), 100)).collect();
    assert_eq!(messages(many), ["with these, all sets stand for 60000 pairs; the limit is 50000"]);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let loaded = load(&[file("a.yaml", bytes)], &AgentCatalogue::default());
        prop_assert!(loaded.spec.is_none());
    }

    /// Close to real manifests: pieces of them in any order.
    #[test]
    fn no_mixture_of_yaml_panics(pieces in proptest::collection::vec(prop_oneof![
        "[ \\n\\t:,\\[\\]{}\"'|>&*!?#%@-]{1,6}",
        "[a-z0-9é~]{1,5}",
        Just("\n---\n".to_owned()),
        Just("apiVersion: hafen/v1alpha1\nkind: Resource\nmetadata: { name: a }\nspec:\n  ".to_owned()),
        Just("kind: Node\n".to_owned()),
        Just("  agent: ocf:heartbeat:Dummy\n".to_owned()),
        Just("&a [*a]".to_owned()),
        Just("!!str ".to_owned()),
        Just("<<: *a\n".to_owned()),
    ], 0..40)) {
        let text = pieces.concat();
        let files = [file("a.yaml", text.clone())];
        let loaded = load(&files, &small_catalogue());
        prop_assert!(loaded.spec.is_none());
        prop_assert!(!loaded.diagnostics.is_empty());
        for found in &loaded.diagnostics {
            prop_assert!(found.line as usize <= text.lines().count() + 1, "{found:?}");
            prop_assert!((found.line, found.column) <= (found.end_line, found.end_column), "{found:?}");
        }
        show(&files, &loaded.diagnostics);
    }

    /// One edit in a good tree is loaded or refused, and never both or neither.
    #[test]
    fn every_edit_is_loaded_or_refused(place in any::<proptest::sample::Index>(), with in "[ -~\\n]{0,3}", cut in 0..4_usize) {
        let text = std::fs::read_to_string(folder("manifests/drbd/db.yaml")).unwrap();
        let start = place.index(text.len() - 4);
        prop_assume!(text.is_char_boundary(start) && text.is_char_boundary(start + cut));
        let edited = format!("{}{with}{}", &text[..start], &text[start + cut..]);
        let mut files = example("drbd");
        files.retain(|file| file.path != "db.yaml");
        files.push(file("db.yaml", edited));
        let loaded = load(&files, &AgentCatalogue::default());
        let errors = loaded.diagnostics.iter().any(|found| found.severity == Severity::Error);
        prop_assert_eq!(loaded.spec.is_none(), errors);
    }
}
