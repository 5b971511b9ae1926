//! An imported cluster as manifests.
//!
//! Input: an [`Import`]. Output: files of YAML documents, as if written by hand: names kept, defaults left out, in the order
//! of the CIB; and what no manifest can say yet, in words.
//!
//! Deliberately absent: writing them anywhere, and the state.

use super::Import;
use super::resources::INFINITE_FAILURES;
use crate::model::{
    Clone as CloneSpec, Cluster, Colocation, Influence, Location, MultipleActive, Node, NodeRole, NodeSelector, OnFail,
    OpName, Order, OrderAction, OrderEnd, OrderStrength, Placement, Requires, Resource, Spec, Strength, TargetRole,
    duration,
};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Manifests, by the name of their file, and what they do not say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    pub files: Vec<(&'static str, String)>,
    pub unsaid: Vec<String>,
}

/// The largest weight that a manifest can say.
const MAX_WEIGHT: u32 = 999_999;
const USUAL_TIMEOUT: Duration = Duration::from_secs(20);

pub fn write(import: &Import) -> Written {
    let spec = &import.spec;
    let mut unsaid = Vec::new();
    let mut files = vec![
        ("cluster.yaml", vec![document("Cluster", &spec.cluster.name, cluster(&spec.cluster, &mut unsaid))]),
        (
            "fencing.yaml",
            spec.devices
                .iter()
                .map(|(name, device)| {
                    document(
                        "FencingDevice",
                        name.as_str(),
                        object([("agent", json!(device.agent)), ("params", json!(device.params))]),
                    )
                })
                .collect(),
        ),
        ("nodes.yaml", spec.nodes.iter().map(|(name, node)| node_document(name.as_str(), node)).collect()),
        ("resources.yaml", services(spec, &mut unsaid)),
        ("constraints.yaml", constraints(spec, &mut unsaid)),
    ];
    if !spec.nodes.is_empty() {
        unsaid.push("the addresses of the nodes: a CIB does not have them".into());
    }
    files.retain(|(_, documents)| !documents.is_empty());
    let text = |documents: Vec<Value>| -> String { documents.iter().map(yaml).collect::<Vec<String>>().join("---\n") };
    Written { files: files.into_iter().map(|(name, documents)| (name, text(documents))).collect(), unsaid }
}

/// Fields that are there: no nulls, no empty maps.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let said = |value: &Value| match value {
        Value::Null => false,
        Value::Object(map) => !map.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => true,
    };
    let fields = fields.into_iter().filter(|(_, value)| said(value));
    Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).collect::<Map<String, Value>>())
}

/// A value, unless it is the usual one.
fn unless<T: PartialEq + serde::Serialize>(value: T, usual: T) -> Value {
    if value == usual { Value::Null } else { json!(value) }
}

fn document(kind: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "hafen/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec })
}

fn time(duration: Duration) -> Value {
    json!(duration::format(duration))
}

fn cluster(cluster: &Cluster, unsaid: &mut Vec<String>) -> Value {
    if cluster.placement != Placement::Spread {
        unsaid.push(format!("the placement strategy {:?}", cluster.placement));
    }
    let fencing = &cluster.fencing;
    // What is usual there is not what is usual here.
    let failure = json!({ "threshold": 0, "timeout": "0s" });
    object([
        ("symmetric", unless(cluster.symmetric, true)),
        ("quorumLoss", unless(cluster.quorum_loss, crate::model::QuorumLoss::Stop)),
        (
            "fencing",
            object([
                ("enabled", unless(fencing.enabled, true)),
                ("action", unless(fencing.action, crate::model::FencingAction::Reboot)),
                (
                    "timeout",
                    if fencing.timeout == Duration::from_secs(60) { Value::Null } else { time(fencing.timeout) },
                ),
            ]),
        ),
        ("defaults", json!({ "stickiness": 0, "failure": failure })),
    ])
}

