//! The commands of the log, and the answers to them.

use super::{Announcement, ClaimKey, OverrideKind, Phase, Scope, Token, Told, WatchdogReport};
use crate::model::{
    ActionKind, AttemptId, BootId, CommitState, Delivery, DeviceId, Digest, Epoch, ExecStatus, FencingAction,
    Incarnation, InstanceId, LogIndex, NodeId, OverrideId, Reading, Reason, ResourceId, Revision, Role,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// One entry of the log: several commands that are applied one after the other, each answered by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The proposer's wall clock in ms since 1970. For people only; nothing is decided by it.
    pub at_ms: u64,
    pub commands: Vec<Command>,
}

/// What can be proposed. Commands that rest on a count (`leader` field) are refused unless the named leader's
/// `LeaderStart` is the newest one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// A part of a compressed spec, at most 64 KiB.
    SpecChunk {
        digest: Digest,
        number: u32,
        total: u32,
        bytes: Vec<u8>,
    },
    /// The cluster is to follow this commit. `parent` is the target it was checked against.
    SetTarget {
        revision: Revision,
        parent: Option<Revision>,
        spec: Digest,
        by: String,
    },
    /// The changed part of where everything is to run.
    Assign {
        leader: Incarnation,
        changes: Vec<AssignChange>,
    },
    /// First entry of a leader, in its own term.
    LeaderStart {
        node: NodeId,
        incarnation: Incarnation,
        term: u64,
    },
    /// A node's daemon is there.
    Join {
        node: NodeId,
        incarnation: Incarnation,
        facts: JoinFacts,
    },
    /// A node goes, with nothing running.
    Leave {
        node: NodeId,
        incarnation: Incarnation,
    },
    /// The daemon of a node ends and is started again at once; its resources run on. The leader waits longer for it.
    Restarting {
        node: NodeId,
        incarnation: Incarnation,
    },
    /// Forget a node that is not listed and holds nothing.
    Drop {
        node: NodeId,
    },
    Suspect {
        leader: Incarnation,
        node: NodeId,
        boot: BootId,
        reason: String,
    },
    /// It was heard again before anybody began to fence it.
    Clear {
        leader: Incarnation,
        node: NodeId,
        boot: BootId,
        number: u64,
    },
    /// A boot that was proven off answered something that was sent after the proof.
    Contradiction {
        leader: Incarnation,
        node: NodeId,
        boot: BootId,
    },
    /// The right to start an instance; `assignment` is the index of its assignment entry.
    Claim {
        key: ClaimKey,
        incarnation: Incarnation,
        assignment: LogIndex,
    },
    /// The owner goes to another phase.
    Advance {
        key: ClaimKey,
        epoch: Epoch,
        incarnation: Incarnation,
        to: Phase,
    },
    /// `Released`: stopped, and verified by a probe that began after the stop ended.
    Release {
        key: ClaimKey,
        epoch: Epoch,
        incarnation: Incarnation,
    },
    /// What came of an operation under a claim.
    Report(OpReport),
    /// What a node sees of a resource it holds no claim on.
    Probe(ProbeReport),
    FenceStart {
        leader: Incarnation,
        node: NodeId,
        boot: BootId,
        level: u32,
        devices: Vec<DeviceId>,
        executor: NodeId,
        executor_incarnation: Incarnation,
        action: FencingAction,
        /// From `State::now_ms`.
        timeout_ms: u64,
        reason: String,
    },
    FenceResult {
        attempt: AttemptId,
        executor: Incarnation,
        outcome: FenceOutcome,
    },
    /// The second half of a reboot: `Ok` or why not.
    SwitchedOn {
        attempt: AttemptId,
        executor: Incarnation,
        error: Option<String>,
    },
    /// The lease and watchdog of this boot have provably run out: nothing that it sent within `waited_ms` was acknowledged.
    WatchdogElapsed {
        leader: Incarnation,
        node: NodeId,
        boot: BootId,
        /// The suspicion during which that was counted.
        suspicion: u64,
        waited_ms: u64,
    },
    /// An operator states that this boot is off.
    ConfirmOff {
        node: NodeId,
        boot: BootId,
        by: String,
        reason: String,
    },
    /// A device is vouched for, or was proved.
    Trust {
        node: NodeId,
        level: u32,
        digest: Digest,
        by: String,
        reason: String,
    },
    SetOverride {
        scope: Scope,
        kind: OverrideKind,
        by: String,
        reason: String,
        expires_ms: Option<u64>,
    },
    ClearOverride {
        id: OverrideId,
        by: String,
    },
    /// `hafen cleanup`: forget failures of a resource (None: of all) on a node (None: on all), and unblock.
    ClearFailures {
        resource: Option<ResourceId>,
        node: Option<NodeId>,
        by: String,
    },
    SetAttribute {
        node: NodeId,
        boot: Option<BootId>,
        name: String,
        value: Option<String>,
    },
    RaiseLevel {
        level: u32,
    },
    /// A token was made; only the hash of its secret is known.
    PutToken {
        id: u64,
        token: Token,
    },
    RevokeToken {
        id: u64,
    },
    /// A join token is used: the node gets a certificate and may talk.
    Admit {
        token: u64,
        node: NodeId,
        addresses: Vec<IpAddr>,
        port: u16,
    },
    /// `elapsed_ms`: the leader's monotonic time since it applied the last Tick. `wall_ms`: its clock.
    Tick {
        leader: Incarnation,
        elapsed_ms: u64,
        wall_ms: u64,
    },
    /// A node is there with a new boot, and its old one is heard no more: the old one is over.
    Rebooted {
        leader: Incarnation,
        node: NodeId,
        boot: BootId,
    },
    /// What a node's scheduled check of a fencing device says now, other than before. No error: it answers again.
    DeviceChecked {
        node: NodeId,
        incarnation: Incarnation,
        device: DeviceId,
        error: Option<String>,
    },
    /// What a node has for a watchdog, armed; None: it could not arm one.
    Watchdog {
        node: NodeId,
        incarnation: Incarnation,
        report: Option<WatchdogReport>,
    },
    /// This node goes on alone, in a new generation: an operator states that the nodes in `off` are off. What the others
    /// knew is worth nothing here; they come back by a new token.
    Recover {
        node: NodeId,
        generation: u64,
        off: Vec<NodeId>,
        by: String,
        reason: String,
    },
    /// An operation on a copy of a clone with `notify` is about to be done. From here on: format and feature level 2.
    Announce(Announcement),
    /// A copy was told of an announced operation.
    Notified(Told),
    /// An announced operation will not be done.
    Withdraw {
        notice: Epoch,
        key: ClaimKey,
        incarnation: Incarnation,
    },
    /// The target is what it should be: its leader saw that everything is healthy, or (without one) a person says so.
    Confirm {
        leader: Option<Incarnation>,
        revision: Revision,
        by: String,
    },
    /// The target's time on trial is over, and it is not healthy or nobody confirmed it.
    Overdue {
        leader: Incarnation,
        revision: Revision,
        why: String,
    },
    /// Back to the last target that was good.
    Rollback {
        from: Revision,
        by: String,
        reason: String,
    },
    /// Manifests that were returned from are meant all the same.
    ReleaseHold {
        revision: Revision,
        by: String,
    },
    /// What a forge is to be told of a commit.
    NoteStatus {
        leader: Incarnation,
        revision: Revision,
        state: CommitState,
        text: String,
    },
    /// What came of telling it. `number`: of the word that was told.
    StatusSent {
        leader: Incarnation,
        revision: Revision,
        number: u64,
        delivery: Delivery,
    },
    /// A running instance is to go on where it is assigned, without a stop: the claims at both ends in one.
    Migrate {
        key: ClaimKey,
        epoch: Epoch,
        incarnation: Incarnation,
        to: NodeId,
        assignment: LogIndex,
    },
    /// As [`Command::Assign`], planned from the state of the entry `seen`: refused if a node has joined since. What was
    /// planned while it counted as lost would move away what it still runs.
    AssignSeen {
        leader: Incarnation,
        seen: LogIndex,
        changes: Vec<AssignChange>,
    },
    /// As [`Command::Advance`], decided from the state of the entry `seen`: a stop or demotion is refused if something that
    /// rests on it was granted since. A word that comes late would take it away below what runs by now.
    AdvanceSeen {
        key: ClaimKey,
        epoch: Epoch,
        incarnation: Incarnation,
        seen: LogIndex,
        to: Phase,
    },
}

