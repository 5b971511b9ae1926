//! The network: which messages come through, how late, and who hears whom.
//!
//! Heartbeats are read as the daemon reads them: they wait in an inbox, with the moment at which they came in, until a
//! look at it; the real [`Table`] says what they tell.

use super::world::{BEAT, Sim, What};
use crate::model::{BootId, Detection, NodeId};
use crate::net::contacts::Table;
use crate::net::datagram::Beat;
use crate::reconcile::{Contacts, Event};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What a checker knows of who hears whom.
#[derive(Debug, Clone)]
pub struct Ear {
    boot: BootId,
    at: u64,
    /// Since when no beat or two were missing.
    steady_since: u64,
}

/// Beats that are further apart than this, ms, are not steady.
const GAP: u64 = 1_000;
/// Heartbeats of one round are looked at so long after they were sent, ms: all that are not late have come by then.
const LOOK: u64 = 15;
/// Heartbeats that wait for a daemon that does not read, or are on their way to it; more are lost, as in a full buffer.
const INBOX: usize = 128;
/// Where messages get lost, this many of a hundred heartbeats come twice, the second one up to [`STRAY`] ms later.
const DOUBLED: u64 = 20;
const STRAY: u64 = 4_000;

impl Sim {
    /// Whether messages from one host reach another, losses aside.
    pub fn linked(&self, from: usize, to: usize) -> bool {
        from == to || !self.cut.contains_key(&(from, to))
    }

    pub fn is_lossy(&mut self, from: usize, to: usize) -> bool {
        match self.lossy.get(&(from, to)).copied() {
            Some(percent) => self.rng.percent(percent),
            None => false,
        }
    }

    /// How long a message takes, ms.
    pub fn travel(&mut self, from: usize, to: usize) -> u64 {
        self.rng.range(1, 12) + self.hosts[from].slow.max(self.hosts[to].slow)
    }

    /// Whether the daemon of a host does anything.
    pub fn awake(&self, host: usize) -> bool {
        let machine = &self.hosts[host];
        machine.up && machine.daemon.is_some() && machine.paused_until.max(machine.stalled_until) <= self.now
    }

    /// Elections, and heartbeats that leave.
    pub fn beat(&mut self) {
        self.elect();
        for from in 0..self.hosts.len() {
            if !self.awake(from) {
                continue;
            }
            // What it says of others is as old as its last reading: the thread reads before it sends.
            self.hear(from);
            let now = self.hosts[from].monotonic(self.now);
            let name = self.hosts[from].name.clone();
            let Some(daemon) = &mut self.hosts[from].daemon else { continue };
            let (seq, heard) = (daemon.table.next_seq(now), daemon.table.heard());
            let beat = Beat { from: name, incarnation: daemon.incarnation.clone(), seq, link: 0, heard };
            let beat = Arc::new(beat);
            for to in 0..self.hosts.len() {
                if from != to && self.linked(from, to) {
                    self.send_beat(from, to, &beat);
                }
            }
        }
        self.at(LOOK, What::Look);
        self.at(BEAT, What::Beat);
    }

    /// Lost, late, or late and once more.
    fn send_beat(&mut self, from: usize, to: usize, beat: &Arc<Beat>) {
        let lossy = self.lossy.contains_key(&(from, to));
        if self.is_lossy(from, to) {
            return;
        }
        let at = self.now + self.travel(from, to);
        let again = (lossy && self.rng.percent(DOUBLED)).then(|| at + self.rng.range(1, STRAY));
        for at in [Some(at), again].into_iter().flatten() {
            if self.hosts[to].inbox.len() < INBOX {
                self.hosts[to].inbox.push((at, Arc::clone(beat)));
            }
        }
    }

