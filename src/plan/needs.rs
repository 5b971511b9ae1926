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
use std::collections::BTreeSet;

/// Repeats until nothing changes. Each round takes back at least one instance or promotion, so it ends; it looks only at
/// what depends on something that changed.
pub(super) fn enforce(placer: &mut Placer<'_, '_>, links: &[Link]) {
    let mut rules: Vec<Rule<'_>> = needs(links).into_iter().map(Rule::Need).collect();
    let remote = placer.world.nodes.iter().enumerate().filter(|(_, info)| info.fit());
    rules.extend(remote.filter_map(|(node, info)| Some(Rule::Reach(node, info.reach?.connection?))));
    rules.extend((0..placer.ties.len()).filter(|tie| placer.ties[*tie].score.is_infinite()).map(Rule::Tie));
    let mut rests_on: Vec<Vec<usize>> = vec![Vec::new(); placer.world.units.len()];
    for (place, rule) in rules.iter().enumerate() {
        rule.firsts(placer).into_iter().for_each(|unit| rests_on[unit].push(place));
    }
    let mut due: BTreeSet<usize> = (0..rules.len()).collect();
    let mut later = BTreeSet::new();
    while !due.is_empty() {
        while let Some(place) = due.pop_first() {
            for unit in rules[place].enforce(placer) {
                for &rule in &rests_on[unit] {
                    _ = if rule > place { due.insert(rule) } else { later.insert(rule) };
                }
            }
        }
        std::mem::swap(&mut due, &mut later);
    }
}

/// Something without which a unit, or some of its members, cannot be.
enum Rule<'l> {
    /// One of these holds.
    Need(Vec<&'l Link>),
    /// A mandatory colocation, by its place among the ties.
    Tie(usize),
    /// A remote node and its connection.
    Reach(usize, usize),
}

impl Rule<'_> {
    /// The units it looks at.
    fn firsts(&self, placer: &Placer<'_, '_>) -> Vec<usize> {
        match self {
            Self::Need(either) => either.iter().map(|link| placer.world.unit_of[link.first]).collect(),
            Self::Tie(tie) => vec![placer.ties[*tie].primary],
            Self::Reach(_, connection) => vec![placer.world.unit_of[*connection]],
        }
    }

    /// The units of which something was taken back.
    fn enforce(&self, placer: &mut Placer<'_, '_>) -> Vec<usize> {
        match self {
            Self::Need(either) => enforce_need(placer, either).into_iter().collect(),
            Self::Tie(tie) => enforce_tie(placer, *tie).into_iter().collect(),
            Self::Reach(node, connection) => enforce_reach(placer, *node, *connection),
        }
    }
}

