//! The network: a switch namespace with a bridge per network, and the client's namespace.
//!
//! A host X has the ports `Xe0` on `br0` and `Xe1` on `br1`. Cuts are nftables rules between ports, cables are ports set down.
//! The nodes' own namespaces have no name on the host: a named one would outlive its processes and go on answering for them.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use super::relay::Relay;

/// The client's address on the first network.
pub const CLIENT: &str = "10.77.0.200";

/// One of the two networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Eth0,
    Eth1,
}

impl Link {
    pub const BOTH: [Link; 2] = [Link::Eth0, Link::Eth1];

    pub fn number(self) -> usize {
        match self {
            Link::Eth0 => 0,
            Link::Eth1 => 1,
        }
    }
}

/// The state of a cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cable {
    Plugged,
    Pulled,
}

impl Cable {
    fn word(self) -> &'static str {
        match self {
            Cable::Plugged => "up",
            Cable::Pulled => "down",
        }
    }
}

/// Frames that the switch drops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// None: from every host. One of the two is named.
    pub from: Option<String>,
    pub to: Option<String>,
    /// None: on both networks.
    pub link: Option<Link>,
    /// 100: all of them.
    pub percent: u32,
}

pub struct Switch {
    netns: String,
    client: String,
}

impl Switch {
    /// Makes the switch and the client (`10.77.0.200`, `10.78.0.200`).
    pub fn new(lab_name: &str) -> Switch {
        let switch = Switch { netns: format!("{lab_name}-sw"), client: format!("{lab_name}-cl") };
        for netns in [&switch.netns, &switch.client] {
            feed(Command::new("ip").args(["netns", "add", netns]), "");
        }
        let client = &switch.client;
        let mut setup = String::new();
        for n in 0..2 {
            setup += &format!(
                "link add br{n} type bridge stp_state 0 mcast_snooping 0 forward_delay 0\nlink set br{n} up\n\
                 link add cliente{n} type veth peer name eth{n} netns {client}\nlink set cliente{n} master br{n} up\n"
            );
        }
        switch.ip(&setup);
        feed(
            Command::new("ip").args(["-n", client, "-batch", "-"]),
            "link set lo up\nlink set eth0 up\nlink set eth1 up\n\
             addr add 10.77.0.200/24 dev eth0\naddr add 10.78.0.200/24 dev eth1\n",
        );
        switch.nft("add table bridge lab\nadd chain bridge lab cuts { type filter hook forward priority 0; }\n");
        switch
    }

    /// Connects both links of a node whose PID 1 is `pid`. The node's cards keep their addresses over power cuts.
    pub fn connect(&self, name: &str, index: usize, pid: i32, cables: [Cable; 2]) {
        let mut batch = String::new();
        for (n, cable) in cables.into_iter().enumerate() {
            batch += &format!(
                "link add {name}e{n} type veth peer name eth{n} address 02:77:00:00:0{n}:0{index} netns {pid}\n\
                 link set {name}e{n} master br{n} {}\n",
                cable.word()
            );
        }
        self.ip(&batch);
    }

    /// Silences a node at the switch, before its power goes.
    pub fn silence(&self, name: &str) {
        self.ip(&format!("link set {name}e0 down\nlink set {name}e1 down\n"));
    }

    /// Removes a node's ports, if it has any.
    pub fn disconnect(&self, name: &str) {
        for n in 0..2 {
            // The kernel may have removed them already together with the node's namespace.
            let _ = Command::new("ip")
                .args(["-n", &self.netns, "link", "del", &format!("{name}e{n}")])
                .stderr(Stdio::null())
                .status();
        }
    }

    pub fn set_cable(&self, name: &str, link: Link, cable: Cable) {
        self.ip(&format!("link set {name}e{} {}\n", link.number(), cable.word()));
    }

    pub fn cut(&self, a: &str, b: &str, links: &[Link]) {
        let mut rules = String::new();
        for n in links.iter().map(|link| link.number()) {
            for (from, to) in [(a, b), (b, a)] {
                rules += &format!("add rule bridge lab cuts iifname \"{from}e{n}\" oifname \"{to}e{n}\" drop\n");
            }
        }
        self.nft(&rules);
    }

    pub fn heal(&self) {
        self.nft("flush chain bridge lab cuts\n");
    }

    /// Replaces everything that is lost by this, at once.
    pub fn set_losses(&self, losses: &[Loss]) {
        let mut rules = "flush chain bridge lab cuts\n".to_owned();
        for loss in losses {
            let links: &[Link] = loss.link.as_ref().map_or(&Link::BOTH, std::slice::from_ref);
            for n in links.iter().map(|link| link.number()) {
                // `Xd0` stands for `Xe0` while a relay is in that cable.
                let side = |word: &str, host: &Option<String>| match host {
                    Some(host) => format!(" {word} {{ \"{host}e{n}\", \"{host}d{n}\" }}"),
                    None => String::new(),
                };
                let chance = match loss.percent {
                    100.. => String::new(),
                    percent => format!(" numgen random mod 100 < {percent}"),
                };
                let (from, to) = (side("iifname", &loss.from), side("oifname", &loss.to));
                rules += &format!("add rule bridge lab cuts{from}{to}{chance} drop\n");
            }
        }
        self.nft(&rules);
    }

    /// Limits what a node receives on a link; None: no limit. Nothing happens while the node has no port.
    pub fn set_rate(&self, name: &str, link: Link, kbit: Option<u32>) {
        let port = format!("{name}e{}", link.number());
        let mut command = Command::new("tc");
        command.args(["-n", &self.netns, "qdisc"]);
        match kbit {
            Some(kbit) => command
                .args(["replace", "dev", &port, "root", "tbf", "rate", &format!("{kbit}kbit")])
                .args(["burst", "16kb", "latency", "200ms"]),
            None => command.args(["del", "dev", &port, "root"]),
        };
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }

    /// See [`Relay`].
    pub fn relay(&self, name: &str, link: Link, delay: Duration, jitter: Duration) -> Option<Relay> {
        Relay::start(&self.netns, name, link.number(), delay, jitter)
    }

    pub fn client_netns(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.client)
    }

    /// Runs `work` on a thread of the client's network.
    pub fn in_client<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let netns = self.client_netns();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                enter(&netns);
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn ip(&self, batch: &str) {
        feed(Command::new("ip").args(["-n", &self.netns, "-batch", "-"]), batch);
    }

    fn nft(&self, rules: &str) {
        feed(Command::new("nsenter").arg(format!("--net=/run/netns/{}", self.netns)).args(["nft", "-f", "-"]), rules);
    }
}

/// A command that runs `shell` in the client's network of the lab called `lab_name`.
pub fn client_command(lab_name: &str, shell: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{lab_name}-cl")).args(["--", "bash", "-c", shell]);
    command
}

/// Moves the calling thread into a network namespace, for good.
pub fn enter(netns: &std::path::Path) {
    let file = std::fs::File::open(netns).unwrap_or_else(|error| panic!("failed to open {}: {error}", netns.display()));
    setns(file.as_fd(), CloneFlags::CLONE_NEWNET).expect("root may enter a namespace it made");
}

/// Runs `command` with `input` on stdin; panics with its words when it fails.
fn feed(command: &mut Command, input: &str) {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the tool exists");
    child.stdin.take().expect("piped above").write_all(input.as_bytes()).expect("the tool reads its stdin");
    let output = child.wait_with_output().expect("the tool is our child");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {words}\n{input}");
}
