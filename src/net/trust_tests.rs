//! Who is let in by TLS alone: the real settings of both sides, shaken hands in memory, so that both tell their reasons.

use super::tls::{client_config, pinned_client_config, server_config};
use super::{Identity, JoinGrant, JoinKey, clock, server_name};
use crate::model::NodeId;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection, Error, ServerConnection};
use std::collections::BTreeMap;
use std::sync::Arc;

fn cluster(node: &str) -> Identity {
    Identity::init(tempfile::tempdir().unwrap().path(), "test", &node.into(), clock::wall_ms()).unwrap()
}

/// A member of the cluster of `first` whose certificate was made at `made_ms`.
fn member(first: &Identity, node: &str, made_ms: u64) -> Identity {
    let (key, node) = (JoinKey::generate().unwrap(), NodeId::new(node));
    let grant = JoinGrant {
        generation: 0,
        cluster_id: first.cluster_id.clone(),
        cluster_name: first.cluster_name.clone(),
        ca_certificate_pem: first.ca_certificate_pem.clone(),
        ca_key_pem: None,
        certificate_pem: first.sign_csr(&key.csr_pem, &node, made_ms).unwrap(),
        heartbeat_key: first.heartbeat_key,
        peers: BTreeMap::new(),
    };
    Identity::store_joined(tempfile::tempdir().unwrap().path(), &node, &key, &grant).unwrap()
}

/// Shakes hands; the certificate that the client showed, or the first error and whose it is.
fn shake(client: ClientConfig, server: &Identity, name: &str) -> Result<bool, (&'static str, Error)> {
    let name = ServerName::try_from(server_name(&name.into())).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(server_config(server).unwrap()).unwrap();
    while client.is_handshaking() || server.is_handshaking() || client.wants_write() || server.wants_write() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets().map_err(|error| ("server", error))?;
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut bytes.as_slice()).unwrap();
        client.process_new_packets().map_err(|error| ("client", error))?;
    }
    Ok(server.peer_certificates().is_some())
}

#[test]
fn members_know_each_other_and_who_shows_nothing_is_nobody() {
    let n1 = cluster("n1");
    let n2 = member(&n1, "n2", clock::wall_ms());
    assert_eq!(shake(client_config(&n2).unwrap(), &n1, "n1"), Ok(true));
    let stranger = pinned_client_config(n1.ca_fingerprint().unwrap()).unwrap();
    assert_eq!(shake(stranger, &n1, "n1"), Ok(false), "the routes refuse who has no certificate");
}

#[test]
fn a_certificate_of_another_cluster_is_refused_by_whoever_sees_it() {
    let (n1, other) = (cluster("n1"), cluster("n2"));
    let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
    assert_eq!(shake(client_config(&other).unwrap(), &n1, "n1"), Err(("client", unknown())));
    // Trusts the server, and shows what the server must not trust.
    let mut intruder = other.clone();
    intruder.ca_certificate_pem.clone_from(&n1.ca_certificate_pem);
    assert_eq!(shake(client_config(&intruder).unwrap(), &n1, "n1"), Err(("server", unknown())));
}

#[test]
fn an_expired_certificate_is_refused_as_expired_on_both_sides() {
    let n1 = cluster("n1");
    let expired = member(&n1, "n2", 0);
    let is_expired =
        |error: &Error| matches!(error, Error::InvalidCertificate(CertificateError::ExpiredContext { .. }));
    let (who, why) = shake(client_config(&expired).unwrap(), &n1, "n1").unwrap_err();
    assert!(who == "server" && is_expired(&why), "{who}: {why}");
    let (who, why) = shake(client_config(&n1).unwrap(), &expired, "n2").unwrap_err();
    assert!(who == "client" && is_expired(&why), "{who}: {why}");
    let early = member(&n1, "n2", clock::wall_ms() + 40 * 24 * 3_600_000);
    let (who, why) = shake(client_config(&early).unwrap(), &n1, "n1").unwrap_err();
    assert!(who == "server" && why.to_string().contains("not valid yet"), "{who}: {why}");
}

#[test]
fn a_member_under_another_name_is_not_who_was_meant() {
    let n1 = cluster("n1");
    let n2 = member(&n1, "n2", clock::wall_ms());
    let (who, why) = shake(client_config(&n1).unwrap(), &n2, "n3").unwrap_err();
    assert!(who == "client" && why.to_string().contains("not valid for name"), "{who}: {why}");
}
