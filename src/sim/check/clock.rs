//! The agreed time never goes back, and advances no faster than time does. A new leader may set it once.

use super::Invariant;
use crate::sim::world::Sim;
use crate::state::State;

/// How much it may gain on the true time since a leader set it, ms: clocks drift, and a tick that was on its way arrives.
const BOUND: i64 = 6_000;

impl Sim {
    pub(super) fn check_clock(&mut self, before: &State, state: &State) {
        let (old, new) = (before.now_ms, state.now_ms);
        if new < old {
            return self.violated(Invariant::Clock, format!("the agreed time went back by {} ms", old - new));
        }
        if new == old {
            return;
        }
        let term = |state: &State| state.leader.as_ref().map(|leader| leader.term);
        let may_set = before.leader.as_ref().is_none_or(|leader| leader.may_set_clock);
        let ahead = new as i64 - self.now as i64;
        match self.checks.ahead {
            Some(most) if !may_set && term(before) == term(state) => {
                if ahead > most + BOUND {
                    let by = ahead - most;
                    self.violated(Invariant::Clock, format!("the agreed time gained {by} ms on the true one"));
                }
            }
            Some(_) | None => self.checks.ahead = Some(ahead),
        }
    }
}
