//! What two trees of manifests say differently: `hafen diff`, and the beginning of a plan.

use super::{ApiVersion, DiffKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Every document and field that differs. Secrets are hidden.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiffView {
    #[serde(default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    pub kind: DiffKind,
    /// The old side: a revision, or None if nothing was there.
    pub from: Option<String>,
    /// The new side: a revision, or None for files that were never committed.
    pub to: Option<String>,
    /// By kind and name.
    pub changes: Vec<Change>,
    /// Fields (`Resource/db params.password`) that are hidden on the old side: whether they differ is not known.
    pub not_compared: Vec<String>,
}

/// A document that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    pub change: ChangeKind,
    /// `Resource/db`.
    pub object: String,
    /// `file:line:column` on the new side; None: it was removed.
    pub at: Option<String>,
    /// The same on the old side; None: it was added.
    pub was_at: Option<String>,
    /// Of what was added or removed: all it says.
    pub fields: Vec<FieldChange>,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    pub change: ChangeKind,
    /// Below `spec`: `params.ip`; or from `metadata` on.
    pub path: String,
    /// As it is written; `(hidden)` where it is secret. None: it was not there.
    pub from: Option<String>,
    pub to: Option<String>,
    pub at: Option<String>,
    pub was_at: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ChangeKind {
    Added,
    Changed,
    Removed,
}
