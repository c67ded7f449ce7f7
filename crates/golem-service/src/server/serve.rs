//! Accepts connections, and serves the HTTP requests on them.
//!
//! ```text
//!   accepted ─► place (who may stay) ─► handshake (TLS) ─► head ─► request ─► answer ─┐
//!                  │                                        ▲        │ body            │
//!                  └── gives way                            └────────┴── kept alive ◄──┘
//! ```
//!
//! Owns connections: how many, and of whom; how long one may take to say its request and to read the
//! response; and their end at a stop. One whose request is being worked on keeps its place, any other has
//! to give way when others need it more. Never looks into a request.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use golem_types::net::Source;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::unix::UCred;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::error::ErrorResponse;
use super::peer::TrustedProxies;
use super::reader::Reader;
use super::seats::{Holder, Seats};
use super::tls::{ACME_PROTOCOL, TlsKeys};
use crate::places::{HolderState, PlaceLimits};
use crate::tasks::Tasks;
use crate::{descriptors, log_limited};

/// Most connections of a listener at a time; fewer where the process may have few descriptors.
const CONNECTIONS: usize = 2048;

/// How long a TLS handshake may take.
pub(super) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Most TLS handshakes at a time, each of which costs a signature, and a customer's share of them. One takes
/// milliseconds, and two round trips of the network.
pub(super) const HANDSHAKES: PlaceLimits = PlaceLimits::of(256, [16, 64]);

/// How long a request's head may take, and a connection may stay silent between requests.
const HEAD_DEADLINE: Duration = Duration::from_secs(15);

/// Largest head.
const HEAD_BYTES: usize = 32 * 1024;

/// How long a request's body may take.
const BODY_DEADLINE: Duration = Duration::from_secs(15);

/// Largest body, but for a create's, which may hold user-data.
const BODY_BYTES: usize = 64 * 1024;

/// How long requests under way may go on after a stop was asked for.
const DRAIN: Duration = Duration::from_secs(5);

/// How long, of that, somebody is waited for who has connected and asked for nothing yet: the request may be on its way.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// Pause after a connection could not be accepted: the usual cause is that no descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The response to a client for whom there is no place.
const NO_PLACE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
    content-length: 46\r\nretry-after: 5\r\nconnection: close\r\n\r\n\
    {\"detail\":\"too many connections; try again\"}\r\n";

/// The places of a listener's connections.
fn seats() -> Seats {
    let total = descriptors::share(CONNECTIONS);
    Seats::new(PlaceLimits::of(total, [total / 4, total / 2]))
}

/// The TLS handshakes of one listener.
#[derive(Clone)]
struct Handshakes {
    acceptor: TlsAcceptor,
    under_way: Seats,
    name: &'static str,
}

impl Handshakes {
    fn new(name: &'static str, keys: &TlsKeys) -> Result<Self, rustls::Error> {
        let acceptor = TlsAcceptor::from(keys.config()?);
        Ok(Self { acceptor, under_way: Seats::new(HANDSHAKES), name })
    }

    /// The connection of a client at `source`, once it has shaken hands and wants to speak HTTP.
    async fn shake<S>(&self, stream: S, source: Option<Source>) -> Option<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(seat) = self.under_way.take(source) else {
            log_limited!(
                warn,
                listener = self.name,
                "TLS handshakes refused: their sources have too many under way"
            );
            return None;
        };
        let handshake = timeout(HANDSHAKE_DEADLINE, self.acceptor.accept(stream));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            () = seat.holder().gives_way() => return None,
        };
        match shaken {
            // A certificate authority has seen what it came for.
            Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(ACME_PROTOCOL) => None,
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a TLS handshake failed");
                None
            }
            Err(_) => None,
        }
    }
}

/// Serves `router` on `listener` until `tasks` are stopped; believes `trusted` proxies for whom they ask.
pub async fn serve(
    name: &'static str,
    listener: TcpListener,
    router: Router,
    trusted: TrustedProxies,
    tasks: Tasks,
) {
    accept(name, listener, None, router, trusted, tasks).await;
}

