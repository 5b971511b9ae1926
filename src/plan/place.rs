//! Who goes where.
//!
//! Input: the [`World`]. Output: for every unit its [`struct@Copy`]s: node, role and why. The order is Pacemaker's: by priority,
//! what a unit is colocated with before the unit itself; ties by name.
//!
//! Before a unit is placed, what is colocated with it has a say: its own scores, scaled by the colocation, are added
//! (Pacemaker Explained, "Colocation"), unless that would leave no node. Choice of node: highest score, fewest
//! instances, the node that has it, name; a running instance stays where its score is as good and positive.
//!
//! Does not look at order constraints (`needs`) and does not write reasons for people beyond one [`Reason`] per copy.

use super::instances::{Live, Tie, Unit, World};
use super::nodes::{Ability, Unfit};
use super::score::{Base, What, base, has_alternative, parts};
use crate::model::{MultipleActive, Reason, Role, Score};
use std::collections::{BTreeMap, BTreeSet};

/// How far preferences travel along a chain of colocations. Longer chains are placed all the same; what is further
/// away than this has no say. Bounds the recursion.
const INFLUENCE_DEPTH: usize = 128;

/// One instance of every member of a unit.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    /// None: the unit is not a clone.
    pub number: Option<u32>,
    pub node: Option<usize>,
    /// How many of the unit's members run there, counted from the first.
    pub running: usize,
    pub promoted: bool,
    pub why: Reason,
    /// Left as it is: unmanaged, blocked, or on a node that cannot be proven off.
    pub pinned: bool,
}

/// A node, and what a neighbour adds to its score.
pub(super) type Note<'a> = (usize, Score, What<'a>);

pub(super) struct Placer<'w, 'a> {
    pub world: &'w World<'a>,
    pub bases: Vec<Base>,
    pub ties: Vec<Tie<'a>>,
    /// Ties by their dependant and by their primary unit, the strongest first.
    pub with: Vec<Vec<usize>>,
    pub dependants: Vec<Vec<usize>>,
    pub placed: Vec<Option<Vec<Copy>>>,
    /// Instances given to each node so far.
    pub load: Vec<u32>,
    used: Vec<BTreeMap<&'a str, i64>>,
    /// For `explain`: the unit, and what its neighbours contributed.
    pub trace: Option<(usize, Vec<Note<'a>>)>,
}

impl<'w, 'a> Placer<'w, 'a> {
    pub fn new(world: &'w World<'a>, traced: Option<usize>) -> Self {
        let units = world.units.len();
        let ties = world.ties();
        let (mut with, mut dependants) = (vec![Vec::new(); units], vec![Vec::new(); units]);
        for (place, tie) in ties.iter().enumerate() {
            with[tie.dependant].push(place);
            dependants[tie.primary].push(place);
        }
        for list in with.iter_mut().chain(&mut dependants) {
            list.sort_by_key(|tie| std::cmp::Reverse(ties[*tie].score.value().abs()));
        }
        Self {
            world,
            bases: (0..world.res.len()).map(|place| base(world, place)).collect(),
            ties,
            with,
            dependants,
            placed: vec![None; units],
            load: vec![0; world.nodes.len()],
            used: vec![BTreeMap::new(); world.nodes.len()],
            trace: traced.map(|unit| (unit, Vec::new())),
        }
    }

