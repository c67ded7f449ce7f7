//! Sending transactions: what they would cost, their nonce, their receipt.
//!
//! ```text
//!   plan (estimate, fee, nonce) ─► sign ─► [caller records it] ─► send ─► receipt
//! ```
//! Owns the questions to the chain, one at a time: [`crate::pursuit`] follows a transaction by them. Never decides whether
//! something is worth sending, and never keeps anything.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use alloy_primitives::{Address, B256, Bytes, address, hex};
use alloy_sol_types::SolCall;
use ruint::aliases::U256;
use serde_json::{Value, json};

use crate::balance::{At, balance};
use crate::fees::{self, ABSURD_PRICE, TooDear};
use crate::rpc::{ChainError, Rpc, data, quantity, wei};
use crate::transaction::{SignedTransaction, Transaction};
use golem_types::wallet::Wallet;

/// Gas above the estimate, in percent: what a call needs can grow until it is mined.
const GAS_MARGIN: u64 = 25;

/// Least gas above the estimate: a stream that has paid nothing yet when it is estimated pays sender and recipient
/// when it is mined, and each payout to a new account takes 34,000 (25,000 for the account, 9,000 for the value). What
/// is not used is not paid for.
const GAS_SLACK: u64 = 100_000;

/// Most gas of one transaction. A withdrawal takes below 100,000, an advert below a million.
const GAS_MAXIMUM: u64 = 15_000_000;

/// Why a transaction was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The chain did not answer, or not sensibly.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The contract would refuse it.
    #[error("the contract refuses it: {0}")]
    Reverts(String),
    /// The wallet cannot pay for the gas.
    #[error("the wallet has {balance} wei, and up to {needed} wei are needed for gas")]
    NoFunds {
        /// What it has, in wei.
        balance: U256,
        /// What it would need, in wei.
        needed: U256,
    },
    /// Gas costs more than may be paid.
    #[error(
        "gas costs {} gwei, and no more than {} gwei are paid; fix: wait, or allow more (a node: \
         GOLEM_PROVIDER_MAX_GAS_PRICE_GWEI; a renter: the network's maximum_gas_price_gwei)",
        gwei(*.price), gwei(*.maximum)
    )]
    TooDear {
        /// What a unit costs, in wei.
        price: u128,
        /// Most that may be paid for it, in wei.
        maximum: u128,
    },
    /// The node of the chain refused the bytes.
    #[error("the chain's node refused the transaction: {0}")]
    Refused(String),
    /// The key cannot sign it.
    #[error("the key cannot sign it")]
    Unsigned,
}

/// An amount of wei as gwei.
fn gwei(wei: u128) -> String {
    golem_types::Decimal::from_units(U256::from(wei), 9).to_string()
}

/// What a transaction would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The transaction.
    pub transaction: Transaction,
    /// What it will probably cost in all, in wei: estimated gas at today's price.
    pub expected_cost: U256,
    /// What of that goes to a chain below.
    pub l1_fee: U256,
    /// What the wallet has, in wei.
    pub balance: U256,
}

impl Plan {
    /// Whether the wallet has what it may cost at most.
    ///
    /// # Errors
    /// [`SendError::NoFunds`].
    pub fn is_affordable(&self) -> Result<(), SendError> {
        let needed = self.transaction.most_gas_cost().saturating_add(self.transaction.value);
        let has = self.balance >= needed;
        has.then_some(()).ok_or(SendError::NoFunds { balance: self.balance, needed })
    }
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The transaction's hash.
    pub hash: B256,
    /// Whether it did what it said.
    pub succeeded: bool,
    /// The block it is in.
    pub block: u64,
    /// That block's hash; `None` where the endpoint does not say it.
    pub block_hash: Option<B256>,
    /// Gas that it used.
    pub gas_used: u64,
    /// What it cost in all, in wei.
    pub cost: U256,
    /// What of that a chain on top of another took for writing there, in wei; zero on other chains.
    pub l1_fee: U256,
    /// What it made contracts say.
    pub logs: Vec<Log>,
    /// The contract that it made.
    pub contract: Option<Address>,
}

impl Receipt {
    /// What its gas cost, without what a chain below took, in wei.
    #[must_use]
    pub fn gas_cost(&self) -> U256 {
        self.cost.saturating_sub(self.l1_fee)
    }

    /// Whether it did nothing because `gas`, its limit, was too little. A call inside keeps a 64th of the gas back, so that
    /// not always all of it is used.
    #[must_use]
    pub const fn ran_out_of(&self, gas: u64) -> bool {
        !self.succeeded && self.gas_used >= gas - gas / 64
    }
}

