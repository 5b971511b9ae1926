//! What each voter is known to have on its disk, so that a disk that went back in time is noticed.
//!
//! Raft rests on this: what a voter once acknowledged stays on its disk. A disk that was restored from an old copy, lost its
//! last writes or was emptied breaks that silently: its voter would give its vote a second time, or to a candidate that lacks
//! what it helped to commit. Nothing on the disk itself tells, since vote and log went back together. But the others know.
//!
//! A [`Floor`] is the least a voter must have, from its own answers and, for a leader or candidate, from what it sent. Every
//! request carries all floors its sender knows; each voter writes them with its next transaction, without an fsync of their
//! own. A voter compares its own disk with its floor in every request, and asks for it when it starts (`admission`).
//!
//! Invariants: a floor is never above what is durable at that voter; a voter that lost nothing is never below it.
//!
//! Does not notice: the loss of what nobody alive knows of. That is an acknowledgement whose only witness, the leader it was
//! given to, was lost before its next request to anybody, or is not reached while the voter starts.

use super::types::{LogId, Vote};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The least that a voter has on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Floor {
    /// It voted in, or followed a leader of, this term.
    term: u64,
    /// The last entry it had in that term. A leader of a later term may have had it replaced.
    matched: Option<LogId>,
    /// The last entry it had that was committed. Those are never replaced.
    committed: Option<LogId>,
}

impl Floor {
    /// It has saved this vote.
    pub(super) fn voted(vote: &Vote) -> Self {
        Self { term: vote.leader_id().term, ..Self::default() }
    }

    /// It has all up to `matched`, under the leader with this vote, who has committed up to `committed`.
    pub(super) fn followed(vote: &Vote, matched: Option<LogId>, committed: Option<LogId>) -> Self {
        Self { matched, committed: matched.min(committed), ..Self::voted(vote) }
    }

    /// It leads with this vote, has sent all up to `sent`, and says that so much is committed. A leader writes an entry before
    /// it sends it, and replaces nothing in its own term.
    pub(super) fn leads(vote: &Vote, sent: Option<LogId>, committed: Option<LogId>) -> Self {
        Self { matched: sent, committed, ..Self::voted(vote) }
    }

    fn raise(&mut self, other: &Self) {
        self.matched = match self.term.cmp(&other.term) {
            std::cmp::Ordering::Less => other.matched,
            std::cmp::Ordering::Equal => self.matched.max(other.matched),
            std::cmp::Ordering::Greater => self.matched,
        };
        self.term = self.term.max(other.term);
        self.committed = self.committed.max(other.committed);
    }

    /// Whether a disk with this on it has lost something.
    pub(super) fn is_above(&self, own: &Position) -> bool {
        own.term < self.term || own.last < self.committed || (own.term == self.term && own.last < self.matched)
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Position { term: self.term, last: self.matched.max(self.committed) }.fmt(f)
    }
}

/// What a voter has on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub term: u64,
    pub last: Option<LogId>,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last {
            Some(last) => write!(f, "term {}, entry {} of term {}", self.term, last.index, last.leader_id.term),
            None => write!(f, "term {}, no entry", self.term),
        }
    }
}

/// Floors as they are stored and sent: by Raft id.
pub(super) type Floors = BTreeMap<u64, Floor>;

/// What this node knows of all voters, itself included. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Known(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    floors: Floors,
    /// Who votes; None: not known yet, so that everything is kept.
    voters: Option<BTreeSet<u64>>,
    /// Something is to be written.
    fresh: bool,
}

impl Known {
    pub(super) fn load(&self, floors: Floors) {
        self.lock().floors = floors;
    }

    pub(super) fn of(&self, id: u64) -> Option<Floor> {
        self.lock().floors.get(&id).copied()
    }

    pub(super) fn all(&self) -> Floors {
        self.lock().floors.clone()
    }

    pub(super) fn raise(&self, id: u64, floor: &Floor) {
        let mut inner = self.lock();
        if inner.voters.as_ref().is_some_and(|voters| !voters.contains(&id)) {
            return;
        }
        let before = inner.floors.get(&id).copied();
        let mut raised = before.unwrap_or_default();
        raised.raise(floor);
        if before != Some(raised) {
            inner.floors.insert(id, raised);
            inner.fresh = true;
        }
    }

    pub(super) fn merge(&self, floors: &Floors) {
        for (id, floor) in floors {
            self.raise(*id, floor);
        }
    }

    /// Forgets who votes no more: when it comes back it begins anew.
    pub(super) fn set_voters(&self, voters: BTreeSet<u64>) {
        let mut inner = self.lock();
        if inner.voters.as_ref() != Some(&voters) {
            let before = inner.floors.len();
            inner.floors.retain(|id, _| voters.contains(id));
            inner.fresh |= inner.floors.len() != before;
            inner.voters = Some(voters);
        }
    }

    /// What is to be written, if there is anything new.
    pub(super) fn fresh(&self) -> Option<Floors> {
        let inner = self.lock();
        inner.fresh.then(|| inner.floors.clone())
    }

    /// These are on disk.
    pub(super) fn written(&self, floors: &Floors) {
        let mut inner = self.lock();
        inner.fresh &= inner.floors != *floors;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A map is whole between two calls, whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::testing::log_id;

    fn vote(term: u64) -> Vote {
        Vote::new_committed(term, 1)
    }

    fn at(term: u64, index: u64) -> Option<LogId> {
        Some(log_id(term, 0, index))
    }

    #[test]
    fn a_disk_is_below_its_floor_only_if_something_is_lost() {
        let mut floor = Floor::followed(&vote(3), at(3, 100), at(3, 90));
        let own = |term, last| Position { term, last };
        assert!(!floor.is_above(&own(3, at(3, 100))));
        assert!(!floor.is_above(&own(4, at(4, 98))), "a later leader replaced what was not committed");
        assert!(!floor.is_above(&own(4, at(3, 97))), "and was just about to");
        assert!(floor.is_above(&own(3, at(3, 99))), "in the same term nothing is replaced");
        assert!(floor.is_above(&own(4, at(3, 89))), "what was committed is never replaced");
        assert!(floor.is_above(&own(2, at(3, 100))), "its vote is gone");
        assert!(floor.is_above(&own(0, None)));
        let sent = Floor::leads(&vote(3), at(3, 100), at(3, 90));
        assert!(sent.is_above(&own(3, at(3, 99))), "what it sent to nobody but one was on its own disk");
        assert!(!sent.is_above(&own(3, at(3, 100))));
        floor.raise(&Floor::voted(&vote(5)));
        assert!(floor.is_above(&own(4, at(4, 200))));
        assert!(!floor.is_above(&own(5, at(3, 95))), "what it had in term 3 may be replaced by now");
        floor.raise(&Floor::followed(&vote(4), at(4, 120), at(4, 120)));
        assert!(floor.is_above(&own(5, at(4, 119))), "late word of what is committed counts");
    }

    #[test]
    fn who_votes_no_more_is_forgotten_and_not_learnt_again() {
        let known = Known::default();
        known.raise(1, &Floor::voted(&vote(3)));
        known.raise(2, &Floor::voted(&vote(3)));
        let written = known.fresh().expect("is new");
        known.written(&written);
        known.raise(2, &Floor::voted(&vote(2)));
        assert_eq!(known.fresh(), None, "nothing new");
        known.set_voters([1].into());
        assert_eq!(known.fresh().expect("is new").keys().copied().collect::<Vec<_>>(), [1]);
        known.merge(&written);
        assert_eq!(known.of(2), None);
    }
}
