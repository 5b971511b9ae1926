//! Two PDUs, each a Unix socket in the shared folder: power switches that the cluster's networks do not carry.
//!
//! One request per connection, a line `ACTION PLUG`, one line as the answer: `ok`, `on`, `off`, names for `list`, or the error.
//! A test tells each PDU to work, fail, hang, lie or stick. Requests and answers are in the lab's log.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::World;

/// How often listeners and hanging requests look whether the lab is closing.
const CLOSING_POLL: Duration = Duration::from_millis(5);

/// Later than a patient fence agent waits.
const LATE: Duration = Duration::from_secs(7);

/// How a PDU behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PduMode {
    Works,
    /// Answers every request with an error and does nothing.
    Fails,
    /// Does not answer and does nothing, until the mode changes; then it hangs up.
    Hangs,
    /// Says that it switched, and reports the state it was asked for, but does nothing.
    Lies,
    /// Says that it switched, does nothing, and reports the true state.
    Sticks,
    /// Does what it is told, [`LATE`] after it was asked.
    Late,
}

/// What an outlet means for the machine behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feeds {
    /// Each PDU alone switches the machine, like two BMCs.
    EitherCuts,
    /// Two power supplies, one at each PDU: the machine runs while any outlet is on.
    BothNeeded,
}

pub struct Pdu {
    pub name: &'static str,
    state: Mutex<PduState>,
}

struct PduState {
    mode: PduMode,
    /// Whether the outlet gives power.
    outlets: BTreeMap<String, bool>,
    /// What a lying PDU says of an outlet.
    claimed: BTreeMap<String, bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    On,
    Off,
    Reboot,
    Status,
}

impl Pdu {
    pub fn new(name: &'static str, nodes: &[String]) -> Pdu {
        let outlets = nodes.iter().map(|node| (node.clone(), false)).collect();
        Pdu { name, state: Mutex::new(PduState { mode: PduMode::Works, outlets, claimed: BTreeMap::new() }) }
    }

    pub fn set_mode(&self, mode: PduMode) {
        let mut state = self.state();
        state.mode = mode;
        state.claimed.clear();
    }

    pub fn set_outlet(&self, node: &str, on: bool) {
        self.state().outlets.insert(node.to_owned(), on);
    }

    fn is_outlet_on(&self, node: &str) -> bool {
        self.state().outlets.get(node).copied().unwrap_or(false)
    }

    fn mode(&self) -> PduMode {
        self.state().mode
    }

