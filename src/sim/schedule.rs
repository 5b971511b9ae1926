//! What a seed stands for: a cluster, and the faults that will happen to it, when.
//!
//! Faults are drawn before anything runs, so that leaving some out changes nothing about the others: that is how a
//! schedule is shrunk.

use super::agents::Mode;
use super::build::Builder;
use super::faults::Fault;
use super::rng::Rng;
use crate::model::*;
use crate::state::{OverrideKind, Scope};
use std::collections::BTreeMap;
use std::time::Duration;

/// The first fault happens no earlier, ms: everything has just started then. One seed in [`EARLY`] does not wait.
pub const FIRST: u64 = 3_500;
const EARLY: u64 = 8;
/// So many different clusters are tried: each is switched on once, and what follows begins from there.
pub const CLUSTERS: u64 = 128;
/// Faults of one schedule: enough that they meet.
const FEWEST: u64 = 1;
const MOST: u64 = 9;
/// One seed in so many begins with faults that meet in a way that chance would hardly find.
const STORIES: u64 = 6;
/// Between two faults at most, ms.
const GAP: u64 = 3_000;

/// A fault, and when.
#[derive(Debug, Clone)]
pub struct Planned {
    /// ms after the beginning.
    pub at: u64,
    pub fault: Fault,
}

/// Everything that is decided before a run.
#[derive(Debug, Clone)]
pub struct Schedule {
    pub seed: u64,
    /// Which of [`CLUSTERS`] it is about: those of one number are alike, and begin alike.
    pub cluster: u64,
    /// Faults happen while it is being switched on.
    pub early: bool,
    pub spec: Spec,
    /// The feature levels of installed programs, where they are not this build's.
    pub levels: BTreeMap<NodeId, u32>,
    pub faults: Vec<Planned>,
}

impl Schedule {
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let kind = rng.range(0, CLUSTERS);
        Self::about(seed, kind, rng)
    }

    fn about(seed: u64, kind: u64, mut rng: Rng) -> Self {
        let mut own = Rng::new(kind);
        let names = ["n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"];
        let count = *own.pick(&[2, 3, 3, 3, 3, 3, 3, 4, 5, 5, 7, 9]);
        let spec = cluster(&names[..count], &mut own);
        let levels = match own.one_in(10) {
            true => names[..count].iter().map(|name| ((*name).into(), 1)).collect(),
            false => BTreeMap::new(),
        };
        let early = rng.one_in(EARLY);
        // A cluster whose first member is newer than the rest lets nobody else in: programs change later than that.
        let levels = if early { BTreeMap::new() } else { levels };
        let mut at = if early { rng.range(0, FIRST) } else { FIRST };
        let mut faults = Vec::new();
        if rng.one_in(STORIES) {
            faults = story(&spec, count, at, &mut rng);
            at += GAP;
        }
        faults.extend((0..rng.range(FEWEST, MOST + 1)).map(|_| {
            at += rng.range(50, GAP);
            Planned { at, fault: fault(&spec, &levels, count, &mut rng) }
        }));
        Self { seed, cluster: kind, early, spec, levels, faults }
    }

    /// The same with some of its faults.
    pub fn keeping(&self, kept: &[usize]) -> Self {
        let faults = kept.iter().filter_map(|place| self.faults.get(*place).cloned()).collect();
        Self { faults, ..self.clone() }
    }
}

