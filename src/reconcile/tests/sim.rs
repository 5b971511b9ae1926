//! The simulated world: hosts with services and daemons, a log, heartbeats, fence devices. Everything that happens is an
//! entry of one queue, ordered by time.

use super::check::Checks;
use super::faults::{Fault, Mode};
use crate::model::*;
use crate::plan::testing::World;
use crate::reconcile::{Config, Contact, Contacts, Effect, Event, Node, OpId, ProposalId};
use crate::state::port::{Applied, Leadership, ProposeError};
use crate::state::target::spec_to_chunks;
use crate::state::{ClaimKey, Command, Entry, FEATURE_LEVEL, FenceOutcome, JoinFacts, Membership, Phase, State};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Wall time at the beginning, ms.
const WALL: u64 = 1_000_000_000;
/// Heartbeats, ms: rare enough to be quick, often enough that no daemon takes the gap for a stall.
const BEAT: u64 = 250;
/// Faults happen until then, ms.
const CALM: u64 = 40_000;
/// The fixpoint must be reached this long after the last fault, ms.
const PATIENCE: u64 = 150_000;

/// SplitMix64: small, and the same everywhere.
pub struct Rng(u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// From `low` to below `high`.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }
    /// True once in `sides`.
    pub fn one_in(&mut self, sides: u64) -> bool {
        self.next().is_multiple_of(sides)
    }
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.range(0, list.len() as u64) as usize]
    }
}

/// What a peer said of others: which boot it heard last, and when.
type Told = BTreeMap<NodeId, (Option<BootId>, u64)>;

/// What truly is on one machine.
pub struct Host {
    pub name: NodeId,
    pub up: bool,
    pub powered: bool,
    pub boot: u64,
    pub counter: u64,
    pub frozen_until: u64,
    pub daemon: Option<Daemon>,
    /// What runs, from the beginning of its start to the end of its stop; true: promoted.
    pub services: BTreeMap<ResourceId, bool>,
    pub ops: BTreeMap<u64, Doing>,
    /// How the next operations of a kind go wrong.
    pub broken: BTreeMap<(ResourceId, ActionKind), Mode>,
    /// How the device that fences this host behaves.
    pub device: Mode,
    heard: BTreeMap<usize, (BootId, u64)>,
    told: BTreeMap<usize, Told>,
}

pub struct Daemon {
    pub life: u64,
    pub node: Node,
    pub incarnation: Incarnation,
    /// The state it has taken in.
    pub seen: usize,
    wake: Option<u64>,
    started: u64,
    watched: BTreeSet<InstanceId>,
    pub spins: (u64, u32),
}

/// An agent that runs.
pub struct Doing {
    life: u64,
    op: OpId,
    pub request: AgentRequest,
    mode: Mode,
    early: Option<Option<bool>>,
}

pub enum What {
    Beat,
    Deliver { host: usize, life: u64 },
    Wake { host: usize, life: u64 },
    Arrive { host: usize, life: u64, id: ProposalId, commands: Vec<Command>, term: Option<u64>, answer: bool },
    Answer { host: usize, life: u64, id: ProposalId, result: Result<Applied, ProposeError> },
    AgentDone { host: usize, boot: u64, serial: u64 },
    Died { host: usize, life: u64, instance: InstanceId },
    PowerOff { target: usize },
    FenceDone { host: usize, life: u64, attempt: AttemptId, target: usize, ok: bool },
    PowerOn { host: usize, life: u64, attempt: AttemptId, target: usize },
    Checked { host: usize, life: u64, device: DeviceId, error: Option<String> },
    Boot { host: usize, boot: u64 },
    DaemonStart { host: usize, boot: u64 },
    Fault,
    Mend(Fault),
    Push,
}

pub struct Sim {
    pub rng: Rng,
    pub now: u64,
    serial: u64,
    queue: BTreeMap<(u64, u64), What>,
    pub hosts: Vec<Host>,
    /// Pairs that do not hear each other.
    pub cut: BTreeSet<(usize, usize)>,
    pub world: World,
    pub states: Vec<Arc<State>>,
    pub entries: Vec<Entry>,
    leader: Option<usize>,
    term: u64,
    elect_at: u64,
    pub checks: Checks,
    pub wrong: Option<String>,
    story: Option<Vec<String>>,
}

