//! Fills in the defaults.
//!
//! Input → output: a [`Tree`] without errors → the [`Spec`], complete. A field of a resource is its own, else its
//! group's, else its clone's, else the Cluster's default, else the constant here; operations field by field.
//!
//! Deliberately absent: judging. What does not resolve was reported before; this runs only without errors.

use super::SourceFile;
use super::check_resources::operations;
use super::check_signatures::rule_span;
use super::document::{Doc, RawSpec, Tree};
use super::pairs::{self, resource_id};
use super::raw::{
    Inherited, Name, Param, Profile, Quantity, RawBundle, RawChangeWindow, RawCluster, RawFencingDevice, RawNode,
    RawOperation, RawResource, RawSelector, RawSignatureRule, Time,
};
use super::raw_source::{RawReport, RawSecretFile};
use super::rules;
use super::topology::Topology;
use crate::model::{
    AgentCatalogue, AgentRef, AgentTraits, Bundle, BundleNetwork, ChangeWindow, Clone as CloneSpec, Cluster,
    Colocation, Confirmation, Detection, DeviceId, FailurePolicy, FenceWhen, FencingAction, FencingDevice,
    FencingPolicy, Group, Influence, Kind, LeaseTiming, Location, Mount, MultipleActive, Node, NodeId, NodeRole,
    NodeSelector, ObjectRef, OnFail, OnLoss, OpName, Operation, Order, Origin, Placement, Promotable, QuorumLoss,
    ReportTo, Requires, Resource, ResourceId, SecretFile, SignatureRule, Signers, Source, Spec, TargetRole, Ticket,
    sets,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Of every operation without a time-out of its own.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);
pub(super) const MONITOR_INTERVAL: Duration = Duration::from_secs(10);
/// One attempt, with all devices of its level.
pub(super) const FENCING_TIMEOUT: Duration = Duration::from_secs(60);
pub(super) const FAILURE: FailurePolicy = FailurePolicy { threshold: 3, timeout: Duration::from_secs(600) };
const STICKINESS: i32 = 1;

/// The spec of a tree without errors. None only without a Cluster document, which is an error.
pub(super) fn resolve(
    tree: &Tree,
    topology: &Topology,
    files: &[&SourceFile],
    catalogue: &AgentCatalogue,
) -> Option<Spec> {
    let (cluster_doc, raw_cluster) = tree.clusters().next()?;
    let mut cluster = cluster(&cluster_doc.name, raw_cluster);
    cluster.signatures = signatures(cluster_doc, raw_cluster, files);
    let id = |doc: &Doc| ResourceId::new(doc.name.as_str());
    let ranks = tree.ranks();
    let rank = |doc: &Doc| ranks.get(doc.name.as_str()).copied().unwrap_or(0);
    let resources = tree.resources().filter_map(|(doc, raw)| {
        let chain = Chain::of(tree, topology, &doc.name, raw);
        resource(raw, &chain, &cluster, rank(doc)).map(|resource| (id(doc), resource))
    });
    let groups = tree
        .groups()
        .map(|(doc, raw)| (id(doc), Group { members: raw.members.iter().map(resource_id).collect(), rank: rank(doc) }));
    let mut spec = Spec {
        resources: resources.collect(),
        groups: groups.collect(),
        nodes: tree.nodes().map(|(doc, raw)| (NodeId::new(doc.name.as_str()), node(doc, raw))).collect(),
        devices: tree.devices().map(|(doc, raw)| (DeviceId::new(doc.name.as_str()), device(raw))).collect(),
        clones: tree.clones().map(|(doc, raw)| (id(doc), clone(raw, rank(doc)))).collect(),
        bundles: BTreeMap::new(),
        orders: orders(tree),
        colocations: BTreeMap::new(),
        locations: locations(tree),
        tickets: tickets(tree),
        // No cluster reads scenarios.
        origins: tree.docs.iter().filter(|doc| doc.kind != Kind::Scenario).map(|doc| origin(doc, files)).collect(),
        cluster,
        agents: agents(tree, catalogue),
    };
    for (doc, raw) in tree.bundles() {
        let chain = Chain::of_bundle(tree, raw);
        let (id, bundle) = (id(doc), bundle(raw, rank(doc)));
        let expanded = bundle.expand(&id, &settings(&chain, &spec.cluster));
        spec.resources.extend(expanded.parts);
        spec.groups.extend([expanded.group]);
        spec.clones.insert(id.clone(), expanded.clone);
        spec.bundles.insert(id, bundle);
    }
    spec.colocations = colocations(tree, &spec);
    Some(spec)
}

