//! `predict`: what a spec would cause, if every step succeeded.
//!
//! Input: a new spec and the state it would meet. Output: the actions in the order in which they could happen, put
//! together as people think of them: a stop and a start elsewhere is a move, one in place is a restart.
//!
//! Works on a copy of the state: assign → order → pretend that every ready step is done → again, until nothing is left.
//! Bounded by [`ROUNDS_PER_RESOURCE`]. What cannot be known is left out: what a probe will find, promotion scores that agents
//! set only once they run.

use super::graph::{Step, StepKind};
use super::instances::identity;
use super::timeline::{Estimate, Outage, Timeline, takes};
use super::{FenceDecision, Graph, assign, order_untold};
use crate::model::{Epoch, InstanceId, NodeId, Reading, Reason, Role, Spec};
use crate::state::query::definition_of;
use crate::state::{Claim, ClaimKey, Membership, NodeDocument, Phase, Probe, ProbeKey, State};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Rounds per resource, far more than any plan needs: one round per link of the longest chain of orders, stops and
/// starts. Ends a prediction that would swing.
const ROUNDS_PER_RESOURCE: usize = 8;

/// One action for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PredictedAction {
    pub kind: PredictedKind,
    /// None for `Fence`.
    pub instance: Option<InstanceId>,
    pub node: NodeId,
    /// Where it comes from, for `Move`.
    pub from: Option<NodeId>,
    pub reason: Reason,
    /// All its steps together, without what they wait for.
    pub takes: Estimate,
}

/// What a spec would cause, and what it would cost.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Prediction {
    pub actions: Vec<PredictedAction>,
    pub outages: Vec<Outage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PredictedKind {
    Fence,
    Start,
    Stop,
    /// Stop and start on one node.
    Restart,
    /// Takes changed parameters over while it runs.
    Reload,
    /// Stop, or fencing, on one node and start on another.
    Move,
    /// To another node while it runs.
    Migrate,
    Promote,
    Demote,
}

/// The actions that this spec would cause.
pub fn predict(spec: &Spec, state: &State) -> Vec<PredictedAction> {
    foretell(spec, state).actions
}

/// What `hafen plan` shows: the actions that this spec would cause, and what is down for them.
pub fn foretell(spec: &Spec, state: &State) -> Prediction {
    let mut dream = Dream { timeline: Some(Timeline::default()), ..Dream::new(spec, state) };
    dream.finish();
    let outages = dream.timeline.take().unwrap_or_default().outages(state);
    Prediction { actions: group(spec, dream.done, state), outages }
}

/// A copy of the state in which steps are pretended to succeed: what a plan comes to, without a cluster.
pub struct Dream<'a> {
    spec: &'a Spec,
    pub state: State,
    /// What was done, in order; victims of fencing as `Fence` steps.
    pub done: Vec<Step>,
    /// When it happens, if that is wanted.
    timeline: Option<Timeline>,
}

/// What can be done next.
pub struct Round {
    /// Something is to run elsewhere than before.
    pub changed: bool,
    /// Ready steps, by node; attempts to fence are not among them.
    pub steps: Vec<Step>,
    pub fence: Vec<FenceDecision>,
    /// Silent nodes that others wait for, whatever proves them off.
    pub awaited: BTreeSet<NodeId>,
    /// What the steps were taken from.
    pub graph: Graph,
}

impl<'a> Dream<'a> {
    pub fn new(spec: &'a Spec, state: &State) -> Self {
        let mut dream = Self { spec, state: state.clone(), done: Vec::new(), timeline: None };
        // Documents of the new spec are the ones that will count.
        for (name, node) in &mut dream.state.nodes {
            if let Some(document) = spec.nodes.get(name) {
                let devices = spec.devices.clone();
                node.document = Some(Arc::new(NodeDocument { node: document.clone(), devices }));
            }
        }
        dream
    }

