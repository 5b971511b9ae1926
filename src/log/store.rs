//! openraft's log storage: the redb file on a thread of its own, and the newest entries in memory.
//!
//! All writes go through one queue to one thread, in the order in which Raft asked for them, so an fsync never holds a
//! runtime thread. openraft 0.9 itself waits for each append before it goes on; that is its core loop's time, not ours
//! to hide. Reads of recent entries come from memory; older ones queue behind the writes.
//!
//! Entries are purged once the snapshot that holds them is durable, and what is written later waits for that: Raft takes a
//! snapshot from its leader in one task and purges from another.
//!
//! The first error stops the node: it is kept in [`Halt`], every later write fails with it, and Raft shuts down.

use super::disk::{Disk, Loaded, Record};
use super::error::LogError;
use super::known::{Known, Position};
use super::raft::Identity;
use super::types::{Entry, LogId, StorageError, TypeConfig, Vote};
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{EntryPayload, LogState, OptionalSend, RaftLogId as _, RaftLogReader, StorageIOError};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use tokio::sync::{oneshot, watch};

/// Newest entries kept in memory, by number and by size. Followers that are up to date never need older ones.
const TAIL_ENTRIES: usize = 1024;
const TAIL_BYTES: u64 = 2 << 20;
/// How much one append RPC carries. Small enough to be sent and fsynced within a heartbeat on a LAN.
pub(super) const APPEND_BYTES: u64 = 512 << 10;

type Job = Box<dyn FnOnce(&mut Disk) + Send>;
type Covered = watch::Receiver<Option<LogId>>;

/// Why the node stopped, if it did: the first reason stays.
#[derive(Clone)]
pub(super) struct Halt(watch::Sender<Option<LogError>>);

impl Halt {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    pub(super) fn set(&self, error: &LogError) {
        self.0.send_if_modified(|reason| {
            let first = reason.is_none();
            if first {
                match error {
                    LogError::Closed => tracing::info!("the replicated log is closed"),
                    error => tracing::error!(%error, "the replicated log stopped"),
                }
                *reason = Some(error.clone());
            }
            first
        });
    }

    pub(super) fn get(&self) -> Option<LogError> {
        self.0.borrow().clone()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Option<LogError>> {
        self.0.subscribe()
    }
}

/// The queue to the thread that owns the file. When the last one is dropped or `close` is called, the file is closed.
#[derive(Clone)]
struct Queue {
    jobs: mpsc::Sender<Option<Job>>,
    halt: Halt,
}

impl Queue {
    fn send(&self, job: impl FnOnce(&mut Disk) + Send + 'static) -> Result<(), LogError> {
        let stopped = || self.halt.get().unwrap_or(LogError::Closed);
        self.jobs.send(Some(Box::new(job))).map_err(|_| stopped())
    }

    async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Disk) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let (answer, answered) = oneshot::channel();
        let halt = self.halt.clone();
        self.send(move |disk| {
            let result = guarded(&halt, || job(disk));
            // The asker may have gone; the work is done all the same.
            let _ = answer.send(result);
        })?;
        answered.await.unwrap_or_else(|_| Err(LogError::Closed))
    }
}

/// Does nothing after the first failure: what follows a failed write must not be written.
fn guarded<T>(halt: &Halt, job: impl FnOnce() -> Result<T, LogError>) -> Result<T, LogError> {
    if let Some(error) = halt.get() {
        return Err(error);
    }
    job().inspect_err(|error| halt.set(error))
}

/// What is known of the log without reading the file.
#[derive(Default)]
struct Index {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    last: Option<LogId>,
    /// The encoded size of every entry in the log.
    sizes: BTreeMap<u64, u32>,
    bytes: u64,
    /// The newest entries, without a gap up to the last one.
    tail: BTreeMap<u64, (Entry, u32)>,
    tail_bytes: u64,
}

impl Index {
    fn push(&mut self, entry: Entry, size: u32) {
        let id = *entry.get_log_id();
        self.sizes.insert(id.index, size);
        self.bytes += u64::from(size);
        self.tail.insert(id.index, (entry, size));
        self.tail_bytes += u64::from(size);
        self.last = Some(id);
        while self.tail.len() > TAIL_ENTRIES || (self.tail_bytes > TAIL_BYTES && self.tail.len() > 1) {
            let Some((_, (_, size))) = self.tail.pop_first() else { break };
            self.tail_bytes = self.tail_bytes.saturating_sub(u64::from(size));
        }
    }

    /// Keeps only the entries whose index passes.
    fn retain(&mut self, kept: impl Fn(u64) -> bool) {
        self.sizes.retain(|index, _| kept(*index));
        self.tail.retain(|index, _| kept(*index));
        self.recount();
    }

    fn recount(&mut self) {
        self.bytes = self.sizes.values().map(|size| u64::from(*size)).sum();
        self.tail_bytes = self.tail.values().map(|(_, size)| u64::from(*size)).sum();
    }

