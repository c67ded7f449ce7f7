//! A discovery server that shows who is connected (`central-discovery.ws.v1`), and has faults.
//!
//! Takes what upstream's documentation names, no more, and does not look at signatures.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::discovery::is_good;
use crate::serve::serve;

/// What is wrong with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LiveFault {
    /// Nothing.
    #[default]
    None,
    /// Sockets are refused with HTTP status 503.
    Down,
    /// It takes a socket and says nothing.
    NoHello,
    /// It speaks another protocol.
    OtherProtocol,
    /// It accepts no proof.
    NobodyIsKnown,
    /// It takes no advert.
    Refuses,
    /// It ends each socket once it has shown an advert.
    Drops,
    /// It sends without an end.
    Floods,
    /// It sends what is no JSON.
    Nonsense,
}

#[derive(Debug, Default)]
struct Inner {
    adverts: BTreeMap<String, Value>,
    told: Vec<Value>,
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    fault: watch::Sender<LiveFault>,
    /// Sockets that were asked for so far.
    sockets: watch::Sender<u64>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server; it ends when dropped.
#[derive(Debug)]
pub struct LiveServer {
    shared: Arc<Shared>,
    url: String,
    server: JoinHandle<()>,
}

impl Drop for LiveServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn upgraded(State(shared): State<Arc<Shared>>, upgrade: WebSocketUpgrade) -> Response {
    shared.sockets.send_modify(|sockets| *sockets += 1);
    let mut faults = shared.fault.subscribe();
    let fault = *faults.borrow_and_update();
    if fault == LiveFault::Down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    upgrade.on_upgrade(async move |mut socket| {
        let mut id = None;
        tokio::select! {
            _ = talk(&mut socket, &shared, fault, &mut id) => {}
            // A restart.
            _ = faults.changed() => {}
        }
        if let Some(id) = id {
            shared.lock().adverts.remove(&id);
        }
    })
}

async fn say(socket: &mut WebSocket, message: Value) -> Option<()> {
    socket.send(Message::text(message.to_string())).await.ok()
}

/// Serves `socket` until it ends.
async fn talk(
    socket: &mut WebSocket,
    shared: &Shared,
    fault: LiveFault,
    id: &mut Option<String>,
) -> Option<()> {
    let protocol = match fault {
        LiveFault::NoHello => std::future::pending().await,
        LiveFault::OtherProtocol => "central-discovery.ws.v9",
        _ => "central-discovery.ws.v1",
    };
    say(socket, json!({ "type": "hello", "protocol": protocol, "nonce": "nonce-0001" })).await?;
    loop {
        let message = socket.recv().await?.ok()?;
        let Message::Text(text) = message else { continue };
        let said: Value = serde_json::from_str(&text).ok()?;
        shared.lock().told.push(said.clone());
        let advert = &said["advertisement"];
        match (said["type"].as_str()?, &*id) {
            ("authenticate", None) if fault != LiveFault::NobodyIsKnown => {
                *id = Some(said["provider_id"].as_str()?.to_owned());
                say(socket, json!({ "type": "authenticated" })).await?;
            }
            ("advertisement.upsert", Some(id)) if fault != LiveFault::Refuses && is_good(advert) => {
                shared.lock().adverts.insert(id.clone(), advert.clone());
                say(socket, json!({ "type": "advertisement.accepted" })).await?;
                match fault {
                    LiveFault::Drops => return None,
                    LiveFault::Nonsense => socket.send(Message::text("{")).await.ok()?,
                    LiveFault::Floods => loop {
                        say(socket, json!({ "type": "news" })).await?;
                    },
                    _ => {}
                }
            }
            ("advertisement.remove", Some(id)) => {
                shared.lock().adverts.remove(id);
                say(socket, json!({ "type": "advertisement.removed" })).await?;
            }
            (kind, _) => {
                say(socket, json!({ "type": "error", "message": format!("no {kind} here") })).await?
            }
        }
    }
}

impl LiveServer {
    /// Starts one on a free local port.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            inner: Mutex::default(),
            fault: watch::channel(LiveFault::None).0,
            sockets: watch::channel(0).0,
        });
        let router =
            Router::new().route("/api/v1/discovery/providers", get(upgraded)).with_state(Arc::clone(&shared));
        let (address, server) = serve(router).await?;
        let url = format!("ws://{address}/api/v1/discovery/providers");
        Ok(Self { shared, url, server })
    }

    /// Where its socket for providers is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it shows, by the providers' ids.
    #[must_use]
    pub fn adverts(&self) -> BTreeMap<String, Value> {
        self.shared.lock().adverts.clone()
    }

    /// Every message that came.
    #[must_use]
    pub fn told(&self) -> Vec<Value> {
        self.shared.lock().told.clone()
    }

    /// How many sockets were asked for; tells of each.
    #[must_use]
    pub fn sockets(&self) -> watch::Receiver<u64> {
        self.shared.sockets.subscribe()
    }

    /// Breaks the server, or mends it. Sockets that are open end.
    pub fn set_fault(&self, fault: LiveFault) {
        self.shared.fault.send_replace(fault);
    }
}
