//! The HTTPS listener: accepts connections, does TLS, hands requests with the peer's certificate to a router.
//!
//! Input → output: a bound listener, TLS settings, a router → requests in it, each with a [`PeerCert`] extension.
//!
//! Invariants: a connection that stands still in its handshake is cut off after [`HANDSHAKE_TIMEOUT`], or as soon as too
//! many others wait behind it; so it blocks nobody. Who has no certificate is a stranger: strangers share
//! [`MAX_STRANGERS`] slots, members have their own, so that strangers never displace them. A stranger's slot comes free
//! when nothing is under way on its connection. A failing accept is tried again, it does not end the listener.
//! Deliberately absent: authorisation.

use super::certificate;
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use hyper::body::{Frame, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, warn};

/// A handshake takes two round trips and a signature; a busy small machine does it within this.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes at a time. One more displaces the oldest: a member needs milliseconds, so to lock it out strangers would
/// have to open so many within these, and not only to keep so many open.
pub const MAX_HANDSHAKES: usize = 256;
/// Connections without a certificate: far above what people and browsers open.
pub const MAX_STRANGERS: usize = 256;
/// How long a stranger's connection may have no request under way, at first and later: its slot is wanted by others, and
/// who comes back opens another one.
pub const STRANGER_IDLE: Duration = Duration::from_secs(10);
/// How long a stranger's requests may be under way without one of them ending or another beginning: the largest answer
/// over a slow link. What is meant to last says so ([`Endless`]).
pub const STRANGER_ANSWER: Duration = Duration::from_secs(300);
/// Connections of members: 64 nodes with a few links and connections each.
pub const MAX_MEMBERS: usize = 1024;
/// After a failed accept (too many open files): long enough to let others finish, short for who waits.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// An idle or slow HTTP/1 client is cut off after this.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// HTTP/2 peers are asked this often whether they live, so that the connections of dead ones go away.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long requests may run on after shutdown began.
const DRAIN: Duration = Duration::from_secs(2);

/// Who is at the other end of a request: the DNS names of a verified certificate, or `None` without one.
///
/// Compare with [`crate::net::belongs_to`]; whether that node is (still) a member is the route's question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCert(pub Option<Arc<Vec<String>>>);

/// An extension of an answer: it goes on until the client leaves, so that a stranger's connection may last as long. For
/// answers to who has proved that it may ask.
#[derive(Debug, Clone, Copy)]
pub struct Endless;

/// What strangers may take. Tests have less patience.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub handshakes: usize,
    pub strangers: usize,
    pub idle: Duration,
    pub answer: Duration,
}

/// Serves until `shutdown` is cancelled; then open requests get a moment to finish.
pub async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, router: Router, shutdown: CancellationToken) {
    let limits =
        Limits { handshakes: MAX_HANDSHAKES, strangers: MAX_STRANGERS, idle: STRANGER_IDLE, answer: STRANGER_ANSWER };
    serve_within(limits, listener, tls, router, shutdown).await;
}

pub(super) async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    shutdown: CancellationToken,
) {
    let slots =
        Slots { strangers: Arc::new(Semaphore::new(limits.strangers)), members: Arc::new(Semaphore::new(MAX_MEMBERS)) };
    let acceptor = TlsAcceptor::from(tls);
    let connections = TaskTracker::new();
    // Oldest first. Cancelled: over, or displaced.
    let mut handshakes: VecDeque<CancellationToken> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        handshakes.retain(|handshake| !handshake.is_cancelled());
        if handshakes.len() >= limits.handshakes
            && let Some(oldest) = handshakes.pop_front()
        {
            oldest.cancel();
        }
        let handshake = CancellationToken::new();
        handshakes.push_back(handshake.clone());
        let (slots, acceptor, router, shutdown) = (slots.clone(), acceptor.clone(), router.clone(), shutdown.clone());
        connections.spawn(async move {
            let shaken = tokio::select! {
                shaken = shake_hands(stream, address, &acceptor, &slots) => shaken,
                () = handshake.cancelled() => {
                    debug!(%address, "cut off a TLS handshake: too many are open");
                    None
                }
            };
            handshake.cancel();
            if let Some((stream, peer, slot)) = shaken {
                talk(stream, address, peer, router, shutdown, limits).await;
                drop(slot);
            }
        });
    }
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
        debug!(open = connections.len(), "connections were still open at shutdown");
    }
}