/// A cluster to run: groups and dependent services, sometimes a promotable clone below them.
fn cluster(nodes: &[&str], rng: &mut Rng) -> Spec {
    let mut b = Builder::new(nodes);
    b.resources(&["db", "fs", "ip", "web"]);
    b.group("g", &["fs", "ip"]);
    b.order("db", "web");
    if rng.one_in(3) {
        b.colocate("web", "db", Strength::Required, 1);
    }
    if rng.one_in(2) {
        b.resource("drbd");
        let (notify, interleave) = (rng.one_in(2), rng.one_in(2));
        let clone = b.cloned("ms", "drbd");
        clone.max = Some(2);
        clone.promotable = Some(Promotable { max: 1, per_node: 1 });
        (clone.notify, clone.interleave) = (notify, interleave);
        if rng.one_in(2) {
            b.order("ms.Promote", "g");
            b.colocate("g", "ms", Strength::Required, 1).with.role = Some(Role::Promoted);
        }
    }
    for node in nodes {
        match rng.range(0, 6) {
            0 => b.levels(node, 2, false),
            1 => b.levels(node, 2, true),
            _ => {}
        }
    }
    // Now and then nothing but watchdogs; what may freeze without a quorum does not go with them.
    let dogs = nodes.len() >= 3 && rng.one_in(5);
    if dogs {
        nodes.iter().for_each(|node| b.watchdog(node));
    }
    // A witness votes and runs nothing.
    if nodes.len() >= 3 && rng.one_in(5) {
        b.spec.nodes.get_mut(*nodes.last().expect("three at least")).expect("it is one of them").role =
            NodeRole::Witness;
    }
    let mut spec = b.spec;
    let policy = &mut spec.cluster.fencing;
    policy.timeout = Duration::from_secs(5);
    policy.max_fences = 10;
    for resource in spec.resources.values_mut() {
        operations_of(resource);
        if rng.one_in(8) && !dogs {
            resource.quorum_loss = *rng.pick(&[QuorumLoss::Freeze, QuorumLoss::Demote]);
        }
        if rng.one_in(8) {
            resource.stickiness = 0;
        }
    }
    for name in ["db", "web"] {
        if rng.one_in(3) {
            migrates(spec.resources.get_mut(name).expect("it is one of them"));
        }
    }
    if rng.one_in(4) {
        let deadline = Duration::from_secs(rng.range(1, 10));
        spec.cluster.confirmation =
            Some(Confirmation { deadline, stable: Duration::from_secs(1), by: ConfirmedBy::Health });
    }
    if rng.one_in(2) {
        let reload = Some(Reload { legacy: false, params: ["size".to_owned()].into() });
        let agent = spec.resources["db"].agent.clone();
        let unique = [("state".to_owned(), ["state".to_owned()].into())].into();
        spec.agents.insert(agent, AgentTraits { unique, reload });
    }
    spec
}

/// It can move while it runs.
pub fn migrates(resource: &mut Resource) {
    resource.migratable = true;
    let operation = Operation { interval: Duration::ZERO, timeout: Duration::from_secs(3), on_fail: OnFail::Restart };
    for name in [OpName::MigrateTo, OpName::MigrateFrom] {
        resource.operations.entry(name).or_insert_with(|| operation.clone());
    }
}

/// Short time-outs and frequent monitors: a schedule lasts half a minute.
pub fn operations_of(resource: &mut Resource) {
    let told = Operation { interval: Duration::ZERO, timeout: Duration::ZERO, on_fail: OnFail::Ignore };
    resource.operations.insert(OpName::Notify, told);
    for (name, operation) in &mut resource.operations {
        operation.timeout = Duration::from_secs(3);
        if *name == OpName::Monitor {
            operation.interval = Duration::from_secs(3);
        }
        // What a script asked for stays.
        if *name == OpName::Stop && operation.on_fail == OnFail::Restart {
            operation.on_fail = OnFail::Fence;
        }
    }
}

