//! Logs of a contract, from endpoints that give them for a few blocks at a time.
//!
//! Owns the walk over a range of blocks in pieces as large as an endpoint takes, and that each log is of the contract and
//! the blocks that were asked for. Never decides what a log means.

use alloy_primitives::{Address, B256, Bytes, hex};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::endpoint::{Endpoint, Stop};
use super::{ChainError, Rpc, data, quantity};

/// Most logs that one question may bring.
const LOGS_MAXIMUM: usize = 20_000;

/// Most questions that one walk asks: the caller goes on where it ended.
pub const LOG_REQUESTS: u64 = 100;

/// An event in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Who said it.
    pub address: Address,
    /// What it is about: the event, and its indexed words.
    pub topics: Vec<B256>,
    /// The rest.
    pub data: Bytes,
    /// The block's number and hash.
    pub block: (u64, B256),
    /// The transaction.
    pub transaction: B256,
    /// Its place among the block's logs.
    pub index: u64,
}

/// Logs of the blocks up to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// The logs, in the chain's order.
    pub logs: Vec<Log>,
    /// The last block whose logs are among them; before the last that was asked for where that took more than
    /// [`LOG_REQUESTS`].
    pub through: u64,
}

impl Rpc {
    /// The logs of the contract at `address` in the blocks `from` to `to`, both included, each of whose topics is one of those at
    /// its place in `topics`: the event first, then its indexed words; beyond the last place it is any. In as many questions as
    /// the endpoint's limit takes, at most [`LOG_REQUESTS`].
    ///
    /// # Errors
    /// [`ChainError::NoLogs`] where no endpoint gives the logs of even one block; any other.
    pub async fn logs(
        &self,
        address: Address,
        topics: &[Vec<B256>],
        from: u64,
        to: u64,
    ) -> Result<Logs, ChainError> {
        let (mut logs, mut next) = (Vec::new(), from);
        let mut requests = 0;
        while next <= to && requests < LOG_REQUESTS {
            let (piece, through, asked) = self.piece(address, topics, (next, to)).await?;
            requests += asked;
            logs.extend(piece);
            next = through.saturating_add(1);
            if logs.len() > LOGS_MAXIMUM * 5 {
                break;
            }
        }
        Ok(Logs { logs, through: next.saturating_sub(1) })
    }

    /// How many questions the logs of `blocks` blocks take, as far as is known; `None` if no endpoint gives any.
    #[must_use]
    pub fn log_requests(&self, blocks: u64) -> Option<u64> {
        let now = Instant::now();
        let range = |endpoint: &std::sync::Arc<Endpoint>| {
            endpoint.with(|state| state.logs.is_over(now).then(|| state.range.size()))
        };
        self.pool.endpoints.iter().filter_map(range).max().map(|range| blocks.div_ceil(range))
    }

    /// Finds out for how many of the blocks `from` to `to` an endpoint gives logs at once.
    pub(crate) async fn try_logs(&self, address: Address, from: u64, to: u64) {
        if let Err(error) = self.piece(address, &[], (from, to)).await {
            tracing::debug!(%error, "logs were tried, and there are none");
        }
    }

