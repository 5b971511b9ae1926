//! The client: opens a new TCP connection every 5 ms, whatever became of the earlier ones, and records every answer.
//!
//! A probe succeeds when the first bytes of the answer arrive: the body of an HTTP response, or the greeting of a database.
//! The gap is what a user would call the outage: the longest time between two answers.

use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Socket, Type};

use super::switch::enter;

/// Resolution of the gap; peers' figures were taken with the same.
const INTERVAL: Duration = Duration::from_millis(5);
/// A connection without an answer by then has failed; far below the second after which TCP would repeat its first packet.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(250);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeKind {
    /// Sends a GET and expects a response whose last line names who answered.
    Http,
    /// Expects the server to speak first, as MariaDB does.
    Greeting,
}

/// One connection's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub sent: Instant,
    pub done: Instant,
    /// Who answered; `None` when nobody did.
    pub who: Option<String>,
}

/// A prober at work.
pub struct Probe {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Answer>>>,
    latest: Arc<std::sync::Mutex<Option<Answer>>>,
}

/// All answers of a prober, in the order in which they ended.
#[derive(Debug)]
pub struct ProbeReport {
    pub answers: Vec<Answer>,
    pub ended: Instant,
}

impl Probe {
    /// Asks from this host's own network.
    pub fn local(address: &str, kind: ProbeKind) -> Probe {
        Probe::start(None, address, kind)
    }

    pub(super) fn start(netns: Option<PathBuf>, address: &str, kind: ProbeKind) -> Probe {
        let address: SocketAddr = address.parse().expect("the address of a probe is IP:PORT");
        let stop = Arc::new(AtomicBool::new(false));
        let latest = Arc::new(std::sync::Mutex::new(None));
        let (stopped, newest) = (Arc::clone(&stop), Arc::clone(&latest));
        let thread = thread::spawn(move || {
            if let Some(netns) = netns {
                enter(&netns);
            }
            ask_until(&stopped, &newest, address, kind)
        });
        Probe { stop, thread: Some(thread), latest }
    }

    /// Who gave the newest answer that began after `moment`, if any came yet.
    pub fn who_after(&self, moment: Instant) -> Option<String> {
        let latest = self.latest.lock().expect("no holder panics");
        latest.as_ref().filter(|answer| answer.sent >= moment)?.who.clone()
    }

