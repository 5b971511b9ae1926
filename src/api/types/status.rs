//! What is: `hafen status`, `hafen events`.

use super::{ApiVersion, EventsKind, SignatureView, StatusKind};
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
    /// How the target does, and what the cluster returned from.
    #[serde(default)]
    pub rollout: RolloutView,
    /// Messages of webhooks that came to the answering node since its daemon started; none: no message came.
    #[serde(default)]
    pub webhook: Option<WebhookView>,
}

/// Whether the target turned out well (`Cluster.spec.confirmation`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutView {
    pub trial: TrialView,
    /// When it must be confirmed at the latest.
    pub until_ms: Option<u64>,
    /// Who may confirm it, or did.
    pub by: Option<String>,
    /// What `main` of git names, where the cluster returned from it.
    pub tip: Option<String>,
    /// What was returned from, newest first: the same manifests are refused.
    pub held: Vec<HeldView>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrialView {
    /// Nobody asked for one.
    #[default]
    Off,
    /// Under way.
    On,
    /// Under way, after a return: nothing is behind it.
    Returned,
    Passed,
    /// In vain, and there was nothing to return to.
    Failed,
}

/// A revision that the cluster returned from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldView {
    pub revision: String,
    pub at_ms: u64,
    pub why: String,
}

/// What became of messages that said that the source has something new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookView {
    pub accepted: u64,
    pub refused: u64,
    pub last_refusal: Option<WebhookRefusalView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookRefusalView {
    /// By the clock of the answering node.
    pub at_ms: u64,
    pub why: String,
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
    /// Who signed it. None: the manifests have no rules about signatures, or this node has not looked yet.
    #[serde(default)]
    pub signature: Option<SignatureView>,
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
    /// For whom to encrypt secrets that it is to open (`age1…`); none: it had no key when it joined (`hafen keygen`).
    #[serde(default)]
    pub recipient: Option<String>,
    /// As the answering node measures them; none to itself.
    pub links: Vec<LinkView>,
    /// What is odd about it: drained, in maintenance, suspected and why.
    pub notes: Vec<String>,
    /// What switches it off, in the order in which it is tried.
    #[serde(default)]
    pub fencing: Vec<LevelView>,
}

/// One level of a node's fencing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LevelView {
    /// From 1.
    pub level: u32,
    pub devices: Vec<String>,
    /// None: nobody has seen it work.
    pub trust: Option<TrustView>,
}

/// Why a level is believed to work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrustView {
    /// Who vouches for it, or what proved it.
    pub by: String,
    /// How they know; empty where it worked.
    pub reason: String,
    pub at_ms: u64,
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
