//! The log file when the power goes, when the disk fails, and when its bytes change: at every point of a short life.
//!
//! The file is a list of the writes that redb made. From it come the images that a crash can leave: everything up to the last
//! fsync, and of what was written since then nothing, all, each part of it alone, all but one, and a torn last write.

use super::super::disk::{Disk, LOG_FILE, Loaded, Record};
use super::super::error::LogError;
use super::super::known::{Floor, Floors};
use super::super::raft::Identity;
use super::super::types::{Entry, Proposal, Vote};
use super::identity;
use openraft::RaftLogId as _;
use openraft::entry::FromAppData as _;
use openraft::testing::log_id;
use redb::{BackendError, StorageBackend};
use std::io;
use std::ops::{Bound, RangeInclusive};
use std::path::Path;
use std::sync::{Arc, Mutex};

const EIO: i32 = 5;

#[derive(Debug, Clone)]
enum Op {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

impl Op {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write(at, data) => {
                let at = usize::try_from(*at).expect("fits");
                image.resize(image.len().max(at + data.len()), 0);
                image[at..at + data.len()].copy_from_slice(data);
            }
            Self::SetLen(len) => image.resize(usize::try_from(*len).expect("fits"), 0),
            Self::Sync => {}
        }
    }

    /// What is left of a write that the power interrupted.
    fn torn(&self) -> Option<Self> {
        match self {
            Self::Write(at, data) if data.len() > 1 => Some(Self::Write(*at, data[..data.len() / 2].to_vec())),
            Self::Write(..) | Self::SetLen(_) | Self::Sync => None,
        }
    }
}

/// A file in memory that remembers how it came to be, and fails from one write or one read on if it is told to.
#[derive(Debug, Clone, Default)]
struct Medium(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    ops: Vec<Op>,
    fails_at: Option<(usize, i32)>,
    reads: usize,
    /// Which reads fail.
    unreadable: Option<RangeInclusive<usize>>,
}

impl Medium {
    fn of(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Content { bytes, ..Content::default() })))
    }

    fn failing(at: usize, errno: i32) -> Self {
        Self(Arc::new(Mutex::new(Content { fails_at: Some((at, errno)), ..Content::default() })))
    }

    fn unreadable(bytes: Vec<u8>, reads: RangeInclusive<usize>) -> Self {
        Self(Arc::new(Mutex::new(Content { bytes, unreadable: Some(reads), ..Content::default() })))
    }

    fn reads(&self) -> usize {
        self.0.lock().expect("lock").reads
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().expect("lock").bytes.clone()
    }

    fn ops(&self) -> Vec<Op> {
        self.0.lock().expect("lock").ops.clone()
    }

    fn count(&self) -> usize {
        self.0.lock().expect("lock").ops.len()
    }

    fn take(&self, op: Op) -> io::Result<()> {
        let mut content = self.0.lock().expect("lock");
        if let Some((at, errno)) = content.fails_at
            && content.ops.len() >= at
        {
            return Err(io::Error::from_raw_os_error(errno));
        }
        op.apply(&mut content.bytes);
        content.ops.push(op);
        Ok(())
    }
}

impl StorageBackend for Medium {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().expect("lock").bytes.len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut content = self.0.lock().expect("lock");
        let number = content.reads;
        content.reads += 1;
        if content.unreadable.as_ref().is_some_and(|reads| reads.contains(&number)) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let at = usize::try_from(offset).expect("fits");
        let part = content.bytes.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(part);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.take(Op::SetLen(len))
    }
    fn sync_data(&self) -> io::Result<()> {
        self.take(Op::Sync)
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.take(Op::Write(offset, data.to_vec()))
    }
    fn close(&self) -> io::Result<()> {
        Ok(())
    }
    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }
    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }
    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }
    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }
}

fn open_as(dir: &Path, medium: &Medium, identity: &Identity) -> Result<(Disk, Loaded), LogError> {
    // Whether there is a file is asked of the folder.
    let there = if medium.bytes().is_empty() { Vec::new() } else { vec![1] };
    std::fs::write(dir.join(LOG_FILE), there).expect("writes");
    Disk::open_with(dir, identity, |builder, _| builder.create_with_backend(medium.clone()))
}

fn open(dir: &Path, medium: &Medium) -> Result<(Disk, Loaded), LogError> {
    open_as(dir, medium, &identity("n1"))
}

/// Whose log it is after `recover`.
fn recovered() -> Identity {
    Identity { generation: 2, ..identity("n1") }
}

/// Everything a log holds that was ever acknowledged.
#[derive(Debug, Clone, PartialEq, Default)]
struct Held {
    /// It must not be used again: nothing else is told of it.
    condemned: bool,
    generation: u64,
    vote: Option<Vote>,
    purged: Option<openraft::LogId<u64>>,
    entries: Vec<Vec<u8>>,
    floors: Floors,
}

fn held(dir: &Path, image: Vec<u8>) -> Result<Held, LogError> {
    held_on(dir, &Medium::of(image))
}

