//! `order`: which actions are missing, and which comes before which.
//!
//! Input: spec and committed state. Output: a [`Graph`]. The steps: what each claim needs (`want`) → actions
//! ([`Builder::steps`]) → edges: on one instance, limits, probes and fencing, order constraints, ordered clones,
//! serialised pairs, notices → verdicts.
//!
//! Invariants: same input, same graph; no step on a node that is not Online; a start has an edge from every mandatory
//! predecessor that is on its way, and is blocked where one is not.
//!
//! Does not decide where anything runs: only what is committed counts, so that every node computes the same.

mod notices;
mod removed;

use super::Verdict;
use super::fencing::waits_for;
use super::graph::{Bond, Graph, Step, StepKind, Vertex};
use super::instances::{Live, World};
use super::links::{Link, Pair, links, needs};
use super::nodes::{Ability, Class};
use super::score::{What, parts};
use super::want::{Fate, Inst, Wants, firsts, wants};
use crate::model::{
    FenceWhen, InstanceId, MultipleActive, OrderAction, OrderStrength, Reason, Requires, ResourceId, Role, Spec,
};
use crate::state::{ClaimKey, Phase, State};
use petgraph::algo::has_path_connecting;
use petgraph::stable_graph::NodeIndex;
use std::collections::BTreeMap;

/// Computes the actions that are missing between what is committed and what runs. Run by every node.
pub fn order(spec: &Spec, state: &State) -> Graph {
    build(&World::new(spec, state), true)
}

/// As [`order`], where nobody can be told of anything: in imagination, and on a node that acts alone.
pub fn order_untold(spec: &Spec, state: &State) -> Graph {
    build(&World::new(spec, state), false)
}

/// As [`order_untold`], for an outline of what follows ([`World::outline`]).
pub(super) fn order_outline(spec: &Spec, state: &State) -> Graph {
    let mut world = World::new(spec, state);
    world.outline = true;
    build(&world, false)
}

fn build(world: &World<'_>, told: bool) -> Graph {
    let links = links(world);
    let wants = wants(world, &links);
    let mut builder = Builder { world, wants: &wants, graph: Graph::default(), made: Vec::new(), of: Vec::new() };
    builder.of = vec![Vec::new(); world.res.len()];
    builder.steps();
    builder.own_edges();
    builder.limit_edges();
    builder.probe_and_fence_edges();
    builder.removed_edges();
    builder.pinned_edges();
    for link in links.iter().filter(|link| link.strength != OrderStrength::Serialize) {
        builder.link_edges(link);
    }
    builder.need_blocks(&links);
    builder.clone_edges();
    for link in links.iter().filter(|link| link.strength == OrderStrength::Serialize) {
        builder.serialize_edges(link);
    }
    if told {
        builder.notice_edges();
    }
    builder.verdicts();
    builder.graph
}

/// An action of an instance: where it stands in the graph, for building edges.
#[derive(Clone)]
struct Made {
    kind: StepKind,
    inst: usize,
    node: usize,
    at: NodeIndex,
}

struct Builder<'w, 'a> {
    world: &'w World<'a>,
    wants: &'w Wants<'a>,
    graph: Graph,
    made: Vec<Made>,
    /// Actions by resource, as indices into `made`.
    of: Vec<Vec<usize>>,
}

impl Builder<'_, '_> {
    fn steps(&mut self) {
        for place in 0..self.world.res.len() {
            for node in 0..self.world.nodes.len() {
                if self.world.nodes[node].class == Class::Online && self.world.unprobed(place, node) {
                    let key = ClaimKey {
                        instance: self.world.probe_instance(place),
                        node: self.world.nodes[node].id.clone(),
                    };
                    let reason = Reason::NotProbed { node: key.node.clone() };
                    self.vertex(StepKind::Probe, key, reason, false);
                }
            }
        }
        for inst in 0..self.wants.insts.len() {
            self.claim_steps(inst);
            self.start_steps(inst);
        }
    }

