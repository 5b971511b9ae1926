//! Replicas that apply the same entries, or go on from a snapshot, hold the same bytes.

use super::Invariant;
use crate::model::LogIndex;
use crate::sim::world::Sim;
use crate::state::snapshot;

/// One seed in so many is replayed from a snapshot: that costs as much as half of the run.
const ONE_IN: u64 = 8;

impl Sim {
    pub fn check_replicas(&mut self) {
        if !self.rng.one_in(ONE_IN) {
            return;
        }
        let middle = self.rng.below(self.states.len());
        let replica = snapshot::decode(&snapshot::encode(&self.states[middle]));
        let mut replica = match replica {
            Ok(replica) => replica,
            Err(error) => return self.violated(Invariant::Replicas, error.to_string()),
        };
        for place in middle..self.log.committed {
            let entry = snapshot::decode_entry(&snapshot::encode_entry(&self.log.slots[place].entry));
            match entry {
                Ok(entry) => _ = replica.apply(LogIndex(place as u64 + 1), &entry),
                Err(error) => return self.violated(Invariant::Replicas, error.to_string()),
            }
        }
        // What a snapshot leaves out would not be among the bytes.
        if replica != **self.newest() {
            return self.violated(Invariant::Replicas, "a replica that began with a snapshot is another".into());
        }
        if snapshot::encode(&replica) != snapshot::encode(self.newest()) {
            self.violated(Invariant::Replicas, "a replica that began with a snapshot holds other bytes".into());
        }
    }
}