fn node_document(name: &str, node: &Node) -> Value {
    let levels: Vec<Vec<&str>> = node.fencing.iter().map(|level| level.iter().map(|d| d.as_str()).collect()).collect();
    let spec = object([
        ("addresses", json!([])),
        ("role", unless(node.role, NodeRole::Voter)),
        ("capacity", json!(node.capacity)),
        ("fencing", if levels.is_empty() { Value::Null } else { json!(levels) }),
    ]);
    let mut document = document("Node", name, spec);
    if !node.labels.is_empty() {
        document["metadata"]["labels"] = json!(node.labels);
    }
    document
}

/// Resources, groups and clones in the order of the CIB.
fn services(spec: &Spec, unsaid: &mut Vec<String>) -> Vec<Value> {
    let mut all: Vec<(u32, Value)> = Vec::new();
    for (name, resource) in &spec.resources {
        all.push((resource.rank, document("Resource", name.as_str(), resource_spec(resource, &spec.cluster))));
    }
    for (name, group) in &spec.groups {
        all.push((group.rank, document("Group", name.as_str(), object([("members", json!(group.members))]))));
    }
    for (name, clone) in &spec.clones {
        if clone.enough.is_some() {
            unsaid.push(format!("clone-min of {name}"));
        }
        all.push((clone.rank, document("Clone", name.as_str(), clone_spec(clone))));
    }
    for (name, _) in spec.resources.iter().filter(|(_, resource)| resource.influence == Influence::WhileStopped) {
        unsaid.push(format!("that {name} is not critical"));
    }
    all.sort_by_key(|(rank, _)| *rank);
    all.into_iter().map(|(_, document)| document).collect()
}

fn clone_spec(clone: &CloneSpec) -> Value {
    let promotable =
        clone.promotable.map(|promotable| json!({ "max": promotable.max, "perNode": promotable.per_node }));
    object([
        ("resource", json!(clone.resource)),
        ("max", json!(clone.max)),
        ("perNode", unless(clone.per_node, 1)),
        ("promotable", json!(promotable)),
        ("notify", unless(clone.notify, false)),
        ("interleave", unless(clone.interleave, false)),
        ("ordered", unless(clone.ordered, false)),
        ("globallyUnique", unless(clone.globally_unique, false)),
    ])
}

fn resource_spec(resource: &Resource, cluster: &Cluster) -> Value {
    let fencing = cluster.fencing.enabled;
    let requires = if fencing { Requires::Fencing } else { Requires::Quorum };
    let never = resource.failure.threshold == INFINITE_FAILURES;
    let failure = object([
        ("threshold", if never { Value::Null } else { json!(resource.failure.threshold) }),
        ("timeout", if resource.failure.timeout.is_zero() { Value::Null } else { time(resource.failure.timeout) }),
    ]);
    let mut operations = Map::new();
    for (name, operation) in &resource.operations {
        let usual = match name {
            OpName::Stop if fencing => OnFail::Fence,
            OpName::Stop => OnFail::Block,
            OpName::Start | OpName::Monitor | OpName::MonitorPromoted | OpName::Promote | OpName::Demote => {
                OnFail::Restart
            }
            OpName::Notify | OpName::MigrateTo | OpName::MigrateFrom | OpName::Reload => OnFail::Restart,
        };
        let said = object([
            ("interval", if operation.interval.is_zero() { Value::Null } else { time(operation.interval) }),
            ("timeout", if operation.timeout == USUAL_TIMEOUT { Value::Null } else { time(operation.timeout) }),
            ("onFail", unless(operation.on_fail, usual)),
        ]);
        if said != json!({}) {
            operations.insert(name.to_string(), said);
        }
    }
    object([
        ("agent", json!(resource.agent)),
        ("params", json!(resource.params)),
        ("operations", Value::Object(operations)),
        ("failure", failure),
        ("stickiness", unless(resource.stickiness, 0)),
        ("priority", unless(resource.priority, 0)),
        ("targetRole", unless(resource.target_role, TargetRole::Started)),
        ("managed", unless(resource.managed, true)),
        ("maintenance", unless(resource.maintenance, false)),
        ("requires", unless(resource.requires, requires)),
        ("quorumLoss", unless(resource.quorum_loss, cluster.quorum_loss)),
        ("migratable", unless(resource.migratable, false)),
        ("multipleActive", unless(resource.multiple_active, MultipleActive::StopStart)),
        ("utilization", json!(resource.utilization)),
    ])
}

