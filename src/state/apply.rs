//! Applies one entry: dispatches each command to its concern, and guards what must hold afterwards.
//!
//! Total and deterministic: every command has an answer, none panics, a refused one leaves the state as it was.

use super::{Alarm, Command, Entry, Event, EventKind, Refusal, State};
use crate::model::planted::{Planted, planted};
use crate::model::{Incarnation, InstanceId, LogIndex, NodeId, Reason};

/// Alarms kept. Older ones are in the events; a flood must not grow the state.
const MAX_ALARMS: usize = 64;

/// What a handler knows of the entry it is part of, and where it leaves what people shall read.
pub(super) struct Ctx<'a> {
    pub index: LogIndex,
    pub at_ms: u64,
    pub events: &'a mut Vec<Event>,
}

impl Ctx<'_> {
    pub fn event(&mut self, kind: EventKind, node: Option<&NodeId>, instance: Option<&InstanceId>, text: String) {
        self.events.push(Event {
            index: self.index,
            at_ms: self.at_ms,
            kind,
            node: node.cloned(),
            instance: instance.cloned(),
            reason: None,
            text,
        });
    }

    /// Notes with the last event what was given as its reason.
    pub fn because(&mut self, reason: &Reason) {
        if let Some(last) = self.events.last_mut() {
            last.reason = Some(reason.clone());
        }
    }
}

impl State {
    /// Applies one entry of the log and answers each of its commands, in order.
    ///
    /// Every replica that applies the same entries holds equal bytes.
    pub fn apply(&mut self, index: LogIndex, entry: &Entry) -> (Vec<Result<(), Refusal>>, Vec<Event>) {
        self.index = index;
        let mut events = Vec::new();
        let mut ctx = Ctx { index, at_ms: entry.at_ms, events: &mut events };
        let mut answers = Vec::with_capacity(entry.commands.len());
        for command in &entry.commands {
            let answer = self.apply_command(&mut ctx, command);
            if answer.is_err() && planted(Planted::RefusalLeavesTrace) {
                self.last_override.0 += 1;
            }
            if answer.is_ok() {
                self.follow_reloads();
                self.follow_notices();
            }
            answers.push(answer);
        }
        (answers, events)
    }

