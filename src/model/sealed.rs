//! Secrets as a desired state names them: where one is, or what it looks like sealed. Never what it says.
//!
//! Three forms: a file on the node that runs the agent; a value that is encrypted with age within the manifest; a value of a
//! SOPS file of the same revision. The latter two are opened by that node's own key, just before the agent is run.
//!
//! Invariant: nothing here was ever decrypted, so it may be in the log, in a snapshot and in a digest.
//!
//! Deliberately absent: reading the forms (`manifest`), opening them (`agent`).

use super::{Digest, Origin};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a secret may say, in bytes: a private key with its chain of certificates. It becomes one variable of an environment,
/// of which Linux takes 128 KiB.
pub const MAX_SECRET_BYTES: usize = 64 * 1024;

/// The secrets of one resource or fencing device, by the parameters that they are values of.
pub type SecretRefs = BTreeMap<String, SecretRef>;

/// One secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecretRef {
    /// Path on the node that runs the agent.
    File {
        file: String,
    },
    Age(AgeSecret),
    Sops(SopsSecret),
}

/// A secret that the daemon itself uses, on whichever node that is: a file, with the same path on each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretFile {
    /// Absolute path. Its first line is the secret.
    pub file: String,
}

/// A value that is encrypted with age (age-encryption.org/v1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgeSecret {
    /// Where it is written.
    pub at: Origin,
    /// What it is compared by.
    pub seal: Digest,
    /// The kinds of keys that open it (`X25519`, `ssh-ed25519`), one for each recipient; age names nobody.
    pub recipients: Vec<String>,
    /// In ASCII armor. Empty where it was left out (`state::export`): then nobody can open it.
    pub armor: String,
}

/// A value of a SOPS file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SopsSecret {
    /// Where it is named.
    pub at: Origin,
    /// What it is compared by: a digest of its own ciphertext, whatever else the file says.
    pub seal: Digest,
    /// The file, relative to the root of the manifests.
    pub file: String,
    /// Its keys on the way to the value, joined by dots.
    pub key: String,
    /// None where it was left out: then nobody can open it.
    pub document: Option<Arc<SopsDocument>>,
}

/// What a SOPS file says that is needed to open one of its values, and to be sure that nobody changed any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SopsDocument {
    /// In the order of the file, which is that of its authentication code.
    pub values: Vec<SopsValue>,
    /// `sops.mac`, encrypted.
    pub mac: String,
    /// `sops.lastmodified`, as it is written.
    pub last_modified: String,
    /// `sops.mac_only_encrypted`.
    pub mac_only_encrypted: bool,
    /// `sops.age`: who can open it.
    pub recipients: Vec<SopsRecipient>,
}

/// One leaf of a SOPS file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SopsValue {
    /// Keys and positions in lists, joined by dots.
    pub key: String,
    /// What its ciphertext is bound to: the keys alone, each with a colon behind it.
    pub bound_to: String,
    pub text: SopsText,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SopsText {
    /// `ENC[AES256_GCM,…]`.
    Sealed(String),
    /// In clear, as SOPS puts it into the authentication code.
    Clear(String),
}

/// The data key of a SOPS file, encrypted for one age recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SopsRecipient {
    /// `age1…`.
    pub recipient: String,
    /// In ASCII armor.
    pub armor: String,
}

impl SecretRef {
    /// What it is compared by: two that are equal here say the same, as far as can be known without opening them.
    pub fn told(&self) -> String {
        match self {
            Self::File { file } => format!("file {file}"),
            Self::Age(AgeSecret { seal, .. }) | Self::Sops(SopsSecret { seal, .. }) => sealed(seal),
        }
    }

    /// Whether it says the same, as [`Self::told`] has it.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self.seal(), other.seal()) {
            (Some(one), Some(two)) => one == two,
            (None, None) => self.told() == other.told(),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    fn seal(&self) -> Option<&Digest> {
        match self {
            Self::File { .. } => None,
            Self::Age(AgeSecret { seal, .. }) | Self::Sops(SopsSecret { seal, .. }) => Some(seal),
        }
    }

    /// Without its ciphertext: it can be compared, but never be opened.
    pub fn redacted(&self) -> Self {
        match self {
            Self::File { .. } => self.clone(),
            Self::Age(age) => Self::Age(AgeSecret { armor: String::new(), ..age.clone() }),
            Self::Sops(sops) => Self::Sops(SopsSecret { document: None, ..sops.clone() }),
        }
    }
}

/// Whether a file of this name belongs to a tree of manifests: YAML, and SOPS files in JSON, which say so by their name.
pub fn is_of_manifests(name: &[u8]) -> bool {
    [&b".yaml"[..], b".yml", b".enc.json", b".sops.json"].iter().any(|end| name.ends_with(end))
}

/// How a sealed value is shown: by the beginning of its digest, so that a change of it is seen.
pub fn sealed(seal: &Digest) -> String {
    let text = seal.to_string();
    format!("(sealed {})", text.get(..12).unwrap_or(&text))
}

/// Parameters and secrets together, as they are compared: what an agent is told, without what must not be known.
pub fn told(params: &BTreeMap<String, String>, secrets: &SecretRefs) -> BTreeMap<String, String> {
    let secrets = secrets.iter().map(|(name, secret)| (name.clone(), secret.told()));
    params.iter().map(|(name, text)| (name.clone(), text.clone())).chain(secrets).collect()
}
