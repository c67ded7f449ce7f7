//! JSON-RPC over HTTP to the Ethereum nodes of a chain: one endpoint or several.
//!
//! ```text
//!   calls ─► an endpoint that is well, in turn ─┬─► results
//!                     ▲                         ├─► it refuses what is asked ─► the caller
//!                     └──── the next one ◄──────┘   it fails, lags, is of another chain
//! ```
//! Owns which endpoint is asked: load is spread over those that are well, one that fails is left alone for a pause that
//! grows, one of another chain is left out, and where none is well all are tried. Nothing that an endpoint says is kept for
//! longer than that. Never interprets a result.

mod endpoint;
pub(crate) mod limits;
mod logs;
mod refusal;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use golem_service::http::{Client, HttpError, Options};
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use endpoint::{Endpoint, Stop};
use utoipa::ToSchema;

pub use logs::{LOG_REQUESTS, Log, Logs};

/// Longest that one exchange may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// How often the only endpoint is asked.
const TRIES_OF_THE_ONLY_ONE: u32 = 3;

/// How long an endpoint's word counts that it is of the right chain, or of another.
const CHAIN_LIFE: Duration = Duration::from_secs(600);

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
    /// It wants to be asked less often than is needed.
    #[error(
        "the RPC endpoint wants fewer requests; fix: name another one, or several, in GOLEM_PROVIDER_L2_RPC_URL"
    )]
    Busy,
    /// It lags behind the block that was named, or has thrown its state away.
    #[error("the RPC endpoint does not have the block, or its state")]
    NoState,
    /// No endpoint gives logs, not even those of one block.
    #[error("the RPC endpoint gives no logs")]
    NoLogs,
    /// The chain stands still, or the endpoint does.
    #[error("the chain has made no block for {0}")]
    Halted(crate::elapsed::Seconds),
    /// Its newest block is of another time.
    #[error("the newest block is {0} this machine's clock; fix: check the clock, and the RPC endpoint")]
    OutOfTime(crate::elapsed::Offset),
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
    /// It is a node of another chain than was expected.
    #[error("the RPC endpoint is of chain {found}, not {expected}")]
    WrongChain {
        /// Chain id that it gave.
        found: u64,
        /// Chain id that was expected.
        expected: u64,
    },
}

/// How an endpoint is, and what it takes, as far as is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndpointHealth {
    /// Its host; path, user and password may be a key.
    pub host: String,
    /// Whether it answered last.
    pub is_well: bool,
    /// What is wrong with it.
    pub problem: Option<String>,
    /// Whether it is not asked, because it is of another chain.
    pub is_left_out: bool,
    /// How long its last answer took, in milliseconds.
    pub latency_ms: Option<u64>,
    /// Calls that it takes in one request.
    pub batch: u64,
    /// Blocks whose logs it gives at once; `None` if it gives none.
    pub log_blocks: Option<u64>,
    /// Requests that it takes in a second; `None` if no limit has shown.
    pub requests_per_second: Option<u32>,
}

/// The endpoints of a chain. Clones share what is learnt of them.
#[derive(Debug, Clone)]
pub struct Rpc {
    pool: Arc<Pool>,
    /// The chain that each must be of; `None` for any.
    chain: Option<u64>,
    /// The endpoint that is asked first; `None` for each in turn.
    first: Option<usize>,
}

#[derive(Debug)]
struct Pool {
    http: Client,
    endpoints: Vec<Arc<Endpoint>>,
    turn: AtomicUsize,
}

impl Rpc {
    /// The endpoints at `urls`, one or several separated by commas, of which one is enough. Nothing is asked yet.
    ///
    /// # Errors
    /// [`ChainError::Endpoint`].
    pub fn new(urls: &str) -> Result<Self, ChainError> {
        let http = Client::new(Options::within(DEADLINE)).map_err(ChainError::Endpoint)?;
        let each = urls.split(',').map(str::trim).filter(|url| !url.is_empty());
        let endpoints = each.map(|url| Arc::new(Endpoint::new(url))).collect();
        let pool = Pool { http, endpoints, turn: AtomicUsize::new(0) };
        Ok(Self { pool: Arc::new(pool), chain: None, first: None })
    }

    /// The same endpoints, of which those that are not of the chain `id` are left out.
    #[must_use]
    pub fn of_chain(&self, id: u64) -> Self {
        Self { chain: Some(id), ..self.clone() }
    }

    /// The same endpoints, of which the next that is well is asked first, as long as it answers: what belongs together
    /// is read from one.
    #[must_use]
    pub fn from_one(&self) -> Self {
        let first = self.order(self.next_turn()).first().copied();
        Self { first, ..self.clone() }
    }

