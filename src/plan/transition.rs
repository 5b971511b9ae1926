//! `transition`: one plan from beginning to end, as people and other planners put it.
//!
//! Input: spec and state. Output: an [`Outcome`]: what runs where once the plan has run without failures, the actions put
//! together (a stop and a start elsewhere is a move), the nodes fenced and switched on. Its serialised form is what
//! planners of Pacemaker clusters are compared by.
//!
//! One [`assign`](super::assign()), taken as committed, one order; then every step that is not blocked, nor
//! waits for one that is. Waiting for a probe or for a fencing of the same plan is not blocked.
//!
//! Unlike [`predict`](super::predict()) it does not go on from the result: what only the next plan would do is not here.

use super::assign::assign_in;
use super::fencing::victims;
use super::graph::StepKind;
use super::instances::World;
use super::links::links;
use super::nodes::{Ability, Class};
use super::order::order_in;
use super::told::{Teller, Told};
use crate::model::{InstanceId, NodeId, OrderAction, Requires, Role, Spec};
use crate::state::{Claim, ClaimKey, Phase, State};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The attribute of a node that says when it was switched on by a device that unfences.
const LET_IN: &str = "#node-unfenced";

/// What a plan leads to, and by which actions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// By primitive and node the roles it is active in. Copies of anonymous clones carry no number in their names.
    pub placement: BTreeMap<String, BTreeMap<NodeId, Roles>>,
    pub actions: Vec<Action>,
    /// Powered off or rebooted by this plan.
    pub fenced: Vec<NodeId>,
    /// Switched on by it.
    pub unfenced: Vec<NodeId>,
}

/// The role of one copy, or of several on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Roles {
    One(Role),
    Several(Vec<Role>),
}

/// What happens to one instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Action {
    pub op: Op,
    pub resource: String,
    pub from: Option<NodeId>,
    pub to: Option<NodeId>,
    /// Only of promotable clones.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from_role: Option<Role>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to_role: Option<Role>,
    /// Wanted, but something that does not happen would have to come before.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub blocked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    Start,
    Stop,
    /// Stopped and started elsewhere.
    Move,
    /// Moved while it runs.
    Migrate,
    /// Stopped because it failed, and started again, here or elsewhere.
    Recover,
    /// Stopped and started on one node.
    Restart,
    /// Takes changed parameters over while it runs.
    Reload,
    /// From nowhere: started and promoted.
    Promote,
    Demote,
    /// Demoted and promoted on one node.
    Repromote,
}

/// Plans once and follows that plan to its end.
pub fn transition(spec: &Spec, state: &State) -> Outcome {
    let mut world = World::new(spec, state);
    world.outline = true;
    let assignment = assign_in(&world);
    let mut after = state.clone();
    assignment.commit(&mut after);
    let world = world.with_assignment(&after.assignment);
    let mut fenced = victims(&world, &assignment.placements);
    fenced.extend(world.reset_guests().map(|node| world.nodes[node].id.clone()));
    fenced.extend(world.reset_replicas());
    let graph = order_in(&world);
    let blocked = graph.blocked_with_followers();
    let mut needs = vec![Vec::new(); world.res.len()];
    for link in links(&world).iter().filter(|link| link.then_action == OrderAction::Start && link.is_need()) {
        needs[link.then].push(link.first);
    }
    let mut plan = Plan { world: &world, needs, fenced: &fenced, insts: BTreeMap::new() };
    for (key, claim) in &state.claims {
        plan.insts.entry(&key.instance).or_default().claims.push((key, claim));
    }
    // What was there first is where it comes from.
    plan.insts.values_mut().for_each(|inst| inst.claims.sort_by_key(|(_, claim)| claim.epoch));
    for (place, step) in graph.placed_steps() {
        let doing = Doing { kind: &step.kind, node: &step.key.node, blocked: blocked.contains(&place) };
        match step.kind {
            // An outline has no such steps: what moves live is put together here.
            StepKind::MigrateTo | StepKind::MigrateFrom => {}
            StepKind::Probe | StepKind::Fence { .. } | StepKind::Notify { .. } => {}
            StepKind::Start | StepKind::Stop | StepKind::Promote | StepKind::Demote | StepKind::Reload => {
                plan.insts.entry(&step.key.instance).or_default().steps.push(doing);
            }
        }
    }
    plan.outcome()
}

