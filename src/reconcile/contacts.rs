//! Who is heard: this node's own ears, and what other voters say of theirs.

use crate::model::{BootId, NodeId};
use crate::net::contacts as kept;
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

/// Beats that a peer, or what it says of others, may be late before its silence counts as growing: a report is made
/// one beat after what it reports, is read another beat later, and a datagram may be lost.
const LATE_BEATS: u32 = 4;

impl Contacts {
    /// What the table of heartbeats says, as ages at the moment of its last reading.
    pub fn of(table: &kept::Contacts) -> Self {
        // Silence is not counted from before this node itself began to listen.
        let silence = |at: Duration| table.as_of.saturating_sub(at.max(table.listening_since));
        let contact = |(name, contact): (&NodeId, &kept::Contact)| {
            let current = contact.current()?;
            let said = |report: &kept::Report| {
                let boot = report.incarnation.as_ref().map(|incarnation| incarnation.boot.clone());
                (boot, table.as_of.saturating_sub(report.heard_at))
            };
            let (boot, echoed) = (current.incarnation.boot.clone(), current.echoed);
            let others = contact.boots.iter().filter(|other| other.incarnation.boot != boot);
            let others = others.map(|other| (other.incarnation.boot.clone(), silence(other.last_heard))).collect();
            let heard = contact.reports.iter().map(|(node, report)| (node.clone(), said(report))).collect();
            Some((name.clone(), Contact { boot, age: silence(current.last_heard), echoed, others, heard }))
        };
        Self { sent: table.sent, peers: table.peers.iter().filter_map(contact).collect() }
    }

    /// Whether nobody's silence is on its way to `suspect_after`: everybody was heard lately, by this node and by
    /// whoever says so, or not for so long that everything was decided. Until then a reading now and then is enough.
    pub fn is_settled(&self, heartbeat: Duration, suspect_after: Duration) -> bool {
        let grows = |age: Duration| age > heartbeat * LATE_BEATS && age <= suspect_after * 2;
        let said = |contact: &Contact| contact.heard.values().any(|(_, age)| grows(*age));
        !self.peers.values().any(|contact| grows(contact.age) || said(contact))
    }

    /// How long ago a boot of a peer was heard here. None: never.
    pub fn age(&self, peer: &NodeId, boot: &BootId) -> Option<Duration> {
        let contact = self.peers.get(peer)?;
        if &contact.boot == boot { Some(contact.age) } else { contact.others.get(boot).copied() }
    }

    /// Whether this very boot of a peer is there: it was heard lately, here or by another that says so.
    pub fn is_there(&self, peer: &NodeId, boot: &BootId, within: Duration) -> bool {
        let here = self.age(peer, boot).is_some_and(|age| age <= within);
        here || self.peers.keys().any(|other| self.says_heard(other, peer, boot, within) == Some(true))
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

    /// How many of these voters a boot of a peer, by its own last words, has not heard within the given time. Where they are half
    /// of all, it has lost the quorum, and stops what needs one, although it is heard. What has passed since those words
    /// does not count.
    pub fn misses(&self, peer: &NodeId, boot: &BootId, voters: &[&NodeId], within: Duration) -> usize {
        let Some(contact) = self.peers.get(peer).filter(|contact| &contact.boot == boot) else { return 0 };
        let missed = |voter: &&&NodeId| {
            let said = contact.heard.get(**voter).map(|(_, age)| age.saturating_sub(contact.age));
            **voter != peer && said.is_some_and(|age| age > within)
        };
        voters.iter().filter(missed).count()
    }

    /// Whether `voter` says that it heard this boot of `peer` within the given time. None: it says nothing, or hears
    /// another boot of it. One that it heard last, longer ago, is no excuse: then it hears none.
    pub fn says_heard(&self, voter: &NodeId, peer: &NodeId, boot: &BootId, within: Duration) -> Option<bool> {
        let contact = self.peers.get(voter).filter(|contact| contact.age <= within)?;
        let (heard, age) = contact.heard.get(peer)?;
        match heard {
            Some(heard) if heard != boot => (*age > within).then_some(false),
            Some(_) => Some(*age <= within),
            None => Some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_peer_misses_is_by_its_own_last_words() {
        let millis = Duration::from_millis;
        let voters = ["n1", "n2", "n3"].map(NodeId::new);
        let voters: Vec<&NodeId> = voters.iter().collect();
        let missed = |peer: &str, age: u64, n1: u64, n3: u64| {
            let heard = [("n1", n1), ("n3", n3)];
            let heard = heard.map(|(name, age)| (NodeId::new(name), (Some("b".into()), millis(age)))).into();
            let contact = Contact { boot: "b".into(), age: millis(age), echoed: None, others: BTreeMap::new(), heard };
            let contacts = Contacts { sent: 1, peers: [(peer.into(), contact)].into() };
            contacts.misses(&peer.into(), &"b".into(), &voters, millis(1500))
        };
        assert_eq!(missed("n2", 100, 1601, 1601), 2);
        assert_eq!(missed("n2", 100, 100, 9000), 1);
        assert_eq!(missed("n2", 100, 1600, 1600), 0, "what has passed since then does not count");
        assert_eq!(missed("w", 0, 1501, 1501), 2);
        assert_eq!(missed("w", 0, 1501, 0), 1, "it said nothing of n2");
        assert_eq!(missed("n1", 0, 1501, 1501), 1, "not itself");
        assert_eq!(Contacts::default().misses(&"n2".into(), &"b".into(), &voters, millis(1500)), 0);
    }

    #[test]
    fn what_a_voter_heard_last_excuses_nobody_for_longer_than_it_hears_that() {
        let millis = Duration::from_millis;
        let says = |boot: Option<&str>, age: u64| {
            let heard = [("n3".into(), (boot.map(Into::into), millis(age)))].into();
            let contact = Contact { boot: "a".into(), age: millis(0), echoed: None, others: BTreeMap::new(), heard };
            let contacts = Contacts { sent: 1, peers: [("n2".into(), contact)].into() };
            contacts.says_heard(&"n2".into(), &"n3".into(), &"b".into(), millis(1500))
        };
        assert_eq!(says(Some("b"), 1500), Some(true));
        assert_eq!(says(Some("b"), 1501), Some(false));
        assert_eq!(says(Some("c"), 1500), None, "another boot lives");
        assert_eq!(says(Some("c"), 1501), Some(false), "that one booted, and is gone too");
        assert_eq!(says(None, 0), Some(false));
    }

    #[test]
    fn a_silence_is_watched_until_it_is_decided() {
        let (beat, limit) = (Duration::from_millis(100), Duration::from_millis(1500));
        let settled = |own: u64, said: u64| {
            let heard = [("n3".into(), (Some("b".into()), Duration::from_millis(said)))].into();
            let (boot, age) = ("b".into(), Duration::from_millis(own));
            let contact = Contact { boot, age, echoed: None, others: BTreeMap::new(), heard };
            Contacts { sent: 1, peers: [("n2".into(), contact)].into() }.is_settled(beat, limit)
        };
        assert!(Contacts::default().is_settled(beat, limit));
        for (own, said) in [(0, 0), (110, 250), (400, 400), (90_000, 90_000), (3001, 100)] {
            assert!(settled(own, said), "{own} {said}");
        }
        for age in [401, 1000, 1499, 1501, 3000] {
            assert!(!settled(age, 100) && !settled(100, age), "{age}");
        }
    }
}
