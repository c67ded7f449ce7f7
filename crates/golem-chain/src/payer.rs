//! Streams as their sender opens, feeds and ends them.
//!
//! ```text
//!   funds ─► [approve, where the money is a token] ─► open ─► top_up … ─► terminate
//!            each: plan ─► sign ─► [caller records it] ─► pursuit
//! ```
//! Owns the calls that cost a renter money. Never decides to make one, and neither sends nor keeps anything: the caller
//! records a signed transaction, and follows it ([`crate::pursuit`]).

use alloy_primitives::{Address, Bytes};
use golem_types::StreamId;
use golem_types::stream::number;
use ruint::aliases::U256;

use crate::balance::{At, balance};
use crate::contract::events::{Happened, decode};
use crate::contract::v4::OpenLease;
use crate::contract::{self, token};
use crate::pursuit::Attempt;
use crate::rpc::{ChainError, Rpc};
use crate::sender::{Plan, Receipt, SendError, Sender};
use crate::transaction::Transaction;
use golem_types::wallet::Wallet;

/// A wallet that pays by streams of one contract.
#[derive(Debug, Clone)]
pub struct Payer {
    rpc: Rpc,
    sender: Sender,
    contract: Address,
    token: Address,
}

/// What a wallet has, in wei.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Funds {
    /// Of the chain's own money, which also pays for gas.
    pub native: U256,
    /// Of the streams' token; the same as `native` where that is the chain's own money.
    pub token: U256,
}

impl Payer {
    /// `wallet` as the sender of streams of `token` in `contract`, on the chain `chain_id` that `rpc`
    /// should be of. There must be only one for a wallet and chain.
    #[must_use]
    pub fn new(rpc: Rpc, wallet: Wallet, chain_id: u64, (contract, token): (Address, Address)) -> Self {
        Self { sender: Sender::new(rpc.clone(), wallet, chain_id), rpc, contract, token }
    }

    /// Whose money it is.
    #[must_use]
    pub const fn address(&self) -> Address {
        self.sender.address()
    }

    /// What sends its transactions, for a [`crate::pursuit`].
    #[must_use]
    pub const fn sender(&self) -> &Sender {
        &self.sender
    }

    /// What the wallet has.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn funds(&self) -> Result<Funds, ChainError> {
        let native = self.sender.balance().await?;
        let token = if self.token.is_zero() {
            native
        } else {
            balance(&self.rpc, self.token, self.address(), At::Latest).await?
        };
        Ok(Funds { native, token })
    }

    /// Whether the contract may take `amount` of the wallet's tokens.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn is_approved(&self, amount: U256) -> Result<bool, ChainError> {
        if self.token.is_zero() {
            return Ok(true);
        }
        let allowance = token::allowance(self.address(), self.contract);
        let allowed = crate::token::ask(&self.rpc, self.token, allowance).await?;
        Ok(allowed.ok_or(ChainError::Nonsense("no amount of a token"))? >= amount)
    }

    /// Lets the contract take `amount` of the wallet's tokens.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn approve(&self, amount: U256) -> Result<Attempt, SendError> {
        self.attempt(self.token, token::approve(self.contract, amount), U256::ZERO).await
    }

    /// Opens a stream of `deposit` wei to `recipient` at `rate` wei a second.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn open(&self, recipient: Address, deposit: U256, rate: u128) -> Result<Attempt, SendError> {
        let call = contract::create(self.token, recipient, deposit, rate);
        self.attempt(self.contract, call, self.carried(deposit)).await
    }

    /// Opens the stream of `lease`, on contract version 4. Estimating its gas runs it on the chain's state, so that what the
    /// contract would refuse is refused here.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn open_lease(&self, lease: &OpenLease) -> Result<Attempt, SendError> {
        self.attempt(self.contract, lease.call(), U256::ZERO).await
    }

    /// Adds `amount` wei to the stream `id`.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn top_up(&self, id: StreamId, amount: U256) -> Result<Attempt, SendError> {
        self.attempt(self.contract, contract::top_up(id, amount), self.carried(amount)).await
    }

    /// Ends the stream `id`: what has not vested comes back.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn terminate(&self, id: StreamId) -> Result<Attempt, SendError> {
        self.attempt(self.contract, contract::terminate(id), U256::ZERO).await
    }

    /// The same as `transaction`, which ran out of gas, with `gas` at least and a number of its own.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn again(&self, transaction: &Transaction, gas: u64) -> Result<Attempt, SendError> {
        let Transaction { to, data, value, .. } = transaction.clone();
        let mut plan = self.sender.plan(to, data, value).await?;
        plan.transaction.gas = plan.transaction.gas.max(gas);
        let signed = self.sender.sign(&plan)?;
        Ok(Attempt { transaction: plan.transaction, signed })
    }

    /// What a transaction carries that pays `amount` wei.
    fn carried(&self, amount: U256) -> U256 {
        if self.token.is_zero() { amount } else { U256::ZERO }
    }

    async fn attempt(&self, to: Address, data: Vec<u8>, value: U256) -> Result<Attempt, SendError> {
        let plan: Plan = self.sender.plan(Some(to), Bytes::from(data), value).await?;
        let signed = self.sender.sign(&plan)?;
        Ok(Attempt { transaction: plan.transaction, signed })
    }

    /// The same, which pays no more than `maximum` wei for a unit of gas.
    #[must_use]
    pub fn capped(mut self, maximum: Option<u128>) -> Self {
        self.sender = self.sender.capped(maximum);
        self
    }

    /// The stream that the transaction of `receipt` opened: the one that the contract says was created, and that this
    /// wallet pays. Where it says so in a layout that is not known, the first number that it tells: whoever uses that has to
    /// look whose stream it is.
    #[must_use]
    pub fn opened(&self, receipt: &Receipt) -> Option<StreamId> {
        let of_contract = || receipt.logs.iter().filter(|log| log.address == self.contract);
        let said: Vec<_> = of_contract().filter_map(|log| decode(&log.topics, &log.data)).collect();
        let is_ours = |what: &Happened| matches!(what, Happened::Created { sender, .. } if *sender == number(self.address()));
        let ours = said.iter().find(|(_, what)| is_ours(what)).map(|(id, _)| *id);
        let told =
            || of_contract().find_map(|log| log.topics.get(1)).map(|id| StreamId(U256::from_be_bytes(id.0)));
        let id = ours.or_else(|| said.is_empty().then(told).flatten())?;
        receipt.succeeded.then_some(id)
    }
}
