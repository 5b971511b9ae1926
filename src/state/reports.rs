//! What agents say, and what becomes of claims by it: reports of operations, and probes of what nobody claims here.
//!
//! Input: an outcome, with the claim or boot that it is about. Output: the claim's next phase or its failure; for something
//! found running a claim of its own.
//!
//! Invariants: what began before the last change of a claim, or before its node joined, says nothing of it; a reading
//! never ends a claim.

use super::apply::Ctx;
use super::{
    Claim, ClaimKey, EventKind, Failure, FailureKind, OpRecord, OpReport, Phase, Probe, ProbeKey, ProbeReport, Refusal,
    State,
};
use crate::model::planted::{Planted, planted};
use crate::model::{ActionKind, ExecStatus, InstanceId, OnFail, OpName, Reading, Role};

/// After a failed start, and for every further one, the pause before the same node is tried again where no other is
/// left: 10 s doubled each time, at most 10 minutes.
const RETRY_FIRST_MS: u64 = 10_000;
const RETRY_MOST_MS: u64 = 600_000;
/// Texts of agents are cut to this many characters in the log.
const MAX_TEXT: usize = 240;

impl State {
    pub(super) fn apply_report(&mut self, ctx: &mut Ctx<'_>, report: &OpReport) -> Result<(), Refusal> {
        let key = &report.key;
        let claim = self.check_owner(key, report.epoch, &report.incarnation)?;
        if report.began < claim.changed_at && !planted(Planted::KeyWithoutEpoch) {
            return Err(Refusal::StaleObservation);
        }
        let expected = match report.action {
            ActionKind::Start => claim.phase == Phase::Starting,
            ActionKind::MigrateTo => claim.phase == Phase::MigratingTo && claim.failure.is_none(),
            ActionKind::MigrateFrom => claim.phase == Phase::MigratingFrom && claim.failure.is_none(),
            ActionKind::Promote => claim.phase == Phase::Promoting,
            ActionKind::Demote => claim.phase == Phase::Demoting,
            ActionKind::Stop => claim.phase == Phase::Stopping,
            ActionKind::Monitor | ActionKind::Probe => true,
            ActionKind::Reload => claim.phase == Phase::Reloading,
            ActionKind::Notify => false,
        };
        if !expected {
            return Err(Refusal::WrongPhase { key: key.clone() });
        }
        let failed = failure_of(report, claim);
        if planted(Planted::ReleasedByMonitor) && failed == Some(FailureKind::Died) {
            self.claims.remove(key);
            return Ok(());
        }
        let record = self.history.entry(key.clone()).or_insert_with(|| OpRecord::new(report.action, report.status));
        record.last_action = report.action;
        record.last_status = report.status;
        record.at_ms = ctx.at_ms;
        record.duration_ms = report.duration_ms;
        match failed {
            None => self.succeed(ctx, report),
            Some(kind) => self.fail(ctx, report, kind),
        }
        Ok(())
    }

