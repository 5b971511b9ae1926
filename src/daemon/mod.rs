//! The daemon: one program on every node, that wires the pure core to the world.
//!
//! Answers nothing by itself. `reconcile::Node` decides; this performs its effects and feeds back what came of them.
//!
//! Invariants: one daemon per boot and data directory (the log's lock); nothing runs before the journal of an earlier
//! daemon is settled; a listener that cannot be opened ends the start with the reason.
//!
//! Files: `setup` init, join and the facts of this node · `run` start to end · `event_loop` the core's loop · `effects`
//! what it asks for · `transport` RPCs of the log · `members` who belongs to the log · `routes` what other nodes ask ·
//! `push` manifests from a push to the target · `sync` git objects and `source.url` · `backend` what people ask.

mod backend;
mod effects;
mod event_loop;
mod members;
mod push;
mod routes;
mod run;
mod setup;
mod shims;
mod sync;
mod transport;
mod words;

pub use setup::{InitOptions, JoinOptions, NodeFacts};

use crate::api::{ApiError, ErrorCode};

use std::path::PathBuf;

/// Why the daemon cannot start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error(transparent)]
    Net(#[from] crate::net::NetError),
    #[error(transparent)]
    Log(#[from] crate::log::LogError),
    #[error(transparent)]
    Membership(#[from] crate::log::MembershipError),
    #[error(transparent)]
    Agent(#[from] crate::agent::AgentError),
    #[error(transparent)]
    Source(#[from] crate::source::SourceError),
    #[error("failed to use `{path}`: {source}", path = path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{path}` is damaged: {why}", path = path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: std::net::SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("none of this node's addresses can be listened on: {reasons}")]
    NoAddress { reasons: String },
    #[error("`{name}` is not a name of a node: letters, digits, `_`, `.` and `-`, at most 128")]
    BadName { name: String },
    #[error("{0}")]
    Other(String),
}

impl DaemonError {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

/// How the daemon is started.
#[derive(Debug, Clone)]
pub struct RunOptions {
    pub data_dir: PathBuf,
}

/// Why a daemon ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It left, because it was asked to.
    Left,
    /// By a signal; its resources run on.
    Terminated,
}

/// Makes the data directory of a first node. Refused if there is one.
pub fn init(options: &InitOptions) -> Result<(), ApiError> {
    runtime()?.block_on(setup::init(options)).map_err(to_api)
}

/// Makes the data directory of a further node, with what the cluster answers.
pub fn join(options: &JoinOptions) -> Result<(), ApiError> {
    runtime()?.block_on(setup::join(options)).map_err(to_api)
}

/// Runs the daemon until it is ended.
pub fn run(options: &RunOptions) -> Result<Ended, ApiError> {
    let runtime = runtime()?;
    let left = runtime.block_on(run::run(options)).map_err(to_api)?;
    // Tasks that wait for agents are not waited for: agents outlive the daemon and are settled by the next one.
    runtime.shutdown_timeout(SHUTDOWN);
    Ok(if left { Ended::Left } else { Ended::Terminated })
}

/// How long tasks of an ending daemon may take to notice.
const SHUTDOWN: std::time::Duration = std::time::Duration::from_millis(200);

fn runtime() -> Result<tokio::runtime::Runtime, ApiError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| ApiError::new(ErrorCode::Internal, format!("failed to start: {error}")))
}

/// An error with everything that caused it, for people.
fn to_api(error: DaemonError) -> ApiError {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !message.contains(&text) {
            message += &format!(": {text}");
        }
        cause = inner.source();
    }
    ApiError::new(ErrorCode::Refused, message)
}
