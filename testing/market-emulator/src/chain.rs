//! What the network keeps: blocks, accounts, transactions that wait, and entities.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, U256, hex, keccak256};
use serde_json::{Value, json};

use crate::entity::{Entities, Line};
use crate::query::Protocol;
use crate::transaction::Transaction;
use crate::{golem_base, tiramisu};

/// A transaction in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mined {
    /// Its hash.
    pub hash: B256,
    /// Who sent it.
    pub from: Address,
    /// Whether it did what it said.
    pub succeeded: bool,
    /// Gas that it used.
    pub gas_used: u64,
    /// How many lines its receipt has: one for each entity that it touched.
    pub lines: usize,
}

/// Base fee of every block, in wei.
pub(crate) const BASE_FEE: u128 = 500;
/// The usual tip, in wei.
pub(crate) const TIP: u128 = 1_000_000;

#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) protocol: Protocol,
    pub(crate) id: u64,
    pub(crate) block: u64,
    pub(crate) entities: Entities,
    pub(crate) nonces: BTreeMap<Address, u64>,
    pub(crate) balances: BTreeMap<Address, U256>,
    pub(crate) receipts: BTreeMap<B256, Value>,
    pub(crate) mined: Vec<Mined>,
    pub(crate) waiting: BTreeMap<(Address, u64), Transaction>,
    pub(crate) hold: bool,
}

impl Chain {
    pub(crate) fn new(protocol: Protocol, id: u64) -> Self {
        Self {
            protocol,
            id,
            block: 1,
            entities: BTreeMap::new(),
            nonces: BTreeMap::new(),
            balances: BTreeMap::new(),
            receipts: BTreeMap::new(),
            mined: Vec::new(),
            waiting: BTreeMap::new(),
            hold: false,
        }
    }

    pub(crate) fn address(&self) -> Address {
        match self.protocol {
            Protocol::GolemBase => golem_base::ADDRESS,
            Protocol::Tiramisu => tiramisu::ADDRESS,
        }
    }

    /// A wallet has a whole coin unless a test said otherwise.
    pub(crate) fn balance(&self, account: Address) -> U256 {
        self.balances.get(&account).copied().unwrap_or(U256::from(10_u64.pow(18)))
    }

    pub(crate) fn nonce(&self, account: Address) -> u64 {
        self.nonces.get(&account).copied().unwrap_or_default()
    }

    /// The nonce after those that wait without a gap.
    pub(crate) fn pending_nonce(&self, account: Address) -> u64 {
        let waiting: BTreeSet<u64> =
            self.waiting.keys().filter(|(from, _)| *from == account).map(|(_, nonce)| *nonce).collect();
        let mut nonce = self.nonce(account);
        while waiting.contains(&nonce) {
            nonce += 1;
        }
        nonce
    }

    /// Makes a block without transactions, in which what is due ends.
    pub(crate) fn empty_block(&mut self) {
        self.block += 1;
        let block = self.block;
        self.entities.retain(|_, entity| entity.expires_at > block);
    }

    /// What `data` would do as `from` in the next block.
    pub(crate) fn attempt(
        &self,
        from: Address,
        hash: B256,
        data: &[u8],
    ) -> Result<(Entities, Vec<Line>), String> {
        let mut entities = self.entities.clone();
        let block = self.block + 1;
        entities.retain(|_, entity| entity.expires_at > block);
        let lines = match self.protocol {
            Protocol::GolemBase => golem_base::run(&mut entities, block, from, hash, data)?,
            Protocol::Tiramisu => tiramisu::run(&mut entities, block, from, hash, data)?,
        };
        Ok((entities, lines))
    }

    pub(crate) fn take(&mut self, raw: &[u8]) -> Result<B256, String> {
        let transaction = Transaction::decode(raw).ok_or("rlp: cannot decode transaction")?;
        let Transaction { hash, from, nonce, gas, price, .. } = transaction;
        if transaction.chain_id != self.id {
            return Err(format!(
                "invalid chain id for signer: have {} want {}",
                transaction.chain_id, self.id
            ));
        }
        let next = self.nonce(from);
        if nonce < next {
            return Err(format!("nonce too low: next nonce {next}, tx nonce {nonce}"));
        }
        if price < BASE_FEE {
            return Err("max fee per gas less than block base fee".to_owned());
        }
        let least = Transaction::gas_of(&transaction.data);
        if gas < least {
            return Err(format!("intrinsic gas too low: gas {gas}, minimum needed {least}"));
        }
        if self.balance(from) < U256::from(gas) * U256::from(price) {
            return Err("insufficient funds for gas * price + value".to_owned());
        }
        if let Some(waiting) = self.waiting.get(&(from, nonce)) {
            if waiting.hash == hash {
                return Err("already known".to_owned());
            }
            if price < waiting.price + waiting.price / 10 {
                return Err("replacement transaction underpriced".to_owned());
            }
        }
        self.waiting.insert((from, nonce), transaction);
        if !self.hold {
            self.mine_waiting();
        }
        Ok(hash)
    }

    /// Puts every transaction that may into a block of its own.
    pub(crate) fn mine_waiting(&mut self) {
        loop {
            let next = self.waiting.keys().copied().find(|(from, nonce)| self.nonce(*from) == *nonce);
            let Some(transaction) = next.and_then(|key| self.waiting.remove(&key)) else { return };
            self.mine(transaction);
        }
    }

    fn mine(&mut self, transaction: Transaction) {
        let Transaction { hash, from, nonce, to, price, data, .. } = transaction;
        let outcome = if to == Some(self.address()) {
            self.attempt(from, hash, &data)
        } else {
            Ok((self.entities.clone(), Vec::new()))
        };
        self.empty_block();
        self.nonces.insert(from, nonce + 1);
        let succeeded = outcome.is_ok();
        let mut lines = Vec::new();
        if let Ok((entities, said)) = outcome {
            self.entities = entities;
            lines = said;
        }
        let gas_used = Transaction::gas_of(&data);
        let price = price.min(BASE_FEE + TIP);
        let left = self.balance(from).saturating_sub(U256::from(gas_used) * U256::from(price));
        self.balances.insert(from, left);
        self.mined.push(Mined { hash, from, succeeded, gas_used, lines: lines.len() });
        let address = self.address();
        let block_hash = keccak256(self.block.to_be_bytes());
        let logs: Vec<_> = lines
            .into_iter()
            .enumerate()
            .map(|(index, (topics, data))| {
                json!({
                    "address": address, "topics": topics, "data": hex::encode_prefixed(data),
                    "blockNumber": format!("{:#x}", self.block), "blockHash": block_hash,
                    "transactionHash": hash, "transactionIndex": "0x0",
                    "logIndex": format!("{index:#x}"), "removed": false,
                })
            })
            .collect();
        let receipt = json!({
            "transactionHash": hash,
            "blockNumber": format!("{:#x}", self.block),
            "blockHash": block_hash,
            "transactionIndex": "0x0",
            "from": from, "to": to, "contractAddress": null,
            "status": if succeeded { "0x1" } else { "0x0" },
            "gasUsed": format!("{gas_used:#x}"),
            "cumulativeGasUsed": format!("{gas_used:#x}"),
            "effectiveGasPrice": format!("{price:#x}"),
            "logs": logs,
        });
        self.receipts.insert(hash, receipt);
    }
}