fn constraints(spec: &Spec, unsaid: &mut Vec<String>) -> Vec<Value> {
    let mut all = Vec::new();
    for (name, order) in &spec.orders {
        if !order.or.is_empty() || order.any_copy {
            unsaid.push(format!("`require-all=false` of {name}"));
        }
        all.push(document("Order", name, order_spec(order)));
    }
    for (name, colocation) in &spec.colocations {
        if colocation.node_label.is_some() || colocation.influence != Influence::Always {
            unsaid.push(format!("node attribute or influence of {name}"));
        }
        all.push(document("Colocation", name, colocation_spec(colocation)));
    }
    for (name, location) in &spec.locations {
        if location.strength == Strength::Preferred && !(1..=MAX_WEIGHT).contains(&location.weight) {
            unsaid.push(format!("the score of {name}"));
        }
        all.push(document("Location", name, location_spec(location)));
    }
    all
}

fn order_spec(order: &Order) -> Value {
    let end = |end: &OrderEnd| {
        object([("resource", json!(end.resource)), ("action", unless(end.action, OrderAction::Start))])
    };
    object([
        ("first", end(&order.first)),
        ("then", end(&order.then)),
        ("strength", unless(order.strength, OrderStrength::Required)),
        ("symmetric", unless(order.symmetric, true)),
    ])
}

fn weight(strength: Strength, weight: u32) -> Value {
    match strength {
        Strength::Preferred | Strength::Avoid => json!(weight.clamp(1, MAX_WEIGHT)),
        Strength::Required | Strength::Forbidden => Value::Null,
    }
}

fn colocation_spec(colocation: &Colocation) -> Value {
    object([
        ("resource", json!(colocation.resource.resource)),
        ("role", json!(colocation.resource.role)),
        ("with", object([("resource", json!(colocation.with.resource)), ("role", json!(colocation.with.role))])),
        ("strength", unless(colocation.strength, Strength::Required)),
        ("weight", weight(colocation.strength, colocation.weight)),
    ])
}

fn location_spec(location: &Location) -> Value {
    let nodes = match &location.nodes {
        NodeSelector::Names(names) => json!(names),
        NodeSelector::Labels(labels) => json!({ "matchLabels": labels }),
    };
    object([
        ("resource", json!(location.resource)),
        ("nodes", nodes),
        ("role", json!(location.role)),
        ("strength", unless(location.strength, Strength::Required)),
        ("weight", weight(location.strength, location.weight)),
    ])
}

/// A document as YAML: maps as blocks, lists in brackets.
fn yaml(document: &Value) -> String {
    let mut text = String::new();
    block(document, 0, &mut text);
    text
}

fn block(value: &Value, depth: usize, text: &mut String) {
    let Value::Object(map) = value else { return };
    for (name, value) in map {
        text.push_str(&"  ".repeat(depth));
        text.push_str(&scalar(name));
        text.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                text.push('\n');
                block(value, depth + 1, text);
            }
            Value::Object(_) => text.push_str(" {}\n"),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                text.push(' ');
                text.push_str(&inline(value));
                text.push('\n');
            }
        }
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Array(list) => format!("[{}]", list.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::String(text) => scalar(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// A string without quotes where nobody can take it for anything else.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 10] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./:".contains(c))
        && !text.ends_with(':')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    // A JSON string is one of YAML, too.
    if plain { text.to_owned() } else { Value::String(text.to_owned()).to_string() }
}
