//! How the target does, and what the cluster returned from, for `status`. Pure.

use super::types::{HeldView, RolloutView, TrialView};
use crate::state::State;
use crate::state::rollout::{Held, Trial};

/// The part of a status that is about commits.
pub fn view(state: &State) -> RolloutView {
    let rollout = &state.rollout;
    let held = |held: &Held| HeldView { revision: held.revision.to_string(), at_ms: held.at_ms, why: held.why.clone() };
    let (trial, by) = match &rollout.trial {
        Trial::Off => (TrialView::Off, None),
        Trial::On { by, returned, .. } => {
            (if *returned { TrialView::Returned } else { TrialView::On }, Some(format!("{by:?}")))
        }
        Trial::Passed { by, .. } => (TrialView::Passed, Some(by.clone())),
        Trial::Failed { .. } => (TrialView::Failed, None),
    };
    RolloutView {
        trial,
        until_ms: rollout.until_ms(),
        by,
        tip: rollout.tip.as_ref().map(ToString::to_string),
        held: rollout.held.iter().rev().map(held).collect(),
    }
}

/// What an operator must know of commits that did not turn out well.
pub fn problem(state: &State) -> Option<String> {
    let rollout = &state.rollout;
    match (&rollout.trial, &rollout.tip) {
        (Trial::Failed { why, .. }, _) => {
            Some(format!("the target is not confirmed, and there was no good one to return to: {why}"))
        }
        (_, Some(tip)) => {
            let why = rollout.held.iter().find(|held| held.revision == *tip).map_or("", |held| held.why.as_str());
            Some(format!("the cluster returned from {}, which is still `main`: {why}", tip.short()))
        }
        (Trial::Off | Trial::On { .. } | Trial::Passed { .. }, None) => None,
    }
}
