//! A relay in a node's cable: every frame passes, later. There is no netem in many kernels, and two raw sockets do it as well.
//!
//! The node's port leaves the bridge; a pair of cards takes its place, `Xd0` in the bridge and `Xx0` at the relay, which
//! carries frames between `Xe0` and `Xx0`, each after its own time, so that they overtake each other. Ends with its handle, or
//! when the node loses its power: then its next boot is connected directly.

use std::collections::BinaryHeap;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::libc;

use super::switch::enter;

/// Frames under way; a real cable's buffers end too.
const MOST_FRAMES: usize = 4096;
/// A frame of 64 KiB, since cards made of software leave the splitting to the next, and the header that says how.
const MOST_BYTES: usize = 70 * 1024;
/// How long the relay sleeps at most: also how soon it sees that it is to end.
const TICK: Duration = Duration::from_millis(20);

/// A relay at work.
pub struct Relay {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    netns: String,
    node: String,
    link: usize,
}

/// When it is due, in which order it came, to which end it goes, and its bytes: compared so that the heap gives the earliest.
type Frame = (std::cmp::Reverse<(Instant, u64)>, usize, Vec<u8>);

impl Relay {
    /// Puts a relay into a cable: frames take `delay` and up to `jitter` more, each way. None where it cannot be done.
    pub(super) fn start(netns: &str, node: &str, link: usize, delay: Duration, jitter: Duration) -> Option<Relay> {
        let setup = format!(
            "link add {node}d{link} type veth peer name {node}x{link}\nlink set {node}x{link} up promisc on\n\
             link set {node}e{link} nomaster\nlink set {node}e{link} promisc on\nlink set {node}d{link} master br{link} up\n"
        );
        let stop = Arc::new(AtomicBool::new(false));
        let mut relay = Relay { stop: Arc::clone(&stop), thread: None, netns: netns.into(), node: node.into(), link };
        if !relay.ip(&setup) {
            return None;
        }
        let (path, ports) =
            (PathBuf::from("/run/netns").join(netns), [format!("{node}e{link}"), format!("{node}x{link}")]);
        relay.thread = Some(thread::spawn(move || {
            enter(&path);
            if let [Some(node), Some(bridge)] = ports.map(|port| open(&port)) {
                carry(&stop, &[node, bridge], delay, jitter);
            }
        }));
        Some(relay)
    }

    /// Runs a batch of `ip`; what fails, fails: the node may have lost its ports a moment ago.
    fn ip(&self, batch: &str) -> bool {
        let command = Command::new("ip")
            .args(["-n", &self.netns, "-force", "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut child) = command else { return false };
        let fed =
            child.stdin.take().is_some_and(|mut stdin| std::io::Write::write_all(&mut stdin, batch.as_bytes()).is_ok());
        child.wait().is_ok_and(|status| status.success()) && fed
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let (node, link) = (&self.node, self.link);
        self.ip(&format!(
            "link del {node}d{link}\nlink set {node}e{link} promisc off\nlink set {node}e{link} master br{link}\n"
        ));
    }
}

/// A raw socket on one card, with the headers that say what is left to the hardware.
fn open(port: &str) -> Option<OwnedFd> {
    let index = nix::net::if_::if_nametoindex(port).ok()?;
    let all = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: a plain system call; the result is checked before it becomes a descriptor.
    let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return None;
    }
    // SAFETY: it was just opened and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    let one: libc::c_int = 1;
    for option in [libc::PACKET_VNET_HDR, libc::PACKET_IGNORE_OUTGOING] {
        // SAFETY: the value and its length belong together.
        let set = unsafe {
            libc::setsockopt(raw, libc::SOL_PACKET, option, (&raw const one).cast(), size_of::<libc::c_int>() as u32)
        };
        if set != 0 {
            return None;
        }
    }
    // SAFETY: all zeroes is a valid address of this kind.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = all;
    address.sll_ifindex = i32::try_from(index).ok()?;
    // SAFETY: the address and its length belong together.
    let bound = unsafe { libc::bind(raw, (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as u32) };
    (bound == 0).then_some(socket)
}

fn carry(stop: &AtomicBool, ends: &[OwnedFd; 2], delay: Duration, jitter: Duration) {
    let mut under_way: BinaryHeap<Frame> = BinaryHeap::new();
    let mut buffer = vec![0u8; MOST_BYTES];
    let mut count = 0u64;
    while !stop.load(Ordering::SeqCst) {
        let now = Instant::now();
        while under_way.peek().is_some_and(|(std::cmp::Reverse((due, _)), ..)| *due <= now) {
            if let Some((_, to, bytes)) = under_way.pop() {
                // SAFETY: pointer and length are those of one vector. A frame that cannot be sent is lost, as on any cable.
                unsafe { libc::send(ends[to].as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
            }
        }
        let wait =
            under_way.peek().map_or(TICK, |(std::cmp::Reverse((due, _)), ..)| due.saturating_duration_since(now));
        let millis = i32::try_from(wait.min(TICK).as_millis()).unwrap_or(1).max(1);
        let mut polled =
            [0, 1].map(|end: usize| libc::pollfd { fd: ends[end].as_raw_fd(), events: libc::POLLIN, revents: 0 });
        // SAFETY: pointer and length are those of one array.
        unsafe { libc::poll(polled.as_mut_ptr(), 2, millis) };
        for (from, end) in ends.iter().enumerate() {
            loop {
                // SAFETY: pointer and length are those of one vector.
                let read = unsafe { libc::recv(end.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
                let Ok(length) = usize::try_from(read) else { break };
                count += 1;
                if under_way.len() < MOST_FRAMES {
                    // Spread evenly by a multiplication with an odd constant: needs no more chance than that.
                    let part = (count.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54) as u32;
                    let due = Instant::now() + delay + jitter * part / 1024;
                    under_way.push((std::cmp::Reverse((due, count)), 1 - from, buffer[..length].to_vec()));
                }
            }
        }
    }
}
