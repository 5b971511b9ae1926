//! Questions about a state that more than one module asks.

use super::{Attempt, Claim, ClaimKey, Membership, NodeState, Override, OverrideKind, Phase, ProbeKey, Scope, State};
use crate::model::{
    AttemptId, CloneMeta, Definition, Digest, InstanceId, NodeId, NodeRole, OverrideId, ResourceId, Role, Spec,
};
use std::sync::Arc;

/// How many live claims a resource may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub total: u32,
    pub per_node: u32,
    pub promoted: u32,
    pub promoted_per_node: u32,
}

impl Limits {
    pub fn of(definition: &Definition) -> Self {
        match &definition.clone {
            None => Self { total: 1, per_node: 1, promoted: 0, promoted_per_node: 0 },
            Some(clone) => Self {
                total: clone.max,
                per_node: clone.per_node,
                promoted: clone.promoted_max.unwrap_or(0),
                promoted_per_node: clone.promoted_per_node,
            },
        }
    }

    fn strictest(self, other: Self) -> Self {
        Self {
            total: self.total.min(other.total),
            per_node: self.per_node.min(other.per_node),
            promoted: self.promoted.min(other.promoted),
            promoted_per_node: self.promoted_per_node.min(other.promoted_per_node),
        }
    }
}

/// How a resource is to be run under this spec. None if the spec has no such primitive.
pub fn definition_of(spec: &Spec, resource: &ResourceId) -> Option<Definition> {
    let mut definition = Definition { resource: spec.resources.get(resource)?.clone(), clone: None };
    if let Some((_, clone)) = spec.clone_of(resource) {
        definition.clone = Some(CloneMeta {
            max: clone.max.unwrap_or_else(|| spec.resource_nodes().count() as u32),
            per_node: clone.per_node,
            promoted_max: clone.promotable.map(|promotable| promotable.max),
            promoted_per_node: clone.promotable.map_or(0, |promotable| promotable.per_node),
            notify: clone.notify,
            globally_unique: clone.globally_unique,
            interleave: clone.interleave,
            ordered: clone.ordered,
        });
    }
    Some(definition)
}

impl State {
    /// The spec that the cluster follows.
    pub fn spec(&self) -> Option<&Arc<Spec>> {
        self.specs.get(&self.target.as_ref()?.spec)
    }

    /// What makes a running instance this service and no other: a change of it needs a restart.
    pub fn identity(definition: &Definition) -> Digest {
        // Serialising owned strings and maps to memory cannot fail.
        let bytes = postcard::to_stdvec(&(&definition.resource.agent, &definition.resource.params))
            .expect("strings and maps always serialise");
        Digest::of(&bytes)
    }

    /// Whether two definitions are one service under two names, by what the agents of the target say of themselves.
    pub fn is_same_service(&self, old: &Definition, new: &Definition) -> bool {
        match self.spec() {
            Some(spec) => spec.is_same_service(&old.resource, &new.resource),
            None => Self::identity(old) == Self::identity(new),
        }
    }

    /// Whether a cluster agrees on this state and acts on it. One that was read from elsewhere is only planned with: its
    /// leader, if any, leads no term.
    pub fn is_acted_on(&self) -> bool {
        self.leader.as_ref().is_some_and(|leader| leader.term > 0)
    }

    /// Whether git, or what was last known of a node, says that it takes no part in the cluster itself.
    pub fn is_remote(&self, node: &NodeId) -> bool {
        let wanted = self.spec().and_then(|spec| spec.nodes.get(node));
        let kept = self.nodes.get(node).and_then(|node| node.document.as_ref()).map(|kept| &kept.node);
        wanted.or(kept).is_some_and(|document| document.role == NodeRole::Remote)
    }

    /// The definition that a start would use now.
    pub fn current_definition(&self, resource: &ResourceId) -> Option<(Digest, &Arc<Definition>)> {
        let digest = self.current.get(resource)?;
        Some((*digest, self.definitions.get(digest)?))
    }

    /// The identity under which a resource is to be started and probed now.
    pub fn current_identity(&self, resource: &ResourceId) -> Option<Digest> {
        self.current_definition(resource).map(|(_, definition)| Self::identity(definition))
    }

