//! The handle of the log: start, stop, who leads, and the door for other nodes' requests.
//!
//! Raft runs on a thread of its own, so that nothing else of the daemon can starve its heartbeats. One is enough: nothing
//! there computes for long or blocks (the file has a thread too, snapshots are made on blocking ones), and a second one
//! would be woken with every message only to find nothing to do. The handle is cheap
//! to clone and can be used from any runtime. When the last clone goes, Raft stops without saying so; `shutdown` stops
//! it in order and closes the file.

use super::admission::Admission;
use super::elections::{self, Elections};
use super::error::{HandleError, LogError};
use super::known::{Floor, Known};
use super::machine::{Machine, Published};
use super::network::{Framing, Network, RpcKind, SnapshotRequest, Transport};
use super::store::{Halt, Store};
use super::types::{RaftNode, Snapshot, TypeConfig, raft_id};
use crate::model::NodeId;
use crate::state::State;
use crate::state::port::{Committed, Leadership};
use openraft::error::Fatal;
use openraft::raft::{AppendEntriesRequest, VoteRequest};
use openraft::{RaftLogId as _, RaftMetrics, SnapshotPolicy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tokio_util::bytes::Bytes;

/// openraft takes a time-out for sending a snapshot and hands it on; ours is set in `network`.
const UNUSED_SNAPSHOT_TIMEOUT_MS: u64 = 30_000;

pub(super) type Raft = openraft::Raft<TypeConfig>;
pub(super) type Metrics = RaftMetrics<u64, RaftNode>;

/// Timing and limits of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// How often a leader that has nothing to replicate lets the others hear of it. Each is a request over TLS to every
    /// member, so this is most of what an idle log costs. Well below `election_max` + `election_min`.
    pub heartbeat: Duration,
    /// How long one append may take before it is sent anew; Raft looks at its clock every one and a half of these.
    pub patience: Duration,
    /// Without a leader, a voter waits this long at least before it stands for election, after the old leader's lease
    /// (`election_max`) ran out.
    pub election_min: Duration,
    pub election_max: Duration,
    /// A snapshot is taken after so many entries, or as soon as the log holds so many bytes.
    pub snapshot_entries: u64,
    pub snapshot_bytes: u64,
    /// Entries kept after a snapshot for followers that are a little behind.
    pub keep_entries: u64,
    /// A proposal that is not settled after this is given up.
    pub propose_timeout: Duration,
}

impl Config {
    /// For LANs; an fsync of some 10 ms does not disturb it.
    ///
    /// A lost leader has a successor after 1.4 s at most (620 + 620 + 150 ms), before `suspectAfter` of the default
    /// profile has passed: the election costs a take-over nothing. One heartbeat may be lost. The times of two candidates
    /// lie far enough apart that they seldom stand at once; if they do, one of them stands again half a second later (`elections`).
    pub const DEFAULT: Self = Self {
        heartbeat: Duration::from_millis(400),
        patience: Duration::from_millis(100),
        election_min: Duration::from_millis(300),
        election_max: Duration::from_millis(620),
        snapshot_entries: 5_000,
        snapshot_bytes: 8 << 20,
        keep_entries: 1_000,
        propose_timeout: Duration::from_secs(10),
    };
    /// For quiet machines with fast disks.
    pub const FAST: Self = Self {
        heartbeat: Duration::from_millis(75),
        patience: Duration::from_millis(50),
        election_min: Duration::from_millis(100),
        election_max: Duration::from_millis(150),
        ..Self::DEFAULT
    };

    fn to_openraft(self, cluster: &str) -> Result<openraft::Config, LogError> {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        openraft::Config {
            cluster_name: cluster.to_owned(),
            heartbeat_interval: ms(self.patience),
            // At the times of the configuration instead: see [`beat`].
            enable_heartbeat: false,
            // Not before the others were asked: see `admission`.
            enable_elect: false,
            election_timeout_min: ms(self.election_min),
            election_timeout_max: ms(self.election_max),
            install_snapshot_timeout: UNUSED_SNAPSHOT_TIMEOUT_MS,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_entries),
            max_in_snapshot_log_to_keep: self.keep_entries,
            // Larger than the snapshot policy, as openraft asks.
            replication_lag_threshold: self.snapshot_entries.saturating_mul(2),
            ..openraft::Config::default()
        }
        .validate()
        .map_err(|error| LogError::Config(error.to_string()))
    }
}

/// Whose log it is. Written into the data directory when it is created, and compared ever after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster's id, made by `init`.
    pub cluster: String,
    /// Raised by `recover`; replicas of different generations never talk.
    pub generation: u64,
    pub node: NodeId,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} of cluster {} generation {}", self.node, self.cluster, self.generation)
    }
}

