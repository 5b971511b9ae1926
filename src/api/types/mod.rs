//! What travels over the API and comes out of `-o json`: one type for both.
//!
//! Every document has `apiVersion` and `kind`, each a constant in its schema. Names are strings here, so that a reader of the JSON
//! needs nothing of this crate. Times are milliseconds since 1970 (`…Ms`), ages are left to the reader.
//!
//! Files: `status` what is · `plan` what would be done, and why · `request` what is asked, and the answers to it.
//! The schemas are `schemas/output-*.json`; a test holds them equal to these types.

mod plan;
mod request;
mod status;
#[cfg(test)]
mod tests;

pub use plan::{
    Change, ChangeKind, CheckView, Contribution, FailOn, Impact, PlanView, PlannedAction, Unplaced, WhyInstance,
    WhyView,
};
pub use request::{
    CheckRequest, FenceKind, FenceRequest, FenceView, FileText, OperateRequest, Operation, OperationView, OutputView,
    Progress, PushAnswer, PushRequest, PushView, ShimCall, ShimView, ShutdownKind, ShutdownRequest, TokenRequest,
    TokenRoleName, TokenView, WaitFor,
};
pub use status::{
    AlarmView, AttemptOutcome, DeviceFault, DeviceView, EventView, EventsView, FencingView, Health, LinkView,
    MembershipView, NodeView, OverrideView, ResourceView, StatusView, TargetView, Verdict, VerdictView,
};

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
    CheckKind = Check,
    WhyKind = Why,
    OperationKind = Operation,
    FenceKindMarker = Fence,
    TokenKind = Token,
    PushKind = Push,
    OutputKind = Output,
    ErrorKind = Error,
);

/// Every document's name and schema, for `schemas/output-NAME.json` and `hafen schema`.
pub fn schemas() -> Vec<(&'static str, schemars::Schema)> {
    vec![
        ("status", schemars::schema_for!(StatusView)),
        ("events", schemars::schema_for!(EventsView)),
        ("plan", schemars::schema_for!(PlanView)),
        ("check", schemars::schema_for!(CheckView)),
        ("why", schemars::schema_for!(WhyView)),
        ("operation", schemars::schema_for!(OperationView)),
        ("fence", schemars::schema_for!(FenceView)),
        ("token", schemars::schema_for!(TokenView)),
        ("push", schemars::schema_for!(PushView)),
        ("output", schemars::schema_for!(OutputView)),
        ("error", schemars::schema_for!(super::error::ErrorView)),
    ]
}
