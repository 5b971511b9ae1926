//! Places the copies of a clone.
//!
//! Input: a [`Placer`] in which everything the clone is colocated with is placed. Output: its copies with their nodes.
//!
//! As in Pacemaker Explained, "Clones": a copy stays on the node it is on if that is among the best; healthy copies are
//! kept before others when there are fewer copies than nodes; new copies go to the best nodes, spread evenly. Numbers
//! stay with the nodes where their claims live, whatever `max` becomes; new numbers are the smallest free ones.
//!
//! Copies of a group run where every member may, the members in order.

use super::instances::{Live, World};
use super::place::{Copy, Placer, add};
use super::score::What;
use crate::model::{Reason, Score};
use std::collections::{BTreeMap, BTreeSet};

/// How much better a node is for a container from which its connection can be made, too.
const BESIDE_ITS_CONNECTION: i64 = 10_000;

/// A copy that is somewhere already.
struct Existing {
    number: u32,
    node: usize,
    healthy: bool,
    pinned: Option<Copy>,
}

impl Placer<'_, '_> {
    /// The sum of the members' scores: where one of them may not run none of them does.
    ///
    /// Where that is everywhere, a cluster that runs leaves what comes before that member alone: Pacemaker stops it.
    pub fn clone_base(&self, clone: usize) -> Vec<Score> {
        let members = &self.world.clones[clone].members;
        let Some((first, rest)) = members.split_first() else { return vec![Score::NEVER; self.world.nodes.len()] };
        let scores = self.bases[*first].score.clone();
        let spares = self.world.state.is_acted_on();
        rest.iter().fold(scores, |scores, member| {
            let next = add(&scores, &self.bases[*member].score);
            if spares && !self.any_node(&next) { scores } else { next }
        })
    }

    pub fn place_clone(&mut self, unit: usize, clone: usize) -> Vec<Copy> {
        let info = &self.world.clones[clone];
        let Some(&first) = info.members.first() else { return Vec::new() };
        let stopped = self.world.res[first].stopped.clone();
        let existing = self.existing(clone);
        let mut copies: Vec<Copy> = existing.iter().filter_map(|existing| existing.pinned.clone()).collect();
        let unpinned: Vec<&Existing> = existing.iter().filter(|existing| existing.pinned.is_none()).collect();
        if let Some(why) = stopped {
            copies.extend(unpinned.iter().map(|existing| nowhere(existing.number, why.clone())));
            return copies;
        }
        if !self.world.res[first].managed {
            return copies;
        }
        let mut own = self.clone_base(clone);
        if !self.any_node(&own)
            && let Some(retry) = self.bases[first].retry.clone()
        {
            own = retry;
        }
        let scores = self.scores(unit, own);
        let mut slots = Slots::new(self, clone, &scores, &copies);
        if self.world.uses_capacity {
            slots.keep(|node| self.has_room(first, node));
        }
        self.fill(clone, scores, slots, unpinned, copies)
    }

