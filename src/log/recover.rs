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
use super::raft::Identity;
use super::types::{Entry, LogId, RaftNode, Vote, raft_id};
use openraft::{CommittedLeaderId, EntryPayload, Membership};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The generation of the log in a data directory; None where there is no log yet. The daemon must not run. Blocks.
pub fn generation_of(dir: &Path) -> Result<Option<u64>, LogError> {
    Ok(Disk::identity_of(dir)?.map(|identity| identity.generation))
}

/// Makes `node` the only member, in the next generation, which is returned. The daemon must not run. Blocks.
pub fn recover_alone(dir: &Path, identity: &Identity, node: RaftNode) -> Result<Identity, LogError> {
    let (mut disk, loaded) = Disk::open(dir, identity)?;
    if node.name != identity.node {
        return Err(disk.not_ours(&Identity { node: node.name, ..identity.clone() }, identity));
    }
    let Some(last) = loaded.last else {
        return Err(LogError::Io { path: dir.to_path_buf(), text: "there is no log to go on with".to_owned() });
    };
    let own = raft_id(&identity.node);
    let voted = loaded.vote.map_or(0, |vote: Vote| vote.leader_id().term);
    let term = voted.max(last.leader_id.term).saturating_add(1);
    let id = LogId::new(CommittedLeaderId::new(term, own), last.index.saturating_add(1));
    let members = Membership::new(vec![BTreeSet::from([own])], BTreeMap::from([(own, node)]));
    let entry = Entry { log_id: id, payload: EntryPayload::Membership(members) };
    let record = Record::of(&entry)
        .map_err(|error| LogError::Io { path: dir.to_path_buf(), text: format!("cannot encode: {error}") })?;
    let next = Identity { generation: identity.generation.saturating_add(1), ..identity.clone() };
    // Not committed: this node is to be elected, in yet another term, by itself.
    disk.replace(&next, &Vote::new(term, own), &record)?;
    tracing::warn!(identity = %next, term, index = id.index, "this node goes on alone");
    Ok(next)
}
