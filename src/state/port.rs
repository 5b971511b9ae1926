//! The narrow door to consensus: an ordered log with snapshots and a leader.
//!
//! `log` implements it over embedded openraft; another implementation needs nothing but this.

use super::{Command, Event, Refusal, State};
use crate::model::{LogIndex, NodeId};
use std::future::Future;
use std::sync::Arc;

/// What became of each proposed command, in order, and where the entry stands.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Applied {
    pub index: LogIndex,
    pub answers: Vec<Result<(), Refusal>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum ProposeError {
    /// It was never proposed: no leader known, or none reached.
    #[error("no leader could be reached")]
    NoLeader,
    /// It may or may not have been committed.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    #[error("the entry is larger than {limit} bytes")]
    TooLarge { limit: usize },
}

/// What is published after every applied entry.
#[derive(Debug, Clone)]
pub struct Committed {
    pub state: Arc<State>,
    pub events: Arc<Vec<Event>>,
}

/// Who leads, as this node believes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leadership {
    pub leader: Option<NodeId>,
    pub term: u64,
    pub is_self: bool,
    pub voters: Vec<NodeId>,
    pub learners: Vec<NodeId>,
    pub last_log: u64,
    pub applied: u64,
}

/// The log, as the daemon uses it.
pub trait Log: Send + Sync + 'static {
    /// Proposes commands as one entry, at the leader, wherever it is. Returns when this node has applied it.
    fn propose(&self, commands: Vec<Command>) -> impl Future<Output = Result<Applied, ProposeError>> + Send;
    /// The same, but refused unless this node leads in this term: for commands that rest on this node's own counts.
    fn propose_as_leader(
        &self,
        term: u64,
        commands: Vec<Command>,
    ) -> impl Future<Output = Result<Applied, ProposeError>> + Send;
    fn state(&self) -> Arc<State>;
    fn leadership(&self) -> Leadership;
}
