//! One endpoint of a chain: exchanges with it, and what was learnt of it.
//!
//! ```text
//!   pending calls ─► as many as it takes ─► exchange ─┬─► answers ─► the next of them
//!         ▲                                           ├─► an answer that says no ─► the caller
//!         │                                           ├─► too many: fewer, or later ──┐
//!         └───────────────────────────────────────────┼───────────────────────────────┘
//!                                                     └─► a fault ─► another endpoint
//! ```
//! Owns the bounds on an untrusted peer (time, size, that each answer belongs to its question) and the limits that it has
//! shown. Never chooses between endpoints, and never interprets a result.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use golem_service::http::{Client, HttpError, StatusCode, Url, header};
use golem_types::visible::line_of;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::limits::{BATCHES, Health, Lack, Learnt, RANGES, Rate};
use super::refusal::{Meaning, RpcError};
use super::{ChainError, EndpointHealth};

/// Largest answer. Ten thousand streams of nine words in hexadecimal are below 7 MB.
const ANSWER_BYTES: usize = 16 << 20;

/// Longest that the caller waits for a place in the endpoint's rate, where no other endpoint can be asked.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// How often a question may be asked again in vain: smaller, later, or of a replica that has the block.
const RETRIES: u32 = 10;

/// First pause before a block that is missing is asked for again; each next one is longer by as much.
const MISSING_PAUSE: Duration = Duration::from_millis(100);

/// How often a block that is missing is asked for again.
const MISSING_RETRIES: u32 = 5;

/// Most characters of an endpoint's words that are kept.
const WORDS: usize = 200;

/// An endpoint, and what was learnt of it.
#[derive(Debug)]
pub(super) struct Endpoint {
    url: String,
    /// The address without path, user and password: those may be a key.
    pub(super) host: String,
    learnt: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) batch: Learnt,
    pub(super) range: Learnt,
    pub(super) rate: Rate,
    pub(super) health: Health,
    /// What chain it was of when it was last asked, and when that was.
    pub(super) chain: Option<(u64, Instant)>,
    /// Whether it has refused the logs of a single block.
    pub(super) logs: Lack,
    /// How often a smaller batch was answered after a larger one had failed, which may have been by chance.
    suspicions: u32,
    /// What went wrong last, since it last worked.
    pub(super) problem: Option<String>,
    /// How long its last answer took.
    pub(super) latency: Option<Duration>,
}

/// Why an endpoint did not answer everything.
pub(super) enum Stop {
    /// It said no to a call: so will every other.
    Answer(ChainError),
    /// It is at fault, or cannot do it: another one may.
    Fault(ChainError),
    /// It does not have the block: another one may.
    Missing(ChainError),
    /// It asks for patience.
    Busy,
}

/// How often a smaller batch has to be the one that is answered until that counts, where the larger one was not refused but
/// failed.
const SUSPICIONS: u32 = 3;

/// Why a batch is smaller than it could be.
#[derive(Debug, Clone, Copy)]
enum Narrowed {
    /// A larger one was refused.
    Refused,
    /// A larger one failed.
    Failed,
}

/// What came of one exchange.
enum Exchange {
    /// An answer for each call that has one.
    Answers(BTreeMap<usize, Result<Value, RpcError>>),
    /// One error for everything.
    Whole(RpcError),
    /// An HTTP status that says nothing.
    Status(StatusCode, Option<Duration>),
    Nothing(ChainError),
}

#[derive(Deserialize)]
struct Answer {
    id: Option<Value>,
    result: Option<Value>,
    error: Option<RpcError>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    List(Vec<Answer>),
    One(Answer),
}

impl Endpoint {
    pub(super) fn new(url: &str) -> Self {
        let host = url.parse::<Url>().ok().and_then(|url| {
            let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
            Some(format!("{}{port}", url.host_str()?))
        });
        let learnt = State {
            batch: Learnt::new(BATCHES),
            range: Learnt::new(RANGES),
            rate: Rate::default(),
            health: Health::default(),
            chain: None,
            logs: Lack::default(),
            suspicions: 0,
            problem: None,
            latency: None,
        };
        Self {
            url: url.to_owned(),
            host: host.unwrap_or_else(|| "an endpoint".to_owned()),
            learnt: Mutex::new(learnt),
        }
    }

