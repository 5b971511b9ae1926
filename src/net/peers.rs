//! Requests to other nodes, over whichever of their links works.
//!
//! Input → output: who is where ([`Peers::set`]), which links are heard ([`Peers::set_link_state`]) → [`Peers::post`].
//!
//! A *link* is one network: address `i` of a peer is reached from this node's own address `i`. Each (peer, link) has
//! its own client with a kept-alive HTTP/2 connection. A request takes the first link that is believed up and did
//! not fail lately; it goes over to the next one when connecting fails, and, if the caller says that doing it twice
//! is harmless, also when there was no answer within this link's share of the time.
//!
//! Invariants: [`NetError::NotSent`] only if no attempt can have reached the peer. A request that may not be repeated
//! is sent at most once. The peer must show the certificate of the node that is meant, whatever its address.

use super::{Contacts, Identity, NetError, certificate, clock, tls};
use crate::model::{NodeId, causes};
use axum::body::Bytes;
use axum::http::Method;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio::time::Instant;

/// A TCP and TLS connection on a LAN takes milliseconds; past this the next link is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A link that failed is not preferred for so long: heartbeats have told by then whether it is down.
const DISTRUST: Duration = Duration::from_secs(1);
/// Connections are probed this often, so that a request rarely meets one whose other end is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Answers beyond this are cut off as an error; the largest are chunks of a snapshot.
pub const MAX_ANSWER: usize = 64 << 20;
/// More of an error's text helps nobody.
pub const MAX_ERROR_BODY: usize = 64 << 10;

/// Where a peer listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerAddr {
    /// One per link; the first is link 0.
    pub addresses: Vec<IpAddr>,
    /// The same for HTTPS (TCP) and heartbeats (UDP).
    pub port: u16,
}

/// Whether a request may be done twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Twice is as good as once: no answer on one link, so it goes over the next.
    Harmless,
    /// Sent at most once.
    Never,
}

/// What heartbeats say about a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkState {
    Up,
    Down,
}

/// The clients of all peers. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Peers(Arc<Inner>);

struct Inner {
    tls: rustls::ClientConfig,
    local_addresses: Vec<IpAddr>,
    table: RwLock<BTreeMap<NodeId, Peer>>,
}

struct Peer {
    address: PeerAddr,
    links: Vec<Link>,
}

#[derive(Clone)]
struct Link {
    client: reqwest::Client,
    state: LinkState,
    failed_at: Option<Duration>,
}

impl Peers {
    /// `local_addresses`: this node's own addresses, link 0 first. A link without one uses any local address.
    pub fn new(identity: &Identity, local_addresses: Vec<IpAddr>) -> Result<Self, NetError> {
        let tls = tls::client_config(identity)?;
        Ok(Self(Arc::new(Inner { tls, local_addresses, table: RwLock::default() })))
    }

    /// Replaces the table of peers. Connections to peers whose addresses did not change stay open.
    pub fn set(&self, peers: BTreeMap<NodeId, PeerAddr>) -> Result<(), NetError> {
        let mut added = BTreeMap::new();
        for (node, address) in &peers {
            if self.read().get(node).is_some_and(|peer| &peer.address == address) {
                continue;
            }
            let link = |index| {
                Ok(Link { client: self.0.client(node, address, index)?, state: LinkState::Up, failed_at: None })
            };
            let links = (0..address.addresses.len()).map(link).collect::<Result<_, NetError>>()?;
            added.insert(node.clone(), Peer { address: address.clone(), links });
        }
        let mut table = self.write();
        table.retain(|node, _| peers.contains_key(node));
        table.extend(added);
        Ok(())
    }

    /// The peers that can be asked, with their addresses.
    pub fn known(&self) -> BTreeMap<NodeId, PeerAddr> {
        self.read().iter().map(|(node, peer)| (node.clone(), peer.address.clone())).collect()
    }

    /// Takes over what heartbeats say of all links. To be called after every change of them.
    pub fn follow(&self, contacts: &Contacts) {
        for (node, contact) in &contacts.peers {
            for (index, link) in contact.links.iter().enumerate() {
                self.set_link_state(node, index, link.state);
            }
        }
    }

    /// Tells what heartbeats say. A link that comes back gets fresh connections: the old ones may be dead.
    pub fn set_link_state(&self, node: &NodeId, link: usize, state: LinkState) {
        let mut table = self.write();
        let Some(peer) = table.get_mut(node) else { return };
        let Some(found) = peer.links.get_mut(link).filter(|found| found.state != state) else { return };
        found.state = state;
        if state == LinkState::Up {
            found.failed_at = None;
            match self.0.client(node, &peer.address, link) {
                Ok(client) => found.client = client,
                Err(error) => tracing::warn!(%node, link, %error, "kept the old connections of a link that came back"),
            }
        }
    }

    /// POSTs `body` to `path` (with a leading slash) of a peer. `timeout` is for all links together, answer included.
    pub async fn post(
        &self,
        node: &NodeId,
        path: &str,
        body: Bytes,
        timeout: Duration,
        repeat: Repeat,
    ) -> Result<Bytes, NetError> {
        self.send(node, Method::POST, path, body, timeout, repeat).await
    }

