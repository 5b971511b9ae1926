//! Three "machines" without root: processes of one user, on addresses of 127.0.0.0/8.
//!
//! A machine is every process whose home is its folder (`machine`); the fence agent (`fence_demo`) kills them all, and starts
//! them as a new boot. Real: hafen, its log, git, TLS between the nodes, fencing by an agent, the service. Not real: the
//! machines, their network and their disks, so a test in the lab (`lab`) proves more.
//!
//! Invariant: what it made is gone after its end, also when its owner was killed (`janitor.sh` waits for that).

#![allow(dead_code, reason = "each target that includes this uses a part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::lab::{Output, run_command};

/// As in the lab.
const SH_TIMEOUT: Duration = Duration::from_secs(30);
/// hafen's usual port, and one of the others if something listens there.
const NODE_PORTS: std::ops::Range<u16> = 7443..7463;
const WEB_PORTS: std::ops::Range<u16> = 8080..8100;
const NAMES: [&str; 3] = ["n1", "n2", "n3"];
const WEB_ADDRESS: &str = "127.0.0.100";

static MADE: AtomicU32 = AtomicU32::new(0);

/// The machines. Dropping it ends and removes everything.
pub struct Rootless {
    dir: PathBuf,
    node_port: u16,
    web_port: u16,
    janitor: Child,
}

impl Rootless {
    /// Makes the machines' folders, with nothing running. The error says what is missing here.
    pub fn new() -> Result<Self, String> {
        for tool in ["git", "perl", "setsid"] {
            let found = ["/usr/bin", "/bin", "/usr/local/bin"].iter().any(|dir| Path::new(dir).join(tool).exists());
            if !found {
                return Err(format!("needs `{tool}`"));
            }
        }
        let addresses: Vec<IpAddr> = (1..=3).map(|last| IpAddr::from([127, 0, 0, last])).collect();
        let node_port = NODE_PORTS.into_iter().find(|port| addresses.iter().all(|address| is_free(*address, *port)));
        let web_port = WEB_PORTS.into_iter().find(|port| is_free(IpAddr::from([127, 0, 0, 100]), *port));
        let binary = hafen_binary().ok_or("needs the program: `cargo build`")?;
        let root = std::env::temp_dir();
        let number = MADE.fetch_add(1, Ordering::SeqCst);
        let dir = root.join(format!("hafen-demo.{}.{number}", std::process::id()));
        let janitor = Command::new(script("janitor.sh"))
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("failed to run janitor.sh: {error}"))?;
        // Only now, so that there is no moment at which it would stay behind.
        fs::create_dir(&dir).map_err(|error| format!("failed to make {}: {error}", dir.display()))?;
        let made = Self {
            dir,
            node_port: node_port.ok_or("no port is free on 127.0.0.1 to 127.0.0.3")?,
            web_port: web_port.ok_or("no port is free on 127.0.0.100")?,
            janitor,
        };
        made.furnish(&binary).map_err(|error| format!("failed to fill {}: {error}", made.dir.display()))?;
        Ok(made)
    }

    fn furnish(&self, binary: &Path) -> std::io::Result<()> {
        for folder in ["bin", "sbin", "ocf/resource.d/demo", "ocf/lib/heartbeat", "admin", "n1", "n2", "n3"] {
            fs::create_dir_all(self.dir.join(folder))?;
        }
        // Nobody else of this host has a part in this.
        fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o700))?;
        symlink(binary, self.dir.join("bin/hafen"))?;
        fs::copy(script("machine"), self.dir.join("bin/machine"))?;
        fs::copy(script("fence_demo"), self.dir.join("sbin/fence_demo"))?;
        fs::copy(script("web"), self.dir.join("ocf/resource.d/demo/web"))?;
        Ok(())
    }

    pub fn nodes(&self) -> [&'static str; 3] {
        NAMES
    }

    pub fn address(&self, node: &str) -> String {
        format!("127.0.0.{}", node.trim_start_matches('n'))
    }

    /// Where the nodes listen.
    pub fn node_port(&self) -> u16 {
        self.node_port
    }

    /// Where the service listens, `IP:PORT`.
    pub fn web(&self) -> String {
        format!("{WEB_ADDRESS}:{}", self.web_port)
    }

    /// The manifests, with the ports of this run.
    pub fn manifests(&self) -> BTreeMap<String, String> {
        let files = ["cluster.yaml", "web.yaml"].map(|name| {
            let path = script("manifests").join(name);
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (name.to_owned(), text.replace("\"8080\"", &format!("\"{}\"", self.web_port)))
        });
        files.into()
    }

    /// Runs a shell command on a machine, for at most 30 s.
    pub fn sh(&self, node: &str, command: &str) -> Output {
        let home = self.dir.join(node);
        let mut shell = Command::new("sh");
        shell
            .args(["-c", command])
            .current_dir(&home)
            .env("HOME", &home)
            .env("PATH", self.path())
            .env("HAFEN_DATA_DIR", home.join("data"))
            .env("HAFEN_OCF_ROOT", self.dir.join("ocf"))
            .env("HAFEN_FENCE_DIRS", self.dir.join("sbin"));
        run_command(shell, &self.dir, SH_TIMEOUT)
    }

    /// Kills every process of a machine.
    pub fn off(&self, node: &str) {
        self.machine("off", node).ok();
    }

    /// Starts hafen on a machine, as a new boot; nothing if it is on.
    pub fn on(&self, node: &str) {
        self.machine("on", node).ok();
    }

    pub fn is_on(&self, node: &str) -> bool {
        self.machine("status", node).ok() == "on"
    }

    /// What hafen logged on a machine.
    pub fn log(&self, node: &str) -> String {
        fs::read_to_string(self.dir.join(node).join("log")).unwrap_or_default()
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn machine(&self, action: &str, node: &str) -> Output {
        let mut command = Command::new(self.dir.join("bin/machine"));
        command
            .args([action, node])
            .env("HOME", self.dir.join("admin"))
            .env("PATH", self.path())
            .env("HAFEN_DEMO", &self.dir);
        run_command(command, &self.dir, SH_TIMEOUT)
    }

    fn path(&self) -> String {
        format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", self.dir.join("bin").display())
    }
}

impl Drop for Rootless {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in NAMES {
                eprintln!("--- {node}\n{}", self.log(node));
            }
        }
        drop(self.janitor.stdin.take());
        if let Err(error) = self.janitor.wait() {
            eprintln!("the janitor was lost: {error}");
        }
    }
}

fn is_free(address: IpAddr, port: u16) -> bool {
    TcpListener::bind((address, port)).is_ok() && UdpSocket::bind((address, port)).is_ok()
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/rootless").join(name)
}

/// The hafen built by the same cargo call: it lies beside the folder of this test or example.
fn hafen_binary() -> Option<PathBuf> {
    let this = std::env::current_exe().ok()?;
    let binary = this.parent()?.parent()?.join("hafen");
    binary.exists().then_some(binary)
}
