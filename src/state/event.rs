//! What happened, for people: `hafen events`, `status`, the logs.

use crate::model::{InstanceId, LogIndex, NodeId, Reason};
use serde::{Deserialize, Serialize};

/// One line of history, made by applying a command; equal on every node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    pub index: LogIndex,
    /// The proposer's wall clock, ms since 1970.
    pub at_ms: u64,
    pub kind: EventKind,
    #[serde(default)]
    pub node: Option<NodeId>,
    #[serde(default)]
    pub instance: Option<InstanceId>,
    /// Of `Assigned`: what the planner said, so that the event behind it can be found.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// The whole story in one line.
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub enum EventKind {
    Target,
    Assigned,
    Claimed,
    Started,
    Stopped,
    Promoted,
    Demoted,
    Failed,
    Found,
    Joined,
    Left,
    Suspected,
    Cleared,
    FenceStarted,
    FenceSucceeded,
    FenceFailed,
    Evidence,
    Override,
    Cleanup,
    Leader,
    Alarm,
    /// A fencing device fails its scheduled check, or passes it again.
    FenceCheck,
    // The copies of a clone are told of an operation.
    Announced,
    // Changed parameters were taken over in place.
    Reloaded,
    // A forge cannot be told of commits, or can again.
    Report,
}
