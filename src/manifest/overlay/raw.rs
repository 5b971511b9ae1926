//! The document `kind: Overlay` as it is written.
//!
//! Input → output: these types derive the reading and the JSON Schema, as those of the other kinds in `manifest::raw`.
//!
//! Deliberately absent: what values and patches hold. What a value may be depends on its variable, and what a patch may
//! say on the document that it changes: both are judged where they are put together.

use crate::model::Kind;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// One of several clusters that share manifests: which base it is made of, and what it says differently.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::manifest) struct RawOverlay {
    /// Folders of the same repository whose documents are taken, relative to the folder of this file.
    pub bases: Option<Vec<String>>,
    /// What documents refer to as `${NAME}`, here or in whatever builds on this folder.
    pub variables: Option<BTreeMap<String, RawVariable>>,
    /// What variables stand for, by name. An overlay's word counts more than that of its bases.
    pub values: Option<BTreeMap<String, RawValue>>,
    /// What is changed in documents of the bases.
    pub patches: Option<Vec<RawPatch>>,
    /// Documents of the bases that are left out.
    pub remove: Option<Vec<RawTarget>>,
}

/// What a variable may stand for.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::manifest) struct RawVariable {
    /// Of what type its values are.
    #[serde(rename = "type")]
    pub of: VariableType,
    /// What it stands for where no overlay says; without it every cluster has to.
    pub default: Option<RawValue>,
    /// Of an Enum: the words that it may be.
    pub choices: Option<Vec<String>>,
    /// For people.
    pub description: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub(in crate::manifest) enum VariableType {
    /// Any text.
    String,
    /// A whole number.
    Integer,
    /// Such as `10s` or `1m30s`.
    Duration,
    Boolean,
    /// One of `choices`.
    Enum,
    /// A list of texts, which takes the place of a whole value.
    List,
}

/// Changes of one document.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::manifest) struct RawPatch {
    pub kind: KindWord,
    /// Of the document, as it is with the values of the variables put in.
    pub name: String,
    /// Labels that are added, or have another value.
    pub labels: Option<BTreeMap<String, RawValue>>,
    /// Fields that are added, or have another value: maps are merged, lists and single values replaced.
    pub spec: Option<Fields>,
    /// Fields that are taken away, as paths below `spec`, such as `operations.monitor.timeout`; labels as `metadata.labels.NAME`.
    pub remove: Option<Vec<String>>,
}

/// A document.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::manifest) struct RawTarget {
    pub kind: KindWord,
    pub name: String,
}

macro_rules! by_hand {
    ($($(#[$meta:meta])* $name:ident($inner:ty) = $schema:expr;)*) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Deserialize)]
        #[serde(transparent)]
        pub(in crate::manifest) struct $name(pub $inner);

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )* };
}

by_hand! {
    /// One word, or a list of words.
    RawValue(serde_json::Value) = json_schema!({ "type": ["string", "integer", "boolean", "array"], "items": { "type": "string" } });
    /// Part of the fields of a kind.
    Fields(serde_json::Value) = json_schema!({ "type": "object", "additionalProperties": {} });
    /// A kind of which there can be documents in a base.
    KindWord(String) = {
        let kinds: Vec<&str> = Kind::ALL.iter().filter(|kind| **kind != Kind::Overlay).map(|kind| kind.as_str()).collect();
        json_schema!({ "type": "string", "enum": kinds })
    };
}

/// Whether a text can be the name of a variable; as those of documents, without dots.
pub(super) fn is_variable(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    text.len() <= 64 && text.starts_with(first) && text.chars().all(rest)
}
