//! The endpoint's methods.

use alloy_primitives::{Address, B256, hex, keccak256};
use serde_json::{Value, json};

use crate::chain::{BASE_FEE, TIP};
use crate::entity::{Entities, Stored};
use crate::query::{Protocol, Query};
use crate::transaction::Transaction;
use crate::{Fault, Inner};

/// Most blocks of which it is remembered what there was.
const PAST: usize = 64;

type Outcome = Result<Value, (i64, String)>;

fn failed(message: impl Into<String>) -> (i64, String) {
    (-32000, message.into())
}

fn bad() -> (i64, String) {
    (-32602, "invalid params".to_owned())
}

fn quantity(number: impl Into<u128>) -> Value {
    format!("{:#x}", number.into()).into()
}

fn parse<T: std::str::FromStr>(value: &Value) -> Result<T, (i64, String)> {
    value.as_str().and_then(|text| text.parse().ok()).ok_or_else(bad)
}

fn bytes(value: &Value) -> Result<Vec<u8>, (i64, String)> {
    value.as_str().and_then(|text| hex::decode(text).ok()).ok_or_else(bad)
}

impl Inner {
    pub(crate) fn remember(&mut self) {
        self.past.push((self.chain.block, self.chain.entities.clone()));
        if self.past.len() > PAST {
            self.past.remove(0);
        }
    }

    /// Makes `blocks` blocks without transactions.
    pub(crate) fn mine(&mut self, blocks: u64) {
        for _ in 0..blocks {
            self.remember();
            self.chain.empty_block();
        }
    }

    /// The answer to a call or to several; `None` if the endpoint is down.
    pub(crate) fn answer(&mut self, request: &Value) -> Option<Value> {
        self.requests += 1;
        if self.fault == Fault::Down {
            return None;
        }
        Some(match request.as_array() {
            Some(calls) => calls.iter().map(|call| self.one(call)).collect(),
            None => self.one(request),
        })
    }

    fn one(&mut self, call: &Value) -> Value {
        let id = &call["id"];
        match self.call(call["method"].as_str().unwrap_or_default(), &call["params"]) {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            Err((code, message)) => {
                json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
            }
        }
    }

    /// The block and the entities that reads are answered from.
    fn view(&self) -> (u64, Entities) {
        let now = (self.chain.block, self.chain.entities.clone());
        match self.fault {
            Fault::Behind(blocks) => {
                let at = self.chain.block.saturating_sub(blocks);
                self.past.iter().rev().find(|(block, _)| *block <= at).cloned().unwrap_or(now)
            }
            _ => now,
        }
    }

    fn call(&mut self, method: &str, params: &Value) -> Outcome {
        let (block, entities) = self.view();
        let chain = &mut self.chain;
        match (method, chain.protocol) {
            ("eth_chainId", _) => {
                let id = if self.fault == Fault::OtherChain { chain.id + 1 } else { chain.id };
                Ok(quantity(id))
            }
            ("eth_blockNumber", _) => Ok(quantity(block)),
            ("eth_getBlockByNumber", _) => Ok(json!({
                "number": quantity(block), "timestamp": quantity(1_700_000_000 + 2 * block),
                "hash": keccak256(block.to_be_bytes()), "gasLimit": quantity(30_000_000_u64),
                "baseFeePerGas": quantity(BASE_FEE), "transactions": [],
            })),
            ("eth_gasPrice", _) => Ok(quantity(BASE_FEE + TIP)),
            ("eth_maxPriorityFeePerGas", _) => Ok(quantity(TIP)),
            ("eth_getBalance", _) => Ok(format!("{:#x}", chain.balance(parse(&params[0])?)).into()),
            ("eth_getTransactionCount", _) => {
                let account = parse(&params[0])?;
                let pending = params[1] == "pending";
                Ok(quantity(if pending { chain.pending_nonce(account) } else { chain.nonce(account) }))
            }
            ("eth_estimateGas", _) => {
                let data = bytes(&params[0]["data"])?;
                let to: Address = parse(&params[0]["to"])?;
                if to == chain.address() {
                    chain.attempt(parse(&params[0]["from"])?, B256::ZERO, &data).map_err(failed)?;
                }
                Ok(quantity(Transaction::gas_of(&data)))
            }
            ("eth_sendRawTransaction", _) => {
                let raw = bytes(&params[0])?;
                self.remember();
                Ok(json!(self.chain.take(&raw).map_err(failed)?))
            }
            ("eth_getTransactionReceipt", _) => {
                let hash: B256 = parse(&params[0])?;
                Ok(chain.receipts.get(&hash).cloned().unwrap_or_default())
            }
            // As test chains have it: lets a program of another language pass time.
            ("evm_mine", _) => {
                let blocks = params[0].as_u64().ok_or_else(bad)?;
                self.mine(blocks);
                Ok(quantity(self.chain.block))
            }
            ("golembase_queryEntities", Protocol::GolemBase) => {
                let found = self.found(&entities, &params[0])?;
                Ok(found.into_iter().map(|(key, _)| json!({ "key": key, "value": "" })).collect())
            }
            ("golembase_getEntityMetaData", Protocol::GolemBase) => {
                let key: B256 = parse(&params[0])?;
                let entity = entities.get(&key).ok_or_else(|| failed(format!("entity {key} not found")))?;
                Ok(metadata(entity))
            }
            ("golembase_getEntityCount", Protocol::GolemBase) => Ok(entities.len().into()),
            ("golembase_getAllEntityKeys", Protocol::GolemBase) => {
                Ok(entities.keys().map(|key| json!(key)).collect())
            }
            ("arkiv_query", Protocol::Tiramisu) => self.page(block, &entities, params),
            _ => Err((-32601, format!("the method {method} does not exist/is not available"))),
        }
    }

