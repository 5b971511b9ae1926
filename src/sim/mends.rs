//! What is undone later, and the end of all faults.

use super::agents::Mode;
use super::world::{Sim, What};
use crate::model::*;
use crate::state::{NodeState, OverrideKind, Scope};

/// In one seed of so many a machine is lost for good when the faults end: the others have to go on without it.
const GONE: u64 = 4;

/// What is undone later.
#[derive(Debug, Clone)]
pub enum Mend {
    Cut(Vec<(usize, usize)>),
    Lossy,
    Slow(usize),
    Device(usize),
    /// An operator takes an override back.
    Lift(Scope, OverrideKind),
    LiftAll,
    Add(ResourceId, Box<Resource>),
    Unclone,
    Cleanup,
}

impl Sim {
    pub fn mend(&mut self, mend: Mend) {
        match mend {
            Mend::Cut(pairs) => {
                let held = |count: &mut usize| {
                    *count -= 1;
                    *count > 0
                };
                self.cut.retain(|pair, count| !pairs.contains(pair) || held(count));
            }
            Mend::Lossy => self.lossy.clear(),
            Mend::Slow(host) => self.hosts[host].slow = 0,
            Mend::Device(host) => self.hosts[host].device = Mode::Works,
            Mend::Lift(scope, kind) => {
                if !self.clear_overrides(|known, of| *known == scope && *of == kind) {
                    self.at(1_000, What::Mend(Mend::Lift(scope, kind)));
                }
            }
            Mend::LiftAll => {
                // A move stays a move.
                _ = self.clear_overrides(|_, kind| {
                    !matches!(kind, OverrideKind::Move { .. } | OverrideKind::Fence | OverrideKind::Shutdown)
                });
            }
            Mend::Add(name, resource) => {
                self.told(|| format!("-- git has {name} again"));
                self.spec.resources.insert(name, *resource);
                let mut builder = super::build::Builder { spec: self.spec.clone() };
                builder.order("db", "web");
                self.spec = builder.spec;
                self.push();
            }
            Mend::Unclone => {
                if self.spec.clones.remove("webs").is_some() {
                    self.told(|| "-- git has one web again".to_owned());
                    self.push();
                }
            }
            Mend::Cleanup => {
                // Whoever was switched off late, or too often, or by an executor that is gone, is switched on by hand;
                // and a boot that a device called off although it runs needs a hand, too.
                for host in 0..self.hosts.len() {
                    let boot = self.boot_id(host);
                    let state = self.newest();
                    let burnt = state.nodes.get(&self.hosts[host].name).is_some_and(|node| node.burnt.contains(&boot));
                    if self.is_calm() && !self.hosts[host].stays_off {
                        if !self.hosts[host].powered {
                            self.power_on(host);
                        } else if burnt && self.hosts[host].up {
                            self.crash(host);
                            self.power_on(host);
                        }
                    }
                }
                self.cleanup();
            }
        }
    }

    /// A machine goes dark and does not come back: it has to be proven off, and what it ran goes on elsewhere.
    fn lose_one(&mut self) {
        if self.hosts.len() < 3 || !self.rng.one_in(GONE) {
            return;
        }
        let host = self.rng.below(self.hosts.len());
        if self.can_be_missed(host) {
            self.told(|| format!("-- n{} is lost for good", host + 1));
            self.hosts[host].stays_off = true;
            if self.hosts[host].up {
                self.crash(host);
            }
        }
    }

    /// Whether the others still are a majority that remembers everything, somebody of them may run resources, and this
    /// one can be proven off without a person: devices that were caught lying are asked no more, and a lease counts only
    /// of a boot that has armed its watchdog.
    fn can_be_missed(&self, host: usize) -> bool {
        let name = &self.hosts[host].name;
        let voters = (0..self.hosts.len()).filter(|other| self.hosts[*other].votes).count();
        let votes = |other: &usize| *other != host && self.hosts[*other].votes && !self.log.behind[*other];
        let left = (0..self.hosts.len()).filter(votes).count();
        let runs = |(other, node): (&NodeId, &Node)| other != name && node.role.runs_resources();
        let known = self.newest().nodes.get(name);
        let lied = self.hosts[host].lied_off.is_some() || known.is_some_and(|node| !node.contradicted.is_empty());
        let armed = |node: &NodeState| node.incarnation.boot == self.boot_id(host) && node.watchdog.is_some();
        let can_be_proven_off = !lied && (!self.watched || known.is_some_and(armed));
        left > voters / 2 && self.spec.nodes.iter().any(runs) && can_be_proven_off
    }

    /// The last fault is over.
    pub fn heal(&mut self) {
        self.told(|| "-- the faults end".into());
        self.healed = true;
        self.calm_at = self.now;
        self.cut.clear();
        self.lossy.clear();
        self.forgetful = 0;
        self.lose_one();
        for host in 0..self.hosts.len() {
            let machine = &mut self.hosts[host];
            machine.broken.clear();
            machine.device = Mode::Works;
            machine.slow = 0;
            (machine.paused_until, machine.stalled_until, machine.disk_until) = (0, 0, 0);
            let boot = machine.boot;
            if !machine.up && !machine.stays_off {
                self.power_on(host);
            }
            self.at(3_000, What::DaemonStart { host, boot });
        }
        for delay in [6_000, 20_000, 45_000, 70_000, 95_000] {
            self.at(delay, What::Mend(Mend::Cleanup));
            self.at(delay + 10, What::Mend(Mend::LiftAll));
            // A push that looked while an earlier one was on its way may have been overtaken by it.
            self.at(delay + 20, What::Push);
        }
    }
}
