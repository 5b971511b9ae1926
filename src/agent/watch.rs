//! Death is an event: tells when a main process of an instance ends, without asking over and over.
//!
//! [`Watches::arm`] of an instance → a task that sleeps on the pidfds of the instance's main processes and on its
//! `cgroup.events`, sends a [`Death`], and arms itself again for what is left. An instance without processes (an
//! address) is not watched. An instance of systemd is watched by `systemd`.
//!
//! Invariants: at rest nothing runs; a burst of ends is one event; an end is told at once, then at most every
//! [`QUIET`], and never lost. If process 1 is slow to reap, an end is told twice: at once, and when the id is free.

use super::cgroup::{main_processes, processes};
use super::journal::Process;
use super::process::pidfd_open;
use crate::model::InstanceId;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Processes of one service end together; a few milliseconds make one event of them.
const DEBOUNCE: Duration = Duration::from_millis(3);
/// The least time between two events of an instance: a service that forks and ends all the time costs five monitors
/// a second at most.
const QUIET: Duration = Duration::from_millis(200);
/// How long an end is held back until the process has been reaped by its parent, mostly process 1.
const REAP_AT_ONCE: Duration = Duration::from_millis(8);
/// How long after that a second event waits for it; a process 1 that is slower than this has more to answer for.
const REAP_LATER: Duration = Duration::from_secs(5);
const REAP_PAUSE_MAX: Duration = Duration::from_millis(20);
/// Main processes that are watched, of one instance. Services have one; the rest is covered by `cgroup.events`.
const MAINS_MAX: usize = 256;

/// Something of an instance has ended: monitor it at once. No verdict: the monitor tells what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    pub instance: InstanceId,
    /// For people.
    pub what: String,
}

/// The watches of this node, one per instance at most.
pub struct Watches {
    deaths: mpsc::Sender<Death>,
    tasks: Mutex<BTreeMap<InstanceId, JoinHandle<()>>>,
}

impl Watches {
    pub fn new(deaths: mpsc::Sender<Death>) -> Self {
        Self { deaths, tasks: Mutex::default() }
    }

    /// Watches the processes in a cgroup, in place of what was watched of that instance before.
    pub fn arm(&self, instance: &InstanceId, run_folder: PathBuf) {
        // What to wait for is looked up here and now, so that an end after this call is never missed.
        let targets = Targets::of(&run_folder);
        self.put(instance, watch(instance.clone(), run_folder, targets, self.deaths.clone()));
    }