    fn fill(
        &mut self,
        clone: usize,
        mut scores: Vec<Score>,
        mut slots: Slots,
        mut existing: Vec<&Existing>,
        mut copies: Vec<Copy>,
    ) -> Vec<Copy> {
        let info = &self.world.clones[clone];
        let members = info.members.clone();
        // What runs inside of a container sticks to that, not to the node.
        let sticks = members.iter().filter(|member| Some(**member) != info.inner);
        let stickiness = Score::new(sticks.map(|m| i64::from(self.world.res[*m].spec.stickiness)).sum());
        if info.max < slots.nodes() && info.bundle.is_none() && info.spec.promotable.is_some() {
            // Where not every node gets one, promotion scores attract.
            for (node, score) in scores.iter_mut().enumerate() {
                *score += self.promotion_attribute(clone, node, None).unwrap_or(Score::ZERO).max(Score::ZERO);
            }
        }
        for copy in copies.iter().filter(|copy| copy.pinned) {
            if let Some(node) = copy.node {
                members.iter().for_each(|member| self.take(*member, node));
            }
        }
        if let (Some(first), true) = (members.first(), self.trace.is_some()) {
            let mut sticky = vec![Score::ZERO; scores.len()];
            existing.iter().for_each(|copy| sticky[copy.node] = stickiness);
            self.note(self.world.unit_of[*first], &sticky, &What::Stickiness);
        }
        existing.sort_by_key(|e| (std::cmp::Reverse(e.healthy), std::cmp::Reverse(scores[e.node]), e.number));
        let mut homeless = Vec::new();
        let fair = (info.max / slots.nodes().max(1)).max(1);
        for copy in existing {
            // Better nodes are for copies that run nowhere yet, as long as there are such.
            let own = scores[copy.node] + stickiness;
            let better = (0..scores.len()).filter(|node| slots.free[*node] > 0 && scores[*node] > own).count();
            let crowded = slots.taken[copy.node] >= fair;
            let fits = !self.world.uses_capacity || self.has_room(members[0], copy.node);
            // What failed goes to the best node like any other; of copies that are all alike one is as good as another.
            let keeps = copy.healthy || !info.spec.globally_unique;
            let stays = keeps && fits && slots.room(info.max, copy.node) && !crowded && better < slots.left(info.max);
            if stays {
                copies.push(self.settle(clone, copy.number, copy.node, &mut slots));
            } else {
                homeless.push(copy);
            }
        }
        let mut numbers: BTreeSet<u32> = copies.iter().filter_map(|copy| copy.number).collect();
        numbers.extend(homeless.iter().map(|copy| copy.number));
        let from: BTreeMap<u32, usize> = homeless.iter().map(|copy| (copy.number, copy.node)).collect();
        let mut waiting: Vec<u32> = homeless.iter().map(|copy| copy.number).collect();
        waiting.extend((0..=u32::MAX).filter(|number| !numbers.contains(number)).take(slots.left(info.max)));
        for number in waiting {
            let home = from.get(&number).copied();
            let mut own = scores.clone();
            if let Some(home) = home {
                own[home] += stickiness;
            }
            if info.connection.is_some() {
                // From a remote node no connection is made: its container is rather on another one.
                for (score, _) in own.iter_mut().zip(&self.world.nodes).filter(|(_, info)| info.reach.is_some()) {
                    *score += Score::new(-BESIDE_ITS_CONNECTION);
                }
            }
            let chosen = (slots.left(info.max) > 0).then(|| self.choose_for(clone, &own, home, &slots)).flatten();
            match chosen {
                Some(node) => copies.push(self.settle(clone, number, node, &mut slots)),
                None => {
                    if let Some(node) = from.get(&number) {
                        copies.push(nowhere(number, self.why_not_there(members[0], *node)));
                    }
                }
            }
        }
        self.connect_anyway(clone, &copies);
        copies.sort_by_key(|copy| copy.number);
        copies
    }

    /// The node for one more copy, with room for it where that counts.
    fn choose_for(&self, clone: usize, own: &[Score], home: Option<usize>, slots: &Slots) -> Option<usize> {
        let Some(first) = self.world.clones[clone].members.first().filter(|_| self.world.uses_capacity) else {
            return slots.choose(self, own, home);
        };
        let free = |node: usize| if slots.free[node] > 0 { own[node] } else { Score::NEVER };
        let own: Vec<Score> = (0..own.len()).map(free).collect();
        let (parts, roomy) = self.room(self.world.unit_of[*first], &own);
        let own = add(&own, &parts);
        let chosen = slots.choose(self, &own, home).filter(|node| own[*node] >= Score::ZERO)?;
        roomy.filter(|roomy| own[*roomy] == own[chosen]).or(Some(chosen))
    }

    /// A replica without a node for its container has one for its connection all the same: nothing starts there, but the
    /// node counts as that much fuller (as it does in Pacemaker).
    fn connect_anyway(&mut self, clone: usize, copies: &[Copy]) {
        let Some(connection) = self.world.clones[clone].connection else { return };
        for number in 0..self.world.clones[clone].max as u32 {
            if copies.iter().any(|copy| copy.number == Some(number) && copy.node.is_some()) {
                continue;
            }
            if let Some(node) = self.connected_from(connection, number) {
                self.take(connection, node);
            }
        }
    }

