//! The store alone: openraft's own suite, damage, other identities, full disks, crashes.

use super::super::disk::{COPY_FILE, Disk, LOG_FILE};
use super::super::error::LogError;
use super::super::machine::{Machine, Published};
use super::super::snapshot::SNAPSHOT_FILE;
use super::super::store::{Halt, Store};
use super::super::types::{Body, Entry, Proposal, SnapshotMeta, StorageError, TypeConfig};
use super::{CONFIG, Cluster, command, eventually, identity};
use crate::model::LogIndex;
use crate::state::port::Log as _;
use crate::state::{Refusal, snapshot as codec};
use openraft::entry::FromAppData as _;
use openraft::storage::{RaftLogStorage as _, RaftLogStorageExt as _, RaftStateMachine as _};
use openraft::testing::{StoreBuilder, Suite, log_id};
use openraft::{RaftLogId as _, RaftLogReader as _};
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::ops::Bound;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

struct Fresh;

impl StoreBuilder<TypeConfig, Store, Machine, tempfile::TempDir> for Fresh {
    async fn build(&self) -> Result<(tempfile::TempDir, Store, Machine), StorageError> {
        let dir = tempfile::tempdir().expect("temp dir");
        let halt = Halt::new();
        let store = Store::open(dir.path(), &identity("n1"), &halt).expect("opens");
        let machine = Machine::open(dir.path(), Published::new(), halt).expect("opens");
        // The suite purges what no snapshot holds.
        let everything = watch::channel(Some(log_id(u64::MAX, 0, u64::MAX))).1;
        Ok((dir, store.covered_by(everything), machine))
    }
}

#[test]
fn openrafts_own_storage_suite_passes() {
    Suite::test_all(Fresh).expect("passes");
}

fn entry(index: u64, text: &str) -> Entry {
    let bytes = codec::encode_entry(&crate::state::Entry { at_ms: 0, commands: command(text) });
    let mut entry = Entry::from_app_data(Proposal::new(None, bytes).0);
    entry.set_log_id(&log_id(1, 0, index));
    entry
}

pub(super) async fn filled(dir: &Path, last: u64) {
    let mut store = Store::open(dir, &identity("n1"), &Halt::new()).expect("opens");
    store.blocking_append((0..=last).map(|index| entry(index, &format!("marker-{index}!")))).await.expect("appends");
    store.close().await;
}

/// After an fsync that failed the kernel goes on showing what it never wrote, and says no more of it.
#[tokio::test]
async fn what_a_start_reads_was_written_and_synced_by_that_start() {
    let dir = tempfile::tempdir().expect("temp dir");
    filled(dir.path(), 3).await;
    let path = dir.path().join(LOG_FILE);
    let inode = || path.metadata().expect("is there").ino();
    let (before, bytes) = (inode(), std::fs::read(&path).expect("reads"));
    let older = std::fs::File::open(&path).expect("opens");
    // What a start left that the power interrupted.
    std::fs::write(dir.path().join(COPY_FILE), "half of a lo").expect("writes");
    filled(dir.path(), 4).await;
    assert_ne!(inode(), before);
    assert!(!dir.path().join(COPY_FILE).exists());
    let mut kept = Vec::new();
    (&older).read_to_end(&mut kept).expect("reads");
    assert!(kept == bytes, "the old file was written to");
    // To ask whose it is comes first, and writes, too.
    let before = inode();
    assert_eq!(Disk::identity_of(dir.path()), Ok(Some(identity("n1"))));
    assert_ne!(inode(), before);
}

#[tokio::test]
async fn a_log_that_cannot_be_written_anew_is_not_opened_and_stays_as_it_is() {
    let dir = tempfile::tempdir().expect("temp dir");
    filled(dir.path(), 3).await;
    let bytes = std::fs::read(dir.path().join(LOG_FILE)).expect("reads");
    std::fs::create_dir(dir.path().join(COPY_FILE)).expect("creates");
    let error = open_error(dir.path(), "n1").expect("refused").to_string();
    assert!(error.contains(COPY_FILE), "{error}");
    assert!(std::fs::read(dir.path().join(LOG_FILE)).expect("reads") == bytes);
}

fn open_error(dir: &Path, name: &str) -> Option<LogError> {
    Store::open(dir, &identity(name), &Halt::new()).err()
}

#[tokio::test]
async fn a_flipped_byte_in_an_entry_makes_opening_fail() {
    let dir = tempfile::tempdir().expect("temp dir");
    filled(dir.path(), 40).await;
    let path = dir.path().join(LOG_FILE);
    let good = std::fs::read(&path).expect("reads");
    for marker in [b"marker-0!".as_slice(), b"marker-17!", b"marker-40!"] {
        let mut bad = good.clone();
        let mut found = 0;
        for place in 0..bad.len() - marker.len() {
            if &good[place..place + marker.len()] == marker {
                bad[place] ^= 0x20;
                found += 1;
            }
        }
        assert!(found > 0, "the entry is in the file");
        std::fs::write(&path, &bad).expect("writes");
        let error = open_error(dir.path(), "n1").expect("is refused");
        assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains("join this node under a new name"), "{error}");
    }
    std::fs::write(&path, &good).expect("writes");
    assert_eq!(open_error(dir.path(), "n1"), None);
}

