//! Tickets: what may run only while this site holds a permission.
//!
//! Input: `rsc_ticket` constraints, the tickets' states and what runs. Output: what follows for the resources that depend
//! on one that is not held. Pacemaker Explained, "Multi-Site Clusters and Tickets".
//!
//! Semantics: without its ticket a resource does not run, or is not promoted where only that depends on it; `loss-policy`
//! says how it goes: `stop`, `demote`, `fence` (its nodes are fenced), `freeze` (what runs is left alone). A ticket that
//! is only on standby takes nothing by force.

use super::constraints::role;
use super::resources::Services;
use super::rules::is_true;
use super::xml::El;
use crate::model::{Location, NodeId, NodeSelector, ResourceId, Role, Spec, Strength, TargetRole};
use crate::state::State;
use std::collections::{BTreeMap, BTreeSet};

/// A dependence on a ticket that is not held.
pub(super) struct Missing<'a> {
    el: El<'a>,
    resource: &'a str,
    role: Option<Role>,
    policy: Policy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Stop,
    Demote,
    Fence,
    Freeze,
}

pub(super) fn read<'a>(
    root: El<'a>,
    configuration: El<'a>,
    services: &Services<'a>,
    tags: &BTreeMap<&'a str, Vec<&'a str>>,
) -> Vec<Missing<'a>> {
    let states: BTreeMap<&str, El<'a>> = root
        .child("status")
        .and_then(|status| status.child("tickets"))
        .into_iter()
        .flat_map(|tickets| tickets.all("ticket_state"))
        .map(|state| (state.id(), state))
        .collect();
    let mut missing = Vec::new();
    let constraints = configuration.child("constraints").into_iter().flat_map(|all| all.all("rsc_ticket"));
    for el in constraints {
        let state = el.attr("ticket").and_then(|ticket| states.get(ticket));
        let granted = state.is_some_and(|state| is_true(state.attr("granted")));
        let standby = state.is_some_and(|state| is_true(state.attr("standby")));
        if granted && !standby {
            continue;
        }
        let mut names: Vec<(&'a str, Option<Role>)> = Vec::new();
        names.extend(el.attr("rsc").map(|rsc| (rsc, role(el.attr("rsc-role")))));
        for set in el.all("resource_set") {
            names.extend(set.all("resource_ref").map(|member| (member.id(), role(set.attr("role")))));
        }
        let meant = |(name, role): (&'a str, Option<Role>)| {
            let tagged = tags.get(name).filter(|_| !services.knows(name)).cloned().unwrap_or_else(|| vec![name]);
            tagged.into_iter().map(move |name| (name, role))
        };
        for (resource, role) in names.into_iter().flat_map(meant).filter(|(name, _)| services.knows(name)) {
            let usual = if role == Some(Role::Promoted) { Policy::Demote } else { Policy::Stop };
            let policy = match el.attr("loss-policy") {
                // A ticket that is only laid aside takes nothing by force.
                Some("fence" | "freeze") if granted => usual,
                Some("fence") => Policy::Fence,
                Some("freeze") => Policy::Freeze,
                Some("demote") => Policy::Demote,
                Some("stop") => Policy::Stop,
                Some(_) | None => usual,
            };
            missing.push(Missing { el, resource, role, policy });
        }
    }
    missing
}

/// What follows. Returns the nodes that are to be fenced.
pub(super) fn apply(
    spec: &mut Spec,
    missing: &[Missing<'_>],
    services: &Services<'_>,
    state: &State,
) -> BTreeSet<NodeId> {
    let mut fenced = BTreeSet::new();
    for (place, one) in missing.iter().enumerate() {
        let promoted_only = one.role == Some(Role::Promoted);
        for member in services.members(one.resource) {
            let id = ResourceId::new(member);
            let runs = state.claims_of(&id).next().is_some();
            let Some(resource) = spec.resources.get_mut(member) else { continue };
            match one.policy {
                Policy::Freeze if runs => resource.managed = false,
                Policy::Freeze | Policy::Demote if promoted_only => {}
                Policy::Fence => {
                    let claims = state.claims_of(&id);
                    let depends = claims.filter(|(_, claim)| !promoted_only || claim.role == Role::Promoted);
                    fenced.extend(depends.map(|(key, _)| key.node.clone()));
                    if !promoted_only {
                        resource.target_role = TargetRole::Stopped;
                    }
                }
                Policy::Stop | Policy::Demote | Policy::Freeze => resource.target_role = TargetRole::Stopped,
            }
        }
        let frozen = one.policy == Policy::Freeze
            && services.members(one.resource).iter().any(|m| state.claims_of(&ResourceId::new(*m)).next().is_some());
        if promoted_only && !frozen {
            let nodes = NodeSelector::Names(spec.nodes.keys().cloned().collect());
            let resource = ResourceId::new(one.resource);
            let location =
                Location { resource, nodes, strength: Strength::Forbidden, weight: 1, role: Some(Role::Promoted) };
            spec.locations.insert(format!("{}.ticket-{place}", one.el.id()), location);
        }
    }
    fenced
}