    fn claim_steps(&mut self, inst: usize) {
        let wants = self.wants;
        for (live, fate) in &wants.insts[inst].claims {
            match fate {
                Fate::Stay => self.stay_steps(inst, live),
                Fate::Stop(why) => self.stop_steps(inst, live, why),
                Fate::Stuck(_) | Fate::Found | Fate::Lost => {}
            }
        }
    }

    fn stay_steps(&mut self, inst: usize, live: &Live<'_>) {
        let want = &self.wants.insts[inst];
        let (promoted, phase) = (live.claim.role == Role::Promoted, live.claim.phase);
        let why = want.assigned.map_or(Reason::InPlace, |(_, assigned)| assigned.reason.clone());
        // It stays although its definition changed: its agent takes that over. One thing at a time.
        let changed = want.place.is_some_and(|place| !self.world.same_definition(place, live.claim));
        if phase == Phase::Reloading || (phase == Phase::Running && changed) {
            return self.add(StepKind::Reload, inst, live.node, Reason::Changed, phase == Phase::Reloading);
        }
        let demote_why = want.demote.clone().unwrap_or_else(|| why.clone());
        if phase == Phase::Starting {
            self.add(StepKind::Start, inst, live.node, why.clone(), true);
        }
        if phase == Phase::Demoting {
            self.add(StepKind::Demote, inst, live.node, demote_why.clone(), true);
        }
        match (want.wants_promoted(), promoted) {
            (true, false) | (true, true) if phase == Phase::Demoting => {
                self.add(StepKind::Promote, inst, live.node, why, false);
            }
            (true, false) => self.add(StepKind::Promote, inst, live.node, why, phase == Phase::Promoting),
            (false, _) if phase == Phase::Promoting => self.add(StepKind::Demote, inst, live.node, demote_why, false),
            (false, true) if phase == Phase::Running => self.add(StepKind::Demote, inst, live.node, demote_why, false),
            (true, true) | (false, _) => {}
        }
        // Demoted because of what goes away: promoted again once that is back.
        let back = want.demote.is_some() && want.assigned.is_some_and(|(_, assigned)| assigned.role == Role::Promoted);
        if back {
            self.add(StepKind::Promote, inst, live.node, Reason::Placed, false);
        }
    }

    fn stop_steps(&mut self, inst: usize, live: &Live<'_>, why: &Reason) {
        let claim = live.claim;
        // A failed claim is settled by its stop; only a promoted one that still runs is demoted first.
        let demotable = claim.failure.as_ref().is_none_or(|failure| {
            failure.action == crate::model::ActionKind::Monitor && failure.kind != crate::state::FailureKind::Died
        });
        let promoted = claim.role == Role::Promoted || claim.phase == Phase::Promoting;
        match claim.phase {
            Phase::Stopping => self.add(StepKind::Stop, inst, live.node, why.clone(), true),
            Phase::Running | Phase::Promoting | Phase::Demoting | Phase::Reloading if promoted && demotable => {
                self.add(StepKind::Demote, inst, live.node, why.clone(), claim.phase == Phase::Demoting);
                self.add(StepKind::Stop, inst, live.node, why.clone(), false);
            }
            Phase::Starting
            | Phase::Running
            | Phase::Promoting
            | Phase::Demoting
            | Phase::MigratingTo
            | Phase::MigratingFrom
            | Phase::Reloading => self.add(StepKind::Stop, inst, live.node, why.clone(), false),
        }
    }

