//! Agents of the simulated world: they start, stop and look at things, slowly, and sometimes fail, hang or lie.

use super::check::Invariant;
use super::world::{Sim, What};
use crate::model::*;
use crate::reconcile::{Event, OpId};
use crate::state::{ClaimKey, Phase};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Something that can run: what the parameter `state` of a Dummy names, whatever the resource is called in git.
pub type Thing = Arc<str>;

/// What is slow takes less than this, ms: its time-out is 3 s.
const SLOWEST: u64 = 2_900;

/// How an agent or a device behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Works,
    Fails,
    Hangs,
    /// Works, just before its time is up.
    Slow,
    /// Reports nothing in time, and then does it (devices).
    Late,
    /// Says that it is done, and did nothing.
    Lies,
    /// One of several devices works.
    Half,
    /// What the agent needs is not installed there: every action says so, and does nothing.
    Missing,
}

impl Mode {
    fn works(self) -> bool {
        matches!(self, Self::Works | Self::Slow)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Works => "work",
            Self::Fails => "fail",
            Self::Hangs => "hang",
            Self::Slow => "be slow",
            Self::Late => "work too late",
            Self::Lies => "lie",
            Self::Half => "do half of it",
            Self::Missing => "say that it is not installed",
        })
    }
}

/// Something that runs.
#[derive(Debug, Clone)]
pub struct Service {
    pub promoted: bool,
    /// With which it was started, or which it has taken over since.
    pub params: Arc<Definition>,
    /// An agent lied about it: nobody can know what it does.
    pub excused: bool,
    /// When somebody started it by hand: nobody can know before the node's daemon looks, which it does when it joins.
    pub by_hand: Option<u64>,
}

impl Service {
    fn begun(request: &AgentRequest) -> Self {
        Self { promoted: false, params: Arc::clone(&request.definition), excused: false, by_hand: None }
    }

    /// Started by hand, or lied about: what becomes of it is nobody's fault but theirs.
    pub fn is_nobodys(&self) -> bool {
        self.excused || self.by_hand.is_some()
    }
}

/// An agent that runs.
#[derive(Debug, Clone)]
pub struct Doing {
    pub life: u64,
    pub op: OpId,
    pub request: AgentRequest,
    pub mode: Mode,
    /// What a reading saw when it began, if that is what it will tell.
    early: Option<Option<bool>>,
    /// What a start brings up is there only when it ends.
    late: bool,
    /// The boot that something is moved to: a connection does not outlive it.
    peer: Option<(usize, BootId)>,
}

/// The thing that a resource is.
pub fn thing_of(name: &ResourceId, resource: &Resource) -> Thing {
    resource.params.get("state").map_or_else(|| Arc::from(name.as_str()), |state| Arc::from(state.as_str()))
}

impl Doing {
    pub fn thing(&self) -> Thing {
        thing_of(&self.request.instance.resource, &self.request.definition.resource)
    }
}

/// Whether an action only looks.
pub fn looks(kind: ActionKind) -> bool {
    matches!(kind, ActionKind::Probe | ActionKind::Monitor)
}

