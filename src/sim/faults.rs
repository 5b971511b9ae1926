//! What goes wrong in the simulated world, and what operators do meanwhile.

use super::agents::{Mode, Service, Thing, thing_of};
use super::mends::Mend;
use super::schedule::operations_of;
use super::world::{Sim, What};
use crate::model::*;
use crate::reconcile::Event;
use crate::state::query::definition_of;
use crate::state::target::spec_to_chunks;
use crate::state::{Command, FEATURE_LEVEL, Membership, OverrideKind, Scope};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// One thing that goes wrong, or that somebody does. Times in ms.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    PowerCut {
        host: usize,
        back: u64,
    },
    AllPowerCut {
        back: u64,
    },
    DaemonKilled {
        host: usize,
        back: u64,
    },
    DaemonRestart {
        host: usize,
    },
    Paused {
        host: usize,
        ms: u64,
    },
    Stalled {
        host: usize,
        ms: u64,
    },
    Alone {
        host: usize,
        ms: u64,
    },
    /// Nothing comes through from `host` to `other`, or neither way.
    Cut {
        host: usize,
        other: usize,
        both: bool,
        ms: u64,
    },
    /// Hosts with a bit of their own and those without do not reach each other.
    Split {
        sides: u64,
        ms: u64,
    },
    /// It sends, and receives nothing.
    Deaf {
        host: usize,
        ms: u64,
    },
    Lossy {
        percent: u64,
        ms: u64,
    },
    Slow {
        host: usize,
        by: u64,
        ms: u64,
    },
    LeaderSteps,
    LostReplies {
        count: u32,
    },
    DiskStalls {
        host: usize,
        ms: u64,
    },
    OldDisk {
        host: usize,
        entries: usize,
        back: u64,
    },
    ClockJumps {
        host: usize,
        ms: i64,
    },
    Dies {
        resource: ResourceId,
    },
    Agent {
        host: usize,
        resource: ResourceId,
        kind: ActionKind,
        mode: Mode,
    },
    Device {
        host: usize,
        mode: Mode,
        ms: u64,
    },
    ByHand {
        host: usize,
        resource: ResourceId,
    },
    PushParams {
        resource: ResourceId,
    },
    PushRemoval {
        back: u64,
    },
    PushRename,
    PushClone {
        back: u64,
    },
    /// An operator overrides git, and takes it back.
    Wish {
        scope: Scope,
        kind: OverrideKind,
        ms: u64,
    },
    Move {
        resource: ResourceId,
        host: usize,
    },
    Cleanup,
    FenceAsked {
        host: usize,
    },
    Leaves {
        host: usize,
    },
    Upgrade {
        host: usize,
    },
}

/// What has no end of its own lasts longer than any script, ms.
pub const FOREVER: u64 = 100_000_000;

