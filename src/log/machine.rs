//! The applied state, as openraft drives it: apply, publish, snapshot, install.
//!
//! The state is kept in memory alone; a start rebuilds it from the snapshot file and the committed log. It is published
//! once per applied batch. Its `index` is the index of the last applied entry of any kind, Raft's own included, so that
//! every replica has the same bytes at the same index.

use super::error::LogError;
use super::snapshot::{SNAPSHOT_FILE, SnapshotFile};
use super::store::Halt;
use super::types::{
    Answers, Body, Entry, LogId, Proposal, Snapshot, SnapshotMeta, StorageError, StoredMembership, TypeConfig,
};
use crate::model::LogIndex;
use crate::state::port::Committed;
use crate::state::{Event, Refusal, State, snapshot as codec};
use openraft::storage::RaftStateMachine;
use openraft::{EntryPayload, OptionalSend, RaftLogId as _, RaftSnapshotBuilder, StorageIOError};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{broadcast, watch};

/// Batches of events that a slow reader may be behind before it loses the oldest; it can read the state at any time.
const EVENT_BATCHES: usize = 1024;

/// Where applied states and events go.
#[derive(Clone)]
pub(super) struct Published {
    pub(super) state: watch::Sender<Arc<State>>,
    pub(super) committed: broadcast::Sender<Committed>,
}

impl Published {
    pub(super) fn new() -> Self {
        Self { state: watch::Sender::new(Arc::default()), committed: broadcast::Sender::new(EVENT_BATCHES) }
    }

    fn publish(&self, state: &Arc<State>, events: Vec<Event>) {
        self.state.send_replace(state.clone());
        // Nobody listening is fine: during a start nobody can be.
        let _ = self.committed.send(Committed { state: state.clone(), events: Arc::new(events) });
    }
}

/// The state machine that Raft owns.
pub(super) struct Machine {
    state: Arc<State>,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    file: Arc<SnapshotFile>,
    published: Published,
    halt: Halt,
}

impl Machine {
    /// Starts from the snapshot on disk, if there is one. Blocks while it is read.
    pub(super) fn open(dir: &Path, published: Published, halt: Halt) -> Result<Self, LogError> {
        let (file, found) = SnapshotFile::open(dir)?;
        let mut machine = Self {
            state: Arc::default(),
            last_applied: None,
            membership: StoredMembership::default(),
            file: Arc::new(file),
            published,
            halt,
        };
        if let Some((meta, bytes)) = found {
            machine.restore(&meta, decode(&bytes)?);
        }
        Ok(machine)
    }

    pub(super) fn last_applied(&self) -> Option<LogId> {
        self.last_applied
    }

    /// Refuses a snapshot that does not hold all that was purged from the log beside it.
    pub(super) fn check_holds(&self, dir: &Path, purged: Option<LogId>) -> Result<(), LogError> {
        match purged {
            Some(purged) if self.last_applied < Some(purged) => Err(LogError::corrupt(
                &dir.join(SNAPSHOT_FILE),
                format!("entries up to {} are only there, and it is missing or older", purged.index),
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// How far a durable snapshot reaches, and whether this machine still lives.
    pub(super) fn covered(&self) -> watch::Receiver<Option<LogId>> {
        self.file.covered()
    }

    fn restore(&mut self, meta: &SnapshotMeta, state: State) {
        self.state = Arc::new(state);
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.published.publish(&self.state, Vec::new());
    }

    fn apply_one(&mut self, entry: Entry, events: &mut Vec<Event>) -> Result<Answers, LogError> {
        let id = *entry.get_log_id();
        let answers = match entry.payload {
            EntryPayload::Blank => Vec::new(),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(id), membership);
                Vec::new()
            }
            EntryPayload::Normal(proposal) => self.apply_proposal(id, &proposal, events)?,
        };
        Arc::make_mut(&mut self.state).index = LogIndex(id.index);
        self.last_applied = Some(id);
        Ok(answers)
    }

    fn apply_proposal(&mut self, id: LogId, proposal: &Proposal, events: &mut Vec<Event>) -> Result<Answers, LogError> {
        let entry = codec::decode_entry(&proposal.entry.0)
            .map_err(|error| LogError::Undecodable { index: id.index, why: error.to_string() })?;
        if proposal.only_term.is_some_and(|term| term != id.leader_id.term) {
            return Ok(entry.commands.iter().map(|_| Err(Refusal::NotLeader)).collect());
        }
        let (answers, new) = Arc::make_mut(&mut self.state).apply(LogIndex(id.index), &entry);
        events.extend(new);
        Ok(answers)
    }
}

fn decode(bytes: &[u8]) -> Result<State, LogError> {
    codec::decode(bytes).map_err(|error| LogError::UndecodableSnapshot { why: error.to_string() })
}

/// Runs work that blocks on the disk where it delays nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(LogError::Stopped(error.to_string())),
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Answers>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut events = Vec::new();
        let mut answers = Vec::new();
        for entry in entries {
            let id = *entry.get_log_id();
            match self.apply_one(entry, &mut events) {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    self.halt.set(&error);
                    return Err(StorageIOError::apply(id, &error).into());
                }
            }
        }
        self.published.publish(&self.state, events);
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            state: self.state.clone(),
            meta: SnapshotMeta {
                last_log_id: self.last_applied,
                last_membership: self.membership.clone(),
                snapshot_id: match self.last_applied {
                    Some(id) => format!("{}-{}", id.leader_id.term, id.index),
                    None => "empty".to_owned(),
                },
            },
            file: self.file.clone(),
            halt: self.halt.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Body>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Box<Body>) -> Result<(), StorageError> {
        let (file, to_write) = (self.file.clone(), meta.clone());
        let installed = blocking(move || {
            // Decoded first: what this version cannot read must not replace what it can.
            let state = decode(&snapshot.0)?;
            file.write(&to_write, &snapshot.0)?;
            Ok(state)
        })
        .await;
        match installed {
            Ok(state) => {
                self.restore(meta, state);
                Ok(())
            }
            Err(error) => {
                self.halt.set(&error);
                Err(StorageIOError::write_snapshot(Some(meta.signature()), &error).into())
            }
        }
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let file = self.file.clone();
        match blocking(move || file.read()).await {
            Ok(found) => Ok(found.map(|(meta, body)| Snapshot { meta, snapshot: Box::new(body) })),
            Err(error) => {
                self.halt.set(&error);
                Err(StorageIOError::read_snapshot(None, &error).into())
            }
        }
    }
}

/// Writes the snapshot of one state while the machine goes on.
pub(super) struct Builder {
    state: Arc<State>,
    meta: SnapshotMeta,
    file: Arc<SnapshotFile>,
    halt: Halt,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let (state, meta, file) = (self.state.clone(), self.meta.clone(), self.file.clone());
        let built = blocking(move || {
            let bytes = codec::encode(&state);
            file.write(&meta, &bytes)?;
            Ok(Snapshot { meta, snapshot: Box::new(Body(bytes.into())) })
        })
        .await;
        built.map_err(|error| {
            self.halt.set(&error);
            StorageIOError::write_snapshot(Some(self.meta.signature()), &error).into()
        })
    }
}