    /// Ends the prober and returns what it saw.
    pub fn finish(mut self) -> ProbeReport {
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().expect("finish is called once, it takes self");
        ProbeReport { answers: thread.join().expect("the prober does not panic"), ended: Instant::now() }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

impl ProbeReport {
    /// The longest time between two answers; from the last one to the end, if that is longer. Zero without any answer.
    pub fn gap(&self) -> Duration {
        let mut times: Vec<Instant> = self.good().map(|answer| answer.done).collect();
        times.sort();
        times.extend(times.last().is_some().then_some(self.ended));
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// From `moment` to the first answer of a connection opened after it.
    pub fn served_after(&self, moment: Instant) -> Option<Duration> {
        self.answered_after(moment, |_| true)
    }

    /// As `served_after`, by somebody in particular.
    pub fn answered_after(&self, moment: Instant, by: impl Fn(&str) -> bool) -> Option<Duration> {
        let fits = |answer: &&Answer| answer.sent >= moment && answer.who.as_deref().is_some_and(&by);
        self.good().filter(fits).map(|answer| answer.done - moment).min()
    }

    /// Who answered, in order, without repetitions.
    pub fn who(&self) -> Vec<String> {
        let mut names: Vec<String> = self.good().filter_map(|answer| answer.who.clone()).collect();
        names.dedup();
        names
    }

    /// How many connections got an answer.
    pub fn answered(&self) -> usize {
        self.good().count()
    }

    /// How many did not.
    pub fn failed(&self) -> usize {
        self.answers.len() - self.answered()
    }

    fn good(&self) -> impl Iterator<Item = &Answer> {
        self.answers.iter().filter(|answer| answer.who.is_some())
    }
}

/// One HTTP request to `IP` or `IP:PORT`; the body.
pub fn http_get(address: &str, timeout: Duration) -> Result<String, String> {
    let with_port = if address.contains(':') { address.to_owned() } else { format!("{address}:80") };
    let address: SocketAddr = with_port.parse().map_err(|error| format!("{address}: {error}"))?;
    let read = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().map_err(|error| format!("{address}: {error}"))?;
    let (_, body) = text.split_once("\r\n\r\n").ok_or_else(|| format!("{address}: no HTTP response: {text}"))?;
    Ok(body.trim_end().to_owned())
}

struct Open {
    socket: Socket,
    sent: Instant,
    connected: bool,
}

fn ask_until(
    stop: &AtomicBool,
    latest: &std::sync::Mutex<Option<Answer>>,
    address: SocketAddr,
    kind: ProbeKind,
) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut next = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        let now = Instant::now();
        if now >= next {
            next += INTERVAL;
            match connect(address) {
                Ok(socket) => open.push(Open { socket, sent: now, connected: false }),
                Err(_) => answers.push(Answer { sent: now, done: now, who: None }),
            }
        }
        wait_for_any(&open, next.saturating_duration_since(Instant::now()));
        let mut still_open = Vec::with_capacity(open.len());
        for mut one in open {
            let who = match advance(&mut one, kind) {
                Step::Waiting if one.sent.elapsed() < ANSWER_TIMEOUT => {
                    still_open.push(one);
                    continue;
                }
                Step::Waiting | Step::Failed => None,
                Step::Answered(who) => Some(who),
            };
            let answer = Answer { sent: one.sent, done: Instant::now(), who };
            if answer.who.is_some() {
                *latest.lock().expect("no holder panics") = Some(answer.clone());
            }
            answers.push(answer);
        }
        open = still_open;
    }
    answers
}

fn connect(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // Closing with a reset: 200 connections a second would otherwise pile up in TIME_WAIT.
    socket.set_linger(Some(Duration::ZERO))?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => Err(error),
        Ok(()) | Err(_) => Ok(socket),
    }
}

fn wait_for_any(open: &[Open], limit: Duration) {
    let mut fds: Vec<PollFd> = open
        .iter()
        .map(|one| {
            let flags = if one.connected { PollFlags::POLLIN } else { PollFlags::POLLOUT };
            PollFd::new(one.socket.as_fd(), flags)
        })
        .collect();
    let millis = u16::try_from(limit.as_millis()).unwrap_or(1).max(1);
    // An interrupted wait is a short one.
    let _ = poll(&mut fds, PollTimeout::from(millis));
}

enum Step {
    Waiting,
    Failed,
    Answered(String),
}

/// Does what can be done on a connection without waiting.
fn advance(one: &mut Open, kind: ProbeKind) -> Step {
    if !one.connected {
        if !matches!(one.socket.take_error(), Ok(None)) {
            return Step::Failed;
        }
        if one.socket.peer_addr().is_err() {
            return Step::Waiting;
        }
        one.connected = true;
        if kind == ProbeKind::Http && one.socket.send(b"GET / HTTP/1.0\r\n\r\n").is_err() {
            return Step::Failed;
        }
    }
    let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
    match one.socket.recv(&mut buffer) {
        Ok(0) => Step::Failed,
        Ok(length) => Step::Answered(match kind {
            ProbeKind::Greeting => "greeting".to_owned(),
            ProbeKind::Http => last_line(&buffer[..length]),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Step::Waiting,
        Err(_) => Step::Failed,
    }
}

fn last_line(received: &[MaybeUninit<u8>]) -> String {
    // SAFETY: `recv` has written exactly these bytes.
    let bytes: Vec<u8> = received.iter().map(|byte| unsafe { byte.assume_init() }).collect();
    String::from_utf8_lossy(&bytes).lines().last().unwrap_or_default().to_owned()
}
