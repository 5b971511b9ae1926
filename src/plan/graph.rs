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
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Index, IndexMut};

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
    /// Moves what runs here to where it is assigned, while it runs.
    MigrateTo,
    /// Takes in what was moved here.
    MigrateFrom,
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
            Self::Probe
            | Self::Fence { .. }
            | Self::Reload
            | Self::MigrateTo
            | Self::MigrateFrom
            | Self::Notify { .. } => None,
        }
    }

    /// As what a resource comes up for those that come after it: a start, or an arrival.
    pub(super) fn comes_as(&self, up: &StepKind) -> bool {
        self == up || (*up == Self::Start && *self == Self::MigrateFrom)
    }

    /// What waits until that which it needs is up: a start, or a migration before it begins.
    pub(super) fn waits_as(&self, up: &StepKind) -> bool {
        self == up || (*up == Self::Start && *self == Self::MigrateTo)
    }

    /// What others that need it stop before: a stop, or a migration before it begins.
    pub(super) fn goes_as(&self, down: &StepKind) -> bool {
        self == down || (*down == Self::Stop && *self == Self::MigrateTo)
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

/// A vertex's place in its graph.
pub(super) type At = NodeIndex;

/// The steps, each with those that come before it.
#[derive(Debug, Clone, Default)]
pub(super) struct Web {
    graph: DiGraph<Vertex, Bond>,
}

impl Web {
    pub fn add(&mut self, vertex: Vertex) -> At {
        self.graph.add_node(vertex)
    }

    pub fn edge(&mut self, before: At, after: At, bond: Bond) {
        // May name one twice until [`Web::tidy`]; what was said last comes first here.
        let said = self.graph.edges_directed(after, Direction::Incoming).next();
        if said.is_none_or(|edge| (edge.source(), *edge.weight()) != (before, bond)) {
            self.graph.add_edge(before, after, bond);
        }
    }

    /// What comes directly before a vertex.
    pub fn before(&self, at: At) -> impl Iterator<Item = (At, Bond)> {
        self.graph.edges_directed(at, Direction::Incoming).map(|edge| (edge.source(), *edge.weight()))
    }

    /// Names every predecessor once, in order, by its firmest bond.
    pub fn tidy(&mut self) {
        let ends = |edge: petgraph::graph::EdgeReference<'_, Bond>| (edge.target(), edge.source(), *edge.weight());
        let mut edges: Vec<(At, At, Bond)> = self.graph.edge_references().map(ends).collect();
        edges.sort_unstable();
        edges.dedup_by_key(|(after, before, _)| (*after, *before));
        self.graph.clear_edges();
        // Edges are walked from the newest to the oldest.
        for (after, before, bond) in edges.into_iter().rev() {
            self.graph.add_edge(before, after, bond);
        }
    }

    pub fn places(&self) -> impl Iterator<Item = At> {
        self.graph.node_indices()
    }
}

impl Index<At> for Web {
    type Output = Vertex;
    fn index(&self, at: At) -> &Vertex {
        &self.graph[at]
    }
}

impl IndexMut<At> for Web {
    fn index_mut(&mut self, at: At) -> &mut Vertex {
        &mut self.graph[at]
    }
}

/// What [`order`](super::order()) returns.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    pub(super) graph: Web,
    pub(super) index: BTreeMap<(StepKind, ClaimKey), At>,
    pub(super) verdicts: BTreeMap<InstanceId, Verdict>,
    /// Steps that need one of some others.
    pub(super) any_of: Vec<(At, Vec<At>)>,
}