    /// One round: assign, then every ready step. False: nothing was left to do.
    pub fn round(&mut self) -> bool {
        let Round { changed, mut steps, fence, awaited: _, graph } = self.decide();
        steps.extend(fence.iter().map(|decision| Step {
            kind: StepKind::Fence { node: decision.node.clone() },
            key: ClaimKey { instance: InstanceId::plain(""), node: decision.node.clone() },
            reason: Reason::NodeLost { node: decision.node.clone() },
        }));
        if let Some(timeline) = &mut self.timeline {
            timeline.round(&graph, &steps, |step| takes(self.spec, &self.state, step));
        }
        for step in &steps {
            self.pretend(step);
        }
        let acted = !steps.is_empty();
        self.done.extend(steps);
        acted || changed
    }

    /// Rounds until nothing is left to do. False: there were far more than any plan needs, and it was given up.
    pub fn finish(&mut self) -> bool {
        let rounds = 100 + ROUNDS_PER_RESOURCE * (self.spec.resources.len() + self.state.claims.len());
        (0..rounds).any(|_| !self.round())
    }

    /// Commits what is to run where, and says what can be done now. Nothing of it is done yet.
    pub fn decide(&mut self) -> Round {
        let assignment = assign(self.spec, &self.state);
        let changed = assignment.commit(&mut self.state);
        // That others are told is nothing people need to see.
        let graph = order_untold(self.spec, &self.state);
        let steps = self.state.nodes.keys().flat_map(|node| graph.ready(node)).cloned().collect();
        Round { changed, steps, fence: assignment.fence, awaited: assignment.awaited, graph }
    }

    /// Pretends that a step is done, whatever the plan says of it.
    pub fn pretend(&mut self, step: &Step) {
        let key = step.key.clone();
        match &step.kind {
            StepKind::Probe => self.probed(&key),
            StepKind::Start => self.start(key),
            StepKind::Stop => {
                self.state.claims.remove(&key);
                self.probed(&key);
            }
            StepKind::Promote => self.role(&key, Role::Promoted),
            StepKind::Demote => self.role(&key, Role::Unpromoted),
            StepKind::Notify { .. } => {}
            StepKind::Reload => self.reload(&key),
            StepKind::MigrateTo => self.leave(&key),
            StepKind::MigrateFrom => self.arrive(&key),
            StepKind::Fence { node } => {
                self.state.claims.retain(|key, _| &key.node != node);
                if let Some(node) = self.state.nodes.get_mut(node) {
                    node.membership = Membership::Fenced;
                }
            }
        }
    }

    fn probed(&mut self, key: &ClaimKey) {
        let resource = &key.instance.resource;
        let (Some(node), Some(definition)) = (self.state.nodes.get(&key.node), self.spec.resources.get(resource))
        else {
            return;
        };
        let probe = Probe {
            incarnation: node.incarnation.clone(),
            identity: identity(definition),
            reading: Reading::Stopped,
            at: self.state.index,
            text: String::new(),
        };
        self.state.probes.insert(ProbeKey { resource: resource.clone(), node: key.node.clone() }, probe);
    }

    fn start(&mut self, key: ClaimKey) {
        let Some(definition) = definition_of(self.spec, &key.instance.resource) else { return };
        let Some(node) = self.state.nodes.get(&key.node) else { return };
        let promotable = definition.clone.as_ref().is_some_and(|clone| clone.promoted_max.is_some());
        // Any name will do for a definition that no other prediction sees.
        let digest = State::identity(&definition);
        self.state.definitions.insert(digest, Arc::new(definition));
        let assigned = self.state.assignment.get(&key.instance).map(|assignment| &assignment.to);
        let facts = assigned.into_iter().flat_map(|to| to.after.iter().chain(&to.after_promote));
        let after = facts.map(|fact| fact.instance.clone()).collect();
        let claim = Claim {
            incarnation: node.incarnation.clone(),
            epoch: Epoch(self.state.last_epoch.0 + 1),
            definition: digest,
            phase: Phase::Running,
            role: if promotable { Role::Unpromoted } else { Role::Started },
            granted_at: self.state.index,
            changed_at: self.state.index,
            since_ms: self.state.now_ms,
            after,
            found: false,
            failure: None,
        };
        self.state.last_epoch = claim.epoch;
        self.state.claims.insert(key, claim);
    }

    fn reload(&mut self, key: &ClaimKey) {
        let Some(definition) = definition_of(self.spec, &key.instance.resource) else { return };
        let digest = State::identity(&definition);
        self.state.definitions.insert(digest, Arc::new(definition));
        if let Some(claim) = self.state.claims.get_mut(key) {
            (claim.definition, claim.phase) = (digest, Phase::Running);
        }
    }

