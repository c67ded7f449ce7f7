//! WebSockets (RFC 6455) that are asked for with the project's HTTP client, and those that are served.
//!
//! ```text
//!   http::Client ─► connect ─┐
//!                            ├─► WebSocket: next, next_any, send, send_bytes, send_parts, ping, close
//!   axum request ─► accept ──┘
//! ```
//! Owns the two handshakes, and the bounds of a socket: the size of messages, and the time in which the other end has
//! to take what it is sent. A client goes through the proxies and has the certificates checked that any other request
//! of ours does. Never knows what a message says, and never opens a socket again.

pub mod rate;
pub mod seated;
pub mod talk;

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::OnUpgrade;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::handshake::server::create_response;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

pub use tokio_tungstenite::tungstenite::{Bytes, Utf8Bytes};

use crate::http::{Client, HttpError, Upgraded, Url, beginning};
use crate::server::error::ErrorResponse;

/// Everything is as it should be.
pub const NORMAL: u16 = 1000;
/// The server ends, or the page is left.
pub const GOING_AWAY: u16 = 1001;
/// The other end broke a rule.
pub const POLICY: u16 = 1008;
/// There is too much to do; later it may be better.
pub const TRY_AGAIN: u16 = 1013;

/// How long the other end has to take the news that the socket ends: otherwise it would lose the reason.
const CLOSING: Duration = Duration::from_secs(1);

/// Longest reason for an end that the protocol has room for, in bytes.
const REASON_BYTES: usize = 123;

/// Largest answer of a server that is no WebSocket that is read, in bytes.
const REFUSAL_BYTES: usize = 64 << 10;

/// The bounds of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest message that the other end may send, in bytes.
    pub message_bytes: usize,
    /// Longest that the other end may take for one message of ours.
    pub write: Duration,
}

impl Limits {
    fn config(self) -> WebSocketConfig {
        WebSocketConfig::default()
            // Held by each socket for as long as it lives, whether or not anything comes.
            .read_buffer_size((self.message_bytes / 8).clamp(1 << 10, 64 << 10))
            .write_buffer_size(0)
            .max_message_size(Some(self.message_bytes))
            .max_frame_size(Some(self.message_bytes))
    }
}

/// Why there is no socket, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The address does not begin with `ws://` or `wss://`, or is not a URL.
    #[error("the address is no ws:// or wss:// URL")]
    Url,
    /// The server could not be reached.
    #[error("the server does not answer{}", .0.through())]
    NoAnswer(#[source] HttpError),
    /// The server answers, but not with a WebSocket.
    #[error("the server refused a WebSocket with HTTP status {status}: {text}")]
    Refused {
        status: u16,
        /// The beginning of what it said.
        text: String,
    },
    /// What answers speaks no WebSocket, whatever its status says.
    #[error("what answers there is no WebSocket server")]
    NoWebSocket,
    /// The other end closed it.
    #[error("the connection was closed{}", closed(*.code, .reason))]
    Closed {
        /// The protocol's number for the reason; `None` if the connection just ended.
        code: Option<u16>,
        /// The beginning of what the other end said, maybe nothing.
        reason: String,
    },
    /// The other end sent more than fits, something that is no text, or broke the protocol.
    #[error("what came breaks the bounds or the protocol of the socket: {0}")]
    Broken(Error),
    /// Something binary came, where the protocol has only texts.
    #[error("a binary message came")]
    Binary,
    /// The other end does not take what it is sent.
    #[error("the other end takes nothing that it is sent")]
    Stuck,
}

fn closed(code: Option<u16>, reason: &str) -> String {
    match (code, reason) {
        (None, _) => String::new(),
        (Some(code), "") => format!(" with code {code}"),
        (Some(code), reason) => format!(" with code {code}: {reason}"),
    }
}

