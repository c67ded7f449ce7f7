//! What streams went through: the events of a range of blocks.
//!
//! Owns what an endpoint's logs say of streams: each event once, in the chain's order. Never decides what an event is worth.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, U256};
use golem_types::StreamId;
use serde_json::{Value, json};

use crate::block::Block;
use crate::contract::events::{Position, StreamEvent, TRANSFER, decode, transfer};
use crate::reader::{Reader, read_block};
use crate::rpc::{ChainError, Log};

/// What a contract said in a range of blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The events that are known, in their order.
    pub events: Vec<StreamEvent>,
    /// Every stream that anything was said about: whatever touched a stream makes it worth a look.
    pub touched: BTreeSet<StreamId>,
    /// The last block that was read; the rest of a long range is left to the next question.
    pub through: u64,
}

/// Money of a token that reached somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The transaction that brought it.
    pub transaction: B256,
    /// How much.
    pub amount: U256,
}

const fn position(log: &Log) -> Position {
    Position { block: log.block.0, log: log.index, block_hash: log.block.1, transaction: log.transaction }
}

/// What `logs`, of blocks up to `through`, say of streams.
fn history(logs: &[Log], through: u64) -> History {
    let mut events = BTreeMap::new();
    let mut touched = BTreeSet::new();
    for log in logs {
        // An event without a stream is not about one.
        let Some(id) = log.topics.get(1) else { continue };
        touched.insert(StreamId(U256::from_be_bytes(id.0)));
        match decode(&log.topics, &log.data) {
            Some((id, what)) => {
                let at = position(log);
                events.insert(at, StreamEvent { id, what, at });
            }
            None => {
                tracing::debug!(topic = ?log.topics.first(), "an event of the payment contract is not known")
            }
        }
    }
    History { events: events.into_values().collect(), touched, through }
}

impl Reader {
    /// The blocks of these `numbers` as the chain has them now; `None` for one that it has not.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn blocks(&self, numbers: &[u64]) -> Result<Vec<Option<Block>>, ChainError> {
        let calls: Vec<_> = numbers
            .iter()
            .map(|number| ("eth_getBlockByNumber", json!([format!("{number:#x}"), false])))
            .collect();
        let answers = self.rpc().calls(&calls).await?;
        let read = |(number, answer): (&u64, &Value)| match answer {
            Value::Null => Ok(None),
            answer => match read_block(answer)? {
                block if block.number == *number => Ok(Some(block)),
                _ => Err(ChainError::Nonsense("another block than the one that was asked for")),
            },
        };
        numbers.iter().zip(&answers).map(read).collect()
    }

    /// How many requests the events of `blocks` blocks take, as far as is known; `None` if no endpoint gives any.
    #[must_use]
    pub fn requests_of(&self, blocks: u64) -> Option<u64> {
        self.rpc().log_requests(blocks)
    }

    /// What happened in the blocks `from` to `to`, or in the first of them.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn history(&self, from: u64, to: u64) -> Result<History, ChainError> {
        let read = self.rpc().logs(self.contract(), &[], from, to).await?;
        Ok(history(&read.logs, read.through))
    }

    /// What of `token` the contract sent to `recipient` in the blocks `from` to `to`, in its order.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn arrivals(
        &self,
        token: Address,
        recipient: Address,
        from: u64,
        to: u64,
    ) -> Result<Vec<Arrival>, ChainError> {
        let read = self.rpc().logs(token, &[TRANSFER], from, to).await?;
        if read.through < to {
            return Err(ChainError::NoLogs);
        }
        let mut arrivals = BTreeMap::new();
        for log in &read.logs {
            let Some((sender, receiver, amount)) = transfer(&log.topics, &log.data) else { continue };
            if sender == self.contract() && receiver == recipient {
                arrivals.insert(position(log), Arrival { transaction: log.transaction, amount });
            }
        }
        Ok(arrivals.into_values().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::events::Happened;

    fn log(block: u64, index: u64, id: u64, amount: u64) -> Log {
        let word = |number: u64| B256::from(U256::from(number));
        Log {
            address: Address::repeat_byte(0x51),
            topics: vec![
                alloy_primitives::keccak256("Withdrawn(uint256,address,uint256)"),
                word(id),
                word(7),
            ],
            data: word(amount).0.into(),
            block: (block, word(block)),
            transaction: word(block * 1000 + index),
            index,
        }
    }

    #[test]
    fn the_same_log_twice_and_out_of_order_is_once_and_in_order() {
        let read = history(&[log(12, 3, 1, 7), log(11, 9, 1, 5), log(12, 3, 1, 7), log(11, 2, 1, 6)], 20);
        let amounts: Vec<u64> = read
            .events
            .iter()
            .map(|event| match event.what {
                Happened::Withdrawn { amount, .. } => amount.to(),
                _ => 0,
            })
            .collect();
        assert_eq!(amounts, [6, 5, 7]);
    }

    /// What is not known about a stream still touches it.
    #[test]
    fn an_unknown_event_touches_its_stream() {
        let mut unknown = log(11, 0, 1, 5);
        unknown.topics[0] = B256::ZERO;
        let mut about_none = log(11, 1, 2, 5);
        about_none.topics.truncate(1);
        let read = history(&[unknown, about_none], 20);
        assert_eq!((read.events.len(), read.touched.len()), (0, 1));
    }
}
