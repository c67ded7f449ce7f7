//! Money: what a stream pays for, and what follows when it does not.
//!
//! ```text
//!   quote, advertised price ──┐
//!   create ──► gate ──► Paid ──► ledger.reserve
//!   timer  ──► monitor ──► billing_policy (pure) ──► warn │ stop │ resume │ delete
//!   timer  ──► withdraw ──► ledger ──► chain ──► ledger
//! ```
//! Owns the policy on payments: what is asked of a stream, when a rental is warned about, stopped,
//! resumed and deleted, and when vested money is fetched. An answer that did not come changes nothing
//! (I3). Never drives a machine: it writes whether a rental is paid for, and the machine follows.

pub mod billing_policy;
mod books;
mod books_check;
mod contracts;
mod control;
mod export;
mod gas_check;
mod gate;
mod lease;
mod monitor;
mod overview;
mod postings;
mod price;
mod quote;
mod refund;
mod withdraw;
mod withdraw_timer;
mod worth;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alloy_primitives::{Address, B256};
use golem_chain::contract::WrongContract;
use golem_chain::faucet::{Faucet, FaucetError};
use golem_chain::identity::Former;
use golem_chain::{Bad, Block, ChainError, Reader, Rpc, Sender, Version};
use golem_types::stream::number;
use golem_types::{Stream, StreamId, StreamKey, VmId, Wallet};
use jiff::Timestamp;
use ruint::aliases::{U160, U256};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::entry::Currency;
use crate::error::NodeError;
use crate::ledger::{Ledger, LedgerError};
use crate::paid::StreamCopy;
use crate::transactions::{GasRules, Queue, Transactions};

pub use billing_policy::Rules;
pub use books_check::{BooksCheck, Difference, LastCheck};
pub use contracts::{ContractProfile, Contracts, KnownContract};
pub(crate) use lease::Leased;
pub use lease::SignedLease;
pub use overview::{Overview, StreamLine};
pub use postings::BooksError;
pub use price::StreamPrices;
pub use withdraw::{WithdrawError, Withdrawn};

pub(crate) use books::catch_up;
pub(crate) use books_check::check_daily;
pub(crate) use control::RentalControl;
pub(crate) use export::run as export;
pub(crate) use monitor::run as monitor;
pub(crate) use refund::run as refunds;
pub(crate) use withdraw_timer::run as withdrawals;
pub(crate) use worth::share;

/// What the operator decided about money.
#[derive(Debug, Clone)]
pub struct PaymentConfig {
    /// What the network is called.
    pub name: String,
    /// What the streams' money is called.
    pub symbol: String,
    /// The chain's JSON-RPC endpoints, separated by commas.
    pub rpc_url: String,
    /// What chain it must be of.
    pub chain_id: u64,
    /// Whether the chain is a developer's own, whose clock is moved at will.
    pub local: bool,
    /// How old its newest block may be; `None` if that tells nothing.
    pub maximum_head_age: Option<Duration>,
    /// The payment contract.
    pub contract: Address,
    /// Which one that is.
    pub version: Version,
    /// The token of the streams; zero is the chain's own money.
    pub token: Address,
    /// Under which name the ledger keeps the rate of the streams' money; `None` if it is worth nothing, or has none.
    pub rated_as: Option<String>,
    /// What the chain's own money is called.
    pub coin: Currency,
    /// Blocks after which what happened counts as settled.
    pub confirmations: u64,
    /// Whether the money is worth nothing.
    pub testnet: bool,
    /// Who is paid, and who fetches the money.
    pub wallet: Wallet,
    /// The keys that it replaced: rentals may still pay them.
    pub former: Vec<Former>,
    /// Digits after the point of the token, which it has to say itself.
    pub decimals: u8,
    /// Whether a stream has to pay the advertised price.
    pub enforce_rate: bool,
    /// How long after a VM was deleted its stream is ended, unless its sender did; `None` if that is left to the sender.
    pub refund_after: Option<Duration>,
    /// Whether any rate will do while no price is known; otherwise nothing is rented then.
    pub allow_unpriced: bool,
    /// When a rental is warned about, stopped and deleted.
    pub rules: Rules,
    /// Whether streams are followed at all.
    pub monitor: bool,
    /// How often they are.
    pub interval: Duration,
    /// When vested money is fetched.
    pub withdraw: WithdrawConfig,
    /// Where money for gas can be had; only where it is worth nothing.
    pub faucet: Option<Faucet>,
    /// What gas may cost.
    pub gas: GasRules,
}

