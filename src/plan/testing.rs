//! Small clusters for tests, written the way one tells them.

use super::instances::identity;
use super::predict::Dream;
use super::{Assignment, Graph, Step, StepKind, assign, order};
use crate::model::*;
use crate::state::{
    Assignment as Committed, Attempt, Claim, ClaimKey, Failure, FailureKind, Membership, NodeDocument, NodeState,
    OpRecord, Override, OverrideKind, Phase, Probe, ProbeKey, Scope, State, Suspicion, SwitchOn,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A spec and a state that belong together.
#[derive(Clone)]
pub struct World {
    pub spec: Spec,
    pub state: State,
}

/// Only what differs between tests, so that a failed property can be read.
impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, node) in &self.state.nodes {
            writeln!(f, "{name} {:?} {:?}", node.membership, node.attributes)?;
        }
        for (name, r) in &self.spec.resources {
            writeln!(
                f,
                "{name} sticky {} priority {} {:?} managed {}",
                r.stickiness, r.priority, r.target_role, r.managed
            )?;
        }
        writeln!(f, "{:?}\n{:?}", self.spec.groups, self.spec.clones)?;
        writeln!(f, "{:?}\n{:?}\n{:?}", self.spec.orders, self.spec.colocations, self.spec.locations)?;
        for (key, claim) in &self.state.claims {
            writeln!(f, "{key} {:?} {:?} {:?}", claim.phase, claim.role, claim.failure.as_ref().map(|x| x.kind))?;
        }
        for (key, record) in &self.state.history {
            writeln!(f, "{key} failed {} moved {}", record.fail_count, record.moved)?;
        }
        let overrides: Vec<_> = self.state.overrides.values().map(|o| (&o.scope, &o.kind)).collect();
        writeln!(f, "fencing {} {overrides:?}", self.spec.cluster.fencing.enabled)
    }
}

/// `name` or `name:number`.
pub fn id(text: &str) -> InstanceId {
    text.parse().unwrap()
}

/// `instance@node`.
pub fn key(text: &str) -> ClaimKey {
    let (instance, node) = text.split_once('@').unwrap();
    ClaimKey { instance: id(instance), node: node.into() }
}

pub fn incarnation(node: &str) -> Incarnation {
    Incarnation { boot: BootId::new(format!("boot-{node}")), counter: 1 }
}

impl World {
    /// Online nodes with a fencing device each; nothing to run.
    pub fn new(nodes: &[&str]) -> Self {
        let cluster = Cluster {
            name: "test".into(),
            detection: Detection::DEFAULT,
            fencing: FencingPolicy {
                enabled: true,
                timeout: Duration::from_secs(60),
                action: FencingAction::Reboot,
                require_tested: false,
                max_fences: 3,
                assume_off: None,
                when: FenceWhen::Needed,
            },
            quorum_loss: QuorumLoss::Stop,
            join_grace: Duration::from_secs(120),
            max_removals: 5,
            symmetric: true,
            source: None,
            placement: Placement::Spread,
            watchdog: LeaseTiming::DEFAULT,
            survive: 0,
            signatures: Vec::new(),
            confirmation: None,
            change_windows: Vec::new(),
            drift_policy: Default::default(),
        };
        let spec = Spec {
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
        };
        let state = State { now_ms: 1_000_000, index: LogIndex(10), ..State::default() };
        let mut world = Self { spec, state };
        for node in nodes {
            world.node(node, NodeRole::Voter);
        }
        world
    }

    pub fn node(&mut self, name: &str, role: NodeRole) -> &mut Self {
        let device = DeviceId::new(format!("pdu-{name}"));
        let node = Node {
            role,
            addresses: Vec::new(),
            labels: BTreeMap::from([("name".to_owned(), name.to_owned())]),
            capacity: BTreeMap::new(),
            fencing: vec![vec![device.clone()]],
            connection: None,
        };
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
        self.spec.nodes.insert(name.into(), node);
        self.spec.devices.insert(device, described);
        let state = NodeState {
            membership: Membership::Online,
            joined_at: LogIndex(1),
            port: 7443,
            feature_level: 1,
            listed: true,
            ..NodeState::new(&incarnation(name))
        };
        self.state.nodes.insert(name.into(), state);
        self.document(name);
        self
    }

