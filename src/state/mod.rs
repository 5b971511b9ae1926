//! The replicated state machine: what the cluster has agreed on.
//!
//! Answers: is this command allowed now, and what is true after it? Input: a [`State`] and an [`Entry`] of the log.
//! Output: the next state, an answer per command and the [`Event`]s that people read.
//!
//! Invariants (each also checked by a test):
//! - live claims of a resource never exceed its limits, except claims *found* running;
//! - a claim ends only by evidence: `Released`, `Rebooted`, `FenceConfirmed`, `WatchdogElapsed`, `ConfirmedOff`;
//! - a boot proven off is burnt and never joins again;
//! - apply is total and deterministic: it never panics, and a refused command changes nothing.
//!
//! Deliberately absent: decisions about what would be good (that is `plan`), clocks (time comes in by `Tick`).
//!
//! Files: `command` the commands · `apply` one entry · `claims`, `members`, `fencing`, `target`, `overrides`, `notices`,
//! `reload`, `halt`, `durations`, `watchdog`, `migration`, `reports` a
//! concern each · `event` what people read · `snapshot` bytes · `document` for people and for plans made elsewhere, `export` without secrets · `query` questions that more than one module asks.

mod apply;
mod claims;
pub mod command;
pub mod document;
mod durations;
pub mod event;
mod export;
mod fencing;
mod halt;
#[cfg(test)]
mod life_tests;
mod members;
pub mod migration;
mod notices;
mod outbox;
mod overrides;
pub mod port;
pub mod query;
mod reload;
mod reports;
pub mod rollout;
pub mod snapshot;
pub mod target;
#[cfg(test)]
mod tests;
mod watchdog;

pub use command::{
    AssignChange, Assigned, Command, Entry, Fact, FactPhase, FailureKind, FenceOutcome, JoinFacts, OpReport,
    ProbeReport, Refusal, SEEN_LEVEL,
};
pub use document::{DocumentError, StateDocument};
pub use durations::Durations;
pub use event::{Event, EventKind};
pub use export::TargetEntry;
pub use fencing::PAUSE_BETWEEN_CYCLES_MS;
pub use notices::{Announcement, Member, Notice, NoticeStage, Told};
pub use outbox::{Failing, LONGEST_WORD, OUTBOX_LEVEL, Outbox, Sent, Word};
pub use reload::RELOAD_LEVEL;
pub use rollout::Rollout;