/// The facts before a start and before a promotion of one copy's member.
pub(super) fn facts(placer: &Placer<'_, '_>, needs: &[(&Link, Firsts)], copy: &Copy) -> (Vec<Fact>, Vec<Fact>) {
    let (mut start, mut promote) = (Vec::new(), Vec::new());
    let mut met = BTreeSet::new();
    for (link, firsts) in needs {
        if link.either.is_some() && met.contains(&link.either) {
            continue;
        }
        let Some((number, node)) = firsts.of_copy(link, copy) else { continue };
        met.insert(link.either);
        let instance = InstanceId { resource: placer.world.res[link.first].id.clone(), number };
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

/// The copies that run the first of a link: number and node.
pub(super) struct Firsts {
    by_number: Vec<(Option<u32>, usize)>,
    by_node: Vec<(usize, Option<u32>)>,
}

impl Firsts {
    pub fn of(placer: &Placer<'_, '_>, link: &Link) -> Self {
        let unit = placer.world.unit_of[link.first];
        let position = position(placer.world, link.first);
        let runs = |first: &&Copy| first.running > position && (!link.first_promoted() || first.promoted);
        let running = placer.placed[unit].iter().flatten().filter(runs);
        let mut by_number: Vec<_> = running.filter_map(|first| Some((first.number, first.node?))).collect();
        let mut by_node: Vec<_> = by_number.iter().map(|(number, node)| (*node, *number)).collect();
        by_number.sort_unstable();
        by_node.sort_unstable();
        Self { by_number, by_node }
    }

    /// The instance that a copy needs by a link: the one on its own node before others.
    fn of_copy(&self, link: &Link, copy: &Copy) -> Option<(Option<u32>, usize)> {
        let on_its_node = || {
            let node = copy.node?;
            let found = self.by_node.get(self.by_node.partition_point(|(at, _)| *at < node))?;
            (found.0 == node).then_some((found.1, node))
        };
        match link.pair {
            Pair::All if self.by_number.len() < link.enough.unwrap_or(1) as usize => None,
            Pair::SameCopy => {
                let found = self.by_number.get(self.by_number.partition_point(|(number, _)| *number < copy.number))?;
                (found.0 == copy.number).then_some(*found)
            }
            Pair::SameNode => on_its_node(),
            Pair::All => on_its_node().or_else(|| self.by_number.first().copied()),
        }
    }
}

/// A resource's place among the members of its unit.
pub(super) fn position(world: &World<'_>, place: usize) -> usize {
    match world.res[place].clone {
        Some(clone) => world.clones[clone].members.iter().position(|member| *member == place).unwrap_or(0),
        None => 0,
    }
}

fn enforce_need(placer: &mut Placer<'_, '_>, either: &[&Link]) -> Option<usize> {
    let world = placer.world;
    let link = either.first()?;
    let firsts: Vec<(&Link, Firsts)> = either.iter().map(|link| (*link, Firsts::of(placer, link))).collect();
    let promotes = link.then_action == OrderAction::Promote;
    let why = || {
        let number = world.res[link.first].clone.map(|_| 0);
        let instance = InstanceId { resource: world.res[link.first].id.clone(), number };
        Reason::After { instance, role: link.first_promoted().then_some(Role::Promoted) }
    };
    let holds = |copy: &Copy| {
        let stays = || !link.symmetric && runs(world, link.then, copy, promotes);
        firsts.iter().any(|(link, firsts)| firsts.of_copy(link, copy).is_some()) || stays()
    };
    take_back(placer, world.unit_of[link.then], position(world, link.then), promotes, why, holds)
}

/// Whether a copy runs already where it is to be, in the role that counts.
fn runs(world: &World<'_>, place: usize, copy: &Copy, promoted: bool) -> bool {
    world.claims_of(place, copy.number).iter().any(|live| {
        Some(live.node) == copy.node && !live.settling() && (!promoted || live.claim.role == Role::Promoted)
    })
}

fn enforce_tie(placer: &mut Placer<'_, '_>, tie: usize) -> Option<usize> {
    let world = placer.world;
    let tie = placer.ties[tie];
    let there = placer.tie_nodes(&tie);
    let why = || {
        let why = format!("{}, with which it belongs, does not run there", world.res[tie.primary_res].id);
        Reason::NoNode { why }
    };
    let promotes = tie.dependant_role == Some(Role::Promoted);
    take_back(placer, tie.dependant, 0, promotes, why, |copy| copy.node.is_none_or(|node| there[node]))
}

/// Takes back what was placed on a node whose connection is not going to run after all.
fn enforce_reach(placer: &mut Placer<'_, '_>, node: usize, connection: usize) -> Vec<usize> {
    let world = placer.world;
    if placer.placed[world.unit_of[connection]].iter().flatten().any(|copy| copy.node.is_some()) {
        return Vec::new();
    }
    let why = || Reason::NoNode { why: format!("{} is not connected", world.nodes[node].id) };
    let take = |unit| take_back(placer, unit, 0, false, why, |copy| copy.node != Some(node));
    (0..world.units.len()).filter_map(take).collect()
}

/// Takes back the copies of a unit, from a member on, for which something does not hold. The unit, if there was one.
fn take_back(
    placer: &mut Placer<'_, '_>,
    unit: usize,
    at: usize,
    promotes: bool,
    why: impl Fn() -> Reason,
    holds: impl Fn(&Copy) -> bool,
) -> Option<usize> {
    let mut changed = None;
    for copy in placer.placed[unit].iter_mut().flatten() {
        let concerned = !copy.pinned && copy.node.is_some() && copy.running > at && (!promotes || copy.promoted);
        if !concerned || holds(copy) {
            continue;
        }
        changed = Some(unit);
        copy.promoted = false;
        if !promotes {
            copy.running = at;
            if at == 0 {
                copy.node = None;
                copy.why = why();
            }
        }
    }
    changed
}
