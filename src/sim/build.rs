//! Small specs, written the way one tells them: for schedules, scripts and tests.

use crate::model::watchdog::WATCHDOG_AGENT;
use crate::model::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// A spec that grows by a line each.
#[derive(Debug, Clone)]
pub struct Builder {
    pub spec: Spec,
}

impl Builder {
    /// Voters with a fencing device each; nothing to run.
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
        let mut builder = Self { spec };
        for node in nodes {
            builder.node(node, NodeRole::Voter);
        }
        builder
    }

    pub fn node(&mut self, name: &str, role: NodeRole) -> &mut Node {
        let device = DeviceId::new(format!("pdu-{name}"));
        let node = Node {
            role,
            addresses: Vec::new(),
            labels: BTreeMap::from([("name".to_owned(), name.to_owned())]),
            capacity: BTreeMap::new(),
            fencing: vec![vec![device.clone()]],
            connection: None,
        };
        self.device(&device);
        self.spec.nodes.insert(name.into(), node);
        self.spec.nodes.get_mut(name).expect("it was just put there")
    }

    fn device(&mut self, name: &DeviceId) {
        let device = FencingDevice {
            agent: "fence_dummy".into(),
            params: BTreeMap::new(),
            secrets: BTreeMap::new(),
            targets: BTreeMap::new(),
            timeout: Duration::from_secs(60),
            delay: Duration::ZERO,
            retries: 2,
            check: Duration::from_secs(600),
        };
        self.spec.devices.insert(name.clone(), device);
    }

    /// So many levels of one device each, or one level of so many devices.
    pub fn levels(&mut self, node: &str, levels: usize, together: bool) {
        let names: Vec<DeviceId> = (1..=levels).map(|number| DeviceId::new(format!("pdu{number}-{node}"))).collect();
        names.iter().for_each(|name| self.device(name));
        if let Some(node) = self.spec.nodes.get_mut(node) {
            node.fencing = if together { vec![names] } else { names.into_iter().map(|name| vec![name]).collect() };
        }
    }

    /// A node that only its own watchdog fences.
    pub fn watchdog(&mut self, node: &str) {
        let name = DeviceId::new(format!("dog-{node}"));
        self.device(&name);
        if let Some(device) = self.spec.devices.get_mut(&name) {
            device.agent = WATCHDOG_AGENT.into();
        }
        if let Some(node) = self.spec.nodes.get_mut(node) {
            node.fencing = vec![vec![name]];
        }
    }

    pub fn resource(&mut self, name: &str) -> &mut Resource {
        let operation =
            Operation { interval: Duration::ZERO, timeout: Duration::from_secs(20), on_fail: OnFail::Restart };
        let operations = [OpName::Start, OpName::Stop, OpName::Monitor].map(|op| (op, operation.clone()));
        let resource = Resource {
            agent: AgentRef::Ocf { provider: "pacemaker".into(), name: "Dummy".into() },
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
        self.spec.resources.insert(name.into(), resource);
        self.spec.resources.get_mut(name).expect("it was just put there")
    }

    pub fn resources(&mut self, names: &[&str]) {
        names.iter().for_each(|name| _ = self.resource(name));
    }

    pub fn group(&mut self, name: &str, members: &[&str]) {
        let members = members.iter().map(|member| (*member).into()).collect();
        self.spec.groups.insert(name.into(), Group { members, rank: 0 });
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
        self.spec.clones.get_mut(name).expect("it was just put there")
    }

    /// `a` then `b`, ends as `name` (its start) or, promoted, `name.Promote`.
    pub fn order(&mut self, first: &str, then: &str) -> &mut Order {
        let end = |text: &str| match text.strip_suffix(".Promote") {
            Some(name) => OrderEnd { resource: name.into(), action: OrderAction::Promote },
            None => OrderEnd { resource: text.into(), action: OrderAction::Start },
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
        self.spec.orders.get_mut(&name).expect("it was just put there")
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
        self.spec.colocations.get_mut(&name).expect("it was just put there")
    }

    pub fn locate(&mut self, resource: &str, node: &str, strength: Strength, weight: u32) {
        let location = Location {
            resource: resource.into(),
            nodes: NodeSelector::Names(vec![node.into()]),
            strength,
            weight,
            role: None,
            weight_from: None,
            discovery: Default::default(),
        };
        let name = format!("{resource}-{node}-{}", self.spec.locations.len());
        self.spec.locations.insert(name, location);
    }
}
