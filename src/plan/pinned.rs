//! What stays where it is, whatever the scores say: what may not be touched, what nothing can end, and what is on its way.
//!
//! Input: the claims of a plain resource, or one of a clone. Output: the copy that is kept, and why; None: it is placed.

use super::instances::Live;
use super::nodes::Ability;
use super::place::{Copy, Placer};
use super::score::has_alternative_to;
use crate::model::{FenceWhen, MultipleActive, Reason, Role};
use crate::state::Phase;

impl Placer<'_, '_> {
    /// What may not be touched stays where it is.
    pub fn pinned(&self, place: usize) -> Option<Copy> {
        let res = &self.world.res[place];
        let keep = |node, why| Copy { number: None, node, running: 1, promoted: false, why, pinned: true, from: None };
        let lasting = res.claims.iter().filter(|live| !self.is_left(place, live));
        if let Some(copy) = lasting.clone().find_map(|live| self.pinned_claim(place, live)) {
            return Some(copy);
        }
        let home = lasting.map(|live| live.node).next();
        let assigned = || {
            let assigned = self.world.assignment.get(&self.world.plain_instance(place))?;
            self.world.node_ids.get(&assigned.to.node).copied()
        };
        let in_maintenance =
            home.is_some_and(|node| self.world.nodes[node].maintenance) || self.world.maintained(place);
        if !res.managed || in_maintenance {
            return Some(keep(home.or_else(assigned), Reason::Unmanaged));
        }
        if let Some(node) = self.world.drift(place) {
            // What is to be stopped stays assigned nowhere.
            return Some(keep(assigned(), Reason::Drift { node: self.world.nodes[node].id.clone() }));
        }
        let block = self.world.several(place) && res.spec.multiple_active == MultipleActive::Block;
        block.then(|| keep(assigned().or(home), Reason::MultipleActive))
    }

    /// Where something has left, or leaves, by live migration: it is at home where it arrives.
    fn is_left(&self, place: usize, live: &Live<'_>) -> bool {
        let arrives = |other: &Live<'_>| {
            let sound = other.claim.failure.is_none() && !self.world.nodes[other.node].unclean();
            let there = matches!(other.claim.phase, Phase::Running | Phase::MigratingFrom);
            other.key != live.key && sound && there
        };
        let leaves = live.claim.phase == Phase::Stopping || live.claim.phase.leaves();
        let res = &self.world.res[place];
        res.clone.is_none() && leaves && res.claims.iter().any(arrives)
    }

    /// A claim that nothing can end now.
    pub fn pinned_claim(&self, place: usize, live: &Live<'_>) -> Option<Copy> {
        let info = &self.world.nodes[live.node];
        if info.unclean() && self.fenced_anyway(live.node) {
            return None;
        }
        let resets = self.world.is_mended_around(place, live);
        let why = match (&live.claim.failure, &info.ability) {
            (Some(failure), _) if failure.blocked || (failure.fence && !info.unclean() && !resets) => {
                Reason::FailedBlocked { what: failure.text.clone() }
            }
            (_, Ability::Impossible(why)) if info.unclean() => {
                Reason::NotProvenOff { node: info.id.clone(), why: why.clone() }
            }
            // Nobody could take over: it comes back with its node.
            (_, _) if info.unclean() && !has_alternative_to(self.world, place, live.node) => {
                Reason::NodeLost { node: info.id.clone() }
            }
            (_, _) => return None,
        };
        let promoted = live.claim.role == Role::Promoted;
        Some(Copy {
            number: live.key.instance.number,
            node: Some(live.node),
            running: 1,
            promoted,
            why,
            pinned: true,
            from: None,
        })
    }

    fn fenced_anyway(&self, node: usize) -> bool {
        let always = self.world.spec.cluster.fencing.when == FenceWhen::Always;
        always && self.world.nodes[node].ability == Ability::Attempt
    }
}
