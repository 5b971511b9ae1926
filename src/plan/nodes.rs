//! Classifies nodes: who may be given instances, who is unclean, who can be fenced.
//!
//! Input: spec and state. Output: one [`NodeInfo`] per node that either of them knows, in order of name; everything
//! after this step speaks of nodes by their index in that list.
//!
//! Invariants: only an Online node with a document, whose role runs resources and which is neither drained, in
//! maintenance, in standby nor about to be fenced, is [`NodeInfo::fit`].
//!
//! Does not decide whether a node *is* fenced: that needs the placement (`fencing`).

use super::instances::World;
use super::reach::Reach;
use super::score::has_alternative_to;
use crate::model::{DeviceId, FenceWhen, Node, NodeId, NodeRole, QuorumLoss, ResourceId, Spec};
use crate::state::{Membership, NodeState, Override, OverrideKind, Scope, State};
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct NodeInfo<'a> {
    pub id: &'a NodeId,
    /// The wanted spec's document, else the one kept in the state.
    pub document: Option<&'a Node>,
    pub state: Option<&'a NodeState>,
    pub class: Class,
    /// Why it gets nothing; None: it may be given instances.
    pub unfit: Option<Unfit<'a>>,
    /// What runs there is left alone.
    pub maintenance: bool,
    /// Heard, but to be fenced for a failed operation or because an operator wants it.
    pub doomed: Option<String>,
    pub ability: Ability,
    /// Its word on every resource counts before anything starts.
    pub may_have_run: bool,
    /// It is there as long as a resource runs.
    pub reach: Option<Reach>,
}

impl NodeInfo<'_> {
    pub fn fit(&self) -> bool {
        self.unfit.is_none()
    }
    /// Nothing is done on it but fencing: it is not heard, or about to be powered off.
    pub fn unclean(&self) -> bool {
        self.class == Class::Suspect || self.doomed.is_some()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Online,
    Joining,
    /// Not heard; may run everything.
    Suspect,
    /// Never joined, left, or proven off.
    Gone,
}

#[derive(Debug, Clone)]
pub(super) enum Unfit<'a> {
    Unlisted,
    Witness,
    NotOnline(Class),
    Drained(&'a Override),
    Standby(&'a ResourceId),
    Maintenance,
    Doomed,
    /// Its connection does not run, and is not going to.
    Unconnected,
    /// Only members of the cluster itself may run this.
    Remote,
}

/// How a lost node could be proven off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ability {
    /// Levels to try.
    Attempt,
    /// Evidence comes without an attempt: the watchdog, or `assumeOff`.
    ByItself,
    Impossible(String),
}

/// The classified nodes, in order of name.
pub(super) fn classify<'a>(spec: &'a Spec, state: &'a State) -> Vec<NodeInfo<'a>> {
    let names: BTreeSet<&NodeId> = spec.nodes.keys().chain(state.nodes.keys()).collect();
    let all_in_maintenance = cluster_in_maintenance(state);
    let mut overrides: BTreeMap<&NodeId, Vec<&'a Override>> = BTreeMap::new();
    for o in state.overrides.values().filter(|o| in_force(state, o)) {
        if let Scope::Node(node) = &o.scope {
            overrides.entry(node).or_default().push(o);
        }
    }
    let of = |id| overrides.get(id).map_or(&[][..], Vec::as_slice);
    let mut nodes: Vec<NodeInfo<'a>> =
        names.into_iter().map(|id| describe(spec, state, id, of(id), all_in_maintenance)).collect();
    standby(spec, state, &mut nodes);
    nodes
}

/// Whether this override still counts.
pub(super) fn in_force(state: &State, o: &Override) -> bool {
    o.expires_ms.is_none_or(|until| state.now_ms < until)
}

pub(super) fn cluster_in_maintenance(state: &State) -> bool {
    state
        .overrides
        .values()
        .any(|o| o.scope == Scope::Cluster && matches!(o.kind, OverrideKind::Maintenance) && in_force(state, o))
}

