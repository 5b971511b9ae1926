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
use crate::model::sets::{MAX_PAIRS, MAX_PAIRS_TOGETHER};
use crate::model::{
    Colocation, ColocationEnd, ColocationSet, ColocationSets, Influence, Order, OrderAction, OrderEnd, OrderSet,
    OrderSets, OrderStrength, ResourceId, Role, Score, Strength, sets,
};
use std::collections::BTreeMap;

pub(super) struct Constraints<'c, 'a> {
    pub services: &'c Services<'a>,
    /// Members by tag.
    pub tags: &'c BTreeMap<&'a str, Vec<&'a str>>,
    pub losses: &'c mut Losses,
    pub orders: BTreeMap<String, Order>,
    pub colocations: BTreeMap<String, Colocation>,
    /// The sets that some of them come from, by the name of the constraint.
    pub sets: Sets,
    /// What all sets so far stand for.
    pub pairs: usize,
}

/// Constraints that were written as sets, by name.
#[derive(Debug, Clone, Default)]
pub struct Sets {
    pub orders: BTreeMap<String, OrderSets>,
    pub colocations: BTreeMap<String, ColocationSets>,
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

/// A key for each part of a constraint that is taken apart.
pub(super) fn insert<T>(map: &mut BTreeMap<String, T>, name: &str, value: T) {
    sets::insert_all(map, name, [value]);
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
    /// The `resource_set`s of a constraint, and their known members.
    fn sets(&self, el: El<'a>) -> impl Iterator<Item = (El<'a>, Vec<ResourceId>, bool)> {
        el.all("resource_set").map(|set| {
            let members = self.set_members(set).into_iter().map(ResourceId::new).collect();
            (set, members, set.attr("sequential").and_then(boolean).unwrap_or(true))
        })
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
        let set = |(set, members, sequential): (El<'a>, Vec<ResourceId>, bool)| {
            let require_all = set.attr("require-all").and_then(boolean).unwrap_or(true);
            Some(OrderSet { members, sequential, require_all, action: action(set.attr("action"))? })
        };
        let Some(sets) = self.sets(el).map(set).collect::<Option<Vec<OrderSet>>>() else {
            return self.losses.matters(el, "it orders an unknown action");
        };
        let sets = OrderSets { sets, strength, symmetric };
        if !self.is_bounded(el, sets.size()) {
            return;
        }
        let pairs = sets.pairs();
        if pairs.is_empty() {
            return self.losses.harmless(el, "its sets have no two members that are configured");
        }
        sets::insert_all(&mut self.orders, el.id(), pairs);
        self.sets.orders.insert(el.id().to_owned(), sets);
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
        let set = |(set, members, sequential): (El<'a>, Vec<ResourceId>, bool)| ColocationSet {
            members,
            sequential,
            role: role(set.attr("role")),
            strength: set.attr("score").and_then(score).map(|of| strength(of).unwrap_or((Strength::Preferred, 0))),
        };
        let (strength, weight) = strength(of).unwrap_or((Strength::Preferred, 0));
        let influence = el.attr("influence").and_then(boolean).map(influence);
        let (sets, node_label) = (self.sets(el).map(set).collect(), node_label(el));
        let sets = ColocationSets { sets, strength, weight, node_label, influence };
        if !self.is_bounded(el, sets.size()) {
            return;
        }
        let pairs = sets.pairs(|dependent| self.own_influence(dependent.as_str()));
        if pairs.is_empty() {
            return self.losses.harmless(el, "its sets have no score, or no two members that are configured");
        }
        sets::insert_all(&mut self.colocations, el.id(), pairs);
        self.sets.colocations.insert(el.id().to_owned(), sets);
    }

    /// Whether sets can be taken apart, alone and with those before.
    fn is_bounded(&mut self, el: El<'a>, size: usize) -> bool {
        self.pairs = self.pairs.saturating_add(size);
        let message = if size > MAX_PAIRS {
            format!("its sets stand for {size} pairs; the limit is {MAX_PAIRS}")
        } else if self.pairs > MAX_PAIRS_TOGETHER {
            format!("with its own, all sets stand for {} pairs; the limit is {MAX_PAIRS_TOGETHER}", self.pairs)
        } else {
            return true;
        };
        self.losses.matters(el, message);
        false
    }

    /// Whether what a name means is critical.
    fn own_influence(&self, name: &str) -> Influence {
        let critical = |member: &&str| {
            self.services.resources.get(*member).is_none_or(|resource| resource.influence == Influence::Always)
        };
        influence(self.services.members(name).iter().all(critical))
    }

    fn tie(&mut self, el: El<'a>, of: Score, dependent: (&str, Option<Role>), primary: (&str, Option<Role>)) {
        // Without weight it says nothing.
        let Some((strength, weight)) = strength(of) else { return };
        let influence =
            el.attr("influence").and_then(boolean).map_or_else(|| self.own_influence(dependent.0), influence);
        let end = |(name, role): (&str, Option<Role>)| ColocationEnd { resource: ResourceId::new(name), role };
        let node_label = node_label(el);
        let (resource, with) = (end(dependent), end(primary));
        let colocation = Colocation { resource, with, strength, weight, node_label, influence };
        insert(&mut self.colocations, el.id(), colocation);
    }
}

fn end(name: &str, action: OrderAction) -> OrderEnd {
    OrderEnd { resource: ResourceId::new(name), action }
}

fn influence(always: bool) -> Influence {
    if always { Influence::Always } else { Influence::WhileStopped }
}

fn node_label(el: El<'_>) -> Option<String> {
    el.attr("node-attribute").filter(|name| *name != "#uname").map(str::to_owned)
}
