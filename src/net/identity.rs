//! What makes this machine a member of one cluster: files under `DATA_DIR/identity`.
//!
//! Input → output: the data directory → [`Identity`]; `init` and `join` write it, once.
//!
//! Invariants: the directory is complete or absent (written aside, then renamed). Keys are refused when group or
//! others can read them. Every node is given the CA's key when it joins, so that any of them can let a node join while
//! others are down (and which nodes vote is said later, by git); whoever takes a node's disk can make members.
//! Deliberately absent: membership. That this node *has* an identity does not say that the cluster still knows it.

use super::certificate::{self, KeyAndCertificate};
use super::clock::write_durably;
use super::{JoinGrant, JoinKey, NetError};
use crate::model::NodeId;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The version of the files; a reader refuses others.
const FORMAT: u32 = 1;
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// No file of an identity is longer: more is not read, whatever somebody put there.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A member's credentials. `Debug` shows no secrets.
#[derive(Clone)]
pub struct Identity {
    /// 128 random bits as hex, made by `init`; the same on every member.
    pub cluster_id: String,
    pub cluster_name: String,
    pub node: NodeId,
    /// This node's certificate, PEM.
    pub certificate_pem: String,
    /// The CA's certificate, PEM.
    pub ca_certificate_pem: String,
    /// Signs and verifies heartbeats; the same on every member.
    pub heartbeat_key: [u8; 32],
    key_pem: String,
    ca_key_pem: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    format: u32,
    cluster_id: String,
    cluster_name: String,
    node: NodeId,
}

impl Identity {
    /// Makes a new cluster with this node as its first member, and stores the identity.
    ///
    /// Fails with [`NetError::IdentityExists`] if the data directory already belongs to a cluster.
    pub fn init(data_dir: &Path, cluster_name: &str, node: &NodeId, now_ms: u64) -> Result<Self, NetError> {
        refuse_existing(data_dir, None)?;
        let cluster_id = hex(&random::<16>()?);
        let ca = certificate::new_ca(&cluster_id, now_ms)?;
        let KeyAndCertificate { key, certificate } = certificate::new_node(&ca, node, now_ms)?;
        let identity = Self {
            cluster_id,
            cluster_name: cluster_name.to_owned(),
            node: node.clone(),
            certificate_pem: certificate,
            key_pem: key,
            ca_certificate_pem: ca.certificate,
            ca_key_pem: Some(ca.key),
            heartbeat_key: random()?,
        };
        identity.store(data_dir)?;
        Ok(identity)
    }

    /// Stores what a join granted.
    ///
    /// Fails with [`NetError::OtherCluster`] or [`NetError::IdentityExists`] if the data directory is taken.
    pub fn store_joined(data_dir: &Path, node: &NodeId, key: &JoinKey, grant: &JoinGrant) -> Result<Self, NetError> {
        refuse_existing(data_dir, Some(&grant.cluster_id))?;
        let identity = Self {
            cluster_id: grant.cluster_id.clone(),
            cluster_name: grant.cluster_name.clone(),
            node: node.clone(),
            certificate_pem: grant.certificate_pem.clone(),
            key_pem: key.key_pem.clone(),
            ca_certificate_pem: grant.ca_certificate_pem.clone(),
            ca_key_pem: grant.ca_key_pem.clone(),
            heartbeat_key: grant.heartbeat_key,
        };
        identity.check(&identity_dir(data_dir))?;
        identity.store(data_dir)?;
        Ok(identity)
    }

