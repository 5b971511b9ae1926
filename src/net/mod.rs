//! Who is who, and how nodes reach each other.
//!
//! Answers: is this peer a member of the cluster (identity, TLS); how does a request reach a node that has several
//! links (peers); who was heard when, by me and by the others (heartbeats); how does a new node prove that it may
//! join (tokens).
//!
//! Invariants: nothing is sent to or accepted from a peer of another cluster. A certificate says *which node* a
//! peer is; whether that node may still do anything is decided by the routes, which compare with the committed
//! members. Time comes from [`clock::boot_time`] (monotonic, counts sleep), never from the wall clock; only the
//! validity of certificates and tokens is wall time, and that is passed in.
//!
//! Deliberately absent: HTTP routes, the store of tokens, decisions about suspicion. Imports only `model`.
//! Errors: one enum, [`NetError`].

pub mod certificate;
pub mod clock;
pub mod contacts;
pub mod datagram;
pub mod error;
pub mod heartbeat;
pub mod identity;
pub mod join;
pub mod listener;
pub mod peers;
pub mod tls;
pub mod token;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod trust_tests;

pub use certificate::{belongs_to, server_name};
pub use contacts::{BootContact, Contact, Contacts, LinkContact, Report};
pub use error::NetError;
pub use heartbeat::{HeartbeatConfig, Heartbeats};
pub use identity::Identity;
pub use join::{JoinGrant, JoinKey, JoinRequest, PinnedClient};
pub use listener::{Endless, PeerCert, serve};
pub use peers::{LinkState, PeerAddr, Peers, Repeat};
pub use token::{JoinToken, TokenError, TokenRecord, TokenRole};