/// When vested money is fetched.
#[derive(Debug, Clone, Copy)]
pub struct WithdrawConfig {
    /// Whether it is fetched without being asked.
    pub enabled: bool,
    /// How often from each stream.
    pub interval: Duration,
    /// Least that is worth it, in wei.
    pub minimum: U256,
    /// Most that gas may cost, in percent of what is fetched.
    pub gas_percent: u8,
}

/// Why the wallet was not refilled.
#[derive(Debug, thiserror::Error)]
pub enum RefillError {
    /// The network has none.
    #[error("Faucet is disabled for current payments network.")]
    NoFaucet,
    /// The chain cannot be asked what the wallet has.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The faucet gave nothing.
    #[error(transparent)]
    Faucet(#[from] FaucetError),
}

/// Why payments cannot be had at all.
#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    /// The endpoint's address cannot be used.
    #[error("the payment endpoint cannot be used")]
    Endpoint(#[source] ChainError),
    /// The ledger failed.
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
}

/// What is known of a rental's stream.
#[derive(Debug, Clone)]
pub struct StreamStatus {
    /// The rental.
    pub vm: VmId,
    /// Its stream.
    pub key: StreamKey,
    /// What the chain says of it.
    pub stream: Stream,
    /// The chain's time, in seconds since the epoch.
    pub now: u128,
    /// Whether it pays.
    pub verdict: Result<(), Bad>,
}

/// How the chain answers.
#[derive(Debug, Clone, Default)]
pub struct ChainHealth {
    /// The newest block that was read; `None` before the first.
    pub block: Option<Block>,
    /// When it was read.
    pub read_at: Option<Timestamp>,
    /// Why the last question had no answer.
    pub error: Option<String>,
}

/// The payments of a node; clones share them.
#[derive(Clone)]
pub struct Payments(Arc<Inner>);

struct Inner {
    config: PaymentConfig,
    reader: Reader,
    queue: Queue,
    /// Of the keys that were replaced and can be had.
    former: Vec<Queue>,
    /// What the chain's money is called, and each token in which streams were ever to pay.
    currencies: BTreeMap<U160, Currency>,
    /// Chain and contract, as stream keys have them.
    contract: Arc<str>,
    rpc: Rpc,
    /// How many digits after the point the token says that it has; `None` until it was asked.
    token_digits: watch::Sender<Option<u8>>,
    ledger: Ledger,
    /// Every stream that may still pay, as last read.
    copies: Mutex<BTreeMap<StreamId, StreamCopy>>,
    /// What was asked, and until when it still counts; the last one for as long as it is asked.
    prices: watch::Sender<Vec<(StreamPrices, Option<Instant>)>>,
    health: watch::Sender<ChainHealth>,
    /// The hash of the contract's code when it was first seen.
    code: watch::Sender<Option<B256>>,
    /// Held from the reading of events until they are booked.
    reading: tokio::sync::Mutex<()>,
    /// What the last comparison of the books with the chain came to.
    checked: watch::Sender<LastCheck>,
    /// How often in a row an event that is booked was missing from its block.
    withheld: std::sync::atomic::AtomicU32,
    /// Tells that the books are far behind.
    behind: tokio::sync::Notify,
}

/// Chain and contract as stream keys have them.
#[must_use]
pub fn contract_key(chain_id: u64, contract: Address) -> String {
    format!("{chain_id}:{:#042x}", number(contract))
}

impl Payments {
    /// The payments of `config`, with what `ledger` remembers of its streams. Nothing is asked yet.
    ///
    /// # Errors
    /// [`PaymentError`].
    pub async fn open(
        config: PaymentConfig,
        ledger: Ledger,
        transactions: &Transactions,
    ) -> Result<Self, PaymentError> {
        let rpc = Rpc::new(&config.rpc_url).map_err(PaymentError::Endpoint)?;
        let reader = Reader::new(rpc.clone(), config.contract, config.chain_id, config.local)
            .of(config.version)
            .with_maximum_head_age(config.maximum_head_age);
        let sender = Sender::new(rpc.clone(), config.wallet.clone(), config.chain_id);
        let contract: Arc<str> = contract_key(config.chain_id, config.contract).into();
        let now = Timestamp::now();
        let queue = transactions.queue(sender, config.gas);
        ledger.name_coin(config.chain_id, config.coin.clone()).await?;
        if !config.token.is_zero() {
            let PaymentConfig { symbol, decimals, rated_as, .. } = &config;
            let name = Currency { symbol: symbol.clone(), decimals: *decimals, rated_as: rated_as.clone() };
            ledger.name_token(config.chain_id, number(config.token), name).await?;
        }
        let mut currencies = ledger.tokens(config.chain_id).await?;
        currencies.insert(U160::ZERO, config.coin.clone());
        let had = config.former.iter().filter_map(|former| former.wallet.clone().ok());
        let sender_of = |wallet| Sender::new(rpc.clone(), wallet, config.chain_id);
        let former = had.map(|wallet| transactions.queue(sender_of(wallet), config.gas)).collect();
        ledger.take_over_withdrawals(&contract, queue.account(), now).await?;
        let code = ledger.first_code(contract.to_string(), None).await?;
        let live = ledger.now();
        let copies = ledger.streams(&contract).await?.into_iter();
        let copies = copies
            .filter(|copy| live.get(&copy.vm).is_some() || !copy.is_spent(copy.estimated_now(now)))
            .map(|copy| (copy.key.id, copy));
        Ok(Self(Arc::new(Inner {
            reader,
            queue,
            former,
            currencies,
            contract,
            rpc,
            token_digits: watch::channel(None).0,
            copies: Mutex::new(copies.collect()),
            prices: watch::channel(Vec::new()).0,
            health: watch::channel(ChainHealth::default()).0,
            code: watch::channel(code).0,
            reading: tokio::sync::Mutex::default(),
            withheld: std::sync::atomic::AtomicU32::default(),
            behind: tokio::sync::Notify::new(),
            checked: watch::channel(LastCheck::default()).0,
            config,
            ledger,
        })))
    }

