//! Faults, done to the lab: each begins, and ends when it is due.
//!
//! Nothing here waits for the cluster. Whatever a fault needs may be gone by then (a node without power, a daemon that another
//! fault killed): then it does nothing.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::manifests;
use super::observer::Observer;
use super::schedule::{Action, Device, Devices, Fault, Trouble};
use crate::lab::{Lab, Link, Loss, Node, PduMode, Relay};

/// Of a short command on a node.
const PATIENCE: Duration = Duration::from_secs(3);
/// Debian's package `faketime` has it below the folder of the machine's kind.
const FAKETIME: &str = "faketime/libfaketimeMT.so.1";

/// Puts the agent, the clocks and the stack in place.
pub fn prepare(lab: &Lab) {
    fs::create_dir_all(lab.shared().join("chaos")).expect("the shared folder is writable");
    for node in lab.nodes() {
        set_clock(lab, node.name(), 0);
        node.sh(
            "mkdir -p /usr/lib/ocf/resource.d/chaos && ln -sfn /opt/lab/Holder /usr/lib/ocf/resource.d/chaos/Holder",
        )
        .ok();
    }
    lab.set_stack(&stack());
}

/// The daemon, with a wall clock that can be stepped. Its other clocks are the kernel's.
fn stack() -> String {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let library = folders.map(|folder| folder.path().join(FAKETIME)).find(|path| path.exists());
    // Without it a step would be told and not be made.
    let library = library.unwrap_or_else(|| panic!("{FAKETIME} is missing: `make deps` installs it"));
    format!(
        "env LD_PRELOAD={} DONT_FAKE_MONOTONIC=1 FAKETIME_CACHE_DURATION=1 \
         FAKETIME_TIMESTAMP_FILE=/srv/shared/.lab/$(hostname).clock HAFEN_LOG=info,openraft=error hafen agent",
        library.display()
    )
}

fn set_clock(lab: &Lab, node: &str, seconds: i64) {
    let path = lab.shared().join(format!(".lab/{node}.clock"));
    let new = path.with_extension("new");
    // A half-written file would be read.
    if fs::write(&new, format!("{seconds:+}")).is_ok() {
        let _ = fs::rename(new, path);
    }
}

/// Faults under way.
pub struct Faults<'r> {
    lab: &'r Lab,
    observer: &'r Observer,
    active: Vec<Active>,
}

struct Active {
    ends: Instant,
    fault: Fault,
    /// What it loses while it lasts.
    losses: Vec<Loss>,
    /// What delays while it is there.
    relays: Vec<Relay>,
}

impl<'r> Faults<'r> {
    pub fn new(lab: &'r Lab, observer: &'r Observer) -> Self {
        Self { lab, observer, active: Vec::new() }
    }

    pub fn begin(&mut self, fault: Fault, lasts: Duration) {
        self.lab.note(&format!("begin {fault:?} for {lasts:?}"));
        let losses = self.losses(fault);
        let mut relays = Vec::new();
        match fault {
            Fault::KillDaemon { node } => drop(self.node(node).signal_stack(Signal::SIGKILL)),
            Fault::StopDaemon { node } => drop(self.node(node).signal_stack(Signal::SIGTERM)),
            Fault::PauseDaemon { node } => drop(self.node(node).signal_stack(Signal::SIGSTOP)),
            Fault::Freeze { node } => drop(self.node(node).try_freeze(true)),
            Fault::PowerCut { node } => self.node(node).set_power(false),
            Fault::PowerCutAll => self.lab.nodes().iter().for_each(|node| node.set_power(false)),
            Fault::Rate { node, kbit } => self.set_rate(node, Some(kbit)),
            Fault::Delay { node, ms, jitter_ms } => {
                let (delay, jitter) = (Duration::from_millis(ms.into()), Duration::from_millis(jitter_ms.into()));
                let name = self.node(node).name();
                // A second relay in the same cable would take the place of the first.
                let busy = self
                    .active
                    .iter()
                    .any(|one| matches!(one.fault, Fault::Delay { node: other, .. } if other == node));
                if !busy {
                    relays.extend(Link::BOTH.into_iter().filter_map(|link| self.lab.delay(name, link, delay, jitter)));
                }
            }
            Fault::Clock { node, seconds } => set_clock(self.lab, self.node(node).name(), seconds),
            Fault::Devices { which, how } => self.set_devices(which, Some(how)),
            Fault::KillService { service } => self.kill_service(service),
            Fault::Agent { service, action, how } => self.set_agent(service, action, Some(how)),
            Fault::Isolate { .. }
            | Fault::CutPair { .. }
            | Fault::OneWay { .. }
            | Fault::LoseNetwork { .. }
            | Fault::Loss { .. } => {}
        }
        let changed = !losses.is_empty();
        self.active.push(Active { ends: Instant::now() + lasts, fault, losses, relays });
        if changed {
            self.apply_losses();
        }
    }

    pub fn end_those_due(&mut self) {
        while let Some(place) = self.active.iter().position(|one| one.ends <= Instant::now()) {
            let ended = self.active.swap_remove(place);
            self.end(ended);
        }
    }

    /// Ends everything, and whatever else is not as it was.
    pub fn end_all(&mut self) {
        while let Some(ended) = self.active.pop() {
            self.end(ended);
        }
        self.set_devices(Devices::Both, None);
        for node in self.lab.nodes() {
            set_clock(self.lab, node.name(), 0);
            node.try_freeze(false);
            node.set_power(true);
            node.signal_stack(Signal::SIGCONT);
            self.start_daemon(node);
        }
    }

