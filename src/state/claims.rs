//! Claims: who may change what, and how a claim ends by its own node's word.
//!
//! A node starts, promotes, demotes or stops an instance only under a committed claim. Everything here checks first
//! and changes after, so that a refusal leaves no trace.

use super::apply::Ctx;
use super::query::Limits;
use super::{
    Claim, ClaimKey, EventKind, Fact, FactPhase, Failure, FailureKind, Membership, OpRecord, OpReport, Phase, Probe,
    ProbeKey, ProbeReport, Refusal, State,
};
use crate::model::planted::{Planted, planted};
use crate::model::{
    ActionKind, Definition, Epoch, ExecStatus, Incarnation, InstanceId, LogIndex, NodeId, OnFail, OpName, Reading, Role,
};

/// After a failed start, and for every further one, the pause before the same node is tried again where no other is
/// left: 10 s doubled each time, at most 10 minutes.
const RETRY_FIRST_MS: u64 = 10_000;
const RETRY_MOST_MS: u64 = 600_000;
/// Texts of agents are cut to this many characters in the log.
const MAX_TEXT: usize = 240;

impl State {
    pub(super) fn apply_claim(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: &ClaimKey,
        incarnation: &Incarnation,
        assignment: LogIndex,
    ) -> Result<(), Refusal> {
        let resource = &key.instance.resource;
        self.check_online(&key.node, incarnation)?;
        if self.claims.contains_key(key) {
            return Err(Refusal::AlreadyClaimed { key: key.clone() });
        }
        let assigned = match self.assignment.get(&key.instance) {
            Some(assigned) if assigned.to.node == key.node && assigned.index == assignment => &assigned.to,
            Some(assigned) if planted(Planted::StaleAssignment) => &assigned.to,
            _ => return Err(Refusal::NotAssigned { key: key.clone() }),
        };
        let Some((digest, definition)) = self.current_definition(resource) else {
            return Err(Refusal::UnknownResource { resource: resource.clone() });
        };
        self.check_place(key, definition)?;
        let role = if definition.clone.as_ref().is_some_and(|clone| clone.promoted_max.is_some()) {
            Role::Unpromoted
        } else {
            Role::Started
        };
        self.check_not_renamed(key, definition)?;
        if let Some(node) = self.unprobed(resource)
            && !(planted(Planted::ProbedByOne) && self.is_probed(resource, &key.node))
        {
            return Err(Refusal::NotProbed { resource: resource.clone(), node: node.clone() });
        }
        let past = planted(Planted::GrantedPastLimit);
        if !past && self.exceeded(resource).is_some() {
            return Err(Refusal::OverLimit { resource: resource.clone() });
        }
        if !past {
            self.check_room(key)?;
        }
        self.check_facts(&assigned.after)?;
        self.check_told(ActionKind::Start, key)?;

        let after = assigned.after.iter().chain(&assigned.after_promote).map(|fact| fact.instance.clone()).collect();
        let epoch = self.next_epoch();
        let claim = Claim {
            incarnation: incarnation.clone(),
            epoch,
            definition: digest,
            phase: Phase::Starting,
            role,
            granted_at: ctx.index,
            changed_at: ctx.index,
            since_ms: ctx.at_ms,
            after,
            found: false,
            failure: None,
        };
        self.claims.insert(key.clone(), claim);
        // The check above counted before, this one counts after: they must agree, or nothing happened.
        if let Some(limit) = self.exceeded(resource).filter(|_| !past) {
            self.claims.remove(key);
            self.alarm(ctx, format!("granting {key} would have broken a limit ({limit}); it was not granted"));
            return Err(Refusal::LimitReached { resource: resource.clone(), limit });
        }
        ctx.event(EventKind::Claimed, Some(&key.node), Some(&key.instance), format!("{key} granted, epoch {epoch}"));
        Ok(())
    }

    /// Refuses what this version does not run, and nodes where nothing may begin.
    pub(super) fn check_place(&self, key: &ClaimKey, definition: &Definition) -> Result<(), Refusal> {
        let bundle = self.spec().and_then(|spec| spec.unrun(&key.instance.resource, &definition.resource));
        if let Some(what) = bundle.or_else(|| definition.resource.unrun()) {
            return Err(Refusal::NotAllowed { why: format!("{what} plans but does not run in this version") });
        }
        if self.is_remote(&key.node) {
            let why = format!("{} is a remote node, which plans but does not run in this version", key.node);
            return Err(Refusal::NotAllowed { why });
        }
        if self.is_disarmed(&key.node) {
            let why = format!("the watchdog of {} is disarmed: nothing may be started there", key.node);
            return Err(Refusal::NotAllowed { why });
        }
        Ok(())
    }

