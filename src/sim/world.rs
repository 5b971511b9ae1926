//! The simulated world: one queue of everything that will happen, ordered by time, and what truly is.
//!
//! `log`, `links`, `machines`, `agents` and `devices` are its parts; `faults` breaks it; `check` compares what is true
//! with what is allowed. Nodes see only what their own daemon would see.

use super::agents::{Mode, Thing};
use super::check::{Checks, Invariant, Violation};
use super::faults::Fault;
use super::forge::Forge;
use super::log::{Log, Proposer};
use super::machines::Host;
use super::mends::Mend;
use super::rng::Rng;
use super::schedule::{Planned, Schedule};
use crate::model::*;
use crate::plan::{self, Graph};
use crate::reconcile::{Event, ProposalId};
use crate::state::port::{Applied, ProposeError};
use crate::state::{Admitted, Command, State};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Wall time at the beginning, ms.
pub const WALL: u64 = 1_000_000_000;
/// Heartbeats, ms: rare enough to be quick, often enough that no daemon takes the gap for a stall of its own.
pub const BEAT: u64 = 400;
/// The fixpoint must be reached this long after the last fault, ms. Fencing may be quarantined, failures expire.
const PATIENCE: u64 = 150_000;
/// Whom nobody has heard since they started is missed only after this, ms: the grace for joins.
const GRACE: u64 = 120_000;
/// Peace has to last this long, ms.
const REST: u64 = 1_500;
/// In so many seeds of a hundred peace is watched for [`LONG_REST`], and nothing may be written to the log meanwhile.
const LONG_RESTS: u64 = 4;
const LONG_REST: u64 = 12_000;
/// Ticks and what a late leader says once more.
const IDLE_ENTRIES: usize = 8;

#[derive(Debug, Clone)]
pub enum What {
    Beat,
    Look,
    Deliver { host: usize, life: u64 },
    Wake { host: usize, life: u64 },
    Arrive { to: usize, commands: Vec<Command>, term: Option<u64>, proposer: Option<Proposer> },
    Stored { host: usize, upto: usize, term: u64, synced: bool },
    Answer { host: usize, life: u64, id: ProposalId, result: Result<Applied, ProposeError> },
    AgentDone { host: usize, boot: u64, serial: u64 },
    Died { host: usize, life: u64, instance: InstanceId },
    PowerOff { target: usize },
    FenceDone { host: usize, life: u64, attempt: AttemptId, target: usize, says_off: bool },
    PowerOn { host: usize, life: u64, attempt: AttemptId, target: usize },
    Checked { host: usize, life: u64, device: DeviceId, error: Option<String> },
    Report { host: usize, life: u64, number: u64, status: CommitStatus },
    Reported { host: usize, life: u64, number: u64, status: CommitStatus, delivery: Delivery },
    Armed { host: usize, life: u64, facts: WatchdogFacts },
    Fires { host: usize, boot: u64, word: u64 },
    Boot { host: usize, boot: u64 },
    DaemonStart { host: usize, boot: u64 },
    Fault(usize),
    Mend(Mend),
    Push,
    Heal,
}

impl What {
    /// The host that has to be awake for it.
    fn host(&self) -> Option<usize> {
        match self {
            Self::Deliver { host, .. }
            | Self::Wake { host, .. }
            | Self::Answer { host, .. }
            | Self::AgentDone { host, .. }
            | Self::Died { host, .. }
            | Self::FenceDone { host, .. }
            | Self::Stored { host, .. }
            | Self::Armed { host, .. }
            | Self::Reported { host, .. }
            | Self::Checked { host, .. } => Some(*host),
            Self::Arrive { to, .. } => Some(*to),
            Self::Beat
            | Self::Look
            | Self::Report { .. }
            | Self::PowerOff { .. }
            | Self::PowerOn { .. }
            | Self::Boot { .. }
            | Self::Fires { .. }
            | Self::DaemonStart { .. }
            | Self::Fault(_)
            | Self::Mend(_)
            | Self::Push
            | Self::Heal => None,
        }
    }
}