/// From this feature level on commands name the entry from which they were decided.
pub const SEEN_LEVEL: u32 = 2;

impl Command {
    /// The format of stored bytes in which it first appeared.
    pub fn format(&self) -> u8 {
        let newer = matches!(
            self,
            Self::Announce(_)
                | Self::Notified(_)
                | Self::Withdraw { .. }
                | Self::Confirm { .. }
                | Self::Overdue { .. }
                | Self::Rollback { .. }
                | Self::ReleaseHold { .. }
                | Self::NoteStatus { .. }
                | Self::StatusSent { .. }
                | Self::AssignSeen { .. }
                | Self::AdvanceSeen { .. }
                | Self::Migrate { .. }
        );
        let of_report = if let Self::Report(report) = self { report.action.format() } else { 1 };
        if newer || matches!(self, Self::Advance { to: Phase::Reloading, .. }) { 2 } else { of_report }
    }
}

/// What a node says of itself when it joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinFacts {
    pub addresses: Vec<IpAddr>,
    pub port: u16,
    pub version: String,
    /// The highest level it can apply.
    pub feature_level: u32,
    /// For whom secrets are encrypted that it is to open (`age1…`); None: it has no key.
    pub recipient: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignChange {
    pub instance: InstanceId,
    /// None: nowhere.
    pub to: Option<Assigned>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    pub node: NodeId,
    pub role: Role,
    pub reason: Reason,
    /// What must be true before its claim is granted.
    pub after: Vec<Fact>,
    /// What must be true, besides, before it is promoted.
    pub after_promote: Vec<Fact>,
}

