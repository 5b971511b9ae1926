//! Large clusters to measure with: everything runs where it should, and one node has just gone silent.
//!
//! Input: how many nodes and resources. Output: a [`Spec`] and the [`State`] that the cluster has agreed on. The same
//! numbers give the same cluster. Of the resources 70 % are in groups of four, 2 % are clones with a copy on every node,
//! 1 % are promotable clones of two, the rest stand alone.
//!
//! Constraints: clones follow each other in a chain; every group follows a clone and runs with it; every second group
//! runs with its neighbour, every fourth also starts after it; a fifth of groups and lone resources prefer their node, a
//! tenth prefer a zone; every fourth lone resource avoids its neighbour. Every node has said of every resource that it
//! does not run there, or holds a claim.

use hafen::model::*;
use hafen::state::{
    Assigned, Assignment, Claim, ClaimKey, Membership, NodeDocument, NodeState, Phase, Probe, ProbeKey, State,
    Suspicion,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const MEMBERS: usize = 4;

pub struct Cluster {
    pub spec: Spec,
    pub state: State,
}

/// Where everything runs before the node is lost.
struct Builder {
    nodes: Vec<NodeId>,
    documents: u32,
    cluster: Cluster,
}

/// A cluster of at least two nodes whose last one is silent.
pub fn cluster(nodes: usize, resources: usize) -> Cluster {
    let mut builder =
        Builder { nodes: Vec::new(), documents: 0, cluster: Cluster { spec: empty(), state: State::default() } };
    builder.cluster.state.now_ms = 1_790_000_100_000;
    builder.cluster.state.index = LogIndex(10);
    for number in 0..nodes {
        builder.node(number);
    }
    let clones = (resources / 50).max(1);
    let promotables = (resources / 100).max(1);
    let groups = resources * 7 / 10 / MEMBERS;
    let lone = resources.saturating_sub(clones + promotables + groups * MEMBERS);
    (0..clones).for_each(|number| builder.clone(number));
    (0..promotables).for_each(|number| builder.promotable(number));
    (0..groups).for_each(|number| builder.group(number, clones));
    (0..lone).for_each(|number| builder.lone(number));
    builder.probe();
    builder.lose_last();
    builder.cluster
}

impl Builder {
    fn node(&mut self, number: usize) {
        let name = NodeId::new(format!("node{:03}", number + 1));
        let device = DeviceId::new(format!("pdu-{name}"));
        let described = FencingDevice {
            agent: "fence_dummy".into(),
            params: BTreeMap::new(),
            secrets: BTreeMap::new(),
            targets: BTreeMap::new(),
            timeout: Duration::from_secs(60),
            delay: Duration::ZERO,
            retries: 2,
            check: Duration::from_secs(600),
        };
        let node = Node {
            role: NodeRole::Voter,
            addresses: Vec::new(),
            labels: BTreeMap::from([("zone".to_owned(), zone(number).to_owned())]),
            capacity: BTreeMap::new(),
            fencing: vec![vec![device.clone()]],
            connection: None,
        };
        let document =
            NodeDocument { node: node.clone(), devices: BTreeMap::from([(device.clone(), described.clone())]) };
        let state = NodeState {
            membership: Membership::Online,
            incarnation: Incarnation { boot: BootId::new(format!("boot-of-{name}")), counter: 1 },
            joined_at: LogIndex(1),
            since_ms: 0,
            addresses: Vec::new(),
            port: 7443,
            version: String::new(),
            feature_level: 1,
            recipient: None,
            attributes: BTreeMap::new(),
            permanent_attributes: BTreeMap::new(),
            burnt: Default::default(),
            contradicted: Default::default(),
            restarting: false,
            suspicion: None,
            last_suspicion: 0,
            document: Some(Arc::new(document)),
            listed: true,
            fenced_ms: Vec::new(),
            bad_devices: Default::default(),
            watchdog: None,
            lease_over: None,
        };
        self.cluster.spec.nodes.insert(name.clone(), node);
        self.cluster.spec.devices.insert(device, described);
        self.cluster.state.nodes.insert(name.clone(), state);
        self.nodes.push(name);
    }

    fn clone(&mut self, number: usize) {
        let (name, inner) = (format!("clone{number}"), format!("base{number}"));
        self.resource(&inner, "Dummy");
        let clone = copies(&inner, None, None, self.rank());
        self.cluster.spec.clones.insert(name.as_str().into(), clone);
        for node in 0..self.nodes.len() {
            self.runs(InstanceId::numbered(inner.as_str(), node as u32), node, Role::Started);
        }
        if let Some(before) = number.checked_sub(1) {
            self.follow(&format!("clone{before}"), &name);
            self.with(&name, &format!("clone{before}"), Strength::Required, 0);
        }
    }

    /// The first one is promoted on the node that is lost.
    fn promotable(&mut self, number: usize) {
        let (name, inner) = (format!("ms{number}"), format!("db{number}"));
        self.resource(&inner, "Stateful");
        let clone = copies(&inner, Some(2), Some(Promotable { max: 1, per_node: 1 }), self.rank());
        self.cluster.spec.clones.insert(name.as_str().into(), clone);
        let count = self.nodes.len();
        let homes =
            [((2 * number + count - 1) % count, Role::Promoted, "10"), (2 * number % count, Role::Unpromoted, "5")];
        for (copy, (node, role, score)) in homes.into_iter().enumerate() {
            self.runs(InstanceId::numbered(inner.as_str(), copy as u32), node, role);
            if let Some(state) = self.cluster.state.nodes.get_mut(&self.nodes[node]) {
                state.attributes.insert(format!("master-{inner}"), score.to_owned());
            }
        }
    }

    /// Neighbours share a node.
    fn group(&mut self, number: usize, clones: usize) {
        let name = format!("grp{number}");
        let members: Vec<String> = (0..MEMBERS).map(|member| format!("{name}-m{member}")).collect();
        let node = number / 2 % self.nodes.len();
        for member in &members {
            self.resource(member, "Dummy");
            self.runs(InstanceId::plain(member.as_str()), node, Role::Started);
        }
        let members = members.iter().map(|member| member.as_str().into()).collect();
        let group = Group { members, rank: self.rank() };
        self.cluster.spec.groups.insert(name.as_str().into(), group);
        let under = format!("clone{}", number % clones);
        self.follow(&under, &name);
        self.with(&name, &under, Strength::Required, 0);
        if number % 2 == 1 {
            self.with(&name, &format!("grp{}", number - 1), Strength::Required, 0);
        }
        if number % 4 == 1 {
            self.follow(&format!("grp{}", number - 1), &name);
        }
        self.prefer(&name, number, node);
    }

    fn lone(&mut self, number: usize) {
        let name = format!("lone{number}");
        let node = number % self.nodes.len();
        self.resource(&name, "Dummy");
        self.runs(InstanceId::plain(name.as_str()), node, Role::Started);
        if number % 4 == 1 {
            self.with(&name, &format!("lone{}", number - 1), Strength::Avoid, 1000);
        }
        self.prefer(&name, number, node);
    }

    /// The place of the next document.
    fn rank(&mut self) -> u32 {
        self.documents += 1;
        self.documents
    }

    fn resource(&mut self, name: &str, agent: &str) {
        let monitor = |interval| Operation {
            interval: Duration::from_secs(interval),
            timeout: Duration::from_secs(20),
            on_fail: OnFail::Restart,
        };
        let resource = Resource {
            agent: AgentRef::Ocf { provider: "pacemaker".into(), name: agent.into() },
            params: BTreeMap::new(),
            operations: [(OpName::Start, monitor(0)), (OpName::Stop, monitor(0)), (OpName::Monitor, monitor(10))]
                .into(),
            failure: FailurePolicy { threshold: 3, timeout: Duration::ZERO },
            stickiness: 100,
            priority: 0,
            target_role: TargetRole::Started,
            managed: true,
            maintenance: false,
            requires: Requires::Fencing,
            quorum_loss: QuorumLoss::Stop,
            migratable: false,
            multiple_active: MultipleActive::StopStart,
            secrets: BTreeMap::new(),
            utilization: BTreeMap::new(),
            influence: Influence::Always,
            inside: None,
            max_outage: None,
            rank: self.rank(),
        };
        self.cluster.spec.resources.insert(name.into(), resource);
    }

    fn runs(&mut self, instance: InstanceId, node: usize, role: Role) {
        let definition = Definition { resource: self.cluster.spec.resources[&instance.resource].clone(), clone: None };
        let digest = State::identity(&definition);
        self.cluster.state.definitions.entry(digest).or_insert_with(|| Arc::new(definition));
        // Names are shared, as a reader of a file would share them.
        let resource = self.cluster.spec.resources.get_key_value(&instance.resource).map(|(name, _)| name.clone());
        let instance = InstanceId { resource: resource.unwrap_or(instance.resource), number: instance.number };
        let node = self.nodes[node].clone();
        let claim = Claim {
            incarnation: self.cluster.state.nodes[&node].incarnation.clone(),
            epoch: Epoch(1),
            definition: digest,
            phase: Phase::Running,
            role,
            granted_at: LogIndex(3),
            changed_at: LogIndex(3),
            since_ms: 0,
            after: Vec::new(),
            found: false,
            failure: None,
        };
        let key = ClaimKey { instance: instance.clone(), node: node.clone() };
        self.cluster.state.claims.insert(key, claim);
        let reason = Reason::Placed;
        let to = Assigned { node, role, reason, after: Vec::new(), after_promote: Vec::new() };
        self.cluster.state.assignment.insert(instance, Assignment { to, index: LogIndex(2), since_ms: 0 });
    }

    fn follow(&mut self, first: &str, then: &str) {
        let end = |name: &str| OrderEnd { resource: name.into(), action: OrderAction::Start };
        let order = Order {
            first: end(first),
            then: end(then),
            strength: OrderStrength::Required,
            symmetric: true,
            or: Vec::new(),
            any_copy: false,
        };
        self.cluster.spec.orders.insert(format!("{then}-after-{first}"), order);
    }

    fn with(&mut self, what: &str, with: &str, strength: Strength, weight: u32) {
        let end = |name: &str| ColocationEnd { resource: name.into(), role: None };
        let influence = Influence::Always;
        let colocation =
            Colocation { resource: end(what), with: end(with), strength, weight, node_label: None, influence };
        self.cluster.spec.colocations.insert(format!("{what}-with-{with}"), colocation);
    }

    fn prefer(&mut self, name: &str, number: usize, node: usize) {
        let nodes = match number % 10 {
            0 | 5 => NodeSelector::Names(vec![self.nodes[node].clone()]),
            7 => NodeSelector::Labels(BTreeMap::from([("zone".to_owned(), zone(node).to_owned())])),
            _ => return,
        };
        let location = Location {
            resource: name.into(),
            nodes,
            strength: Strength::Preferred,
            weight: 50,
            role: None,
            weight_from: None,
            discovery: Default::default(),
        };
        self.cluster.spec.locations.insert(format!("{name}-prefers"), location);
    }

    fn probe(&mut self) {
        let Cluster { spec, state } = &mut self.cluster;
        for (name, resource) in &spec.resources {
            let identity = State::identity(&Definition { resource: resource.clone(), clone: None });
            let holders: Vec<NodeId> = state.claims_of(name).map(|(key, _)| key.node.clone()).collect();
            for (node, info) in state.nodes.iter().filter(|(node, _)| !holders.contains(node)) {
                let probe = Probe {
                    incarnation: info.incarnation.clone(),
                    identity,
                    reading: Reading::Stopped,
                    at: LogIndex(5),
                    text: String::new(),
                };
                state.probes.insert(ProbeKey { resource: name.clone(), node: node.clone() }, probe);
            }
        }
    }

    fn lose_last(&mut self) {
        let last = self.nodes.last().and_then(|name| self.cluster.state.nodes.get_mut(name));
        if let Some(node) = last {
            node.membership = Membership::Suspect;
            let boot = node.incarnation.boot.clone();
            node.suspicion = Some(Suspicion { number: 1, boot, since_ms: 0, reason: "silent".into() });
        }
    }
}

fn zone(node: usize) -> &'static str {
    ["a", "b"][node % 2]
}

