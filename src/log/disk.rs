//! The redb file of the log: entries, vote, purge mark, identity.
//!
//! Synchronous; `store` runs it on a thread of its own. Each write is one transaction that is fsynced when the call
//! returns. Every record carries a checksum over its key and bytes, redb checks its pages when the file is opened, and
//! the whole log is read once then: a flipped byte is an error of opening, never a shorter log.
//!
//! What is read at the start is durable: the file is written anew, elsewhere on the disk, before it is opened. After an
//! fsync that failed the kernel shows what it could not write as if it were written, to the next process too, and the
//! next fsync reports success; a daemon that was restarted after such an error would rest on it.
//!
//! Does not notice: a last transaction that was damaged by the same crash that left the file unclean; redb goes back
//! to the transaction before, as after a torn write, which the two cannot be told apart from.

use super::error::LogError;
use super::known::{Floors, Known};
use super::raft::Identity;
use super::types::{Entry, LogId, Vote};
use openraft::RaftLogId as _;
use redb::{Database, Durability, ReadableDatabase as _, TableDefinition};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Name of the log file in the data directory.
pub(super) const LOG_FILE: &str = "log.redb";
/// Where it is written anew.
pub(super) const COPY_FILE: &str = "log.redb.new";
const LOCK_FILE: &str = "log.lock";

/// Read and written at once when the file is written anew.
const COPY_BYTES: usize = 1 << 20;
/// redb's page cache. The log is at most some tens of MiB and mostly served from memory before it gets here.
const CACHE_BYTES: usize = 4 << 20;
/// The first byte of every record: its format.
const RECORD_FORMAT: u8 = 1;
/// Bytes of SHA-256 that a record carries. Guards against accidents, not against forgers.
const CHECKSUM_BYTES: usize = 8;

const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const IDENTITY: &str = "identity";
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";
const FLOORS: &str = "floors";
const REVERTED: &str = "reverted";

/// The open file. One per data directory and machine.
pub(super) struct Disk {
    db: Database,
    path: PathBuf,
    /// A hint that saves replaying by the leader after a start; written with the next transaction.
    committed: Option<LogId>,
    committed_dirty: bool,
    /// What is known of the other voters; written with the next transaction too.
    known: Known,
    /// Held for as long as the file is open.
    _lock: File,
}

/// What an existing log holds.
#[derive(Default)]
pub(super) struct Loaded {
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
    pub last: Option<LogId>,
    /// The encoded size of each entry.
    pub sizes: BTreeMap<u64, u32>,
}

/// An entry as it is written.
pub(super) struct Record {
    pub index: u64,
    pub bytes: Vec<u8>,
}

impl Record {
    pub(super) fn of(entry: &Entry) -> Result<Self, postcard::Error> {
        let index = entry.get_log_id().index;
        Ok(Self { index, bytes: seal(&index.to_be_bytes(), entry)? })
    }
}

impl Disk {
    /// Opens or creates the log of this identity, and reads all of it.
    pub(super) fn open(dir: &Path, identity: &Identity) -> Result<(Self, Loaded), LogError> {
        Self::open_with(dir, identity, |builder, path| builder.create(path))
    }

    /// The same over another way to the file, for tests of failing disks.
    pub(super) fn open_with(
        dir: &Path,
        identity: &Identity,
        create: impl FnOnce(&redb::Builder, &Path) -> Result<Database, redb::DatabaseError>,
    ) -> Result<(Self, Loaded), LogError> {
        let lock = lock(&dir.join(LOCK_FILE))?;
        // A damaged file can trip assertions inside redb; that is a finding about the file, not a reason to die.
        let open = std::panic::AssertUnwindSafe(|| Self::open_locked(dir, identity, lock, create));
        match std::panic::catch_unwind(open) {
            Ok(result) => result,
            Err(_) => Err(LogError::corrupt(&dir.join(LOG_FILE), "its structure makes no sense")),
        }
    }

