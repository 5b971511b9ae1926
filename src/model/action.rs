//! What is asked of an agent, and what came of it.

use super::{Epoch, InstanceId, NodeId, NoticeView, Resource};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How an instance is run: pinned by its claim from start to stop, whatever git says meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    pub resource: Resource,
    pub clone: Option<CloneMeta>,
}

/// What an agent is told of the clone around it (`OCF_RESKEY_CRM_meta_*`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneMeta {
    pub max: u32,
    pub per_node: u32,
    /// None: not promotable.
    pub promoted_max: Option<u32>,
    pub promoted_per_node: u32,
    pub notify: bool,
    pub globally_unique: bool,
    pub interleave: bool,
    pub ordered: bool,
}

/// The verbs of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ActionKind {
    /// A monitor with interval 0: is it running here, although nobody asked for it?
    Probe,
    Monitor,
    Start,
    Stop,
    Promote,
    Demote,
    MigrateTo,
    MigrateFrom,
    /// Tells a copy of a clone what happens to the others. Its failure changes nothing.
    Notify,
    /// Takes changed parameters over while it runs.
    Reload,
}

impl ActionKind {
    /// The format of stored bytes in which it first appeared.
    pub fn format(self) -> u8 {
        match self {
            Self::Notify | Self::Reload => 2,
            Self::Probe
            | Self::Monitor
            | Self::Start
            | Self::Stop
            | Self::Promote
            | Self::Demote
            | Self::MigrateTo
            | Self::MigrateFrom => 1,
        }
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Probe => "probe",
            Self::Monitor => "monitor",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Promote => "promote",
            Self::Demote => "demote",
            Self::MigrateTo => "migrate_to",
            Self::MigrateFrom => "migrate_from",
            Self::Notify => "notify",
            Self::Reload => "reload",
        })
    }
}

/// One run of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRequest {
    pub kind: ActionKind,
    pub instance: InstanceId,
    pub definition: Arc<Definition>,
    /// None only for probes.
    pub epoch: Option<Epoch>,
    pub node: NodeId,
    pub timeout: Duration,
    /// Of a recurring monitor; zero otherwise.
    pub interval: Duration,
    /// The other node of a migration.
    pub peer: Option<NodeId>,
    /// For clones with `notify`: of `Notify` itself, and of the operations that are announced by it.
    pub notice: Option<Arc<NoticeView>>,
    /// `Reload` is the action `reload` of OCF 1.0.
    pub legacy_reload: bool,
}

/// Did the agent run to its end?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExecStatus {
    /// It exited by itself, with this code (OCF 1.1, exit statuses 0–9, 190, 191).
    Exited(i32),
    /// Its time-out passed and its process group was killed. Whether it did what was asked is unknown.
    TimedOut,
    /// The agent, or the init system that would run it, is not on this node.
    NotInstalled,
    /// It died by a signal, could not be started, or its end was lost (a daemon that was killed meanwhile).
    Failed,
}

/// What came of an [`AgentRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub status: ExecStatus,
    /// The last lines of its standard error and output, bounded and scrubbed of secrets; stays on its node.
    pub output: String,
    pub duration: Duration,
}

impl Outcome {
    /// Whether the action did what was asked, as the agent says: exit status 0 (190 and 191 too: running, but degraded).
    pub fn succeeded(&self, kind: ActionKind) -> bool {
        match self.status {
            ExecStatus::Exited(0) => true,
            ExecStatus::Exited(8 | 190 | 191) => matches!(kind, ActionKind::Monitor | ActionKind::Probe),
            ExecStatus::Exited(_) | ExecStatus::TimedOut | ExecStatus::NotInstalled | ExecStatus::Failed => false,
        }
    }

    /// What a probe or monitor saw (OCF 1.1, "exit status codes").
    pub fn reading(&self) -> Reading {
        match self.status {
            ExecStatus::Exited(0 | 190) => Reading::Running,
            ExecStatus::Exited(8 | 191) => Reading::RunningPromoted,
            ExecStatus::Exited(7) => Reading::Stopped,
            ExecStatus::Exited(5) | ExecStatus::NotInstalled => Reading::NotInstalled,
            ExecStatus::Exited(1) => Reading::Failed,
            ExecStatus::Exited(9) => Reading::FailedPromoted,
            ExecStatus::Exited(_) | ExecStatus::TimedOut | ExecStatus::Failed => Reading::Unknown,
        }
    }
}

/// What a probe or monitor tells. Never collapsed into running or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reading {
    Running,
    RunningPromoted,
    /// Cleanly stopped.
    Stopped,
    /// Agent, program or unit missing: counts as stopped and bans the node.
    NotInstalled,
    Failed,
    FailedPromoted,
    Unknown,
}

impl Reading {
    /// Whether this proves that nothing of the instance runs here.
    pub fn proves_stopped(self) -> bool {
        matches!(self, Self::Stopped | Self::NotInstalled)
    }
}
