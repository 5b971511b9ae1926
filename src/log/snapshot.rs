//! The snapshot file: the applied state at one index, with Raft's own facts about it.
//!
//! Layout: magic with a format byte, SHA-256 of the rest, length of the metadata (u32), metadata (postcard), state
//! bytes (`state::snapshot`). Written aside, fsynced, renamed, and the directory fsynced: either the old or the new one
//! is there, whole. A checksum that does not match is an error, never "no snapshot".

use super::disk::sync_dir;
use super::error::LogError;
use super::types::{Body, LogId, SnapshotMeta};
use sha2::Digest as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio_util::bytes::Bytes;

/// Name of the snapshot file in the data directory.
pub(super) const SNAPSHOT_FILE: &str = "log.snapshot";
/// Where the next one is written.
pub(super) const TEMPORARY_FILE: &str = "log.snapshot.new";
/// The last byte is the format.
const MAGIC: &[u8; 8] = b"hafensn\x01";
const HEADER: usize = MAGIC.len() + 32 + 4;

/// The snapshot of one data directory; written by the builder and by the receiver, one at a time.
pub(super) struct SnapshotFile {
    dir: PathBuf,
    /// The last entry that is in what is durable. Who waits for it learns that nobody will write any more, too: the sender is
    /// gone.
    covers: watch::Sender<Option<LogId>>,
    writing: Mutex<()>,
}

impl SnapshotFile {
    /// Opens the directory, and reads and checks what is there.
    pub(super) fn open(dir: &Path) -> Result<(Self, Option<(SnapshotMeta, Bytes)>), LogError> {
        let found = read(&dir.join(SNAPSHOT_FILE))?;
        let covers = watch::Sender::new(found.as_ref().and_then(|(meta, _)| meta.last_log_id));
        Ok((Self { dir: dir.to_path_buf(), covers, writing: Mutex::new(()) }, found))
    }

    /// The last entry that is durable here; entries after it must stay in the log.
    pub(super) fn covered(&self) -> watch::Receiver<Option<LogId>> {
        self.covers.subscribe()
    }

    /// Replaces the snapshot, durably. One that is older than what is there is dropped: a builder can be overtaken by
    /// a snapshot from the leader.
    pub(super) fn write(&self, meta: &SnapshotMeta, state: &[u8]) -> Result<(), LogError> {
        let _others_wait = self.lock();
        if *self.covers.borrow() > meta.last_log_id {
            return Ok(());
        }
        let path = self.dir.join(TEMPORARY_FILE);
        let encoded = postcard::to_stdvec(meta)
            .map_err(|error| LogError::Io { path: path.clone(), text: format!("cannot encode a snapshot: {error}") })?;
        let length = u32::try_from(encoded.len())
            .map_err(|_| LogError::Io { path: path.clone(), text: "the snapshot's metadata is too long".to_owned() })?;
        let mut hasher = sha2::Sha256::new();
        for part in [&length.to_be_bytes(), encoded.as_slice(), state] {
            hasher.update(part);
        }
        let digest: [u8; 32] = hasher.finalize().into();
        (|| {
            let mut file = File::create(&path)?;
            for part in [MAGIC.as_slice(), &digest, &length.to_be_bytes(), encoded.as_slice(), state] {
                file.write_all(part)?;
            }
            file.sync_all()?;
            std::fs::rename(&path, self.dir.join(SNAPSHOT_FILE))
        })()
        .map_err(|error: std::io::Error| {
            // On a full disk it would only be in the way; that it fails as well changes nothing.
            let _ = std::fs::remove_file(&path);
            LogError::from_io(&path, &error)
        })?;
        sync_dir(&self.dir)?;
        self.covers.send_replace(meta.last_log_id);
        Ok(())
    }

    pub(super) fn read(&self) -> Result<Option<(SnapshotMeta, Body)>, LogError> {
        let _writers_wait = self.lock();
        Ok(read(&self.dir.join(SNAPSHOT_FILE))?.map(|(meta, bytes)| (meta, Body(bytes))))
    }

    /// What is damaged by a panic under this lock is the file alone, and that is checked when it is read.
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> Result<Option<(SnapshotMeta, Bytes)>, LogError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => Bytes::from(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LogError::from_io(path, &error)),
    };
    parse(&bytes).map(Some).map_err(|what| LogError::corrupt(path, what))
}

/// Magic and a right checksum before what follows them in a file: for `fuzzing`.
pub(super) fn sealed(rest: &[u8]) -> Bytes {
    let digest: [u8; 32] = sha2::Sha256::digest(rest).into();
    [MAGIC.as_slice(), &digest, rest].concat().into()
}

