//! Edges and blocks that order constraints ask for.
//!
//! Input: the steps, and the [`Link`]s. Output: edges between the steps of linked resources; blocks where what is needed
//! neither runs nor is on its way; wishes where the order does not matter.
//!
//! The steps of a link's second are kept in the order of what pairs them, so that each step of its first finds its own.

use super::soft::Wish;
use super::{Builder, Made};
use crate::model::{InstanceId, OrderAction, OrderStrength, Reason, Role};
use crate::plan::Verdict;
use crate::plan::graph::{At, Bond, StepKind};
use crate::plan::instances::Live;
use crate::plan::links::{Link, Pair, needs};
use crate::plan::want::{Fate, Firsts};
use std::collections::BTreeMap;

/// How far what a step needs is there.
pub(super) struct Met {
    ready: bool,
    /// What brings it, where it is not.
    steps: Vec<At>,
}

impl Builder<'_, '_> {
    pub(super) fn link_edges(&mut self, link: &Link) {
        if self.of[link.first].is_empty() {
            return;
        }
        let (up_first, up_then) = (kind(link.first_action), kind(link.then_action));
        let (down_first, down_then) = (kind(link.first_action.opposite()), kind(link.then_action.opposite()));
        let restarts = link.is_need() && link.symmetric;
        let required = if link.strength == OrderStrength::Required { Bond::Firm } else { Bond::Loose };
        // Of several copies one that comes up is enough.
        let several = link.either.is_some() || (link.pair == Pair::All && self.world.res[link.first].clone.is_some());
        let up = if link.is_need() && several { Bond::Loose } else { required };
        let wants = self.wants;
        let side = |inst: usize, node: usize| match link.pair {
            Pair::SameCopy => wants.insts[inst].id.number.map_or(0, |number| number as usize + 1),
            Pair::SameNode => node,
            Pair::All => 0,
        };
        if restarts {
            self.held_by_stuck(link, side);
        }
        let mut thens = self.made_of(link.then);
        thens.sort_by_key(|then| side(then.inst, then.node));
        for first in self.made_of(link.first) {
            let at = side(first.inst, first.node);
            let from = thens.partition_point(|then| side(then.inst, then.node) < at);
            for then in thens[from..].iter().take_while(|then| side(then.inst, then.node) == at) {
                if first.kind.comes_as(&up_first) && then.kind.waits_as(&up_then) {
                    self.bind(first.at, then.at, up);
                }
                // What was promoted may have to stop without a demote of its own.
                let goes =
                    first.kind.goes_as(&down_first) || (down_first == StepKind::Demote && first.kind == StepKind::Stop);
                if link.symmetric && goes && then.kind == down_then {
                    // Even if the commit to stop it is there already: it may have come late, or together with a grant
                    // to what needs it. What its owner has begun goes on in any case.
                    self.graph.graph.edge(then.at, first.at, required);
                }
                // It was stopped for what restarts, so it is down before that comes up.
                if restarts && first.kind.comes_as(&up_first) && then.kind == down_then {
                    self.edge(then.at, first.at);
                }
            }
        }
    }

    /// Outside of groups others let what an unmanaged resource needs stop, as long as that resource does not fail; and
    /// what is ordered as a group or a clone stops in any case.
    fn holds(&self, link: &Link, live: &Live<'_>, why: &Reason) -> bool {
        let unmanaged = *why == Reason::Unmanaged && live.claim.failure.is_none();
        !self.world.outline || link.pair == Pair::SameCopy || (link.direct && !unmanaged)
    }

    /// What cannot be stopped keeps what it needs.
    pub(super) fn held_by_stuck(&mut self, link: &Link, side: impl Fn(usize, usize) -> usize) {
        let wants = self.wants;
        let mut stuck: BTreeMap<usize, &Reason> = BTreeMap::new();
        for &then in &wants.by_res[link.then] {
            for (live, fate) in &wants.insts[then].claims {
                if let Fate::Stuck(why) = fate
                    && self.holds(link, live, why)
                {
                    stuck.entry(side(then, live.node)).or_insert(why);
                }
            }
        }
        let down = kind(link.first_action.opposite());
        // What comes up would want to restart what already runs without it.
        let up = |first: &Made| self.world.outline && link.pair == Pair::SameCopy && first.kind == StepKind::Start;
        let held = self.made_of(link.first).into_iter().filter(|first| first.kind.goes_as(&down) || up(first));
        for first in held.collect::<Vec<_>>() {
            if let Some(why) = stuck.get(&side(first.inst, first.node)) {
                self.block(first.at, Verdict::Blocked((*why).clone()));
            }
        }
    }

