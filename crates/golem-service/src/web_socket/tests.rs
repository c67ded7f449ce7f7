//! Both ends of a socket in this process, over a true connection.

use std::time::Duration;

use axum::Router;
use axum::routing::any;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::http::Options;
use crate::server::TrustedProxies;
use crate::server::serve::serve;
use crate::tasks::Tasks;

const LIMITS: Limits = Limits { message_bytes: 1 << 20, write: Duration::from_secs(5) };

/// A server at `ws://…/socket`, and the sockets that it accepts.
async fn server(tasks: &Tasks, limits: Limits) -> (String, mpsc::Receiver<WebSocket>) {
    let (sender, sockets) = mpsc::channel(1);
    let owner = tasks.clone();
    let accepts = async move |request: Request| -> Result<Response, ErrorResponse> {
        let (response, accepted) = accept(request)?;
        let sender = sender.clone();
        owner.spawn("socket", async move {
            if let Some(socket) = accepted.socket(limits).await {
                let _ = sender.send(socket).await;
            }
        });
        Ok(response)
    };
    let router = Router::new().route("/socket", any(accepts));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/socket", listener.local_addr().unwrap());
    tasks.spawn("server", serve("test", listener, router, TrustedProxies::default(), tasks.clone()));
    (url, sockets)
}

fn client() -> Client {
    Client::new(Options::within(Duration::from_secs(10))).unwrap()
}

#[tokio::test]
async fn messages_go_both_ways_whole_or_in_parts_and_the_end_has_its_reason() {
    let tasks = Tasks::new();
    let (url, mut sockets) = server(&tasks, LIMITS).await;
    let mut near = connect(&client(), &url, LIMITS).await.unwrap();
    let mut far = sockets.recv().await.unwrap();
    near.send("hello ä".into()).await.unwrap();
    assert_eq!(far.next().await.unwrap(), Received::Text("hello ä".into()));
    // A part may end within a character.
    let text = "ä".repeat(100_000);
    let (left, right) = text.as_bytes().split_at(99_999);
    let parts = [Bytes::copy_from_slice(left), Bytes::copy_from_slice(right)];
    far.send_parts(parts.into_iter()).await.unwrap();
    assert_eq!(near.next().await.unwrap(), Received::Text(text.into()));
    near.ping().await.unwrap();
    assert_eq!(far.next().await.unwrap(), Received::Alive);
    // The answer is written when the socket is used again.
    far.send("more".into()).await.unwrap();
    let mut came = vec![near.next().await.unwrap(), near.next().await.unwrap()];
    came.sort_by_key(|came| *came == Received::Alive);
    assert_eq!(came, [Received::Text("more".into()), Received::Alive]);
    let reason = format!("{}\u{1b}ä", "x".repeat(121));
    tokio::join!(far.close(POLICY, &reason), async {
        let SocketError::Closed { code, reason } = near.next().await.unwrap_err() else { panic!("no end") };
        assert_eq!((code, reason), (Some(POLICY), "x".repeat(121)));
    });
    tasks.stop().await;
}

#[tokio::test]
async fn what_is_too_large_or_binary_is_not_taken() {
    let tasks = Tasks::new();
    let (url, mut sockets) = server(&tasks, Limits { message_bytes: 1000, ..LIMITS }).await;
    let mut near = connect(&client(), &url, LIMITS).await.unwrap();
    let mut far = sockets.recv().await.unwrap();
    near.send("x".repeat(1000).into()).await.unwrap();
    assert!(matches!(far.next().await, Ok(Received::Text(_))));
    near.send("x".repeat(1001).into()).await.unwrap();
    assert!(matches!(far.next().await, Err(SocketError::Broken(_))));
    let mut near = connect(&client(), &url, LIMITS).await.unwrap();
    let mut far = sockets.recv().await.unwrap();
    // In parts as well.
    near.send_parts((0..3).map(|_| Bytes::from(vec![b'x'; 500]))).await.unwrap();
    assert!(matches!(far.next().await, Err(SocketError::Broken(_))));
    let mut near = connect(&client(), &url, LIMITS).await.unwrap();
    let mut far = sockets.recv().await.unwrap();
    near.inner.send(Message::Binary(Bytes::from_static(b"{}"))).await.unwrap();
    assert!(matches!(far.next().await, Err(SocketError::Binary)));
    tasks.stop().await;
}

#[tokio::test]
async fn who_takes_nothing_is_given_up() {
    let tasks = Tasks::new();
    let (url, mut sockets) = server(&tasks, Limits { write: Duration::from_millis(100), ..LIMITS }).await;
    let _near = connect(&client(), &url, LIMITS).await.unwrap();
    let mut far = sockets.recv().await.unwrap();
    let text = Utf8Bytes::from("x".repeat(1 << 20));
    let stuck = loop {
        if let Err(error) = far.send(text.clone()).await {
            break error;
        }
    };
    assert!(matches!(stuck, SocketError::Stuck), "{stuck}");
    tasks.stop().await;
}

#[tokio::test]
async fn what_is_no_web_socket_is_told_apart() {
    let tasks = Tasks::new();
    let (url, _sockets) = server(&tasks, LIMITS).await;
    let error = connect(&client(), &url.replace("/socket", "/other"), LIMITS).await.unwrap_err();
    assert!(matches!(error, SocketError::Refused { status: 404, .. }), "{error}");
    let error = connect(&client(), &url.replace("ws:", "http:"), LIMITS).await.unwrap_err();
    assert!(matches!(error, SocketError::Url), "{error}");
    let error = connect(&client(), "ws://127.0.0.1:1/", LIMITS).await.unwrap_err();
    assert!(matches!(error, SocketError::NoAnswer(_)), "{error}");
    let plain = client().get(&url.replace("ws:", "http:")).send(1000).await.unwrap();
    assert_eq!(plain.status, StatusCode::UPGRADE_REQUIRED);
    // Another's answer, repeated.
    let router = Router::new().route(
        "/",
        any(async || {
            Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
                .body(Body::empty())
                .unwrap()
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    tasks.spawn("server", serve("test", listener, router, TrustedProxies::default(), tasks.clone()));
    let error = connect(&client(), &url, LIMITS).await.unwrap_err();
    assert!(matches!(error, SocketError::NoWebSocket), "{error}");
    tasks.stop().await;
}