impl Sim {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng(seed.wrapping_mul(0x2545_F491_4F6C_DD1D));
        let names = ["n1", "n2", "n3", "n4", "n5"];
        let count = *rng.pick(&[2, 3, 3, 3, 3, 4, 5]);
        let world = super::faults::cluster(&names[..count], &mut rng);
        let hosts = names[..count].iter().map(|name| Host {
            name: (*name).into(),
            up: false,
            powered: true,
            boot: 0,
            counter: 0,
            frozen_until: 0,
            daemon: None,
            services: BTreeMap::new(),
            ops: BTreeMap::new(),
            broken: BTreeMap::new(),
            device: Mode::Works,
            heard: BTreeMap::new(),
            told: BTreeMap::new(),
        });
        let mut sim = Self {
            rng,
            now: 0,
            serial: 0,
            queue: BTreeMap::new(),
            hosts: hosts.collect(),
            cut: BTreeSet::new(),
            world,
            states: vec![Arc::new(State { feature_level: 1, ..State::default() })],
            entries: Vec::new(),
            leader: None,
            term: 0,
            elect_at: 0,
            checks: Checks::default(),
            wrong: None,
            story: None,
        };
        for host in 0..count {
            // Nodes are admitted by tokens, outside of what is simulated.
            let admitted = crate::state::Admitted { addresses: Vec::new(), port: 7443 };
            Arc::make_mut(&mut sim.states[0]).admitted.insert(sim.hosts[host].name.clone(), admitted);
            let at = sim.rng.range(0, 500);
            sim.at(at, What::Boot { host, boot: 0 });
        }
        sim.at(0, What::Beat);
        sim.at(1_500, What::Push);
        sim.at(4_000, What::Fault);
        sim
    }

    pub fn tell(&mut self) {
        self.story = Some(Vec::new());
    }
    pub fn story(&self) -> &[String] {
        let story = self.story.as_deref().unwrap_or_default();
        &story[story.len().saturating_sub(400)..]
    }
    pub fn say(&mut self, text: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(format!("{:>7} {}", self.now, text()));
        }
    }
    pub fn violated(&mut self, what: String) {
        self.say(|| format!("VIOLATED: {what}"));
        self.wrong.get_or_insert(format!("at {} ms: {what}", self.now));
    }
    pub fn at(&mut self, delay: u64, what: What) {
        self.serial += 1;
        self.queue.insert((self.now + delay, self.serial), what);
    }
    pub fn newest(&self) -> Arc<State> {
        Arc::clone(self.states.last().expect("there is always the first"))
    }
    pub fn host_of(&self, name: &NodeId) -> usize {
        self.hosts.iter().position(|host| &host.name == name).expect("nodes are hosts")
    }
    pub fn boot_id(&self, host: usize) -> BootId {
        BootId::new(format!("{}-b{}", self.hosts[host].name, self.hosts[host].boot))
    }
    pub fn calm(&self) -> bool {
        self.now >= CALM
    }

    /// Runs to the end: faults, then peace until nothing is left to do.
    pub fn run(&mut self) -> Result<(), String> {
        let mut healed = false;
        let mut settled = None;
        while let Some(((at, _), what)) = self.queue.pop_first() {
            self.now = at;
            if self.now >= CALM && !healed {
                healed = true;
                self.heal();
            }
            let beat = matches!(what, What::Beat);
            self.happen(what);
            if let Some(wrong) = self.wrong.take() {
                return Err(wrong);
            }
            if beat && self.now > CALM + 1_000 {
                let left = self.unsettled();
                match (left, settled) {
                    (None, None) => settled = Some((self.now, self.entries.len())),
                    (None, Some((since, entries))) if self.now > since + 12_000 => {
                        let idle = self.entries.len() - entries;
                        return match idle > 4 {
                            true => Err(format!("{idle} entries in 12 s although nothing is to do")),
                            false => self.replicas_agree(),
                        };
                    }
                    (None, Some(_)) => {}
                    (Some(left), _) if self.now > CALM + PATIENCE => {
                        return Err(format!("no rest {} s after the last fault: {left}", PATIENCE / 1000));
                    }
                    (Some(_), _) => settled = None,
                }
            }
        }
        Err("the queue ran dry".into())
    }

    fn happen(&mut self, what: What) {
        let host = match &what {
            What::Deliver { host, .. }
            | What::Wake { host, .. }
            | What::Answer { host, .. }
            | What::AgentDone { host, .. }
            | What::Died { host, .. }
            | What::FenceDone { host, .. } => Some(*host),
            _ => None,
        };
        if let Some(host) = host
            && self.hosts[host].frozen_until > self.now
        {
            let delay = self.hosts[host].frozen_until - self.now;
            return self.at(delay, what);
        }
        match what {
            What::Beat => self.beat(),
            What::Deliver { host, life } => {
                let (newest, state) = (self.states.len() - 1, self.newest());
                let Some(daemon) = self.daemon(host, life).filter(|daemon| daemon.seen < newest) else { return };
                daemon.seen = newest;
                self.step(host, Event::Committed(state));
            }
            What::Wake { host, life } => {
                let now = self.now;
                let Some(daemon) = self.daemon(host, life).filter(|daemon| daemon.wake == Some(now)) else { return };
                daemon.wake = None;
                let second = now / 1_000;
                daemon.spins = (second, if daemon.spins.0 == second { daemon.spins.1 + 1 } else { 1 });
                if daemon.spins.1 > 60 {
                    return self.violated(format!("the daemon of host {host} spins"));
                }
                self.step(host, Event::Tick);
            }
            What::Arrive { host, life, id, commands, term, answer } => {
                self.arrive(host, life, id, commands, term, answer);
            }
            What::Answer { host, life, id, result } => {
                if self.daemon(host, life).is_some() {
                    self.checks.answered(host, id, &result);
                    self.step(host, Event::Answered { id, result });
                }
            }
            What::AgentDone { host, boot, serial } => self.agent_done(host, boot, serial),
            What::Died { host, life, instance } => {
                if self.daemon(host, life).is_some() {
                    self.step(host, Event::Died { instance });
                }
            }
            What::PowerOff { target } => {
                self.hosts[target].powered = false;
                self.crash(target);
            }
            What::FenceDone { host, life, attempt, target, ok } => {
                let outcome = match ok && !self.hosts[target].powered {
                    true => FenceOutcome::Off,
                    false => FenceOutcome::Failed("it does not read off".into()),
                };
                self.say(|| format!("n{} attempt {attempt}: {outcome:?}", host + 1));
                if self.daemon(host, life).is_some() {
                    self.step(host, Event::Fenced { attempt, outcome });
                }
            }
            What::PowerOn { host, life, attempt, target } => {
                self.power_on(target);
                if self.daemon(host, life).is_some() {
                    self.step(host, Event::SwitchedOn { attempt, error: None });
                }
            }
            What::Checked { host, life, device, error } => {
                if self.daemon(host, life).is_some() {
                    self.step(host, Event::Checked { device, error });
                }
            }
            What::Boot { host, boot } => {
                let machine = &mut self.hosts[host];
                if machine.up || !machine.powered || machine.boot != boot {
                    return;
                }
                (machine.up, machine.boot, machine.counter, machine.frozen_until) = (true, boot + 1, 0, 0);
                self.say(|| format!("n{} boots ({})", host + 1, boot + 1));
                let delay = self.rng.range(50, 500);
                self.at(delay, What::DaemonStart { host, boot: boot + 1 });
            }
            What::DaemonStart { host, boot } => self.start_daemon(host, boot),
            What::Fault => self.fault(),
            What::Mend(fault) => self.mend(fault),
            What::Push => self.push(),
        }
    }

    pub fn daemon(&mut self, host: usize, life: u64) -> Option<&mut Daemon> {
        self.hosts[host].daemon.as_mut().filter(|daemon| daemon.life == life)
    }

    // ---- machines -------------------------------------------------------------------------------------------------

    pub fn crash(&mut self, host: usize) {
        self.say(|| format!("n{} goes dark", host + 1));
        let machine = &mut self.hosts[host];
        machine.up = false;
        machine.daemon = None;
        let lost = std::mem::take(&mut machine.services);
        machine.ops.clear();
        machine.frozen_until = 0;
        self.checks.forget(host);
        lost.keys().for_each(|resource| self.checks.died(resource));
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
        let now = self.now;
        if !self.hosts[host].up || self.hosts[host].boot != boot || self.hosts[host].daemon.is_some() {
            return;
        }
        // Operations of an earlier daemon are ended and waited out first.
        for (_, doing) in std::mem::take(&mut self.hosts[host].ops) {
            let half = self.rng.one_in(2);
            self.take_effect(host, &doing, half, true);
        }
        self.serial += 1;
        let (life, boot) = (self.serial, self.boot_id(host));
        let machine = &mut self.hosts[host];
        machine.counter += 1;
        machine.heard.clear();
        machine.told.clear();
        let incarnation = Incarnation { boot, counter: machine.counter };
        let facts =
            JoinFacts { addresses: Vec::new(), port: 7443, version: "sim".into(), feature_level: FEATURE_LEVEL };
        let config = Config { node: machine.name.clone(), incarnation: incarnation.clone(), facts, cores: 2 };
        let node = Node::new(config, Duration::from_millis(now));
        let (watched, spins) = (BTreeSet::new(), (0, 0));
        machine.daemon = Some(Daemon { life, node, incarnation, seen: 0, wake: None, started: now, watched, spins });
        self.say(|| format!("the daemon of n{} starts", host + 1));
        self.at(5, What::Deliver { host, life });
    }

    pub fn step(&mut self, host: usize, event: Event) {
        let now = self.now;
        let Some(daemon) = &mut self.hosts[host].daemon else { return };
        let life = daemon.life;
        let effects = daemon.node.step(Duration::from_millis(now), WALL + now, event);
        let wake = daemon.node.next_wake().map(|at| (at.as_micros().div_ceil(1000) as u64).max(now));
        if let Some(at) = wake
            && daemon.wake.is_none_or(|old| at < old)
        {
            daemon.wake = Some(at);
            self.at(at - now, What::Wake { host, life });
        }
        for effect in effects {
            self.perform(host, life, effect);
        }
    }

    fn perform(&mut self, host: usize, life: u64, effect: Effect) {
        let n = host + 1;
        match effect {
            Effect::Propose { id, commands, term } => {
                self.say(|| format!("n{n} proposes {}: {commands:?}", id.0));
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
                let target = self.host_of(&target);
                let mode = if devices.is_empty() { Mode::Fails } else { self.hosts[target].device };
                self.say(|| format!("n{n} fences n{} (attempt {attempt}), which {mode:?}", target + 1));
                let timeout = (timeout.as_millis() as u64).min(20_000);
                let off = self.rng.range(50, 500);
                let (off, done) = match mode {
                    Mode::Works => (Some(off), off + self.rng.range(0, 200)),
                    Mode::Fails => (None, off),
                    Mode::Hangs => (None, timeout),
                    // Reported as failed, and then it works.
                    Mode::Late => (Some(timeout + self.rng.range(0, 4_000)), timeout),
                };
                off.into_iter().for_each(|delay| self.at(delay, What::PowerOff { target }));
                self.at(done, What::FenceDone { host, life, attempt, target, ok: mode == Mode::Works });
            }
            Effect::Check { name, target, .. } => {
                let mode = self.hosts[self.host_of(&target)].device;
                let error = match mode {
                    Mode::Works | Mode::Late => None,
                    Mode::Fails | Mode::Hangs => Some("no answer".to_owned()),
                };
                let delay = self.rng.range(100, 1_000);
                self.at(delay, What::Checked { host, life, device: name, error });
            }
            Effect::SwitchOn { attempt, target, .. } => {
                let target = self.host_of(&target);
                self.at(100, What::PowerOn { host, life, attempt, target });
            }
            Effect::Note { key, text } => self.say(|| format!("n{n} notes {key:?}: {text}")),
            Effect::Exit { clean } => {
                self.say(|| format!("the daemon of n{n} ends (clean: {clean})"));
                self.check_exit(host, clean);
                self.hosts[host].daemon = None;
                self.checks.forget(host);
                let (delay, boot) = (self.rng.range(500, 3_000), self.hosts[host].boot);
                self.at(delay, What::DaemonStart { host, boot });
            }
        }
    }

    // ---- agents ---------------------------------------------------------------------------------------------------

    fn run_agent(&mut self, host: usize, life: u64, op: OpId, request: AgentRequest) {
        self.say(|| format!("n{} runs {} {} epoch {:?}", host + 1, request.kind, request.instance, request.epoch));
        self.check_run(host, &request);
        let resource = request.instance.resource.clone();
        let mode = self.hosts[host].broken.remove(&(resource.clone(), request.kind)).unwrap_or(Mode::Works);
        match request.kind {
            ActionKind::Start => {
                self.hosts[host].services.entry(resource.clone()).or_insert(false);
            }
            ActionKind::Promote => {
                self.hosts[host].services.entry(resource.clone()).and_modify(|promoted| *promoted = true);
            }
            _ => {}
        }
        let looks = matches!(request.kind, ActionKind::Probe | ActionKind::Monitor);
        let early = (looks && self.rng.one_in(2)).then(|| self.hosts[host].services.get(&resource).copied());
        let delay = match mode {
            Mode::Hangs | Mode::Late => request.timeout.as_millis() as u64,
            Mode::Works | Mode::Fails if looks => self.rng.range(2, 20),
            Mode::Works | Mode::Fails => self.rng.range(10, 250),
        };
        self.serial += 1;
        let (serial, boot) = (self.serial, self.hosts[host].boot);
        self.hosts[host].ops.insert(serial, Doing { life, op, request, mode, early });
        self.at(delay, What::AgentDone { host, boot, serial });
    }

    /// What an agent leaves behind. `half`: what an unlucky one happened to do.
    fn take_effect(&mut self, host: usize, doing: &Doing, half: bool, killed: bool) {
        let resource = &doing.request.instance.resource;
        let services = &mut self.hosts[host].services;
        let done = (doing.mode == Mode::Works && !killed) || half;
        match doing.request.kind {
            ActionKind::Start if !done => _ = services.remove(resource),
            ActionKind::Stop if done => {
                services.remove(resource);
                let key = ClaimKey { instance: doing.request.instance.clone(), node: self.hosts[host].name.clone() };
                // Without a commit nobody else can know.
                if self.newest().claims.get(&key).is_some_and(|claim| claim.phase == Phase::Stopping) {
                    self.checks.stopped(resource);
                }
            }
            ActionKind::Demote if done => _ = services.entry(resource.clone()).and_modify(|promoted| *promoted = false),
            ActionKind::Promote if !done => {
                _ = services.entry(resource.clone()).and_modify(|promoted| *promoted = false);
            }
            _ => {}
        }
    }

    fn agent_done(&mut self, host: usize, boot: u64, serial: u64) {
        if self.hosts[host].boot != boot || !self.hosts[host].up {
            return;
        }
        let Some(doing) = self.hosts[host].ops.remove(&serial) else { return };
        let half = self.rng.one_in(2);
        self.take_effect(host, &doing, half, false);
        let (kind, resource) = (doing.request.kind, &doing.request.instance.resource);
        let truth = doing.early.unwrap_or_else(|| self.hosts[host].services.get(resource).copied());
        let looks = matches!(kind, ActionKind::Probe | ActionKind::Monitor);
        let status = match doing.mode {
            Mode::Hangs | Mode::Late => ExecStatus::TimedOut,
            Mode::Fails => ExecStatus::Exited(1),
            Mode::Works if looks => ExecStatus::Exited(match truth {
                None => 7,
                Some(false) => 0,
                Some(true) => 8,
            }),
            // Promoting or demoting what is not there fails.
            Mode::Works if matches!(kind, ActionKind::Promote | ActionKind::Demote) && truth.is_none() => {
                ExecStatus::Exited(7)
            }
            Mode::Works => ExecStatus::Exited(0),
        };
        self.say(|| format!("n{} ended {kind} {}: {status:?}", host + 1, doing.request.instance));
        let outcome = Outcome { status, output: String::new(), duration: Duration::from_millis(10) };
        if self.daemon(host, doing.life).is_some() {
            self.step(host, Event::Finished { op: doing.op, outcome });
        }
    }

    /// A service ends by itself.
    pub fn service_dies(&mut self, host: usize, resource: &ResourceId) {
        self.say(|| format!("{resource} dies on n{}", host + 1));
        self.hosts[host].services.remove(resource);
        self.checks.died(resource);
        let Some(daemon) = &self.hosts[host].daemon else { return };
        let life = daemon.life;
        let watched: Vec<_> =
            daemon.watched.iter().filter(|instance| &instance.resource == resource).cloned().collect();
        for instance in watched {
            let delay = self.rng.range(1, 50);
            self.at(delay, What::Died { host, life, instance });
        }
    }

    // ---- log ------------------------------------------------------------------------------------------------------

    pub fn linked(&self, a: usize, b: usize) -> bool {
        a == b || !self.cut.contains(&(a.min(b), a.max(b)))
    }

    fn awake(&self, host: usize) -> bool {
        let machine = &self.hosts[host];
        machine.up && machine.daemon.is_some() && machine.frozen_until <= self.now
    }

    fn has_majority(&self, host: usize) -> bool {
        let there = |other: &usize| self.awake(*other) && self.linked(host, *other);
        self.awake(host) && (0..self.hosts.len()).filter(there).count() > self.hosts.len() / 2
    }

    fn propose(&mut self, host: usize, life: u64, id: ProposalId, commands: Vec<Command>, term: Option<u64>) {
        let delay = self.rng.range(1, 15);
        let reached = self.leader.filter(|leader| self.linked(host, *leader) && self.has_majority(*leader));
        let wrong_term = term.is_some_and(|term| self.leader != Some(host) || term != self.term);
        if reached.is_none() || wrong_term {
            let result = Err(if self.rng.one_in(2) { ProposeError::NoLeader } else { lost() });
            let delay = if self.rng.one_in(3) { 1_000 } else { delay };
            return self.at(delay, What::Answer { host, life, id, result });
        }
        if self.calm() || !self.rng.one_in(12) {
            return self.at(delay, What::Arrive { host, life, id, commands, term, answer: true });
        }
        // The answer is lost: it may have been committed, now or later, once or twice.
        self.at(1_000, What::Answer { host, life, id, result: Err(lost()) });
        let times = if term.is_none() { self.rng.range(0, 3) } else { self.rng.range(0, 2) };
        for _ in 0..times {
            let (delay, commands) = (self.rng.range(1, 3_000), commands.clone());
            self.at(delay, What::Arrive { host, life, id, commands, term, answer: false });
        }
    }

    fn arrive(
        &mut self,
        host: usize,
        life: u64,
        id: ProposalId,
        commands: Vec<Command>,
        term: Option<u64>,
        answer: bool,
    ) {
        let leads = self.leader.is_some_and(|leader| self.has_majority(leader));
        if !leads || term.is_some_and(|term| term != self.term) {
            if answer {
                self.at(500, What::Answer { host, life, id, result: Err(lost()) });
            }
            return;
        }
        let applied = self.commit(commands);
        if answer {
            // Before or after the state itself is delivered.
            let delay = self.rng.range(1, 40);
            self.at(delay, What::Answer { host, life, id, result: Ok(applied) });
        }
    }

    pub fn commit(&mut self, commands: Vec<Command>) -> Applied {
        let mut state = State::clone(&self.newest());
        let index = LogIndex(state.index.0 + 1);
        let entry = Entry { at_ms: WALL + self.now, commands };
        let (answers, events) = state.apply(index, &entry);
        for event in events {
            self.say(|| format!("  [{index}] {}", event.text));
        }
        for (command, refusal) in entry.commands.iter().zip(&answers).filter_map(|(c, a)| Some((c, a.as_ref().err()?)))
        {
            self.say(|| format!("  [{index}] refused: {refusal} {command:?}"));
        }
        self.check_commit(&state, &entry, &answers);
        self.entries.push(entry);
        self.states.push(Arc::new(state));
        for host in 0..self.hosts.len() {
            let reached = self.leader.is_some_and(|leader| self.linked(leader, host));
            let Some(life) = self.hosts[host].daemon.as_ref().map(|daemon| daemon.life).filter(|_| reached) else {
                continue;
            };
            let delay = if self.rng.one_in(20) { self.rng.range(1, 400) } else { self.rng.range(1, 20) };
            self.at(delay, What::Deliver { host, life });
        }
        Applied { index, answers }
    }

    fn beat(&mut self) {
        self.elect();
        let now = self.now;
        for to in 0..self.hosts.len() {
            for from in 0..self.hosts.len() {
                if from == to || !self.awake(from) || !self.linked(from, to) || self.hosts[to].daemon.is_none() {
                    continue;
                }
                let boot = self.boot_id(from);
                let mut told = Told::new();
                let since = self.hosts[from].daemon.as_ref().map_or(now, |daemon| daemon.started);
                for other in (0..self.hosts.len()).filter(|other| *other != from) {
                    let heard = self.hosts[from].heard.get(&other).cloned();
                    let heard = heard.map_or((None, since), |(boot, at)| (Some(boot), at));
                    told.insert(self.hosts[other].name.clone(), heard);
                }
                self.hosts[to].heard.insert(from, (boot, now));
                self.hosts[to].told.insert(from, told);
            }
        }
        for host in 0..self.hosts.len() {
            if !self.awake(host) {
                continue;
            }
            let peers = self.hosts[host].heard.iter().map(|(peer, (boot, at))| {
                let told = self.hosts[host].told.get(peer).cloned().unwrap_or_default();
                let age = |at: u64| Duration::from_millis(now - at);
                let heard = told.into_iter().map(|(node, (boot, at))| (node, (boot, age(at)))).collect();
                let (boot, age) = (boot.clone(), age(*at));
                let contact = Contact { boot, age, echoed: Some(0), others: BTreeMap::new(), heard };
                (self.hosts[*peer].name.clone(), contact)
            });
            let contacts = Contacts { sent: 0, peers: peers.collect() };
            let newest = self.states.len() - 1;
            let (life, seen) = self.hosts[host].daemon.as_ref().map(|d| (d.life, d.seen)).expect("it is awake");
            let fed = self.leader.is_some_and(|leader| self.linked(leader, host) && self.has_majority(leader));
            if fed && seen < newest {
                self.at(20, What::Deliver { host, life });
            }
            let (leader, term) = (self.leader.filter(|_| fed), self.term);
            let voters: Vec<NodeId> = self.hosts.iter().map(|host| host.name.clone()).collect();
            let leadership = Leadership {
                leader: leader.map(|leader| self.hosts[leader].name.clone()),
                term,
                is_self: leader == Some(host),
                voters,
                ..Leadership::default()
            };
            self.step(host, Event::Leadership(leadership));
            self.step(host, Event::Contacts(contacts));
        }
        self.at(BEAT, What::Beat);
    }

    fn elect(&mut self) {
        if let Some(leader) = self.leader.filter(|leader| !self.has_majority(*leader)) {
            self.say(|| format!("n{} leads no more", leader + 1));
            self.drop_leader();
        }
        if self.leader.is_none() && self.now >= self.elect_at {
            let able: Vec<usize> = (0..self.hosts.len()).filter(|host| self.has_majority(*host)).collect();
            if !able.is_empty() {
                self.leader = Some(*self.rng.pick(&able));
                self.term += 1;
                let (leader, term) = (self.leader.unwrap_or(0) + 1, self.term);
                self.say(|| format!("n{leader} is elected (term {term})"));
            }
        }
    }

    pub fn drop_leader(&mut self) {
        self.leader = None;
        self.elect_at = self.now + self.rng.range(200, 1_500);
    }

    /// An operator's commands: committed if there is a quorum.
    pub fn operator(&mut self, commands: Vec<Command>) -> bool {
        let there = self.leader.is_some_and(|leader| self.has_majority(leader));
        if there {
            self.commit(commands);
        }
        there
    }

    pub fn push(&mut self) {
        let (digest, chunks) = spec_to_chunks(&self.world.spec);
        let total = chunks.len() as u32;
        let parent = self.newest().target.as_ref().map(|target| target.revision.clone());
        let mut commands: Vec<Command> = chunks
            .into_iter()
            .enumerate()
            .map(|(number, bytes)| Command::SpecChunk { digest, number: number as u32, total, bytes })
            .collect();
        let revision = Revision::new(format!("{:040x}", self.serial));
        commands.extend(self.scores());
        commands.push(Command::SetTarget { revision, parent, spec: digest, by: "ann".into() });
        if !self.operator(commands) {
            self.at(1_000, What::Push);
        }
    }

    /// What the agents of promotable resources say of themselves: where they may be promoted.
    pub fn scores(&self) -> Vec<Command> {
        let state = self.newest();
        let nodes = state.nodes.keys().enumerate();
        let score = |(place, node): (usize, &NodeId)| Command::SetAttribute {
            node: node.clone(),
            boot: None,
            name: "master-drbd".into(),
            value: Some((10 + place).to_string()),
        };
        nodes.map(score).collect()
    }

    pub fn members(&self, membership: Membership) -> bool {
        let state = self.newest();
        self.hosts.iter().all(|host| state.nodes.get(&host.name).is_some_and(|node| node.membership == membership))
    }
}

fn lost() -> ProposeError {
    ProposeError::Unknown("the answer was lost".into())
}
