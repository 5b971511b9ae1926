//! Fencing attempts. One attempt tries one level against one boot; only its committed result is evidence.

use super::apply::Ctx;
use super::members::Evidence;
use super::{
    Attempt, BadDevice, Command, EventKind, FenceOutcome, Membership, OverrideKind, Refusal, Scope, State, SwitchOn,
    Trust, TrustKey,
};
use crate::model::planted::{Planted, planted};
use crate::model::{AttemptId, DeviceId, Digest, FencingAction, Incarnation, NodeId};

/// Attempts kept for `status` and for choosing the next level. Open ones are never dropped, nor those that lied about a
/// boot that still counts: each level of a node does so once, and is not asked again.
const MAX_ATTEMPTS: usize = 32;
/// Between two rounds through all levels. Long enough for a BMC to recover, short beside the outage it prolongs.
pub const PAUSE_BETWEEN_CYCLES_MS: u64 = 10_000;
/// Fencings are counted over this time.
const HOUR_MS: u64 = 3_600_000;
/// What a failed check says, in characters: a line for people.
const MAX_WHY: usize = 300;
/// An attempt may take this long at most, whatever the manifest says: past it the cluster must be able to go on.
const LONGEST_ATTEMPT_MS: u64 = 30 * 60_000;

impl State {
    pub(super) fn apply_fence_start(&mut self, ctx: &mut Ctx<'_>, command: &Command) -> Result<(), Refusal> {
        let Command::FenceStart {
            leader,
            node: name,
            boot,
            level,
            devices,
            executor,
            executor_incarnation,
            action,
            timeout_ms,
            reason,
        } = command
        else {
            return Err(Refusal::NothingToDo);
        };
        self.check_leader(leader)?;
        let node = self.nodes.get(name).ok_or_else(|| Refusal::UnknownNode { node: name.clone() })?;
        if node.incarnation.boot != *boot {
            return Err(Refusal::StaleIncarnation { node: name.clone() });
        }
        let asked = self.fence_asked(name);
        match node.membership {
            Membership::Suspect => {}
            Membership::Online | Membership::Joining if asked.is_some() => {}
            Membership::Online | Membership::Joining | Membership::Fenced | Membership::Left => {
                return Err(Refusal::NotAllowed { why: format!("{name} is not suspect") });
            }
        }
        let runs = self.nodes.get(executor).ok_or_else(|| Refusal::UnknownNode { node: executor.clone() })?;
        if executor == name || runs.membership != Membership::Online || runs.incarnation != *executor_incarnation {
            return Err(Refusal::NotOnline { node: executor.clone() });
        }
        let levels = node.document.as_ref().map(|document| &document.node.fencing);
        if levels.and_then(|levels| levels.get(*level as usize)) != Some(devices) || devices.is_empty() {
            return Err(Refusal::NotAllowed { why: format!("level {level} of {name} has other devices by now") });
        }
        if let Some((open, attempt)) = self.open_attempt(name) {
            let lost = self.nodes.get(&attempt.executor_node).is_none_or(|executor| {
                executor.membership != Membership::Online || executor.incarnation != attempt.executor
            });
            let why = match (lost, self.now_ms >= attempt.deadline_ms) {
                (true, _) => "its executor was lost",
                (false, true) => "its deadline passed",
                (false, false) => return Err(Refusal::AttemptOpen { attempt: open }),
            };
            self.end_attempt(ctx, open, FenceOutcome::Unknown(why.into()));
        }
        self.last_attempt.0 += 1;
        let id = self.last_attempt;
        self.attempts.insert(
            id,
            Attempt {
                node: name.clone(),
                boot: boot.clone(),
                level: *level,
                devices: devices.clone(),
                executor: executor_incarnation.clone(),
                executor_node: executor.clone(),
                action: *action,
                started_ms: ctx.at_ms,
                deadline_ms: self.now_ms.saturating_add((*timeout_ms).min(LONGEST_ATTEMPT_MS)),
                reason: reason.clone(),
                outcome: None,
                ended_ms: 0,
                on: SwitchOn::NotWanted,
            },
        );
        if let Some(node) = self.nodes.get_mut(name)
            && node.membership != Membership::Suspect
        {
            node.suspect(boot, ctx.at_ms, reason);
        }
        self.forget_attempts();
        let names: Vec<_> = devices.iter().map(|device| device.as_str()).collect();
        let text = format!("fencing {name} with {} from {executor}: {reason}", names.join(", "));
        ctx.event(EventKind::FenceStarted, Some(name), None, text);
        Ok(())
    }

