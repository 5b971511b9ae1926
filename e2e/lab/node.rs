//! One machine: its power, its cables, commands on it, and the stack (the daemon under test).
//!
//! Power off = both ports down at the switch, then SIGKILL to PID 1; it is off when the kernel has ended every process of
//! the node. Power on = a new boot on the same disk, with a new boot id. Cables stay as they are over power cuts.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt;

use super::switch::{Cable, Link};
use super::{Init, World, script};

/// Limit of `sh`: longer than any agent's action in the tests, short enough that a hung one fails its test soon.
pub const SH_TIMEOUT: Duration = Duration::from_secs(30);
/// A boot takes a fraction of a second (systemd: two); ten times that on a loaded machine.
const BOOT_TIMEOUT: Duration = Duration::from_secs(20);

static COMMANDS_RUN: AtomicU64 = AtomicU64::new(0);

/// Result of a command on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit status; `None` when it was killed, also by the timeout.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub fn success(&self) -> bool {
        self.status == Some(0)
    }

    /// Stdout without the last newline; panics with everything known when the command failed.
    pub fn ok(self) -> String {
        assert!(self.success(), "the command failed: {self:#?}");
        self.stdout.trim_end().to_owned()
    }
}

/// The state of one machine, whether it runs or not.
pub struct Machine {
    name: String,
    index: usize,
    running: Mutex<Option<Running>>,
    cables: Mutex<[Cable; 2]>,
}

struct Running {
    /// `unshare`, which ends when PID 1 and with it every process of the node has ended.
    parent: Child,
    pid1: Pid,
}

impl Machine {
    pub fn new(name: &str, index: usize) -> Machine {
        Machine {
            name: name.to_owned(),
            index,
            running: Mutex::new(None),
            cables: Mutex::new([Cable::Plugged, Cable::Plugged]),
        }
    }

    /// Collects what is left of the process after the janitor has killed it.
    pub fn reap(&self) {
        if let Some(mut running) = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
            let _ = running.parent.wait();
        }
    }
}

/// A handle on one machine of a lab.
#[derive(Clone, Copy)]
pub struct Node<'lab> {
    world: &'lab World,
    machine: &'lab Machine,
}

