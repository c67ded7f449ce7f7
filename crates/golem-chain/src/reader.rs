//! Streams as the chain has them at one block.
//!
//! ```text
//!   head (chain id, newest block, is the last one still there?) ─► streams at the head
//! ```
//! Owns the reading, in a number of round trips that does not grow with the number of streams
//! that one batch takes, and whether an endpoint can be believed at all: a wrong
//! chain, a block from the past or from the future make every answer Unknown. Never decides what a
//! stream is worth; what happened between two blocks is [`crate::history`]'s.

use std::time::{SystemTime, UNIX_EPOCH};

use alloy_primitives::Address;
use golem_types::{Stream, StreamId};
use ruint::aliases::U256;
use serde_json::{Value, json};

use crate::block::Block;
use crate::contract::{self, Version, WrongContract, v4};
use crate::judge::{StreamTerms, StreamVerdict, judge};
use crate::rpc::{ChainError, Rpc, data, quantity};

/// How far ahead of this machine's clock a block may be, in seconds. Chains allow 15; the rest is
/// for this clock.
const FUTURE_SECONDS: u128 = 900;

/// Reads the streams of one contract.
#[derive(Debug, Clone)]
pub struct Reader {
    rpc: Rpc,
    contract: Address,
    chain_id: u64,
    /// Whether the chain's clock may be anywhere: it is a developer's own.
    local: bool,
    version: Version,
    /// What the newer contract calls a stream that pays.
    paying_states: Vec<String>,
}

/// The newest block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub block: Block,
    /// Whether the block that was known before is still part of the chain.
    pub continues: bool,
}

/// A stream as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The stream. One that never was has no recipient.
    pub stream: Stream,
    /// What the contract calls it, where it is not established that this means a stream that pays: nothing
    /// may be granted on it, and nothing ended that the stream itself does not end.
    pub unclear: Option<String>,
}

/// What the chain said at one block.
#[derive(Debug, Clone)]
pub struct StreamReadings {
    pub block: Block,
    /// The streams that were asked for, in that order.
    pub streams: Vec<Reading>,
}

impl Reader {
    /// A reader of the contract at `contract` on the chain `chain_id`; `local` when that is a
    /// developer's own, whose clock is moved at will.
    #[must_use]
    pub fn new(rpc: Rpc, contract: Address, chain_id: u64, local: bool) -> Self {
        Self {
            rpc: rpc.of_chain(chain_id),
            contract,
            chain_id,
            local,
            version: Version::V1,
            paying_states: Vec::new(),
        }
    }