    /// The logs of the first blocks of a range, the last of those, and the questions that this took.
    async fn piece(
        &self,
        address: Address,
        topics: &[Vec<B256>],
        (from, to): (u64, u64),
    ) -> Result<(Vec<Log>, u64, u64), ChainError> {
        let mut last = None;
        let mut requests = 0;
        for (endpoint, is_patient) in self.candidates() {
            if endpoint.with(|state| !state.logs.is_over(Instant::now())) {
                last.get_or_insert(ChainError::NoLogs);
                continue;
            }
            let (mut busy, mut failures) = (0, 0);
            loop {
                let wanted = (to - from).saturating_add(1);
                let asked = endpoint.with(|state| state.range.ask(wanted, Instant::now())).max(1);
                let through = from.saturating_add(asked - 1);
                let mut filter = json!({
                    "address": hex::encode_prefixed(address),
                    "fromBlock": format!("{from:#x}"),
                    "toBlock": format!("{through:#x}"),
                });
                if let (Some(filter), false) = (filter.as_object_mut(), topics.is_empty()) {
                    filter.insert("topics".to_owned(), json!(topics));
                }
                requests += 1;
                let call = [("eth_getLogs", json!([filter]))];
                let error = match self.ask(&endpoint, &call, is_patient).await {
                    Ok(answers) => match read(answers.first(), address, (from, through)) {
                        Some(logs) => {
                            endpoint.with(|state| {
                                state.range.worked(asked, Instant::now());
                                state.logs.end();
                            });
                            return Ok((logs, through, requests));
                        }
                        None => ChainError::Nonsense("no list of logs of these blocks"),
                    },
                    Err(Stop::Busy) => ChainError::Busy,
                    Err(Stop::Fault(error @ (ChainError::NoAnswer(_) | ChainError::WrongChain { .. }))) => {
                        last = Some(error);
                        break;
                    }
                    // What is too much is refused with any words, code or status, or by an answer that is too large.
                    Err(Stop::Answer(error) | Stop::Fault(error) | Stop::Missing(error)) => error,
                };
                if matches!(error, ChainError::Busy) && busy < 1 {
                    last = Some(error);
                    busy += 1;
                    if is_patient {
                        continue;
                    }
                    break;
                }
                // What failed once may have failed by chance.
                let is_said = match error {
                    ChainError::Nonsense(_) | ChainError::NoState => false,
                    ChainError::Status(status) => status < 500,
                    _ => true,
                };
                failures += 1;
                if !is_said && failures == 1 {
                    continue;
                }
                let smaller = endpoint.with(|state| state.range.refused(asked, Instant::now()));
                if smaller.is_none() {
                    tracing::debug!(endpoint = endpoint.host, %error, "an endpoint gives no logs");
                    endpoint.with(|state| state.logs.found(Instant::now()));
                    last = Some(match error {
                        ChainError::Refused { .. } | ChainError::Status(_) => ChainError::NoLogs,
                        other => other,
                    });
                    break;
                }
            }
        }
        Err(last.unwrap_or(ChainError::NoLogs))
    }
}

/// The logs in an answer; `None` if it is no list of logs of `address` in those blocks.
fn read(answer: Option<&Value>, address: Address, (from, to): (u64, u64)) -> Option<Vec<Log>> {
    let list = answer?.as_array().filter(|logs| logs.len() <= LOGS_MAXIMUM)?;
    let mut logs = list.iter().map(read_one).collect::<Option<Vec<_>>>()?;
    let is_asked = |log: &Log| log.address == address && (from..=to).contains(&log.block.0);
    if !logs.iter().all(is_asked) {
        return None;
    }
    logs.sort_by_key(|log| (log.block.0, log.index));
    Some(logs)
}

fn read_one(log: &Value) -> Option<Log> {
    let word = |value: &Value| value.as_str()?.parse::<B256>().ok();
    // What a reorganisation took back is told to subscribers only.
    if log["removed"] == json!(true) {
        return None;
    }
    Some(Log {
        address: log["address"].as_str()?.parse().ok()?,
        topics: log["topics"].as_array()?.iter().map(word).collect::<Option<_>>()?,
        data: data(&log["data"])?.into(),
        block: (quantity(&log["blockNumber"])?, word(&log["blockHash"])?),
        transaction: word(&log["transactionHash"])?,
        index: quantity(&log["logIndex"])?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_another_contract_or_block_spoils_the_answer() {
        let address = Address::repeat_byte(7);
        let log = json!({
            "address": address, "topics": [B256::ZERO], "data": "0x01", "blockNumber": "0x5", "blockHash": B256::ZERO,
            "transactionHash": B256::ZERO, "logIndex": "0x1", "removed": false,
        });
        let mut first = log.clone();
        first["logIndex"] = json!("0x0");
        let logs = read(Some(&json!([log, first])), address, (5, 5)).unwrap();
        assert_eq!(logs.iter().map(|log| log.index).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(read(Some(&json!([log])), Address::ZERO, (5, 5)), None);
        assert_eq!(read(Some(&json!([log])), address, (6, 9)), None);
        let mut taken = log;
        taken["removed"] = json!(true);
        assert_eq!(read(Some(&json!([taken])), address, (5, 5)), None);
        for nonsense in [json!(null), json!({}), json!([null]), json!([{ "address": 5 }])] {
            assert_eq!(read(Some(&nonsense), address, (5, 5)), None, "{nonsense}");
        }
    }
}
