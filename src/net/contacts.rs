//! Who was heard when: by this node, and, as they report, by the others.
//!
//! Input → output: verified beats and the time of their arrival → [`Contacts`], a snapshot that decisions read; and
//! what this node tells the others ([`Table::heard`]). Pure: time is an argument (of the boot clock).
//!
//! Invariants: a beat counts once per link, and never after a later one of its incarnation; an older incarnation of a
//! boot counts no more. Several boots of one name are kept apart, since two at a time are a cloned machine or a lying
//! fence device. Only a boot that echoed a sequence number of this daemon is *proven* alive after that number was
//! sent; the others may be replays of recordings. Silence is counted from the end of this node's own last stall: who
//! slept cannot say that others were silent.
//! Deliberately absent: suspicion. This says who is silent to whom; `state` and the leader decide.

use super::datagram::{Beat, Heard, Refused};
use super::peers::LinkState;
use crate::model::planted::{Planted, planted};
use crate::model::{BootId, Incarnation, NodeId};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// A link is down when this many beats in a row were missed, and a bit.
const MISSED_BEATS: u32 = 3;
/// Scheduling of busy machines on both sides.
const SLACK: Duration = Duration::from_millis(50);
/// Boots of one name that are kept: the current one, the one before, and some for clones and replays.
const MAX_BOOTS: usize = 4;
/// Beats of which is known when they were sent: an acknowledgement that is older would renew nothing.
const MAX_SENT: usize = 256;

/// What this node knows about the others at the moment `as_of`.
#[derive(Debug, Clone)]
pub struct Contacts {
    pub me: NodeId,
    pub incarnation: Incarnation,
    /// The boot clock when everything that had arrived was taken in. Compare with this, not with a later now.
    pub as_of: Duration,
    /// When this node last came out of a stall (or began to listen): silence is not counted before.
    pub listening_since: Duration,
    /// The sequence number of the last beat sent.
    pub sent: u64,
    pub interval: Duration,
    pub peers: BTreeMap<NodeId, Contact>,
    /// When the newest beat of this daemon was sent that a leader acknowledged.
    pub lease: Option<Duration>,
    /// How many datagrams counted for nothing, and why.
    pub refused: BTreeMap<Refused, u64>,
}

/// A peer.
#[derive(Debug, Clone, Default)]
pub struct Contact {
    /// Since when it is listened for.
    pub since: Duration,
    /// Its boots, the one heard last first; never more than four.
    pub boots: Vec<BootContact>,
    /// By number of link.
    pub links: Vec<LinkContact>,
    /// What it last said about the others, this node included.
    pub reports: BTreeMap<NodeId, Report>,
}

/// One boot of a peer.
#[derive(Debug, Clone)]
pub struct BootContact {
    pub incarnation: Incarnation,
    pub first_heard: Duration,
    pub last_heard: Duration,
    /// The highest sequence number heard of this incarnation.
    pub seq: u64,
    /// The highest of *this daemon's* sequence numbers that it echoed: it was alive after that beat was sent.
    pub echoed: Option<u64>,
    seq_by_link: BTreeMap<u8, u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkContact {
    /// `None`: never.
    pub last_heard: Option<Duration>,
    pub state: LinkState,
}

/// What a peer says about another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What it heard; `None`: nothing since it listens.
    pub incarnation: Option<Incarnation>,
    /// When it heard it, on *this* node's clock; late by the report's way through the network, never early.
    pub heard_at: Duration,
    pub reported_at: Duration,
}

impl Contact {
    /// The boot that counts: proven before unproven, then the one heard last.
    pub fn current(&self) -> Option<&BootContact> {
        self.boots.iter().max_by_key(|boot| (boot.echoed, boot.last_heard))
    }

    pub fn boot(&self, boot: &BootId) -> Option<&BootContact> {
        self.boots.iter().find(|found| &found.incarnation.boot == boot)
    }
}

