//! Heartbeats: the thread that sends and hears them.
//!
//! Input → output: own addresses, the peers' addresses, the cluster's key → [`Contacts`] on demand, a signal when
//! something changed.
//!
//! One UDP socket per link, on the port number of the HTTPS listener; address `i` of this node talks to address `i` of
//! the peers. The thread is its own: neither an fsync nor a full executor delays it. It wakes once in an interval, reads
//! all that has arrived, publishes a new `as_of` and sends. When something arrived is what the kernel noted, not when it
//! was read: so silence is exact although nobody waits for datagrams.
//! Deliberately absent: any decision ([`crate::net::contacts`] keeps the table), and the format
//! ([`crate::net::datagram`]).

use super::contacts::{Contacts, Table};
use super::datagram::{Beat, Codec, MAX_DATAGRAM};
use super::{Identity, NetError, PeerAddr, clock};
use crate::model::{Incarnation, NodeId};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::time::{ClockId, clock_gettime};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

/// Datagrams read from one socket before anything else is done: more than the buffer holds, so all that had arrived is
/// read; and a flood takes some 20 ms, so it does not keep this node from sending.
const MAX_READ_AT_ONCE: usize = 4096;
/// Holds what 64 nodes send in several seconds, for the time this thread sleeps. The kernel may grant less.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Below this a beat is only load; the `Fast` profile uses 50 ms.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
/// What arrives is read at least this often, however rare the beats are: a peer's first sign of life is waited for.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// Links are numbered in a byte; nobody has more networks than this.
const MAX_LINKS: usize = 8;

/// What the thread needs to begin.
pub struct HeartbeatConfig {
    pub incarnation: Incarnation,
    /// Own addresses, link 0 first; one that the machine does not have (yet) is silent until it has.
    pub links: Vec<IpAddr>,
    pub port: u16,
    pub interval: Duration,
    /// A gap of the thread's own loop of this length or more restarts all counts: the suspect time, or less.
    pub stall_after: Duration,
    /// Whom to exchange heartbeats with: voters with everybody, others with the voters.
    pub peers: BTreeMap<NodeId, PeerAddr>,
}

/// The running thread; ends when dropped.
pub struct Heartbeats {
    shared: Arc<Shared>,
    changes: watch::Receiver<u64>,
    readings: watch::Receiver<Duration>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    links: usize,
    state: Mutex<State>,
}

struct State {
    table: Table,
    /// Shared with the thread while it sends.
    peers: Arc<BTreeMap<NodeId, PeerAddr>>,
}

impl Heartbeats {
    /// Opens the sockets and starts the thread.
    pub fn start(identity: &Identity, config: HeartbeatConfig) -> Result<Self, NetError> {
        let HeartbeatConfig { incarnation, links, port, interval, stall_after, peers } = config;
        let sockets = links.iter().take(MAX_LINKS).map(|address| open(SocketAddr::new(*address, port)));
        let sockets = sockets.collect::<Result<Vec<_>, _>>()?;
        let interval = interval.max(SHORTEST_INTERVAL);
        let now = clock::boot_time();
        let table = Table::new(identity.node.clone(), incarnation.clone(), interval, stall_after, now);
        let state = Mutex::new(State { table, peers: Arc::default() });
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), links: sockets.len(), state });
        shared.set_peers(peers);
        let (sender, changes) = watch::channel(0);
        let (reader, readings) = watch::channel(now);
        let worker = Worker {
            me: identity.node.clone(),
            incarnation,
            codec: Codec::new(&identity.cluster_id, &identity.heartbeat_key),
            sockets,
            shared: shared.clone(),
            changes: sender,
            readings: reader,
        };
        let thread = std::thread::Builder::new().name("heartbeat".into()).spawn(move || worker.run());
        Ok(Self { shared, changes, readings, thread: Some(thread.map_err(NetError::Thread)?) })
    }

    /// What is known now; see [`Contacts::as_of`].
    pub fn contacts(&self) -> Contacts {
        self.shared.lock().table.contacts().clone()
    }

    /// Changes its value when a boot is heard for the first time, when a link goes up or down, and after a stall.
    /// The passing of silence is no change: who waits for a threshold sets a timer.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Changes with every new [`Contacts::as_of`], once in an interval or more often: for who watches a silence grow.
    pub fn readings(&self) -> watch::Receiver<Duration> {
        self.readings.clone()
    }

    /// A number for [`Contacts::answered`]: only a peer that was alive after this call can answer it.
    pub fn nonce(&self) -> u64 {
        self.shared.lock().table.contacts().sent + 1
    }

    /// As the leader: lets these nodes know that these beats of theirs count, with every beat from the next one on.
    pub fn acknowledge(&self, acks: BTreeMap<NodeId, (Incarnation, u64)>) {
        self.shared.lock().table.acknowledge(acks);
    }

    /// Replaces the peers, from the next beat on.
    pub fn set_peers(&self, peers: BTreeMap<NodeId, PeerAddr>) {
        self.shared.set_peers(peers);
    }

    /// Changes the interval and the length of a stall, from the next beat on.
    pub fn set_timing(&self, interval: Duration, stall_after: Duration) {
        self.shared.lock().table.set_timing(interval.max(SHORTEST_INTERVAL), stall_after);
    }
}

