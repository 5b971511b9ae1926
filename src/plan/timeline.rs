//! When the steps of a prediction happen, and how long services are down meanwhile.
//!
//! Input: rounds of steps that are pretended to be done, each with the graph that it came from. Output: for every step its
//! beginning and its end, in ms from the push on, along the longest chain of what had to come before; for every claim
//! that was there what is down from when to when.
//!
//! How long a step takes is what the cluster has measured ([`State::took`]); where it has measured nothing, the step's
//! time-out, and then the sum is an upper bound and says so. Probes and notices count nothing: they take milliseconds.
//!
//! Deliberately absent: what is done at a node's own pace (the time between the end of an action and the commit that
//! others wait for, some ms), and trouble.

use super::graph::{Graph, Step, StepKind};
use crate::model::{ActionKind, InstanceId, NodeId, OpName, ResourceId, Role, Spec};
use crate::state::{ClaimKey, State};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What an estimate rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Basis {
    /// What was measured on this cluster.
    #[default]
    Measured,
    /// At least in part the longest that something may take.
    TimeOut,
}

/// How long something takes, or how far from now it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    pub ms: u64,
    pub basis: Basis,
}

impl Estimate {
    /// One after the other.
    pub fn and(self, next: Self) -> Self {
        Self { ms: self.ms.saturating_add(next.ms), basis: self.basis.max(next.basis) }
    }
}

/// A time from the push on: the longest chain of what is done until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Moment {
    ms: u64,
    /// So much of it by time-outs.
    by_time_out: u64,
}

impl Moment {
    fn and(self, next: Estimate) -> Self {
        let unknown = if next.basis == Basis::TimeOut { next.ms } else { 0 };
        Self { ms: self.ms.saturating_add(next.ms), by_time_out: self.by_time_out.saturating_add(unknown) }
    }

    fn since(self, earlier: Self) -> Estimate {
        let basis = if self.by_time_out > earlier.by_time_out { Basis::TimeOut } else { Basis::Measured };
        Estimate { ms: self.ms.saturating_sub(earlier.ms), basis }
    }
}

/// A time in which an instance does not run, or is not promoted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outage {
    pub instance: InstanceId,
    /// Where it ran.
    pub node: NodeId,
    /// `Promoted`: only that role is missing.
    pub role: Role,
    /// None: it does not come back.
    pub lasts: Option<Estimate>,
}

type Mark = (StepKind, ClaimKey);

/// A step with its beginning and its end.
#[derive(Debug, Clone)]
struct Timed {
    kind: StepKind,
    key: ClaimKey,
    begins: Moment,
    ends: Moment,
}

/// The rounds so far.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// What was ever said to come before a step.
    before: BTreeMap<Mark, BTreeSet<Mark>>,
    /// Steps that were in a graph.
    seen: BTreeSet<Mark>,
    ends: BTreeMap<Mark, Moment>,
    /// When all that was done to an instance is done.
    settled: BTreeMap<InstanceId, Moment>,
    /// When all rounds so far are over.
    over: Moment,
    steps: Vec<Timed>,
}

impl Timeline {
    /// The steps of one round, with how long each takes.
    pub fn round(&mut self, graph: &Graph, steps: &[Step], takes: impl Fn(&Step) -> Estimate) {
        for (before, after) in graph.edges() {
            self.before.entry(mark(after)).or_default().insert(mark(before));
        }
        let first = self.seen.is_empty() && self.steps.is_empty();
        let over = self.over;
        for step in steps {
            let mark = mark(step);
            let before = self.before.get(&mark).into_iter().flatten().filter_map(|earlier| self.ends.get(earlier));
            // Nodes are no instances: several are switched off at once.
            let own = self.settled.get(&step.key.instance).filter(|_| !matches!(step.kind, StepKind::Fence { .. }));
            // What came up only now is an answer to what was done last.
            let late = (!first && !self.seen.contains(&mark)).then_some(&over);
            let begins = before.chain(own).chain(late).max().copied().unwrap_or_default();
            let ends = begins.and(takes(step));
            self.over = self.over.max(ends);
            self.settled.insert(step.key.instance.clone(), ends);
            self.ends.insert(mark, ends);
            self.steps.push(Timed { kind: step.kind.clone(), key: step.key.clone(), begins, ends });
        }
        self.seen.extend(graph.steps().map(self::mark));
    }

