//! What starts and promotions wait for besides order constraints: room, the nodes' word, fencing.
//!
//! Input: the steps. Output: edges from what makes room, from probes and from fencings; blocks where nothing of this plan
//! ends the wait.

use super::{Builder, Made, may_be_promoted};
use crate::model::planted::{Planted, planted};
use crate::model::{FenceWhen, InstanceId, Reason, Requires, ResourceId};
use crate::plan::Verdict;
use crate::plan::graph::{At, StepKind};
use crate::plan::instances::Live;
use crate::plan::nodes::{Ability, Class};
use crate::plan::want::Fate;
use crate::state::ClaimKey;

impl Builder<'_, '_> {
    /// Copies make room for each other.
    pub(super) fn limit_edges(&mut self) {
        let world = self.world;
        for place in 0..world.res.len() {
            let Some(clone) = world.res[place].clone.filter(|_| !self.of[place].is_empty()) else { continue };
            let info = &world.clones[clone];
            let full = world.res[place].claims.len() >= info.max;
            let no_more = self.no_more_promoted(place);
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
                    | StepKind::MigrateTo
                    | StepKind::MigrateFrom
                    | StepKind::Notify { .. } => continue,
                };
                let before = if everywhere { before } else { on_node(before, b.node) };
                for a in before.iter().filter(|a| a.inst != b.inst) {
                    self.edge(a.at, b.at);
                }
            }
        }
    }

    /// Whether as many copies as allowed may be promoted already.
    fn no_more_promoted(&self, place: usize) -> bool {
        let res = &self.world.res[place];
        let promotable = res.clone.and_then(|clone| self.world.clones[clone].spec.promotable);
        let promoted = res.claims.iter().filter(|live| may_be_promoted(live)).count();
        promotable.is_some_and(|promotable| promoted >= promotable.max as usize) && !planted(Planted::PromotedPastLimit)
    }

    /// A start waits for every node's word on its resource, and for lost nodes that may run it.
    pub(super) fn probe_and_fence_edges(&mut self) {
        let world = self.world;
        for place in 0..world.res.len() {
            let waits = |made: &&Made| {
                let begins = matches!(made.kind, StepKind::Start | StepKind::Promote | StepKind::MigrateTo);
                begins && !self.graph.graph[made.at].running
            };
            let starts: Vec<Made> =
                self.of[place].iter().map(|made| &self.made[*made]).filter(waits).cloned().collect();
            if starts.is_empty() {
                continue;
            }
            for &node in &world.res[place].unprobed {
                // In an outline nobody asks where else something runs that is known to run.
                let asks = |start: &&Made| !world.outline || self.wants.insts[start.inst].claims.is_empty();
                let starts = starts.iter().filter(|start| start.kind != StepKind::Promote).filter(asks);
                let starts = starts.filter(|start| start.node == node || !planted(Planted::ProbedByOne));
                for start in starts.collect::<Vec<_>>() {
                    self.wait_for_word(place, node, start.at);
                }
            }
            self.wait_for_claims(place, &starts);
        }
    }

    pub(super) fn wait_for_word(&mut self, place: usize, node: usize, start: At) {
        let info = &self.world.nodes[node];
        match info.class {
            Class::Online => {
                let probes = &self.probes[place];
                if let Ok(found) = probes.binary_search_by_key(&node, |(node, _)| *node) {
                    self.edge(probes[found].1, start);
                }
            }
            // It is fenced first: there is nothing to ask any more.
            Class::Suspect if self.world.outline => {}
            Class::Suspect => self.wait_for_fencing(node, start),
            Class::Joining => self.block(start, Verdict::Wait(Reason::NotProbed { node: info.id.clone() })),
            Class::Gone => {}
        }
    }

    /// Claims that do not end by a step of this graph.
    pub(super) fn wait_for_claims(&mut self, place: usize, starts: &[Made]) {
        let world = self.world;
        let wants = self.wants;
        let res = &world.res[place];
        let limits = res.clone.map(|clone| &world.clones[clone]);
        let full = limits.is_none_or(|info| res.claims.len() >= info.max);
        let no_more = self.no_more_promoted(place);
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
                    StepKind::MigrateTo => *other == start.inst,
                    StepKind::Promote => no_more && may_be_promoted(live),
                    StepKind::Probe
                    | StepKind::Stop
                    | StepKind::Demote
                    | StepKind::Fence { .. }
                    | StepKind::Reload
                    | StepKind::MigrateFrom
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
            let bundle =
                limits.and_then(|info| info.bundle).map(|(name, _)| format!("what belongs to a Bundle ({name})"));
            if let Some(what) = bundle.or_else(|| res.spec.unrun()) {
                self.block(start.at, Verdict::Blocked(Reason::NotInThisVersion { what }));
            }
        }
    }

    /// Where every lost node is fenced, what requires fencing waits for each of them, whatever ran there.
    pub(super) fn unfenced(&self, place: usize) -> Option<Reason> {
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

    pub(super) fn wait_for_fencing(&mut self, node: usize, start: At) {
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
}

/// Those on one node, of a list in order of node.
fn on_node(list: &[Made], node: usize) -> &[Made] {
    let from = list.partition_point(|made| made.node < node);
    let count = list[from..].partition_point(|made| made.node == node);
    &list[from..from + count]
}