use crate::model::{
    ActionKind, AttemptId, BootId, Definition, DeviceId, Digest, Epoch, ExecStatus, FencingAction, FencingDevice,
    Incarnation, InstanceId, LeaseTiming, LogIndex, Node, NodeId, OverrideId, Reading, ResourceId, Revision, Role,
    Spec, WatchdogFacts,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The feature level of this build: the highest one it can apply.
///
/// 2: notices of clones, reload in place, reports of commits, live migration.
pub const FEATURE_LEVEL: u32 = 2;

/// Everything agreed. Equal on every replica that applied the same entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct State {
    /// Selects the semantics of `apply` and `order`.
    pub feature_level: u32,
    /// Raised by `hafen recover`; replicas of different generations never talk.
    pub generation: u64,
    /// The last applied entry.
    pub index: LogIndex,
    /// Wall time in ms since 1970 as agreed through `Tick`; never goes back. Expiries use it; evidence never does.
    pub now_ms: u64,
    /// Source of epochs.
    pub last_epoch: Epoch,
    pub target: Option<Target>,
    /// What the cluster returns to if the target turns out badly. Its spec is kept.
    pub last_good: Option<Target>,
    /// Nothing uses it any more; format 1 has it here. [`Rollout::held`] is what counts.
    pub held: BTreeSet<Revision>,
    /// Specs on their way in chunks.
    pub uploads: BTreeMap<Digest, Upload>,
    /// Complete specs: those of the target and of the last good one.
    pub specs: BTreeMap<Digest, Arc<Spec>>,
    /// What the target says of each resource: its definition by digest.
    pub current: BTreeMap<ResourceId, Digest>,
    /// Kept while the target or a claim refers to them.
    pub definitions: BTreeMap<Digest, Arc<Definition>>,
    /// Nodes that were let in by a token: who may talk, and where they listen.
    pub admitted: BTreeMap<NodeId, Admitted>,
    pub tokens: BTreeMap<u64, Token>,
    pub nodes: BTreeMap<NodeId, NodeState>,
    pub assignment: BTreeMap<InstanceId, Assignment>,
    pub claims: BTreeMap<ClaimKey, Claim>,
    pub history: BTreeMap<ClaimKey, OpRecord>,
    pub probes: BTreeMap<ProbeKey, Probe>,
    pub attempts: BTreeMap<AttemptId, Attempt>,
    pub last_attempt: AttemptId,
    /// Which fencing levels were proved to work.
    pub trust: BTreeMap<TrustKey, Trust>,
    pub overrides: BTreeMap<OverrideId, Override>,
    pub last_override: OverrideId,
    /// The leader that may propose what rests on a count, since its `LeaderStart`.
    pub leader: Option<Leader>,
    /// Broken invariants and contradictions, newest last, bounded.
    pub alarms: Vec<Alarm>,
    /// Announced operations on copies of clones with `notify`. Format 2: stored behind the rest (`snapshot`).
    #[serde(skip)]
    pub notices: BTreeMap<Epoch, Notice>,
    /// What reloads that are under way take over. Format 2, as above.
    #[serde(skip)]
    pub reloads: BTreeMap<ClaimKey, Digest>,
    /// Stopped for running more than once (`multipleActive: StopOnly`), until an operator's cleanup. Format 2, as above.
    #[serde(skip)]
    pub halted: BTreeSet<ResourceId>,
    /// Permissions of this site, by name; what is not here is not held. Format 2, as above.
    #[serde(skip)]
    pub tickets: BTreeMap<String, TicketState>,
    /// How long the last actions took. Format 2, as above.
    #[serde(skip)]
    pub durations: Durations,
    /// How the target does, and what was returned from. Format 2, as above.
    #[serde(skip)]
    pub rollout: Rollout,
    /// What a forge is to be told of commits. Format 2, as above.
    #[serde(skip)]
    pub outbox: Outbox,
    /// The nodes of this state are no majority. Only of states that were read from elsewhere: this cluster agrees on
    /// nothing without a quorum, so it has no such state of its own. Never stored.
    #[serde(skip)]
    pub without_quorum: bool,
}

/// The commit that the cluster is to follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub revision: Revision,
    pub spec: Digest,
    pub accepted_at: LogIndex,
    pub accepted_ms: u64,
    pub by: String,
}

/// A spec of which some chunks are here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    pub total: u32,
    pub chunks: BTreeMap<u32, Vec<u8>>,
    /// When the last chunk came; stale uploads are dropped when room is needed.
    pub touched: LogIndex,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub term: u64,
    /// A new leader may set the clock once.
    pub may_set_clock: bool,
}

/// How a ticket is at this site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct TicketState {
    pub granted: bool,
    /// Granted, but laid aside: as if it were lost, without force.
    pub standby: bool,
}

/// A node that holds a certificate of this cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    pub addresses: Vec<std::net::IpAddr>,
    pub port: u16,
}

/// What is remembered of a token; its secret is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub secret_hash: Digest,
    pub role: TokenFor,
    /// Wall time, ms since 1970.
    pub expires_ms: u64,
    pub by: String,
    /// Join tokens are good for one node; the same node may ask again if the answer was lost.
    pub used_by: Option<NodeId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TokenFor {
    Node,
    Viewer,
    Operator,
}

