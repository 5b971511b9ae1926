//! A hafen cluster in the lab: init, join, push, and questions about it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Lab, Node, Output, Probe, ProbeKind, services};

/// The address of the quickstart.
pub const VIP: &str = "10.77.0.100";

/// A shorter gap proves that the web server was not restarted: its agent sleeps for a second in its stop. How short gaps
/// really are is for the benches; the machine of a test may be busy.
pub const UNDISTURBED: Duration = Duration::from_millis(900);

/// Long enough for everything but a MariaDB start, on a busy machine with two cores.
pub const SOON: Duration = Duration::from_secs(60);

/// How the daemon is started on a node. Small intervals of its log are not needed: a failed test prints the end of it.
pub const STACK: &str = "env HAFEN_LOG=info,openraft=error hafen agent";

/// A lab with a cluster on it.
pub struct Cluster {
    pub lab: Lab,
}

/// Files of a tree of manifests, by path.
pub type Manifests = BTreeMap<String, String>;

/// An example of the repository.
pub fn example(name: &str) -> Manifests {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(name);
    let mut files = Manifests::new();
    for entry in std::fs::read_dir(&root).expect("the example exists") {
        let path: PathBuf = entry.expect("readable").path();
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        files.insert(name, std::fs::read_to_string(&path).expect("text"));
    }
    files
}

/// The quickstart, with the web server's configuration of the lab (it answers with the node's name).
pub fn quickstart() -> Manifests {
    let mut files = example("quickstart");
    for text in files.values_mut() {
        *text = text.replace("/etc/nginx/nginx.conf", services::WEB_CONF);
    }
    files
}

/// The database on shared storage, with the lab's power switches as the two fencing devices.
pub fn mariadb() -> Manifests {
    let mut files = example("mariadb");
    for text in files.values_mut() {
        let lines = text.lines().filter(|line| !line.starts_with("  secrets:") && !line.starts_with("  targets:"));
        let lines = lines.map(|line| match line.trim() {
            "agent: fence_apc_snmp" => "  agent: fence_lab",
            "params: { ip: 10.78.0.5, username: hafen }" => "  params: { pdu: pdu-a }",
            "params: { ip: 10.78.0.6, username: hafen }" => "  params: { pdu: pdu-b }",
            _ => line,
        });
        *text = lines.collect::<Vec<_>>().join("\n");
    }
    files
}

impl Cluster {
    /// Nodes that have joined, with nothing pushed. `None` where a lab cannot exist.
    pub fn new(nodes: usize) -> Option<Self> {
        let lab = Lab::new(nodes)?;
        lab.set_stack(STACK);
        Some(Self::found_in(lab))
    }

    /// In a lab whose stack is set.
    pub fn found_in(lab: Lab) -> Self {
        let cluster = Self { lab };
        cluster.found();
        cluster
    }

    /// As `new`, with systemd as PID 1; `prepare` may put files and set another stack before anything is started.
    pub fn with_systemd(nodes: usize, prepare: impl FnOnce(&Lab)) -> Option<Self> {
        let lab = Lab::with_systemd(nodes)?;
        prepare(&lab);
        let cluster = Self { lab };
        cluster.found();
        Some(cluster)
    }

    fn found(&self) {
        services::prepare_web(&self.lab);
        let first = self.lab.node("n1");
        first.sh(&format!("hafen init --name n1 --addresses {} --cluster lab", addresses(first))).ok();
        first.start_daemon();
        self.lab.wait_until(SOON, "the first node leads", || self.status("n1").is_some_and(|s| !s["leader"].is_null()));
        for node in self.lab.nodes().into_iter().skip(1) {
            let token = first.sh("hafen token").ok();
            let name = node.name();
            node.sh(&format!("echo '{token}' | hafen join - --name {name} --addresses {}", addresses(node))).ok();
            node.start_daemon();
        }
        let all = self.lab.nodes().len();
        self.lab.wait_until(SOON, "all nodes have joined", || self.online("n1").len() == all);
    }

    /// A cluster that runs these manifests, pushed at n1.
    pub fn with(nodes: usize, manifests: &Manifests) -> Option<Self> {
        let cluster = Self::new(nodes)?;
        cluster.push("n1", manifests, "").ok();
        Some(cluster)
    }

    /// The quickstart, up and answering.
    pub fn quickstart() -> Option<Self> {
        let cluster = Self::with(3, &quickstart())?;
        cluster.lab.wait_until(SOON, "all nodes vote", || {
            cluster.status("n1").is_some_and(|s| s["voters"].as_array().is_some_and(|voters| voters.len() == 3))
        });
        cluster.lab.wait_until(SOON, "the web server answers", || cluster.served_by().is_some());
        cluster.settle();
        Some(cluster)
    }

    /// Commits this tree in a work tree on a node and pushes it there.
    pub fn push(&self, node: &str, manifests: &Manifests, options: &str) -> Output {
        let node = self.lab.node(node);
        self.commit(node, manifests);
        node.sh(&format!("cd /root/manifests && git push {options} /var/lib/hafen/repo.git main 2>&1"))
    }

