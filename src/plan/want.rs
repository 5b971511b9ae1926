//! What each claim needs, taken by itself: to stay, to stop, or to be left alone; and what follows for its dependants.
//!
//! Input: the [`World`] with the *committed* assignment, and the [`Link`]s. Output: one [`Inst`] per instance with a
//! [`Fate`] per claim.
//!
//! Rules: a claim stays where it is assigned, under the current parameters and without a failure. When something stops,
//! what requires it stops too and starts again afterwards. What is not known yet disturbs nobody: dependants of a
//! resource that is still being probed, is stuck, or sits on a lost node are left alone.
//!
//! Does not order anything (`order`).

use super::assign::solve;
use super::instances::{Live, World};
use super::links::{Link, Pair, needs};
use super::needs::position;
use super::reasons::why_leaves;
use crate::model::{InstanceId, MultipleActive, OrderAction, OrderStrength, Reason, Role};
use crate::state::migration::MIGRATION_LEVEL;
use crate::state::{Assigned, Failure, Phase};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Inst<'a> {
    pub id: &'a InstanceId,
    /// None: no longer in the spec.
    pub place: Option<usize>,
    pub claims: Vec<(Live<'a>, Fate)>,
    pub assigned: Option<(usize, &'a Assigned)>,
    /// Something it needs for its promotion goes away.
    pub demote: Option<Reason>,
    /// It is to move while it runs.
    pub migrates: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Stay,
    Stop(Reason),
    /// Left alone.
    Stuck(Reason),
    /// Not assigned here yet, but it will be as soon as the leader has seen it.
    Found,
    /// On an unclean node; ends by evidence.
    Lost,
}

/// All instances in order, and their indices by resource.
pub(super) struct Wants<'a> {
    pub insts: Vec<Inst<'a>>,
    pub by_res: Vec<Vec<usize>>,
    /// Some node has not said yet whether the resource runs there.
    pub unknown: Vec<bool>,
}

impl Inst<'_> {
    pub fn wants_promoted(&self) -> bool {
        self.demote.is_none() && self.assigned.is_some_and(|(_, assigned)| assigned.role == Role::Promoted)
    }

    /// Whether it runs, promoted if asked, and will go on doing so.
    pub fn is_good(&self, world: &World<'_>, promoted: bool) -> bool {
        self.claims.iter().any(|(live, fate)| {
            let kept = match fate {
                Fate::Stay | Fate::Found => true,
                Fate::Stuck(_) => true,
                Fate::Stop(_) | Fate::Lost => false,
            };
            let claim = live.claim;
            let up = match claim.phase {
                Phase::Running => true,
                Phase::Promoting | Phase::Demoting => !promoted,
                Phase::Reloading | Phase::MigratingTo | Phase::MigratingFrom | Phase::Migrated => true,
                // What others began to start counts as started.
                Phase::Starting => world.outline,
                Phase::Stopping => false,
            };
            let stuck = matches!(fate, Fate::Stuck(_) | Fate::Found);
            let in_role = !promoted || (claim.role == Role::Promoted && (stuck || self.wants_promoted()));
            kept && up && in_role && claim.failure.is_none()
        })
    }

    pub fn is_stopping(&self) -> bool {
        !self.migrates && self.claims.iter().any(|(_, fate)| matches!(fate, Fate::Stop(_)))
    }

    /// The node on which it is to start, again or for the first time.
    fn starts_on(&self) -> Option<usize> {
        let (node, _) = self.assigned?;
        let stays = |(live, fate): &(Live<'_>, Fate)| live.node == node && !matches!(fate, Fate::Stop(_));
        (!self.claims.iter().any(stays)).then_some(node)
    }

    /// It has a claim of which nothing can be said.
    fn is_unknown(&self) -> bool {
        self.claims.iter().any(|(_, fate)| matches!(fate, Fate::Stuck(_) | Fate::Lost | Fate::Found))
    }
}

pub(super) fn wants<'a>(world: &World<'a>, links: &[Link]) -> Wants<'a> {
    let mut wants = collect(world);
    judge(world, links, &mut wants);
    follow(world, links, &mut wants);
    wants
}

