//! What agents of a clone with `notify: true` are told of what happens to the copies around them.
//!
//! Pacemaker Explained, "Clone notifications": before and after a start, stop, promote or demote of any copy, every
//! active copy's agent is called with the action `notify`. The lists are of the time before the operation, for both
//! calls: agents put the rest together themselves.

use super::{ActionKind, InstanceId, NodeId};
use serde::{Deserialize, Serialize};

/// Before or after the operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moment {
    Before,
    After,
}

/// A copy, and where it is or will be.
pub type CopyAt = (InstanceId, NodeId);

/// The copies of one clone, as they were when the operation was announced, and what is about to happen to them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Copies {
    pub start: Vec<CopyAt>,
    pub stop: Vec<CopyAt>,
    pub promote: Vec<CopyAt>,
    pub demote: Vec<CopyAt>,
    /// Running, in any role.
    pub active: Vec<CopyAt>,
    pub promoted: Vec<CopyAt>,
    pub unpromoted: Vec<CopyAt>,
    /// Copies that run nowhere.
    pub inactive: Vec<InstanceId>,
    /// Nodes that can run resources now.
    pub available: Vec<NodeId>,
}

/// What one run of an agent is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeView {
    /// Of which operation, for the action `notify`; None for the operation itself, which is told the lists too.
    pub about: Option<(Moment, ActionKind)>,
    pub copies: Copies,
}
