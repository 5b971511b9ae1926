//! What travels over the API and comes out of `-o json`: one type for both.
//!
//! Every document has `apiVersion` and `kind`, each a constant in its schema. Names are strings here, so that a reader of the JSON
//! needs nothing of this crate. Times are milliseconds since 1970 (`…Ms`), ages are left to the reader.
//!
//! Files: `status` what is · `diff` what is written differently · `plan` what would be done, and why · `history` what was followed, and who signed it · `why` what led to what · `whatif` what would become of faults · `render` what overlays make · `fmt` what became of files · `request` what is asked, and the answers to it.
//! The schemas are `schemas/output-*.json`; a test holds them equal to these types.

mod comment;
mod diff;
mod fmt;
mod history;
mod plan;
mod render;
mod request;
mod status;
#[cfg(test)]
mod tests;
mod whatif;
mod why;

pub use comment::{CommentOutcome, CommentView};
pub use diff::{Change, ChangeKind, DiffView, FieldChange};
pub use fmt::{FormattedFile, FormattedResult, FormattedView};
pub use history::{HistoryCommit, HistoryView, SignatureState, SignatureView, Standing};
pub use plan::{
    CheckView, Contribution, EstimateBasis, EstimateView, FailOn, Impact, Otherwise, OtherwiseChange, OutageView,
    PlanView, PlannedAction, Unplaced, Untouched, WhyInstance, WhyView,
};
pub use render::{RenderedDocumentView, RenderedView};
pub use request::{
    CheckRequest, FenceKind, FenceRequest, FenceView, FileText, KeyView, OperateRequest, Operation, OperationView,
    OutputView, Progress, PushAnswer, PushRequest, PushView, ShimCall, ShimView, ShutdownKind, ShutdownRequest,
    TokenRequest, TokenRoleName, TokenView, WaitFor,
};
pub use status::{
    AlarmView, AttemptOutcome, DeviceFault, DeviceView, EventView, EventsView, FencingView, Health, HeldView,
    LevelView, LinkView, MembershipView, NodeView, OverrideView, ResourceView, RolloutView, StatusView, TargetView,
    TrialView, TrustView, Verdict, VerdictView, WebhookRefusalView, WebhookView,
};
pub use whatif::{
    BarView, HomeView, HomelessView, LackView, LossView, OutagesView, QuorumView, ScenarioView, SimulationView,
    StoryLine, StoryWord, SuiteView, SurvivalView, WorstOutageView, WorstView,
};
pub use why::{ChainLink, EventWhyView, LineCommit, RuleView};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of every document here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    #[default]
    #[serde(rename = "hafen/v1alpha1")]
    V1alpha1,
}

/// A type with one value each, so that `kind` is checked when a document is read and constant in its schema.
macro_rules! kinds {
    ($($marker:ident = $name:ident),* $(,)?) => {$(
        #[doc = concat!("`kind: ", stringify!($name), "`.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
        pub enum $marker {
            #[default]
            $name,
        }
    )*};
}

kinds!(
    StatusKind = Status,
    EventsKind = Events,
    PlanKind = Plan,
    DiffKind = Diff,
    CheckKind = Check,
    WhyKind = Why,
    EventWhyKind = EventWhy,
    HistoryKind = History,
    OperationKind = Operation,
    FenceKindMarker = Fence,
    TokenKind = Token,
    CommentKind = Comment,
    PushKind = Push,
    OutputKind = Output,
    ErrorKind = Error,
    SimulationKind = Simulation,
    SurvivalKind = Survival,
    SuiteKind = Suite,
    OutagesKind = Outages,
    KeyKind = Key,
    RenderedKind = Rendered,
    FormattedKind = Formatted,
);

/// Every document's name and schema, for `schemas/output-NAME.json` and `hafen schema`.
pub fn schemas() -> Vec<(&'static str, schemars::Schema)> {
    vec![
        ("status", schemars::schema_for!(StatusView)),
        ("events", schemars::schema_for!(EventsView)),
        ("plan", schemars::schema_for!(PlanView)),
        ("diff", schemars::schema_for!(DiffView)),
        ("check", schemars::schema_for!(CheckView)),
        ("history", schemars::schema_for!(HistoryView)),
        ("why", schemars::schema_for!(WhyView)),
        ("why-event", schemars::schema_for!(EventWhyView)),
        ("operation", schemars::schema_for!(OperationView)),
        ("fence", schemars::schema_for!(FenceView)),
        ("token", schemars::schema_for!(TokenView)),
        ("comment", schemars::schema_for!(CommentView)),
        ("key", schemars::schema_for!(KeyView)),
        ("push", schemars::schema_for!(PushView)),
        ("output", schemars::schema_for!(OutputView)),
        ("simulation", schemars::schema_for!(SimulationView)),
        ("survival", schemars::schema_for!(SurvivalView)),
        ("formatted", schemars::schema_for!(FormattedView)),
        ("rendered", schemars::schema_for!(RenderedView)),
        ("suite", schemars::schema_for!(SuiteView)),
        ("outages", schemars::schema_for!(OutagesView)),
        ("error", schemars::schema_for!(super::error::ErrorView)),
    ]
}
