//! The truth about the services, from outside: who holds which lock, and what their agents wrote down.
//!
//! A service's process holds a lock on a file that all nodes share (`e2e/lab/Holder`). Nodes share the host's kernel too, so a
//! lock is free in the very moment in which its holder is gone. Violations: a copy that found no free lock (it ran beyond the
//! limit), and a start under an epoch below one that was seen before (an old claim acted).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::libc;

/// A conflict is written down by the one who runs into it, so this only bounds how late it is seen, and measures outages.
const INTERVAL: Duration = Duration::from_millis(20);

/// What was seen so far.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The first is what matters.
    pub violations: Vec<String>,
    /// How often a lock went to another node.
    pub failovers: BTreeMap<String, usize>,
    pub starts: usize,
    /// The longest time for which a lock was free, and how long ago that began when it ended or was last looked at.
    pub longest_outage: BTreeMap<String, Duration>,
    /// All lines of the records.
    pub records: Vec<String>,
}

/// An observer at work.
pub struct Observer {
    dir: PathBuf,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    /// Watches these locks in a folder.
    pub fn start(dir: &Path, locks: &[String]) -> Observer {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Seen::default())));
        let mut watch = Watch::new(dir, locks, Arc::clone(&seen));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                watch.look();
                thread::sleep(INTERVAL);
            }
            watch.look();
        });
        Observer { dir: dir.to_owned(), stop, seen, thread: Some(thread) }
    }

    pub fn seen(&self) -> Seen {
        self.seen.lock().expect("no holder panics").clone()
    }

    pub fn violation(&self) -> Option<String> {
        self.seen.lock().expect("no holder panics").violations.first().cloned()
    }

    /// Which process holds a lock, as the host counts.
    pub fn holder(&self, lock: &str) -> Option<i32> {
        holder(&File::options().read(true).write(true).open(self.dir.join(lock)).ok()?)
    }

    /// Ends the watch.
    pub fn finish(mut self) -> Seen {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("observers do not panic");
        }
        self.seen()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

struct Watch {
    records: PathBuf,
    read: u64,
    rest: String,
    locks: Vec<(String, File)>,
    free_since: BTreeMap<String, Instant>,
    last_node: BTreeMap<String, String>,
    /// By lock: the highest epoch that was seen, by node and line.
    epochs: BTreeMap<String, (u64, String)>,
    seen: Arc<Mutex<Seen>>,
}

impl Watch {
    fn new(dir: &Path, locks: &[String], seen: Arc<Mutex<Seen>>) -> Self {
        let open = |lock: &String| {
            let file = File::options().read(true).write(true).create(true).truncate(false).open(dir.join(lock));
            (lock.clone(), file.expect("the shared folder is writable"))
        };
        let records = dir.join("records");
        Self {
            records,
            read: 0,
            rest: String::new(),
            locks: locks.iter().map(open).collect(),
            free_since: BTreeMap::new(),
            last_node: BTreeMap::new(),
            epochs: BTreeMap::new(),
            seen,
        }
    }

    fn look(&mut self) {
        self.read_records();
        let now = Instant::now();
        let mut seen = self.seen.lock().expect("no holder panics");
        for (lock, file) in &self.locks {
            match holder(file) {
                // Which copy of several has which slot says nothing.
                _ if !self.is_exclusive(lock) => {}
                Some(_) => {
                    self.free_since.remove(lock);
                }
                // Before its first start it is not missing.
                None if !self.last_node.contains_key(lock) => {}
                None => {
                    let free = now - *self.free_since.entry(lock.clone()).or_insert(now);
                    let longest = seen.longest_outage.entry(lock.clone()).or_default();
                    *longest = free.max(*longest);
                }
            }
        }
    }

    fn read_records(&mut self) {
        let mut bytes = String::new();
        let read = File::open(&self.records).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.read))?;
            file.read_to_string(&mut bytes)
        });
        let Ok(length) = read else { return };
        self.read += length as u64;
        self.rest += &bytes;
        while let Some((line, rest)) = self.rest.clone().split_once('\n') {
            self.rest = rest.to_owned();
            self.judge(line);
        }
    }

    /// Whether one holder is all there may be.
    fn is_exclusive(&self, lock: &str) -> bool {
        let more = lock.strip_suffix(".0").map(|name| format!("{name}.1"));
        more.is_none_or(|more| !self.locks.iter().any(|(lock, _)| *lock == more))
    }

    /// `UPTIME NODE NAME EPOCH held|dropped|CONFLICT|fault …`
    fn judge(&mut self, line: &str) {
        let mut seen = self.seen.lock().expect("no holder panics");
        seen.records.push(line.to_owned());
        let words: Vec<&str> = line.split(' ').collect();
        let [_, node, name, epoch, what, kind, ..] = words.as_slice() else { return };
        let lock = if *kind == "promoted" { format!("{name}.promoted") } else { format!("{name}.0") };
        match *what {
            "CONFLICT" => seen.violations.push(format!("a limit was exceeded: {line}")),
            "held" => {
                seen.starts += 1;
                if !self.is_exclusive(&lock) {
                    self.last_node.entry(lock).or_insert_with(|| (*node).to_owned());
                    return;
                }
                if let Some(before) = self.last_node.insert(lock.clone(), (*node).to_owned())
                    && before != *node
                {
                    *seen.failovers.entry(lock.clone()).or_default() += 1;
                }
                // A promotion is part of a claim that may be older than the last promoted copy's.
                if *kind == "promoted" {
                    return;
                }
                let Ok(epoch) = epoch.parse::<u64>() else { return };
                match self.epochs.get(&lock) {
                    Some((newest, by)) if epoch < *newest => {
                        seen.violations.push(format!("an old claim acted: {line}, after {by}"));
                    }
                    Some(_) | None => {
                        self.epochs.insert(lock, (epoch, line.to_owned()));
                    }
                }
            }
            _ => {}
        }
    }
}

/// Who holds a write lock on a file. Asking does not take it.
fn holder(file: &File) -> Option<i32> {
    // SAFETY: all zeroes is a valid request: the whole file, from its beginning.
    let mut request: libc::flock = unsafe { std::mem::zeroed() };
    request.l_type = libc::F_WRLCK as libc::c_short;
    // SAFETY: the request lives as long as the call.
    let asked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &raw mut request) };
    (asked == 0 && request.l_type != libc::F_UNLCK as libc::c_short).then_some(request.l_pid)
}
