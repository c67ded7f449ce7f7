//! A proxy before an endpoint that cuts, delays and corrupts what goes through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use golem_service::http::{Client, HttpError, Options};

/// Longest that the endpoint may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// Largest answer that is passed on.
const ANSWER_BYTES: usize = 64 << 20;

/// A proxy that lets through what it likes. Clones share it.
#[derive(Clone)]
pub struct Chaos {
    inner: Arc<Inner>,
}

struct Inner {
    http: Client,
    target: String,
    url: String,
    /// Of a hundred answers so many are spoilt.
    percent: AtomicU64,
    seed: AtomicU64,
    spoilt: AtomicU64,
    blank: AtomicBool,
}

impl Chaos {
    /// A proxy before `target` that spoils nothing yet; what it spoils follows from `seed`.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(target: &str, seed: u64) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("no port")?;
        let url = format!("http://{}/", listener.local_addr()?);
        let http = Client::new(Options::within(DEADLINE))?;
        let inner = Inner {
            http,
            target: target.to_owned(),
            url,
            percent: AtomicU64::new(0),
            seed: AtomicU64::new(seed),
            spoilt: AtomicU64::new(0),
            blank: AtomicBool::new(false),
        };
        let chaos = Self { inner: Arc::new(inner) };
        let shared = chaos.clone();
        let handler = async move |body: Bytes| shared.answer(body).await;
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, Router::new().route("/", post(handler))).await });
        tasks.detach_all();
        Ok(chaos)
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// Spoils `percent` of a hundred answers from now on.
    pub fn spoil(&self, percent: u64) {
        self.inner.percent.store(percent, Ordering::Relaxed);
    }

    /// Whether every question for logs is answered with none.
    pub fn blank(&self, on: bool) {
        self.inner.blank.store(on, Ordering::Relaxed);
    }

    /// How many answers it has spoilt.
    #[must_use]
    pub fn spoilt(&self) -> u64 {
        self.inner.spoilt.load(Ordering::Relaxed)
    }

    /// The next of a sequence that looks random and is the same for the same seed (`SplitMix64`).
    fn random(&self) -> u64 {
        let step = 0x9e37_79b9_7f4a_7c15u64;
        let mut mixed = self.inner.seed.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    async fn answer(&self, body: Bytes) -> Response {
        if self.inner.blank.load(Ordering::Relaxed) && body.windows(11).any(|part| part == b"eth_getLogs") {
            let call: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let one = |call: &serde_json::Value| serde_json::json!({"jsonrpc": "2.0", "id": call["id"], "result": []});
            let answer = match &call {
                serde_json::Value::Array(calls) => calls.iter().map(one).collect(),
                call => one(call),
            };
            return ([("content-type", "application/json")], Body::from(answer.to_string())).into_response();
        }
        let Ok(mut bytes) = self.ask(body).await else { return StatusCode::BAD_GATEWAY.into_response() };
        if self.random() % 100 < self.inner.percent.load(Ordering::Relaxed) {
            self.inner.spoilt.fetch_add(1, Ordering::Relaxed);
            match self.random() % 6 {
                0 => return StatusCode::TOO_MANY_REQUESTS.into_response(),
                1 => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
                2 => bytes.truncate(bytes.len() / 2),
                3 => tokio::time::sleep(Duration::from_millis(self.random() % 50)).await,
                4 => bytes.clear(),
                // A few digits are others: what is still JSON now tells lies.
                _ => (0..4).for_each(|_| self.garble(&mut bytes)),
            }
        }
        ([("content-type", "application/json")], Body::from(bytes)).into_response()
    }

    fn garble(&self, bytes: &mut [u8]) {
        let length = u64::try_from(bytes.len()).unwrap_or(1).max(1);
        let place = usize::try_from(self.random() % length).unwrap_or_default();
        let digits = b"0123456789abcdef";
        let digit = usize::try_from(self.random() % 16).unwrap_or_default();
        if let (Some(byte), Some(digit)) = (bytes.get_mut(place), digits.get(digit))
            && byte.is_ascii_hexdigit()
        {
            *byte = *digit;
        }
    }

    async fn ask(&self, body: Bytes) -> Result<Vec<u8>, HttpError> {
        let request = self.inner.http.post(&self.inner.target).header("content-type", "application/json");
        Ok(request.body(body.into()).send(ANSWER_BYTES).await?.bytes)
    }
}
