//! The daemon: one program on every node, that wires the pure core to the world.
//!
//! Answers nothing by itself. `reconcile::Node` decides; this performs its effects and feeds back what came of them.
//!
//! Invariants: one daemon per boot and data directory (the log's lock); nothing runs before the journal of an earlier
//! daemon is settled; a listener that cannot be opened ends the start with the reason.
//!
//! Files: `setup` init, join and the facts of this node · `run` start to end · `event_loop` the core's loop · `effects`
//! what it asks for · `transport` RPCs of the log · `members` who belongs to the log · `rounds` the leader's for leases · `recover` going on alone · `routes` what other nodes ask ·
//! `push` manifests from a push to the target · `sync` git objects · `follow` `source.url` · `backend` what people ask ·
//! `why` what led to what, with commits · `history` what was followed, and who signed it.

mod backend;
mod compare;
mod disk;
mod effects;
mod event_loop;
mod fencing;
mod follow;
mod history;
mod members;
mod push;
mod recover;
mod report;
mod revision;
mod rounds;
mod routes;
mod run;
mod secrets;
mod setup;
mod shims;
mod sync;
mod transport;
mod why;

pub use recover::RecoverOptions;
pub use revision::manifests;
pub use setup::{InitOptions, JoinOptions, NodeFacts};

use crate::api::{ApiError, ErrorCode};
use crate::model::causes;

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

/// Makes this node the only voter of the next generation, which is returned. Refused while its daemon runs.
pub fn recover(options: &RecoverOptions) -> Result<u64, ApiError> {
    recover::recover(options).map_err(to_api)
}

/// Runs the daemon until it is ended.
pub fn run(options: &RunOptions) -> Result<Ended, ApiError> {
    let runtime = runtime()?;
    let options = options.clone();
    // Beside the other tasks, not on this thread: what wakes it is then on the same thread already.
    let run = runtime.spawn(async move { run::run(&options).await });
    let left = match runtime.block_on(run) {
        Ok(ended) => ended.map_err(to_api)?,
        Err(error) => return Err(ApiError::new(ErrorCode::Internal, format!("the daemon ended: {error}"))),
    };
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
    // What another node answered is worded there already.
    if let DaemonError::Net(crate::net::NetError::Status { body, .. }) = &error
        && let Ok(view) = serde_json::from_slice::<crate::api::error::ErrorView>(body)
    {
        return view.into();
    }
    let answer = ApiError::new(ErrorCode::Refused, causes::in_words(&error));
    match hint(&error) {
        Some(hint) => answer.hint(hint),
        None => answer,
    }
}

/// What would help, where the message does not say it already.
fn hint(error: &DaemonError) -> Option<String> {
    use crate::log::LogError;
    use crate::net::NetError;
    use crate::source::SourceError;
    let is_denied = |io: &std::io::Error| io.kind() == std::io::ErrorKind::PermissionDenied;
    if causes::causes(error).any(|cause| cause.downcast_ref().is_some_and(is_denied)) {
        return Some("run it as root".into());
    }
    let text = match error {
        DaemonError::Net(NetError::NoIdentity { .. }) => "`hafen init --help` and `hafen join --help` show examples",
        DaemonError::Net(NetError::IdentityExists { .. }) => {
            "this machine is a node already: `hafen agent` runs it, `hafen leave` takes it out of its cluster, \
             `--data-dir DIR` makes another node"
        }
        DaemonError::Net(NetError::OtherCluster { .. }) => "the cluster's own nodes make its tokens: `hafen token`",
        DaemonError::Net(NetError::Token { .. } | NetError::Join { .. }) => {
            "`hafen token` on a node of the cluster prints a token; copy all of it"
        }
        DaemonError::Net(NetError::Damaged { .. }) | DaemonError::Damaged { .. } => {
            "bring the file back from a backup, or move the data directory away and `hafen join` under a new name"
        }
        DaemonError::Log(LogError::Locked { .. }) => {
            "one daemon per data directory: `systemctl stop hafen` ends the other, `hafen status` asks it"
        }
        DaemonError::Log(LogError::DiskFull { .. }) => "`df` and `du` show what fills it; nothing of the log is lost",
        DaemonError::Listen { address, source } if source.kind() == std::io::ErrorKind::AddrInUse => {
            return Some(format!(
                "`ss -tlnp sport = :{}` shows who has it; `--listen` of `hafen init` and `hafen join` chooses another",
                address.port()
            ));
        }
        DaemonError::NoAddress { .. } => "`ip addr` shows the addresses of this machine",
        DaemonError::Source(SourceError::GitMissing | SourceError::GitTooOld { .. }) => "install it: `apt install git`",
        DaemonError::Net(_)
        | DaemonError::Log(_)
        | DaemonError::Membership(_)
        | DaemonError::Agent(_)
        | DaemonError::Source(_)
        | DaemonError::File { .. }
        | DaemonError::Listen { .. }
        | DaemonError::BadName { .. }
        | DaemonError::Other(_) => return None,
    };
    Some(text.into())
}