/// Who leads and who belongs, as this node believes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    pub leadership: Leadership,
    /// On the leader: the age of the newest moment at which a quorum of voters is known to have followed it. An old
    /// one means that it may have been replaced without knowing. None elsewhere, or if there was none yet.
    pub quorum_ack_age: Option<Duration>,
    /// Every member, voter or learner, with its addresses.
    pub members: BTreeMap<NodeId, RaftNode>,
}

/// See [`RaftLog::allow_elections`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    Allowed,
    Forbidden,
}

/// The replicated log of this node.
pub struct RaftLog<T> {
    pub(super) inner: Arc<Inner<T>>,
}

pub(super) struct Inner<T> {
    pub(super) raft: Raft,
    pub(super) transport: T,
    pub(super) framing: Framing,
    pub(super) identity: Identity,
    pub(super) config: Config,
    pub(super) published: Published,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) halt: Halt,
    pub(super) store: Store,
    pub(super) admission: Admission,
    _runtime: Runtime,
}

impl<T> Clone for RaftLog<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T: Transport> RaftLog<T> {
    /// Opens or creates the log in `dir` and starts Raft on threads of its own. A new log belongs to no cluster until
    /// it is initialised or a leader adds this node.
    pub async fn start(config: Config, dir: &Path, identity: Identity, transport: T) -> Result<Self, LogError> {
        let settings = Arc::new(config.to_openraft(&identity.cluster)?);
        let runtime = Runtime::start(dir)?;
        let (halt, published, framing) = (Halt::new(), Published::new(), Framing::of(&identity));
        let (store, machine) = open(&runtime, dir, &identity, &published, &halt).await?;
        let known = store.known();
        let elections = Elections::new();
        let network = Network {
            transport: transport.clone(),
            framing,
            known,
            elections: elections.clone(),
            longest_backoff: config.election_min / 2,
        };
        let own_id = raft_id(&identity.node);
        let admission = Admission::new(own_id, store.clone(), machine.last_applied(), elections.clone());
        let to_start = store.clone();
        let started = runtime.spawn(async move { Raft::new(own_id, settings, network, to_start, machine).await }).await;
        let raft = match started {
            Ok(Ok(raft)) => raft,
            Ok(Err(fatal)) => {
                store.close().await;
                return Err(halt.get().unwrap_or_else(|| LogError::Stopped(fatal.to_string())));
            }
            Err(error) => {
                store.close().await;
                return Err(halt.get().unwrap_or_else(|| LogError::Stopped(error.to_string())));
            }
        };
        let standing = watch::Sender::new(standing_of(&raft.metrics().borrow(), false));
        let mut watcher = Watcher {
            metrics: raft.metrics(),
            elections,
            standing: standing.clone(),
            raft: raft.clone(),
            store: store.clone(),
            known: store.known(),
            halt: halt.clone(),
            limit: config.snapshot_bytes,
            asked: None,
        };
        runtime.spawn(async move { watcher.run().await });
        runtime.spawn(beat(raft.clone(), config.heartbeat));
        runtime.spawn(admission.elections.clone().pace(raft.clone(), config, elections::draw));
        runtime.spawn(admission.clone().ask(raft.clone(), transport.clone(), framing));
        let inner = Inner {
            raft,
            transport,
            framing,
            identity,
            config,
            published,
            standing,
            halt,
            store,
            admission,
            _runtime: runtime,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Stops Raft and closes the file. The handle answers nothing afterwards.
    pub async fn shutdown(&self) {
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::warn!(%error, "raft did not stop in order");
        }
        self.inner.store.close().await;
        self.inner.halt.set(&LogError::Closed);
    }

    /// The newest applied state, at any time.
    pub fn states(&self) -> watch::Receiver<Arc<State>> {
        self.inner.published.state.subscribe()
    }

    /// Every applied batch from now on, with its events. A reader that is too slow loses the oldest.
    pub fn committed(&self) -> broadcast::Receiver<Committed> {
        self.inner.published.committed.subscribe()
    }

    /// Who leads, and every change of it.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.inner.standing.subscribe()
    }

    /// Set once, when the log stops for good: a full disk, a damaged file, an entry of a newer version.
    pub fn halted(&self) -> watch::Receiver<Option<LogError>> {
        self.inner.halt.subscribe()
    }

    /// Whether this voter may stand for election; it may at first. A voter that hears no quorum of the others cannot
    /// win, but by trying it raises its term, and its return then costs the cluster an election (openraft 0.9 has no
    /// pre-vote). Only availability depends on this.
    pub fn allow_elections(&self, stand: Stand) {
        self.inner.admission.elections.allow(&self.inner.raft, matches!(stand, Stand::Allowed));
    }

