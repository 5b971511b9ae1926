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

mod constraints;
mod notices;
mod reach;
mod removed;
mod soft;
mod waits;

use super::Verdict;
use super::fencing::waits_for;
use super::graph::{At, Bond, Graph, Step, StepKind, Vertex};
use super::instances::{Live, World};
use super::links::links;
use super::nodes::{Ability, Class};
use super::score::{What, parts};
use super::want::{Fate, Inst, Wants, wants};
use crate::model::{InstanceId, MultipleActive, OrderStrength, Reason, Role, Spec};
use crate::state::{ClaimKey, Phase, State};
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
    builder.reach_edges();
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
                Fate::Stay if !self.world.outline && live.claim.phase.migrates() => self.migration_steps(inst, live),
                Fate::Stay => self.stay_steps(inst, live),
                Fate::Stop(why) if !self.world.outline && wants.insts[inst].migrates => {
                    self.migrate_steps(inst, live, why);
                }
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
            | Phase::Migrated
            | Phase::Reloading => self.add(StepKind::Stop, inst, live.node, why.clone(), false),
            // Where it may still come to: first the other end stops, which ends what it sends.
            Phase::MigratingFrom => {
                self.add(StepKind::Stop, inst, live.node, why.clone(), false);
                for (source, fate) in self.wants.insts[inst].claims.iter().filter(|(o, _)| o.node != live.node) {
                    self.wait_for_source(inst, StepKind::Stop, live.node, (source.node, Some(fate)));
                }
            }
        }
    }

    /// Whether a claim of this instance on a node is the arriving end of a migration.
    fn arrives(&self, inst: usize, node: usize) -> bool {
        let mut claims = self.wants.insts[inst].claims.iter();
        claims.any(|(live, _)| live.node == node && live.claim.phase == Phase::MigratingFrom)
    }

    /// It is to move while it runs. A node that speaks against it now gets it neither way; the leader will say where else.
    fn migrate_steps(&mut self, inst: usize, live: &Live<'_>, why: &Reason) {
        let want = &self.wants.insts[inst];
        let (Some(place), Some((to, assigned))) = (want.place, want.assigned) else { return };
        if !self.banned(place, to) {
            self.add(StepKind::MigrateTo, inst, live.node, why.clone(), false);
            self.add(StepKind::MigrateFrom, inst, to, assigned.reason.clone(), false);
        }
    }

    /// One end of a migration that is under way.
    fn migration_steps(&mut self, inst: usize, live: &Live<'_>) {
        let want = &self.wants.insts[inst];
        let why = want.assigned.map_or(Reason::InPlace, |(_, assigned)| assigned.reason.clone());
        match live.claim.phase {
            Phase::MigratingTo => self.add(StepKind::MigrateTo, inst, live.node, why, true),
            Phase::MigratingFrom => {
                let has_left = want.claims.iter().any(|(other, _)| other.claim.phase == Phase::Migrated);
                self.add(StepKind::MigrateFrom, inst, live.node, why, has_left);
                let source = want.claims.iter().map(|(other, _)| other.node).find(|node| *node != live.node);
                if let Some(node) = source.filter(|_| !has_left) {
                    self.wait_for_source(inst, StepKind::MigrateFrom, live.node, (node, None));
                }
            }
            // It waits for the other end.
            Phase::Migrated => {}
            Phase::Starting
            | Phase::Running
            | Phase::Promoting
            | Phase::Demoting
            | Phase::Stopping
            | Phase::Reloading => {}
        }
    }

    /// What a node that is silent was sending comes or not, until it is proven off; what one that cannot stop it was
    /// sending, until an operator has seen to that.
    fn wait_for_source(&mut self, inst: usize, kind: StepKind, node: usize, (source, fate): (usize, Option<&Fate>)) {
        let made = self.of_inst[inst].iter().map(|made| &self.made[*made]);
        let Some(step) = made.filter(|made| made.kind == kind && made.node == node).map(|made| made.at).next() else {
            return;
        };
        if self.world.nodes[source].class != Class::Online || matches!(fate, Some(Fate::Lost)) {
            self.wait_for_fencing(source, step);
        } else if let Some(Fate::Stuck(why)) = fate {
            self.block(step, Verdict::Blocked(why.clone()));
        }
    }

    fn start_steps(&mut self, inst: usize) {
        let want = &self.wants.insts[inst];
        // An outline tells of a stop and a start; `transition` puts them together.
        if want.migrates && !self.world.outline {
            return;
        }
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
                        (StepKind::MigrateTo, StepKind::MigrateFrom) => true,
                        (StepKind::Stop, StepKind::Stop) => !here && self.arrives(b.inst, b.node),
                        (_, _) => false,
                    };
                    if before {
                        self.edge(a.at, b.at);
                    }
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
            match &vertex.blocked {
                // What else is in the way says more.
                None | Some(Verdict::Blocked(Reason::NotInThisVersion { .. })) => vertex.blocked = Some(why),
                Some(_) => {}
            }
        }
    }

    fn made_of(&self, place: usize) -> Vec<Made> {
        self.of[place].iter().map(|made| self.made[*made].clone()).collect()
    }
}

fn may_be_promoted(live: &Live<'_>) -> bool {
    live.claim.role == Role::Promoted || live.claim.phase == Phase::Promoting
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
