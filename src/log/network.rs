//! RPCs between the nodes of the log, over a [`Transport`] that somebody else provides.
//!
//! A request is one frame: format byte, eight bytes that stand for the cluster and its generation, what the sender knows of all
//! voters (`known`), the request, both postcard. Raft's own requests leave only after this node was admitted (`admission`).
//! A frame of another cluster, generation or format is refused unread. An answer is plain postcard. Nothing here retries:
//! Raft does, with a short back-off.

use super::elections::Elections;
use super::error::HandleError;
use super::known::{Floor, Floors, Known};
use super::raft::Identity;
use super::types::{Body, RaftNode, Snapshot, SnapshotMeta, TypeConfig, Vote};
use crate::model::NodeId;
use openraft::error::{Fatal, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{OptionalSend, RaftLogId as _};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::future::Future;
use std::time::Duration;
use tokio_util::bytes::Bytes;

/// A whole snapshot travels in one body. States are some MiB at most; beyond this something is wrong.
pub(super) const MAX_SNAPSHOT_BYTES: usize = 64 << 20;
/// Any other body: an append of [`APPEND_BYTES`](super::store::APPEND_BYTES) with one entry too many, and room.
pub(super) const MAX_RPC_BYTES: usize = 4 << 20;
/// A snapshot may take this long to be sent, fsynced and installed.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long Raft first leaves a peer alone that could not be reached; doubled up to [`Network::longest_backoff`].
const FIRST_BACKOFF: Duration = Duration::from_millis(25);
const FRAME_FORMAT: u8 = 2;
const TAG_BYTES: usize = 8;

/// What a request is; each has a route of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RpcKind {
    Append,
    Vote,
    /// Up to 64 MiB; the others stay below 4 MiB.
    Snapshot,
    /// A proposal for the leader.
    Forward,
    /// What the other knows that the sender once acknowledged.
    Known,
}

impl RpcKind {
    pub const ALL: [Self; 5] = [Self::Append, Self::Vote, Self::Snapshot, Self::Forward, Self::Known];

    /// The last part of its route.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Vote => "vote",
            Self::Snapshot => "snapshot",
            Self::Forward => "forward",
            Self::Known => "known",
        }
    }

    /// The largest body that is read.
    pub fn max_bytes(self) -> usize {
        match self {
            Self::Snapshot => MAX_SNAPSHOT_BYTES,
            Self::Append | Self::Vote | Self::Forward | Self::Known => MAX_RPC_BYTES,
        }
    }
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The peer surely never saw it.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The peer may have seen it.
    #[error("no answer: {0}")]
    Unknown(String),
}

/// Carries requests to other nodes, who give them to [`RaftLog::handle`](super::RaftLog::handle).
pub trait Transport: Clone + Send + Sync + 'static {
    /// Sends one request and waits for its answer, for at most `timeout`. Dropping the future gives it up.
    fn send(
        &self,
        peer: &NodeId,
        kind: RpcKind,
        body: Bytes,
        timeout: Duration,
    ) -> impl Future<Output = Result<Bytes, TransportError>> + Send;
}

/// Makes and reads the frames of one cluster and generation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Framing([u8; TAG_BYTES]);

impl Framing {
    pub(super) fn of(identity: &Identity) -> Self {
        let mut hasher = sha2::Sha256::new();
        hasher.update(identity.generation.to_be_bytes());
        hasher.update(identity.cluster.as_bytes());
        let digest: [u8; 32] = hasher.finalize().into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        Self([a, b, c, d, e, f, g, h])
    }

    pub(super) fn frame<T: Serialize>(self, floors: &Floors, request: &T) -> Result<Bytes, postcard::Error> {
        let mut start = Vec::with_capacity(256);
        start.push(FRAME_FORMAT);
        start.extend_from_slice(&self.0);
        postcard::to_extend(&(floors, request), start).map(Bytes::from)
    }

    pub(super) fn unframe<T: for<'de> Deserialize<'de>>(
        self,
        kind: RpcKind,
        body: &[u8],
    ) -> Result<(Floors, T), HandleError> {
        if body.len() > kind.max_bytes() {
            return Err(HandleError::TooLarge { limit: kind.max_bytes() });
        }
        let (format, rest) = body.split_first().ok_or(HandleError::Foreign)?;
        let (tag, request) = rest.split_at_checked(TAG_BYTES).ok_or(HandleError::Foreign)?;
        if *format != FRAME_FORMAT || tag != self.0 {
            return Err(HandleError::Foreign);
        }
        postcard::from_bytes(request).map_err(|error| HandleError::Malformed(error.to_string()))
    }
}

/// Reads what follows the tag of a frame as each kind of request: for `fuzzing`.
pub(super) fn decode_all(body: &[u8]) {
    let _ = postcard::from_bytes::<AppendEntriesRequest<TypeConfig>>(body);
    let _ = postcard::from_bytes::<VoteRequest<u64>>(body);
    let _ = postcard::from_bytes::<SnapshotRequest>(body);
    let _ = postcard::from_bytes::<super::propose::Forward>(body);
}