    /// Asks a majority of the voters, now, whether this node leads. False: not, or not enough of them answered in time.
    ///
    /// Whoever answers has seen no newer leader when it answers: what a later one knows comes after this call began.
    pub async fn confirm_leadership(&self) -> bool {
        self.inner.admission.elections.is_admitted() && self.inner.raft.get_read_log_id().await.is_ok()
    }

    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// Answers a request that another node sent through its [`Transport`]. May be called from any runtime; a vote or an
    /// append is fsynced before it returns.
    pub async fn handle(&self, kind: RpcKind, body: Bytes) -> Result<Bytes, HandleError> {
        let inner = &self.inner;
        match kind {
            RpcKind::Append => {
                let (floors, request) = inner.framing.unframe::<AppendEntriesRequest<TypeConfig>>(kind, &body)?;
                inner.admission.hear(&floors).await?;
                if let Some(leader) = request.vote.leader_id().voted_for() {
                    let sent = request.entries.last().map(|entry| *entry.get_log_id()).max(request.prev_log_id);
                    inner.admission.known.raise(leader, &Floor::leads(&request.vote, sent, request.leader_commit));
                }
                answer(&inner.raft.append_entries(request).await.map_err(|error| self.stopped(&error))?)
            }
            RpcKind::Vote => {
                let (floors, request) = inner.framing.unframe::<VoteRequest<u64>>(kind, &body)?;
                inner.admission.hear(&floors).await?;
                let vote = request.vote;
                let given = inner.raft.vote(request).await.map_err(|error| self.stopped(&error))?;
                // A candidate that gets no vote may forget its own: nobody leads by it. And what asks in vain may be a copy of
                // a machine, which must not make the original look as if it had lost something.
                if let Some(candidate) = vote.leader_id().voted_for().filter(|_| given.vote_granted) {
                    inner.admission.known.raise(candidate, &Floor::voted(&vote));
                }
                answer(&given)
            }
            RpcKind::Snapshot => {
                let (floors, request) = inner.framing.unframe::<SnapshotRequest>(kind, &body)?;
                inner.admission.hear(&floors).await?;
                let snapshot = Snapshot { meta: request.meta, snapshot: Box::new(request.state) };
                let installed = inner.raft.install_full_snapshot(request.vote, snapshot).await;
                answer(&installed.map_err(|error| self.stopped(&error))?)
            }
            // What its sender knows is not taken in: it may have been away, and know the floor of a voter that was removed
            // meanwhile and came back with an empty disk.
            RpcKind::Forward => {
                let (_, request) = inner.framing.unframe(kind, &body)?;
                answer(&self.lead(request).await)
            }
            RpcKind::Known => {
                let (_, id) = inner.framing.unframe::<u64>(kind, &body)?;
                answer(&inner.admission.known.of(id))
            }
        }
    }

    fn stopped(&self, error: &dyn fmt::Display) -> HandleError {
        HandleError::Stopped(self.inner.halt.get().map_or_else(|| error.to_string(), |reason| reason.to_string()))
    }
}

fn answer<A: Serialize>(answer: &A) -> Result<Bytes, HandleError> {
    postcard::to_stdvec(answer).map(Bytes::from).map_err(|error| HandleError::Malformed(error.to_string()))
}

/// Reads snapshot and log from disk, and checks them against each other.
async fn open(
    runtime: &Runtime,
    dir: &Path,
    identity: &Identity,
    published: &Published,
    halt: &Halt,
) -> Result<(Store, Machine), LogError> {
    let (dir, identity) = (dir.to_path_buf(), identity.clone());
    let (published, halt) = (published.clone(), halt.clone());
    let opened = runtime.spawn_blocking(move || {
        std::fs::create_dir_all(&dir).map_err(|error| LogError::from_io(&dir, &error))?;
        let store = Store::open(&dir, &identity, &halt)?;
        let machine = Machine::open(&dir, published, halt)?;
        let store = store.covered_by(machine.covered());
        machine.check_holds(dir.as_path(), store.purged())?;
        Ok((store, machine))
    });
    opened.await.unwrap_or_else(|error| Err(LogError::Stopped(error.to_string())))
}

/// Sends a leader's heartbeats: openraft itself would send one whenever it looks at its clock.
async fn beat(raft: Raft, interval: Duration) {
    let mut metrics = raft.metrics();
    loop {
        if metrics.wait_for(|now| now.current_leader == Some(now.id)).await.is_err() {
            return;
        }
        // It has just been elected, and said so, or it has just sent one.
        tokio::time::sleep(interval).await;
        if raft.trigger().heartbeat().await.is_err() {
            return;
        }
    }
}

/// Translates Raft's metrics, and keeps the log below its size.
struct Watcher {
    metrics: watch::Receiver<Metrics>,
    elections: Elections,
    standing: watch::Sender<Standing>,
    raft: Raft,
    store: Store,
    known: Known,
    halt: Halt,
    limit: u64,
    /// The snapshot that was the newest when another one was asked for because of the log's size.
    asked: Option<u64>,
}

