//! What git no longer names: it stops in its own order, and what takes its place waits.
//!
//! Input: the claims of resources that are not in the spec. Output: edges, and blocks where nothing stops the old one.

use super::Builder;
use super::soft::Wish;
use crate::model::{AgentRef, Reason};
use crate::plan::Verdict;
use crate::plan::graph::{At, Bond, StepKind};
use crate::state::ClaimKey;
use std::collections::BTreeMap;

impl Builder<'_, '_> {
    /// A rename is a removal and an addition: the new resource waits until the old one is gone. So do its probes, which
    /// would see the old one.
    pub(super) fn removed_edges(&mut self) {
        let world = self.world;
        if world.removed.is_empty() {
            return;
        }
        let mut by_agent: BTreeMap<&AgentRef, Vec<usize>> = BTreeMap::new();
        for (place, res) in world.res.iter().enumerate() {
            by_agent.entry(&res.spec.agent).or_default().push(place);
        }
        for live in &world.removed {
            let Some(pinned) = world.state.definitions.get(&live.claim.definition) else { continue };
            let same = |place: &usize| world.spec.is_same_service(&pinned.resource, world.res[*place].spec);
            let mut waiting: Vec<At> = Vec::new();
            for &place in by_agent.get(&pinned.resource.agent).into_iter().flatten().filter(|place| same(place)) {
                let starts = self.of[place].iter().map(|made| &self.made[*made]);
                waiting.extend(starts.filter(|made| made.kind == StepKind::Start).map(|made| made.at));
                waiting.extend(self.probes[place].iter().map(|(_, probe)| *probe));
            }
            for step in waiting {
                let old = live.key.instance.resource.clone();
                match self.graph.index.get(&(StepKind::Stop, live.key.clone())) {
                    Some(stop) => self.edge(*stop, step),
                    None => self.block(step, Verdict::Wait(Reason::SameAs { old })),
                }
            }
        }
    }

    /// What git no longer names stops in the reverse of the order in which it was started. Orders of different commits
    /// may contradict each other; neither stop may wait for ever.
    pub(super) fn pinned_wishes(&self) -> Vec<Wish> {
        let mut wishes = Vec::new();
        if self.world.removed.is_empty() {
            return wishes;
        }
        let state = self.world.state;
        let named = |key: &ClaimKey| self.world.res_ids.contains_key(&key.instance.resource);
        let stop = |key: &ClaimKey| self.graph.index.get(&(StepKind::Stop, key.clone())).copied();
        for (then, claim) in &state.claims {
            let Some(before) = stop(then) else { continue };
            for instance in &claim.after {
                let firsts = state.claims_of(&instance.resource).filter(|(key, _)| &key.instance == instance);
                for (first, _) in firsts.filter(|(first, _)| !named(then) || !named(first)) {
                    wishes.extend(stop(first).map(|after| Wish { before, after, bond: Bond::Firm, turns: false }));
                }
            }
        }
        wishes
    }
}
