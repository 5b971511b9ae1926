//! Without a quorum: a node may look, restart in place and stop; nothing else.
//!
//! Nothing can be committed, so what is stopped here stays claimed until the quorum is back. Then the claims are
//! settled: the stop is repeated under the log, seen by a probe, and released.

use super::node::Tag;
use super::{Effect, Node};
use crate::model::{ActionKind, Epoch, Outcome, QuorumLoss, Role};
use crate::plan::{self, StepKind};
use crate::state::{Claim, ClaimKey, Command, Phase, State};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Isolation {
    /// Since when a majority of the voters has not been heard.
    pub since: Option<Duration>,
    /// Stopped here without a commit.
    stopped: BTreeMap<ClaimKey, Epoch>,
    /// Stops that failed: tried once, then left to fencing by the others.
    failed: BTreeMap<ClaimKey, Epoch>,
}

impl Isolation {
    pub fn has_stopped(&self, key: &ClaimKey) -> bool {
        self.stopped.contains_key(key)
    }

    /// Whether something that was stopped here still looks in the log as if it ran.
    pub fn is_settling(&self) -> bool {
        !self.stopped.is_empty()
    }

    /// Takes the end of a stop in that no commit asked for.
    pub fn stopped(&mut self, key: &ClaimKey, epoch: Epoch, outcome: &Outcome) {
        let list = if outcome.succeeded(ActionKind::Stop) { &mut self.stopped } else { &mut self.failed };
        list.insert(key.clone(), epoch);
    }
}

impl Node {
    /// Counts the voters that are heard.
    pub(super) fn watch_quorum(&mut self) {
        let voters = &self.leadership.voters;
        let me = &self.config.node;
        let within = self.suspect_after();
        let heard = voters.iter().filter(|voter| *voter == me || self.contacts.hears(voter, within)).count();
        let quorum = voters.is_empty() || heard > voters.len() / 2;
        // A daemon that just started, or stood still, has not had the time to hear anybody.
        let early = self.now < self.deaf_until.max(self.started + within);
        match (quorum, self.isolation.since) {
            (false, None) if !early => {
                self.isolation.since = Some(self.now);
                let text = format!("quorum lost: {heard} of {} voters are heard", voters.len());
                self.effects.push(Effect::Note { key: None, text });
            }
            (true, Some(_)) => {
                self.isolation.since = None;
                self.isolation.failed.clear();
                self.effects.push(Effect::Note { key: None, text: "quorum is back".into() });
            }
            (false, _) | (true, None) => {}
        }
        if self.isolation.since.is_none() && !self.isolation.stopped.is_empty() {
            self.settle_stopped();
        }
    }

    /// What was stopped without a commit is stopped again under one, so that it can be released.
    fn settle_stopped(&mut self) {
        let stopped = self.isolation.stopped.clone();
        for (key, epoch) in stopped {
            match self.own_claim(&key).filter(|claim| claim.epoch == epoch) {
                Some(claim) if claim.phase != Phase::Stopping => {
                    let command = Command::Advance {
                        key: key.clone(),
                        epoch,
                        incarnation: self.config.incarnation.clone(),
                        to: Phase::Stopping,
                    };
                    self.propose_once(Tag::Op(key), command);
                }
                Some(_) | None => {
                    self.isolation.stopped.remove(&key);
                }
            }
        }
    }

    /// Stops, in order, what may not run without a quorum.
    pub(super) fn stop_in_isolation(&mut self) {
        if self.isolation.since.is_none() || !self.has_joined() {
            return;
        }
        let Some(spec) = self.state.spec().cloned() else { return };
        let me = self.config.node.clone();
        let mut imagined = State::clone(&self.state);
        for (key, epoch) in &self.isolation.stopped {
            if imagined.claims.get(key).is_some_and(|claim| claim.epoch == *epoch) {
                imagined.claims.remove(key);
            }
        }
        imagined.claims.retain(|key, _| key.node != me || !self.ops.is_releasing(key));
        let doomed: Vec<_> = imagined
            .claims_on(&me)
            .filter(|(_, claim)| self.is_leaving() || self.must_stop(claim))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &doomed {
            imagined.assignment.remove(&key.instance);
            // What was found running and awaits the leader's word is stopped like the rest.
            if let Some(claim) = imagined.claims.get_mut(key) {
                claim.found = false;
            }
        }
        // Nobody can be waited for: only the order among what runs here counts.
        imagined.claims.retain(|key, _| key.node == me);
        let graph = plan::order_untold(&spec, &imagined);
        let ready: Vec<_> = graph.ready(&me).map(|step| (step.kind.clone(), step.key.clone())).collect();
        for (kind, key) in ready {
            let wanted = matches!(kind, StepKind::Stop | StepKind::Demote) && doomed.contains(&key);
            if wanted && self.ops.may_stop_alone(&key) && !self.isolation.failed.contains_key(&key) {
                let Some(claim) = self.own_claim(&key).cloned() else { continue };
                // Agents stop promoted instances too; a demotion that cannot be committed would be asked for forever.
                self.stop_alone(key, &claim);
            }
        }
    }

    fn must_stop(&self, claim: &Claim) -> bool {
        let Some(definition) = self.state.definitions.get(&claim.definition) else { return false };
        match definition.resource.quorum_loss {
            // Without a watchdog a node cannot cut its own power; stopping is the nearest thing.
            QuorumLoss::Stop | QuorumLoss::Fence => true,
            QuorumLoss::Demote => claim.role == Role::Promoted,
            QuorumLoss::Freeze => false,
        }
    }
}
