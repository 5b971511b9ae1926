//! Tickets: permissions that a site holds or does not, for clusters at several sites.

use super::{ResourceId, Role};
use serde::{Deserialize, Serialize};

/// What may run, or be promoted, only while this site holds a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Its name, as those who grant it know it.
    pub ticket: String,
    /// Resources, groups or clones.
    pub resources: Vec<ResourceId>,
    /// `Promoted`: only that needs the ticket. None: running at all does.
    pub role: Option<Role>,
    pub on_loss: OnLoss,
}

/// How something goes whose ticket was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum OnLoss {
    Stop,
    Demote,
    /// The nodes on which it runs are fenced: the fastest way to be sure.
    Fence,
    /// What runs is left alone; nothing new is started.
    Freeze,
}

impl OnLoss {
    /// Where nothing is said.
    pub fn usual(role: Option<Role>) -> Self {
        if role == Some(Role::Promoted) { Self::Demote } else { Self::Stop }
    }
}
