//! A claim pins its definition: what runs is watched, demoted and stopped with the parameters it was started with.

use super::{Act, Invariant};
use crate::model::ActionKind;
use crate::sim::world::Sim;
use crate::state::{Phase, State};

impl Sim {
    pub(super) fn check_pinned(&mut self, act: &Act<'_>) {
        let request = act.request;
        if request.kind == ActionKind::Reload {
            self.stats.reloads += 1;
            let wanted = act.truth.reloading(&act.key).map(|definition| &definition.resource.params);
            if wanted != Some(&request.definition.resource.params) {
                self.violated(Invariant::Pinned, format!("{} with other parameters than were committed", act.what));
            }
            return;
        }
        let thing = act.thing();
        let Some(service) = self.hosts[act.host].services.get(&thing) else { return };
        // A reload that did not end well may have been done, and nobody knows; nor before its end is told.
        let reloading = |state: &State| state.claims.get(&act.key).is_some_and(|claim| claim.phase == Phase::Reloading);
        let half = self.checks.half_reloaded.contains(&(act.host, thing));
        let reloads = half || reloading(&act.truth) || reloading(&act.known);
        // Found running, it is watched by what git says now.
        let found = act.known.claims.get(&act.key).is_some_and(|claim| claim.found);
        let same = service.params.resource.params == request.definition.resource.params;
        if !same && !found && !service.is_nobodys() && !reloads && request.kind != ActionKind::Start {
            self.violated(Invariant::Pinned, format!("{} with other parameters than it was started with", act.what));
        }
    }
}