/// Something that must be true of another instance before a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    pub instance: InstanceId,
    /// None: on any node.
    pub node: Option<NodeId>,
    pub phase: FactPhase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FactPhase {
    /// Running in any role, without an unsettled failure.
    Running,
    Promoted,
    /// No claim there.
    Gone,
    /// Not promoted there.
    NotPromoted,
}

/// What came of an operation under a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpReport {
    pub key: ClaimKey,
    pub epoch: Epoch,
    pub incarnation: Incarnation,
    pub action: ActionKind,
    pub status: ExecStatus,
    /// For monitors, and for the operations that were followed by one.
    pub reading: Option<Reading>,
    /// The index the node had applied when the operation began.
    pub began: LogIndex,
    pub duration_ms: u64,
    /// One line for people; never secret.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    pub resource: ResourceId,
    pub node: NodeId,
    pub incarnation: Incarnation,
    /// [`State::identity`](super::State::identity) of the definition that was asked.
    pub identity: Digest,
    pub reading: Reading,
    pub began: LogIndex,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// It is not running, although it should.
    Died,
    /// The agent says that it failed.
    Failed,
    TimedOut,
    NotInstalled,
    /// The agent was killed, or its end was lost.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FenceOutcome {
    /// Every device of the level read off.
    Off,
    Failed(String),
    /// Past its deadline, or its executor was lost.
    Unknown(String),
}

