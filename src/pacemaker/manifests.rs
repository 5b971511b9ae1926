//! A spec as manifests.
//!
//! Input: a [`Spec`], and which of its constraints were sets. Output: files of YAML documents, as if written by hand: names
//! kept, defaults left out, services in order of their rank, sets as one document.
//!
//! Invariant: `manifest::load_for(Purpose::Plan)` of what is written gives the same spec, apart from where things are
//! written and what is known of the agents.
//!
//! Deliberately absent: writing them anywhere, and the state.

use super::Sets;
use super::yaml::yaml;
use crate::model::{
    Bundle, BundlePart, Clone as CloneSpec, Cluster, Colocation, ColocationSet, ColocationSets, Detection, Discovery,
    FenceWhen, FencingDevice, FencingPolicy, Influence, Instant, Location, Mount, MultipleActive, Node, NodeRole,
    NodeSelector, OnFail, OnLoss, OpName, Order, OrderAction, OrderEnd, OrderSet, OrderSets, OrderStrength, Placement,
    QuorumLoss, ReportTo, Requires, Resource, ResourceId, Rule, Score, ScoresOf, SecretRef, Spec, Strength, TargetRole,
    duration,
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const USUAL_TIMEOUT: Duration = Duration::from_secs(20);
const FENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often promoted copies are watched where nothing is said.
const USUAL_INTERVAL: Duration = Duration::from_secs(10);

/// Manifests by the name of their file; files without documents are left out.
pub fn write(spec: &Spec, sets: &Sets) -> Vec<(&'static str, String)> {
    let usual = Usual::of(spec);
    let devices = spec.devices.iter().map(|(name, d)| document("FencingDevice", name.as_str(), device(d)));
    let nodes = spec.nodes.iter().map(|(name, node)| node_document(name.as_str(), node));
    let files = [
        ("cluster.yaml", vec![document("Cluster", &spec.cluster.name, cluster(&spec.cluster, &usual))]),
        ("fencing.yaml", devices.collect()),
        ("nodes.yaml", nodes.collect()),
        ("resources.yaml", services(spec, &usual)),
        ("constraints.yaml", constraints(spec, sets)),
    ];
    let text = |documents: Vec<Value>| -> String { documents.iter().map(yaml).collect::<Vec<String>>().join("---\n") };
    let files = files.into_iter().filter(|(_, documents)| !documents.is_empty());
    files.map(|(name, documents)| (name, text(documents))).collect()
}

/// What the Cluster's defaults say, so that no resource has to.
struct Usual {
    threshold: u32,
    timeout: Duration,
    stickiness: i32,
    /// Of the monitor.
    interval: Duration,
    fencing: bool,
    quorum_loss: QuorumLoss,
}

impl Usual {
    /// What most resources have.
    fn of(spec: &Spec) -> Self {
        let resources = || spec.resources.values();
        let interval = |resource: &Resource| resource.operations.get(&OpName::Monitor).map(|monitor| monitor.interval);
        Self {
            threshold: most(resources().map(|resource| resource.failure.threshold)).unwrap_or(3),
            timeout: most(resources().map(|resource| resource.failure.timeout)).unwrap_or(Duration::from_secs(600)),
            stickiness: most(resources().map(|resource| resource.stickiness)).unwrap_or(1),
            interval: most(resources().filter_map(interval)).unwrap_or(USUAL_INTERVAL),
            fencing: spec.cluster.fencing.enabled,
            quorum_loss: spec.cluster.quorum_loss,
        }
    }
}

/// The most frequent of some values; of several the lowest.
fn most<T: Ord>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut sorted: Vec<T> = values.collect();
    sorted.sort();
    let mut best: Option<(usize, T)> = None;
    let mut rest = sorted.into_iter().peekable();
    while let Some(value) = rest.next() {
        let mut count = 1;
        while rest.next_if_eq(&value).is_some() {
            count += 1;
        }
        if best.as_ref().is_none_or(|(most, _)| count > *most) {
            best = Some((count, value));
        }
    }
    best.map(|(_, value)| value)
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

fn time(time: Duration, usual: Duration) -> Value {
    if time == usual { Value::Null } else { json!(duration::format(time)) }
}

fn cluster(cluster: &Cluster, usual: &Usual) -> Value {
    let detection = match cluster.detection {
        Detection::DEFAULT => Value::Null,
        Detection::FAST => json!({ "profile": "Fast" }),
        Detection { heartbeat, suspect_after } => {
            json!({ "heartbeat": duration::format(heartbeat), "suspectAfter": duration::format(suspect_after) })
        }
    };
    let source = cluster.source.as_ref().map(|source| {
        object([
            ("url", json!(source.url)),
            ("branch", unless(source.branch.as_str(), "main")),
            ("path", unless(source.path.as_str(), "")),
            ("interval", time(source.interval, Duration::from_secs(60))),
            ("webhook", json!(source.webhook.as_ref().map(|secret| json!({ "secret": { "file": secret.file } })))),
            ("report", json!(source.report.as_ref().map(|report| report_to(report, &cluster.name)))),
        ])
    });
    let failure =
        object([("threshold", unless(usual.threshold, 3)), ("timeout", time(usual.timeout, Duration::from_secs(600)))]);
    let monitor = object([("interval", time(usual.interval, USUAL_INTERVAL))]);
    let operations = object([("monitor", monitor)]);
    let defaults =
        object([("operations", operations), ("failure", failure), ("stickiness", unless(usual.stickiness, 1))]);
    object([
        ("detection", detection),
        ("fencing", fencing(&cluster.fencing)),
        ("quorumLoss", unless(cluster.quorum_loss, QuorumLoss::Stop)),
        ("joinGrace", time(cluster.join_grace, Duration::from_secs(120))),
        ("maxRemovals", unless(cluster.max_removals, 5)),
        ("symmetric", unless(cluster.symmetric, true)),
        ("placement", unless(cluster.placement, Placement::Spread)),
        ("source", json!(source)),
        ("defaults", defaults),
    ])
}

fn report_to(report: &ReportTo, cluster: &str) -> Value {
    object([
        ("provider", json!(report.provider)),
        ("url", unless(report.url.as_str(), report.provider.usual_url().unwrap_or_default())),
        ("project", json!(report.project)),
        ("token", json!({ "file": report.token.file })),
        ("context", unless(report.context.as_str(), &format!("hafen/{cluster}"))),
        ("targetUrl", json!(report.target_url)),
        ("ca", json!(report.ca)),
    ])
}

fn fencing(policy: &FencingPolicy) -> Value {
    object([
        ("enabled", unless(policy.enabled, true)),
        ("when", unless(policy.when, FenceWhen::Needed)),
        ("action", unless(policy.action, crate::model::FencingAction::Reboot)),
        ("timeout", time(policy.timeout, FENCE_TIMEOUT)),
        ("requireTested", unless(policy.require_tested, false)),
        ("maxFences", unless(policy.max_fences, 5)),
        ("assumeOff", json!(policy.assume_off.map(duration::format))),
    ])
}

/// A CIB has no other secrets than files.
fn in_a_file(secret: &SecretRef) -> Option<Value> {
    match secret {
        SecretRef::File { file } => Some(json!({ "file": file })),
        SecretRef::Age(_) | SecretRef::Sops(_) => None,
    }
}

fn device(device: &FencingDevice) -> Value {
    let secrets: Map<String, Value> =
        device.secrets.iter().filter_map(|(name, secret)| Some((name.clone(), in_a_file(secret)?))).collect();
    object([
        ("agent", json!(device.agent)),
        ("params", json!(device.params)),
        ("secrets", Value::Object(secrets)),
        ("targets", json!(device.targets)),
        ("timeout", time(device.timeout, FENCE_TIMEOUT)),
        ("delay", time(device.delay, Duration::ZERO)),
        ("retries", unless(device.retries, 2)),
        ("check", time(device.check, Duration::from_secs(600))),
    ])
}

fn node_document(name: &str, node: &Node) -> Value {
    let levels: Vec<Vec<&str>> = node.fencing.iter().map(|level| level.iter().map(|d| d.as_str()).collect()).collect();
    let spec = object([
        ("addresses", if node.addresses.is_empty() { Value::Null } else { json!(node.addresses) }),
        ("role", unless(node.role, NodeRole::Voter)),
        ("connection", json!(node.connection)),
        ("capacity", json!(node.capacity)),
        ("fencing", if levels.is_empty() { Value::Null } else { json!(levels) }),
    ]);
    let mut document = document("Node", name, spec);
    if !node.labels.is_empty() {
        document["metadata"]["labels"] = json!(node.labels);
    }
    document
}

/// Resources, groups and clones in order of their rank.
fn services(spec: &Spec, usual: &Usual) -> Vec<Value> {
    let mut all: Vec<(u32, Value)> = Vec::new();
    let made: BTreeSet<ResourceId> = spec.bundles.iter().flat_map(|(name, bundle)| bundle.made(name)).collect();
    for (name, resource) in spec.resources.iter().filter(|(name, _)| !made.contains(*name)) {
        all.push((resource.rank, document("Resource", name.as_str(), resource_spec(resource, usual))));
    }
    for (name, group) in spec.groups.iter().filter(|(name, _)| !made.contains(*name)) {
        all.push((group.rank, document("Group", name.as_str(), object([("members", json!(group.members))]))));
    }
    for (name, clone) in spec.clones.iter().filter(|(name, _)| !made.contains(*name)) {
        all.push((clone.rank, document("Clone", name.as_str(), clone_spec(clone))));
    }
    for (name, bundle) in &spec.bundles {
        let parts = bundle.parts(name);
        let settings = parts.iter().find(|(part, _)| *part == BundlePart::Container).map(|(_, id)| id);
        let settings = settings.and_then(|id| spec.resources.get(id));
        all.push((bundle.rank, document("Bundle", name.as_str(), bundle_spec(bundle, settings, usual))));
    }
    all.sort_by_key(|(rank, _)| *rank);
    all.into_iter().map(|(_, document)| document).collect()
}

fn clone_spec(clone: &CloneSpec) -> Value {
    let promotable = clone.promotable.map(|promotable| {
        let fields = [("max", unless(promotable.max, 1)), ("perNode", unless(promotable.per_node, 1))];
        object(fields)
    });
    let mut fields = object([
        ("resource", json!(clone.resource)),
        ("max", json!(clone.max)),
        ("perNode", unless(clone.per_node, 1)),
        ("notify", unless(clone.notify, false)),
        ("interleave", unless(clone.interleave, false)),
        ("ordered", unless(clone.ordered, false)),
        ("globallyUnique", unless(clone.globally_unique, false)),
        ("enough", json!(clone.enough)),
    ]);
    // That it is promotable at all is said by the field, also without anything in it.
    if let Some(promotable) = promotable {
        fields["promotable"] = promotable;
    }
    fields
}

fn bundle_spec(bundle: &Bundle, settings: Option<&Resource>, usual: &Usual) -> Value {
    let network = &bundle.network;
    let publish = if network.publish.is_empty() { Value::Null } else { json!(network.publish) };
    let mount = |mount: &Mount| {
        object([
            ("from", json!(mount.from)),
            ("to", json!(mount.to)),
            ("perReplica", unless(mount.per_replica, false)),
            ("options", unless(mount.options.as_str(), "")),
        ])
    };
    let container = object([
        ("runtime", json!(bundle.runtime)),
        ("image", json!(bundle.image)),
        ("replicas", unless(bundle.replicas, bundle.promoted.unwrap_or(1))),
        ("perHost", unless(bundle.per_host, 1)),
        ("promoted", json!(bundle.promoted)),
        ("runOptions", unless(bundle.run_options.as_str(), "")),
        ("command", json!(bundle.command)),
    ]);
    let network = object([
        ("address", json!(network.address)),
        ("prefix", json!(network.prefix)),
        ("interface", json!(network.interface)),
        ("port", json!(network.port)),
        ("mode", json!(network.mode)),
        ("publish", publish),
    ]);
    let storage =
        if bundle.storage.is_empty() { Value::Null } else { Value::Array(bundle.storage.iter().map(mount).collect()) };
    let mut fields = object([
        ("container", container),
        ("network", network),
        ("storage", storage),
        ("resource", json!(bundle.resource)),
        ("interleave", unless(bundle.interleave, false)),
        ("scoresOf", unless(bundle.scores, ScoresOf::Inside)),
    ]);
    let settings = settings.map(|settings| settings_spec(settings, usual));
    if let (Value::Object(fields), Some(Value::Object(settings))) = (&mut fields, settings) {
        fields.extend(settings);
    }
    fields
}

fn resource_spec(resource: &Resource, usual: &Usual) -> Value {
    let mut fields = object([("agent", json!(resource.agent)), ("params", json!(resource.params))]);
    let own = object([("utilization", json!(resource.utilization)), ("inside", json!(resource.inside))]);
    if let (Value::Object(fields), Value::Object(settings), Value::Object(own)) =
        (&mut fields, settings_spec(resource, usual), own)
    {
        fields.extend(settings);
        fields.extend(own);
    }
    fields
}

/// What a resource could have inherited.
fn settings_spec(resource: &Resource, usual: &Usual) -> Value {
    let requires = if usual.fencing { Requires::Fencing } else { Requires::Quorum };
    let failure = object([
        ("threshold", unless(resource.failure.threshold, usual.threshold)),
        ("timeout", time(resource.failure.timeout, usual.timeout)),
    ]);
    object([
        ("operations", operations(resource, usual)),
        ("failure", failure),
        ("stickiness", unless(resource.stickiness, usual.stickiness)),
        ("priority", unless(resource.priority, 0)),
        ("targetRole", unless(resource.target_role, TargetRole::Started)),
        ("managed", unless(resource.managed, true)),
        ("maintenance", unless(resource.maintenance, false)),
        ("requires", unless(resource.requires, requires)),
        ("quorumLoss", unless(resource.quorum_loss, usual.quorum_loss)),
        ("migratable", unless(resource.migratable, false)),
        ("multipleActive", unless(resource.multiple_active, MultipleActive::StopStart)),
        ("influence", unless(resource.influence, Influence::Always)),
    ])
}

fn operations(resource: &Resource, usual: &Usual) -> Value {
    let mut all = Map::new();
    for (name, operation) in &resource.operations {
        let on_fail = match name {
            OpName::Stop if usual.fencing => OnFail::Fence,
            OpName::Stop => OnFail::Block,
            OpName::Start
            | OpName::Monitor
            | OpName::MonitorPromoted
            | OpName::Promote
            | OpName::Demote
            | OpName::Notify
            | OpName::MigrateTo
            | OpName::MigrateFrom
            | OpName::Reload => OnFail::Restart,
        };
        let interval = match name {
            OpName::Monitor => time(operation.interval, usual.interval),
            OpName::MonitorPromoted => time(operation.interval, USUAL_INTERVAL),
            OpName::Start
            | OpName::Stop
            | OpName::Promote
            | OpName::Demote
            | OpName::Notify
            | OpName::MigrateTo
            | OpName::MigrateFrom
            | OpName::Reload => Value::Null,
        };
        let said = object([
            ("interval", interval),
            ("timeout", time(operation.timeout, USUAL_TIMEOUT)),
            ("onFail", unless(operation.on_fail, on_fail)),
        ]);
        let is_always_there = matches!(name, OpName::Start | OpName::Stop | OpName::Monitor);
        if !is_always_there || said != json!({}) {
            all.insert(name.to_string(), said);
        }
    }
    Value::Object(all)
}

fn constraints(spec: &Spec, sets: &Sets) -> Vec<Value> {
    let mut all = Vec::new();
    let written = Written::of(spec, sets);
    for (name, order) in spec.orders.iter().filter(|(name, _)| !written.orders.contains(*name)) {
        all.push(document("Order", name, order_spec(order)));
    }
    for (name, sets) in &sets.orders {
        all.push(document("Order", name, order_sets(sets)));
    }
    for (name, colocation) in spec.colocations.iter().filter(|(name, _)| !written.colocations.contains(*name)) {
        all.push(document("Colocation", name, colocation_spec(colocation, spec)));
    }
    for (name, sets) in &sets.colocations {
        all.push(document("Colocation", name, colocation_sets(sets)));
    }
    for (name, location) in &spec.locations {
        all.push(document("Location", name, location_spec(location)));
    }
    for (name, ticket) in &spec.tickets {
        let fields = [
            ("ticket", json!(ticket.ticket)),
            ("resources", json!(ticket.resources)),
            ("role", json!(ticket.role)),
            ("onLoss", unless(ticket.on_loss, OnLoss::usual(ticket.role))),
        ];
        all.push(document("Ticket", name, object(fields)));
    }
    all
}

/// Orders and colocations that a document with sets says.
struct Written {
    orders: BTreeSet<String>,
    colocations: BTreeSet<String>,
}

impl Written {
    fn of(spec: &Spec, sets: &Sets) -> Self {
        let mut written = Self { orders: BTreeSet::new(), colocations: BTreeSet::new() };
        for (name, sets) in &sets.orders {
            let (mut names, pairs) = (parts(&spec.orders, name), sets.pairs());
            let of = pairs.iter().map_while(|pair| names.find(|(_, order)| *order == pair)).map(|(name, _)| name);
            written.orders.extend(of.cloned());
        }
        for (name, sets) in &sets.colocations {
            let (mut names, pairs) = (parts(&spec.colocations, name), sets.pairs(|own| spec.influence_of(own)));
            let of = pairs.iter().map_while(|pair| names.find(|(_, other)| *other == pair)).map(|(name, _)| name);
            written.colocations.extend(of.cloned());
        }
        written
    }
}

/// A constraint and its parts, in the order in which they were taken apart.
fn parts<'s, T>(map: &'s BTreeMap<String, T>, name: &str) -> impl Iterator<Item = (&'s String, &'s T)> {
    let prefix = format!("{name}.");
    let number = |key: &str| key.strip_prefix(&prefix).and_then(|rest| rest.parse::<usize>().ok());
    let mut numbered: Vec<(usize, (&String, &T))> = map
        .range(prefix.clone()..)
        .map_while(|(key, value)| key.starts_with(&prefix).then(|| number(key).map(|n| (n, (key, value)))))
        .flatten()
        .collect();
    numbered.sort_by_key(|(number, _)| *number);
    map.get_key_value(name).into_iter().chain(numbered.into_iter().map(|(_, part)| part))
}