    fn state(&self) -> std::sync::MutexGuard<'_, PduState> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Opens the sockets of both PDUs and serves them until the lab closes.
pub fn serve(world: &Arc<World>) {
    for index in 0..world.pdus.len() {
        let path = world.dir.join("shared").join(format!("{}.sock", world.pdus[index].name));
        listen(world, &path, move |world, stream| answer(world, &world.pdus[index], stream));
    }
}

/// Accepts connections on `path` until the lab closes; each is handled on a thread of its own.
pub fn listen(
    world: &Arc<World>,
    path: &std::path::Path,
    handle: impl Fn(&World, UnixStream) + Clone + Send + 'static,
) {
    let listener =
        UnixListener::bind(path).unwrap_or_else(|error| panic!("failed to bind {}: {error}", path.display()));
    listener.set_nonblocking(true).expect("a socket can be non-blocking");
    let world = Arc::clone(world);
    thread::spawn(move || {
        while !world.is_closing() {
            match listener.accept() {
                Ok((stream, _)) => {
                    let (world, handle) = (Arc::clone(&world), handle.clone());
                    thread::spawn(move || handle(&world, stream));
                }
                Err(_) => thread::sleep(CLOSING_POLL),
            }
        }
    });
}

fn answer(world: &World, pdu: &Pdu, mut stream: UnixStream) {
    let mut line = String::new();
    if stream.set_nonblocking(false).is_err() || BufReader::new(&stream).read_line(&mut line).is_err() {
        return;
    }
    world.note(&format!("{} asked: {}", pdu.name, line.trim()));
    if pdu.mode() == PduMode::Hangs {
        while pdu.mode() == PduMode::Hangs && !world.is_closing() {
            thread::sleep(CLOSING_POLL);
        }
        return;
    }
    let asked = Instant::now();
    while pdu.mode() == PduMode::Late && asked.elapsed() < LATE && !world.is_closing() {
        thread::sleep(CLOSING_POLL);
    }
    let text = decide(world, pdu, line.trim()).unwrap_or_else(|error| format!("error: {error}"));
    world.note(&format!("{} answered: {text}", pdu.name));
    // The one who asked may have given up; the power was switched all the same.
    let _ = writeln!(stream, "{text}");
}

fn decide(world: &World, pdu: &Pdu, line: &str) -> Result<String, String> {
    let mode = pdu.mode();
    if mode == PduMode::Fails {
        return Err("outlet controller does not respond".into());
    }
    let (action, plug) = line.split_once(' ').ok_or("expected `ACTION PLUG`")?;
    if action == "list" {
        return Ok(world.machines.keys().cloned().collect::<Vec<_>>().join(" "));
    }
    if !world.machines.contains_key(plug) {
        return Err(format!("no outlet `{plug}`"));
    }
    let request = match action {
        "on" => Request::On,
        "off" => Request::Off,
        "reboot" => Request::Reboot,
        "status" => Request::Status,
        other => return Err(format!("unknown action `{other}`")),
    };
    let on_off = |on: bool| Ok(if on { "on" } else { "off" }.to_owned());
    match (mode, request) {
        (PduMode::Lies, Request::Status) => {
            let claimed = pdu.state().claimed.get(plug).copied();
            on_off(claimed.unwrap_or_else(|| true_state(world, pdu, plug)))
        }
        (_, Request::Status) => on_off(true_state(world, pdu, plug)),
        (PduMode::Lies, Request::On | Request::Off | Request::Reboot) => {
            pdu.state().claimed.insert(plug.to_owned(), request != Request::Off);
            Ok("ok".into())
        }
        (PduMode::Sticks, Request::On | Request::Off | Request::Reboot) => Ok("ok".into()),
        (PduMode::Works | PduMode::Fails | PduMode::Hangs | PduMode::Late, Request::On) => {
            switch(world, pdu, plug, &[true])
        }
        (PduMode::Works | PduMode::Fails | PduMode::Hangs | PduMode::Late, Request::Off) => {
            switch(world, pdu, plug, &[false])
        }
        (PduMode::Works | PduMode::Fails | PduMode::Hangs | PduMode::Late, Request::Reboot) => {
            switch(world, pdu, plug, &[false, true])
        }
    }
}

fn true_state(world: &World, pdu: &Pdu, plug: &str) -> bool {
    match *world.feeds.lock().expect("no holder panics") {
        Feeds::EitherCuts => world.node(plug).is_on(),
        Feeds::BothNeeded => pdu.is_outlet_on(plug),
    }
}

fn switch(world: &World, pdu: &Pdu, plug: &str, states: &[bool]) -> Result<String, String> {
    let node = world.node(plug);
    for on in states.iter().copied() {
        if world.is_closing() {
            return Err("the lab is closing".into());
        }
        let feeds = *world.feeds.lock().expect("no holder panics");
        let powered = match feeds {
            Feeds::EitherCuts => {
                world.pdus.iter().for_each(|pdu| pdu.set_outlet(plug, on));
                on
            }
            Feeds::BothNeeded => {
                pdu.set_outlet(plug, on);
                world.pdus.iter().any(|pdu| pdu.is_outlet_on(plug))
            }
        };
        if powered {
            node.power_on();
        } else {
            node.power_off();
        }
    }
    Ok("ok".into())
}
