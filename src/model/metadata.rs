//! What agents say of themselves: the parts of OCF and fence agent metadata that hafen uses.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The metadata of one agent (OCF 1.1, "meta-data"; fence agents use the same XML).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct AgentMetadata {
    pub name: String,
    pub shortdesc: String,
    pub parameters: BTreeMap<String, ParameterMeta>,
    /// Suggested time-outs by action (`start`, `monitor`, …).
    pub actions: BTreeMap<String, ActionMeta>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ParameterMeta {
    pub required: bool,
    /// Two resources may not share this value (OCF 1.1 `unique-group`, 1.0 `unique`).
    pub unique: bool,
    pub reloadable: bool,
    pub default: Option<String>,
    pub shortdesc: String,
}

impl ParameterMeta {
    /// Whether leaving it out is a mistake. Most agents write `default=""` for what has no default.
    pub fn must_be_given(&self) -> bool {
        self.required && self.default.as_ref().is_none_or(String::is_empty)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ActionMeta {
    pub timeout: Option<Duration>,
    pub interval: Option<Duration>,
}

/// What is installed where the manifests are checked. Empty on a machine without agents: then nothing is said of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct AgentCatalogue {
    /// Metadata of the agents that the manifests name, by `ocf:PROVIDER:TYPE` or `fence_…`.
    pub metadata: BTreeMap<String, AgentMetadata>,
    /// Every agent installed here, by the same names. A provider without entries is not installed: unknown, not wrong.
    pub installed: std::collections::BTreeSet<String>,
}
