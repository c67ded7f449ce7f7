//! Streams as the chain has them at one block.
//!
//! ```text
//!   head (chain id, newest block, is the last one still there?) ─► streams at the head
//! ```
//! Owns the reading, in a number of round trips that does not grow with the number of streams
//! that one batch takes, and whether an endpoint can be believed at all: a wrong
//! chain, a block from the past or from the future make every answer Unknown. Never decides what a
//! stream is worth; what happened between two blocks is [`crate::history`]'s.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy_primitives::Address;
use golem_types::{Stream, StreamId};
use ruint::aliases::U256;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::block::Block;
use crate::contract::{self, Version, WrongContract, aggregate};
use crate::heads::{Heads, agree};
use crate::judge::{StreamTerms, StreamVerdict, judge};
use crate::rpc::limits::Lack;
use crate::rpc::{ChainError, EndpointHealth, Rpc, data, quantity};

/// How often a newest block that does not follow from the one before is asked for, and the first pause between two
/// questions; each next one is longer by as much.
const ASKS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(60);

/// Calls in a batch from which on a program that asks many questions brings nothing.
const WORTH_A_PROGRAM: usize = 20;

/// Reads the streams of one contract.
#[derive(Debug, Clone)]
pub struct Reader {
    rpc: Rpc,
    contract: Address,
    chain_id: u64,
    heads: Arc<Mutex<Heads>>,
    lacks: Arc<Mutex<Lacks>>,
    version: Version,
}

/// What no endpoint had when it was last asked for it.
#[derive(Debug, Default)]
struct Lacks {
    programs: Lack,
    /// The state of any but the newest block.
    state: Lack,
}

/// The newest block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub block: Block,
    /// Whether the block that was known before is still part of the chain.
    pub continues: bool,
    /// The time on the chain, in seconds since the epoch: the block's, and what has passed since it came.
    pub now: u128,
}

/// What the chain said at one block.
#[derive(Debug, Clone)]
pub struct StreamReadings {
    /// The block.
    pub block: Block,
    /// The time on the chain, in seconds since the epoch, at which the streams are judged.
    pub now: u128,
    /// The streams that were asked for, in that order.
    pub streams: Vec<Stream>,
}

impl Reader {
    /// A reader of the contract at `contract` on the chain `chain_id`; `local` when that is a
    /// developer's own, whose clock is moved at will.
    #[must_use]
    pub fn new(rpc: Rpc, contract: Address, chain_id: u64, local: bool) -> Self {
        let heads = Arc::new(Mutex::new(Heads::new(local)));
        let rpc = rpc.of_chain(chain_id);
        let lacks = Arc::default();
        Self { rpc, contract, chain_id, heads, lacks, version: Version::V1 }
    }

    /// The same of a chain that counts as one that cannot be asked while its newest block is older than `maximum`.
    #[must_use]
    pub fn with_maximum_head_age(self, maximum: Option<Duration>) -> Self {
        self.heads(|heads| heads.limit_age(maximum));
        self
    }

    /// The same, for several questions that belong together: all are asked of one endpoint, as long as that answers.
    #[must_use]
    pub fn from_one(&self) -> Self {
        Self { rpc: self.rpc.from_one(), ..self.clone() }
    }

    /// The same, of another endpoint than `self` asks, where there is one that is well.
    #[must_use]
    pub fn from_another(&self) -> Self {
        Self { rpc: self.rpc.from_another(), ..self.clone() }
    }

    /// How the endpoints are that are asked.
    #[must_use]
    pub fn endpoints(&self) -> Vec<EndpointHealth> {
        self.rpc.endpoints()
    }

    /// The time on the chain, in seconds since the epoch, as far as is known without asking; `None` before the first
    /// block.
    #[must_use]
    pub fn time(&self) -> Option<u128> {
        self.heads(|heads| heads.time(Instant::now()))
    }