    /// Gives a node one copy, as many of the members as it may run.
    fn settle(&mut self, clone: usize, number: u32, node: usize, slots: &mut Slots) -> Copy {
        slots.take(node);
        let members = self.world.clones[clone].members.clone();
        let may = |member: &&usize| {
            let res = &self.world.res[**member];
            let base = &self.bases[**member];
            let score = base.score[node].max(base.retry.as_ref().map_or(Score::NEVER, |retry| retry[node]));
            res.stopped.is_none() && score >= Score::ZERO
        };
        // The first member decided already.
        let mut running = 1 + members.iter().skip(1).take_while(may).count();
        let connection = self.world.clones[clone].connection.filter(|_| self.world.nodes[node].reach.is_some());
        let from = connection.and_then(|connection| self.connected_from(connection, number));
        let info = &self.world.clones[clone];
        for (place, member) in
            members.iter().take(running).enumerate().filter(|(_, member)| Some(**member) != info.inner)
        {
            if place > 0 && self.world.uses_capacity && !self.has_room(*member, node) {
                running = place;
                break;
            }
            let far = from.filter(|_| Some(*member) == info.connection);
            self.take(*member, far.unwrap_or(node));
        }
        let why = self.why_copy(members[0], number, node);
        Copy { number: Some(number), node: Some(node), running, promoted: false, why, pinned: false, from }
    }

    /// The cluster node from which a container is reached that is not on one: the one that does it now, else one with
    /// little to do.
    fn connected_from(&self, connection: usize, number: u32) -> Option<usize> {
        let world = self.world;
        let may = |node: &usize| world.nodes[*node].fit() && world.nodes[*node].reach.is_none();
        let now = world.claims_of(connection, Some(number)).iter().map(|live| live.node).find(|node| may(node));
        let scores = vec![Score::ZERO; world.nodes.len()];
        now.or_else(|| (0..scores.len()).filter(may).min_by(|a, b| self.compare(*a, *b, &scores, None)))
    }

    fn why_copy(&self, first: usize, number: u32, node: usize) -> Reason {
        let claims = &self.world.res[first].claims;
        match claims.iter().find(|live| live.key.instance.number == Some(number)) {
            None => Reason::Placed,
            Some(live) if live.node == node && live.claim.failure.is_some() => {
                Reason::Recover { node: self.world.nodes[node].id.clone() }
            }
            Some(live) if live.node == node => Reason::InPlace,
            Some(live) => self.why_not_there(first, live.node),
        }
    }

