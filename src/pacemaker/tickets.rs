//! Tickets: what may run only while this site holds a permission.
//!
//! Input: `rsc_ticket` constraints and the tickets' states. Output: documents of the spec, and tickets of the state.
//! Pacemaker Explained, "Multi-Site Clusters and Tickets".
//!
//! Deliberately absent: what follows from a ticket that is not held (`plan`).

use super::constraints::{Constraints, role};
use super::rules::is_true;
use super::xml::El;
use crate::model::{OnLoss, ResourceId, Role, Ticket, sets};
use crate::state::TicketState;
use std::collections::BTreeMap;

impl<'a> Constraints<'_, 'a> {
    pub fn ticket(&mut self, el: El<'a>, tickets: &mut BTreeMap<String, Ticket>) {
        let Some(name) = el.attr("ticket") else {
            return self.losses.harmless(el, "it names no ticket");
        };
        // What needs the same role of the same ticket is one document.
        let mut wanted: Vec<(Option<Role>, Vec<ResourceId>)> = Vec::new();
        let mut add = |role: Option<Role>, names: Vec<&'a str>| {
            let names = names.into_iter().map(ResourceId::new);
            match wanted.iter_mut().find(|(other, _)| *other == role) {
                Some((_, members)) => members.extend(names),
                None => wanted.push((role, names.collect())),
            }
        };
        if let Some(resource) = el.attr("rsc") {
            add(role(el.attr("rsc-role")), self.named(resource));
        }
        for set in el.all("resource_set") {
            add(role(set.attr("role")), self.set_members(set));
        }
        wanted.retain(|(_, resources)| !resources.is_empty());
        if wanted.is_empty() {
            return self.losses.harmless(el, "it names nothing that is configured");
        }
        let parts = wanted.into_iter().map(|(role, resources)| {
            let on_loss = match el.attr("loss-policy") {
                Some("fence") => OnLoss::Fence,
                Some("freeze") => OnLoss::Freeze,
                Some("demote") => OnLoss::Demote,
                Some("stop") => OnLoss::Stop,
                Some(_) | None => OnLoss::usual(role),
            };
            Ticket { ticket: name.to_owned(), resources, role, on_loss }
        });
        sets::insert_all(tickets, el.id(), parts);
    }
}

/// How the tickets are.
pub(super) fn states(root: El<'_>) -> BTreeMap<String, TicketState> {
    let tickets = root.child("status").and_then(|status| status.child("tickets"));
    let state = |el: El<'_>| {
        let (granted, standby) = (is_true(el.attr("granted")), is_true(el.attr("standby")));
        (el.id().to_owned(), TicketState { granted, standby })
    };
    tickets.into_iter().flat_map(|tickets| tickets.all("ticket_state")).map(state).collect()
}