/// Something moves while it runs, and an agent, a node or a cable goes wrong meanwhile.
fn on_the_move(spec: &Spec, resource: &ResourceId, count: usize, at: u64, rng: &mut Rng) -> Vec<Planned> {
    let kind = *rng.pick(&[ActionKind::MigrateTo, ActionKind::MigrateTo, ActionKind::MigrateFrom]);
    let mode = *rng.pick(&[Mode::Hangs, Mode::Hangs, Mode::Fails, Mode::Lies, Mode::Slow]);
    let agent = |host| Planned { at: at + 50, fault: Fault::Agent { host, resource: resource.clone(), kind, mode } };
    let mut faults: Vec<Planned> = (0..count).map(agent).collect();
    faults.push(Planned { at: at + 100, fault: Fault::Move { resource: resource.clone(), host: rng.below(count) } });
    let (host, back) = (rng.below(count), rng.range(200, 6_000));
    let fault = match rng.range(0, 7) {
        0 | 1 => Fault::PowerCut { host, back },
        2 => Fault::DaemonKilled { host, back },
        3 => Fault::Alone { host, ms: rng.range(1_000, 9_000) },
        4 => drained(spec, host, rng.range(1_000, 9_000)),
        5 => Fault::Move { resource: resource.clone(), host },
        _ => return faults,
    };
    faults.push(Planned { at: at + rng.range(200, 3_000), fault });
    faults
}

/// Something goes back and forth while answers of the log are lost: what a node said of it is written down late, when it
/// holds a new claim.
fn said_late(resource: &ResourceId, count: usize, at: u64, rng: &mut Rng) -> Vec<Planned> {
    let (first, second) = (rng.below(count), rng.below(count));
    let to = |after: u64, host| Planned { at: at + after, fault: Fault::Move { resource: resource.clone(), host } };
    let lost = |after: u64, rng: &mut Rng| Planned {
        at: at + after,
        fault: Fault::LostReplies { count: rng.range(2, 9) as u32 },
    };
    let back = rng.range(900, 2_500);
    let mut faults = vec![to(100, first), lost(rng.range(110, 600), rng), to(back, second)];
    if rng.one_in(2) {
        faults.push(lost(back + rng.range(20, 600), rng));
    }
    faults.push(to(back + rng.range(900, 2_500), first));
    faults
}

/// Something dies just when it is to be stopped, and the stop takes long: a monitor says that it is gone meanwhile.
fn dies_stopping(resource: &ResourceId, count: usize, at: u64, rng: &mut Rng) -> Vec<Planned> {
    let mode = *rng.pick(&[Mode::Hangs, Mode::Slow, Mode::Slow]);
    let (kind, resource) = (ActionKind::Stop, resource.clone());
    let agent = |host| Fault::Agent { host, resource: resource.clone(), kind, mode };
    let mut faults: Vec<Planned> = (0..count).map(|host| Planned { at: at + 50, fault: agent(host) }).collect();
    let moved = Fault::Move { resource: resource.clone(), host: rng.below(count) };
    faults.push(Planned { at: at + 100, fault: moved });
    faults.push(Planned { at: at + rng.range(60, 700), fault: Fault::Dies { resource } });
    faults
}

/// A node that lives is cut off, and of the devices that only count together one does nothing.
fn half_off(spec: &Spec, at: u64, rng: &mut Rng) -> Option<Vec<Planned>> {
    let together = |node: &&Node| node.fencing.iter().any(|level| level.len() > 1);
    let hosts: Vec<usize> =
        spec.nodes.values().enumerate().filter(|(_, n)| together(n)).map(|(host, _)| host).collect();
    let host = (!hosts.is_empty()).then(|| *rng.pick(&hosts))?;
    let ms = rng.range(8_000, 20_000);
    let faults = [Fault::Device { host, mode: Mode::Half, ms }, Fault::Alone { host, ms }];
    Some(faults.into_iter().map(|fault| Planned { at: at + 50, fault }).collect())
}