    /// Refuses one claim more where it would not fit.
    fn check_room(&self, key: &ClaimKey) -> Result<(), Refusal> {
        let resource = &key.instance.resource;
        let Some(Limits { total, per_node, .. }) = self.limits(resource) else {
            return Err(Refusal::UnknownResource { resource: resource.clone() });
        };
        let full = |limit: String| Err(Refusal::LimitReached { resource: resource.clone(), limit });
        let (mut all, mut here) = (0, 0);
        for (other, _) in self.claims_of(resource) {
            // One number is one thing: a second claim on it would be the same copy twice.
            if other.instance == key.instance {
                return full(format!("{} is claimed by {}", key.instance, other.node));
            }
            all += 1;
            here += u32::from(other.node == key.node);
        }
        if all + 1 > total {
            return full(format!("{all} of at most {total}"));
        }
        if here + 1 > per_node {
            return full(format!("{here} on {} of at most {per_node}", key.node));
        }
        Ok(())
    }

    /// A renamed resource waits until the old name's claims are gone: they may be the same files, the same address.
    fn check_not_renamed(&self, key: &ClaimKey, new: &Definition) -> Result<(), Refusal> {
        let same = self.claims.iter().find(|(other, claim)| {
            !self.current.contains_key(&other.instance.resource)
                && self.definitions.get(&claim.definition).is_some_and(|old| self.is_same_service(old, new))
        });
        match same {
            Some((old, _)) => Err(Refusal::NotAllowed {
                why: format!("{} is the same service as {old}, which still has a claim", key.instance),
            }),
            None => Ok(()),
        }
    }

    pub(super) fn check_facts(&self, facts: &[Fact]) -> Result<(), Refusal> {
        match facts.iter().find(|fact| !self.holds(fact) && !planted(Planted::OrderIgnored)) {
            Some(fact) => {
                let place = fact.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
                Err(Refusal::FactMissing { fact: format!("{} {:?}{place}", fact.instance, fact.phase) })
            }
            None => Ok(()),
        }
    }

    /// Whether a fact is true now.
    pub fn holds(&self, fact: &Fact) -> bool {
        let mut claims = self
            .claims_of(&fact.instance.resource)
            .filter(|(key, _)| key.instance == fact.instance && fact.node.as_ref().is_none_or(|n| n == &key.node));
        match fact.phase {
            FactPhase::Running => claims.any(|(_, claim)| claim.is_running()),
            FactPhase::Promoted => {
                claims.any(|(_, c)| c.role == Role::Promoted && c.phase == Phase::Running && c.failure.is_none())
            }
            FactPhase::Gone => claims.next().is_none(),
            FactPhase::NotPromoted => claims.all(|(_, claim)| !claim.may_be_promoted()),
        }
    }

    pub(super) fn apply_advance(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: &ClaimKey,
        epoch: Epoch,
        incarnation: &Incarnation,
        to: Phase,
    ) -> Result<(), Refusal> {
        if to == Phase::Reloading {
            self.check_owner(key, epoch, incarnation)?;
            self.begin_reload(key)?;
        }
        let claim = self.check_owner(key, epoch, incarnation)?;
        let wrong = Err(Refusal::WrongPhase { key: key.clone() });
        match to {
            Phase::Stopping | Phase::Reloading => {}
            Phase::Demoting => {
                if !claim.may_be_promoted() || claim.phase == Phase::Stopping {
                    return wrong;
                }
            }
            Phase::Promoting => {
                if claim.phase != Phase::Running || claim.role != Role::Unpromoted || claim.failure.is_some() {
                    return wrong;
                }
                self.check_online(&key.node, incarnation)?;
                let Some(assigned) = self.assignment.get(&key.instance) else {
                    return Err(Refusal::NotAssigned { key: key.clone() });
                };
                if assigned.to.node != key.node || assigned.to.role != Role::Promoted {
                    return Err(Refusal::NotAssigned { key: key.clone() });
                }
                if !planted(Planted::PromotedPastLimit) {
                    self.check_facts(&assigned.to.after_promote)?;
                }
                self.check_told(ActionKind::Promote, key)?;
            }
            Phase::Starting | Phase::Running | Phase::MigratingTo | Phase::MigratingFrom | Phase::Migrated => {
                return wrong;
            }
        }
        let before = claim.clone();
        if before.phase.migrates() {
            self.check_given_up(key, before.phase)?;
            self.give_up_migration(key);
        }
        let claim = self.claims.get_mut(key).expect("check_owner found it");
        // A promotion that failed, or whose end nobody knows, may have worked: it counts until a demotion or a stop is over.
        if claim.phase == Phase::Promoting && to != Phase::Promoting {
            claim.role = Role::Promoted;
        }
        claim.phase = to;
        claim.changed_at = ctx.index;
        // From here on it is down (`durations`).
        if to == Phase::Stopping && before.phase != Phase::Stopping && self.feature_level >= super::reload::RELOAD_LEVEL
        {
            claim.since_ms = ctx.at_ms;
        }
        if to == Phase::Promoting
            && let Some(limit) = self.exceeded(&key.instance.resource)
            && !planted(Planted::PromotedPastLimit)
        {
            self.claims.insert(key.clone(), before);
            return Err(Refusal::LimitReached { resource: key.instance.resource.clone(), limit });
        }
        Ok(())
    }

