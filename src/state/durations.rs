//! How long actions took: what outages are estimated from.
//!
//! Of every resource the last [`KEPT`] successful starts, stops and changes of role, on whatever node. Nothing that is
//! decided rests on it, and what failed says nothing of how long it takes.

use super::reload::RELOAD_LEVEL;
use super::{Claim, OpReport, State};
use crate::model::{ActionKind, NodeId, OpName, ResourceId};
use std::collections::BTreeMap;
use std::time::Duration;

/// Of each action. Enough for the slow one among them to be seen, few enough for every snapshot.
const KEPT: usize = 5;

/// A stop is over when a probe has seen it and that is committed.
const STOP_SLACK: Duration = Duration::from_secs(30);

/// In ms, the newest last.
pub type Durations = BTreeMap<ResourceId, BTreeMap<ActionKind, Vec<u32>>>;

impl State {
    /// Keeps how long a successful action took.
    pub(super) fn keep_report(&mut self, report: &OpReport) {
        match report.action {
            ActionKind::Start
            | ActionKind::Promote
            | ActionKind::Demote
            | ActionKind::MigrateTo
            | ActionKind::MigrateFrom
            | ActionKind::Reload => self.keep(&report.key.instance.resource, report.action, report.duration_ms),
            // The end of a stop is its release.
            ActionKind::Stop | ActionKind::Probe | ActionKind::Monitor | ActionKind::Notify => {}
        }
    }

    /// Keeps how long a stop took, with the probe that saw it. By the clock of the node that stopped it, which may have
    /// been set meanwhile: what takes much longer than it may was not measured.
    pub(super) fn keep_stop(&mut self, resource: &ResourceId, claim: &Claim, now_ms: u64) {
        let definition = self.definitions.get(&claim.definition);
        let longest = definition.and_then(|known| known.resource.operations.get(&OpName::Stop));
        let longest = longest.map_or(Duration::ZERO, |operation| operation.timeout) + STOP_SLACK;
        let took = Duration::from_millis(now_ms.saturating_sub(claim.since_ms));
        if took <= longest {
            self.keep(resource, ActionKind::Stop, took.as_millis() as u64);
        }
    }

    fn keep(&mut self, resource: &ResourceId, action: ActionKind, ms: u64) {
        // Replicas of older programs do not keep them.
        if self.feature_level < RELOAD_LEVEL {
            return;
        }
        let kept = self.durations.entry(resource.clone()).or_default().entry(action).or_default();
        kept.push(u32::try_from(ms).unwrap_or(u32::MAX));
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
    }

    /// The longest of the last times that this action on this resource took; None: it was never seen.
    pub fn took(&self, resource: &ResourceId, action: ActionKind) -> Option<Duration> {
        let longest = self.durations.get(resource)?.get(&action)?.iter().max()?;
        Some(Duration::from_millis((*longest).into()))
    }

    /// The longest of the last attempts that proved this node off; None: there was none.
    pub fn took_to_fence(&self, node: &NodeId) -> Option<Duration> {
        let proved = self.attempts.values().filter(|attempt| &attempt.node == node);
        let proved = proved.filter(|attempt| attempt.outcome == Some(super::FenceOutcome::Off));
        proved.map(|attempt| Duration::from_millis(attempt.ended_ms.saturating_sub(attempt.started_ms))).max()
    }

    /// Forgets what neither the target nor a claim names.
    pub(super) fn forget_durations(&mut self) {
        let (current, claims) = (&self.current, &self.claims);
        let held = |name: &ResourceId| claims.keys().any(|key| &key.instance.resource == name);
        self.durations.retain(|name, _| current.contains_key(name) || held(name));
    }
}