    /// Runs any other watch for an instance. It gets the channel for what it sees.
    pub fn arm_with<F>(&self, instance: &InstanceId, watch: impl FnOnce(mpsc::Sender<Death>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.put(instance, watch(self.deaths.clone()));
    }

    /// Ends the watch. Returns whether there was one.
    pub fn disarm(&self, instance: &InstanceId) -> bool {
        match self.lock().remove(instance) {
            Some(task) => {
                task.abort();
                true
            }
            None => false,
        }
    }

    fn put(&self, instance: &InstanceId, watch: impl Future<Output = ()> + Send + 'static) {
        if let Some(before) = self.lock().insert(instance.clone(), tokio::spawn(watch)) {
            before.abort();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceId, JoinHandle<()>>> {
        // A map of handles is whole whatever panicked beside it.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        for task in self.lock().values() {
            task.abort();
        }
    }
}

struct Targets {
    mains: Vec<(i32, AsyncFd<OwnedFd>)>,
    /// A main process that ended while it was looked at.
    gone: Option<i32>,
    events: Option<AsyncFd<File>>,
}

impl Targets {
    /// None: the cgroup has no processes.
    fn of(folder: &Path) -> Option<Self> {
        // Opened before it is read: a change after that wakes the first wait.
        let events = File::open(folder.join("cgroup.events")).ok();
        let populated = events.as_ref().is_some_and(is_populated);
        // SAFETY: the file belongs to the AsyncFd, and is open for as long as that.
        let events = events.and_then(|file| unsafe { AsyncFd::register_with_interest(file, Interest::PRIORITY) }.ok());
        let (mut mains, mut gone) = (Vec::new(), None);
        for pid in main_processes(folder).into_iter().take(MAINS_MAX) {
            match pidfd_open(pid) {
                Ok(pidfd) => mains.push((pid, pidfd)),
                Err(_) => gone = Some(pid),
            }
        }
        (populated || gone.is_some() || !mains.is_empty()).then_some(Self { mains, gone, events })
    }

    /// Waits for the first end; of this main process, or of the last process.
    async fn end(&self) -> Option<i32> {
        if self.gone.is_some() {
            return self.gone;
        }
        let mains = self.mains.iter().map(|(pid, pidfd)| {
            Box::pin(async move {
                let _ = pidfd.readable().await;
                Some(*pid)
            })
        });
        let main = async {
            if self.mains.is_empty() {
                return std::future::pending().await;
            }
            futures_util::future::select_all(mains).await.0
        };
        tokio::select! {
            pid = main => pid,
            () = self.emptied() => None,
        }
    }

    async fn emptied(&self) {
        let Some(events) = &self.events else { return std::future::pending().await };
        loop {
            match events.ready(Interest::PRIORITY).await {
                Ok(mut guard) => {
                    if !is_populated(events.get_ref()) {
                        return;
                    }
                    guard.clear_ready();
                }
                Err(_) => return std::future::pending().await,
            }
        }
    }
}

/// `populated` of `cgroup.events`; reading it also re-arms its notification (kernel: cgroup-v2, "cgroup.events").
fn is_populated(mut file: &File) -> bool {
    use std::io::{Read, Seek};
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).is_ok() && text.contains("populated 1")
}

async fn watch(instance: InstanceId, folder: PathBuf, targets: Option<Targets>, deaths: mpsc::Sender<Death>) {
    let mut targets = targets;
    let mut told: Option<Instant> = None;
    while let Some(now) = targets {
        let pid = now.end().await;
        let ended = Instant::now();
        tokio::time::sleep(DEBOUNCE).await;
        if let Some(told) = told {
            tokio::time::sleep_until(told + QUIET).await;
        }
        let reaped = gone_within(pid, REAP_AT_ONCE).await;
        // Armed again before the end is told, so that nothing between the two is missed.
        targets = Targets::of(&folder);
        let left = processes(&folder).len();
        let what = match pid {
            Some(pid) => format!("main process {pid} ended; {left} left"),
            None => format!("the last process ended; {left} left"),
        };
        tracing::info!(%instance, what, after_ms = ended.elapsed().as_millis() as u64, "something of an instance ended");
        let death = Death { instance: instance.clone(), what };
        if deaths.send(death.clone()).await.is_err() {
            return;
        }
        if !reaped && gone_within(pid, REAP_LATER).await && deaths.send(death).await.is_err() {
            return;
        }
        told = Some(Instant::now());
    }
}

/// Whether the process is gone for those who look for its id: `kill -0` still finds a zombie, and so would a monitor.
async fn gone_within(pid: Option<i32>, patience: Duration) -> bool {
    let Some(pid) = pid else { return true };
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(1);
    while Process::read(pid).is_some_and(|process| process.is_zombie) {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(REAP_PAUSE_MAX);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::cgroup::Cgroups;
    use crate::model::ActionKind;
    use std::io::Write;
    use std::process::Command;

    #[tokio::test]
    async fn an_emptied_cgroup_is_told_by_the_kernel() {
        let key = tempfile::tempdir().unwrap();
        let cgroups = Cgroups::find(None, key.path());
        let instance = InstanceId::plain("emptied");
        let Some(mut place) = cgroups.place(&instance, ActionKind::Start) else { return };
        let folder = cgroups.run_folder(&instance).unwrap();
        assert!(Targets::of(&folder).is_none(), "nothing to watch in an empty one");
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        place.write_all(child.id().to_string().as_bytes()).unwrap();
        let targets = Targets::of(&folder).unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), targets.emptied()).await.is_err());
        child.kill().unwrap();
        tokio::time::timeout(Duration::from_secs(5), targets.emptied()).await.unwrap();
        child.wait().unwrap();
        drop(targets);
        cgroups.remove(&instance);
        assert!(!folder.exists());
    }
}