#[derive(Clone)]
struct Slots {
    strangers: Arc<Semaphore>,
    members: Arc<Semaphore>,
}

type Tls = tokio_rustls::server::TlsStream<TcpStream>;

/// The handshake, and a slot for who it is.
async fn shake_hands(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: &TlsAcceptor,
    slots: &Slots,
) -> Option<(Tls, PeerCert, OwnedSemaphorePermit)> {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%address, %error, "failed to set TCP_NODELAY");
    }
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            debug!(%address, %error, "TLS handshake failed");
            return None;
        }
        Err(_) => {
            debug!(%address, "TLS handshake timed out");
            return None;
        }
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let peer = PeerCert(certificate.map(|certificate| Arc::new(certificate::names_of(certificate))));
    let slot = match &peer.0 {
        None => slots.strangers.clone().try_acquire_owned().map_err(|_| {
            debug!(%address, "refused a connection: too many without a certificate");
        }),
        Some(_) => slots.members.clone().try_acquire_owned().map_err(|_| {
            warn!(%address, "refused a member's connection: too many are open");
        }),
    };
    Some((stream, peer, slot.ok()?))
}

async fn talk(
    stream: Tls,
    address: SocketAddr,
    peer: PeerCert,
    router: Router,
    shutdown: CancellationToken,
    limits: Limits,
) {
    let is_stranger = peer.0.is_none();
    let load = Arc::new(watch::Sender::new(Load::default()));
    let watched = load.subscribe();
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut under_way = UnderWay::begin(&load);
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        let answer = router.clone().oneshot(request);
        async move {
            let answer = answer.await?;
            if answer.extensions().get::<Endless>().is_some() {
                under_way.goes_on();
            }
            Ok::<_, std::convert::Infallible>(answer.map(|body| Counted { body, _under_way: under_way }))
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(KEEP_ALIVE);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let asked_to_end = async {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = deserted(watched, limits), if is_stranger => {}
        }
    };
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = asked_to_end => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(DRAIN, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        debug!(%address, %error, "connection ended");
    }
}

/// The requests that a connection has under way, up to the last byte of their answers.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    requests: usize,
    /// Those of them whose answers are [`Endless`].
    endless: usize,
}

/// Returns when a connection has been without a request, or without progress of any, for too long.
async fn deserted(mut load: watch::Receiver<Load>, limits: Limits) {
    loop {
        let Load { requests, endless } = *load.borrow_and_update();
        let patience = match (endless, requests) {
            (1.., _) => Duration::MAX,
            (0, 1..) => limits.answer,
            (0, 0) => limits.idle,
        };
        // An error: there is no connection any more.
        if !matches!(tokio::time::timeout(patience, load.changed()).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// One request, until it is dropped.
struct UnderWay {
    load: Arc<watch::Sender<Load>>,
    endless: bool,
}

impl UnderWay {
    fn begin(load: &Arc<watch::Sender<Load>>) -> Self {
        load.send_modify(|load| load.requests += 1);
        Self { load: load.clone(), endless: false }
    }

    fn goes_on(&mut self) {
        if !std::mem::replace(&mut self.endless, true) {
            self.load.send_modify(|load| load.endless += 1);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.load.send_modify(|load| {
            load.requests -= 1;
            load.endless -= usize::from(self.endless);
        });
    }
}

/// The body of an answer, which is under way until all of it was taken or given up.
struct Counted {
    body: Body,
    _under_way: UnderWay,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