    /// The part of a range that is in the log.
    fn clamp(&self, range: &impl RangeBounds<u64>) -> Option<RangeInclusive<u64>> {
        let (first, last) = (*self.sizes.first_key_value()?.0, *self.sizes.last_key_value()?.0);
        let low = match range.start_bound() {
            Bound::Included(low) => *low,
            Bound::Excluded(low) => low.checked_add(1)?,
            Bound::Unbounded => first,
        };
        let high = match range.end_bound() {
            Bound::Included(high) => *high,
            Bound::Excluded(high) => high.checked_sub(1)?,
            Bound::Unbounded => last,
        };
        let (low, high) = (low.max(first), high.min(last));
        (low <= high).then_some(low..=high)
    }
}

/// The log storage that Raft writes to. Clones share everything.
#[derive(Clone)]
pub(super) struct Store {
    queue: Queue,
    index: Arc<Mutex<Index>>,
    known: Known,
    path: Arc<PathBuf>,
    /// How far a durable snapshot reaches; its sender goes with who writes snapshots.
    covered: Covered,
    /// Its sender goes when the file is closed.
    closed: watch::Receiver<()>,
}

impl Store {
    /// Opens the log of this identity and starts its thread. Blocks while the log is read.
    pub(super) fn open(dir: &Path, identity: &Identity, halt: &Halt) -> Result<Self, LogError> {
        let (disk, loaded) = Disk::open(dir, identity)?;
        Self::over(disk, loaded, halt).map_err(|error| LogError::from_io(dir, &error))
    }

    pub(super) fn over(disk: Disk, loaded: Loaded, halt: &Halt) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Option<Job>>();
        let (closing, closed) = watch::channel(());
        let work_halt = halt.clone();
        let (known, path) = (disk.known().clone(), Arc::new(disk.path().to_path_buf()));
        std::thread::Builder::new()
            .name("raft-store".to_owned())
            .spawn(move || work(disk, &queue, &work_halt, closing))?;
        let Loaded { vote, committed, purged, last, sizes } = loaded;
        let mut index = Index { vote, committed, purged, last, sizes, ..Index::default() };
        index.recount();
        // Without anybody who writes snapshots nothing is ever purged.
        let (_, covered) = watch::channel(None);
        let (queue, index) = (Queue { jobs, halt: halt.clone() }, Arc::new(Mutex::new(index)));
        Ok(Self { queue, index, known, path, covered, closed })
    }

    /// Lets entries be purged as far as this says that a durable snapshot reaches.
    pub(super) fn covered_by(self, covered: Covered) -> Self {
        Self { covered, ..self }
    }

    pub(super) fn purged(&self) -> Option<LogId> {
        self.index().purged
    }

    /// Encoded size of all entries that are not purged.
    pub(super) fn log_bytes(&self) -> u64 {
        self.index().bytes
    }

    /// What is known of all voters. What it learns is written with the next transaction.
    pub(super) fn known(&self) -> Known {
        self.known.clone()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What this voter has; never less than what it has acknowledged.
    pub(super) fn position(&self) -> Position {
        let index = self.index();
        Position { term: index.vote.map_or(0, |vote| vote.leader_id().term), last: index.last }
    }

    /// Stops this node for good: what is on this disk must not be used again.
    pub(super) async fn condemn(&self, error: LogError) {
        let (what, halt) = (error.to_string(), self.queue.halt.clone());
        let what = match &error {
            LogError::Reverted { what, .. } => what.clone(),
            _ => what,
        };
        let (told, reason) = (halt.clone(), error.clone());
        let job = move |disk: &mut Disk| {
            // It stops even if that cannot be written; the others will say so again.
            if let Err(error) = disk.condemn(&what) {
                tracing::error!(%error, "it could not be written down that this log must not be used again");
            }
            // Here, so that of two who find it at once the first is the one that is written down and told.
            told.set(&reason);
            Ok(())
        };
        let _ = self.queue.call(job).await;
        halt.set(&error);
    }

    /// Closes the file, with everything that was queued before. Later calls fail.
    pub(super) async fn close(&self) {
        let flush = |disk: &mut Disk| {
            if let Err(error) = disk.flush() {
                tracing::warn!(%error, "the log was closed without its last note");
            }
        };
        // Errors mean that it is closed, or about to be.
        let _ = self.queue.send(flush);
        let _ = self.queue.jobs.send(None);
        let mut closed = self.closed.clone();
        while closed.changed().await.is_ok() {}
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // Its few updates do not panic halfway; after one that did, the node is about to stop anyway.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, range: Option<RangeInclusive<u64>>) -> Result<Vec<Entry>, StorageError> {
        let Some(range) = range else { return Ok(Vec::new()) };
        {
            let index = self.index();
            if index.tail.first_key_value().is_some_and(|(first, _)| first <= range.start()) {
                return Ok(index.tail.range(range).map(|(_, (entry, _))| entry.clone()).collect());
            }
        }
        self.queue.call(move |disk| disk.read(range)).await.map_err(|error| StorageIOError::read_logs(&error).into())
    }
}