#[tokio::test]
async fn a_file_cut_short_is_refused() {
    let dir = tempfile::tempdir().expect("temp dir");
    filled(dir.path(), 40).await;
    let path = dir.path().join(LOG_FILE);
    let good = std::fs::read(&path).expect("reads");
    for kept in [1, 100, 4096, good.len() / 2] {
        std::fs::write(&path, &good[..kept]).expect("writes");
        assert!(open_error(dir.path(), "n1").is_some(), "{kept} bytes");
    }
}

#[tokio::test]
async fn another_identity_and_a_second_daemon_are_refused() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = Store::open(dir.path(), &identity("n1"), &Halt::new()).expect("opens");
    assert!(matches!(open_error(dir.path(), "n1"), Some(LogError::Locked { .. })));
    store.close().await;
    assert!(matches!(open_error(dir.path(), "n2"), Some(LogError::OtherIdentity { .. })));
    assert_eq!(open_error(dir.path(), "n1"), None);
}

/// A disk that can be filled.
#[derive(Debug)]
struct Filling {
    file: FileBackend,
    full: Arc<AtomicBool>,
}

impl Filling {
    fn room(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) { Err(io::Error::from_raw_os_error(28)) } else { Ok(()) }
    }
}

impl StorageBackend for Filling {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.room()?;
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.room()?;
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.room()?;
        self.file.write(offset, data)
    }
    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }
    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }
    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }
    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}

#[tokio::test]
async fn a_full_disk_stops_acknowledging_for_good_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (halt, full) = (Halt::new(), Arc::new(AtomicBool::new(false)));
    let switch = full.clone();
    let (disk, loaded) = Disk::open_with(dir.path(), &identity("n1"), move |builder, path| {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        builder.create_with_backend(Filling { file: FileBackend::new(file)?, full: switch })
    })
    .expect("opens");
    let mut store = Store::over(disk, loaded, &halt).expect("starts");
    store.blocking_append([entry(0, "a"), entry(1, "b")]).await.expect("appends");
    full.store(true, Ordering::SeqCst);
    store.blocking_append([entry(2, "c")]).await.expect_err("is full");
    assert!(matches!(halt.get(), Some(LogError::DiskFull { .. })), "{:?}", halt.get());
    full.store(false, Ordering::SeqCst);
    store.blocking_append([entry(2, "c")]).await.expect_err("stays stopped");
    store.save_vote(&openraft::Vote::new(3, 1)).await.expect_err("stays stopped");
    store.close().await;
    let mut store = Store::open(dir.path(), &identity("n1"), &Halt::new()).expect("opens again");
    assert_eq!(store.get_log_state().await.expect("reads").last_log_id, Some(log_id(1, 0, 1)));
    assert_eq!(store.try_get_log_entries(..).await.expect("reads").len(), 2);
}

#[tokio::test]
async fn what_was_acknowledged_is_in_the_file_when_the_power_goes() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut store = Store::open(dir.path(), &identity("n1"), &Halt::new()).expect("opens");
    for index in 0..20 {
        store.blocking_append([entry(index, "x")]).await.expect("appends");
        store.save_vote(&openraft::Vote::new(index + 1, 7)).await.expect("votes");
        let image = image(dir.path());
        let mut crashed = Store::open(image.path(), &identity("n1"), &Halt::new()).expect("opens the image");
        assert_eq!(crashed.get_log_state().await.expect("reads").last_log_id, Some(log_id(1, 0, index)));
        assert_eq!(crashed.read_vote().await.expect("reads"), Some(openraft::Vote::new(index + 1, 7)));
    }
}

