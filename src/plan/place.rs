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

use super::instances::{Unit, World};
use super::score::{Base, What, base};
use super::ties::Tie;
use crate::model::{MultipleActive, Placement, Reason, Role, Score};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// How far preferences travel along a chain of colocations. Longer chains are placed all the same; what is further
/// away than this has no say. Bounds the recursion.
const INFLUENCE_DEPTH: usize = 128;

/// How many wishes from further away than the next neighbours one unit listens to; those of the next are always heard.
/// Without a bound a long chain with many dependants would cost the square of its length, and a mesh far more.
const FAR_WISHES: usize = 1_000;

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
    /// Where the connection into the container is made from, where that is another node than the container's.
    pub from: Option<usize>,
}

/// A node, and what a neighbour adds to its score.
pub(super) type Note<'a> = (usize, Score, What<'a>);

/// Parts of one score.
pub(super) type Parts<'a> = Vec<(Score, What<'a>)>;

/// What one unit's scores are made of, besides its own parts.
pub(super) struct Trace<'a> {
    pub unit: usize,
    /// What its neighbours contributed.
    pub notes: Vec<Note<'a>>,
    /// By the number of the copy: what its promotion score is made of.
    pub promotion: Vec<(Option<u32>, Parts<'a>)>,
    /// What it all came to, before a clone looks at its copies: `explain` is held against it.
    #[cfg(test)]
    pub total: Vec<Score>,
}

impl Trace<'_> {
    fn new(unit: usize) -> Self {
        Self {
            unit,
            notes: Vec::new(),
            promotion: Vec::new(),
            #[cfg(test)]
            total: Vec::new(),
        }
    }
}

/// Whose wishes are being listened to: the way to the one who speaks, and how many more may speak from afar.
pub(super) struct Heard {
    path: Vec<usize>,
    left: usize,
}

impl Heard {
    pub fn new(unit: usize) -> Self {
        Self { path: vec![unit], left: FAR_WISHES }
    }

    pub fn enter(&mut self, unit: usize) -> bool {
        let far = self.path.len() > 1;
        if self.path.contains(&unit) || self.path.len() > INFLUENCE_DEPTH || (far && self.left == 0) {
            return false;
        }
        self.left -= usize::from(far);
        self.path.push(unit);
        true
    }

