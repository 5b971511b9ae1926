//! Without a quorum: a node may look, restart in place and stop; nothing else.
//!
//! Nothing can be committed, so what is stopped here stays claimed until the quorum is back. Then the claims are
//! settled: the stop is repeated under the log, seen by a probe, and released.

use super::node::Tag;
use super::{Effect, Node};
use crate::model::planted::{Planted, planted};
use crate::model::{Epoch, OnFail, OpName, QuorumLoss, Role};
use crate::plan::{self, StepKind};
use crate::state::{Claim, ClaimKey, Membership, OverrideKind, Phase, State};
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
    /// What is being restarted in place.
    restarting: BTreeMap<ClaimKey, Epoch>,
    /// How often each was, since the quorum was lost.
    restarts: BTreeMap<ClaimKey, u32>,
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
        // A daemon that just started, or stood still, has not had the time to hear anybody; nor has one to which a voter
        // was just added.
        let since = self.started.max(self.voters_since);
        let early = self.now < self.deaf_until.max(since + within);
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
                self.isolation.restarts.clear();
                // What is at its stop now is settled like anything that was stopped: from here the log says what starts.
                self.isolation.restarting.clear();
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
                    let command = self.advance(key.clone(), epoch, Phase::Stopping);
                    self.propose_once(Tag::Op(key), command);
                }
                Some(_) | None => {
                    self.isolation.stopped.remove(&key);
                }
            }
        }
    }

    /// Restarts in place, under the claim it has, what may run on without a quorum and has died. Nobody is told: the log
    /// says that it runs, and so it does again.
    pub(super) fn restart_in_isolation(&mut self) {
        if self.isolation.since.is_none() || self.is_leaving() {
            return;
        }
        let claims = self.state.claims_on(&self.config.node).map(|(key, claim)| (key.clone(), claim.clone()));
        for (key, claim) in claims.collect::<Vec<_>>() {
            if self.own_claim(&key).is_none() || !self.ops.has_died(&key) || !self.restarts_alone(&key, &claim) {
                continue;
            }
            *self.isolation.restarts.entry(key.clone()).or_default() += 1;
            self.isolation.restarting.insert(key.clone(), claim.epoch);
            let text = "is restarted in place, without a quorum".to_owned();
            self.effects.push(Effect::Note { key: Some(key.clone()), text });
            self.stop_alone(key, &claim);
        }
    }

    fn restarts_alone(&self, key: &ClaimKey, claim: &Claim) -> bool {
        let Some(definition) = self.state.definitions.get(&claim.definition) else { return false };
        let resource = &definition.resource;
        let monitor = resource.operations.get(&OpName::Monitor);
        let most = resource.failure.threshold;
        let tried = self.isolation.restarts.get(key).copied().unwrap_or(0);
        // What stands on it would have to be stopped before.
        let needed = self.state.claims_on(&key.node).any(|(_, claim)| claim.after.contains(&key.instance));
        // Whatever somebody is at with his own hands: here nobody can be asked what it is.
        let by_hand = self.state.overrides.values().any(|o| matches!(o.kind, OverrideKind::Maintenance));
        let kept = resource.managed && !resource.maintenance && !by_hand;
        claim.phase == Phase::Running
            && claim.role == Role::Started
            && claim.failure.is_none()
            && monitor.is_none_or(|monitor| monitor.on_fail == OnFail::Restart)
            && (most == 0 || tried < most)
            && kept
            && !needed
            && !self.must_stop(claim)
    }

    /// Whether what was just stopped here is to be started at once: its restart was begun since the quorum was lost, and
    /// it may run without one still. Asked once for each stop: the mark does not outlive it.
    pub(super) fn goes_on_alone(&mut self, key: &ClaimKey, claim: &Claim) -> bool {
        let begun = self.isolation.restarting.remove(key) == Some(claim.epoch);
        begun && self.isolation.since.is_some() && !self.is_leaving() && !self.must_stop(claim)
    }

    /// Takes the end of a start that no commit asked for. What failed is stopped, and stays so until the quorum is back.
    pub(super) fn restarted_alone(&mut self, key: ClaimKey, claim: &Claim, started: bool) {
        match started {
            true => self.ops.look_at(&key.instance, self.now),
            false => self.stop_alone(key, claim),
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