    /// The same endpoints, of which another one than here is asked first, where another is well.
    #[must_use]
    pub fn from_another(&self) -> Self {
        let others =
            self.first.into_iter().flat_map(|own| self.order(own + 1).into_iter().filter(move |n| *n != own));
        let now = Instant::now();
        let is_well = |n: &usize| {
            let paused = |endpoint: &Arc<Endpoint>| endpoint.with(|state| state.health.paused_until(now));
            self.pool.endpoints.get(*n).is_some_and(|endpoint| paused(endpoint).is_none())
        };
        Self { first: others.into_iter().find(is_well).or(self.first), ..self.clone() }
    }

    /// The results of `calls` (method and parameters), in their order, in as few requests as an endpoint takes.
    ///
    /// # Errors
    /// [`ChainError`] when any of them has none.
    pub async fn calls(&self, calls: &[(&str, Value)]) -> Result<Vec<Value>, ChainError> {
        self.collect(calls, false).await
    }

    /// The same, where no answer may be of another endpoint than the others: what one began and did not end is asked anew.
    ///
    /// # Errors
    /// [`ChainError`] when no endpoint answers all.
    pub async fn calls_of_one(&self, calls: &[(&str, Value)]) -> Result<Vec<Value>, ChainError> {
        self.collect(calls, true).await
    }

    async fn collect(&self, calls: &[(&str, Value)], of_one: bool) -> Result<Vec<Value>, ChainError> {
        let mut slots = vec![None; calls.len()];
        let mut problem = None;
        let is_only = self.pool.endpoints.len() == 1;
        for (endpoint, is_patient) in self.candidates() {
            // What failed may have failed by chance, where there is no other to ask.
            let seems_gone = endpoint.with(|state| state.health.seems_gone());
            let mut tries = if is_only && !seems_gone { TRIES_OF_THE_ONLY_ONE } else { 1 };
            if of_one {
                slots.fill(None);
            }
            while tries > 0 {
                tries -= 1;
                match self.fill(&endpoint, calls, &mut slots, is_patient).await {
                    Ok(()) => return Ok(slots.into_iter().map(Option::unwrap_or_default).collect()),
                    Err(Stop::Answer(error)) => return Err(error),
                    Err(Stop::Busy) => {
                        problem = problem.or(Some(ChainError::Busy));
                        tries = 0;
                    }
                    Err(Stop::Fault(error) | Stop::Missing(error)) => {
                        if !matches!(error, ChainError::Nonsense(_) | ChainError::Status(500..)) {
                            tries = 0;
                        }
                        problem = Some(error);
                    }
                }
            }
        }
        Err(problem.unwrap_or(ChainError::Busy))
    }

    /// Every endpoint, as it is named.
    #[must_use]
    pub fn endpoints(&self) -> Vec<EndpointHealth> {
        let now = Instant::now();
        self.pool.endpoints.iter().map(|endpoint| endpoint.health(self.chain, now)).collect()
    }

    /// How many calls the endpoint that is asked next takes in one request, as far as is known.
    #[must_use]
    pub fn batch(&self) -> usize {
        let next = self.pool.turn.load(Ordering::Relaxed);
        let endpoint = self.order(next).first().and_then(|n| self.pool.endpoints.get(*n));
        let size = endpoint.map_or(1, |endpoint| endpoint.with(|state| state.batch.size()));
        usize::try_from(size).unwrap_or(1)
    }