impl<'lab> Node<'lab> {
    pub(super) fn new(world: &'lab World, machine: &'lab Machine) -> Node<'lab> {
        Node { world, machine }
    }

    pub fn name(&self) -> &'lab str {
        &self.machine.name
    }

    /// The node's address on a network.
    pub fn address(&self, link: Link) -> String {
        format!("10.{}.0.1{}", 77 + link.number(), self.machine.index)
    }

    /// Switches power on and waits until the node is up and the stack, if one is set, was started.
    pub fn on(&self) {
        self.world.pdus.iter().for_each(|pdu| pdu.set_outlet(self.name(), true));
        self.power_on();
        let begin = Instant::now();
        while !self.is_up() {
            assert!(self.is_on(), "{} died while booting: {}", self.name(), self.console());
            assert!(begin.elapsed() < BOOT_TIMEOUT, "{} is not up: {}", self.name(), self.console());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A power cut; back when every process of the node has ended.
    pub fn off(&self) {
        self.world.pdus.iter().for_each(|pdu| pdu.set_outlet(self.name(), false));
        self.power_off();
    }

    /// Switches power, without waiting for the boot; the same again does nothing.
    pub fn set_power(&self, on: bool) {
        self.world.pdus.iter().for_each(|pdu| pdu.set_outlet(self.name(), on));
        if on { self.power_on() } else { self.power_off() }
    }

    /// True while PID 1 lives.
    pub fn is_on(&self) -> bool {
        self.pid().is_some()
    }

    /// True when this boot's init is through.
    pub fn is_up(&self) -> bool {
        self.lab_file("up").exists()
    }

    /// PID 1 of the node, as the host counts.
    pub fn pid(&self) -> Option<i32> {
        let mut running = self.running();
        match running.as_mut()?.parent.try_wait() {
            Ok(None) => running.as_ref().map(|running| running.pid1.as_raw()),
            Ok(Some(_)) | Err(_) => None,
        }
    }

    /// The boot id of the current boot.
    pub fn boot_id(&self) -> String {
        self.sh("cat /run/hafen-boot-id").ok()
    }

    /// Pulls or plugs a network cable.
    pub fn set_cable(&self, link: Link, cable: Cable) {
        self.machine.cables.lock().expect("no holder panics")[link.number()] = cable;
        if self.is_on() {
            self.world.switch.set_cable(self.name(), link, cable);
        }
        self.world.note(&format!("cable {} {link:?} {cable:?}", self.name()));
    }

    /// Pulls both cables.
    pub fn pull_cables(&self) {
        Link::BOTH.into_iter().for_each(|link| self.set_cable(link, Cable::Pulled));
    }

    /// Plugs both cables.
    pub fn plug_cables(&self) {
        Link::BOTH.into_iter().for_each(|link| self.set_cable(link, Cable::Plugged));
    }

    /// Runs a shell command on the node, for at most 30 s.
    pub fn sh(&self, command: &str) -> Output {
        self.sh_for(command, SH_TIMEOUT)
    }

    /// As `sh` with a limit; past it the command is killed with its process group, and the status is `None`.
    pub fn sh_for(&self, command: &str, timeout: Duration) -> Output {
        let Some(pid) = self.pid() else {
            return Output { status: None, stdout: String::new(), stderr: format!("{} is off", self.name()) };
        };
        run(enter_node(pid, command), &self.world.dir, timeout)
    }

    /// Sets the stack's command line; run by `start_daemon`, and from now on at every power-on.
    pub fn set_stack(&self, command: &str) {
        fs::write(self.lab_file("stack"), command).expect("the lab's folder is writable");
    }

    /// Puts a binary at `/opt/hafen/hafen`; what runs keeps the old one.
    pub fn install(&self, binary: &Path) {
        let dir = self.dir().join("bin");
        let next = dir.join(".hafen.next");
        fs::create_dir_all(&dir).expect("the lab's folder is writable");
        let _ = fs::remove_file(&next);
        if fs::hard_link(binary, &next).is_err() {
            fs::copy(binary, &next).unwrap_or_else(|error| panic!("failed to copy {}: {error}", binary.display()));
        }
        fs::rename(&next, dir.join("hafen")).expect("same folder");
    }

    /// Starts the stack; does nothing while it runs.
    pub fn start_daemon(&self) {
        self.sh("/opt/lab/stack.sh start").ok();
    }

    /// Ends the stack with SIGTERM and waits until it is gone.
    pub fn stop_daemon(&self) {
        self.sh("/opt/lab/stack.sh stop").ok();
    }

    /// Kills the stack's process (not its children) with SIGKILL.
    pub fn kill_daemon(&self) {
        let pid = self.daemon_pid().unwrap_or_else(|| panic!("no stack runs on {}", self.name()));
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("the process was there a moment ago");
        // Until PID 1 has reaped it, it looks alive to who would start the next one.
        let begin = Instant::now();
        while Path::new(&format!("/proc/{pid}")).exists() {
            assert!(begin.elapsed() < BOOT_TIMEOUT, "the stack of {} does not die", self.name());
            std::thread::sleep(Duration::from_millis(1));
        }
        self.world.note(&format!("killed the stack of {}", self.name()));
    }

    /// Stops the stack's process as a long pause would (SIGSTOP).
    pub fn pause_daemon(&self) {
        self.signal_daemon(Signal::SIGSTOP);
    }

    /// Ends a pause (SIGCONT).
    pub fn resume_daemon(&self) {
        self.signal_daemon(Signal::SIGCONT);
    }

    /// Sends a signal to the stack's process; false when it does not run.
    pub fn signal_stack(&self, signal: Signal) -> bool {
        let sent = self.daemon_pid().is_some_and(|pid| kill(Pid::from_raw(pid), signal).is_ok());
        self.world.note(&format!(
            "{signal} to the stack of {}: {}",
            self.name(),
            if sent { "sent" } else { "not there" }
        ));
        sent
    }

    /// As `freeze` and `thaw`, for a node that may lose its power at any time: false when it has none. Waits for nothing.
    pub fn try_freeze(&self, frozen: bool) -> bool {
        // Who holds this can be sure that nobody switches the power meanwhile.
        let mut running = self.running();
        let is_on = running.as_mut().is_some_and(|running| matches!(running.parent.try_wait(), Ok(None)));
        let Some(cgroup) = self.cgroup().filter(|_| is_on) else { return false };
        let done = fs::write(cgroup.join("cgroup.freeze"), if frozen { "1" } else { "0" }).is_ok();
        self.world.note(&format!("{} freeze {frozen}: {done}", self.name()));
        done
    }

    /// Freezes every process of the node, as a paused virtual machine is (its network card still answers pings). Needs cgroup v2.
    pub fn freeze(&self) {
        self.set_frozen("1");
    }

    /// Lets a frozen node go on where it was.
    pub fn thaw(&self) {
        self.set_frozen("0");
    }

    /// The stack's process as the host counts; `None` when it does not run.
    pub fn daemon_pid(&self) -> Option<i32> {
        let pid1 = self.pid()?;
        let inner = fs::read_to_string(format!("/proc/{pid1}/root/run/stack.pid")).ok()?;
        let namespace = fs::read_link(format!("/proc/{pid1}/ns/pid")).ok()?;
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.find(|pid| {
            let in_node = fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|found| found == namespace);
            in_node && inner_pid(*pid).as_deref() == Some(inner.trim())
        })
    }

    /// What the stack wrote, and before it the console of a node that is off.
    pub fn logs(&self) -> String {
        let log = fs::read(self.dir().join("disk/var/log/hafen.log")).unwrap_or_default();
        self.console() + &String::from_utf8_lossy(&log)
    }

    pub(super) fn power_on(&self) {
        let mut running = self.running();
        if running.as_mut().is_some_and(|running| matches!(running.parent.try_wait(), Ok(None))) {
            return;
        }
        let (name, dir, lab) = (self.name(), self.dir(), &self.world.dir);
        fs::create_dir_all(dir.join("bin")).expect("the lab's folder is writable");
        let _ = fs::remove_file(dir.join("pid"));
        let _ = fs::remove_file(self.lab_file("up"));
        self.world.switch.disconnect(name);
        let mut parent = self.boot_command().spawn().expect("the shell exists");
        let begin = Instant::now();
        let pid1 = loop {
            if let Some(pid) = fs::read_to_string(dir.join("pid")).ok().and_then(|text| text.trim().parse().ok()) {
                break pid;
            }
            let ended = !matches!(parent.try_wait(), Ok(None));
            assert!(
                !ended && begin.elapsed() < BOOT_TIMEOUT,
                "{name} of {} did not start: {}",
                lab.display(),
                self.console()
            );
            std::thread::sleep(Duration::from_millis(1));
        };
        let cables = *self.machine.cables.lock().expect("no holder panics");
        self.world.switch.connect(name, self.machine.index, pid1, cables);
        *running = Some(Running { parent, pid1: Pid::from_raw(pid1) });
        self.world.note(&format!("on {name} pid {pid1}"));
    }

    pub(super) fn power_off(&self) {
        let mut slot = self.running();
        let Some(mut running) = slot.take() else {
            self.world.note(&format!("off {} (was off)", self.name()));
            return;
        };
        if matches!(running.parent.try_wait(), Ok(None)) {
            self.world.switch.silence(self.name());
            // A node that dies by itself between the check and here is off as well.
            let _ = kill(running.pid1, Signal::SIGKILL);
            self.release_frozen();
            self.world.note(&format!("off {} killed pid {}", self.name(), running.pid1));
        }
        running.parent.wait().expect("unshare is our child");
        let _ = fs::remove_file(self.dir().join("pid"));
        let _ = fs::remove_file(self.lab_file("up"));
        self.world.switch.disconnect(self.name());
        self.world.note(&format!("off {} confirmed", self.name()));
    }

    fn boot_command(&self) -> Command {
        let (name, dir) = (self.name(), self.dir());
        let cgroup = self.cgroup();
        if let Some(cgroup) = &cgroup {
            fs::create_dir_all(cgroup).expect("root may make cgroups");
        }
        let kind = match self.world.init {
            Init::Plain => "PLAIN",
            Init::Systemd => "SYSTEMD",
        };
        let join_then_boot = r#"[ -z "$0" ] || echo $$ >"$0/cgroup.procs" || exit 1; exec setsid unshare \
            --net --mount --uts --ipc --pid --cgroup --fork --kill-child --propagation private -- "$@""#;
        let console = File::options().create(true).append(true).open(dir.join("console.log")).expect("writable");
        let mut command = Command::new("bash");
        command
            .args(["-c", join_then_boot])
            .arg(cgroup.unwrap_or_default())
            .arg(script("init.sh"))
            .args([self.world.dir.as_os_str(), name.as_ref(), kind.as_ref()])
            .args(self.world.machines.values().map(|peer| format!("{}={}", peer.name, peer.index)))
            .stdin(Stdio::null())
            .stdout(console.try_clone().expect("a file can be cloned"))
            .stderr(console);
        command
    }

    /// The node's cgroup on the host, where cgroup v2 is mounted.
    fn cgroup(&self) -> Option<PathBuf> {
        self.world.cgroups.as_ref().map(|mount| mount.join(format!("{}.{}", self.world.name(), self.name())))
    }

    fn set_frozen(&self, state: &str) {
        let cgroup = self.cgroup().expect("freezing a node needs cgroup v2");
        fs::write(cgroup.join("cgroup.freeze"), state).expect("the cgroup of a node that is on exists");
        let wanted = format!("frozen {state}");
        let begin = Instant::now();
        while !fs::read_to_string(cgroup.join("cgroup.events")).unwrap_or_default().contains(&wanted) {
            assert!(begin.elapsed() < BOOT_TIMEOUT, "{} does not become {wanted}", self.name());
            std::thread::sleep(Duration::from_millis(1));
        }
        self.world.note(&format!("{} {wanted}", self.name()));
    }

    /// A frozen node dies of the signal, but `unshare`, which is frozen with it, would not notice.
    fn release_frozen(&self) {
        let Some(cgroup) = self.cgroup() else { return };
        if fs::read_to_string(cgroup.join("cgroup.freeze")).is_ok_and(|state| state.trim() == "1") {
            // First everything is killed, so that nothing runs on; where the kernel cannot, PID 1 takes it along.
            let _ = fs::write(cgroup.join("cgroup.kill"), "1");
            let _ = fs::write(cgroup.join("cgroup.freeze"), "0");
        }
    }

    fn signal_daemon(&self, signal: Signal) {
        let pid = self.daemon_pid().unwrap_or_else(|| panic!("no stack runs on {}", self.name()));
        kill(Pid::from_raw(pid), signal).expect("the process was there a moment ago");
        self.world.note(&format!("{signal} to the stack of {}", self.name()));
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.machine.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn dir(&self) -> PathBuf {
        self.world.dir.join(self.name())
    }

    fn console(&self) -> String {
        fs::read_to_string(self.dir().join("console.log")).unwrap_or_default()
    }

    fn lab_file(&self, suffix: &str) -> PathBuf {
        self.world.dir.join("shared/.lab").join(format!("{}.{suffix}", self.name()))
    }
}

/// A command that runs `shell` inside the node of `pid`, in the node's own cgroup, and nowhere else: it refuses outside of a node.
pub fn enter_node(pid: i32, shell: &str) -> Command {
    let guarded = format!(
        "[ -e /.hafen-lab-root ] || {{ echo 'not inside of a node' >&2; exit 125; }}\n\
         [ ! -e /sys/fs/cgroup/shell ] || echo 0 >/sys/fs/cgroup/shell/cgroup.procs\ncd /root\n{shell}"
    );
    let mut command = Command::new("nsenter");
    command
        .args(["-t", &pid.to_string(), "-m", "-n", "-u", "-i", "-p", "-C", "--", "bash", "-c", &guarded])
        .env_clear()
        .env("PATH", "/opt/hafen:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("LANG", "C.UTF-8")
        .env("OCF_ROOT", "/usr/lib/ocf")
        .env("HAFEN_BOOT_ID_FILE", "/run/hafen-boot-id");
    command
}

/// Runs a command with a limit. Output goes through files, since a service left running would hold a pipe open.
pub fn run(mut command: Command, scratch: &Path, timeout: Duration) -> Output {
    let number = COMMANDS_RUN.fetch_add(1, Ordering::SeqCst);
    let files = ["out", "err"].map(|kind| scratch.join(format!("command-{number}.{kind}")));
    let [stdout, stderr] = files.each_ref().map(|path| File::create(path).expect("the lab's folder is writable"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("failed to run {command:?}: {error}"));
    let begin = Instant::now();
    let status = loop {
        match child.try_wait().expect("the command is our child") {
            Some(status) => break status.code(),
            None if begin.elapsed() > timeout => {
                let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
                let _ = child.wait();
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let [stdout, stderr] = files.map(|path| {
        let bytes = fs::read(&path).unwrap_or_default();
        let _ = fs::remove_file(&path);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    Output { status, stdout, stderr }
}

/// The pid of a process in its own pid namespace: the last number of `NSpid`.
fn inner_pid(pid: i32) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("NSpid:"))?;
    line.split_whitespace().last().map(str::to_owned)
}
