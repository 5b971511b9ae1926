//! What led to what: `hafen why --event`, and the lines and commits behind the answers of `hafen why`.

use super::{ApiVersion, EventView, EventWhyKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What led to the events of one entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventWhyView {
    #[serde(default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    pub kind: EventWhyKind,
    /// The entry's index.
    pub index: u64,
    /// One for each event of the entry: the event, what led to it, what led to that, and so on.
    pub stories: Vec<Vec<ChainLink>>,
    /// The commits behind the lines that the links name, and the commits that they name themselves.
    pub commits: Vec<LineCommit>,
    /// Another revision was followed then: lines are those of the present one.
    pub manifests_changed_since: bool,
}

/// One event of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChainLink {
    pub event: EventView,
    /// It is only the last event before the one that it stands behind that may be its cause.
    pub likely: bool,
    /// What is written that makes it follow.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<RuleView>,
    /// Of `Target`: the first digits of the commit that is followed from then on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revision: Option<String>,
}

/// What is written, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleView {
    pub what: String,
    /// `file:line:column`
    pub at: String,
}

/// The commit that last changed a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LineCommit {
    /// `file:line:column` as in the answer, or the digits of a revision that it names.
    pub at: String,
    pub revision: String,
    /// `Name <address>`, as the commit says. Only a signature proves it.
    pub author: String,
    /// The first line of the message.
    pub subject: String,
    /// When it was written, seconds since 1970, by the clock of who wrote it.
    pub time: i64,
}