impl Contacts {
    /// How long this node heard nothing of a boot of a peer. `None`: the peer is not listened for.
    pub fn silent_for(&self, node: &NodeId, boot: &BootId) -> Option<Duration> {
        let contact = self.peers.get(node)?;
        let heard = contact.boot(boot).map_or(contact.since, |boot| boot.last_heard);
        Some(self.as_of.saturating_sub(heard.max(self.listening_since)))
    }

    /// The newest beat of whoever was heard: what a round of a leader is about.
    pub fn newest(&self) -> BTreeMap<NodeId, (Incarnation, u64)> {
        let newest = |(name, contact): (&NodeId, &Contact)| {
            let current = contact.current()?;
            Some((name.clone(), (current.incarnation.clone(), current.seq)))
        };
        self.peers.iter().filter_map(newest).collect()
    }

    /// Whether a boot of a peer answered a beat of this daemon with the number `seq` or a later one (a nonce: see
    /// [`crate::net::Heartbeats::nonce`]), and so was alive after that beat was sent.
    pub fn answered(&self, node: &NodeId, boot: &BootId, seq: u64) -> bool {
        let echoed = self.peers.get(node).and_then(|contact| contact.boot(boot)).and_then(|boot| boot.echoed);
        echoed.is_some_and(|echoed| echoed >= seq)
    }

    /// How long a link may be silent before it counts as down.
    fn patience(&self) -> Duration {
        self.interval * MISSED_BEATS + SLACK
    }
}

/// The table behind [`Contacts`], kept by the heartbeat thread.
#[derive(Debug, Clone)]
pub struct Table {
    contacts: Contacts,
    stall_after: Duration,
    stalled: bool,
    /// Where the next list of the well-heard begins, so that a list that does not fit goes round.
    rotation: usize,
    changes: u64,
    /// When the newest beats were sent, by number.
    sent_at: VecDeque<(u64, Duration)>,
    /// As the leader: which beats of whom count.
    acks: BTreeMap<NodeId, (Incarnation, u64)>,
}

impl Table {
    pub fn new(me: NodeId, incarnation: Incarnation, interval: Duration, stall_after: Duration, now: Duration) -> Self {
        let contacts = Contacts {
            me,
            incarnation,
            as_of: now,
            listening_since: now,
            sent: 0,
            interval,
            peers: BTreeMap::new(),
            lease: None,
            refused: BTreeMap::new(),
        };
        let (sent_at, acks) = (VecDeque::new(), BTreeMap::new());
        Self { contacts, stall_after, stalled: false, rotation: 0, changes: 0, sent_at, acks }
    }

    pub fn contacts(&self) -> &Contacts {
        &self.contacts
    }

    /// Counts what decisions may want to look at at once: a boot or incarnation heard for the first time, a first
    /// echo, a link up or down, the end of a stall.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Sets who is listened for, with the number of links to each. What is known of those that stay is kept.
    pub fn set_peers(&mut self, peers: &BTreeMap<NodeId, usize>, now: Duration) {
        let table = &mut self.contacts.peers;
        table.retain(|node, _| peers.contains_key(node));
        for (node, links) in peers.iter().filter(|(node, _)| **node != self.contacts.me) {
            let contact = table.entry(node.clone()).or_insert_with(|| Contact { since: now, ..Contact::default() });
            contact.links.resize(*links, LinkContact { last_heard: None, state: LinkState::Up });
            let me = &self.contacts.me;
            contact.reports.retain(|node, _| node == me || peers.contains_key(node));
        }
    }

    pub fn set_timing(&mut self, interval: Duration, stall_after: Duration) {
        self.contacts.interval = interval;
        self.stall_after = stall_after;
    }

    /// To be called when the thread wakes, before input is read. Notices that it slept.
    pub fn wake(&mut self, now: Duration) {
        // It wakes once in an interval at least, so anything up to two is no stall.
        let stall_after = self.stall_after.max(self.contacts.interval * 2);
        self.stalled |= now.saturating_sub(self.contacts.as_of) >= stall_after;
    }