impl Drop for Heartbeats {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It notices at its next beat. A panic in it was reported by the panic hook.
            let _ended = thread.join();
        }
    }
}

impl Shared {
    fn set_peers(&self, mut peers: BTreeMap<NodeId, PeerAddr>) {
        let mut state = self.lock();
        let me = &state.table.contacts().me;
        peers.retain(|node, _| node != me);
        let links = peers.iter().map(|(node, peer)| (node.clone(), peer.addresses.len().min(self.links))).collect();
        state.table.set_peers(&links, clock::boot_time());
        state.peers = Arc::new(peers);
    }

    /// Held for microseconds. The table is whole between its calls, so a poisoned lock tells nothing.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Worker {
    me: NodeId,
    incarnation: Incarnation,
    codec: Codec,
    sockets: Vec<UdpSocket>,
    shared: Arc<Shared>,
    changes: watch::Sender<u64>,
    readings: watch::Sender<Duration>,
}

impl Worker {
    fn run(self) {
        let mut next_beat = clock::boot_time();
        while !self.shared.stop.load(Ordering::Relaxed) {
            let (interval, changes) = self.hear();
            let now = clock::boot_time();
            if now >= next_beat {
                self.send();
                next_beat = (next_beat + interval).max(now);
            }
            self.changes.send_if_modified(|seen| std::mem::replace(seen, changes) != changes);
            std::thread::sleep(next_beat.saturating_sub(clock::boot_time()).min(interval).min(LONGEST_PAUSE));
        }
    }

    /// Takes all that has arrived into the table, then publishes the time.
    fn hear(&self) -> (Duration, u64) {
        let before = {
            let mut state = self.shared.lock();
            state.table.wake(clock::boot_time());
            state.table.contacts().as_of
        };
        // One byte more, so that a longer datagram is not mistaken for its beginning.
        let mut buffer = [0; MAX_DATAGRAM + 1];
        let mut control = nix::cmsg_space!(TimeSpec);
        for socket in &self.sockets {
            for _ in 0..MAX_READ_AT_ONCE {
                // Errors other than "nothing there" are reports about datagrams sent earlier; the next read is clean.
                let Ok((length, waited)) = receive(socket, &mut buffer, &mut control) else { break };
                let beat = self.codec.decode(&buffer[..length]);
                let mut state = self.shared.lock();
                // A wall clock that was set meanwhile lies about the wait; what was not there last time came after it.
                let now = clock::boot_time();
                let arrived = now.saturating_sub(waited).max(before);
                if let Err(why) = beat.and_then(|beat| state.table.accept(&beat, arrived)) {
                    state.table.count_refused(why);
                }
            }
        }
        let mut state = self.shared.lock();
        let now = clock::boot_time();
        state.table.drained(now);
        self.readings.send_replace(now);
        (state.table.contacts().interval, state.table.changes())
    }

    fn send(&self) {
        let (seq, heard, peers) = {
            let mut state = self.shared.lock();
            (state.table.next_seq(clock::boot_time()), state.table.heard(), state.peers.clone())
        };
        let mut beat = Beat { from: self.me.clone(), incarnation: self.incarnation.clone(), seq, link: 0, heard };
        let mut written = 0;
        for (link, socket) in (0u8..).zip(&self.sockets) {
            beat.link = link;
            let (datagram, count) = self.codec.encode(&beat);
            written = count;
            for peer in peers.values() {
                let Some(address) = peer.addresses.get(usize::from(link)) else { continue };
                // A beat that cannot be sent is a beat that is not heard: that is what heartbeats are for.
                let _lost = socket.send_to(&datagram, SocketAddr::new(*address, peer.port));
            }
        }
        self.shared.lock().table.told(written);
    }
}

/// One datagram: its length, and how long ago it arrived.
fn receive(socket: &UdpSocket, buffer: &mut [u8], control: &mut [u8]) -> nix::Result<(usize, Duration)> {
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(control), MsgFlags::MSG_DONTWAIT)?;
    let stamp = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::ScmTimestampns(at) => Some(at),
        _ => None,
    });
    let waited = match stamp {
        Some(at) => {
            let nanoseconds = (clock_gettime(ClockId::CLOCK_REALTIME)? - at).num_nanoseconds();
            Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))
        }
        None => Duration::ZERO,
    };
    Ok((message.bytes, waited))
}

fn open(address: SocketAddr) -> Result<UdpSocket, NetError> {
    let socket = || {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        // No SO_REUSEADDR: UDP needs none to start again, and with it a second daemon would silently take the input.
        // The address may come later than the daemon, and go and come with its network.
        match address {
            SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
            SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
        }
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        socket.bind(&address.into())?;
        Ok(UdpSocket::from(socket))
    };
    socket().map_err(|source| NetError::Socket { address, source })
}