    fn open_locked(
        dir: &Path,
        identity: &Identity,
        lock: File,
        create: impl FnOnce(&redb::Builder, &Path) -> Result<Database, redb::DatabaseError>,
    ) -> Result<(Self, Loaded), LogError> {
        let path = dir.join(LOG_FILE);
        let existed = path.metadata().is_ok_and(|meta| meta.len() > 0);
        if existed {
            write_anew(dir)?;
        }
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(existed);
        let db = create(&builder, &path).map_err(|error| open_error(&path, error))?;
        let mut disk = Self { db, path, committed: None, committed_dirty: false, known: Known::default(), _lock: lock };
        disk.create_tables()?;
        let loaded = disk.load()?;
        disk.committed = loaded.committed;
        if let Some(what) = disk.read_meta::<String>(REVERTED)? {
            return Err(LogError::Reverted { path: disk.path, what });
        }
        disk.known.load(disk.read_meta::<Floors>(FLOORS)?.unwrap_or_default());
        let snapshot_exists = dir.join(super::snapshot::SNAPSHOT_FILE).exists();
        disk.check_identity(identity, loaded.last.is_some() || loaded.vote.is_some() || snapshot_exists)?;
        if !existed {
            sync_dir(dir)?;
        }
        Ok((disk, loaded))
    }

    pub(super) fn append(&mut self, records: &[Record]) -> Result<(), LogError> {
        self.write(|txn| {
            let mut log = txn.open_table(LOG)?;
            for record in records {
                log.insert(record.index, record.bytes.as_slice())?;
            }
            Ok(())
        })
    }

    pub(super) fn save_vote(&mut self, vote: &Vote) -> Result<(), LogError> {
        let bytes = self.seal_meta(VOTE, vote)?;
        self.write(|txn| {
            txn.open_table(META)?.insert(VOTE, bytes.as_slice())?;
            Ok(())
        })
    }

    /// Appends an entry, and changes vote and identity, all or nothing. `purged`: as far as that, the log goes, with it.
    pub(super) fn replace(
        &mut self,
        identity: &Identity,
        vote: &Vote,
        record: &Record,
        purged: Option<LogId>,
    ) -> Result<(), LogError> {
        let (identity, vote) = (self.seal_meta(IDENTITY, identity)?, self.seal_meta(VOTE, vote)?);
        let purged = purged.map(|upto| Ok((upto, self.seal_meta(PURGED, &upto)?))).transpose()?;
        self.write(|txn| {
            if let Some((upto, bytes)) = purged {
                txn.open_table(LOG)?.retain_in(..=upto.index, |_, _| false)?;
                txn.open_table(META)?.insert(PURGED, bytes.as_slice())?;
            }
            txn.open_table(LOG)?.insert(record.index, record.bytes.as_slice())?;
            let mut meta = txn.open_table(META)?;
            meta.insert(IDENTITY, identity.as_slice())?;
            meta.insert(VOTE, vote.as_slice())?;
            Ok(())
        })
    }

    /// Remembers how far the log is committed. Not fsynced by itself: nothing is acknowledged on the strength of it.
    pub(super) fn note_committed(&mut self, committed: Option<LogId>) {
        self.committed_dirty |= self.committed != committed;
        self.committed = committed;
    }

    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes down that this log must not be used again.
    pub(super) fn condemn(&mut self, what: &str) -> Result<(), LogError> {
        let bytes = self.seal_meta(REVERTED, &what)?;
        self.write(|txn| {
            txn.open_table(META)?.insert(REVERTED, bytes.as_slice())?;
            Ok(())
        })
    }

    /// Removes entries from `since` on.
    pub(super) fn truncate(&mut self, since: u64) -> Result<(), LogError> {
        self.write(|txn| {
            txn.open_table(LOG)?.retain_in(since.., |_, _| false)?;
            Ok(())
        })
    }

    /// Removes entries up to `upto`, and remembers that they were there.
    pub(super) fn purge(&mut self, upto: LogId) -> Result<(), LogError> {
        let bytes = self.seal_meta(PURGED, &upto)?;
        self.write(|txn| {
            txn.open_table(LOG)?.retain_in(..=upto.index, |_, _| false)?;
            txn.open_table(META)?.insert(PURGED, bytes.as_slice())?;
            Ok(())
        })
    }

    pub(super) fn read(&self, range: RangeInclusive<u64>) -> Result<Vec<Entry>, LogError> {
        let mut entries = Vec::new();
        self.for_each(range, |entry, _| entries.push(entry))?;
        Ok(entries)
    }

    /// Writes what was only noted. Called when the log is closed.
    pub(super) fn flush(&mut self) -> Result<(), LogError> {
        if self.committed_dirty || self.known.fresh().is_some() { self.write(|_| Ok(())) } else { Ok(()) }
    }

    fn create_tables(&mut self) -> Result<(), LogError> {
        self.write(|txn| {
            txn.open_table(LOG)?;
            txn.open_table(META)?;
            Ok(())
        })
    }

