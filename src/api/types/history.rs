//! What was followed: `hafen history`, and whose signature a revision carries.

use super::{ApiVersion, HistoryKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The target and the commits that it was built on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryView {
    #[serde(default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    pub kind: HistoryKind,
    /// Newest first. Empty before the first push.
    pub commits: Vec<HistoryCommit>,
}

/// One commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryCommit {
    pub revision: String,
    /// `Name <address>`, as the commit says. Only a signature proves it.
    pub author: String,
    /// The first line of the message.
    pub subject: String,
    /// When it was committed, seconds since 1970, by the clock of who did.
    pub time: i64,
    pub standing: Standing,
    /// When it became the target, if this node remembers: since its daemon started.
    pub accepted_ms: Option<u64>,
    /// None: the target's manifests have no rules about signatures, or there was no time to look.
    pub signature: Option<SignatureView>,
}

/// What a revision is to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Standing {
    /// It is followed.
    Target,
    /// The last one before it.
    LastGood,
    Past,
}

/// Whose signature a commit carries, by the signers that the target's rules list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignatureView {
    pub state: SignatureState,
    /// Of a good one: who, as the rules name them.
    pub signer: Option<String>,
    /// Of a good one: `SHA256:…` of an SSH key, or the fingerprint of an OpenPGP key.
    pub key: Option<String>,
    /// Why one that is there does not count.
    pub why: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum SignatureState {
    Good,
    Unsigned,
    /// Not by a signer, or by a key that has expired or was revoked since.
    NotCounted,
}

impl SignatureView {
    /// In a few words.
    pub fn words(&self) -> String {
        match (self.state, &self.signer) {
            (SignatureState::Good, Some(signer)) => format!("signed by {signer}"),
            (SignatureState::Good, None) => "signed".to_owned(),
            (SignatureState::Unsigned, _) => "not signed".to_owned(),
            (SignatureState::NotCounted, _) => "its signature does not count".to_owned(),
        }
    }
}