    fn heads<T>(&self, use_them: impl FnOnce(&mut Heads) -> T) -> T {
        use_them(&mut self.heads.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same of a contract of `version`.
    #[must_use]
    pub fn of(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// The contract that is read.
    #[must_use]
    pub const fn contract(&self) -> Address {
        self.contract
    }

    /// The chain that is read.
    #[must_use]
    pub const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    pub(crate) const fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    fn to(&self) -> String {
        alloy_primitives::hex::encode_prefixed(self.contract)
    }

    /// Makes sure that the endpoint is of the right chain and that the contract is the expected one.
    ///
    /// # Errors
    /// [`ChainError::WrongChain`]; [`ChainError::Contract`]; any other.
    pub async fn check(&self) -> Result<(), ChainError> {
        self.expect(self.find_version().await?)
    }

    /// Makes sure that the contract that was `found` is the expected one.
    pub(crate) fn expect(&self, found: Version) -> Result<(), ChainError> {
        if found == self.version {
            return Ok(());
        }
        Err(WrongContract::Other { found, expected: self.version }.into())
    }

    /// The hash of the code at the contract's address.
    ///
    /// # Errors
    /// [`ChainError`]; [`ChainError::Contract`] where there is no code.
    pub async fn code(&self) -> Result<alloy_primitives::B256, ChainError> {
        let answers = self.rpc.calls(&[("eth_getCode", json!([self.to(), "latest"]))]).await?;
        let code = answers.first().and_then(data).ok_or(ChainError::Nonsense("no bytecode"))?;
        if code.is_empty() {
            return Err(WrongContract::Nothing.into());
        }
        Ok(alloy_primitives::keccak256(code))
    }

    /// Which payment contract is at the address: by its code, and where that has the functions of
    /// neither, as a proxy's, by how it answers.
    ///
    /// # Errors
    /// [`ChainError::WrongChain`]; [`ChainError::Contract`] where it is none; any other.
    pub async fn find_version(&self) -> Result<Version, ChainError> {
        let calls = [("eth_chainId", json!([])), ("eth_getCode", json!([self.to(), "latest"]))];
        let answers = self.rpc.calls(&calls).await?;
        let [_, code] = answers.as_slice() else { return Err(ChainError::Nonsense("no two answers")) };
        let code = data(code).ok_or(ChainError::Nonsense("no bytecode"))?;
        if code.is_empty() {
            return Err(WrongContract::Nothing.into());
        }
        if let Some(version) = Version::of_code(&code) {
            return Ok(version);
        }
        let ask = alloy_primitives::hex::encode_prefixed(contract::ask(StreamId(U256::ZERO)));
        let call = ("eth_call", json!([{ "to": self.to(), "data": ask }, "latest"]));
        match self.rpc.calls(&[call]).await {
            Ok(answers) => {
                let answer = answers.first().and_then(data).unwrap_or_default();
                Version::of_answer(&answer).ok_or_else(|| WrongContract::Neither.into())
            }
            // It knows no such function.
            Err(ChainError::Refused { .. }) => Err(WrongContract::Neither.into()),
            Err(error) => Err(error),
        }
    }

    /// The newest block, and whether the `known` one is still below it: one round trip, unless the answer does not follow
    /// from the one before. Then it is asked for again, of every endpoint, and what all say is believed.
    ///
    /// # Errors
    /// [`ChainError`]; [`ChainError::Halted`] where the newest block is too old.
    pub async fn head(&self, known: Option<&Block>) -> Result<Head, ChainError> {
        let (mut odd, mut problem): (Vec<Block>, _) = (Vec::new(), None);
        for ask in 0..ASKS {
            if ask > 0 {
                tokio::time::sleep(PAUSE * ask).await;
            }
            let rpc = if ask % 2 == 0 { self.rpc.clone() } else { self.rpc.from_another() };
            let (block, continues) = match newest(&rpc, known).await {
                Ok(answer) => answer,
                Err(error @ ChainError::Nonsense(_)) => {
                    problem = Some(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let (now, wall) = (Instant::now(), seconds_now());
            let is_last = ask + 1 == ASKS && odd.iter().any(|other| agree(other, &block));
            let believed = self.heads(|heads| {
                let follows = is_last || heads.follows(&block, now, wall);
                follows.then(|| heads.believe(block, now, wall))
            });
            if let Some(believed) = believed {
                return Ok(Head { block, continues, now: believed? });
            }
            odd.push(block);
        }
        Err(problem.unwrap_or(ChainError::Nonsense("newest blocks that contradict each other")))
    }

    /// The streams `ids` as they are at `block`.
    ///
    /// # Errors
    /// [`ChainError`]; one stream that cannot be read is an error of all, because an endpoint
    /// that answers by halves is not to be believed.
    pub async fn at(&self, block: &Block, ids: &[StreamId]) -> Result<Vec<Stream>, ChainError> {
        let asked: Vec<_> = ids.iter().map(|id| contract::ask(*id)).collect();
        let streams = self.ask_at(block, &asked, self.version.words()).await?;
        streams
            .iter()
            .map(|answer| self.version.read(answer).filter(possible))
            .collect::<Option<Vec<_>>>()
            .ok_or(ChainError::Nonsense("an answer that is no stream"))
    }

    /// How many streams one request brings, as far as is known.
    #[must_use]
    pub fn streams_a_request(&self) -> usize {
        let batch = self.rpc.batch();
        let aggregates = batch < WORTH_A_PROGRAM && self.runs_programs();
        if aggregates { aggregate::MOST } else { batch }
    }

    fn runs_programs(&self) -> bool {
        self.lacks(|lacks| lacks.programs.is_over(Instant::now()))
    }

    fn lacks<T>(&self, use_them: impl FnOnce(&mut Lacks) -> T) -> T {
        use_them(&mut self.lacks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The contract's answers to `asked` at `block`, which have `words` words each.
    async fn ask_at(
        &self,
        block: &Block,
        asked: &[Vec<u8>],
        words: usize,
    ) -> Result<Vec<Vec<u8>>, ChainError> {
        let is_worth_it = asked.len() > 2 && self.rpc.batch() < WORTH_A_PROGRAM && self.runs_programs();
        let answers = if is_worth_it { self.aggregated(block, asked, words).await? } else { None };
        match answers {
            Some(answers) => Ok(answers),
            None => self.one_by_one(block, asked).await,
        }
    }

    /// The answers, from programs that ask many questions each; `None` if the endpoint runs none, or the contract does not
    /// answer as expected.
    async fn aggregated(
        &self,
        block: &Block,
        asked: &[Vec<u8>],
        words: usize,
    ) -> Result<Option<Vec<Vec<u8>>>, ChainError> {
        let mut answers = Vec::with_capacity(asked.len());
        for part in asked.chunks(aggregate::MOST) {
            let Some(program) = aggregate::program(self.contract, part, words) else { return Ok(None) };
            let call = json!({ "data": alloy_primitives::hex::encode_prefixed(program) });
            let given = match self.calls_at(block, &[call]).await {
                Ok(given) => given.first().and_then(data),
                Err(ChainError::Refused { .. } | ChainError::Status(_) | ChainError::Nonsense(_)) => None,
                Err(error) => return Err(error),
            };
            let given = given.and_then(|given| aggregate::answers(&given, part.len(), words));
            // What ran on an older block is of a replica that lags, and says so.
            let Some((_, some)) = given.filter(|(time, _)| *time >= block.time) else {
                self.lacks(|lacks| lacks.programs.found(Instant::now()));
                return Ok(None);
            };
            answers.extend(some);
        }
        self.lacks(|lacks| lacks.programs.end());
        Ok(Some(answers))
    }

    async fn one_by_one(&self, block: &Block, asked: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, ChainError> {
        let call = |asked: &Vec<u8>| json!({ "to": self.to(), "data": alloy_primitives::hex::encode_prefixed(asked) });
        let calls: Vec<Value> = asked.iter().map(call).collect();
        let answers = self.calls_at(block, &calls).await?;
        answers
            .iter()
            .map(data)
            .collect::<Option<Vec<_>>>()
            .ok_or(ChainError::Nonsense("an answer that is no data"))
    }

    /// The results of `calls` at `block`. A node that has thrown its state away answers as of its newest block, if that is
    /// not an older one.
    async fn calls_at(&self, block: &Block, calls: &[Value]) -> Result<Vec<Value>, ChainError> {
        let at = |place: &str| -> Vec<(&str, Value)> {
            calls.iter().map(|call| ("eth_call", json!([call, place]))).collect()
        };
        if self.lacks(|lacks| lacks.state.is_over(Instant::now())) {
            match self.rpc.calls(&at(&format!("{:#x}", block.number))).await {
                Err(ChainError::NoState) => self.lacks(|lacks| lacks.state.found(Instant::now())),
                Ok(answers) => {
                    self.lacks(|lacks| lacks.state.end());
                    return Ok(answers);
                }
                Err(error) => return Err(error),
            }
        }
        let mut calls = at("latest");
        calls.push(("eth_getBlockByNumber", json!(["latest", false])));
        let mut answers = self.rpc.from_one().calls(&calls).await?;
        let newest = read_block(&answers.pop().unwrap_or_default())?;
        if newest.number < block.number { Err(ChainError::NoState) } else { Ok(answers) }
    }

    /// Reads the streams `ids`, all at the newest block: two round trips.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn streams(&self, ids: &[StreamId]) -> Result<StreamReadings, ChainError> {
        let reader = self.from_one();
        let head = reader.head(None).await?;
        Ok(StreamReadings { block: head.block, now: head.now, streams: reader.at(&head.block, ids).await? })
    }

    /// Reads and judges the stream `id`. One that is not there yet is looked for again: whoever opened it may have asked a
    /// node that is a block ahead of ours.
    pub async fn verdict(&self, id: StreamId, terms: &StreamTerms) -> StreamVerdict {
        let mut reader = self.from_one();
        let mut looks = 1;
        loop {
            match reader.streams(&[id]).await {
                Ok(seen) => match seen.streams.into_iter().next() {
                    None => return StreamVerdict::Unknown(ChainError::Nonsense("no answer to one question")),
                    Some(stream) if stream.sender.is_zero() && looks < ASKS => {
                        tokio::time::sleep(PAUSE * looks).await;
                        looks += 1;
                        reader = reader.from_another();
                    }
                    Some(stream) => {
                        return match judge(&stream, terms, seen.now) {
                            Err(bad) => StreamVerdict::Bad(bad),
                            Ok(()) => StreamVerdict::Good { stream: Box::new(stream), block: seen.block },
                        };
                    }
                },
                Err(error) => return StreamVerdict::Unknown(error),
            }
        }
    }
}

/// The newest block, and whether the `known` one is still below it.
async fn newest(rpc: &Rpc, known: Option<&Block>) -> Result<(Block, bool), ChainError> {
    let mut calls = vec![("eth_getBlockByNumber", json!(["latest", false]))];
    if let Some(known) = known {
        calls.push(("eth_getBlockByNumber", json!([format!("{:#x}", known.number), false])));
    }
    // Where it costs no request of its own; else it is asked for every few minutes.
    if rpc.batch() > 2 {
        calls.push(("eth_chainId", json!([])));
    }
    let answers = rpc.calls(&calls).await?;
    let [latest, rest @ ..] = answers.as_slice() else {
        return Err(ChainError::Nonsense("no block"));
    };
    let block = read_block(latest)?;
    let is_there = |known: &Block| {
        let same = rest.first().and_then(|same| read_block(same).ok());
        same.is_some_and(|same| {
            same.number == known.number && same.hash == known.hash && known.number <= block.number
        })
    };
    Ok((block, known.is_some_and(is_there)))
}

/// Whether a contract could hold `stream`: it never pays out more than was paid in, and time goes
/// forwards.
fn possible(stream: &Stream) -> bool {
    let never = stream.sender.is_zero() && stream.deposit.is_zero() && stream.rate == 0;
    never
        || (!stream.sender.is_zero()
            && stream.rate > 0
            && stream.withdrawn <= stream.deposit
            && stream.start <= stream.stop)
}

pub(crate) fn read_block(block: &Value) -> Result<Block, ChainError> {
    let number = |name: &str| {
        quantity(&block[name]).ok_or(ChainError::Nonsense("a block without number, hash or time"))
    };
    Ok(Block {
        number: number("number")?,
        hash: block["hash"]
            .as_str()
            .and_then(|hash| hash.parse().ok())
            .filter(|hash: &alloy_primitives::B256| !hash.is_zero())
            .ok_or(ChainError::Nonsense("a block without number, hash or time"))?,
        time: u128::from(number("timestamp")?),
    })
}

/// This machine's time, in seconds since the epoch.
pub(crate) fn seconds_now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u128::from(since.as_secs()))
}
