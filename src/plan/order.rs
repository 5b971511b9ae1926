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
mod soft;

use super::Verdict;
use super::fencing::waits_for;
use super::graph::{At, Bond, Graph, Step, StepKind, Vertex};
use super::instances::{Live, World};
use super::links::{Link, Pair, links, needs};
use super::nodes::{Ability, Class};
use super::score::{What, parts};
use super::want::{Fate, Firsts, Inst, Wants, wants};
use crate::model::{
    FenceWhen, InstanceId, MultipleActive, OrderAction, OrderStrength, Reason, Requires, ResourceId, Role, Spec,
};
use crate::state::{ClaimKey, Phase, State};
use soft::Wish;
use std::collections::BTreeMap;

/// Computes the actions that are missing between what is committed and what runs. Run by every node.
pub fn order(spec: &Spec, state: &State) -> Graph {
    build(&World::new(spec, state), true)
}

/// As [`order`], where nobody can be told of anything: in imagination, and on a node that acts alone.
pub fn order_untold(spec: &Spec, state: &State) -> Graph {
    build(&World::new(spec, state), false)
}

/// As [`order_untold`], in a world that was indexed already.
pub(super) fn order_in(world: &World<'_>) -> Graph {
    build(world, false)
}

fn build(world: &World<'_>, told: bool) -> Graph {
    let links = links(world);
    let wants = wants(world, &links);
    let mut builder = Builder {
        world,
        wants: &wants,
        graph: Graph::default(),
        made: Vec::new(),
        of: vec![Vec::new(); world.res.len()],
        of_inst: vec![Vec::new(); wants.insts.len()],
        probes: vec![Vec::new(); world.res.len()],
    };
    builder.steps();
    builder.own_edges();
    builder.limit_edges();
    builder.probe_and_fence_edges();
    builder.removed_edges();
    for link in links.iter().filter(|link| link.strength != OrderStrength::Serialize) {
        builder.link_edges(link);
    }
    builder.need_blocks(&links);
    builder.clone_edges();
    let mut wishes = builder.pinned_wishes();
    for link in links.iter().filter(|link| link.strength == OrderStrength::Serialize) {
        builder.serialize_wishes(link, &mut wishes);
    }
    builder.soft_edges(&wishes);
    if told {
        builder.notice_edges();
    }
    builder.graph.graph.tidy();
    builder.verdicts();
    builder.graph
}

/// An action of an instance: where it stands in the graph, for building edges.
#[derive(Clone)]
struct Made {
    kind: StepKind,
    inst: usize,
    node: usize,
    at: At,
}

/// How far what a step needs is there.
struct Met {
    ready: bool,
    /// What brings it, where it is not.
    steps: Vec<At>,
}

struct Builder<'w, 'a> {
    world: &'w World<'a>,
    wants: &'w Wants<'a>,
    graph: Graph,
    made: Vec<Made>,
    /// Actions by resource and by instance, as indices into `made`.
    of: Vec<Vec<usize>>,
    of_inst: Vec<Vec<usize>>,
    /// Probes by resource: node and vertex, in order of node.
    probes: Vec<Vec<(usize, At)>>,
}

