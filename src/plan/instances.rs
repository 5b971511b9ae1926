//! The problem, indexed once: resources, groups, clones, constraints, claims and records by small numbers.
//!
//! Input: spec and state. Output: a [`World`] that borrows both. Names appear again only in what leaves `plan`.
//!
//! Invariants: `res` is in order of name; `unit_of[r]` is the unit that places resource `r`. A *unit* is what is placed
//! as one: a resource by itself (members of a group too, tied by colocation), or a whole clone.
//!
//! Does not score and does not decide. Everything here is linear in the size of its input.

use super::nodes::{Class, NodeInfo, classify, doom, in_force, remembered};
use super::reach::connect;
use crate::model::{
    AgentRef, Bundle, BundlePart, Clone as CloneSpec, Digest, DriftPolicy, InstanceId, Location, MOST_COPIES, NodeId,
    OrderAction, QuorumLoss, Reading, Reason, Requires, Resource, ResourceId, Spec, TargetRole,
};
use crate::state::{
    Assignment, Claim, ClaimKey, OpRecord, Override, OverrideKind, Phase, Probe, ProbeKey, RELOAD_LEVEL, Scope, State,
};
use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;

pub(super) struct World<'a> {
    pub spec: &'a Spec,
    pub state: &'a State,
    /// What is committed; the planner may look at one that is about to be.
    pub assignment: &'a BTreeMap<InstanceId, Assignment>,
    pub nodes: Vec<NodeInfo<'a>>,
    pub node_ids: BTreeMap<&'a NodeId, usize>,
    pub res: Vec<Res<'a>>,
    pub res_ids: BTreeMap<&'a ResourceId, usize>,
    pub clones: Vec<CloneInfo<'a>>,
    pub units: Vec<Unit>,
    pub unit_of: Vec<usize>,
    /// Claims on resources that are no longer in the spec.
    pub removed: Vec<Live<'a>>,
    /// What would be done by a program that asks for less: no word of lost nodes is needed but where fencing is
    /// required, and what can move while it runs does.
    pub outline: bool,
    /// Some resource takes of its node's capacity.
    pub uses_capacity: bool,
    /// Nodes that are to be fenced because a ticket was lost, and why.
    pub forfeited: BTreeMap<usize, String>,
}

pub(super) struct Res<'a> {
    pub id: &'a ResourceId,
    pub spec: &'a Resource,
    pub group: Option<&'a ResourceId>,
    /// Place within its group, from 0.
    pub position: usize,
    pub clone: Option<usize>,
    /// Not to run at all, and why.
    pub stopped: Option<Reason>,
    /// False: left alone.
    pub managed: bool,
    /// This program can ask for it and start it.
    pub runs: bool,
    /// What it runs inside of.
    pub inside: Option<usize>,
    /// What runs inside of it.
    pub fillers: Vec<usize>,
    /// Copies that must be restarted for what failed inside of them.
    pub broken: Vec<Option<u32>>,
    /// Not for remote nodes: connections, what guests run inside of, fence devices.
    pub cluster_only: bool,
    /// A node is reached over it.
    pub connects: bool,
    /// In order of instance and node.
    pub claims: Vec<Live<'a>>,
    /// Nodes, in order, that must still say if it runs there before it may be started anywhere. A claim is an answer.
    pub unprobed: Vec<usize>,
    /// What nodes said that lack its agent, in order of node.
    pub not_installed: Vec<(usize, &'a Probe)>,
    /// The nodes where the manifests alone let it run; asked seldom.
    pub homes: OnceCell<Vec<usize>>,
    pub history: Vec<(usize, &'a OpRecord)>,
    pub locations: Vec<(&'a str, &'a Location)>,
    pub overrides: Vec<&'a Override>,
}

#[derive(Clone, Copy)]
pub(super) struct Live<'a> {
    pub key: &'a ClaimKey,
    pub node: usize,
    pub claim: &'a Claim,
}

impl Live<'_> {
    /// Its owner is ending it: it does not count as a copy that runs.
    pub fn settling(&self) -> bool {
        self.claim.failure.is_some() || self.claim.phase == Phase::Stopping
    }
}

