//! The test lab: whole machines made of namespaces on this host, to which anything may happen.
//!
//! What it gives: nodes n1..n5 (own pid, mount, net, uts, ipc and cgroup namespaces; a disk that stays over power cuts), two
//! switches between them (10.77.0.0/24 on eth0, 10.78.0.0/24 on eth1), a shared folder `/srv/shared`, two PDUs outside the
//! networks with the fence agent `fence_lab`, a client host with a prober, and observers that look at the truth from outside.
//!
//! Invariants: what a lab made is gone after its end, also when its owner was killed (`janitor.sh` waits for that); several labs
//! may exist at once; a node never acts on the host's files (`init.sh` verifies its root before it starts or deletes anything).
//!
//! What it does not do: lose the page cache at a power cut, skew clocks (`chaos` steps them), or corrupt packets. There is no watchdog device.
//! Failures panic with a text, since tests are the callers.

#![allow(dead_code, unused_imports, reason = "each target that includes the lab uses a part of it")]

mod control;
mod node;
mod observe;
mod pdu;
mod probe;
mod relay;
mod rows;
pub mod services;
mod switch;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use control::ask;
pub use node::{Node, Output, enter_node, run as run_command};
pub use observe::{DirectoryWatch, Sightings, VipWatch};
pub use pdu::{Feeds, PduMode};
pub use probe::{Probe, ProbeKind, ProbeReport, http_get};
pub use relay::Relay;
pub use rows::{Acknowledged, Rows};
pub use switch::{CLIENT, Cable, Link, Loss, client_command};

use node::Machine;
use pdu::Pdu;
use switch::Switch;

/// Addresses end in 1X, so more than nine nodes would need another plan; five voters are all a test asks for.
pub const NODES_MAX: usize = 5;
/// Lines per node printed when a test fails: enough for one failover's story.
const LOG_TAIL_LINES: usize = 60;

/// Only one lab is up at a time in one test process: two cores cannot time two clusters.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
static LABS_MADE: AtomicU32 = AtomicU32::new(0);

/// What runs as PID 1 of the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// A shell that reaps orphans.
    Plain,
    /// systemd with D-Bus, everything else masked.
    Systemd,
}

/// A running lab. Dropping it ends and removes everything.
pub struct Lab {
    world: Arc<World>,
    janitor: Child,
    _turn: MutexGuard<'static, ()>,
}

/// What the lab consists of; shared with the threads that serve the PDUs and the control socket.
struct World {
    dir: PathBuf,
    init: Init,
    cgroups: Option<PathBuf>,
    switch: Switch,
    machines: BTreeMap<String, Machine>,
    pdus: [Pdu; 2],
    feeds: Mutex<Feeds>,
    log: Mutex<File>,
    closing: AtomicBool,
    _owner_lock: File,
}

impl Lab {
    /// Brings up `nodes` nodes with nothing running on them. `None`, with the reason on stderr, where a lab cannot exist:
    /// a test then returns, which libtest counts as passed.
    pub fn new(nodes: usize) -> Option<Lab> {
        Lab::with_init(nodes, Init::Plain)
    }

    /// As `new`, with systemd as PID 1 of every node.
    pub fn with_systemd(nodes: usize) -> Option<Lab> {
        if !Path::new("/lib/systemd/systemd").exists() {
            eprintln!("skipped: needs systemd installed");
            return None;
        }
        Lab::with_init(nodes, Init::Systemd)
    }