impl Sim {
    pub fn run_agent(&mut self, host: usize, life: u64, op: OpId, request: AgentRequest) {
        let quiet = looks(request.kind) || request.kind == ActionKind::Notify;
        let line = || format!("n{} begins to {} {}", host + 1, request.kind, request.instance);
        if quiet {
            self.detail(line)
        } else {
            self.say(line)
        }
        self.check_run(host, &request);
        let thing = thing_of(&request.instance.resource, &request.definition.resource);
        let what = (thing.clone(), request.kind);
        let mode = self.hosts[host].broken.remove(&what).or(self.hosts[host].always.get(&what).copied());
        let mode = mode.unwrap_or(Mode::Works);
        let ends = matches!(request.kind, ActionKind::Stop | ActionKind::Demote | ActionKind::Probe);
        if !mode.works() && ends {
            self.checks.troubled.insert((host, thing.clone()));
        }
        self.serial += 1;
        let serial = self.serial;
        let late = serial.is_multiple_of(2);
        let services = &mut self.hosts[host].services;
        match request.kind {
            ActionKind::Start if mode != Mode::Lies && mode != Mode::Missing => {
                if !late {
                    services.entry(thing.clone()).or_insert_with(|| Service::begun(&request));
                }
                self.stats.starts += 1;
            }
            ActionKind::Promote if mode != Mode::Lies => {
                services.entry(thing.clone()).and_modify(|service| service.promoted = true);
            }
            // It will say that it runs: what depends on it cannot know better.
            ActionKind::Start | ActionKind::Promote => self.checks.died(host, &thing),
            _ => {}
        }
        let seen = |services: &BTreeMap<Thing, Service>| services.get(&thing).map(|service| service.promoted);
        let early = (looks(request.kind) && self.rng.one_in(2)).then(|| seen(&self.hosts[host].services));
        let delay = match mode {
            Mode::Hangs | Mode::Late => request.timeout.as_millis() as u64,
            Mode::Slow => self.rng.range(500, SLOWEST),
            Mode::Works | Mode::Fails | Mode::Lies | Mode::Half | Mode::Missing if looks(request.kind) => {
                self.rng.range(2, 20)
            }
            Mode::Works | Mode::Fails | Mode::Lies | Mode::Half | Mode::Missing => self.rng.range(10, 250),
        };
        let boot = self.hosts[host].boot;
        let known = self.hosts[host].daemon.as_ref().map(|daemon| &self.states[daemon.seen]);
        let peer = request.peer.as_ref().filter(|_| request.kind == ActionKind::MigrateTo);
        let peer = peer.and_then(|peer| Some((self.host_of(peer), known?.nodes.get(peer)?.incarnation.boot.clone())));
        self.hosts[host].ops.insert(serial, Doing { life, op, request, mode, early, late, peer });
        self.at(delay, What::AgentDone { host, boot, serial });
    }

    /// What an agent leaves behind. `half`: what an unlucky one happened to do.
    pub fn take_effect(&mut self, host: usize, doing: &Doing, half: bool, killed: bool) {
        let thing = doing.thing();
        let lies = doing.mode == Mode::Lies;
        let done = (doing.mode.works() && !killed) || (half && !lies);
        // Who asked for it may be gone by then: the next daemon settles it with what was started.
        let unheard = self.hosts[host].daemon.as_ref().is_none_or(|daemon| daemon.life != doing.life);
        if doing.request.kind == ActionKind::Reload && (!doing.mode.works() || killed || unheard) {
            self.checks.half_reloaded(host, &thing);
        }
        let services = &mut self.hosts[host].services;
        match doing.request.kind {
            ActionKind::Start if !done => _ = services.remove(&thing),
            ActionKind::Start if doing.late && !lies && doing.mode != Mode::Missing => {
                services.entry(thing).or_insert_with(|| Service::begun(&doing.request));
            }
            ActionKind::Stop if done => {
                services.remove(&thing);
                let node = self.hosts[host].name.clone();
                let key = ClaimKey { instance: doing.request.instance.clone(), node };
                // Without a commit nobody else can know.
                if self.newest().claims.get(&key).is_some_and(|claim| claim.phase == Phase::Stopping) {
                    self.checks.stopped(host, &thing);
                }
            }
            ActionKind::Demote if done => _ = services.entry(thing).and_modify(|service| service.promoted = false),
            ActionKind::Promote if !done => _ = services.entry(thing).and_modify(|service| service.promoted = false),
            ActionKind::Reload if done => {
                let params = Arc::clone(&doing.request.definition);
                services.entry(thing).and_modify(|service| service.params = params);
            }
            ActionKind::MigrateTo if done => self.moves(host, doing),
            ActionKind::Start
            | ActionKind::Stop
            | ActionKind::Demote
            | ActionKind::Promote
            | ActionKind::Reload
            | ActionKind::Probe
            | ActionKind::Monitor
            | ActionKind::Notify
            | ActionKind::MigrateTo
            | ActionKind::MigrateFrom => {}
        }
    }

    /// Where something is moved to, if it can be reached.
    fn peer_of(&self, host: usize, doing: &Doing) -> Option<usize> {
        let (peer, boot) = doing.peer.clone()?;
        let linked = self.linked(host, peer) && self.linked(peer, host);
        (self.hosts[peer].up && self.boot_id(peer) == boot && linked).then_some(peer)
    }