fn order_spec(order: &Order) -> Value {
    let end = |end: &OrderEnd| {
        object([("resource", json!(end.resource)), ("action", unless(end.action, OrderAction::Start))])
    };
    let mut first = end(&order.first);
    if !order.or.is_empty() {
        let any: Vec<&ResourceId> = std::iter::once(&order.first).chain(&order.or).map(|end| &end.resource).collect();
        first = object([("anyOf", json!(any)), ("action", unless(order.first.action, OrderAction::Start))]);
    }
    if order.any_copy {
        first["anyCopy"] = json!(true);
    }
    object([
        ("first", first),
        ("then", end(&order.then)),
        ("strength", unless(order.strength, OrderStrength::Required)),
        ("symmetric", unless(order.symmetric, order.strength != OrderStrength::Serialize)),
    ])
}

fn order_sets(sets: &OrderSets) -> Value {
    let set = |set: &OrderSet| {
        object([
            ("members", json!(set.members)),
            ("sequential", unless(set.sequential, true)),
            ("requireAll", unless(set.require_all, true)),
            ("action", unless(set.action, OrderAction::Start)),
        ])
    };
    object([
        ("sets", sets.sets.iter().filter(|set| !set.members.is_empty()).map(set).collect()),
        ("strength", unless(sets.strength, OrderStrength::Required)),
        ("symmetric", unless(sets.symmetric, sets.strength != OrderStrength::Serialize)),
    ])
}

