//! What is asked of the daemon, and what it answers.

use super::{
    ApiVersion, CheckView, FenceKindMarker, KeyKind, OperationKind, OutputKind, PlanView, PushKind, StatusView,
    TokenKind,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One file of a tree of manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileText {
    /// Relative to the root of the manifests, with `/`.
    pub path: String,
    pub text: String,
}

/// Judge these manifests as if they were pushed now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckRequest {
    pub files: Vec<FileText>,
}

/// Take this revision, whose objects are in the node's repository (or, while it is only checked, in git's quarantine).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PushRequest {
    pub revision: String,
    /// What `main` was when the push began; none: it did not exist.
    pub parent: Option<String>,
    /// Push options (`allow-removals`, `allow-rewind`, `abandon`).
    #[serde(default)]
    pub options: Vec<String>,
    /// Where git keeps the objects until its hooks accept them.
    #[serde(default)]
    pub quarantine: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PushView {
    #[serde(default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    pub kind: PushKind,
    pub revision: String,
    pub answer: PushAnswer,
    /// Why it was refused, or what is not known.
    pub reason: Option<String>,
    pub check: Option<CheckView>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PushAnswer {
    Accepted,
    Refused,
    /// It may or may not become the target: ask by revision.
    Unknown,
}

/// What an operator wants for the hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "operation")]
pub enum Operation {
    /// The node is to run nothing.
    Drain {
        node: String,
    },
    Undrain {
        node: String,
    },
    /// The resource, group or clone goes to that node.
    Move {
        resource: String,
        to: String,
    },
    /// It leaves that node.
    Ban {
        resource: String,
        node: String,
    },
    /// Ends the moves and bans of a resource.
    Unmove {
        resource: String,
    },
    /// Nothing is started, stopped or settled. Neither named: the whole cluster.
    Maintenance {
        node: Option<String>,
        resource: Option<String>,
    },
    EndMaintenance {
        node: Option<String>,
        resource: Option<String>,
    },
    /// Failures are forgotten, what is blocked goes on.
    Cleanup {
        resource: Option<String>,
        node: Option<String>,
    },
    /// No other target is taken, by push or from the source.
    Suspend,
    Resume,
    /// The target is good. Named: only if it is this one.
    Confirm {
        revision: Option<String>,
    },
    /// Back to the last target that was good.
    Rollback,
    /// An operator states that the node, in its last known boot, is off.
    ConfirmOff {
        node: String,
        /// The boot that was looked at; refused if the node has another by now. None: whichever it has.
        #[serde(default)]
        boot: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperateRequest {
    pub operation: Operation,
    pub reason: String,
    #[serde(default)]
    pub expires_ms: Option<u64>,
    /// Say what would happen, do nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Do it although it is refused as unsafe. Never overrides what the state machine refuses.
    #[serde(default)]
    pub force: bool,
}

/// The answer to an operation: committed, or with `dryRun` only looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationView {
    #[serde(default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    pub kind: OperationKind,
    /// The log entry; none: nothing was proposed.
    pub index: Option<u64>,
    pub summary: String,
    /// When it has taken effect.
    pub wait_for: WaitFor,
    /// What will run nowhere for it, and why.
    #[serde(default)]
    pub stops: Vec<String>,
    /// What it leads to.
    pub plan: Option<PlanView>,
}

/// What must be seen in a status before an operation has taken effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "what")]
pub enum WaitFor {
    /// Being committed is the effect.
    Nothing,
    /// No claims are left on the node.
    NodeEmpty { node: String },
    /// All these run on the node, and nowhere else.
    RunsOn { instances: Vec<String>, node: String },
    /// None of these runs on the node.
    GoneFrom { instances: Vec<String>, node: String },
    /// The attempt has an outcome.
    Attempt { attempt: u64 },
    /// The node is online with another boot than this one.
    BackAfter { node: String, boot: String },
}

/// How far a [`WaitFor`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    Reached,
    /// What is still missing, in words.
    Missing(String),
    /// It stops here without an operator.
    Stuck(String),
}

impl WaitFor {
    /// Judges a status that is at least as new as the operation's entry.
    pub fn progress(&self, status: &StatusView) -> Progress {
        let claimed = |instance: &str, node: &str| {
            status
                .resources
                .iter()
                .find(|r| r.phase.is_some() && r.instance == instance && r.node.as_deref() == Some(node))
        };
        match self {
            Self::Nothing => Progress::Reached,
            Self::NodeEmpty { node } => {
                let left = status.resources.iter().filter(|r| r.phase.is_some() && r.node.as_deref() == Some(node));
                missing(left.collect(), &format!("still on {node}"))
            }
            Self::GoneFrom { instances, node } => {
                missing(instances.iter().filter_map(|i| claimed(i, node)).collect(), &format!("still on {node}"))
            }
            Self::RunsOn { instances, node } => {
                let elsewhere = status.resources.iter().filter(|r| {
                    let there = r.node.as_deref() == Some(node) && r.phase.as_deref() == Some("Running");
                    instances.contains(&r.instance) && !there
                });
                let unseen: Vec<&str> = instances
                    .iter()
                    .filter(|i| !status.resources.iter().any(|r| &r.instance == *i))
                    .map(String::as_str)
                    .collect();
                match missing(elsewhere.collect(), &format!("not on {node} yet")) {
                    Progress::Reached if !unseen.is_empty() => {
                        Progress::Missing(format!("{} not on {node} yet", unseen.join(", ")))
                    }
                    other => other,
                }
            }
            Self::BackAfter { node, boot } => {
                let found = status.nodes.iter().find(|found| &found.name == node);
                let rebooted = found.is_some_and(|found| found.boot.as_deref().is_some_and(|now| now != boot));
                match found.map(|found| found.membership) {
                    Some(super::MembershipView::Online) if rebooted => Progress::Reached,
                    Some(super::MembershipView::Left) => Progress::Stuck(format!("{node} left")),
                    Some(_) | None => Progress::Missing(format!("{node} is not back yet")),
                }
            }
            Self::Attempt { attempt } => match status.fencing.iter().find(|f| f.attempt == *attempt) {
                None => Progress::Missing(format!("attempt {attempt} has not begun")),
                Some(view) => match view.outcome {
                    super::AttemptOutcome::Off => Progress::Reached,
                    super::AttemptOutcome::Open => Progress::Missing(format!(
                        "{} switches {} off with {}",
                        view.executor,
                        view.node,
                        view.devices.join(", ")
                    )),
                    super::AttemptOutcome::Failed | super::AttemptOutcome::Unknown => {
                        Progress::Stuck(format!("attempt {attempt}: {}", view.error.as_deref().unwrap_or("unknown")))
                    }
                },
            },
        }
    }
}

/// Nothing left, something left, or something that is blocked.
fn missing(left: Vec<&super::ResourceView>, how: &str) -> Progress {
    if left.is_empty() {
        return Progress::Reached;
    }
    // A verdict of Blocked may only mean that no other node can run it; it can be stopped all the same.
    if let Some((row, why)) = left.iter().find_map(|row| row.blocked_by.as_ref().map(|why| (row, why))) {
        return Progress::Stuck(format!("{} is blocked: {why}", row.instance));
    }
    // What is on its way has a row where it runs and one where it is to run.
    let names: std::collections::BTreeSet<&str> = left.iter().map(|r| r.instance.as_str()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    Progress::Missing(format!("{} {how}", names.join(", ")))
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FenceRequest {
    pub node: String,
    pub what: FenceKind,
    pub reason: String,
    /// From 1; none: the first for a test, all to be trusted.
    #[serde(default)]
    pub level: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FenceKind {
    /// Power it off, and on again where the policy says so.
    Fence,
    /// Prove its devices on the drained node.
    Test,
    /// Vouch for its devices without a test.
    Trust,
    /// Take back the wish to fence or test it.
    Cancel,
    /// Close the watchdog of a node that runs nothing.
    Disarm,
    /// Take that back.
    Arm,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FenceView {
    #[serde(default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    pub kind: FenceKindMarker,
    /// None: no attempt was needed.
    pub attempt: Option<u64>,
    pub summary: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenRequest {
    pub role: TokenRoleName,
    pub ttl_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
pub enum TokenRoleName {
    /// Lets one machine join
    Node,
    /// Reads the API
    Viewer,
    /// Reads and writes the API
    Operator,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenView {
    #[serde(default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    pub kind: TokenKind,
    /// Secret: whoever has it can use it.
    pub token: String,
    pub role: TokenRoleName,
    pub expires_ms: u64,
}

/// The keys of a node for secrets in git (`hafen keygen`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyView {
    #[serde(default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    pub kind: KeyKind,
    /// Where the keys are, which nobody prints.
    pub file: String,
    /// For whom to encrypt (`age1…`); the first is the newest.
    pub recipients: Vec<String>,
}

/// What an agent's helper (`crm_attribute` and the like) was called with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShimCall {
    pub name: String,
    pub arguments: Vec<String>,
    /// The `OCF_*` and `HAFEN_*` variables it saw, but for agent parameters (`OCF_RESKEY_…`, which may be secret),
    /// except `OCF_RESKEY_CRM_meta_…`.
    pub environment: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShimView {
    pub exit: u8,
    pub stdout: String,
    #[serde(default)]
    pub stderr: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShutdownRequest {
    pub what: ShutdownKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ShutdownKind {
    /// Drain, stop everything in order, commit `Leave`, exit. The node stays a member and joins at its next start.
    Stop,
    /// The same, and give up the vote and the place in the cluster.
    Leave,
}

/// The last words of an agent, from the node that ran it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutputView {
    #[serde(default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    pub kind: OutputKind,
    pub instance: String,
    pub node: String,
    /// `start`, `monitor`, …
    pub action: String,
    pub at_ms: u64,
    /// How it ended: `exit status 7`, `timed out after 20s`.
    pub status: String,
    pub output: String,
}
