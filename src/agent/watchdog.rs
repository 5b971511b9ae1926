//! The watchdog device of this machine: armed, petted for as long as is allowed, and never let go by accident.
//!
//! Input: a device, a time-out, and again and again a moment until which petting is allowed. Output: pets, from a thread
//! of its own, so that neither a full executor nor a slow disk keeps one from being in time, or from being refused.
//!
//! Invariants: the moment is looked at before every pet; it is on file before it counts, so that a daemon that starts
//! anew pets no longer than the one before it was allowed to; the device is closed the way that stops it (`V`) by
//! [`Watchdog::disarm`] alone. A daemon that ends in any other way leaves it running.
//!
//! Deliberately absent: until when (`reconcile::lease`), and what a device is worth (`state::watchdog`).

use crate::model::{BootId, WatchdogFacts, WatchdogKind};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Pets in one time-out: several may be late before it is over.
const PETS_PER_TIMEOUT: u32 = 8;
/// The kernel's timer that is no device (`softdog`).
const SOFTDOG: &str = "Software Watchdog";
/// Where it is written until when may be petted; gone with the boot where `/run` is.
const LEASE_FILE: &str = "lease";

/// Why a watchdog cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WatchdogError {
    #[error("failed to open `{path}`: {source}", path = path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("`{path}` does not answer as a watchdog: {source}", path = path.display())]
    Ioctl { path: PathBuf, source: io::Error },
    /// Then it would end with a daemon that crashes, and prove nothing.
    #[error("the driver of `{path}` ({identity}) stops it whenever its program ends", path = path.display())]
    NoMagicClose { path: PathBuf, identity: String },
    #[error("failed to write `{path}`: {source}", path = path.display())]
    File { path: PathBuf, source: io::Error },
}

mod ioctl {
    /// `struct watchdog_info` of linux/watchdog.h.
    #[repr(C)]
    #[derive(Default)]
    pub struct Info {
        pub options: u32,
        pub firmware: u32,
        pub identity: [u8; 32],
    }
    /// `WDIOF_MAGICCLOSE`: it goes on after a close, unless `V` was written before.
    pub const MAGIC_CLOSE: u32 = 0x0100;
    nix::ioctl_read!(support, b'W', 0, Info);
    nix::ioctl_read!(keep_alive, b'W', 5, nix::libc::c_int);
    nix::ioctl_readwrite!(set_timeout, b'W', 6, nix::libc::c_int);
    nix::ioctl_read!(timeout, b'W', 7, nix::libc::c_int);
}

/// The watchdog of this machine, whether armed or not.
pub struct Watchdog {
    shared: Arc<Shared>,
}

struct Shared {
    file: PathBuf,
    boot: BootId,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    device: Option<Device>,
    until: Duration,
    petting: bool,
}

struct Device {
    path: PathBuf,
    file: File,
    timeout: Duration,
}

impl Watchdog {
    /// The watchdog as an earlier daemon of this boot left it: still allowed to be petted for a while, it is petted on.
    pub fn resume(run_dir: &Path, boot: &BootId) -> Self {
        let file = run_dir.join(LEASE_FILE);
        let inner = Mutex::new(Inner::default());
        let watchdog = Self { shared: Arc::new(Shared { file, boot: boot.clone(), inner, changed: Condvar::new() }) };
        if let Some((path, until)) = watchdog.shared.left_behind()
            && boot_time() < until
        {
            watchdog.shared.lock().until = until;
            match watchdog.arm(&path, Duration::ZERO) {
                Ok(_) => tracing::info!(path = %path.display(), "the watchdog is petted on"),
                Err(error) => tracing::error!(%error, "the watchdog of the daemon before this one cannot be used"),
            }
        }
        watchdog
    }

