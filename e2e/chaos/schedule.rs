//! Which faults come when: a pure function of a seed.
//!
//! Input → output: seed, number of nodes, length → [`Planned`] faults in order of time. Nodes are numbers from 0.
//!
//! Rounds of [`ROUND`], each ending with [`CALM`] in which nothing is broken, so that the cluster gets somewhere; before that, up
//! to a handful of faults at once.

use std::time::Duration;

/// How long faults rain, and the calm behind it.
pub const ROUND: Duration = Duration::from_secs(60);
pub const CALM: Duration = Duration::from_secs(15);
/// Between the beginnings of two faults.
const PAUSE_MS: std::ops::Range<u64> = 800..4_500;
const LASTS_MS: std::ops::Range<u64> = 300..12_000;

/// What happens. Nodes and services are numbers from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`, and started again at the end.
    KillDaemon {
        node: usize,
    },
    /// SIGTERM, and started again at the end.
    StopDaemon {
        node: usize,
    },
    /// SIGSTOP, and SIGCONT at the end.
    PauseDaemon {
        node: usize,
    },
    /// Every process of the node stands still.
    Freeze {
        node: usize,
    },
    PowerCut {
        node: usize,
    },
    PowerCutAll,
    /// From all other nodes, both ways.
    Isolate {
        node: usize,
    },
    CutPair {
        a: usize,
        b: usize,
    },
    OneWay {
        from: usize,
        to: usize,
    },
    /// One of the two networks is gone for all.
    LoseNetwork {
        link: usize,
    },
    Loss {
        node: usize,
        percent: u32,
    },
    Rate {
        node: usize,
        kbit: u32,
    },
    Delay {
        node: usize,
        ms: u32,
        jitter_ms: u32,
    },
    /// The daemon's wall clock is off by so much until the end.
    Clock {
        node: usize,
        seconds: i64,
    },
    Devices {
        which: Devices,
        how: Device,
    },
    /// `kill -9` of a service's process, wherever it is.
    KillService {
        service: usize,
    },
    Agent {
        service: usize,
        action: Action,
        how: Trouble,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    First,
    Second,
    Both,
}

/// What a fence device does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    Fails,
    Hangs,
    Sticks,
    Late,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Start,
    Stop,
    Monitor,
    Promote,
}

/// What an agent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    Fails,
    Hangs,
    Slow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    pub at: Duration,
    pub lasts: Duration,
    pub fault: Fault,
}

impl Fault {
    /// For counting.
    pub fn kind(self) -> &'static str {
        match self {
            Self::KillDaemon { .. } => "daemon killed",
            Self::StopDaemon { .. } => "daemon stopped",
            Self::PauseDaemon { .. } => "daemon paused",
            Self::Freeze { .. } => "node frozen",
            Self::PowerCut { .. } => "power cut",
            Self::PowerCutAll => "power cut of all",
            Self::Isolate { .. } => "node isolated",
            Self::CutPair { .. } => "link of two cut",
            Self::OneWay { .. } => "link cut one way",
            Self::LoseNetwork { .. } => "network lost",
            Self::Loss { .. } => "packets lost",
            Self::Rate { .. } => "rate limited",
            Self::Delay { .. } => "packets delayed",
            Self::Clock { .. } => "clock stepped",
            Self::Devices { .. } => "fence device faulty",
            Self::KillService { .. } => "service killed",
            Self::Agent { .. } => "agent faulty",
        }
    }
}

/// Numbers from a seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap_or(0)
    }

    pub fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start).max(1)
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// The faults of a run.
pub fn schedule(seed: u64, nodes: usize, services: usize, total: Duration) -> Vec<Planned> {
    let mut chance = Chance::new(seed);
    let mut planned = Vec::new();
    let mut at = Duration::from_secs(1);
    while at < total {
        let in_round = Duration::from_millis((at.as_millis() % (ROUND + CALM).as_millis()) as u64);
        let Some(left) = ROUND.checked_sub(in_round).filter(|left| *left > Duration::from_secs(1)) else {
            at += (ROUND + CALM) - in_round + Duration::from_millis(500);
            continue;
        };
        let lasts = Duration::from_millis(chance.within(LASTS_MS)).min(left).min(total - at);
        planned.push(Planned { at, lasts, fault: fault(&mut chance, nodes, services) });
        at += Duration::from_millis(chance.within(PAUSE_MS));
    }
    planned
}

fn fault(chance: &mut Chance, nodes: usize, services: usize) -> Fault {
    let node = chance.below(nodes);
    let other = (node + 1 + chance.below(nodes - 1)) % nodes;
    let service = chance.below(services);
    match chance.below(100) {
        0..=9 => Fault::KillDaemon { node },
        10..=12 => Fault::StopDaemon { node },
        13..=19 => Fault::PauseDaemon { node },
        20..=27 => Fault::Freeze { node },
        28..=36 => Fault::PowerCut { node },
        37 => Fault::PowerCutAll,
        38..=44 => Fault::Isolate { node },
        45..=49 => Fault::CutPair { a: node, b: other },
        50..=54 => Fault::OneWay { from: node, to: other },
        55..=57 => Fault::LoseNetwork { link: chance.below(2) },
        58..=62 => Fault::Loss { node, percent: chance.pick(&[5, 20, 50, 80]) },
        63..=66 => Fault::Rate { node, kbit: chance.pick(&[64, 256, 2_000]) },
        67..=71 => Fault::Delay { node, ms: chance.pick(&[20, 100, 400]), jitter_ms: chance.pick(&[10, 100, 500]) },
        72..=76 => Fault::Clock { node, seconds: chance.pick(&[-86_400, -3_600, -5, 5, 3_600, 86_400, 40_000_000]) },
        77..=84 => Fault::Devices {
            which: chance.pick(&[Devices::First, Devices::Second, Devices::Both]),
            how: chance.pick(&[Device::Fails, Device::Hangs, Device::Sticks, Device::Late]),
        },
        85..=91 => Fault::KillService { service },
        _ => Fault::Agent {
            service,
            action: chance.pick(&[Action::Start, Action::Stop, Action::Monitor, Action::Promote]),
            how: chance.pick(&[Trouble::Fails, Trouble::Hangs, Trouble::Slow]),
        },
    }
}