struct Plan<'w, 'a> {
    world: &'w World<'a>,
    /// By resource: what it needs to start.
    needs: Vec<Vec<usize>>,
    fenced: &'w BTreeSet<NodeId>,
    insts: BTreeMap<&'w InstanceId, Inst<'w>>,
}

#[derive(Default)]
struct Inst<'w> {
    claims: Vec<(&'w ClaimKey, &'w Claim)>,
    steps: Vec<Doing<'w>>,
}

struct Doing<'w> {
    kind: &'w StepKind,
    node: &'w NodeId,
    blocked: bool,
}

impl Inst<'_> {
    /// A step of this kind on this node: whether it is blocked.
    fn step(&self, kind: &StepKind, node: &NodeId) -> Option<bool> {
        self.steps.iter().find(|step| step.kind == kind && step.node == node).map(|step| step.blocked)
    }
    fn does(&self, kind: &StepKind, node: &NodeId) -> bool {
        self.step(kind, node) == Some(false)
    }
    /// The start that is planned, unless it has begun already.
    fn start(&self) -> Option<&Doing<'_>> {
        let begun = |node: &NodeId| {
            self.claims.iter().any(|(key, claim)| &key.node == node && claim.phase == Phase::Starting)
                && self.step(&StepKind::Stop, node).is_none()
        };
        self.steps.iter().find(|step| *step.kind == StepKind::Start && !begun(step.node))
    }
}

impl Plan<'_, '_> {
    fn outcome(&self) -> Outcome {
        let mut roles: BTreeMap<String, BTreeMap<NodeId, Vec<Role>>> = BTreeMap::new();
        let mut actions = Vec::new();
        let teller = Teller::new(self.world.spec);
        for (id, inst) in &self.insts {
            let told = teller.tell(id, self.is_unique(id));
            let promotable = self.is_promotable(id) && told.has_role;
            let placed = told
                .placed
                .iter()
                .flat_map(|name| self.placed(inst, promotable).into_iter().map(move |placed| (name, placed)));
            for (name, (node, role)) in placed {
                roles.entry(name.clone()).or_default().entry(node).or_default().push(role);
            }
            let mut own = Vec::new();
            self.actions(&told.name, promotable, inst, &mut own);
            actions.extend(own.into_iter().filter_map(|action| tell(action, &told)));
        }
        let of_node = |(node, mut list): (NodeId, Vec<Role>)| match list.as_slice() {
            [role] => (node, Roles::One(*role)),
            _ => {
                list.sort();
                (node, Roles::Several(list))
            }
        };
        let placement =
            roles.into_iter().map(|(name, nodes)| (name, nodes.into_iter().map(of_node).collect())).collect();
        let unfenced = self.unfenced();
        Outcome { placement, actions, fenced: self.fenced.iter().cloned().collect(), unfenced }
    }

    /// Nodes that must be let in before what requires that is started on them.
    fn unfenced(&self) -> Vec<NodeId> {
        if !self.world.res.iter().any(|res| res.spec.requires == Requires::Unfencing) {
            return Vec::new();
        }
        let let_in = |node: usize| self.world.label(node, LET_IN).is_some_and(|value| value != "0");
        let waits = |node: &usize| self.world.nodes[*node].fit() && !let_in(*node);
        (0..self.world.nodes.len()).filter(waits).map(|node| self.world.nodes[node].id.clone()).collect()
    }

    fn is_unique(&self, id: &InstanceId) -> bool {
        let place = self.world.res_ids.get(&id.resource);
        let clone = place.and_then(|place| self.world.res[*place].clone);
        clone.is_some_and(|clone| self.world.clones[clone].spec.globally_unique)
    }

    fn is_promotable(&self, id: &InstanceId) -> bool {
        self.world.res_ids.get(&id.resource).is_some_and(|place| self.world.promotable(*place))
    }

    fn is_managed(&self, id: &InstanceId) -> bool {
        self.world.res_ids.get(&id.resource).is_none_or(|place| self.world.res[*place].managed)
    }

    /// Where an instance is active in the end, and in which role.
    fn placed(&self, inst: &Inst<'_>, promotable: bool) -> Vec<(NodeId, Role)> {
        let mut placed = Vec::new();
        let fresh = if promotable { Role::Unpromoted } else { Role::Started };
        let leaves = self.goes_on_migrating(inst).map(|(from, _)| from);
        for (key, claim) in &inst.claims {
            if !self.ends(inst, key) && leaves != Some(&key.node) {
                placed.push((key.node.clone(), self.role_after(inst, &key.node, role_now(claim), fresh)));
            }
        }
        if let Some(start) = inst.start().filter(|start| !start.blocked) {
            placed.push((start.node.clone(), self.role_after(inst, start.node, fresh, fresh)));
        }
        placed
    }