fn collect<'a>(world: &World<'a>) -> Wants<'a> {
    let mut insts: Vec<Inst<'a>> = Vec::new();
    let fresh = |id: &'a InstanceId, place| Inst {
        id,
        place,
        claims: Vec::new(),
        assigned: None,
        demote: None,
        migrates: false,
    };
    // Both lists are in order of instance, so that one walk merges them.
    let live = world.res.iter().enumerate().flat_map(|(place, res)| res.claims.iter().map(move |l| (Some(place), l)));
    let mut live: Vec<_> = live.chain(world.removed.iter().map(|live| (None, live))).collect();
    if !world.removed.is_empty() {
        live.sort_by_key(|(_, live)| live.key);
    }
    let mut live = live.into_iter().peekable();
    let mut assigned = world.assignment.iter().peekable();
    loop {
        let (id, place) = match (live.peek(), assigned.peek()) {
            (Some((place, live)), Some((id, _))) if live.key.instance <= **id => (&live.key.instance, *place),
            (Some((place, live)), None) => (&live.key.instance, *place),
            (_, Some((id, _))) => (*id, world.res_ids.get(&id.resource).copied()),
            (None, None) => break,
        };
        let mut inst = fresh(id, place);
        while let Some((_, live)) = live.next_if(|(_, live)| &live.key.instance == id) {
            inst.claims.push((*live, Fate::Stay));
        }
        if let Some((_, assigned)) = assigned.next_if(|(other, _)| *other == id) {
            inst.assigned = world.node_ids.get(&assigned.to.node).map(|node| (*node, &assigned.to));
        }
        insts.push(inst);
    }
    let mut by_res = vec![Vec::new(); world.res.len()];
    for (place, inst) in insts.iter().enumerate() {
        if let Some(res) = inst.place {
            by_res[res].push(place);
        }
    }
    let unknown = world.res.iter().map(|res| !res.unprobed.is_empty()).collect();
    Wants { insts, by_res, unknown }
}

/// Where each instance would be assigned now; asked only when something was found running that nobody assigned there.
type Solution = OnceCell<BTreeSet<(InstanceId, usize)>>;

fn judge<'a>(world: &World<'a>, links: &[Link], wants: &mut Wants<'a>) {
    let solution = Solution::new();
    for inst in &mut wants.insts {
        let fates: Vec<Fate> = inst.claims.iter().map(|(live, _)| fate(world, links, inst, live, &solution)).collect();
        for ((_, now), fate) in inst.claims.iter_mut().zip(fates) {
            *now = fate;
        }
        inst.migrates = may_migrate(world, inst);
    }
    if !world.outline {
        stay_apart(world, links, wants);
    }
}

/// A live cluster moves one thing at a time: what is ordered after something that comes, goes or moves itself, and what is
/// never to be changed together with something else, is stopped and started.
fn stay_apart(world: &World<'_>, links: &[Link], wants: &mut Wants<'_>) {
    if !wants.insts.iter().any(|inst| inst.migrates) {
        return;
    }
    let moves = |wants: &Wants<'_>, place: usize| wants.by_res[place].iter().any(|inst| wants.insts[*inst].migrates);
    for link in links {
        let serial = link.strength == OrderStrength::Serialize;
        for place in [Some(link.then), serial.then_some(link.first)].into_iter().flatten() {
            if moves(wants, place) && (serial || moves(wants, link.first) || !lets_migrate(world, link, wants)) {
                for inst in wants.by_res[place].clone() {
                    wants.insts[inst].migrates = false;
                }
            }
        }
    }
}

/// Whether an instance, taken by itself, can move while it runs.
fn may_migrate(world: &World<'_>, inst: &Inst<'_>) -> bool {
    let ([(live, Fate::Stop(_))], Some((to, _)), Some(place)) = (inst.claims.as_slice(), inst.assigned, inst.place)
    else {
        return false;
    };
    let res = &world.res[place];
    let clean = |node: usize| world.nodes[node].class == super::nodes::Class::Online && !world.nodes[node].unclean();
    // By the log's own rules (`state::migration`).
    let leased = |node: usize| world.state.is_leased(world.nodes[node].id);
    let runs_here = world.outline
        || world.state.feature_level >= MIGRATION_LEVEL && !leased(to) && !leased(live.node) && !live.claim.found;
    res.spec.migratable
        && runs_here
        && res.managed
        && res.clone.is_none()
        && res.stopped.is_none()
        && live.claim.phase == Phase::Running
        && live.claim.failure.is_none()
        && world.same_definition(place, live.claim)
        && to != live.node
        && clean(to)
        && clean(live.node)
}