    fn start_steps(&mut self, inst: usize) {
        let want = &self.wants.insts[inst];
        let (Some(place), Some((node, assigned))) = (want.place, want.assigned) else { return };
        let res = &self.world.res[place];
        let here = want.claims.iter().find(|(live, _)| live.node == node);
        let starts = match here.map(|(_, fate)| fate) {
            None => true,
            Some(Fate::Stop(Reason::MultipleActive)) => res.spec.multiple_active != MultipleActive::StopOnly,
            Some(Fate::Stop(_)) => true,
            Some(Fate::Stay | Fate::Stuck(_) | Fate::Found | Fate::Lost) => false,
        };
        let found = want.claims.iter().any(|(_, fate)| *fate == Fate::Found);
        if !starts || found || !res.managed || res.stopped.is_some() || self.banned(place, node) {
            return;
        }
        self.add(StepKind::Start, inst, node, assigned.reason.clone(), false);
        if assigned.role == Role::Promoted {
            self.add(StepKind::Promote, inst, node, assigned.reason.clone(), false);
        }
    }

    /// The assignment is older than what speaks against it now; the leader will make a new one.
    fn banned(&self, place: usize, node: usize) -> bool {
        let mut banned = !self.world.nodes[node].fit();
        parts(self.world, place, &mut |at, part, what| {
            let due = matches!(what, What::StartFailed { retry_ms } if retry_ms <= self.world.state.now_ms);
            banned |= at == node && part.is_never() && !due;
        });
        banned
    }

    fn own_edges(&mut self) {
        for list in self.of.clone() {
            for (a, b) in pairs(&list, &self.made) {
                let same = a.inst == b.inst;
                let here = a.node == b.node;
                let before = match (&a.kind, &b.kind) {
                    (StepKind::Demote, StepKind::Stop) => same && here,
                    (StepKind::Start | StepKind::Demote, StepKind::Promote) => same && here,
                    // One number is one thing: it ends everywhere before it begins.
                    (StepKind::Stop, StepKind::Start) => same,
                    (_, _) => false,
                };
                if before {
                    self.edge(a.at, b.at);
                }
            }
        }
    }

    /// Copies make room for each other.
    fn limit_edges(&mut self) {
        let world = self.world;
        for (place, list) in self.of.clone().into_iter().enumerate() {
            let Some(clone) = world.res[place].clone else { continue };
            let info = &world.clones[clone];
            let full = world.res[place].claims.len() >= info.max;
            let promoted = world.res[place].claims.iter().filter(|live| may_be_promoted(live)).count();
            let no_more = info.spec.promotable.is_none_or(|promotable| promoted >= promotable.max as usize);
            for (a, b) in pairs(&list, &self.made) {
                let here = a.node == b.node;
                let before = match (&a.kind, &b.kind) {
                    (StepKind::Stop, StepKind::Start) => {
                        let own = !self.wants.insts[b.inst].claims.is_empty();
                        a.inst != b.inst && ((full && !own) || here)
                    }
                    (StepKind::Demote | StepKind::Stop, StepKind::Promote) => {
                        let was = self.wants.insts[a.inst]
                            .claims
                            .iter()
                            .any(|(live, _)| live.node == a.node && may_be_promoted(live));
                        a.inst != b.inst && was && (no_more || here)
                    }
                    (_, _) => false,
                };
                if before {
                    self.edge(a.at, b.at);
                }
            }
        }
    }

    /// A start waits for every node's word on its resource, and for lost nodes that may run it.
    fn probe_and_fence_edges(&mut self) {
        let world = self.world;
        for (place, list) in self.of.clone().into_iter().enumerate() {
            let starts: Vec<Made> = list
                .iter()
                .map(|made| self.made[*made].clone())
                .filter(|made| matches!(made.kind, StepKind::Start | StepKind::Promote))
                .filter(|made| !self.graph.graph[made.at].running)
                .collect();
            if starts.is_empty() {
                continue;
            }
            for node in 0..world.nodes.len() {
                let unprobed = world.unprobed(place, node);
                for start in starts.iter().filter(|start| start.kind == StepKind::Start && unprobed) {
                    self.wait_for_word(place, node, start.at);
                }
            }
            for start in &starts {
                self.wait_for_claims(place, start);
            }
        }
    }