    /// Copies with a claim, or with an assignment that waits for its claim. One entry per number.
    fn existing(&self, clone: usize) -> Vec<Existing> {
        let world = self.world;
        let info = &world.clones[clone];
        let mut existing: BTreeMap<u32, Existing> = BTreeMap::new();
        let elsewhere = |member: usize, live: &Live<'_>| {
            let claims = info.members.iter().flat_map(|m| world.claims_of(*m, live.key.instance.number));
            Some(member) == info.connection && claims.into_iter().any(|other| other.node != live.node)
        };
        for &member in &info.members {
            for live in world.res[member].claims.iter().filter(|live| !elsewhere(member, live)) {
                let number = live.key.instance.number.unwrap_or(0);
                if info.spec.globally_unique && number as usize >= info.max {
                    continue;
                }
                let left_alone = !world.res[member].managed || world.nodes[live.node].maintenance;
                let mut pinned = self.pinned_claim(member, live).or_else(|| {
                    let promoted = live.claim.role == crate::model::Role::Promoted;
                    let why = Reason::Unmanaged;
                    let running = info.members.len();
                    left_alone.then_some(Copy {
                        number: None,
                        node: Some(live.node),
                        running,
                        promoted,
                        why,
                        pinned: true,
                        from: None,
                    })
                });
                if let Some(copy) = pinned.as_mut() {
                    copy.number = Some(number);
                    copy.running = self.running_pinned(clone, number, live.node);
                }
                let fit = world.nodes[live.node].fit();
                let healthy = fit && !live.settling();
                existing
                    .entry(number)
                    .and_modify(|e| {
                        if (pinned.is_some() && e.pinned.is_none()) || (!world.nodes[e.node].fit() && fit) {
                            e.node = live.node;
                        }
                        e.healthy &= healthy;
                        e.pinned = e.pinned.take().or(pinned.clone());
                    })
                    .or_insert(Existing { number, node: live.node, healthy, pinned });
            }
        }
        self.assigned_copies(clone, &mut existing);
        existing.into_values().collect()
    }

    /// Members of a copy that is left alone: those with a claim, and those that may join them.
    fn running_pinned(&self, clone: usize, number: u32, node: usize) -> usize {
        let members = &self.world.clones[clone].members;
        let runs = |member: &&usize| {
            let res = &self.world.res[**member];
            let claimed = res.claims.iter().any(|live| live.node == node && live.key.instance.number == Some(number));
            let may = res.managed && res.stopped.is_none() && self.bases[**member].score[node] >= Score::ZERO;
            claimed || may
        };
        members.iter().take_while(runs).count()
    }

    fn assigned_copies(&self, clone: usize, existing: &mut BTreeMap<u32, Existing>) {
        let world = self.world;
        let info = &world.clones[clone];
        let Some(&first) = info.members.first() else { return };
        let from = crate::model::InstanceId { resource: world.res[first].id.clone(), number: None };
        for (id, assigned) in world.assignment.range(from..).take_while(|(id, _)| &id.resource == world.res[first].id) {
            let (Some(number), Some(&node)) = (id.number, world.node_ids.get(&assigned.to.node)) else { continue };
            if world.nodes[node].fit() && !(info.spec.globally_unique && number as usize >= info.max) {
                existing.entry(number).or_insert(Existing { number, node, healthy: false, pinned: None });
            }
        }
    }
}

fn nowhere(number: u32, why: Reason) -> Copy {
    Copy { number: Some(number), node: None, running: 0, promoted: false, why, pinned: false, from: None }
}

/// How many copies each node can still take.
struct Slots {
    free: Vec<usize>,
    taken: Vec<usize>,
    given: usize,
    eligible: usize,
}

impl Slots {
    fn new(placer: &Placer<'_, '_>, clone: usize, scores: &[Score], pinned: &[Copy]) -> Self {
        let world: &World<'_> = placer.world;
        let per_node = world.clones[clone].per_node;
        let eligible = |node: usize| world.nodes[node].fit() && scores[node] >= Score::ZERO;
        let mut slots = Self {
            free: (0..scores.len()).map(|node| if eligible(node) { per_node } else { 0 }).collect(),
            taken: vec![0; scores.len()],
            given: 0,
            eligible: (0..scores.len()).filter(|node| eligible(*node)).count(),
        };
        pinned.iter().filter_map(|copy| copy.node).for_each(|node| slots.take(node));
        slots
    }

    /// Only these nodes take copies.
    fn keep(&mut self, may: impl Fn(usize) -> bool) {
        for node in 0..self.free.len() {
            if self.free[node] > 0 && !may(node) {
                self.free[node] = 0;
                self.eligible -= 1;
            }
        }
    }

    fn nodes(&self) -> usize {
        self.eligible
    }

    /// Copies that still may and can be placed.
    fn left(&self, max: usize) -> usize {
        max.saturating_sub(self.given).min(self.free.iter().sum())
    }

    fn room(&self, max: usize, node: usize) -> bool {
        self.given < max && self.free[node] > 0
    }

    fn take(&mut self, node: usize) {
        self.free[node] = self.free[node].saturating_sub(1);
        self.taken[node] += 1;
        self.given += 1;
    }

    /// The node for one more copy.
    fn choose(&self, placer: &Placer<'_, '_>, scores: &[Score], home: Option<usize>) -> Option<usize> {
        (0..scores.len()).filter(|node| self.free[*node] > 0).min_by(|a, b| placer.compare(*a, *b, scores, home))
    }
}