/// Whether what an instance is ordered after lets it move while it runs: nothing of it moves in another way, and no copies
/// come and go.
fn lets_migrate(world: &World<'_>, link: &Link, wants: &Wants<'_>) -> bool {
    let firsts = || wants.by_res[link.first].iter().map(|first| &wants.insts[*first]);
    let starts = |first: &Inst<'_>| {
        first.assigned.is_some_and(|(node, _)| {
            !first.claims.iter().any(|(live, fate)| live.node == node && !matches!(fate, Fate::Stop(_)))
        })
    };
    let stops = |first: &Inst<'_>| !first.claims.is_empty() && first.is_stopping();
    match world.res[link.first].clone {
        Some(_) => !(firsts().any(stops) && firsts().any(starts)),
        None if world.outline => !firsts().any(|first| stops(first) && starts(first)),
        None => !firsts().any(|first| stops(first) || starts(first)),
    }
}

fn fate<'a>(world: &World<'a>, links: &[Link], inst: &Inst<'a>, live: &Live<'a>, solution: &Solution) -> Fate {
    let (claim, info) = (live.claim, &world.nodes[live.node]);
    if info.unclean() {
        return Fate::Lost;
    }
    // Where fencing is a way out the node is unclean already; else only an operator goes on from here.
    let ends_with_its_node = info.reach.is_some_and(|reach| reach.reset);
    let mended = || ends_with_its_node || inst.place.is_some_and(|place| world.is_mended_around(place, live));
    let stuck = |failure: &&Failure| failure.blocked || (failure.fence && !mended());
    if let Some(failure) = claim.failure.as_ref().filter(stuck) {
        return Fate::Stuck(Reason::FailedBlocked { what: failure.text.clone() });
    }
    let managed = inst.place.is_none_or(|place| world.res[place].managed);
    if !managed || info.maintenance || inst.place.is_some_and(|place| world.maintained(place)) {
        return Fate::Stuck(Reason::Unmanaged);
    }
    let Some(place) = inst.place else { return Fate::Stop(Reason::Removed) };
    let res = &world.res[place];
    let several = world.several(place);
    if world.outline && several && res.spec.multiple_active == MultipleActive::Block {
        return Fate::Stuck(Reason::MultipleActive);
    }
    if claim.failure.is_some() || world.is_broken(place, inst.id) || ends_with_its_node {
        return Fate::Stop(Reason::Recover { node: info.id.clone() });
    }
    if let Some(node) = world.drift(place) {
        return Fate::Stuck(Reason::Drift { node: world.nodes[node].id.clone() });
    }
    if let Some(why) = &res.stopped {
        return Fate::Stop(why.clone());
    }
    if let Some((_, to)) = world.migrating(place) {
        return match inst.assigned.is_some_and(|(node, _)| node == to) {
            true => Fate::Stay,
            false => Fate::Stop(Reason::BetterNode { from: info.id.clone() }),
        };
    }
    // Its other end is gone: nobody knows how far it got.
    if claim.phase.migrates() && !world.outline {
        return Fate::Stop(Reason::Recover { node: info.id.clone() });
    }
    match res.spec.multiple_active {
        MultipleActive::StopStart | MultipleActive::StopOnly if several && !live.settling() => {
            return Fate::Stop(Reason::MultipleActive);
        }
        // Others tell of a restart even of the one that is left running.
        MultipleActive::StopUnexpected if several && world.outline && !live.settling() => {
            return Fate::Stop(Reason::MultipleActive);
        }
        MultipleActive::Block if several => return Fate::Stuck(Reason::MultipleActive),
        MultipleActive::StopStart
        | MultipleActive::StopOnly
        | MultipleActive::Block
        | MultipleActive::StopUnexpected => {}
    }
    let here = inst.assigned.is_some_and(|(node, _)| node == live.node);
    if !here {
        if claim.found && claim.phase == Phase::Running && belongs(world, links, inst.id, live.node, solution) {
            return Fate::Found;
        }
        return Fate::Stop(why_stop(world, inst, place, live));
    }
    // A reload that has begun is waited for, whatever git says meanwhile.
    if claim.phase != Phase::Reloading && !world.same_definition(place, claim) && !world.reloads(place, claim) {
        return Fate::Stop(Reason::Changed);
    }
    if claim.phase == Phase::Stopping {
        return Fate::Stop(inst.assigned.map_or(Reason::Removed, |(_, assigned)| assigned.reason.clone()));
    }
    Fate::Stay
}