/// What chance would hardly find: something that moves while it runs; what is said late; what dies while it is stopped;
/// devices that only count together, one of which does nothing; a link that becomes very slow before it is cut; a node that
/// goes on hearing the others when they hear it no more, and cannot stop what it runs; a daemon that is killed while an agent
/// of it hangs in a start; or something that was started by hand while nobody looked, is not seen at once, and is needed
/// elsewhere.
fn story(spec: &Spec, count: usize, at: u64, rng: &mut Rng) -> Vec<Planned> {
    let (host, other) = (rng.below(count), rng.below(count));
    let planned = |after: u64, fault: Fault| Planned { at: at + after, fault };
    let names: Vec<&ResourceId> = spec.resources.keys().collect();
    let resource = (*rng.pick(&names)).clone();
    let movable: Vec<&ResourceId> = spec.resources.iter().filter(|(_, r)| r.migratable).map(|(name, _)| name).collect();
    let dogs = spec.devices.values().any(FencingDevice::is_watchdog);
    // Leases are all about what is long on its way.
    let which = if dogs && rng.one_in(2) { 0 } else { rng.range(0, 9) };
    if let Some(faults) = (which == 8).then(|| half_off(spec, at, rng)).flatten() {
        return faults;
    }
    match which {
        7 => said_late(&resource, count, at, rng),
        6 => dies_stopping(&resource, count, at, rng),
        5 if !movable.is_empty() => {
            let resource = *rng.pick(&movable);
            on_the_move(spec, resource, count, at, rng)
        }
        0 => {
            let by = rng.range(3_000, 9_000);
            let cut = rng.range(4_000, 12_000);
            vec![
                planned(50, Fault::Slow { host, by, ms: cut + 12_000 }),
                planned(cut, Fault::Alone { host, ms: rng.range(16_000, 24_000) }),
            ]
        }
        1 => {
            let ms = rng.range(18_000, 24_000);
            let (kind, mode) = (ActionKind::Stop, Mode::Hangs);
            let mute = |other| planned(300, Fault::Cut { host, other, both: false, ms });
            // What the leader acknowledged just before is long on its way.
            let slow = Fault::Slow { host, by: rng.range(2_500, 5_000), ms: 9_000 };
            let mut faults = vec![planned(50, Fault::Agent { host, resource, kind, mode }), planned(300, slow)];
            faults.extend((0..count).filter(|other| *other != host).map(mute));
            faults
        }
        2 => {
            let (kind, mode) = (ActionKind::Start, Mode::Hangs);
            vec![
                planned(50, Fault::Agent { host, resource: resource.clone(), kind, mode }),
                planned(100, Fault::Move { resource, host }),
                planned(rng.range(600, 2_000), Fault::DaemonKilled { host, back: rng.range(200, 1_200) }),
            ]
        }
        _ => {
            let back = rng.range(1_200, 3_000);
            let (kind, mode) = (ActionKind::Probe, Mode::Hangs);
            vec![
                planned(50, Fault::DaemonKilled { host, back }),
                planned(100, Fault::ByHand { host, resource: resource.clone() }),
                planned(150, Fault::Agent { host, resource, kind, mode }),
                planned(rng.range(200, 1_500), Fault::PowerCut { host: other, back: 9_000 }),
            ]
        }
    }
}

fn name_of(spec: &Spec, host: usize) -> NodeId {
    spec.nodes.keys().nth(host).cloned().unwrap_or_default()
}

fn drained(spec: &Spec, host: usize, ms: u64) -> Fault {
    Fault::Wish { scope: Scope::Node(name_of(spec, host)), kind: OverrideKind::Drain, ms }
}

/// What operators override now and then.
fn wish(spec: &Spec, host: usize, resource: ResourceId, rng: &mut Rng) -> Fault {
    let node = name_of(spec, host);
    let dogs = spec.devices.values().any(FencingDevice::is_watchdog);
    let (scope, kind) = match rng.range(0, 7) {
        0 | 1 => (Scope::Cluster, OverrideKind::Maintenance),
        2 => (Scope::Resource(resource), OverrideKind::Maintenance),
        3 => (Scope::Resource(resource), OverrideKind::Ban { node }),
        4 => (Scope::Resource(resource), OverrideKind::Stop),
        5 => (Scope::Cluster, OverrideKind::Suspend),
        _ if dogs => (Scope::Node(node), OverrideKind::Disarm),
        _ => (Scope::Node(node), OverrideKind::Drain),
    };
    Fault::Wish { scope, kind, ms: rng.range(500, 6_000) }
}