pub(super) struct CloneInfo<'a> {
    pub spec: &'a CloneSpec,
    /// The copied resource, or the members of the copied group, in order.
    pub members: Vec<usize>,
    pub max: usize,
    pub per_node: usize,
    /// A ticket that it is promoted by is not held.
    pub ticketless: bool,
    /// It is what a bundle is planned as.
    pub bundle: Option<(&'a ResourceId, &'a Bundle)>,
    /// Of a bundle: the connections into its containers, and what runs inside.
    pub connection: Option<usize>,
    pub inner: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Plain(usize),
    Clone(usize),
}

impl<'a> World<'a> {
    pub fn new(spec: &'a Spec, state: &'a State) -> Self {
        let nodes = classify(spec, state);
        let node_ids = nodes.iter().enumerate().map(|(place, node)| (node.id, place)).collect();
        let res_ids: BTreeMap<_, _> = spec.resources.keys().enumerate().map(|(place, id)| (id, place)).collect();
        let mut world = Self {
            spec,
            state,
            assignment: &state.assignment,
            nodes,
            node_ids,
            res: Vec::with_capacity(spec.resources.len()),
            res_ids,
            clones: Vec::new(),
            units: Vec::new(),
            unit_of: vec![0; spec.resources.len()],
            removed: Vec::new(),
            outline: false,
            forfeited: BTreeMap::new(),
            uses_capacity: spec.resources.values().any(|resource| !resource.utilization.is_empty()),
        };
        world.add_resources();
        world.add_clones();
        world.add_claims();
        world.add_probes();
        world.add_constraints();
        world.add_overrides();
        super::tickets::apply(&mut world);
        world.lose_quorum();
        world.add_reach();
        doom(&mut world);
        connect(&mut world);
        world
    }