    fn found<'a>(
        &self,
        entities: &'a Entities,
        query: &Value,
    ) -> Result<Vec<(&'a B256, &'a Stored)>, (i64, String)> {
        let query = query
            .as_str()
            .and_then(|text| Query::parse(self.chain.protocol, text))
            .ok_or_else(|| failed("failed to parse query"))?;
        if self.fault == Fault::Blind {
            return Ok(Vec::new());
        }
        Ok(entities.iter().filter(|(_, entity)| query.finds(entity)).collect())
    }

    fn page(&self, block: u64, entities: &Entities, params: &Value) -> Outcome {
        let options = &params[1];
        let known = ["atBlock", "select", "limit", "cursor"];
        let all_known = options
            .as_object()
            .is_some_and(|options| options.keys().all(|key| known.contains(&key.as_str())));
        let limit = options["limit"]
            .as_str()
            .and_then(|text| usize::from_str_radix(text.strip_prefix("0x")?, 16).ok())
            .filter(|limit| (1..=200).contains(limit))
            .ok_or_else(bad)?;
        if !all_known {
            return Err(bad());
        }
        // The cursor is how many entities came before.
        let from: usize = options["cursor"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
        let found = self.found(entities, &params[0])?;
        let data: Vec<_> =
            found.iter().skip(from).take(limit).map(|(key, entity)| view(key, entity)).collect();
        let mut page = json!({ "blockNumber": quantity(block), "data": data });
        if let (true, Some(page)) = (found.len() > from + limit, page.as_object_mut()) {
            page.insert("cursor".to_owned(), (from + limit).to_string().into());
        }
        Ok(page)
    }
}

fn metadata(entity: &Stored) -> Value {
    let strings: Vec<_> =
        entity.strings.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    let numbers: Vec<_> =
        entity.numbers.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    json!({
        "expiresAtBlock": entity.expires_at, "owner": hex::encode_prefixed(entity.owner),
        "stringAnnotations": strings, "numericAnnotations": numbers,
    })
}

fn view(key: &B256, entity: &Stored) -> Value {
    let strings = entity
        .strings
        .iter()
        .filter(|(name, _)| !name.starts_with('$'))
        .map(|(name, value)| json!({ "name": name, "type": "str", "value": value }));
    let numbers = entity
        .numbers
        .iter()
        .map(|(name, value)| json!({ "name": name, "type": "u64", "value": quantity(*value) }));
    json!({
        "key": key, "owner": hex::encode_prefixed(entity.owner), "expiresAt": quantity(entity.expires_at),
        "attributes": strings.chain(numbers).collect::<Vec<_>>(),
    })
}