    /// Opens the device, which starts it, and sets its time-out; zero leaves that as it is. Nothing is petted before
    /// [`Watchdog::pet_until`] allows it. May be repeated.
    pub fn arm(&self, path: &Path, timeout: Duration) -> Result<WatchdogFacts, WatchdogError> {
        let mut inner = self.shared.lock();
        let mut device = match inner.device.take() {
            Some(device) if device.path == path => device,
            // Another one is wanted: the old one is let go once that is open.
            Some(other) => match open(path) {
                Ok(device) => {
                    let _ = close(other);
                    device
                }
                Err(error) => {
                    inner.device = Some(other);
                    return Err(error);
                }
            },
            None => open(path)?,
        };
        let facts = match device.set(timeout) {
            Ok(facts) => facts,
            Err(error) => {
                let _ = close(device);
                return Err(error);
            }
        };
        inner.device = Some(device);
        if !inner.petting {
            inner.petting = true;
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("watchdog".into()).spawn(move || pet(&shared));
            thread.map_err(|source| WatchdogError::Open { path: path.to_owned(), source })?;
        }
        self.shared.changed.notify_all();
        Ok(facts)
    }

    /// Petting is allowed until then, and never longer. What cannot be written down does not count.
    pub fn pet_until(&self, until: Duration) {
        let mut inner = self.shared.lock();
        let Some(device) = &inner.device else { return };
        if let Err(error) = self.shared.write(&device.path, until) {
            tracing::error!(%error, "the watchdog may not be petted longer");
            inner.until = inner.until.min(until);
            return;
        }
        inner.until = until;
        self.shared.changed.notify_all();
    }

    /// Stops the device and closes it.
    pub fn disarm(&self) {
        let mut inner = self.shared.lock();
        let _ = fs::remove_file(&self.shared.file);
        if let Some(device) = inner.device.take()
            && let Err(error) = close(device)
        {
            tracing::error!(%error, "the watchdog cannot be stopped: it will reset this machine");
        }
    }
}

/// The thread: as long as there is a device it is petted, if that is allowed at this moment.
fn pet(shared: &Shared) {
    let mut inner = shared.lock();
    let mut refused = false;
    loop {
        let pause = match &inner.device {
            Some(device) => {
                let allowed = boot_time() < inner.until;
                if allowed && let Err(error) = device.keep_alive() {
                    tracing::error!(%error, "the watchdog cannot be petted");
                }
                if !allowed && !refused && !inner.until.is_zero() {
                    tracing::error!("the lease is over: the watchdog is petted no more");
                }
                refused = !allowed;
                device.timeout / PETS_PER_TIMEOUT
            }
            None => Duration::from_secs(1),
        };
        inner = shared
            .changed
            .wait_timeout(inner, pause)
            .map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard);
    }
}

impl Shared {
    /// Whole between its uses, so a poisoned lock tells nothing.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, device: &Path, until: Duration) -> Result<(), WatchdogError> {
        let fresh = self.file.with_extension("new");
        let text = format!("{} {} {}\n", self.boot, until.as_millis(), device.display());
        let written = fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, &self.file));
        written.map_err(|source| WatchdogError::File { path: self.file.clone(), source })
    }

    /// What an earlier daemon of this boot was allowed to do. A file that cannot be read allows nothing.
    fn left_behind(&self) -> Option<(PathBuf, Duration)> {
        let text = fs::read_to_string(&self.file).ok()?;
        let mut words = text.trim_end().splitn(3, ' ');
        let (boot, until, path) = (words.next()?, words.next()?, words.next()?);
        (boot == self.boot.as_str()).then_some((path.into(), Duration::from_millis(until.parse().ok()?)))
    }
}

fn open(path: &Path) -> Result<Device, WatchdogError> {
    let file = OpenOptions::new().write(true).open(path);
    let file = file.map_err(|source| WatchdogError::Open { path: path.to_owned(), source })?;
    Ok(Device { path: path.to_owned(), file, timeout: Duration::from_secs(1) })
}

/// `V` before the end says that this is meant; other drivers go on and fire.
fn close(mut device: Device) -> io::Result<()> {
    device.file.write_all(b"V")
}