/// A snapshot on its way.
#[derive(Serialize, Deserialize)]
pub(super) struct SnapshotRequest {
    pub(super) vote: Vote,
    pub(super) meta: SnapshotMeta,
    pub(super) state: Body,
}

/// Makes a connection per peer for openraft.
pub(super) struct Network<T> {
    pub(super) transport: T,
    pub(super) framing: Framing,
    pub(super) known: Known,
    pub(super) elections: Elections,
    /// Shorter than an election time-out, so that a peer that returns hears of its leader before it stands itself.
    pub(super) longest_backoff: Duration,
}

impl<T: Transport> RaftNetworkFactory<TypeConfig> for Network<T> {
    type Network = Connection<T>;

    async fn new_client(&mut self, id: u64, node: &RaftNode) -> Connection<T> {
        Connection {
            transport: self.transport.clone(),
            framing: self.framing,
            known: self.known.clone(),
            elections: self.elections.clone(),
            id,
            peer: node.name.clone(),
            longest_backoff: self.longest_backoff,
        }
    }
}

/// What Raft uses to talk to one peer.
pub(super) struct Connection<T> {
    transport: T,
    framing: Framing,
    known: Known,
    elections: Elections,
    id: u64,
    peer: NodeId,
    longest_backoff: Duration,
}

impl<T: Transport> Connection<T> {
    async fn call<Q: Serialize, A: for<'de> Deserialize<'de>>(
        &self,
        kind: RpcKind,
        request: &Q,
        timeout: Duration,
    ) -> Result<A, Unreachable> {
        // Nobody is to follow, or vote for, a disk that was not compared yet. Raft tries again after a pause.
        if !self.elections.is_admitted() {
            return Err(Unreachable::new(&HandleError::NotAdmitted));
        }
        let body = self.framing.frame(&self.known.all(), request).map_err(|error| Unreachable::new(&error))?;
        if body.len() > kind.max_bytes() {
            let error = HandleError::TooLarge { limit: kind.max_bytes() };
            tracing::error!(peer = %self.peer, kind = kind.as_str(), bytes = body.len(), %error, "a raft request is not sent");
            return Err(Unreachable::new(&error));
        }
        let sent = self.transport.send(&self.peer, kind, body, timeout).await;
        let answer = sent.map_err(|error| Unreachable::new(&error))?;
        postcard::from_bytes(&answer).map_err(|error| Unreachable::new(&error))
    }
}

type RpcError = RPCError<u64, RaftNode, RaftError<u64>>;

impl<T: Transport> RaftNetwork<TypeConfig> for Connection<T> {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        let answer = self.call(RpcKind::Append, &rpc, option.hard_ttl()).await?;
        let sent = rpc.entries.last().map(|entry| *entry.get_log_id()).max(rpc.prev_log_id);
        let matched = match &answer {
            AppendEntriesResponse::Success => Some(sent),
            AppendEntriesResponse::PartialSuccess(upto) => Some(*upto),
            AppendEntriesResponse::Conflict | AppendEntriesResponse::HigherVote(_) => None,
        };
        // Before Raft counts on it.
        if let Some(matched) = matched {
            self.known.raise(self.id, &Floor::followed(&rpc.vote, matched, rpc.leader_commit));
        }
        Ok(answer)
    }

    async fn vote(&mut self, rpc: VoteRequest<u64>, option: RPCOption) -> Result<VoteResponse<u64>, RpcError> {
        let answer: VoteResponse<u64> = self.call(RpcKind::Vote, &rpc, option.hard_ttl()).await?;
        self.known.raise(self.id, &Floor::voted(&answer.vote));
        Ok(answer)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<TypeConfig, Fatal<u64>>> {
        let request = SnapshotRequest { vote, meta: snapshot.meta, state: *snapshot.snapshot };
        tokio::select! {
            answer = self.call(RpcKind::Snapshot, &request, SNAPSHOT_TIMEOUT) => {
                // Not `Network`, which Raft would retry without a pause.
                answer.map_err(StreamingError::Unreachable)
            }
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    fn backoff(&self) -> Backoff {
        let longest = self.longest_backoff;
        let doubled = move |last: &Duration| Some(last.saturating_mul(2).min(longest));
        Backoff::new(std::iter::successors(Some(FIRST_BACKOFF.min(longest)), doubled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_another_cluster_or_generation_are_refused_unread() {
        let framing = |cluster: &str, generation| {
            Framing::of(&Identity { cluster: cluster.to_owned(), generation, node: NodeId::from("n1") })
        };
        let floors = Floors::from([(7, Floor::default())]);
        let body = framing("prod", 1).frame(&floors, &"hello").expect("encodes");
        assert_eq!(framing("prod", 1).unframe::<String>(RpcKind::Vote, &body), Ok((floors, "hello".to_owned())));
        for other in [framing("prod", 2), framing("test", 1)] {
            assert_eq!(other.unframe::<String>(RpcKind::Vote, &body), Err(HandleError::Foreign));
        }
        for cut in 0..9 {
            assert_eq!(framing("prod", 1).unframe::<String>(RpcKind::Vote, &body[..cut]), Err(HandleError::Foreign));
        }
    }
}