fn held_on(dir: &Path, medium: &Medium) -> Result<Held, LogError> {
    let mut identity = identity("n1");
    let opened = match open_as(dir, medium, &identity) {
        Err(LogError::OtherIdentity { .. }) => {
            identity = recovered();
            open_as(dir, medium, &identity)
        }
        other => other,
    };
    let (disk, loaded) = match opened {
        Err(LogError::Reverted { .. }) => return Ok(Held { condemned: true, ..Held::default() }),
        other => other?,
    };
    let entries = disk.read(0..=u64::MAX)?;
    let bytes = |entry: &Entry| postcard::to_stdvec(entry).expect("encodes");
    Ok(Held {
        condemned: false,
        generation: identity.generation,
        vote: loaded.vote,
        purged: loaded.purged,
        entries: entries.iter().map(bytes).collect(),
        floors: disk.known().all(),
    })
}

fn record(term: u64, index: u64, text: &str) -> Record {
    let mut entry = Entry::from_app_data(Proposal::new(None, text.as_bytes().to_vec()).0);
    entry.set_log_id(&log_id(term, 0, index));
    Record::of(&entry).expect("encodes")
}

type Step = fn(&mut Disk) -> Result<(), LogError>;

/// A short life with every kind of write.
const LIFE: [Step; 12] = [
    |disk| disk.save_vote(&Vote::new(1, 7)),
    |disk| disk.append(&[record(1, 0, "zero"), record(1, 1, "one"), record(1, 2, &"two".repeat(500))]),
    |disk| {
        disk.note_committed(Some(log_id(1, 0, 1)));
        disk.known().raise(9, &Floor::voted(&Vote::new(1, 9)));
        disk.append(&[record(1, 3, "three")])
    },
    |disk| disk.save_vote(&Vote::new_committed(2, 8)),
    |disk| disk.truncate(3),
    |disk| disk.append(&[record(2, 3, "another three"), record(2, 4, &"four".repeat(2000))]),
    |disk| disk.purge(log_id(1, 0, 1)),
    |disk| disk.append(&[record(2, 5, "five")]),
    |disk| disk.save_vote(&Vote::new(3, 7)),
    |disk| disk.replace(&recovered(), &Vote::new(4, 7), &record(4, 6, "alone"), None),
    |disk| disk.replace(&recovered(), &Vote::new(5, 7), &record(5, 9, "alone again"), Some(log_id(2, 0, 8))),
    |disk| disk.append(&[record(5, 10, "ten")]),
];

/// The same, and it ends as a log that went back in time.
fn ends_condemned() -> Vec<Step> {
    LIFE.into_iter().chain([(|disk| disk.condemn("it lost its tail")) as Step]).collect()
}

/// The writes of that life, and what it held after each step: the number of writes by then, and the contents.
fn lived(dir: &Path) -> (Vec<Op>, Vec<(usize, Held)>) {
    let medium = Medium::default();
    let (mut disk, _) = open(dir, &medium).expect("opens");
    let mut acknowledged = vec![(medium.count(), held_beside(&medium))];
    for step in ends_condemned() {
        step(&mut disk).expect("writes");
        acknowledged.push((medium.count(), held_beside(&medium)));
    }
    assert!(acknowledged.windows(2).all(|pair| pair[0].1 != pair[1].1), "each step changes something");
    (medium.ops(), acknowledged)
}

fn held_beside(medium: &Medium) -> Held {
    let dir = tempfile::tempdir().expect("temp dir");
    held(dir.path(), medium.bytes()).expect("opens")
}

fn image<'a>(ops: impl IntoIterator<Item = &'a Op>) -> Vec<u8> {
    let mut bytes = Vec::new();
    ops.into_iter().for_each(|op| op.apply(&mut bytes));
    bytes
}

/// What a crash after so many operations can leave.
fn images(ops: &[Op]) -> Vec<Vec<u8>> {
    let synced = ops.iter().rposition(|op| matches!(op, Op::Sync)).map_or(0, |at| at + 1);
    let (durable, since) = ops.split_at(synced);
    let with = |kept: Vec<&Op>| image(durable.iter().chain(kept));
    let mut images = vec![with(Vec::new()), with(since.iter().collect())];
    for left_out in 0..since.len() {
        images.push(with(vec![&since[left_out]]));
        images.push(with(since.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, op)| op).collect()));
    }
    if let Some((last, before)) = since.split_last()
        && let Some(torn) = last.torn()
    {
        images.push(with(before.iter().chain([&torn]).collect()));
    }
    images
}