    fn succeed(&mut self, ctx: &mut Ctx<'_>, report: &OpReport) {
        self.keep_report(report);
        let key = &report.key;
        let Some(claim) = self.claims.get_mut(key) else { return };
        let (node, instance) = (Some(&key.node), Some(&key.instance));
        let ms = report.duration_ms;
        match report.action {
            ActionKind::Start => {
                claim.phase = Phase::Running;
                claim.changed_at = ctx.index;
                claim.since_ms = ctx.at_ms;
                ctx.event(EventKind::Started, node, instance, format!("{key} started in {ms} ms"));
            }
            ActionKind::MigrateTo => {
                claim.phase = Phase::Migrated;
                claim.changed_at = ctx.index;
            }
            ActionKind::MigrateFrom => {
                claim.phase = Phase::Running;
                claim.changed_at = ctx.index;
                claim.since_ms = ctx.at_ms;
                ctx.event(EventKind::Started, node, instance, format!("{key} has arrived, running, in {ms} ms"));
                self.settle_source(ctx, key);
            }
            ActionKind::Promote => {
                claim.phase = Phase::Running;
                claim.role = Role::Promoted;
                claim.changed_at = ctx.index;
                claim.since_ms = ctx.at_ms;
                ctx.event(EventKind::Promoted, node, instance, format!("{key} promoted in {ms} ms"));
            }
            ActionKind::Demote => {
                claim.phase = Phase::Running;
                claim.role = Role::Unpromoted;
                claim.changed_at = ctx.index;
                claim.since_ms = ctx.at_ms;
                ctx.event(EventKind::Demoted, node, instance, format!("{key} demoted in {ms} ms"));
            }
            // It runs promoted although nobody promoted it: that counts, and the plan sees it.
            ActionKind::Monitor | ActionKind::Probe => {
                if report.reading == Some(Reading::RunningPromoted) && claim.role == Role::Unpromoted {
                    claim.role = Role::Promoted;
                    claim.changed_at = ctx.index;
                    ctx.event(EventKind::Found, node, instance, format!("{key} was found promoted"));
                }
            }
            // The release is what counts, and follows.
            // Only now: until here a stop would have used the old one.
            ActionKind::Reload => {
                let Some(definition) = self.reloads.remove(key) else { return };
                claim.phase = Phase::Running;
                claim.definition = definition;
                claim.changed_at = ctx.index;
                ctx.event(EventKind::Reloaded, node, instance, format!("{key} reloaded in {ms} ms"));
                self.forget_unreferenced();
            }
            ActionKind::Stop | ActionKind::Notify => {}
        }
    }

    fn fail(&mut self, ctx: &mut Ctx<'_>, report: &OpReport, kind: FailureKind) {
        let key = &report.key;
        let now_ms = self.now_ms;
        let Some(claim) = self.claims.get_mut(key) else { return };
        let definition = self.definitions.get(&claim.definition);
        let on_fail = definition
            .and_then(|definition| definition.resource.operations.get(&op_name(report.action, claim.role)))
            .map_or(OnFail::Restart, |operation| operation.on_fail);
        let text: String =
            format!("{} of {key} {}: {}", report.action, words(kind), report.text).chars().take(MAX_TEXT).collect();
        ctx.event(EventKind::Failed, Some(&key.node), Some(&key.instance), text.clone());

        // A failed start of the same claim while it is stopped must not be counted again by the stop's own failure.
        let record = self.history.entry(key.clone()).or_insert_with(|| OpRecord::new(report.action, report.status));
        record.fail_count = record.fail_count.saturating_add(1);
        record.last_failure_ms = now_ms;
        record.last_failure = text.clone();
        if matches!(report.action, ActionKind::Start | ActionKind::MigrateFrom) && on_fail != OnFail::Ignore {
            record.start_failed = true;
            let doubled = RETRY_FIRST_MS.saturating_mul(1 << record.fail_count.saturating_sub(1).min(10));
            record.retry_ms = now_ms.saturating_add(doubled.min(RETRY_MOST_MS));
        }
        let mut failure = Failure { action: report.action, kind, at_ms: ctx.at_ms, text, blocked: false, fence: false };
        if report.action == ActionKind::Stop {
            // A claim that was merely found is never worth a power cut.
            failure.fence = on_fail == OnFail::Fence && !claim.found;
            failure.blocked = !failure.fence;
            claim.failure = Some(failure);
            claim.changed_at = ctx.index;
            return;
        }
        match on_fail {
            // As Pacemaker has it, a failure that is ignored counts as success; what it is in truth the next monitor
            // says, and that one's `onFail` bounds the rest. A demotion is not believed: another copy would be promoted.
            OnFail::Ignore => match report.action {
                ActionKind::Start => {
                    claim.phase = Phase::Running;
                    claim.changed_at = ctx.index;
                    return;
                }
                ActionKind::Promote => {
                    claim.phase = Phase::Running;
                    claim.role = Role::Promoted;
                    claim.changed_at = ctx.index;
                    return;
                }
                ActionKind::Demote | ActionKind::Reload | ActionKind::MigrateTo | ActionKind::MigrateFrom => {}
                ActionKind::Probe | ActionKind::Monitor | ActionKind::Stop | ActionKind::Notify => return,
            },
            OnFail::Restart => {}
            OnFail::Block => failure.blocked = true,
            OnFail::Stop => record.stopped = true,
            OnFail::Demote => record.demoted = true,
            OnFail::Standby => record.standby = true,
            OnFail::Fence => failure.fence = !claim.found,
            OnFail::Move => record.moved = true,
        }
        claim.failure = Some(failure.clone());
        claim.changed_at = ctx.index;
        if matches!(report.action, ActionKind::MigrateTo | ActionKind::MigrateFrom) {
            self.fail_other_end(ctx, key, &failure);
        }
    }