    /// Places everything. Iterative, so that a long chain of colocations costs no stack.
    pub fn run(&mut self) {
        let mut order: Vec<usize> = (0..self.world.units.len()).collect();
        order.sort_by_key(|unit| {
            let lead = self.lead(*unit);
            (std::cmp::Reverse(lead.map(|lead| self.world.res[lead].spec.priority)), lead)
        });
        let mut begun = vec![false; self.world.units.len()];
        // How many of its ties each unit has looked at.
        let mut looked = vec![0; self.world.units.len()];
        let mut stack = Vec::new();
        for unit in order {
            stack.push(unit);
            while let Some(&top) = stack.last() {
                begun[top] = true;
                let more = &self.with[top][looked[top]..];
                let begun_already = more.iter().take_while(|tie| begun[self.ties[**tie].primary]).count();
                looked[top] += begun_already;
                let before = more.get(begun_already).map(|tie| self.ties[*tie].primary);
                match before {
                    _ if self.placed[top].is_some() => _ = stack.pop(),
                    Some(primary) => stack.push(primary),
                    None => {
                        let copies = match self.world.units[top] {
                            Unit::Plain(place) => vec![self.place_plain(top, place)],
                            Unit::Clone(clone) => self.place_clone(top, clone),
                        };
                        self.placed[top] = Some(copies);
                        self.choose_roles(top);
                        stack.pop();
                    }
                }
            }
        }
    }

    /// The resource that stands for a unit: the first member.
    pub fn lead(&self, unit: usize) -> Option<usize> {
        match self.world.units[unit] {
            Unit::Plain(place) => Some(place),
            Unit::Clone(clone) => self.world.clones[clone].members.first().copied(),
        }
    }

    fn place_plain(&mut self, unit: usize, place: usize) -> Copy {
        if let Some(copy) = self.pinned(place) {
            if let Some(node) = copy.node {
                self.take(place, node);
            }
            return copy;
        }
        let nowhere = |why| Copy { number: None, node: None, running: 0, promoted: false, why, pinned: false };
        let res = &self.world.res[place];
        if let Some(why) = &res.stopped {
            return nowhere(why.clone());
        }
        let several = res.claims.iter().filter(|live| !live.settling()).count() > 1;
        if several && res.spec.multiple_active == MultipleActive::StopOnly {
            return nowhere(Reason::MultipleActive);
        }
        let current = super::score::sticky_node(self.world, place);
        let mut scores = self.scores(unit, self.bases[place].score.clone());
        let mut chosen = self.choose(&scores, current);
        if chosen.is_none()
            && let Some(retry) = self.bases[place].retry.clone()
        {
            // Nothing else is left: nodes where a start failed get their next try.
            scores = self.scores(unit, retry);
            chosen = self.choose(&scores, current);
        }
        match chosen {
            Some(node) => {
                self.take(place, node);
                let why = self.why_here(place, node);
                Copy { number: None, node: Some(node), running: 1, promoted: false, why, pinned: false }
            }
            None => nowhere(self.why_nowhere(unit, place)),
        }
    }

    /// What may not be touched stays where it is.
    fn pinned(&self, place: usize) -> Option<Copy> {
        let res = &self.world.res[place];
        let keep = |node, why| Copy { number: None, node, running: 1, promoted: false, why, pinned: true };
        if let Some(copy) = res.claims.iter().find_map(|live| self.pinned_claim(place, live)) {
            return Some(copy);
        }
        let home = res.claims.first().map(|live| live.node);
        let assigned = || {
            let assigned = self.world.assignment.get(&self.world.plain_instance(place))?;
            self.world.node_ids.get(&assigned.to.node).copied()
        };
        let in_maintenance = home.is_some_and(|node| self.world.nodes[node].maintenance);
        if !res.managed || in_maintenance {
            return Some(keep(home.or_else(assigned), Reason::Unmanaged));
        }
        let several = res.claims.iter().filter(|live| !live.settling()).count() > 1;
        let block = several && res.spec.multiple_active == MultipleActive::Block;
        block.then(|| keep(assigned().or(home), Reason::MultipleActive))
    }

    /// A claim that nothing can end now.
    pub fn pinned_claim(&self, place: usize, live: &Live<'_>) -> Option<Copy> {
        let info = &self.world.nodes[live.node];
        let why = match (&live.claim.failure, &info.ability) {
            (Some(failure), _) if failure.blocked || (failure.fence && !info.unclean()) => {
                Reason::FailedBlocked { what: failure.text.clone() }
            }
            (_, Ability::Impossible(why)) if info.unclean() => {
                Reason::NotProvenOff { node: info.id.clone(), why: why.clone() }
            }
            // Nobody could take over: it comes back with its node.
            (_, _) if info.unclean() && !has_alternative(self.world, place) => {
                Reason::NodeLost { node: info.id.clone() }
            }
            (_, _) => return None,
        };
        let promoted = live.claim.role == Role::Promoted;
        Some(Copy { number: live.key.instance.number, node: Some(live.node), running: 1, promoted, why, pinned: true })
    }