    fn end(&mut self, ended: Active) {
        self.lab.note(&format!("end {:?}", ended.fault));
        drop(ended.relays);
        match ended.fault {
            Fault::KillDaemon { node } | Fault::StopDaemon { node } => self.start_daemon(self.node(node)),
            Fault::PauseDaemon { node } => drop(self.node(node).signal_stack(Signal::SIGCONT)),
            Fault::Freeze { node } => drop(self.node(node).try_freeze(false)),
            Fault::PowerCut { node } => self.node(node).set_power(true),
            Fault::PowerCutAll => self.lab.nodes().iter().for_each(|node| node.set_power(true)),
            Fault::Rate { node, .. } => self.set_rate(node, None),
            Fault::Clock { node, .. } => set_clock(self.lab, self.node(node).name(), 0),
            Fault::Devices { which, .. } => self.set_devices(which, None),
            Fault::Agent { service, action, .. } => self.set_agent(service, action, None),
            Fault::Isolate { .. }
            | Fault::CutPair { .. }
            | Fault::OneWay { .. }
            | Fault::LoseNetwork { .. }
            | Fault::Loss { .. } => self.apply_losses(),
            Fault::Delay { .. } | Fault::KillService { .. } => {}
        }
    }

    fn node(&self, number: usize) -> Node<'r> {
        self.lab.node(&format!("n{}", number + 1))
    }

    /// What the switch drops for it.
    fn losses(&self, fault: Fault) -> Vec<Loss> {
        let name = |node: usize| Some(format!("n{}", node + 1));
        let all = 0..self.lab.nodes().len();
        let both = |a: usize, b: usize| [(a, b), (b, a)];
        let pairs: Vec<(usize, usize)> = match fault {
            Fault::Isolate { node } => all.filter(|other| *other != node).flat_map(|other| both(node, other)).collect(),
            Fault::CutPair { a, b } => both(a, b).into(),
            Fault::OneWay { from, to } => vec![(from, to)],
            Fault::LoseNetwork { link } => {
                let link = Some(Link::BOTH[link]);
                return all.map(|node| Loss { from: name(node), to: None, link, percent: 100 }).collect();
            }
            Fault::Loss { node, percent } => {
                let side = |from, to| Loss { from, to, link: None, percent };
                return vec![side(name(node), None), side(None, name(node))];
            }
            Fault::KillDaemon { .. }
            | Fault::StopDaemon { .. }
            | Fault::PauseDaemon { .. }
            | Fault::Freeze { .. }
            | Fault::PowerCut { .. }
            | Fault::PowerCutAll
            | Fault::Rate { .. }
            | Fault::Delay { .. }
            | Fault::Clock { .. }
            | Fault::Devices { .. }
            | Fault::KillService { .. }
            | Fault::Agent { .. } => return Vec::new(),
        };
        pairs.into_iter().map(|(from, to)| Loss { from: name(from), to: name(to), link: None, percent: 100 }).collect()
    }

    fn apply_losses(&self) {
        let losses: Vec<Loss> = self.active.iter().flat_map(|one| one.losses.clone()).collect();
        self.lab.set_losses(&losses);
    }

    fn set_rate(&self, node: usize, kbit: Option<u32>) {
        Link::BOTH.into_iter().for_each(|link| self.lab.set_rate(self.node(node).name(), link, kbit));
    }

    fn start_daemon(&self, node: Node<'_>) {
        if node.is_up() {
            node.sh_for("/opt/lab/stack.sh start", PATIENCE);
        }
    }

    fn set_devices(&self, which: Devices, how: Option<Device>) {
        let names: &[&str] = match which {
            Devices::First => &["pdu-a"],
            Devices::Second => &["pdu-b"],
            Devices::Both => &["pdu-a", "pdu-b"],
        };
        let mode = match how {
            None => PduMode::Works,
            Some(Device::Fails) => PduMode::Fails,
            Some(Device::Hangs) => PduMode::Hangs,
            Some(Device::Sticks) => PduMode::Sticks,
            Some(Device::Late) => PduMode::Late,
        };
        names.iter().for_each(|name| self.lab.set_pdu(name, mode));
    }

    fn kill_service(&self, service: usize) {
        let lock = format!("{}.0", manifests::SERVICES[service].lock);
        if let Some(pid) = self.observer.holder(&lock) {
            let killed = kill(Pid::from_raw(pid), Signal::SIGKILL);
            self.lab.note(&format!("killed the holder of {lock}, pid {pid}: {killed:?}"));
        }
    }

    fn set_agent(&self, service: usize, action: Action, how: Option<Trouble>) {
        let action = match action {
            Action::Start => "start",
            Action::Stop => "stop",
            Action::Monitor => "monitor",
            Action::Promote => "promote",
        };
        let path = self.lab.shared().join(format!("chaos/fault.{}.{action}", manifests::SERVICES[service].lock));
        let _ = match how {
            None => fs::remove_file(path),
            Some(Trouble::Fails) => fs::write(path, "fail"),
            Some(Trouble::Hangs) => fs::write(path, "hang"),
            Some(Trouble::Slow) => fs::write(path, "slow 2"),
        };
    }
}
