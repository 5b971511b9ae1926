//! A refused command changes nothing.

use super::Invariant;
use crate::sim::world::Sim;
use crate::state::{Entry, Refusal, State};

/// More refused entries in a second than this are a loop.
const REFUSALS: u32 = 40;

impl Sim {
    pub(super) fn check_refused(
        &mut self,
        before: &State,
        state: &State,
        entry: &Entry,
        answers: &[Result<(), Refusal>],
    ) {
        if !answers.is_empty() && answers.iter().all(Result::is_err) {
            self.check_refusals();
            let unchanged = State { index: before.index, ..state.clone() };
            if unchanged != *before {
                let what = format!("refused commands changed the state: {:?}", entry.commands);
                self.violated(Invariant::Refused, what);
            }
        }
    }

    /// What is refused is proposed again ever more rarely: each try costs an entry of the log.
    fn check_refusals(&mut self) {
        let second = self.now / 1_000;
        let (last, count) = self.checks.refusals;
        self.checks.refusals = (second, if last == second { count + 1 } else { 1 });
        if self.checks.refusals.1 > REFUSALS {
            self.violated(Invariant::Rest, format!("{REFUSALS} entries were refused within a second"));
        }
    }
}
