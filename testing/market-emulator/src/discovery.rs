//! A discovery server that keeps what it was told, and has faults.
//!
//! Takes what the published one takes, no more: IPv4 only, at least one of each resource, both
//! headers, and does not look at signatures.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::serve::serve;

/// What is wrong with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServerFault {
    /// Nothing.
    #[default]
    None,
    /// Every request is answered with HTTP status 500.
    Down,
    /// It is well, and takes no adverts.
    Refuses,
    /// It never answers.
    Silent,
    /// It answers without an end.
    Endless,
}

/// A request that changes something.
#[derive(Debug, Clone)]
pub struct Posted {
    /// Whose it says it is.
    pub id: String,
    /// Its signature.
    pub signature: String,
    /// Its body; empty when an advert is taken off.
    pub body: Bytes,
    /// Whether it is an advert; else one is taken off.
    pub advert: bool,
}

#[derive(Debug, Default)]
struct Inner {
    fault: ServerFault,
    adverts: BTreeMap<String, Value>,
    told: Vec<Posted>,
}

/// A server; it ends when dropped.
#[derive(Debug)]
pub struct DiscoveryServer {
    inner: Arc<Shared>,
    url: String,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    /// Requests of any kind so far.
    requests: watch::Sender<u64>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request; gives the answer of a server with a fault.
    async fn fault(&self, changes: bool) -> Option<Response> {
        let fault = self.lock().fault;
        self.requests.send_modify(|requests| *requests += 1);
        match fault {
            ServerFault::None => None,
            ServerFault::Refuses if !changes => None,
            ServerFault::Refuses => Some(StatusCode::UNPROCESSABLE_ENTITY.into_response()),
            ServerFault::Down => Some(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
            ServerFault::Silent => std::future::pending().await,
            ServerFault::Endless => Some("x".repeat(1 << 20).into_response()),
        }
    }
}

impl Drop for DiscoveryServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn health(State(shared): State<Arc<Shared>>) -> Response {
    match shared.fault(false).await {
        Some(fault) => fault,
        None => axum::Json(json!({ "status": "healthy" })).into_response(),
    }
}

fn headers(headers: &HeaderMap) -> Option<(String, String)> {
    let text =
        |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned()).filter(|text| !text.is_empty());
    Some((text("x-provider-id")?, text("x-provider-signature")?))
}

/// Whether the published servers, of either kind, take it.
pub(crate) fn is_good(body: &Value) -> bool {
    let ip = body["ip_address"].as_str().is_some_and(|ip| ip.parse::<std::net::Ipv4Addr>().is_ok());
    let country = body["country"].as_str().is_some_and(|country| country.len() == 2);
    let resource = |name: &str| body["resources"][name].as_u64().is_some_and(|number| number >= 1);
    ip && country && ["cpu", "memory", "storage"].into_iter().all(resource)
}

async fn advertise(State(shared): State<Arc<Shared>>, given: HeaderMap, body: Bytes) -> Response {
    if let Some(fault) = shared.fault(true).await {
        return fault;
    }
    let parsed = serde_json::from_slice::<Value>(&body).ok().filter(is_good);
    let (Some((id, signature)), Some(parsed)) = (headers(&given), parsed) else {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    };
    let mut inner = shared.lock();
    inner.adverts.insert(id.clone(), parsed.clone());
    inner.told.push(Posted { id, signature, body, advert: true });
    axum::Json(parsed).into_response()
}

async fn remove(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    given: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(fault) = shared.fault(true).await {
        return fault;
    }
    let Some((claimed, signature)) = headers(&given) else {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    };
    if claimed != id {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let mut inner = shared.lock();
    inner.told.push(Posted { id: claimed, signature, body, advert: false });
    match inner.adverts.remove(&id) {
        Some(_) => axum::Json(json!({ "status": "success" })).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

impl DiscoveryServer {
    /// Starts one on a free local port.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> std::io::Result<Self> {
        let inner = Arc::new(Shared { inner: Mutex::default(), requests: watch::channel(0).0 });
        let router = Router::new()
            .route("/health", get(health))
            .route("/api/v1/advertisements", post(advertise))
            .route("/api/v1/advertisements/{id}", delete(remove))
            .with_state(Arc::clone(&inner));
        let (address, server) = serve(router).await?;
        Ok(Self { inner, url: format!("http://{address}"), server })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it shows, by the providers' ids.
    #[must_use]
    pub fn adverts(&self) -> BTreeMap<String, Value> {
        self.inner.lock().adverts.clone()
    }

    /// Every request that changed something.
    #[must_use]
    pub fn told(&self) -> Vec<Posted> {
        self.inner.lock().told.clone()
    }

    /// How many requests of any kind there were; tells of each.
    #[must_use]
    pub fn requests(&self) -> watch::Receiver<u64> {
        self.inner.requests.subscribe()
    }

    /// Breaks the server, or mends it.
    pub fn set_fault(&self, fault: ServerFault) {
        self.inner.lock().fault = fault;
    }
}