impl Builder<'_, '_> {
    fn steps(&mut self) {
        let world = self.world;
        for place in 0..world.res.len() {
            for &node in world.res[place].unprobed.iter().filter(|node| world.nodes[**node].class == Class::Online) {
                let key = ClaimKey { instance: world.probe_instance(place), node: world.nodes[node].id.clone() };
                let reason = Reason::NotProbed { node: key.node.clone() };
                let probe = self.vertex(StepKind::Probe, key, reason, false);
                self.probes[place].push((node, probe));
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
        for inst in 0..self.of_inst.len() {
            for a in self.of_inst[inst].clone() {
                for b in self.of_inst[inst].clone() {
                    let (a, b) = (&self.made[a], &self.made[b]);
                    let here = a.node == b.node;
                    let before = match (&a.kind, &b.kind) {
                        (StepKind::Demote, StepKind::Stop) => here,
                        (StepKind::Start | StepKind::Demote, StepKind::Promote) => here,
                        // One number is one thing: it ends everywhere before it begins.
                        (StepKind::Stop, StepKind::Start) => true,
                        (_, _) => false,
                    };
                    if before {
                        self.edge(a.at, b.at);
                    }
                }
            }
        }
    }

    /// Copies make room for each other.
    fn limit_edges(&mut self) {
        let world = self.world;
        for place in 0..world.res.len() {
            let Some(clone) = world.res[place].clone.filter(|_| !self.of[place].is_empty()) else { continue };
            let info = &world.clones[clone];
            let full = world.res[place].claims.len() >= info.max;
            let promoted = world.res[place].claims.iter().filter(|live| may_be_promoted(live)).count();
            let no_more = info.spec.promotable.is_none_or(|promotable| promoted >= promotable.max as usize);
            let mut made = self.made_of(place);
            made.sort_by_key(|made| made.node);
            let was_promoted = |made: &&Made| {
                let claims = &self.wants.insts[made.inst].claims;
                claims.iter().any(|(live, _)| live.node == made.node && may_be_promoted(live))
            };
            let leaves = |made: &&Made| matches!(made.kind, StepKind::Stop | StepKind::Demote);
            let stops: Vec<Made> = made.iter().filter(|made| made.kind == StepKind::Stop).cloned().collect();
            let ends: Vec<Made> = made.iter().filter(leaves).filter(was_promoted).cloned().collect();
            for b in made {
                let (before, everywhere) = match b.kind {
                    StepKind::Start => (&stops, full && self.wants.insts[b.inst].claims.is_empty()),
                    StepKind::Promote => (&ends, no_more),
                    StepKind::Stop
                    | StepKind::Demote
                    | StepKind::Probe
                    | StepKind::Fence { .. }
                    | StepKind::Reload
                    | StepKind::Notify { .. } => continue,
                };
                let before = if everywhere { before } else { on_node(before, b.node) };
                for a in before.iter().filter(|a| a.inst != b.inst) {
                    self.edge(a.at, b.at);
                }
            }
        }
    }

    /// A start waits for every node's word on its resource, and for lost nodes that may run it.
    fn probe_and_fence_edges(&mut self) {
        let world = self.world;
        for place in 0..world.res.len() {
            let waits = |made: &&Made| {
                matches!(made.kind, StepKind::Start | StepKind::Promote) && !self.graph.graph[made.at].running
            };
            let starts: Vec<Made> =
                self.of[place].iter().map(|made| &self.made[*made]).filter(waits).cloned().collect();
            if starts.is_empty() {
                continue;
            }
            for &node in &world.res[place].unprobed {
                for start in starts.iter().filter(|start| start.kind == StepKind::Start) {
                    self.wait_for_word(place, node, start.at);
                }
            }
            self.wait_for_claims(place, &starts);
        }
    }

    fn wait_for_word(&mut self, place: usize, node: usize, start: At) {
        let info = &self.world.nodes[node];
        match info.class {
            Class::Online => {
                let probes = &self.probes[place];
                if let Ok(found) = probes.binary_search_by_key(&node, |(node, _)| *node) {
                    self.edge(probes[found].1, start);
                }
            }
            Class::Suspect | Class::Joining if self.world.outline => {}
            Class::Suspect => self.wait_for_fencing(node, start),
            Class::Joining => self.block(start, Verdict::Wait(Reason::NotProbed { node: info.id.clone() })),
            Class::Gone => {}
        }
    }

    /// Claims that do not end by a step of this graph.
    fn wait_for_claims(&mut self, place: usize, starts: &[Made]) {
        let world = self.world;
        let wants = self.wants;
        let res = &world.res[place];
        let limits = res.clone.map(|clone| &world.clones[clone]);
        let full = limits.is_none_or(|info| res.claims.len() >= info.max);
        let promoted = res.claims.iter().filter(|live| may_be_promoted(live)).count();
        let no_more =
            limits.and_then(|info| info.spec.promotable).is_some_and(|promotable| promoted >= promotable.max as usize);
        let claims =
            wants.by_res[place].iter().flat_map(|inst| wants.insts[*inst].claims.iter().map(move |c| (*inst, c)));
        let lasting: Vec<(usize, &(Live<'_>, Fate))> =
            claims.filter(|(_, (_, fate))| matches!(fate, Fate::Lost | Fate::Stuck(_))).collect();
        let (unfenced, frozen) = (self.unfenced(place), world.frozen(place));
        for start in starts {
            // An instance that holds a claim has a place of its own.
            let holds = !wants.insts[start.inst].claims.is_empty();
            for (other, (live, fate)) in &lasting {
                let own = *other == start.inst && live.node == start.node;
                let in_the_way = match start.kind {
                    StepKind::Start => *other == start.inst || (full && !holds) || live.node == start.node,
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
            if let Some(why) = &unfenced {
                self.block(start.at, Verdict::Blocked(why.clone()));
            }
            let active = wants.insts[start.inst].claims.iter().any(|(live, _)| !world.nodes[live.node].unclean());
            if frozen && (start.kind == StepKind::Promote || !active) {
                self.block(start.at, Verdict::Blocked(Reason::NoQuorum));
            }
            if res.spec.requires == Requires::Unfencing {
                let what = "`requires: Unfencing`".to_owned();
                self.block(start.at, Verdict::Blocked(Reason::NotInThisVersion { what }));
            }
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

    fn wait_for_fencing(&mut self, node: usize, start: At) {
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
                if first.kind == up_first && then.kind == up_then {
                    self.bind(first.at, then.at, up);
                }
                // What was promoted may have to stop without a demote of its own.
                let goes = first.kind == down_first || (down_first == StepKind::Demote && first.kind == StepKind::Stop);
                if link.symmetric && goes && then.kind == down_then {
                    // Even if the commit to stop it is there already: it may have come late, or together with a grant
                    // to what needs it. What its owner has begun goes on in any case.
                    self.graph.graph.edge(then.at, first.at, required);
                }
                // It was stopped for what restarts, so it is down before that comes up.
                if restarts && first.kind == up_first && then.kind == down_then {
                    self.edge(then.at, first.at);
                }
            }
        }
    }

    /// What cannot be stopped keeps what it needs.
    fn held_by_stuck(&mut self, link: &Link, side: impl Fn(usize, usize) -> usize) {
        let wants = self.wants;
        let mut stuck: BTreeMap<usize, &Reason> = BTreeMap::new();
        for &then in &wants.by_res[link.then] {
            for (live, fate) in &wants.insts[then].claims {
                if let Fate::Stuck(why) = fate {
                    stuck.entry(side(then, live.node)).or_insert(why);
                }
            }
        }
        let down = kind(link.first_action.opposite());
        // What comes up would want to restart what already runs without it.
        let up = |first: &Made| self.world.outline && link.pair == Pair::SameCopy && first.kind == StepKind::Start;
        let held = self.made_of(link.first).into_iter().filter(|first| first.kind == down || up(first));
        for first in held.collect::<Vec<_>>() {
            if let Some(why) = stuck.get(&side(first.inst, first.node)) {
                self.block(first.at, Verdict::Blocked((*why).clone()));
            }
        }
    }

    /// Blocks starts and promotions whose mandatory predecessor neither runs nor is on its way.
    fn need_blocks(&mut self, links: &[Link]) {
        let wants = self.wants;
        for either in needs(links) {
            let (up_then, then) = (kind(either[0].then_action), either[0].then);
            let made: Vec<Made> = self.made_of(then).into_iter().filter(|made| made.kind == up_then).collect();
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
    fn met(&self, link: &Link, firsts: &[usize]) -> Met {
        let enough = link.enough.unwrap_or(1) as usize;
        let good = |first: &&usize| self.wants.insts[**first].is_good(link.first_promoted());
        let good = firsts.iter().filter(good).count();
        let mut steps: Vec<At> = firsts.iter().filter_map(|first| self.comes(link, *first)).collect();
        if good >= enough || good + steps.len() < enough {
            steps.clear();
        }
        Met { ready: good >= enough, steps }
    }

    fn comes(&self, link: &Link, first: usize) -> Option<At> {
        let (node, _) = self.wants.insts[first].assigned?;
        let kind = kind(link.first_action);
        let mut made = self.of_inst[first].iter().map(|made| &self.made[*made]);
        made.find(|made| made.kind == kind && made.node == node).map(|made| made.at)
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
    fn serialize_wishes(&self, link: &Link, wishes: &mut Vec<Wish>) {
        let at = |place: usize| self.of[place].iter().map(|made| self.made[*made].at);
        for a in at(link.first) {
            for b in at(link.then) {
                let running = |at: At| self.graph.graph[at].running;
                let (before, after) = if running(b) && !running(a) { (b, a) } else { (a, b) };
                wishes.push(Wish { before, after, bond: Bond::Loose, turns: true });
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
        let known =
            self.of_inst[inst].iter().any(|made| self.made[*made].kind == kind && self.made[*made].node == node);
        if known || self.world.nodes[node].class != Class::Online {
            return;
        }
        let key = ClaimKey { instance: self.wants.insts[inst].id.clone(), node: self.world.nodes[node].id.clone() };
        let at = self.vertex(kind.clone(), key, reason, running);
        if let Some(place) = self.wants.insts[inst].place {
            self.of[place].push(self.made.len());
        }
        self.of_inst[inst].push(self.made.len());
        self.made.push(Made { kind, inst, node, at });
    }

    fn vertex(&mut self, kind: StepKind, key: ClaimKey, reason: Reason, running: bool) -> At {
        if let Some(at) = self.graph.index.get(&(kind.clone(), key.clone())) {
            return *at;
        }
        let step = Step { kind: kind.clone(), key: key.clone(), reason };
        let at = self.graph.graph.add(Vertex { step, blocked: None, running, unannounced: false });
        self.graph.index.insert((kind, key), at);
        at
    }

    fn edge(&mut self, before: At, after: At) {
        self.bind(before, after, Bond::Firm);
    }

    fn bind(&mut self, before: At, after: At, bond: Bond) {
        // What its owner is doing cannot be put off any more.
        if !self.graph.graph[after].running {
            self.graph.graph.edge(before, after, bond);
        }
    }

    fn block(&mut self, at: At, why: Verdict) {
        let vertex = &mut self.graph.graph[at];
        if !vertex.running {
            vertex.blocked.get_or_insert(why);
        }
    }

    fn made_of(&self, place: usize) -> Vec<Made> {
        self.of[place].iter().map(|made| self.made[*made].clone()).collect()
    }
}

/// Those on one node, of a list in order of node.
fn on_node(list: &[Made], node: usize) -> &[Made] {
    let from = list.partition_point(|made| made.node < node);
    let count = list[from..].partition_point(|made| made.node == node);
    &list[from..from + count]
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
