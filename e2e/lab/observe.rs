//! Observers: the truth, seen from outside of the nodes, whatever the cluster believes.
//!
//! `VipWatch` reads each powered node's addresses from `/proc/PID/net/fib_trie`; `DirectoryWatch` looks for processes that work in a
//! folder (a database chdirs into its data). Both sum up the time during which more than one node did so at once.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::World;

const VIP_INTERVAL: Duration = Duration::from_millis(10);
/// Looking through every process of the host costs a millisecond or two.
const DIRECTORY_INTERVAL: Duration = Duration::from_millis(20);

/// What an observer saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sightings {
    /// Total time with more than one holder at once.
    pub overlap: Duration,
    /// The sets of holders in order, each different from the one before; the first may be empty.
    pub holders: Vec<BTreeSet<String>>,
}

/// Watches which nodes hold an address.
pub struct VipWatch(Watch);

/// Watches on which nodes (by their pid namespace) a program works in a folder.
pub struct DirectoryWatch(Watch);

struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Sightings>>,
}

impl VipWatch {
    pub(super) fn start(world: Arc<World>, vip: &str) -> VipWatch {
        let line = format!("|-- {vip}");
        VipWatch(Watch::start(VIP_INTERVAL, move || {
            let powered = world.machines.keys().filter_map(|name| Some((name, world.node(name).pid()?)));
            powered.filter(|(_, pid)| holds_address(*pid, &line)).map(|(name, _)| name.clone()).collect()
        }))
    }

    /// Ends the watch.
    pub fn finish(self) -> Sightings {
        self.0.finish()
    }
}

impl DirectoryWatch {
    pub(super) fn start(folder: PathBuf, program: &str) -> DirectoryWatch {
        let program = program.to_owned();
        DirectoryWatch(Watch::start(DIRECTORY_INTERVAL, move || nodes_working_in(&folder, &program)))
    }

    /// Ends the watch.
    pub fn finish(self) -> Sightings {
        self.0.finish()
    }
}

impl Watch {
    fn start(interval: Duration, look: impl Fn() -> BTreeSet<String> + Send + 'static) -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut seen = Sightings { overlap: Duration::ZERO, holders: Vec::new() };
            let mut last_look = Instant::now();
            loop {
                let is_last_look = stopped.load(Ordering::SeqCst);
                let holders = look();
                let now = Instant::now();
                if holders.len() > 1 {
                    seen.overlap += now - last_look;
                }
                last_look = now;
                if seen.holders.last() != Some(&holders) {
                    seen.holders.push(holders);
                }
                if is_last_look {
                    return seen;
                }
                thread::sleep(interval);
            }
        });
        Watch { stop, thread: Some(thread) }
    }

    fn finish(mut self) -> Sightings {
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().expect("finish is called once, it takes self");
        thread.join().expect("observers do not panic")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// Whether the network namespace of a process has a local address; `line` is `|-- ADDRESS`.
fn holds_address(pid: i32, line: &str) -> bool {
    let table = fs::read_to_string(format!("/proc/{pid}/net/fib_trie")).unwrap_or_default();
    let mut lines = table.lines().map(str::trim);
    while let Some(found) = lines.next() {
        if found == line && lines.next().is_some_and(|kind| kind.starts_with("/32 host LOCAL")) {
            return true;
        }
    }
    false
}

fn nodes_working_in(folder: &Path, program: &str) -> BTreeSet<String> {
    let Ok(wanted) = fs::metadata(folder).map(|meta| (meta.dev(), meta.ino())) else {
        return BTreeSet::new();
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit());
    pids.filter(|pid| fs::read_to_string(pid.path().join("comm")).is_ok_and(|comm| comm.trim() == program))
        .filter(|pid| fs::metadata(pid.path().join("cwd")).is_ok_and(|cwd| (cwd.dev(), cwd.ino()) == wanted))
        .filter_map(|pid| Some(fs::read_link(pid.path().join("ns/pid")).ok()?.to_string_lossy().into_owned()))
        .collect()
}