fn weight(strength: Strength, weight: u32) -> Value {
    match strength {
        Strength::Preferred | Strength::Avoid if weight >= Score::INFINITY.value().unsigned_abs() => json!("Infinite"),
        Strength::Preferred | Strength::Avoid => unless(weight, 100),
        Strength::Required | Strength::Forbidden => Value::Null,
    }
}

fn colocation_spec(colocation: &Colocation, spec: &Spec) -> Value {
    object([
        ("resource", json!(colocation.resource.resource)),
        ("role", json!(colocation.resource.role)),
        ("with", object([("resource", json!(colocation.with.resource)), ("role", json!(colocation.with.role))])),
        ("strength", unless(colocation.strength, Strength::Required)),
        ("weight", weight(colocation.strength, colocation.weight)),
        ("nodeLabel", json!(colocation.node_label)),
        ("influence", unless(colocation.influence, spec.influence_of(&colocation.resource.resource))),
    ])
}

fn colocation_sets(sets: &ColocationSets) -> Value {
    let set = |set: &ColocationSet| {
        let own = set.strength.filter(|own| *own != (sets.strength, sets.weight));
        object([
            ("members", json!(set.members)),
            ("sequential", unless(set.sequential, true)),
            ("role", json!(set.role)),
            ("strength", json!(own.map(|(word, _)| word))),
            ("weight", own.map_or(Value::Null, |(word, of)| weight(word, of))),
        ])
    };
    object([
        ("sets", sets.sets.iter().filter(|set| !set.members.is_empty()).map(set).collect()),
        ("strength", unless(sets.strength, Strength::Required)),
        ("weight", weight(sets.strength, sets.weight)),
        ("nodeLabel", json!(sets.node_label)),
        ("influence", json!(sets.influence)),
    ])
}

