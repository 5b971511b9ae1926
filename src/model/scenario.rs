//! What could go wrong, and what is expected then: faults by hand, and scenarios as they are written in manifests.
//!
//! Values only. What becomes of them is worked out by `whatif`.

use super::{DeviceId, NodeId, OpName, Origin, ResourceId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Something that happens to a cluster from outside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Its power is gone, and stays so.
    NodeDown(NodeId),
    /// It boots anew.
    NodeUp(NodeId),
    /// It answers no more: a level that needs it proves nothing.
    DeviceDown(DeviceId),
    DeviceUp(DeviceId),
    /// The network of the addresses with this number, from 0, carries nothing.
    LinkDown(usize),
    LinkUp(usize),
    /// An operation of a resource fails on a node.
    Fail(FailedOperation),
}

/// A monitor fails at once, if it runs there; everything else whenever it is tried.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FailedOperation {
    pub resource: ResourceId,
    /// `Monitor`, `Start`, `Stop`, `Promote` or `Demote`.
    pub operation: OpName,
    pub node: NodeId,
}

impl fmt::Display for FailedOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}@{}", self.resource, self.operation, self.node)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeDown(node) => write!(f, "{node} loses its power"),
            Self::NodeUp(node) => write!(f, "{node} boots"),
            Self::DeviceDown(device) => write!(f, "{device} answers no more"),
            Self::DeviceUp(device) => write!(f, "{device} answers again"),
            Self::LinkDown(link) => write!(f, "link {link} is down"),
            Self::LinkUp(link) => write!(f, "link {link} is up again"),
            Self::Fail(failed) => {
                write!(f, "{} of {} fails on {}", failed.operation, failed.resource, failed.node)
            }
        }
    }
}

/// A story and its end, as a Scenario document tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    pub name: String,
    pub origin: Origin,
    /// One after the other; what is in one step happens at once. The cluster comes to rest in between.
    pub steps: Vec<Vec<Fault>>,
    pub expect: Expectation,
}

/// How it must end. What is not said is not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expectation {
    /// By resource, group or clone: exactly these nodes.
    pub placed: BTreeMap<ResourceId, BTreeSet<NodeId>>,
    /// By promotable clone, or what it copies: exactly these nodes.
    pub promoted: BTreeMap<ResourceId, BTreeSet<NodeId>>,
    /// Exactly these have no home, of what had one before.
    pub homeless: Option<BTreeSet<ResourceId>>,
    /// Exactly these were fenced, or proven off by themselves.
    pub fenced: Option<BTreeSet<NodeId>>,
    pub quorum: Option<bool>,
}
