//! Watchdogs of machines, and the acknowledged heartbeats that keep them quiet.
//!
//! A watchdog is hardware: it fires also while its machine stands still. It fires when nobody petted it for its time-out,
//! at the latest for twice that: some count in two stages. Whoever holds the device pets it up to a moment that the core
//! has named, and never beyond; a daemon that is killed leaves it armed.

use super::world::{Sim, What};
use crate::model::planted::{Planted, planted};
use crate::model::{Incarnation, NodeId, WatchdogFacts, WatchdogKind};
use crate::reconcile::Event;
use std::collections::BTreeMap;
use std::time::Duration;

/// An armed watchdog.
#[derive(Debug, Clone)]
pub struct Dog {
    timeout: Duration,
    /// Until when it is petted, ms of the world.
    until: u64,
    /// Numbers what it was told last.
    word: u64,
}

/// Sent heartbeats that are remembered: those of many seconds.
const REMEMBERED: u64 = 100;

impl Sim {
    pub fn arm(&mut self, host: usize, life: u64, timeout: Duration) {
        let facts = WatchdogFacts { identity: "simulated".into(), timeout, kind: WatchdogKind::Hardware };
        self.serial += 1;
        self.hosts[host].watchdog = Some(Dog { timeout, until: u64::MAX, word: self.serial });
        let now = self.hosts[host].monotonic(self.now);
        self.pet(host, now);
        self.at(5, What::Armed { host, life, facts });
    }

    /// The watchdog is petted until then.
    pub fn pet(&mut self, host: usize, until: Duration) {
        self.serial += 1;
        let (word, boot) = (self.serial, self.hosts[host].boot);
        let (now, until) = (self.now, self.hosts[host].true_time(until));
        let Some(dog) = &mut self.hosts[host].watchdog else { return };
        if dog.until.max(until) <= now {
            // Nobody has petted it since, and nobody does now: it fires as it would have.
            return;
        }
        let until = until.max(now);
        (dog.until, dog.word) = (until, word);
        let timeout = dog.timeout.as_millis() as u64;
        let fires = until + self.rng.range(timeout, 2 * timeout);
        self.at(fires - self.now, What::Fires { host, boot, word });
    }

    pub fn fires(&mut self, host: usize, boot: u64, word: u64) {
        let machine = &self.hosts[host];
        let meant = machine.up && machine.boot == boot && machine.watchdog.as_ref().is_some_and(|dog| dog.word == word);
        if meant {
            self.told(|| format!("the watchdog of n{} resets it", host + 1));
            self.crash(host);
            let back = self.rng.range(1_500, 4_000);
            self.at(back, What::Boot { host, boot });
        }
    }

    /// A heartbeat leaves.
    pub fn remember_beat(&mut self, host: usize) {
        let machine = &mut self.hosts[host];
        let sent = machine.monotonic(self.now);
        let number = machine.beats;
        machine.sent.insert(number, sent);
        machine.sent.retain(|old, _| old + REMEMBERED > number);
    }

    /// A leader with a majority confirms that it leads.
    pub fn confirm(&mut self, host: usize) -> Option<Event> {
        let leads = self.log.leader == Some(host) && self.has_majority(host);
        if !leads {
            return None;
        }
        let began = self.hosts[host].monotonic(self.now);
        let heard = self.hosts[host].heard.iter().filter_map(|(peer, heard)| {
            Some((self.hosts[*peer].name.clone(), (heard.incarnation.clone()?, heard.number)))
        });
        Some(Event::Round { term: self.log.term, began, heard: heard.collect() })
    }

    /// A leader tells nodes which of their heartbeats count.
    pub fn acknowledge(&mut self, from: usize, acks: &BTreeMap<NodeId, (Incarnation, u64)>) {
        for (name, (incarnation, number)) in acks {
            let to = self.host_of(name);
            if self.linked(from, to) && !self.is_lossy(from, to) {
                let delay = self.travel(from, to);
                let (incarnation, number) = (incarnation.clone(), *number);
                self.at(delay, What::Acknowledged { host: to, incarnation, number });
            }
        }
    }

    pub fn acknowledged(&mut self, host: usize, incarnation: &Incarnation, number: u64) {
        let machine = &self.hosts[host];
        let mine = machine.daemon.as_ref().is_some_and(|daemon| daemon.incarnation == *incarnation);
        let sent = machine.sent.get(&number).copied().filter(|_| mine);
        let now = machine.monotonic(self.now);
        if let Some(sent) = sent {
            let sent = if planted(Planted::LeaseFromReceipt) { now } else { sent };
            self.step(host, [Event::Lease { sent }]);
        }
    }
}
