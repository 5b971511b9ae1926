//! A cgroup per instance, so that its processes are known whatever they fork into.
//!
//! Answers: where does a child of this instance belong, and which processes does the instance have?
//!
//! Layout: `MOUNT/hafen/KEY/INSTANCE/{run,op}`, with MOUNT the cgroup v2 mount that this process sees and KEY eight hex
//! digits of the data directory, so that several daemons on one kernel keep apart. What starts or changes a service
//! (start, promote, demote, migrate_from) is run in `run`, where its daemons then live; the rest in `op`, so that a
//! monitor never looks like the service. The folder is at the root of the hierarchy and not below the daemon's own
//! unit: systemd empties a unit's cgroup when the unit stops or restarts, and a restart of hafen must not disturb
//! what it runs. systemd leaves cgroups alone that it did not make; no controllers are enabled in ours.
//!
//! Without cgroup v2, or without the right to write there, everything works, but a death is noticed by the next monitor
//! only; the log says so once.

use super::journal::Process;
use crate::model::{ActionKind, Digest, InstanceId};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Once;

/// How deep below `run` processes are looked for; services that make cgroups of their own (container managers) make a few.
const DEPTH_MAX: u32 = 4;

/// The folder that holds every instance's cgroups, or nothing.
pub struct Cgroups {
    base: Option<PathBuf>,
    warned: Once,
}

impl Cgroups {
    /// Takes the given folder, or finds one; `key` tells the daemons of one kernel apart.
    pub fn find(given: Option<PathBuf>, key: &Path) -> Self {
        let base = given.or_else(|| {
            let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
            let digest = Digest::of(key.as_os_str().as_encoded_bytes());
            Some(mount_of(&mounts)?.join("hafen").join(digest.short()))
        });
        let cgroups = Self { base, warned: Once::new() };
        match &cgroups.base {
            None => cgroups.warn(None, &io::Error::from(io::ErrorKind::NotFound)),
            Some(base) => match fs::create_dir_all(base) {
                Ok(()) => {}
                Err(error) => cgroups.warn(Some(base), &error),
            },
        }
        cgroups
    }

    /// `cgroup.procs` of where such an action is run, open for writing; None where there are no cgroups.
    pub fn place(&self, instance: &InstanceId, kind: ActionKind) -> Option<File> {
        let folder = self.folder(instance)?.join(match kind {
            ActionKind::Start
            | ActionKind::Promote
            | ActionKind::Demote
            | ActionKind::MigrateFrom
            | ActionKind::Notify
            | ActionKind::Reload => "run",
            ActionKind::Probe | ActionKind::Monitor | ActionKind::Stop | ActionKind::MigrateTo => "op",
        });
        let opened =
            fs::create_dir_all(&folder).and_then(|()| OpenOptions::new().write(true).open(folder.join("cgroup.procs")));
        opened.inspect_err(|error| self.warn(Some(&folder), error)).ok()
    }

    /// The cgroup in which the instance's long-lived processes are.
    pub fn run_folder(&self, instance: &InstanceId) -> Option<PathBuf> {
        Some(self.folder(instance)?.join("run"))
    }

    /// Removes what is empty, after a stop.
    pub fn remove(&self, instance: &InstanceId) {
        if let Some(folder) = self.folder(instance) {
            remove_empty(&folder);
        }
    }

    fn folder(&self, instance: &InstanceId) -> Option<PathBuf> {
        Some(self.base.as_ref()?.join(instance.to_string()))
    }

    fn warn(&self, folder: Option<&Path>, error: &io::Error) {
        self.warned.call_once(|| {
            let folder = folder.map(|folder| folder.display().to_string());
            tracing::warn!(folder, %error, "no cgroup v2: a service that dies is noticed by its next monitor only");
        });
    }
}

/// A daemon that ends leaves no empty folders behind.
impl Drop for Cgroups {
    fn drop(&mut self) {
        let Some(base) = &self.base else { return };
        for entry in fs::read_dir(base).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_empty(&entry.path());
            }
        }
        let _ = fs::remove_dir(base);
    }
}

fn remove_empty(folder: &Path) {
    for part in [folder.join("run"), folder.join("op"), folder.to_owned()] {
        // A populated one stays: its processes are the instance's until they end.
        let _ = fs::remove_dir(part);
    }
}

/// Where cgroup v2 is mounted, from the text of `/proc/self/mountinfo` (proc(5)).
fn mount_of(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        (right.split(' ').next() == Some("cgroup2")).then(|| left.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// The processes in a cgroup and below it.
pub fn processes(folder: &Path) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    collect(folder, DEPTH_MAX, &mut found);
    found
}

/// Those whose parent is not among them: the ones whose end means that the service has ended, not just a worker of it.
pub fn main_processes(folder: &Path) -> BTreeSet<i32> {
    let all = processes(folder);
    let is_main = |pid: &i32| Process::read(*pid).is_some_and(|process| !all.contains(&process.parent));
    all.iter().copied().filter(is_main).collect()
}

fn collect(folder: &Path, depth: u32, found: &mut BTreeSet<i32>) {
    if let Ok(text) = fs::read_to_string(folder.join("cgroup.procs")) {
        found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    }
    if depth == 0 {
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), depth - 1, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_found_among_old_hierarchies() {
        let mounts = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_of(mounts), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_of("23 1 0:1 / / rw - ext4 /dev/vda rw\n"), None);
    }
}
