//! What is: `hafen status`, `hafen events`.

use super::{ApiVersion, EventsKind, StatusKind};
use crate::model::{FencingAction, NodeRole, Role};
use crate::state::{Event, EventKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The whole cluster, as the answering node knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusView {
    #[serde(default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    pub kind: StatusKind,
    /// The cluster's name in the manifests; none before the first push.
    pub cluster: Option<String>,
    /// Which node says all this.
    pub node: String,
    pub health: Health,
    /// The verdict in one line, as `hafen status` prints it first.
    pub summary: String,
    /// What makes it worse than healthy, worst first.
    pub problems: Vec<String>,
    pub target: Option<TargetView>,
    /// The last target that was reached in full.
    pub last_good: Option<TargetView>,
    /// Raised by `hafen recover`.
    pub generation: u64,
    pub leader: Option<String>,
    pub term: u64,
    pub voters: Vec<String>,
    /// The last applied log entry.
    pub index: u64,
    /// When this was made.
    pub now_ms: u64,
    pub nodes: Vec<NodeView>,
    /// Failures first, then what waits, what is being done, and the rest by name.
    pub resources: Vec<ResourceView>,
    /// The newest attempts, newest first.
    pub fencing: Vec<FencingView>,
    /// Fencing devices and their scheduled checks, by name.
    #[serde(default)]
    pub devices: Vec<DeviceView>,
    pub overrides: Vec<OverrideView>,
    /// Newest first.
    pub alarms: Vec<AlarmView>,
}

/// A fencing device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceView {
    pub name: String,
    pub agent: String,
    /// When the answering node checked it last; none: not since its daemon started, or it is that node's own device.
    pub checked_ms: Option<u64>,
    /// Nodes that could not use it at their last check.
    pub failing: Vec<DeviceFault>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceFault {
    pub node: String,
    pub since_ms: u64,
    pub why: String,
}

/// The verdict over everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Health {
    /// Everything is as the target wants it.
    Healthy,
    /// On the way there, without anything wrong.
    Converging,
    /// No manifests were pushed yet.
    Unconfigured,
    /// Something needs attention, or the next failure would hurt.
    Degraded,
    /// No leader is known: nothing can be decided.
    NoQuorum,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetView {
    pub revision: String,
    pub accepted_ms: u64,
    pub by: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    pub name: String,
    /// None: it joined, but no manifest names it.
    pub role: Option<NodeRole>,
    pub membership: MembershipView,
    /// When its membership changed last; none for a node that never joined.
    pub since_ms: Option<u64>,
    pub leader: bool,
    /// The boot it joined with.
    pub boot: Option<String>,
    pub version: Option<String>,
    /// As the answering node measures them; none to itself.
    pub links: Vec<LinkView>,
    /// What is odd about it: drained, in maintenance, suspected and why.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum MembershipView {
    /// Listed in the manifests, never joined.
    Absent,
    Joining,
    Online,
    Suspect,
    Fenced,
    Left,
}

/// One way to another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinkView {
    pub node: String,
    /// From 0, in the order of the node's addresses.
    pub link: u32,
    pub address: String,
    pub up: bool,
    /// Milliseconds since it was last heard on this link; none: never.
    pub last_heard_ms: Option<u64>,
}

/// One instance on one node, or nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceView {
    /// `db`, or `web:1` for a copy of a clone.
    pub instance: String,
    /// The agent it is run by, if it is (still) known.
    pub agent: Option<String>,
    /// Where it runs, or is to run.
    pub node: Option<String>,
    /// What it is, or is to be.
    pub role: Option<Role>,
    /// The phase of its claim, or `Failed` for one that was found not running; none: that node does not run it.
    pub phase: Option<String>,
    /// Since when.
    pub since_ms: Option<u64>,
    pub verdict: VerdictView,
    /// What failed and needs an operator before anything more is done with it there (`hafen cleanup`).
    #[serde(default)]
    pub blocked_by: Option<String>,
    /// Failures on that node that count towards its threshold.
    pub fail_count: u32,
    pub last_failure: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    Keep,
    Act,
    Wait,
    Blocked,
}

/// What the planner thinks of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerdictView {
    pub verdict: Verdict,
    pub reason: String,
    /// `file:line:column` of what asks for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FencingView {
    pub attempt: u64,
    pub node: String,
    pub action: FencingAction,
    /// From 1, as in the node's document.
    pub level: u32,
    pub devices: Vec<String>,
    pub executor: String,
    pub reason: String,
    pub started_ms: u64,
    pub ended_ms: Option<u64>,
    pub outcome: AttemptOutcome,
    /// Why it failed, or is unknown.
    pub error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AttemptOutcome {
    Open,
    Off,
    Failed,
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverrideView {
    pub id: u64,
    /// `drain`, `move to n2`, …
    pub what: String,
    pub scope: String,
    pub by: String,
    pub reason: String,
    pub since_ms: u64,
    pub expires_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlarmView {
    pub index: u64,
    pub at_ms: u64,
    pub text: String,
}

/// Events in order of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventsView {
    #[serde(default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    pub kind: EventsKind,
    pub events: Vec<EventView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventView {
    pub index: u64,
    pub at_ms: u64,
    pub kind: EventKind,
    pub node: Option<String>,
    pub instance: Option<String>,
    pub text: String,
}

impl From<&Event> for EventView {
    fn from(event: &Event) -> Self {
        Self {
            index: event.index.0,
            at_ms: event.at_ms,
            kind: event.kind,
            node: event.node.as_ref().map(ToString::to_string),
            instance: event.instance.as_ref().map(ToString::to_string),
            text: event.text.clone(),
        }
    }
}