impl Watcher {
    /// Until Raft is gone, whatever the reason. One that panicked says nothing; a node that went on as if it had a log would
    /// still be heard, and be waited for.
    async fn run(&mut self) {
        self.watch().await;
        // After an orderly end there is a reason already.
        self.halt.set(&LogError::Stopped("its core ended without saying why".to_owned()));
    }

    async fn watch(&mut self) {
        let mut admitted = self.elections.admitted();
        loop {
            let changed = tokio::select! {
                changed = self.metrics.changed() => changed,
                changed = admitted.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            let metrics = self.metrics.borrow_and_update().clone();
            let standing = standing_of(&metrics, *admitted.borrow_and_update());
            let voters: std::collections::BTreeSet<u64> = metrics.membership_config.membership().voter_ids().collect();
            // None yet: Raft has not read its log.
            if !voters.is_empty() {
                self.known.set_voters(voters);
            }
            self.standing.send_if_modified(|old| {
                // The age of the quorum's last answer changes with every heartbeat: for who asks, not for who waits.
                let changed = old.leadership != standing.leadership || old.members != standing.members;
                *old = standing;
                changed
            });
            if let Err(fatal) = &metrics.running_state {
                self.halt.set(&match fatal {
                    Fatal::Stopped => LogError::Closed,
                    Fatal::Panicked | Fatal::StorageError(_) => LogError::Stopped(fatal.to_string()),
                });
                return;
            }
            // An error means that Raft has gone; its last metrics, or their end, say why.
            let _ = self.bound_log(&metrics).await;
        }
    }

    /// openraft counts entries alone. Where few large entries fill the log, ask for a snapshot, and for a purge of
    /// all that is in it.
    async fn bound_log(&mut self, metrics: &Metrics) -> Result<(), Fatal<u64>> {
        if self.store.log_bytes() <= self.limit {
            self.asked = None;
            return Ok(());
        }
        let snapshot = metrics.snapshot.map_or(0, |id| id.index);
        let applied = metrics.last_applied.map_or(0, |id| id.index);
        let purged = metrics.purged.map_or(0, |id| id.index);
        if snapshot > purged && self.asked.is_some_and(|before| snapshot > before) {
            self.asked = None;
            return self.raft.trigger().purge_log(snapshot).await;
        }
        if self.asked.is_none() && applied > snapshot {
            self.asked = Some(snapshot);
            return self.raft.trigger().snapshot().await;
        }
        Ok(())
    }
}

/// `admitted`: until then a node does not lead, even if it led before it was restarted and Raft goes on with that.
pub(super) fn standing_of(metrics: &Metrics, admitted: bool) -> Standing {
    let membership = metrics.membership_config.membership();
    let name = |id: u64| membership.get_node(&id).map(|node| node.name.clone());
    let current_leader = metrics.current_leader.filter(|leader| admitted || *leader != metrics.id);
    let leader = current_leader.and_then(name);
    let sorted = |mut names: Vec<NodeId>| {
        names.sort();
        names
    };
    let is_self = current_leader == Some(metrics.id);
    Standing {
        leadership: Leadership {
            leader,
            term: metrics.current_term,
            is_self,
            voters: sorted(membership.voter_ids().filter_map(name).collect()),
            learners: sorted(membership.learner_ids().filter_map(name).collect()),
            last_log: metrics.last_log_index.unwrap_or(0),
            applied: metrics.last_applied.map_or(0, |id| id.index),
        },
        quorum_ack_age: metrics.millis_since_quorum_ack.filter(|_| is_self).map(Duration::from_millis),
        members: membership.nodes().map(|(_, node)| (node.name.clone(), node.clone())).collect(),
    }
}

/// A tokio runtime on a thread of its own, which may be dropped anywhere: the thread ends by itself.
struct Runtime {
    handle: tokio::runtime::Handle,
    /// Its end tells the thread.
    _alive: tokio::sync::oneshot::Sender<()>,
}

impl Runtime {
    fn start(dir: &Path) -> Result<Self, LogError> {
        let failed = |error: std::io::Error| LogError::from_io(dir, &error);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .thread_name("raft-blocking")
            .enable_all()
            .build()
            .map_err(failed)?;
        let handle = runtime.handle().clone();
        let (alive, gone) = tokio::sync::oneshot::channel();
        let work = move || {
            let _ = runtime.block_on(gone);
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("raft".into()).spawn(work).map_err(failed)?;
        Ok(Self { handle, _alive: alive })
    }
}

impl std::ops::Deref for Runtime {
    type Target = tokio::runtime::Handle;
    fn deref(&self) -> &Self::Target {
        &self.handle
    }
}