    fn load(&self) -> Result<Loaded, LogError> {
        let mut loaded = Loaded {
            vote: self.read_meta(VOTE)?,
            committed: self.read_meta(COMMITTED)?,
            purged: self.read_meta(PURGED)?,
            ..Loaded::default()
        };
        let mut gap = None;
        let first = loaded.purged.map_or(0, |purged: LogId| purged.index + 1);
        let mut next = first;
        self.for_each(0..=u64::MAX, |entry, size| {
            let id = *entry.get_log_id();
            if id.index != next && gap.is_none() {
                gap = Some((next, id.index));
            }
            next = id.index.saturating_add(1);
            loaded.sizes.insert(id.index, size);
            loaded.last = Some(id);
        })?;
        if let Some((wanted, found)) = gap {
            return Err(self.corrupt(format!("entry {found} follows where {wanted} should be")));
        }
        loaded.last = loaded.last.or(loaded.purged);
        // Only a hint, and one that points past the log would stop the start.
        loaded.committed = loaded.committed.min(loaded.last);
        Ok(loaded)
    }

    /// Whose log lies here; None: nobody's yet. Takes the lock for the time of the look.
    pub(super) fn identity_of(dir: &Path) -> Result<Option<Identity>, LogError> {
        let path = dir.join(LOG_FILE);
        if !path.metadata().is_ok_and(|meta| meta.len() > 0) {
            return Ok(None);
        }
        let lock = lock(&dir.join(LOCK_FILE))?;
        // To look is to write: redb does so when it opens a file, and when it closes one.
        write_anew(dir)?;
        let look = std::panic::AssertUnwindSafe(|| {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE_BYTES);
            let db = builder.create(&path).map_err(|error| open_error(&path, error))?;
            let (path, known) = (path.clone(), Known::default());
            let mut disk = Self { db, path, committed: None, committed_dirty: false, known, _lock: lock };
            disk.create_tables()?;
            disk.read_meta::<Identity>(IDENTITY)
        });
        std::panic::catch_unwind(look).unwrap_or_else(|_| Err(LogError::corrupt(&path, "its structure makes no sense")))
    }

    fn check_identity(&mut self, wanted: &Identity, used: bool) -> Result<(), LogError> {
        match self.read_meta::<Identity>(IDENTITY)? {
            Some(found) if found == *wanted => Ok(()),
            Some(found) => Err(self.not_ours(wanted, &found)),
            None if used => {
                Err(self.corrupt("it does not say whose it is, or the log was removed beside its snapshot"))
            }
            None => {
                let bytes = self.seal_meta(IDENTITY, wanted)?;
                self.write(|txn| {
                    txn.open_table(META)?.insert(IDENTITY, bytes.as_slice())?;
                    Ok(())
                })
            }
        }
    }

    fn write(
        &mut self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), LogError> {
        let committed = match (self.committed_dirty, &self.committed) {
            (true, Some(id)) => Some(self.seal_meta(COMMITTED, id)?),
            _ => None,
        };
        let floors = self.known.fresh();
        let floor_bytes = floors.as_ref().map(|floors| self.seal_meta(FLOORS, floors)).transpose()?;
        let result = (|| {
            let mut txn = self.db.begin_write()?;
            txn.set_durability(Durability::Immediate)?;
            change(&txn)?;
            if let Some(bytes) = committed {
                txn.open_table(META)?.insert(COMMITTED, bytes.as_slice())?;
            }
            if let Some(bytes) = floor_bytes {
                txn.open_table(META)?.insert(FLOORS, bytes.as_slice())?;
            }
            txn.commit()?;
            Ok(())
        })();
        result.map_err(|error| LogError::from_redb(&self.path, error))?;
        self.committed_dirty = false;
        if let Some(floors) = floors {
            self.known.written(&floors);
        }
        Ok(())
    }

    fn for_each(&self, range: RangeInclusive<u64>, mut each: impl FnMut(Entry, u32)) -> Result<(), LogError> {
        let fail = |error: redb::Error| LogError::from_redb(&self.path, error);
        let txn = self.db.begin_read().map_err(|error| fail(error.into()))?;
        let log = txn.open_table(LOG).map_err(|error| fail(error.into()))?;
        for item in log.range(range).map_err(|error| fail(error.into()))? {
            let (key, value) = item.map_err(|error| fail(error.into()))?;
            let (index, bytes) = (key.value(), value.value());
            let entry: Entry =
                unseal(&index.to_be_bytes(), bytes).map_err(|what| self.corrupt(format!("entry {index}: {what}")))?;
            if entry.get_log_id().index != index {
                return Err(self.corrupt(format!("entry {index} is another one")));
            }
            each(entry, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        }
        Ok(())
    }

    fn read_meta<T: for<'de> Deserialize<'de>>(&self, key: &str) -> Result<Option<T>, LogError> {
        let fail = |error: redb::Error| LogError::from_redb(&self.path, error);
        let txn = self.db.begin_read().map_err(|error| fail(error.into()))?;
        let table = txn.open_table(META).map_err(|error| fail(error.into()))?;
        match table.get(key).map_err(|error| fail(error.into()))? {
            None => Ok(None),
            Some(value) => match unseal(key.as_bytes(), value.value()) {
                Ok(found) => Ok(Some(found)),
                Err(what) => Err(self.corrupt(format!("record `{key}`: {what}"))),
            },
        }
    }

    fn seal_meta<T: Serialize>(&self, key: &str, value: &T) -> Result<Vec<u8>, LogError> {
        seal(key.as_bytes(), value)
            .map_err(|error| LogError::Io { path: self.path.clone(), text: format!("cannot encode `{key}`: {error}") })
    }

    pub(super) fn not_ours(&self, wanted: &Identity, found: &Identity) -> LogError {
        LogError::OtherIdentity { path: self.path.clone(), found: found.to_string(), wanted: wanted.to_string() }
    }

    pub(super) fn corrupt(&self, what: impl Into<String>) -> LogError {
        LogError::corrupt(&self.path, what)
    }
}