    /// Why a node is to be fenced although it may be heard: a failed operation or an operator.
    pub fn fence_asked(&self, node: &NodeId) -> Option<String> {
        let scope = Scope::Node(node.clone());
        let by_hand = self.overrides.values().find(|o| o.scope == scope && o.kind.is_fence());
        if let Some(o) = by_hand {
            return Some(format!("{} asked for it: {}", o.by, o.reason));
        }
        self.claims_on(node)
            .find_map(|(_, claim)| claim.failure.as_ref().filter(|failure| failure.fence).map(|f| f.text.clone()))
    }

    /// Takes back what asks for a node to be fenced. For the imagination of a node that acts alone: whether the fence comes
    /// is not its business, and it is not to wait for it.
    pub fn forget_asked_fence(&mut self, node: &NodeId) {
        let scope = Scope::Node(node.clone());
        self.overrides.retain(|_, o| o.scope != scope || !o.kind.is_fence());
        for (_, claim) in self.claims.iter_mut().filter(|(key, _)| key.node == *node) {
            if let Some(failure) = &mut claim.failure {
                failure.fence = false;
            }
        }
    }

    pub(super) fn apply_fence_result(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: AttemptId,
        executor: &Incarnation,
        outcome: &FenceOutcome,
    ) -> Result<(), Refusal> {
        let attempt = match self.attempts.get(&id) {
            Some(attempt) if attempt.outcome.is_none() && attempt.executor == *executor => attempt.clone(),
            _ => return Err(Refusal::NoAttempt { attempt: id }),
        };
        let outcome = match outcome {
            FenceOutcome::Off if !self.level_counts(&attempt) => FenceOutcome::Failed(
                "it reads off, but the level was never tested and `fencing.requireTested` is set".into(),
            ),
            FenceOutcome::Off | FenceOutcome::Failed(_) | FenceOutcome::Unknown(_) => outcome.clone(),
        };
        let off = outcome == FenceOutcome::Off;
        self.end_attempt(ctx, id, outcome);
        if !off {
            return Ok(());
        }
        let now_ms = self.now_ms;
        let max_fences = self.spec().map_or(u32::MAX, |spec| spec.cluster.fencing.max_fences);
        let mut quarantined = false;
        if let Some(node) = self.nodes.get_mut(&attempt.node) {
            node.fenced_ms.retain(|at| at.saturating_add(HOUR_MS) > now_ms);
            node.fenced_ms.push(now_ms);
            quarantined = node.fenced_ms.len() as u32 > max_fences;
        }
        if let Some(kept) = self.attempts.get_mut(&id)
            && attempt.action == FencingAction::Reboot
            && !quarantined
        {
            kept.on = SwitchOn::Wanted;
        }
        self.prove_off(ctx, &attempt.node, &attempt.boot, &Evidence::FenceConfirmed);
        if quarantined {
            let text = format!("{} was fenced more than {max_fences} times within an hour: it stays off", attempt.node);
            self.alarm(ctx, text);
        }
        Ok(())
    }

    fn level_counts(&self, attempt: &Attempt) -> bool {
        if !self.spec().is_some_and(|spec| spec.cluster.fencing.require_tested) {
            return true;
        }
        let Some(node) = self.nodes.get(&attempt.node) else { return false };
        Self::level_digest(node, attempt.level).is_some_and(|digest| {
            self.trust.contains_key(&TrustKey { node: attempt.node.clone(), level: attempt.level, digest })
        })
    }

