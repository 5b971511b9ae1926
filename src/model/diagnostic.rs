//! What is wrong with a manifest, where, and what would help.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How bad a finding is. `validate` fails on errors, with `--deny-warnings` on warnings too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Severity {
    Error,
    Warning,
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// One finding. This is also its form in `-o json`.
///
/// Lines and columns count from 1, columns in characters; the end is exclusive. A finding about the whole tree has line 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostic {
    /// `HA` and four digits; `hafen explain CODE` says more.
    pub code: String,
    pub severity: Severity,
    /// Relative to the root of the manifests.
    pub file: String,
    pub line: u32,
    pub column: u32,
    pub end_line: u32,
    pub end_column: u32,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub help: Option<String>,
}
