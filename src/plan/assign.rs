//! `assign`: where every instance belongs, in which role, whom to fence, and why.
//!
//! Input: spec and state. Output: an [`Assignment`]; its [`changes`](Assignment::changes) are what the leader proposes.
//!
//! The steps, each a value the next takes: classify and index ([`World`]) → score and place, roles included
//! ([`Placer`]) → take back what cannot run alone (`needs`) → name it → decide fencing → verdicts.
//!
//! Invariant: an assignment that is equal but for its reasons is no change, so an idle cluster writes nothing.

use super::Verdict;
use super::fencing::{FenceDecision, awaited, decide, waits_for};
use super::instances::{Live, World};
use super::links::{Link, links};
use super::needs::{Firsts, enforce, facts};
use super::nodes::Ability;
use super::place::{Copy, Placer};
use crate::model::{InstanceId, NodeId, Reason, Role, Spec};
use crate::state::{AssignChange, Assigned, Assignment as Committed, Phase, State};
use std::collections::{BTreeMap, BTreeSet};

/// What [`assign`] decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// None: nowhere; the verdict says why.
    pub placements: BTreeMap<InstanceId, Option<Assigned>>,
    /// Attempts to start now.
    pub fence: Vec<FenceDecision>,
    /// Silent nodes that others wait for: they may be proven off without an attempt, too.
    pub awaited: BTreeSet<NodeId>,
    pub verdicts: BTreeMap<InstanceId, Verdict>,
}

/// Decides where everything is to run. Run by the leader.
pub fn assign(spec: &Spec, state: &State) -> Assignment {
    assign_in(&World::new(spec, state))
}

pub(super) fn assign_in(world: &World<'_>) -> Assignment {
    let links = links(world);
    let placer = solve(world, &links, None);
    let placements = placements(&placer, &links);
    let fence = decide(world, &placements);
    let awaited = awaited(world, &placements);
    let verdicts = verdicts(&placer, &placements);
    Assignment { placements, fence, awaited, verdicts }
}

pub(super) fn solve<'w, 'a>(world: &'w World<'a>, links: &[Link], traced: Option<usize>) -> Placer<'w, 'a> {
    let mut placer = Placer::new(world, traced);
    placer.run();
    enforce(&mut placer, links);
    placer
}

impl Assignment {
    /// What differs from what is committed, for `Command::Assign`.
    pub fn changes(&self, state: &State) -> Vec<AssignChange> {
        let mut changes: Vec<AssignChange> = self
            .placements
            .iter()
            .filter(|(id, to)| !same(state.assignment.get(id).map(|now| &now.to), to.as_ref()))
            .map(|(id, to)| AssignChange { instance: id.clone(), to: to.clone() })
            .collect();
        let gone = state.assignment.keys().filter(|id| !self.placements.contains_key(id));
        changes.extend(gone.map(|id| AssignChange { instance: id.clone(), to: None }));
        changes
    }

    /// Pretends that the changes were committed. False: there were none.
    pub fn commit(&self, state: &mut State) -> bool {
        let changes = self.changes(state);
        let changed = !changes.is_empty();
        for change in changes {
            match change.to {
                Some(to) => {
                    let committed = Committed { to, index: state.index, since_ms: state.now_ms };
                    state.assignment.insert(change.instance, committed);
                }
                None => _ = state.assignment.remove(&change.instance),
            }
        }
        changed
    }
}

