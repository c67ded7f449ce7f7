//! A chain that only pretends: one contract with streams, blocks on demand, and faults on demand.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::{Address, B256, keccak256};
use anyhow::Context;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use golem_types::Stream;
use ruint::aliases::{U160, U256};
use serde_json::{Value, json};

/// What an endpoint does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It answers 500.
    Down,
    /// It asks for patience.
    TooMany,
    /// It sends half of each answer.
    Cut,
    /// It sends random bytes where numbers should be.
    Garbled,
    /// It is of another chain.
    OtherChain,
    /// It gives blocks from long ago.
    Stale,
    /// It says that every stream is empty.
    NoStreams,
}

struct State {
    contract: Address,
    chain_id: u64,
    block: u64,
    /// Changed by a reorganisation, so that every hash changes from there.
    fork: u64,
    time: u128,
    /// The time of each block that has one of its own.
    times: BTreeMap<u64, u128>,
    /// Each stream as it was from a block on, the oldest first.
    streams: BTreeMap<u64, Vec<(u64, Stream)>>,
    /// Block and stream of every event.
    events: Vec<(u64, u64)>,
    fault: Fault,
    /// What every token says of its digits after the point.
    decimals: u8,
}

/// A chain that only pretends. Clones share it.
#[derive(Clone)]
pub struct Emulator {
    state: Arc<Mutex<State>>,
    requests: Arc<AtomicU64>,
    url: String,
}

/// The call `decimals()` of a token.
const DECIMALS: &str = "0x313ce567";

/// The emulator's contract.
const CONTRACT: Address = Address::repeat_byte(0x51);

impl Emulator {
    /// Serves a chain at block 1 and the time `time`, in seconds since the epoch, on a loopback
    /// port of its own, for as long as the runtime lives.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(chain_id: u64, time: u128) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("no port")?;
        let url = format!("http://{}/", listener.local_addr()?);
        let state = State {
            contract: CONTRACT,
            chain_id,
            block: 1,
            fork: 0,
            time,
            times: BTreeMap::from([(1, time)]),
            streams: BTreeMap::new(),
            events: Vec::new(),
            fault: Fault::None,
            decimals: 18,
        };
        let emulator = Self { state: Arc::new(Mutex::new(state)), requests: Arc::default(), url };
        let shared = emulator.clone();
        let handler = async move |body: Bytes| shared.answer(&body);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, Router::new().route("/", post(handler))).await });
        tasks.detach_all();
        Ok(emulator)
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its payment contract.
    #[must_use]
    pub const fn contract(&self) -> Address {
        CONTRACT
    }

    /// HTTP requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Makes it misbehave from now on.
    pub fn misbehave(&self, fault: Fault) {
        self.with(|state| state.fault = fault);
    }

    /// Lets every token say that it has so many digits after the point.
    pub fn tokens_have(&self, decimals: u8) {
        self.with(|state| state.decimals = decimals);
    }

    /// Mines a block `seconds` later.
    pub fn pass(&self, seconds: u128) {
        self.with(|state| {
            state.time += seconds;
            state.mine();
        });
    }

    /// Takes the last `blocks` back, with everything in them, as a chain does that is restored from a copy.
    pub fn rewind(&self, blocks: u64) {
        self.with(|state| {
            state.block = state.block.saturating_sub(blocks).max(1);
            state.fork += 1;
            let newest = state.block;
            state.events.retain(|(block, _)| *block <= newest);
            for versions in state.streams.values_mut() {
                versions.retain(|(block, _)| *block <= newest);
            }
        });
    }

    /// The time of the newest block, in seconds since the epoch.
    #[must_use]
    pub fn time(&self) -> u128 {
        self.with(|state| state.time)
    }

    /// The number of the newest block.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.with(|state| state.block)
    }

    /// Puts the stream `id` as it is given, in a new block, with its event.
    pub fn put(&self, id: u64, stream: Stream) {
        self.with(|state| {
            state.mine();
            state.streams.entry(id).or_default().push((state.block, stream));
            state.events.push((state.block, id));
        });
    }

    /// Changes the stream `id` without an event, and every block's hash: what a reorganisation
    /// looks like from outside.
    pub fn reorganise(&self, id: u64, stream: Stream) {
        self.with(|state| {
            state.fork += 1;
            state.streams.insert(id, vec![(0, stream)]);
        });
    }

    /// A stream from `sender` to `recipient` that began now and lasts for `seconds` at `rate` wei.
    #[must_use]
    pub fn stream(&self, sender: u64, recipient: Address, seconds: u64, rate: u64) -> Stream {
        let start = self.with(|state| state.time);
        Stream {
            token: U160::ZERO,
            sender: U160::from(sender),
            recipient: golem_types::stream::number(recipient),
            start,
            stop: start + u128::from(seconds),
            rate: u128::from(rate),
            deposit: U256::from(seconds) * U256::from(rate),
            withdrawn: U256::ZERO,
            halted: false,
            lease: None,
        }
    }

    fn answer(&self, body: &[u8]) -> Response {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let fault = self.with(|state| state.fault);
        match fault {
            Fault::Down => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Fault::TooMany => return StatusCode::TOO_MANY_REQUESTS.into_response(),
            _ => {}
        }
        let answer = |call: &Value| {
            let result = self.with(|state| state.result(call));
            json!({ "jsonrpc": "2.0", "id": call["id"], "result": result })
        };
        let mut text = match serde_json::from_slice(body) {
            Ok(Value::Array(calls)) => Value::from(calls.iter().map(answer).collect::<Vec<_>>()).to_string(),
            Ok(call @ Value::Object(_)) => answer(&call).to_string(),
            _ => return StatusCode::BAD_REQUEST.into_response(),
        };
        match fault {
            Fault::Cut => text.truncate(text.len() / 2),
            Fault::Garbled => {
                // Other digits in the same places: valid JSON, and nonsense.
                text = text.replace("0000000", "f7a3c19");
            }
            _ => {}
        }
        ([("content-type", "application/json")], Body::from(text)).into_response()
    }
}