/// Makes what happened in a directory (a new file, a rename) durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), LogError> {
    File::open(dir).and_then(|handle| handle.sync_all()).map_err(|error| LogError::from_io(dir, &error))
}

/// Replaces the file by a copy of what a reader of it sees, all of it fsynced. What an earlier attempt left is overwritten.
fn write_anew(dir: &Path) -> Result<(), LogError> {
    let (path, copy) = (dir.join(LOG_FILE), dir.join(COPY_FILE));
    let written = (|| {
        let mut from = File::open(&path)?;
        let mut to = File::create(&copy)?;
        to.set_permissions(from.metadata()?.permissions())?;
        // Not `io::copy`: where the kernel clones blocks of the disk, it clones what is on them.
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            match from.read(&mut buffer)? {
                0 => break,
                length => to.write_all(&buffer[..length])?,
            }
        }
        to.sync_all()?;
        std::fs::rename(&copy, &path)
    })();
    written.map_err(|error: std::io::Error| {
        // On a full disk it would only be in the way; that it fails as well changes nothing.
        let _ = std::fs::remove_file(&copy);
        LogError::from_io(&copy, &error)
    })?;
    sync_dir(dir)
}

fn lock(path: &Path) -> Result<File, LogError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|error| LogError::from_io(path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(LogError::Locked { path: path.to_path_buf() }),
        Err(std::fs::TryLockError::Error(error)) => Err(LogError::from_io(path, &error)),
    }
}

/// A file that redb does not take for one of its own was one before: it only exists because redb wrote it.
fn open_error(path: &Path, error: redb::DatabaseError) -> LogError {
    match redb::Error::from(error) {
        redb::Error::Io(io) if io.kind() == std::io::ErrorKind::InvalidData => LogError::corrupt(path, io.to_string()),
        redb::Error::RepairAborted => LogError::corrupt(path, "it cannot be repaired"),
        other => LogError::from_redb(path, other),
    }
}

/// Format byte, checksum over key and payload, payload.
fn seal<T: Serialize>(key: &[u8], value: &T) -> Result<Vec<u8>, postcard::Error> {
    let payload = postcard::to_stdvec(value)?;
    let mut out = Vec::with_capacity(1 + CHECKSUM_BYTES + payload.len());
    out.push(RECORD_FORMAT);
    out.extend_from_slice(&checksum(key, &payload));
    out.extend_from_slice(&payload);
    Ok(out)
}

fn unseal<T: for<'de> Deserialize<'de>>(key: &[u8], record: &[u8]) -> Result<T, String> {
    let (format, rest) = record.split_first().ok_or("it is empty")?;
    if *format != RECORD_FORMAT {
        return Err(format!("its format is {format}, this version reads {RECORD_FORMAT}"));
    }
    let (sum, payload) = rest.split_at_checked(CHECKSUM_BYTES).ok_or("it is cut off")?;
    if sum != checksum(key, payload) {
        return Err("its checksum does not match".to_owned());
    }
    postcard::from_bytes(payload).map_err(|error| error.to_string())
}

