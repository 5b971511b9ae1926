//! After a release was proposed nothing runs under that claim until its outcome is known.

use super::{Act, Invariant};
use crate::sim::world::Sim;

impl Sim {
    pub(super) fn check_release(&mut self, act: &Act<'_>) {
        let mine = (act.host, act.key.clone());
        let Some((released, index)) = self.checks.releasing.get(&mine).cloned() else { return };
        let known_since = index.is_some_and(|index| act.known.index >= index);
        let over = act.known.claims.get(&act.key).is_none_or(|claim| claim.epoch != released);
        if !known_since && !over {
            return self.violated(Invariant::Release, format!("{} while its release is under way", act.what));
        }
        self.checks.releasing.remove(&mine);
    }
}
