//! Notices: who must be told of an operation on a copy of a clone with `notify: true`, and who has been.
//!
//! A step's owner announces it (`Announce`) → every active copy answers (`Notified`) → the operation → every active
//! copy answers again → the notice is gone. [`State::follow_notices`] keeps them in step with the claims after every
//! accepted command, so that whatever happens to a claim, by whatever evidence, needs no word of its own here.
//!
//! Invariants: what can no longer answer (stopped, failed, on a node that is not online, in maintenance) is not waited
//! for; a notice whose operations all failed, were withdrawn or lost their claim is gone; clones without `notify` never
//! cause a command. Deliberately absent: safety. Nothing that ends a claim ever waits for a notice; a start or promotion
//! waits as long as somebody who can answer has not.

use super::apply::Ctx;
use super::{Claim, ClaimKey, EventKind, Membership, OverrideKind, Phase, Refusal, Scope, State};
use crate::model::planted::{Planted, planted};
use crate::model::{
    ActionKind, Copies, CopyAt, Epoch, ExecStatus, Incarnation, InstanceId, Moment, NodeId, ResourceId, Role,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// From this feature level on operations are announced.
pub const NOTICES_LEVEL: u32 = 2;
/// Operations in one announcement, and of the same time around it: far more than copies of any clone, and well below
/// the cap of an entry.
const MAX_LISTED: usize = 1_000;
/// Texts of agents are cut to this many characters in the log.
const MAX_TEXT: usize = 240;

/// Operations of one kind on copies of one resource, of which the others are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub resource: ResourceId,
    /// Start, Stop, Promote or Demote.
    pub operation: ActionKind,
    pub stage: NoticeStage,
    pub members: BTreeMap<ClaimKey, Member>,
    /// Who has not answered yet, under which claim.
    pub owed: BTreeMap<ClaimKey, Epoch>,
    pub copies: Copies,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoticeStage {
    /// The operation waits until nobody is owed an answer.
    Before,
    /// Everybody was told; the operation may begin, or has.
    Doing,
    After,
}

/// How far one of the announced operations is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Member {
    /// Under which claim; None: a start that has none yet.
    Pending(Option<Epoch>),
    Done,
}

/// What is announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub resource: ResourceId,
    pub operation: ActionKind,
    pub keys: Vec<ClaimKey>,
    /// Everything that is planned for copies of this resource, these operations included.
    pub planned: Vec<(ActionKind, ClaimKey)>,
}

/// The answer of one copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub notice: Epoch,
    pub stage: NoticeStage,
    pub key: ClaimKey,
    pub epoch: Epoch,
    pub incarnation: Incarnation,
    pub status: ExecStatus,
    /// One line for people; never secret.
    pub text: String,
}

impl NoticeStage {
    /// What copies are told now; None: nothing.
    pub fn moment(self) -> Option<Moment> {
        match self {
            Self::Before => Some(Moment::Before),
            Self::Doing => None,
            Self::After => Some(Moment::After),
        }
    }
}

impl State {
    /// Whether operations on copies of this resource are announced.
    pub fn notifies(&self, resource: &ResourceId) -> bool {
        let pinned = || self.claims_of(resource).filter_map(|(_, claim)| self.definitions.get(&claim.definition));
        let current = || self.current_definition(resource).map(|(_, definition)| definition);
        self.feature_level >= NOTICES_LEVEL
            && pinned().chain(current()).any(|definition| definition.clone.as_ref().is_some_and(|clone| clone.notify))
    }

    /// The notice in which an operation is announced and not yet over.
    pub fn notice_of(&self, operation: ActionKind, key: &ClaimKey) -> Option<(Epoch, &Notice)> {
        let is_it = |notice: &Notice| {
            notice.operation == operation && matches!(notice.members.get(key), Some(Member::Pending(_)))
        };
        self.notices.iter().find(|(_, notice)| is_it(notice)).map(|(number, notice)| (*number, notice))
    }

    /// Refuses what was asked for before it was announced, or when that was withdrawn, and comes late. Ends are never refused.
    pub(super) fn check_told(&self, operation: ActionKind, key: &ClaimKey) -> Result<(), Refusal> {
        let why = match self.notice_of(operation, key) {
            _ if planted(Planted::StartsUntold) => return Ok(()),
            Some((_, notice)) if notice.stage == NoticeStage::Before => "the other copies are still being told of",
            None if self.notifies(&key.instance.resource) => "nobody announced",
            Some(_) | None => return Ok(()),
        };
        Err(Refusal::NotAllowed { why: format!("{why} the {operation}") })
    }

