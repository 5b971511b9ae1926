//! Watchdogs of machines, and the rounds of a leader by which heartbeats are acknowledged that keep them quiet (`links`).
//!
//! A watchdog is hardware: it fires also while its machine stands still. It fires when nobody petted it for its time-out,
//! at the latest for twice that: some count in two stages. Whoever holds the device pets it up to a moment that the core
//! has named, and never beyond; a daemon that is killed leaves it armed.

use super::world::{Sim, What};
use crate::model::{WatchdogFacts, WatchdogKind};
use crate::reconcile::Event;
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

    /// A leader with a majority confirms that it leads.
    pub fn confirm(&self, host: usize) -> Option<Event> {
        let leads = self.log.leader == Some(host) && self.has_majority(host);
        let daemon = self.hosts[host].daemon.as_ref().filter(|_| leads)?;
        let began = self.hosts[host].monotonic(self.now);
        Some(Event::Round { term: self.log.term, began, heard: daemon.table.contacts().newest() })
    }
}