    fn role_after(&self, inst: &Inst<'_>, node: &NodeId, now: Role, fresh: Role) -> Role {
        if inst.does(&StepKind::Promote, node) {
            Role::Promoted
        } else if inst.does(&StepKind::Demote, node) {
            fresh
        } else {
            now
        }
    }

    fn ends(&self, inst: &Inst<'_>, key: &ClaimKey) -> bool {
        let by_itself = || {
            let info = self.world.node_ids.get(&key.node).map(|node| &self.world.nodes[*node]);
            info.is_some_and(|info| info.unclean() && info.ability == Ability::ByItself)
        };
        self.fenced.contains(&key.node) || by_itself() || inst.does(&StepKind::Stop, &key.node)
    }

    /// A move of what runs that was begun by an earlier plan, and whose target is still the right one.
    fn goes_on_migrating<'i>(&self, inst: &'i Inst<'_>) -> Option<(&'i NodeId, &'i NodeId)> {
        let at = |phase: Phase| inst.claims.iter().find(|(_, claim)| claim.phase == phase).map(|(key, _)| *key);
        let (from, to) = at(Phase::MigratingTo).zip(at(Phase::MigratingFrom))?;
        (!self.ends(inst, from) && !self.ends(inst, to)).then_some((&from.node, &to.node))
    }

    /// Whether a move can be done while it runs: nothing it is ordered after stops meanwhile without doing the same.
    fn migrates(&self, inst: &Inst<'_>, seen: &mut Vec<usize>) -> bool {
        let ([(key, claim)], Some(start)) = (inst.claims.as_slice(), inst.start()) else { return false };
        let Some(&place) = self.world.res_ids.get(&key.instance.resource) else { return false };
        let res = &self.world.res[place];
        let clean = |node: &NodeId| {
            self.world.node_ids.get(node).is_some_and(|node| {
                let info = &self.world.nodes[*node];
                info.class == Class::Online && !info.unclean()
            })
        };
        let itself = res.spec.migratable
            && res.managed
            && res.clone.is_none()
            && claim.phase == Phase::Running
            && claim.failure.is_none()
            && self.world.same_definition(place, claim)
            && !start.blocked
            && inst.does(&StepKind::Stop, &key.node)
            && &key.node != start.node
            && clean(&key.node)
            && clean(start.node);
        if !itself || seen.contains(&place) {
            return itself;
        }
        seen.push(place);
        self.needs[place].iter().all(|first| self.lets_migrate(*first, seen))
    }

    fn lets_migrate(&self, first: usize, seen: &mut Vec<usize>) -> bool {
        let id = self.world.res[first].id;
        let from = InstanceId { resource: id.clone(), number: None };
        let of = self.insts.range::<InstanceId, _>(&from..).take_while(|(other, _)| &other.resource == id);
        let insts: Vec<&Inst<'_>> = of.map(|(_, inst)| inst).collect();
        let stops = |inst: &&Inst<'_>| inst.claims.iter().any(|(key, _)| inst.does(&StepKind::Stop, &key.node));
        let starts = |inst: &&Inst<'_>| inst.start().is_some_and(|start| !start.blocked);
        match self.world.res[first].clone {
            Some(_) => !(insts.iter().any(stops) && insts.iter().any(starts)),
            None => insts.iter().all(|inst| !stops(inst) || !starts(inst) || self.migrates(inst, seen)),
        }
    }

    fn actions(&self, name: &str, promotable: bool, inst: &Inst<'_>, actions: &mut Vec<Action>) {
        let role = |role: Role| promotable.then_some(role);
        let fresh = if promotable { Role::Unpromoted } else { Role::Started };
        let make = |op, from: Option<&NodeId>, to: Option<&NodeId>| Action {
            op,
            resource: name.to_owned(),
            from: from.cloned(),
            to: to.cloned(),
            from_role: None,
            to_role: None,
            blocked: false,
        };
        let ended: Vec<&(&ClaimKey, &Claim)> = inst.claims.iter().filter(|(key, _)| self.ends(inst, key)).collect();
        let start = inst.start();
        // A stop that is still owed by a move that was done is no part of this plan.
        let owed = |claim: &Claim| claim.phase == Phase::Stopping && inst.claims.len() > 1;
        if let Some(start) = start.filter(|start| !start.blocked) {
            // Where it is active more than once, it comes from where it was first.
            let there = ended.iter().find(|(key, _)| &key.node == start.node);
            let from = there.filter(|_| ended.iter().filter(|(_, claim)| !owed(claim)).count() < 2).or(ended.first());
            let after = self.role_after(inst, start.node, fresh, fresh);
            let op = match from {
                Some(_) if self.migrates(inst, &mut Vec::new()) => Op::Migrate,
                None if after == Role::Promoted => Op::Promote,
                None => Op::Start,
                Some(_) if ended.iter().any(|(_, claim)| claim.failure.is_some()) => Op::Recover,
                Some((key, _)) if &key.node == start.node => Op::Restart,
                Some(_) => Op::Move,
            };
            let mut action = make(op, from.map(|(key, _)| &key.node), Some(start.node));
            if op == Op::Start && inst.step(&StepKind::Promote, start.node) == Some(true) {
                // It starts, but the whole of it does not happen.
                (action.op, action.blocked) = (Op::Promote, true);
            }
            action.from_role = from.and_then(|(_, claim)| role(role_now(claim)));
            action.to_role = role(after);
            actions.push(action);
        } else {
            // What is unmanaged goes down with its node, but nobody stops it.
            let told = |key: &ClaimKey| self.is_managed(&key.instance) || inst.does(&StepKind::Stop, &key.node);
            for (key, claim) in ended.iter().filter(|(key, claim)| !owed(claim) && told(key)) {
                let mut action = make(Op::Stop, Some(&key.node), None);
                action.from_role = role(role_now(claim));
                actions.push(action);
            }
            if let Some(start) = start {
                let mut action = make(Op::Start, None, Some(start.node));
                action.to_role = role(self.role_after(inst, start.node, fresh, fresh));
                action.blocked = true;
                actions.push(action);
            }
        }
        if let Some((from, to)) = self.goes_on_migrating(inst) {
            actions.push(make(Op::Migrate, Some(from), Some(to)));
        }
        for (key, claim) in inst.claims.iter().filter(|(key, _)| !self.ends(inst, key)) {
            if inst.step(&StepKind::Stop, &key.node) == Some(true) {
                actions.push(Action { blocked: true, ..make(Op::Stop, Some(&key.node), None) });
            }
            if let Some(op) = in_place(inst, key, claim) {
                let mut action = make(op, Some(&key.node), Some(&key.node));
                let now = role_now(claim);
                action.from_role = role(now);
                action.to_role = role(self.role_after(inst, &key.node, now, fresh));
                actions.push(action);
            }
        }
    }
}

