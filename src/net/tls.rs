//! TLS settings: both sides show certificates of the cluster's CA; TLS 1.3 only, since all ends are ours or recent.
//!
//! Input → output: an identity → [`server_config`], [`client_config`]; a fingerprint → the client of a joining node.
//!
//! Invariants: a client accepts a server only under the name of the node it means to reach. A server accepts a client
//! without a certificate (browsers, joining nodes; the routes decide what it may do), but never one with a foreign or
//! expired certificate.

use super::{Identity, NetError};
use crate::model::Digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use std::sync::Arc;

const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// The server's side of a member: HTTP/2 or HTTP/1.1, client certificates optional but never wrong.
pub fn server_config(identity: &Identity) -> Result<Arc<ServerConfig>, NetError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(identity)?), provider())
        .allow_unauthenticated()
        .build()
        .map_err(failed)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(failed)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain_der()?, identity.key_der()?)
        .map_err(failed)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The client's side of a member: HTTP/2, shows this node's certificate.
pub fn client_config(identity: &Identity) -> Result<ClientConfig, NetError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(failed)?
        .with_root_certificates(roots(identity)?)
        .with_client_auth_cert(identity.chain_der()?, identity.key_der()?)
        .map_err(failed)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// The client's side of a joining node, or of a person with a token: knows nothing but the CA's fingerprint.
pub fn pinned_client_config(ca_fingerprint: Digest) -> Result<ClientConfig, NetError> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(VERSIONS)
        .map_err(failed)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedCa { ca_fingerprint, algorithms }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Whether an identity's certificate comes from its CA. An expired one passes: TLS says so in better words.
pub(super) fn signed_by_its_ca(identity: &Identity) -> Result<bool, NetError> {
    use rustls::CertificateError::{ExpiredContext, NotValidYetContext};
    let chain = identity.chain_der()?;
    let (roots, algorithms) = (roots(identity)?, provider().signature_verification_algorithms);
    let certificate = ParsedCertificate::try_from(&chain[0]).map_err(failed)?;
    let result = verify_server_cert_signed_by_trust_anchor(&certificate, &roots, &[], UnixTime::now(), algorithms.all);
    Ok(match result {
        Ok(()) | Err(rustls::Error::InvalidCertificate(ExpiredContext { .. } | NotValidYetContext { .. })) => true,
        Err(_) => false,
    })
}

/// Accepts a chain that ends in the CA with this fingerprint, for any server name: a token knows addresses, not names.
#[derive(Debug)]
struct PinnedCa {
    ca_fingerprint: Digest,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(ca) = intermediates.iter().find(|der| Digest::of(der) == self.ca_fingerprint) else {
            return Err(rustls::Error::General("the server is not of the cluster that the token names".into()));
        };
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let server = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&server, &roots, &[], now, self.algorithms.all)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(identity: &Identity) -> Result<RootCertStore, NetError> {
    let mut roots = RootCertStore::empty();
    roots.add(identity.ca_der()?).map_err(failed)?;
    Ok(roots)
}

fn failed(error: impl std::fmt::Display) -> NetError {
    NetError::Tls(error.to_string())
}