fn fault(spec: &Spec, levels: &BTreeMap<NodeId, u32>, count: usize, rng: &mut Rng) -> Fault {
    let host = rng.below(count);
    let other = rng.below(count);
    let names: Vec<&ResourceId> = spec.resources.keys().collect();
    let resource = (*rng.pick(&names)).clone();
    let ms = |rng: &mut Rng| if rng.one_in(6) { rng.range(15_000, 22_000) } else { rng.range(300, 8_000) };
    match rng.range(0, 39) {
        0..=2 => Fault::PowerCut { host, back: rng.range(1_000, 9_000) },
        3 => Fault::AllPowerCut { back: rng.range(1_000, 4_000) },
        4 | 5 => Fault::DaemonKilled { host, back: rng.range(100, 3_000) },
        6 => Fault::DaemonRestart { host },
        7 | 8 => Fault::Paused { host, ms: rng.range(200, 7_000) },
        9 => Fault::Stalled { host, ms: rng.range(200, 5_000) },
        10 | 11 => Fault::Alone { host, ms: ms(rng) },
        12 => Fault::Cut { host, other, both: true, ms: ms(rng) },
        13 => Fault::Cut { host, other, both: false, ms: ms(rng) },
        14 => Fault::Split { sides: rng.next(), ms: ms(rng) },
        15 => Fault::Deaf { host, ms: ms(rng) },
        16 => Fault::Lossy { percent: rng.range(5, 60), ms: ms(rng) },
        17 => Fault::Slow { host, by: rng.range(20, 600), ms: ms(rng) },
        18 => Fault::LeaderSteps,
        19 => Fault::LostReplies { count: rng.range(1, 6) as u32 },
        20 => Fault::DiskStalls { host, ms: rng.range(100, 3_000) },
        21 => Fault::OldDisk { host, entries: rng.range(1, 60) as usize, back: rng.range(1_000, 4_000) },
        22 => Fault::ClockJumps { host, ms: rng.range(0, 14_400_000) as i64 - 7_200_000 },
        23 | 24 => Fault::Dies { resource },
        25..=27 => {
            let kinds = [ActionKind::Start, ActionKind::Stop, ActionKind::Monitor, ActionKind::Probe];
            let more = [
                ActionKind::Promote,
                ActionKind::Demote,
                ActionKind::Notify,
                ActionKind::Reload,
                ActionKind::MigrateTo,
                ActionKind::MigrateFrom,
            ];
            let kind = if rng.one_in(3) { *rng.pick(&more) } else { *rng.pick(&kinds) };
            let mode = match kind {
                ActionKind::Probe if rng.one_in(6) => Mode::Missing,
                _ => *rng.pick(&[Mode::Fails, Mode::Hangs, Mode::Lies, Mode::Slow]),
            };
            Fault::Agent { host, resource, kind, mode }
        }
        28 | 29 => {
            let modes = [Mode::Fails, Mode::Hangs, Mode::Late, Mode::Half, Mode::Lies];
            let mode = if rng.one_in(3) { *rng.pick(&modes) } else { *rng.pick(&modes[..4]) };
            Fault::Device { host, mode, ms: rng.range(2_000, 12_000) }
        }
        30 => Fault::ByHand { host, resource },
        31 => Fault::PushParams { resource },
        32 => match rng.range(0, 3) {
            0 => Fault::PushRemoval { back: rng.range(100, 6_000) },
            1 => Fault::PushRename,
            _ => Fault::PushClone { back: rng.range(500, 6_000) },
        },
        33 => drained(spec, host, rng.range(1_000, 9_000)),
        34 => Fault::Move { resource, host },
        35 | 36 => match rng.range(0, 4) {
            0 => Fault::Cleanup,
            1 | 2 => wish(spec, host, resource, rng),
            _ => Fault::FenceAsked { host },
        },
        37 => Fault::Leaves { host },
        _ if !levels.is_empty() => Fault::Upgrade { host },
        _ => Fault::PowerCut { host, back: rng.range(1_000, 9_000) },
    }
}