    /// The same, as if this were committed.
    pub fn with_assignment<'b>(self, assignment: &'b BTreeMap<InstanceId, Assignment>) -> World<'b>
    where
        'a: 'b,
    {
        World { assignment, ..self }
    }

    fn add_resources(&mut self) {
        let mut groups = BTreeMap::new();
        for (group, members) in &self.spec.groups {
            for (position, member) in members.members.iter().enumerate() {
                groups.insert(member, (group, position));
            }
        }
        for (id, resource) in &self.spec.resources {
            let halted = self.state.halted.contains(id).then(|| {
                let what = format!("{id} ran more than once (multipleActive: StopOnly)");
                Reason::FailedBlocked { what }
            });
            let (group, position) = groups.get(id).map_or((None, 0), |(group, position)| (Some(*group), *position));
            self.res.push(Res {
                id,
                spec: resource,
                group,
                position,
                clone: None,
                stopped: (resource.target_role == TargetRole::Stopped).then_some(Reason::TargetRole).or(halted),
                managed: resource.managed && !resource.maintenance,
                runs: resource.agent.runs() && resource.inside.is_none(),
                inside: resource.inside.as_ref().and_then(|inside| self.res_ids.get(inside)).copied(),
                fillers: Vec::new(),
                broken: Vec::new(),
                cluster_only: is_fence_device(&resource.agent),
                connects: false,
                claims: Vec::new(),
                unprobed: Vec::new(),
                not_installed: Vec::new(),
                homes: OnceCell::new(),
                history: Vec::new(),
                locations: Vec::new(),
                overrides: Vec::new(),
            });
        }
    }

    fn add_clones(&mut self) {
        let nodes = self.spec.resource_nodes().count();
        for (name, clone) in &self.spec.clones {
            let members = self.members(&clone.resource);
            let place = self.clones.len();
            let bundle = self.spec.bundles.get_key_value(name);
            for &member in &members {
                self.res[member].clone = Some(place);
                self.res[member].runs &= bundle.is_none();
            }
            let per_node = if clone.globally_unique { clone.per_node.max(1) as usize } else { 1 };
            let max = clone.max.map_or(nodes, |max| max as usize).min(MOST_COPIES as usize);
            let part = |wanted: BundlePart| {
                let (name, bundle) = bundle?;
                let (_, id) = bundle.parts(name).into_iter().find(|(part, _)| *part == wanted)?;
                self.res_ids.get(&id).copied()
            };
            let (connection, inner) = (part(BundlePart::Connection), part(BundlePart::Inner));
            self.clones.push(CloneInfo {
                spec: clone,
                members,
                max,
                per_node,
                ticketless: false,
                bundle,
                connection,
                inner,
            });
        }
        for clone in 0..self.clones.len() {
            for &member in &self.clones[clone].members {
                self.unit_of[member] = self.units.len();
            }
            self.units.push(Unit::Clone(clone));
        }
        for place in 0..self.res.len() {
            if self.res[place].clone.is_none() {
                self.unit_of[place] = self.units.len();
                self.units.push(Unit::Plain(place));
            }
        }
    }

    fn add_claims(&mut self) {
        let ids: Vec<&ResourceId> = self.spec.resources.keys().collect();
        let mut place = Cursor::new(&ids);
        for (key, claim) in &self.state.claims {
            let Some(&node) = self.node_ids.get(&key.node) else { continue };
            let live = Live { key, node, claim };
            match place.find(&key.instance.resource) {
                Some(place) => self.res[place].claims.push(live),
                None => self.removed.push(live),
            }
        }
        let mut place = Cursor::new(&ids);
        for (key, record) in &self.state.history {
            let (Some(place), Some(&node)) = (place.find(&key.instance.resource), self.node_ids.get(&key.node)) else {
                continue;
            };
            if record.stopped && self.remembers(place, record) {
                let what = format!("{} failed on {} (onFail: Stop)", key.instance, key.node);
                self.res[place].stopped.get_or_insert(Reason::FailedBlocked { what });
            }
            self.res[place].history.push((node, record));
        }
    }

    /// One walk along resources and probes, which are both in order of name; there is a probe for most pairs of a
    /// resource and a node, so this is the largest part of the input.
    fn add_probes(&mut self) {
        let asked = |info: &NodeInfo<'_>| info.may_have_run && info.class != Class::Gone;
        let asked: Vec<bool> = self.nodes.iter().map(asked).collect();
        let boots: Vec<_> = self.nodes.iter().map(|node| node.state.map(|state| &state.incarnation.boot)).collect();
        let ids: Vec<&NodeId> = self.nodes.iter().map(|node| node.id).collect();
        let mut probes = self.state.probes.iter().peekable();
        let mut known = vec![false; ids.len()];
        for res in &mut self.res {
            known.fill(false);
            let mut node = Cursor::new(&ids);
            let mut identity = None;
            let mut next = || next_of(&mut probes, res.id);
            while let Some((key, probe)) = next() {
                let Some(node) = node.find(&key.node) else { continue };
                let current = *identity.get_or_insert_with(|| self::identity(res.spec));
                if boots[node] == Some(&probe.incarnation.boot) && probe.identity == current {
                    known[node] = probe.reading.proves_stopped();
                    if probe.reading == Reading::NotInstalled {
                        res.not_installed.push((node, probe));
                    }
                }
            }
            res.claims.iter().for_each(|live| known[live.node] = true);
            // Where what is planned is done, nobody waits for an answer that nobody gives.
            if !res.runs && self.state.is_acted_on() {
                continue;
            }
            res.unprobed = (0..ids.len()).filter(|node| asked[*node] && !known[*node]).collect();
        }
    }

    fn add_constraints(&mut self) {
        for (name, location) in &self.spec.locations {
            if let Some(first) = self.first_of(&location.resource) {
                self.res[first].locations.push((name, location));
            }
        }
    }

    fn add_overrides(&mut self) {
        for o in self.state.overrides.values().filter(|o| in_force(self.state, o)) {
            match (&o.scope, &o.kind) {
                (Scope::Resource(name), kind) => self.override_resource(name, kind, o),
                (Scope::Cluster, OverrideKind::Maintenance) => self.res.iter_mut().for_each(|res| res.managed = false),
                // Nodes were classified with theirs.
                (Scope::Cluster | Scope::Node(_), _) => {}
            }
        }
    }

    /// How remote nodes are reached, and what may not run on them.
    fn add_reach(&mut self) {
        for place in 0..self.res.len() {
            if let Some(container) = self.res[place].inside {
                self.res[container].fillers.push(place);
            }
        }
        let (res_ids, res) = (&self.res_ids, &mut self.res);
        for info in &mut self.nodes {
            let Some(reach) = &mut info.reach else { continue };
            let name = info.document.and_then(|document| document.connection.as_ref());
            reach.connection = name.and_then(|name| res_ids.get(name)).copied();
            reach.container = reach.connection.and_then(|connection| res[connection].inside);
            reach.connection.into_iter().for_each(|connection| res[connection].connects = true);
            for place in [reach.connection, reach.container].into_iter().flatten() {
                res[place].cluster_only = true;
            }
        }
    }

    /// Without the quorum: what stops, what stays as it is.
    fn lose_quorum(&mut self) {
        if !self.state.without_quorum {
            return;
        }
        for place in 0..self.res.len() {
            let promotable = self.promotable(place);
            let res = &mut self.res[place];
            let needs = res.spec.requires != Requires::Nothing;
            match res.spec.quorum_loss {
                QuorumLoss::Demote if promotable => {}
                QuorumLoss::Stop | QuorumLoss::Demote if needs => _ = res.stopped.get_or_insert(Reason::NoQuorum),
                QuorumLoss::Stop | QuorumLoss::Demote | QuorumLoss::Freeze | QuorumLoss::Fence => {}
            }
        }
    }

    /// Whether nothing of this resource may be started or promoted for want of the quorum.
    pub fn frozen(&self, place: usize) -> bool {
        let spec = self.res[place].spec;
        let frozen = match spec.quorum_loss {
            QuorumLoss::Freeze => true,
            // What is not promotable stops.
            QuorumLoss::Demote => self.promotable(place),
            QuorumLoss::Stop | QuorumLoss::Fence => false,
        };
        self.state.without_quorum && frozen && spec.requires != Requires::Nothing
    }

    fn override_resource(&mut self, name: &'a ResourceId, kind: &OverrideKind, o: &'a Override) {
        for (position, place) in self.members(name).into_iter().enumerate() {
            let res = &mut self.res[place];
            if matches!(kind, OverrideKind::Stop) {
                res.stopped = Some(Reason::Override { by: o.by.clone(), reason: o.reason.clone() });
            }
            if matches!(kind, OverrideKind::Maintenance) {
                res.managed = false;
            }
            // A group follows its first member; a ban binds every member.
            let moves = matches!(kind, OverrideKind::Move { .. }) && position == 0;
            if moves || matches!(kind, OverrideKind::Ban { .. }) {
                res.overrides.push(o);
            }
        }
    }

    /// The primitives behind a name, in order. Empty for an unknown name.
    pub fn members(&self, name: &ResourceId) -> Vec<usize> {
        let name = self.spec.clones.get(name).map_or(name, |clone| &clone.resource);
        match self.spec.groups.get(name) {
            Some(group) => group.members.iter().filter_map(|member| self.res_ids.get(member).copied()).collect(),
            None => self.res_ids.get(name).copied().into_iter().collect(),
        }
    }

    pub fn first_of(&self, name: &ResourceId) -> Option<usize> {
        self.members(name).first().copied()
    }

    pub fn last_of(&self, name: &ResourceId) -> Option<usize> {
        self.members(name).last().copied()
    }

    pub fn members_of_unit(&self, unit: usize) -> Vec<usize> {
        match self.units[unit] {
            Unit::Plain(place) => vec![place],
            Unit::Clone(clone) => self.clones[clone].members.clone(),
        }
    }

    /// The place of a unit among those of the same priority: that of its document, or of the document around it.
    pub fn rank(&self, unit: usize) -> (u32, usize) {
        match self.units[unit] {
            Unit::Clone(clone) => (self.clones[clone].spec.rank, 0),
            Unit::Plain(place) => match self.res[place].group.and_then(|group| self.spec.groups.get(group)) {
                Some(group) => (group.rank, self.res[place].position),
                None => (self.res[place].spec.rank, 0),
            },
        }
    }

    /// A label of a node as rules and colocations see it: what its agents set now before what its document says.
    pub fn label(&self, node: usize, name: &str) -> Option<&'a str> {
        let info = &self.nodes[node];
        match name {
            "#uname" => return Some(info.id.as_str()),
            "#is_dc" => {
                let leads = self.state.leader.as_ref().is_some_and(|leader| &leader.node == info.id);
                return Some(if leads { "true" } else { "false" });
            }
            "#kind" => {
                return Some(match info.reach {
                    Some(reach) if reach.container.is_some() => "container",
                    Some(_) => "remote",
                    None => "cluster",
                });
            }
            _ => {}
        }
        let set = info.state.and_then(|state| state.attributes.get(name).or(state.permanent_attributes.get(name)));
        set.or_else(|| info.document.and_then(|document| document.labels.get(name))).map(String::as_str)
    }

    /// Whether a location means a node, by its labels and, in rules, by what its agents set and the time.
    pub fn selects(&self, location: &Location, node: usize, labels: &BTreeMap<String, String>) -> bool {
        location.nodes.matches(self.nodes[node].id, labels, &|name| self.label(node, name), self.now())
    }

    /// Seconds since 1970.
    pub fn now(&self) -> i64 {
        (self.state.now_ms / 1000) as i64
    }

    pub fn remembers(&self, place: usize, record: &OpRecord) -> bool {
        remembered(self.spec, self.state, self.res[place].id, record.last_failure_ms)
    }

    /// The only instance of a resource that is not cloned.
    pub fn plain_instance(&self, place: usize) -> InstanceId {
        InstanceId { resource: self.res[place].id.clone(), number: None }
    }

    /// The number under which a node is asked whether a resource runs there.
    pub fn probe_instance(&self, place: usize) -> InstanceId {
        let number = self.res[place].clone.map(|_| 0);
        InstanceId { resource: self.res[place].id.clone(), number }
    }

    /// The claims of one copy.
    pub fn claims_of(&self, place: usize, number: Option<u32>) -> &[Live<'a>] {
        let claims = &self.res[place].claims;
        let from = claims.partition_point(|live| live.key.instance.number < number);
        let count = claims[from..].partition_point(|live| live.key.instance.number == number);
        &claims[from..from + count]
    }

    /// Whether two definitions are the same service with the same parameters.
    pub fn same_definition(&self, place: usize, claim: &Claim) -> bool {
        let Some(pinned) = self.state.definitions.get(&claim.definition) else { return true };
        let current = self.res[place].spec;
        pinned.resource.is_told_the_same(current)
    }

    /// A move of a running instance that was begun and not ended: from where, to where.
    pub fn migrating(&self, place: usize) -> Option<(usize, usize)> {
        let claims = &self.res[place].claims;
        // What failed ends at both ends; others go on.
        let sound = |live: &&Live<'_>| self.outline || live.claim.failure.is_none();
        let find = |which: &dyn Fn(Phase) -> bool| claims.iter().filter(sound).find(|live| which(live.claim.phase));
        let both = find(&Phase::leaves).zip(find(&|phase| phase == Phase::MigratingFrom));
        let both = both.filter(|_| self.res[place].clone.is_none() && claims.len() == 2);
        both.map(|(from, to)| (from.node, to.node))
    }

    /// Whether something that is to run once is active more than once. What fails is about to end; others count it.
    pub fn several(&self, place: usize) -> bool {
        let counts = |live: &&Live<'_>| match self.outline {
            true => live.claim.phase != Phase::Stopping,
            false => !live.settling(),
        };
        let res = &self.res[place];
        res.clone.is_none() && res.claims.iter().filter(counts).count() > 1 && self.migrating(place).is_none()
    }

    /// Where something runs that nobody asked for there, if git wants that told and not mended. What runs nowhere else, and
    /// may run, is taken over instead.
    pub fn drift(&self, place: usize) -> Option<usize> {
        let res = &self.res[place];
        if self.spec.cluster.drift_policy == DriftPolicy::Correct || res.clone.is_some() || self.outline {
            return None;
        }
        let assigned = self.assignment.get(&self.plain_instance(place));
        let home = assigned.and_then(|assigned| self.node_ids.get(&assigned.to.node)).copied();
        let unwanted = res.claims.len() > 1 || res.stopped.is_some();
        let astray = |live: &&Live<'_>| live.claim.found && live.claim.is_running() && home != Some(live.node);
        res.claims.iter().find(astray).filter(|_| unwanted).map(|live| live.node)
    }

    /// Others leave something that is active more than once alone everywhere if one of its nodes is in maintenance.
    pub fn maintained(&self, place: usize) -> bool {
        let res = &self.res[place];
        self.outline && res.clone.is_none() && res.claims.iter().any(|live| self.nodes[live.node].maintenance)
    }

    /// Where something that is to run once is at home: of several nodes the one that was given it first.
    pub fn home(&self, place: usize) -> Option<usize> {
        let first = |live: &&Live<'_>| (self.nodes[live.node].unclean(), live.claim.epoch);
        self.res[place].claims.iter().min_by_key(first).map(|live| live.node)
    }

    /// Whether a changed definition can be taken over in place.
    pub fn reloads(&self, place: usize, claim: &Claim) -> bool {
        let pinned = self.state.definitions.get(&claim.definition);
        let known = pinned.and_then(|pinned| self.spec.reload(&pinned.resource, self.res[place].spec));
        self.state.feature_level >= RELOAD_LEVEL && known.is_some()
    }

    pub fn promotable(&self, place: usize) -> bool {
        self.res[place].clone.is_some_and(|clone| self.clones[clone].spec.promotable.is_some())
    }

    /// The end of an order constraint that counts: a group is up with its last member and begins with its first.
    pub fn order_end(&self, name: &ResourceId, action: OrderAction, is_first: bool) -> Option<usize> {
        let up = matches!(action, OrderAction::Start | OrderAction::Promote);
        if is_first == up { self.last_of(name) } else { self.first_of(name) }
    }
}

