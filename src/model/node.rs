//! Nodes, the cluster around them and the devices that fence them.

use super::window::ChangeWindow;
use super::{DeviceId, LeaseTiming, NodeId, QuorumLoss, ReportTo, ResourceId, SecretFile, SecretRefs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Settings of the whole cluster: the Cluster document with its defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    pub name: String,
    pub detection: Detection,
    pub fencing: FencingPolicy,
    pub quorum_loss: QuorumLoss,
    /// How long a node that was a member before may be unheard after the cluster started before it is fenced.
    pub join_grace: Duration,
    /// A push that removes more resources than this needs `-o allow-removals`.
    pub max_removals: u32,
    /// True: every resource may run everywhere unless a constraint says otherwise. False: only where one allows it.
    pub symmetric: bool,
    pub source: Option<Source>,
    pub placement: Placement,
    /// For nodes that their watchdog fences.
    pub watchdog: LeaseTiming,
    /// So many things may be lost at once without anything losing its home: what does not hold that is no target. 0: none.
    pub survive: u8,
    /// Who must have signed a change of what; empty: nobody.
    pub signatures: Vec<super::SignatureRule>,
    /// None: every commit counts as good.
    pub confirmation: Option<Confirmation>,
    /// When a commit may disturb services; empty: at any time. Recovery never asks.
    pub change_windows: Vec<ChangeWindow>,
    pub drift_policy: DriftPolicy,
}

/// What follows if something is found running where nobody asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub enum DriftPolicy {
    /// It is stopped, or where it is the only one and may be there, taken over.
    #[default]
    Correct,
    /// It is left alone and told of, like the rest of its resource; where it is the only one and may be there, taken over.
    Report,
}

/// `Cluster.spec.confirmation`: a new commit is on trial, and the cluster returns to the last good one if it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// How long after it was accepted.
    pub deadline: Duration,
    /// How long everything must have been healthy without a break.
    pub stable: Duration,
    pub by: ConfirmedBy,
}

impl Confirmation {
    /// Long enough for a failing start of a database to be noticed.
    pub const DEADLINE: Duration = Duration::from_secs(600);
    /// The interval of an ordinary monitor.
    pub const STABLE: Duration = Duration::from_secs(10);
}

/// Who may say that a commit turned out well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub enum ConfirmedBy {
    /// The cluster, once everything is as it should be. A person may, too.
    #[default]
    Health,
    /// A person alone: `hafen confirm`.
    Operator,
}

/// How capacity counts in the choice of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Placement {
    /// Nodes without room are out; few instances on each node; placed in order of priority and document.
    #[default]
    Spread,
    /// As `Spread`, but what is large is placed first (Pacemaker's `utilization`).
    Utilization,
    /// As `Utilization`, and the node with the most room left is taken.
    Balanced,
    /// As `Utilization`, and as few nodes as possible are used.
    Minimal,
}

/// When a silent node counts as suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detection {
    pub heartbeat: Duration,
    pub suspect_after: Duration,
}

impl Detection {
    /// The profile for LANs: a second and a half survives stalls of a busy machine.
    pub const DEFAULT: Self =
        Self { heartbeat: Duration::from_millis(100), suspect_after: Duration::from_millis(1500) };
    pub const FAST: Self = Self { heartbeat: Duration::from_millis(50), suspect_after: Duration::from_millis(400) };
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FencingPolicy {
    pub enabled: bool,
    /// How long one attempt (one level, all its devices) may take.
    pub timeout: Duration,
    pub action: FencingAction,
    /// Evidence of devices that were never proved does not count.
    pub require_tested: bool,
    /// A node fenced more often than this within an hour stays off.
    pub max_fences: u32,
    /// UNSAFE: with fencing disabled, a node silent for so long is taken to be off.
    pub assume_off: Option<Duration>,
    pub when: FenceWhen,
}

/// Which lost nodes are fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub enum FenceWhen {
    /// Those on which something depends.
    #[default]
    Needed,
    /// Every one.
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum FencingAction {
    Reboot,
    Off,
}

/// A git repository that the cluster follows, besides taking pushes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub url: Option<String>,
    pub branch: String,
    /// Folder of the manifests within the repository.
    pub path: String,
    pub interval: Duration,
    /// What a webhook must prove to know. None: anybody may hint, for it is no more than a hint.
    pub webhook: Option<SecretFile>,
    /// Who is told what became of a commit.
    pub report: Option<ReportTo>,
}

/// A machine, as its Node document describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub role: NodeRole,
    /// One per network; the first is link 0.
    pub addresses: Vec<IpAddr>,
    pub labels: BTreeMap<String, String>,
    pub capacity: BTreeMap<String, i64>,
    /// Levels in order; within a level every device must succeed.
    pub fencing: Vec<Vec<DeviceId>>,
    /// Of a [`NodeRole::Remote`] node: the resource over which it is reached. It is there as long as that runs. If that runs
    /// inside of another resource the node is a guest: its power is that resource.
    pub connection: Option<ResourceId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub enum NodeRole {
    /// Votes and runs resources.
    Voter,
    /// Runs resources, counts for nothing in a quorum.
    Agent,
    /// Votes, runs no resources.
    Witness,
    /// Takes no part in the cluster: runs resources as long as its connection, a resource, runs. Plans, but does not run.
    Remote,
}

impl NodeRole {
    pub fn votes(self) -> bool {
        matches!(self, Self::Voter | Self::Witness)
    }
    pub fn runs_resources(self) -> bool {
        matches!(self, Self::Voter | Self::Agent | Self::Remote)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FencingDevice {
    /// A fence agent such as `fence_ipmilan`, or `redfish`, or `watchdog`.
    pub agent: String,
    pub params: BTreeMap<String, String>,
    /// Read or opened on the node that runs the agent; what they say is never in the log.
    pub secrets: SecretRefs,
    /// What the device calls each node; nodes not listed are called by their name.
    pub targets: BTreeMap<NodeId, String>,
    pub timeout: Duration,
    pub delay: Duration,
    /// Tries after the first one failed, within the time-out.
    pub retries: u32,
    /// How often the device is asked whether it answers.
    pub check: Duration,
}

impl FencingDevice {
    /// Whether it means the node's own watchdog, and not something that others can ask.
    pub fn is_watchdog(&self) -> bool {
        self.agent == super::watchdog::WATCHDOG_AGENT
    }
}
