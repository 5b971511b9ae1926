//! What would be done, and why: `hafen plan`, `hafen why`, the answer to a push.

use super::{ApiVersion, ChainLink, Change, CheckKind, LineCommit, PlanKind, Verdict, VerdictView, WhyKind};
use crate::model::{Diagnostic, Role, Severity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The difference to now, and the actions that would close it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    #[serde(default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    pub kind: PlanKind,
    /// For `git push -o plan=ID`: refused if target, manifests or cluster are not those of this plan. None where nothing
    /// can be pushed.
    #[serde(default)]
    pub id: Option<String>,
    /// The target it was made against.
    pub from: Option<String>,
    /// What the documents say differently.
    pub changes: Vec<Change>,
    /// In an order in which they could be done.
    pub actions: Vec<PlannedAction>,
    /// What does not run, or is not promoted, for a while, or for good.
    pub outages: Vec<OutageView>,
    /// Resources that are changed, and yet left alone.
    #[serde(default)]
    pub untouched: Vec<Untouched>,
    /// How many resources are as they were.
    #[serde(default)]
    pub unchanged: u32,
    /// What cannot be placed.
    pub unplaced: Vec<Unplaced>,
    /// What makes it unsafe to do.
    pub dangers: Vec<String>,
    pub warnings: Vec<String>,
}

impl PlanView {
    /// What people who use a service may notice: each instance or node once.
    pub fn disturbed(&self) -> Vec<String> {
        let noticed = |action: &&PlannedAction| match action.impact {
            Impact::Stop | Impact::Restart | Impact::Move | Impact::Demote | Impact::Fence => true,
            Impact::Start | Impact::Reload | Impact::Migrate | Impact::Promote => false,
        };
        let mut names: Vec<String> = self.actions.iter().filter(noticed).map(|action| action.object.clone()).collect();
        names.dedup();
        names
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedAction {
    pub impact: Impact,
    /// An instance, or the node that is fenced.
    pub object: String,
    pub node: Option<String>,
    /// Where it comes from, for moves.
    pub from: Option<String>,
    pub role: Option<Role>,
    pub reason: String,
    /// `file:line:column` of what asks for it.
    pub at: Option<String>,
    /// Without what it waits for. None: it cannot be told.
    #[serde(default)]
    pub takes: Option<EstimateView>,
    /// Positions (from 0) in the list of actions that come before this one.
    #[serde(default)]
    pub after: Vec<u32>,
}

/// How long something takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EstimateView {
    pub ms: u64,
    pub basis: EstimateBasis,
}

/// What an estimate rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum EstimateBasis {
    /// The slowest of the last times on this cluster.
    Measured,
    /// At least in part time-outs, since nothing was measured: it is no longer than that.
    TimeOut,
}

/// A time in which something does not run, or is not promoted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutageView {
    /// An instance.
    pub object: String,
    /// Where it ran; None: not told.
    pub node: Option<String>,
    /// `Promoted`: only that role is missing.
    pub role: Option<Role>,
    /// How long it lasts; None: it cannot be told, or `returns` is false.
    pub lasts: Option<EstimateView>,
    /// False: it stays down.
    pub returns: bool,
    /// `file:line:column` of the resource.
    pub at: Option<String>,
}

/// A resource that is changed, and yet left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Untouched {
    pub resource: String,
    pub reason: String,
    pub at: Option<String>,
}

/// What an action means for those who use the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Impact {
    Start,
    Stop,
    Restart,
    Reload,
    Move,
    Migrate,
    Promote,
    Demote,
    Fence,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unplaced {
    pub instance: String,
    pub reason: String,
    pub at: Option<String>,
}

/// What `hafen plan --fail-on` looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum FailOn {
    /// Something running is restarted
    Restart,
    /// Something running goes to another node
    Move,
    /// Something is down for a while
    Outage,
    /// A node is fenced
    Fence,
    /// Anything at all is done
    Any,
}

impl PlanView {
    /// Whether nothing differs and nothing would be done.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.actions.is_empty()
    }

    /// Whether the plan does what `--fail-on` was to catch.
    pub fn does(&self, what: FailOn) -> bool {
        let any = |wanted: &[Impact]| self.actions.iter().any(|action| wanted.contains(&action.impact));
        match what {
            FailOn::Restart => any(&[Impact::Restart]),
            FailOn::Move => any(&[Impact::Move, Impact::Migrate]),
            FailOn::Outage => !self.outages.is_empty(),
            FailOn::Fence => any(&[Impact::Fence]),
            FailOn::Any => !self.actions.is_empty(),
        }
    }
}

/// Manifests, judged: what is wrong with them, and what they would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckView {
    #[serde(default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    pub kind: CheckKind,
    pub diagnostics: Vec<Diagnostic>,
    /// None: the diagnostics hold errors.
    pub plan: Option<PlanView>,
    /// Why a push of this would be refused although it is valid: too many removals, no quorum left.
    #[serde(default)]
    pub refusal: Option<String>,
}

impl CheckView {
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

/// Every reason for where a resource is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhyView {
    #[serde(default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    pub kind: WhyKind,
    pub resource: String,
    pub instances: Vec<WhyInstance>,
    /// Of the node that was asked about: what would send it there, one thing or two. None: nothing as small as that.
    #[serde(default)]
    pub otherwise: Vec<Otherwise>,
    /// There was no time to try all that might.
    #[serde(default)]
    pub otherwise_cut_short: bool,
    /// The commits that last changed the lines that this names.
    #[serde(default)]
    pub commits: Vec<LineCommit>,
}

/// What would have to be otherwise, all of it together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Otherwise {
    pub node: String,
    pub changes: Vec<OtherwiseChange>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OtherwiseChange {
    pub what: String,
    /// `file:line:column`
    pub at: Option<String>,
}

impl WhyView {
    /// Whether everything about it is as desired.
    pub fn as_desired(&self) -> bool {
        self.instances.iter().all(|instance| instance.verdict.verdict == Verdict::Keep)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhyInstance {
    pub instance: String,
    /// Where it runs now.
    pub runs_on: Vec<String>,
    /// Where it is to run.
    pub assigned_to: Option<String>,
    pub role: Option<Role>,
    pub verdict: VerdictView,
    /// Best node first. What begins with spaces is behind the one above.
    pub contributions: Vec<Contribution>,
    /// Of promotable clones: what speaks for and against promotion where it is.
    #[serde(default)]
    pub promotion: Vec<Contribution>,
    /// The last event about it, and what led to that, nearest first.
    #[serde(default)]
    pub story: Vec<ChainLink>,
}

/// What one constraint, preference or fact adds to the score of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Contribution {
    pub node: String,
    /// From -1000000 (never) to 1000000 (always).
    pub score: i32,
    pub reason: String,
    /// `file:line:column`, or an event.
    pub at: Option<String>,
}