impl Device {
    /// Sets the time-out, reads back what became of it, and says what the device is.
    fn set(&mut self, timeout: Duration) -> Result<WatchdogFacts, WatchdogError> {
        let failed =
            |path: &Path, errno: nix::Error| WatchdogError::Ioctl { path: path.to_owned(), source: errno.into() };
        let fd = self.file.as_raw_fd();
        let mut info = ioctl::Info::default();
        // SAFETY: the descriptor is open for as long as `self`, and the driver fills a struct of this very layout.
        unsafe { ioctl::support(fd, &raw mut info) }.map_err(|errno| failed(&self.path, errno))?;
        if !timeout.is_zero() {
            let mut seconds = nix::libc::c_int::try_from(timeout.as_secs().max(1)).unwrap_or(nix::libc::c_int::MAX);
            // SAFETY: as above; an int. A driver without this ioctl keeps its time-out, which is read next.
            let _ = unsafe { ioctl::set_timeout(fd, &raw mut seconds) };
        }
        let mut seconds: nix::libc::c_int = 0;
        // SAFETY: as above.
        unsafe { ioctl::timeout(fd, &raw mut seconds) }.map_err(|errno| failed(&self.path, errno))?;
        self.timeout = Duration::from_secs(u64::try_from(seconds).unwrap_or(0).max(1));
        let identity = String::from_utf8_lossy(&info.identity).trim_end_matches('\0').to_owned();
        if info.options & ioctl::MAGIC_CLOSE == 0 {
            return Err(WatchdogError::NoMagicClose { path: self.path.clone(), identity });
        }
        let kind = match (identity == SOFTDOG, is_guest()) {
            (false, _) => WatchdogKind::Hardware,
            (true, false) => WatchdogKind::Software,
            (true, true) => WatchdogKind::SoftwareInGuest,
        };
        Ok(WatchdogFacts { identity, timeout: self.timeout, kind })
    }

    fn keep_alive(&self) -> io::Result<()> {
        let mut unused = 0;
        // SAFETY: as above; an int that no driver looks at.
        unsafe { ioctl::keep_alive(self.file.as_raw_fd(), &raw mut unused) }?;
        Ok(())
    }
}

/// Whether this kernel runs inside of another machine, which can pause it.
fn is_guest() -> bool {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flagged = cpu.lines().filter(|line| line.starts_with("flags")).any(|line| line.contains(" hypervisor"));
    let told = ["/sys/hypervisor/type", "/sys/firmware/devicetree/base/hypervisor"];
    flagged || told.iter().any(|path| Path::new(path).exists())
}

/// Monotonic, sleep included: the clock of leases.
fn boot_time() -> Duration {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
        .expect("CLOCK_BOOTTIME exists since Linux 2.6.39, older than anything Rust supports");
    Duration::new(u64::try_from(time.tv_sec()).unwrap_or(0), u32::try_from(time.tv_nsec()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_watchdog_is_refused_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let watchdog = Watchdog::resume(dir.path(), &BootId::new("b"));
        let error = watchdog.arm(Path::new("/dev/null"), Duration::from_secs(3)).unwrap_err();
        assert!(error.to_string().starts_with("`/dev/null` does not answer as a watchdog"), "{error}");
        let error = watchdog.arm(&dir.path().join("none"), Duration::from_secs(3)).unwrap_err();
        assert!(matches!(error, WatchdogError::Open { .. }));
    }

    #[test]
    fn a_daemon_pets_no_longer_than_the_one_before_it_was_allowed_to() {
        let dir = tempfile::tempdir().unwrap();
        let of = |boot: &str| {
            let shared = Watchdog::resume(dir.path(), &BootId::new(boot)).shared;
            (shared.left_behind(), shared)
        };
        let (none, shared) = of("b");
        assert_eq!(none, None);
        let until = Duration::from_millis(1_500);
        shared.write(Path::new("/dev/watchdog 1"), until).unwrap();
        assert_eq!(of("b").0, Some(("/dev/watchdog 1".into(), until)));
        assert_eq!(of("c").0, None, "another boot has no lease of this one");
        fs::write(dir.path().join(LEASE_FILE), "b 15").unwrap();
        assert_eq!(of("b").0, None, "half a file allows nothing");
    }
}