    /// Live claims of all instances of a resource, on any node.
    pub fn claims_of<'a>(&'a self, resource: &'a ResourceId) -> impl Iterator<Item = (&'a ClaimKey, &'a Claim)> {
        let from = ClaimKey { instance: InstanceId::plain(resource.clone()), node: NodeId::default() };
        self.claims.range(from..).take_while(move |(key, _)| &key.instance.resource == resource)
    }

    /// Whether an instance runs as it was last told to, and nothing went wrong since.
    pub fn runs_as_told(&self, instance: &InstanceId) -> bool {
        let mut claims = self.claims_of(&instance.resource).filter(|(key, _)| &key.instance == instance).peekable();
        claims.peek().is_some() && claims.all(|(_, claim)| claim.phase == Phase::Running && claim.failure.is_none())
    }

    pub fn claims_on<'a>(&'a self, node: &'a NodeId) -> impl Iterator<Item = (&'a ClaimKey, &'a Claim)> {
        self.claims.iter().filter(move |(key, _)| &key.node == node)
    }

    /// Limits of a resource: the strictest of what git says now and what its live claims were granted under.
    pub fn limits(&self, resource: &ResourceId) -> Option<Limits> {
        let now = self.current_definition(resource).map(|(_, definition)| Limits::of(definition));
        self.claims_of(resource)
            .filter_map(|(_, claim)| self.definitions.get(&claim.definition))
            .map(|definition| Limits::of(definition))
            .chain(now)
            .reduce(Limits::strictest)
    }

    /// A limit of this resource that its live claims exceed, in words.
    pub fn exceeded(&self, resource: &ResourceId) -> Option<String> {
        let limits = self.limits(resource)?;
        let claims: Vec<_> = self.claims_of(resource).collect();
        let on = |node: &NodeId| claims.iter().filter(|(key, _)| &key.node == node).count() as u32;
        let promoted: Vec<_> = claims.iter().filter(|(_, claim)| claim.may_be_promoted()).collect();
        let promoted_on = |node: &NodeId| promoted.iter().filter(|(key, _)| &key.node == node).count() as u32;
        let copies = self.copies_claimed(resource);
        if copies > limits.total {
            return Some(format!("{copies} of at most {}", limits.total));
        }
        if let Some((key, _)) = claims.iter().find(|(key, _)| on(&key.node) > limits.per_node) {
            return Some(format!("{} on {} of at most {}", on(&key.node), key.node, limits.per_node));
        }
        if promoted.len() as u32 > limits.promoted {
            return Some(format!("{} promoted of at most {}", promoted.len(), limits.promoted));
        }
        let (key, _) = promoted.iter().find(|(key, _)| promoted_on(&key.node) > limits.promoted_per_node)?;
        Some(format!("{} promoted on {} of at most {}", promoted_on(&key.node), key.node, limits.promoted_per_node))
    }

    /// Whether this node has said, in its current boot and of the current definition, that the resource does not run there.
    pub fn is_probed(&self, resource: &ResourceId, node: &NodeId) -> bool {
        let key = ProbeKey { resource: resource.clone(), node: node.clone() };
        let (Some(probe), Some(state)) = (self.probes.get(&key), self.nodes.get(node)) else { return false };
        probe.incarnation.boot == state.incarnation.boot
            && probe.reading.proves_stopped()
            && self.current_identity(resource) == Some(probe.identity)
    }

    /// The first node that must still say whether a resource runs there, before it may be started anywhere.
    ///
    /// Asked are nodes that may run resources, joined at least once and are neither Left nor proven off. A live claim
    /// is an answer too: the limits count it.
    pub fn unprobed(&self, resource: &ResourceId) -> Option<&NodeId> {
        self.nodes.iter().find_map(|(name, node)| {
            let asked = match node.membership {
                Membership::Joining | Membership::Online | Membership::Suspect => node.may_have_run(),
                Membership::Fenced | Membership::Left => false,
            };
            let known = || self.is_probed(resource, name) || self.claims_of(resource).any(|(key, _)| &key.node == name);
            (asked && !known()).then_some(name)
        })
    }

    /// The attempt against a node that has no result yet.
    pub fn open_attempt(&self, node: &NodeId) -> Option<(AttemptId, &Attempt)> {
        self.attempts.iter().rev().find(|(_, a)| &a.node == node && a.outcome.is_none()).map(|(id, a)| (*id, a))
    }

    /// Overrides of a scope, with their numbers.
    pub fn overrides_of<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = (OverrideId, &'a Override)> {
        self.overrides.iter().filter(move |(_, o)| &o.scope == scope).map(|(id, o)| (*id, o))
    }

    /// The override that keeps this node empty, if any.
    pub fn drained(&self, node: &NodeId) -> Option<&Override> {
        let scope = Scope::Node(node.clone());
        self.overrides
            .values()
            .find(|o| o.scope == scope && matches!(o.kind, OverrideKind::Drain | OverrideKind::Shutdown))
    }

    /// What one level of a node's fencing consists of, for trust: agents and parameters that are no secret.
    pub fn level_digest(node: &NodeState, level: u32) -> Option<Digest> {
        let document = node.document.as_ref()?;
        let devices: Vec<_> = document
            .node
            .fencing
            .get(level as usize)?
            .iter()
            .filter_map(|name| document.devices.get(name))
            .map(|device| (&device.agent, &device.params, &device.targets))
            .collect();
        Some(Digest::of(&postcard::to_stdvec(&devices).expect("strings and maps always serialise")))
    }
}

impl Claim {
    /// Counted as promoted: it is, is becoming so, or is not proven to be no longer.
    pub fn may_be_promoted(&self) -> bool {
        self.role == Role::Promoted || self.phase == Phase::Promoting
    }

    /// It runs as it should, as far as is known.
    pub fn is_running(&self) -> bool {
        self.failure.is_none()
            && matches!(self.phase, Phase::Running | Phase::Promoting | Phase::Demoting | Phase::Reloading)
    }
}

impl NodeState {
    /// Whether anything of the cluster can have been started on it: witnesses never run resources.
    pub fn may_have_run(&self) -> bool {
        self.document.as_ref().is_none_or(|document| document.node.role.runs_resources())
    }
}
