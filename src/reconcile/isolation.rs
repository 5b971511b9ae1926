//! Without a quorum: a node may look, restart in place and stop; nothing else.
//!
//! Nothing can be committed, so what is stopped here stays claimed until the quorum is back. Then the claims are
//! settled: the stop is repeated under the log, seen by a probe, and released.

use super::node::Tag;
use super::{Effect, Node};
use crate::model::planted::{Planted, planted};
use crate::model::{Epoch, QuorumLoss, Role};
use crate::plan::{self, StepKind};
use crate::state::{Claim, ClaimKey, Command, Membership, Phase, State};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Clone, Default)]
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

    /// Whether this very claim was stopped here.
    pub fn has_stopped_epoch(&self, key: &ClaimKey, epoch: Epoch) -> bool {
        self.stopped.get(key) == Some(&epoch)
    }

    /// Whether something that was stopped here still looks in the log as if it ran.
    pub fn is_settling(&self) -> bool {
        !self.stopped.is_empty()
    }

    /// Takes the end of a stop in that no commit asked for. Stopped is what a probe saw after it.
    pub fn stopped(&mut self, key: &ClaimKey, epoch: Epoch, stopped: bool) {
        let list = if stopped { &mut self.stopped } else { &mut self.failed };
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
        let low = self.lease_is_low();
        let count = voters.len();
        match (quorum && low.is_none(), self.isolation.since) {
            (false, None) if !early || low.is_some() => {
                self.isolation.since = Some(self.now);
                let text = match low {
                    // Whoever counts on this node's end counts from there: no excuse counts.
                    Some(age) => format!("the lease runs low: nothing was acknowledged for {} ms", age.as_millis()),
                    None => format!("quorum lost: {heard} of {count} voters are heard"),
                };
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
        // It may have learnt last that it is suspect: for the plan that is a node that nobody reaches, and this one does.
        if let Some(own) = imagined.nodes.get_mut(&me).filter(|own| own.membership == Membership::Suspect) {
            own.membership = Membership::Online;
        }
        imagined.forget_asked_fence(&me);
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
        // By the time its lease is over others may run all of it.
        if self.is_leased() {
            return true;
        }
        let Some(definition) = self.state.definitions.get(&claim.definition) else { return false };
        if planted(Planted::KeepsWithoutQuorum) {
            return false;
        }
        match definition.resource.quorum_loss {
            // With a watchdog it resets itself (`lease`); without one stopping is the nearest thing.
            QuorumLoss::Stop | QuorumLoss::Fence => true,
            QuorumLoss::Demote => claim.role == Role::Promoted,
            QuorumLoss::Freeze => false,
        }
    }
}