    /// It goes on there, as it was.
    fn moves(&mut self, host: usize, doing: &Doing) {
        let (thing, peer) = (doing.thing(), self.peer_of(host, doing));
        let Some(peer) = peer else { return };
        let Some(service) = self.hosts[host].services.remove(&thing) else { return };
        let there = self.hosts[peer].services.get(&thing);
        // Who was said to be off, and lives, does what it had begun: that is the device's fault.
        let over = self.hosts[host].lied_off == Some(self.hosts[host].boot);
        if !over && there.is_some_and(|there| !there.is_nobodys()) && !service.is_nobodys() {
            self.violated(
                Invariant::Limits,
                format!("{thing} moves from n{} to n{}, where it runs", host + 1, peer + 1),
            );
        }
        self.stats.migrations += 1;
        self.say(|| format!("{thing} goes on on n{}", peer + 1));
        self.checks.moved(host, peer, &thing);
        self.hosts[peer].services.insert(thing, service);
    }

    pub fn agent_done(&mut self, host: usize, boot: u64, serial: u64) {
        if self.hosts[host].boot != boot || !self.hosts[host].up {
            return;
        }
        let Some(mut doing) = self.hosts[host].ops.remove(&serial) else { return };
        let half = self.rng.one_in(2);
        let (kind, thing) = (doing.request.kind, doing.thing());
        if kind == ActionKind::MigrateTo && doing.mode.works() {
            let there = self.hosts[host].services.contains_key(&thing) && self.peer_of(host, &doing).is_some();
            doing.mode = if there { doing.mode } else { Mode::Fails };
        }
        self.take_effect(host, &doing, half, false);
        let now = self.hosts[host].services.get(&thing).map(|service| service.promoted);
        let truth = doing.early.unwrap_or(now);
        // Who finds nothing installed where it runs is wrong, too.
        let lies = doing.mode == Mode::Lies || (doing.mode == Mode::Missing && looks(kind));
        if lies && (looks(kind) || kind == ActionKind::Demote) {
            // It says "demoted" of what is promoted, or "not running" of something that runs: from here on nobody can answer for it.
            self.hosts[host].services.entry(thing).and_modify(|service| service.excused = true);
        }
        let status = match doing.mode {
            Mode::Hangs | Mode::Late => ExecStatus::TimedOut,
            Mode::Fails => ExecStatus::Exited(1),
            Mode::Missing => ExecStatus::Exited(5),
            Mode::Works | Mode::Slow | Mode::Lies | Mode::Half if looks(kind) => ExecStatus::Exited(match truth {
                _ if lies => 7,
                None => 7,
                Some(false) => 0,
                Some(true) => 8,
            }),
            // Promoting or demoting what is not there fails.
            Mode::Works | Mode::Slow if matches!(kind, ActionKind::Promote | ActionKind::Demote) && truth.is_none() => {
                ExecStatus::Exited(7)
            }
            // What is to be taken in, and has not come.
            Mode::Works | Mode::Slow if kind == ActionKind::MigrateFrom && truth.is_none() => ExecStatus::Exited(1),
            Mode::Works | Mode::Slow | Mode::Lies | Mode::Half => ExecStatus::Exited(0),
        };
        // It will say that it runs: what depends on it cannot know better.
        if kind == ActionKind::MigrateFrom && truth.is_none() && status == ExecStatus::Exited(0) {
            self.checks.died(host, &doing.thing());
        }
        let line = || format!("n{} ended {kind} {}: {status:?}", host + 1, doing.request.instance);
        if status == ExecStatus::Exited(0) || looks(kind) {
            self.detail(line)
        } else {
            self.say(line)
        }
        let outcome = Outcome { status, output: String::new(), duration: Duration::from_millis(10) };
        if self.daemon(host, doing.life).is_some() {
            self.step(host, [Event::Finished { op: doing.op, outcome }]);
        }
    }

    /// A service ends by itself.
    pub fn service_dies(&mut self, host: usize, thing: &Thing) {
        self.say(|| format!("{thing} dies on n{}", host + 1));
        self.hosts[host].services.remove(thing);
        self.checks.died(host, thing);
        let Some(daemon) = &self.hosts[host].daemon else { return };
        let life = daemon.life;
        let state = &self.states[daemon.seen];
        let is_it = |instance: &InstanceId| {
            let claim = state.claims_of(&instance.resource).find(|(key, _)| key.node == self.hosts[host].name);
            let definition = claim.and_then(|(_, claim)| state.definitions.get(&claim.definition));
            definition.is_some_and(|definition| &thing_of(&instance.resource, &definition.resource) == thing)
        };
        let watched: Vec<_> = daemon.watched.iter().filter(|instance| is_it(instance)).cloned().collect();
        for instance in watched {
            let delay = self.rng.range(1, 50);
            self.at(delay, What::Died { host, life, instance });
        }
    }
}