/// A member, or a former one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    pub membership: Membership,
    pub incarnation: Incarnation,
    /// The entry that accepted the current boot; observations that began before it are dropped.
    pub joined_at: LogIndex,
    pub since_ms: u64,
    /// Addresses it joined with; the document's win where there is one.
    pub addresses: Vec<std::net::IpAddr>,
    pub port: u16,
    pub version: String,
    pub feature_level: u32,
    /// For whom secrets are encrypted that it is to open, as it said when it joined.
    pub recipient: Option<String>,
    /// Set by agents (`crm_attribute`); gone with the boot.
    pub attributes: BTreeMap<String, String>,
    /// Set by agents with `--lifetime forever`.
    pub permanent_attributes: BTreeMap<String, String>,
    /// Boots proven off. They never join, claim or count again.
    pub burnt: BTreeSet<BootId>,
    /// Boots that were heard after they had been proven off.
    pub contradicted: BTreeSet<BootId>,
    /// Its daemon said that it restarts; until its next `Join`.
    pub restarting: bool,
    pub suspicion: Option<Suspicion>,
    /// Numbers suspicions, so that an old `Clear` cannot clear a new one.
    pub last_suspicion: u64,
    /// The newest document and its devices; kept after its removal from git while the node has claims or attempts.
    pub document: Option<Arc<NodeDocument>>,
    /// The target has a document for it.
    pub listed: bool,
    /// Times of its fencings within the last hour.
    pub fenced_ms: Vec<u64>,
    /// Fencing devices that this node, by its last check, could not use. Gone with the boot.
    pub bad_devices: BTreeMap<DeviceId, BadDevice>,
    /// The watchdog that this boot has armed, and the times it goes by.
    pub watchdog: Option<WatchdogReport>,
    /// The boot that was last proven off because its lease ran out. It may live, having let go of everything in time.
    pub lease_over: Option<BootId>,
}

/// What a node says of its armed watchdog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchdogReport {
    pub facts: WatchdogFacts,
    /// What it goes by; longer or shorter than git asks for until it says otherwise.
    pub timing: LeaseTiming,
}

/// A fencing device that failed its check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadDevice {
    pub since_ms: u64,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDocument {
    pub node: Node,
    pub devices: BTreeMap<DeviceId, FencingDevice>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Membership {
    /// Let in, but an attempt against it is still open.
    Joining,
    Online,
    /// Not heard; may still run everything.
    Suspect,
    /// Proven off.
    Fenced,
    /// Went of its own accord, with nothing running.
    Left,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    pub number: u64,
    pub boot: BootId,
    pub since_ms: u64,
    pub reason: String,
}

/// Where an instance is to run, and what must be true before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    pub to: Assigned,
    /// The entry that made it; a `Claim` names it.
    pub index: LogIndex,
    pub since_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClaimKey {
    pub instance: InstanceId,
    pub node: NodeId,
}

impl std::fmt::Display for ClaimKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.instance, self.node)
    }
}

/// The right, and the duty, of a node to run an instance. It pins how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub incarnation: Incarnation,
    pub epoch: Epoch,
    pub definition: Digest,
    pub phase: Phase,
    /// The role it has; with `Promoting` and `Demoting` the role it comes from.
    pub role: Role,
    pub granted_at: LogIndex,
    /// The last entry that changed it; observations that began before are dropped.
    pub changed_at: LogIndex,
    pub since_ms: u64,
    /// What had to run before it, when it was granted: it stops before them, also when git knows none of them any more.
    pub after: Vec<InstanceId>,
    /// Running without having been asked: a failed stop of it blocks and never fences.
    pub found: bool,
    /// What went wrong since the last success. The owner settles such a claim: stop, verify, release.
    pub failure: Option<Failure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    Starting,
    Running,
    Promoting,
    Demoting,
    Stopping,
    /// Its agent moves it to where the claim is that is `MigratingFrom`.
    MigratingTo,
    /// It is expected, or being taken in.
    MigratingFrom,
    /// Its agent takes changed parameters over while it runs.
    Reloading,
    /// Its agent has moved it; the other end takes it in.
    Migrated,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub action: ActionKind,
    pub kind: FailureKind,
    pub at_ms: u64,
    /// One line for people; never secret.
    pub text: String,
    /// Only an operator's cleanup goes on from here (`onFail: Block`, or a stop that failed where fencing may not be used).
    pub blocked: bool,
    /// The node must be fenced for it (`onFail: Fence`, a failed stop).
    pub fence: bool,
}