    /// GETs `path` of a peer.
    pub async fn get(&self, node: &NodeId, path: &str, timeout: Duration) -> Result<Bytes, NetError> {
        self.send(node, Method::GET, path, Bytes::new(), timeout, Repeat::Harmless).await
    }

    async fn send(
        &self,
        node: &NodeId,
        method: Method,
        path: &str,
        body: Bytes,
        timeout: Duration,
        repeat: Repeat,
    ) -> Result<Bytes, NetError> {
        let deadline = Instant::now() + timeout;
        let not_sent = |reason: &str| NetError::NotSent { node: node.clone(), reason: reason.into() };
        let (port, links) = self.in_order_of_trust(node).ok_or_else(|| not_sent("it is not a known peer"))?;
        let url = format!("https://{}:{port}{path}", certificate::server_name(node));
        let mut worst = not_sent("it has no addresses");
        let mut stale_connection = None;
        for (tried, (index, client)) in links.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = match repeat {
                // At least one link remains: this one.
                Repeat::Harmless => left / u32::try_from(links.len() - tried).unwrap_or(u32::MAX),
                Repeat::Never => left,
            };
            let request = client.request(method.clone(), &url).body(body.clone());
            let error = match exchange(node, request, share).await {
                Ok(answer) => return Ok(answer),
                Err(error @ NetError::Status { .. }) => return Err(error),
                Err(error) => error,
            };
            self.distrust(node, *index);
            tracing::debug!(%node, link = index, %error, "a link failed");
            if matches!(error, NetError::Unknown { .. }) {
                if repeat == Repeat::Never {
                    return Err(error);
                }
                stale_connection.get_or_insert(client);
                worst = error;
            } else if matches!(worst, NetError::NotSent { .. }) {
                worst = error;
            }
        }
        // A peer that restarted leaves connections that fail at their first use, at once and on every link: once more.
        if let Some(client) = stale_connection {
            let left = deadline.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                return match exchange(node, client.request(method, &url).body(body), left).await {
                    Err(NetError::NotSent { .. } | NetError::Unknown { .. }) => Err(worst),
                    answered => answered,
                };
            }
        }
        Err(worst)
    }

    /// The port and the links of a peer: up before down, good before lately failed, then by number.
    fn in_order_of_trust(&self, node: &NodeId) -> Option<(u16, Vec<(usize, reqwest::Client)>)> {
        let now = clock::boot_time();
        let table = self.read();
        let peer = table.get(node)?;
        let mut order: Vec<_> = peer.links.iter().enumerate().collect();
        let failed_lately = |link: &Link| link.failed_at.is_some_and(|at| now.saturating_sub(at) < DISTRUST);
        order.sort_by_key(|(index, link)| (link.state, failed_lately(link), *index));
        Some((peer.address.port, order.into_iter().map(|(index, link)| (index, link.client.clone())).collect()))
    }

    fn distrust(&self, node: &NodeId, link: usize) {
        if let Some(link) = self.write().get_mut(node).and_then(|peer| peer.links.get_mut(link)) {
            link.failed_at = Some(clock::boot_time());
        }
    }

    // The table is whole after every statement that changes it, so a poisoned lock tells nothing.
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<NodeId, Peer>> {
        self.0.table.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<NodeId, Peer>> {
        self.0.table.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    fn client(&self, node: &NodeId, peer: &PeerAddr, link: usize) -> Result<reqwest::Client, NetError> {
        let remote = *peer.addresses.get(link).ok_or_else(|| NetError::Tls(format!("`{node}` has no link {link}")))?;
        let local = self.local_addresses.get(link).filter(|local| local.is_ipv4() == remote.is_ipv4());
        reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .resolve(&certificate::server_name(node), SocketAddr::new(remote, peer.port))
            .local_address(local.copied())
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_prior_knowledge()
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_keep_alive_timeout(KEEP_ALIVE)
            .http2_keep_alive_while_idle(true)
            .pool_idle_timeout(None)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| NetError::Tls(in_words(&error)))
    }
}

/// Sends one request once and reads its answer, within `timeout`.
pub(super) async fn exchange(
    node: &NodeId,
    request: reqwest::RequestBuilder,
    timeout: Duration,
) -> Result<Bytes, NetError> {
    let failed = |error: reqwest::Error| {
        let (node, reason) = (node.clone(), in_words(&error));
        if error.is_connect() || error.is_builder() {
            NetError::NotSent { node, reason }
        } else {
            NetError::Unknown { node, reason }
        }
    };
    let exchange = async {
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let limit = if status.is_success() { MAX_ANSWER } else { MAX_ERROR_BODY };
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            let room = limit - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                if status.is_success() {
                    let reason = format!("its answer is longer than {MAX_ANSWER} bytes");
                    return Err(NetError::Unknown { node: node.clone(), reason });
                }
                break;
            }
        }
        if status.is_success() { Ok(Bytes::from(body)) } else { Err(NetError::Status { code: status.as_u16(), body }) }
    };
    // Whether a connection was made in the time is not known here, so the cautious answer is given.
    let unknown = || NetError::Unknown { node: node.clone(), reason: format!("no answer within {timeout:?}") };
    tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| Err(unknown()))
}

/// An error with its causes, without the address (which says nothing: it is a hash).
pub(super) fn in_words(error: &reqwest::Error) -> String {
    causes::causes(error).next().map_or_else(|| error.to_string(), causes::in_words)
}
