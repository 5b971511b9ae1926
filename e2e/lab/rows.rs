//! The client of a database: inserts rows without pause from the client host, and remembers which were acknowledged.
//!
//! Several connections, each sending one autocommitted `INSERT` at a time over MariaDB's own protocol, so that an
//! acknowledgement is exactly the server's OK packet. A row whose answer never came is unknown: its number is not used again.

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::switch::enter;

/// Enough for group commit to carry several rows, few enough for two cores.
const CONNECTIONS: usize = 4;
/// Of connecting: below the second after which TCP would repeat its first packet.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);
/// Of an answer: far above the slowest commit seen; only a dead server takes longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(10);
/// Packets of a greeting, an OK or an error are far smaller.
const PACKET_LIMIT: usize = 64 * 1024;

/// `CLIENT_PROTOCOL_41 | CLIENT_TRANSACTIONS | CLIENT_SECURE_CONNECTION`.
const CAPABILITIES: u32 = 0x0200 | 0x2000 | 0x8000;
const COM_QUERY: u8 = 3;

/// A client at work.
pub struct Rows {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    next: AtomicU64,
    acknowledged: Mutex<Acknowledged>,
}

#[derive(Debug, Clone, Default)]
pub struct Acknowledged {
    pub rows: BTreeSet<u64>,
    /// When each came, in order.
    pub at: Vec<Instant>,
}

impl Rows {
    /// Inserts `id`s into `table` as `user`, who has no password.
    pub(super) fn start(netns: PathBuf, address: &str, user: &'static str, table: &'static str) -> Rows {
        let address: SocketAddr = address.parse().expect("the address of a database is IP:PORT");
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            next: AtomicU64::new(1),
            acknowledged: Mutex::new(Acknowledged::default()),
        });
        let one = |_| {
            let (shared, netns) = (Arc::clone(&shared), netns.clone());
            thread::spawn(move || {
                enter(&netns);
                while !shared.stop.load(Ordering::SeqCst) {
                    // A lost connection is what the test is about: the next one is tried at once.
                    let _ = insert(&shared, address, user, table);
                    thread::sleep(RETRY);
                }
            })
        };
        let threads = (0..CONNECTIONS).map(one).collect();
        Rows { shared, threads }
    }

    /// How many rows were acknowledged so far.
    pub fn count(&self) -> usize {
        self.shared.acknowledged.lock().expect("no holder panics").rows.len()
    }

    /// From the last acknowledgement before `moment` + what was in flight to the first of the next server, as soon as there is one:
    /// the longest time between two acknowledgements since `moment`, counting the last one before it.
    pub fn gap_since(&self, moment: Instant) -> Duration {
        let acknowledged = self.shared.acknowledged.lock().expect("no holder panics");
        let first = acknowledged.at.partition_point(|at| *at < moment);
        let times = &acknowledged.at[first.saturating_sub(1)..];
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Whether rows were acknowledged in the last 100 ms.
    pub fn flows(&self) -> bool {
        let acknowledged = self.shared.acknowledged.lock().expect("no holder panics");
        acknowledged.at.last().is_some_and(|at| at.elapsed() < Duration::from_millis(100))
    }

    /// Ends the client and returns what was acknowledged.
    pub fn finish(self) -> Acknowledged {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().expect("clients do not panic"));
        self.shared.acknowledged.lock().expect("no holder panics").clone()
    }
}

/// Connects and inserts until the connection is lost or the client is to end.
fn insert(shared: &Shared, address: SocketAddr, user: &str, table: &str) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_nodelay(true)?;
    log_in(&mut stream, user)?;
    while !shared.stop.load(Ordering::SeqCst) {
        let id = shared.next.fetch_add(1, Ordering::SeqCst);
        let mut query = vec![COM_QUERY];
        query.extend_from_slice(format!("INSERT INTO {table} (id) VALUES ({id})").as_bytes());
        send(&mut stream, 0, &query)?;
        expect_ok(&mut stream)?;
        let mut acknowledged = shared.acknowledged.lock().expect("no holder panics");
        acknowledged.rows.insert(id);
        acknowledged.at.push(Instant::now());
    }
    Ok(())
}

fn log_in(stream: &mut TcpStream, user: &str) -> Result<()> {
    let (number, greeting) = receive(stream)?;
    if greeting.first() != Some(&10) {
        return Err(Error::new(ErrorKind::InvalidData, "no greeting"));
    }
    let mut answer = CAPABILITIES.to_le_bytes().to_vec();
    answer.extend_from_slice(&0u32.to_le_bytes());
    // utf8_general_ci, then 23 unused bytes.
    answer.push(33);
    answer.extend_from_slice(&[0; 23]);
    answer.extend_from_slice(user.as_bytes());
    // The end of the name, and no password.
    answer.extend_from_slice(&[0, 0]);
    send(stream, number.wrapping_add(1), &answer)?;
    expect_ok(stream)
}

fn expect_ok(stream: &mut TcpStream) -> Result<()> {
    let (_, answer) = receive(stream)?;
    match answer.first() {
        Some(0) => Ok(()),
        Some(_) | None => Err(Error::other(String::from_utf8_lossy(&answer).into_owned())),
    }
}

fn send(stream: &mut TcpStream, number: u8, payload: &[u8]) -> Result<()> {
    let length = u32::try_from(payload.len()).expect("a query is short").to_le_bytes();
    let mut packet = vec![length[0], length[1], length[2], number];
    packet.extend_from_slice(payload);
    stream.write_all(&packet)
}

fn receive(stream: &mut TcpStream) -> Result<(u8, Vec<u8>)> {
    let mut header = [0; 4];
    stream.read_exact(&mut header)?;
    let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
    if length > PACKET_LIMIT {
        return Err(Error::new(ErrorKind::InvalidData, "a packet is too long"));
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    Ok((header[3], payload))
}
