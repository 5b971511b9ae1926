//! Clones with `notify`: the other copies are told before an operation, and after it.
//!
//! Input: the announced operations of the state. Output: a step for every copy that owes an answer, an edge from it to
//! what waits for that, and a mark on steps that nobody has announced yet.
//!
//! What its owner has begun is never held up. A round of afterwards-notices comes before the next announcement for the
//! same resource, as in Pacemaker; a promotion also waits for starts that have begun. What is announced already does
//! not wait for other notices.

use super::Builder;
use crate::model::{ActionKind, Epoch, Reason, ResourceId};
use crate::plan::graph::{At, StepKind};
use crate::state::{ClaimKey, Member, NoticeStage};
use std::collections::BTreeMap;

impl Builder<'_, '_> {
    pub(super) fn notice_edges(&mut self) {
        let state = self.world.state;
        let mut asked: BTreeMap<&ResourceId, bool> = BTreeMap::new();
        let mut announced: BTreeMap<(ActionKind, &ClaimKey), Epoch> = BTreeMap::new();
        for (number, notice) in &state.notices {
            let pending = notice.members.iter().filter(|(_, member)| matches!(member, Member::Pending(_)));
            for (key, _) in pending {
                announced.entry((notice.operation, key)).or_insert(*number);
            }
        }
        let mut steps: BTreeMap<_, Vec<At>> = BTreeMap::new();
        for made in &self.made {
            let Some(operation) = made.kind.operation() else { continue };
            let resource = &self.wants.insts[made.inst].id.resource;
            let notifies = *asked.entry(resource).or_insert_with(|| state.notifies(resource));
            let vertex = &mut self.graph.graph[made.at];
            if vertex.running || !notifies {
                continue;
            }
            let notice = announced.get(&(operation, &vertex.step.key)).copied();
            vertex.unannounced = notice.is_none();
            // The announced ones wait for their own notice, the others for what is still being told of earlier ones.
            steps.entry((resource.clone(), notice)).or_default().push(made.at);
        }
        for (number, notice) in &state.notices {
            let waiting = match notice.stage {
                NoticeStage::Before => steps.get(&(notice.resource.clone(), Some(*number))),
                NoticeStage::Doing | NoticeStage::After => steps.get(&(notice.resource.clone(), None)),
            };
            // A promotion is announced when what is being started beside it is up and was told of, as in Pacemaker.
            if notice.operation == ActionKind::Start {
                let begun = notice.members.iter().filter(|(_, member)| matches!(member, Member::Pending(Some(_))));
                let starts: Vec<At> = begun
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