fn same(a: Option<&Assigned>, b: Option<&Assigned>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => {
            a.node == b.node && a.role == b.role && a.after == b.after && a.after_promote == b.after_promote
        }
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn placements(placer: &Placer<'_, '_>, links: &[Link]) -> BTreeMap<InstanceId, Option<Assigned>> {
    let world = placer.world;
    let mut needs: Vec<Vec<(&Link, Firsts)>> = Vec::new();
    needs.resize_with(world.res.len(), Vec::new);
    for link in links.iter().filter(|link| link.is_need()) {
        needs[link.then].push((link, Firsts::of(placer, link)));
    }
    let mut placements = BTreeMap::new();
    for (unit, copies) in placer.placed.iter().enumerate() {
        let members = world.members_of_unit(unit);
        for copy in copies.iter().flatten() {
            for (position, member) in members.iter().enumerate() {
                let id = InstanceId { resource: world.res[*member].id.clone(), number: copy.number };
                let node = copy.node.filter(|_| position < copy.running);
                let is_connection =
                    || world.res[*member].clone.is_some_and(|at| world.clones[at].connection == Some(*member));
                let node = copy.from.filter(|_| node.is_some() && is_connection()).or(node);
                let assigned = node.map(|node| {
                    let (after, after_promote) = facts(placer, &needs[*member], copy);
                    let role = role(world, *member, copy);
                    let reason = copy.why.clone();
                    Assigned { node: world.nodes[node].id.clone(), role, reason, after, after_promote }
                });
                placements.insert(id, assigned);
            }
        }
    }
    placements
}

fn role(world: &World<'_>, place: usize, copy: &Copy) -> Role {
    match (world.promotable(place), copy.promoted) {
        (false, _) => Role::Started,
        (true, false) => Role::Unpromoted,
        (true, true) => Role::Promoted,
    }
}

fn verdicts(
    placer: &Placer<'_, '_>,
    placements: &BTreeMap<InstanceId, Option<Assigned>>,
) -> BTreeMap<InstanceId, Verdict> {
    let world = placer.world;
    let mut verdicts = BTreeMap::new();
    for (unit, copies) in placer.placed.iter().enumerate() {
        for member in world.members_of_unit(unit) {
            for copy in copies.iter().flatten() {
                let id = InstanceId { resource: world.res[member].id.clone(), number: copy.number };
                let claims = world.claims_of(member, copy.number);
                let verdict = match placements.get(&id).and_then(Option::as_ref) {
                    _ if copy.pinned => pinned_verdict(copy),
                    None => nowhere_verdict(&copy.why, claims),
                    Some(assigned) => placed_verdict(world, assigned, claims),
                };
                verdicts.insert(id, verdict);
            }
        }
    }
    for live in &world.removed {
        let lost = lost_verdict(world, live);
        verdicts.insert(live.key.instance.clone(), lost.unwrap_or(Verdict::Act));
    }
    verdicts
}

fn pinned_verdict(copy: &Copy) -> Verdict {
    match &copy.why {
        why @ Reason::NodeLost { .. } => Verdict::Wait(why.clone()),
        why => Verdict::Blocked(why.clone()),
    }
}

fn nowhere_verdict(why: &Reason, claims: &[Live<'_>]) -> Verdict {
    match why {
        Reason::Backoff { .. } | Reason::After { .. } => Verdict::Wait(why.clone()),
        Reason::NoNode { .. } | Reason::FailedBlocked { .. } => Verdict::Blocked(why.clone()),
        _ if claims.is_empty() => Verdict::Keep,
        _ => Verdict::Act,
    }
}

fn placed_verdict(world: &World<'_>, assigned: &Assigned, claims: &[Live<'_>]) -> Verdict {
    if let Some(lost) = claims.iter().find_map(|live| lost_verdict(world, live)) {
        return lost;
    }
    match claims {
        [live] => {
            let claim = live.claim;
            let promoted = (claim.role == Role::Promoted) == (assigned.role == Role::Promoted);
            let steady = claim.phase == Phase::Running && claim.failure.is_none();
            let place = world.res_ids.get(&live.key.instance.resource);
            let same = place.is_none_or(|place| world.same_definition(*place, claim));
            if live.key.node == assigned.node && promoted && steady && same { Verdict::Keep } else { Verdict::Act }
        }
        [] | [_, _, ..] => Verdict::Act,
    }
}

fn lost_verdict(world: &World<'_>, live: &Live<'_>) -> Option<Verdict> {
    let info = &world.nodes[live.node];
    let node = info.id.clone();
    info.unclean().then(|| match &info.ability {
        Ability::Attempt => waits_for(world, live.node),
        Ability::ByItself => Verdict::Wait(Reason::NodeLost { node }),
        Ability::Impossible(why) => Verdict::Blocked(Reason::NotProvenOff { node, why: why.clone() }),
    })
}