impl From<Error> for SocketError {
    fn from(error: Error) -> Self {
        match error {
            Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Io(_)
            | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                Self::Closed { code: None, reason: String::new() }
            }
            error => Self::Broken(error),
        }
    }
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A message.
    Text(Utf8Bytes),
    /// A sign of life: a ping, which was answered, or the answer to one.
    Alive,
}

/// What came, where the protocol also has bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceivedAny {
    /// A message of text.
    Text(Utf8Bytes),
    /// A message of bytes.
    Bytes(Bytes),
    /// A sign of life: a ping, which was answered, or the answer to one.
    Alive,
}

/// A WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    inner: WebSocketStream<Upgraded>,
    limits: Limits,
}

/// Opens the WebSocket `url` with `http`, whose deadline counts for that.
///
/// # Errors
/// [`SocketError`].
pub async fn connect(http: &Client, url: &str, limits: Limits) -> Result<WebSocket, SocketError> {
    connect_with(http, url, &[], limits).await
}

/// As [`connect`], with more `headers`.
///
/// # Errors
/// [`SocketError`].
pub async fn connect_with(
    http: &Client,
    url: &str,
    headers: &[(&str, String)],
    limits: Limits,
) -> Result<WebSocket, SocketError> {
    let key = generate_key();
    let request = http.get(&of_http(url).ok_or(SocketError::Url)?);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    let response = request
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", &key)
        .open()
        .await
        .map_err(SocketError::NoAnswer)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = response.status().as_u16();
        return Err(SocketError::Refused { status, text: refusal(response).await });
    }
    let accepted = response.headers().get("sec-websocket-accept");
    if accepted.is_none_or(|accepted| accepted.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes()) {
        return Err(SocketError::NoWebSocket);
    }
    let stream = response.upgrade().await.map_err(SocketError::NoAnswer)?;
    Ok(WebSocket::over(stream, Role::Client, limits).await)
}

/// The beginning of the body of `response`.
async fn refusal(mut response: crate::http::Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(part)) = response.part().await {
        bytes.extend_from_slice(&part);
        if bytes.len() > REFUSAL_BYTES {
            break;
        }
    }
    beginning(&bytes)
}

/// The address by which an HTTP client knows the WebSocket `url`.
fn of_http(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "ws" => "http",
        "wss" => "https",
        _ => return None,
    };
    let url = format!("{scheme}://{rest}");
    Url::parse(&url).is_ok().then_some(url)
}

/// A WebSocket that is the client's once it has the response.
#[derive(Debug)]
pub struct Accepted(OnUpgrade);

impl Accepted {
    /// The socket; `None` if the client went away meanwhile.
    pub async fn socket(self, limits: Limits) -> Option<WebSocket> {
        let stream = Upgraded::from(self.0.await.ok()?);
        Some(WebSocket::over(stream, Role::Server, limits).await)
    }
}

/// Answers `request`, which asks for a WebSocket. Served by [`crate::server::serve`], a socket has left the
/// connections' places: whoever serves sockets bounds their number.
///
/// # Errors
/// When `request` asks for something else.
pub fn accept(request: Request) -> Result<(Response, Accepted), ErrorResponse> {
    let (mut parts, _) = request.into_parts();
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let answer = create_response(&hyper::Request::from_parts(parts, ()));
    match (answer, upgrade) {
        (Ok(answer), Some(upgrade)) => Ok((answer.map(|()| Body::empty()), Accepted(upgrade))),
        _ => Err(ErrorResponse::new(
            StatusCode::UPGRADE_REQUIRED,
            "this address is a WebSocket (RFC 6455, version 13)",
        )),
    }
}

impl WebSocket {
    async fn over(stream: Upgraded, role: Role, limits: Limits) -> Self {
        let inner = WebSocketStream::from_raw_socket(stream, role, Some(limits.config())).await;
        Self { inner, limits }
    }