/// What a run was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    pub faults: u64,
    pub entries: u64,
    pub simulated_ms: u64,
    pub fences: u64,
    pub starts: u64,
    /// Operations on clones with `notify` after their copies were told; reloads in place.
    pub announced: u64,
    pub reloads: u64,
    pub contradictions: u64,
    /// What went on elsewhere without a stop.
    pub migrations: u64,
}

/// One simulated cluster.
#[derive(Clone)]
pub struct Sim {
    pub rng: Rng,
    pub now: u64,
    pub(super) serial: u64,
    queue: BTreeMap<(u64, u64), What>,
    pub hosts: Vec<Host>,
    pub(super) voter_names: Vec<NodeId>,
    /// Directions in which nothing comes through, each with how many cuts hold it.
    pub cut: BTreeMap<(usize, usize), usize>,
    /// Directions in which so many of a hundred messages are lost.
    pub lossy: BTreeMap<(usize, usize), u64>,
    /// Some node is fenced by its watchdog.
    pub(super) watched: bool,
    /// The answers of so many proposals are still to be lost.
    pub forgetful: u32,
    pub log: Log,
    pub forge: Forge,
    /// The spec of the next push, and the digest of the last one.
    pub spec: Spec,
    pub(super) pushed: Option<Digest>,
    pub states: Vec<Arc<State>>,
    pub(super) graphs: Vec<Option<Arc<Graph>>>,
    pub(super) faults: Vec<Planned>,
    pub checks: Checks,
    pub stats: Stats,
    wrong: Option<Violation>,
    story: Option<Vec<Line>>,
    /// The last fault and its mending are over from then on.
    pub(super) calm_at: u64,
    pub(super) healed: bool,
    /// When somebody did something last although the faults were over.
    pub(super) touched: u64,
    long_rest: bool,
}

/// For whom a line of the story is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Of interest only to who looks for a fault of the code.
    Detail,
    /// What agents, elections and grants do in between.
    Aside,
    /// What an operator would tell.
    Told,
}

/// A line of the story.
#[derive(Debug, Clone)]
pub struct Line {
    pub at: u64,
    pub text: String,
    pub weight: Weight,
}

impl Sim {
    /// A cluster that is switched on, and gets its first commit; nothing goes wrong yet. What is random in it is the
    /// same for every schedule of the same cluster.
    pub fn new(schedule: &Schedule) -> Self {
        let mut rng = Rng::new(schedule.cluster ^ 0x5EED);
        let mut first = State { feature_level: 1, ..State::default() };
        for name in schedule.spec.nodes.keys() {
            // Nodes are admitted by tokens, outside of what is simulated.
            first.admitted.insert(name.clone(), Admitted { addresses: Vec::new(), port: 7443 });
        }
        let hosts: Vec<Host> = schedule
            .spec
            .nodes
            .iter()
            .map(|(name, node)| {
                Host::new(name.clone(), node.role.votes(), schedule.levels.get(name).copied(), &mut rng)
            })
            .collect();
        let mut sim = Self {
            rng,
            now: 0,
            serial: 0,
            queue: BTreeMap::new(),
            log: Log::of(hosts.len()),
            voter_names: hosts.iter().filter(|host| host.votes).map(|host| host.name.clone()).collect(),
            hosts,
            cut: BTreeMap::new(),
            lossy: BTreeMap::new(),
            forgetful: 0,
            watched: schedule.spec.devices.values().any(FencingDevice::is_watchdog),
            forge: Forge::default(),
            spec: schedule.spec.clone(),
            pushed: None,
            states: vec![Arc::new(first)],
            graphs: vec![None],
            faults: Vec::new(),
            checks: Checks::default(),
            stats: Stats::default(),
            wrong: None,
            story: None,
            calm_at: 0,
            healed: false,
            touched: 0,
            long_rest: false,
        };
        for host in 0..sim.hosts.len() {
            let at = sim.rng.range(0, 500);
            sim.at(at, What::Boot { host, boot: 0 });
        }
        sim.at(0, What::Beat);
        sim.at(1_200, What::Push);
        sim
    }

