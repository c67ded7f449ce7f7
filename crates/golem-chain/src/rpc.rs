//! JSON-RPC over HTTP to an Ethereum node.
//!
//! Owns the bounds on an untrusted peer: time, size of an answer, and that each answer belongs to
//! its question. Never retries and never interprets a result.

use std::collections::BTreeMap;
use std::time::Duration;

use golem_service::http::{Client, HttpError, Options};
use serde::Deserialize;
use serde_json::{Value, json};

/// Longest that one exchange may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Largest answer. Ten thousand streams of nine words in hexadecimal are below 7 MB.
const ANSWER_BYTES: usize = 16 << 20;

/// Most calls in one request; public endpoints refuse many more.
pub const BATCH: usize = 100;

/// Why a chain could not be asked. None of these says anything about a stream.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// No client could be made.
    #[error("the RPC endpoint cannot be used")]
    Endpoint(#[source] HttpError),
    /// It did not answer in time, or not at all.
    #[error("the RPC endpoint does not answer{}", .0.through())]
    NoAnswer(#[source] HttpError),
    /// It answered with this HTTP status.
    #[error("the RPC endpoint answers with HTTP status {0}")]
    Status(u16),
    /// The answer is larger than any that is expected.
    #[error("the RPC endpoint's answer is too large")]
    TooLarge,
    /// The answer is not one to what was asked.
    #[error("the RPC endpoint's answer makes no sense: {0}")]
    Nonsense(&'static str),
    /// The node refused the call.
    #[error("the RPC endpoint refused a call (code {code})")]
    Refused {
        /// JSON-RPC's error code.
        code: i64,
        /// Its words; for the log.
        message: String,
    },
    /// There is another contract than was expected.
    #[error(transparent)]
    Contract(#[from] crate::contract::WrongContract),
    /// The contract answers, and what its answer means is not established.
    #[error(
        "the payment contract (version 2) calls the stream {0:?}, and the network's profile does not name that among its \
         paying_states"
    )]
    Unclear(String),
    /// It is a node of another chain than was expected.
    #[error("the RPC endpoint is of chain {found}, not {expected}")]
    WrongChain {
        /// Chain id that it gave.
        found: u64,
        /// Chain id that was expected.
        expected: u64,
    },
}

/// An endpoint.
#[derive(Debug, Clone)]
pub struct Rpc {
    http: Client,
    url: String,
}

#[derive(Deserialize)]
struct Answer {
    id: Option<u64>,
    result: Option<Value>,
    error: Option<RpcError>,
}

#[derive(Deserialize)]
struct RpcError {
    code: i64,
    message: String,
}

impl Rpc {
    /// An endpoint at `url`. Nothing is asked yet.
    ///
    /// # Errors
    /// [`ChainError::Endpoint`].
    pub fn new(url: &str) -> Result<Self, ChainError> {
        let http = Client::new(Options::within(DEADLINE)).map_err(ChainError::Endpoint)?;
        Ok(Self { http, url: url.to_owned() })
    }

    /// The results of `calls` (method and parameters), in their order, [`BATCH`] to a request.
    ///
    /// # Errors
    /// [`ChainError`] when any of them has none.
    pub async fn calls(&self, calls: &[(&str, Value)]) -> Result<Vec<Value>, ChainError> {
        let mut results = Vec::with_capacity(calls.len());
        for part in calls.chunks(BATCH) {
            results.extend(self.batch(part).await?);
        }
        Ok(results)
    }

    async fn batch(&self, calls: &[(&str, Value)]) -> Result<Vec<Value>, ChainError> {
        let request: Vec<Value> = calls
            .iter()
            .enumerate()
            .map(|(id, (method, params))| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
            .collect();
        let bytes = self.exchange(&Value::from(request)).await?;
        let answers: Vec<Answer> =
            serde_json::from_slice(&bytes).map_err(|_| ChainError::Nonsense("no list of answers"))?;
        if answers.len() != calls.len() {
            return Err(ChainError::Nonsense("another number of answers than of calls"));
        }
        let mut by_id = BTreeMap::new();
        for answer in answers {
            let result = match (answer.error, answer.result) {
                (Some(RpcError { code, message }), _) => {
                    return Err(ChainError::Refused { code, message: message.chars().take(200).collect() });
                }
                (None, Some(result)) => result,
                (None, None) => Value::Null,
            };
            by_id.insert(answer.id, result);
        }
        (0..calls.len())
            .map(|id| {
                let id = u64::try_from(id).ok();
                by_id.remove(&id).ok_or(ChainError::Nonsense("an answer to nothing that was asked"))
            })
            .collect()
    }

    async fn exchange(&self, request: &Value) -> Result<Vec<u8>, ChainError> {
        let answer = self.http.post(&self.url).json(request).send(ANSWER_BYTES).await;
        let answer = answer.map_err(|error| match error {
            HttpError::TooLarge(_) => ChainError::TooLarge,
            error => ChainError::NoAnswer(error),
        })?;
        if !answer.status.is_success() {
            return Err(ChainError::Status(answer.status.as_u16()));
        }
        Ok(answer.bytes)
    }
}

/// The number in a JSON-RPC quantity such as `"0x1a"`.
#[must_use]
pub fn quantity(value: &Value) -> Option<u64> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    u64::from_str_radix(digits, 16).ok()
}

/// The bytes in JSON-RPC data such as `"0x00ff"`.
#[must_use]
pub fn data(value: &Value) -> Option<Vec<u8>> {
    alloy_primitives::hex::decode(value.as_str()?.strip_prefix("0x")?).ok()
}
