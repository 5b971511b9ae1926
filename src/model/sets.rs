//! Sets of constraints: many resources in one document, taken apart into pairs.
//!
//! Input: the sets of an Order or a Colocation, in order. Output: the [`Order`]s and [`Colocation`]s that they stand for.
//! Pacemaker Explained, "Resource Sets"; manifests and imported clusters are taken apart here and nowhere else.
//!
//! Semantics: an order goes from the first set to the last. A colocation goes the other way between sets (the earlier is
//! with the later one), and within a set each member is with the one before it.
//!
//! Invariants: sets without members are as if they were not there. Sets that stand for more than [`MAX_PAIRS`] stand for
//! nothing: whoever reads them says so, by their `size`.

use super::{
    Colocation, ColocationEnd, Influence, Order, OrderAction, OrderEnd, OrderStrength, ResourceId, Role, Strength,
};
use std::collections::BTreeMap;

/// The most pairs that the sets of one constraint may stand for: two unordered sets of a hundred members, each with each.
/// Every pair is checked, stored in the log and looked at by each plan, and a few words would otherwise make millions.
pub const MAX_PAIRS: usize = 10_000;
/// The most pairs of all sets of a cluster together.
pub const MAX_PAIRS_TOGETHER: usize = 50_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderSet {
    pub members: Vec<ResourceId>,
    /// Its members happen one after the other.
    pub sequential: bool,
    /// False: any one of its members is enough for the set behind it.
    pub require_all: bool,
    pub action: OrderAction,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColocationSet {
    pub members: Vec<ResourceId>,
    /// Each member is with the one before it.
    pub sequential: bool,
    pub role: Option<Role>,
    /// Of its members among themselves; None: that of the whole constraint.
    pub strength: Option<(Strength, u32)>,
}

/// Several sets, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderSets {
    pub sets: Vec<OrderSet>,
    pub strength: OrderStrength,
    pub symmetric: bool,
}

/// Several sets, each with the one behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColocationSets {
    pub sets: Vec<ColocationSet>,
    pub strength: Strength,
    pub weight: u32,
    pub node_label: Option<String>,
    /// None: as that of what depends.
    pub influence: Option<Influence>,
}

impl OrderSets {
    /// How many ends the pairs have that come from here, at most; no pair is made for it.
    pub fn size(&self) -> usize {
        let sets: Vec<&OrderSet> = self.sets.iter().filter(|set| !set.members.is_empty()).collect();
        let within = sets.iter().filter(|set| set.sequential && set.require_all).map(|set| set.members.len() - 1);
        let between = sets.windows(2).map(|pair| {
            let before = if pair[0].require_all && pair[0].sequential { 1 } else { pair[0].members.len() };
            let after = if pair[1].require_all && pair[1].sequential { 1 } else { pair[1].members.len() };
            before.saturating_mul(after)
        });
        within.chain(between).fold(0, usize::saturating_add)
    }

    pub fn pairs(&self) -> Vec<Order> {
        let mut pairs = Vec::new();
        if self.size() > MAX_PAIRS {
            return pairs;
        }
        let mut add = |first: OrderEnd, or: Vec<OrderEnd>, then: OrderEnd| {
            let (strength, symmetric) = (self.strength, self.symmetric);
            pairs.push(Order { first, then, strength, symmetric, or, any_copy: false });
        };
        let ends = |set: &OrderSet| -> Vec<OrderEnd> {
            let end = |member: &ResourceId| OrderEnd { resource: member.clone(), action: set.action };
            set.members.iter().map(end).collect()
        };
        let sets: Vec<(&OrderSet, Vec<OrderEnd>)> =
            self.sets.iter().filter(|set| !set.members.is_empty()).map(|set| (set, ends(set))).collect();
        for (_, members) in sets.iter().filter(|(set, _)| set.sequential && set.require_all) {
            members.windows(2).for_each(|pair| add(pair[0].clone(), Vec::new(), pair[1].clone()));
        }
        for pair in sets.windows(2) {
            let ((before, firsts), (set, members)) = (&pair[0], &pair[1]);
            let thens = if set.sequential && set.require_all { &members[..1] } else { &members[..] };
            for then in thens {
                match (before.require_all, before.sequential) {
                    (false, _) => add(firsts[0].clone(), firsts[1..].to_vec(), then.clone()),
                    (true, true) => add(firsts[firsts.len() - 1].clone(), Vec::new(), then.clone()),
                    (true, false) => firsts.iter().for_each(|first| add(first.clone(), Vec::new(), then.clone())),
                }
            }
        }
        pairs
    }
}

impl ColocationSets {
    /// How many pairs come from here, at most; none is made for it.
    pub fn size(&self) -> usize {
        let sets: Vec<&ColocationSet> = self.sets.iter().filter(|set| !set.members.is_empty()).collect();
        let within = sets.iter().filter(|set| set.sequential).map(|set| set.members.len() - 1);
        let width = |set: &ColocationSet| if set.sequential { 1 } else { set.members.len() };
        let between = sets.windows(2).map(|pair| width(pair[0]).saturating_mul(width(pair[1])));
        within.chain(between).fold(0, usize::saturating_add)
    }