    fn wait_for_word(&mut self, place: usize, node: usize, start: NodeIndex) {
        let info = &self.world.nodes[node];
        match info.class {
            Class::Online => {
                let key = ClaimKey { instance: self.world.probe_instance(place), node: info.id.clone() };
                if let Some(probe) = self.graph.index.get(&(StepKind::Probe, key)) {
                    self.edge(*probe, start);
                }
            }
            Class::Suspect | Class::Joining if self.world.outline => {}
            Class::Suspect => self.wait_for_fencing(node, start),
            Class::Joining => self.block(start, Verdict::Wait(Reason::NotProbed { node: info.id.clone() })),
            Class::Gone => {}
        }
    }

    /// Claims that do not end by a step of this graph.
    fn wait_for_claims(&mut self, place: usize, start: &Made) {
        let world = self.world;
        let wants = self.wants;
        let res = &world.res[place];
        let limits = res.clone.map(|clone| &world.clones[clone]);
        let full = limits.is_none_or(|info| res.claims.len() >= info.max);
        // An instance that holds a claim has a place of its own.
        let holds = !wants.insts[start.inst].claims.is_empty();
        let promoted = res.claims.iter().filter(|live| may_be_promoted(live)).count();
        let no_more =
            limits.and_then(|info| info.spec.promotable).is_some_and(|promotable| promoted >= promotable.max as usize);
        for (other, (live, fate)) in
            wants.by_res[place].iter().flat_map(|other| wants.insts[*other].claims.iter().map(move |c| (*other, c)))
        {
            let own = other == start.inst && live.node == start.node;
            let in_the_way = match start.kind {
                StepKind::Start => other == start.inst || (full && !holds) || live.node == start.node,
                StepKind::Promote => no_more && may_be_promoted(live),
                StepKind::Probe
                | StepKind::Stop
                | StepKind::Demote
                | StepKind::Fence { .. }
                | StepKind::Reload
                | StepKind::Notify { .. } => false,
            };
            if own || !in_the_way {
                continue;
            }
            match fate {
                Fate::Lost => self.wait_for_fencing(live.node, start.at),
                Fate::Stuck(why) => self.block(start.at, Verdict::Blocked(why.clone())),
                Fate::Stay | Fate::Stop(_) | Fate::Found => {}
            }
        }
        if let Some(why) = self.unfenced(place) {
            self.block(start.at, Verdict::Blocked(why));
        }
        let active = wants.insts[start.inst].claims.iter().any(|(live, _)| !world.nodes[live.node].unclean());
        if world.frozen(place) && (start.kind == StepKind::Promote || !active) {
            self.block(start.at, Verdict::Blocked(Reason::NoQuorum));
        }
        if res.spec.requires == Requires::Unfencing {
            let what = "`requires: Unfencing`".to_owned();
            self.block(start.at, Verdict::Blocked(Reason::NotInThisVersion { what }));
        }
    }

    /// Where every lost node is fenced, what requires fencing waits for each of them, whatever ran there.
    fn unfenced(&self, place: usize) -> Option<Reason> {
        let fencing = &self.world.spec.cluster.fencing;
        let requires = matches!(self.world.res[place].spec.requires, Requires::Fencing | Requires::Unfencing);
        if !requires || !fencing.enabled || fencing.when == FenceWhen::Needed {
            return None;
        }
        self.world.nodes.iter().filter(|info| info.unclean() && info.may_have_run).find_map(|info| {
            match &info.ability {
                Ability::Impossible(why) => Some(Reason::NotProvenOff { node: info.id.clone(), why: why.clone() }),
                Ability::Attempt | Ability::ByItself => None,
            }
        })
    }

