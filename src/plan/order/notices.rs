//! Clones with `notify`: the other copies are told before an operation, and after it.
//!
//! Input: the announced operations of the state. Output: a step for every copy that owes an answer, an edge from it to
//! what waits for that, and a mark on steps that nobody has announced yet.
//!
//! What its owner has begun is never held up. A round of afterwards-notices comes before the next announcement for the
//! same resource, as in Pacemaker; operations that are announced already do not wait for each other's notices.

use super::Builder;
use crate::model::Reason;
use crate::plan::graph::StepKind;
use crate::state::NoticeStage;
use petgraph::stable_graph::NodeIndex;
use std::collections::BTreeMap;

impl Builder<'_, '_> {
    pub(super) fn notice_edges(&mut self) {
        let state = self.world.state;
        let mut steps: BTreeMap<_, Vec<NodeIndex>> = BTreeMap::new();
        for made in &self.made {
            let vertex = &self.graph.graph[made.at];
            let (key, running) = (vertex.step.key.clone(), vertex.running);
            let Some(operation) = made.kind.operation() else { continue };
            if running || !state.notifies(&key.instance.resource) {
                continue;
            }
            let notice = state.notice_of(operation, &key).map(|(number, _)| number);
            // The announced ones wait for their own notice, the others for what is still being told of earlier ones.
            steps.entry((key.instance.resource, notice)).or_default().push(made.at);
            self.graph.graph[made.at].unannounced = notice.is_none();
        }
        for (number, notice) in &state.notices {
            let waiting = match notice.stage {
                NoticeStage::Before => steps.get(&(notice.resource.clone(), Some(*number))),
                NoticeStage::Doing | NoticeStage::After => steps.get(&(notice.resource.clone(), None)),
            };
            for key in notice.owed.keys() {
                let reason = Reason::Told { instance: key.instance.clone() };
                let told = self.vertex(StepKind::Notify { notice: *number }, key.clone(), reason, false);
                for step in waiting.into_iter().flatten() {
                    self.edge(told, *step);
                }
            }
        }
    }
}
