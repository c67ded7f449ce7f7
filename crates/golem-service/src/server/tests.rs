use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rcgen::{CertificateParams, KeyPair};
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::tls::{ACME_PROTOCOL, TlsKeys};
use super::{TrustedProxies, serve};
use crate::tasks::Tasks;

const DEADLINE: Duration = Duration::from_secs(60);

/// Takes every certificate: which it got is looked at.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn certificate() -> Arc<CertifiedKey> {
    let key = KeyPair::generate().unwrap();
    let chain = vec![CertificateParams::default().self_signed(&key).unwrap().der().clone()];
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    Arc::new(CertifiedKey::from_der(chain, key, &default_provider()).unwrap())
}

struct Server {
    keys: TlsKeys,
    address: SocketAddr,
    _tasks: Tasks,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (keys, address, tasks) = (TlsKeys::default(), listener.local_addr().unwrap(), Tasks::new());
        let routes = Router::new().route("/health", get(async || "well"));
        let serving = serve::serve_tls(
            "test",
            listener,
            keys.clone(),
            routes,
            TrustedProxies::default(),
            tasks.clone(),
        );
        tasks.spawn("serving", async move { serving.await.unwrap() });
        Self { keys, address, _tasks: tasks }
    }

    /// A connection from `from` that has said nothing yet.
    async fn connect(&self, from: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        timeout(DEADLINE, socket.connect(self.address)).await.unwrap().unwrap()
    }

    /// A client's connection, by `version`, that asks for `protocol`.
    async fn shake(
        &self,
        from: Ipv4Addr,
        version: &'static SupportedProtocolVersion,
        protocol: &[u8],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone))
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::from(self.address.ip());
        let stream = self.connect(from).await;
        timeout(DEADLINE, TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap()
    }
}

/// What `stream` is answered to a request, and with which certificate.
async fn ask(mut stream: TlsStream<TcpStream>) -> (String, CertificateDer<'static>) {
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
    let mut said = String::new();
    let asking = async {
        let _ = stream.write_all(b"GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").await;
        let _ = stream.read_to_string(&mut said).await;
    };
    timeout(DEADLINE, asking).await.unwrap();
    (said, shown)
}

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

#[tokio::test]
async fn https_is_spoken_by_both_versions_of_tls_with_the_certificate_of_the_moment() {
    let server = Server::start().await;
    let (one, other, challenge) = (certificate(), certificate(), certificate());
    let versions = [&rustls::version::TLS12, &rustls::version::TLS13];
    for version in versions {
        assert!(server.shake(HERE, version, b"http/1.1").await.is_err(), "there is no certificate");
    }
    for current in [&one, &other] {
        server.keys.serve(Some(Arc::clone(current)));
        for version in versions {
            let (said, shown) = ask(server.shake(HERE, version, b"http/1.1").await.unwrap()).await;
            assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("well"), "{said}");
            assert_eq!(shown, current.cert[0]);
        }
    }
    // An authority is shown its own certificate, and served nothing.
    let ask_challenge = || server.shake(HERE, &rustls::version::TLS13, ACME_PROTOCOL);
    assert!(ask_challenge().await.is_err(), "nobody waits for one");
    server.keys.answer_challenge(Some(Arc::clone(&challenge)));
    let (said, shown) = ask(ask_challenge().await.unwrap()).await;
    assert_eq!((said.as_str(), shown), ("", challenge.cert[0].clone()));
}

#[tokio::test]
async fn i_06_connections_that_never_shake_hands_delay_nobody_else_and_plain_text_is_not_answered() {
    let server = Server::start().await;
    server.keys.serve(Some(certificate()));
    let attacker = Ipv4Addr::new(127, 0, 0, 2);
    let mut held = Vec::new();
    for _ in 0..serve::HANDSHAKES.per_customer + 20 {
        held.push(server.connect(attacker).await);
    }
    let (said, _) = ask(server.shake(HERE, &rustls::version::TLS13, b"http/1.1").await.unwrap()).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    // Those above a customer's share are closed at once, by the server.
    let mut ends: FuturesUnordered<_> =
        held.iter_mut().map(async |stream| drop(stream.read(&mut [0; 8]).await)).collect();
    // The others are closed when a handshake has taken too long.
    let closed = timeout(serve::HANDSHAKE_DEADLINE / 2, ends.by_ref().take(20).count());
    assert_eq!(closed.await, Ok(20), "no customer has more handshakes under way than its share");
    drop(ends);
    let mut plain = server.connect(HERE).await;
    plain.write_all(b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    let _ = timeout(DEADLINE, plain.read_to_end(&mut said)).await.unwrap();
    assert!(!String::from_utf8_lossy(&said).contains("HTTP/1.1"), "{said:?}");
}