    /// How it is.
    pub(super) fn health(&self, chain: Option<u64>, now: Instant) -> EndpointHealth {
        self.with(|state| EndpointHealth {
            host: self.host.clone(),
            is_well: state.problem.is_none() && state.health.is_well(),
            problem: state.problem.clone(),
            is_left_out: matches!((state.chain, chain), (Some((found, _)), Some(chain)) if found != chain),
            latency_ms: state.latency.and_then(|latency| u64::try_from(latency.as_millis()).ok()),
            batch: state.batch.size(),
            log_blocks: state.logs.is_over(now).then(|| state.range.size()),
            requests_per_second: state.rate.per_second(),
        })
    }

    /// Uses what was learnt.
    pub(super) fn with<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> T {
        use_it(&mut self.learnt.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for what is missing in `slots`, which are the results of `calls`. `is_patient` where no other endpoint can be
    /// asked instead: it then waits for a place in the rate, and for a replica that has the block.
    pub(super) async fn fill(
        &self,
        http: &Client,
        calls: &[(&str, Value)],
        slots: &mut [Option<Value>],
        is_patient: bool,
    ) -> Result<(), Stop> {
        let (mut vain, mut missing, mut waited) = (0, 0, Duration::ZERO);
        // The batch is smaller than it could be, while it is not known why the endpoint refuses.
        let seems_gone = self.with(|state| state.health.seems_gone());
        let (mut most, mut narrowed) = (if seems_gone { 1 } else { u64::MAX }, None);
        loop {
            let pending: Vec<usize> =
                (0..calls.len()).filter(|n| slots.get(*n).is_some_and(Option::is_none)).collect();
            if pending.is_empty() {
                return Ok(());
            }
            let now = Instant::now();
            let wait = self.with(|state| state.rate.wait(now));
            if !wait.is_zero() {
                waited += wait;
                // A rate's next place is close; a rest that the endpoint asks for is for others to fill.
                if waited > LONGEST_WAIT || (!is_patient && wait > Duration::from_millis(200)) {
                    return Err(Stop::Busy);
                }
                tokio::time::sleep(wait).await;
            }
            let wanted = u64::try_from(pending.len()).unwrap_or(u64::MAX).min(most);
            let asked = self.with(|state| state.batch.ask(wanted, now)).max(1);
            let count = usize::try_from(asked).unwrap_or(1);
            let part: Vec<usize> = pending.into_iter().take(count).collect();
            let exchange = self.exchange(http, calls, &part).await;
            let now = Instant::now();
            match self.take(exchange, &part, slots, now) {
                Took::Some { lacks } => {
                    self.with(|state| match narrowed {
                        Some(Narrowed::Refused) => state.batch.settle(asked, now),
                        Some(Narrowed::Failed) => {
                            state.suspicions += 1;
                            if state.suspicions >= SUSPICIONS {
                                state.batch.settle(asked, now);
                            }
                        }
                        None => {
                            state.batch.worked(asked, now);
                            if asked > 1 {
                                state.suspicions = 0;
                            }
                        }
                    });
                    (most, narrowed, vain, waited) = (u64::MAX, None, 0, Duration::ZERO);
                    match lacks {
                        None => missing = 0,
                        Some(Missing::No(error)) => return Err(Stop::Answer(refused(error))),
                        Some(Missing::Unable(error)) => return Err(Stop::Fault(refused(error))),
                        Some(Missing::Block) => {
                            missing += 1;
                            if !is_patient || missing > MISSING_RETRIES {
                                return Err(Stop::Missing(ChainError::NoState));
                            }
                            tokio::time::sleep(MISSING_PAUSE * missing).await;
                        }
                        Some(Missing::Rate) => {}
                    }
                }
                Took::Rate => {
                    vain += 1;
                    // Some count each call of a batch: one that is larger than the rate is never let through.
                    if asked > 1 && vain > 1 {
                        (most, narrowed) = (asked / 2, Some(Narrowed::Refused));
                    }
                }
                Took::Few(answered) => {
                    vain += 1;
                    self.with(|state| state.batch.settle(answered, now));
                }
                // Many refuse batches, or large ones, in any way that there is.
                Took::Fault(error)
                    if asked > 1 && vain < RETRIES && !matches!(error, ChainError::NoAnswer(_)) =>
                {
                    vain += 1;
                    let is_said = match error {
                        ChainError::Refused { .. } => true,
                        ChainError::Status(status) => status < 500,
                        _ => false,
                    };
                    narrowed = Some(if is_said { Narrowed::Refused } else { Narrowed::Failed });
                    most = self.smaller(asked, vain, now);
                }
                Took::Fault(error) => return Err(Stop::Fault(error)),
            }
            if vain > RETRIES {
                return Err(Stop::Busy);
            }
        }
    }

    /// The size of the batch to try after one of `asked` was refused. What follows is learnt when the smaller one works: an
    /// endpoint that is down refuses every size.
    fn smaller(&self, asked: u64, vain: u32, now: Instant) -> u64 {
        let known = self.with(|state| {
            let is_larger = asked > state.batch.size();
            if is_larger { state.batch.refused(asked, now) } else { None }
        });
        if let Some(known) = known {
            return known;
        }
        let next = BATCHES.iter().copied().find(|size| *size < asked).unwrap_or(1);
        // The third refusal in a row is rather of batches than of their size.
        if vain > 2 { 1 } else { next }
    }

    /// Puts what `exchange` brought into `slots`, and remembers what it says of the endpoint.
    fn take(&self, exchange: Exchange, part: &[usize], slots: &mut [Option<Value>], now: Instant) -> Took {
        let asked = u64::try_from(part.len()).unwrap_or(u64::MAX);
        match exchange {
            Exchange::Answers(answers) => {
                let mut lacks = None;
                let mut filled = 0;
                for (place, answer) in answers {
                    let Some(slot) = slots.get_mut(place) else { continue };
                    match answer {
                        Ok(result) => {
                            *slot = Some(result);
                            filled += 1;
                        }
                        Err(error) => {
                            let lack = match error.meaning() {
                                Meaning::Answer => Missing::No(error),
                                Meaning::Missing => Missing::Block,
                                Meaning::Rate => Missing::Rate,
                                Meaning::Other => Missing::Unable(error),
                            };
                            // What a node says of the call itself comes before what it lacks.
                            if !matches!(lacks, Some(Missing::No(_))) {
                                lacks = Some(lack);
                            }
                        }
                    }
                }
                self.with(|state| {
                    if matches!(lacks, Some(Missing::Rate)) {
                        state.rate.refused(None, now);
                    } else {
                        state.rate.let_through(now);
                    }
                });
                match lacks {
                    Some(Missing::Rate) if filled == 0 => Took::Rate,
                    // An error each, or for some: it may be of the batch.
                    Some(Missing::Unable(error)) if asked > 1 => Took::Fault(refused(error)),
                    lacks => {
                        if lacks.is_none() && filled < asked {
                            let none = ChainError::Nonsense("another number of answers than of calls");
                            return if filled == 0 { Took::Fault(none) } else { Took::Few(filled) };
                        }
                        Took::Some { lacks }
                    }
                }
            }
            Exchange::Whole(error) => match error.meaning() {
                Meaning::Rate => {
                    self.with(|state| state.rate.refused(None, now));
                    Took::Rate
                }
                Meaning::Answer if asked == 1 => Took::Some { lacks: Some(Missing::No(error)) },
                Meaning::Missing if asked == 1 => Took::Some { lacks: Some(Missing::Block) },
                _ => Took::Fault(refused(error)),
            },
            Exchange::Status(StatusCode::TOO_MANY_REQUESTS, after) => {
                self.with(|state| state.rate.refused(after, now));
                Took::Rate
            }
            Exchange::Status(status, _) => Took::Fault(ChainError::Status(status.as_u16())),
            Exchange::Nothing(error) => Took::Fault(error),
        }
    }

    /// One request: the calls at `part`, and what was answered to each.
    async fn exchange(&self, http: &Client, calls: &[(&str, Value)], part: &[usize]) -> Exchange {
        let request = |place: &usize| {
            let (method, params) = calls.get(*place)?;
            Some(json!({ "jsonrpc": "2.0", "id": place, "method": method, "params": params }))
        };
        let mut requests: Vec<Value> = part.iter().filter_map(request).collect();
        // A call by itself is no batch: there are endpoints that take none.
        let body = match requests.pop() {
            Some(only) if requests.is_empty() => only,
            last => {
                requests.extend(last);
                Value::from(requests)
            }
        };
        let began = Instant::now();
        self.with(|state| state.rate.sent(began));
        let answer = match http.post(&self.url).json(&body).send(ANSWER_BYTES).await {
            Ok(answer) => answer,
            Err(HttpError::TooLarge(_)) => return Exchange::Nothing(ChainError::TooLarge),
            Err(error) => return Exchange::Nothing(ChainError::NoAnswer(error)),
        };
        let golem_service::http::Answer { status, headers, bytes, .. } = answer;
        let after =
            headers.get(header::RETRY_AFTER).and_then(|after| after.to_str().ok()?.trim().parse().ok());
        let after = after.map(Duration::from_secs);
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Exchange::Status(status, after);
        }
        // Some nodes give the error of a call with a status of its own.
        let document = match serde_json::from_slice(&bytes) {
            Ok(document) => document,
            Err(_) if !status.is_success() && says_too_many(&bytes) => {
                return Exchange::Status(StatusCode::TOO_MANY_REQUESTS, after);
            }
            Err(_) if !status.is_success() => return Exchange::Status(status, after),
            Err(_) => return Exchange::Nothing(ChainError::Nonsense("no list of answers")),
        };
        self.with(|state| state.latency = Some(began.elapsed()));
        match document {
            Document::List(answers) => match places(answers, part) {
                Some(answers) => Exchange::Answers(answers),
                None => Exchange::Nothing(ChainError::Nonsense("an answer to nothing that was asked")),
            },
            Document::One(Answer { id, result, error }) => match (error, part) {
                (Some(error), _) => Exchange::Whole(error),
                (None, [place]) if id.as_ref().and_then(Value::as_u64) == u64::try_from(*place).ok() => {
                    Exchange::Answers(BTreeMap::from([(*place, Ok(result.unwrap_or_default()))]))
                }
                _ if !status.is_success() => Exchange::Status(status, after),
                _ => Exchange::Nothing(ChainError::Nonsense("no list of answers")),
            },
        }
    }
}

/// What an exchange brought.
enum Took {
    /// Answers, maybe not to all.
    Some {
        lacks: Option<Missing>,
    },
    /// Answers to this many, and nothing about the others.
    Few(u64),
    /// That there were too many requests.
    Rate,
    Fault(ChainError),
}

/// What is still not answered.
enum Missing {
    No(RpcError),
    Block,
    Unable(RpcError),
    Rate,
}

fn refused(error: RpcError) -> ChainError {
    let message = line_of(&error.message, WORDS);
    ChainError::Refused { code: error.code, message }
}

/// Cloudflare's page for those who ask too often.
fn says_too_many(page: &[u8]) -> bool {
    let text = String::from_utf8_lossy(page.get(..page.len().min(4096)).unwrap_or_default());
    text.contains("1015") && text.to_lowercase().contains("rate limit")
}

/// The answers by their calls' places; `None` if one belongs to no call.
fn places(answers: Vec<Answer>, part: &[usize]) -> Option<BTreeMap<usize, Result<Value, RpcError>>> {
    let mut by_place = BTreeMap::new();
    for Answer { id, result, error } in answers {
        let place = usize::try_from(id.as_ref()?.as_u64()?).ok().filter(|place| part.contains(place))?;
        by_place.insert(place, error.map_or_else(|| Ok(result.unwrap_or_default()), Err));
    }
    Some(by_place)
}