    fn wait_for_fencing(&mut self, node: usize, start: NodeIndex) {
        let info = &self.world.nodes[node];
        let id = info.id.clone();
        match &info.ability {
            Ability::Attempt => {
                let key = ClaimKey { instance: InstanceId::plain(ResourceId::default()), node: id.clone() };
                let reason = Reason::NodeLost { node: id.clone() };
                let fence = self.vertex(StepKind::Fence { node: id }, key, reason, false);
                self.edge(fence, start);
            }
            Ability::ByItself => self.block(start, Verdict::Wait(Reason::NodeLost { node: id })),
            Ability::Impossible(why) => {
                self.block(start, Verdict::Blocked(Reason::NotProvenOff { node: id, why: why.clone() }));
            }
        }
    }

    fn link_edges(&mut self, link: &Link) {
        let wants = self.wants;
        let firsts = self.made_of(link.first);
        let thens = self.made_of(link.then);
        let (up_first, up_then) = (kind(link.first_action), kind(link.then_action));
        let (down_first, down_then) = (kind(link.first_action.opposite()), kind(link.then_action.opposite()));
        let restarts = link.is_need() && link.symmetric;
        let required = if link.strength == OrderStrength::Required { Bond::Firm } else { Bond::Loose };
        // Of several copies one that comes up is enough.
        let several = link.either.is_some() || (link.pair == Pair::All && self.world.res[link.first].clone.is_some());
        let up = if link.is_need() && several { Bond::Loose } else { required };
        if restarts {
            self.held_by_stuck(link, &firsts);
        }
        for first in &firsts {
            for then in &thens {
                let paired = match link.pair {
                    Pair::SameCopy => wants.insts[first.inst].id.number == wants.insts[then.inst].id.number,
                    Pair::SameNode => first.node == then.node,
                    Pair::All => true,
                };
                if !paired {
                    continue;
                }
                if first.kind == up_first && then.kind == up_then {
                    self.bind(first.at, then.at, up);
                }
                // What was promoted may have to stop without a demote of its own.
                let goes = first.kind == down_first || (down_first == StepKind::Demote && first.kind == StepKind::Stop);
                if link.symmetric && goes && then.kind == down_then {
                    // Even if the commit to stop it is there already: it may have come late, or together with a grant
                    // to what needs it. What its owner has begun goes on in any case.
                    self.graph.join(then.at, first.at, required);
                }
                // It was stopped for what restarts, so it is down before that comes up.
                if restarts && first.kind == up_first && then.kind == down_then {
                    self.edge(then.at, first.at);
                }
            }
        }
    }

    /// What cannot be stopped keeps what it needs.
    fn held_by_stuck(&mut self, link: &Link, firsts: &[Made]) {
        let wants = self.wants;
        let down = kind(link.first_action.opposite());
        // What comes up would want to restart what already runs without it.
        let up = |first: &&Made| self.world.outline && link.pair == Pair::SameCopy && first.kind == StepKind::Start;
        let held: Vec<&Made> = firsts.iter().filter(|first| first.kind == down || up(first)).collect();
        for first in held {
            let (number, node) = (wants.insts[first.inst].id.number, first.node);
            let stuck = wants.by_res[link.then].iter().map(|then| &wants.insts[*then]).find_map(|then| {
                then.claims.iter().find_map(|(live, fate)| match (fate, link.pair) {
                    (Fate::Stuck(why), Pair::SameCopy) if then.id.number == number => Some(why),
                    (Fate::Stuck(why), Pair::SameNode) if live.node == node => Some(why),
                    (Fate::Stuck(why), Pair::All) => Some(why),
                    (_, _) => None,
                })
            });
            if let Some(why) = stuck {
                self.block(first.at, Verdict::Blocked(why.clone()));
            }
        }
    }

