//! What was committed stays.

use super::Invariant;
use crate::sim::world::Sim;

impl Sim {
    /// A new leader has so many entries; the rest is overwritten.
    pub fn check_elected(&mut self, entries: usize) {
        let committed = self.log.committed;
        if entries < committed {
            self.violated(Invariant::Acknowledged, format!("{} committed entries are lost", committed - entries));
        }
    }
}
