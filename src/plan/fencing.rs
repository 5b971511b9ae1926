//! Whom to fence now, with which level, from where.
//!
//! Input: the [`World`] and the placements. Output: the attempts to start now, one per node at most.
//!
//! Rules: only nodes on which a claim or a waiting start depends; no second attempt while one is open; after a failed
//! attempt the next level, and a pause once all of them were tried; the executor is another Online node, not the one
//! that failed the same level last where there is a choice; a node fenced too often within an hour stays off.
//!
//! Does not judge evidence: that an attempt succeeded, and that it counts, is decided by `State::apply`.

use super::Verdict;
use super::instances::World;
use super::nodes::{Ability, Class, is_watchdog};
use super::score::has_alternative_to;
use crate::model::{BootId, DeviceId, FenceWhen, FencingAction, Incarnation, InstanceId, NodeId, Reason};
use crate::state::{Assigned, Attempt, ClaimKey, FenceOutcome, OverrideKind, PAUSE_BETWEEN_CYCLES_MS, Scope};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

const HOUR_MS: u64 = 3_600_000;

/// An attempt to start now; becomes `Command::FenceStart`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceDecision {
    pub node: NodeId,
    pub boot: BootId,
    /// From 0.
    pub level: u32,
    pub devices: Vec<DeviceId>,
    pub executor: NodeId,
    pub executor_incarnation: Incarnation,
    pub action: FencingAction,
    /// How long the attempt may take.
    pub timeout_ms: u64,
    pub reason: String,
}

pub(super) fn decide(world: &World<'_>, placements: &BTreeMap<InstanceId, Option<Assigned>>) -> Vec<FenceDecision> {
    let lost = |node: &usize| world.nodes[*node].unclean() && world.nodes[*node].ability == Ability::Attempt;
    if !(0..world.nodes.len()).any(|node| lost(&node)) {
        return Vec::new();
    }
    let depends = Depends::new(world, placements);
    (0..world.nodes.len())
        .filter(lost)
        .filter_map(|node| attempt(world, &depends, node, needed(world, &depends, node)?))
        .collect()
}

/// All nodes that are to be proven off by an attempt, whether one can begin just now or not.
pub(super) fn victims(world: &World<'_>, placements: &BTreeMap<InstanceId, Option<Assigned>>) -> BTreeSet<NodeId> {
    let lost = |node: &usize| world.nodes[*node].unclean() && world.nodes[*node].ability == Ability::Attempt;
    if !(0..world.nodes.len()).any(|node| lost(&node)) {
        return BTreeSet::new();
    }
    let depends = Depends::new(world, placements);
    (0..world.nodes.len())
        .filter(lost)
        .filter(|node| needed(world, &depends, *node).is_some())
        .map(|node| world.nodes[node].id.clone())
        .collect()
}

/// Nodes that are not heard and on which something depends: whatever proves them off, it is waited for.
pub(super) fn awaited(world: &World<'_>, placements: &BTreeMap<InstanceId, Option<Assigned>>) -> BTreeSet<NodeId> {
    let silent = |node: &usize| world.nodes[*node].class == Class::Suspect;
    if !(0..world.nodes.len()).any(|node| silent(&node)) {
        return BTreeSet::new();
    }
    let depends = Depends::new(world, placements);
    // Whoever is to be fenced by an operator's word is waited for, too, though nothing depends on it.
    let asked = |node: usize| world.state.fence_asked(world.nodes[node].id).is_some();
    let waited = |node: &usize| asked(*node) || needed(world, &depends, *node).is_some();
    let needed = (0..world.nodes.len()).filter(silent).filter(waited);
    needed.map(|node| world.nodes[node].id.clone()).collect()
}

/// What depends on each node, gathered in one walk.
struct Depends<'a> {
    /// A claim that another node could take over.
    held: Vec<Option<&'a ClaimKey>>,
    /// A resource that is to start and of which the node has not said whether it runs there.
    waits: Vec<Option<usize>>,
    /// How many claims it holds.
    load: Vec<usize>,
}