    /// Blocks starts and promotions whose mandatory predecessor neither runs nor is on its way.
    fn need_blocks(&mut self, links: &[Link]) {
        for either in needs(links) {
            let up_then = kind(either[0].then_action);
            for then in self.made_of(either[0].then).into_iter().filter(|made| made.kind == up_then) {
                if self.graph.graph[then.at].running && up_then == StepKind::Start {
                    continue;
                }
                let mut steps = Vec::new();
                let ready = either.iter().any(|link| self.is_met(link, &then, &mut steps));
                if ready {
                    continue;
                }
                if !steps.is_empty() {
                    self.graph.any_of.push((then.at, steps));
                    continue;
                }
                let link = either[0];
                let firsts: Vec<&Inst<'_>> = firsts(link, self.wants, then.inst, then.node).collect();
                let number = self.world.res[link.first].clone.map(|_| 0);
                let instance = firsts.first().map_or_else(
                    || InstanceId { resource: self.world.res[link.first].id.clone(), number },
                    |first| first.id.clone(),
                );
                let role = link.first_promoted().then_some(Role::Promoted);
                self.block(then.at, Verdict::Wait(Reason::After { instance, role }));
            }
        }
    }

    /// Whether enough of what a step needs runs already; else the steps that bring it are added.
    fn is_met(&self, link: &Link, then: &Made, steps: &mut Vec<NodeIndex>) -> bool {
        let firsts: Vec<&Inst<'_>> = firsts(link, self.wants, then.inst, then.node).collect();
        let enough = link.enough.unwrap_or(1) as usize;
        let good = firsts.iter().filter(|first| first.is_good(link.first_promoted())).count();
        let coming: Vec<NodeIndex> = firsts.iter().filter_map(|first| self.comes(link, first)).collect();
        if good < enough && good + coming.len() >= enough {
            steps.extend(coming);
        }
        good >= enough
    }

    fn comes(&self, link: &Link, first: &Inst<'_>) -> Option<NodeIndex> {
        let (node, _) = first.assigned?;
        let key = ClaimKey { instance: first.id.clone(), node: self.world.nodes[node].id.clone() };
        self.graph.index.get(&(kind(link.first_action), key)).copied()
    }

