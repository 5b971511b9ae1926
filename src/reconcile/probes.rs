//! Probes: what runs on this node although it holds no claim on it?

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
/// Probes at a time: they are short, but a hundred of them at once would starve the rest.
const MAX_AT_ONCE: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Probes {
    running: BTreeMap<ResourceId, Probing>,
}

#[derive(Debug)]
struct Probing {
    identity: Digest,
    began: LogIndex,
    tries: u32,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Running(OpId),
    Waiting { until: Duration },
    Reporting { reading: Reading, text: String, proposed: bool },
}

impl Probes {
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
        for key in wanted {
            self.probe(key);
        }
    }

    fn probe(&mut self, key: ClaimKey) {
        let resource = key.instance.resource.clone();
        let Some((_, definition)) = self.state.current_definition(&resource) else { return };
        let definition = definition.clone();
        let identity = State::identity(&definition);
        let in_flight = self.probes.running.values().filter(|p| matches!(p.stage, Stage::Running(_))).count();
        let tries = match self.probes.running.get_mut(&resource) {
            Some(probing) => match &mut probing.stage {
                Stage::Running(_) => return,
                Stage::Waiting { until } if *until > self.now => return,
                Stage::Waiting { .. } => probing.tries,
                Stage::Reporting { proposed: true, .. } => return,
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
                    if self.propose_once(Tag::Probe(resource.clone()), command)
                        && let Some(Probing { stage: Stage::Reporting { proposed, .. }, .. }) =
                            self.probes.running.get_mut(&resource)
                    {
                        *proposed = true;
                    }
                    return;
                }
            },
            None => 0,
        };
        // While an operation of this resource is under way here, what a probe sees means nothing.
        if in_flight >= MAX_AT_ONCE || !self.ops.is_free(&key) {
            return;
        }
        let op = self.run(&key, None, ActionKind::Probe, &definition, Role::Started);
        let began = self.state.index;
        let stage = Stage::Running(op);
        self.probes.running.insert(resource, Probing { identity, began, tries, stage });
    }
}