    /// Takes a verified beat that arrived at `now`: after the input was read last, and before it is read next.
    pub fn accept(&mut self, beat: &Beat, now: Duration) -> Result<(), Refused> {
        let own = (&self.contacts.me, &self.contacts.incarnation, self.contacts.sent);
        if &beat.from == own.0 {
            return Err(Refused::OwnName);
        }
        let peers = &mut self.contacts.peers;
        // What it heard of this node counts, too: who hears nobody has not heard this one either.
        let known = |node: &NodeId| node == own.0 || peers.contains_key(node);
        let about = beat.heard.iter().filter(|heard| heard.node != beat.from && known(&heard.node));
        let about: Vec<&Heard> = about.collect();
        let contact = peers.get_mut(&beat.from).ok_or(Refused::Stranger)?;
        let news = contact.take(beat, now)?;
        let boot = &mut contact.boots[0];
        let was_proven = boot.echoed.is_some();
        let echo = beat.heard.iter().find(|heard| &heard.node == own.0);
        // A number that was never sent would prove the future.
        if let Some(echo) = echo.filter(|echo| echo.incarnation.as_ref() == Some(own.1) && echo.seq <= own.2) {
            boot.echoed = boot.echoed.max(Some(echo.seq));
            // The lease runs from when that beat was sent, however long the way back was.
            let sent = |seq: u64| self.sent_at.iter().find(|(sent, _)| *sent == seq).map(|(_, at)| *at);
            let acknowledged = echo.acknowledged.and_then(sent);
            let from_receipt = planted(Planted::LeaseFromReceipt);
            let acknowledged = acknowledged.map(|sent| if from_receipt { now } else { sent });
            self.contacts.lease = self.contacts.lease.max(acknowledged);
        }
        let first_proof = !was_proven && boot.echoed.is_some();
        if news == News::NewIncarnation || first_proof {
            self.changes += 1;
        }
        let counts = contact.current().is_some_and(|current| current.incarnation == beat.incarnation);
        if counts && news != News::Overtaken {
            contact.take_reports(&about, now);
        }
        Ok(())
    }

    pub fn count_refused(&mut self, why: Refused) {
        let count = self.contacts.refused.entry(why).or_default();
        *count = count.saturating_add(1);
    }

    /// To be called when all input was read; publishes `now`.
    pub fn drained(&mut self, now: Duration) {
        self.contacts.as_of = now;
        if std::mem::take(&mut self.stalled) {
            self.contacts.listening_since = now;
            self.changes += 1;
        }
        let (patience, listening_since) = (self.contacts.patience(), self.contacts.listening_since);
        for contact in self.contacts.peers.values_mut() {
            let since = contact.since.max(listening_since);
            for link in &mut contact.links {
                let silence = now.saturating_sub(link.last_heard.unwrap_or_default().max(since));
                let state = if silence > patience { LinkState::Down } else { LinkState::Up };
                // A link that was down stays so until it is heard, whatever this node slept.
                let revived = link.last_heard.is_some_and(|heard| now.saturating_sub(heard) <= patience);
                if link.state != state && (state == LinkState::Down || revived) {
                    link.state = state;
                    self.changes += 1;
                }
            }
        }
    }

    /// Numbers the next beat; its answers prove that the peer was alive after this call.
    pub fn next_seq(&mut self, now: Duration) -> u64 {
        self.contacts.sent += 1;
        if self.sent_at.len() >= MAX_SENT {
            self.sent_at.pop_front();
        }
        self.sent_at.push_back((self.contacts.sent, now));
        self.contacts.sent
    }

    /// From the next beat on, these beats are acknowledged.
    pub fn acknowledge(&mut self, acks: BTreeMap<NodeId, (Incarnation, u64)>) {
        self.acks = acks;
    }