/// What is known of the agents that resources name.
fn agents(tree: &Tree, catalogue: &AgentCatalogue) -> BTreeMap<AgentRef, AgentTraits> {
    let named = tree.resources().filter_map(|(_, raw)| {
        let agent: AgentRef = raw.agent.parse().ok()?;
        Some((agent, catalogue.metadata.get(&raw.agent)?.traits()))
    });
    named.filter(|(_, traits)| *traits != AgentTraits::default()).collect()
}

/// What is said of a resource, the nearest first.
pub(super) struct Chain<'a>([Inherited<'a>; 4]);

impl<'a> Chain<'a> {
    pub fn of(tree: &'a Tree, topology: &Topology, name: &str, raw: &'a RawResource) -> Self {
        let spec = |kind, name: &str| tree.find(kind, name).and_then(|doc| doc.spec.as_ref());
        let group = match topology.group_of(name).and_then(|group| spec(Kind::Group, group)) {
            Some(RawSpec::Group(group)) => group.inherited(),
            _ => Inherited::default(),
        };
        let clone = match topology.clone_around(name).and_then(|(clone, _)| spec(Kind::Clone, clone)) {
            Some(RawSpec::Clone(clone)) => clone.inherited(),
            _ => Inherited::default(),
        };
        let cluster = tree.clusters().next().and_then(|(_, cluster)| cluster.defaults.as_ref());
        let defaults = cluster.map(|defaults| defaults.inherited()).unwrap_or_default();
        Self([raw.inherited(), group, clone, defaults])
    }

    pub fn of_bundle(tree: &'a Tree, raw: &'a RawBundle) -> Self {
        let cluster = tree.clusters().next().and_then(|(_, cluster)| cluster.defaults.as_ref());
        let defaults = cluster.map(|defaults| defaults.inherited()).unwrap_or_default();
        Self([raw.inherited(), Inherited::default(), Inherited::default(), defaults])
    }