    /// Open attempts whose deadline has passed are unknown: another may start, and a new boot that waited may go on.
    pub(super) fn end_overdue_attempts(&mut self, ctx: &mut Ctx<'_>) {
        let now_ms = self.now_ms;
        if planted(Planted::OverdueIsOff) {
            let over = self.attempts.iter().find(|(_, a)| a.outcome.is_none() && now_ms >= a.deadline_ms);
            if let Some((id, attempt)) = over.map(|(id, attempt)| (*id, attempt.clone())) {
                self.end_attempt(ctx, id, FenceOutcome::Off);
                self.prove_off(ctx, &attempt.node, &attempt.boot, &Evidence::FenceConfirmed);
            }
        }
        self.end_attempts(ctx, "its deadline passed", |attempt| now_ms >= attempt.deadline_ms);
    }

    /// Nobody can report on the attempts of a daemon that is gone.
    pub(super) fn end_attempts_of(&mut self, ctx: &mut Ctx<'_>, executor: &Incarnation) {
        self.end_attempts(ctx, "its executor was lost", |attempt| attempt.executor == *executor);
    }

    fn end_attempts(&mut self, ctx: &mut Ctx<'_>, why: &str, which: impl Fn(&Attempt) -> bool) {
        let open = |a: &Attempt| a.outcome.is_none() && which(a);
        let ended: Vec<AttemptId> = self.attempts.iter().filter(|(_, a)| open(a)).map(|(id, _)| *id).collect();
        for id in ended {
            self.end_attempt(ctx, id, FenceOutcome::Unknown(why.to_owned()));
        }
    }

    fn end_attempt(&mut self, ctx: &mut Ctx<'_>, id: AttemptId, outcome: FenceOutcome) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        let took = ctx.at_ms.saturating_sub(attempt.started_ms);
        let (kind, text) = match &outcome {
            FenceOutcome::Off => (EventKind::FenceSucceeded, format!("{} is off, after {took} ms", attempt.node)),
            FenceOutcome::Failed(why) => {
                (EventKind::FenceFailed, format!("fencing {} (level {}) failed: {why}", attempt.node, attempt.level))
            }
            FenceOutcome::Unknown(why) => (
                EventKind::FenceFailed,
                format!("fencing {} (level {}): outcome unknown, {why}", attempt.node, attempt.level),
            ),
        };
        let name = attempt.node.clone();
        if outcome != FenceOutcome::Off {
            // A test is one attempt: its node lives, and nobody wants it off.
            let scope = Scope::Node(name.clone());
            let tests = |kind: &OverrideKind| matches!(kind, OverrideKind::TestFence { .. });
            self.overrides.retain(|_, o| !(o.scope == scope && tests(&o.kind)));
        }
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        attempt.outcome = Some(outcome);
        attempt.ended_ms = self.now_ms;
        ctx.event(kind, Some(&name), None, text);
        // A new boot may have been waiting for the attempt to end.
        if let Some(node) = self.nodes.get_mut(&name)
            && node.membership == Membership::Joining
            && !node.burnt.contains(&node.incarnation.boot)
        {
            node.membership = Membership::Online;
        }
    }

