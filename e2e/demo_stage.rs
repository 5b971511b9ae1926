//! Where the demo plays: in the lab, or without root. The story asks for what it needs and does not know which it is.

use std::collections::BTreeMap;

use crate::cluster;
use crate::lab::{Lab, Link, Output, Probe, ProbeKind, http_get, services};
use crate::rootless::Rootless;

/// Three nodes, a client and a power switch.
pub trait Stage {
    fn introduction(&self) -> String;
    fn about_manifests(&self) -> String;
    fn about_power_cut(&self) -> String;
    fn nodes(&self) -> Vec<String>;
    /// As `--addresses` wants them.
    fn addresses(&self, node: &str) -> String;
    /// Further options of `init` and `join`.
    fn listen(&self) -> String;
    /// Path of a node's repository, on that node.
    fn repository(&self, node: &str) -> String;
    fn manifests(&self) -> BTreeMap<String, String>;
    /// The resource whose story is told.
    fn resource(&self) -> &'static str;
    fn sh(&self, node: &str, command: &str) -> Output;
    fn start_daemon(&self, node: &str);
    fn off(&self, node: &str);
    fn url(&self) -> String;
    /// A shell command on the client.
    fn client(&self, command: &str) -> Output;
    /// Which node answers the client.
    fn ask(&self) -> Result<String, String>;
    fn probe(&self) -> Probe;
    fn logs(&self) -> String;
}

/// The best stage that this machine allows.
pub fn open(rootless: bool) -> Option<Box<dyn Stage>> {
    if !rootless && nix::unistd::geteuid().is_root() {
        if let Some(lab) = Lab::new(3) {
            lab.set_stack(cluster::STACK);
            services::prepare_web(&lab);
            return Some(Box::new(lab));
        }
        println!("Machines cannot be made here (the reason is above), so the demo does what works without.\n");
    }
    let made = Rootless::new().inspect_err(|error| eprintln!("error: {error}")).ok()?;
    Some(Box::new(made))
}

impl Stage for Lab {
    fn introduction(&self) -> String {
        "Three machines are up: n1, n2 and n3. They are made of Linux namespaces: each has its own processes, network cards, \
         disk and\npower. A fourth, the client, is on the same network. The programs are the real ones: hafen, git, nginx."
            .into()
    }

    fn about_manifests(&self) -> String {
        format!(
            "manifests/quickstart says what shall run: nginx behind the virtual address 10.77.0.100. One line is different here:\n\
             `configfile: {}`, which lets nginx answer with the name of its node.\n",
            services::WEB_CONF
        )
    }

    fn about_power_cut(&self) -> String {
        "Every process of a machine and its network cards are gone at once. It happens to the active".into()
    }

    fn nodes(&self) -> Vec<String> {
        self.nodes().iter().map(|node| node.name().to_owned()).collect()
    }

    fn addresses(&self, node: &str) -> String {
        let node = self.node(node);
        format!("{},{}", node.address(Link::Eth0), node.address(Link::Eth1))
    }

    fn listen(&self) -> String {
        String::new()
    }

    fn repository(&self, _node: &str) -> String {
        "/var/lib/hafen/repo.git".into()
    }

    fn manifests(&self) -> BTreeMap<String, String> {
        cluster::quickstart()
    }

    fn resource(&self) -> &'static str {
        "web-server"
    }

    fn sh(&self, node: &str, command: &str) -> Output {
        self.node(node).sh(command)
    }

    fn start_daemon(&self, node: &str) {
        self.node(node).start_daemon();
    }

    fn off(&self, node: &str) {
        self.node(node).off();
    }

    fn url(&self) -> String {
        "http://10.77.0.100/".into()
    }

    fn client(&self, command: &str) -> Output {
        self.client_sh(command)
    }

    fn ask(&self) -> Result<String, String> {
        self.client_http("10.77.0.100")
    }

    fn probe(&self) -> Probe {
        Lab::probe(self, "10.77.0.100:80", ProbeKind::Http)
    }

    fn logs(&self) -> String {
        // The lab prints them when it ends in a panic.
        String::new()
    }
}

impl Stage for Rootless {
    fn introduction(&self) -> String {
        "This demo is not run by root. So its three \"machines\" n1, n2 and n3 are processes of yours, on 127.0.0.1 to 127.0.0.3,\n\
         with their files in a temporary folder; the service is a small web server, and no address moves. The rest is real:\n\
         hafen, git, and a fence agent that kills everything on a machine. As root, `make demo` makes real networks."
            .into()
    }

    fn about_manifests(&self) -> String {
        format!("The manifests (e2e/rootless/manifests) say what shall run: one web server, on {}.\n", self.web())
    }

    fn about_power_cut(&self) -> String {
        "Every process of a machine is killed at once. It happens to the active".into()
    }

    fn nodes(&self) -> Vec<String> {
        self.nodes().map(str::to_owned).into()
    }

    fn addresses(&self, node: &str) -> String {
        self.address(node)
    }

    fn listen(&self) -> String {
        if self.node_port() == 7443 { String::new() } else { format!(" --listen {}", self.node_port()) }
    }

    fn repository(&self, _node: &str) -> String {
        "$HAFEN_DATA_DIR/repo.git".into()
    }

    fn manifests(&self) -> BTreeMap<String, String> {
        self.manifests()
    }

    fn resource(&self) -> &'static str {
        "web"
    }

    fn sh(&self, node: &str, command: &str) -> Output {
        self.sh(node, command)
    }

    fn start_daemon(&self, node: &str) {
        self.on(node);
    }

    fn off(&self, node: &str) {
        self.off(node);
    }

    fn url(&self) -> String {
        format!("http://{}/", self.web())
    }

    fn client(&self, command: &str) -> Output {
        self.sh("admin", command)
    }

    fn ask(&self) -> Result<String, String> {
        http_get(&self.web(), std::time::Duration::from_secs(1))
    }

    fn probe(&self) -> Probe {
        Probe::local(&self.web(), ProbeKind::Http)
    }

    fn logs(&self) -> String {
        // As in the lab.
        String::new()
    }
}