    /// Copies the node's document from the spec into the state, as the target does.
    pub fn document(&mut self, name: &str) {
        let node = self.spec.nodes[name].clone();
        let devices = self.spec.devices.clone();
        self.state.nodes.get_mut(name).unwrap().document = Some(Arc::new(NodeDocument { node, devices }));
    }

    pub fn levels(&mut self, node: &str, levels: usize) -> &mut Self {
        let device = DeviceId::new(format!("pdu-{node}"));
        self.spec.nodes.get_mut(node).unwrap().fencing = vec![vec![device]; levels];
        self.document(node);
        self
    }

    /// Resources of which every node has said that they do not run there.
    pub fn resources(&mut self, names: &[&str]) -> &mut Self {
        for name in names {
            let operation =
                Operation { interval: Duration::ZERO, timeout: Duration::from_secs(20), on_fail: OnFail::Restart };
            let operations = [OpName::Start, OpName::Stop, OpName::Monitor].map(|op| (op, operation.clone()));
            let resource = Resource {
                agent: "ocf:pacemaker:Dummy".parse().unwrap(),
                params: BTreeMap::from([("state".to_owned(), format!("/run/{name}"))]),
                operations: operations.into(),
                failure: FailurePolicy { threshold: 3, timeout: Duration::from_secs(600) },
                stickiness: 1,
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
                rank: 0,
                influence: Influence::Always,
                inside: None,
                max_outage: None,
            };
            self.spec.resources.insert((*name).into(), resource);
        }
        self.probe_all()
    }

    pub fn resource(&mut self, name: &str) -> &mut Resource {
        self.spec.resources.get_mut(name).unwrap()
    }

    pub fn probe_all(&mut self) -> &mut Self {
        let nodes: Vec<NodeId> = self.state.nodes.keys().cloned().collect();
        let resources: Vec<ResourceId> = self.spec.resources.keys().cloned().collect();
        for node in &nodes {
            for resource in &resources {
                self.probe(resource.as_str(), node.as_str(), Reading::Stopped);
            }
        }
        self
    }

    pub fn probe(&mut self, resource: &str, node: &str, reading: Reading) -> &mut Self {
        let probe = Probe {
            incarnation: self.state.nodes[node].incarnation.clone(),
            identity: identity(&self.spec.resources[resource]),
            reading,
            at: LogIndex(5),
            text: String::new(),
        };
        self.state.probes.insert(ProbeKey { resource: resource.into(), node: node.into() }, probe);
        self
    }

    pub fn unprobe(&mut self, resource: &str, node: &str) -> &mut Self {
        self.state.probes.remove(&ProbeKey { resource: resource.into(), node: node.into() });
        self
    }

    pub fn group(&mut self, name: &str, members: &[&str]) -> &mut Self {
        let members = members.iter().map(|member| (*member).into()).collect();
        self.spec.groups.insert(name.into(), Group { members, rank: 0 });
        self
    }

    pub fn cloned(&mut self, name: &str, of: &str) -> &mut crate::model::Clone {
        let clone = crate::model::Clone {
            resource: of.into(),
            max: None,
            per_node: 1,
            promotable: None,
            notify: false,
            interleave: false,
            ordered: false,
            globally_unique: false,
            rank: 0,
            enough: None,
        };
        self.spec.clones.insert(name.into(), clone);
        self.spec.clones.get_mut(name).unwrap()
    }

    /// `a then b`, ends as `name` or `name.Promote`.
    pub fn order(&mut self, first: &str, then: &str) -> &mut Order {
        let end = |text: &str| {
            let (resource, action) = text.split_once('.').unwrap_or((text, "Start"));
            let action = match action {
                "Start" => OrderAction::Start,
                "Stop" => OrderAction::Stop,
                "Promote" => OrderAction::Promote,
                "Demote" => OrderAction::Demote,
                other => panic!("no action {other}"),
            };
            OrderEnd { resource: resource.into(), action }
        };
        let order = Order {
            first: end(first),
            then: end(then),
            strength: OrderStrength::Required,
            symmetric: true,
            or: Vec::new(),
            any_copy: false,
        };
        let name = format!("{first}-{then}");
        self.spec.orders.insert(name.clone(), order);
        self.spec.orders.get_mut(&name).unwrap()
    }

