//! The forge that a simulated cluster tells of commits: outside of it, reached by whoever leads.

use super::world::{Sim, What};
use crate::model::{CommitState, CommitStatus, Delivery, Revision};
use std::collections::BTreeMap;

/// A forge that answers at once, ms.
const USUAL: u64 = 300;

/// What it shows, and how it behaves.
#[derive(Debug, Clone, Default)]
pub struct Forge {
    /// The status of each commit, as anybody would see it there.
    pub shows: BTreeMap<Revision, CommitState>,
    /// Requests that came to it.
    pub asked: u64,
    pub is_down: bool,
    /// Takes what it is told, and its answer is lost.
    pub is_mute: bool,
    pub knows_no_commit: bool,
    /// How long a request takes, ms. 0: as usual.
    pub slow: u64,
}

impl Sim {
    pub(super) fn report(&mut self, host: usize, life: u64, number: u64, status: CommitStatus) {
        let delay = if self.forge.slow > 0 { self.forge.slow } else { USUAL };
        self.at(delay, What::Report { host, life, number, status });
    }

    /// A request arrives, also that of a daemon that ended meanwhile; its answer does not.
    pub(super) fn reported(&mut self, host: usize, life: u64, number: u64, status: CommitStatus) {
        self.forge.asked += 1;
        let forge = &self.forge;
        let delivery = match (forge.is_down, forge.knows_no_commit) {
            (true, _) => Delivery::Failing("it cannot be reached".into()),
            (false, true) => Delivery::GivenUp("the commit is not known there".into()),
            (false, false) => {
                let (was, is) = (forge.shows.get(&status.revision).copied(), status.state);
                self.forge.shows.insert(status.revision.clone(), is);
                if was != Some(is) {
                    let text = format!("the forge shows commit {} as {is} ({})", status.revision.short(), status.text);
                    self.told(|| text);
                }
                match self.forge.is_mute {
                    true => Delivery::Failing("it did not answer in time".into()),
                    false => Delivery::Acknowledged,
                }
            }
        };
        self.at(0, What::Reported { host, life, number, status, delivery });
    }
}