    /// Own scores, then those it is colocated with, then the wishes of what is colocated with it.
    pub fn scores(&mut self, unit: usize, own: Vec<Score>) -> Vec<Score> {
        let mut scores = own;
        for place in self.with[unit].clone() {
            let tie = self.ties[place];
            if tie.dependant_role == Some(Role::Promoted) || self.placed[tie.primary].is_none() {
                continue;
            }
            let parts = self.tie_parts(&tie);
            let next = add(&scores, &parts);
            // An advisory colocation that would leave no node is dropped.
            if is_mandatory(tie.score) || self.any_node(&next) || !self.any_node(&scores) {
                self.note(unit, &parts, &What::With(tie.name));
                scores = next;
            }
        }
        let demand = self.demand(unit);
        if !demand.is_empty() {
            let full = |node| if self.fits(&demand, node) { Score::ZERO } else { Score::NEVER };
            let parts: Vec<Score> = (0..scores.len()).map(full).collect();
            self.note(unit, &parts, &What::Capacity);
            scores = add(&scores, &parts);
        }
        self.wishes(unit, scores)
    }

    /// What a placed primary means for its dependant, per node.
    pub fn tie_parts(&self, tie: &Tie<'_>) -> Vec<Score> {
        let there = self.nodes_of(tie.primary, tie.primary_res, tie.primary_role);
        let nowhere = !there.contains(&true);
        there
            .into_iter()
            .map(|there| match (there, nowhere) {
                (true, _) if tie.score.is_infinite() => Score::ZERO,
                (true, _) => tie.score,
                (false, _) if tie.score.is_infinite() => Score::NEVER,
                (false, true) if tie.score > Score::ZERO => -tie.score,
                (false, _) => Score::ZERO,
            })
            .collect()
    }

    /// Adds what the dependants of a unit would like, the strongest colocations first.
    fn wishes(&mut self, unit: usize, scores: Vec<Score>) -> Vec<Score> {
        let is_clone = matches!(self.world.units[unit], Unit::Clone(_));
        let mut seen = BTreeSet::from([unit]);
        let mut scores = scores;
        for place in self.dependants[unit].clone() {
            let tie = self.ties[place];
            if !travels(&tie) || self.placed[tie.dependant].is_some() || seen.contains(&tie.dependant) {
                continue;
            }
            let wish = self.own_wish(tie.dependant, &mut seen);
            let mut parts: Vec<Score> = wish.into_iter().map(|score| scaled(score, tie.score)).collect();
            if is_clone {
                // Copies go where they can; one dependant does not forbid a node to all of them.
                parts.iter_mut().for_each(|part| *part = (*part).max(Score::ZERO));
            }
            let next = add(&scores, &parts);
            if self.any_node(&next) || !self.any_node(&scores) {
                self.note(unit, &parts, &What::Dependant(tie.name));
                scores = next;
            }
        }
        scores
    }

    /// A dependant's own scores with those of its dependants.
    pub fn own_wish(&self, unit: usize, seen: &mut BTreeSet<usize>) -> Vec<Score> {
        seen.insert(unit);
        let mut scores = self.unit_base(unit);
        for place in &self.dependants[unit] {
            let tie = self.ties[*place];
            if !travels(&tie) || seen.contains(&tie.dependant) || seen.len() > INFLUENCE_DEPTH {
                continue;
            }
            let wish = self.own_wish(tie.dependant, seen);
            let next: Vec<Score> =
                scores.iter().zip(wish).map(|(score, wish)| *score + scaled(wish, tie.score)).collect();
            if self.any_node(&next) {
                scores = next;
            }
        }
        scores
    }

