//! Tickets: what may run only while this site holds a permission.
//!
//! Input: `rsc_ticket` constraints and the tickets' states. Output: what follows for the resources that depend on one that
//! is not held. Pacemaker Explained, "Multi-Site Clusters and Tickets".

use super::constraints::role;
use super::loss::Losses;
use super::resources::Services;
use super::rules::is_true;
use super::xml::El;
use crate::model::{Location, NodeSelector, ResourceId, Role, Spec, Strength, TargetRole};
use std::collections::BTreeMap;

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

pub(super) fn read<'a>(root: El<'a>, configuration: El<'a>, services: &Services<'a>) -> Vec<Missing<'a>> {
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
        for (resource, role) in names.into_iter().filter(|(name, _)| services.knows(name)) {
            let usual = if role == Some(Role::Promoted) { Policy::Demote } else { Policy::Stop };
            let policy = match el.attr("loss-policy") {
                // A ticket that is only laid aside takes nothing by force.
                Some("fence") if granted => usual,
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

pub(super) fn apply(spec: &mut Spec, missing: &[Missing<'_>], services: &Services<'_>, losses: &mut Losses) {
    for (place, one) in missing.iter().enumerate() {
        if one.role == Some(Role::Promoted) || one.policy == Policy::Demote {
            let nodes = NodeSelector::Names(spec.nodes.keys().cloned().collect());
            let resource = ResourceId::new(one.resource);
            let location =
                Location { resource, nodes, strength: Strength::Forbidden, weight: 1, role: Some(Role::Promoted) };
            spec.locations.insert(format!("{}.ticket-{place}", one.el.id()), location);
        }
        if one.policy == Policy::Fence {
            losses.matters(one.el, "a lost ticket does not fence yet");
        }
        if one.policy == Policy::Freeze {
            losses.matters(one.el, "a lost ticket does not freeze yet");
        }
        if one.policy == Policy::Stop || (one.policy == Policy::Fence && one.role != Some(Role::Promoted)) {
            for member in services.members(one.resource) {
                if let Some(resource) = spec.resources.get_mut(member) {
                    resource.target_role = TargetRole::Stopped;
                }
            }
        }
    }
}