    pub(super) fn apply_probe(&mut self, ctx: &mut Ctx<'_>, report: &ProbeReport) -> Result<(), Refusal> {
        let node = self.check_incarnation(&report.node, &report.incarnation)?;
        if report.began < node.joined_at {
            return Err(Refusal::StaleObservation);
        }
        let Some((digest, definition)) = self.current_definition(&report.resource) else {
            return Err(Refusal::UnknownResource { resource: report.resource.clone() });
        };
        if Self::identity(definition) != report.identity {
            return Err(Refusal::StaleObservation);
        }
        let promotable = definition.clone.as_ref().is_some_and(|clone| clone.promoted_max.is_some());
        let cloned = definition.clone.is_some();
        if self.claims_of(&report.resource).any(|(key, _)| key.node == report.node) {
            return Err(Refusal::StaleObservation);
        }
        // Under its old name the same service still has a claim here: what was seen is that.
        let is_same = |(key, claim): (&ClaimKey, &Claim)| {
            let pinned = self.definitions.get(&claim.definition);
            !self.current.contains_key(&key.instance.resource)
                && pinned.is_some_and(|pinned| self.is_same_service(pinned, definition))
        };
        if !report.reading.proves_stopped() && self.claims_on(&report.node).any(is_same) {
            return Err(Refusal::StaleObservation);
        }
        let key = ProbeKey { resource: report.resource.clone(), node: report.node.clone() };
        if self.probes.get(&key).is_some_and(|probe| report.began < probe.at) {
            return Err(Refusal::StaleObservation);
        }
        self.probes.insert(
            key,
            Probe {
                incarnation: report.incarnation.clone(),
                identity: report.identity,
                reading: report.reading,
                at: ctx.index,
                text: report.text.chars().take(MAX_TEXT).collect(),
            },
        );
        let (role, failed) = match report.reading {
            Reading::Stopped | Reading::NotInstalled => return Ok(()),
            Reading::Running if promotable => (Role::Unpromoted, false),
            Reading::Running => (Role::Started, false),
            Reading::RunningPromoted if promotable => (Role::Promoted, false),
            Reading::RunningPromoted => (Role::Started, false),
            Reading::FailedPromoted if promotable => (Role::Promoted, true),
            Reading::Failed | Reading::Unknown if promotable => (Role::Unpromoted, true),
            Reading::Failed | Reading::FailedPromoted | Reading::Unknown => (Role::Started, true),
        };
        let instance = self.free_number(report, cloned);
        let key = ClaimKey { instance, node: report.node.clone() };
        let text = format!("{key} was found {:?} without a claim", report.reading);
        ctx.event(EventKind::Found, Some(&key.node), Some(&key.instance), text.clone());
        let failure = failed.then_some(Failure {
            action: ActionKind::Probe,
            kind: FailureKind::Failed,
            at_ms: ctx.at_ms,
            text,
            blocked: false,
            fence: false,
        });
        let claim = Claim {
            incarnation: report.incarnation.clone(),
            epoch: self.next_epoch(),
            definition: digest,
            phase: Phase::Running,
            role,
            granted_at: ctx.index,
            changed_at: ctx.index,
            since_ms: ctx.at_ms,
            after: Vec::new(),
            found: true,
            failure,
        };
        self.claims.insert(key, claim);
        self.halt_if_several(ctx, &report.resource);
        Ok(())
    }