impl Fault {
    /// How long until it is over, ms.
    pub fn lasts(&self) -> u64 {
        match self {
            Self::PowerCut { back, .. }
            | Self::AllPowerCut { back }
            | Self::DaemonKilled { back, .. }
            | Self::OldDisk { back, .. }
            | Self::PushRemoval { back }
            | Self::PushClone { back } => *back,
            Self::Paused { ms, .. }
            | Self::Stalled { ms, .. }
            | Self::Alone { ms, .. }
            | Self::Cut { ms, .. }
            | Self::Split { ms, .. }
            | Self::Deaf { ms, .. }
            | Self::Lossy { ms, .. }
            | Self::Slow { ms, .. }
            | Self::DiskStalls { ms, .. }
            | Self::Device { ms, .. }
            | Self::Wish { ms, .. } => *ms,
            Self::DaemonRestart { .. }
            | Self::LeaderSteps
            | Self::LostReplies { .. }
            | Self::ClockJumps { .. }
            | Self::Dies { .. }
            | Self::Agent { .. }
            | Self::ByHand { .. }
            | Self::PushParams { .. }
            | Self::PushRename
            | Self::Move { .. }
            | Self::Cleanup
            | Self::FenceAsked { .. }
            | Self::Leaves { .. }
            | Self::Upgrade { .. } => 0,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = |host: &usize| format!("n{}", host + 1);
        let ms = |ms: &u64| if *ms >= FOREVER { String::new() } else { format!(" for {ms} ms") };
        match self {
            Self::PowerCut { host, back } => write!(f, "{} loses its power{}", n(host), ms(back)),
            Self::AllPowerCut { back } => write!(f, "every node loses its power; they boot after {back} ms"),
            Self::DaemonKilled { host, back } => write!(f, "the daemon of {} is killed for {back} ms", n(host)),
            Self::DaemonRestart { host } => write!(f, "the daemon of {} is restarted", n(host)),
            Self::Paused { host, ms: lasts } => write!(f, "{} stands still{}", n(host), ms(lasts)),
            Self::Stalled { host, ms: lasts } => write!(f, "the daemon of {} stands still{}", n(host), ms(lasts)),
            Self::Alone { host, ms: lasts } => write!(f, "{} loses its network{}", n(host), ms(lasts)),
            Self::Cut { host, other, both: true, ms: lasts } => {
                write!(f, "the link between {} and {} is cut{}", n(host), n(other), ms(lasts))
            }
            Self::Cut { host, other, both: false, ms: lasts } => {
                write!(f, "nothing comes through from {} to {}{}", n(host), n(other), ms(lasts))
            }
            Self::Split { sides, ms: lasts } => {
                write!(f, "the network splits{} (sides {:b})", ms(lasts), sides & 0x1FF)
            }
            Self::Deaf { host, ms: lasts } => write!(f, "{} receives nothing{}", n(host), ms(lasts)),
            Self::Lossy { percent, ms: lasts } => write!(f, "{percent} % of all messages are lost{}", ms(lasts)),
            Self::Slow { host, by, ms: lasts } => write!(f, "the links of {} are {by} ms slower{}", n(host), ms(lasts)),
            Self::LeaderSteps => write!(f, "the leader steps down"),
            Self::LostReplies { count } => write!(f, "the next {count} answers of the log are lost"),
            Self::DiskStalls { host, ms: lasts } => write!(f, "the disk of {} stalls{}", n(host), ms(lasts)),
            Self::OldDisk { host, entries, back } => {
                write!(f, "{} boots after {back} ms from a disk that is {entries} entries older", n(host))
            }
            Self::ClockJumps { host, ms } => write!(f, "the wall clock of {} jumps by {ms} ms", n(host)),
            Self::Dies { resource } => write!(f, "{resource} dies"),
            Self::Agent { host, resource, kind, mode } => {
                write!(f, "the next {kind} of {resource} on {} will {mode}", n(host))
            }
            Self::Device { host, mode, ms: lasts } => write!(f, "the devices of {} {mode}{}", n(host), ms(lasts)),
            Self::ByHand { host, resource } => write!(f, "somebody starts {resource} on {} by hand", n(host)),
            Self::PushParams { resource } => write!(f, "git changes a parameter of {resource}"),
            Self::PushRemoval { back } => write!(f, "git removes web, for {back} ms"),
            Self::PushRename => write!(f, "git renames web"),
            Self::PushClone { back } => write!(f, "git makes a clone of web, for {back} ms"),
            Self::Wish { scope, kind, ms: lasts } => write!(f, "{}{}", Wished(scope, kind), ms(lasts)),
            Self::Move { resource, host } => write!(f, "{resource} is moved to {}", n(host)),
            Self::Cleanup => write!(f, "failures are cleaned up"),
            Self::FenceAsked { host } => write!(f, "somebody asks for {} to be fenced", n(host)),
            Self::Leaves { host } => write!(f, "{} is asked to leave", n(host)),
            Self::Upgrade { host } => write!(f, "{} gets a newer program", n(host)),
        }
    }
}

/// In the words of the story.
struct Wished<'a>(&'a Scope, &'a OverrideKind);

impl fmt::Display for Wished<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Scope::Cluster => write!(f, "the cluster ")?,
            Scope::Node(node) => write!(f, "{node} ")?,
            Scope::Resource(resource) => write!(f, "{resource} ")?,
        }
        match self.1 {
            OverrideKind::Drain => write!(f, "is drained"),
            OverrideKind::Maintenance => write!(f, "is in maintenance"),
            OverrideKind::Ban { node } => write!(f, "is kept off {node}"),
            OverrideKind::Stop => write!(f, "is to be stopped"),
            OverrideKind::Disarm => write!(f, "lets its watchdog go"),
            OverrideKind::Suspend => write!(f, "follows no other commit"),
            OverrideKind::Move { to } => write!(f, "is moved to {to}"),
            OverrideKind::Shutdown => write!(f, "goes down"),
            OverrideKind::Fence | OverrideKind::TestFence { .. } => write!(f, "is to be fenced"),
        }
    }
}

