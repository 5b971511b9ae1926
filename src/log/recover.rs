//! Going on alone, offline: what an operator does when the other voters are lost.
//!
//! One transaction on the closed log of this node: a membership of this node alone, in a higher term, and a raised
//! generation. Everything in the log, committed or not, becomes the truth; this node leads as soon as it is started
//! with the new identity. Replicas of the old generation are refused by it and refuse it; they return with an empty
//! data directory.
//!
//! Does not prove that the others are off, and does not end their claims: that is the operator's statement, which the
//! caller commits as evidence afterwards.

use super::disk::{Disk, Record};
use super::error::LogError;
use super::machine::{Machine, Published};
use super::raft::Identity;
use super::store::Halt;
use super::types::{Entry, LogId, RaftNode, Vote, raft_id};
use openraft::{CommittedLeaderId, EntryPayload, Membership};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The generation of the log in a data directory; None where there is no log yet. The daemon must not run. Blocks.
pub fn generation_of(dir: &Path) -> Result<Option<u64>, LogError> {
    Ok(Disk::identity_of(dir)?.map(|identity| identity.generation))
}

/// A log that one node can go on with alone, held open: nothing is changed yet.
pub struct Alone {
    disk: Disk,
    next: Identity,
    vote: Vote,
    membership: Record,
    /// The snapshot, where it reaches beyond the log: then that is purged up to there, so that the log has no gap.
    beyond: Option<LogId>,
}

impl Alone {
    /// Looks at log and snapshot as a start does, and refuses what would not start afterwards. The daemon must not run.
    /// Blocks.
    pub fn prepare(dir: &Path, identity: &Identity, node: RaftNode) -> Result<Self, LogError> {
        let (disk, loaded) = Disk::open(dir, identity)?;
        if node.name != identity.node {
            return Err(disk.not_ours(&Identity { node: node.name, ..identity.clone() }, identity));
        }
        let machine = Machine::open(dir, Published::new(), Halt::new())?;
        machine.check_holds(dir, loaded.purged)?;
        let snapshot = machine.last_applied();
        let ends = || loaded.last.into_iter().chain(snapshot);
        // Above both, or it would count as applied and never be read.
        let Some(index) = ends().map(|id| id.index.saturating_add(1)).max() else {
            return Err(LogError::Io { path: dir.to_path_buf(), text: "there is no log to go on with".to_owned() });
        };
        let own = raft_id(&identity.node);
        let voted = loaded.vote.map_or(0, |vote: Vote| vote.leader_id().term);
        let term = ends().map(|id| id.leader_id.term).fold(voted, u64::max).saturating_add(1);
        let id = LogId::new(CommittedLeaderId::new(term, own), index);
        let members = Membership::new(vec![BTreeSet::from([own])], BTreeMap::from([(own, node)]));
        let entry = Entry { log_id: id, payload: EntryPayload::Membership(members) };
        let membership = Record::of(&entry)
            .map_err(|error| LogError::Io { path: dir.to_path_buf(), text: format!("cannot encode: {error}") })?;
        let next = Identity { generation: identity.generation.saturating_add(1), ..identity.clone() };
        let beyond = snapshot.filter(|covered| loaded.last.is_none_or(|last| last.index < covered.index));
        // Not committed: this node is to be elected, in yet another term, by itself.
        Ok(Self { disk, next, vote: Vote::new(term, own), membership, beyond })
    }

    /// Makes the node the only member, in the next generation, which is returned. Blocks.
    pub fn go_on(mut self) -> Result<Identity, LogError> {
        self.disk.replace(&self.next, &self.vote, &self.membership, self.beyond)?;
        tracing::warn!(identity = %self.next, index = self.membership.index, "this node goes on alone");
        Ok(self.next)
    }
}
