//! From sockets to requests.
//!
//! Owns connections: how many, how long one may take to say what it wants, and their end at a
//! stop. Never looks into a request.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use golem_node::service::Tasks;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::reply::Failure;

/// Most connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 2048;

/// How long a request's head may take, and a connection may stay silent between requests.
const HEAD_DEADLINE: Duration = Duration::from_secs(15);

/// How long a request's body may take.
const BODY_DEADLINE: Duration = Duration::from_secs(15);

/// Largest body; a create with the longest key is below 12 KiB.
const BODY_BYTES: usize = 64 * 1024;

/// How long requests under way may go on after a stop was asked for.
const DRAIN: Duration = Duration::from_secs(5);

/// Pause after a connection could not be accepted: the usual cause is that no descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The address of who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Serves `router` on `listener` until `tasks` are stopped.
pub(crate) async fn serve(name: &'static str, listener: TcpListener, router: Router, tasks: Tasks) {
    let stop = tasks.stopping().clone();
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = async {
                let place = Arc::clone(&room).acquire_owned().await;
                (place, listener.accept().await)
            } => accepted,
        };
        match accepted {
            (Ok(place), Ok((stream, peer))) => {
                let (router, stop) = (router.clone(), stop.clone());
                tasks.spawn(name, async move {
                    connection(stream, Peer(peer.ip()), router, stop).await;
                    drop(place);
                });
            }
            (_, Err(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    listener = name,
                    "a connection could not be accepted"
                );
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            (Err(_), _) => return,
        }
    }
}

async fn connection(stream: TcpStream, peer: Peer, router: Router, stop: CancellationToken) {
    // Answers are small; waiting to fill a packet would only delay them.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(DRAIN, connection.as_mut()).await.ok()
        }
    };
    if let Some(Err(error)) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The whole body of `request`, bounded in size and time.
pub(crate) async fn body(request: Request) -> Result<Bytes, Failure> {
    let read = axum::body::to_bytes(request.into_body(), BODY_BYTES);
    match timeout(BODY_DEADLINE, read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_large(&error) => Err(Failure::said(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("Request body is larger than {BODY_BYTES} bytes"),
        )),
        Ok(Err(_)) => Err(Failure::said(StatusCode::BAD_REQUEST, "Request body could not be read")),
        Err(_) => Err(Failure::said(StatusCode::REQUEST_TIMEOUT, "Request body took too long")),
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}