/// How a wallet's transactions stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// How many are in blocks: the number of the next that comes into one.
    pub mined: u64,
    /// The first number that neither a block nor the endpoint's pool has, with all before it there.
    pub pending: u64,
    /// The receipts that were asked for, in that order; `None` while a transaction is in no block.
    pub receipts: Vec<Option<Receipt>>,
}

/// A line in a receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Who said it.
    pub address: Address,
    /// What it is about.
    pub topics: Vec<B256>,
    /// The rest.
    pub data: Bytes,
}

/// Sends transactions of one wallet on one chain. There must be only one for a wallet and chain.
#[derive(Debug, Clone)]
pub struct Sender {
    rpc: Rpc,
    wallet: Wallet,
    chain_id: u64,
    /// Most wei for a unit of gas.
    maximum_price: u128,
    learnt: Arc<Learnt>,
}

/// What an endpoint and its chain turned out to have.
#[derive(Debug, Default)]
struct Learnt {
    /// It has no `eth_feeHistory`.
    lacks_history: AtomicBool,
    /// Whether its chain pays another for writing there, and tells how much.
    has_l1_oracle: OnceLock<bool>,
}

/// The contract that tells, on chains of the OP stack, what writing to the chain below costs.
const L1_ORACLE: Address = address!("420000000000000000000000000000000000000F");

mod oracle {
    #![allow(missing_docs, reason = "names and types are the contract's")]
    alloy_sol_types::sol! {
        function getL1Fee(bytes data) external view returns (uint256);
    }
}

fn word(value: &Value) -> Option<B256> {
    value.as_str()?.parse().ok()
}

impl Sender {
    /// A sender for `wallet` on the chain `chain_id` that `rpc` should be of.
    #[must_use]
    pub fn new(rpc: Rpc, wallet: Wallet, chain_id: u64) -> Self {
        let rpc = rpc.of_chain(chain_id);
        Self { rpc, wallet, chain_id, maximum_price: ABSURD_PRICE, learnt: Arc::default() }
    }

    /// The same, which pays no more than `maximum` wei for a unit of gas.
    #[must_use]
    pub fn capped(mut self, maximum: Option<u128>) -> Self {
        self.maximum_price = maximum.unwrap_or(ABSURD_PRICE).min(ABSURD_PRICE);
        self
    }

    /// Most wei that it pays for a unit of gas.
    #[must_use]
    pub const fn maximum_price(&self) -> u128 {
        self.maximum_price
    }

    /// The chain that they are for.
    #[must_use]
    pub const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// Whose transactions are sent.
    #[must_use]
    pub const fn address(&self) -> Address {
        self.wallet.address()
    }

    fn account(&self) -> String {
        hex::encode_prefixed(self.address())
    }