    /// The results of `calls` from `endpoint` alone.
    async fn ask(
        &self,
        endpoint: &Endpoint,
        calls: &[(&str, Value)],
        is_patient: bool,
    ) -> Result<Vec<Value>, Stop> {
        let mut slots = vec![None; calls.len()];
        self.fill(endpoint, calls, &mut slots, is_patient).await?;
        Ok(slots.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// The endpoints in the order in which they are asked, and whether to wait for each: all that are well, then, if there
    /// are several, once more with patience.
    fn candidates(&self) -> Vec<(Arc<Endpoint>, bool)> {
        let order = self.order(self.next_turn());
        let all = |is_patient: bool| {
            let endpoints = order.iter().filter_map(|n| self.pool.endpoints.get(*n));
            endpoints.map(move |endpoint| (Arc::clone(endpoint), is_patient)).collect::<Vec<_>>()
        };
        if order.len() == 1 { all(true) } else { [all(false), all(true)].concat() }
    }

    fn next_turn(&self) -> usize {
        self.pool.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// The endpoints that are well in turn, then the others, that with the shortest pause first.
    fn order(&self, turn: usize) -> Vec<usize> {
        let now = Instant::now();
        let count = self.pool.endpoints.len();
        let rank = |n: &usize| {
            let paused = self.pool.endpoints.get(*n).map(|endpoint| {
                endpoint.with(|state| {
                    let foreign = match (state.chain, self.chain) {
                        (Some((found, at)), Some(chain)) if found != chain => Some(at + CHAIN_LIFE),
                        _ => None,
                    };
                    foreign.into_iter().chain(state.health.paused_until(now)).max()
                })
            });
            let is_first = self.first == Some(*n);
            (paused.flatten(), !is_first)
        };
        let mut order: Vec<usize> = (0..count).map(|n| n.wrapping_add(turn) % count).collect();
        order.sort_by_key(rank);
        order
    }

    /// Has `endpoint` answer what is missing in `slots`, and remembers how it did.
    async fn fill(
        &self,
        endpoint: &Endpoint,
        calls: &[(&str, Value)],
        slots: &mut Vec<Option<Value>>,
        is_patient: bool,
    ) -> Result<(), Stop> {
        let before = slots.clone();
        let http = &self.pool.http;
        let filled = match self.same_chain(endpoint, calls, is_patient).await {
            Ok(()) => endpoint.fill(http, calls, slots, is_patient).await,
            Err(stop) => Err(stop),
        };
        let filled = filled.and_then(|()| {
            let asked = calls.iter().position(|(method, _)| *method == "eth_chainId");
            let said = asked.filter(|_| self.chain.is_some()).and_then(|n| slots.get(n));
            said.map_or(Ok(()), |said| self.is_chain(endpoint, said.as_ref()))
        });
        if matches!(filled, Err(Stop::Fault(ChainError::WrongChain { .. } | ChainError::Nonsense(_)))) {
            // Nothing that it said counts.
            *slots = before;
        }
        let now = Instant::now();
        match &filled {
            Ok(()) | Err(Stop::Answer(_)) => endpoint.with(|state| {
                state.health.worked();
                if state.problem.take().is_some() {
                    tracing::info!(endpoint = endpoint.host, "an RPC endpoint answers again");
                }
            }),
            Err(Stop::Fault(error)) => endpoint.with(|state| {
                state.health.failed(now);
                let text = error.to_string();
                if state.problem.as_ref() != Some(&text) && self.pool.endpoints.len() > 1 {
                    golem_service::log_limited_each!(
                        &endpoint.host,
                        warn,
                        endpoint = endpoint.host,
                        error = error as &dyn std::error::Error,
                        "an RPC endpoint is left alone for a while; others are asked"
                    );
                }
                state.problem = Some(text);
            }),
            Err(Stop::Busy | Stop::Missing(_)) => {}
        }
        filled
    }

    /// Makes sure that `endpoint` is of the right chain, where that is not known and not asked by `calls` itself.
    async fn same_chain(
        &self,
        endpoint: &Endpoint,
        calls: &[(&str, Value)],
        is_patient: bool,
    ) -> Result<(), Stop> {
        let Some(chain) = self.chain else { return Ok(()) };
        let now = Instant::now();
        let known = endpoint.with(|state| {
            let fresh = |(_, at): &(u64, Instant)| now.saturating_duration_since(*at) < CHAIN_LIFE;
            state.chain.filter(fresh).filter(|_| state.health.is_well())
        });
        if known.is_some_and(|(found, _)| found == chain)
            || calls.iter().any(|(method, _)| *method == "eth_chainId")
        {
            return Ok(());
        }
        let mut said = [None];
        endpoint.fill(&self.pool.http, &[("eth_chainId", json!([]))], &mut said, is_patient).await?;
        self.is_chain(endpoint, said[0].as_ref())
    }

    /// What `endpoint` said when it was asked for its chain.
    fn is_chain(&self, endpoint: &Endpoint, said: Option<&Value>) -> Result<(), Stop> {
        let found = said.and_then(quantity).ok_or(Stop::Fault(ChainError::Nonsense("no chain id")))?;
        endpoint.with(|state| state.chain = Some((found, Instant::now())));
        match self.chain {
            Some(expected) if found != expected => {
                Err(Stop::Fault(ChainError::WrongChain { found, expected }))
            }
            _ => Ok(()),
        }
    }
}

/// The number in a JSON-RPC quantity such as `"0x1a"`.
#[must_use]
pub fn quantity(value: &Value) -> Option<u64> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    u64::from_str_radix(digits, 16).ok()
}

/// The amount in a JSON-RPC quantity such as `"0x1a"`, in wei or a token's smallest units.
#[must_use]
pub fn wei(value: &Value) -> Option<U256> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    // At most a word. Nothing at all is what an address without code answers.
    let is_number = (1..=64).contains(&digits.len());
    if is_number { U256::from_str_radix(digits, 16).ok() } else { None }
}

/// The bytes in JSON-RPC data such as `"0x00ff"`.
#[must_use]
pub fn data(value: &Value) -> Option<Vec<u8>> {
    alloy_primitives::hex::decode(value.as_str()?.strip_prefix("0x")?).ok()
}
