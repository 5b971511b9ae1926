//! From start to end of a daemon.

use super::effects::{Outputs, Performer};
use super::event_loop::{self, Inputs, Insight};
use super::setup::{NodeFacts, log_identity};
use super::transport::PeerTransport;
use super::{DaemonError, RunOptions, backend, disk, follow, members, recover, rounds, routes, setup, sync};
use crate::agent::{self, Runner, Watchdog, install_shims};
use crate::log::{self, RaftLog};
use crate::model::Detection;
use crate::net::{self, HeartbeatConfig, Heartbeats, Identity, Peers, clock};
use crate::reconcile;
use crate::source::Repo;
use crate::state::port::Log;
use crate::state::{FEATURE_LEVEL, JoinFacts};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Ends of processes waiting to be looked at; the sender waits when it is full.
const MAX_DEATHS: usize = 256;
/// Connections waiting to be accepted.
const BACKLOG: u32 = 1024;
/// The core's own limits are shorter; a core that does not answer is not waited for.
const RESTART: Duration = Duration::from_secs(8);
/// How long open requests and tasks may go on after the end was decided.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Runs until the node has left, a signal ends it, or it cannot go on. True: it left, with nothing running.
pub(super) async fn run(options: &RunOptions) -> Result<bool, DaemonError> {
    let data_dir = options.data_dir.clone();
    let run_dir = run_dir(&data_dir);
    let identity = Identity::load(&data_dir)?;
    let facts = NodeFacts::load(&data_dir)?;
    let peers = Peers::new(&identity, facts.addresses.clone())?;
    peers.set(facts.peers.clone())?;
    // The lock in here makes sure that there is one daemon per data directory, before anything else is touched.
    let generation = log::generation_of(&data_dir)?.unwrap_or(facts.generation);
    let transport = PeerTransport::new(peers.clone());
    let left_behind = transport.left_behind.subscribe();
    let log_identity = log_identity(&identity, generation);
    let log = RaftLog::start(log::Config::DEFAULT, &data_dir, log_identity, transport).await?;
    let boot = clock::boot_id()?;
    let incarnation = clock::next_incarnation(&data_dir, boot)?;
    tracing::info!(node = %facts.name, %incarnation, version = env!("CARGO_PKG_VERSION"), "starting");

    // Its time runs: what an earlier daemon was still allowed to do is gone on with before anything else.
    std::fs::create_dir_all(&run_dir).map_err(DaemonError::file(&run_dir))?;
    let watchdog = Arc::new(Watchdog::resume(&run_dir, &incarnation.boot));
    let listeners = listen(&facts).await?;
    let admitted = members::peers_of(&log.state(), &facts.name);
    let known = if admitted.is_empty() { facts.peers.clone() } else { admitted };
    // First of all: to settle what an earlier daemon left may take longer than others wait for a sign of life.
    let heartbeats = Arc::new(Heartbeats::start(
        &identity,
        HeartbeatConfig {
            incarnation: incarnation.clone(),
            links: facts.addresses.clone(),
            port: facts.port,
            interval: Detection::DEFAULT.heartbeat,
            stall_after: Detection::DEFAULT.suspect_after / 2,
            peers: known,
        },
    )?);

    let binary = std::env::current_exe().map_err(DaemonError::file("/proc/self/exe"))?;
    let socket = data_dir.join("hafen.sock");
    let agent_config =
        agent::Config { socket: socket.clone(), ..agent::Config::new(data_dir.clone(), run_dir, facts.name.clone()) };
    install_shims(&agent_config.shim_dir, &binary)?;
    let (deaths_in, deaths) = mpsc::channel(MAX_DEATHS);
    let runner = Runner::new(agent_config, deaths_in)?;
    for entry in runner.settle_journal().await {
        tracing::warn!(op = ?entry.op, fate = ?entry.fate, "an operation of an earlier daemon was settled");
    }
    let repo = Repo::open_or_init(&data_dir.join("repo.git"), &binary, &socket)?;

    let end = CancellationToken::new();
    let (events_in, events) = mpsc::unbounded_channel();
    let outputs = Outputs::default();
    let performer = Performer {
        log: log.clone(),
        runner: runner.clone(),
        events: events_in.clone(),
        outputs: outputs.clone(),
        heartbeats: heartbeats.clone(),
        watchdog: watchdog.clone(),
    };
    let (insight_in, insight) = watch::channel(Insight::default());
    let backend = Arc::new(backend::Daemon::new(backend::Parts {
        facts: facts.clone(),
        identity: identity.clone(),
        log: log.clone(),
        peers: peers.clone(),
        heartbeats: heartbeats.clone(),
        runner: runner.clone(),
        repo: repo.clone(),
        outputs,
        insight,
        events: events_in.clone(),
        end: end.clone(),
    }));
    let tls = net::tls::server_config(&identity)?;
    let router = routes::node_routes(backend.clone()).merge(backend::remote_routes(backend.clone()));
    for listener in listeners {
        tokio::spawn(net::serve(listener, tls.clone(), router.clone(), end.clone()));
    }
    backend::serve_socket(backend.clone(), &socket, end.clone()).await?;
    tokio::spawn(backend::keep_events(backend.clone()));
    // Nobody is taken in again before it is agreed who went on alone.
    let (to_follow, to_recover) = (log.clone(), backend.clone());
    let (name, peers_to_set, beats, ends) = (facts.name.clone(), peers.clone(), heartbeats.clone(), end.clone());
    let dir = data_dir.clone();
    tokio::spawn(async move {
        recover::state_what_was_stated(&to_recover, &dir, &beats).await;
        members::follow(to_follow, name, peers_to_set, beats, ends).await;
    });
    tokio::spawn(recover::tell_when_left_behind(backend.clone(), left_behind));
    tokio::spawn(rounds::confirm(log.clone(), heartbeats.clone(), events_in.clone()));
    tokio::spawn(disk::watch(backend.clone(), data_dir.clone()));
    tokio::spawn(sync::follow_target(backend.clone()));
    tokio::spawn(follow::follow_source(backend.clone()));
    tokio::spawn(end_by_signal(events_in.clone(), end.clone()));
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);

    let config = reconcile::Config {
        node: facts.name.clone(),
        incarnation,
        facts: JoinFacts {
            addresses: facts.addresses.clone(),
            port: facts.port,
            version: env!("CARGO_PKG_VERSION").into(),
            feature_level: FEATURE_LEVEL,
            recipient: recipient(),
        },
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let inputs = Inputs { events, deaths, heartbeats, peers };
    let mut halted = log.halted();
    let clean = tokio::select! {
        clean = event_loop::run(config, log.clone(), inputs, performer, insight_in, end.clone()) => clean,
        stopped = halted.wait_for(Option::is_some) => {
            let reason = stopped.ok().and_then(|reason| reason.clone());
            end.cancel();
            return Err(reason.map_or_else(|| DaemonError::Other("the log stopped".into()), DaemonError::Log));
        }
    };
    if clean {
        // It left: nothing runs here, and nothing is to be reset.
        watchdog.disarm();
    }
    end.cancel();
    // Answers that are on their way get out; the socket goes, so that nobody asks a dead daemon.
    tokio::time::sleep(LAST_WORDS).await;
    log.shutdown().await;
    let _ = std::fs::remove_file(&socket);
    if clean && backend.leaves_for_good() {
        setup::put_aside(&data_dir, clock::wall_ms())?;
    }
    tracing::info!(clean, "ended");
    Ok(clean)
}