    pub(super) fn apply_announce(&mut self, ctx: &mut Ctx<'_>, what: &Announcement) -> Result<(), Refusal> {
        let Announcement { node, incarnation, resource, operation, keys, planned } = what;
        self.check_online(node, incarnation)?;
        if self.feature_level < NOTICES_LEVEL {
            return Err(Refusal::NotAllowed { why: "not every node knows notices yet".into() });
        }
        if keys.len() > MAX_LISTED || planned.len() > MAX_LISTED {
            return Err(Refusal::TooLarge { what: format!("the announcement for {resource}") });
        }
        let operates =
            matches!(operation, ActionKind::Start | ActionKind::Stop | ActionKind::Promote | ActionKind::Demote);
        let fits = |key: &ClaimKey| match self.claims.get(key) {
            // The number of notices is bounded by what is assigned and claimed.
            None => {
                let assigned = self.assignment.get(&key.instance);
                *operation == ActionKind::Start && assigned.is_some_and(|assigned| assigned.to.node == key.node)
            }
            // What is under way was announced.
            Some(claim) => {
                let under_way = *operation == ActionKind::Promote && claim.phase == Phase::Promoting;
                *operation != ActionKind::Start && !under_way
            }
        };
        let members: BTreeMap<ClaimKey, Member> = keys
            .iter()
            .filter(|key| &key.instance.resource == resource && fits(key) && self.notice_of(*operation, key).is_none())
            .map(|key| (key.clone(), Member::Pending(self.claims.get(key).map(|claim| claim.epoch))))
            .collect();
        if !operates || !members.keys().any(|key| &key.node == node) || !self.notifies(resource) {
            return Err(Refusal::NothingToDo);
        }
        let number = self.next_epoch();
        let names: Vec<String> = members.keys().map(ToString::to_string).collect();
        let owed = self.who_listens(resource);
        let text = format!("{operation} of {} announced to {} copies", names.join(", "), owed.len());
        let copies = self.copies(resource, planned);
        let (resource, operation, stage) = (resource.clone(), *operation, NoticeStage::Before);
        self.notices.insert(number, Notice { resource, operation, stage, members, owed, copies });
        ctx.event(EventKind::Announced, None, None, text);
        Ok(())
    }

    pub(super) fn apply_notified(&mut self, ctx: &mut Ctx<'_>, told: &Told) -> Result<(), Refusal> {
        let Told { notice, stage, key, epoch, incarnation, status, text } = told;
        self.check_owner(key, *epoch, incarnation)?;
        let known = self.notices.get_mut(notice).filter(|notice| notice.stage == *stage);
        let Some(known) = known.filter(|known| known.owed.get(key) == Some(epoch)) else {
            return Err(Refusal::NothingToDo);
        };
        known.owed.remove(key);
        if *status != ExecStatus::Exited(0) {
            let when = if *stage == NoticeStage::Before { "before" } else { "after" };
            let how = match status {
                ExecStatus::TimedOut => "timed out",
                ExecStatus::Exited(_) | ExecStatus::NotInstalled | ExecStatus::Failed => "failed",
            };
            let text = format!("notify {when} {} of {key} {how}: {text}", known.operation);
            let text = text.chars().take(MAX_TEXT).collect();
            ctx.event(EventKind::Failed, Some(&key.node), Some(&key.instance), text);
        }
        Ok(())
    }

    /// The operation will not be done after all.
    pub(super) fn apply_withdraw(
        &mut self,
        number: Epoch,
        key: &ClaimKey,
        incarnation: &Incarnation,
    ) -> Result<(), Refusal> {
        self.check_incarnation(&key.node, incarnation)?;
        let notice = self.notices.get_mut(&number).ok_or(Refusal::NothingToDo)?;
        match notice.members.get(key) {
            Some(Member::Pending(_)) => _ = notice.members.remove(key),
            Some(Member::Done) | None => return Err(Refusal::NothingToDo),
        }
        Ok(())
    }

    /// After every accepted command: what the claims say of announced operations, and of those that owe an answer.
    pub(super) fn follow_notices(&mut self) {
        // The usual case costs nothing.
        if self.notices.is_empty() {
            return;
        }
        let mut notices = std::mem::take(&mut self.notices);
        notices.retain(|_, notice| self.follow_notice(notice));
        self.notices = notices;
    }

    /// False: it is over.
    fn follow_notice(&self, notice: &mut Notice) -> bool {
        let operation = notice.operation;
        notice.members.retain(|key, member| match *member {
            Member::Done => true,
            Member::Pending(epoch) => match self.progress(operation, key, epoch) {
                Some(now) => {
                    *member = now;
                    true
                }
                None => false,
            },
        });
        notice.owed.retain(|key, epoch| self.listens(key, *epoch));
        if notice.members.is_empty() {
            return false;
        }
        let done = notice.members.values().all(|member| *member == Member::Done);
        match notice.stage {
            NoticeStage::Before | NoticeStage::Doing if done => {
                notice.stage = NoticeStage::After;
                notice.owed = self.who_listens(&notice.resource);
            }
            NoticeStage::Before if notice.owed.is_empty() => notice.stage = NoticeStage::Doing,
            NoticeStage::Before | NoticeStage::Doing | NoticeStage::After => {}
        }
        notice.stage != NoticeStage::After || !notice.owed.is_empty()
    }

