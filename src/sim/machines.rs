//! Machines, and the daemon on each: power, boots, clocks, and the real `reconcile::Node` in between.

use super::agents::{Doing, Mode, Service, Thing, thing_of};
use super::check::Invariant;
use super::links::Ear;
use super::rng::Rng;
use super::watchdogs::Dog;
use super::world::{Sim, WALL, What};
use crate::model::planted::{Planted, planted};
use crate::model::*;
use crate::net::contacts::Table;
use crate::net::datagram::Beat;
use crate::reconcile::{Config, Effect, Event, Node};
use crate::state::{FEATURE_LEVEL, JoinFacts, Phase};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Clocks differ by so many millionths at most: a tenth of a percent, as the design assumes of real ones.
const DRIFT: u64 = 1_000;
/// More wake-ups of a daemon in a second than this are spinning.
const SPINS: u32 = 60;

/// What truly is on one machine.
#[derive(Clone)]
pub struct Host {
    pub name: NodeId,
    pub votes: bool,
    pub up: bool,
    pub powered: bool,
    pub boot: u64,
    boot_id: BootId,
    pub counter: u64,
    /// The whole machine stands still, services included; then it goes on as if nothing had happened.
    pub paused_until: u64,
    /// Its daemon alone stands still.
    pub stalled_until: u64,
    /// Its disk takes nothing until then.
    pub disk_until: u64,
    /// Its messages take this much longer, ms.
    pub slow: u64,
    /// Its wall clock is off by this, ms; its monotonic clock runs faster by so many millionths.
    pub wall_off: i64,
    drift: i64,
    /// The feature level of the program that is installed.
    pub level: u32,
    pub daemon: Option<Daemon>,
    /// The newest state on its disk, by index.
    pub applied: usize,
    /// What runs, from the beginning of its start to the end of its stop.
    pub services: BTreeMap<Thing, Service>,
    pub ops: BTreeMap<u64, Doing>,
    /// How the next operations of a kind go wrong.
    pub broken: BTreeMap<(Thing, ActionKind), Mode>,
    /// How every operation of a kind goes wrong, for scripts.
    pub always: BTreeMap<(Thing, ActionKind), Mode>,
    /// How the devices that fence this host behave.
    pub device: Mode,
    /// Devices of it that behave in their own way, for scripts.
    pub devices: BTreeMap<DeviceId, Mode>,
    /// Heartbeats on their way to it, each with when it comes in.
    pub inbox: Vec<(u64, Arc<Beat>)>,
    /// Whom it hears, as the checkers see it.
    pub ears: BTreeMap<usize, Ear>,
    /// A device said that this boot is off, and lied: nobody can keep what it runs from running twice.
    pub lied_off: Option<u64>,
    /// The watchdog of the machine, if it is armed.
    pub watchdog: Option<Dog>,
    /// Comes back no more by itself.
    pub stays_off: bool,
}

#[derive(Clone)]
pub struct Daemon {
    pub life: u64,
    pub node: Node,
    pub incarnation: Incarnation,
    /// Who was heard when, as the heartbeat thread keeps it.
    pub table: Table,
    /// The lease it was told of last: when the heartbeat was sent that earned it.
    pub lease: Option<Duration>,
    /// The state it has taken in, by index.
    pub seen: usize,
    wake: Option<u64>,
    pub started: u64,
    pub watched: BTreeSet<InstanceId>,
    spins: (u64, u32),
}

impl Host {
    pub fn new(name: NodeId, votes: bool, level: Option<u32>, rng: &mut Rng) -> Self {
        Self {
            boot_id: BootId::new(format!("{name}-b0")),
            name,
            votes,
            up: false,
            powered: true,
            boot: 0,
            counter: 0,
            paused_until: 0,
            stalled_until: 0,
            disk_until: 0,
            slow: 0,
            wall_off: 0,
            drift: rng.range(0, 2 * DRIFT) as i64 - DRIFT as i64,
            level: level.unwrap_or(FEATURE_LEVEL),
            daemon: None,
            applied: 0,
            services: BTreeMap::new(),
            ops: BTreeMap::new(),
            broken: BTreeMap::new(),
            always: BTreeMap::new(),
            device: Mode::Works,
            devices: BTreeMap::new(),
            inbox: Vec::new(),
            ears: BTreeMap::new(),
            lied_off: None,
            watchdog: None,
            stays_off: false,
        }
    }

    /// Its monotonic clock at a true time.
    pub fn monotonic(&self, now: u64) -> Duration {
        let micros = i128::from(now) * i128::from(1_000_000 + self.drift) / 1_000;
        Duration::from_micros(micros as u64)
    }

