//! Streams as the chain has them at one block.
//!
//! Owns the reading, in a number of round trips that does not grow with the number of streams
//! below [`crate::rpc::BATCH`] of them. Never decides what a stream is worth.

use golem_types::{Stream, StreamId};
use ruint::aliases::U160;
use serde_json::{Value, json};

use crate::contract;
use crate::judge::{Terms, Verdict, judge};
use crate::rpc::{ChainError, Rpc, data, quantity};

/// Reads the streams of one contract.
#[derive(Debug, Clone)]
pub struct Reader {
    rpc: Rpc,
    contract: String,
}

/// What the chain said at one block.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The block's number.
    pub block: u64,
    /// The block's time, in seconds since the epoch.
    pub now: u128,
    /// The streams that were asked for, in that order. One that never was has no recipient.
    pub streams: Vec<Stream>,
}

impl Reader {
    /// A reader of the contract at `contract`.
    #[must_use]
    pub fn new(rpc: Rpc, contract: U160) -> Self {
        let address: [u8; 20] = contract.to_be_bytes();
        Self { rpc, contract: format!("0x{}", alloy_primitives::hex::encode(address)) }
    }

    /// Makes sure that the endpoint is one of chain `expected` and that there is a contract.
    ///
    /// # Errors
    /// [`ChainError::WrongChain`]; [`ChainError::Nonsense`] where no contract is; any other.
    pub async fn check(&self, expected: u64) -> Result<(), ChainError> {
        let calls = [("eth_chainId", json!([])), ("eth_getCode", json!([self.contract, "latest"]))];
        let answers = self.rpc.calls(&calls).await?;
        let [chain, code] = answers.as_slice() else { return Err(ChainError::Nonsense("no two answers")) };
        let found = quantity(chain).ok_or(ChainError::Nonsense("no chain id"))?;
        if found != expected {
            return Err(ChainError::WrongChain { found, expected });
        }
        match data(code) {
            Some(code) if !code.is_empty() => Ok(()),
            _ => Err(ChainError::Nonsense("no contract at the payment address")),
        }
    }

    /// Reads the streams `ids`, all at the same block.
    ///
    /// # Errors
    /// [`ChainError`]; one stream that cannot be read is an error of all, because an endpoint
    /// that answers by halves is not to be believed.
    pub async fn streams(&self, ids: &[StreamId]) -> Result<Seen, ChainError> {
        let head = self.rpc.calls(&[("eth_getBlockByNumber", json!(["latest", false]))]).await?;
        let head = head.first().ok_or(ChainError::Nonsense("no block"))?;
        let of =
            |name: &str| quantity(&head[name]).ok_or(ChainError::Nonsense("a block without number or time"));
        let (block, now) = (of("number")?, u128::from(of("timestamp")?));
        let at = head["number"].clone();
        let call = |id: &StreamId| -> (&str, Value) {
            let ask = format!("0x{}", alloy_primitives::hex::encode(contract::ask(*id)));
            ("eth_call", json!([{ "to": self.contract, "data": ask }, at]))
        };
        let calls: Vec<(&str, Value)> = ids.iter().map(call).collect();
        let streams = self
            .rpc
            .calls(&calls)
            .await?
            .iter()
            .map(|answer| data(answer).and_then(|bytes| contract::read(&bytes)))
            .collect::<Option<Vec<_>>>()
            .ok_or(ChainError::Nonsense("an answer that is no stream"))?;
        Ok(Seen { block, now, streams })
    }

    /// Reads and judges the stream `id`.
    pub async fn verdict(&self, id: StreamId, terms: &Terms) -> Verdict {
        match self.streams(&[id]).await {
            Ok(seen) => match seen.streams.first().map(|stream| (stream, judge(stream, terms, seen.now))) {
                Some((stream, Ok(()))) => Verdict::Good(*stream),
                Some((_, Err(bad))) => Verdict::Bad(bad),
                None => Verdict::Unknown(ChainError::Nonsense("no answer to one question")),
            },
            Err(error) => Verdict::Unknown(error),
        }
    }
}