#[test]
fn whenever_the_power_goes_everything_acknowledged_is_there_and_nothing_torn_is_believed() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (ops, acknowledged) = lived(dir.path());
    let begin = acknowledged[0].0;
    let mut tried = 0;
    for crash in begin..=ops.len() {
        let done = acknowledged.iter().rposition(|(writes, _)| *writes <= crash).expect("the first");
        // What was under way may be there as a whole.
        let allowed = &acknowledged[done..(done + 2).min(acknowledged.len())];
        for image in images(&ops[..crash]) {
            let found = held(dir.path(), image).unwrap_or_else(|error| panic!("after {crash} writes: {error}"));
            assert!(allowed.iter().any(|(_, held)| *held == found), "after {crash} writes, step {done}: {found:?}");
            tried += 1;
        }
    }
    eprintln!("{} writes, {tried} images", ops.len());
    assert!(tried > 100, "{tried}");
}

#[test]
fn whenever_the_disk_fails_nothing_more_is_acknowledged_and_all_that_was_is_there() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (ops, acknowledged) = lived(dir.path());
    for errno in [EIO, 28, 30] {
        for fails_at in acknowledged[0].0..ops.len() {
            let medium = Medium::failing(fails_at, errno);
            let (mut disk, _) = open(dir.path(), &medium).expect("opens");
            let done = ends_condemned().iter().take_while(|step| step(&mut disk).is_ok()).count();
            let known = acknowledged.iter().rposition(|(writes, _)| *writes <= fails_at).expect("the first");
            assert!(done <= known, "write {fails_at} failed, and step {done} was acknowledged");
            drop(disk);
            let found = held(dir.path(), medium.bytes()).expect("opens");
            let allowed = &acknowledged[done..(done + 2).min(acknowledged.len())];
            assert!(allowed.iter().any(|(_, held)| *held == found), "write {fails_at}, step {done}: {found:?}");
        }
    }
}

#[test]
fn a_read_that_fails_is_an_error_and_never_a_shorter_log() {
    let dir = tempfile::tempdir().expect("temp dir");
    let running = Medium::default();
    let (mut disk, _) = open(dir.path(), &running).expect("opens");
    LIFE.iter().for_each(|step| step(&mut disk).expect("writes"));
    let unclosed = running.bytes();
    drop(disk);
    let mut refused = 0;
    for image in [unclosed, running.bytes()] {
        let medium = Medium::of(image.clone());
        let whole = held_on(dir.path(), &medium).expect("opens");
        for read in 0..medium.reads() {
            for last in [read, usize::MAX] {
                match held_on(dir.path(), &Medium::unreadable(image.clone(), read..=last)) {
                    Ok(same) => assert_eq!(same, whole, "read {read}"),
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(refused > 10, "{refused}");
}

/// Places in a file: all of the header, and a share of the rest that no page size divides.
fn places(len: usize) -> impl Iterator<Item = usize> {
    (0..len.min(512)).chain((512..len).step_by((len / 350).max(1) | 1))
}

#[test]
fn a_flipped_byte_is_found_or_changes_nothing() {
    let dir = tempfile::tempdir().expect("temp dir");
    let medium = Medium::default();
    let (mut disk, _) = open(dir.path(), &medium).expect("opens");
    LIFE.iter().for_each(|step| step(&mut disk).expect("writes"));
    let running = medium.bytes();
    drop(disk);
    let closed = medium.bytes();
    let whole = held(dir.path(), closed.clone()).expect("opens");
    let before = Medium::default();
    let (mut disk, _) = open(dir.path(), &before).expect("opens");
    LIFE.iter().take(LIFE.len() - 1).for_each(|step| step(&mut disk).expect("writes"));
    let before = before.bytes();
    drop(disk);
    let without_the_last = held(dir.path(), before).expect("opens");
    let (mut found, mut went_back) = (0, 0);
    for place in places(closed.len()) {
        let bit = 1 << (place % 8);
        let mut bad = closed.clone();
        bad[place] ^= bit;
        match held(dir.path(), bad) {
            Ok(same) => assert_eq!(same, whole, "byte {place}"),
            Err(_) => found += 1,
        }
        // A file that was not closed: its last transaction may pass for one that the crash tore.
        let mut bad = running.clone();
        bad[place] ^= bit;
        match held(dir.path(), bad) {
            Ok(same) if same == whole => {}
            Ok(back) => {
                assert_eq!(back, without_the_last, "byte {place}");
                went_back += 1;
            }
            Err(_) => {}
        }
    }
    eprintln!("{} bytes: {found} flips refused; of an unclosed file {went_back} cost the last write", closed.len());
    assert!(found > 0);
}

#[test]
fn a_file_cut_at_any_length_is_refused_or_whole() {
    let dir = tempfile::tempdir().expect("temp dir");
    let medium = Medium::default();
    let (mut disk, _) = open(dir.path(), &medium).expect("opens");
    LIFE.iter().for_each(|step| step(&mut disk).expect("writes"));
    drop(disk);
    let bytes = medium.bytes();
    let whole = held(dir.path(), bytes.clone()).expect("opens");
    let mut refused = 0;
    // Without a byte it is a new file: only the other voters know better.
    for kept in places(bytes.len()).skip(1) {
        match held(dir.path(), bytes[..kept].to_vec()) {
            Ok(same) => assert_eq!(same, whole, "{kept} bytes"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 300, "{refused}");
}
