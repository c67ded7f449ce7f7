//! Why money did not move, in words for the person who wanted it to. Never decides what follows from that.

use alloy_primitives::{Address, B256};
use golem_chain::{ChainError, SendError};
use golem_types::Decimal;
use ruint::aliases::U256;

use super::store::StoreError;

/// That the wallet has too few coins.
#[derive(Debug, thiserror::Error)]
#[error(
    "the wallet {wallet} has {has} {symbol} on {network}, and {needs} {symbol} are needed, beside gas: {missing} {symbol} are \
     missing; fix: send it some there ({from})"
)]
pub struct TooFew {
    /// The wallet.
    pub(super) wallet: Address,
    /// What it has.
    pub(super) has: Decimal,
    /// What is needed.
    pub(super) needs: Decimal,
    /// What is missing.
    pub(super) missing: Decimal,
    /// What the coins are called.
    pub(super) symbol: String,
    /// The network, its chain and endpoint, as a wallet asks for them.
    pub(super) network: String,
    /// Where coins can be had.
    pub(super) from: String,
}

/// Why money did not move, or is not known to have moved.
#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    /// The chain cannot be asked.
    #[error("the payment chain cannot be asked")]
    Chain(#[from] ChainError),
    /// The transaction cannot be made.
    #[error("the transaction cannot be made")]
    Send(#[from] SendError),
    /// The wallet has too little.
    #[error(transparent)]
    Funds(Box<TooFew>),
    /// The wallet cannot pay for gas.
    #[error(
        "the wallet {wallet} has nothing of the own money of {network}, which pays for gas; fix: send it some there ({from})"
    )]
    NoGas {
        /// The wallet.
        wallet: Address,
        /// The network, its chain and endpoint, as a wallet asks for them.
        network: String,
        /// Where coins can be had.
        from: String,
    },
    /// It is sent, and not known to be mined.
    #[error(
        "transaction {0} was sent and is in no block yet; fix: run the same command again to go on, or `golem-provider rent \
         destroy` to undo"
    )]
    UnderWay(B256, #[source] Option<ChainError>),
    /// Another transaction took its number.
    #[error("another transaction of the wallet took the number of {0}; is the key used elsewhere?")]
    Lost(B256),
    /// The contract refused it.
    #[error("transaction {0} failed: the contract refused it")]
    Failed(B256),
    /// It did not open the stream that it should have.
    #[error("transaction {0} opened no stream to the provider; is the contract the right one?")]
    NoStream(B256),
    /// The endpoint does not know the stream, which is no sign that there is none.
    #[error(
        "the RPC endpoint does not know stream {0}; it may be behind; fix: run the same command again, or name another one"
    )]
    Unseen(U256),
    /// The rental has no stream.
    #[error("the rental has no stream: it is free, or its stream has ended")]
    Free,
    /// The record cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}
