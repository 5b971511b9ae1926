//! Who belongs to the log: the first node, learners, voters, addresses.
//!
//! Only the leader changes members, one voter at a time; openraft does each change through a joint configuration. Every
//! call says what it wants to be true and does nothing if it is, so that it can be repeated after `Unknown`.

use super::error::MembershipError;
use super::network::Transport;
use super::raft::{Metrics, RaftLog, standing_of};
use super::types::{RaftNode, raft_id};
use crate::model::NodeId;
use openraft::ChangeMembers;
use openraft::error::{ChangeMembershipError, ClientWriteError, InitializeError, RaftError};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::timeout;

/// A change of members needs two commits, and the learner to be there; longer than that is no quorum.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(15);
/// A learner that lacks no more entries than this has caught up; they are one append.
const NEAR: u64 = 100;

impl<T: Transport> RaftLog<T> {
    /// Makes this node the sole voter of a new cluster, and waits until it leads.
    pub async fn initialize_single(&self, node: RaftNode) -> Result<(), MembershipError> {
        let own = self.inner.identity.node.clone();
        if node.name != own {
            return Err(MembershipError::NotSelf { name: node.name, own });
        }
        let members = BTreeMap::from([(raft_id(&own), node)]);
        match self.inner.raft.initialize(members).await {
            Ok(()) => {}
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => return Err(MembershipError::Initialised),
            Err(error) => return Err(MembershipError::Unknown(error.to_string())),
        }
        let mut standing = self.standing();
        let leads = standing.wait_for(|now| now.leadership.is_self && now.leadership.applied > 0);
        match timeout(CHANGE_TIMEOUT, leads).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(MembershipError::Unknown("this node does not lead yet".to_owned())),
        }
    }

    /// Adds a node that gets every entry and counts for nothing. Does not wait until it has caught up.
    pub async fn add_learner(&self, node: RaftNode) -> Result<(), MembershipError> {
        self.require_leader()?;
        let id = raft_id(&node.name);
        match self.member(id) {
            Some(other) if other.name != node.name => return Err(MembershipError::collision(&node, &other)),
            Some(same) if same == node => return Ok(()),
            Some(_) => return self.set_addresses(node).await,
            None => {}
        }
        self.change(ChangeMembers::AddNodes(BTreeMap::from([(id, node)])), Kept::AsLearners).await
    }

    /// Changes the addresses of a member.
    pub async fn set_addresses(&self, node: RaftNode) -> Result<(), MembershipError> {
        self.require_leader()?;
        let id = raft_id(&node.name);
        match self.member(id) {
            None => Err(MembershipError::UnknownMember { name: node.name }),
            Some(other) if other.name != node.name => Err(MembershipError::collision(&node, &other)),
            Some(same) if same == node => Ok(()),
            Some(_) => self.change(ChangeMembers::SetNodes(BTreeMap::from([(id, node)])), Kept::AsLearners).await,
        }
    }

    /// Makes exactly these members voters, one after the other, additions first; who was one stays a learner. A voter
    /// that is added must have been added as a learner before, and the change waits until it has caught up.
    pub async fn set_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), MembershipError> {
        if voters.is_empty() {
            return Err(MembershipError::NoVoters);
        }
        self.require_leader()?;
        let wanted: BTreeMap<u64, &NodeId> = voters.iter().map(|name| (raft_id(name), name)).collect();
        for (id, name) in &wanted {
            if self.member(*id).is_none_or(|member| member.name != **name) {
                return Err(MembershipError::UnknownMember { name: (*name).clone() });
            }
        }
        let current: BTreeSet<u64> = self.metrics().membership_config.membership().voter_ids().collect();
        for (id, name) in wanted.iter().filter(|(id, _)| !current.contains(id)) {
            self.caught_up(*id, name).await?;
            self.change(ChangeMembers::AddVoterIds(BTreeSet::from([*id])), Kept::AsLearners).await?;
        }
        // This node last: once it votes no more it cannot change anything.
        let own = raft_id(&self.inner.identity.node);
        let mut leaving: Vec<u64> = current.into_iter().filter(|id| !wanted.contains_key(id)).collect();
        leaving.sort_by_key(|id| *id == own);
        for id in leaving {
            self.change(ChangeMembers::RemoveVoters(BTreeSet::from([id])), Kept::AsLearners).await?;
        }
        Ok(())
    }

    /// Removes a member, voter or learner. A node that is removed hears no more of the log; nobody tells it.
    pub async fn remove(&self, name: &NodeId) -> Result<(), MembershipError> {
        self.require_leader()?;
        let id = raft_id(name);
        if self.member(id).is_none_or(|member| member.name != *name) {
            return Ok(());
        }
        let voters: BTreeSet<u64> = self.metrics().membership_config.membership().voter_ids().collect();
        if !voters.contains(&id) {
            return self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id])), Kept::Nobody).await;
        }
        if voters.len() == 1 {
            return Err(MembershipError::NoVoters);
        }
        self.change(ChangeMembers::RemoveVoters(BTreeSet::from([id])), Kept::Nobody).await
    }

    /// Others may know an old membership, and would take what is asked for done.
    fn require_leader(&self) -> Result<(), MembershipError> {
        let now = standing_of(&self.metrics(), self.inner.admission.elections.is_admitted()).leadership;
        if now.is_self { Ok(()) } else { Err(MembershipError::NotLeader { leader: now.leader }) }
    }

    /// Waits until a learner has all but the newest entries: a voter that is far behind would cost availability.
    async fn caught_up(&self, id: u64, name: &NodeId) -> Result<(), MembershipError> {
        let mut metrics = self.inner.raft.metrics();
        let near = metrics.wait_for(|now| {
            let last = now.last_log_index.unwrap_or(0);
            let Some(replication) = &now.replication else { return true };
            replication.get(&id).copied().flatten().is_some_and(|matching| matching.index + NEAR >= last)
        });
        match timeout(CHANGE_TIMEOUT, near).await {
            // Without replication this node does not lead; the change itself will say so.
            Ok(_) => Ok(()),
            Err(_) => Err(MembershipError::Behind { name: name.clone() }),
        }
    }

    fn metrics(&self) -> Metrics {
        self.inner.raft.metrics().borrow().clone()
    }

    fn member(&self, id: u64) -> Option<RaftNode> {
        self.metrics().membership_config.membership().get_node(&id).cloned()
    }

    async fn change(&self, change: ChangeMembers<u64, RaftNode>, kept: Kept) -> Result<(), MembershipError> {
        let retain = matches!(kept, Kept::AsLearners);
        let changed = timeout(CHANGE_TIMEOUT, self.inner.raft.change_membership(change, retain)).await;
        let error = match changed {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(RaftError::APIError(error))) => error,
            Ok(Err(RaftError::Fatal(fatal))) => return Err(MembershipError::Unknown(fatal.to_string())),
            Err(_) => return Err(MembershipError::Unknown("no quorum confirmed it in time".to_owned())),
        };
        Err(match error {
            ClientWriteError::ForwardToLeader(to) => {
                MembershipError::NotLeader { leader: to.leader_node.map(|node| node.name) }
            }
            ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)) => {
                MembershipError::InProgress
            }
            ClientWriteError::ChangeMembershipError(ChangeMembershipError::EmptyMembership(_)) => {
                MembershipError::NoVoters
            }
            ClientWriteError::ChangeMembershipError(ChangeMembershipError::LearnerNotFound(missing)) => {
                MembershipError::UnknownMember { name: NodeId::new(format!("raft id {}", missing.node_id)) }
            }
        })
    }
}

/// What becomes of a voter that is one no more.
enum Kept {
    AsLearners,
    Nobody,
}