/// Whether a record's flags still count: they expire like the failure that made them.
pub(super) fn remembered(spec: &Spec, state: &State, resource: &ResourceId, last_failure_ms: u64) -> bool {
    let Some(resource) = spec.resources.get(resource) else { return false };
    let timeout_ms = resource.failure.timeout.as_millis() as u64;
    timeout_ms == 0 || state.now_ms < last_failure_ms.saturating_add(timeout_ms)
}

fn describe<'a>(
    spec: &'a Spec,
    state: &'a State,
    id: &'a NodeId,
    overrides: &[&'a Override],
    all_in_maintenance: bool,
) -> NodeInfo<'a> {
    let node = state.nodes.get(id);
    let kept = node.and_then(|node| node.document.as_deref());
    let class = match node.map(|node| node.membership) {
        Some(Membership::Online) => Class::Online,
        Some(Membership::Joining) => Class::Joining,
        Some(Membership::Suspect) => Class::Suspect,
        Some(Membership::Fenced | Membership::Left) | None => Class::Gone,
    };
    let maintenance = all_in_maintenance || overrides.iter().any(|o| matches!(o.kind, OverrideKind::Maintenance));
    let drained = overrides.iter().copied().find(|o| empties(&o.kind));
    let listed = spec.nodes.get(id);
    let unfit = match (listed, class, drained) {
        (None, _, _) => Some(Unfit::Unlisted),
        (Some(document), _, _) if !document.role.runs_resources() => Some(Unfit::Witness),
        (Some(_), Class::Joining | Class::Suspect | Class::Gone, _) => Some(Unfit::NotOnline(class)),
        (Some(_), Class::Online, Some(drained)) => Some(Unfit::Drained(drained)),
        (Some(_), Class::Online, None) if maintenance => Some(Unfit::Maintenance),
        (Some(_), Class::Online, None) => None,
    };
    let document = listed.or(kept.map(|kept| &kept.node));
    NodeInfo {
        id,
        document,
        state: node,
        class,
        unfit,
        maintenance,
        doomed: None,
        ability: match state.without_quorum && class != Class::Online {
            true => Ability::Impossible("there is no quorum".into()),
            false => match ability(spec, node, document) {
                // Nobody waits for what cannot come.
                Ability::ByItself if class == Class::Suspect && policy_needs_lease(spec) && state.is_acted_on() => {
                    state.lease_evidence(id).map_or_else(Ability::Impossible, |_| Ability::ByItself)
                }
                other => other,
            },
        },
        may_have_run: document.is_none_or(|document| document.role.runs_resources()),
        reach: document.filter(|document| document.role == NodeRole::Remote).map(|_| Reach {
            connection: None,
            container: None,
            reset: false,
        }),
    }
}

/// Whether what comes by itself is the end of a lease, not an assumption.
fn policy_needs_lease(spec: &Spec) -> bool {
    spec.cluster.fencing.enabled
}

/// Overrides that empty a node.
fn empties(kind: &OverrideKind) -> bool {
    matches!(kind, OverrideKind::Drain | OverrideKind::Shutdown | OverrideKind::Disarm)
}

fn ability(spec: &Spec, node: Option<&NodeState>, document: Option<&Node>) -> Ability {
    let policy = &spec.cluster.fencing;
    if !policy.enabled {
        return match policy.assume_off {
            Some(_) => Ability::ByItself,
            None => Ability::Impossible("fencing is disabled".into()),
        };
    }
    let levels = document.map(|document| document.fencing.as_slice()).unwrap_or_default();
    let kept = node.and_then(|node| node.document.as_ref());
    let by_watchdog =
        |level: &Vec<DeviceId>| level.iter().all(|device| is_watchdog(spec, kept.map(|k| &k.devices), device));
    match levels.iter().any(|level| !level.is_empty()) {
        false => Ability::Impossible("it has no fencing devices".into()),
        true if levels.iter().filter(|level| !level.is_empty()).all(by_watchdog) => Ability::ByItself,
        true => Ability::Attempt,
    }
}

