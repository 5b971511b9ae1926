//! Who is heard: this node's own ears, and what other voters say of theirs.

use crate::model::{BootId, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;

/// A reading of the heartbeats, taken by the shell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contacts {
    /// The number of the last beat this node sent; a peer that echoes a later one was alive after this reading.
    pub sent: u64,
    pub peers: BTreeMap<NodeId, Contact>,
}

/// What is known of one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The boot that was heard last.
    pub boot: BootId,
    /// How long ago, by this node's monotonic clock.
    pub age: Duration,
    /// The highest number of this node's own beats that this boot echoed.
    pub echoed: Option<u64>,
    /// Other boots of it that were heard, and how long ago: the one before a reboot, or a clone of the machine.
    pub others: BTreeMap<BootId, Duration>,
    /// What that peer said lately of others: which boot it hears (None: never any) and how long ago it heard it.
    pub heard: BTreeMap<NodeId, (Option<BootId>, Duration)>,
}

impl Contacts {
    /// How long ago a boot of a peer was heard here. None: never.
    pub fn age(&self, peer: &NodeId, boot: &BootId) -> Option<Duration> {
        let contact = self.peers.get(peer)?;
        if &contact.boot == boot { Some(contact.age) } else { contact.others.get(boot).copied() }
    }

    /// Whether a boot of a peer echoed this number or a later one.
    pub fn answered(&self, peer: &NodeId, boot: &BootId, number: u64) -> bool {
        let contact = self.peers.get(peer).filter(|contact| &contact.boot == boot);
        contact.and_then(|contact| contact.echoed).is_some_and(|echoed| echoed >= number)
    }

    /// Whether this peer is heard at all, whatever its boot.
    pub fn hears(&self, peer: &NodeId, within: Duration) -> bool {
        self.peers.get(peer).is_some_and(|contact| contact.age <= within)
    }

    /// Whether `voter` says that it heard this boot of `peer` within the given time. None: it says nothing, or hears
    /// another boot of it.
    pub fn says_heard(&self, voter: &NodeId, peer: &NodeId, boot: &BootId, within: Duration) -> Option<bool> {
        let contact = self.peers.get(voter).filter(|contact| contact.age <= within)?;
        let (heard, age) = contact.heard.get(peer)?;
        match heard {
            Some(heard) if heard != boot => None,
            Some(_) => Some(*age <= within),
            None => Some(false),
        }
    }
}