    /// The same of a contract of `version`; where that is [`Version::V4`], `paying_states` are what it calls a stream
    /// that pays.
    #[must_use]
    pub fn of(self, version: Version, paying_states: Vec<String>) -> Self {
        Self { version, paying_states, ..self }
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
        match self.find_version().await? {
            found if found == self.version => Ok(()),
            found => Err(WrongContract::Other { found, expected: self.version }.into()),
        }
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

    /// The newest block, and whether the `known` one is still below it: one round trip.
    ///
    /// # Errors
    /// [`ChainError`]; an endpoint that is behind `known`, or ahead of time, makes no sense.
    pub async fn head(&self, known: Option<&Block>) -> Result<Head, ChainError> {
        let mut calls = vec![("eth_chainId", json!([])), ("eth_getBlockByNumber", json!(["latest", false]))];
        if let Some(known) = known {
            calls.push(("eth_getBlockByNumber", json!([format!("{:#x}", known.number), false])));
        }
        let answers = self.rpc.calls(&calls).await?;
        let [_, latest, rest @ ..] = answers.as_slice() else {
            return Err(ChainError::Nonsense("no block"));
        };
        let block = read_block(latest)?;
        let continues = match known {
            None => false,
            // The chain's clock and height only grow; an endpoint that lags is asked again later.
            Some(known) if block.number < known.number => {
                return Err(ChainError::Nonsense("a block older than one it gave before"));
            }
            Some(known) => rest
                .first()
                .and_then(|same| read_block(same).ok())
                .is_some_and(|same| same.number == known.number && same.hash == known.hash),
        };
        if !self.local && block.time > seconds_now().saturating_add(FUTURE_SECONDS) {
            return Err(ChainError::Nonsense("a block from the future"));
        }
        Ok(Head { block, continues })
    }

    /// The streams `ids` as they are at `block`.
    ///
    /// # Errors
    /// [`ChainError`]; one stream that cannot be read is an error of all, because an endpoint
    /// that answers by halves is not to be believed.
    pub async fn at(&self, block: &Block, ids: &[StreamId]) -> Result<Vec<Reading>, ChainError> {
        let asked: Vec<_> = ids.iter().map(|id| contract::ask(*id)).collect();
        let streams = self.ask_at(block, &asked).await?;
        let streams = streams
            .iter()
            .map(|answer| self.version.read(answer).filter(possible))
            .collect::<Option<Vec<_>>>()
            .ok_or(ChainError::Nonsense("an answer that is no stream"))?;
        let states = match self.version {
            Version::V1 => vec![None; streams.len()],
            Version::V4 => self.states(block, ids, &streams).await?,
        };
        let pays = |state: &String| self.paying_states.contains(state);
        let reading = |(stream, state): (Stream, Option<String>)| Reading {
            stream,
            unclear: state.filter(|state| !pays(state)),
        };
        Ok(streams.into_iter().zip(states).map(reading).collect())
    }

    /// What the newer contract calls the streams `ids`; `None` for one that never was.
    async fn states(
        &self,
        block: &Block,
        ids: &[StreamId],
        streams: &[Stream],
    ) -> Result<Vec<Option<String>>, ChainError> {
        let is_one = |stream: &Stream| !stream.sender.is_zero();
        let there = ids.iter().zip(streams).filter(|(_, stream)| is_one(stream));
        let asked: Vec<_> = there.map(|(id, _)| v4::ask_state(*id)).collect();
        let mut answers = self.ask_at(block, &asked).await?.into_iter();
        let state = |stream: &Stream| {
            if !is_one(stream) {
                return Some(None);
            }
            answers.next().and_then(|answer| v4::read_state(&answer)).map(Some)
        };
        streams
            .iter()
            .map(state)
            .collect::<Option<Vec<_>>>()
            .ok_or(ChainError::Nonsense("an answer that is no state of a stream"))
    }

    /// The contract's answers to `asked` at `block`.
    async fn ask_at(&self, block: &Block, asked: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, ChainError> {
        let call = |asked: &Vec<u8>| -> (&str, Value) {
            let asked = alloy_primitives::hex::encode_prefixed(asked);
            ("eth_call", json!([{ "to": self.to(), "data": asked }, format!("{:#x}", block.number)]))
        };
        let calls: Vec<(&str, Value)> = asked.iter().map(call).collect();
        self.rpc
            .calls(&calls)
            .await?
            .iter()
            .map(data)
            .collect::<Option<Vec<_>>>()
            .ok_or(ChainError::Nonsense("an answer that is no data"))
    }

    /// Reads the streams `ids`, all at the newest block, which is not older than one that is
    /// `known`: two round trips.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn streams(
        &self,
        known: Option<&Block>,
        ids: &[StreamId],
    ) -> Result<StreamReadings, ChainError> {
        let block = self.head(known).await?.block;
        Ok(StreamReadings { block, streams: self.at(&block, ids).await? })
    }

    /// Reads and judges the stream `id` at a block not older than one that is `known`.
    pub async fn verdict(&self, known: Option<&Block>, id: StreamId, terms: &StreamTerms) -> StreamVerdict {
        match self.streams(known, &[id]).await {
            Ok(seen) => match seen.streams.into_iter().next() {
                None => StreamVerdict::Unknown(ChainError::Nonsense("no answer to one question")),
                Some(Reading { stream, unclear }) => {
                    match (judge(&stream, terms, seen.block.time), unclear) {
                        (Err(bad), _) => StreamVerdict::Bad(bad),
                        (Ok(()), Some(state)) => StreamVerdict::Unknown(ChainError::Unclear(state)),
                        (Ok(()), None) => StreamVerdict::Good { stream: Box::new(stream), block: seen.block },
                    }
                }
            },
            Err(error) => StreamVerdict::Unknown(error),
        }
    }
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
            .ok_or(ChainError::Nonsense("a block without number, hash or time"))?,
        time: u128::from(number("timestamp")?),
    })
}

/// This machine's time, in seconds since the epoch.
fn seconds_now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u128::from(since.as_secs()))
}