/// As [`serve`], over TLS with `keys`. A client that speaks first and in plain text is turned away.
///
/// # Errors
/// As [`TlsKeys::config`].
pub async fn serve_tls(
    name: &'static str,
    listener: TcpListener,
    keys: TlsKeys,
    router: Router,
    trusted: TrustedProxies,
    tasks: Tasks,
) -> Result<(), rustls::Error> {
    let handshakes = Handshakes::new(name, &keys)?;
    accept(name, listener, Some(handshakes), router, trusted, tasks).await;
    Ok(())
}

/// Serves `router` on the Unix socket `listener` at `path` until `tasks` are stopped, to those whose user `may` use it.
/// Removes the socket first then, and serves whoever came before: so that nobody who could connect is turned away.
pub async fn serve_socket(
    name: &'static str,
    listener: UnixListener,
    path: PathBuf,
    may: impl Fn(UCred) -> bool,
    router: Router,
    tasks: Tasks,
) {
    let stop = tasks.stopping().clone();
    let seats = seats();
    let serve = |stream: UnixStream| {
        let user = stream.peer_cred();
        // Whoever does not get a place, or may not, learns it by the connection's end.
        if let (Ok(user), Some(seat)) = (user, seats.take(None))
            && may(user)
        {
            let (router, stop) = (router.clone(), stop.clone());
            tasks.spawn(name, async move {
                let stream = Reader::of(stream);
                let trusted = TrustedProxies::default();
                connection(stream, Ipv4Addr::LOCALHOST.into(), router, trusted, stop, seat.holder()).await;
            });
        }
    };
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => serve(stream),
            Err(error) => not_accepted(name, &error, &seats).await,
        }
    }
    let _ = std::fs::remove_file(path);
    // Asks the kernel itself, of which the runtime may not have heard yet.
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, _)) = listener.accept() {
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = UnixStream::from_std(stream)
        {
            serve(stream);
        }
    }
}

async fn accept(
    name: &'static str,
    listener: TcpListener,
    handshakes: Option<Handshakes>,
    router: Router,
    trusted: TrustedProxies,
    tasks: Tasks,
) {
    let stop = tasks.stopping().clone();
    let seats = seats();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let address = address.ip();
                // A proxy's connections are those of all its clients.
                let source = (!trusted.contains(address)).then(|| Source::of(address));
                let Some(seat) = seats.take(source) else {
                    log_limited!(
                        warn,
                        listener = name,
                        "connections refused: their sources have too many open"
                    );
                    if handshakes.is_none() {
                        // Whoever does not read it in time learns it by the connection's end.
                        let _ = stream.try_write(NO_PLACE);
                    }
                    continue;
                };
                let (router, trusted, stop) = (router.clone(), trusted.clone(), stop.clone());
                let handshakes = handshakes.clone();
                tasks.spawn(name, async move {
                    // Answers are small; waiting to fill a packet would only delay them.
                    let _ = stream.set_nodelay(true);
                    let stream = Reader::of(stream);
                    let stays = async {
                        let Some(handshakes) = handshakes else {
                            return connection(stream, address, router, trusted, stop, seat.holder()).await;
                        };
                        let shaken = tokio::select! {
                            shaken = handshakes.shake(stream, source) => shaken,
                            () = stop.cancelled() => None,
                        };
                        if let Some(stream) = shaken {
                            connection(stream, address, router, trusted, stop, seat.holder()).await;
                        }
                    };
                    tokio::select! {
                        () = stays => {}
                        () = seat.holder().gives_way() => {}
                    }
                });
            }
            Err(error) => not_accepted(name, &error, &seats).await,
        }
    }
}

