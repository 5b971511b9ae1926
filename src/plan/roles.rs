//! Chooses which copies of a promotable clone are promoted.
//!
//! Input: a [`Placer`] in which the clone is placed. Output: `promoted` of its copies.
//!
//! As in Pacemaker Explained, "Determining Which Instance is Promoted": the promotion score (the node attribute
//! `master-RESOURCE`, −1 where there is none), plus locations and colocations for the role Promoted. A negative sum is
//! never promoted, so without any score nothing is. Of the others the highest is first, its node's own score added; then
//! what is promoted already, then the lower number.

use super::instances::{Unit, World};
use super::place::{Copy, Heard, Placer, difference, factor};
use super::score::What;
use crate::model::{BundlePart, NodeId, QuorumLoss, Role, Score, ScoresOf, Strength, TargetRole};
use std::collections::BTreeMap;

impl<'a> Placer<'_, 'a> {
    pub fn choose_roles(&mut self, unit: usize) {
        let Unit::Clone(clone) = self.world.units[unit] else { return };
        let Some(promotable) = self.world.clones[clone].spec.promotable else { return };
        let Some(mut copies) = self.placed[unit].take() else { return };
        // What it thinks of its nodes, and what those think that go with it.
        let trace = self.trace.take();
        let base = self.scores(unit, self.clone_base(clone));
        self.trace = trace;
        let in_bundle = self.world.clones[clone].bundle.is_some();
        let traced = self.trace.as_ref().is_some_and(|trace| trace.unit == unit);
        let mut ranked: Vec<(Score, bool, u32, usize)> = Vec::new();
        for (place, copy) in copies.iter().enumerate() {
            let (Some(node), false) = (copy.node, copy.pinned) else { continue };
            let now = promoted_now(self.world, clone, copy);
            let mut score = Score::ZERO;
            let mut parts = Vec::new();
            self.promotion_parts(unit, clone, copy, node, &mut |part, what| {
                score += part;
                if traced {
                    parts.push((part, what));
                }
            });
            if let Some(trace) = self.trace.as_mut().filter(|_| traced) {
                trace.promotion.push((copy.number, parts));
            }
            if score >= Score::ZERO {
                // Whether it may be promoted is said by what speaks of that role; who goes first, by everything. Inside of
                // containers nothing else is known of their nodes.
                let score = if in_bundle { score } else { score + base[node] };
                ranked.push((score, now, copy.number.unwrap_or(0), place));
            }
        }
        ranked.sort_by_key(|(score, now, number, _)| (std::cmp::Reverse(*score), std::cmp::Reverse(*now), *number));
        let mut total = copies.iter().filter(|copy| copy.promoted).count();
        for (_, _, _, place) in ranked {
            let here = copies.iter().filter(|copy| copy.promoted && copy.node == copies[place].node).count();
            if total < promotable.max as usize && here < promotable.per_node as usize {
                copies[place].promoted = true;
                total += 1;
            }
        }
        self.placed[unit] = Some(copies);
    }

    /// The sum of the members' promotion attributes on a node; None: no member has one.
    pub fn promotion_attribute(&self, clone: usize, node: usize, number: Option<u32>) -> Option<Score> {
        let scores = self.world.clones[clone].members.iter().filter_map(|member| {
            let name = format!("master-{}", self.world.res[*member].id);
            let info = &self.world.clones[clone];
            let of_host = info.bundle.is_some_and(|(_, bundle)| bundle.scores == ScoresOf::Host);
            let own = number.filter(|_| info.spec.globally_unique && !of_host);
            let name = own.map_or_else(|| name.clone(), |number| format!("{name}:{number}"));
            // What a copy inside of a container said of itself goes along with it.
            let inside = info.bundle.is_some() && own.is_some();
            let anywhere = || (0..self.world.nodes.len()).find_map(|other| self.world.label(other, &name));
            let said = self.world.label(node, &name).or_else(|| anywhere().filter(|_| inside))?;
            Score::parse(said)
        });
        scores.reduce(|a, b| a + b)
    }

    /// Gives every part of a copy's promotion score to the sink.
    fn promotion_parts(
        &self,
        unit: usize,
        clone: usize,
        copy: &Copy,
        node: usize,
        sink: &mut impl FnMut(Score, What<'a>),
    ) {
        if let Some(why) = self.never_promoted(clone, copy, node) {
            return sink(Score::NEVER, What::NotPromoted(why));
        }
        match self.promotion_attribute(clone, node, copy.number) {
            Some(score) => sink(score, What::Promotion(Some(self.promotion_attribute_names(clone)))),
            None => sink(Score::new(-1), What::Promotion(None)),
        }
        for member in &self.world.clones[clone].members {
            for (name, location) in &self.world.res[*member].locations {
                let Some(document) = self.world.nodes[node].document else { continue };
                if location.role != Some(Role::Promoted) {
                    continue;
                }
                // What runs inside of a container is on a node of its own, of which nothing but the name is known.
                let inside = self.world.clones[clone].bundle.map(|(name, bundle)| {
                    NodeId::new(bundle.call(name, BundlePart::Connection, copy.number.unwrap_or(0)))
                });
                let matches = match &inside {
                    Some(inside) => {
                        let only_name = |name: &str| (name == "#uname").then_some(inside.as_str());
                        location.nodes.matches(inside, &BTreeMap::new(), &only_name, self.world.now())
                    }
                    None => self.world.selects(location, node, &document.labels),
                };
                if matches {
                    sink(location.score(|name| self.world.label(node, name)), What::Location(name));
                } else if location.strength == Strength::Required {
                    sink(Score::NEVER, What::Location(name));
                }
            }
        }
        self.promotion_neighbours(unit, node, sink);
    }

    /// Why a copy is not to be promoted whatever the scores say.
    fn never_promoted(&self, clone: usize, copy: &Copy, node: usize) -> Option<&'static str> {
        let members = &self.world.clones[clone].members;
        let demoted = |member: usize| {
            let records = self.world.res[member].history.iter();
            records.filter(|(at, _)| *at == node).any(|(_, r)| r.demoted && self.world.remembers(member, r))
        };
        let unpromoted = |member: &usize| self.world.res[*member].spec.target_role == TargetRole::Unpromoted;
        let lead = members.first().map(|member| self.world.res[*member].spec);
        let lost = self.world.state.without_quorum && lead.is_some_and(|lead| lead.quorum_loss == QuorumLoss::Demote);
        match () {
            () if members.iter().any(unpromoted) => Some("targetRole is Unpromoted"),
            () if members.iter().any(|member| demoted(*member)) => Some("it failed there (onFail: Demote)"),
            () if lost => Some("the quorum is lost (quorumLoss: Demote)"),
            () if self.world.clones[clone].ticketless => Some("its ticket is not held"),
            () if copy.running < members.len() => Some("not all of its members run there"),
            () => None,
        }
    }

    fn promotion_attribute_names(&self, clone: usize) -> String {
        let members = self.world.clones[clone].members.iter();
        let names: Vec<String> = members.map(|member| format!("master-{}", self.world.res[*member].id)).collect();
        names.join(" + ")
    }

    /// Colocations of the promoted role, in both directions.
    fn promotion_neighbours(&self, unit: usize, node: usize, sink: &mut impl FnMut(Score, What<'a>)) {
        for tie in self.with[unit].iter().map(|tie| self.ties[*tie]) {
            if tie.dependant_role == Some(Role::Promoted) && self.placed[tie.primary].is_some() {
                let there = self.tie_nodes(&tie)[node];
                let part = match there {
                    true if tie.score.is_infinite() => continue,
                    true => tie.score,
                    false if tie.score.is_infinite() => Score::NEVER,
                    false => continue,
                };
                sink(part, What::With(tie.name));
            }
        }
        let mut wishes = vec![Score::ZERO; self.world.nodes.len()];
        for tie in self.dependants[unit].iter().map(|tie| self.ties[*tie]) {
            if tie.primary_role == Some(Role::Promoted) {
                let before = wishes[node];
                self.add_wish(false, &tie, factor(tie.score), &mut wishes, &mut Heard::new(unit));
                let part = difference(before, wishes[node]);
                if part != Score::ZERO {
                    sink(part, What::Dependant(tie.name));
                }
            }
        }
    }
}

fn promoted_now(world: &World<'_>, clone: usize, copy: &Copy) -> bool {
    world.clones[clone].members.iter().any(|member| {
        world.res[*member].claims.iter().any(|live| {
            live.key.instance.number == copy.number && Some(live.node) == copy.node && live.claim.role == Role::Promoted
        })
    })
}