    /// `ordered: true`: copies start one after the other and stop in reverse.
    fn clone_edges(&mut self) {
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
    fn serialize_edges(&mut self, link: &Link) {
        for a in self.made_of(link.first) {
            for b in self.made_of(link.then) {
                let (a, b) = (a.at, b.at);
                let running = |at: NodeIndex| self.graph.graph[at].running;
                let (before, after) = if running(b) && !running(a) { (b, a) } else { (a, b) };
                let (g, ordered) = (&self.graph.graph, has_path_connecting(&self.graph.graph, before, after, None));
                if !ordered && !has_path_connecting(g, after, before, None) {
                    self.bind(before, after, Bond::Loose);
                }
            }
        }
    }

    fn verdicts(&mut self) {
        let mut verdicts: BTreeMap<InstanceId, Verdict> = BTreeMap::new();
        for inst in &self.wants.insts {
            let lost = inst.claims.iter().find_map(|(live, fate)| match fate {
                Fate::Stuck(why) => Some(Verdict::Blocked(why.clone())),
                Fate::Found => Some(Verdict::Wait(Reason::Placed)),
                Fate::Lost => Some(self.lost(live.node)),
                Fate::Stay | Fate::Stop(_) => None,
            });
            let waits = inst.assigned.is_some() && inst.claims.is_empty();
            let idle = match inst.assigned {
                Some((node, _)) if waits => self.why_idle(inst, node),
                Some(_) | None => Verdict::Keep,
            };
            verdicts.insert(inst.id.clone(), lost.unwrap_or(idle));
        }
        let mut best: BTreeMap<InstanceId, Verdict> = BTreeMap::new();
        for made in &self.made {
            let id = self.wants.insts[made.inst].id.clone();
            let verdict = self.graph.verdict_of(made.at);
            let better = best.get(&id).is_none_or(|now| rank(&verdict) < rank(now));
            if better {
                best.insert(id, verdict);
            }
        }
        for (id, verdict) in best {
            let keep_lost = matches!(verdicts.get(&id), Some(Verdict::Blocked(_)));
            if !keep_lost {
                verdicts.insert(id, verdict);
            }
        }
        self.graph.verdicts = verdicts;
    }

    fn lost(&self, node: usize) -> Verdict {
        let info = &self.world.nodes[node];
        let place = node;
        let node = info.id.clone();
        match &info.ability {
            Ability::Attempt => waits_for(self.world, place),
            Ability::ByItself => Verdict::Wait(Reason::NodeLost { node }),
            Ability::Impossible(why) => Verdict::Blocked(Reason::NotProvenOff { node, why: why.clone() }),
        }
    }

    /// Assigned, not running, and no step: the assignment is about to change.
    fn why_idle(&self, inst: &Inst<'_>, node: usize) -> Verdict {
        let info = &self.world.nodes[node];
        let managed = inst.place.is_none_or(|place| self.world.res[place].managed);
        match (managed, info.class) {
            (false, _) => Verdict::Blocked(Reason::Unmanaged),
            (true, Class::Online) => Verdict::Wait(Reason::BetterNode { from: info.id.clone() }),
            (true, Class::Joining | Class::Suspect | Class::Gone) => {
                Verdict::Wait(Reason::NodeLost { node: info.id.clone() })
            }
        }
    }

    fn add(&mut self, kind: StepKind, inst: usize, node: usize, reason: Reason, running: bool) {
        let key = ClaimKey { instance: self.wants.insts[inst].id.clone(), node: self.world.nodes[node].id.clone() };
        if self.graph.index.contains_key(&(kind.clone(), key.clone())) || self.world.nodes[node].class != Class::Online
        {
            return;
        }
        let at = self.vertex(kind.clone(), key, reason, running);
        if let Some(place) = self.wants.insts[inst].place {
            self.of[place].push(self.made.len());
        }
        self.made.push(Made { kind, inst, node, at });
    }

    fn vertex(&mut self, kind: StepKind, key: ClaimKey, reason: Reason, running: bool) -> NodeIndex {
        if let Some(at) = self.graph.index.get(&(kind.clone(), key.clone())) {
            return *at;
        }
        let step = Step { kind: kind.clone(), key: key.clone(), reason };
        let at = self.graph.graph.add_node(Vertex { step, blocked: None, running, unannounced: false });
        self.graph.index.insert((kind, key), at);
        at
    }

    fn edge(&mut self, before: NodeIndex, after: NodeIndex) {
        self.bind(before, after, Bond::Firm);
    }

    fn bind(&mut self, before: NodeIndex, after: NodeIndex, bond: Bond) {
        // What its owner is doing cannot be put off any more.
        if !self.graph.graph[after].running {
            self.graph.join(before, after, bond);
        }
    }

    fn block(&mut self, at: NodeIndex, why: Verdict) {
        let vertex = &mut self.graph.graph[at];
        if !vertex.running {
            vertex.blocked.get_or_insert(why);
        }
    }

    fn made_of(&self, place: usize) -> Vec<Made> {
        self.of[place].iter().map(|made| self.made[*made].clone()).collect()
    }
}

fn pairs(list: &[usize], made: &[Made]) -> Vec<(Made, Made)> {
    let mut pairs = Vec::new();
    for a in list {
        for b in list.iter().filter(|b| *b != a) {
            pairs.push((made[*a].clone(), made[*b].clone()));
        }
    }
    pairs
}

fn may_be_promoted(live: &Live<'_>) -> bool {
    live.claim.role == Role::Promoted || live.claim.phase == Phase::Promoting
}

fn kind(action: OrderAction) -> StepKind {
    match action {
        OrderAction::Start => StepKind::Start,
        OrderAction::Stop => StepKind::Stop,
        OrderAction::Promote => StepKind::Promote,
        OrderAction::Demote => StepKind::Demote,
    }
}

/// Of several steps of one instance the one that can be done tells most.
fn rank(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Act => 0,
        Verdict::Wait(_) => 1,
        Verdict::Blocked(_) => 2,
        Verdict::Keep => 3,
    }
}
