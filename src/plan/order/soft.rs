//! Edges that may not close a circle: of two serialised steps either may be first, and stops that old commits put in
//! contradictory orders may not wait for each other for ever.
//!
//! Input: the graph so far, and the wishes. Output: an edge for every wish, turned round or left out where it would
//! contradict the rest. One order of all steps is chosen that keeps every edge there is and as many wishes as it can;
//! edges along one order close no circle, so no paths are searched.

use super::Builder;
use crate::plan::graph::{At, Bond};
use std::collections::BTreeSet;

/// An edge that is asked for.
pub(super) struct Wish {
    pub before: At,
    pub after: At,
    pub bond: Bond,
    /// Where it cannot be had the other direction is as good; else none is drawn.
    pub turns: bool,
}

impl Builder<'_, '_> {
    pub(super) fn soft_edges(&mut self, wishes: &[Wish]) {
        if wishes.is_empty() {
            return;
        }
        let ranks = self.ranks(wishes);
        for wish in wishes {
            if ranks[wish.before.index()] < ranks[wish.after.index()] {
                self.bind(wish.before, wish.after, wish.bond);
            } else if wish.turns {
                self.bind(wish.after, wish.before, wish.bond);
            }
        }
    }

    /// A place for every vertex: after all that must come before it, and if possible after what is wished to. What runs
    /// already comes early. Vertices in a circle of hard edges come last.
    fn ranks(&self, wishes: &[Wish]) -> Vec<usize> {
        let web = &self.graph.graph;
        let count = web.places().count();
        let mut hard = vec![0_usize; count];
        let mut soft = vec![0_usize; count];
        let mut hard_after: Vec<Vec<At>> = vec![Vec::new(); count];
        let mut soft_after: Vec<Vec<At>> = vec![Vec::new(); count];
        for after in web.places() {
            hard[after.index()] = web.before(after).count();
            web.before(after).for_each(|(before, _)| hard_after[before.index()].push(after));
        }
        for wish in wishes {
            soft[wish.after.index()] += 1;
            soft_after[wish.before.index()].push(wish.after);
        }
        let key = |at: At, soft: usize| (soft > 0, !web[at].running, at);
        let mut ready: BTreeSet<_> =
            web.places().filter(|at| hard[at.index()] == 0).map(|at| key(at, soft[at.index()])).collect();
        let mut ranks = vec![usize::MAX; count];
        let mut next = 0;
        while let Some((_, _, at)) = ready.pop_first() {
            ranks[at.index()] = next;
            next += 1;
            for &after in &soft_after[at.index()] {
                let left = &mut soft[after.index()];
                let waited = ready.remove(&key(after, *left));
                *left -= 1;
                if waited {
                    ready.insert(key(after, *left));
                }
            }
            for &after in &hard_after[at.index()] {
                hard[after.index()] -= 1;
                if hard[after.index()] == 0 {
                    ready.insert(key(after, soft[after.index()]));
                }
            }
        }
        ranks
    }
}
