//! One story: faults happen, the cluster does what its plan says, until it comes to rest.
//!
//! Input: a spec, a state, and faults step by step. Output: what happened, in order ([`Told`]), and how it ended.
//!
//! Rounds stand for time: what has one number happens side by side. A node is proven off as soon as somebody waits for it;
//! by time alone (its watchdog) only when nothing else is left to do.
//!
//! Invariants: every step ends; failures are judged by `State::apply`, as those of real agents are.
//!
//! Does not say how long anything takes (`outage`).

use super::homes::{Homeless, Homes, bars};
use super::reach::{Broken, Proof, Reach, proof, reach, working_levels};
use crate::model::scenario::{FailedOperation, Fault};
use crate::model::{
    ActionKind, BootId, DeviceId, ExecStatus, Incarnation, InstanceId, LogIndex, NodeId, OpName, Reading, Reason, Role,
    Spec,
};
use crate::plan::{Dream, FenceDecision, Step, StepKind};
use crate::state::{ClaimKey, Command, Entry, Membership, OpReport, Phase, State, Suspicion};
use std::collections::BTreeSet;

/// Rounds of one step, far more than any plan needs: a failure that comes again and again ends it.
const MOST_ROUNDS: usize = 2_000;
/// How often one operation fails: more than any threshold in use, so that its effect is seen.
const MOST_FAILURES: u32 = 10;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// From 0 within its step: the faults themselves; what has the same number happens side by side.
    pub round: u32,
    pub what: Happened,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// A fault from outside.
    Fault(Fault),
    /// A fault that changed nothing, and why.
    Idle(Fault, String),
    CutOff {
        node: NodeId,
    },
    Heard {
        node: NodeId,
    },
    QuorumLost {
        left: usize,
        of: usize,
    },
    QuorumBack,
    /// A level of devices switched it off.
    Fenced {
        node: NodeId,
        devices: Vec<DeviceId>,
        by: NodeId,
        reason: String,
    },
    /// Its watchdog has reset it, and the lease is over.
    RanOut {
        node: NodeId,
    },
    Done {
        kind: StepKind,
        key: ClaimKey,
        reason: Reason,
    },
    Failed {
        operation: OpName,
        key: ClaimKey,
    },
    /// It is restless: the same comes again and again.
    NoEnd,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub reach: Reach,
    pub homes: Homes,
    /// What had a home at the beginning and has none now.
    pub homeless: Vec<Homeless>,
    /// Nodes proven off on the way.
    pub fenced: BTreeSet<NodeId>,
}

/// A cluster to which things happen.
#[derive(Debug, Clone)]
pub struct Play {
    manifests: Spec,
    /// The same without levels whose devices do not answer.
    spec: Spec,
    state: State,
    broken: Broken,
    reach: Reach,
    before: Homes,
    fenced: BTreeSet<NodeId>,
    boots: u64,
}

