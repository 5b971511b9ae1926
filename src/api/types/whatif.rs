//! What would become of a cluster when things fail: `hafen simulate`.

use super::{ApiVersion, OutagesKind, SimulationKind, SuiteKind, SurvivalKind};
use crate::model::Role;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A story: what happened, and how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SimulationView {
    #[serde(default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    pub kind: SimulationKind,
    /// In order.
    pub story: Vec<StoryLine>,
    pub quorum: QuorumView,
    /// Nodes that were proven off.
    pub fenced: Vec<String>,
    /// Every resource that runs, or ran at the beginning.
    pub homes: Vec<HomeView>,
    /// What ran at the beginning and has no home any more.
    pub homeless: Vec<HomelessView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoryLine {
    /// From 1: a cluster comes to rest between two steps.
    pub step: u32,
    /// From 0 within a step; what has the same number happens side by side.
    pub round: u32,
    pub what: StoryWord,
    /// An instance, a node, or in words what it is about.
    pub object: String,
    pub node: Option<String>,
    pub reason: String,
    /// `file:line:column` of the resource.
    pub at: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum StoryWord {
    /// From outside.
    Fault,
    /// A fault that changes nothing.
    Nothing,
    CutOff,
    Heard,
    QuorumLost,
    QuorumBack,
    Fence,
    /// Its watchdog resets it.
    RunOut,
    Start,
    Stop,
    Promote,
    Demote,
    Reload,
    /// It is moved live: it goes from here.
    Leave,
    /// It is moved live: it goes on here.
    Arrive,
    /// An operation fails.
    Fail,
    /// The same comes again and again.
    NoEnd,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuorumView {
    pub kept: bool,
    /// Voters that hear each other.
    pub votes: u32,
    pub of: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HomeView {
    pub resource: String,
    pub node: String,
    pub role: Role,
    /// Whether it ran there at the beginning, too.
    pub stayed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HomelessView {
    pub resource: String,
    pub lack: LackView,
    /// Where it is written.
    pub at: Option<String>,
    /// What keeps it from running. Empty where that is the quorum.
    pub bars: Vec<BarView>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum LackView {
    /// It runs nowhere.
    Nowhere,
    /// Fewer copies run than are `enough`.
    TooFewCopies,
    /// It runs, but is promoted nowhere.
    NotPromoted,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BarView {
    pub node: Option<String>,
    pub why: String,
    /// The line that asks for it.
    pub at: Option<String>,
    pub hint: Option<String>,
}

/// Which losses a cluster does not survive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SurvivalView {
    #[serde(default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    pub kind: SurvivalKind,
    /// Losses at the same time, at most.
    pub survive: u32,
    /// No loss of so many takes anything away.
    pub survives: bool,
    /// How many losses there are, and how many were planned for: equal ones are tried once.
    pub losses: u64,
    pub tried: u64,
    /// What has no home although nothing is lost.
    pub homeless_before: Vec<HomelessView>,
    /// Losses that leave no majority. A loss that contains one of these is not named again.
    pub without_quorum: Vec<LossView>,
    /// Losses that leave something without a home which the losses within them do not.
    pub found: Vec<LossView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LossView {
    /// What is lost: `node n1`, `rack a`, `link 0`, `device pdu`.
    pub lost: Vec<String>,
    /// Other losses that come to the same.
    pub same: Vec<Vec<String>>,
    pub homeless: Vec<HomelessView>,
}

/// Scenarios, tried.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SuiteView {
    #[serde(default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    pub kind: SuiteKind,
    pub passed: u32,
    pub failed: u32,
    pub scenarios: Vec<ScenarioView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScenarioView {
    pub name: String,
    pub at: String,
    pub passed: bool,
    /// What was expected and did not come.
    pub differences: Vec<String>,
    pub simulation: SimulationView,
}

/// How long services are down at worst.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutagesView {
    #[serde(default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    pub kind: OutagesKind,
    pub outages: Vec<WorstOutageView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorstOutageView {
    pub resource: String,
    pub at: Option<String>,
    pub node_lost: WorstView,
    pub fails: WorstView,
    /// `maxOutage`, where it is written.
    pub most_ms: Option<u64>,
    /// Both are within that.
    pub allowed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorstView {
    /// None: until somebody comes.
    pub total_ms: Option<u64>,
    /// The sum with its addends; or why it has no end.
    pub sum: String,
}