/// Waits until a durable snapshot holds everything up to `upto`, on the store's own thread: Raft goes on meanwhile, and hears
/// its leader. Nothing that writes a snapshot waits for this thread.
fn await_cover(covered: &mut Covered, halt: &Halt, upto: LogId) -> Result<(), LogError> {
    let reaches = |covered: &Option<LogId>| *covered >= Some(upto);
    if reaches(&covered.borrow()) {
        return Ok(());
    }
    let mut stopped = halt.subscribe();
    let failed = |why: &str| LogError::Stopped(format!("entries up to {} are not purged: {why}", upto.index));
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| failed(&error.to_string()))?;
    runtime.block_on(async {
        tokio::select! {
            found = covered.wait_for(reaches) => match found {
                Ok(_) => Ok(()),
                Err(_) => Err(failed("their snapshot was never written")),
            },
            // That the snapshot cannot be written is a reason to stop, so this never waits for ever.
            reason = stopped.wait_for(Option::is_some) => {
                Err(reason.ok().and_then(|reason| reason.clone()).unwrap_or(LogError::Closed))
            }
        }
    })
}

/// The store's thread. `_closed` is dropped last: who sees it gone may open the file.
fn work(mut disk: Disk, queue: &mpsc::Receiver<Option<Job>>, halt: &Halt, _closed: watch::Sender<()>) {
    while let Ok(Some(job)) = queue.recv() {
        // A file damaged under way can trip assertions inside redb.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(&mut disk))).is_err() {
            halt.set(&disk.corrupt("its structure makes no sense"));
            break;
        }
    }
    drop(disk);
}

impl RaftLogReader<TypeConfig> for Store {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let range = self.index().clamp(&range);
        self.read(range).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        let range = {
            let index = self.index();
            index.clamp(&(start..end)).map(|range| {
                let mut bytes = 0;
                let last = index
                    .sizes
                    .range(range.clone())
                    .take_while(|(_, size)| {
                        let fits = bytes == 0 || bytes + u64::from(**size) <= APPEND_BYTES;
                        bytes += u64::from(**size);
                        fits
                    })
                    .last()
                    .map_or(*range.start(), |(last, _)| *last);
                *range.start()..=last
            })
        };
        self.read(range).await
    }
}

impl RaftLogStorage<TypeConfig> for Store {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let index = self.index();
        Ok(LogState { last_purged_log_id: index.purged, last_log_id: index.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        self.queue.call(move |disk| disk.save_vote(&vote)).await.map_err(|e| StorageIOError::write_vote(&e))?;
        self.index().vote = Some(vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.index().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.index().committed = committed;
        self.queue.send(move |disk| disk.note_committed(committed)).map_err(|e| StorageIOError::write(&e))?;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.index().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut records = Vec::new();
        {
            let mut index = self.index();
            for entry in entries {
                if let EntryPayload::Normal(proposal) = &entry.payload {
                    proposal.mark_appended();
                }
                let record =
                    Record::of(&entry).map_err(|e| StorageIOError::write_log_entry(*entry.get_log_id(), &e))?;
                index.push(entry, u32::try_from(record.bytes.len()).unwrap_or(u32::MAX));
                records.push(record);
            }
        }
        let halt = self.queue.halt.clone();
        let job = move |disk: &mut Disk| {
            let result = guarded(&halt, || disk.append(&records));
            callback.log_io_completed(result.map_err(std::io::Error::other));
        };
        self.queue.send(job).map_err(|error| StorageIOError::write_logs(&error).into())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        {
            let mut index = self.index();
            index.retain(|index| index < log_id.index);
        }
        let previous = match log_id.index.checked_sub(1) {
            Some(index) => self.try_get_log_entries(index..=index).await?.first().map(|entry| *entry.get_log_id()),
            None => None,
        };
        {
            let mut index = self.index();
            index.last = previous.or(index.purged);
        }
        let since = log_id.index;
        self.queue.call(move |disk| disk.truncate(since)).await.map_err(|e| StorageIOError::write_logs(&e))?;
        Ok(())
    }

    /// Returns before it is done: should the node stop first, the next start finds the entries, and purges them.
    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        {
            let mut index = self.index();
            index.retain(|index| index > log_id.index);
            index.purged = index.purged.max(Some(log_id));
            if index.sizes.is_empty() {
                index.last = index.purged;
            }
        }
        let (mut covered, halt) = (self.covered.clone(), self.queue.halt.clone());
        let job = move |disk: &mut Disk| {
            // That it failed is in the halt, and every later write says so.
            let _ = guarded(&halt, || {
                await_cover(&mut covered, &halt, log_id)?;
                disk.purge(log_id)
            });
        };
        self.queue.send(job).map_err(|error| StorageIOError::write_logs(&error).into())
    }
}