fn belongs<'a>(world: &World<'a>, links: &[Link], id: &InstanceId, node: usize, solution: &Solution) -> bool {
    let solved = solution.get_or_init(|| {
        let placer = solve(world, links, None);
        let mut there = BTreeSet::new();
        for (unit, copies) in placer.placed.iter().enumerate() {
            for member in world.members_of_unit(unit) {
                for copy in copies.iter().flatten().filter(|copy| copy.running > position(world, member)) {
                    let id = InstanceId { resource: world.res[member].id.clone(), number: copy.number };
                    there.extend(copy.node.map(|node| (id, node)));
                }
            }
        }
        there
    });
    solved.contains(&(id.clone(), node))
}

fn why_stop(world: &World<'_>, inst: &Inst<'_>, place: usize, live: &Live<'_>) -> Reason {
    match (inst.assigned, why_leaves(world, place, live.node)) {
        (Some((_, assigned)), _) if assigned.reason != Reason::Placed => assigned.reason.clone(),
        (None, Reason::BetterNode { .. }) if world.res[place].clone.is_some() => Reason::MultipleActive,
        (None, Reason::BetterNode { .. }) => Reason::NoNode { why: "what it needs runs nowhere".into() },
        (Some(_) | None, why) => why,
    }
}

/// Stops and demotes what cannot go on without what goes away, until nothing changes.
fn follow(world: &World<'_>, links: &[Link], wants: &mut Wants<'_>) {
    let mut by_first: BTreeMap<usize, Vec<Vec<&Link>>> = BTreeMap::new();
    for either in needs(links).into_iter().filter(|either| either.iter().all(|link| link.symmetric)) {
        for link in &either {
            by_first.entry(link.first).or_default().push(either.clone());
        }
    }
    if world.outline {
        follow_stops(world, links, wants);
    }
    let mut beyond: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (node, info) in world.nodes.iter().enumerate() {
        if let Some(connection) = info.reach.and_then(|reach| reach.connection) {
            beyond.entry(connection).or_default().push(node);
        }
    }
    let firsts: BTreeSet<usize> = by_first.keys().chain(beyond.keys()).copied().collect();
    let mut queue: Vec<usize> = firsts.iter().rev().copied().collect();
    // An instance only ever goes from staying to stopping, so every resource is looked at a bounded number of times.
    while let Some(first) = queue.pop() {
        for either in by_first.get(&first).into_iter().flatten() {
            if follow_need(world, either, wants) && firsts.contains(&either[0].then) {
                queue.push(either[0].then);
            }
        }
        for node in beyond.get(&first).into_iter().flatten() {
            queue.extend(follow_connection(world, first, *node, wants).into_iter().filter(|res| firsts.contains(res)));
        }
    }
}

/// What runs on a remote node stops before its connection does. The resources of which something changed.
fn follow_connection(world: &World<'_>, connection: usize, node: usize, wants: &mut Wants<'_>) -> BTreeSet<usize> {
    let mut changed = BTreeSet::new();
    // A guest goes along with its container: where that moves live it does not matter how its connection follows.
    let goes_on = |container: usize| wants.by_res[container].iter().any(|inst| wants.insts[*inst].migrates);
    if world.res[connection].inside.is_some_and(goes_on) {
        return changed;
    }
    // What is connected again, because the connection failed, goes on meanwhile.
    let again = world.res[connection].inside.is_none();
    if again && world.res[connection].claims.iter().any(|live| live.claim.failure.is_some()) {
        return changed;
    }
    if !wants.by_res[connection].iter().any(|inst| wants.insts[*inst].is_stopping()) {
        return changed;
    }
    let why = Reason::Follows { other: world.res[connection].id.clone() };
    for inst in &mut wants.insts {
        for (live, fate) in inst.claims.iter_mut().filter(|(live, fate)| live.node == node && *fate == Fate::Stay) {
            debug_assert_eq!(live.node, node);
            *fate = Fate::Stop(why.clone());
            changed.extend(inst.place);
        }
    }
    changed
}