    /// Reads the identity and refuses one that is exposed, damaged or does not fit together.
    pub fn load(data_dir: &Path) -> Result<Self, NetError> {
        let dir = identity_dir(data_dir);
        let facts = read_facts(&dir)?.ok_or_else(|| NetError::NoIdentity { path: dir.clone() })?;
        refuse_exposed(&dir, DIR_MODE)?;
        let heartbeat = read_file(&dir.join("heartbeat.key"))?;
        let ca_key = dir.join("ca.key");
        let identity = Self {
            cluster_id: facts.cluster_id,
            cluster_name: facts.cluster_name,
            node: facts.node,
            certificate_pem: read_file(&dir.join("node.pem"))?,
            key_pem: read_file(&dir.join("node.key"))?,
            ca_certificate_pem: read_file(&dir.join("ca.pem"))?,
            ca_key_pem: if ca_key.exists() { Some(read_file(&ca_key)?) } else { None },
            heartbeat_key: heartbeat.trim().parse::<crate::model::Digest>().map(|digest| digest.0).map_err(|_| {
                NetError::Damaged { path: dir.join("heartbeat.key"), reason: "expected 64 hex digits".into() }
            })?,
        };
        identity.check(&dir)?;
        Ok(identity)
    }

    /// Fails unless this identity is of the cluster `wanted`.
    pub fn expect_cluster(&self, data_dir: &Path, wanted: &str) -> Result<(), NetError> {
        if self.cluster_id == wanted {
            return Ok(());
        }
        let (found, wanted) = (self.cluster_id.clone(), wanted.to_owned());
        Err(NetError::OtherCluster { path: identity_dir(data_dir), found, wanted })
    }

    /// Whether this node can sign the certificates of joining nodes.
    pub fn can_sign(&self) -> bool {
        self.ca_key_pem.is_some()
    }

    /// Certifies the key of a request as that of `node`; only the public key of the request counts.
    pub fn sign_csr(&self, csr_pem: &str, node: &NodeId, now_ms: u64) -> Result<String, NetError> {
        let ca_key = self.ca_key_pem.as_deref().ok_or(NetError::NoCaKey)?;
        certificate::sign_request(&self.ca_certificate_pem, ca_key, node, csr_pem, now_ms)
    }

    /// The CA's key, for a grant.
    pub fn ca_key_pem(&self) -> Option<&str> {
        self.ca_key_pem.as_deref()
    }

    /// SHA-256 of the CA's certificate: what a join token pins.
    pub fn ca_fingerprint(&self) -> Result<crate::model::Digest, NetError> {
        Ok(crate::model::Digest::of(&self.ca_der()?))
    }

    pub(super) fn ca_der(&self) -> Result<CertificateDer<'static>, NetError> {
        CertificateDer::from_pem_slice(self.ca_certificate_pem.as_bytes()).map_err(bad_pem)
    }

    /// This node's certificate and the CA's: a joining node sees the CA only in this chain.
    pub(super) fn chain_der(&self) -> Result<Vec<CertificateDer<'static>>, NetError> {
        let own = CertificateDer::from_pem_slice(self.certificate_pem.as_bytes()).map_err(bad_pem)?;
        Ok(vec![own, self.ca_der()?])
    }

    pub(super) fn key_der(&self) -> Result<PrivateKeyDer<'static>, NetError> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).map_err(bad_pem)
    }

    /// The parts belong together: the certificate names this node and is signed by this CA. Expiry is left to TLS.
    fn check(&self, dir: &Path) -> Result<(), NetError> {
        let damaged = |file: &str, reason: &str| NetError::Damaged { path: dir.join(file), reason: reason.into() };
        let chain = self.chain_der().map_err(|_| damaged("node.pem", "not a certificate in PEM"))?;
        if !certificate::belongs_to(&certificate::names_of(&chain[0]), &self.node) {
            return Err(damaged("node.pem", &format!("it is not the certificate of node `{}`", self.node)));
        }
        self.key_der().map_err(|_| damaged("node.key", "not a private key in PEM"))?;
        super::tls::server_config(self).map_err(|_| damaged("node.key", "it does not fit the certificate"))?;
        if !super::tls::signed_by_its_ca(self)? {
            return Err(damaged("node.pem", "it is not signed by the CA in ca.pem"));
        }
        Ok(())
    }

    fn store(&self, data_dir: &Path) -> Result<(), NetError> {
        let file_error = |path: &Path| {
            let path = path.to_owned();
            move |source| NetError::File { path, source }
        };
        fs::create_dir_all(data_dir).map_err(file_error(data_dir))?;
        let aside = data_dir.join("identity.new");
        match fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(file_error(&aside)(error)),
            Ok(()) | Err(_) => {}
        }
        fs::DirBuilder::new().mode(DIR_MODE).create(&aside).map_err(file_error(&aside))?;
        let facts = Facts {
            format: FORMAT,
            cluster_id: self.cluster_id.clone(),
            cluster_name: self.cluster_name.clone(),
            node: self.node.clone(),
        };
        let facts = serde_json::to_string_pretty(&facts).map_err(|error| NetError::Certificate(error.to_string()))?;
        let heartbeat = hex(&self.heartbeat_key);
        let mut files = vec![
            ("ca.pem", self.ca_certificate_pem.as_str()),
            ("node.pem", &self.certificate_pem),
            ("node.key", &self.key_pem),
            ("heartbeat.key", &heartbeat),
            ("identity.json", &facts),
        ];
        files.extend(self.ca_key_pem.as_deref().map(|key| ("ca.key", key)));
        for (name, content) in files {
            let path = aside.join(name);
            write_durably(&path, content.as_bytes(), FILE_MODE).map_err(file_error(&path))?;
        }
        let dir = identity_dir(data_dir);
        fs::rename(&aside, &dir).map_err(file_error(&dir))?;
        fs::File::open(data_dir).and_then(|dir| dir.sync_all()).map_err(file_error(data_dir))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("cluster_id", &self.cluster_id)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// Random bytes from the operating system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], NetError> {
    let mut bytes = [0; N];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).map_err(|_| NetError::Random)?;
    Ok(bytes)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn identity_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("identity")
}