/// An action as it is told of; None: not at all.
fn tell(mut action: Action, told: &Told) -> Option<Action> {
    if let Some(inside) = &told.inside {
        (action.from, action.to) = (action.from.map(|_| inside.clone()), action.to.map(|_| inside.clone()));
    }
    if !told.has_role {
        // Only what runs inside has a role.
        action.op = match action.op {
            Op::Promote if action.from.is_none() => Op::Start,
            Op::Promote | Op::Demote | Op::Repromote => return None,
            Op::Start | Op::Stop | Op::Move | Op::Migrate | Op::Recover | Op::Restart | Op::Reload => action.op,
        };
    }
    Some(action)
}

/// What is done to an instance that goes on running.
fn in_place(inst: &Inst<'_>, key: &ClaimKey, claim: &Claim) -> Option<Op> {
    let does = |kind: &StepKind| inst.does(kind, &key.node);
    // What is under way already is no part of the plan.
    let promotes = does(&StepKind::Promote) && claim.phase != Phase::Promoting;
    let demotes = does(&StepKind::Demote) && claim.role == Role::Promoted;
    match (demotes, promotes) {
        (true, true) => Some(Op::Repromote),
        (true, false) => Some(Op::Demote),
        (false, true) => Some(Op::Promote),
        (false, false) => does(&StepKind::Reload).then_some(Op::Reload),
    }
}

/// A promotion that is under way counts as done.
fn role_now(claim: &Claim) -> Role {
    match claim.phase {
        Phase::Promoting => Role::Promoted,
        Phase::Starting
        | Phase::Running
        | Phase::Demoting
        | Phase::Stopping
        | Phase::MigratingTo
        | Phase::MigratingFrom
        | Phase::Migrated
        | Phase::Reloading => claim.role,
    }
}