/// Others take a required order of two stops to mean that the second happens whenever the first does.
fn follow_stops(world: &World<'_>, links: &[Link], wants: &mut Wants<'_>) {
    let stops = |link: &&Link| {
        let required = link.strength == OrderStrength::Required;
        required && link.first_action == OrderAction::Stop && link.then_action == OrderAction::Stop
    };
    for link in links.iter().filter(stops) {
        let goes = |fate: &Fate| matches!(fate, Fate::Stop(_) | Fate::Lost);
        let first = wants.by_res[link.first].iter().map(|first| &wants.insts[*first]);
        if !first.flat_map(|first| &first.claims).any(|(_, fate)| goes(fate)) {
            continue;
        }
        for then in wants.by_res[link.then].clone() {
            for (_, fate) in wants.insts[then].claims.iter_mut().filter(|(_, fate)| *fate == Fate::Stay) {
                *fate = Fate::Stop(Reason::Follows { other: world.res[link.first].id.clone() });
            }
        }
    }
}

fn follow_need(world: &World<'_>, either: &[&Link], wants: &mut Wants<'_>) -> bool {
    let Some(link) = either.first() else { return false };
    let promotes = link.then_action == OrderAction::Promote;
    let relevant =
        |live: &Live<'_>, fate: &Fate| *fate == Fate::Stay && (!promotes || live.claim.role == Role::Promoted);
    let (mut ends, mut stays) = (Vec::new(), Vec::new());
    let mut footings: Option<Vec<Footings<'_>>> = None;
    for &then in &wants.by_res[link.then] {
        let inst = &wants.insts[then];
        if inst.migrates && !either.iter().any(|link| lets_migrate(world, link, wants)) {
            stays.push(then);
        }
        if promotes && inst.demote.is_some() {
            continue;
        }
        for (claim, (live, _)) in inst.claims.iter().enumerate().filter(|(_, (live, fate))| relevant(live, fate)) {
            let footings =
                footings.get_or_insert_with(|| either.iter().map(|link| Footings::of(world, link, wants)).collect());
            if !footings.iter().any(|footing| footing.hold(world, wants, then, live.node)) {
                ends.push((then, claim));
            }
        }
    }
    for then in &stays {
        wants.insts[*then].migrates = false;
    }
    for (then, claim) in &ends {
        let why = Reason::Follows { other: world.res[link.first].id.clone() };
        let inst = &mut wants.insts[*then];
        if promotes {
            inst.demote.get_or_insert(why);
        } else {
            inst.claims[*claim].1 = Fate::Stop(why);
        }
    }
    !ends.is_empty() || !stays.is_empty()
}

/// Whether what an instance needs by a link goes on running, asked for all instances of its second.
struct Footings<'l> {
    firsts: Firsts<'l>,
    promoted: bool,
    /// Some node has not said yet whether the first runs there.
    unknown: bool,
    /// Of all instances of the first; None: each instance looks at its own ones.
    all: Option<Footing>,
    /// Nodes on which an instance of the first stops; in an outline, starts.
    changes_on: BTreeSet<usize>,
    clone_needs_clone: bool,
}

/// What some instances are about to do.
struct Footing {
    unknown: bool,
    stopping: bool,
    restarting: bool,
    good: bool,
    good_or_coming: usize,
}

