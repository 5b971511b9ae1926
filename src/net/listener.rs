//! The HTTPS listener: accepts connections, does TLS, hands requests with the peer's certificate to a router.
//!
//! Input → output: a bound listener, TLS settings, a router → requests in it, each with a [`PeerCert`] extension.
//!
//! Invariants: a connection that stands still in its handshake costs a slot for [`HANDSHAKE_TIMEOUT`] and blocks
//! nobody. Strangers (still shaking hands, or without a certificate) share [`MAX_STRANGERS`] slots; members have their
//! own, so that strangers never displace them. A failing accept is tried again, it does not end the listener.
//! Deliberately absent: authorisation.

use super::certificate;
use axum::Router;
use axum::extract::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, warn};

/// A handshake takes two round trips and a signature; a busy small machine does it within this.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections without a certificate, handshakes included: far above what people and browsers open.
pub const MAX_STRANGERS: usize = 256;
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

/// Serves until `shutdown` is cancelled; then open requests get a moment to finish.
pub async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, router: Router, shutdown: CancellationToken) {
    let slots =
        Slots { strangers: Arc::new(Semaphore::new(MAX_STRANGERS)), members: Arc::new(Semaphore::new(MAX_MEMBERS)) };
    let acceptor = TlsAcceptor::from(tls);
    let connections = TaskTracker::new();
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
        let Ok(slot) = slots.strangers.clone().try_acquire_owned() else {
            debug!(%address, "refused a connection: too many without a certificate");
            continue;
        };
        let (slots, acceptor, router, shutdown) = (slots.clone(), acceptor.clone(), router.clone(), shutdown.clone());
        connections.spawn(async move {
            if let Some((stream, peer, slot)) = shake_hands(stream, address, &acceptor, slot, &slots).await {
                talk(stream, address, peer, router, shutdown).await;
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

/// The handshake; a member gives its stranger's slot back and takes one of its own.
async fn shake_hands(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: &TlsAcceptor,
    slot: OwnedSemaphorePermit,
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
        None => slot,
        Some(_) => match slots.members.clone().try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => {
                warn!(%address, "refused a member's connection: too many are open");
                return None;
            }
        },
    };
    Some((stream, peer, slot))
}

async fn talk(stream: Tls, address: SocketAddr, peer: PeerCert, router: Router, shutdown: CancellationToken) {
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(peer.clone());
        router.clone().oneshot(request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(KEEP_ALIVE);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(DRAIN, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        debug!(%address, %error, "connection ended");
    }
}