    pub(super) fn apply_switched_on(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: AttemptId,
        executor: &Incarnation,
        error: Option<&str>,
    ) -> Result<(), Refusal> {
        // Its executor may have restarted since, or be gone: then the leader does it.
        let leads = self.leader.as_ref().is_some_and(|leader| leader.incarnation == *executor);
        let is_now = |node: &NodeId| self.nodes.get(node).is_some_and(|node| node.incarnation == *executor);
        let attempt = match self.attempts.get(&id) {
            Some(a) if a.on == SwitchOn::Wanted && (a.executor == *executor || leads || is_now(&a.executor_node)) => a,
            _ => return Err(Refusal::NoAttempt { attempt: id }),
        };
        let attempt_node = attempt.node.clone();
        let Some(attempt) = self.attempts.get_mut(&id) else { return Err(Refusal::NoAttempt { attempt: id }) };
        let node = attempt_node;
        attempt.on = match error {
            None => SwitchOn::Done,
            Some(why) => SwitchOn::Failed(why.to_owned()),
        };
        if let Some(why) = error {
            let text = format!("{node} could not be switched on again: {why}");
            ctx.event(EventKind::FenceFailed, Some(&node), None, text);
        }
        Ok(())
    }

    /// Enters the log only when what a check says changes, so that an idle cluster writes nothing.
    pub(super) fn apply_device_checked(
        &mut self,
        ctx: &mut Ctx<'_>,
        name: &NodeId,
        incarnation: &Incarnation,
        device: &DeviceId,
        error: Option<&str>,
    ) -> Result<(), Refusal> {
        self.check_incarnation(name, incarnation)?;
        let known = self.spec().is_some_and(|spec| spec.devices.contains_key(device));
        let Some(node) = self.nodes.get_mut(name) else { return Err(Refusal::UnknownNode { node: name.clone() }) };
        match (error, node.bad_devices.contains_key(device)) {
            (None, true) => {
                node.bad_devices.remove(device);
                let text = format!("fencing device {device} answers {name} again");
                ctx.event(EventKind::FenceCheck, Some(name), None, text);
            }
            (Some(_), false) if !known => {
                return Err(Refusal::NotAllowed { why: format!("no fencing device `{device}`") });
            }
            (Some(why), false) => {
                let why: String = why.chars().take(MAX_WHY).collect();
                let text = format!("fencing device {device} cannot be used by {name}: {why}");
                node.bad_devices.insert(device.clone(), BadDevice { since_ms: ctx.at_ms, why });
                ctx.event(EventKind::FenceCheck, Some(name), None, text);
            }
            (None, false) | (Some(_), true) => return Err(Refusal::NothingToDo),
        }
        Ok(())
    }

    pub(super) fn apply_trust(
        &mut self,
        ctx: &mut Ctx<'_>,
        name: &NodeId,
        level: u32,
        digest: Digest,
        by: &str,
        reason: &str,
    ) -> Result<(), Refusal> {
        let node = self.nodes.get(name).ok_or_else(|| Refusal::UnknownNode { node: name.clone() })?;
        if Self::level_digest(node, level) != Some(digest) {
            return Err(Refusal::NotAllowed { why: format!("level {level} of {name} has other devices by now") });
        }
        // Earlier trust in another shape of this level is worth nothing.
        self.trust.retain(|key, _| !(&key.node == name && key.level == level));
        let at_ms = ctx.at_ms;
        let reason: String = reason.chars().take(MAX_WHY).collect();
        let text = format!("{by} vouches for level {} of the fencing of {name}: {reason}", level + 1);
        let trust = Trust { by: by.to_owned(), reason, at_ms };
        self.trust.insert(TrustKey { node: name.clone(), level, digest }, trust);
        ctx.event(EventKind::FenceCheck, Some(name), None, text);
        Ok(())
    }

    fn forget_attempts(&mut self) {
        while self.attempts.len() > MAX_ATTEMPTS {
            let lied = |a: &Attempt| {
                let node = self.nodes.get(&a.node);
                let now = node.is_some_and(|n| n.incarnation.boot == a.boot && n.contradicted.contains(&a.boot));
                now && a.outcome == Some(FenceOutcome::Off)
            };
            let done = |a: &Attempt| a.outcome.is_some() && a.on != SwitchOn::Wanted && !lied(a);
            let Some(oldest) = self.attempts.iter().find(|(_, a)| done(a)).map(|(id, _)| *id) else { return };
            self.attempts.remove(&oldest);
        }
    }
}
