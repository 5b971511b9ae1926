//! The replicated log over embedded openraft.
//!
//! Answers: is this entry committed, and what is agreed now? Input: commands and the bytes of other nodes' RPCs.
//! Output: the applied [`State`](crate::state::State) after every batch, its events, and who leads.
//!
//! Invariants:
//! - what was acknowledged to anybody (a vote, an entry, a snapshot) was fsynced before;
//! - a proposal is answered `Ok` only after this node has applied it (read your writes), and `NoLeader` only if it can
//!   never be committed; everything in between is `Unknown`;
//! - a log that was altered is never silently shortened: opening it fails, and says what to do;
//! - a node that meets a command it cannot decode stops its Raft; it never guesses;
//! - elections are never triggered by hand, and followers whose log went back are never tolerated
//!   (`loosen-follower-log-revert` stays off).
//!
//! Deliberately absent: sockets (see [`Transport`]), evidence and claims (`state`), the choice of voters (`daemon`).
//!
//! A voter whose disk went back in time (restored, emptied, lost its last writes) is told so by the others, stops, and must
//! join under a new name: see `known` and `admission`, which say what goes unnoticed.
//!
//! Files: `types` what openraft is told · `disk` the redb file · `snapshot` the snapshot file · `store` openraft's log
//! storage on a thread of its own · `machine` the applied state · `network` RPCs over a [`Transport`] · `raft` the
//! handle · `propose` proposals · `membership` voters and learners · `known` and
//! `admission` disks that went back in time · `elections` when this node may stand · `recover` going on alone · `error`.

mod admission;
mod disk;
mod elections;
mod error;
mod known;
mod machine;
mod membership;
mod network;
mod propose;
mod raft;
mod recover;
mod snapshot;
mod store;
mod types;

#[cfg(test)]
mod tests;

pub use error::{HandleError, LogError, MembershipError};
pub use network::{RpcKind, Transport, TransportError};
pub use raft::{Config, Identity, RaftLog, Stand, Standing};
pub use recover::{Alone, generation_of};
pub use types::{RaftNode, raft_id};

/// Reads a snapshot file, and what it would be with a right checksum: for `fuzzing`.
#[doc(hidden)]
pub fn decode_snapshot(bytes: &tokio_util::bytes::Bytes) {
    let _ = snapshot::parse(bytes);
    let _ = snapshot::parse(&snapshot::sealed(bytes));
}

/// Reads the body of a request between nodes as each kind: for `fuzzing`.
#[doc(hidden)]
pub fn decode_requests(body: &[u8]) {
    network::decode_all(body);
}
