//! Clones with `notify`: the other copies are told before an operation, and after it.
//!
//! Input: the announced operations of the state. Output: a step for every copy that owes an answer, an edge from it to
//! what waits for that, and a mark on steps that nobody has announced yet.
//!
//! What its owner has begun is never held up. A round of afterwards-notices comes before the next announcement for the
//! same resource, as in Pacemaker; a promotion also waits for starts that have begun. What is announced already does
//! not wait for other notices.

use super::Builder;
use crate::model::{ActionKind, Reason};
use crate::plan::graph::StepKind;
use crate::state::{Member, NoticeStage};
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
            // A promotion is announced when what is being started beside it is up and was told of, as in Pacemaker.
            if notice.operation == ActionKind::Start {
                let begun = notice.members.iter().filter(|(_, member)| matches!(member, Member::Pending(Some(_))));
                let starts: Vec<NodeIndex> = begun
                    .filter_map(|(key, _)| self.graph.index.get(&(StepKind::Start, key.clone())).copied())
                    .collect();
                let open = steps.get(&(notice.resource.clone(), None)).into_iter().flatten();
                for promote in open
                    .filter(|step| self.graph.graph[**step].step.kind == StepKind::Promote)
                    .copied()
                    .collect::<Vec<_>>()
                {
                    starts.iter().for_each(|start| self.edge(*start, promote));
                }
            }
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
