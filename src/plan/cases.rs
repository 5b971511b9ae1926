//! Plan cases: one rule each, told as a small story in `cases/*.txt`, with the plan it leads to.
//!
//! A file has a comment line that says what is shown, then three parts:
//! - `[state]`: `nodes n1 n2 …` first; then lines such as `run db@n1`, `run db:0@n1 promoted`, `run db@n1 failed`,
//!   `failures db@n1 3`, `node n2 suspect`, `attribute n1 master-db 10`, `unprobed db n2`, `drain n1`, `maintenance`,
//!   `without-quorum`;
//! - `[manifests]`: documents; `apiVersion`, the Cluster and the Nodes may be left out;
//! - `[plan]`: what comes of it; rewritten with `UPDATE_EXPECT=1`, to be read by a human before it is committed.

use super::testing::World;
use super::{Roles, transition};
use crate::manifest::{Purpose, SourceFile, load_for};
use crate::model::{AgentCatalogue, NodeId, Role, Spec};
use crate::state::{FailureKind, Membership, OverrideKind, Phase, Scope};
use std::fmt::Write;
use std::path::Path;

#[test]
fn every_case_has_the_plan_it_shows() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/cases");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    let mut wrong = String::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let (story, expected) = text.split_once("[plan]\n").unwrap_or((&text, ""));
        let plan = plan(story, &file);
        if plan == expected {
            continue;
        }
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&file, format!("{story}[plan]\n{plan}")).unwrap();
        } else {
            writeln!(wrong, "{}\nexpected\n{expected}\ngot\n{plan}", file.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn plan(story: &str, file: &Path) -> String {
    assert!(story.starts_with('#'), "{}: it begins with what it shows", file.display());
    let (head, manifests) = story.split_once("[manifests]\n").unwrap_or_else(|| panic!("{}", file.display()));
    let (_, state) = head.split_once("[state]\n").unwrap_or_else(|| panic!("{}", file.display()));
    let mut lines = state.lines().filter(|line| !line.trim().is_empty());
    let nodes: Vec<&str> = lines.next().and_then(|line| line.strip_prefix("nodes ")).unwrap().split(' ').collect();
    let mut world = World::new(&nodes);
    take_over(&mut world, spec(manifests, &nodes, file));
    world.probe_all();
    for line in lines {
        tell(&mut world, line);
    }
    text(&transition(&world.spec, &world.state))
}

fn spec(manifests: &str, nodes: &[&str], file: &Path) -> Spec {
    let mut documents: Vec<String> = manifests.split("---\n").map(str::to_owned).collect();
    if !manifests.contains("kind: Cluster") {
        documents.push("{ kind: Cluster, metadata: { name: test }, spec: {} }\n".into());
    }
    let pdu = "kind: FencingDevice, metadata: { name: pdu }";
    if !manifests.contains(pdu) {
        documents.push(format!("{{ {pdu}, spec: {{ agent: fence_dummy }} }}\n"));
    }
    for (at, name) in nodes.iter().enumerate() {
        let head = format!("kind: Node, metadata: {{ name: {name} }}");
        let labelled = format!("kind: Node, metadata: {{ name: {name}, ");
        if !manifests.contains(&head) && !manifests.contains(&labelled) {
            documents.push(format!("{{ {head}, spec: {{ addresses: [192.0.2.{}], fencing: [[pdu]] }} }}\n", at + 1));
        }
    }
    let with_version = |document: &String| match document.trim_start().strip_prefix('{') {
        Some(rest) => format!("{{ apiVersion: hafen/v1alpha1,{rest}"),
        None => format!("apiVersion: hafen/v1alpha1\n{document}"),
    };
    let all: Vec<String> = documents.iter().map(with_version).collect();
    let bytes = all.join("---\n").into_bytes();
    let loaded = load_for(Purpose::Plan, &[SourceFile { path: "case.yaml".into(), bytes }], &AgentCatalogue::default());
    loaded.spec.unwrap_or_else(|| panic!("{}: {:#?}", file.display(), loaded.diagnostics))
}

/// The nodes keep their documents in the state; everything else is as the manifests say.
fn take_over(world: &mut World, spec: Spec) {
    world.spec = spec;
    let nodes: Vec<NodeId> = world.state.nodes.keys().cloned().collect();
    nodes.iter().for_each(|node| world.document(node.as_str()));
}

fn tell(world: &mut World, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["run", key, rest @ ..] => {
            world.runs(&[key]);
            for word in rest {
                match *word {
                    "promoted" => _ = world.promoted(key),
                    "failed" => _ = world.failed(key, FailureKind::Failed),
                    "blocked" => world.failed(key, FailureKind::Failed).blocked = true,
                    "fence" => world.failed(key, FailureKind::Failed).fence = true,
                    "leaving" => _ = world.claim(key, Phase::MigratingTo, Role::Started),
                    "arriving" => _ = world.claim(key, Phase::MigratingFrom, Role::Started),
                    "stopping" => _ = world.claim(key, Phase::Stopping, Role::Started),
                    "starting" => _ = world.claim(key, Phase::Starting, Role::Started),
                    other => panic!("a resource cannot be {other}"),
                }
            }
        }
        ["failures", key, count] => _ = world.record(key, count.parse().unwrap()),
        ["node", node, "suspect"] => _ = world.suspect(node),
        ["node", node, class] => {
            world.state.nodes.get_mut(*node).unwrap().membership = match *class {
                "joining" => Membership::Joining,
                "left" => Membership::Left,
                "fenced" => Membership::Fenced,
                other => panic!("a node cannot be {other}"),
            };
        }
        ["attribute", node, name, value] => _ = world.attribute(node, name, value),
        ["unprobed", resource, node] => _ = world.unprobe(resource, node),
        ["drain", node] => _ = world.over(Scope::Node((*node).into()), OverrideKind::Drain),
        ["ticket", name, how] => {
            let (granted, standby) = match *how {
                "granted" => (true, false),
                "standby" => (true, true),
                "revoked" => (false, false),
                other => panic!("a ticket cannot be {other}"),
            };
            world.state.tickets.insert((*name).into(), crate::state::TicketState { granted, standby });
        }
        ["without-quorum"] => world.state.without_quorum = true,
        ["maintenance", node] => _ = world.over(Scope::Node((*node).into()), OverrideKind::Maintenance),
        ["maintenance"] => _ = world.over(Scope::Cluster, OverrideKind::Maintenance),
        other => panic!("no such line: {other:?}"),
    }
}

fn text(outcome: &super::Outcome) -> String {
    let mut text = String::new();
    outcome.fenced.iter().for_each(|node| writeln!(text, "fence {node}").unwrap());
    for action in &outcome.actions {
        let op = format!("{:?}", action.op).to_lowercase();
        let place = match (&action.from, &action.to) {
            (Some(from), Some(to)) if from == to => format!("on {to}"),
            (Some(from), Some(to)) => format!("{from} -> {to}"),
            (Some(node), None) | (None, Some(node)) => format!("on {node}"),
            (None, None) => String::new(),
        };
        let blocked = if action.blocked { " (blocked)" } else { "" };
        writeln!(text, "{op} {} {place}{blocked}", action.resource).unwrap();
    }
    writeln!(text, "in the end").unwrap();
    for (name, nodes) in &outcome.placement {
        let of_node = |(node, roles): (&NodeId, &Roles)| {
            let roles = match roles {
                Roles::One(role) => vec![*role],
                Roles::Several(roles) => roles.clone(),
            };
            let marks: Vec<String> =
                roles.iter().map(|role| format!("{node}{}", if *role == Role::Promoted { "*" } else { "" })).collect();
            marks.join(" ")
        };
        let nodes: Vec<String> = nodes.iter().map(of_node).collect();
        writeln!(text, "  {name}: {}", nodes.join(" ")).unwrap();
    }
    text
}
