//! Who is heard: this node's own ears, and what other voters say of theirs.

use crate::model::{BootId, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;

/// A reading of the heartbeats, taken by the shell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contacts {
    pub peers: BTreeMap<NodeId, Contact>,
}

/// What is known of one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The boot that was heard last.
    pub boot: BootId,
    /// How long ago, by this node's monotonic clock.
    pub age: Duration,
    /// How long ago that peer heard others, as it said in its last heartbeat.
    pub heard: BTreeMap<NodeId, (BootId, Duration)>,
}

impl Contacts {
    /// How long ago a boot of a peer was heard here. None: never.
    pub fn age(&self, peer: &NodeId, boot: &BootId) -> Option<Duration> {
        self.peers.get(peer).filter(|contact| &contact.boot == boot).map(|contact| contact.age)
    }

    /// Whether this peer is heard at all, whatever its boot.
    pub fn hears(&self, peer: &NodeId, within: Duration) -> bool {
        self.peers.get(peer).is_some_and(|contact| contact.age <= within)
    }

    /// Whether `voter` says that it heard this boot of `peer` within the given time. A voter that is silent itself
    /// says nothing.
    pub fn says_heard(&self, voter: &NodeId, peer: &NodeId, boot: &BootId, within: Duration) -> Option<bool> {
        let contact = self.peers.get(voter).filter(|contact| contact.age <= within)?;
        Some(contact.heard.get(peer).is_some_and(|(heard, age)| heard == boot && *age + contact.age <= within))
    }
}