    pub fn colocate(&mut self, resource: &str, with: &str, strength: Strength, weight: u32) -> &mut Colocation {
        let end = |resource: &str| ColocationEnd { resource: resource.into(), role: None };
        let colocation = Colocation {
            resource: end(resource),
            with: end(with),
            strength,
            weight,
            node_label: None,
            influence: Influence::Always,
        };
        let name = format!("{resource}-with-{with}");
        self.spec.colocations.insert(name.clone(), colocation);
        self.spec.colocations.get_mut(&name).unwrap()
    }

    pub fn locate(&mut self, resource: &str, node: &str, strength: Strength, weight: u32) -> &mut Location {
        let nodes = NodeSelector::Names(vec![node.into()]);
        let location = Location {
            resource: resource.into(),
            nodes,
            strength,
            weight,
            role: None,
            weight_from: None,
            discovery: Default::default(),
        };
        let name = format!("{resource}-{node}-{}", self.spec.locations.len());
        self.spec.locations.insert(name.clone(), location);
        self.spec.locations.get_mut(&name).unwrap()
    }

    /// Puts claims and assignments for `instance@node`: running, as if started by the current definition.
    pub fn runs(&mut self, keys: &[&str]) -> &mut Self {
        for text in keys {
            let key = key(text);
            let promotable = self.spec.clone_of(&key.instance.resource).is_some_and(|(_, c)| c.promotable.is_some());
            let role = if promotable { Role::Unpromoted } else { Role::Started };
            self.claim(text, Phase::Running, role);
            self.assigned(text, role);
        }
        self
    }

    pub fn promoted(&mut self, text: &str) -> &mut Self {
        self.claim(text, Phase::Running, Role::Promoted);
        self.assigned(text, Role::Promoted)
    }

    pub fn claim(&mut self, text: &str, phase: Phase, role: Role) -> &mut Claim {
        let key = key(text);
        let digest = match self.spec.resources.get(&key.instance.resource) {
            Some(resource) => {
                let digest = identity(resource);
                let definition = Definition { resource: resource.clone(), clone: None };
                self.state.definitions.insert(digest, Arc::new(definition));
                digest
            }
            None => Digest::default(),
        };
        let claim = Claim {
            incarnation: self.state.nodes[&key.node].incarnation.clone(),
            epoch: Epoch(1),
            definition: digest,
            phase,
            role,
            granted_at: LogIndex(3),
            changed_at: LogIndex(3),
            since_ms: 0,
            after: Vec::new(),
            found: false,
            failure: None,
        };
        self.unprobe(key.instance.resource.as_str(), key.node.as_str());
        self.state.claims.insert(key.clone(), claim);
        self.state.claims.get_mut(&key).unwrap()
    }

    pub fn assigned(&mut self, text: &str, role: Role) -> &mut Self {
        let key = key(text);
        let to = crate::state::Assigned {
            node: key.node,
            role,
            reason: Reason::Placed,
            after: Vec::new(),
            after_promote: Vec::new(),
        };
        self.state.assignment.insert(key.instance, Committed { to, index: LogIndex(2), since_ms: 0 });
        self
    }

    pub fn failed(&mut self, text: &str, kind: FailureKind) -> &mut Failure {
        let failure = Failure {
            action: ActionKind::Monitor,
            kind,
            at_ms: self.state.now_ms,
            text: "monitor failed".into(),
            blocked: false,
            fence: false,
        };
        self.state.claims.get_mut(&key(text)).unwrap().failure.insert(failure)
    }

    pub fn record(&mut self, text: &str, fail_count: u32) -> &mut OpRecord {
        let record = OpRecord {
            at_ms: self.state.now_ms,
            duration_ms: 1,
            fail_count,
            last_failure_ms: self.state.now_ms,
            last_failure: "failed".into(),
            ..OpRecord::new(ActionKind::Monitor, ExecStatus::Exited(1))
        };
        self.state.history.insert(key(text), record);
        self.state.history.get_mut(&key(text)).unwrap()
    }

