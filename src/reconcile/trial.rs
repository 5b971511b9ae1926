//! Whether a commit on trial turned out well: what only the leader says.
//!
//! Input: the newest state, what its plan says of every instance, and the time → output: `Confirm` or `Overdue`, or nothing
//! yet. What follows from that is decided where it is applied (`state::rollout`), once, whoever leads by then.
//!
//! Healthy is what the plan would leave as it is. What is not managed, and what waits for a lost node to be proven off, is no
//! fault of a commit; nor is what did not run before.

use super::Node;
use crate::model::{ConfirmedBy, InstanceId, LogIndex, Reason, ResourceId};
use crate::plan::Verdict;
use crate::state::Command;
use crate::state::rollout::Trial;
use std::collections::BTreeMap;
use std::time::Duration;

/// Of what ails, so much is told: the rest is in `status`.
const TOLD: usize = 3;

/// What the leader remembers of a trial. Another leader counts anew.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    /// What the last plan does not leave as it is.
    pub verdicts: BTreeMap<InstanceId, Verdict>,
    /// Since when everything has been healthy, under which target.
    healthy: Option<(LogIndex, Duration)>,
}

impl Node {
    /// `idle`: the plan has nothing to change in what runs where.
    pub(super) fn judge_target(&mut self, idle: bool) -> Option<Command> {
        let state = self.state.clone();
        let (target, confirmation) = (state.target.as_ref()?, state.spec()?.cluster.confirmation?);
        let trial = &state.rollout.trial;
        if matches!(trial, Trial::Off | Trial::Passed { .. }) {
            self.duties.watch.healthy = None;
            return None;
        }
        let troubles = self.troubles_of_trial();
        self.duties.watch.healthy = match self.duties.watch.healthy {
            _ if !idle || !troubles.is_empty() => None,
            Some((accepted, since)) if accepted == target.accepted_at => Some((accepted, since)),
            Some(_) | None => Some((target.accepted_at, self.now)),
        };
        let stable = self.duties.watch.healthy.is_some_and(|(_, since)| self.now >= since + confirmation.stable);
        let (leader, revision) = (self.config.incarnation.clone(), target.revision.clone());
        let confirm =
            |by: &str| Command::Confirm { leader: Some(leader.clone()), revision: revision.clone(), by: by.into() };
        match trial {
            Trial::On { by: ConfirmedBy::Health, .. } if stable => Some(confirm("healthy")),
            Trial::Failed { .. } if stable && confirmation.by == ConfirmedBy::Health => Some(confirm("healthy")),
            Trial::On { until_ms, by, .. } if *until_ms <= state.now_ms => {
                let words = |(name, why): (&ResourceId, &String)| format!("{name}: {why}");
                let mut told: Vec<String> = troubles.iter().take(TOLD).map(words).collect();
                if troubles.len() > TOLD {
                    told.push(format!("and {} more", troubles.len() - TOLD));
                }
                let why = match (by, troubles.is_empty()) {
                    (_, false) => format!("not healthy in time ({})", told.join("; ")),
                    (ConfirmedBy::Operator, true) => "nobody confirmed it in time".to_owned(),
                    // It has just become healthy: that is waited for.
                    (ConfirmedBy::Health, true) if idle => return None,
                    (ConfirmedBy::Health, true) => "not healthy in time: something is still to move".to_owned(),
                };
                Some(Command::Overdue { leader, revision, why })
            }
            Trial::On { .. } | Trial::Off | Trial::Passed { .. } | Trial::Failed { .. } => None,
        }
    }

    /// What counts against the target.
    fn troubles_of_trial(&self) -> BTreeMap<ResourceId, String> {
        let Some(excused) = self.state.rollout.excused() else { return BTreeMap::new() };
        let said = self.duties.watch.verdicts.iter().chain(self.graph.verdicts());
        let counts = said.filter(|(instance, _)| !excused.contains(&instance.resource));
        counts.filter_map(|(instance, verdict)| Some((instance.resource.clone(), trouble(verdict)?))).collect()
    }
}

/// What an instance lacks, if that may be a commit's fault.
pub(super) fn trouble(verdict: &Verdict) -> Option<String> {
    match verdict {
        Verdict::Keep => None,
        Verdict::Act => Some("something is still to be done".into()),
        Verdict::Wait(reason) | Verdict::Blocked(reason) => match reason {
            Reason::Unmanaged
            | Reason::NodeLost { .. }
            | Reason::Fencing { .. }
            | Reason::FencingFailed { .. }
            | Reason::NotProvenOff { .. } => None,
            reason => Some(reason.to_string()),
        },
    }
}