/// What happened to an instance on a node, kept after its claim is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpRecord {
    pub last_action: ActionKind,
    pub last_status: ExecStatus,
    pub at_ms: u64,
    pub duration_ms: u64,
    pub fail_count: u32,
    pub last_failure_ms: u64,
    pub last_failure: String,
    /// A start failed: the node is banned until the failure expires, or, where nothing else is left, until `retry_ms`.
    pub start_failed: bool,
    pub retry_ms: u64,
    /// `onFail: Move`: banned whatever the count.
    pub moved: bool,
    /// `onFail: Stop`: stays stopped everywhere until cleaned up or expired.
    pub stopped: bool,
    /// `onFail: Demote`: not promoted here until cleaned up or expired.
    pub demoted: bool,
    /// `onFail: Standby`: nothing runs on this node until cleaned up or expired.
    pub standby: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProbeKey {
    pub resource: ResourceId,
    pub node: NodeId,
}

/// What a node last said of a resource it holds no claim on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    pub incarnation: Incarnation,
    /// [`State::identity`] of the definition that was asked.
    pub identity: Digest,
    pub reading: Reading,
    pub at: LogIndex,
    pub text: String,
}

/// One try to switch one boot off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub node: NodeId,
    pub boot: BootId,
    /// From 0, as an index into the node's levels.
    pub level: u32,
    pub devices: Vec<DeviceId>,
    pub executor: Incarnation,
    pub executor_node: NodeId,
    pub action: FencingAction,
    pub started_ms: u64,
    pub deadline_ms: u64,
    pub reason: String,
    pub outcome: Option<FenceOutcome>,
    pub ended_ms: u64,
    /// Whether the node is to be switched on again by this attempt's executor, and what came of it.
    pub on: SwitchOn,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SwitchOn {
    NotWanted,
    /// As soon as the result is committed.
    Wanted,
    Done,
    Failed(String),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TrustKey {
    pub node: NodeId,
    pub level: u32,
    /// Of agents and non-secret parameters.
    pub digest: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    pub by: String,
    /// How they know; empty where it worked.
    pub reason: String,
    pub at_ms: u64,
}

/// A fact of the hour that is no desired state: drained, moved, in maintenance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    pub scope: Scope,
    pub kind: OverrideKind,
    pub by: String,
    pub reason: String,
    pub since_ms: u64,
    /// None: until it is cleared, or for `Move` until it is done.
    pub expires_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    Cluster,
    Node(NodeId),
    /// A resource, group or clone.
    Resource(ResourceId),
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cluster => f.write_str("the cluster"),
            Self::Node(node) => write!(f, "node {node}"),
            Self::Resource(resource) => write!(f, "resource {resource}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OverrideKind {
    /// A node runs nothing.
    Drain,
    /// A resource goes to this node.
    Move { to: NodeId },
    /// A resource leaves this node.
    Ban { node: NodeId },
    /// Nothing is started, stopped or settled.
    Maintenance,
    /// The watchdog of a node is let go (no claims may be held).
    Disarm,
    /// A resource is stopped.
    Stop,
    /// A node is going down of its own accord: like `Drain`, until its next `Join`.
    Shutdown,
    /// An operator wants this node powered off (and on again, where the policy says so), heard or not.
    Fence,
    /// The same to see whether one level works: that level alone, once, however it ends.
    TestFence { level: u32 },
    /// No other target is taken: what runs stays as the current one says, and is recovered as ever.
    Suspend,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    pub at: LogIndex,
    pub at_ms: u64,
    pub text: String,
}
