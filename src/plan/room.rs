//! Capacity: in which order units ask for room, and which nodes have some.
//!
//! Input: a [`Placer`] with what was placed so far. Output: a key to queue by, and scores that rule out full nodes.
//!
//! As in Pacemaker Explained, "Utilization": with a strategy, what is best where it runs is placed before others of its
//! priority. Room is looked for all that belongs together; where no node has that much, for each by itself, on the emptiest
//! node.
//!
//! Without capacities and strategies nothing of this counts.

use super::place::{Heard, Placer, add, factor as factor_of, scaled, travels};
use super::score::{What, parts};
use crate::model::{Placement, Score};
use std::collections::{BTreeMap, BTreeSet};

impl<'a> Placer<'_, 'a> {
    /// Where capacity decides: what is best where it runs goes first, then what is best on the first node on which they
    /// differ; the largest and the first by name come first.
    pub fn size(&self, unit: usize) -> Vec<std::cmp::Reverse<Score>> {
        if self.world.spec.cluster.placement == Placement::Spread {
            return Vec::new();
        }
        let world = self.world;
        let Some(lead) = self.lead(unit) else { return Vec::new() };
        // A group goes as one: its last member goes with all the others.
        let group = world.res[lead].group.filter(|_| world.res[lead].clone.is_none());
        let members = group.map_or_else(|| vec![lead], |group| world.members(group));
        let last = members.last().copied().unwrap_or(lead);
        let mut own = vec![Score::ZERO; world.nodes.len()];
        parts(world, last, &mut |node, part, what| match what {
            What::Unfit(_) => {}
            _ => own[node] += part,
        });
        let scores = self.queued(world.unit_of[last], own);
        let score = |node: usize| scores[node];
        // Nothing is better than where something must stay.
        let stays = members.iter().any(|member| !world.res[*member].managed && !world.res[*member].claims.is_empty());
        let claims = members.iter().flat_map(|member| &world.res[*member].claims);
        let here = match stays {
            true => Score::INFINITY,
            false => claims.min_by_key(|live| live.claim.epoch).map_or(Score::NEVER, |live| score(live.node)),
        };
        let mut nodes: Vec<usize> = (0..world.nodes.len()).collect();
        if world.spec.cluster.placement == Placement::Balanced {
            nodes.sort_by_cached_key(|node| self.fuller(*node));
        }
        std::iter::once(here).chain(nodes.into_iter().map(score)).map(std::cmp::Reverse).collect()
    }

    /// What a unit thinks of its nodes when it queues: its own scores, and those of what it goes with, scaled, from one to
    /// the next. What it goes with has no score where nothing may run now; for itself that does not count yet.
    fn queued(&self, unit: usize, own: Vec<Score>) -> Vec<Score> {
        let mut scores = own;
        self.add_primaries(unit, 1.0, &mut scores, &mut Heard::new(unit));
        scores
    }

    fn add_primaries(&self, unit: usize, factor: f64, scores: &mut Vec<Score>, heard: &mut Heard) {
        for tie in self.with[unit].iter().map(|tie| self.ties[*tie]) {
            if !travels(&tie) || !heard.enter(tie.primary) {
                continue;
            }
            let factor = factor * factor_of(tie.score);
            let base = self.unit_base(tie.primary);
            let next: Vec<Score> = (0..scores.len())
                .map(|node| scores[node] + scaled(self.alike(&tie, &base, node), factor, false))
                .collect();
            if self.any_node(&next) || !self.any_node(scores) {
                *scores = next;
                self.add_primaries(tie.primary, factor, scores, heard);
            }
            heard.leave();
        }
    }

    /// Which nodes have room for a unit, or one copy of it; and the emptiest one, where none has room for all that belongs
    /// to it: then room for itself must do.
    pub fn room(&self, unit: usize, scores: &[Score]) -> (Vec<Score>, Option<usize>) {
        let room = |demand: &BTreeMap<&'a str, i64>| -> Vec<Score> {
            let full = |node| if self.fits(demand, node) { Score::ZERO } else { Score::NEVER };
            (0..scores.len()).map(full).collect()
        };
        let parts = room(&self.demand(unit, true));
        if self.any_node(&add(scores, &parts)) {
            return (parts, None);
        }
        let parts = room(&self.demand(unit, false));
        let may = |node: &usize| self.world.nodes[*node].fit() && scores[*node] >= Score::ZERO;
        let uses = !self.demand(unit, true).is_empty();
        (parts, (0..scores.len()).filter(may).min_by_key(|node| self.fuller(*node)).filter(|_| uses))
    }

    /// How many nodes have more room than this one.
    fn fuller(&self, node: usize) -> usize {
        let others = 0..self.world.nodes.len();
        others.filter(|other| self.more_room(*other, node) > self.more_room(node, *other)).count()
    }

    /// Whether a node has room for one more resource.
    pub fn has_room(&self, place: usize, node: usize) -> bool {
        let demand: BTreeMap<&'a str, i64> =
            self.world.res[place].spec.utilization.iter().map(|(what, amount)| (what.as_str(), *amount)).collect();
        self.fits(&demand, node)
    }

    /// Of how many things node `a` has more left than `b`.
    pub fn more_room(&self, a: usize, b: usize) -> usize {
        let left = |node: usize, what: &str| {
            let capacity = self.world.nodes[node].document.and_then(|document| document.capacity.get(what));
            capacity.copied().unwrap_or(0).saturating_sub(self.used[node].get(what).copied().unwrap_or(0))
        };
        let names = |node: usize| self.world.nodes[node].document.into_iter().flat_map(|d| d.capacity.keys());
        let all: std::collections::BTreeSet<&String> = names(a).chain(names(b)).collect();
        all.into_iter().filter(|what| left(a, what) > left(b, what)).count()
    }

    /// What the first member of a unit takes of a node, or the whole unit with all that belongs to it and is not placed yet.
    fn demand(&self, unit: usize, together: bool) -> BTreeMap<&'a str, i64> {
        let world = self.world;
        if !world.uses_capacity {
            return BTreeMap::new();
        }
        let mut units = vec![unit];
        let mut known = BTreeSet::from([unit]);
        let mut next = 0;
        while let Some(&unit) = units.get(next).filter(|_| together) {
            let ties = self.with[unit].iter().chain(&self.dependants[unit]).map(|tie| self.ties[*tie]);
            for tie in ties.filter(|tie| tie.score.is_infinite()) {
                let other = if tie.dependant == unit { tie.primary } else { tie.dependant };
                if self.placed[other].is_none() && known.insert(other) {
                    units.push(other);
                }
            }
            next += 1;
        }
        let mut demand: BTreeMap<&'a str, i64> = BTreeMap::new();
        let members = units.into_iter().flat_map(|unit| world.members_of_unit(unit));
        for member in members.take(if together { usize::MAX } else { 1 }) {
            for (what, amount) in &world.res[member].spec.utilization {
                let sum = demand.entry(what).or_default();
                *sum = sum.saturating_add(*amount);
            }
        }
        demand
    }

    fn fits(&self, demand: &BTreeMap<&'a str, i64>, node: usize) -> bool {
        let capacity = self.world.nodes[node].document.map(|document| &document.capacity);
        demand.iter().all(|(what, amount)| {
            let all = capacity.and_then(|capacity| capacity.get(*what)).copied().unwrap_or(0);
            *amount <= all.saturating_sub(self.used[node].get(what).copied().unwrap_or(0))
        })
    }
}
