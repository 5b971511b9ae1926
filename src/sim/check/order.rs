//! Order is kept: what must run before truly runs before, and stops after.

use super::{Act, Invariant};
use crate::model::{ActionKind, OrderAction, OrderStrength, ResourceId, Role, Spec};
use crate::sim::agents::thing_of;
use crate::sim::world::Sim;
use crate::state::{Claim, ClaimKey, Membership, Phase};
use std::fmt;

/// What must be so before something else starts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct First {
    resource: ResourceId,
    /// Some copy of it is promoted; otherwise it runs, and is no clone.
    promoted: bool,
}

impl fmt::Display for First {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.resource, if self.promoted { "is promoted nowhere" } else { "does not run" })
    }
}

/// What must be before a resource starts: earlier members of its group run, and so do the first ends of required orders,
/// or are promoted. Starts of clones wait for their own neighbours, or for all: that is not looked at.
fn before(spec: &Spec, resource: &ResourceId) -> Vec<First> {
    let mut firsts: Vec<First> = Vec::new();
    for group in spec.groups.values() {
        if let Some(place) = group.members.iter().position(|member| member == resource) {
            let members = group.members[..place].iter().cloned();
            firsts.extend(members.map(|resource| First { resource, promoted: false }));
        }
    }
    for order in spec.orders.values() {
        let starts =
            order.then.action == OrderAction::Start && spec.primitives_of(&order.then.resource).contains(&resource);
        let required = order.strength == OrderStrength::Required && order.or.is_empty();
        let promoted = order.first.action == OrderAction::Promote;
        if starts && required && (promoted || order.first.action == OrderAction::Start) {
            let all = spec.primitives_of(&order.first.resource).into_iter().cloned();
            firsts.extend(all.map(|resource| First { resource, promoted }));
        }
    }
    let known = |first: &First| spec.resources.contains_key(&first.resource);
    firsts.retain(|first| known(first) && (first.promoted || spec.clone_of(&first.resource).is_none()));
    firsts
}

impl Sim {
    fn is_there(&self, spec: &Spec, first: &First) -> bool {
        let Some(described) = spec.resources.get(&first.resource) else { return true };
        let thing = thing_of(&first.resource, described);
        let there = self.hosts.iter().filter_map(|host| host.services.get(&thing));
        self.checks.lost.iter().any(|(_, lost)| *lost == thing)
            || there.into_iter().any(|service| service.promoted || !first.promoted)
    }

    pub(super) fn check_start_order(&mut self, act: &Act<'_>) {
        let Some(spec) = act.known.spec() else { return };
        for first in before(spec, &act.request.instance.resource) {
            if !self.is_there(spec, &first) {
                self.violated(Invariant::Order, format!("{} although {first}", act.what));
            }
        }
    }

    /// Of a stop or a demotion. Without a quorum only the order among what runs on the same host counts, as far as it
    /// knows.
    pub(super) fn check_stop_order(&mut self, act: &Act<'_>) {
        let state = if act.isolated { &act.known } else { &act.truth };
        let Some(spec) = state.spec() else { return };
        let resource = &act.request.instance.resource;
        let promoted = self.hosts[act.host].services.get(&act.thing()).is_some_and(|service| service.promoted);
        // It has moved on, running; this is where it was.
        let goes_on = |(key, claim): (&ClaimKey, &Claim)| {
            key.node != act.key.node && claim.is_running() && (!promoted || claim.role == Role::Promoted)
        };
        if !act.isolated && state.claims_of(resource).any(goes_on) {
            return;
        }
        let runs_on = act.request.kind == ActionKind::Demote;
        let ends = |first: &First| &first.resource == resource && if first.promoted { promoted } else { !runs_on };
        for then in spec.resources.keys().filter(|then| before(spec, then).iter().any(ends)) {
            let needs = state.claims_of(then).find(|(key, claim)| {
                let other = self.host_of(&key.node);
                let thing = thing_of(then, &spec.resources[then]);
                // What somebody started by hand after it was stopped here needs nothing that is promised.
                let service = self.hosts[other].services.get(&thing);
                let alive = self.hosts[other].up && service.is_some_and(|service| !service.is_nobodys());
                let online = act.isolated || state.nodes[&key.node].membership == Membership::Online;
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