    /// How far an announced operation is; None: it failed, or will not come.
    fn progress(&self, operation: ActionKind, key: &ClaimKey, epoch: Option<Epoch>) -> Option<Member> {
        let claim = self.claims.get(key).filter(|claim| epoch.is_none_or(|epoch| claim.epoch == epoch));
        let pending = Some(Member::Pending(claim.map(|claim| claim.epoch)));
        let failed = |claim: &Claim| claim.failure.as_ref().is_some_and(|failure| failure.action == operation);
        let Some(claim) = claim else {
            return match operation {
                // However it ended, it does not run there any more.
                ActionKind::Stop => Some(Member::Done),
                ActionKind::Start if epoch.is_none() && self.is_online(&key.node) => pending,
                _ => None,
            };
        };
        if failed(claim) {
            return None;
        }
        match (operation, claim.phase) {
            (ActionKind::Stop, _) => pending,
            (_, Phase::Stopping) => None,
            (ActionKind::Start, Phase::Starting) => pending,
            (ActionKind::Start, _) => Some(Member::Done),
            (ActionKind::Promote, Phase::Promoting) | (ActionKind::Demote, Phase::Demoting | Phase::Promoting) => {
                pending
            }
            (ActionKind::Promote, Phase::Running) if claim.failure.is_some() => None,
            (ActionKind::Promote, Phase::Running) if claim.role == Role::Promoted => Some(Member::Done),
            (ActionKind::Demote, Phase::Running) if claim.role != Role::Promoted => Some(Member::Done),
            (ActionKind::Promote | ActionKind::Demote, Phase::Running | Phase::Reloading) => pending,
            (_, _) => None,
        }
    }

    /// The copies that are told now.
    fn who_listens(&self, resource: &ResourceId) -> BTreeMap<ClaimKey, Epoch> {
        let claims = self.claims_of(resource).map(|(key, claim)| (key.clone(), claim.epoch));
        claims.filter(|(key, epoch)| self.listens(key, *epoch)).collect()
    }

    /// Whether an answer of this copy can be expected.
    fn listens(&self, key: &ClaimKey, epoch: Epoch) -> bool {
        let active = self.claims.get(key).is_some_and(|claim| claim.epoch == epoch && claim.is_running());
        active && self.is_online(&key.node) && !self.is_left_alone(key)
    }

    fn is_online(&self, node: &NodeId) -> bool {
        self.nodes.get(node).is_some_and(|node| node.membership == Membership::Online)
    }

    /// Unmanaged or in maintenance: no agent changes anything there.
    fn is_left_alone(&self, key: &ClaimKey) -> bool {
        let resource = &key.instance.resource;
        let current = self.current_definition(resource).map(|(_, definition)| &definition.resource);
        let covers = |scope: &Scope| match scope {
            Scope::Cluster => true,
            Scope::Node(node) => node == &key.node,
            Scope::Resource(name) => self.spec().is_some_and(|spec| spec.primitives_of(name).contains(&resource)),
        };
        current.is_some_and(|resource| !resource.managed || resource.maintenance)
            || self.overrides.values().any(|o| matches!(o.kind, OverrideKind::Maintenance) && covers(&o.scope))
    }

    /// The lists that agents are told.
    fn copies(&self, resource: &ResourceId, planned: &[(ActionKind, ClaimKey)]) -> Copies {
        let at = |key: &ClaimKey| (key.instance.clone(), key.node.clone());
        let to_be = |kind: ActionKind| -> Vec<CopyAt> {
            let those = planned.iter().filter(|(other, key)| *other == kind && &key.instance.resource == resource);
            // The proposer's plan may be older than what has been done by now.
            let epoch = |key: &ClaimKey| self.claims.get(key).map(|claim| claim.epoch);
            let open = |key: &ClaimKey| matches!(self.progress(kind, key, epoch(key)), Some(Member::Pending(_)));
            those.filter(|(_, key)| open(key)).map(|(_, key)| at(key)).collect()
        };
        let claims = || self.claims_of(resource).filter(|(_, claim)| claim.phase != Phase::Starting);
        let in_role = |role: Role| claims().filter(|(_, claim)| claim.role == role).map(|(key, _)| at(key)).collect();
        let most = self.limits(resource).map_or(0, |limits| limits.total).min(MAX_LISTED as u32);
        let numbers = (0..most).map(|number| InstanceId::numbered(resource.clone(), number));
        let nodes = self.nodes.iter().filter(|(name, node)| self.is_online(name) && node.may_have_run());
        Copies {
            start: to_be(ActionKind::Start),
            stop: to_be(ActionKind::Stop),
            promote: to_be(ActionKind::Promote),
            demote: to_be(ActionKind::Demote),
            active: claims().map(|(key, _)| at(key)).collect(),
            promoted: in_role(Role::Promoted),
            unpromoted: in_role(Role::Unpromoted),
            inactive: numbers.filter(|id| !claims().any(|(key, _)| &key.instance == id)).collect(),
            available: nodes.map(|(name, _)| name.clone()).collect(),
        }
    }
}
