//! The cluster's CA and the certificates of nodes.
//!
//! Answers: what name does a node have in TLS ([`server_name`]), whose certificate is this ([`belongs_to`]).
//! Input → output: keys, names and a wall time → PEM texts.
//!
//! A node's name in TLS is a hash of its name, since manifests allow names that DNS does not (underscores, 128
//! characters, upper case that matters). Certificates are for both ends of a connection.
//! Deliberately absent: revocation. A node that left still holds a valid certificate; the routes refuse it because it
//! is no member any more.

use super::NetError;
use crate::model::{Digest, NodeId};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use std::time::Duration;

/// Clocks of nodes that are set up on the same day may differ by so much.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(24 * 3600);
/// Longer than a machine lives: nobody is woken at night by an expired certificate inside a cluster.
const VALIDITY: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
/// 160 bits: no two names ever collide, and the label stays below the 63 characters of DNS.
const NAME_DIGITS: usize = 40;
/// The largest wall time (ms) for which 10 more years are still a four-digit year: X.509 knows no others.
const LATEST_NOW_MS: u64 = 250_000_000_000_000;

/// The name of a node in TLS: `<40 hex digits>.node.hafen`.
pub fn server_name(node: &NodeId) -> String {
    let digest = Digest::of(node.as_str().as_bytes()).to_string();
    format!("{}.node.hafen", &digest[..NAME_DIGITS])
}

/// Whether a certificate with these subject alternative names is that of `node`.
pub fn belongs_to(names: &[String], node: &NodeId) -> bool {
    let wanted = server_name(node);
    names.iter().any(|name| name.eq_ignore_ascii_case(&wanted))
}

/// The DNS names of a certificate; empty if it cannot be read.
pub fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    match webpki::EndEntityCert::try_from(certificate) {
        Ok(certificate) => certificate.valid_dns_names().map(str::to_owned).collect(),
        Err(_) => Vec::new(),
    }
}

/// A certificate as PEM, with its private key as PEM.
pub(super) struct KeyAndCertificate {
    pub key: String,
    pub certificate: String,
}

/// Makes a new CA.
pub(super) fn new_ca(cluster_id: &str, now_ms: u64) -> Result<KeyAndCertificate, NetError> {
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = params_for(&format!("hafen CA {cluster_id}"), now_ms);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(KeyAndCertificate { key: key.serialize_pem(), certificate: certificate.pem() })
}

/// Makes a key for `node` and signs it: for the first node, which holds the CA.
pub(super) fn new_node(ca: &KeyAndCertificate, node: &NodeId, now_ms: u64) -> Result<KeyAndCertificate, NetError> {
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = sign(&ca.certificate, &ca.key, node, &key, now_ms)?;
    Ok(KeyAndCertificate { key: key.serialize_pem(), certificate })
}

/// A new key and a request to certify it. Only the public key of the request counts; the signer sets all the rest.
pub(super) fn new_request() -> Result<(String, String), NetError> {
    let key = KeyPair::generate().map_err(failed)?;
    let request = CertificateParams::default().serialize_request(&key).map_err(failed)?;
    Ok((key.serialize_pem(), request.pem().map_err(failed)?))
}

/// Certifies the key of a request (which proves that the asker holds it) as the key of `node`.
pub(super) fn sign_request(
    ca_certificate: &str,
    ca_key: &str,
    node: &NodeId,
    request: &str,
    now_ms: u64,
) -> Result<String, NetError> {
    let request = CertificateSigningRequestParams::from_pem(request).map_err(failed)?;
    sign(ca_certificate, ca_key, node, &request.public_key, now_ms)
}

fn sign(
    ca_certificate: &str,
    ca_key: &str,
    node: &NodeId,
    public_key: &impl PublicKeyData,
    now_ms: u64,
) -> Result<String, NetError> {
    let ca_key = KeyPair::from_pem(ca_key).map_err(failed)?;
    let issuer = Issuer::from_ca_cert_pem(ca_certificate, ca_key).map_err(failed)?;
    let name = server_name(node);
    let mut params = params_for(&name, now_ms);
    params.subject_alt_names = vec![rcgen::SanType::DnsName(name.try_into().map_err(failed)?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params.signed_by(public_key, &issuer).map_err(failed)?.pem())
}

fn params_for(common_name: &str, now_ms: u64) -> CertificateParams {
    let now = Duration::from_millis(now_ms.min(LATEST_NOW_MS));
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(1970, 1, 1) + now.saturating_sub(CLOCK_TOLERANCE);
    params.not_after = date_time_ymd(1970, 1, 1) + now + VALIDITY;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn failed(error: rcgen::Error) -> NetError {
    NetError::Certificate(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::pem::PemObject;

    #[test]
    fn any_name_a_manifest_allows_has_a_name_in_tls() {
        let long = "N_1.".repeat(32);
        for name in ["n1", "N1", "a_b.c-d", long.as_str()] {
            let name = server_name(&NodeId::new(name));
            assert!(rustls::pki_types::ServerName::try_from(name.clone()).is_ok(), "{name}");
        }
        assert_ne!(server_name(&NodeId::new("n1")), server_name(&NodeId::new("N1")));
    }

    #[test]
    fn a_certificate_belongs_to_one_node_only() {
        let ca = new_ca("c", 0).unwrap();
        let node = new_node(&ca, &NodeId::new("n_1"), 1_790_000_000_000).unwrap();
        let names = names_of(&CertificateDer::from_pem_slice(node.certificate.as_bytes()).unwrap());
        assert!(belongs_to(&names, &NodeId::new("n_1")));
        assert!(!belongs_to(&names, &NodeId::new("n_2")));
    }

    #[test]
    fn a_request_cannot_choose_its_own_name() {
        let ca = new_ca("c", 0).unwrap();
        let key = KeyPair::generate().unwrap();
        let greedy = CertificateParams::new(vec![server_name(&NodeId::new("n1"))]).unwrap();
        let request = greedy.serialize_request(&key).unwrap().pem().unwrap();
        let signed = sign_request(&ca.certificate, &ca.key, &NodeId::new("n2"), &request, 0).unwrap();
        let names = names_of(&CertificateDer::from_pem_slice(signed.as_bytes()).unwrap());
        assert_eq!(names, [server_name(&NodeId::new("n2"))]);
    }

    #[test]
    fn no_wall_time_panics() {
        for now_ms in [0, 1, u64::MAX] {
            assert!(new_ca("c", now_ms).is_ok());
        }
    }
}