    /// What of that which runs is down for a while.
    pub fn outages(&self, before: &State) -> Vec<Outage> {
        let lost = |node: &NodeId| {
            self.steps.iter().any(|step| matches!(&step.kind, StepKind::Fence { node: n } if n == node))
        };
        let mut outages = Vec::new();
        for (key, claim) in &before.claims {
            let done = |kind: StepKind| self.steps.iter().find(|step| step.kind == kind && &step.key == key);
            let broken = lost(&key.node) || claim.failure.is_some();
            let stops = done(StepKind::Stop).map(|step| step.begins);
            let down = if broken { Some(Moment::default()) } else { stops };
            let outage = |role, lasts| Outage { instance: key.instance.clone(), node: key.node.clone(), role, lasts };
            let demoted =
                done(StepKind::Demote).map(|step| step.begins).or(down).filter(|_| claim.role == Role::Promoted);
            if let Some(from) = demoted {
                let up = self
                    .first(from, |step| step.kind == StepKind::Promote && same_resource(step, &key.instance.resource));
                outages.push(outage(Role::Promoted, up.map(|up| up.ends.since(from))));
                continue;
            }
            let Some(from) = down else { continue };
            let up = self.first(from, |step| step.kind == StepKind::Start && step.key.instance == key.instance);
            let other_copy = before.claims.keys().any(|other| other != key && other.instance == key.instance);
            // Of what runs where it should not, another goes on.
            if up.is_some() || !other_copy {
                outages.push(outage(claim.role, up.map(|up| up.ends.since(from))));
            }
        }
        outages
    }

    fn first(&self, from: Moment, which: impl Fn(&Timed) -> bool) -> Option<&Timed> {
        self.steps.iter().find(|step| step.begins.ms >= from.ms && which(step))
    }
}

fn same_resource(step: &Timed, resource: &ResourceId) -> bool {
    &step.key.instance.resource == resource
}

fn mark(step: &Step) -> Mark {
    (step.kind.clone(), step.key.clone())
}

/// How long a step takes.
pub(super) fn takes(spec: &Spec, state: &State, step: &Step) -> Estimate {
    let (action, operation) = match &step.kind {
        StepKind::Probe | StepKind::Notify { .. } => return Estimate::default(),
        StepKind::Fence { node } => {
            let known = state.took_to_fence(node);
            return estimate(known, spec.cluster.fencing.timeout);
        }
        StepKind::Start => (ActionKind::Start, OpName::Start),
        StepKind::Stop => (ActionKind::Stop, OpName::Stop),
        StepKind::Promote => (ActionKind::Promote, OpName::Promote),
        StepKind::Demote => (ActionKind::Demote, OpName::Demote),
        StepKind::Reload => (ActionKind::Reload, OpName::Reload),
        StepKind::MigrateTo => (ActionKind::MigrateTo, OpName::MigrateTo),
        StepKind::MigrateFrom => (ActionKind::MigrateFrom, OpName::MigrateFrom),
    };
    let name = &step.key.instance.resource;
    let pinned = state.claims.get(&step.key).and_then(|claim| state.definitions.get(&claim.definition));
    let resource = pinned.map(|definition| &definition.resource).or_else(|| spec.resources.get(name));
    let operations = resource.map(|resource| &resource.operations);
    let longest = operations.and_then(|all| all.get(&operation).or_else(|| all.get(&OpName::Start)));
    estimate(state.took(name, action), longest.map_or(Duration::ZERO, |operation| operation.timeout))
}

fn estimate(measured: Option<Duration>, longest: Duration) -> Estimate {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    match measured {
        Some(time) => Estimate { ms: ms(time), basis: Basis::Measured },
        None => Estimate { ms: ms(longest), basis: Basis::TimeOut },
    }
}
