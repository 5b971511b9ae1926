//! Takes back what cannot run alone, and lists what must be true before each start.
//!
//! Input: a [`Placer`] that placed everything, and the [`Link`]s. Output: the same with dependants of what runs nowhere
//! taken back; [`facts`] for the assignment, which `State::apply` checks before it grants a claim.
//!
//! Invariant: afterwards no instance is assigned whose mandatory predecessor is assigned nowhere.

use super::instances::World;
use super::links::{Link, Pair, needs};
use super::place::{Copy, Placer};
use crate::model::{InstanceId, OrderAction, Reason, Role};
use crate::state::{Fact, FactPhase};

/// Repeats until nothing changes. Each round takes back at least one instance or promotion, so it ends.
pub(super) fn enforce(placer: &mut Placer<'_, '_>, links: &[Link]) {
    let needs = needs(links);
    loop {
        let mut changed = false;
        for either in &needs {
            changed |= enforce_need(placer, either);
        }
        for tie in 0..placer.ties.len() {
            changed |= enforce_tie(placer, tie);
        }
        if !changed {
            return;
        }
    }
}

/// The facts before a start and before a promotion of one copy's member.
pub(super) fn facts(placer: &Placer<'_, '_>, needs: &[&Link], copy: &Copy) -> (Vec<Fact>, Vec<Fact>) {
    let (mut start, mut promote) = (Vec::new(), Vec::new());
    let mut met = Vec::new();
    for link in needs {
        if link.either.is_some() && met.contains(&link.either) {
            continue;
        }
        let Some((instance, node)) = predecessor(placer, link, copy) else { continue };
        met.push(link.either);
        let phase = if link.first_promoted() { FactPhase::Promoted } else { FactPhase::Running };
        let fact = Fact { instance, node: Some(placer.world.nodes[node].id.clone()), phase };
        let list = match link.then_action {
            OrderAction::Promote => &mut promote,
            OrderAction::Start | OrderAction::Stop | OrderAction::Demote => &mut start,
        };
        if !list.contains(&fact) {
            list.push(fact);
        }
    }
    (start, promote)
}

/// The instance that a copy needs by a link: the one on its own node before others.
fn predecessor(placer: &Placer<'_, '_>, link: &Link, copy: &Copy) -> Option<(InstanceId, usize)> {
    let unit = placer.world.unit_of[link.first];
    let position = position(placer.world, link.first);
    let mut candidates: Vec<&Copy> = placer.placed[unit]
        .iter()
        .flatten()
        .filter(|first| first.running > position && first.node.is_some())
        .filter(|first| !link.first_promoted() || first.promoted)
        .filter(|first| match link.pair {
            Pair::SameCopy => first.number == copy.number,
            Pair::SameNode => first.node == copy.node,
            Pair::All => true,
        })
        .collect();
    if candidates.len() < link.enough.unwrap_or(1) as usize {
        return None;
    }
    candidates.sort_by_key(|first| (first.node != copy.node, first.number));
    let first = candidates.first()?;
    let instance = InstanceId { resource: placer.world.res[link.first].id.clone(), number: first.number };
    Some((instance, first.node?))
}

/// A resource's place among the members of its unit.
pub(super) fn position(world: &World<'_>, place: usize) -> usize {
    match world.res[place].clone {
        Some(clone) => world.clones[clone].members.iter().position(|member| *member == place).unwrap_or(0),
        None => 0,
    }
}

fn enforce_need(placer: &mut Placer<'_, '_>, either: &[&Link]) -> bool {
    let Some(link) = either.first() else { return false };
    let world = placer.world;
    let unit = world.unit_of[link.then];
    let at = position(world, link.then);
    let number = world.res[link.first].clone.map(|_| 0);
    let first = InstanceId { resource: world.res[link.first].id.clone(), number };
    let role = link.first_promoted().then_some(Role::Promoted);
    let why = Reason::After { instance: first, role };
    let promotes = link.then_action == OrderAction::Promote;
    take_back(placer, unit, at, promotes, &why, |placer, copy| {
        let stays = || !link.symmetric && runs(world, link.then, copy, promotes);
        either.iter().any(|link| predecessor(placer, link, copy).is_some()) || stays()
    })
}

/// Whether a copy runs already where it is to be, in the role that counts.
fn runs(world: &World<'_>, place: usize, copy: &Copy, promoted: bool) -> bool {
    world.res[place].claims.iter().any(|live| {
        let here = live.key.instance.number == copy.number && Some(live.node) == copy.node;
        here && !live.settling() && (!promoted || live.claim.role == Role::Promoted)
    })
}

fn enforce_tie(placer: &mut Placer<'_, '_>, tie: usize) -> bool {
    let tie = placer.ties[tie];
    if !tie.score.is_infinite() {
        return false;
    }
    let there = placer.tie_nodes(&tie);
    let why = Reason::NoNode {
        why: format!("{}, with which it belongs, does not run there", placer.world.res[tie.primary_res].id),
    };
    let promotes = tie.dependant_role == Some(Role::Promoted);
    take_back(placer, tie.dependant, 0, promotes, &why, |_, copy| copy.node.is_none_or(|node| there[node]))
}

fn take_back(
    placer: &mut Placer<'_, '_>,
    unit: usize,
    at: usize,
    promotes: bool,
    why: &Reason,
    holds: impl Fn(&Placer<'_, '_>, &Copy) -> bool,
) -> bool {
    let Some(mut copies) = placer.placed[unit].clone() else { return false };
    let mut changed = false;
    for copy in copies.iter_mut().filter(|copy| !copy.pinned && copy.node.is_some() && copy.running > at) {
        if (promotes && !copy.promoted) || holds(placer, copy) {
            continue;
        }
        changed = true;
        copy.promoted = false;
        if !promotes {
            copy.running = at;
            if at == 0 {
                copy.node = None;
                copy.why = why.clone();
            }
        }
    }
    if changed {
        placer.placed[unit] = Some(copies);
    }
    changed
}
