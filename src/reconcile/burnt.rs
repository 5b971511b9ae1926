//! A boot that was proven off and lives: it must run nothing, and will never be let in again.
//!
//! Its claims have ended, so somebody else may run what it runs: everything is stopped at once, in order, with the
//! definitions it was started with, as known from the last state in which this boot still counted. Nothing of it is
//! reported: nobody would listen. A daemon that starts on a burnt boot does not know what that boot was allowed to run,
//! and may stop nothing; it looks, once, and tells its operators what it found: that is what the reboot is for.

use super::{Effect, Node, OpId};
use crate::model::planted::{Planted, planted};
use crate::model::{ActionKind, InstanceId, Outcome, Reading, ResourceId, Role};
use crate::plan::{self, StepKind};
use crate::state::{ClaimKey, Membership, State};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Probes at a time.
const LOOKS_AT_ONCE: usize = 8;

#[derive(Debug, Clone, Default)]
pub(super) struct Burnt {
    /// The last state in which this boot counted.
    last: Option<Arc<State>>,
    running: BTreeMap<OpId, ClaimKey>,
    /// Stopped, or given up: each is tried once.
    done: BTreeSet<ClaimKey>,
    said: bool,
    /// Resources that a daemon looks for that does not know what this boot ran, and what it found of them.
    looking: BTreeMap<OpId, ResourceId>,
    looked: BTreeMap<ResourceId, Reading>,
    told: BTreeSet<ResourceId>,
}

impl Burnt {
    /// Keeps the state before this one, if it was the last that counted.
    pub fn remember(&mut self, before: &Arc<State>) {
        self.last.get_or_insert_with(|| Arc::clone(before));
    }

    /// Takes the end of a stop in; false if it was another operation.
    pub fn finished(&mut self, op: OpId, outcome: &Outcome, effects: &mut Vec<Effect>) -> bool {
        if let Some(resource) = self.looking.remove(&op) {
            self.looked.insert(resource, outcome.reading());
            return true;
        }
        let Some(key) = self.running.remove(&op) else { return false };
        if !outcome.succeeded(ActionKind::Stop) {
            let text = format!("failed to stop on a boot that was proven off: {:?}", outcome.status);
            effects.push(Effect::Note { key: Some(key.clone()), text });
        }
        self.done.insert(key);
        true
    }
}

impl Node {
    /// Whether the cluster holds this boot for off.
    pub fn is_burnt(&self) -> bool {
        burns(&self.state, self)
    }

    pub(super) fn note_burning(&mut self, next: &State) {
        // A daemon that has only just started never saw this boot count.
        let counted = self.state.nodes.get(&self.config.node);
        let counted = counted.is_some_and(|known| known.incarnation.boot == self.config.incarnation.boot);
        if burns(next, self) && !self.is_burnt() && counted {
            self.burnt.remember(&self.state);
        }
    }

    pub(super) fn stop_everything(&mut self) {
        if !std::mem::replace(&mut self.burnt.said, true) {
            let text = "this boot was proven off: nothing may run here; reboot this machine to let it in again".into();
            self.effects.push(Effect::Note { key: None, text });
        }
        let Some(last) = self.burnt.last.clone() else { return self.look_around() };
        let Some(spec) = last.spec().cloned() else { return };
        let me = self.config.node.clone();
        let mut imagined = State::clone(&last);
        // Whatever kept this node from acting on its own counts no more.
        imagined.overrides.clear();
        imagined.attempts.clear();
        if let Some(node) = imagined.nodes.get_mut(&me) {
            node.membership = Membership::Online;
            node.suspicion = None;
        }
        imagined.claims.retain(|key, _| key.node == me && !self.burnt.done.contains(key));
        for claim in imagined.claims.values_mut() {
            claim.failure = None;
        }
        imagined.assignment.retain(|instance, _| !imagined.claims.keys().any(|key| &key.instance == instance));
        let graph = plan::order_untold(&spec, &imagined);
        let ready: Vec<_> = graph
            .ready(&me)
            .filter(|step| matches!(step.kind, StepKind::Stop | StepKind::Demote))
            .map(|step| step.key.clone())
            .collect();
        for key in ready {
            let busy = self.burnt.running.values().any(|running| *running == key) || !self.ops.is_free(&key);
            let Some(claim) = imagined.claims.get(&key).filter(|_| !busy) else { continue };
            let Some(definition) = imagined.definitions.get(&claim.definition).cloned() else { continue };
            let op = self.run(&key, Some(claim.epoch), ActionKind::Stop, &definition, claim.role);
            self.burnt.running.insert(op, key);
        }
    }
}

impl Node {
    /// Asks every agent once whether its resource runs here. Nothing is changed by that.
    fn look_around(&mut self) {
        let Some(spec) = self.state.spec().cloned() else { return };
        for name in spec.resources.keys() {
            let known = self.burnt.looked.contains_key(name) || self.burnt.looking.values().any(|other| other == name);
            if known || self.burnt.looking.len() >= LOOKS_AT_ONCE {
                continue;
            }
            let Some((_, definition)) = self.state.current_definition(name) else { continue };
            let (definition, number) = (definition.clone(), spec.clone_of(name).map(|_| 0));
            let instance = InstanceId { resource: name.clone(), number };
            let key = ClaimKey { instance, node: self.config.node.clone() };
            let op = self.run(&key, None, ActionKind::Probe, &definition, Role::Started);
            self.burnt.looking.insert(op, name.clone());
        }
        let found: Vec<ResourceId> = self.left_behind().into_iter().cloned().collect();
        for name in found.into_iter().filter(|name| self.burnt.told.insert(name.clone())).collect::<Vec<_>>() {
            let key = ClaimKey { instance: InstanceId::plain(name.as_str()), node: self.config.node.clone() };
            let text =
                "runs on a boot that was proven off, and may run elsewhere too: stop it by hand or reboot".into();
            self.effects.push(Effect::Note { key: Some(key), text });
        }
    }

    /// What was found running, or not to be cleanly stopped.
    fn left_behind(&self) -> Vec<&ResourceId> {
        let runs = |reading: &Reading| match reading {
            Reading::Stopped | Reading::NotInstalled => false,
            Reading::Running
            | Reading::RunningPromoted
            | Reading::Failed
            | Reading::FailedPromoted
            | Reading::Unknown => true,
        };
        self.burnt.looked.iter().filter(|(_, reading)| runs(reading)).map(|(name, _)| name).collect()
    }

    /// For the status of this node.
    pub(super) fn burnt_troubles(&self) -> Vec<String> {
        if !self.is_burnt() {
            return Vec::new();
        }
        let me = &self.config.node;
        let mut text = format!("this boot of {me} was proven off: it runs nothing for the cluster; reboot {me}");
        let left: Vec<&str> = self.left_behind().into_iter().map(ResourceId::as_str).collect();
        if !left.is_empty() {
            text += &format!(" (found running here, perhaps elsewhere too, and not touched: {})", left.join(", "));
        }
        vec![text]
    }
}

fn burns(state: &State, node: &Node) -> bool {
    if planted(Planted::OldBootAccepted) {
        return false;
    }
    let Some(known) = state.nodes.get(&node.config.node) else { return false };
    known.burnt.contains(&node.config.incarnation.boot)
}
