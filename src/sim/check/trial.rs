//! A commit that turned out badly is returned from, to one that was good, and comes back only if somebody means it.

use super::Invariant;
use crate::sim::world::Sim;
use crate::state::rollout::Trial;
use crate::state::{Command, Entry, Refusal, State};

impl Sim {
    pub(super) fn check_trial(
        &mut self,
        before: &State,
        state: &State,
        entry: &Entry,
        answers: &[Result<(), Refusal>],
    ) {
        let revision = |state: &State| state.target.as_ref().map(|target| target.revision.clone());
        let (was, is) = (revision(before), revision(state));
        if was == is {
            return;
        }
        let done = |wanted: fn(&Command) -> bool| {
            entry.commands.iter().zip(answers).any(|(command, answer)| answer.is_ok() && wanted(command))
        };
        let by_leader = done(|command| matches!(command, Command::Overdue { .. }));
        let by_hand = done(|command| matches!(command, Command::Rollback { .. }));
        let pushed = done(|command| matches!(command, Command::SetTarget { .. }));
        let good = before.last_good.as_ref().map(|target| target.revision.clone());
        let what = match (pushed, by_leader || by_hand) {
            (false, false) => "the target changed, and nobody asked for it".to_owned(),
            (false, true) if is != good => format!("returned to {is:?}, and {good:?} was good"),
            (false, true) if by_leader && matches!(before.rollout.trial, Trial::Passed { .. } | Trial::Off) => {
                format!("{was:?} was returned from although it was good")
            }
            (true, false) if state.spec().is_some_and(|spec| state.rollout.hold_on(spec).is_some()) => {
                format!("{is:?} is followed although it is held")
            }
            (false | true, _) => return,
        };
        self.violated(Invariant::Trial, what);
    }
}