/// The group that a resource is a member of, or itself: what may be moved.
fn whole(spec: &Spec, resource: &ResourceId) -> ResourceId {
    let group = spec.groups.iter().find(|(_, group)| group.members.contains(resource));
    group.map_or_else(|| resource.clone(), |(name, _)| name.clone())
}

impl Sim {
    /// A planned fault happens.
    pub fn fault(&mut self, number: usize) {
        let fault = self.faults[number].fault.clone();
        self.told(|| format!("-- {fault}"));
        match fault {
            Fault::PowerCut { host, back } => self.cut_power(host, back),
            Fault::AllPowerCut { back } => {
                for host in 0..self.hosts.len() {
                    let late = self.rng.range(0, 2_000);
                    self.cut_power(host, back + late);
                }
            }
            Fault::DaemonKilled { host, back } => {
                if self.hosts[host].daemon.is_some() {
                    self.kill_daemon(host);
                    let boot = self.hosts[host].boot;
                    self.at(back, What::DaemonStart { host, boot });
                }
            }
            Fault::DaemonRestart { host } => self.tell_daemon(host, Event::Restart),
            Fault::Paused { host, ms } => self.hosts[host].paused_until = self.now + ms,
            Fault::Stalled { host, ms } => self.hosts[host].stalled_until = self.now + ms,
            Fault::Alone { host, ms } => self.sever(ms, |a, b| a == host || b == host),
            Fault::Cut { host, other, both, ms } => {
                self.sever(ms, |a, b| (a, b) == (host, other) || (both && (b, a) == (host, other)));
            }
            Fault::Split { sides, ms } => self.sever(ms, |a, b| (sides >> a) & 1 != (sides >> b) & 1),
            Fault::Deaf { host, ms } => self.sever(ms, |_, b| b == host),
            Fault::Lossy { percent, ms } => {
                let pairs = self.pairs();
                self.lossy = pairs.map(|pair| (pair, percent)).collect();
                self.at(ms, What::Mend(Mend::Lossy));
            }
            Fault::Slow { host, by, ms } => {
                self.hosts[host].slow = by;
                self.at(ms, What::Mend(Mend::Slow(host)));
            }
            Fault::LeaderSteps => self.drop_leader(),
            Fault::LostReplies { count } => self.forgetful = count,
            Fault::DiskStalls { host, ms } => self.hosts[host].disk_until = self.now + ms,
            Fault::OldDisk { host, entries, back } => {
                self.cut_power(host, back);
                self.swap_disk(host, entries);
            }
            Fault::ClockJumps { host, ms } => self.hosts[host].wall_off += ms,
            Fault::Dies { resource } => {
                if let Some(thing) = self.thing(&resource) {
                    let runs = |host: &usize| self.hosts[*host].services.contains_key(&thing);
                    let running: Vec<usize> = (0..self.hosts.len()).filter(runs).collect();
                    if !running.is_empty() {
                        let host = *self.rng.pick(&running);
                        self.service_dies(host, &thing);
                    }
                }
            }
            Fault::Agent { host, resource, kind, mode } => {
                if let Some(thing) = self.thing(&resource) {
                    self.break_agent(host, thing, kind, mode);
                }
            }
            Fault::Device { host, mode, ms } => {
                self.hosts[host].device = mode;
                self.at(ms, What::Mend(Mend::Device(host)));
            }
            Fault::ByHand { host, resource } => self.start_by_hand(host, &resource),
            Fault::PushParams { resource } => {
                let stamp = self.now.to_string();
                if let Some(resource) = self.spec.resources.get_mut(&resource) {
                    resource.params.insert("size".into(), stamp);
                }
                self.push();
            }
            Fault::PushRemoval { back } => {
                if let Some(old) = self.take_web() {
                    self.at(back, What::Mend(Mend::Add("web".into(), Box::new(old))));
                    self.push();
                }
            }
            Fault::PushRename => {
                if let Some(old) = self.take_web() {
                    self.spec.resources.insert("site".into(), old);
                    self.push();
                }
            }
            Fault::PushClone { back } => {
                if self.spec.resources.contains_key("web") && self.spec.clones.len() < 2 {
                    let mut clone = self
                        .spec
                        .clones
                        .get("ms")
                        .cloned()
                        .unwrap_or_else(|| super::build::Builder::new(&[]).cloned("c", "web").clone());
                    (clone.resource, clone.promotable, clone.notify) = ("web".into(), None, false);
                    self.spec.clones.insert("webs".into(), clone);
                    self.push();
                    self.at(back, What::Mend(Mend::Unclone));
                }
            }
            Fault::Wish { scope, kind, ms } => {
                let scope = match scope {
                    Scope::Resource(name) => Scope::Resource(whole(&self.spec, &name)),
                    Scope::Cluster | Scope::Node(_) => scope,
                };
                if self.override_now(scope.clone(), kind.clone()) {
                    self.at(ms, What::Mend(Mend::Lift(scope, kind)));
                }
            }
            Fault::Move { resource, host } => {
                let (name, to) = (whole(&self.spec, &resource), self.hosts[host].name.clone());
                _ = self.override_now(Scope::Resource(name), OverrideKind::Move { to });
            }
            Fault::Cleanup => self.cleanup(),
            Fault::FenceAsked { host } => {
                _ = self.override_now(Scope::Node(self.hosts[host].name.clone()), OverrideKind::Fence);
            }
            Fault::Leaves { host } => self.tell_daemon(host, Event::Stop),
            Fault::Upgrade { host } => {
                self.hosts[host].level = FEATURE_LEVEL;
                self.tell_daemon(host, Event::Restart);
            }
        }
    }