    /// Chain and contract, as stream keys have them.
    #[must_use]
    pub fn contract(&self) -> &str {
        &self.0.contract
    }

    /// What the operator decided.
    #[must_use]
    pub fn config(&self) -> &PaymentConfig {
        &self.0.config
    }

    /// What sends the wallet's transactions on the contract's chain.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.0.queue
    }

    /// Makes sure that the code at the contract's address is what it was when it was first seen: what another contract says
    /// means nothing. A developer's own chain begins anew at will.
    ///
    /// # Errors
    /// [`ChainError`].
    async fn check_code(&self) -> Result<(), ChainError> {
        if self.config().local {
            return Ok(());
        }
        let found = self.0.reader.code().await?;
        let first = *self.0.code.borrow();
        match first {
            Some(first) if first != found => Err(WrongContract::Replaced.into()),
            Some(_) => Ok(()),
            None => {
                let kept = self.0.ledger.first_code(self.0.contract.to_string(), Some(found)).await;
                self.0.code.send_replace(kept.ok().flatten().or(Some(found)));
                Ok(())
            }
        }
    }

    /// How the chain answers.
    #[must_use]
    pub fn health(&self) -> ChainHealth {
        self.0.health.borrow().clone()
    }

    /// How the chain's endpoints are.
    #[must_use]
    pub fn endpoints(&self) -> Vec<golem_chain::EndpointHealth> {
        self.0.reader.endpoints()
    }

