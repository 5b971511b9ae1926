//! `hafen fmt -o json`: what became of each file.

use super::{ApiVersion, FormattedKind};
use crate::model::Diagnostic;
use schemars::JsonSchema;
use serde::Serialize;

/// What became of the files.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FormattedView {
    pub api_version: ApiVersion,
    pub kind: FormattedKind,
    pub files: Vec<FormattedFile>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FormattedFile {
    pub file: String,
    pub result: FormattedResult,
    /// Why it was left alone, if not for what is wrong in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is wrong in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub enum FormattedResult {
    /// It is in its canonical form now.
    Changed,
    /// It is not, and `--check` was given.
    WouldChange,
    /// It was so before.
    Unchanged,
    /// It cannot be read or written, or not be formatted without changing what it says.
    LeftAlone,
}
