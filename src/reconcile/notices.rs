//! Notices: this node announces its operations on clones with `notify`, and its copies answer those of others.
//!
//! An answer is the end of the agent's `notify`, whatever it says: a failed one is told to people and holds nothing up. Its
//! time-out bounds it; a node that does not answer at all is suspected, and then nobody waits for it.

use super::Node;
use super::node::Tag;
use crate::model::{ActionKind, Definition, Epoch, NoticeView};
use crate::state::{Announcement, ClaimKey, Command, Member, NoticeStage};
use std::sync::Arc;

/// An announced round, of which an instance is told.
pub(super) type Round = (Epoch, NoticeStage);

impl Node {
    /// Announces what only waits for that, and takes back what is not to be done any more.
    pub(super) fn announce(&mut self) {
        let me = self.config.node.clone();
        for what in self.graph.to_announce(&me) {
            // A node that leaves starts nothing.
            if what.operation == ActionKind::Start && self.is_leaving() {
                continue;
            }
            let tag = Tag::Announce(what.resource.clone(), what.operation);
            let announcement = Announcement {
                node: me.clone(),
                incarnation: self.config.incarnation.clone(),
                resource: what.resource,
                operation: what.operation,
                keys: what.keys,
                planned: what.planned,
            };
            self.propose_once(tag, Command::Announce(announcement));
        }
        let state = Arc::clone(&self.state);
        for (number, notice) in &state.notices {
            let pending = notice.members.iter().filter(|(_, member)| matches!(member, Member::Pending(_)));
            for (key, _) in pending.filter(|(key, _)| key.node == me) {
                let moot = notice.operation == ActionKind::Start && self.is_leaving() && self.own_claim(key).is_none();
                if moot || !self.graph.has(notice.operation, key) {
                    let incarnation = self.config.incarnation.clone();
                    let command = Command::Withdraw { notice: *number, key: key.clone(), incarnation };
                    self.propose_once(Tag::Withdraw(*number, key.clone()), command);
                }
            }
        }
    }

    /// Tells an instance of this node of an operation on another copy.
    pub(super) fn notify(&mut self, key: ClaimKey, number: Epoch) {
        let Some(claim) = self.own_claim(&key).cloned() else { return };
        let Some(stage) = self.state.notices.get(&number).map(|notice| notice.stage) else { return };
        self.begin_round(key, &claim, (number, stage));
    }

    /// Which of two actions takes changed parameters over.
    pub(super) fn reloads_by_ocf_1_0(&self, definition: &Definition) -> bool {
        let traits = self.state.spec().and_then(|spec| spec.agents.get(&definition.resource.agent));
        traits.and_then(|traits| traits.reload.as_ref()).is_some_and(|reload| reload.legacy)
    }

    /// What the agent is told: of the round it is called for, or of the one in which its operation is announced.
    pub(super) fn notice_view(
        &self,
        key: &ClaimKey,
        kind: ActionKind,
        round: Option<Round>,
    ) -> Option<Arc<NoticeView>> {
        let number = match round {
            Some((number, _)) => number,
            None => self.state.notice_of(kind, key)?.0,
        };
        let notice = self.state.notices.get(&number)?;
        let about = round.and_then(|(_, stage)| Some((stage.moment()?, notice.operation)));
        Some(Arc::new(NoticeView { about, copies: notice.copies.clone() }))
    }
}