    fn apply_command(&mut self, ctx: &mut Ctx<'_>, command: &Command) -> Result<(), Refusal> {
        match command {
            Command::SpecChunk { digest, number, total, bytes } => {
                self.apply_spec_chunk(ctx, *digest, *number, *total, bytes)
            }
            Command::SetTarget { revision, parent, spec, by } => {
                self.apply_set_target(ctx, revision, parent.as_ref(), *spec, by)
            }
            Command::Assign { leader, changes } => self.apply_assign(ctx, leader, changes),
            Command::AssignSeen { leader, seen, changes } => {
                self.check_seen(*seen)?;
                self.apply_assign(ctx, leader, changes)
            }
            Command::LeaderStart { node, incarnation, term } => self.apply_leader_start(ctx, node, incarnation, *term),
            Command::Join { node, incarnation, facts } => self.apply_join(ctx, node, incarnation, facts),
            Command::Leave { node, incarnation } => self.apply_leave(ctx, node, incarnation),
            Command::Restarting { node, incarnation } => self.apply_restarting(ctx, node, incarnation),
            Command::Contradiction { leader, node, boot } => self.apply_contradiction(ctx, leader, node, boot),
            Command::Drop { node } => self.apply_drop(ctx, node),
            Command::Suspect { leader, node, boot, reason } => self.apply_suspect(ctx, leader, node, boot, reason),
            Command::Clear { leader, node, boot, number } => self.apply_clear(ctx, leader, node, boot, *number),
            Command::Claim { key, incarnation, assignment } => self.apply_claim(ctx, key, incarnation, *assignment),
            Command::Migrate { key, epoch, incarnation, to, assignment } => {
                self.apply_migrate(ctx, key, (*epoch, incarnation), to, *assignment)
            }
            Command::Advance { key, epoch, incarnation, to } => self.apply_advance(ctx, key, *epoch, incarnation, *to),
            Command::AdvanceSeen { key, epoch, incarnation, seen, to } => {
                self.check_rested_on(key, *to, *seen)?;
                self.apply_advance(ctx, key, *epoch, incarnation, *to)
            }
            Command::Release { key, epoch, incarnation } => self.apply_release(ctx, key, *epoch, incarnation),
            Command::Report(report) => self.apply_report(ctx, report),
            Command::Probe(report) => self.apply_probe(ctx, report),
            Command::FenceStart { .. } => self.apply_fence_start(ctx, command),
            Command::FenceResult { attempt, executor, outcome } => {
                self.apply_fence_result(ctx, *attempt, executor, outcome)
            }
            Command::SwitchedOn { attempt, executor, error } => {
                self.apply_switched_on(ctx, *attempt, executor, error.as_deref())
            }
            Command::WatchdogElapsed { leader, node, boot, suspicion, waited_ms } => {
                self.apply_watchdog_elapsed(ctx, leader, node, boot, *suspicion, *waited_ms)
            }
            Command::Recover { node, generation, off, by, reason } => {
                self.apply_recover(ctx, node, *generation, off, by, reason)
            }
            Command::Watchdog { node, incarnation, report } => {
                self.apply_watchdog(ctx, node, incarnation, report.as_ref())
            }
            Command::ConfirmOff { node, boot, by, reason } => self.apply_confirm_off(ctx, node, boot, by, reason),
            Command::Trust { node, level, digest, by, reason } => {
                self.apply_trust(ctx, node, *level, *digest, by, reason)
            }
            Command::SetOverride { scope, kind, by, reason, expires_ms } => {
                self.apply_set_override(ctx, scope, kind, by, reason, *expires_ms)
            }
            Command::ClearOverride { id, by } => self.apply_clear_override(ctx, *id, by),
            Command::ClearFailures { resource, node, by } => {
                self.apply_clear_failures(ctx, resource.as_ref(), node.as_ref(), by)
            }
            Command::SetAttribute { node, boot, name, value } => {
                self.apply_set_attribute(node, boot.as_ref(), name, value.as_deref())
            }
            Command::PutToken { id, token } => self.apply_put_token(*id, token),
            Command::RevokeToken { id } => self.tokens.remove(id).map(|_| ()).ok_or(Refusal::NothingToDo),
            Command::Admit { token, node, addresses, port } => self.apply_admit(ctx, *token, node, addresses, *port),
            Command::RaiseLevel { level } => self.apply_raise_level(*level),
            Command::Rebooted { leader, node, boot } => self.apply_rebooted(ctx, leader, node, boot),
            Command::DeviceChecked { node, incarnation, device, error } => {
                self.apply_device_checked(ctx, node, incarnation, device, error.as_deref())
            }
            Command::Tick { leader, elapsed_ms, wall_ms } => self.apply_tick(ctx, leader, *elapsed_ms, *wall_ms),
            Command::Announce(announcement) => self.apply_announce(ctx, announcement),
            Command::Notified(told) => self.apply_notified(ctx, told),
            Command::Withdraw { notice, key, incarnation } => self.apply_withdraw(*notice, key, incarnation),
            Command::Confirm { leader, revision, by } => self.apply_confirm(ctx, leader.as_ref(), revision, by),
            Command::Overdue { leader, revision, why } => self.apply_overdue(ctx, leader, revision, why),
            Command::Rollback { from, by, reason } => self.apply_rollback(ctx, from, by, reason),
            Command::ReleaseHold { revision, by } => self.apply_release_hold(ctx, revision, by),
            Command::NoteStatus { leader, revision, state, text } => {
                self.apply_note_status(ctx, leader, revision, *state, text)
            }
            Command::StatusSent { leader, revision, number, delivery } => {
                self.apply_status_sent(ctx, leader, revision, *number, delivery)
            }
        }
    }

    /// Commands that rest on a count are accepted from the newest leader only.
    pub(super) fn check_leader(&self, incarnation: &Incarnation) -> Result<(), Refusal> {
        match &self.leader {
            Some(leader) if leader.incarnation == *incarnation => Ok(()),
            Some(_) if planted(Planted::OtherTermAccepted) => Ok(()),
            _ => Err(Refusal::NotLeader),
        }
    }

    pub(super) fn alarm(&mut self, ctx: &mut Ctx<'_>, text: String) {
        if self.alarms.len() >= MAX_ALARMS {
            self.alarms.remove(0);
        }
        ctx.event(EventKind::Alarm, None, None, text.clone());
        self.alarms.push(Alarm { at: ctx.index, at_ms: ctx.at_ms, text });
    }
}
