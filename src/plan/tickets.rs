//! Tickets: what follows for the resources that depend on one that is not held.
//!
//! Input: a [`World`] with its claims. Output: the same, with resources stopped, left alone or kept from promotion, and
//! nodes that are to be fenced. Pacemaker Explained, "Multi-Site Clusters and Tickets".
//!
//! Semantics: without its ticket a resource does not run, or is not promoted where only that depends on it; `onLoss` says
//! how it goes. A ticket that is granted, but on standby, takes nothing by force: then `Fence` and `Freeze` are what is
//! usual. A ticket of which nothing is known is not held.

use super::instances::World;
use crate::model::{OnLoss, Reason, Role, Ticket};
use crate::state::State;

/// What there is of a ticket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    Held,
    Standby,
    Lost,
}

fn hold(state: &State, ticket: &str) -> Hold {
    match state.tickets.get(ticket) {
        Some(known) if known.granted && known.standby => Hold::Standby,
        Some(known) if known.granted => Hold::Held,
        Some(_) | None => Hold::Lost,
    }
}

pub(super) fn apply(world: &mut World<'_>) {
    let spec = world.spec;
    for ticket in spec.tickets.values() {
        let on_loss = match (hold(world.state, &ticket.ticket), ticket.on_loss) {
            (Hold::Held, _) => continue,
            (Hold::Standby, OnLoss::Fence | OnLoss::Freeze) => OnLoss::usual(ticket.role),
            (Hold::Standby | Hold::Lost, on_loss) => on_loss,
        };
        for resource in &ticket.resources {
            let members = world.members(resource);
            lose(world, ticket, on_loss, &members);
        }
    }
}

fn lose(world: &mut World<'_>, ticket: &Ticket, on_loss: OnLoss, members: &[usize]) {
    let promoted_only = ticket.role == Some(Role::Promoted);
    let why = || Reason::NoTicket { ticket: ticket.ticket.clone() };
    let mut frozen = false;
    for &member in members {
        let res = &mut world.res[member];
        match on_loss {
            OnLoss::Freeze if !res.claims.is_empty() => {
                frozen = true;
                res.managed = false;
            }
            OnLoss::Freeze | OnLoss::Demote if promoted_only => {}
            OnLoss::Fence => {
                let depends = res.claims.iter().filter(|live| !promoted_only || live.claim.role == Role::Promoted);
                for live in depends {
                    let text = format!("the ticket {} was lost", ticket.ticket);
                    world.forfeited.entry(live.node).or_insert(text);
                }
                if !promoted_only {
                    res.stopped = Some(why());
                }
            }
            OnLoss::Stop | OnLoss::Demote | OnLoss::Freeze => res.stopped = Some(why()),
        }
    }
    if promoted_only && !frozen {
        for &member in members {
            if let Some(clone) = world.res[member].clone {
                world.clones[clone].ticketless = true;
            }
        }
    }
}
