//! Order constraints between primitives: those of the spec and those that groups imply.
//!
//! Input: the [`World`]. Output: [`Link`]s in a fixed order, each with how its instances pair up.
//!
//! A group is up with its last member and begins to stop with its last one too, so an order constraint on a group binds
//! one end of it; the members in between follow by the links of the group. What a group needs all of its members wait for, and go before.

use super::instances::World;
use crate::model::{Order, OrderAction, OrderEnd, OrderStrength};

#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub first: usize,
    pub first_action: OrderAction,
    pub then: usize,
    pub then_action: OrderAction,
    pub strength: OrderStrength,
    pub symmetric: bool,
    pub pair: Pair,
    /// Links with the same number are alternatives: one that holds is enough.
    pub either: Option<usize>,
    /// So many copies of `first` are enough; None: one, but all that are starting are waited for.
    pub enough: Option<u32>,
    /// Both ends are named themselves, not as part of a group or a clone; or they are members of one group.
    pub direct: bool,
}

impl Link {
    /// `then` does not run, or is not promoted, without `first`.
    pub fn is_need(&self) -> bool {
        let up = |action| matches!(action, OrderAction::Start | OrderAction::Promote);
        self.strength == OrderStrength::Required && up(self.first_action) && up(self.then_action)
    }
    pub fn first_promoted(&self) -> bool {
        self.first_action == OrderAction::Promote
    }
}

/// Which instances of two linked resources have to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pair {
    /// Members of one copy of a group.
    SameCopy,
    /// Interleaved clones: the copies on one node.
    SameNode,
    All,
}

pub(super) fn links(world: &World<'_>) -> Vec<Link> {
    let mut links = Vec::new();
    for group in world.spec.groups.keys() {
        for pair in world.members(group).windows(2) {
            let link = |action| Link {
                first: pair[0],
                first_action: action,
                then: pair[1],
                then_action: action,
                strength: OrderStrength::Required,
                symmetric: true,
                pair: Pair::SameCopy,
                either: None,
                enough: None,
                direct: true,
            };
            links.push(link(OrderAction::Start));
            if world.promotable(pair[0]) {
                links.push(Link { strength: OrderStrength::Advisory, ..link(OrderAction::Promote) });
            }
        }
    }
    links.extend(world.inside().map(|(inside, container)| Link {
        first: container,
        first_action: OrderAction::Start,
        then: inside,
        then_action: OrderAction::Start,
        strength: OrderStrength::Required,
        symmetric: true,
        pair: Pair::All,
        either: None,
        enough: None,
        direct: true,
    }));
    for (number, order) in world.spec.orders.values().enumerate() {
        let either = (!order.or.is_empty()).then_some(number);
        for end in std::iter::once(&order.first).chain(&order.or) {
            let Some(link) = link(world, order, end, either) else { continue };
            links.push(link);
            links.extend(later_members(world, order, link));
        }
    }
    links
}

fn link(world: &World<'_>, order: &Order, end: &OrderEnd, either: Option<usize>) -> Option<Link> {
    let first = world.order_end(&end.resource, end.action, true)?;
    let then = world.order_end(&order.then.resource, order.then.action, false)?;
    let copied = world.spec.clones.contains_key(&end.resource);
    let enough = match order.any_copy && copied {
        true => Some(1),
        false => world.spec.clones.get(&end.resource).and_then(|clone| clone.enough),
    };
    (first != then).then(|| Link {
        first,
        first_action: end.action,
        then,
        then_action: order.then.action,
        strength: order.strength,
        symmetric: order.symmetric,
        // Where some copies are enough it does not matter where they run.
        pair: if enough.is_some() { Pair::All } else { pairing(world, first, then) },
        either,
        enough,
        direct: [&end.resource, &order.then.resource].into_iter().all(|name| world.spec.resources.contains_key(name)),
    })
}

/// What a group needs each of its members waits for, and is gone before: an earlier one may run already, found or kept, without
/// it, or may have been stopped before the others.
fn later_members<'w>(world: &'w World<'_>, order: &'w Order, link: Link) -> impl Iterator<Item = Link> + 'w {
    let starts = link.is_need() && link.then_action == OrderAction::Start;
    let members = if starts { world.members(&order.then.resource) } else { Vec::new() };
    let later = members.into_iter().filter(move |member| *member != link.then && *member != link.first);
    later.map(move |then| Link { then, direct: false, ..link })
}

/// What is needed, one way or another: each set holds if one of its links does.
pub(super) fn needs(links: &[Link]) -> Vec<Vec<&Link>> {
    let mut sets: Vec<Vec<&Link>> = Vec::new();
    let mut places = std::collections::BTreeMap::new();
    for link in links.iter().filter(|link| link.is_need()) {
        match link.either {
            None => sets.push(vec![link]),
            Some(number) => {
                let place = *places.entry((number, link.then)).or_insert(sets.len());
                if place == sets.len() {
                    sets.push(Vec::new());
                }
                sets[place].push(link);
            }
        }
    }
    sets
}

fn pairing(world: &World<'_>, first: usize, then: usize) -> Pair {
    match (world.res[first].clone, world.res[then].clone) {
        (Some(a), Some(b)) if a == b => Pair::SameCopy,
        // What counts is the dependant's word (Pacemaker Explained, "interleave").
        (Some(_), Some(then)) if world.clones[then].spec.interleave => Pair::SameNode,
        (Some(_) | None, Some(_) | None) => Pair::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a` or `b`, then the members 2 and 3 of a group.
    #[test]
    fn each_member_of_a_group_has_the_alternatives_for_itself() {
        let link = |first, then| Link {
            first,
            first_action: OrderAction::Start,
            then,
            then_action: OrderAction::Start,
            strength: OrderStrength::Required,
            symmetric: true,
            pair: Pair::All,
            either: Some(0),
            enough: None,
            direct: false,
        };
        let links = [link(0, 2), link(0, 3), link(1, 2), link(1, 3)];
        let sets: Vec<Vec<(usize, usize)>> =
            needs(&links).iter().map(|set| set.iter().map(|link| (link.first, link.then)).collect()).collect();
        assert_eq!(sets, [[(0, 2), (1, 2)], [(0, 3), (1, 3)]]);
    }
}