/// Why a command was refused. It changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The proposer is not, or no longer, who it says.
    StaleIncarnation {
        node: NodeId,
    },
    NotLeader,
    UnknownNode {
        node: NodeId,
    },
    NotOnline {
        node: NodeId,
    },
    BurntBoot {
        node: NodeId,
        boot: BootId,
    },
    /// A new boot asks to be let in while the old one counts.
    OldBootCounts {
        node: NodeId,
        boot: BootId,
    },
    NoClaim {
        key: ClaimKey,
    },
    WrongEpoch {
        key: ClaimKey,
    },
    AlreadyClaimed {
        key: ClaimKey,
    },
    NotAssigned {
        key: ClaimKey,
    },
    LimitReached {
        resource: ResourceId,
        limit: String,
    },
    /// A claim found running exceeds the limits; nothing is granted until it fits.
    OverLimit {
        resource: ResourceId,
    },
    FactMissing {
        fact: String,
    },
    NotProbed {
        resource: ResourceId,
        node: NodeId,
    },
    WrongPhase {
        key: ClaimKey,
    },
    StaleObservation,
    UnknownResource {
        resource: ResourceId,
    },
    IncompleteSpec {
        digest: Digest,
    },
    BadSpec {
        why: String,
    },
    /// Another push was accepted meanwhile.
    TargetMoved {
        current: Option<Revision>,
    },
    /// The cluster returned from these manifests.
    Held {
        revision: Revision,
        why: String,
    },
    AttemptOpen {
        attempt: AttemptId,
    },
    NoAttempt {
        attempt: AttemptId,
    },
    NothingToDo,
    NotAllowed {
        why: String,
    },
    TooLarge {
        what: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StaleIncarnation { node } => write!(f, "{node} has restarted since"),
            Self::NotLeader => f.write_str("the proposer is no longer the leader"),
            Self::UnknownNode { node } => write!(f, "no node `{node}`"),
            Self::NotOnline { node } => write!(f, "{node} is not online"),
            Self::BurntBoot { node, boot } => write!(f, "boot {boot} of {node} was proven off; reboot it to let it in"),
            Self::OldBootCounts { node, boot } => write!(
                f,
                "boot {boot} of {node} is not over: another machine with this identity is alive, or was until just now"
            ),
            Self::NoClaim { key } => write!(f, "no claim on {key}"),
            Self::WrongEpoch { key } => write!(f, "the claim on {key} is another one by now"),
            Self::AlreadyClaimed { key } => write!(f, "{key} is claimed already"),
            Self::NotAssigned { key } => write!(f, "{key} is not assigned (any more)"),
            Self::LimitReached { resource, limit } => write!(f, "{resource} already runs as often as it may ({limit})"),
            Self::OverLimit { resource } => write!(f, "more copies of {resource} run than may"),
            Self::FactMissing { fact } => write!(f, "{fact} comes before"),
            Self::NotProbed { resource, node } => write!(f, "{node} has not said yet whether {resource} runs there"),
            Self::WrongPhase { key } => write!(f, "{key} is not in the right phase for that"),
            Self::StaleObservation => f.write_str("the observation is older than the last change"),
            Self::UnknownResource { resource } => write!(f, "no resource `{resource}`"),
            Self::IncompleteSpec { digest } => write!(f, "spec {} is not complete", digest.short()),
            Self::BadSpec { why } => write!(f, "the spec cannot be read: {why}"),
            Self::TargetMoved { current: Some(revision) } => {
                write!(f, "another push was accepted meanwhile, the target is now {}", revision.short())
            }
            Self::TargetMoved { current: None } => f.write_str("there is no target yet"),
            Self::Held { revision, why } => {
                write!(f, "the cluster returned from {}, which has the same manifests: {why}", revision.short())
            }
            Self::AttemptOpen { attempt } => write!(f, "fencing attempt {attempt} is still open"),
            Self::NoAttempt { attempt } => write!(f, "no open fencing attempt {attempt}"),
            Self::NothingToDo => f.write_str("nothing to do"),
            Self::NotAllowed { why } => f.write_str(why),
            Self::TooLarge { what } => write!(f, "{what} is too large"),
        }
    }
}

impl std::error::Error for Refusal {}