    pub(super) fn apply_release(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: &ClaimKey,
        epoch: Epoch,
        incarnation: &Incarnation,
    ) -> Result<(), Refusal> {
        let claim = self.check_owner(key, epoch, incarnation)?;
        if claim.phase != Phase::Stopping {
            return Err(Refusal::WrongPhase { key: key.clone() });
        }
        let (claim, resource) = (claim.clone(), &key.instance.resource);
        let identity = self.definitions.get(&claim.definition).map(|definition| Self::identity(definition));
        self.keep_stop(resource, &claim, ctx.at_ms);
        self.claims.remove(key);
        if let Some(identity) = identity {
            let probe = Probe {
                incarnation: incarnation.clone(),
                identity,
                reading: Reading::Stopped,
                at: ctx.index,
                text: "stopped".into(),
            };
            self.probes.insert(probe_key(key), probe);
        }
        self.forget_unreferenced();
        let text = format!("{} stopped on {}", key.instance, key.node);
        ctx.event(EventKind::Stopped, Some(&key.node), Some(&key.instance), text);
        Ok(())
    }

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

    pub(super) fn next_epoch(&mut self) -> Epoch {
        if !(planted(Planted::EpochRepeats) && self.last_epoch.0 % 7 == 6) {
            self.last_epoch.0 += 1;
        }
        self.last_epoch
    }

    pub(super) fn check_owner(
        &self,
        key: &ClaimKey,
        epoch: Epoch,
        incarnation: &Incarnation,
    ) -> Result<&Claim, Refusal> {
        let claim = self.claims.get(key).ok_or_else(|| Refusal::NoClaim { key: key.clone() })?;
        if claim.epoch != epoch && !planted(Planted::KeyWithoutEpoch) {
            return Err(Refusal::WrongEpoch { key: key.clone() });
        }
        if claim.incarnation != *incarnation {
            return Err(Refusal::StaleIncarnation { node: key.node.clone() });
        }
        Ok(claim)
    }

    pub(super) fn check_incarnation(
        &self,
        node: &NodeId,
        incarnation: &Incarnation,
    ) -> Result<&super::NodeState, Refusal> {
        let state = self.nodes.get(node).ok_or_else(|| Refusal::UnknownNode { node: node.clone() })?;
        if state.incarnation != *incarnation {
            return Err(Refusal::StaleIncarnation { node: node.clone() });
        }
        if state.burnt.contains(&incarnation.boot) {
            return Err(Refusal::BurntBoot { node: node.clone(), boot: incarnation.boot.clone() });
        }
        Ok(state)
    }

    pub(super) fn check_online(&self, node: &NodeId, incarnation: &Incarnation) -> Result<(), Refusal> {
        match self.check_incarnation(node, incarnation)?.membership {
            Membership::Online => Ok(()),
            Membership::Joining | Membership::Suspect | Membership::Fenced | Membership::Left => {
                Err(Refusal::NotOnline { node: node.clone() })
            }
        }
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

fn probe_key(key: &ClaimKey) -> ProbeKey {
    ProbeKey { resource: key.instance.resource.clone(), node: key.node.clone() }
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
