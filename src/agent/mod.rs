//! Agents: run one action, return one outcome.
//!
//! Answers: what came of this start, stop, monitor, promotion or power cut, and has something of an instance ended?
//! [`AgentRequest`](crate::model::AgentRequest) → [`Outcome`](crate::model::Outcome) by [`Runner::run`];
//! [`FenceRequest`] → [`FenceReport`] by [`Runner::fence`]; ends of processes and units arrive as [`Death`] on a channel.
//!
//! Reading order: `process` (one child: group, time-out, bounded capture), `journal` (nothing runs unrecorded),
//! `cgroup` and `watch` (death is an event), `ocf` (environment of an agent), `systemd`, `fence` and `redfish`,
//! `catalogue` (what is installed), `shim` (Pacemaker's tools as agents call them), `runner` (puts these together).
//!
//! Invariants: an action other than a monitor is on disk before its program runs; a time-out ends the whole process
//! group and is [`ExecStatus::TimedOut`](crate::model::ExecStatus), never a guess; no secret leaves in an output.
//!
//! Deliberately absent: decisions. Whether an action may run (claims), when, and what follows from its outcome is told
//! by the caller, who runs at most one action but monitors of an instance at a time.

pub mod catalogue;
mod cgroup;
pub mod fence;
mod journal;
#[doc(hidden)]
pub mod metadata;
mod ocf;
mod process;
mod redfish;
mod redfish_tls;
mod runner;
pub mod secrets;
pub mod shim;
#[cfg(test)]
mod snapshot_tests;
mod sops;
mod systemd;
#[cfg(test)]
mod tests;
mod watch;
mod watchdog;

pub use catalogue::{Catalogue, catalogue};
pub use fence::{FenceReading, FenceReport, FenceRequest, Verb};
pub use journal::{Fate, JournalEntry, JournalledOp};
pub use runner::{Config, FENCE_DIRS_VARIABLE, OCF_ROOT_VARIABLE, Runner};
pub use shim::{ShimAnswer, ShimCall, install_shims};
pub use watch::Death;
pub use watchdog::{Watchdog, WatchdogError};

use std::path::PathBuf;

/// Why the part that runs agents cannot work.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("failed to create `{path}`")]
    CreateFolder { path: PathBuf, source: std::io::Error },
    #[error("failed to read `{path}`")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("failed to write `{path}`")]
    Write { path: PathBuf, source: std::io::Error },
}
