//! How a certificate authority sees that the public address is this node's.
//!
//! Owns the two answers: a certificate on the TLS port (`tls-alpn-01`, RFC 8737 and 8738), and a text on port 80
//! (`http-01`, RFC 8555), each there for as long as it is asked for. Never asks an authority.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::routing::get;
use golem_service::server::tls::TlsKeys;
use golem_service::server::{TrustedProxies, serve};
use golem_service::tasks::Tasks;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair, SanType};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::DropGuard;

use crate::probe::{PortClaim, Probes};

/// Connections that wait to be accepted: an authority comes from several places at once.
const BACKLOG: u32 = 64;

/// The ports on which this program serves https, or answers an authority, now; clones share them.
#[derive(Debug, Clone, Default)]
pub struct WebPorts(Arc<Mutex<BTreeSet<u16>>>);

impl WebPorts {
    /// Whether this program serves `port`.
    #[must_use]
    pub fn serves(&self, port: u16) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&port)
    }

    pub(super) fn take(&self, port: u16) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
    }

    fn leave(&self, port: u16) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&port);
    }
}

/// Listens on `port`.
pub(super) fn listen(host: IpAddr, port: u16) -> io::Result<TcpListener> {
    let socket = if host.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(host, port))?;
    socket.listen(BACKLOG)
}

/// An answer on the TLS port; gone when dropped.
pub(super) struct TlsAnswer(TlsKeys);

impl Drop for TlsAnswer {
    fn drop(&mut self) {
        self.0.answer_challenge(None);
    }
}

impl TlsAnswer {
    /// Has `keys` answer with `digest`, the SHA-256 of the key authorization, for `address`. `None` if no such
    /// certificate can be made.
    pub(super) fn give(keys: &TlsKeys, address: IpAddr, digest: &[u8; 32]) -> Option<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::IpAddress(address)];
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate().ok()?;
        let certificate = params.self_signed(&key).ok()?.der().clone();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let key = default_provider().key_provider.load_private_key(key).ok()?;
        // Not by `from_der`, which does not know the critical extension that makes it the answer.
        keys.answer_challenge(Some(Arc::new(CertifiedKey::new(vec![certificate], key))));
        Some(Self(keys.clone()))
    }
}

/// An answer on port 80; gone when dropped.
pub(super) struct HttpAnswer {
    _stop: DropGuard,
    _claim: PortClaim,
    ports: WebPorts,
    port: u16,
}

impl Drop for HttpAnswer {
    fn drop(&mut self) {
        self.ports.leave(self.port);
    }
}

impl HttpAnswer {
    /// Answers `text` for `token` on `port`, which a verification of ports makes way for.
    pub(super) async fn give(
        (host, port): (IpAddr, u16),
        (token, text): (&str, String),
        (probes, ports): (&Probes, &WebPorts),
    ) -> io::Result<Self> {
        let claim = probes.claim(port).await;
        let listener = listen(host, port)?;
        ports.take(port);
        let routes = Router::new().route(&format!("/.well-known/acme-challenge/{token}"), get(async || text));
        let tasks = Tasks::new();
        let stop = tasks.stopping().clone().drop_guard();
        let name = "answer to a certificate authority";
        tasks.spawn(name, serve::serve(name, listener, routes, TrustedProxies::default(), tasks.clone()));
        Ok(Self { _stop: stop, _claim: claim, ports: ports.clone(), port })
    }
}