fn location_spec(location: &Location) -> Value {
    let nodes = match &location.nodes {
        NodeSelector::Names(names) => json!(names),
        NodeSelector::Labels(labels) => json!({ "matchLabels": labels }),
        NodeSelector::Rule(rule) => json!({ "rule": rule_spec(rule) }),
    };
    object([
        ("resource", json!(location.resource)),
        ("nodes", nodes),
        ("role", json!(location.role)),
        ("strength", unless(location.strength, Strength::Required)),
        ("weight", weight(location.strength, location.weight)),
        ("weightFrom", json!(location.weight_from)),
        ("discovery", unless(location.discovery, Discovery::Always)),
    ])
}

fn rule_spec(rule: &Rule) -> Value {
    let several = |rules: &[Rule]| -> Value { rules.iter().map(rule_spec).collect() };
    match rule {
        Rule::All(rules) => json!({ "all": several(rules) }),
        Rule::Any(rules) => json!({ "any": several(rules) }),
        Rule::Label(comparison) => object([
            ("key", json!(comparison.key)),
            ("operator", json!(comparison.operator)),
            ("value", json!(comparison.value)),
            ("as", json!(comparison.compare_as)),
        ]),
        Rule::Between(from, until) => {
            let word = |moment: &Option<Instant>| json!(moment.map(|moment| moment.to_string()));
            json!({ "between": object([("from", word(from)), ("until", word(until))]) })
        }
        Rule::After(moment) => json!({ "after": moment.to_string() }),
        Rule::Before(moment) => json!({ "before": moment.to_string() }),
        Rule::Calendar(fields) => {
            let fields = fields.iter().map(|(field, span)| (field.as_str().to_owned(), json!(span.to_string())));
            json!({ "calendar": fields.collect::<Map<String, Value>>() })
        }
    }
}
