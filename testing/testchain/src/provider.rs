//! A proxy before a chain that has the limits of public providers, and their faults.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use golem_service::http::{Client, Options};
use serde_json::{Value, json};

/// Longest that the chain may take, and largest answer that is passed on.
const DEADLINE: Duration = Duration::from_secs(60);
const ANSWER_BYTES: usize = 64 << 20;

/// What a provider takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most calls in a batch; one: no batches.
    pub batch: usize,
    /// Most blocks in a question for logs; none: no logs.
    pub log_blocks: u64,
    /// Most logs in an answer.
    pub log_results: usize,
    /// What it says of the gas that a call takes, in percent of the truth.
    pub gas_percent: u64,
    /// Most requests in a second.
    pub per_second: Option<usize>,
    /// How many of a hundred requests a replica answers that is a block behind.
    pub lagging_percent: u64,
    /// Whether it has no state but the newest block's.
    pub is_pruned: bool,
    /// Whether it refuses calls without an address.
    pub refuses_programs: bool,
    /// What it says of blocks.
    pub says: Says,
}

/// What a provider says of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// What the chain says.
    Truth,
    /// Numbers, hashes and times that are zero.
    Zeros,
    /// Nothing.
    Nulls,
    /// Blocks of this many seconds later.
    Later(u64),
    /// Blocks of this many seconds earlier.
    Earlier(u64),
    /// A number that no chain has.
    Absurd,
    /// That it is of another chain.
    OtherChain,
    /// That the newest block is this one.
    Stalled(u64),
    /// No JSON.
    Garbage,
    /// HTTP 500.
    Down,
}

impl Limits {
    /// None at all.
    pub const NONE: Self = Self {
        batch: usize::MAX,
        log_blocks: u64::MAX,
        log_results: usize::MAX,
        gas_percent: 100,
        per_second: None,
        lagging_percent: 0,
        is_pruned: false,
        refuses_programs: false,
        says: Says::Truth,
    };

    /// No batches, no logs, no calls without an address, nothing but the newest state.
    pub const MEANEST: Self =
        Self { batch: 1, log_blocks: 0, is_pruned: true, refuses_programs: true, ..Self::NONE };

    /// None, but it says something else of blocks.
    #[must_use]
    pub const fn saying(says: Says) -> Self {
        Self { says, ..Self::NONE }
    }
}

/// A provider. Clones share it.
#[derive(Clone)]
pub struct Provider(Arc<Inner>);

struct Inner {
    http: Client,
    target: String,
    url: String,
    limits: Mutex<Limits>,
    requests: AtomicU64,
    recent: Mutex<VecDeque<Instant>>,
    /// The methods that were asked for, in order.
    asked: Mutex<Vec<String>>,
    random: AtomicU64,
}