    /// Writes the tree and commits it on top of what the node's repository has.
    pub fn commit(&self, node: Node<'_>, manifests: &Manifests) {
        node.sh(
            "export HOME=/root; git config --global user.email admin@example.net; git config --global user.name admin; \
             git config --global init.defaultBranch main; mkdir -p /root/manifests && cd /root/manifests && \
             { [ -d .git ] || git init -q; } && git fetch -q /var/lib/hafen/repo.git 2>/dev/null main && \
             git reset -q --soft FETCH_HEAD; git rm -rq --cached . 2>/dev/null; rm -rf /root/manifests/*",
        );
        for (name, text) in manifests {
            let folder = std::path::Path::new(name).parent().unwrap_or(std::path::Path::new("")).display();
            let write = format!("cat >/root/manifests/{name} <<'MANIFEST'\n{text}\nMANIFEST");
            node.sh(&format!("mkdir -p /root/manifests/{folder}\n{write}")).ok();
        }
        node.sh("cd /root/manifests && git add -A && git commit -q --allow-empty -m change").ok();
    }

    /// `hafen status -o json` as a node sees it; `None` while it cannot be asked.
    pub fn status(&self, node: &str) -> Option<Value> {
        let node = self.lab.node(node);
        if !node.is_up() {
            return None;
        }
        serde_json::from_str(&node.sh("hafen status -o json").stdout).ok()
    }

    /// Names of the nodes that are online, as a node sees it.
    pub fn online(&self, node: &str) -> Vec<String> {
        let nodes = self.status(node).and_then(|status| status["nodes"].as_array().cloned()).unwrap_or_default();
        let online = nodes.iter().filter(|node| node["membership"] == "Online");
        online.map(|node| node["name"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Where an instance runs, as a node sees it.
    pub fn runs_on(&self, seen_by: &str, instance: &str) -> Option<String> {
        let status = self.status(seen_by)?;
        let found = status["resources"].as_array()?.iter().find(|r| r["instance"] == instance)?.clone();
        (found["phase"] == "Running").then(|| found["node"].as_str().map(str::to_owned))?
    }

    /// The node that answers on the virtual address.
    pub fn served_by(&self) -> Option<String> {
        self.lab.client_http(VIP).ok().map(|body| body.trim().to_owned())
    }

    /// A command of hafen on a node; it may take as long as a command may.
    pub fn hafen(&self, node: &str, arguments: &str) -> Output {
        self.lab.node(node).sh(&format!("hafen {arguments}"))
    }

    /// The longest time without an answer of the quickstart while `act` acts. Never two nodes hold its address meanwhile.
    pub fn gap_while(&self, act: impl FnOnce(&Probe)) -> Duration {
        let watch = self.lab.watch_vip(VIP);
        let probe = self.lab.probe(&format!("{VIP}:80"), ProbeKind::Http);
        std::thread::sleep(Duration::from_millis(200));
        act(&probe);
        std::thread::sleep(Duration::from_millis(100));
        let (report, sightings) = (probe.finish(), watch.finish());
        assert_eq!(sightings.overlap, Duration::ZERO, "two nodes held {VIP} at once: {:?}", sightings.holders);
        assert!(report.answered() > 0, "nobody ever answered");
        report.gap()
    }

    /// Some node that can be asked, other than this one.
    pub fn other_than(&self, name: &str) -> String {
        let other = self.lab.nodes().into_iter().find(|node| node.name() != name && node.is_up());
        other.expect("another node is up").name().to_owned()
    }

    pub fn leader(&self, seen_by: &str) -> Option<String> {
        self.status(seen_by)?["leader"].as_str().map(str::to_owned)
    }

    /// Waits until nothing is left to do: every node online, every resource as desired.
    pub fn settle(&self) {
        let all = self.lab.nodes().iter().filter(|node| node.is_on()).count();
        self.lab.wait_until(SOON, "the cluster settles", || {
            let Some(asked) = self.lab.nodes().into_iter().find(|node| node.is_up()) else { return false };
            let Some(status) = self.status(asked.name()) else { return false };
            let resources = status["resources"].as_array().cloned().unwrap_or_default();
            let kept = resources.iter().all(|r| r["verdict"]["verdict"] == "Keep");
            kept && self.online(asked.name()).len() == all && !status["leader"].is_null()
        });
    }

    /// The events of the cluster after an index of its log, as `hafen events -o json` has them.
    pub fn events_after(&self, node: &str, index: u64) -> Vec<Value> {
        let found = self.lab.node(node).sh(&format!("hafen events -n 1000 --after {index} -o json")).stdout;
        let found: Option<Value> = serde_json::from_str(&found).ok();
        found.and_then(|found| found["events"].as_array().cloned()).unwrap_or_default()
    }

    /// The events of the cluster, as text.
    pub fn events(&self, node: &str) -> String {
        // All that a node remembers: tests count what happened, and some do much.
        self.lab.node(node).sh("hafen events -n 10000").stdout
    }
}

fn addresses(node: Node<'_>) -> String {
    use crate::lab::Link;
    format!("{},{}", node.address(Link::Eth0), node.address(Link::Eth1))
}