    /// Blocks starts and promotions whose mandatory predecessor neither runs nor is on its way.
    pub(super) fn need_blocks(&mut self, links: &[Link]) {
        let wants = self.wants;
        for either in needs(links) {
            let (up_then, then) = (kind(either[0].then_action), either[0].then);
            let made: Vec<Made> = self.made_of(then).into_iter().filter(|made| made.kind.waits_as(&up_then)).collect();
            if made.is_empty() {
                continue;
            }
            let firsts: Vec<Firsts<'_>> = either.iter().map(|link| Firsts::of(link, wants)).collect();
            // Where all copies count the answer is the same for every step.
            let whole = |link: &&Link| (link.pair == Pair::All).then(|| self.met(link, &wants.by_res[link.first]));
            let all: Vec<Option<Met>> = either.iter().map(whole).collect();
            let mut ends = Vec::new();
            for then in made.iter().filter(|then| !(self.graph.graph[then.at].running && up_then == StepKind::Start)) {
                let mut steps = Vec::new();
                let mut ready = false;
                for ((link, firsts), all) in either.iter().zip(&firsts).zip(&all) {
                    match all {
                        Some(met) => {
                            ready |= met.ready;
                            steps.extend_from_slice(&met.steps);
                        }
                        None => {
                            let met = self.met(link, firsts.of_inst(wants, then.inst, then.node));
                            ready |= met.ready;
                            steps.extend(met.steps);
                        }
                    }
                }
                if !ready {
                    let first = firsts[0].of_inst(wants, then.inst, then.node).first().copied();
                    ends.push((then.at, steps, first));
                }
            }
            for (at, steps, first) in ends {
                if !steps.is_empty() {
                    self.graph.any_of.push((at, steps));
                    continue;
                }
                let link = either[0];
                let number = self.world.res[link.first].clone.map(|_| 0);
                let instance = first.map_or_else(
                    || InstanceId { resource: self.world.res[link.first].id.clone(), number },
                    |first| wants.insts[first].id.clone(),
                );
                let role = link.first_promoted().then_some(Role::Promoted);
                self.block(at, Verdict::Wait(Reason::After { instance, role }));
            }
        }
    }

    /// Whether enough of these instances run already; else the steps that bring as many.
    pub(super) fn met(&self, link: &Link, firsts: &[usize]) -> Met {
        let enough = link.enough.unwrap_or(1) as usize;
        let good = |first: &&usize| self.wants.insts[**first].is_good(self.world, link.first_promoted());
        let good = firsts.iter().filter(good).count();
        let mut steps: Vec<At> = firsts.iter().filter_map(|first| self.comes(link, *first)).collect();
        if good >= enough || good + steps.len() < enough {
            steps.clear();
        }
        Met { ready: good >= enough, steps }
    }

    pub(super) fn comes(&self, link: &Link, first: usize) -> Option<At> {
        let (node, _) = self.wants.insts[first].assigned?;
        let kind = kind(link.first_action);
        let mut made = self.of_inst[first].iter().map(|made| &self.made[*made]);
        made.find(|made| made.kind.comes_as(&kind) && made.node == node).map(|made| made.at)
    }

    /// `ordered: true`: copies start one after the other and stop in reverse.
    pub(super) fn clone_edges(&mut self) {
        for (place, res) in self.world.res.iter().enumerate() {
            if !res.clone.is_some_and(|clone| self.world.clones[clone].spec.ordered) {
                continue;
            }
            let made = self.made_of(place);
            let of = |kind: StepKind| {
                let mut list: Vec<&Made> = made.iter().filter(|made| made.kind == kind).collect();
                list.sort_by_key(|made| (!self.graph.graph[made.at].running, made.inst));
                list.iter().map(|made| made.at).collect::<Vec<_>>()
            };
            let (starts, mut stops) = (of(StepKind::Start), of(StepKind::Stop));
            stops.reverse();
            stops.sort_by_key(|at| !self.graph.graph[*at].running);
            for pair in starts.windows(2).chain(stops.windows(2)) {
                self.bind(pair[0], pair[1], Bond::Loose);
            }
        }
    }

    /// Never both at once: what runs goes first, else what is named first. Existing order is kept.
    pub(super) fn serialize_wishes(&self, link: &Link, wishes: &mut Vec<Wish>) {
        let at = |place: usize| self.of[place].iter().map(|made| self.made[*made].at);
        for a in at(link.first) {
            for b in at(link.then) {
                let running = |at: At| self.graph.graph[at].running;
                let (before, after) = if running(b) && !running(a) { (b, a) } else { (a, b) };
                wishes.push(Wish { before, after, bond: Bond::Loose, turns: true });
            }
        }
    }
}

fn kind(action: OrderAction) -> StepKind {
    match action {
        OrderAction::Start => StepKind::Start,
        OrderAction::Stop => StepKind::Stop,
        OrderAction::Promote => StepKind::Promote,
        OrderAction::Demote => StepKind::Demote,
    }
}
