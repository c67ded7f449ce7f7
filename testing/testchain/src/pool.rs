//! A chain that only pretends to have a pool of transactions, and forgets, lies and asks too much on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::{Address, Bytes, keccak256};
use anyhow::Context;
use axum::{Json, Router, routing::post};
use serde_json::{Value, json};

/// A chain with a pool; clones share it.
#[derive(Clone)]
pub struct Pool {
    state: Arc<Mutex<PoolState>>,
    url: String,
}

impl Pool {
    /// Serves the chain `chain_id`, which makes blocks of what comes, on a loopback port of its own, for as long as the runtime
    /// lives.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(chain_id: u64) -> anyhow::Result<Self> {
        let state = PoolState {
            chain_id,
            base_fee: 1_000_000_000,
            mines: true,
            takes: 21_000,
            ..PoolState::default()
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let handler = async move |Json(request): Json<Value>| {
            let mut chain = shared.lock().unwrap_or_else(PoisonError::into_inner);
            chain.requests += 1;
            Json(match &request {
                Value::Array(calls) => calls.iter().map(|call| chain.answer(call)).collect(),
                call => chain.answer(call),
            })
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("no port")?;
        let url = format!("http://{}/", listener.local_addr()?);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, Router::new().route("/", post(handler))).await });
        tasks.detach_all();
        Ok(Self { state, url })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Looks at it, and changes it.
    pub fn with<T>(&self, change: impl FnOnce(&mut PoolState) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A transaction that was taken: its number and gas, read from its bytes.
pub struct Taken {
    /// Its hash.
    pub hash: String,
    /// Most gas that it may use.
    pub gas: u64,
    /// Whom it calls.
    pub to: Option<Address>,
}

/// A chain with a pool, for one wallet; what it does wrong is set in it.
#[derive(Default)]
pub struct PoolState {
    pub chain_id: u64,
    /// Transactions in blocks.
    pub mined: u64,
    /// Those that wait, by number.
    pub pool: BTreeMap<u64, Taken>,
    /// What became of those in blocks, by hash.
    pub receipts: BTreeMap<String, Value>,
    /// Wei that a unit of gas costs.
    pub base_fee: u128,
    /// Whether blocks are made for what comes.
    pub mines: bool,
    /// Whether what comes is taken and forgotten.
    pub forgets: bool,
    /// Gas that a call takes; more than its limit fails it.
    pub takes: u64,
    /// Whether receipts come later than the count of what is in blocks: for as long as this is set there are none.
    pub withholds: bool,
    /// What the chain below asks for each transaction; `None` if there is none.
    pub l1_fee: Option<u64>,
    /// HTTP requests so far.
    pub requests: usize,
    /// Estimates of gas that were asked for so far.
    pub estimates: usize,
    /// Transactions that were sent so far.
    pub sends: usize,
    /// What the next answers say of the numbers that are used, last first.
    pub pending_lies: Vec<u64>,
    /// What receipts say that a unit of gas cost, in place of the truth.
    pub price_lie: Option<String>,
}

/// The item at the start of `bytes`, as RLP has it, and what follows.
fn item(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    match *first {
        0..=0x7f => bytes.split_at_checked(1),
        short @ 0x80..=0xb7 => rest.split_at_checked(usize::from(short - 0x80)),
        long @ 0xb8..=0xbf => {
            let (length, rest) = rest.split_at_checked(usize::from(long - 0xb7))?;
            rest.split_at_checked(length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
        }
        _ => None,
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Number, highest fee, gas and receiver of a transaction of EIP-1559.
fn read(raw: &[u8]) -> Option<(u64, u128, Taken)> {
    let raw_fields = raw.strip_prefix(&[2])?;
    let (length, fields) = raw_fields.split_first()?;
    let (_, fields) = fields.split_at_checked(usize::from(length.checked_sub(0xf7)?))?;
    let (_, rest) = item(fields)?;
    let (nonce, rest) = item(rest)?;
    let (_, rest) = item(rest)?;
    let (fee, rest) = item(rest)?;
    let (gas, rest) = item(rest)?;
    let (to, _) = item(rest)?;
    let to = (!to.is_empty()).then(|| Address::from_slice(to));
    let taken = Taken { hash: keccak256(raw).to_string(), gas: number(gas), to };
    Some((number(nonce), u128::from(number(fee)), taken))
}

impl PoolState {
    fn pending(&self) -> u64 {
        (self.mined..).find(|nonce| !self.pool.contains_key(nonce)).unwrap_or(self.mined)
    }

    /// Makes blocks of all whose turn it is.
    pub fn block(&mut self) {
        while let Some(taken) = self.pool.remove(&self.mined) {
            self.mined += 1;
            let succeeded = self.takes <= taken.gas;
            let mut receipt = json!({
                "transactionHash": taken.hash, "status": if succeeded { "0x1" } else { "0x0" },
                "blockNumber": format!("{:#x}", self.mined), "logs": [], "contractAddress": null,
                "gasUsed": format!("{:#x}", self.takes.min(taken.gas)),
                "effectiveGasPrice": format!("{:#x}", self.base_fee),
            });
            if let Some(price) = &self.price_lie {
                receipt["effectiveGasPrice"] = json!(price);
            }
            if let Some(fee) = self.l1_fee {
                receipt["l1Fee"] = json!(format!("{fee:#x}"));
            }
            self.receipts.insert(taken.hash, receipt);
        }
    }

    fn send(&mut self, raw: &str) -> Result<Value, String> {
        self.sends += 1;
        let raw: Bytes = raw.parse().map_err(|_| "no bytes".to_owned())?;
        let (nonce, fee, taken) = read(&raw).ok_or("no transaction of EIP-1559")?;
        let hash = taken.hash.clone();
        if nonce < self.mined {
            return Err("nonce too low".to_owned());
        }
        if fee < self.base_fee {
            return Err("max fee per gas less than block base fee".to_owned());
        }
        if !self.forgets {
            self.pool.insert(nonce, taken);
            if self.mines {
                self.block();
            }
        }
        Ok(json!(hash))
    }

    fn answer(&mut self, call: &Value) -> Value {
        let params = &call["params"];
        let result = match call["method"].as_str().unwrap_or_default() {
            "eth_chainId" => json!(format!("{:#x}", self.chain_id)),
            "eth_getTransactionCount" if params[1] == "pending" && !self.pending_lies.is_empty() => {
                let lie = self.pending_lies.pop().unwrap_or_default();
                json!(format!("{lie:#x}"))
            }
            "eth_getTransactionCount" if params[1] == "pending" => json!(format!("{:#x}", self.pending())),
            "eth_getTransactionCount" => json!(format!("{:#x}", self.mined)),
            "eth_getTransactionReceipt" if self.withholds => Value::Null,
            "eth_getTransactionReceipt" => {
                self.receipts.get(params[0].as_str().unwrap_or_default()).cloned().unwrap_or_default()
            }
            "eth_estimateGas" => {
                self.estimates += 1;
                json!("0x5208")
            }
            "eth_getBlockByNumber" => json!({ "baseFeePerGas": format!("{:#x}", self.base_fee) }),
            "eth_gasPrice" => json!(format!("{:#x}", self.base_fee + 1)),
            "eth_getBalance" => json!("0xde0b6b3a7640000"),
            "eth_getCode" => json!(if self.l1_fee.is_some() { "0x60" } else { "0x" }),
            "eth_call" => json!(format!("0x{:064x}", self.l1_fee.unwrap_or_default())),
            "eth_sendRawTransaction" => match self.send(params[0].as_str().unwrap_or_default()) {
                Ok(hash) => hash,
                Err(message) => {
                    return json!({ "jsonrpc": "2.0", "id": call["id"], "error": { "code": -32000, "message": message } });
                }
            },
            // As an endpoint without it.
            _ => {
                return json!({ "jsonrpc": "2.0", "id": call["id"], "error": { "code": -32601, "message": "no such method" } });
            }
        };
        json!({ "jsonrpc": "2.0", "id": call["id"], "result": result })
    }
}
