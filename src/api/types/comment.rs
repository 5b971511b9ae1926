//! What became of a comment on a merge request: `hafen comment`.

use super::{ApiVersion, CommentKind};
use crate::model::Provider;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The comment says what it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommentView {
    #[serde(default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    pub kind: CommentKind,
    pub provider: Provider,
    pub project: String,
    pub merge_request: u64,
    pub outcome: CommentOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CommentOutcome {
    /// There was none.
    Created,
    /// It said something else.
    Updated,
    /// It said so already.
    Unchanged,
}
