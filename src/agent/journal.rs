//! What is being done to this node right now, on disk: so that a daemon that starts knows what an earlier one left.
//!
//! Each action but monitors has a file `DATA_DIR/journal/…` while it runs: a line of JSON that says what it is, written
//! before the program is started, and the program's own `/proc` line (process id, start time), which the child writes
//! itself before it executes anything. [`Journal::settle`] → the entries of earlier daemons, each ended and waited for.
//!
//! Invariants: no program runs whose process id is not in its file (a child whose daemon dies before that line is
//! complete dies with it); a process is only ended if id *and* start time are those of the file, on the same boot.
//!
//! Nothing is synced to the disk: the journal has to outlive the daemon, not the machine. After a power cut nothing
//! runs, and whatever is left in the files is of another boot.

use super::process::pidfd_open;
use crate::model::{ActionKind, DeviceId, Epoch, InstanceId, NodeId};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Between SIGTERM and SIGKILL of an operation that an earlier daemon left behind.
const TERM_GRACE: Duration = Duration::from_secs(1);
/// How long a killed one may take to go away before it is reported as stuck.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// What is recorded of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JournalledOp {
    Action {
        instance: InstanceId,
        kind: ActionKind,
        epoch: Option<Epoch>,
    },
    /// A start or stop of a systemd unit: the work is done by systemd.
    Unit {
        instance: InstanceId,
        kind: ActionKind,
        epoch: Option<Epoch>,
        unit: String,
    },
    Fence {
        device: DeviceId,
        target: NodeId,
        action: String,
    },
}

/// An operation that an earlier daemon did not see the end of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    pub op: JournalledOp,
    pub fate: Fate,
}

/// What became of it. Whether it did what was asked is unknown in each case but the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The daemon died before the program was executed.
    NeverRan,
    /// The program had ended by itself before it was looked for.
    HadEnded,
    /// It still ran and was ended.
    Killed,
    /// It was killed but has not gone away: it sleeps in the kernel. Nothing may be done to its instance.
    Stuck,
}

/// The folder and the boot that its entries belong to.
pub struct Journal {
    folder: PathBuf,
    boot: String,
    counter: AtomicU64,
}

/// An entry while its operation runs. Dropping it does not end it: see [`Entry::done`].
#[must_use]
pub struct Entry {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Header {
    /// The kernel's own, whatever boot id the node goes by: process ids mean nothing on another one.
    boot: String,
    op: JournalledOp,
}

impl Journal {
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(Self { folder, boot, counter: AtomicU64::new(0) })
    }

    /// Writes the first line and returns the file that the child shall write its own line to.
    pub fn begin(&self, op: JournalledOp) -> io::Result<(Entry, File)> {
        let header = serde_json::to_string(&Header { boot: self.boot.clone(), op }).map_err(io::Error::other)?;
        loop {
            let number = self.counter.fetch_add(1, Ordering::Relaxed);
            let path = self.folder.join(format!("{}-{number}.json", std::process::id()));
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    writeln!(file, "{header}")?;
                    return Ok((Entry { path }, file));
                }
                // Left by an earlier daemon with the same process id (in a container, mostly): keep it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends and waits out every operation of earlier daemons, all at once; to be called before the first [`Self::begin`].
    pub async fn settle(&self) -> Vec<JournalEntry> {
        let mut paths: Vec<PathBuf> = match fs::read_dir(&self.folder) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(error) => {
                tracing::error!(folder = %self.folder.display(), %error, "failed to read the journal");
                return Vec::new();
            }
        };
        paths.sort();
        let settled = futures_util::future::join_all(paths.iter().map(|path| self.settle_one(path))).await;
        settled.into_iter().flatten().collect()
    }

    async fn settle_one(&self, path: &Path) -> Option<JournalEntry> {
        let text = fs::read_to_string(path).unwrap_or_default();
        let mut lines = text.lines();
        let header: Option<Header> = lines.next().and_then(|line| serde_json::from_str(line).ok());
        let Some(header) = header.filter(|header| header.boot == self.boot) else {
            // Of another boot, or cut by a crash of the machine: nothing of it can run.
            discard(path);
            return None;
        };
        let fate = match lines.next().and_then(Process::parse) {
            Some(process) => end(process).await,
            None => match header.op {
                JournalledOp::Unit { .. } => Fate::HadEnded,
                JournalledOp::Action { .. } | JournalledOp::Fence { .. } => Fate::NeverRan,
            },
        };
        tracing::warn!(op = ?header.op, ?fate, "settled an operation of an earlier daemon");
        if fate != Fate::Stuck {
            discard(path);
        }
        Some(JournalEntry { op: header.op, fate })
    }
}

impl Entry {
    /// The operation has ended.
    pub fn done(self) {
        discard(&self.path);
    }