    /// What the heartbeats and the log tell every daemon.
    pub fn look(&mut self) {
        let newest = self.states.len() - 1;
        for host in 0..self.hosts.len() {
            if !self.awake(host) {
                continue;
            }
            let Some((life, seen)) = self.hosts[host].daemon.as_ref().map(|d| (d.life, d.seen)) else { continue };
            let fed = self.log.leader.is_some_and(|leader| self.linked(leader, host));
            if fed && seen < newest {
                self.at(20, What::Deliver { host, life });
            }
            self.hear(host);
            let lease = self.lease(host);
            let mut events = vec![Event::Leadership(self.leadership(host)), Event::Contacts(self.contacts(host))];
            if self.watched {
                events.extend(lease);
                events.extend(self.confirm(host));
            }
            self.step(host, events);
        }
        self.check_alone();
    }

    /// A newer lease, if there is one.
    fn lease(&mut self, host: usize) -> Option<Event> {
        let daemon = self.hosts[host].daemon.as_mut()?;
        let sent = daemon.table.contacts().lease?;
        (daemon.lease.replace(sent) != Some(sent)).then_some(Event::Lease { sent })
    }

    /// A daemon reads what has come in.
    fn hear(&mut self, host: usize) {
        let (now, resumed) = (self.now, self.hosts[host].paused_until);
        let mut came = Vec::new();
        self.hosts[host].inbox.retain(|(at, beat)| {
            let here = *at <= now;
            if here {
                // A machine that stands still takes nothing in before it goes on.
                came.push(((*at).max(resumed), Arc::clone(beat)));
            }
            !here
        });
        came.sort_by_key(|(at, _)| *at);
        let clock = self.hosts[host].monotonic(now);
        let Some(daemon) = &mut self.hosts[host].daemon else { return };
        daemon.table.wake(clock);
        for (at, beat) in came {
            let arrived = self.hosts[host].monotonic(at);
            let Some(daemon) = &mut self.hosts[host].daemon else { return };
            // As the shell says it: what was not there at the last look came after it.
            let arrived = arrived.max(daemon.table.contacts().as_of);
            let counts = daemon.table.accept(&beat, arrived).is_ok() && {
                // A boot that has not heard this one counts for nothing beside one that had: it may be a recording.
                let peer = daemon.table.contacts().peers.get(&beat.from);
                peer.and_then(|peer| peer.current()).is_some_and(|boot| boot.incarnation == beat.incarnation)
            };
            if counts {
                let from = self.host_of(&beat.from);
                self.hosts[host].note_ear(from, &beat.incarnation.boot, at);
            }
        }
        if let Some(daemon) = &mut self.hosts[host].daemon {
            daemon.table.drained(clock);
        }
    }

    /// The table of a daemon that starts: it listens for all the others.
    pub fn new_table(&self, host: usize, counter: u64) -> Table {
        let machine = &self.hosts[host];
        let (now, interval) = (machine.monotonic(self.now), Duration::from_millis(BEAT));
        let incarnation = crate::model::Incarnation { boot: self.boot_id(host), counter };
        let stall = Detection::DEFAULT.suspect_after / 2;
        let mut table = Table::new(machine.name.clone(), incarnation, interval, stall, now);
        let peers: BTreeMap<NodeId, usize> = self.hosts.iter().map(|host| (host.name.clone(), 1)).collect();
        table.set_peers(&peers, now);
        table
    }

    /// Whether a host that is awake has heard this boot of another one all the time for so long.
    pub fn hears_steadily(&self, host: usize, other: usize, boot: &BootId, ms: u64) -> bool {
        let ear = self.hosts[host].ears.get(&other);
        let steady = |ear: &Ear| self.now - ear.at <= GAP && self.now - ear.steady_since >= ms;
        self.awake(host) && ear.is_some_and(|ear| &ear.boot == boot && steady(ear))
    }

    fn contacts(&self, host: usize) -> Contacts {
        let daemon = self.hosts[host].daemon.as_ref();
        daemon.map_or_else(Contacts::default, |daemon| Contacts::of(daemon.table.contacts()))
    }
}

impl super::machines::Host {
    fn note_ear(&mut self, from: usize, boot: &BootId, at: u64) {
        let known = self.ears.get(&from).filter(|old| &old.boot == boot && at.saturating_sub(old.at) <= GAP);
        let steady_since = known.map_or(at, |old| old.steady_since);
        self.ears.insert(from, Ear { boot: boot.clone(), at, steady_since });
    }
}
