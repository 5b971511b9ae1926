//! Boots that are over because their node is there with a new one.
//!
//! Input: the state and who is heard. Output: those of which the leader says `Rebooted`: the word that ends the claims of the old boot, so that
//! the new one may join. And what people must know where it cannot be said: two machines with one identity.
//!
//! Invariants: nothing is said of a boot that was heard within `suspectAfter`, by this node or by a voter that says so;
//! nothing before this daemon has listened for [`LISTEN`]; a new boot counts as there only once it has answered what was
//! sent after the old one had joined.
//!
//! Does not help where the old boot is alive and cut off from all who vote: that is what fencing is for.

use super::Node;
use crate::model::{BootId, NodeId};
use crate::state::{Membership, Refusal};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a daemon listens before it says that nobody hears a boot: five beats of the default profile. A machine that
/// lives and has a link is heard by then; a cold start waits for it.
const LISTEN: Duration = Duration::from_millis(500);
/// A machine that boots fast meets the echo of its own last boot; what lasts longer than that needs an operator.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why this daemon is not let in.
#[derive(Debug, Clone, Default)]
pub(super) struct Barred {
    /// Since when, and which boot counts.
    by: Option<(Duration, BootId)>,
}

impl Barred {
    /// Takes the answer to a `Join`.
    pub fn answered(&mut self, answer: &Result<(), Refusal>, now: Duration) {
        match answer {
            Err(Refusal::OldBootCounts { boot, .. }) => {
                let since = self.by.as_ref().map_or(now, |(since, _)| *since);
                self.by = Some((since, boot.clone()));
            }
            Err(_) => {}
            Ok(()) => *self = Self::default(),
        }
    }
}

impl Node {
    /// Old boots of nodes that are there with a new one, and that nobody hears any more.
    pub(super) fn reboots(&self) -> BTreeMap<NodeId, BootId> {
        if self.now < self.deaf_until || self.now.saturating_sub(self.started) < LISTEN {
            return BTreeMap::new();
        }
        let within = self.suspect_after();
        let counts = |name: &NodeId, membership| match membership {
            Membership::Online | Membership::Joining | Membership::Suspect => true,
            Membership::Left => self.state.claims_on(name).next().is_some(),
            Membership::Fenced => false,
        };
        let over = self.state.nodes.iter().filter(|(name, node)| {
            let old = &node.incarnation.boot;
            counts(name, node.membership) && self.is_back(name, old, within) && !self.hears_boot(name, old, within)
        });
        over.map(|(name, node)| (name.clone(), node.incarnation.boot.clone())).collect()
    }

    /// Whether a node is there with a newer boot than this: with one that was alive after this one was seen to have joined,
    /// by what it answered. Beats that answered nothing, or something older, may be recordings, or have been long on their
    /// way: those of a boot that was there for a moment before this one, and never joined, say nothing.
    fn is_back(&self, name: &NodeId, old: &BootId, within: Duration) -> bool {
        let newer = |boot: &BootId| {
            let known = self.state.nodes.get(name);
            boot != old && !known.is_some_and(|node| node.burnt.contains(boot))
        };
        if name == &self.config.node {
            return newer(&self.config.incarnation.boot);
        }
        let nonce = self.duties.after_join(name);
        let lives = |boot: &BootId| nonce.is_some_and(|nonce| self.contacts.answered(name, boot, nonce));
        let contact = self.contacts.peers.get(name);
        contact.is_some_and(|contact| newer(&contact.boot) && contact.age < within && lives(&contact.boot))
    }

    /// Whether this node, or a voter that is heard, lately heard this boot.
    fn hears_boot(&self, name: &NodeId, boot: &BootId, within: Duration) -> bool {
        let says = |voter: &NodeId| self.contacts.says_heard(voter, name, boot, within) == Some(true);
        self.contacts.age(name, boot).is_some_and(|age| age <= within) || self.leadership.voters.iter().any(says)
    }

    /// What an operator must know that the agreed state does not say.
    pub fn troubles(&self) -> Vec<String> {
        let mut troubles = self.burnt_troubles();
        troubles.extend(self.lease_troubles());
        let me = &self.config.node;
        if let Some((since, boot)) = &self.barred.by
            && self.now.saturating_sub(*since) >= PATIENCE
        {
            troubles.push(format!(
                "this machine is not let in: another machine with the identity of {me} is alive (boot {boot}); switch \
                 one of them off, or join this one as a new node"
            ));
        }
        let within = self.suspect_after();
        let now = (within / 2).max(LISTEN);
        for (name, contact) in self.contacts.peers.iter().filter(|(_, contact)| contact.age <= now) {
            if let Some((other, _)) = contact.others.iter().find(|(_, age)| **age <= now) {
                let boot = &contact.boot;
                troubles.push(format!("two machines have the identity of {name}: boots {boot} and {other} are heard"));
            }
        }
        troubles
    }
}