    /// What comes next. May be given up at any time without losing anything.
    ///
    /// # Errors
    /// [`SocketError::Closed`], [`SocketError::Broken`], [`SocketError::Binary`]; the socket is of no use then.
    pub async fn next(&mut self) -> Result<Received, SocketError> {
        match self.next_any().await? {
            ReceivedAny::Text(text) => Ok(Received::Text(text)),
            ReceivedAny::Alive => Ok(Received::Alive),
            ReceivedAny::Bytes(_) => Err(SocketError::Binary),
        }
    }

    /// What comes next, also where it is bytes. May be given up at any time without losing anything.
    ///
    /// # Errors
    /// [`SocketError::Closed`], [`SocketError::Broken`]; the socket is of no use then.
    pub async fn next_any(&mut self) -> Result<ReceivedAny, SocketError> {
        let none = || SocketError::Closed { code: None, reason: String::new() };
        match self.inner.next().await.ok_or_else(none)?? {
            Message::Text(text) => Ok(ReceivedAny::Text(text)),
            Message::Ping(_) | Message::Pong(_) => Ok(ReceivedAny::Alive),
            Message::Binary(bytes) => Ok(ReceivedAny::Bytes(bytes)),
            Message::Frame(_) => Err(SocketError::Binary),
            Message::Close(why) => {
                // Its answer is ready, and sent here or never.
                let _ = timeout(CLOSING, self.inner.flush()).await;
                Err(SocketError::Closed {
                    code: why.as_ref().map(|why| why.code.into()),
                    reason: why.map(|why| beginning(why.reason.as_bytes())).unwrap_or_default(),
                })
            }
        }
    }

    /// Sends the message `text`.
    ///
    /// # Errors
    /// [`SocketError::Stuck`], [`SocketError::Closed`]; the socket is of no use then.
    pub async fn send(&mut self, text: Utf8Bytes) -> Result<(), SocketError> {
        self.write(Message::Text(text)).await
    }

    /// Sends the message `bytes`.
    ///
    /// # Errors
    /// [`SocketError::Stuck`], [`SocketError::Closed`]; the socket is of no use then.
    pub async fn send_bytes(&mut self, bytes: Bytes) -> Result<(), SocketError> {
        self.write(Message::Binary(bytes)).await
    }

    /// Sends one message in `parts`, so that no more than one of them is in memory. Together they have to be UTF-8.
    /// Each part has the time of a message.
    ///
    /// # Errors
    /// [`SocketError::Stuck`], [`SocketError::Closed`]; the socket is of no use then.
    pub async fn send_parts(&mut self, parts: impl Iterator<Item = Bytes>) -> Result<(), SocketError> {
        let mut kind = Data::Text;
        for part in parts {
            self.write(Message::Frame(Frame::message(part, OpCode::Data(kind), false))).await?;
            kind = Data::Continue;
        }
        self.write(Message::Frame(Frame::message(Bytes::new(), OpCode::Data(kind), true))).await
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// [`SocketError::Stuck`], [`SocketError::Closed`]; the socket is of no use then.
    pub async fn ping(&mut self) -> Result<(), SocketError> {
        self.write(Message::Ping(Bytes::new())).await
    }

    async fn write(&mut self, message: Message) -> Result<(), SocketError> {
        match timeout(self.limits.write, self.inner.send(message)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(SocketError::Stuck),
        }
    }

    /// Ends the socket, and tells the other end why, if it takes it within a second.
    pub async fn close(mut self, code: u16, reason: &str) {
        let mut end = reason.len().min(REASON_BYTES);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let why = CloseFrame { code: code.into(), reason: Cow::from(&reason[..end]).as_ref().into() };
        let end = async {
            if self.inner.close(Some(why)).await.is_ok() {
                // What was sent meanwhile and is not read would have the kernel take the reason back.
                while let Some(Ok(_)) = self.inner.next().await {}
            }
        };
        // Who does not take it in time learns it by the connection's end.
        let _ = timeout(CLOSING, end).await;
    }
}

#[cfg(test)]
mod tests;