impl State {
    fn mine(&mut self) {
        self.block += 1;
        self.times.insert(self.block, self.time);
    }

    /// The words of the stream that `question` asks for, as it is at `block`.
    fn words(&self, question: &str, block: u64) -> String {
        let id = u64::from_str_radix(question.get(8 + 48..).unwrap_or_default(), 16).unwrap_or_default();
        let versions = self.streams.get(&id).filter(|_| self.fault != Fault::NoStreams);
        let stream = versions.and_then(|all| all.iter().rev().find(|(from, _)| *from <= block));
        stream.map_or_else(|| "0".repeat(9 * 64), |(_, stream)| encode(stream))
    }

    /// What the program gives that asks for many streams: see golem-chain's `aggregate`.
    fn run(&self, program: &str, block: u64) -> String {
        let steps = program.as_bytes().get(4..).unwrap_or_default().chunks_exact(2 * 87);
        let steps = steps.filter_map(|step| std::str::from_utf8(step).ok());
        let words: Vec<String> =
            steps.map(|step| self.words(&format!("{}{}", &step[2..66], &step[74..82]), block)).collect();
        format!("0x{:064x}{:064x}{}", 1, self.time_of(block), words.concat())
    }

    fn time_of(&self, block: u64) -> u128 {
        if self.fault == Fault::Stale {
            return self.time.saturating_sub(86_400);
        }
        self.times.get(&block).copied().unwrap_or(self.time)
    }

    fn hash(&self, number: u64) -> B256 {
        keccak256(format!("{number} {}", self.fork))
    }

    fn result(&self, call: &Value) -> Value {
        let params = &call["params"];
        match call["method"].as_str().unwrap_or_default() {
            "eth_chainId" => {
                json!(format!("{:#x}", if self.fault == Fault::OtherChain { 1 } else { self.chain_id }))
            }
            "eth_getCode" => json!("0x60"),
            // A coin, whoever asks.
            "eth_getBalance" => json!("0xde0b6b3a7640000"),
            "eth_getBlockByNumber" => {
                let number = match params[0].as_str() {
                    Some("latest") if self.fault == Fault::Stale => 0,
                    Some("latest") => self.block,
                    other => number(other),
                };
                if number > self.block {
                    return Value::Null;
                }
                json!({ "number": format!("{number:#x}"), "hash": self.hash(number), "timestamp": format!("{:#x}", self.time_of(number)) })
            }
            "eth_getLogs" => {
                let (from, to) =
                    (number(params[0]["fromBlock"].as_str()), number(params[0]["toBlock"].as_str()));
                let logs = self.events.iter().filter(|(block, _)| (from..=to).contains(block));
                let logs = logs.zip(0u64..).map(|((block, id), index)| {
                    let topic = B256::from(U256::from(*id).to_be_bytes::<32>());
                    json!({
                        "address": self.contract, "topics": [B256::ZERO, topic], "data": "0x",
                        "blockNumber": format!("{block:#x}"), "blockHash": self.hash(*block), "removed": false,
                        "transactionHash": keccak256(format!("{block} {index}")), "logIndex": format!("{index:#x}"),
                    })
                });
                logs.collect()
            }
            "eth_call" => {
                let block = match params[1].as_str() {
                    Some(text) if text.starts_with("0x") => number(Some(text)),
                    _ => self.block,
                };
                let data = params[0]["data"].as_str().unwrap_or_default();
                if data == DECIMALS {
                    return json!(format!("0x{:064x}", self.decimals));
                }
                let data = data.trim_start_matches("0x");
                json!(if params[0]["to"].is_null() {
                    self.run(data, block)
                } else {
                    format!("0x{}", self.words(data, block))
                })
            }
            _ => Value::Null,
        }
    }
}

fn number(text: Option<&str>) -> u64 {
    text.and_then(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()).unwrap_or_default()
}

fn encode(stream: &Stream) -> String {
    let halted = u8::from(stream.halted);
    format!(
        "{:064x}{:064x}{:064x}{:064x}{:064x}{:064x}{:064x}{:064x}{halted:064x}",
        stream.token,
        stream.sender,
        stream.recipient,
        stream.start,
        stream.stop,
        stream.rate,
        stream.deposit,
        stream.withdrawn,
    )
}