    fn tell_daemon(&mut self, host: usize, event: Event) {
        if self.awake(host) {
            self.step(host, [event]);
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let count = self.hosts.len();
        (0..count).flat_map(move |a| (0..count).filter(move |b| a != *b).map(move |b| (a, b)))
    }

    fn sever(&mut self, ms: u64, which: impl Fn(usize, usize) -> bool) {
        let pairs: Vec<_> = self.pairs().filter(|(a, b)| which(*a, *b)).collect();
        pairs.iter().for_each(|pair| *self.cut.entry(*pair).or_default() += 1);
        self.at(ms, What::Mend(Mend::Cut(pairs)));
    }

    fn cut_power(&mut self, host: usize, back: u64) {
        if self.hosts[host].up {
            self.crash(host);
            let boot = self.hosts[host].boot;
            self.at(back, What::Boot { host, boot });
        }
    }

    /// The thing that a resource of the next push is.
    pub fn thing(&self, name: &ResourceId) -> Option<Thing> {
        self.spec.resources.get(name).map(|resource| thing_of(name, resource))
    }

    fn start_by_hand(&mut self, host: usize, resource: &ResourceId) {
        let Some(thing) = self.thing(resource) else { return };
        let Some(params) = definition_of(&self.spec, resource).map(Arc::new) else { return };
        // A node that may run nothing is asked for nothing.
        let asked = self.spec.nodes.get(&self.hosts[host].name).is_some_and(|node| node.role != NodeRole::Witness);
        if self.hosts[host].up && asked {
            let begun = Service { promoted: false, params, excused: false, by_hand: Some(self.now) };
            self.hosts[host].services.entry(thing).or_insert(begun);
        }
    }

    fn take_web(&mut self) -> Option<Resource> {
        let old = self.spec.resources.remove("web")?;
        self.spec.orders.remove("db-web");
        self.spec.colocations.remove("web-with-db");
        self.spec.clones.remove("webs");
        Some(old)
    }

    fn override_now(&mut self, scope: Scope, kind: OverrideKind) -> bool {
        let (by, reason) = ("ann".into(), "a test".into());
        self.operator(vec![Command::SetOverride { scope, kind, by, reason, expires_ms: None }])
    }

    /// False: nobody took it.
    pub(super) fn clear_overrides(&mut self, which: impl Fn(&Scope, &OverrideKind) -> bool) -> bool {
        let chosen = self.newest().overrides.iter().filter(|(_, o)| which(&o.scope, &o.kind)).map(|(id, _)| *id);
        let commands: Vec<_> = chosen.map(|id| Command::ClearOverride { id, by: "ann".into() }).collect();
        commands.is_empty() || self.operator(commands)
    }

    pub(super) fn cleanup(&mut self) {
        self.touched = self.now + 500;
        let mut commands = vec![Command::ClearFailures { resource: None, node: None, by: "ann".into() }];
        commands.extend(self.scores());
        _ = self.operator(commands);
    }

    /// A commit of what git has now; again until somebody takes it.
    pub fn push(&mut self) {
        for resource in self.spec.resources.values_mut() {
            operations_of(resource);
        }
        let (digest, chunks) = spec_to_chunks(&self.spec);
        self.pushed = Some(digest);
        let total = chunks.len() as u32;
        let parent = self.newest().target.as_ref().map(|target| target.revision.clone());
        let chunk = |(number, bytes)| Command::SpecChunk { digest, number: number as u32, total, bytes };
        let mut commands: Vec<Command> = chunks.into_iter().enumerate().map(chunk).collect();
        let revision = Revision::new(format!("{:010x}{:030x}", self.serial, 0));
        commands.extend(self.scores());
        let current = self.newest().target.as_ref().is_some_and(|target| target.spec == digest);
        // What the cluster returned from is pushed again by nobody; while it is suspended, whoever pushes waits.
        if current || self.newest().rollout.hold_on(&self.spec).is_some() {
            return;
        }
        commands.push(Command::SetTarget { revision, parent, spec: digest, by: "ann".into() });
        _ = self.operator(commands);
        // Lost with its leader, or overtaken by another: whoever pushed looks, and pushes again.
        self.at(1_000, What::Push);
    }

    /// What the agents of promotable resources say of themselves: where they may be promoted.
    pub fn scores(&self) -> Vec<Command> {
        let nodes = self.newest().nodes.keys().enumerate();
        let score = |(place, node): (usize, &NodeId)| Command::SetAttribute {
            node: node.clone(),
            boot: None,
            name: "master-drbd".into(),
            value: Some((10 + place).to_string()),
        };
        nodes.map(score).collect()
    }

    pub fn members(&self, membership: Membership) -> BTreeMap<&NodeId, Option<Membership>> {
        let state = self.newest();
        let of = |host: &'_ super::machines::Host| state.nodes.get(&host.name).map(|node| node.membership);
        let there = self.hosts.iter().filter(|host| !host.stays_off);
        there.map(|host| (&host.name, of(host))).filter(|(_, is)| *is != Some(membership)).collect()
    }
}
