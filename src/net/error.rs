//! What can go wrong between nodes and in the files that say who a node is.

use crate::model::NodeId;
use std::io;
use std::path::PathBuf;

/// A failed effect of `net`.
///
/// For requests the variants keep three cases apart that callers must not mix up: [`NetError::NotSent`] (safe to do
/// again), [`NetError::Unknown`] (may have happened) and [`NetError::Status`] (the peer answered).
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The peer never saw the request: nothing happened there.
    #[error("could not reach node `{node}`: {reason}")]
    NotSent { node: NodeId, reason: String },
    /// The request may have arrived and may have been done; nobody knows.
    #[error("node `{node}` did not answer: {reason}")]
    Unknown { node: NodeId, reason: String },
    /// The peer answered with a status other than 2xx; the body is cut at [`crate::net::peers::MAX_ERROR_BODY`].
    #[error("answered {code}: {}", String::from_utf8_lossy(body))]
    Status { code: u16, body: Vec<u8> },

    #[error("this node has no identity: `{path}` does not exist (run `hafen init` or `hafen join`)", path = path.display())]
    NoIdentity { path: PathBuf },
    #[error("this node already has an identity of cluster `{cluster_id}` in `{path}`", path = path.display())]
    IdentityExists { path: PathBuf, cluster_id: String },
    #[error(
        "the data directory belongs to cluster `{found}`, not to `{wanted}` (use an empty `--data-dir`, or remove `{path}`)",
        path = path.display()
    )]
    OtherCluster { path: PathBuf, found: String, wanted: String },
    #[error("`{path}` can be read by others (mode {mode:04o}; run `chmod {wanted:o} {path}`)", path = path.display())]
    Exposed { path: PathBuf, mode: u32, wanted: u32 },
    #[error("`{path}` is damaged: {reason}", path = path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("failed to access `{path}`", path = path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("this node has no CA key and cannot sign certificates")]
    NoCaKey,
    #[error("failed to make a certificate: {0}")]
    Certificate(String),
    #[error("failed to set up TLS: {0}")]
    Tls(String),
    #[error("failed to use the network at `{address}`", address = address)]
    Socket {
        address: std::net::SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("failed to start the heartbeat thread")]
    Thread(#[source] io::Error),
    #[error("`{text}` is not a join token: {reason}")]
    Token { text: String, reason: &'static str },
    /// No address of a token answered as a member of the token's cluster.
    #[error("no address of the token could be joined: {reason}")]
    Join { reason: String },
    #[error("the system has no randomness")]
    Random,
}