    fn leave(&mut self, key: &ClaimKey) {
        let Some(leaving) = self.state.claims.get_mut(key) else { return };
        leaving.phase = Phase::Migrated;
        let leaving = leaving.clone();
        let Some(assigned) = self.state.assignment.get(&key.instance) else { return };
        let target = ClaimKey { instance: key.instance.clone(), node: assigned.to.node.clone() };
        let Some(node) = self.state.nodes.get(&target.node) else { return };
        let epoch = Epoch(self.state.last_epoch.0 + 1);
        self.state.last_epoch = epoch;
        let (incarnation, phase) = (node.incarnation.clone(), Phase::MigratingFrom);
        // What is under way has both claims already.
        self.state.claims.entry(target).or_insert(Claim { incarnation, epoch, phase, found: false, ..leaving });
    }

    fn arrive(&mut self, key: &ClaimKey) {
        let left: Vec<ClaimKey> =
            self.state.claims_of(&key.instance.resource).map(|(other, _)| other.clone()).collect();
        for other in left.into_iter().filter(|other| other.instance == key.instance && other != key) {
            self.state.claims.remove(&other);
            self.probed(&other);
        }
        if let Some(claim) = self.state.claims.get_mut(key) {
            claim.phase = Phase::Running;
        }
    }

    fn role(&mut self, key: &ClaimKey, role: Role) {
        if let Some(claim) = self.state.claims.get_mut(key) {
            claim.role = role;
            claim.phase = Phase::Running;
        }
    }
}

/// Puts stops and starts of one instance together. Probes are not shown.
fn group(spec: &Spec, steps: Vec<Step>, before: &State) -> Vec<PredictedAction> {
    let mut actions: Vec<PredictedAction> = Vec::new();
    let mut fenced: Vec<NodeId> = Vec::new();
    for step in steps {
        let takes = takes(spec, before, &step);
        let kind = match &step.kind {
            StepKind::Probe | StepKind::Notify { .. } => continue,
            StepKind::Fence { node } => {
                fenced.push(node.clone());
                PredictedKind::Fence
            }
            StepKind::Start => PredictedKind::Start,
            StepKind::Reload => PredictedKind::Reload,
            StepKind::MigrateTo | StepKind::MigrateFrom => PredictedKind::Migrate,
            StepKind::Stop => PredictedKind::Stop,
            StepKind::Promote => PredictedKind::Promote,
            StepKind::Demote => PredictedKind::Demote,
        };
        let id = step.key.instance;
        let instance = (kind != PredictedKind::Fence).then(|| id.clone());
        if step.kind == StepKind::MigrateFrom {
            let leaves = |action: &&mut PredictedAction| action.kind == kind && action.instance == instance;
            match actions.iter_mut().find(leaves) {
                Some(action) => {
                    action.from = Some(std::mem::replace(&mut action.node, step.key.node));
                    action.takes = action.takes.and(takes);
                }
                None => {
                    let (node, reason) = (step.key.node, step.reason);
                    actions.push(PredictedAction { kind, instance, node, from: None, reason, takes });
                }
            }
            continue;
        }
        if kind == PredictedKind::Start {
            let stop = actions
                .iter_mut()
                .find(|action| action.kind == PredictedKind::Stop && action.instance.as_ref() == Some(&id));
            if let Some(stop) = stop {
                let moved = stop.node != step.key.node;
                stop.kind = if moved { PredictedKind::Move } else { PredictedKind::Restart };
                stop.from = moved.then(|| stop.node.clone());
                stop.node = step.key.node;
                stop.takes = stop.takes.and(takes);
                continue;
            }
            let lost = before.claims.keys().find(|key| key.instance == id && fenced.contains(&key.node));
            if let Some(lost) = lost {
                let from = Some(lost.node.clone());
                let (node, reason) = (step.key.node, Reason::NodeLost { node: lost.node.clone() });
                actions.push(PredictedAction { kind: PredictedKind::Move, instance, node, from, reason, takes });
                continue;
            }
        }
        actions.push(PredictedAction { kind, instance, node: step.key.node, from: None, reason: step.reason, takes });
    }
    actions
}
