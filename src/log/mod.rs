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
//! Not detected: a voter whose disk was restored from an old copy that is whole in itself. It must join under a new
//! name; only its vote and log say what it once acknowledged, and both went back together.
//!
//! Files: `types` what openraft is told · `disk` the redb file · `snapshot` the snapshot file · `store` openraft's log
//! storage on a thread of its own · `machine` the applied state · `network` RPCs over a [`Transport`] · `raft` the
//! handle · `propose` proposals · `membership` voters and learners · `recover` going on alone · `error`.

mod disk;
mod error;
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
pub use recover::recover_alone;
pub use types::{RaftNode, raft_id};
