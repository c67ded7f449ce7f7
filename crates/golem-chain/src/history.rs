//! What streams went through: the events of a range of blocks.
//!
//! Owns what an endpoint's logs say of streams: each event once, in the chain's order. Never decides what an event is worth.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, U256};
use golem_types::StreamId;
use serde_json::{Value, json};

use crate::block::Block;
use crate::contract::events::{Position, StreamEvent, TRANSFER, Transfer, decode, transfer};
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
    /// How much, in the token's smallest units.
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

    /// What of `token` came to `recipients` from the contract in the blocks `from` to `to`, by transaction: see [`arrived`].
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn arrivals(
        &self,
        token: Address,
        recipients: &BTreeSet<Address>,
        from: u64,
        to: u64,
    ) -> Result<Vec<Arrival>, ChainError> {
        // Of a token that the world uses, only these are few enough to be asked for.
        let senders = recipients.iter().chain([&self.contract()]).map(|sender| sender.into_word()).collect();
        let read = self.rpc().logs(token, &[vec![TRANSFER], senders], from, to).await?;
        if read.through < to {
            return Err(ChainError::NoLogs);
        }
        let mut transfers: BTreeMap<B256, BTreeMap<Position, Transfer>> = BTreeMap::new();
        for log in &read.logs {
            if let Some(transfer) = transfer(&log.topics, &log.data) {
                transfers.entry(log.transaction).or_default().insert(position(log), transfer);
            }
        }
        let arrival = |(transaction, transfers): (B256, BTreeMap<Position, Transfer>)| {
            let amount = arrived(transfers.into_values(), self.contract(), recipients)?;
            Some(Arrival { transaction, amount })
        };
        Ok(transfers.into_iter().filter_map(arrival).collect())
    }
}

/// What is left to `recipients` of what `payer` sent them by `transfers`, all of one token in one transaction, in its smallest
/// units: a token that tells of the whole amount takes its fee from who received it. `None` if `payer` sent them nothing.
#[must_use]
pub fn arrived(
    transfers: impl IntoIterator<Item = Transfer>,
    payer: Address,
    recipients: &BTreeSet<Address>,
) -> Option<U256> {
    let (mut came, mut went) = (None, U256::ZERO);
    for (sender, receiver, amount) in transfers {
        let is_ours = recipients.contains(&receiver);
        if sender == payer && is_ours {
            came = Some(came.unwrap_or(U256::ZERO).saturating_add(amount));
        } else if recipients.contains(&sender) && !is_ours {
            went = went.saturating_add(amount);
        }
    }
    came.map(|came| came.saturating_sub(went))
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

    #[test]
    fn what_a_token_takes_from_its_receiver_did_not_arrive() {
        let [payer, us, token] = [1, 2, 3].map(Address::repeat_byte);
        let wei = |number: u64| U256::from(number);
        let ours = BTreeSet::from([us, Address::repeat_byte(4)]);
        let arrived = |transfers: &[Transfer]| arrived(transfers.iter().copied(), payer, &ours);
        assert_eq!(arrived(&[(payer, us, wei(95)), (payer, token, wei(5))]), Some(wei(95)));
        assert_eq!(arrived(&[(payer, us, wei(100)), (us, token, wei(5))]), Some(wei(95)));
        assert_eq!(arrived(&[(us, token, wei(5)), (payer, us, wei(100))]), Some(wei(95)));
        assert_eq!(arrived(&[(payer, us, U256::MAX), (payer, us, U256::MAX)]), Some(U256::MAX));
        assert_eq!(arrived(&[(payer, us, wei(1)), (us, token, U256::MAX)]), Some(wei(0)));
        assert_eq!(arrived(&[(payer, token, wei(5)), (token, us, wei(5))]), None);
        assert_eq!(arrived(&[(payer, us, wei(7)), (us, Address::repeat_byte(4), wei(7))]), Some(wei(7)));
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