    /// What the wallet has, in wei.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn balance(&self) -> Result<U256, ChainError> {
        balance(&self.rpc, Address::ZERO, self.address(), At::Latest).await
    }

    /// How the wallet's transactions stand, and the receipts of those with `hashes`: one round trip, all from one endpoint,
    /// so that no receipt is missing only because another endpoint has not come as far.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn standing(&self, hashes: &[B256]) -> Result<Standing, ChainError> {
        let mut calls = vec![
            ("eth_chainId", json!([])),
            // Before the receipts: what is in a block by this count has one, sooner or later.
            ("eth_getTransactionCount", json!([self.account(), "latest"])),
            ("eth_getTransactionCount", json!([self.account(), "pending"])),
        ];
        calls.extend(hashes.iter().map(|hash| ("eth_getTransactionReceipt", json!([hash]))));
        let answers = self.rpc.calls_of_one(&calls).await?;
        let [chain, mined, pending, receipts @ ..] = answers.as_slice() else {
            return Err(ChainError::Nonsense("no transaction count"));
        };
        self.same_chain(chain)?;
        let count = |answer| quantity(answer).ok_or(ChainError::Nonsense("no transaction count"));
        let (mined, pending) = (count(mined)?, count(pending)?);
        let receipts = receipts.iter().zip(hashes).map(|(receipt, hash)| match receipt {
            Value::Null => Ok(None),
            receipt => {
                read_receipt(receipt, *hash).ok_or(ChainError::Nonsense("a receipt that is none")).map(Some)
            }
        });
        // An endpoint without a pool of its own counts no more than what is in blocks.
        Ok(Standing { mined, pending: pending.max(mined), receipts: receipts.collect::<Result<_, _>>()? })
    }

    fn same_chain(&self, answer: &Value) -> Result<(), ChainError> {
        let found = quantity(answer).ok_or(ChainError::Nonsense("no chain id"))?;
        if found == self.chain_id {
            Ok(())
        } else {
            Err(ChainError::WrongChain { found, expected: self.chain_id })
        }
    }

    /// What a transaction to `to` (`None` makes a contract) with `data` would be.
    ///
    /// # Errors
    /// [`SendError::Reverts`] when the contract would refuse it, [`SendError::Chain`].
    pub async fn plan(&self, to: Option<Address>, data: Bytes, value: U256) -> Result<Plan, SendError> {
        let mut call = json!({
            "from": self.account(),
            "data": hex::encode_prefixed(&data),
            "value": format!("{value:#x}"),
        });
        if let (Some(to), Some(call)) = (to, call.as_object_mut()) {
            call.insert("to".to_owned(), hex::encode_prefixed(to).into());
        }
        let estimate = match self.rpc.calls(&[("eth_estimateGas", json!([call]))]).await {
            Ok(answers) => {
                answers.first().and_then(quantity).ok_or(ChainError::Nonsense("no gas estimate"))?
            }
            // Nodes refuse to estimate what would fail.
            Err(ChainError::Refused { message, .. }) => return Err(SendError::Reverts(message)),
            Err(error) => return Err(error.into()),
        };
        let answers = self
            .rpc
            .calls(&[
                ("eth_chainId", json!([])),
                ("eth_getBlockByNumber", json!(["latest", false])),
                ("eth_gasPrice", json!([])),
                ("eth_getTransactionCount", json!([self.account(), "pending"])),
                ("eth_getBalance", json!([self.account(), "latest"])),
            ])
            .await?;
        let [chain, head, price, nonce, balance] = answers.as_slice() else {
            return Err(ChainError::Nonsense("no five answers").into());
        };
        self.same_chain(chain)?;
        let gas =
            estimate.saturating_add(estimate / 100 * GAS_MARGIN).max(estimate.saturating_add(GAS_SLACK));
        if gas > GAS_MAXIMUM {
            return Err(ChainError::Nonsense("an absurd gas estimate").into());
        }
        let mut price = fees::price(price).ok_or(ChainError::Nonsense("no gas price"))?;
        // A node's gas price is its base fee and the usual tip; without a base fee there is no market.
        let mut base = fees::price(&head["baseFeePerGas"]);
        if base.is_some()
            && let Some((next, tip)) = self.history().await
        {
            (base, price) = (Some(next), next.saturating_add(tip));
        }
        let (fee, price) = fees::fee(base, price, self.maximum_price)
            .map_err(|TooDear { price, maximum }| SendError::TooDear { price, maximum })?;
        let balance = wei(balance).ok_or(ChainError::Nonsense("no balance"))?;
        let transaction = Transaction {
            chain_id: self.chain_id,
            nonce: quantity(nonce).ok_or(ChainError::Nonsense("no transaction count"))?,
            fee,
            gas,
            to,
            value,
            data,
        };
        let l1_fee = self.l1_fee(&transaction).await;
        let expected_cost = U256::from(estimate).saturating_mul(U256::from(price)).saturating_add(l1_fee);
        Ok(Plan { transaction, expected_cost, l1_fee, balance })
    }

    /// The base fee of the next block and the usual tip, where the endpoint tells.
    async fn history(&self) -> Option<(u128, u128)> {
        if self.learnt.lacks_history.load(Ordering::Relaxed) {
            return None;
        }
        let answers = self.rpc.calls(&[("eth_feeHistory", json!(["0x5", "latest", [50]]))]).await;
        let found = match &answers {
            Ok(answers) => answers.first().and_then(fees::of_history),
            Err(ChainError::Refused { .. }) => None,
            // It did not come; that says nothing of the next.
            Err(_) => return None,
        };
        self.learnt.lacks_history.store(found.is_none(), Ordering::Relaxed);
        found
    }

    /// What writing `transaction` to the chain below will probably cost, in wei; zero on chains without one, and where it is
    /// not told.
    async fn l1_fee(&self, transaction: &Transaction) -> U256 {
        let has_oracle = match self.learnt.has_l1_oracle.get() {
            Some(known) => *known,
            None => {
                let code = self.rpc.calls(&[("eth_getCode", json!([L1_ORACLE, "latest"]))]).await;
                let Ok(code) = code else { return U256::ZERO };
                let has_code = code.first().and_then(data).is_some_and(|code| !code.is_empty());
                *self.learnt.has_l1_oracle.get_or_init(|| has_code)
            }
        };
        let Some(signed) = transaction.sign(&self.wallet).filter(|_| has_oracle) else { return U256::ZERO };
        let question = Bytes::from(oracle::getL1FeeCall { data: signed.raw }.abi_encode());
        let call = ("eth_call", json!([{ "to": L1_ORACLE, "data": question }, "latest"]));
        let answers = self.rpc.calls(&[call]).await.unwrap_or_default();
        let word = answers.first().and_then(data).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        word.map(U256::from_be_bytes).unwrap_or_default()
    }

    /// Signs what was planned.
    ///
    /// # Errors
    /// [`SendError::NoFunds`], [`SendError::Unsigned`].
    pub fn sign(&self, plan: &Plan) -> Result<SignedTransaction, SendError> {
        plan.is_affordable()?;
        plan.transaction.sign(&self.wallet).ok_or(SendError::Unsigned)
    }

    /// The same transaction with a fee that lets it replace the first.
    ///
    /// # Errors
    /// [`SendError::Unsigned`].
    pub fn replacement(
        &self,
        transaction: &Transaction,
    ) -> Result<(Transaction, SignedTransaction), SendError> {
        let replacement = Transaction { fee: transaction.fee.replacing(), ..transaction.clone() };
        let signed = replacement.sign(&self.wallet).ok_or(SendError::Unsigned)?;
        Ok((replacement, signed))
    }

    /// Sends signed bytes; sending the same again is fine.
    ///
    /// # Errors
    /// [`SendError::Refused`] when the node does not want them, [`SendError::Chain`] when it is
    /// not known whether it took them.
    pub async fn send(&self, raw: &[u8]) -> Result<(), SendError> {
        match self.rpc.calls(&[("eth_sendRawTransaction", json!([hex::encode_prefixed(raw)]))]).await {
            Ok(_) => Ok(()),
            Err(ChainError::Refused { message, .. }) => {
                let known = ["already known", "already imported", "known transaction"];
                let lower = message.to_lowercase();
                if known.iter().any(|words| lower.contains(words)) {
                    Ok(())
                } else {
                    Err(SendError::Refused(message))
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The receipt of the transaction `hash`; `None` while it is in no block.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, ChainError> {
        let answers = self.rpc.calls(&[("eth_getTransactionReceipt", json!([hash]))]).await?;
        match answers.first() {
            None | Some(Value::Null) => Ok(None),
            Some(receipt) => {
                read_receipt(receipt, hash).ok_or(ChainError::Nonsense("a receipt that is none")).map(Some)
            }
        }
    }
}

fn read_receipt(receipt: &Value, hash: B256) -> Option<Receipt> {
    if word(&receipt["transactionHash"])? != hash {
        return None;
    }
    let gas_used = quantity(&receipt["gasUsed"])?;
    // Old nodes do not tell the price.
    let price = wei(&receipt["effectiveGasPrice"]).unwrap_or_default();
    let l1_fee = wei(&receipt["l1Fee"]).unwrap_or_default();
    let logs = receipt["logs"].as_array()?.iter().map(read_log).collect::<Option<_>>()?;
    Some(Receipt {
        hash,
        succeeded: quantity(&receipt["status"])? == 1,
        block: quantity(&receipt["blockNumber"])?,
        block_hash: word(&receipt["blockHash"]),
        gas_used,
        cost: U256::from(gas_used).saturating_mul(price).saturating_add(l1_fee),
        l1_fee,
        logs,
        contract: receipt["contractAddress"].as_str().and_then(|address| address.parse().ok()),
    })
}

fn read_log(log: &Value) -> Option<Log> {
    Some(Log {
        address: log["address"].as_str()?.parse().ok()?,
        topics: log["topics"].as_array()?.iter().map(word).collect::<Option<_>>()?,
        data: data(&log["data"])?.into(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_receipt_of_another_transaction_is_none() {
        let hash = B256::repeat_byte(7);
        let mut receipt = json!({
            "transactionHash": hash, "status": "0x1", "blockNumber": "0x10", "gasUsed": "0x5208",
            "effectiveGasPrice": "0x3", "logs": [], "contractAddress": null,
        });
        let read = read_receipt(&receipt, hash).unwrap();
        assert_eq!((read.succeeded, read.block, read.cost), (true, 16, U256::from(63_000)));
        assert!(read_receipt(&receipt, B256::ZERO).is_none());
        receipt["logs"] = json!([{ "address": "0x12", "topics": [], "data": "0x" }]);
        assert!(read_receipt(&receipt, hash).is_none());
    }

    proptest! {
        #[test]
        fn no_receipt_makes_a_panic(status in "0x[0-9a-f]{0,80}", gas in "\\PC{0,20}", topics in any::<Option<bool>>()) {
            let receipt = json!({
                "transactionHash": B256::ZERO, "status": status, "blockNumber": status, "gasUsed": gas,
                "effectiveGasPrice": gas, "logs": [{ "topics": topics }],
            });
            let _ = read_receipt(&receipt, B256::ZERO);
        }
    }
}
