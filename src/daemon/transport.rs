//! Carries the log's requests over all links of a peer.

use crate::log::{RpcKind, Transport, TransportError};
use crate::model::NodeId;
use crate::net::{NetError, Peers, Repeat};
use hyper::body::Bytes;
use std::time::Duration;
use tokio::sync::watch;

/// The answer to a node whom a recovery left behind (HTTP 410): its body is the word for its operator.
pub(super) const LEFT_BEHIND: u16 = 410;

#[derive(Clone)]
pub(super) struct PeerTransport {
    pub peers: Peers,
    /// Set once a peer said that the cluster goes on without this node.
    pub left_behind: watch::Sender<Option<String>>,
}

impl PeerTransport {
    pub fn new(peers: Peers) -> Self {
        Self { peers, left_behind: watch::Sender::new(None) }
    }
}

impl Transport for PeerTransport {
    async fn send(
        &self,
        peer: &NodeId,
        kind: RpcKind,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, TransportError> {
        // Raft's own requests may arrive twice. A proposal may not: it would be two entries.
        let repeat = match kind {
            RpcKind::Append | RpcKind::Vote | RpcKind::Snapshot | RpcKind::Known => Repeat::Harmless,
            RpcKind::Forward => Repeat::Never,
        };
        let path = format!("/node/raft/{}", kind.as_str());
        self.peers.post(peer, &path, body, timeout, repeat).await.map_err(|error| match error {
            NetError::Status { code: LEFT_BEHIND, ref body } => {
                self.left_behind.send_replace(Some(String::from_utf8_lossy(body).into_owned()));
                TransportError::Unknown(error.to_string())
            }
            NetError::NotSent { .. } => TransportError::NotSent(error.to_string()),
            error => TransportError::Unknown(error.to_string()),
        })
    }
}