    /// The operation has ended, unless a process of it lingers: then when that has gone away.
    pub fn done_with(self, lingering: Option<tokio::process::Child>) {
        match lingering {
            None => self.done(),
            Some(mut child) => {
                tracing::error!(pid = child.id(), "a killed agent has not gone away: it sleeps in the kernel");
                tokio::spawn(async move {
                    let _ = child.wait().await;
                    self.done();
                });
            }
        }
    }
}

/// A process that is told apart from a later one with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    /// Ended, but not yet reaped.
    pub is_zombie: bool,
    /// In clock ticks since the boot.
    started: u64,
}

impl Process {
    /// Reads a line of `/proc/PID/stat` (proc(5)). The name in it may hold anything, so fields count from its last `)`.
    pub fn parse(line: &str) -> Option<Self> {
        let pid = line.split(' ').next()?.parse().ok()?;
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
        // Field 3, the state, is the first here: 4 is the parent, 22 the start time.
        let is_zombie = matches!(*fields.first()?, "Z" | "X");
        Some(Self { pid, parent: fields.get(1)?.parse().ok()?, is_zombie, started: fields.get(19)?.parse().ok()? })
    }

    pub fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn lives(self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.started == self.started)
    }
}

/// Ends the group of a process that led one. If the leader has ended, what is left of its group is the service that
/// it started, which is not ours to end.
async fn end(process: Process) -> Fate {
    // Opened before the check: from then on the descriptor means this process, whoever has the id later.
    let Ok(pidfd) = pidfd_open(process.pid) else { return Fate::HadEnded };
    if !process.lives() || process.pid <= 1 {
        return Fate::HadEnded;
    }
    let group = Pid::from_raw(process.pid);
    for (signal, patience) in [(Signal::SIGTERM, TERM_GRACE), (Signal::SIGKILL, KILL_WAIT)] {
        let _ = killpg(group, signal);
        if tokio::time::timeout(patience, pidfd.readable()).await.is_ok() {
            // The rest of the group, which may have ignored SIGTERM. Its number is taken as long as one of it lives.
            let _ = killpg(group, Signal::SIGKILL);
            return Fate::Killed;
        }
    }
    Fate::Stuck
}

fn discard(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "failed to remove a journal entry");
    }
}

#[cfg(test)]
mod tests {
    use super::super::process::{Capture, Program, run};
    use super::*;
    use std::collections::BTreeMap;

    fn op() -> JournalledOp {
        JournalledOp::Action { instance: InstanceId::numbered("db", 1), kind: ActionKind::Start, epoch: Some(Epoch(7)) }
    }

    fn program(script: &str, journal: File) -> Program {
        Program {
            path: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
            input: None,
            timeout: Duration::from_secs(30),
            capture: Capture::Both,
            cgroup: None,
            journal: Some(journal),
        }
    }

    #[tokio::test]
    async fn an_operation_left_running_is_ended_and_reported() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path().into()).unwrap();
        let (entry, file) = journal.begin(op()).unwrap();
        // The daemon that ran it is as good as dead: nobody looks at what this task returns.
        let path = entry.path.clone();
        let left = tokio::spawn(run(program("sleep 60", file)));
        while fs::read_to_string(&path).unwrap().lines().count() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let next = Journal::open(folder.path().into()).unwrap();
        assert_eq!(next.settle().await, [JournalEntry { op: op(), fate: Fate::Killed }]);
        assert_eq!(left.await.unwrap().status, crate::model::ExecStatus::Failed);
        assert_eq!(next.settle().await, []);
    }

    #[tokio::test]
    async fn a_recycled_process_id_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path().into()).unwrap();
        let mut bystander = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = bystander.id();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let process = Process::parse(&stat).unwrap();
        let (_, mut file) = journal.begin(op()).unwrap();
        file.write_all(stat.replace(&format!(" {} ", process.started), " 1 ").as_bytes()).unwrap();
        assert_eq!(journal.settle().await, [JournalEntry { op: op(), fate: Fate::HadEnded }]);
        assert!(bystander.try_wait().unwrap().is_none(), "it still runs");
        bystander.kill().unwrap();
        bystander.wait().unwrap();
    }

    #[tokio::test]
    async fn an_entry_without_a_process_never_ran_and_one_of_another_boot_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path().into()).unwrap();
        let (_, _) = journal.begin(op()).unwrap();
        assert_eq!(journal.settle().await, [JournalEntry { op: op(), fate: Fate::NeverRan }]);
        let (entry, _) = journal.begin(op()).unwrap();
        let text = fs::read_to_string(&entry.path).unwrap().replace(&journal.boot, "another");
        fs::write(&entry.path, text).unwrap();
        assert_eq!(journal.settle().await, []);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_process_line_is_read_whatever_the_name_holds() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 0 0";
        assert_eq!(Process::parse(line), Some(Process { pid: 42, parent: 7, is_zombie: false, started: 123_456 }));
        assert_eq!(Process::parse("nonsense"), None);
    }
}