/// The file as it is on disk at this moment, without having been closed.
fn image(dir: &Path) -> tempfile::TempDir {
    let image = tempfile::tempdir().expect("temp dir");
    for name in [LOG_FILE, SNAPSHOT_FILE] {
        match std::fs::copy(dir.join(name), image.path().join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{error}"),
            Ok(_) | Err(_) => {}
        }
    }
    image
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_purged_before_the_snapshot_that_holds_it_is_durable_and_nothing_is_written_after_it() {
    let dir = tempfile::tempdir().expect("temp dir");
    filled(dir.path(), 5).await;
    let halt = Halt::new();
    let store = Store::open(dir.path(), &identity("n1"), &halt).expect("opens");
    let mut machine = Machine::open(dir.path(), Published::new(), halt.clone()).expect("opens");
    let mut store = store.covered_by(machine.covered());
    // What Raft does of a snapshot that reaches beyond the log: the purge, and whatever comes next, do not wait for it.
    store.purge(log_id(1, 0, 9)).await.expect("is queued");
    let mut later = store.clone();
    let appended = tokio::spawn(async move { later.blocking_append([entry(10, "after")]).await });
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let crashed = Store::open(image(dir.path()).path(), &identity("n1"), &Halt::new()).expect("is whole");
    assert_eq!((crashed.purged(), crashed.position().last), (None, Some(log_id(1, 0, 5))));
    let meta = SnapshotMeta { last_log_id: Some(log_id(1, 0, 9)), ..SnapshotMeta::default() };
    let body = Body(codec::encode(&crate::state::State::default()).into());
    machine.install_snapshot(&meta, Box::new(body)).await.expect("installs");
    appended.await.expect("ends").expect("is written");
    let after = Store::open(image(dir.path()).path(), &identity("n1"), &Halt::new()).expect("is whole");
    assert_eq!((after.purged(), after.position().last), (Some(log_id(1, 0, 9)), Some(log_id(1, 0, 10))));
    assert_eq!(halt.get(), None);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_whose_snapshot_never_comes_stops_the_node_and_purges_nothing() {
    for fails in [true, false] {
        let dir = tempfile::tempdir().expect("temp dir");
        filled(dir.path(), 5).await;
        let halt = Halt::new();
        let store = Store::open(dir.path(), &identity("n1"), &halt).expect("opens");
        let machine = Machine::open(dir.path(), Published::new(), halt.clone()).expect("opens");
        let mut store = store.covered_by(machine.covered());
        store.purge(log_id(1, 0, 9)).await.expect("is queued");
        // It cannot be written; or who should write it died.
        if fails {
            halt.set(&LogError::DiskFull { path: dir.path().to_path_buf() })
        } else {
            drop(machine)
        }
        store.save_vote(&openraft::Vote::new(3, 1)).await.expect_err("nothing is written any more");
        assert!(halt.get().is_some());
        store.close().await;
        let again = Store::open(dir.path(), &identity("n1"), &Halt::new()).expect("opens again");
        assert_eq!((again.purged(), again.position().last), (None, Some(log_id(1, 0, 5))));
    }
}

#[tokio::test]
async fn commands_of_another_term_are_refused_one_by_one() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut machine = Machine::open(dir.path(), Published::new(), Halt::new()).expect("opens");
    let bytes = codec::encode_entry(&crate::state::Entry { at_ms: 0, commands: command("x") });
    let of_term = |index, term| {
        let mut entry = Entry::from_app_data(Proposal::new(Some(term), bytes.clone()).0);
        entry.set_log_id(&log_id(4, 0, index));
        entry
    };
    let answers = machine.apply([of_term(1, 3), of_term(2, 4)]).await.expect("applies");
    assert_eq!(answers[0], vec![Err(Refusal::NotLeader)]);
    assert_ne!(answers[1], vec![Err(Refusal::NotLeader)]);
}

#[tokio::test]
async fn an_entry_that_cannot_be_decoded_stops_the_node_and_is_kept() {
    let cluster = Cluster::of(&["n1"], CONFIG).await;
    let n1 = cluster.node("n1");
    let before = n1.propose(command("before")).await.expect("commits");
    let proposal = Proposal::new(None, vec![250, 1, 2, 3]).0;
    n1.inner.raft.client_write(proposal).await.expect_err("cannot be applied");
    let halted = n1.halted();
    eventually("the halt", || halted.borrow().is_some()).await;
    let reason = halted.borrow().clone();
    assert!(matches!(reason, Some(LogError::Undecodable { .. })), "{reason:?}");
    n1.propose(command("after")).await.expect_err("has stopped");
    assert_eq!(n1.state().index, before.index);
    cluster.stop("n1").await;
    drop(n1);
    let again = cluster.try_start("n1").await.err();
    let index = LogIndex(before.index.0 + 1).0;
    assert!(matches!(again, Some(LogError::Undecodable { index: at, .. }) if at == index), "{again:?}");
}

#[tokio::test]
async fn an_append_to_a_peer_is_split_by_size_and_old_entries_come_from_disk() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut store = Store::open(dir.path(), &identity("n1"), &Halt::new()).expect("opens");
    let large = "x".repeat(100_000);
    for index in 0..30 {
        store.blocking_append([entry(index, &large)]).await.expect("appends");
    }
    for _ in 0..2 {
        for start in [0, 7, 29] {
            let part = store.limited_get_log_entries(start, 30).await.expect("reads");
            let wanted: Vec<u64> = (start..30).take(5).collect();
            assert_eq!(part.iter().map(|entry| entry.log_id.index).collect::<Vec<_>>(), wanted);
        }
        let huge = store.try_get_log_entries(3..=26).await.expect("reads");
        assert_eq!(huge.len(), 24);
        store.close().await;
        store = Store::open(dir.path(), &identity("n1"), &Halt::new()).expect("opens again");
    }
}