    fn with_init(nodes: usize, init: Init) -> Option<Lab> {
        assert!((1..=NODES_MAX).contains(&nodes), "a lab has 1 to {NODES_MAX} nodes, not {nodes}");
        if let Err(reason) = lab_possible() {
            eprintln!("skipped: {reason}");
            return None;
        }
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        wipe();
        let (dir, owner_lock) = make_lab_dir();
        let janitor = Command::new(script("janitor.sh"))
            .arg("watch")
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("janitor.sh runs");
        let lab_name = dir.file_name().expect("made above").to_string_lossy().into_owned();
        let names: Vec<String> = (1..=nodes).map(|index| format!("n{index}")).collect();
        let world = Arc::new(World {
            init,
            cgroups: cgroup2_mount(),
            switch: Switch::new(&lab_name),
            machines: names.iter().enumerate().map(|(i, name)| (name.clone(), Machine::new(name, i + 1))).collect(),
            pdus: [Pdu::new("pdu-a", &names), Pdu::new("pdu-b", &names)],
            feeds: Mutex::new(Feeds::EitherCuts),
            log: Mutex::new(File::create(dir.join("lab.log")).expect("the lab's folder is writable")),
            closing: AtomicBool::new(false),
            _owner_lock: owner_lock,
            dir,
        });
        let lab = Lab { world, janitor, _turn: turn };
        pdu::serve(&lab.world);
        control::serve(&lab.world);
        std::thread::scope(|scope| {
            for node in lab.nodes() {
                scope.spawn(move || {
                    if let Some(binary) = default_binary() {
                        node.install(&binary);
                    }
                    node.on();
                });
            }
        });
        Some(lab)
    }

