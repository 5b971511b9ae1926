//! Time and boots of this machine: the monotonic clock, the boot id, the count of daemon starts.
//!
//! Input → output: the kernel and one file → [`boot_time`], [`boot_id`], [`next_incarnation`].
//! Invariant: an incarnation is durable before it is returned, so it is never given out twice on one boot.

use super::NetError;
use crate::model::{BootId, Incarnation};
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Names a file to read the boot id from instead of the kernel's: for nodes made of namespaces, which share a kernel.
pub const BOOT_ID_FILE_VARIABLE: &str = "HAFEN_BOOT_ID_FILE";

const KERNEL_BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// `CLOCK_BOOTTIME`: time since the machine booted, sleep included. Never goes back, knows no time zones.
pub fn boot_time() -> Duration {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
        .expect("CLOCK_BOOTTIME exists since Linux 2.6.39, older than anything Rust supports");
    Duration::new(u64::try_from(time.tv_sec()).unwrap_or(0), u32::try_from(time.tv_nsec()).unwrap_or(0))
}

/// Wall time in milliseconds since 1970: for the validity of certificates and tokens, for nothing else.
pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

/// The id of this boot, from the kernel or from the file that [`BOOT_ID_FILE_VARIABLE`] names.
pub fn boot_id() -> Result<BootId, NetError> {
    read_boot_id(&std::env::var_os(BOOT_ID_FILE_VARIABLE).map_or_else(|| KERNEL_BOOT_ID.into(), PathBuf::from))
}

fn read_boot_id(path: &Path) -> Result<BootId, NetError> {
    let text = fs::read_to_string(path).map_err(|source| NetError::File { path: path.to_owned(), source })?;
    let text = text.trim();
    if text.is_empty() || text.len() > 64 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(NetError::Damaged { path: path.to_owned(), reason: "it holds no boot id".into() });
    }
    Ok(BootId::new(text))
}

/// Counts this daemon start in `DATA_DIR/incarnation` and returns the new incarnation. Call once per daemon start,
/// under the data directory's lock.
///
/// A damaged file is an error, not a fresh start: a counter that repeats would make two daemons look like one.
pub fn next_incarnation(data_dir: &Path, boot: BootId) -> Result<Incarnation, NetError> {
    let path = data_dir.join("incarnation");
    let file_error = |source| NetError::File { path: path.clone(), source };
    let counter = match fs::read_to_string(&path) {
        Ok(text) => {
            let parsed = text.trim().split_once(' ').and_then(|(boot, count)| Some((boot, count.parse::<u64>().ok()?)));
            let Some((last_boot, count)) = parsed else {
                let reason = "expected `BOOT COUNTER` (after a reboot the file may be removed)".into();
                return Err(NetError::Damaged { path, reason });
            };
            if last_boot == boot.as_str() { count.saturating_add(1) } else { 1 }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => 1,
        Err(error) => return Err(file_error(error)),
    };
    write_durably(&path, format!("{boot} {counter}\n").as_bytes(), 0o600).map_err(file_error)?;
    Ok(Incarnation { boot, counter })
}

/// Replaces a file as a whole; after it returns the content survives a power cut.
pub(super) fn write_durably(path: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    // A left-over of a crash may have other modes: made anew.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(parent) => fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_daemon_start_is_another_incarnation_and_a_new_boot_counts_from_one() {
        let dir = tempfile::tempdir().unwrap();
        let next = |boot: &str| next_incarnation(dir.path(), BootId::new(boot)).unwrap().counter;
        assert_eq!([next("a"), next("a"), next("b"), next("b"), next("a")], [1, 2, 1, 2, 1]);
    }

    #[test]
    fn a_damaged_incarnation_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("incarnation"), "a").unwrap();
        let error = next_incarnation(dir.path(), BootId::new("a")).unwrap_err();
        assert!(matches!(error, NetError::Damaged { .. }), "{error}");
    }

    #[test]
    fn the_boot_id_can_come_from_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("boot");
        fs::write(&path, "boot-7\n").unwrap();
        assert_eq!(read_boot_id(&path).unwrap(), BootId::new("boot-7"));
        fs::write(&path, " \n").unwrap();
        assert!(read_boot_id(&path).is_err());
        assert!(read_boot_id(Path::new(KERNEL_BOOT_ID)).is_ok());
    }

    #[test]
    fn boot_time_advances() {
        let before = boot_time();
        assert!(before > Duration::ZERO);
        assert!(boot_time() >= before);
    }
}