impl Play {
    /// From a state that belongs to these manifests; what it says of lost nodes holds.
    pub fn new(spec: &Spec, state: State) -> Self {
        let there = |name: &NodeId| state.nodes.get(name).is_some_and(|node| node.membership == Membership::Online);
        let nodes = spec.nodes.iter().filter(|(name, node)| node.role.votes() && !there(name));
        let broken = Broken { nodes: nodes.map(|(name, _)| name.clone()).collect(), ..Broken::default() };
        let reach = reach(spec, &broken);
        let before = Homes::now(&state);
        Self {
            manifests: spec.clone(),
            spec: spec.clone(),
            state,
            broken,
            reach,
            before,
            fenced: BTreeSet::new(),
            boots: 1,
        }
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// Lets these things happen at once, and then the cluster do what it does until it comes to rest.
    pub fn step(&mut self, faults: &[Fault]) -> Vec<Told> {
        let mut told = Vec::new();
        let mut armed: Vec<(FailedOperation, u32)> = Vec::new();
        for fault in faults {
            told.push(Told { round: 0, what: Happened::Fault(fault.clone()) });
            self.break_or_mend(fault, &mut armed);
        }
        self.look_around(&mut told);
        for fault in faults {
            self.fail_now(fault, &mut told);
        }
        self.run(&mut armed, &mut told);
        for (failed, times) in armed {
            if times == 0 {
                let why = format!("nothing asked for a {} of {} there", failed.operation, failed.resource);
                told.push(Told { round: 0, what: Happened::Idle(Fault::Fail(failed), why) });
            }
        }
        told
    }

    pub fn end(&self) -> Ending {
        let homes = Homes::now(&self.state);
        let lacking = homes.lacking(&self.manifests, &self.before);
        let homeless = lacking.into_iter().map(|(resource, lack)| {
            let bars = match self.reach.quorum {
                true => bars(&self.spec, &self.state, &self.reach, &resource, lack),
                false => Vec::new(),
            };
            Homeless { resource, lack, bars }
        });
        Ending { homeless: homeless.collect(), reach: self.reach.clone(), homes, fenced: self.fenced.clone() }
    }

    fn break_or_mend(&mut self, fault: &Fault, armed: &mut Vec<(FailedOperation, u32)>) {
        match fault {
            Fault::NodeDown(node) => _ = self.broken.nodes.insert(node.clone()),
            Fault::NodeUp(node) => {
                self.broken.nodes.remove(node);
                self.boot(node);
            }
            Fault::DeviceDown(device) => _ = self.broken.devices.insert(device.clone()),
            Fault::DeviceUp(device) => _ = self.broken.devices.remove(device),
            Fault::LinkDown(link) => _ = self.broken.links.insert(*link),
            Fault::LinkUp(link) => _ = self.broken.links.remove(link),
            Fault::Fail(failed) if failed.operation == OpName::Monitor => {}
            Fault::Fail(failed) => armed.push((failed.clone(), 0)),
        }
    }

    /// A node comes with a new boot: whatever ran there does not any more.
    fn boot(&mut self, name: &NodeId) {
        self.boots += 1;
        let Some(node) = self.state.nodes.get_mut(name) else { return };
        node.incarnation = Incarnation { boot: BootId::new(format!("boot-{}-of-{name}", self.boots)), counter: 1 };
        node.membership = Membership::Online;
        node.suspicion = None;
        self.state.claims.retain(|key, _| &key.node != name);
        self.state.history.retain(|key, _| &key.node != name);
    }

    /// Who is heard after that, and whether they may decide.
    fn look_around(&mut self, told: &mut Vec<Told>) {
        let mut tell = |what| told.push(Told { round: 0, what });
        let had = self.reach.quorum;
        self.reach = reach(&self.manifests, &self.broken);
        for (name, node) in &mut self.spec.nodes {
            node.fencing = working_levels(&self.manifests, name, &self.broken.devices);
        }
        let names: Vec<NodeId> = self.manifests.nodes.keys().cloned().collect();
        for name in names {
            let (down, cut_off) = (self.broken.nodes.contains(&name), self.reach.cut_off.contains(&name));
            let Some(node) = self.state.nodes.get_mut(&name) else { continue };
            match (node.membership, down || cut_off) {
                (Membership::Online | Membership::Joining, true) => {
                    node.membership = Membership::Suspect;
                    let reason = if down { "silent" } else { "cut off" };
                    node.suspicion = Some(Suspicion {
                        number: 1,
                        boot: node.incarnation.boot.clone(),
                        since_ms: self.state.now_ms,
                        reason: reason.into(),
                    });
                    if cut_off {
                        tell(Happened::CutOff { node: name });
                    }
                }
                (Membership::Suspect, false) => {
                    node.membership = Membership::Online;
                    node.suspicion = None;
                    tell(Happened::Heard { node: name });
                }
                // Proven off while it was cut off: it was reset, and comes back.
                (Membership::Fenced, false) => {
                    tell(Happened::Heard { node: name.clone() });
                    self.boot(&name);
                }
                (Membership::Online | Membership::Joining, false)
                | (Membership::Suspect | Membership::Fenced, true)
                | (Membership::Left, _) => {}
            }
        }
        self.state.without_quorum = !self.reach.quorum;
        match (had, self.reach.quorum) {
            (true, false) => tell(Happened::QuorumLost { left: self.reach.votes.0, of: self.reach.votes.1 }),
            (false, true) => tell(Happened::QuorumBack),
            (true, true) | (false, false) => {}
        }
    }

    /// A monitor that fails needs nobody to ask for it.
    fn fail_now(&mut self, fault: &Fault, told: &mut Vec<Told>) {
        let Fault::Fail(failed) = fault else { return };
        if failed.operation != OpName::Monitor {
            return;
        }
        let on_node = |key: &ClaimKey| key.instance.resource == failed.resource && key.node == failed.node;
        let keys: Vec<ClaimKey> = self.state.claims.keys().filter(|key| on_node(key)).cloned().collect();
        let heard = self.state.nodes.get(&failed.node).is_some_and(|node| node.membership == Membership::Online);
        if keys.is_empty() || !heard {
            let why = match heard {
                true => format!("{} does not run there", failed.resource),
                false => format!("{} is lost", failed.node),
            };
            return told.push(Told { round: 0, what: Happened::Idle(fault.clone(), why) });
        }
        for key in keys {
            report(&mut self.state, &key, ActionKind::Monitor);
        }
    }

    fn run(&mut self, armed: &mut [(FailedOperation, u32)], told: &mut Vec<Told>) {
        let mut dream = Dream::new(&self.spec, &self.state);
        for round in 1..=MOST_ROUNDS {
            let next = dream.decide();
            let round = round as u32;
            let mut tell = |what| told.push(Told { round, what });
            if next.steps.is_empty() && next.fence.is_empty() && !next.changed {
                let ran_out = next
                    .awaited
                    .iter()
                    .find(|node| self.reach.quorum && proof(&self.spec, node, &self.broken.devices) == Proof::ByItself);
                let Some(node) = ran_out else {
                    self.state = dream.state;
                    return;
                };
                dream.pretend(&off(node));
                self.fenced.insert(node.clone());
                tell(Happened::RanOut { node: node.clone() });
                continue;
            }
            for step in &next.steps {
                match armed.iter_mut().find(|(failed, times)| meets(failed, step) && *times < MOST_FAILURES) {
                    Some((failed, times)) => {
                        *times += 1;
                        fail(&mut dream, step);
                        tell(Happened::Failed { operation: failed.operation, key: step.key.clone() });
                    }
                    None => {
                        dream.pretend(step);
                        if step.kind != StepKind::Probe {
                            let (kind, key, reason) = (step.kind.clone(), step.key.clone(), step.reason.clone());
                            tell(Happened::Done { kind, key, reason });
                        }
                    }
                }
            }
            for decision in &next.fence {
                dream.pretend(&off(&decision.node));
                self.fenced.insert(decision.node.clone());
                let FenceDecision { node, devices, executor, reason, .. } = decision.clone();
                tell(Happened::Fenced { node, devices, by: executor, reason });
            }
        }
        told.push(Told { round: MOST_ROUNDS as u32 + 1, what: Happened::NoEnd });
        self.state = dream.state;
    }
}

fn off(node: &NodeId) -> Step {
    Step {
        kind: StepKind::Fence { node: node.clone() },
        key: ClaimKey { instance: InstanceId::plain(""), node: node.clone() },
        reason: Reason::NodeLost { node: node.clone() },
    }
}

fn meets(failed: &FailedOperation, step: &Step) -> bool {
    let same = match step.kind {
        StepKind::Start => failed.operation == OpName::Start,
        StepKind::Stop => failed.operation == OpName::Stop,
        StepKind::Promote => failed.operation == OpName::Promote,
        StepKind::Demote => failed.operation == OpName::Demote,
        StepKind::MigrateTo => failed.operation == OpName::MigrateTo,
        StepKind::MigrateFrom => failed.operation == OpName::MigrateFrom,
        StepKind::Probe | StepKind::Fence { .. } | StepKind::Reload | StepKind::Notify { .. } => false,
    };
    same && step.key.instance.resource == failed.resource && step.key.node == failed.node
}

/// The step was begun, and its agent failed.
fn fail(dream: &mut Dream<'_>, step: &Step) {
    let (phase, action) = match step.kind {
        StepKind::Start => {
            dream.pretend(step);
            (Phase::Starting, ActionKind::Start)
        }
        StepKind::Stop => (Phase::Stopping, ActionKind::Stop),
        StepKind::Promote => (Phase::Promoting, ActionKind::Promote),
        StepKind::Demote => (Phase::Demoting, ActionKind::Demote),
        StepKind::MigrateTo => {
            dream.pretend(step);
            (Phase::MigratingTo, ActionKind::MigrateTo)
        }
        StepKind::MigrateFrom => (Phase::MigratingFrom, ActionKind::MigrateFrom),
        StepKind::Probe | StepKind::Fence { .. } | StepKind::Reload | StepKind::Notify { .. } => return,
    };
    if let Some(claim) = dream.state.claims.get_mut(&step.key) {
        claim.phase = phase;
    }
    report(&mut dream.state, &step.key, action);
}

/// What the state makes of a failed operation.
fn report(state: &mut State, key: &ClaimKey, action: ActionKind) {
    let Some(claim) = state.claims.get(key) else { return };
    let failed = match claim.role {
        Role::Promoted => Reading::FailedPromoted,
        Role::Started | Role::Unpromoted => Reading::Failed,
    };
    let index = LogIndex(state.index.0 + 1);
    let report = OpReport {
        key: key.clone(),
        epoch: claim.epoch,
        incarnation: claim.incarnation.clone(),
        action,
        status: ExecStatus::Exited(1),
        reading: (action == ActionKind::Monitor).then_some(failed),
        began: index,
        duration_ms: 0,
        text: "what if".into(),
    };
    let entry = Entry { at_ms: state.now_ms, commands: vec![Command::Report(report)] };
    // It names the claim as it is, so it is not refused.
    let _ = state.apply(index, &entry);
}
