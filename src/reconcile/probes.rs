//! Probes: what runs on this node although it holds no claim on it?
//!
//! Every node probes in the same order, few at a time: so the first resources are known everywhere, and are started,
//! while the last are still being looked at. What is found while a report is on its way travels together in the next.

use super::node::Tag;
use super::{Node, OpId};
use crate::model::{ActionKind, Digest, LogIndex, Outcome, Reading, ResourceId, Role};
use crate::plan::StepKind;
use crate::state::{ClaimKey, Command, ProbeReport, State};
use std::collections::BTreeMap;
use std::time::Duration;

/// A probe that fails or says nothing is asked again this often before what it said counts.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
/// Probes at a time, for each processor: they are short shell scripts. More of them at once are not sooner done, and the
/// first of them, which a start waits for, is later.
const FOR_EACH_CORE: usize = 2;
/// On small machines too, a probe that waits for something leaves room for the next ones.
const LEAST_AT_ONCE: usize = 4;
/// A hundred of them at once would starve the rest.
const MOST_AT_ONCE: usize = 16;

#[derive(Debug, Clone, Default)]
pub(super) struct Probes {
    running: BTreeMap<ResourceId, Probing>,
}

/// What may be begun in this step.
struct Room {
    probes: usize,
    /// Reports; not while earlier ones are on their way.
    reports: bool,
}

#[derive(Debug, Clone)]
struct Probing {
    identity: Digest,
    began: LogIndex,
    tries: u32,
    stage: Stage,
}

#[derive(Debug, Clone)]
enum Stage {
    Running(OpId),
    Waiting { until: Duration },
    Reporting { reading: Reading, text: String, proposed: bool },
}

impl Probes {
    /// Whether a probe saw that a resource does not run here, and only its report is on its way.
    pub fn saw_stopped(&self, resource: &ResourceId) -> bool {
        self.running.get(resource).is_some_and(|probing| match &probing.stage {
            Stage::Reporting { reading, .. } => reading.proves_stopped(),
            Stage::Running(_) | Stage::Waiting { .. } => false,
        })
    }

    pub fn next_due(&self) -> Option<Duration> {
        self.running
            .values()
            .filter_map(|probing| match probing.stage {
                Stage::Waiting { until } => Some(until),
                Stage::Running(_) | Stage::Reporting { .. } => None,
            })
            .min()
    }

    /// Takes the end of a probe in; false if the operation was none.
    pub fn finished(&mut self, op: OpId, outcome: &Outcome, now: Duration) -> bool {
        let found = self.running.values_mut().find(|p| matches!(p.stage, Stage::Running(running) if running == op));
        let Some(probing) = found else { return false };
        let reading = outcome.reading();
        probing.tries += 1;
        let unsure = matches!(reading, Reading::Failed | Reading::FailedPromoted | Reading::Unknown);
        probing.stage = if unsure && probing.tries < TRIES {
            Stage::Waiting { until: now + PAUSE }
        } else {
            let line = outcome.output.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            Stage::Reporting { reading, text: line.trim().chars().take(200).collect(), proposed: false }
        };
        true
    }

    /// Accepted or refused, the answer came: the graph says whether another probe is wanted.
    pub fn answered(&mut self, resource: &ResourceId, _accepted: bool) {
        self.running.remove(resource);
    }

    pub fn unanswered(&mut self, resource: &ResourceId) {
        if let Some(Probing { stage: Stage::Reporting { proposed, .. }, .. }) = self.running.get_mut(resource) {
            *proposed = false;
        }
    }
}

impl Node {
    pub(super) fn run_probes(&mut self) {
        let wanted: Vec<ClaimKey> = self
            .graph
            .ready(&self.config.node)
            .filter(|step| matches!(step.kind, StepKind::Probe))
            .map(|step| step.key.clone())
            .collect();
        // What nobody asks for any more is old by the time somebody asks again, and must not keep waking this node up.
        let asked = |resource: &ResourceId| wanted.iter().any(|key| &key.instance.resource == resource);
        self.probes.running.retain(|resource, probing| match probing.stage {
            Stage::Running(_) | Stage::Reporting { proposed: true, .. } => true,
            Stage::Waiting { .. } | Stage::Reporting { proposed: false, .. } => asked(resource),
        });
        let running = self.probes.running.values().filter(|p| matches!(p.stage, Stage::Running(_))).count();
        let at_once = (self.config.cores * FOR_EACH_CORE).clamp(LEAST_AT_ONCE, MOST_AT_ONCE);
        let mut room = Room { probes: at_once.saturating_sub(running), reports: !self.has_probes_under_way() };
        for key in wanted {
            self.probe(key, &mut room);
        }
    }

    fn probe(&mut self, key: ClaimKey, room: &mut Room) {
        let resource = &key.instance.resource;
        let tries = match self.probes.running.get(resource) {
            Some(probing) => match &probing.stage {
                Stage::Running(_) | Stage::Reporting { proposed: true, .. } => return,
                Stage::Waiting { until } if *until > self.now => return,
                Stage::Waiting { .. } => probing.tries,
                Stage::Reporting { reading, text, .. } => {
                    let command = Command::Probe(ProbeReport {
                        resource: resource.clone(),
                        node: self.config.node.clone(),
                        incarnation: self.config.incarnation.clone(),
                        identity: probing.identity,
                        reading: *reading,
                        began: probing.began,
                        text: text.clone(),
                    });
                    if room.reports
                        && self.propose_once(Tag::Probe(resource.clone()), command)
                        && let Some(Probing { stage: Stage::Reporting { proposed, .. }, .. }) =
                            self.probes.running.get_mut(resource)
                    {
                        *proposed = true;
                    }
                    return;
                }
            },
            None => 0,
        };
        // While an operation of this resource is under way here, what a probe sees means nothing.
        if room.probes == 0 || !self.ops.is_free(&key) {
            return;
        }
        let Some((_, definition)) = self.state.current_definition(resource) else { return };
        let definition = definition.clone();
        let identity = State::identity(&definition);
        let op = self.run(&key, None, ActionKind::Probe, &definition, Role::Started);
        let began = self.state.index;
        let stage = Stage::Running(op);
        self.probes.running.insert(key.instance.resource, Probing { identity, began, tries, stage });
        room.probes -= 1;
    }
}