/// Fails if the data directory holds an identity, of whatever cluster: before a token is spent on it.
pub fn refuse_any(data_dir: &Path) -> Result<(), NetError> {
    refuse_existing(data_dir, None)
}

fn refuse_existing(data_dir: &Path, wanted: Option<&str>) -> Result<(), NetError> {
    let path = identity_dir(data_dir);
    match (read_facts(&path)?, wanted) {
        (None, _) if path.exists() => {
            Err(NetError::Damaged { path, reason: "it holds no identity.json (remove it to start again)".into() })
        }
        (None, _) => Ok(()),
        (Some(facts), Some(wanted)) if facts.cluster_id != wanted => {
            Err(NetError::OtherCluster { path, found: facts.cluster_id, wanted: wanted.to_owned() })
        }
        (Some(facts), Some(_) | None) => Err(NetError::IdentityExists { path, cluster_id: facts.cluster_id }),
    }
}

fn read_facts(dir: &Path) -> Result<Option<Facts>, NetError> {
    let path = dir.join("identity.json");
    // A file that may not be looked at is not a file that is not there.
    match path.try_exists() {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(source) => return Err(NetError::File { path, source }),
    }
    let damaged = |reason| NetError::Damaged { path: path.clone(), reason };
    let facts: Facts = serde_json::from_str(&read_file(&path)?).map_err(|error| damaged(error.to_string()))?;
    if facts.format != FORMAT {
        return Err(damaged(format!("its format is {}, this program reads {FORMAT}", facts.format)));
    }
    Ok(Some(facts))
}

fn refuse_exposed(path: &Path, wanted: u32) -> Result<(), NetError> {
    let metadata = fs::metadata(path).map_err(|source| NetError::File { path: path.to_owned(), source })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(NetError::Exposed { path: path.to_owned(), mode, wanted }) }
}

fn read_file(path: &Path) -> Result<String, NetError> {
    use std::io::Read;
    refuse_exposed(path, FILE_MODE)?;
    let file_error = |source| NetError::File { path: path.to_owned(), source };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(file_error)?;
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(file_error)?;
    Ok(text)
}

fn bad_pem(error: rustls::pki_types::pem::Error) -> NetError {
    NetError::Certificate(error.to_string())
}