impl<'l> Footings<'l> {
    fn of(world: &World<'_>, link: &'l Link, wants: &Wants<'_>) -> Self {
        let firsts = Firsts::of(link, wants);
        let promoted = link.first_promoted();
        let all = (link.pair == Pair::All).then(|| Footing::of(world, wants, &wants.by_res[link.first], promoted));
        let needs_clone = all.is_some() && world.res[link.first].clone.is_some();
        let then_clone = world.res[link.then].clone.is_some();
        let plain_needs_clone = needs_clone && !then_clone;
        let copies = || wants.by_res[link.first].iter().map(|first| &wants.insts[*first]);
        let stops = |first: &&Inst<'_>| first.is_stopping() || (promoted && !first.is_good(world, true));
        let nodes = |first: &Inst<'_>| first.claims.iter().map(|(live, _)| live.node).collect::<Vec<_>>();
        let changes_on = match plain_needs_clone && !promoted {
            false => BTreeSet::new(),
            true if world.outline => copies().filter_map(Inst::starts_on).collect(),
            true => copies().filter(stops).flat_map(nodes).collect(),
        };
        let unknown = wants.unknown[link.first] && !world.outline;
        let clone_needs_clone = needs_clone && then_clone;
        Self { firsts, promoted, unknown, all, changes_on, clone_needs_clone }
    }

    fn hold(&self, world: &World<'_>, wants: &Wants<'_>, then: usize, node: usize) -> bool {
        let own;
        let footing = match &self.all {
            Some(all) => all,
            None => {
                own = Footing::of(world, wants, self.firsts.of_inst(wants, then, node), self.promoted);
                &own
            }
        };
        if (self.unknown || footing.unknown) && !footing.stopping {
            return true;
        }
        if let Some(enough) = self.firsts.link.enough {
            // What comes back elsewhere counts: the others are not waited for.
            return footing.good_or_coming >= enough as usize;
        }
        // Not interleaved: one copy that restarts restarts all dependants; for others one that starts does so, too.
        let all_restart = self.clone_needs_clone && footing.restarting;
        footing.good && !all_restart && !self.changes_on.contains(&node)
    }
}

impl Footing {
    fn of(world: &World<'_>, wants: &Wants<'_>, firsts: &[usize], promoted: bool) -> Self {
        let any = |what: &dyn Fn(&Inst<'_>) -> bool| firsts.iter().any(|first| what(&wants.insts[*first]));
        let good = |first: &Inst<'_>| first.is_good(world, promoted) || (first.migrates && !promoted);
        let comes = |first: &&usize| good(&wants.insts[**first]) || wants.insts[**first].assigned.is_some();
        Self {
            // Others know: what is stuck with a failure is no ground to stand on, and who is lost is gone.
            unknown: !world.outline && any(&|first| first.is_unknown()),
            stopping: any(&|first| first.is_stopping()),
            restarting: any(&|first| match world.outline && !promoted {
                true => first.starts_on().is_some(),
                false => first.is_stopping() && first.assigned.is_some(),
            }),
            good: any(&good),
            good_or_coming: firsts.iter().filter(comes).count(),
        }
    }
}

/// The instances of a link's first, found by what an instance of its second has to do with.
pub(super) struct Firsts<'l> {
    link: &'l Link,
    /// Where the copies on one node count.
    on_node: BTreeMap<usize, Vec<usize>>,
}

impl<'l> Firsts<'l> {
    pub fn of(link: &'l Link, wants: &Wants<'_>) -> Self {
        let mut on_node: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let paired = wants.by_res[link.first].iter().filter(|_| link.pair == Pair::SameNode);
        for &first in paired {
            let inst = &wants.insts[first];
            let claimed = inst.claims.iter().map(|(live, _)| live.node);
            for node in claimed.chain(inst.assigned.map(|(node, _)| node)) {
                let list = on_node.entry(node).or_default();
                if list.last() != Some(&first) {
                    list.push(first);
                }
            }
        }
        Self { link, on_node }
    }

    /// Those that an instance on this node has to do with, in order.
    pub fn of_inst<'w>(&'w self, wants: &'w Wants<'_>, then: usize, node: usize) -> &'w [usize] {
        let all = &wants.by_res[self.link.first];
        match self.link.pair {
            Pair::All => all,
            Pair::SameNode => self.on_node.get(&node).map_or(&[], Vec::as_slice),
            Pair::SameCopy => {
                let number = wants.insts[then].id.number;
                let from = all.partition_point(|first| wants.insts[*first].id.number < number);
                let count = all[from..].partition_point(|first| wants.insts[*first].id.number == number);
                &all[from..from + count]
            }
        }
    }
}