/// Tells that a connection could not be accepted, and makes room for the next.
async fn not_accepted(name: &'static str, error: &std::io::Error, seats: &Seats) {
    log_limited!(
        warn,
        error = error as &dyn std::error::Error,
        listener = name,
        "a connection could not be accepted"
    );
    seats.relieve();
    sleep(ACCEPT_PAUSE).await;
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: IpAddr,
    router: Router,
    trusted: TrustedProxies,
    stop: CancellationToken,
    holder: &Arc<Holder>,
) {
    let asked = CancellationToken::new();
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        asked.cancel();
        let mut request = request.map(Body::new);
        let peer = trusted.client(address, request.headers());
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(Arc::clone(holder));
        holder.becomes(HolderState::Kept);
        let (router, holder) = (router.clone(), Arc::clone(holder));
        async move {
            let answer = router.oneshot(request).await;
            holder.becomes(HolderState::Idle(Instant::now()));
            answer
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        // A connection that becomes another protocol's is its handler's from then on, and its place is free again.
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stop.cancelled() => {
            // hyper ends a connection at once of which it has read nothing.
            let first = tokio::select! {
                ended = connection.as_mut() => Some(ended),
                () = asked.cancelled() => None,
                () = sleep(FIRST_REQUEST) => None,
            };
            match first {
                Some(ended) => Some(ended),
                None => {
                    connection.as_mut().graceful_shutdown();
                    timeout(DRAIN, connection.as_mut()).await.ok()
                }
            }
        }
    };
    if let Some(Err(error)) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended early");
    }
}

/// The whole body of `request`, bounded in size and time.
///
/// # Errors
/// 413 if it is larger than 64 KiB; 408 if it takes too long; 400 if it ends early.
pub async fn body(request: Request) -> Result<Bytes, ErrorResponse> {
    body_up_to(request, BODY_BYTES).await
}

/// As [`body`], where more than 64 KiB may come.
///
/// # Errors
/// As [`body`], with `most` bytes as the bound.
pub async fn body_up_to(request: Request, most: usize) -> Result<Bytes, ErrorResponse> {
    let holder = request.extensions().get::<Arc<Holder>>().cloned();
    let becomes = |state| holder.iter().for_each(|holder| holder.becomes(state));
    becomes(HolderState::Young(Instant::now()));
    let read = timeout(BODY_DEADLINE, axum::body::to_bytes(request.into_body(), most)).await;
    becomes(HolderState::Kept);
    match read {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_large(&error) => Err(ErrorResponse::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("Request body is larger than {most} bytes"),
        )),
        Ok(Err(_)) => Err(ErrorResponse::new(StatusCode::BAD_REQUEST, "Request body could not be read")),
        Err(_) => Err(ErrorResponse::new(StatusCode::REQUEST_TIMEOUT, "Request body took too long")),
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// I-06: whoever connects and says nothing, or dribbles, holds no place for long.
    #[tokio::test(start_paused = true)]
    async fn i_06_a_handshake_that_takes_too_long_ends_the_connection() {
        let keys = TlsKeys::default();
        let handshakes = Handshakes::new("test", &keys).unwrap();
        let (near, mut far) = tokio::io::duplex(4096);
        let dribble = async {
            // The head of a record that never comes to its end.
            far.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
            loop {
                sleep(Duration::from_secs(1)).await;
                if far.write_u8(1).await.is_err() {
                    return;
                }
            }
        };
        let begin = tokio::time::Instant::now();
        let (shaken, ()) = tokio::join!(handshakes.shake(near, None), dribble);
        assert!(shaken.is_none());
        assert!(begin.elapsed() < HANDSHAKE_DEADLINE * 2);
    }

    /// A request that is on its way when a stop begins is answered; whoever says nothing is not waited for.
    #[tokio::test(start_paused = true)]
    async fn a_connection_is_not_ended_before_its_first_request() {
        let router = Router::new().route("/", axum::routing::get(async || "here"));
        for speaks in [true, false] {
            let (near, mut far) = tokio::io::duplex(4096);
            let (seats, stop) = (seats(), CancellationToken::new());
            let seat = seats.take(None).unwrap();
            stop.cancel();
            let client = async {
                sleep(FIRST_REQUEST / 2).await;
                if speaks {
                    far.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
                }
                let mut answer = String::new();
                far.read_to_string(&mut answer).await.unwrap();
                answer
            };
            let begin = tokio::time::Instant::now();
            let trusted = TrustedProxies::default();
            let server =
                connection(near, Ipv4Addr::LOCALHOST.into(), router.clone(), trusted, stop, seat.holder());
            let ((), answer) = tokio::join!(server, client);
            assert_eq!(answer.ends_with("here"), speaks, "{answer}");
            assert!(begin.elapsed() < DRAIN, "nobody is waited for that long");
        }
    }
}
