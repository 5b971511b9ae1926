//! Order and colocation constraints.
//!
//! Input: the `constraints` of a CIB. Output: [`Order`]s and [`Colocation`]s of the spec, sets taken apart into pairs.
//! Pacemaker Explained, "Constraints" and "Resource Sets".
//!
//! Invariants: both ends of every constraint that comes out are known; a constraint that names something unknown is
//! ignored, as Pacemaker does. `location` and `tickets` do the others.

use super::loss::Losses;
use super::resources::Services;
use super::words::{boolean, score};
use super::xml::El;
use crate::model::{
    Colocation, ColocationEnd, Influence, Order, OrderAction, OrderEnd, OrderStrength, ResourceId, Role, Score,
    Strength,
};
use std::collections::BTreeMap;

pub(super) struct Constraints<'c, 'a> {
    pub services: &'c Services<'a>,
    /// Members by tag.
    pub tags: &'c BTreeMap<&'a str, Vec<&'a str>>,
    pub losses: &'c mut Losses,
    pub orders: BTreeMap<String, Order>,
    pub colocations: BTreeMap<String, Colocation>,
}

/// A `resource_set`, its unknown members left out.
struct Set<'a> {
    members: Vec<&'a str>,
    sequential: bool,
    require_all: bool,
    action: Option<&'a str>,
    role: Option<Role>,
    score: Option<Score>,
}

/// A promoted or unpromoted role by its old and new names; None for any.
pub(super) fn role(word: Option<&str>) -> Option<Role> {
    match word.map(str::to_lowercase).as_deref() {
        Some("promoted" | "master") => Some(Role::Promoted),
        Some("unpromoted" | "slave") => Some(Role::Unpromoted),
        Some(_) | None => None,
    }
}

/// A score as a word and a weight; None for 0.
pub(super) fn strength(score: Score) -> Option<(Strength, u32)> {
    let weight = score.value().unsigned_abs();
    match score {
        Score::INFINITY => Some((Strength::Required, 1)),
        Score::NEVER => Some((Strength::Forbidden, 1)),
        Score::ZERO => None,
        score if score > Score::ZERO => Some((Strength::Preferred, weight)),
        _ => Some((Strength::Avoid, weight)),
    }
}

/// A key for each part of a constraint that is taken apart: its own name where there is one part only.
pub(super) fn insert<T>(map: &mut BTreeMap<String, T>, name: &str, value: T) {
    let free = |map: &BTreeMap<String, T>, key: &str| !map.contains_key(key);
    if free(map, name) {
        map.insert(name.to_owned(), value);
        return;
    }
    let mut number = 2_usize;
    // The parts of one name follow each other, so the search begins behind the last one.
    let prefix = format!("{name}.");
    number += map.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix)).count();
    while !free(map, &format!("{prefix}{number}")) {
        number += 1;
    }
    map.insert(format!("{prefix}{number}"), value);
}

fn action(word: Option<&str>) -> Option<OrderAction> {
    match word.map(str::to_lowercase).as_deref() {
        None | Some("start") => Some(OrderAction::Start),
        Some("stop") => Some(OrderAction::Stop),
        Some("promote") => Some(OrderAction::Promote),
        Some("demote") => Some(OrderAction::Demote),
        Some(_) => None,
    }
}

