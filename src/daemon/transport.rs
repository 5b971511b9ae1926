//! Carries the log's requests over all links of a peer.

use crate::log::{RpcKind, Transport, TransportError};
use crate::model::NodeId;
use crate::net::{NetError, Peers, Repeat};
use hyper::body::Bytes;
use std::time::Duration;

#[derive(Clone)]
pub(super) struct PeerTransport(pub Peers);

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
            RpcKind::Append | RpcKind::Vote | RpcKind::Snapshot => Repeat::Harmless,
            RpcKind::Forward => Repeat::Never,
        };
        let path = format!("/node/raft/{}", kind.as_str());
        self.0.post(peer, &path, body, timeout, repeat).await.map_err(|error| match error {
            NetError::NotSent { .. } => TransportError::NotSent(error.to_string()),
            error => TransportError::Unknown(error.to_string()),
        })
    }
}