    /// A unit's own scores. What is stopped has no wishes.
    pub fn unit_base(&self, unit: usize) -> Vec<Score> {
        match self.world.units[unit] {
            Unit::Plain(place) if self.world.res[place].stopped.is_some() => vec![Score::ZERO; self.world.nodes.len()],
            Unit::Plain(place) => self.bases[place].score.clone(),
            Unit::Clone(clone) => self.clone_base(clone),
        }
    }

    /// Nodes on which a placed unit runs this resource, in this role if one is named.
    pub fn nodes_of(&self, unit: usize, place: usize, role: Option<Role>) -> Vec<bool> {
        let mut there = vec![false; self.world.nodes.len()];
        let position = match self.world.units[unit] {
            Unit::Plain(_) => 0,
            Unit::Clone(clone) => self.world.clones[clone].members.iter().position(|m| *m == place).unwrap_or(0),
        };
        for copy in self.placed[unit].iter().flatten().filter(|copy| copy.running > position) {
            let in_role = match role {
                None | Some(Role::Started) => true,
                Some(Role::Promoted) => copy.promoted,
                Some(Role::Unpromoted) => !copy.promoted,
            };
            if let Some(node) = copy.node.filter(|_| in_role) {
                there[node] = true;
            }
        }
        there
    }

    fn choose(&self, scores: &[Score], current: Option<usize>) -> Option<usize> {
        let best = (0..scores.len())
            .filter(|node| self.world.nodes[*node].fit() && scores[*node] >= Score::ZERO)
            .min_by_key(|node| (std::cmp::Reverse(scores[*node]), self.load[*node], current != Some(*node), *node))?;
        match current {
            Some(current) if scores[current] == scores[best] && scores[best] > Score::ZERO => Some(current),
            Some(_) | None => Some(best),
        }
    }

    pub fn any_node(&self, scores: &[Score]) -> bool {
        scores.iter().enumerate().any(|(node, score)| *score >= Score::ZERO && self.world.nodes[node].fit())
    }

    pub fn take(&mut self, place: usize, node: usize) {
        self.load[node] += 1;
        for (what, amount) in &self.world.res[place].spec.utilization {
            let used = self.used[node].entry(what).or_default();
            *used = used.saturating_add(*amount);
        }
    }

