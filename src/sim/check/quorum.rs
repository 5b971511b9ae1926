//! Without a quorum nothing is begun, and what needs one is stopped in time.

use super::{Act, Invariant};
use crate::model::{ActionKind, QuorumLoss};
use crate::sim::agents::Service;
use crate::sim::world::Sim;
use crate::state::OverrideKind;

/// A node without a majority has stopped what needs one after this long, ms: noticing it, and a stop of three seconds
/// for each of three things that depend on each other.
const STOPPED_WITHIN: u64 = 14_000;

impl Sim {
    pub(super) fn check_quorum_act(&mut self, act: &Act<'_>) {
        let kind = act.request.kind;
        let migrates = matches!(kind, ActionKind::MigrateTo | ActionKind::MigrateFrom);
        let begins = migrates || matches!(kind, ActionKind::Promote | ActionKind::Reload);
        if act.isolated && begins {
            self.violated(Invariant::Quorum, format!("{} without a quorum", act.what));
        }
    }

    /// Once in a beat.
    pub fn check_alone(&mut self) {
        for host in 0..self.hosts.len() {
            if !self.awake(host) || !self.hosts[host].votes || self.hears_majority(host) {
                self.checks.alone.remove(&host);
                continue;
            }
            let joined = self.hosts[host].daemon.as_ref().is_some_and(|daemon| {
                let known = self.states[daemon.seen].nodes.get(&self.hosts[host].name);
                known.is_some_and(|node| node.incarnation == daemon.incarnation)
            });
            if !joined {
                // What a daemon has not joined for, it does not touch: its time begins when it has.
                self.checks.alone.insert(host, self.now);
                continue;
            }
            let since = *self.checks.alone.entry(host).or_insert(self.now);
            if self.now - since <= STOPPED_WITHIN || self.hosts[host].lied_off == Some(self.hosts[host].boot) {
                continue;
            }
            let machine = &self.hosts[host];
            let loss = |service: &Service| service.params.resource.quorum_loss;
            // What stays may need the rest, and nothing is taken away from below it.
            if machine.services.values().any(|service| loss(service) != QuorumLoss::Stop) || self.holds_on(host) {
                continue;
            }
            let keeps = machine.services.iter().find(|(_, service)| !service.is_nobodys());
            // A stop that failed is left to fencing by the others.
            let failed = machine.daemon.as_ref().is_some_and(|daemon| self.now - daemon.started < STOPPED_WITHIN);
            // In maintenance nobody touches anything.
            let hands_off = machine.daemon.as_ref().is_some_and(|daemon| {
                let overrides = &self.states[daemon.seen].overrides;
                overrides.values().any(|o| matches!(o.kind, OverrideKind::Maintenance))
            });
            let failed = failed || hands_off;
            let trouble = self.checks.troubled.iter().any(|(other, _)| *other == host);
            if let Some((thing, _)) = keeps.filter(|_| !failed && !trouble) {
                let what = format!("{thing} runs on n{} after {} ms without a quorum", host + 1, self.now - since);
                self.violated(Invariant::Quorum, what);
            }
        }
    }

    fn hears_majority(&self, host: usize) -> bool {
        let voters = (0..self.hosts.len()).filter(|other| self.hosts[*other].votes).count();
        let heard = |other: &usize| {
            self.hosts[*other].votes && (*other == host || (self.linked(*other, host) && self.awake(*other)))
        };
        (0..self.hosts.len()).filter(heard).count() > voters / 2
    }

    /// Whether a host has a claim, as far as it knows, on something that is not stopped without a quorum.
    fn holds_on(&self, host: usize) -> bool {
        let machine = &self.hosts[host];
        let Some(daemon) = &machine.daemon else { return false };
        let known = &self.states[daemon.seen];
        known.claims_on(&machine.name).any(|(_, claim)| {
            let definition = known.definitions.get(&claim.definition);
            definition.is_some_and(|definition| definition.resource.quorum_loss != QuorumLoss::Stop)
        })
    }
}