    /// From here on a schedule has its way.
    pub fn follow(&mut self, schedule: &Schedule) {
        self.rng = Rng::new(schedule.seed ^ 0xFA17);
        self.faults = schedule.faults.clone();
        self.stats.faults = schedule.faults.len() as u64;
        self.long_rest = self.rng.percent(LONG_RESTS);
        let now = self.now;
        for (number, planned) in schedule.faults.iter().enumerate() {
            self.at(planned.at.saturating_sub(now), What::Fault(number));
        }
        let last = schedule.faults.iter().map(|planned| planned.at + planned.fault.lasts()).max().unwrap_or(0);
        self.calm_at = last.max(now) + 1_000;
        self.at(self.calm_at - now, What::Heal);
    }

    /// Keeps the story from here on.
    pub fn tell(&mut self) {
        self.story = Some(Vec::new());
    }
    pub fn story(&self) -> &[Line] {
        self.story.as_deref().unwrap_or_default()
    }
    pub fn say(&mut self, text: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(Line { at: self.now, text: text(), weight: Weight::Aside });
        }
    }
    pub fn told(&mut self, text: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(Line { at: self.now, text: text(), weight: Weight::Told });
        }
    }
    pub fn detail(&mut self, text: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(Line { at: self.now, text: text(), weight: Weight::Detail });
        }
    }
    pub fn violated(&mut self, invariant: Invariant, what: String) {
        self.told(|| format!("VIOLATED {invariant}: {what}"));
        let at = self.now;
        self.wrong.get_or_insert(Violation { at, invariant, what });
    }
    pub fn at(&mut self, delay: u64, what: What) {
        self.serial += 1;
        self.queue.insert((self.now + delay, self.serial), what);
    }
    pub fn newest(&self) -> &Arc<State> {
        self.states.last().expect("there is always the first")
    }
    pub fn host_of(&self, name: &NodeId) -> usize {
        self.hosts.iter().position(|host| &host.name == name).expect("nodes are hosts")
    }
    pub fn is_calm(&self) -> bool {
        self.healed
    }

    /// The graph of a committed state: the same for whoever asks, so it is made once.
    pub fn graph(&mut self, place: usize) -> Arc<Graph> {
        if let Some(graph) = &self.graphs[place] {
            return Arc::clone(graph);
        }
        let state = &self.states[place];
        let graph = Arc::new(state.spec().map_or_else(Graph::default, |spec| plan::order(spec, state)));
        self.graphs[place] = Some(Arc::clone(&graph));
        graph
    }

    /// Runs to the end: faults, then peace until nothing is left to do.
    pub fn run(&mut self) -> Result<Stats, Violation> {
        let mut settled: Option<(u64, usize)> = None;
        while let Some(((at, _), what)) = self.queue.pop_first() {
            self.now = at;
            let beat = matches!(what, What::Beat);
            self.happen(what);
            if let Some(wrong) = self.wrong.take() {
                return Err(wrong);
            }
            if !beat || !self.healed || self.now < self.calm_at + 1_000 {
                continue;
            }
            let rest = if self.long_rest { LONG_REST } else { REST };
            let settled_since = settled.filter(|(since, _)| *since >= self.touched);
            match (self.unsettled(), settled_since) {
                (None, None) => settled = Some((self.now, self.states.len())),
                (None, Some((since, states))) if self.now > since + rest => {
                    self.check_rest(self.states.len() - states, IDLE_ENTRIES);
                    self.check_replicas();
                    self.stats.entries = self.states.len() as u64;
                    self.stats.simulated_ms = self.now;
                    return self.wrong.take().map_or_else(|| Ok(self.stats.clone()), Err);
                }
                (None, Some(_)) => {}
                (Some(left), _) if self.now > self.calm_at + self.patience() => {
                    let within = self.patience() / 1_000;
                    self.violated(Invariant::Fixpoint, format!("no rest {within} s after the last fault: {left}"));
                }
                (Some(_), _) => settled = None,
            }
            if let Some(wrong) = self.wrong.take() {
                return Err(wrong);
            }
        }
        Err(Violation { at: self.now, invariant: Invariant::Fixpoint, what: "the queue ran dry".into() })
    }

    fn patience(&self) -> u64 {
        let lost = self.hosts.iter().any(|host| host.stays_off);
        if lost { PATIENCE + GRACE } else { PATIENCE }
    }

    /// Runs until a time, for scripts. What is wrong is an error.
    pub fn run_until(&mut self, until: u64) -> Result<(), Violation> {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let ((at, _), what) = entry.remove_entry();
            self.now = at;
            self.happen(what);
            if let Some(wrong) = self.wrong.take() {
                return Err(wrong);
            }
        }
        self.now = self.now.max(until);
        Ok(())
    }

    fn happen(&mut self, what: What) {
        if let Some(host) = what.host() {
            let machine = &self.hosts[host];
            // The kernel of a host whose daemon alone stands still goes on: agents end, the disk works.
            let asleep = match &what {
                What::AgentDone { .. } | What::Stored { .. } => machine.paused_until,
                _ => machine.paused_until.max(machine.stalled_until),
            };
            if asleep > self.now {
                return self.at(asleep - self.now, what);
            }
        }
        match what {
            What::Beat => self.beat(),
            What::Look => self.look(),
            What::Deliver { host, life } => self.deliver(host, life),
            What::Wake { host, life } => self.wake(host, life),
            What::Arrive { to, commands, term, proposer } => self.arrive(to, commands, term, proposer),
            What::Stored { host, upto, term, synced } => self.stored(host, upto, term, synced),
            What::Answer { host, life, id, result } => {
                if self.daemon(host, life).is_some() {
                    self.checks.answered(host, id, &result);
                    self.step(host, [Event::Answered { id, result }]);
                }
            }
            What::AgentDone { host, boot, serial } => self.agent_done(host, boot, serial),
            What::Died { host, life, instance } => {
                if self.daemon(host, life).is_some() {
                    self.step(host, [Event::Died { instance }]);
                }
            }
            What::PowerOff { target } => self.power_off(target),
            What::FenceDone { host, life, attempt, target, says_off } => {
                self.fence_done(host, life, attempt, target, says_off);
            }
            What::PowerOn { host, life, attempt, target } => {
                self.power_on(target);
                if self.daemon(host, life).is_some() {
                    self.step(host, [Event::SwitchedOn { attempt, error: None }]);
                }
            }
            What::Checked { host, life, device, error } => {
                if self.daemon(host, life).is_some() {
                    self.step(host, [Event::Checked { device, error }]);
                }
            }
            What::Report { host, life, number, status } => self.reported(host, life, number, status),
            What::Reported { host, life, number, status, delivery } => {
                if self.daemon(host, life).is_some() {
                    self.step(host, [Event::Reported { number, status, delivery, after: None }]);
                }
            }
            What::Armed { host, life, facts } => {
                if self.daemon(host, life).is_some() {
                    self.step(host, [Event::Armed(Ok(facts))]);
                }
            }
            What::Fires { host, boot, word } => self.fires(host, boot, word),
            What::Boot { host, boot } => self.boot(host, boot),
            What::DaemonStart { host, boot } => self.start_daemon(host, boot),
            What::Fault(number) => self.fault(number),
            What::Mend(mend) => self.mend(mend),
            What::Push => self.push(),
            What::Heal => self.heal(),
        }
    }

    /// Things of the world and how the agents of each host see them go wrong next.
    pub fn break_agent(&mut self, host: usize, thing: Thing, kind: ActionKind, mode: Mode) {
        self.hosts[host].broken.insert((thing, kind), mode);
    }

    /// Adds a fault to what is planned, for scripts: it happens now.
    pub fn now_happens(&mut self, fault: Fault) {
        self.faults.push(Planned { at: self.now, fault });
        self.fault(self.faults.len() - 1);
    }
}