    /// The node called `name`; panics when there is none.
    pub fn node(&self, name: &str) -> Node<'_> {
        self.world.node(name)
    }

    /// All nodes in order.
    pub fn nodes(&self) -> Vec<Node<'_>> {
        self.world.machines.keys().map(|name| self.world.node(name)).collect()
    }

    /// The lab's folder on the host: `shared/`, `lab.log`, `nX/disk`, `nX/console.log`.
    pub fn dir(&self) -> &Path {
        &self.world.dir
    }

    /// The host's view of `/srv/shared`.
    pub fn shared(&self) -> PathBuf {
        self.world.dir.join("shared")
    }

    /// Sets the command line that `start_daemon` runs, on every node. It is also run at every power-on from now on.
    pub fn set_stack(&self, command: &str) {
        for node in self.nodes() {
            node.set_stack(command);
        }
    }

    /// Puts `binary` at `/opt/hafen/hafen` of every node; running processes keep the old one.
    pub fn install(&self, binary: &Path) {
        for node in self.nodes() {
            node.install(binary);
        }
    }

    /// Drops everything between two hosts (a node, or `client`), both ways, on both networks.
    pub fn cut(&self, a: &str, b: &str) {
        self.world.cut(a, b, &Link::BOTH);
    }

    /// As `cut`, on one network only.
    pub fn cut_link(&self, a: &str, b: &str, link: Link) {
        self.world.cut(a, b, &[link]);
    }

    /// Cuts a node off from all other nodes; clients still reach it.
    pub fn isolate(&self, name: &str) {
        for other in self.world.machines.keys().filter(|other| *other != name) {
            self.cut(name, other);
        }
    }

    /// Undoes every cut.
    pub fn heal(&self) {
        self.world.heal();
    }

    /// Replaces all cuts and losses by these.
    pub fn set_losses(&self, losses: &[Loss]) {
        self.world.switch.set_losses(losses);
        self.world.note(&format!("losses {losses:?}"));
    }

    /// Limits what a node receives on a link, until it is told `None` or the node loses its power.
    pub fn set_rate(&self, name: &str, link: Link, kbit: Option<u32>) {
        self.world.switch.set_rate(name, link, kbit);
        self.world.note(&format!("rate {name} {link:?} {kbit:?}"));
    }

    /// Delays frames of a node's cable, both ways, until the relay is dropped or the node loses its power.
    pub fn delay(&self, name: &str, link: Link, delay: Duration, jitter: Duration) -> Option<Relay> {
        self.world.note(&format!("delay {name} {link:?} {delay:?} {jitter:?}"));
        self.world.switch.relay(name, link, delay, jitter)
    }

    /// How the PDUs feed the nodes.
    pub fn set_feeds(&self, feeds: Feeds) {
        *self.world.feeds.lock().expect("no holder panics") = feeds;
    }

    /// Tells `pdu-a` or `pdu-b` how to behave from now on.
    pub fn set_pdu(&self, name: &str, mode: PduMode) {
        self.world.pdu(name).set_mode(mode);
        self.world.note(&format!("{name} mode {mode:?}"));
    }

    /// One HTTP request to `IP` or `IP:PORT` from the client host. The body, or what went wrong; waits at most a second.
    pub fn client_http(&self, address: &str) -> Result<String, String> {
        self.world.switch.in_client(|| probe::http_get(address, Duration::from_secs(1)))
    }

    /// A port on the client host that listens.
    pub fn client_listen(&self, port: u16) -> std::net::TcpListener {
        let bound = self.world.switch.in_client(|| std::net::TcpListener::bind((CLIENT, port)));
        bound.expect("the client's network is this lab's own")
    }

    /// A shell command on the client host (the host's files, the client's network).
    pub fn client_sh(&self, command: &str) -> Output {
        node::run(client_command(&self.world.name(), command), &self.world.dir, node::SH_TIMEOUT)
    }

    /// Starts to ask `address` (`IP:PORT`) every 5 ms from the client host.
    pub fn probe(&self, address: &str, kind: ProbeKind) -> Probe {
        Probe::start(Some(self.world.switch.client_netns()), address, kind)
    }

    /// Starts to insert rows into a table (with the one column `id`) through `address` (`IP:PORT`) from the client host.
    pub fn insert_rows(&self, address: &str, user: &'static str, table: &'static str) -> Rows {
        Rows::start(self.world.switch.client_netns(), address, user, table)
    }

    /// Starts to record, every 10 ms, which powered nodes hold `vip`.
    pub fn watch_vip(&self, vip: &str) -> VipWatch {
        VipWatch::start(Arc::clone(&self.world), vip)
    }

    /// Starts to record, every 20 ms, on which nodes a process called `name` works in `folder` below `/srv/shared`.
    pub fn watch_directory(&self, name: &str, folder: &str) -> DirectoryWatch {
        DirectoryWatch::start(self.shared().join(folder), name)
    }

    /// Everything the lab did so far: power, cables, PDU requests and answers, one line each, with seconds since 1970.
    pub fn events(&self) -> Vec<String> {
        let text = fs::read_to_string(self.world.dir.join("lab.log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Polls `done` every 10 ms; after `deadline` panics with `what` (and the end of the test prints the nodes' logs).
    pub fn wait_until(&self, deadline: Duration, what: &str, mut done: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !done() {
            assert!(begin.elapsed() < deadline, "not within {deadline:?}: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Writes a line to the lab's log.
    pub fn note(&self, text: &str) {
        self.world.note(text);
    }

    fn print_logs(&self) {
        eprintln!("--- lab events");
        self.events().iter().for_each(|line| eprintln!("{line}"));
        for node in self.nodes() {
            let logs = node.logs();
            let skipped = logs.lines().count().saturating_sub(LOG_TAIL_LINES);
            eprintln!("--- {} ({}), last {LOG_TAIL_LINES} lines", node.name(), if node.is_on() { "on" } else { "off" });
            logs.lines().skip(skipped).for_each(|line| eprintln!("{line}"));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        self.world.closing.store(true, Ordering::SeqCst);
        drop(self.janitor.stdin.take());
        if let Err(error) = self.janitor.wait() {
            eprintln!("the lab's janitor was lost: {error}");
        }
        for machine in self.world.machines.values() {
            machine.reap();
        }
    }
}

impl World {
    fn node(&self, name: &str) -> Node<'_> {
        let machine = self.machines.get(name).unwrap_or_else(|| panic!("the lab has no node {name}"));
        Node::new(self, machine)
    }

    fn pdu(&self, name: &str) -> &Pdu {
        self.pdus.iter().find(|pdu| pdu.name == name).unwrap_or_else(|| panic!("the lab has no PDU {name}"))
    }

    fn cut(&self, a: &str, b: &str, links: &[Link]) {
        self.switch.cut(a, b, links);
        self.note(&format!("cut {a} {b} {links:?}"));
    }

    fn heal(&self) {
        self.switch.heal();
        self.note("heal");
    }

    /// The name of the lab: what it makes on the host begins with it.
    fn name(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Writes one line to the lab's log.
    fn note(&self, text: &str) {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut log = self.log.lock().expect("no holder panics");
        // The log is for readers of a failed test: a full disk must not fail the test by itself.
        let _ = writeln!(log, "{}.{:03} {text}", since_1970.as_secs(), since_1970.subsec_millis());
    }
}

/// Removes what labs left whose owner is dead.
pub fn wipe() {
    let wiped = Command::new(script("janitor.sh")).arg("wipe").status().expect("janitor.sh runs");
    assert!(wiped.success(), "leftovers of dead labs could not be removed");
}

/// The folders of the labs that are up on this host.
pub fn living() -> Vec<PathBuf> {
    let entries = fs::read_dir(labs_root()).into_iter().flatten().flatten();
    let labs = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("hafen-lab."));
    labs.map(|entry| entry.path())
        .filter(|dir| File::open(dir.join("lock")).is_ok_and(|lock| lock.try_lock().is_err()))
        .collect()
}

/// Below which folder labs are.
pub fn labs_root() -> PathBuf {
    PathBuf::from(std::env::var_os("HAFEN_LAB_ROOT").unwrap_or_else(|| "/tmp".into()))
}

/// Where a script of the lab lies on the host.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/lab").join(name)
}

/// Root and the tools a lab is made with.
fn lab_possible() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("needs root".into());
    }
    for tool in ["ip", "nft", "unshare", "nsenter", "setsid", "perl"] {
        let found = ["/usr/sbin", "/usr/bin"].iter().any(|dir| Path::new(dir).join(tool).exists());
        if !found {
            return Err(format!("needs `{tool}` (see `make deps`)"));
        }
    }
    let tried = Command::new("unshare").args(["-m", "-n", "-p", "-u", "-i", "-C", "--fork", "true"]).output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("needs namespaces: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("needs namespaces: {error}")),
    }
}

/// Makes the lab's folder complete with the lock that says its owner lives, and only then gives it its name: `wipe` of another
/// process removes folders whose lock is free.
fn make_lab_dir() -> (PathBuf, File) {
    let root = labs_root();
    for lower in ["/usr", "/etc", "/var"] {
        assert!(!root.starts_with(lower), "HAFEN_LAB_ROOT must not be below {lower}: an overlay cannot contain itself");
    }
    let number = LABS_MADE.fetch_add(1, Ordering::SeqCst);
    let name = format!("hafen-lab.{}.{number}", std::process::id());
    let (unnamed, named) = (root.join(format!(".{name}")), root.join(&name));
    fs::create_dir_all(unnamed.join("shared/.lab")).expect("the lab's root folder is writable");
    let lock = File::create(unnamed.join("lock")).expect("the lab's folder is writable");
    lock.try_lock().expect("a new lock file is free");
    fs::rename(&unnamed, &named).expect("no lab has this process id and number");
    (named, lock)
}

/// Where cgroup v2 is mounted; on hosts with v1 it is often below `/sys/fs/cgroup/unified`.
fn cgroup2_mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let is_cgroup2 = filesystem.starts_with("cgroup2 ");
        is_cgroup2.then(|| PathBuf::from(mount.split(' ').nth(4).unwrap_or_default()))
    })
}

/// The hafen built by the same cargo call: it lies beside the folder of this test or example.
pub fn default_binary() -> Option<PathBuf> {
    let this = std::env::current_exe().ok()?;
    let binary = this.parent()?.parent()?.join("hafen");
    binary.exists().then_some(binary)
}
