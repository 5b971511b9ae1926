//! How a new machine becomes a member: the messages, the joiner's key and its client.
//!
//! Input → output: a [`JoinToken`] → [`PinnedClient`] → POST of a [`JoinRequest`] → [`JoinGrant`] →
//! [`crate::net::Identity::store_joined`].
//!
//! Invariants: the joiner talks only to a server whose chain leads to the CA that the token pins, so the secret
//! reaches members only. The private key never leaves the joiner.
//! Deliberately absent: the route that answers, and the store of tokens.

use super::token::{TokenId, TokenSecret};
use super::{JoinToken, NetError, PeerAddr, certificate, peers, tls};
use crate::model::NodeId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// How long one address of a token may take to accept a connection; the next one is tried then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What a joining node sends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinRequest {
    pub token: TokenId,
    pub secret: TokenSecret,
    pub name: NodeId,
    /// The joiner's own addresses; the first is link 0.
    pub addresses: Vec<IpAddr>,
    pub port: u16,
    /// A certificate request in PEM; only its public key counts.
    pub csr: String,
}

/// What it gets. Holds secrets: `Debug` shows none.
#[derive(Clone, Serialize, Deserialize)]
pub struct JoinGrant {
    pub cluster_id: String,
    pub cluster_name: String,
    pub ca_certificate_pem: String,
    /// So that any node can let others in. Which nodes vote says git, later than this. None: who answers has none.
    pub ca_key_pem: Option<String>,
    pub certificate_pem: String,
    pub heartbeat_key: [u8; 32],
    /// Of the cluster's log: raised by every `hafen recover`.
    #[serde(default)]
    pub generation: u64,
    /// The members to contact first.
    pub peers: BTreeMap<NodeId, PeerAddr>,
}

impl std::fmt::Debug for JoinGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinGrant")
            .field("cluster_id", &self.cluster_id)
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}

/// The key of a node that is about to join.
pub struct JoinKey {
    pub(super) key_pem: String,
    /// Goes into [`JoinRequest::csr`].
    pub csr_pem: String,
}

impl JoinKey {
    pub fn generate() -> Result<Self, NetError> {
        let (key_pem, csr_pem) = certificate::new_request()?;
        Ok(Self { key_pem, csr_pem })
    }
}

/// A client that trusts exactly the cluster a token names, and no name or address within it.
pub struct PinnedClient {
    addresses: Vec<std::net::SocketAddr>,
    client: reqwest::Client,
}

impl PinnedClient {
    pub fn new(token: &JoinToken) -> Result<Self, NetError> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::pinned_client_config(token.ca_fingerprint)?)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(|error| NetError::Tls(peers::in_words(&error)))?;
        Ok(Self { addresses: token.addresses.clone(), client })
    }

    /// Posts `body` as JSON to the first address of the token that accepts a connection, and reads JSON.
    ///
    /// `timeout` counts per address. [`NetError::Join`]: nothing was sent to anybody. [`NetError::Unknown`]: the token
    /// may be used up. [`NetError::Status`]: refused, with the reason in the body.
    pub async fn post_json<B: Serialize, R: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        timeout: Duration,
    ) -> Result<R, NetError> {
        let mut reasons = Vec::new();
        for address in &self.addresses {
            let node = NodeId::new(address.to_string());
            let request = self.client.post(format!("https://{address}{path}")).json(body);
            match peers::exchange(&node, request, timeout).await {
                Ok(answer) => {
                    return serde_json::from_slice(&answer)
                        .map_err(|error| NetError::Unknown { node, reason: format!("unreadable answer: {error}") });
                }
                Err(NetError::NotSent { reason, .. }) => reasons.push(format!("{address}: {reason}")),
                Err(error) => return Err(error),
            }
        }
        Err(NetError::Join { reason: reasons.join("; ") })
    }
}