impl<'a> Depends<'a> {
    fn new(world: &World<'a>, placements: &BTreeMap<InstanceId, Option<Assigned>>) -> Self {
        let count = world.nodes.len();
        let mut depends = Self { held: vec![None; count], waits: vec![None; count], load: vec![0; count] };
        for (place, res) in world.res.iter().enumerate() {
            for live in &res.claims {
                depends.load[live.node] += 1;
                if depends.held[live.node].is_none()
                    && world.nodes[live.node].unclean()
                    && has_alternative_to(world, place, live.node)
                {
                    depends.held[live.node] = Some(live.key);
                }
            }
        }
        world.removed.iter().for_each(|live| depends.load[live.node] += 1);
        for place in waiting_resources(world, placements) {
            for node in &world.res[place].unprobed {
                depends.waits[*node].get_or_insert(place);
            }
        }
        depends
    }
}

/// Why a node must be proven off; None: nothing depends on it.
fn needed(world: &World<'_>, depends: &Depends<'_>, node: usize) -> Option<String> {
    let info = &world.nodes[node];
    if let Some(why) = &info.doomed {
        return Some(why.clone());
    }
    let silent = || info.state.and_then(|state| state.suspicion.as_ref()).map_or("not heard", |s| &s.reason);
    match world.spec.cluster.fencing.when {
        FenceWhen::Always => return Some(silent().to_owned()),
        FenceWhen::Needed => {}
    }
    if let Some(state) = info.state
        && state.burnt.contains(&state.incarnation.boot)
    {
        return Some("it was proven off, but lives".into());
    }
    if let Some(key) = depends.held[node] {
        return Some(format!("{}; it may run {}", silent(), key.instance));
    }
    let place = depends.waits[node]?;
    Some(format!("{}; {} waits to know that it does not run there", silent(), world.res[place].id))
}

/// Resources with an instance that is to start.
fn waiting_resources(world: &World<'_>, placements: &BTreeMap<InstanceId, Option<Assigned>>) -> BTreeSet<usize> {
    let mut waiting = BTreeSet::new();
    for (id, assigned) in placements {
        let (Some(&place), Some(assigned)) = (world.res_ids.get(&id.resource), assigned) else { continue };
        let there = world.claims_of(place, id.number).iter().any(|live| live.key.node == assigned.node);
        if !there && world.res[place].managed {
            waiting.insert(place);
        }
    }
    waiting
}

fn attempt(world: &World<'_>, depends: &Depends<'_>, node: usize, reason: String) -> Option<FenceDecision> {
    let info = &world.nodes[node];
    let state = info.state?;
    let now_ms = world.state.now_ms;
    let boot = &state.incarnation.boot;
    let kept = state.document.as_ref();
    let levels = kept.map(|kept| &kept.node.fencing).or(info.document.map(|document| &document.fencing))?;
    let mut tried: Vec<&Attempt> =
        world.state.attempts.values().filter(|a| &a.node == info.id && &a.boot == boot).collect();
    if tried.iter().any(|attempt| is_open(world, attempt)) {
        return None;
    }
    tried.sort_by_key(|attempt| attempt.started_ms);
    // Said that this boot is off, and was contradicted: asking it again proves nothing.
    let lied = |level: usize| {
        tried.iter().any(|attempt| attempt.level as usize == level && attempt.outcome == Some(FenceOutcome::Off))
    };
    let tested = tested(world, info.id);
    let usable = |level: usize| {
        let devices = &levels[level];
        tested.is_none_or(|tested| tested == level)
            && !lied(level)
            && !devices.is_empty()
            && !devices.iter().all(|d| is_watchdog(world.spec, kept.map(|k| &k.devices), d))
    };
    let last = tried.last();
    // What an executor began before it was lost says nothing about the level: another one tries it at once.
    let lost = |attempt: &&&Attempt| attempt.outcome.is_none() && now_ms < attempt.deadline_ms;
    let from = match (tested, last.filter(lost)) {
        (Some(tested), _) => tested,
        (None, Some(lost)) => lost.level as usize,
        (None, None) => last.map_or(0, |last| last.level as usize + 1),
    };
    let next = (from..levels.len()).find(|level| usable(*level));
    let level = match (next, last) {
        (Some(level), _) => level,
        (None, None) => return None,
        (None, Some(last)) => {
            let ended_ms = if last.outcome.is_some() { last.ended_ms } else { last.deadline_ms };
            if now_ms < ended_ms.saturating_add(PAUSE_BETWEEN_CYCLES_MS) {
                return None;
            }
            (0..levels.len()).find(|level| usable(*level))?
        }
    };
    let failed =
        tried.iter().rev().find(|attempt| attempt.level as usize == level).map(|attempt| &attempt.executor_node);
    let executor = executor(world, depends, node, failed, &levels[level])?;
    let policy = &world.spec.cluster.fencing;
    let recent = state.fenced_ms.iter().filter(|at| at.saturating_add(HOUR_MS) > now_ms).count();
    let action = if recent >= policy.max_fences as usize { FencingAction::Off } else { policy.action };
    Some(FenceDecision {
        node: info.id.clone(),
        boot: boot.clone(),
        level: level as u32,
        devices: levels[level].clone(),
        executor: world.nodes[executor].id.clone(),
        executor_incarnation: world.nodes[executor].state?.incarnation.clone(),
        action,
        timeout_ms: policy.timeout.as_millis() as u64,
        reason,
    })
}

