//! The network: which messages come through, how late, and who hears whom.

use super::world::{BEAT, Sim, What};
use crate::model::{BootId, Incarnation, NodeId};
use crate::reconcile::{Contact, Contacts, Event};
use std::collections::BTreeMap;
use std::time::Duration;

/// The last heartbeat that came from a peer.
#[derive(Debug, Clone)]
pub struct Heard {
    boot: BootId,
    pub incarnation: Option<Incarnation>,
    at: u64,
    /// The number of it, and of the last one that peer had heard from here.
    pub number: u64,
    echo: Option<u64>,
    /// Since when no beat or two were missing.
    steady_since: u64,
    /// The boot before it.
    before: Option<(BootId, u64)>,
    /// What it said of others: which boot it heard last, and when.
    told: BTreeMap<NodeId, (Option<BootId>, u64)>,
}

/// Beats that are further apart than this, ms, are not steady.
const GAP: u64 = 1_000;

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

    /// Heartbeats, elections, and what they tell every daemon.
    pub fn beat(&mut self) {
        self.elect();
        for from in 0..self.hosts.len() {
            if !self.awake(from) {
                continue;
            }
            self.hosts[from].beats += 1;
            self.remember_beat(from);
            for to in 0..self.hosts.len() {
                let there = from != to && self.linked(from, to) && self.hosts[to].daemon.is_some();
                if there && !self.is_lossy(from, to) {
                    self.hear(from, to);
                }
            }
        }
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
            let mut events = vec![Event::Leadership(self.leadership(host)), Event::Contacts(self.contacts(host))];
            if self.watched {
                events.extend(self.confirm(host));
            }
            self.step(host, events);
        }
        self.check_alone();
        self.at(BEAT, What::Beat);
    }

    fn hear(&mut self, from: usize, to: usize) {
        let now = self.now;
        let boot = self.boot_id(from);
        let since = self.hosts[from].daemon.as_ref().map_or(now, |daemon| daemon.started);
        let told = (0..self.hosts.len()).filter(|other| *other != from).map(|other| {
            let heard = self.hosts[from].heard.get(&other).map(|heard| (Some(heard.boot.clone()), heard.at));
            (self.hosts[other].name.clone(), heard.unwrap_or((None, since)))
        });
        let told = told.collect();
        // What an earlier daemon of it had sent says nothing to this one.
        let asks = self.hosts[to].daemon.as_ref().map(|daemon| &daemon.incarnation);
        let heard = self.hosts[from].heard.get(&to).filter(|heard| heard.incarnation.as_ref() == asks);
        let echo = heard.map(|heard| heard.number);
        let number = self.hosts[from].beats;
        let incarnation = self.hosts[from].daemon.as_ref().map(|daemon| daemon.incarnation.clone());
        let old = self.hosts[to].heard.remove(&from);
        let steady = old.as_ref().filter(|old| old.boot == boot && now - old.at <= GAP);
        let steady_since = steady.map_or(now, |old| old.steady_since);
        let before = match old {
            Some(old) if old.boot != boot => Some((old.boot, old.at)),
            Some(old) => old.before,
            None => None,
        };
        self.hosts[to]
            .heard
            .insert(from, Heard { boot, incarnation, at: now, number, echo, steady_since, before, told });
    }

    /// Whether a host that is awake has heard this boot of another one all the time for so long.
    pub fn hears_steadily(&self, host: usize, other: usize, boot: &BootId, ms: u64) -> bool {
        let heard = self.hosts[host].heard.get(&other);
        let steady = |heard: &Heard| self.now - heard.at <= GAP && self.now - heard.steady_since >= ms;
        self.awake(host) && heard.is_some_and(|heard| &heard.boot == boot && steady(heard))
    }

    fn contacts(&self, host: usize) -> Contacts {
        let age = |at: u64| Duration::from_millis(self.now - at);
        let peers = self.hosts[host].heard.iter().map(|(peer, heard)| {
            let told = heard.told.iter().map(|(node, (boot, at))| (node.clone(), (boot.clone(), age(*at))));
            let contact = Contact {
                boot: heard.boot.clone(),
                age: age(heard.at),
                echoed: heard.echo,
                others: heard.before.iter().map(|(boot, at)| (boot.clone(), age(*at))).collect(),
                heard: told.collect(),
            };
            (self.hosts[*peer].name.clone(), contact)
        });
        Contacts { sent: self.hosts[host].beats, peers: peers.collect() }
    }
}
