//! Why something is where it is, or is not done: one vocabulary for plan, status, `why`, API and events.

use super::{InstanceId, NodeId, ResourceId, Role};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One reason, as data; `Display` words it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// It runs where it should.
    InPlace,
    /// The best node for it.
    Placed,
    /// The best node now is another one.
    BetterNode { from: NodeId },
    /// Its node is lost.
    NodeLost { node: NodeId },
    /// Its node is being emptied.
    Draining { node: NodeId },
    /// An operator asked for it.
    Override { by: String, reason: String },
    /// It failed here too often.
    Threshold { node: NodeId, failures: u32 },
    /// It failed and is started again in place.
    Recover { node: NodeId },
    /// Its parameters were changed.
    Changed,
    /// Something it needs is restarted or moved.
    Follows { other: ResourceId },
    /// It is no longer in git.
    Removed,
    /// `targetRole` says so.
    TargetRole,
    /// More copies run than may.
    MultipleActive,
    /// Being powered off.
    Fencing { node: NodeId },
    /// No device could power it off so far; it is tried again.
    FencingFailed { node: NodeId, why: String },
    /// Cannot be powered off: nothing proves that this node is off.
    NotProvenOff { node: NodeId, why: String },
    /// What runs on this node is not known yet.
    NotProbed { node: NodeId },
    /// This must happen before.
    After { instance: InstanceId, role: Option<Role> },
    /// No node may run it.
    NoNode { why: String },
    /// The partition has no quorum.
    NoQuorum,
    /// Unmanaged, or in maintenance.
    Unmanaged,
    /// An operation failed and `onFail: Block` (or a failed stop that cannot be fenced) needs an operator.
    FailedBlocked { what: String },
    /// Waiting until a failed start is tried again.
    Backoff { node: NodeId, until_ms: u64 },
    /// A new resource with the identity of an old one waits until the old one is gone.
    SameAs { old: ResourceId },
    /// This site does not hold a ticket that it needs.
    NoTicket { ticket: String },
    /// A kind or requirement that this version plans but does not run.
    NotInThisVersion { what: String },
    /// This copy of the clone is told of it first (`notify: true`).
    Told { instance: InstanceId },
    /// It runs where nobody asked for it, and `driftPolicy: Report` leaves it there.
    Drift { node: NodeId },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InPlace => f.write_str("runs where it should"),
            Self::Placed => f.write_str("the best node for it"),
            Self::BetterNode { from } => write!(f, "better placed than on {from}"),
            Self::NodeLost { node } => write!(f, "{node} is lost"),
            Self::Draining { node } => write!(f, "{node} is drained"),
            Self::Override { by, reason } if reason.is_empty() => write!(f, "{by} asked for it"),
            Self::Override { by, reason } => write!(f, "{by} asked for it: {reason}"),
            Self::Threshold { node, failures } => write!(f, "failed {failures} times on {node}"),
            Self::Recover { node } => write!(f, "failed on {node}"),
            Self::Changed => f.write_str("its parameters were changed"),
            Self::Follows { other } => write!(f, "follows {other}"),
            Self::Removed => f.write_str("no longer in git"),
            Self::TargetRole => f.write_str("targetRole says so"),
            Self::MultipleActive => f.write_str("more copies run than may"),
            Self::Fencing { node } => write!(f, "{node} is being fenced"),
            Self::FencingFailed { node, why } => write!(
                f,
                "{node} could not be powered off ({why}), it is tried again; if it is off: `hafen fence confirm {node}`"
            ),
            Self::NotProvenOff { node, why } => write!(f, "{node} is not proven off: {why}"),
            Self::NotProbed { node } => write!(f, "{node} has not said yet what runs there"),
            Self::After { instance, role: Some(role) } => write!(f, "{instance} must be {role} before"),
            Self::After { instance, role: None } => write!(f, "{instance} comes before"),
            Self::NoNode { why } => write!(f, "no node may run it: {why}"),
            Self::NoQuorum => f.write_str("no quorum"),
            Self::Unmanaged => f.write_str("unmanaged or in maintenance"),
            Self::FailedBlocked { what } => write!(f, "{what}; `hafen cleanup` after mending it"),
            Self::Backoff { node, .. } => write!(f, "failed to start on {node}, waits before the next try"),
            Self::SameAs { old } => write!(f, "is the same service as {old}, which is not gone yet"),
            Self::NoTicket { ticket } => write!(f, "this site does not hold the ticket {ticket}"),
            Self::NotInThisVersion { what } => write!(f, "{what} plans but does not run in this version"),
            Self::Drift { node } => {
                write!(
                    f,
                    "it runs on {node} though nobody asked for it there; `driftPolicy: Report` leaves that to you"
                )
            }
            Self::Told { instance } => write!(f, "{instance} is told of it first"),
        }
    }
}