impl Provider {
    /// Serves the chain at `target` on a loopback port of its own, with `limits`.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(target: &str, limits: Limits) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("no port")?;
        let inner = Inner {
            http: Client::new(Options::within(DEADLINE))?,
            target: target.to_owned(),
            url: format!("http://{}/", listener.local_addr()?),
            limits: Mutex::new(limits),
            requests: AtomicU64::new(0),
            recent: Mutex::default(),
            asked: Mutex::default(),
            random: AtomicU64::new(7),
        };
        let provider = Self(Arc::new(inner));
        let shared = provider.clone();
        let handler = async move |body: Bytes| shared.answer(&body).await;
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, Router::new().route("/", post(handler))).await });
        tasks.detach_all();
        Ok(provider)
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// HTTP requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// The methods that were asked for since this was last asked, in order.
    pub fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has `limits` from now on.
    pub fn limit(&self, limits: Limits) {
        *self.0.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    fn limits(&self) -> Limits {
        *self.0.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there were too many requests.
    fn is_too_fast(&self, most: usize) -> bool {
        let now = Instant::now();
        let mut recent = self.0.recent.lock().unwrap_or_else(PoisonError::into_inner);
        while recent.front().is_some_and(|at| now.duration_since(*at) >= Duration::from_secs(1)) {
            recent.pop_front();
        }
        if recent.len() >= most {
            return true;
        }
        recent.push_back(now);
        false
    }

    async fn answer(&self, body: &[u8]) -> Response {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        let limits = self.limits();
        if limits.per_second.is_some_and(|most| self.is_too_fast(most)) {
            return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response();
        }
        match limits.says {
            Says::Garbage => return "<html>busy</html>".into_response(),
            Says::Down => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            _ => {}
        }
        let Ok(request) = serde_json::from_slice::<Value>(body) else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        let calls = match &request {
            Value::Array(calls) if limits.batch > 1 && calls.len() <= limits.batch => calls.clone(),
            Value::Array(_) => {
                let error = json!({ "code": -32600, "message": "batch requests are limited" });
                return axum::Json(json!({ "jsonrpc": "2.0", "id": null, "error": error })).into_response();
            }
            call => vec![call.clone()],
        };
        let newest = self.newest(limits).await;
        let mut answers = Vec::new();
        for call in &calls {
            let mut one = self.one(call, limits, newest).await;
            one["jsonrpc"] = json!("2.0");
            one["id"] = call["id"].clone();
            answers.push(one);
        }
        axum::Json(if request.is_array() { Value::from(answers) } else { answers.swap_remove(0) })
            .into_response()
    }

    /// The newest block that is known here.
    async fn newest(&self, limits: Limits) -> u64 {
        let newest = self.ask("eth_getBlockByNumber", &json!(["latest", false])).await;
        let newest = number(&newest["result"]["number"]);
        // SplitMix64, which looks random and is the same in each run.
        let step = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = self.0.random.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
        random = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        random ^= random >> 27;
        match limits.says {
            Says::Stalled(at) => at.min(newest),
            _ if random % 100 < limits.lagging_percent => newest.saturating_sub(1),
            _ => newest,
        }
    }

    async fn ask(&self, method: &str, params: &Value) -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = self.0.http.post(&self.0.target).json(&call).send(ANSWER_BYTES).await;
        answer.ok().and_then(|answer| answer.json().ok()).unwrap_or(Value::Null)
    }

    async fn one(&self, call: &Value, limits: Limits, newest: u64) -> Value {
        let refuse = |code: i64, message: &str| json!({ "error": { "code": code, "message": message } });
        let method = call["method"].as_str().unwrap_or_default();
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner).push(method.to_owned());
        let mut params = call["params"].clone();
        // Which block it is about, and where that stands among the parameters.
        let place = match method {
            "eth_getBlockByNumber" => Some(0),
            "eth_call" => Some(1),
            _ => None,
        };
        if let Some(place) = place {
            let latest = params[place] == "latest";
            let about = if latest { newest } else { number(&params[place]) };
            if method == "eth_call" {
                if !latest && limits.is_pruned {
                    return refuse(-32000, "missing trie node 5f (path ) state is not available");
                }
                if about > newest {
                    return refuse(-32000, "header not found");
                }
                if limits.refuses_programs && params[0]["to"].is_null() {
                    return refuse(-32602, "missing field `to`");
                }
            } else if about > newest {
                return json!({ "result": null });
            }
            params[place] = json!(format!("{about:#x}"));
        }
        if method == "eth_getLogs" {
            let (from, to) = (number(&params[0]["fromBlock"]), number(&params[0]["toBlock"]));
            if to.saturating_sub(from) >= limits.log_blocks {
                return refuse(-32602, "eth_getLogs is limited to fewer blocks on your plan");
            }
        }
        let mut answer = self.ask(method, &params).await;
        if answer["result"]
            .as_array()
            .is_some_and(|all| method == "eth_getLogs" && all.len() > limits.log_results)
        {
            return refuse(-32005, "query returned more than the maximum of results");
        }
        match (method, limits.says) {
            ("eth_chainId", Says::OtherChain) => answer["result"] = json!("0x1"),
            (_, Says::Nulls) => answer["result"] = Value::Null,
            ("eth_estimateGas", _) if answer["result"].is_string() => {
                let gas = number(&answer["result"]) / 100 * limits.gas_percent;
                answer["result"] = json!(format!("{gas:#x}"));
            }
            ("eth_getBlockByNumber", says) if answer["result"].is_object() => {
                lie(&mut answer["result"], says)
            }
            _ => {}
        }
        if answer.get("error").is_some() {
            return json!({ "error": answer["error"] });
        }
        json!({ "result": answer["result"] })
    }
}

/// Makes `says` of a block.
fn lie(block: &mut Value, says: Says) {
    let time = number(&block["timestamp"]);
    match says {
        Says::Zeros => {
            let hash = format!("0x{}", "0".repeat(64));
            *block = json!({ "number": "0x0", "hash": hash, "timestamp": "0x0" });
        }
        Says::Later(seconds) => block["timestamp"] = json!(format!("{:#x}", time.saturating_add(seconds))),
        Says::Earlier(seconds) => block["timestamp"] = json!(format!("{:#x}", time.saturating_sub(seconds))),
        Says::Absurd => block["number"] = json!(format!("{:#x}", 1u64 << 60)),
        _ => {}
    }
}

fn number(value: &Value) -> u64 {
    golem_chain::rpc::quantity(value).unwrap_or_default()
}