    /// What to tell the others: the silent first, since those matter, then the rest in turn.
    pub fn heard(&self) -> Vec<Heard> {
        let contacts = &self.contacts;
        let entry = |(node, contact): (&NodeId, &Contact)| {
            let current = contact.current();
            let heard_at = current.map_or(contact.since, |boot| boot.last_heard).max(contacts.listening_since);
            let age_ms = contacts.as_of.saturating_sub(heard_at).as_millis();
            let ack = self.acks.get(node).filter(|(of, _)| current.is_some_and(|boot| boot.incarnation == *of));
            Heard {
                acknowledged: ack.map(|(_, seq)| *seq),
                node: node.clone(),
                incarnation: current.map(|boot| boot.incarnation.clone()),
                seq: current.map_or(0, |boot| boot.seq),
                age_ms: u32::try_from(age_ms).unwrap_or(u32::MAX),
            }
        };
        let late = (contacts.interval * 2).as_millis();
        let (mut list, mut well): (Vec<Heard>, Vec<Heard>) =
            contacts.peers.iter().map(entry).partition(|heard| u128::from(heard.age_ms) > late);
        for part in [&mut list, &mut well] {
            let turn = self.rotation.checked_rem(part.len()).unwrap_or(0);
            part.rotate_left(turn);
        }
        list.append(&mut well);
        list
    }

    /// How many of [`Table::heard`] went into the last beat; the next list begins behind them.
    pub fn told(&mut self, written: usize) {
        self.rotation = if written < self.contacts.peers.len() { self.rotation.wrapping_add(written) } else { 0 };
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    NewIncarnation,
    Newer,
    /// A later beat came first, over another link.
    Overtaken,
}

impl Contact {
    /// Notes the beat and moves its boot to the front.
    fn take(&mut self, beat: &Beat, now: Duration) -> Result<News, Refused> {
        let place = self.boots.iter().position(|boot| boot.incarnation.boot == beat.incarnation.boot);
        let known = place.map(|place| &self.boots[place]);
        let news = match known {
            None => News::NewIncarnation,
            Some(boot) if beat.incarnation.counter < boot.incarnation.counter => return Err(Refused::Replayed),
            Some(boot) if beat.incarnation.counter > boot.incarnation.counter => News::NewIncarnation,
            Some(boot) if boot.seq_by_link.get(&beat.link).is_some_and(|seq| beat.seq <= *seq) => {
                return Err(Refused::Replayed);
            }
            // Links that are not known are not remembered, so only the newest beat may come over them.
            Some(boot) if beat.seq <= boot.seq && usize::from(beat.link) >= self.links.len() => {
                return Err(Refused::Replayed);
            }
            Some(boot) if beat.seq <= boot.seq => News::Overtaken,
            Some(_) => News::Newer,
        };
        let mut boot = match place {
            Some(place) if news != News::NewIncarnation => self.boots.remove(place),
            Some(_) | None => {
                if let Some(place) = place {
                    self.boots.remove(place);
                }
                BootContact {
                    incarnation: beat.incarnation.clone(),
                    first_heard: now,
                    last_heard: now,
                    seq: beat.seq,
                    echoed: None,
                    seq_by_link: BTreeMap::new(),
                }
            }
        };
        boot.seq = boot.seq.max(beat.seq);
        // The links are read one after the other, so what is read later may have come earlier.
        boot.last_heard = boot.last_heard.max(now);
        if let Some(link) = self.links.get_mut(usize::from(beat.link)) {
            boot.seq_by_link.insert(beat.link, beat.seq);
            link.last_heard = link.last_heard.max(Some(now));
        }
        if self.boots.len() >= MAX_BOOTS {
            let least = self.boots.iter().enumerate().min_by_key(|(_, boot)| (boot.echoed, boot.last_heard));
            if let Some(place) = least.map(|(place, _)| place) {
                self.boots.remove(place);
            }
        }
        self.boots.insert(0, boot);
        Ok(news)
    }

    fn take_reports(&mut self, about: &[&Heard], now: Duration) {
        for heard in about {
            let heard_at = now.saturating_sub(Duration::from_millis(u64::from(heard.age_ms)));
            let report = Report { incarnation: heard.incarnation.clone(), heard_at, reported_at: now };
            self.reports.insert(heard.node.clone(), report);
        }
    }
}
