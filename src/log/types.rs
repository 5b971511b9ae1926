//! What openraft is told about us: the types of entries, answers, nodes and snapshots.
//!
//! An entry travels and rests as the bytes of `state::snapshot::encode_entry`, so that a node can store and pass on
//! what only a newer version can decode; it halts when it would have to apply it.

use crate::model::NodeId;
use crate::state::Refusal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_util::bytes::Bytes;

openraft::declare_raft_types!(
    /// The types of this log.
    pub TypeConfig:
        D = Proposal,
        R = Answers,
        NodeId = u64,
        Node = RaftNode,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = Body,
        Responder = openraft::impls::OneshotResponder<TypeConfig>,
        AsyncRuntime = openraft::TokioRuntime,
);

pub(super) type Entry = openraft::Entry<TypeConfig>;
pub(super) type LogId = openraft::LogId<u64>;
pub(super) type Vote = openraft::Vote<u64>;
pub(super) type StorageError = openraft::StorageError<u64>;
pub(super) type StoredMembership = openraft::StoredMembership<u64, RaftNode>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<u64, RaftNode>;
pub(super) type Snapshot = openraft::Snapshot<TypeConfig>;

/// The answer to each command of an entry; empty for entries of Raft itself.
pub type Answers = Vec<Result<(), Refusal>>;

/// A member as Raft's membership entries carry it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RaftNode {
    pub name: NodeId,
    /// One per network; the first is link 0.
    pub addresses: Vec<IpAddr>,
    pub port: u16,
}

/// The number under which Raft knows a node: the first eight bytes of the SHA-256 of its name.
pub fn raft_id(name: &NodeId) -> u64 {
    let digest: [u8; 32] = sha2::Sha256::digest(name.as_str().as_bytes()).into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// What a client write carries: an encoded entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Proposal {
    /// Applied only if it was appended in this term: for commands that rest on a leader's own counts.
    pub only_term: Option<u64>,
    pub entry: Body,
    #[serde(skip)]
    appended: Option<Arc<AtomicBool>>,
}

impl Proposal {
    /// A proposal, and a flag that tells whether it ever got into this node's log. As long as it did not, it can never
    /// be committed.
    pub fn new(only_term: Option<u64>, entry: Vec<u8>) -> (Self, Arc<AtomicBool>) {
        let appended = Arc::new(AtomicBool::new(false));
        (Self { only_term, entry: Body(entry.into()), appended: Some(appended.clone()) }, appended)
    }

    pub fn mark_appended(&self) {
        if let Some(flag) = &self.appended {
            flag.store(true, Ordering::SeqCst);
        }
    }
}

/// Bytes that are cheap to clone and that serde writes as bytes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Body(pub Bytes);

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Body;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Body, E> {
                Ok(Body(Bytes::copy_from_slice(bytes)))
            }
            fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Body, E> {
                Ok(Body(bytes.into()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}