/// Scratch of agents, gone after a boot; a daemon with another data directory has its own.
fn run_dir(data_dir: &std::path::Path) -> PathBuf {
    let usual = data_dir == std::path::Path::new("/var/lib/hafen");
    if usual { "/run/hafen".into() } else { data_dir.join("run") }
}

/// Listens on every own address. An address that the machine does not have (a cable that is out) is no reason not to
/// start; a port that is taken is.
async fn listen(facts: &NodeFacts) -> Result<Vec<TcpListener>, DaemonError> {
    let mut listeners = Vec::new();
    let mut missing = Vec::new();
    for address in &facts.addresses {
        let address = SocketAddr::new(*address, facts.port);
        match open(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => {
                tracing::warn!(%address, "this machine does not have the address (yet)");
                missing.push(format!("{address}: {error}"));
            }
            Err(source) => return Err(DaemonError::Listen { address, source }),
        }
    }
    if listeners.is_empty() {
        return Err(DaemonError::NoAddress { reasons: missing.join("; ") });
    }
    Ok(listeners)
}

fn open(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// For whom secrets are encrypted that this node is to open. Nodes that need none have no key.
fn recipient() -> Option<String> {
    use crate::agent::secrets::{KeyError, Keys, key_file};
    match Keys::read(&key_file()) {
        Ok(keys) => keys.recipients().into_iter().next(),
        Err(KeyError::Missing { .. }) => None,
        Err(error) => {
            tracing::warn!(%error, "this node cannot open secrets");
            None
        }
    }
}

/// SIGTERM and SIGINT end the daemon and leave everything running; leaving is asked for by `hafen agent --stop`.
async fn end_by_signal(events: mpsc::UnboundedSender<reconcile::Event>, end: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        () = end.cancelled() => return,
    }
    // The core tells the cluster first, so that nobody takes the restart for a failure.
    if events.send(reconcile::Event::Restart).is_ok() {
        tokio::select! {
            () = tokio::time::sleep(RESTART) => {}
            _ = term.recv() => {}
            _ = int.recv() => {}
            () = end.cancelled() => {}
        }
    }
    end.cancel();
}
