//! Whole clusters in one process: real disks, real Raft, a network with switches.

mod chaos;
mod cluster;
mod crash;
mod disk;
mod measure;
mod recover;
mod reverted;

use super::network::{RpcKind, Transport, TransportError};
use super::{Config, Identity, RaftLog, RaftNode, Standing};
use crate::model::NodeId;
use crate::state::port::Log as _;
use crate::state::{Command, State};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_util::bytes::Bytes;

/// How long anything that must happen may take; machines that run tests are busy.
const PATIENCE: Duration = Duration::from_secs(20);

const CONFIG: Config = Config {
    heartbeat: Duration::from_millis(90),
    patience: Duration::from_millis(60),
    election_min: Duration::from_millis(200),
    election_max: Duration::from_millis(400),
    propose_timeout: Duration::from_secs(5),
    ..Config::DEFAULT
};

fn identity(name: &str) -> Identity {
    Identity { cluster: "c1".to_owned(), generation: 1, node: NodeId::from(name) }
}

fn node(name: &str) -> RaftNode {
    RaftNode { name: NodeId::from(name), addresses: vec!["192.0.2.1".parse().expect("address")], port: 7443 }
}

fn names(names: &[&str]) -> BTreeSet<NodeId> {
    names.iter().map(|name| NodeId::from(*name)).collect()
}

/// A command that changes the state, and stays to be seen.
fn command(text: &str) -> Vec<Command> {
    let digest = crate::model::Digest::of(text.as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = digest.0;
    let token = crate::state::Token {
        secret_hash: digest,
        role: crate::state::TokenFor::Viewer,
        expires_ms: u64::MAX,
        by: text.to_owned(),
        used_by: None,
    };
    vec![Command::PutToken { id: u64::from_be_bytes([a, b, c, d, e, f, g, h]), token }]
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Connects the nodes of one test.
#[derive(Default)]
struct Net {
    nodes: Mutex<BTreeMap<NodeId, RaftLog<Wire>>>,
    /// Nodes that nobody reaches and that reach nobody.
    cut: Mutex<BTreeSet<NodeId>>,
    /// How long a vote request is under way.
    vote_takes: Mutex<Duration>,
    /// Appends arrive, and nobody hears that they did.
    appends_unanswered: Mutex<bool>,
    /// Who has tried to send what.
    sent: Mutex<BTreeSet<(NodeId, RpcKind)>>,
}

#[derive(Clone)]
struct Wire {
    from: NodeId,
    net: Arc<Net>,
}

impl Wire {
    fn reaches(&self, peer: &NodeId) -> bool {
        let cut = self.net.cut.lock().expect("lock");
        !cut.contains(&self.from) && !cut.contains(peer)
    }
}

impl Transport for Wire {
    async fn send(
        &self,
        peer: &NodeId,
        kind: RpcKind,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, TransportError> {
        self.net.sent.lock().expect("lock").insert((self.from.clone(), kind));
        let node = self.net.nodes.lock().expect("lock").get(peer).cloned();
        let Some(node) = node.filter(|_| self.reaches(peer)) else {
            return Err(TransportError::NotSent("cut".to_owned()));
        };
        let takes = match kind {
            RpcKind::Vote => *self.net.vote_takes.lock().expect("lock"),
            RpcKind::Append | RpcKind::Snapshot | RpcKind::Forward | RpcKind::Known => Duration::ZERO,
        };
        let answer = tokio::time::timeout(timeout, async {
            tokio::time::sleep(takes).await;
            node.handle(kind, body).await
        })
        .await;
        if kind == RpcKind::Append && *self.net.appends_unanswered.lock().expect("lock") {
            return Err(TransportError::Unknown("its answer is lost".to_owned()));
        }
        match answer {
            Ok(Ok(answer)) if self.reaches(peer) => Ok(answer),
            Ok(Ok(_)) => Err(TransportError::Unknown("cut meanwhile".to_owned())),
            Ok(Err(error)) => Err(TransportError::Unknown(error.to_string())),
            Err(_) => Err(TransportError::Unknown("timed out".to_owned())),
        }
    }
}

/// Nodes with a data directory each.
struct Cluster {
    dir: tempfile::TempDir,
    net: Arc<Net>,
    config: Config,
}

impl Cluster {
    /// The first is initialised, the others join as learners; all are made voters.
    async fn of(members: &[&str], config: Config) -> Self {
        let cluster = Self { dir: tempfile::tempdir().expect("temp dir"), net: Arc::default(), config };
        let Some((first, others)) = members.split_first() else { return cluster };
        cluster.start(first).await;
        cluster.node(first).initialize_single(node(first)).await.expect("initialises");
        for other in others {
            cluster.start(other).await;
            cluster.node(first).add_learner(node(other)).await.expect("adds a learner");
        }
        cluster.node(first).set_voters(names(members)).await.expect("sets voters");
        cluster
    }

    async fn start(&self, name: &str) {
        let log = self.try_start(name).await.expect("starts");
        self.net.nodes.lock().expect("lock").insert(NodeId::from(name), log);
    }

    async fn try_start(&self, name: &str) -> Result<RaftLog<Wire>, super::LogError> {
        let wire = Wire { from: NodeId::from(name), net: self.net.clone() };
        RaftLog::start(self.config, &self.path(name), identity(name), wire).await
    }

    async fn stop(&self, name: &str) {
        let log = self.net.nodes.lock().expect("lock").remove(&NodeId::from(name));
        if let Some(log) = log {
            log.shutdown().await;
        }
    }

    async fn stop_all(&self) {
        let all: Vec<NodeId> = self.net.nodes.lock().expect("lock").keys().cloned().collect();
        for name in all {
            self.stop(name.as_str()).await;
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn node(&self, name: &str) -> RaftLog<Wire> {
        self.net.nodes.lock().expect("lock").get(&NodeId::from(name)).cloned().expect("is started")
    }

    fn cut(&self, name: &str) {
        self.net.cut.lock().expect("lock").insert(NodeId::from(name));
    }

    fn heal(&self) {
        self.net.cut.lock().expect("lock").clear();
    }

    fn state(&self, name: &str) -> Arc<State> {
        self.node(name).state()
    }

    fn standing(&self, name: &str) -> Standing {
        self.node(name).standing().borrow().clone()
    }

    /// The one that leads in the highest term, once there is one among those that are not cut.
    async fn leader(&self) -> NodeId {
        let mut found = None;
        eventually("a leader", || {
            let nodes = self.net.nodes.lock().expect("lock").clone();
            let cut = self.net.cut.lock().expect("lock").clone();
            found = nodes
                .iter()
                .filter(|(name, _)| !cut.contains(*name))
                .map(|(name, log)| (log.leadership(), name.clone()))
                .filter(|(leadership, _)| leadership.is_self)
                .max_by_key(|(leadership, _)| leadership.term);
            found.is_some()
        })
        .await;
        found.expect("was found").1
    }

    /// All have applied the same, and hold the same.
    async fn agree(&self, members: &[&str]) {
        eventually("agreement", || {
            let states: Vec<_> = members.iter().map(|name| self.state(name)).collect();
            states.windows(2).all(|pair| pair[0] == pair[1])
        })
        .await;
    }
}
