//! A boot that was proven off and lives: it must run nothing, and will never be let in again.
//!
//! Its claims have ended, so somebody else may run what it runs: everything is stopped at once, in order, with the
//! definitions it was started with, as known from the last state in which this boot still counted. Nothing of it is
//! reported: nobody would listen. A daemon that starts on a burnt boot knows of nothing to stop; that is what the
//! reboot is for.

use super::{Effect, Node, OpId};
use crate::model::{ActionKind, Outcome};
use crate::plan::{self, StepKind};
use crate::state::{ClaimKey, Membership, State};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct Burnt {
    /// The last state in which this boot counted.
    last: Option<Arc<State>>,
    running: BTreeMap<OpId, ClaimKey>,
    /// Stopped, or given up: each is tried once.
    done: BTreeSet<ClaimKey>,
    said: bool,
}

impl Burnt {
    /// Keeps the state before this one, if it was the last that counted.
    pub fn remember(&mut self, before: &Arc<State>) {
        self.last.get_or_insert_with(|| Arc::clone(before));
    }

    /// Takes the end of a stop in; false if it was another operation.
    pub fn finished(&mut self, op: OpId, outcome: &Outcome, effects: &mut Vec<Effect>) -> bool {
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
        if burns(next, self) && !self.is_burnt() {
            self.burnt.remember(&self.state);
        }
    }

    pub(super) fn stop_everything(&mut self) {
        if !std::mem::replace(&mut self.burnt.said, true) {
            let text = "this boot was proven off: nothing may run here; reboot this machine to let it in again".into();
            self.effects.push(Effect::Note { key: None, text });
        }
        let Some(last) = self.burnt.last.clone() else { return };
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

fn burns(state: &State, node: &Node) -> bool {
    let Some(known) = state.nodes.get(&node.config.node) else { return false };
    known.burnt.contains(&node.config.incarnation.boot)
}