    /// The first true ms at which its monotonic clock shows at least this.
    pub fn true_time(&self, at: Duration) -> u64 {
        let micros = at.as_micros() as i128 * 1_000;
        (micros / i128::from(1_000_000 + self.drift)) as u64 + 1
    }
}

impl Sim {
    pub fn boot_id(&self, host: usize) -> BootId {
        self.hosts[host].boot_id.clone()
    }

    /// The wall clock of a host.
    pub fn wall(&self, host: usize) -> u64 {
        (WALL + self.now).saturating_add_signed(self.hosts[host].wall_off)
    }

    pub fn daemon(&mut self, host: usize, life: u64) -> Option<&mut Daemon> {
        self.hosts[host].daemon.as_mut().filter(|daemon| daemon.life == life)
    }

    pub fn boot(&mut self, host: usize, boot: u64) {
        let machine = &mut self.hosts[host];
        if machine.up || !machine.powered || machine.boot != boot || machine.stays_off {
            return;
        }
        (machine.up, machine.boot, machine.counter) = (true, boot + 1, 0);
        machine.boot_id = BootId::new(format!("{}-b{}", machine.name, machine.boot));
        (machine.paused_until, machine.stalled_until) = (0, 0);
        self.told(|| format!("n{} boots ({})", host + 1, boot + 1));
        let delay = self.rng.range(50, 500);
        self.at(delay, What::DaemonStart { host, boot: boot + 1 });
    }

    /// The machine stops at once.
    pub fn crash(&mut self, host: usize) {
        if self.hosts[host].up {
            self.told(|| format!("n{} goes dark", host + 1));
        }
        let machine = &mut self.hosts[host];
        machine.up = false;
        machine.daemon = None;
        let lost = std::mem::take(&mut machine.services);
        machine.ops.clear();
        machine.ears.clear();
        machine.watchdog = None;
        (machine.paused_until, machine.stalled_until) = (0, 0);
        self.forget_unsynced(host);
        self.checks.forget(host);
        self.checks.crashed(host);
        lost.keys().for_each(|thing| self.checks.died(host, thing));
    }

    pub fn power_off(&mut self, host: usize) {
        self.hosts[host].powered = false;
        self.crash(host);
    }

    pub fn power_on(&mut self, host: usize) {
        self.hosts[host].powered = true;
        let (delay, boot) = (self.rng.range(1_500, 4_000), self.hosts[host].boot);
        self.at(delay, What::Boot { host, boot });
    }

    pub fn kill_daemon(&mut self, host: usize) {
        self.say(|| format!("the daemon of n{} is killed", host + 1));
        self.hosts[host].daemon = None;
        self.checks.forget(host);
    }

    pub fn start_daemon(&mut self, host: usize, boot: u64) {
        if !self.hosts[host].up || self.hosts[host].boot != boot || self.hosts[host].daemon.is_some() {
            return;
        }
        // Operations of an earlier daemon are ended and waited out first.
        if !planted(Planted::AdoptsWithoutJournal) {
            for (_, doing) in std::mem::take(&mut self.hosts[host].ops) {
                let half = self.rng.one_in(2);
                self.take_effect(host, &doing, half, true);
            }
        }
        self.forget_reloads(host);
        self.serial += 1;
        let (life, boot, now) = (self.serial, self.boot_id(host), self.now);
        let table = self.new_table(host, self.hosts[host].counter + 1);
        let machine = &mut self.hosts[host];
        machine.counter += 1;
        machine.ears.clear();
        // Nobody listened for what came before.
        machine.inbox.retain(|(at, _)| *at > now);
        let incarnation = Incarnation { boot, counter: machine.counter };
        let facts = JoinFacts {
            addresses: Vec::new(),
            port: 7443,
            version: "sim".into(),
            feature_level: machine.level,
            recipient: None,
        };
        let config = Config { node: machine.name.clone(), incarnation: incarnation.clone(), facts, cores: 2 };
        let node = Node::new(config, machine.monotonic(now));
        let (watched, spins, seen) = (BTreeSet::new(), (0, 0), machine.applied);
        machine.daemon = Some(Daemon {
            life,
            node,
            incarnation,
            table,
            lease: None,
            seen,
            wake: None,
            started: now,
            watched,
            spins,
        });
        self.say(|| format!("the daemon of n{} starts", host + 1));
        // What its own disk has, however old.
        let (state, graph) = (Arc::clone(&self.states[seen]), self.graph(seen));
        self.step(host, [Event::CommittedWith { state, graph }]);
        self.at(5, What::Deliver { host, life });
    }