fn copies(of: &str, max: Option<u32>, promotable: Option<Promotable>, rank: u32) -> hafen::model::Clone {
    hafen::model::Clone {
        resource: of.into(),
        max,
        per_node: 1,
        promotable,
        notify: false,
        interleave: true,
        ordered: false,
        globally_unique: false,
        enough: None,
        rank,
    }
}

fn empty() -> Spec {
    let fencing = FencingPolicy {
        enabled: true,
        timeout: Duration::from_secs(60),
        action: FencingAction::Reboot,
        require_tested: false,
        max_fences: 3,
        assume_off: None,
        when: FenceWhen::Always,
    };
    let cluster = hafen::model::Cluster {
        name: "large".into(),
        detection: Detection::DEFAULT,
        fencing,
        quorum_loss: QuorumLoss::Stop,
        join_grace: Duration::from_secs(120),
        max_removals: 5,
        symmetric: true,
        placement: Placement::Spread,
        watchdog: hafen::model::LeaseTiming::DEFAULT,
        survive: 0,
        signatures: Vec::new(),
        confirmation: None,
        change_windows: Vec::new(),
        drift_policy: Default::default(),
        source: None,
    };
    Spec {
        cluster,
        nodes: BTreeMap::new(),
        devices: BTreeMap::new(),
        resources: BTreeMap::new(),
        groups: BTreeMap::new(),
        clones: BTreeMap::new(),
        bundles: BTreeMap::new(),
        orders: BTreeMap::new(),
        colocations: BTreeMap::new(),
        locations: BTreeMap::new(),
        tickets: BTreeMap::new(),
        origins: BTreeMap::new(),
        agents: BTreeMap::new(),
    }
}