/// Finds names in a list, asked for in the order of the list.
struct Cursor<'c, T> {
    names: &'c [&'c T],
    at: usize,
}

impl<'c, T: Ord> Cursor<'c, T> {
    fn new(names: &'c [&'c T]) -> Self {
        Self { names, at: 0 }
    }

    fn find(&mut self, name: &T) -> Option<usize> {
        while let Some(next) = self.names.get(self.at) {
            match (*next).cmp(name) {
                Ordering::Less => self.at += 1,
                Ordering::Equal => return Some(self.at),
                Ordering::Greater => return None,
            }
        }
        None
    }
}

/// The next probe of a resource; those of resources before it, which nobody asked for, are skipped.
fn next_of<'a>(
    probes: &mut Peekable<btree_map::Iter<'a, ProbeKey, Probe>>,
    resource: &ResourceId,
) -> Option<(&'a ProbeKey, &'a Probe)> {
    loop {
        let (key, _) = probes.peek()?;
        match key.resource.cmp(resource) {
            Ordering::Less => _ = probes.next(),
            Ordering::Equal => return probes.next(),
            Ordering::Greater => return None,
        }
    }
}

/// Whether a resource stands for a fence device, as it does in a CIB.
fn is_fence_device(agent: &AgentRef) -> bool {
    match agent {
        AgentRef::Foreign { class, .. } => class == "stonith",
        AgentRef::Ocf { .. } | AgentRef::Systemd { .. } => false,
    }
}

/// What a probe must have asked for: the digest of agent and parameters, as the state computes it.
pub(super) fn identity(resource: &Resource) -> Digest {
    let bytes = postcard::to_stdvec(&(&resource.agent, &resource.params)).expect("strings and maps always serialise");
    Digest::of(&bytes)
}
