//! The graph of actions that are missing, and the questions asked of it.
//!
//! A vertex is a [`Step`]; an edge says that its source must be done before its target. The graph is computed anew from
//! every committed state: an action that is done is simply no longer in it.
//!
//! Does not decide anything (`order` does) and remembers nothing.

use super::Verdict;
use crate::model::{ActionKind, Epoch, InstanceId, NodeId, Reason, ResourceId};
use crate::state::ClaimKey;
use petgraph::Direction;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::{EdgeRef, IntoEdgeReferences};
use std::collections::{BTreeMap, BTreeSet};

/// One action on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub kind: StepKind,
    /// For `Fence` the node is the victim and the instance has an empty name.
    pub key: ClaimKey,
    pub reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepKind {
    /// Under the number None, or 0 for a clone: it asks for the resource, not for a copy.
    Probe,
    Start,
    Stop,
    Promote,
    Demote,
    /// Done by the leader through [`FenceDecision`](super::FenceDecision)s; here so that others can wait for it.
    Fence {
        node: NodeId,
    },
    /// Takes changed parameters over in place.
    Reload,
    /// This copy is told of an operation on another, or itself.
    Notify {
        notice: Epoch,
    },
}

/// Operations of one kind on copies of one resource that can be done as soon as the others were told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToAnnounce {
    pub resource: ResourceId,
    pub operation: ActionKind,
    pub keys: Vec<ClaimKey>,
    /// All that is planned for copies of this resource.
    pub planned: Vec<(ActionKind, ClaimKey)>,
}