    pub fn first<T>(&self, field: impl Fn(&Inherited<'a>) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(field)
    }

    /// What is written of the loss of the quorum, the Cluster's own field left out.
    pub fn quorum_loss(&self) -> Option<QuorumLoss> {
        self.first(|level| level.quorum_loss)
    }

    pub fn threshold(&self) -> Option<u32> {
        self.first(|level| level.failure.and_then(|failure| failure.threshold))
    }

    pub fn failure_timeout(&self) -> Option<Duration> {
        self.first(|level| level.failure.and_then(|failure| failure.timeout)).map(|time| time.0)
    }

    pub fn is_in_maintenance(&self) -> bool {
        self.first(|level| level.maintenance).unwrap_or(false)
    }

    /// What is written of an operation, field by field; None if nothing is.
    pub fn operation(&self, name: OpName) -> Option<RawOperation> {
        let mut merged: Option<RawOperation> = None;
        for written in self.0.iter().filter_map(|inherited| inherited.operations) {
            let Some((_, operation)) = operations(written).find(|(other, _)| *other == name) else { continue };
            let so_far = merged.get_or_insert(RawOperation { interval: None, timeout: None, on_fail: None });
            so_far.interval = so_far.interval.or(operation.interval);
            so_far.timeout = so_far.timeout.or(operation.timeout);
            so_far.on_fail = so_far.on_fail.or(operation.on_fail);
        }
        merged
    }
}

fn time_or(time: Option<Time>, default: Duration) -> Duration {
    time.map_or(default, |time| time.0)
}
fn strings(map: &Option<BTreeMap<String, Param>>) -> BTreeMap<String, String> {
    map.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect()
}
fn numbers(map: &Option<BTreeMap<String, Quantity>>) -> BTreeMap<String, i64> {
    map.iter().flatten().map(|(key, value)| (key.clone(), value.0)).collect()
}

fn origin(doc: &Doc, files: &[&SourceFile]) -> (ObjectRef, Origin) {
    let span = doc.name_span();
    let file = files.get(span.file_or(doc.file)).map_or(String::new(), |file| file.path.clone());
    (ObjectRef { kind: doc.kind, name: doc.name.clone() }, Origin { file, line: span.line, column: span.column })
}

fn cluster(name: &str, raw: &RawCluster) -> Cluster {
    let detection = match &raw.detection {
        None => Detection::DEFAULT,
        Some(raw) => match raw.profile {
            Some(Profile::Fast) => Detection::FAST,
            Some(Profile::Default) | None => Detection {
                heartbeat: time_or(raw.heartbeat, Detection::DEFAULT.heartbeat),
                suspect_after: time_or(raw.suspect_after, Detection::DEFAULT.suspect_after),
            },
        },
    };
    let fencing = raw.fencing.as_ref();
    Cluster {
        name: name.to_owned(),
        detection,
        fencing: FencingPolicy {
            enabled: fencing.and_then(|raw| raw.enabled).unwrap_or(true),
            timeout: time_or(fencing.and_then(|raw| raw.timeout), FENCING_TIMEOUT),
            action: fencing.and_then(|raw| raw.action).unwrap_or(FencingAction::Reboot),
            require_tested: fencing.and_then(|raw| raw.require_tested).unwrap_or(false),
            max_fences: fencing.and_then(|raw| raw.max_fences).unwrap_or(5),
            assume_off: fencing.and_then(|raw| raw.assume_off).map(|time| time.0),
            when: fencing.and_then(|raw| raw.when).unwrap_or(FenceWhen::Needed),
        },
        quorum_loss: raw.quorum_loss.unwrap_or(QuorumLoss::Stop),
        join_grace: time_or(raw.join_grace, Duration::from_secs(120)),
        max_removals: raw.max_removals.unwrap_or(5),
        symmetric: raw.symmetric.unwrap_or(true),
        source: raw.source.as_ref().map(|raw| Source {
            url: raw.url.clone(),
            branch: raw.branch.clone().unwrap_or_else(|| "main".into()),
            path: raw.path.clone().unwrap_or_default(),
            interval: time_or(raw.interval, Duration::from_secs(60)),
            webhook: raw.webhook.as_ref().map(|webhook| secret_file(&webhook.secret)),
            report: raw.report.as_ref().map(|raw| report_to(name, raw)),
        }),
        placement: raw.placement.unwrap_or(Placement::Spread),
        watchdog: lease_timing(raw),
        survive: raw.survive.unwrap_or(0),
        // Its rules know where they are written.
        signatures: Vec::new(),
        drift_policy: raw.drift_policy.unwrap_or_default(),
        change_windows: raw.change_windows.iter().flatten().map(change_window).collect(),
        confirmation: raw.confirmation.as_ref().map(|raw| Confirmation {
            deadline: time_or(raw.deadline, Confirmation::DEADLINE),
            stable: time_or(raw.stable, Confirmation::STABLE),
            by: raw.by.unwrap_or_default(),
        }),
    }
}

fn change_window(raw: &RawChangeWindow) -> ChangeWindow {
    ChangeWindow {
        days: raw.days.iter().flatten().copied().collect(),
        from: raw.from.0,
        to: raw.to.0,
        zone: raw.time_zone.as_ref().map_or_else(|| "UTC".to_owned(), |zone| zone.0.clone()),
    }
}

fn signatures(doc: &Doc, raw: &RawCluster, files: &[&SourceFile]) -> Vec<SignatureRule> {
    let file = files.get(doc.file).map_or(String::new(), |file| file.path.clone());
    let rule = |(place, raw): (usize, &RawSignatureRule)| {
        let span = rule_span(doc, place);
        SignatureRule {
            paths: raw.paths.clone(),
            require: raw.require.unwrap_or_default(),
            signers: Signers {
                ssh: raw.signers.ssh.clone().unwrap_or_default(),
                gpg: raw.signers.gpg.clone().unwrap_or_default(),
                files: raw.signers.files.clone().unwrap_or_default(),
            },
            origin: Origin { file: file.clone(), line: span.line, column: span.column },
        }
    };
    raw.signatures.iter().flatten().enumerate().map(rule).collect()
}

fn secret_file(raw: &RawSecretFile) -> SecretFile {
    SecretFile { file: raw.file.clone() }
}

fn report_to(cluster: &str, raw: &RawReport) -> ReportTo {
    ReportTo {
        provider: raw.provider,
        url: raw.url.clone().or_else(|| raw.provider.usual_url().map(str::to_owned)).unwrap_or_default(),
        project: raw.project.clone(),
        token: secret_file(&raw.token),
        context: raw.context.clone().unwrap_or_else(|| format!("hafen/{cluster}")),
        target_url: raw.target_url.clone(),
        ca: raw.ca.clone(),
    }
}

/// The times of leases, with their defaults.
pub(super) fn lease_timing(cluster: &RawCluster) -> LeaseTiming {
    let usual = LeaseTiming::DEFAULT;
    let Some(raw) = &cluster.watchdog else { return usual };
    LeaseTiming {
        lease_ttl: time_or(raw.lease_ttl, usual.lease_ttl),
        self_stop_after: time_or(raw.self_stop_after, usual.self_stop_after),
        stop_budget: time_or(raw.stop_budget, usual.stop_budget),
        timeout: time_or(raw.timeout, usual.timeout),
        reset_latency: time_or(raw.reset_latency, usual.reset_latency),
        margin: time_or(raw.margin, usual.margin),
        drift_ppm: raw.drift_ppm.unwrap_or(usual.drift_ppm),
    }
}

fn node(doc: &Doc, raw: &RawNode) -> Node {
    let level = |level: &Vec<Name>| level.iter().map(|name| DeviceId::new(name.0.as_str())).collect();
    Node {
        role: raw.role.unwrap_or(NodeRole::Voter),
        connection: raw.connection.as_ref().map(resource_id),
        addresses: raw.addresses.iter().flatten().map(|address| address.0).collect(),
        labels: doc.labels.clone(),
        capacity: numbers(&raw.capacity),
        fencing: raw.fencing.iter().flatten().map(level).collect(),
    }
}

fn device(raw: &RawFencingDevice) -> FencingDevice {
    FencingDevice {
        agent: raw.agent.clone(),
        params: strings(&raw.params),
        // `check_sealed` fills them in.
        secrets: BTreeMap::new(),
        targets: strings(&raw.targets).into_iter().map(|(node, plug)| (NodeId::new(node), plug)).collect(),
        timeout: time_or(raw.timeout, Duration::from_secs(60)),
        delay: time_or(raw.delay, Duration::ZERO),
        retries: raw.retries.unwrap_or(2),
        check: time_or(raw.check, Duration::from_secs(600)),
    }
}

/// A bundle, before it expands.
pub(super) fn bundle(raw: &RawBundle, rank: u32) -> Bundle {
    let container = &raw.container;
    let mount = |raw: &super::raw::RawMount| Mount {
        from: raw.from.clone(),
        to: raw.to.clone(),
        per_replica: raw.per_replica.unwrap_or(false),
        options: raw.options.clone().unwrap_or_default(),
    };
    let network = raw.network.as_ref().map(|raw| BundleNetwork {
        address: raw.address.as_ref().map(|address| address.0),
        prefix: raw.prefix.and_then(|prefix| prefix.try_into().ok()),
        interface: raw.interface.clone(),
        port: raw.port.and_then(|port| port.try_into().ok()),
        mode: raw.mode.clone(),
        publish: raw.publish.iter().flatten().map(|port| port.0.clone()).collect(),
    });
    Bundle {
        runtime: container.runtime,
        image: container.image.clone(),
        replicas: container.replicas.or(container.promoted).unwrap_or(1),
        per_host: container.per_host.unwrap_or(1),
        promoted: container.promoted,
        run_options: container.run_options.clone().unwrap_or_default(),
        command: container.command.clone(),
        network: network.unwrap_or_default(),
        storage: raw.storage.iter().flatten().map(mount).collect(),
        resource: raw.resource.as_ref().map(resource_id),
        interleave: raw.interleave.unwrap_or(false),
        scores: raw.scores_of.unwrap_or_default(),
        rank,
    }
}

/// None only if the agent is not one, which the schema check refuses.
fn resource(raw: &RawResource, chain: &Chain, cluster: &Cluster, rank: u32) -> Option<Resource> {
    Some(Resource {
        agent: raw.agent.parse().ok()?,
        params: strings(&raw.params),
        utilization: numbers(&raw.utilization),
        rank,
        inside: raw.inside.as_ref().map(resource_id),
        max_outage: raw.max_outage.map(|time| time.0),
        ..settings(chain, cluster)
    })
}

/// What can be inherited.
fn settings(chain: &Chain, cluster: &Cluster) -> Resource {
    let fencing = cluster.fencing.enabled;
    let failure_field =
        |field: fn(super::raw::RawFailure) -> Option<u32>| chain.first(|level| level.failure.and_then(field));
    Resource {
        agent: AgentRef::Foreign { class: "other".into(), provider: None, name: String::new() },
        params: BTreeMap::new(),
        operations: resource_operations(chain, fencing),
        failure: FailurePolicy {
            threshold: failure_field(|failure| failure.threshold).unwrap_or(FAILURE.threshold),
            timeout: time_or(chain.first(|level| level.failure.and_then(|failure| failure.timeout)), FAILURE.timeout),
        },
        stickiness: chain.first(|level| level.stickiness).unwrap_or(STICKINESS),
        priority: chain.first(|level| level.priority).unwrap_or(0),
        target_role: chain.first(|level| level.target_role).unwrap_or(TargetRole::Started),
        managed: chain.first(|level| level.managed).unwrap_or(true),
        maintenance: chain.first(|level| level.maintenance).unwrap_or(false),
        requires: chain.first(|level| level.requires).unwrap_or(if fencing {
            Requires::Fencing
        } else {
            Requires::Quorum
        }),
        quorum_loss: chain.quorum_loss().unwrap_or(cluster.quorum_loss),
        migratable: chain.first(|level| level.migratable).unwrap_or(false),
        multiple_active: chain.first(|level| level.multiple_active).unwrap_or(MultipleActive::StopStart),
        secrets: BTreeMap::new(),
        utilization: BTreeMap::new(),
        rank: 0,
        influence: chain.first(|level| level.influence).unwrap_or(Influence::Always),
        inside: None,
        max_outage: None,
    }
}

/// Every operation that is written anywhere, and start, stop and monitor in any case.
fn resource_operations(chain: &Chain, fencing: bool) -> BTreeMap<OpName, Operation> {
    const ALL: [OpName; 10] = [
        OpName::Start,
        OpName::Stop,
        OpName::Monitor,
        OpName::MonitorPromoted,
        OpName::Promote,
        OpName::Demote,
        OpName::Notify,
        OpName::MigrateTo,
        OpName::MigrateFrom,
        OpName::Reload,
    ];
    let mut operations = BTreeMap::new();
    for name in ALL {
        let written = chain.operation(name);
        if written.is_none() && !matches!(name, OpName::Start | OpName::Stop | OpName::Monitor) {
            continue;
        }
        let repeats = matches!(name, OpName::Monitor | OpName::MonitorPromoted);
        let on_fail = match name {
            OpName::Stop if fencing => OnFail::Fence,
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
        let interval = written.as_ref().and_then(|operation| operation.interval);
        let operation = Operation {
            // An interval of what is not repeated has no effect (HA0514).
            interval: if repeats { time_or(interval, MONITOR_INTERVAL) } else { Duration::ZERO },
            timeout: time_or(written.as_ref().and_then(|operation| operation.timeout), DEFAULT_TIMEOUT),
            on_fail: written.and_then(|operation| operation.on_fail).unwrap_or(on_fail),
        };
        operations.insert(name, operation);
    }
    operations
}

fn clone(raw: &super::raw::RawClone, rank: u32) -> CloneSpec {
    let promotable =
        |raw: super::raw::RawPromotable| Promotable { max: raw.max.unwrap_or(1), per_node: raw.per_node.unwrap_or(1) };
    CloneSpec {
        resource: resource_id(&raw.resource),
        max: raw.max,
        per_node: raw.per_node.unwrap_or(1),
        promotable: raw.promotable.map(promotable),
        notify: raw.notify.unwrap_or(false),
        interleave: raw.interleave.unwrap_or(false),
        ordered: raw.ordered.unwrap_or(false),
        globally_unique: raw.globally_unique.unwrap_or(false),
        rank,
        enough: raw.enough,
    }
}

fn orders(tree: &Tree) -> BTreeMap<String, Order> {
    let mut all = BTreeMap::new();
    for (doc, raw) in tree.orders() {
        sets::insert_all(&mut all, &doc.name, pairs::orders(raw));
    }
    all
}

fn colocations(tree: &Tree, spec: &Spec) -> BTreeMap<String, Colocation> {
    let mut all = BTreeMap::new();
    for (doc, raw) in tree.colocations() {
        sets::insert_all(&mut all, &doc.name, pairs::colocations(raw, |own| spec.influence_of(own)));
    }
    all
}

fn locations(tree: &Tree) -> BTreeMap<String, Location> {
    let location = |raw: &super::raw::RawLocation| {
        let (strength, weight) = pairs::strength(raw.strength, raw.weight);
        Location {
            resource: resource_id(&raw.resource),
            nodes: match &raw.nodes {
                RawSelector::Names(names) => {
                    NodeSelector::Names(names.iter().map(|name| NodeId::new(name.0.as_str())).collect())
                }
                RawSelector::Nodes(nodes) => match nodes.rule.as_ref().and_then(rules::rule) {
                    Some(rule) => NodeSelector::Rule(rule),
                    None => NodeSelector::Labels(strings(&nodes.match_labels)),
                },
            },
            strength,
            weight,
            role: raw.role,
            weight_from: raw.weight_from.clone(),
            discovery: raw.discovery.unwrap_or_default(),
        }
    };
    tree.locations().map(|(doc, raw)| (doc.name.clone(), location(raw))).collect()
}

fn tickets(tree: &Tree) -> BTreeMap<String, Ticket> {
    let ticket = |raw: &super::raw::RawTicket| Ticket {
        ticket: raw.ticket.clone(),
        resources: raw.resources.iter().map(resource_id).collect(),
        role: raw.role,
        on_loss: raw.on_loss.unwrap_or(OnLoss::usual(raw.role)),
    };
    tree.tickets().map(|(doc, raw)| (doc.name.clone(), ticket(raw))).collect()
}
