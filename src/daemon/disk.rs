//! Is there room where the daemon keeps what it acknowledges?
//!
//! A full disk stops the log for good until the daemon is started again (`log`), so operators are told while there is still
//! time: a condition of `status` on the node itself, looked at every half minute.

use super::backend::Daemon;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks; a log grows by some KiB a second at worst.
const LOOK: Duration = Duration::from_secs(30);
/// Less than this is told. The log, its snapshot and the next one need some tens of MiB at most, a push as much as it brings.
const LOW_BYTES: u64 = 64 << 20;
/// Less than so many more files is told: a journal entry is a file, a git object too.
const LOW_FILES: u64 = 1_000;

/// Says so until the daemon ends.
pub(super) async fn watch(daemon: Arc<Daemon>, data_dir: std::path::PathBuf) {
    loop {
        let path = data_dir.clone();
        let room = tokio::task::spawn_blocking(move || Room::of(&path)).await.ok().flatten();
        daemon.set_condition("disk", room.and_then(|room| room.trouble(&daemon.facts().name, &data_dir)));
        tokio::select! {
            () = daemon.end().cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// What is left of a file system.
#[derive(Debug, Clone, Copy)]
struct Room {
    bytes: u64,
    /// None: this file system does not count files.
    files: Option<u64>,
    read_only: bool,
}

impl Room {
    /// None: it cannot be told.
    fn of(path: &Path) -> Option<Self> {
        use nix::sys::statvfs::{FsFlags, statvfs};
        let found = statvfs(path).ok()?;
        Some(Self {
            bytes: found.blocks_available().saturating_mul(found.fragment_size()),
            files: (found.files() > 0).then(|| found.files_available()),
            read_only: found.flags().contains(FsFlags::ST_RDONLY),
        })
    }

    fn trouble(self, node: &crate::model::NodeId, path: &Path) -> Option<String> {
        let path = path.display();
        if self.read_only {
            return Some(format!("the disk of `{path}` on {node} is read-only: {node} stops at its next write"));
        }
        if self.bytes < LOW_BYTES {
            let left = self.bytes >> 20;
            return Some(format!(
                "the disk of `{path}` on {node} is nearly full ({left} MiB left): {node} stops when it is"
            ));
        }
        let files = self.files.filter(|files| *files < LOW_FILES)?;
        Some(format!("the disk of `{path}` on {node} has room for {files} more files: {node} stops when there is none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_room_is_told_with_what_is_left() {
        let told = |bytes, files, read_only| Room { bytes, files, read_only }.trouble(&"n1".into(), Path::new("/d"));
        assert_eq!(told(1 << 30, Some(100_000), false), None);
        assert_eq!(told(1 << 30, None, false), None, "btrfs counts no files");
        assert!(told(5 << 20, None, false).is_some_and(|text| text.contains("nearly full (5 MiB left)")));
        assert!(told(1 << 30, Some(7), false).is_some_and(|text| text.contains("7 more files")));
        assert!(told(1 << 30, None, true).is_some_and(|text| text.contains("read-only")));
        assert!(Room::of(Path::new("/")).is_some_and(|room| room.bytes > 0));
    }
}