fn checksum(key: &[u8], payload: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = sha2::Sha256::new();
    hasher.update([RECORD_FORMAT]);
    hasher.update(key);
    hasher.update(payload);
    let digest: [u8; 32] = hasher.finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_record_is_refused_under_another_key_or_with_any_flipped_bit() {
        let record = seal(b"a", &(7_u64, "text".to_owned())).expect("encodes");
        assert_eq!(unseal::<(u64, String)>(b"a", &record), Ok((7, "text".to_owned())));
        assert!(unseal::<(u64, String)>(b"b", &record).is_err());
        for place in 0..record.len() {
            let mut bad = record.clone();
            bad[place] ^= 4;
            assert!(unseal::<(u64, String)>(b"a", &bad).is_err(), "byte {place}");
        }
    }

    /// Written by format 1: a blank, a membership and a normal entry. Never change them; add those of a new format.
    const FORMAT_1: [(u64, &str); 3] = [
        (1, "017a6868309ae8cf09ac020100"),
        (2, "01e96b0125cd4f5542ac0202020101070107026e310200c00002010120010db8000000000000000000000001933a"),
        (3, "01df2784d8caf48b8fac02030101050601656e747279"),
    ];

    #[test]
    fn records_of_every_format_so_far_are_read() {
        use crate::log::types::{Proposal, RaftNode};
        use openraft::EntryPayload;
        use openraft::testing::log_id;
        let node = RaftNode {
            name: "n1".into(),
            addresses: vec!["192.0.2.1".parse().expect("v4"), "2001:db8::1".parse().expect("v6")],
            port: 7443,
        };
        let members = openraft::Membership::new(vec![[7].into()], std::collections::BTreeMap::from([(7, node)]));
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Membership(members),
            EntryPayload::Normal(Proposal::new(Some(5), b"\x01entry".to_vec()).0),
        ];
        for ((index, hex), payload) in FORMAT_1.into_iter().zip(payloads) {
            let expected = Entry { log_id: log_id(300, 0, index), payload };
            let written: String =
                Record::of(&expected).expect("encodes").bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(written, hex, "what is written now");
            let bytes: Vec<u8> = (0..hex.len() / 2)
                .map(|place| u8::from_str_radix(&hex[place * 2..place * 2 + 2], 16).expect("hex"))
                .collect();
            let read: Entry = unseal(&index.to_be_bytes(), &bytes).expect("reads");
            assert_eq!(read.log_id, expected.log_id);
            assert_eq!(postcard::to_stdvec(&read.payload), postcard::to_stdvec(&expected.payload));
        }
    }

    /// The other records, as format 1 writes them.
    const META_1: [(&str, &str); 5] = [
        (VOTE, "01a55f91ec764bde1a03010701"),
        (IDENTITY, "014c60f7098623d1ba02633101026e31"),
        (PURGED, "01ebc36a323bb88892ac0202"),
        (FLOORS, "01dd9a7d05d40a66ce01070501050900"),
        (REVERTED, "011951d2b56e4877b103776879"),
    ];

    #[test]
    fn votes_identities_and_floors_of_every_format_so_far_are_read() {
        use crate::log::known::Floor;
        use openraft::testing::log_id;
        fn check<T: Serialize + for<'de> Deserialize<'de> + PartialEq + std::fmt::Debug>(key: &str, value: T) {
            let (_, hex) = META_1.into_iter().find(|(found, _)| *found == key).expect("is listed");
            let bytes: Vec<u8> = (0..hex.len() / 2)
                .map(|place| u8::from_str_radix(&hex[place * 2..place * 2 + 2], 16).expect("hex"))
                .collect();
            assert_eq!(unseal::<T>(key.as_bytes(), &bytes).as_ref(), Ok(&value), "{key}");
            assert_eq!(seal(key.as_bytes(), &value), Ok(bytes), "{key}, as it is written now");
        }
        check(VOTE, Vote::new_committed(3, 7));
        check(IDENTITY, Identity { cluster: "c1".into(), generation: 1, node: "n1".into() });
        check(PURGED, log_id(300, 0, 2));
        let floor = Floor::followed(&Vote::new(5, 1), Some(log_id(5, 0, 9)), None);
        check(FLOORS, Floors::from([(7, floor)]));
        check(REVERTED, "why".to_owned());
    }
}