impl<'a> Constraints<'_, 'a> {
    fn sets(&self, el: El<'a>) -> Vec<Set<'a>> {
        let set = |set: El<'a>| Set {
            members: self.set_members(set),
            sequential: set.attr("sequential").and_then(boolean).unwrap_or(true),
            require_all: set.attr("require-all").and_then(boolean).unwrap_or(true),
            action: set.attr("action"),
            role: role(set.attr("role")),
            score: set.attr("score").and_then(score),
        };
        el.all("resource_set").map(set).filter(|set| !set.members.is_empty()).collect()
    }

    /// The known members of a set, tags replaced by what carries them.
    pub fn set_members(&self, set: El<'a>) -> Vec<&'a str> {
        set.all("resource_ref").flat_map(|member| self.named(member.id())).collect()
    }

    /// What a name means: a resource, or all that carry a tag. Nothing, where it is unknown.
    pub fn named(&self, name: &'a str) -> Vec<&'a str> {
        if self.services.knows(name) {
            return vec![name];
        }
        let tagged = self.tags.get(name).into_iter().flatten().copied();
        tagged.filter(|name| self.services.knows(name)).collect()
    }

    fn ignored(&mut self, el: El<'a>, names: &[Option<&str>]) {
        let dropped = names.iter().flatten().any(|name| self.services.dropped.contains(name));
        if dropped {
            self.losses.matters(el, "it names something that was left out");
        } else {
            self.losses.harmless(el, "it names nothing that is configured");
        }
    }

    pub fn order(&mut self, el: El<'a>) {
        let kind = el.attr("kind").map(str::to_lowercase);
        let optional = || el.attr("score").and_then(score) == Some(Score::ZERO);
        let strength = match kind.as_deref() {
            Some("optional") => OrderStrength::Advisory,
            Some("serialize") => OrderStrength::Serialize,
            Some("mandatory") => OrderStrength::Required,
            Some(_) | None if optional() => OrderStrength::Advisory,
            Some(_) | None => OrderStrength::Required,
        };
        let default = strength != OrderStrength::Serialize;
        let symmetric = el.attr("symmetrical").and_then(boolean).unwrap_or(default) && default;
        if el.child("resource_set").is_some() {
            return self.order_sets(el, strength, symmetric);
        }
        let (first, then) = (el.attr("first"), el.attr("then"));
        let first_action = el.attr("first-action");
        let actions = (action(first_action), action(el.attr("then-action").or(first_action)));
        let (Some(first_action), Some(then_action)) = actions else {
            return self.losses.matters(el, "it orders an unknown action");
        };
        let names = |name: Option<&'a str>| name.map(|name| self.named(name)).unwrap_or_default();
        let (firsts, thens) = (names(first), names(then));
        if firsts.is_empty() || thens.is_empty() {
            return self.ignored(el, &[first, then]);
        }
        let any_copy = el.attr("require-all").and_then(boolean) == Some(false);
        for first in &firsts {
            for then in &thens {
                let (first, then) = (end(first, first_action), end(then, then_action));
                let order = Order { first, then, strength, symmetric, or: Vec::new(), any_copy };
                insert(&mut self.orders, el.id(), order);
            }
        }
    }

    fn order_sets(&mut self, el: El<'a>, strength: OrderStrength, symmetric: bool) {
        let sets = self.sets(el);
        let mut add = |first: OrderEnd, or: Vec<OrderEnd>, then: OrderEnd| {
            let order = Order { first, then, strength, symmetric, or, any_copy: false };
            insert(&mut self.orders, el.id(), order);
        };
        let ends = |set: &Set<'a>| -> Option<Vec<OrderEnd>> {
            let action = action(set.action)?;
            Some(set.members.iter().map(|member| end(member, action)).collect())
        };
        let Some(all) = sets.iter().map(ends).collect::<Option<Vec<Vec<OrderEnd>>>>() else {
            return self.losses.matters(el, "it orders an unknown action");
        };
        for (set, ends) in sets.iter().zip(&all) {
            let in_order = set.sequential && set.require_all;
            for pair in ends.windows(2).filter(|_| in_order) {
                add(pair[0].clone(), Vec::new(), pair[1].clone());
            }
        }
        for place in 1..sets.len() {
            let (before, after) = (&sets[place - 1], &sets[place]);
            let thens = if after.sequential && after.require_all { &all[place][..1] } else { &all[place][..] };
            for then in thens {
                let firsts = &all[place - 1];
                match (before.require_all, before.sequential) {
                    (false, _) => add(firsts[0].clone(), firsts[1..].to_vec(), then.clone()),
                    (true, true) => add(firsts[firsts.len() - 1].clone(), Vec::new(), then.clone()),
                    (true, false) => firsts.iter().for_each(|first| add(first.clone(), Vec::new(), then.clone())),
                }
            }
        }
    }

    pub fn colocation(&mut self, el: El<'a>) {
        let of = el.attr("score").map_or(Some(Score::INFINITY), score);
        let Some(of) = of else {
            return self.losses.matters(el, "its score is not a number");
        };
        if el.child("resource_set").is_some() {
            return self.colocation_sets(el, of);
        }
        let (rsc, with) = (el.attr("rsc"), el.attr("with-rsc"));
        let names = |name: Option<&'a str>| name.map(|name| self.named(name)).unwrap_or_default();
        let (dependents, primaries) = (names(rsc), names(with));
        if dependents.is_empty() || primaries.is_empty() {
            return self.ignored(el, &[rsc, with]);
        }
        let several = |name: Option<&str>| name.is_some_and(|name| !self.services.knows(name));
        if several(rsc) && several(with) {
            return self.losses.harmless(el, "one of its ends at most may mean several resources");
        }
        let (dependent_role, primary_role) = (role(el.attr("rsc-role")), role(el.attr("with-rsc-role")));
        for dependent in &dependents {
            for primary in &primaries {
                self.tie(el, of, (dependent, dependent_role), (primary, primary_role));
            }
        }
    }

    fn colocation_sets(&mut self, el: El<'a>, of: Score) {
        let sets = self.sets(el);
        for set in sets.iter().filter(|set| set.sequential) {
            for pair in set.members.windows(2) {
                self.tie(el, set.score.unwrap_or(of), (pair[1], set.role), (pair[0], set.role));
            }
        }
        for pair in sets.windows(2) {
            let (before, after) = (&pair[0], &pair[1]);
            let dependents = if before.sequential { &before.members[..1] } else { &before.members[..] };
            let last = after.members.len() - 1;
            let primaries = if after.sequential { &after.members[last..] } else { &after.members[..] };
            for dependent in dependents {
                for primary in primaries {
                    self.tie(el, of, (dependent, before.role), (primary, after.role));
                }
            }
        }
    }

    fn tie(&mut self, el: El<'a>, of: Score, dependent: (&str, Option<Role>), primary: (&str, Option<Role>)) {
        // Without weight it says nothing.
        let Some((strength, weight)) = strength(of) else { return };
        let critical = self.services.members(dependent.0).iter().all(|member| {
            self.services.resources.get(*member).is_none_or(|resource| resource.influence == Influence::Always)
        });
        let influence = match el.attr("influence").and_then(boolean).unwrap_or(critical) {
            true => Influence::Always,
            false => Influence::WhileStopped,
        };
        let end = |(name, role): (&str, Option<Role>)| ColocationEnd { resource: ResourceId::new(name), role };
        let node_label = el.attr("node-attribute").filter(|name| *name != "#uname").map(str::to_owned);
        let (resource, with) = (end(dependent), end(primary));
        let colocation = Colocation { resource, with, strength, weight, node_label, influence };
        insert(&mut self.colocations, el.id(), colocation);
    }
}

fn end(name: &str, action: OrderAction) -> OrderEnd {
    OrderEnd { resource: ResourceId::new(name), action }
}
