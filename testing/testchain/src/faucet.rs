//! A faucet behind a proof-of-work captcha, as the known ones: it checks the work, and pays on anvil or
//! wherever a test wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy_primitives::{Address, hex};
use anyhow::Context;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use golem_chain::Rpc;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The site that the captcha server knows.
const SITE: &str = "testsite";

/// The puzzles of every challenge: salts and the beginnings of hashes.
const PUZZLES: [(&str, &str); 8] = [
    ("a0", "0a1b"),
    ("a1", "00"),
    ("a2", "ff7e"),
    ("a3", "12"),
    ("a4", "9c"),
    ("a5", "ab"),
    ("a6", "0000"),
    ("a7", "7f"),
];

/// A faucet. Clones share it.
#[derive(Clone)]
pub struct FaucetServer {
    url: String,
    shared: Arc<Shared>,
}

/// What pays, and gives the transaction.
type Pay = Box<dyn Fn(Address) -> String + Send + Sync>;

enum Bank {
    /// The unlocked account of a chain.
    Account(Rpc, Address),
    /// A test's own.
    Own(Pay),
}

struct Shared {
    bank: Bank,
    paid: AtomicU64,
}

impl FaucetServer {
    /// Serves a faucet that pays a tenth of a coin from the unlocked account `from` of the chain.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(chain: Rpc, from: Address) -> anyhow::Result<Self> {
        Self::serve(Bank::Account(chain, from)).await
    }

    /// Serves a faucet that pays with `pay`, which gives the transaction.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn paying(pay: impl Fn(Address) -> String + Send + Sync + 'static) -> anyhow::Result<Self> {
        Self::serve(Bank::Own(Box::new(pay))).await
    }

    async fn serve(bank: Bank) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("no port")?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared { bank, paid: AtomicU64::new(0) });
        let routes = Router::new()
            .route("/{site}/api/challenge", post(challenge))
            .route("/{site}/api/redeem", post(redeem))
            .route("/faucet/api/faucet", post(pay))
            .with_state(Arc::clone(&shared));
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, routes).await });
        tasks.detach_all();
        Ok(Self { url, shared })
    }

    /// The captcha server.
    #[must_use]
    pub fn captcha_url(&self) -> &str {
        &self.url
    }

    /// The faucet.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/faucet", self.url)
    }

    /// The site at the captcha server.
    #[must_use]
    pub const fn site(&self) -> &'static str {
        SITE
    }

    /// How often it paid.
    #[must_use]
    pub fn paid(&self) -> u64 {
        self.shared.paid.load(Ordering::Relaxed)
    }
}

async fn challenge(Path(site): Path<String>) -> Result<Json<Value>, StatusCode> {
    if site != SITE {
        return Err(StatusCode::NOT_FOUND);
    }
    Ok(Json(json!({ "challenge": PUZZLES, "token": "challenge-token" })))
}

async fn redeem(Path(site): Path<String>, Json(body): Json<Value>) -> Result<Json<Value>, StatusCode> {
    let solutions = body["solutions"].as_array().ok_or(StatusCode::UNPROCESSABLE_ENTITY)?;
    let right = PUZZLES.iter().zip(solutions).all(|((salt, target), solution)| {
        let nonce = solution[2].as_u64().unwrap_or(u64::MAX);
        let hash = Sha256::digest(format!("{salt}{nonce}"));
        solution[0] == *salt
            && solution[1] == *target
            && hex::decode(target).is_ok_and(|target| hash.starts_with(&target))
    });
    if site != SITE || body["token"] != "challenge-token" || solutions.len() != PUZZLES.len() || !right {
        return Err(StatusCode::FORBIDDEN);
    }
    Ok(Json(json!({ "success": true, "token": "paid-by-work" })))
}

async fn pay(State(shared): State<Arc<Shared>>, Json(body): Json<Value>) -> Result<Json<Value>, StatusCode> {
    if body["captchaToken"] != "paid-by-work" {
        return Err(StatusCode::FORBIDDEN);
    }
    let hash = match &shared.bank {
        Bank::Account(chain, from) => {
            let transfer = json!([{ "from": from, "to": body["address"], "value": "0x16345785d8a0000" }]);
            let sent = chain.calls(&[("eth_sendTransaction", transfer)]).await;
            sent.ok().and_then(|mut answers| answers.pop()).ok_or(StatusCode::BAD_GATEWAY)?
        }
        Bank::Own(pay) => {
            let to = body["address"].as_str().and_then(|address| address.parse().ok());
            json!(pay(to.ok_or(StatusCode::UNPROCESSABLE_ENTITY)?))
        }
    };
    shared.paid.fetch_add(1, Ordering::Relaxed);
    Ok(Json(json!({ "txHash": hash })))
}
