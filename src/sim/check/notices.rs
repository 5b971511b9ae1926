//! An operation on a clone with `notify` runs only after every copy that could listen was told of it.

use super::{Act, Invariant};
use crate::model::{ActionKind, Moment};
use crate::sim::world::Sim;
use crate::state::{ClaimKey, Membership, NoticeStage, State};
use std::sync::Arc;

impl Sim {
    pub(super) fn check_told(&mut self, act: &Act<'_>) {
        let (kind, request) = (act.request.kind, act.request);
        let resource = &request.instance.resource;
        let me = act.key.node.clone();
        if kind == ActionKind::Notify {
            let Some((Moment::Before, of)) = request.notice.as_ref().and_then(|notice| notice.about) else { return };
            self.checks.told.entry((resource.clone(), of)).or_default().insert(me);
            return;
        }
        // What began without a quorum, or before the level was raised, goes on untold.
        let Some((number, notice)) = act.known.notice_of(kind, &act.key) else { return };
        let is_end = matches!(kind, ActionKind::Stop | ActionKind::Demote);
        if notice.stage == NoticeStage::Before && is_end {
            // Asked for before it was announced, and committed late: what ends a claim is never refused.
            return;
        }
        if notice.stage == NoticeStage::Before {
            let what = format!("{} before {:?} were told", act.what, notice.owed);
            return self.violated(Invariant::Notices, what);
        }
        let told = self.checks.told.get(&(resource.clone(), kind)).cloned().unwrap_or_default();
        let missed = notice.copies.active.iter().find(|(id, node)| {
            let key = ClaimKey { instance: id.clone(), node: node.clone() };
            // It could have answered all the time since the announcement.
            let knows = |state: &&Arc<State>| state.notices.contains_key(&number);
            let could = self.states.iter().rev().skip_while(|state| !knows(state)).take_while(knows).all(|state| {
                let active = state.claims.get(&key).is_some_and(|claim| claim.is_running());
                active && state.nodes[node].membership == Membership::Online
            });
            could && !told.contains(node)
        });
        if let Some((id, node)) = missed {
            let what = format!("{}, but {id} on {node} was never told", act.what);
            self.violated(Invariant::Notices, what);
        }
        self.stats.announced += 1;
    }
}
