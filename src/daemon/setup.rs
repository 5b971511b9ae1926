//! A new cluster, or a new node in one; and what a node knows of itself between two starts.

use super::DaemonError;
use crate::log::{self, RaftLog, RaftNode};
use crate::model::NodeId;
use crate::net::identity;
use crate::net::{Identity, JoinGrant, JoinKey, JoinRequest, JoinToken, PeerAddr, PinnedClient, clock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const JOIN_TIMEOUT: Duration = Duration::from_secs(30);

/// `DATA_DIR/node.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NodeFacts {
    pub name: NodeId,
    /// One per network; the first is link 0.
    pub addresses: Vec<IpAddr>,
    pub port: u16,
    /// Of the log that this node is to begin with; what a log says that is there already counts more.
    #[serde(default)]
    pub generation: u64,
    /// Whom to ask first, until the log tells who is there.
    pub peers: BTreeMap<NodeId, PeerAddr>,
}

pub struct InitOptions {
    pub data_dir: PathBuf,
    pub cluster: String,
    pub name: String,
    pub addresses: Vec<IpAddr>,
    pub port: u16,
}

pub struct JoinOptions {
    pub data_dir: PathBuf,
    pub token: String,
    pub name: String,
    pub addresses: Vec<IpAddr>,
    pub port: u16,
}

/// Makes a new cluster whose first voter is this node. The daemon must not be running.
pub(super) async fn init(options: &InitOptions) -> Result<(), DaemonError> {
    let name = check(&options.name, &options.addresses)?;
    make_data_dir(&options.data_dir)?;
    let identity = Identity::init(&options.data_dir, &options.cluster, &name, clock::wall_ms())?;
    let facts = NodeFacts {
        name: name.clone(),
        addresses: options.addresses.clone(),
        port: options.port,
        generation: 0,
        peers: BTreeMap::new(),
    };
    let log_identity = log_identity(&identity, 0);
    let log = RaftLog::start(log::Config::DEFAULT, &options.data_dir, log_identity, Nobody).await?;
    let node = RaftNode { name, addresses: options.addresses.clone(), port: options.port };
    let initialised = log.initialize_single(node).await;
    log.shutdown().await;
    initialised?;
    // Last: with it a daemon can start.
    facts.store(&options.data_dir)
}

/// Gets a certificate with a token and stores what the cluster says. The daemon must not be running.
pub(super) async fn join(options: &JoinOptions) -> Result<(), DaemonError> {
    let name = check(&options.name, &options.addresses)?;
    let token: JoinToken = options.token.parse()?;
    // Everything that can be known to fail does so before the token is spent.
    identity::refuse_any(&options.data_dir)?;
    let existed = options.data_dir.exists();
    make_data_dir(&options.data_dir)?;
    let joined = ask_to_join(options, name, &token).await;
    if joined.is_err() && !existed {
        // Fails if there is anything in it, which is then worth keeping.
        let _ = std::fs::remove_dir(&options.data_dir);
    }
    joined
}

async fn ask_to_join(options: &JoinOptions, name: NodeId, token: &JoinToken) -> Result<(), DaemonError> {
    let key = JoinKey::generate()?;
    let request = JoinRequest {
        token: token.id,
        secret: token.secret,
        name: name.clone(),
        addresses: options.addresses.clone(),
        port: options.port,
        csr: key.csr_pem.clone(),
    };
    let client = PinnedClient::new(token)?;
    let grant: JoinGrant = client.post_json("/v1/join", &request, JOIN_TIMEOUT).await?;
    Identity::store_joined(&options.data_dir, &name, &key, &grant)?;
    let JoinGrant { generation, peers, .. } = grant;
    let facts = NodeFacts { name, addresses: options.addresses.clone(), port: options.port, generation, peers };
    facts.store(&options.data_dir)
}

/// What a node that left for good begins its folder's name with.
const LEFT: &str = "left-";

/// Moves everything a node knew into one folder beside it, so that the machine may join again: an identity that was given
/// up must not come back with its old log.
pub(super) fn put_aside(data_dir: &Path, wall_ms: u64) -> Result<(), DaemonError> {
    let aside = data_dir.join(format!("{LEFT}{wall_ms}"));
    std::fs::create_dir(&aside).map_err(DaemonError::file(&aside))?;
    for entry in std::fs::read_dir(data_dir).map_err(DaemonError::file(data_dir))? {
        let name = entry.map_err(DaemonError::file(data_dir))?.file_name();
        if !name.to_string_lossy().starts_with(LEFT) {
            let from = data_dir.join(&name);
            std::fs::rename(&from, aside.join(&name)).map_err(DaemonError::file(&from))?;
        }
    }
    tracing::info!(folder = %aside.display(), "this node left for good; what it knew is kept there, and may be deleted");
    Ok(())
}

pub(super) fn log_identity(identity: &Identity, generation: u64) -> log::Identity {
    log::Identity { cluster: identity.cluster_id.clone(), generation, node: identity.node.clone() }
}

impl NodeFacts {
    pub fn load(data_dir: &Path) -> Result<Self, DaemonError> {
        let path = data_dir.join("node.json");
        let text = std::fs::read(&path).map_err(DaemonError::file(&path))?;
        serde_json::from_slice(&text).map_err(|error| DaemonError::Damaged { path, why: error.to_string() })
    }

    /// Written beside and renamed, so that a power cut leaves the old or the new one.
    pub fn store(&self, data_dir: &Path) -> Result<(), DaemonError> {
        let text = serde_json::to_vec_pretty(self).expect("plain data always serialises");
        write_durably(&data_dir.join("node.json"), &text)
    }
}

/// Replaces a file of the data directory as a whole.
pub(super) fn write_durably(path: &Path, text: &[u8]) -> Result<(), DaemonError> {
    let fresh = path.with_extension("json.new");
    let write = || {
        let mut file = std::fs::File::create(&fresh)?;
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        path.parent().map_or(Ok(()), |dir| std::fs::File::open(dir)?.sync_all())
    };
    write().map_err(DaemonError::file(path))
}

fn check(text: &str, addresses: &[IpAddr]) -> Result<NodeId, DaemonError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    if !first || text.len() > 128 || !text.chars().all(good) {
        return Err(DaemonError::BadName { name: text.to_owned() });
    }
    if addresses.is_empty() {
        return Err(DaemonError::Other("at least one address is needed".into()));
    }
    Ok(NodeId::new(text))
}

fn make_data_dir(path: &Path) -> Result<(), DaemonError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o711).create(path).map_err(DaemonError::file(path))
}

/// There is nobody to talk to yet.
#[derive(Clone)]
struct Nobody;

impl log::Transport for Nobody {
    async fn send(
        &self,
        _peer: &NodeId,
        _kind: log::RpcKind,
        _body: hyper::body::Bytes,
        _timeout: Duration,
    ) -> Result<hyper::body::Bytes, log::TransportError> {
        Err(log::TransportError::NotSent("the cluster has one node".into()))
    }
}
