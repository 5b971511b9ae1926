//! Order is kept: what must run before truly runs before, and stops after.

use super::{Act, Invariant};
use crate::model::{OrderAction, OrderStrength, ResourceId, Spec};
use crate::sim::agents::thing_of;
use crate::sim::world::Sim;
use crate::state::{Claim, ClaimKey, Membership, Phase};

/// Plain resources that must run before another one: earlier members of its group, and required orders between starts.
fn before(spec: &Spec, resource: &ResourceId) -> Vec<ResourceId> {
    let mut firsts: Vec<ResourceId> = Vec::new();
    for group in spec.groups.values() {
        if let Some(place) = group.members.iter().position(|member| member == resource) {
            firsts.extend(group.members[..place].iter().cloned());
        }
    }
    for order in spec.orders.values() {
        let starts = order.first.action == OrderAction::Start && order.then.action == OrderAction::Start;
        let required = order.strength == OrderStrength::Required && order.or.is_empty();
        if starts && required && &order.then.resource == resource {
            firsts.push(order.first.resource.clone());
        }
    }
    firsts.retain(|first| spec.resources.contains_key(first) && spec.clone_of(first).is_none());
    firsts
}

impl Sim {
    fn runs_somewhere(&self, spec: &Spec, resource: &ResourceId) -> bool {
        let Some(described) = spec.resources.get(resource) else { return true };
        let thing = thing_of(resource, described);
        self.checks.lost.iter().any(|(_, lost)| *lost == thing)
            || self.hosts.iter().any(|host| host.services.contains_key(&thing))
    }

    pub(super) fn check_start_order(&mut self, act: &Act<'_>) {
        let Some(spec) = act.known.spec() else { return };
        for first in before(spec, &act.request.instance.resource) {
            if !self.runs_somewhere(spec, &first) {
                self.violated(Invariant::Order, format!("{} although {first} does not run", act.what));
            }
        }
    }

    pub(super) fn check_stop_order(&mut self, act: &Act<'_>) {
        let Some(spec) = act.truth.spec() else { return };
        let resource = &act.request.instance.resource;
        // It has moved on, running; this is where it was.
        let goes_on = |(key, claim): (&ClaimKey, &Claim)| key.node != act.key.node && claim.is_running();
        if act.truth.claims_of(resource).any(goes_on) {
            return;
        }
        for then in spec.resources.keys().filter(|then| before(spec, then).contains(resource)) {
            let needs = act.truth.claims_of(then).find(|(key, claim)| {
                let other = self.host_of(&key.node);
                let thing = thing_of(then, &spec.resources[then]);
                let alive = self.hosts[other].up && self.hosts[other].services.contains_key(&thing);
                let online = act.truth.nodes[&key.node].membership == Membership::Online;
                // On another node what the log has just granted may not be known yet here.
                let settled = claim.phase == Phase::Running && claim.failure.is_none() && other == act.host;
                // Started before there was this order.
                let ordered = claim.after.iter().any(|first| &first.resource == resource);
                alive && online && settled && ordered
            });
            if let Some((key, _)) = needs {
                let what = format!("{} although {key} still needs it", act.what);
                return self.violated(Invariant::Order, what);
            }
        }
    }
}