    /// What a unit takes of a node; the first member of a group asks for room for all.
    fn demand(&self, unit: usize) -> BTreeMap<&'a str, i64> {
        let world = self.world;
        let members = match world.units[unit] {
            Unit::Plain(place) => match world.res[place].group {
                Some(group) if world.res[place].position == 0 => world.members(group),
                Some(_) | None => vec![place],
            },
            Unit::Clone(clone) => world.clones[clone].members.clone(),
        };
        let mut demand: BTreeMap<&'a str, i64> = BTreeMap::new();
        for (what, amount) in members.iter().flat_map(|member| &world.res[*member].spec.utilization) {
            let sum = demand.entry(what).or_default();
            *sum = sum.saturating_add(*amount);
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

    fn note(&mut self, unit: usize, parts: &[Score], what: &What<'a>) {
        if let Some((_, notes)) = self.trace.as_mut().filter(|(traced, _)| *traced == unit) {
            let parts = parts.iter().enumerate().filter(|(_, part)| **part != Score::ZERO);
            notes.extend(parts.map(|(node, part)| (node, *part, what.clone())));
        }
    }

    /// Why an instance is where it is to be.
    pub fn why_here(&self, place: usize, node: usize) -> Reason {
        let res = &self.world.res[place];
        let asked = res.overrides.iter().find(|o| {
            matches!(&o.kind, crate::state::OverrideKind::Move { to } if self.world.node_ids.get(to) == Some(&node))
        });
        match (asked, res.claims.first()) {
            (Some(o), _) => Reason::Override { by: o.by.clone(), reason: o.reason.clone() },
            (None, Some(live)) if live.node == node && live.claim.failure.is_some() => {
                Reason::Recover { node: self.world.nodes[node].id.clone() }
            }
            (None, Some(live)) if live.node == node => Reason::InPlace,
            (None, Some(live)) => self.why_not_there(place, live.node),
            (None, None) => Reason::Placed,
        }
    }

    /// Why an instance leaves a node.
    pub fn why_not_there(&self, place: usize, from: usize) -> Reason {
        why_leaves(self.world, place, from)
    }

    /// Why no node may run it, in words that name each node's reason.
    pub fn why_nowhere(&self, unit: usize, place: usize) -> Reason {
        if let Some((node, until_ms)) = self.bases[place].backoff {
            return Reason::Backoff { node: self.world.nodes[node].id.clone(), until_ms };
        }
        for tie in self.with[unit].iter().map(|tie| self.ties[*tie]).filter(|tie| tie.score.is_infinite()) {
            let there = self.nodes_of(tie.primary, tie.primary_res, tie.primary_role);
            if !there.contains(&true) {
                let other = self.world.res[tie.primary_res].id;
                return Reason::NoNode { why: format!("{other}, with which it belongs, runs nowhere") };
            }
        }
        let mut why: Vec<String> = Vec::new();
        let mut told = vec![false; self.world.nodes.len()];
        parts(self.world, place, &mut |node, part, what| {
            if part.is_never() && !told[node] {
                told[node] = true;
                why.push(format!("{} {}", self.world.nodes[node].id, super::explain::word(&what)));
            }
        });
        for (node, told) in told.iter().enumerate() {
            if !told {
                why.push(format!("{} is excluded by a colocation or its capacity", self.world.nodes[node].id));
            }
        }
        Reason::NoNode { why: why.join(", ") }
    }
}

/// Why an instance leaves a node: the strongest thing that speaks against it.
pub(super) fn why_leaves(world: &World<'_>, place: usize, from: usize) -> Reason {
    let info = &world.nodes[from];
    if info.unclean() {
        return Reason::NodeLost { node: info.id.clone() };
    }
    let mut why = Reason::BetterNode { from: info.id.clone() };
    let mut found = false;
    parts(world, place, &mut |node, part, what| {
        if node != from || !part.is_never() || found {
            return;
        }
        found = true;
        why = match what {
            What::Unfit(Unfit::Drained(_) | Unfit::Unlisted) => Reason::Draining { node: info.id.clone() },
            What::Override(o) => Reason::Override { by: o.by.clone(), reason: o.reason.clone() },
            What::Threshold(failures) => Reason::Threshold { node: info.id.clone(), failures },
            What::Moved | What::StartFailed { .. } => Reason::Threshold { node: info.id.clone(), failures: 1 },
            What::Unfit(_)
            | What::OptIn
            | What::Location(_)
            | What::Stickiness
            | What::NotInstalled(_)
            | What::Capacity
            | What::With(_)
            | What::Dependant(_) => Reason::BetterNode { from: info.id.clone() },
        };
    });
    why
}

pub(super) fn add(a: &[Score], b: &[Score]) -> Vec<Score> {
    a.iter().zip(b).map(|(a, b)| *a + *b).collect()
}

/// A dependant's score as its primary feels it: scaled by the colocation, rounded away from zero.
pub(super) fn scaled(score: Score, by: Score) -> Score {
    if by < Score::ZERO && score < Score::ZERO {
        // What the dependant dislikes does not attract whom it avoids.
        return Score::ZERO;
    }
    if by.is_infinite() {
        return score;
    }
    let product = i64::from(score.value()) * i64::from(by.value());
    let million = i64::from(Score::INFINITY.value());
    let rounded = product / million + if product % million == 0 { 0 } else { product.signum() };
    Score::new(rounded)
}

pub(super) fn is_mandatory(score: Score) -> bool {
    score.is_infinite() || score.is_never()
}

/// Wishes travel along colocations of places, not along those of roles.
fn travels(tie: &Tie<'_>) -> bool {
    tie.dependant_role != Some(Role::Promoted) && tie.primary_role != Some(Role::Promoted)
}