pub(super) fn parse(bytes: &Bytes) -> Result<(SnapshotMeta, Bytes), String> {
    let cut_off = "the snapshot is cut off";
    let magic = bytes.get(..MAGIC.len()).ok_or(cut_off)?;
    if magic != MAGIC {
        return Err("it is no snapshot of a format that this version reads".to_owned());
    }
    let digest = bytes.get(MAGIC.len()..MAGIC.len() + 32).ok_or(cut_off)?;
    let rest = bytes.get(MAGIC.len() + 32..).ok_or(cut_off)?;
    let actual: [u8; 32] = sha2::Sha256::digest(rest).into();
    if digest != actual {
        return Err("the checksum of the snapshot does not match".to_owned());
    }
    let length: [u8; 4] = rest.get(..4).and_then(|length| length.try_into().ok()).ok_or(cut_off)?;
    let end = HEADER.checked_add(u32::from_be_bytes(length) as usize).ok_or(cut_off)?;
    let meta = bytes.get(HEADER..end).ok_or(cut_off)?;
    let meta = postcard::from_bytes(meta).map_err(|error| error.to_string())?;
    Ok((meta, bytes.slice(end..)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::testing::log_id;

    fn meta(index: u64) -> SnapshotMeta {
        SnapshotMeta { last_log_id: Some(log_id(1, 0, index)), snapshot_id: format!("1-{index}"), ..Default::default() }
    }

    #[test]
    fn an_older_snapshot_never_replaces_a_newer_one() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (file, found) = SnapshotFile::open(dir.path()).expect("opens");
        assert!(found.is_none());
        file.write(&meta(9), b"nine").expect("writes");
        file.write(&meta(5), b"five").expect("is dropped");
        assert_eq!(file.read().expect("reads"), Some((meta(9), Body(Bytes::from_static(b"nine")))));
    }

    #[test]
    fn every_flipped_byte_and_every_cut_of_a_snapshot_is_an_error() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (file, _) = SnapshotFile::open(dir.path()).expect("opens");
        file.write(&meta(9), b"nine").expect("writes");
        let path = dir.path().join(SNAPSHOT_FILE);
        let good = std::fs::read(&path).expect("reads");
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            std::fs::write(&path, &bad).expect("writes");
            assert!(matches!(file.read(), Err(LogError::Corrupt { .. })), "byte {place}");
            std::fs::write(&path, &good[..place]).expect("writes");
            assert!(matches!(file.read(), Err(LogError::Corrupt { .. })), "cut at {place}");
        }
    }

    /// A snapshot file as format 1 writes it.
    const FORMAT_1: &str = concat!(
        "686166656e736e0143f375f461ed8b60b2b187267a2f4b72a9fbfb34e0aaa1dd6ee732e544d10ac7",
        "0000000a01010900000003312d396e696e65"
    );

    #[test]
    fn files_of_every_format_so_far_are_read_and_a_newer_one_is_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join(SNAPSHOT_FILE);
        let mut bytes: Vec<u8> = (0..FORMAT_1.len() / 2)
            .map(|place| u8::from_str_radix(&FORMAT_1[place * 2..place * 2 + 2], 16).expect("hex"))
            .collect();
        std::fs::write(&path, &bytes).expect("writes");
        let (file, found) = SnapshotFile::open(dir.path()).expect("opens");
        assert_eq!(found, Some((meta(9), Bytes::from_static(b"nine"))));
        file.write(&meta(9), b"nine").expect("writes");
        assert_eq!(std::fs::read(&path).expect("reads"), bytes, "what is written now");
        bytes[MAGIC.len() - 1] += 1;
        std::fs::write(&path, &bytes).expect("writes");
        assert!(matches!(file.read(), Err(LogError::Corrupt { .. })));
    }

    #[test]
    fn what_a_crash_leaves_of_a_new_snapshot_is_not_looked_at() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (file, _) = SnapshotFile::open(dir.path()).expect("opens");
        file.write(&meta(5), b"five").expect("writes");
        let whole = std::fs::read(dir.path().join(SNAPSHOT_FILE)).expect("reads");
        for cut in 0..=whole.len() {
            std::fs::write(dir.path().join(TEMPORARY_FILE), &whole[..cut]).expect("writes");
            let (_, found) = SnapshotFile::open(dir.path()).expect("opens");
            assert_eq!(found, Some((meta(5), Bytes::from_static(b"five"))), "{cut} bytes");
        }
    }
}
