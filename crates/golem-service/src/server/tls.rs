//! The certificate with which a server of ours speaks TLS, replaced while it runs.
//!
//! Owns which certificate a handshake gets: the one that is served, or the answer to a certificate authority that
//! validates this server by TLS (`tls-alpn-01`, RFC 8737). Never reads a file and never judges a certificate.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The protocol that a certificate authority asks for when it validates this server (RFC 8737).
pub const ACME_PROTOCOL: &[u8] = b"acme-tls/1";

/// What is spoken otherwise. HTTP/2 would need limits of its own.
const HTTP: &[u8] = b"http/1.1";

#[derive(Debug, Default)]
struct Held {
    certificate: Option<Arc<CertifiedKey>>,
    challenge: Option<Arc<CertifiedKey>>,
}

/// The certificates of a server; clones share them. Without one every handshake fails.
#[derive(Debug, Clone, Default)]
pub struct TlsKeys(Arc<RwLock<Held>>);

impl TlsKeys {
    /// Has handshakes from now on get `certificate`; connections that are there stay.
    pub fn serve(&self, certificate: Option<Arc<CertifiedKey>>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).certificate = certificate;
    }

    /// Has a certificate authority that validates this server get `answer`.
    pub fn answer_challenge(&self, answer: Option<Arc<CertifiedKey>>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).challenge = answer;
    }

    /// How a server with these certificates speaks: TLS 1.2 and 1.3, and HTTP/1.1 in it.
    ///
    /// # Errors
    /// None that this library's cryptography gives.
    pub fn config(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![HTTP.to_vec(), ACME_PROTOCOL.to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for TlsKeys {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut asked = hello.alpn().into_iter().flatten();
        // It asks for nothing else.
        match (asked.next(), asked.next()) {
            (Some(ACME_PROTOCOL), None) => held.challenge.clone(),
            _ => held.certificate.clone(),
        }
    }
}