    /// The key of stream `id` of the contract that is configured.
    pub(crate) fn key(&self, id: StreamId) -> StreamKey {
        StreamKey { contract: Arc::clone(&self.0.contract), id }
    }

    /// What the chain says now of the streams of `rentals`, which are all read at one block.
    ///
    /// # Errors
    /// [`NodeError::ChainUnknown`].
    pub(crate) async fn statuses(
        &self,
        rentals: &[(VmId, StreamKey)],
    ) -> Result<Vec<StreamStatus>, NodeError> {
        let ours: Vec<_> = rentals.iter().filter(|(_, key)| key.contract == self.0.contract).collect();
        let ids: Vec<_> = ours.iter().map(|(_, key)| key.id).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let seen = self.0.reader.streams(&ids).await.map_err(|error| {
            self.record_failure(&error);
            NodeError::ChainUnknown(error)
        })?;
        self.record_reading(seen.block);
        let now = seen.now;
        let status = |((vm, key), stream): (&(VmId, StreamKey), Stream)| StreamStatus {
            vm: vm.clone(),
            key: key.clone(),
            verdict: golem_chain::judge::judge(&stream, &self.terms_of(&stream), now),
            stream,
            now,
        };
        Ok(ours.into_iter().zip(seen.streams).map(status).collect())
    }

    /// Remembers what was read of the stream that pays for a new rental.
    pub(crate) fn remember(&self, copy: StreamCopy) {
        self.copies(|copies| copies.insert(copy.key.id, copy));
    }

    fn copies<T>(&self, use_them: impl FnOnce(&mut BTreeMap<StreamId, StreamCopy>) -> T) -> T {
        use_them(&mut self.0.copies.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Every stream that may still pay, as last read.
    #[must_use]
    pub fn known(&self) -> Vec<StreamCopy> {
        self.copies(|copies| copies.values().cloned().collect())
    }

    fn record_reading(&self, block: Block) {
        self.0.health.send_modify(|health| {
            if health.error.take().is_some() {
                tracing::info!(block = block.number, "the payment chain answers again");
            }
            health.block = Some(block);
            health.read_at = Some(Timestamp::now());
        });
    }

    /// Says in the log which contract is at the payment address, once the chain answers; and what is
    /// wrong if it is not the one that the profile names.
    pub(crate) async fn tell_contract(self, stop: CancellationToken) {
        let tell = async {
            loop {
                let checked = match self.0.reader.check().await {
                    Ok(()) => self.check_code().await,
                    wrong => wrong,
                };
                match checked {
                    Ok(()) => {
                        if let Err(error) = self.check_token().await {
                            golem_service::log_limited!(
                                error,
                                error = &error as &dyn std::error::Error,
                                "rentals cannot be paid in the token"
                            );
                            tokio::time::sleep(self.config().interval).await;
                            continue;
                        }
                        return tracing::info!(version = %self.config().version, "the payment contract is there");
                    }
                    Err(error @ ChainError::Contract(_)) => {
                        return tracing::warn!(error = &error as &dyn std::error::Error, contract = %self.config().contract, "rentals cannot be paid");
                    }
                    Err(error) => tracing::debug!(%error, "the payment contract cannot be looked at yet"),
                }
                tokio::time::sleep(self.config().interval).await;
            }
        };
        stop.run_until_cancelled(tell).await;
    }

    fn record_failure(&self, error: &ChainError) {
        let text = error.to_string();
        self.0.health.send_modify(|health| {
            if health.error.as_deref() != Some(&text) {
                tracing::warn!(
                    error = error as &dyn std::error::Error,
                    "the payment chain cannot be asked; rentals run on"
                );
            }
            health.error = Some(text);
        });
    }
}