    /// A reload that the daemon before did not tell the end of is settled with what was started, whatever it did.
    fn forget_reloads(&mut self, host: usize) {
        let state = Arc::clone(self.newest());
        let claims = state.claims_on(&self.hosts[host].name).filter(|(_, claim)| claim.phase == Phase::Reloading);
        for (key, claim) in claims {
            if let Some(definition) = state.definitions.get(&claim.definition) {
                self.checks.half_reloaded(host, &thing_of(&key.instance.resource, &definition.resource));
            }
        }
    }

    /// The log hands on what it has applied.
    pub fn deliver(&mut self, host: usize, life: u64) {
        let newest = (self.states.len() - 1).min(self.log.stored[host]);
        let reached = self.log.leader.is_some_and(|leader| self.linked(leader, host));
        let fresh = self.daemon(host, life).is_some_and(|daemon| daemon.seen < newest);
        if !fresh || !reached {
            return;
        }
        if let Some(daemon) = self.daemon(host, life) {
            daemon.seen = newest;
        }
        self.hosts[host].applied = newest;
        let (state, graph) = (Arc::clone(&self.states[newest]), self.graph(newest));
        self.step(host, [Event::CommittedWith { state, graph }]);
    }

    pub fn wake(&mut self, host: usize, life: u64) {
        let now = self.now;
        let Some(daemon) = self.daemon(host, life).filter(|daemon| daemon.wake.is_some_and(|at| at <= now)) else {
            return;
        };
        daemon.wake = None;
        let second = now / 1_000;
        daemon.spins = (second, if daemon.spins.0 == second { daemon.spins.1 + 1 } else { 1 });
        if daemon.spins.1 > SPINS {
            return self.violated(Invariant::Rest, format!("the daemon of n{} spins", host + 1));
        }
        self.step(host, [Event::Tick]);
    }

    pub fn step(&mut self, host: usize, events: impl IntoIterator<Item = Event>) {
        let (now, wall) = (self.now, self.wall(host));
        let machine = &mut self.hosts[host];
        let clock = machine.monotonic(now);
        let Some(daemon) = &mut machine.daemon else { return };
        let life = daemon.life;
        let effects = daemon.node.step_all(clock, wall, events);
        let wake = daemon.node.next_wake();
        let wake = wake.map(|at| machine.true_time(at).max(now + 1));
        let daemon = machine.daemon.as_mut().expect("it was there a moment ago");
        if let Some(at) = wake
            && daemon.wake.is_none_or(|old| at < old)
        {
            daemon.wake = Some(at);
            self.at(at - now, What::Wake { host, life });
        }
        for effect in effects {
            // What a daemon wanted after it ended is nobody's wish any more.
            if self.daemon(host, life).is_some() {
                self.perform(host, life, effect);
            }
        }
    }

    fn perform(&mut self, host: usize, life: u64, effect: Effect) {
        let n = host + 1;
        match effect {
            Effect::Propose { id, commands, term } => {
                self.detail(|| format!("n{n} proposes {}: {commands:?}", id.0));
                self.checks.proposed(host, id, &commands);
                self.propose(host, life, id, commands, term);
            }
            Effect::Run { op, request } => self.run_agent(host, life, op, request),
            Effect::Watch { instance, .. } => {
                if let Some(daemon) = self.daemon(host, life) {
                    daemon.watched.insert(instance);
                }
            }
            Effect::Unwatch { instance } => {
                if let Some(daemon) = self.daemon(host, life) {
                    daemon.watched.remove(&instance);
                }
            }
            Effect::Fence { attempt, target, timeout, devices } => {
                self.fence(host, life, attempt, &target, &devices, timeout);
            }
            Effect::Check { name, target, .. } => self.check_device(host, life, name, &target),
            Effect::Report { number, status, .. } => self.report(host, life, number, status),
            Effect::SwitchOn { attempt, target, .. } => {
                let target = self.host_of(&target);
                self.at(100, What::PowerOn { host, life, attempt, target });
            }
            Effect::Acknowledge { acks } => {
                if let Some(daemon) = self.daemon(host, life) {
                    daemon.table.acknowledge(acks);
                }
            }
            Effect::Arm { timeout, .. } => self.arm(host, life, timeout),
            Effect::Pet { until } => self.pet(host, until),
            Effect::Disarm => self.hosts[host].watchdog = None,
            Effect::Note { key, text } => self.detail(|| format!("n{n} notes {key:?}: {text}")),
            Effect::Exit { clean } => {
                self.told(|| format!("the daemon of n{n} ends (clean: {clean})"));
                self.check_exit(host, clean);
                self.hosts[host].daemon = None;
                self.checks.forget(host);
                let (delay, boot) = (self.rng.range(500, 3_000), self.hosts[host].boot);
                self.at(delay, What::DaemonStart { host, boot });
            }
        }
    }
}
