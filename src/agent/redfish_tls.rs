//! Whom a Redfish client trusts: the machine's CAs, a file, or (if told so) anybody.
//!
//! BMCs come with certificates they signed themselves, for names nobody uses. So a certificate that stands in the file of
//! `ca` itself is trusted whatever names it has; others must be signed by one in there, for the address that is used.

use reqwest::Client;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::sync::Arc;
use std::time::Duration;

/// To a BMC that is there; one that is not there is found out before the request's time is used up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client; `ca` is read now.
pub(super) fn client(ca: Option<&str>, insecure: bool) -> Result<Client, String> {
    // reqwest's own verifier takes the provider of the process; setting it twice is harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        // One answer per connection: BMCs have few, and some answer wrongly on one that was left open.
        .pool_max_idle_per_host(0);
    let trust = match (insecure, ca) {
        (true, _) => Some(Trust::Anybody),
        (false, Some(path)) => Some(Trust::These(read(path)?)),
        (false, None) => None,
    };
    if let Some(trust) = trust {
        builder = builder.tls_backend_preconfigured(config(trust)?);
    }
    builder.build().map_err(|error| format!("failed to prepare TLS: {error}"))
}

/// Whether an error means that the other side showed the wrong certificate.
pub(super) fn is_about_trust(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return matches!(tls, rustls::Error::InvalidCertificate(_));
        }
        // The source of an I/O error is that of what it holds; what it holds has a door of its own.
        let held = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = held.map(|held| held as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    }
    false
}

fn read(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |why: &dyn std::fmt::Display| format!("failed to read certificates from `{path}` (`ca`): {why}");
    let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if found.is_empty() => Err(failed(&"there are none in PEM")),
        Ok(found) => Ok(found),
        Err(error) => Err(failed(&error)),
    }
}

fn config(trust: Trust) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    if let Trust::These(certificates) = &trust {
        // The BMC's own certificate need not be fit to be a CA's.
        let _ = roots.add_parsable_certificates(certificates.iter().cloned());
    }
    let verifier = Verifier { trust, roots, provider: provider.clone() };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| format!("failed to prepare TLS: {error}"))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

#[derive(Debug)]
enum Trust {
    Anybody,
    These(Vec<CertificateDer<'static>>),
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.trust {
            Trust::Anybody => {}
            Trust::These(these) if these.iter().any(|known| known == end_entity) => {}
            Trust::These(_) => {
                let server = ParsedCertificate::try_from(end_entity)?;
                let algorithms = self.provider.signature_verification_algorithms.all;
                verify_server_cert_signed_by_trust_anchor(&server, &self.roots, intermediates, now, algorithms)?;
                verify_server_name(&server, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