/// Whether a device of a node is its watchdog.
pub(super) fn is_watchdog(
    spec: &Spec,
    kept: Option<&BTreeMap<DeviceId, crate::model::FencingDevice>>,
    device: &DeviceId,
) -> bool {
    kept.and_then(|kept| kept.get(device))
        .or_else(|| spec.devices.get(device))
        .is_some_and(crate::model::FencingDevice::is_watchdog)
}

/// Marks nodes that must be fenced whatever runs there: heard ones on which something failed for good, where somebody
/// else could go on, and those that an operator wants off.
pub(super) fn doom(world: &mut World<'_>) {
    nothing_to_protect(world);
    let online = world.nodes.iter().filter(|info| info.class == Class::Online).count();
    let (mut asked, mut failed) = (asked_by_hand(world.state), failed_for_good(world));
    for (node, why) in &world.forfeited {
        asked.entry(world.nodes[*node].id).or_insert_with(|| why.clone());
    }
    let always = world.spec.cluster.fencing.when == FenceWhen::Always;
    let fences_itself = fences_itself(world);
    for (place, info) in world.nodes.iter_mut().enumerate() {
        // A guest is not powered off: what it runs inside of is restarted.
        let is_guest = info.reach.is_some_and(|reach| reach.container.is_some());
        if info.class == Class::Gone || info.ability != Ability::Attempt || is_guest {
            continue;
        }
        let heard = info.class == Class::Online;
        let others = online > usize::from(heard);
        let failed = failed.remove(&place).filter(|_| heard);
        let alone = || (heard && fences_itself).then(|| "no quorum".to_owned());
        if let Some(why) = asked.remove(info.id).or(failed).filter(|_| others || always).or_else(alone) {
            info.doomed = Some(why);
            info.unfit.get_or_insert(Unfit::Doomed);
        }
    }
}

/// Without the quorum, and told to power its own part of the cluster off then.
fn fences_itself(world: &World<'_>) -> bool {
    world.state.without_quorum && world.spec.cluster.quorum_loss == QuorumLoss::Fence
}

/// Where nothing at all is managed nobody is powered off.
fn nothing_to_protect(world: &mut World<'_>) {
    if world.spec.cluster.fencing.when == FenceWhen::Always && !world.res.iter().any(|res| res.managed) {
        for info in world.nodes.iter_mut().filter(|info| info.ability == Ability::Attempt) {
            info.ability = Ability::Impossible("nothing is managed".into());
        }
    }
}

fn asked_by_hand(state: &State) -> BTreeMap<&NodeId, String> {
    let mut asked = BTreeMap::new();
    for o in state.overrides.values().filter(|o| o.kind.is_fence() && in_force(state, o)) {
        if let Scope::Node(node) = &o.scope {
            asked.entry(node).or_insert_with(|| format!("{} asked for it: {}", o.by, o.reason));
        }
    }
    asked
}

/// What failed on nodes so that they must be fenced. A resource that no other node may run blocks instead.
fn failed_for_good(world: &World<'_>) -> BTreeMap<usize, String> {
    let always = world.spec.cluster.fencing.when == FenceWhen::Always;
    let mut failed = BTreeMap::new();
    for (place, res) in world.res.iter().enumerate() {
        for live in res.claims.iter().filter(|live| !world.is_mended_around(place, live)) {
            let failure = live.claim.failure.as_ref().filter(|failure| failure.fence && !failure.blocked);
            if let Some(failure) = failure.filter(|_| always || has_alternative_to(world, place, live.node)) {
                failed.entry(live.node).or_insert_with(|| format!("{}: {}", live.key.instance, failure.text));
            }
        }
    }
    failed
}

/// `onFail: Standby`: nothing runs on such a node until it is cleaned up or forgotten.
fn standby<'a>(spec: &'a Spec, state: &'a State, nodes: &mut [NodeInfo<'a>]) {
    for (key, record) in state.history.iter().filter(|(_, record)| record.standby) {
        if !remembered(spec, state, &key.instance.resource, record.last_failure_ms) {
            continue;
        }
        if let Ok(node) = nodes.binary_search_by(|node| node.id.cmp(&key.node)) {
            nodes[node].unfit.get_or_insert(Unfit::Standby(&key.instance.resource));
        }
    }
}