/// The level that an operator wants to see work.
fn tested(world: &World<'_>, node: &NodeId) -> Option<usize> {
    world.state.overrides.values().find_map(|o| match (&o.scope, &o.kind) {
        (Scope::Node(name), OverrideKind::TestFence { level }) if name == node => Some(*level as usize),
        (Scope::Node(_) | Scope::Resource(_) | Scope::Cluster, _) => None,
    })
}

/// What those wait for whose node is to be fenced.
pub(super) fn waits_for(world: &World<'_>, node: usize) -> Verdict {
    let info = &world.nodes[node];
    let boot = info.state.map(|state| &state.incarnation.boot);
    let tried = || world.state.attempts.values().filter(|a| &a.node == info.id && Some(&a.boot) == boot);
    let last = tried().max_by_key(|attempt| attempt.started_ms);
    let node = info.id.clone();
    match last.and_then(|last| last.outcome.as_ref()) {
        Some(FenceOutcome::Failed(why) | FenceOutcome::Unknown(why)) => {
            Verdict::Blocked(Reason::FencingFailed { node, why: why.clone() })
        }
        Some(FenceOutcome::Off) | None => Verdict::Wait(Reason::Fencing { node }),
    }
}

/// An attempt that may still succeed: without a result, in time, its executor still there.
pub(super) fn is_open(world: &World<'_>, attempt: &Attempt) -> bool {
    let there = world.node_ids.get(&attempt.executor_node).is_some_and(|node| {
        let info = &world.nodes[*node];
        info.class == Class::Online && info.state.is_some_and(|state| state.incarnation == attempt.executor)
    });
    attempt.outcome.is_none() && world.state.now_ms < attempt.deadline_ms && there
}

/// Who runs the fence agents: not the victim, rather not who failed before or whose checks of these devices fail, rather
/// a resource node with little to do.
fn executor(
    world: &World<'_>,
    depends: &Depends<'_>,
    victim: usize,
    failed: Option<&NodeId>,
    devices: &[DeviceId],
) -> Option<usize> {
    (0..world.nodes.len()).filter(|node| *node != victim && world.nodes[*node].class == Class::Online).min_by_key(
        |node| {
            let info = &world.nodes[*node];
            let bad =
                info.state.is_some_and(|state| devices.iter().any(|device| state.bad_devices.contains_key(device)));
            (info.doomed.is_some(), failed == Some(info.id), bad, !info.may_have_run, depends.load[*node], *node)
        },
    )
}
