//! Streams as their sender opens, feeds and ends them.
//!
//! ```text
//!   funds ─► [approve, where the money is a token] ─► open ─► top_up … ─► terminate
//!            each: plan ─► sign ─► [caller records it] ─► look, until its fate is known
//! ```
//! Owns the calls that cost a renter money, and what became of them. Never decides to make one, and never
//! keeps anything: the caller records a signed transaction before it is sent.

use alloy_primitives::{Address, Bytes};
use golem_types::StreamId;
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::contract::{self, token};
use crate::rpc::{ChainError, Rpc, data};
use crate::sender::{Plan, Receipt, SendError, Sender};
use crate::transaction::{SignedTransaction, Transaction};
use crate::wallet::Wallet;

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

/// A transaction that can be sent, and sent again until its fate is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What it says.
    pub transaction: Transaction,
    /// Its bytes.
    pub signed: SignedTransaction,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is in a block.
    Mined(Receipt),
    /// It is in none yet.
    Waiting,
    /// It never will be in one: another transaction of the wallet has its number.
    Lost,
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

    /// The number that `question` to the token has for an answer.
    async fn ask_token(&self, question: Vec<u8>) -> Result<U256, ChainError> {
        let call = json!([{ "to": self.token, "data": Bytes::from(question) }, "latest"]);
        let answers = self.rpc.calls(&[("eth_call", call)]).await?;
        answers
            .first()
            .and_then(data)
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .map(U256::from_be_bytes)
            .ok_or(ChainError::Nonsense("no amount of a token"))
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
            self.ask_token(token::balance_of(self.address())).await?
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
        Ok(self.ask_token(token::allowance(self.address(), self.contract)).await? >= amount)
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

    /// What a transaction carries that pays `amount` wei.
    fn carried(&self, amount: U256) -> U256 {
        if self.token.is_zero() { amount } else { U256::ZERO }
    }

    async fn attempt(&self, to: Address, data: Vec<u8>, value: U256) -> Result<Attempt, SendError> {
        let plan: Plan = self.sender.plan(Some(to), Bytes::from(data), value).await?;
        let signed = self.sender.sign(&plan)?;
        Ok(Attempt { transaction: plan.transaction, signed })
    }

    /// `attempt` with a fee that lets it take its place: the chain takes one of them.
    ///
    /// # Errors
    /// [`SendError::Unsigned`].
    pub fn raise(&self, attempt: &Attempt) -> Result<Attempt, SendError> {
        let (transaction, signed) = self.sender.replacement(&attempt.transaction)?;
        Ok(Attempt { transaction, signed })
    }

    /// What became of `attempts`, which are one transaction with ever higher fees, the lowest first. Unless
    /// that is known, the highest that is taken is sent (again). With no attempt there is nothing to wait
    /// for.
    ///
    /// # Errors
    /// [`ChainError`]; nothing is known then.
    pub async fn look(&self, attempts: &[Attempt]) -> Result<Fate, ChainError> {
        // Asked before the receipts: a receipt that is missing afterwards will never come.
        let mined = self.sender.mined().await?;
        for attempt in attempts {
            if let Some(receipt) = self.sender.receipt(attempt.signed.hash).await? {
                return Ok(Fate::Mined(receipt));
            }
        }
        if attempts.iter().all(|attempt| mined > attempt.transaction.nonce) {
            return Ok(Fate::Lost);
        }
        for attempt in attempts.iter().rev() {
            match self.sender.send(&attempt.signed.raw).await {
                Ok(()) => break,
                Err(SendError::Chain(error)) => return Err(error),
                // Mined meanwhile, most likely, or the wallet cannot pay the higher fee, or the node wants
                // it later: the next look tells.
                Err(error) => tracing::debug!(%error, "the chain's node did not take a transaction"),
            }
        }
        Ok(Fate::Waiting)
    }

    /// The stream that the transaction of `receipt` opened. The contract's first event about a stream
    /// is it, whatever the event's layout.
    #[must_use]
    pub fn opened(&self, receipt: &Receipt) -> Option<StreamId> {
        let of_contract = receipt.logs.iter().filter(|log| log.address == self.contract);
        let id = of_contract.filter_map(|log| log.topics.get(1)).next()?;
        receipt.succeeded.then(|| StreamId(U256::from_be_bytes(id.0)))
    }
}
