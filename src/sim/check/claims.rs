//! No action without a claim that allows it, and no claim beyond a limit, of a burnt boot, or with an epoch of another.

use super::{Act, Invariant};
use crate::model::ActionKind;
use crate::sim::world::Sim;
use crate::state::{Phase, State};

impl Sim {
    pub(super) fn check_claim(&mut self, act: &Act<'_>) {
        let request = act.request;
        match act.truth.claims.get(&act.key) {
            Some(claim) if Some(claim.epoch) == request.epoch && claim.incarnation == act.incarnation => {}
            // Its lease ran out, and it let go in time: what it stops once more is not there.
            _ if self.is_over(act) && request.kind == ActionKind::Stop => return,
            // What was proven off meanwhile, and lives, stops what it runs once it knows.
            _ if self.hosts[act.host].lied_off == Some(self.hosts[act.host].boot) => return,
            other => return self.violated(Invariant::Claims, format!("{} without its claim: {other:?}", act.what)),
        }
        let phase = act.known.claims.get(&act.key).map(|claim| claim.phase);
        let allowed = match request.kind {
            // Alone, it may be restarted in place under the claim that it has.
            ActionKind::Start => phase == Some(Phase::Starting) || (act.isolated && phase == Some(Phase::Running)),
            ActionKind::Promote => phase == Some(Phase::Promoting),
            ActionKind::Demote => phase == Some(Phase::Demoting),
            ActionKind::Stop => phase == Some(Phase::Stopping) || act.isolated,
            ActionKind::Probe | ActionKind::Monitor => true,
            ActionKind::Notify => phase.is_some_and(|phase| phase != Phase::Stopping && phase != Phase::Starting),
            ActionKind::Reload => phase == Some(Phase::Reloading),
            ActionKind::MigrateTo => phase == Some(Phase::MigratingTo),
            ActionKind::MigrateFrom => phase == Some(Phase::MigratingFrom) && act.known.has_left(&request.instance),
        };
        if !allowed {
            self.violated(Invariant::Claims, format!("{} in phase {phase:?}", act.what));
        }
        let mine = |doing: &&super::super::agents::Doing| {
            doing.request.instance == request.instance && doing.request.epoch.is_some()
        };
        if self.hosts[act.host].ops.values().any(|doing| mine(&doing)) {
            self.violated(Invariant::Claims, format!("{} while another operation of it runs", act.what));
        }
    }

    fn is_over(&self, act: &Act<'_>) -> bool {
        let node = act.truth.nodes.get(&act.key.node);
        node.is_some_and(|node| node.lease_over.as_ref() == Some(&act.incarnation.boot))
    }

    pub(super) fn check_grants(&mut self, before: &State, state: &State) {
        for (key, claim) in &state.claims {
            let new = before.claims.get(key).is_none_or(|old| old.epoch != claim.epoch);
            if !new {
                continue;
            }
            if !self.checks.epochs.insert(claim.epoch) {
                self.violated(Invariant::Claims, format!("epoch {} of {key} was granted before", claim.epoch));
            }
            if !claim.found
                && let Some(limit) = state.exceeded(&key.instance.resource)
            {
                self.violated(Invariant::Limits, format!("{key} was granted beyond the limit: {limit}"));
            }
            if state.nodes.get(&key.node).is_none_or(|node| node.burnt.contains(&claim.incarnation.boot)) {
                self.violated(Invariant::Burnt, format!("{key} is claimed by a burnt boot"));
            }
            if !claim.found && state.open_attempt(&key.node).is_some() {
                self.violated(Invariant::Claims, format!("{key} was granted although {} is being fenced", key.node));
            }
            let assigned = state.assignment.get(&key.instance).is_some_and(|assignment| assignment.to.node == key.node);
            if !claim.found && !assigned {
                self.violated(Invariant::Claims, format!("{key} was granted although it is assigned elsewhere"));
            }
        }
    }

    /// What is said to have started has: its start is over.
    pub(super) fn check_started(&mut self, before: &State, state: &State) {
        for (key, claim) in state.claims.iter().filter(|(_, claim)| claim.phase == Phase::Running) {
            let was = before.claims.get(key).filter(|old| old.epoch == claim.epoch);
            if was.is_none_or(|old| old.phase != Phase::Starting) {
                continue;
            }
            let host = self.host_of(&key.node);
            let starts = self.hosts[host].ops.values().any(|doing| {
                let request = &doing.request;
                request.instance == key.instance
                    && request.kind == ActionKind::Start
                    && request.epoch == Some(claim.epoch)
            });
            if starts {
                self.violated(Invariant::Claims, format!("{key} counts as started, and its start is under way"));
            }
        }
    }
}