    pub fn suspect(&mut self, node: &str) -> &mut Self {
        let state = self.state.nodes.get_mut(node).unwrap();
        state.membership = Membership::Suspect;
        let boot = state.incarnation.boot.clone();
        state.suspicion = Some(Suspicion { number: 1, boot, since_ms: 0, reason: "silent".into() });
        self
    }

    pub fn attempt(&mut self, node: &str, level: u32, executor: &str) -> &mut Attempt {
        let number = AttemptId(self.state.attempts.len() as u64 + 1);
        let attempt = Attempt {
            node: node.into(),
            boot: self.state.nodes[node].incarnation.boot.clone(),
            level,
            devices: Vec::new(),
            executor: incarnation(executor),
            executor_node: executor.into(),
            action: FencingAction::Reboot,
            started_ms: self.state.now_ms - 1_000 + number.0,
            deadline_ms: self.state.now_ms + 60_000,
            reason: String::new(),
            outcome: None,
            ended_ms: 0,
            on: SwitchOn::NotWanted,
        };
        self.state.attempts.insert(number, attempt);
        self.state.attempts.get_mut(&number).unwrap()
    }

    pub fn over(&mut self, scope: Scope, kind: OverrideKind) -> &mut Override {
        let number = OverrideId(self.state.overrides.len() as u64 + 1);
        let o = Override { scope, kind, by: "root".into(), reason: "a test".into(), since_ms: 0, expires_ms: None };
        self.state.overrides.insert(number, o);
        self.state.overrides.get_mut(&number).unwrap()
    }

    pub fn drain(&mut self, node: &str) -> &mut Self {
        self.over(Scope::Node(node.into()), OverrideKind::Drain);
        self
    }

    pub fn attribute(&mut self, node: &str, name: &str, value: &str) -> &mut Self {
        self.state.nodes.get_mut(node).unwrap().attributes.insert(name.into(), value.into());
        self
    }

    pub fn assign(&self) -> Assignment {
        assign(&self.spec, &self.state)
    }

    /// The committed state after the leader's changes.
    pub fn commit(&mut self) -> &mut Self {
        self.assign().commit(&mut self.state);
        self
    }

    pub fn graph(&self) -> Graph {
        order(&self.spec, &self.state)
    }

    /// `db@n1 vip@n1`, promoted instances with a `*`.
    pub fn placed(&self) -> String {
        let assignment = self.assign();
        let placed: Vec<String> = assignment
            .placements
            .iter()
            .filter_map(|(id, to)| {
                let to = to.as_ref()?;
                Some(format!("{id}@{}{}", to.node, if to.role == Role::Promoted { "*" } else { "" }))
            })
            .collect();
        placed.join(" ")
    }

    /// Commits, then the steps: `Stop db@n1`, those that can be done now with a `!`.
    pub fn steps(&mut self) -> String {
        self.commit();
        let graph = self.graph();
        let ready: Vec<Step> =
            self.state.nodes.keys().flat_map(|node| graph.ready(node).cloned().collect::<Vec<_>>()).collect();
        let steps: Vec<String> = graph
            .steps()
            .map(|step| format!("{}{}", if ready.contains(step) { "!" } else { "" }, show(step)))
            .collect();
        steps.join(", ")
    }

    /// Executes the plan with every step succeeding; the steps but probes in order.
    pub fn play(&mut self) -> String {
        let mut dream = Dream::new(&self.spec, &self.state);
        let ended = dream.finish();
        assert!(ended, "the plan has no end: {:?}", dream.done.iter().rev().take(12).map(show).collect::<Vec<_>>());
        self.state = dream.state;
        let steps: Vec<String> = dream.done.iter().filter(|step| step.kind != StepKind::Probe).map(show).collect();
        steps.join(", ")
    }
}

pub fn show(step: &Step) -> String {
    match &step.kind {
        StepKind::Fence { node } => format!("Fence {node}"),
        StepKind::Notify { .. } => format!("Notify {}", step.key),
        StepKind::Probe
        | StepKind::Start
        | StepKind::Stop
        | StepKind::Promote
        | StepKind::Demote
        | StepKind::MigrateTo
        | StepKind::MigrateFrom
        | StepKind::Reload => {
            format!("{:?} {}", step.kind, step.key)
        }
    }
}
