//! What git no longer names: it stops in its own order, and what takes its place waits.
//!
//! Input: the claims of resources that are not in the spec. Output: edges, and blocks where nothing stops the old one.

use super::Builder;
use crate::model::Reason;
use crate::plan::Verdict;
use crate::plan::graph::StepKind;
use crate::state::ClaimKey;
use petgraph::algo::has_path_connecting;
use petgraph::stable_graph::NodeIndex;

impl Builder<'_, '_> {
    /// A rename is a removal and an addition: the new resource waits until the old one is gone. So do its probes, which
    /// would see the old one.
    pub(super) fn removed_edges(&mut self) {
        let world = self.world;
        for live in &world.removed {
            let Some(pinned) = world.state.definitions.get(&live.claim.definition) else { continue };
            let same = |place: usize| world.spec.is_same_service(&pinned.resource, world.res[place].spec);
            let starts = self.made.iter().filter(|made| made.kind == StepKind::Start);
            let starts = starts.filter(|made| self.wants.insts[made.inst].place.is_some_and(same));
            let mut waiting: Vec<NodeIndex> = starts.map(|made| made.at).collect();
            for place in (0..world.res.len()).filter(|place| same(*place)) {
                for node in &world.nodes {
                    let key = ClaimKey { instance: world.probe_instance(place), node: node.id.clone() };
                    waiting.extend(self.graph.index.get(&(StepKind::Probe, key)));
                }
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

    /// What git no longer names stops in the reverse of the order in which it was started.
    pub(super) fn pinned_edges(&mut self) {
        let state = self.world.state;
        let named = |key: &ClaimKey| self.world.spec.resources.contains_key(&key.instance.resource);
        let mut edges = Vec::new();
        for (then, claim) in &state.claims {
            let Some(&before) = self.graph.index.get(&(StepKind::Stop, then.clone())) else { continue };
            for instance in &claim.after {
                let firsts = state.claims_of(&instance.resource).filter(|(key, _)| &key.instance == instance);
                for (first, _) in firsts.filter(|(first, _)| !named(then) || !named(first)) {
                    edges.extend(self.graph.index.get(&(StepKind::Stop, first.clone())).map(|stop| (before, *stop)));
                }
            }
        }
        for (before, after) in edges {
            // Orders of different commits may contradict each other; neither stop may wait for ever.
            if !has_path_connecting(&self.graph.graph, after, before, None) {
                self.edge(before, after);
            }
        }
    }
}