    /// `own`: the influence of what depends, where the constraint does not say any.
    pub fn pairs(&self, own: impl Fn(&ResourceId) -> Influence) -> Vec<Colocation> {
        let mut pairs = Vec::new();
        if self.size() > MAX_PAIRS {
            return pairs;
        }
        type Side<'s> = (&'s ResourceId, Option<Role>);
        let mut add = |(strength, weight), dependent: Side<'_>, primary: Side<'_>| {
            // Without weight it says nothing.
            if weight == 0 && matches!(strength, Strength::Preferred | Strength::Avoid) {
                return;
            }
            let end = |(resource, role): Side<'_>| ColocationEnd { resource: resource.clone(), role };
            let influence = self.influence.unwrap_or_else(|| own(dependent.0));
            let (resource, with, node_label) = (end(dependent), end(primary), self.node_label.clone());
            pairs.push(Colocation { resource, with, strength, weight, node_label, influence });
        };
        let sets: Vec<&ColocationSet> = self.sets.iter().filter(|set| !set.members.is_empty()).collect();
        let whole = (self.strength, self.weight);
        for set in sets.iter().filter(|set| set.sequential) {
            for pair in set.members.windows(2) {
                add(set.strength.unwrap_or(whole), (&pair[1], set.role), (&pair[0], set.role));
            }
        }
        for pair in sets.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            let dependents = if before.sequential { &before.members[..1] } else { &before.members[..] };
            let last = after.members.len() - 1;
            let primaries = if after.sequential { &after.members[last..] } else { &after.members[..] };
            for dependent in dependents {
                for primary in primaries {
                    add(whole, (dependent, before.role), (primary, after.role));
                }
            }
        }
        pairs
    }
}

/// Adds the parts of one document: the first under its own name where that is free, the others as `NAME.2`, `NAME.3` …
pub fn insert_all<T>(map: &mut BTreeMap<String, T>, name: &str, values: impl IntoIterator<Item = T>) {
    let prefix = format!("{name}.");
    let mut number = None;
    for value in values {
        if number.is_none() && !map.contains_key(name) {
            map.insert(name.to_owned(), value);
            continue;
        }
        // Earlier parts of the name follow each other, so the search begins behind them.
        let taken = || map.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix)).count();
        let mut next = number.unwrap_or_else(|| 2 + taken());
        while map.contains_key(&format!("{prefix}{next}")) {
            next += 1;
        }
        map.insert(format!("{prefix}{next}"), value);
        number = Some(next + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(members: &str, sequential: bool, require_all: bool) -> OrderSet {
        let members = members.split(' ').map(ResourceId::from).collect();
        OrderSet { members, sequential, require_all, action: OrderAction::Start }
    }

    fn told(sets: Vec<OrderSet>) -> Vec<String> {
        let pairs = OrderSets { sets, strength: OrderStrength::Required, symmetric: true }.pairs();
        let first = |order: &Order| {
            let all = std::iter::once(&order.first).chain(&order.or).map(|end| end.resource.to_string());
            all.collect::<Vec<_>>().join("|")
        };
        pairs.iter().map(|order| format!("{} {}", first(order), order.then.resource)).collect()
    }

    #[test]
    fn members_follow_each_other_and_sets_follow_the_whole_of_the_one_before() {
        assert_eq!(told(vec![set("a b", true, true), set("c d", true, true)]), ["a b", "c d", "b c"]);
        assert_eq!(told(vec![set("a b", false, true), set("c d", false, true)]), ["a c", "b c", "a d", "b d"]);
        assert_eq!(told(vec![set("a b", false, false), set("c d", true, true)]), ["c d", "a|b c"]);
    }

    #[test]
    fn an_earlier_set_is_with_the_later_one_and_a_member_with_the_one_before_it() {
        let set = |members: &str, sequential| ColocationSet {
            members: members.split(' ').map(ResourceId::from).collect(),
            sequential,
            role: None,
            strength: None,
        };
        let sets = vec![set("a b", true), set("c d", false)];
        let (strength, weight, node_label, influence) = (Strength::Required, 1, None, None);
        let sets = ColocationSets { sets, strength, weight, node_label, influence };
        let pairs = sets.pairs(|_| Influence::Always);
        let told: Vec<String> = pairs.iter().map(|k| format!("{} {}", k.resource.resource, k.with.resource)).collect();
        assert_eq!(told, ["b a", "a c", "a d"]);
    }

    #[test]
    fn sets_that_stand_for_too_much_stand_for_nothing_and_say_how_much_without_counting_it_out() {
        let members: Vec<String> = (0..750).map(|number| format!("r{number}")).collect();
        let wide = |sequential, require_all| set(&members.join(" "), sequential, require_all);
        let sets = |sets| OrderSets { sets, strength: OrderStrength::Required, symmetric: true };
        let huge = sets(vec![wide(false, true), wide(false, true)]);
        assert_eq!((huge.size(), huge.pairs().len()), (562_500, 0));
        let many = sets(vec![wide(true, true), wide(true, true)]);
        assert_eq!((many.size(), many.pairs().len()), (1_499, 1_499));
        // One order with 750 alternatives for each of 750: as much memory as 562,500 orders.
        assert!(sets(vec![wide(false, false), wide(false, true)]).pairs().is_empty());
        let set = |sequential| ColocationSet {
            members: members.iter().map(|name| name.as_str().into()).collect(),
            sequential,
            role: None,
            strength: None,
        };
        let sets =
            |sets| ColocationSets { sets, strength: Strength::Required, weight: 1, node_label: None, influence: None };
        let huge = sets(vec![set(false), set(false)]);
        assert_eq!((huge.size(), huge.pairs(|_| Influence::Always).len()), (562_500, 0));
        let many = sets(vec![set(true), set(false)]);
        assert_eq!((many.size(), many.pairs(|_| Influence::Always).len()), (1_499, 1_499));
    }

    #[test]
    fn parts_get_names_that_are_free() {
        let mut map = BTreeMap::from([("x.3".to_owned(), 0)]);
        insert_all(&mut map, "x", [1, 2, 3]);
        insert_all(&mut map, "x", [4]);
        assert_eq!(map.into_keys().collect::<Vec<_>>(), ["x", "x.3", "x.4", "x.5", "x.6"]);
    }
}
