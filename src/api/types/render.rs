//! `hafen render -o json`: the documents of one cluster, and where every field is from.

use super::{ApiVersion, RenderedKind};
use crate::manifest::RenderedField;
use schemars::JsonSchema;
use serde::Serialize;

/// The documents as everything after the overlays sees them.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenderedView {
    pub api_version: ApiVersion,
    pub kind: RenderedKind,
    pub documents: Vec<RenderedDocumentView>,
}

/// One document.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenderedDocumentView {
    /// Where its name is written: `FILE:LINE:COLUMN`.
    pub at: String,
    /// The document itself.
    pub document: serde_json::Value,
    /// Every field with its origin; only with `--show-origin`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<RenderedField>,
}