    pub fn leave(&mut self) {
        self.path.pop();
    }
}

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
    pub used: Vec<BTreeMap<&'a str, i64>>,
    /// The emptiest node, where nothing has room for all that belongs to what is being placed.
    pub roomy: Option<usize>,
    /// For `explain`.
    pub trace: Option<Trace<'a>>,
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
            list.sort_by_key(|tie| {
                let tie = &ties[*tie];
                let (dependant, primary) = (lead(world, tie.dependant), lead(world, tie.primary));
                let priority = |lead: Option<usize>| lead.map(|lead| std::cmp::Reverse(world.res[lead].spec.priority));
                let ranks = (world.rank(tie.dependant), world.rank(tie.primary));
                (std::cmp::Reverse(tie.score.value().abs()), priority(dependant), priority(primary), ranks)
            });
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
            roomy: None,
            trace: traced.map(Trace::new),
        }
    }

    /// Places everything: connections first, on which it depends which nodes there are.
    pub fn run(&mut self) {
        self.run_connections();
        self.run_these((0..self.world.units.len()).collect());
    }

    /// Places only what remote nodes are reached over, and what that goes with.
    pub fn run_connections(&mut self) {
        let connections = self.world.nodes.iter().filter_map(|info| info.reach?.connection);
        self.run_these(connections.map(|place| self.world.unit_of[place]).collect());
    }

    /// Iterative, so that a long chain of colocations costs no stack.
    fn run_these(&mut self, mut order: Vec<usize>) {
        let world = self.world;
        order.retain(|unit| self.placed[*unit].is_none());
        if order.is_empty() {
            return;
        }
        order.sort_by_cached_key(|unit| {
            let lead = self.lead(*unit);
            (std::cmp::Reverse(lead.map(|lead| priority(world, lead))), self.size(*unit), world.rank(*unit), lead)
        });
        let mut looked = vec![0; self.world.units.len()];
        let mut begun = vec![false; world.units.len()];
        let mut stack = Vec::new();
        for unit in order {
            stack.push(unit);
            while let Some(&top) = stack.last() {
                begun[top] = true;
                let before = self.before(top, &begun, &mut looked[top]);
                match before {
                    _ if self.placed[top].is_some() => _ = stack.pop(),
                    Some(primary) => stack.push(primary),
                    None => {
                        let copies = match world.units[top] {
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

    /// Something that is to be placed before a unit: what it goes with, and of a group the whole group.
    ///
    /// `looked` says how many of its ties need no second look.
    fn before(&self, unit: usize, begun: &[bool], looked: &mut usize) -> Option<usize> {
        let missing = |primary: usize| {
            if !begun[primary] {
                return Some(primary);
            }
            let Unit::Plain(place) = self.world.units[primary] else { return None };
            let group = self.world.res[place].group?;
            let apart = lead(self.world, unit).is_none_or(|lead| self.world.res[lead].group != Some(group));
            let members = if apart { self.world.members(group) } else { Vec::new() };
            members.into_iter().map(|member| self.world.unit_of[member]).find(|member| !begun[*member])
        };
        while let Some(tie) = self.with[unit].get(*looked) {
            let found = missing(self.ties[*tie].primary);
            if found.is_some() {
                return found;
            }
            *looked += 1;
        }
        None
    }

    /// The resource that stands for a unit: the first member.
    pub fn lead(&self, unit: usize) -> Option<usize> {
        lead(self.world, unit)
    }

    fn place_plain(&mut self, unit: usize, place: usize) -> Copy {
        if let Some(copy) = self.pinned(place) {
            if let Some(node) = copy.node {
                self.take(place, node);
            }
            return copy;
        }
        let nowhere =
            |why| Copy { number: None, node: None, running: 0, promoted: false, why, pinned: false, from: None };
        let res = &self.world.res[place];
        if let Some(why) = &res.stopped {
            return nowhere(why.clone());
        }
        if self.world.several(place) && res.spec.multiple_active == MultipleActive::StopOnly {
            return nowhere(Reason::MultipleActive);
        }
        let current = super::score::sticky_node(self.world, place).or_else(|| self.world.home(place));
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
                Copy { number: None, node: Some(node), running: 1, promoted: false, why, pinned: false, from: None }
            }
            None => nowhere(self.why_nowhere(unit, place)),
        }
    }

    /// Own scores, then those of the neighbours: mandatory colocations before others, and within each what the unit goes
    /// with before what goes with it. Room comes last.
    pub fn scores(&mut self, unit: usize, own: Vec<Score>) -> Vec<Score> {
        let mut scores = own;
        for mandatory in [true, false] {
            scores = self.primaries(unit, scores, mandatory);
            scores = self.wishes(unit, scores, mandatory);
        }
        // Copies of a clone look for room one by one.
        self.roomy = None;
        if self.world.uses_capacity && matches!(self.world.units[unit], Unit::Plain(_)) {
            let (parts, roomy) = self.room(unit, &scores);
            self.note(unit, &parts, &What::Capacity);
            (scores, self.roomy) = (add(&scores, &parts), roomy);
        }
        #[cfg(test)]
        if let Some(trace) = self.trace.as_mut().filter(|trace| trace.unit == unit) {
            trace.total = scores.clone();
        }
        scores
    }

    /// Adds what the placed primaries of a unit mean for it.
    fn primaries(&mut self, unit: usize, mut scores: Vec<Score>, mandatory: bool) -> Vec<Score> {
        for place in self.with[unit].clone() {
            let tie = self.ties[place];
            if is_mandatory(tie.score) != mandatory
                || tie.dependant_role == Some(Role::Promoted)
                || self.placed[tie.primary].is_none()
            {
                continue;
            }
            let parts = self.tie_parts(&tie);
            let next = add(&scores, &parts);
            // An advisory colocation that would leave no node is dropped.
            if mandatory || self.any_node(&next) || !self.any_node(&scores) {
                self.note(unit, &parts, &What::With(tie.name));
                scores = next;
            }
        }
        scores
    }

    /// What a placed primary means for its dependant, per node.
    pub fn tie_parts(&self, tie: &Tie<'_>) -> Vec<Score> {
        let there = self.tie_nodes(tie);
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

    /// The nodes that count as those of a tie's primary.
    pub fn tie_nodes(&self, tie: &Tie<'_>) -> Vec<bool> {
        let there = self.nodes_of(tie.primary, tie.primary_res, tie.primary_role);
        let Some(label) = tie.label else { return there };
        // Nodes without a value are alike too.
        let values: Vec<Option<&str>> =
            (0..there.len()).filter(|node| there[*node]).map(|node| self.world.label(node, label)).collect();
        (0..there.len()).map(|node| values.contains(&self.world.label(node, label))).collect()
    }

    /// Adds what the dependants of a unit would like.
    fn wishes(&mut self, unit: usize, mut scores: Vec<Score>, mandatory: bool) -> Vec<Score> {
        let mut heard = Heard::new(unit);
        let traced = self.trace.as_ref().is_some_and(|trace| trace.unit == unit);
        for place in self.dependants[unit].clone() {
            let tie = self.ties[place];
            if is_mandatory(tie.score) != mandatory {
                continue;
            }
            let before = if traced { scores.clone() } else { Vec::new() };
            self.wish(unit, &tie, factor(tie.score), &mut scores, &mut heard);
            if !traced {
                continue;
            }
            let parts: Vec<Score> =
                scores.iter().zip(&before).map(|(after, before)| difference(*before, *after)).collect();
            self.note(unit, &parts, &What::Dependant(tie.name));
        }
        scores
    }

    /// Adds a dependant's own scores, scaled, and then those of its own dependants, scaled twice. Undone where that
    /// would leave no node.
    fn wish(&self, target: usize, tie: &Tie<'_>, factor: f64, scores: &mut Vec<Score>, heard: &mut Heard) {
        // Copies go where they can; one dependant does not forbid a node to all of them.
        let floor = matches!(self.world.units[target], Unit::Clone(_));
        if travels(tie) {
            self.add_wish(floor, tie, factor, scores, heard);
        }
    }

    /// As told above; with a floor nothing becomes negative by it.
    pub fn add_wish(&self, floor: bool, tie: &Tie<'_>, factor: f64, scores: &mut Vec<Score>, heard: &mut Heard) {
        let done = self.placed[tie.dependant].is_some();
        if !tie.influence || done || !heard.enter(tie.dependant) {
            return;
        }
        let wish = self.unit_base(tie.dependant);
        let fits = |node: &usize| wish[*node] >= Score::ZERO && self.world.nodes[*node].fit();
        let one_way = factor < 0.0 && (0..wish.len()).filter(fits).count() == 1;
        let mut next = scores.clone();
        for (node, score) in next.iter_mut().enumerate() {
            let sum = *score + scaled(self.alike(tie, &wish, node), factor, one_way);
            *score = match floor && sum < Score::ZERO {
                true if *score > Score::ZERO => Score::new(1),
                true => *score,
                false => sum,
            };
        }
        if self.any_node(&next) || !self.any_node(scores) {
            *scores = next;
            for place in &self.dependants[tie.dependant] {
                let further = self.ties[*place];
                if travels(&further) {
                    self.add_wish(floor, &further, factor * self::factor(further.score), scores, heard);
                }
            }
        }
        heard.leave();
    }

    /// What a dependant thinks of a node: the best of all that are alike by the tie's label.
    pub fn alike(&self, tie: &Tie<'_>, wish: &[Score], node: usize) -> Score {
        let Some(label) = tie.label else { return wish[node] };
        let value = self.world.label(node, label);
        let alike = (0..wish.len()).filter(|other| self.world.label(*other, label) == value);
        alike.map(|other| wish[other]).max().unwrap_or(Score::NEVER)
    }

    /// A unit's own scores. What is stopped has no wishes.
    pub fn unit_base(&self, unit: usize) -> Cow<'_, [Score]> {
        match self.world.units[unit] {
            Unit::Plain(place) if self.world.res[place].stopped.is_some() => {
                Cow::Owned(vec![Score::ZERO; self.world.nodes.len()])
            }
            Unit::Plain(place) => Cow::Borrowed(&self.bases[place].score),
            Unit::Clone(clone) => Cow::Owned(self.clone_base(clone)),
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
            .min_by(|a, b| self.compare(*a, *b, scores, current))?;
        if let Some(roomy) = self.roomy.filter(|roomy| scores[*roomy] == scores[best]) {
            return Some(roomy);
        }
        match current {
            Some(current) if scores[current] == scores[best] && scores[best] > Score::ZERO => Some(current),
            Some(_) | None => Some(best),
        }
    }

    /// The better node comes first: score, room where that is wanted, few instances, where it is now, name.
    pub fn compare(&self, a: usize, b: usize, scores: &[Score], current: Option<usize>) -> Ordering {
        let placement = self.world.spec.cluster.placement;
        let room = || match placement {
            Placement::Balanced => self.more_room(b, a).cmp(&self.more_room(a, b)),
            Placement::Spread | Placement::Utilization | Placement::Minimal => Ordering::Equal,
        };
        let load = || match placement {
            Placement::Minimal => Ordering::Equal,
            Placement::Spread | Placement::Utilization | Placement::Balanced => self.load[a].cmp(&self.load[b]),
        };
        // Where room alone counts nothing else does but the name.
        let away = |node: usize| current != Some(node) && placement != Placement::Minimal;
        scores[b]
            .cmp(&scores[a])
            .then_with(room)
            .then_with(load)
            .then_with(|| away(a).cmp(&away(b)))
            .then_with(|| a.cmp(&b))
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

    /// Keeps for `explain` what was added to the scores of a unit.
    pub fn note(&mut self, unit: usize, parts: &[Score], what: &What<'a>) {
        if let Some(trace) = self.trace.as_mut().filter(|trace| trace.unit == unit) {
            let parts = parts.iter().enumerate().filter(|(_, part)| **part != Score::ZERO);
            trace.notes.extend(parts.map(|(node, part)| (node, *part, what.clone())));
        }
    }
}

/// What was added to a score.
pub(super) fn difference(before: Score, after: Score) -> Score {
    match (before.is_never(), after.is_never()) {
        (false, true) => Score::NEVER,
        _ => Score::new(i64::from(after.value()) - i64::from(before.value())),
    }
}

pub(super) fn add(a: &[Score], b: &[Score]) -> Vec<Score> {
    a.iter().zip(b).map(|(a, b)| *a + *b).collect()
}

/// How strongly a colocation hands on what its dependant would like: from -1 to 1.
pub(super) fn factor(score: Score) -> f64 {
    f64::from(score.value()) / f64::from(Score::INFINITY.value())
}

/// A dependant's score as its primary feels it: scaled by the colocation, rounded away from zero.
pub(super) fn scaled(score: Score, by: f64, one_way: bool) -> Score {
    if by < 0.0 && score < Score::ZERO && !one_way {
        // What the dependant dislikes does not attract whom it avoids, unless it has only one node to go to.
        return Score::ZERO;
    }
    if by == 1.0 {
        return score;
    }
    let product = by * f64::from(score.value());
    Score::new(if product < 0.0 { product.floor() } else { product.ceil() } as i64)
}

/// The resource that stands for a unit: the first member.
fn lead(world: &World<'_>, unit: usize) -> Option<usize> {
    match world.units[unit] {
        Unit::Plain(place) => Some(place),
        Unit::Clone(clone) => world.clones[clone].members.first().copied(),
    }
}

/// A group is placed as one: its first member's priority counts for all.
fn priority(world: &World<'_>, place: usize) -> i32 {
    let first = world.res[place].group.and_then(|group| world.first_of(group));
    world.res[first.unwrap_or(place)].spec.priority
}

pub(super) fn is_mandatory(score: Score) -> bool {
    score.is_infinite() || score.is_never()
}

/// Wishes travel along colocations of places, not along those that only say who is promoted.
pub(super) fn travels(tie: &Tie<'_>) -> bool {
    tie.dependant_role != Some(Role::Promoted)
}
