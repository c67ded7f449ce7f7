//! For tests: a network that holds adverts, in memory, with its rules and its faults.
//!
//! Speaks JSON-RPC as Golem Base (generation 1) or as Arkiv's Tiramisu (generation 4) does. It
//! reads bytes with code of its own, so that what it takes was not merely written and read by the
//! same hand; the golden vectors of the original's library hold for it too. Beside it, discovery
//! servers of both kinds. It never ships.

#![allow(missing_docs, reason = "what the macro for Solidity makes has none")]

mod chain;
mod discovery;
mod entity;
mod golem_base;
mod live;
mod query;
mod rlp;
mod rpc;
mod serve;
mod tiramisu;
mod transaction;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_primitives::{Address, B256, U256};
use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::task::JoinHandle;

pub use chain::Mined;
pub use discovery::{DiscoveryServer, Posted, ServerFault};
pub use entity::Stored;
pub use live::{LiveFault, LiveServer};
pub use query::Protocol;

use chain::Chain;
use serve::serve;

/// What is wrong with the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Every request is answered with HTTP status 500.
    Down,
    /// Queries find nothing, whatever there is.
    Blind,
    /// It says that it is of another chain.
    OtherChain,
    /// It answers as it did so many blocks ago.
    Behind(u64),
}

#[derive(Debug)]
struct Inner {
    chain: Chain,
    fault: Fault,
    requests: u64,
    /// Entities as they were, by block, for an endpoint that is behind.
    past: Vec<(u64, entity::Entities)>,
}

/// A network; it ends when dropped.
#[derive(Debug)]
pub struct Emulator {
    inner: Arc<Mutex<Inner>>,
    url: String,
    server: JoinHandle<()>,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.server.abort();
    }
}

type Shared = State<Arc<Mutex<Inner>>>;

fn answer(inner: &Mutex<Inner>, request: &serde_json::Value) -> Option<serde_json::Value> {
    inner.lock().unwrap_or_else(PoisonError::into_inner).answer(request)
}

async fn called(State(inner): Shared, axum::Json(request): axum::Json<serde_json::Value>) -> Response {
    match answer(&inner, &request) {
        Some(answer) => axum::Json(answer).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The same over a WebSocket, which the original's library opens before anything else.
async fn upgraded(State(inner): Shared, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        while let Some(Ok(message)) = socket.recv().await {
            // That library sends requests as binary.
            let Ok(request) = serde_json::from_slice(&message.into_data()) else { continue };
            let Some(answer) = answer(&inner, &request) else { return };
            if socket.send(Message::text(answer.to_string())).await.is_err() {
                return;
            }
        }
    })
}

impl Emulator {
    /// Starts a network of `protocol` with the chain id `id` on a free local port.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(protocol: Protocol, id: u64) -> std::io::Result<Self> {
        let inner = Arc::new(Mutex::new(Inner {
            chain: Chain::new(protocol, id),
            fault: Fault::None,
            requests: 0,
            past: Vec::new(),
        }));
        let router = Router::new().route("/", post(called).get(upgraded)).with_state(Arc::clone(&inner));
        let (address, server) = serve(router).await?;
        Ok(Self { inner, url: format!("http://{address}/"), server })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes `blocks` blocks without transactions.
    pub fn mine(&self, blocks: u64) {
        self.lock().mine(blocks);
    }

    /// Keeps transactions waiting, or lets them into blocks.
    pub fn hold(&self, hold: bool) {
        let mut inner = self.lock();
        inner.chain.hold = hold;
        if !hold {
            inner.remember();
            inner.chain.mine_waiting();
        }
    }

    /// The newest block.
    #[must_use]
    pub fn block(&self) -> u64 {
        self.lock().chain.block
    }

    /// What there is.
    #[must_use]
    pub fn entities(&self) -> Vec<(B256, Stored)> {
        self.lock().chain.entities.iter().map(|(key, entity)| (*key, entity.clone())).collect()
    }

    /// Puts `entity` there, as if its owner had sent it.
    pub fn put(&self, key: B256, entity: Stored) {
        self.lock().chain.entities.insert(key, entity);
    }

    /// Takes the entity `key` away, as if its owner had.
    pub fn remove(&self, key: B256) {
        self.lock().chain.entities.remove(&key);
    }

    /// Every transaction in a block.
    #[must_use]
    pub fn mined(&self) -> Vec<Mined> {
        self.lock().chain.mined.clone()
    }

    /// How many transactions wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lock().chain.waiting.len()
    }

    /// How many requests were made.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.lock().requests
    }

    /// Gives `account` so many wei.
    pub fn set_balance(&self, account: Address, wei: u128) {
        self.lock().chain.balances.insert(account, U256::from(wei));
    }

    /// Breaks the endpoint, or mends it.
    pub fn set_fault(&self, fault: Fault) {
        self.lock().fault = fault;
    }
}