impl StepKind {
    /// What the agent is asked to do, for the operations that are announced to other copies.
    pub fn operation(&self) -> Option<ActionKind> {
        match self {
            Self::Start => Some(ActionKind::Start),
            Self::Stop => Some(ActionKind::Stop),
            Self::Promote => Some(ActionKind::Promote),
            Self::Demote => Some(ActionKind::Demote),
            Self::Probe | Self::Fence { .. } | Self::Reload | Self::Notify { .. } => None,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Vertex {
    pub step: Step,
    /// Why it cannot be done, whatever happens to its predecessors.
    pub blocked: Option<Verdict>,
    /// Its owner is at it.
    pub running: bool,
    /// The other copies of its clone must be told first, and nobody has begun to.
    pub unannounced: bool,
}

/// What [`order`](super::order()) returns.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    pub(super) graph: StableDiGraph<Vertex, Bond>,
    pub(super) index: BTreeMap<(StepKind, ClaimKey), NodeIndex>,
    pub(super) verdicts: BTreeMap<InstanceId, Verdict>,
    /// Steps that need one of some others.
    pub(super) any_of: Vec<(NodeIndex, Vec<NodeIndex>)>,
}

/// How one step is tied to another that comes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bond {
    /// The second does not happen without the first.
    Firm,
    /// Only the order is kept, if both happen.
    Loose,
}

impl Graph {
    /// The steps that this node can do now: its own, without predecessors and not blocked.
    pub fn ready<'a>(&'a self, node: &NodeId) -> impl Iterator<Item = &'a Step> {
        let node = node.clone();
        self.index.values().filter_map(move |place| {
            let step = &self.graph[*place].step;
            let own = step.key.node == node && !matches!(step.kind, StepKind::Fence { .. });
            (own && self.is_ready(*place)).then_some(step)
        })
    }

    /// What this node is to announce: its own steps that only wait for that, with those of others that do too.
    pub fn to_announce(&self, node: &NodeId) -> Vec<ToAnnounce> {
        let mut groups: BTreeMap<(&ResourceId, ActionKind), Vec<ClaimKey>> = BTreeMap::new();
        for place in self.index.values().filter(|place| self.graph[**place].unannounced && self.is_free(**place)) {
            let step = &self.graph[*place].step;
            if let Some(operation) = step.kind.operation() {
                groups.entry((&step.key.instance.resource, operation)).or_default().push(step.key.clone());
            }
        }
        let planned = |resource: &ResourceId| {
            let steps = self.steps().filter(|step| &step.key.instance.resource == resource);
            steps.filter_map(|step| Some((step.kind.operation()?, step.key.clone()))).collect()
        };
        groups
            .into_iter()
            .filter(|(_, keys)| keys.iter().any(|key| &key.node == node))
            .map(|((resource, operation), keys)| {
                let planned = planned(resource);
                ToAnnounce { resource: resource.clone(), operation, keys, planned }
            })
            .collect()
    }

    /// Whether a step of this kind is still to be done.
    pub fn has(&self, operation: ActionKind, key: &ClaimKey) -> bool {
        self.steps().any(|step| step.kind.operation() == Some(operation) && &step.key == key)
    }

    /// Every step, by kind and then by instance and node.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.index.values().map(|place| &self.graph[*place].step)
    }

    /// The steps that must be done before this one.
    pub fn waiting_for(&self, step: &Step) -> Vec<&Step> {
        let Some(place) = self.index.get(&(step.kind.clone(), step.key.clone())) else { return Vec::new() };
        let mut before: Vec<NodeIndex> = self.graph.neighbors_directed(*place, Direction::Incoming).collect();
        before.sort();
        before.into_iter().map(|place| &self.graph[place].step).collect()
    }

    /// Why a step cannot be done even when its predecessors are; None: it can.
    pub fn blocked(&self, step: &Step) -> Option<&Verdict> {
        let place = self.index.get(&(step.kind.clone(), step.key.clone()))?;
        self.graph[*place].blocked.as_ref()
    }

    /// Pairs (before, after), in a fixed order.
    pub fn edges(&self) -> Vec<(&Step, &Step)> {
        let mut edges: Vec<_> = self.graph.edge_references().map(|edge| (edge.source(), edge.target())).collect();
        edges.sort();
        edges.into_iter().map(|(a, b)| (&self.graph[a].step, &self.graph[b].step)).collect()
    }

    /// What is to become of every instance that has a claim or an assignment.
    pub fn verdicts(&self) -> &BTreeMap<InstanceId, Verdict> {
        &self.verdicts
    }

    /// Every step with its place.
    pub(super) fn placed_steps(&self) -> impl Iterator<Item = (NodeIndex, &Step)> {
        self.index.values().map(|place| (*place, &self.graph[*place].step))
    }

    /// What does not happen in this plan: what is blocked, and what would have to come after it.
    ///
    /// What only waits for a node's word, or for a node to be proven off, does happen.
    pub(super) fn blocked_with_followers(&self) -> BTreeSet<NodeIndex> {
        let ends = |verdict: &Verdict| {
            let word = |reason: &Reason| {
                // What this program does not do is no obstacle to others.
                let late = matches!(reason, Reason::NotInThisVersion { .. });
                late || matches!(reason, Reason::NotProbed { .. } | Reason::Fencing { .. } | Reason::NodeLost { .. })
            };
            !matches!(verdict, Verdict::Wait(reason) | Verdict::Blocked(reason) if word(reason))
        };
        let stuck = |place: &NodeIndex| self.graph[*place].blocked.as_ref().is_some_and(ends);
        let mut blocked: BTreeSet<NodeIndex> = self.graph.node_indices().filter(stuck).collect();
        let mut queue: Vec<NodeIndex> = blocked.iter().copied().collect();
        loop {
            while let Some(place) = queue.pop() {
                for edge in self.graph.edges(place).filter(|edge| *edge.weight() == Bond::Firm) {
                    if blocked.insert(edge.target()) {
                        queue.push(edge.target());
                    }
                }
            }
            for (after, one_of) in &self.any_of {
                if one_of.iter().all(|before| blocked.contains(before)) && blocked.insert(*after) {
                    queue.push(*after);
                }
            }
            if queue.is_empty() {
                return blocked;
            }
        }
    }

    pub(super) fn join(&mut self, before: NodeIndex, after: NodeIndex, bond: Bond) {
        match self.graph.find_edge(before, after).and_then(|edge| self.graph.edge_weight_mut(edge)) {
            Some(there) if bond == Bond::Firm => *there = Bond::Firm,
            Some(_) => {}
            None => _ = self.graph.add_edge(before, after, bond),
        }
    }

    /// Nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    pub(super) fn is_ready(&self, place: NodeIndex) -> bool {
        !self.graph[place].unannounced && self.is_free(place)
    }

    fn is_free(&self, place: NodeIndex) -> bool {
        self.graph[place].blocked.is_none()
            && self.graph.neighbors_directed(place, Direction::Incoming).next().is_none()
    }

    /// What a step waits for, as a verdict; `Act` if for nothing.
    pub(super) fn verdict_of(&self, place: NodeIndex) -> Verdict {
        if let Some(blocked) = &self.graph[place].blocked {
            return blocked.clone();
        }
        let Some(before) = self.graph.neighbors_directed(place, Direction::Incoming).min() else {
            return Verdict::Act;
        };
        let before = &self.graph[before].step;
        Verdict::Wait(match &before.kind {
            StepKind::Fence { node } => Reason::Fencing { node: node.clone() },
            StepKind::Probe => Reason::NotProbed { node: before.key.node.clone() },
            StepKind::Notify { .. } => Reason::Told { instance: before.key.instance.clone() },
            StepKind::Promote => {
                Reason::After { instance: before.key.instance.clone(), role: Some(crate::model::Role::Promoted) }
            }
            StepKind::Start | StepKind::Stop | StepKind::Demote | StepKind::Reload => {
                Reason::After { instance: before.key.instance.clone(), role: None }
            }
        })
    }
}