    /// Which copy of a clone something found is: the one assigned here, else the lowest number without a claim.
    fn free_number(&self, report: &ProbeReport, cloned: bool) -> InstanceId {
        if !cloned {
            return InstanceId::plain(report.resource.clone());
        }
        let taken = |instance: &InstanceId| self.claims_of(&report.resource).any(|(key, _)| &key.instance == instance);
        let here = self.assignment.iter().find(|(instance, assignment)| {
            instance.resource == report.resource && assignment.to.node == report.node && !taken(instance)
        });
        if let Some((instance, _)) = here {
            return instance.clone();
        }
        let numbers = 0..=self.claims_of(&report.resource).count() as u32;
        numbers
            .map(|number| InstanceId::numbered(report.resource.clone(), number))
            .find(|instance| !taken(instance))
            .expect("one number more than there are claims is free")
    }
}

impl OpRecord {
    /// Nothing but the last operation is known.
    pub(crate) fn new(last_action: ActionKind, last_status: ExecStatus) -> Self {
        Self {
            last_action,
            last_status,
            at_ms: 0,
            duration_ms: 0,
            fail_count: 0,
            last_failure_ms: 0,
            last_failure: String::new(),
            start_failed: false,
            retry_ms: 0,
            moved: false,
            stopped: false,
            demoted: false,
            standby: false,
        }
    }
}

/// What went wrong, if anything did.
fn failure_of(report: &OpReport, claim: &Claim) -> Option<FailureKind> {
    let by_status = match report.status {
        ExecStatus::Exited(0) => None,
        ExecStatus::Exited(5) | ExecStatus::NotInstalled => Some(FailureKind::NotInstalled),
        ExecStatus::Exited(_) => Some(FailureKind::Failed),
        ExecStatus::TimedOut => Some(FailureKind::TimedOut),
        ExecStatus::Failed => Some(FailureKind::Unknown),
    };
    match report.action {
        ActionKind::Monitor | ActionKind::Probe => match report.reading? {
            // Promoted, but it says it is not: it was demoted behind our back.
            Reading::Running if claim.role == Role::Promoted && claim.phase == Phase::Running => {
                Some(FailureKind::Failed)
            }
            Reading::Running | Reading::RunningPromoted => None,
            Reading::Stopped => Some(FailureKind::Died),
            Reading::NotInstalled => Some(FailureKind::NotInstalled),
            Reading::Failed | Reading::FailedPromoted => Some(FailureKind::Failed),
            Reading::Unknown => by_status.or(Some(FailureKind::Unknown)),
        },
        ActionKind::Start
        | ActionKind::Stop
        | ActionKind::Promote
        | ActionKind::Demote
        | ActionKind::MigrateTo
        | ActionKind::MigrateFrom
        | ActionKind::Notify
        | ActionKind::Reload => by_status,
    }
}

/// The operation of the manifest that configures an action.
fn op_name(action: ActionKind, role: Role) -> OpName {
    match action {
        ActionKind::Monitor | ActionKind::Probe if role == Role::Promoted => OpName::MonitorPromoted,
        ActionKind::Monitor | ActionKind::Probe => OpName::Monitor,
        ActionKind::Start => OpName::Start,
        ActionKind::Stop => OpName::Stop,
        ActionKind::Promote => OpName::Promote,
        ActionKind::Demote => OpName::Demote,
        ActionKind::MigrateTo => OpName::MigrateTo,
        ActionKind::MigrateFrom => OpName::MigrateFrom,
        ActionKind::Notify => OpName::Notify,
        ActionKind::Reload => OpName::Reload,
    }
}

fn words(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Died => "found it not running",
        FailureKind::Failed => "failed",
        FailureKind::TimedOut => "timed out",
        FailureKind::NotInstalled => "says it is not installed",
        FailureKind::Unknown => "has an unknown outcome",
    }
}