/// How one step is tied to another that comes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
        groups.retain(|_, keys| keys.iter().any(|key| &key.node == node));
        let mut planned: BTreeMap<&ResourceId, Vec<(ActionKind, ClaimKey)>> =
            groups.keys().map(|(resource, _)| (*resource, Vec::new())).collect();
        for step in self.steps() {
            if let (Some(list), Some(operation)) = (planned.get_mut(&step.key.instance.resource), step.kind.operation())
            {
                list.push((operation, step.key.clone()));
            }
        }
        groups
            .into_iter()
            .map(|((resource, operation), keys)| {
                let planned = planned.get(resource).cloned().unwrap_or_default();
                ToAnnounce { resource: resource.clone(), operation, keys, planned }
            })
            .collect()
    }

    /// Whether a step of this kind is still to be done.
    pub fn has(&self, operation: ActionKind, key: &ClaimKey) -> bool {
        let of = |kind: StepKind| self.index.contains_key(&(kind, key.clone()));
        let kinds = [StepKind::Start, StepKind::Stop, StepKind::Promote, StepKind::Demote];
        kinds.into_iter().filter(|kind| kind.operation() == Some(operation)).any(of)
    }

    /// Every step, by kind and then by instance and node.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.index.values().map(|place| &self.graph[*place].step)
    }

    /// The steps that must be done before this one.
    pub fn waiting_for(&self, step: &Step) -> Vec<&Step> {
        let Some(place) = self.index.get(&(step.kind.clone(), step.key.clone())) else { return Vec::new() };
        self.graph.before(*place).map(|(place, _)| &self.graph[place].step).collect()
    }

    /// Why a step cannot be done even when its predecessors are; None: it can.
    pub fn blocked(&self, step: &Step) -> Option<&Verdict> {
        let place = self.index.get(&(step.kind.clone(), step.key.clone()))?;
        self.graph[*place].blocked.as_ref()
    }

    /// Pairs (before, after), in a fixed order.
    pub fn edges(&self) -> Vec<(&Step, &Step)> {
        let into = |after: At| self.graph.before(after).map(move |(before, _)| (before, after));
        let mut edges: Vec<(At, At)> = self.graph.places().flat_map(into).collect();
        edges.sort_unstable();
        edges.into_iter().map(|(a, b)| (&self.graph[a].step, &self.graph[b].step)).collect()
    }

    /// What is to become of every instance that has a claim or an assignment.
    pub fn verdicts(&self) -> &BTreeMap<InstanceId, Verdict> {
        &self.verdicts
    }

    /// Every step with its place.
    pub(super) fn placed_steps(&self) -> impl Iterator<Item = (At, &Step)> {
        self.index.values().map(|place| (*place, &self.graph[*place].step))
    }

    /// What does not happen in this plan: what is blocked, and what would have to come after it.
    ///
    /// What only waits for a node to be proven off does happen.
    pub(super) fn blocked_with_followers(&self) -> BTreeSet<At> {
        let ends = |verdict: &Verdict| {
            let word = |reason: &Reason| {
                // What this program does not do is no obstacle to others.
                let late = matches!(reason, Reason::NotInThisVersion { .. });
                late || matches!(reason, Reason::Fencing { .. } | Reason::NodeLost { .. })
            };
            !matches!(verdict, Verdict::Wait(reason) | Verdict::Blocked(reason) if word(reason))
        };
        let stuck = |place: &At| self.graph[*place].blocked.as_ref().is_some_and(ends);
        let mut blocked: BTreeSet<At> = self.graph.places().filter(stuck).collect();
        if blocked.is_empty() {
            return blocked;
        }
        let mut firm: BTreeMap<At, Vec<At>> = BTreeMap::new();
        for after in self.graph.places() {
            for (before, _) in self.graph.before(after).filter(|(_, bond)| *bond == Bond::Firm) {
                firm.entry(before).or_default().push(after);
            }
        }
        // Of steps that need one of some others: how many of these may still happen.
        let mut left: Vec<usize> = self.any_of.iter().map(|(_, one_of)| one_of.len()).collect();
        let mut one_of: BTreeMap<At, Vec<usize>> = BTreeMap::new();
        for (number, (_, list)) in self.any_of.iter().enumerate() {
            list.iter().for_each(|before| one_of.entry(*before).or_default().push(number));
        }
        let mut queue: Vec<At> = blocked.iter().copied().collect();
        while let Some(place) = queue.pop() {
            for after in firm.get(&place).into_iter().flatten() {
                if blocked.insert(*after) {
                    queue.push(*after);
                }
            }
            for number in one_of.get(&place).into_iter().flatten() {
                left[*number] -= 1;
                let after = self.any_of[*number].0;
                if left[*number] == 0 && blocked.insert(after) {
                    queue.push(after);
                }
            }
        }
        blocked
    }

    /// Instances that are to start and will not: their start is blocked, or would have to come after something that is.
    pub fn stuck(&self) -> BTreeSet<InstanceId> {
        let steps = self.blocked_with_followers().into_iter().map(|place| &self.graph[place].step);
        steps.filter(|step| step.kind == StepKind::Start).map(|step| step.key.instance.clone()).collect()
    }

    /// Nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    pub(super) fn is_ready(&self, place: At) -> bool {
        !self.graph[place].unannounced && self.is_free(place)
    }

    fn is_free(&self, place: At) -> bool {
        self.graph[place].blocked.is_none() && self.graph.before(place).next().is_none()
    }

    /// What a step waits for, as a verdict; `Act` if for nothing.
    pub(super) fn verdict_of(&self, place: At) -> Verdict {
        if let Some(blocked) = &self.graph[place].blocked {
            return blocked.clone();
        }
        let Some((before, _)) = self.graph.before(place).next() else { return Verdict::Act };
        let before = &self.graph[before].step;
        Verdict::Wait(match &before.kind {
            StepKind::Fence { node } => Reason::Fencing { node: node.clone() },
            StepKind::Probe => Reason::NotProbed { node: before.key.node.clone() },
            StepKind::Notify { .. } => Reason::Told { instance: before.key.instance.clone() },
            StepKind::Promote => {
                Reason::After { instance: before.key.instance.clone(), role: Some(crate::model::Role::Promoted) }
            }
            StepKind::Start
            | StepKind::Stop
            | StepKind::Demote
            | StepKind::Reload
            | StepKind::MigrateTo
            | StepKind::MigrateFrom => Reason::After { instance: before.key.instance.clone(), role: None },
        })
    }
}
