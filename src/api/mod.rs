//! The HTTP interface: what an operator, a viewer and the hooks can ask of a daemon.
//!
//! Answers: which routes exist, who may call them ([`access`]), what they carry ([`types`]), how a status is made of
//! the agreed state ([`view`]), which commands an operator's wish becomes ([`operate`]), and the client that the
//! command line uses ([`client`]).
//!
//! Input → output: a [`Backend`] (the daemon) → an axum router, served on the local socket and on the cluster's port.
//!
//! Invariants: every answer has `apiVersion` and `kind`; an outcome that is not known is answered as unknown, never as
//! an error or a success; writing needs an operator, whatever the door.
//!
//! Deliberately absent: decisions (`plan`), TLS and identity (`net`), the routes between nodes (the daemon adds them).

pub mod access;
pub mod backend;
pub mod chain;
pub mod client;
mod differences;
pub mod error;
pub mod fencing;
mod foresee;
mod heard;
pub mod operate;
pub mod planned;
pub mod rollout;
mod routes;
pub mod socket;
pub mod types;
pub mod view;
pub mod webhook;
pub mod words;

#[cfg(test)]
mod foresee_tests;
#[cfg(test)]
mod tests;

pub use access::{Access, Caller, Door};
pub use backend::Backend;
pub use client::Client;
pub use differences::differences;
pub use error::{ApiError, ErrorCode};
pub use routes::router;
pub use webhook::Webhooks;
