//! Fetches what has vested.
//!
//! ```text
//!   due ─► read ─► is it worth its gas? ─► recorded as wanted ─► [`crate::transactions`] ─► booked
//! ```
//! Owns when it is worth it, and what is written down of it. A withdrawal is in the ledger before its transaction is, so that
//! what a crash leaves is found and booked by the next process. Never takes money that has not vested: the contract would
//! not give it.

use std::collections::BTreeSet;
use std::time::Duration;

use alloy_primitives::{Address, Bytes};
use alloy_sol_types::SolCall;
use golem_chain::contract::events::{self, Happened};
use golem_chain::contract::withdrawCall;
use golem_chain::faucet::Work;
use golem_chain::{ChainError, Plan, Receipt, Rpc, SendError, arrived};
use golem_types::stream::{address, number};
use golem_types::{Stream, StreamId, VmId};
use jiff::Timestamp;
use ruint::aliases::{U160, U256};

use super::Payments;
use super::worth::{Worth, most_gas};
use crate::crash::crash_point;
use crate::ledger::{LedgerError, Order, Purpose, Withdrawal, WithdrawalState};
use crate::paid::StreamCopy;
use crate::transactions::{Mined, Queue, TransactionError};

/// How often it is looked whether what the faucet sent has come.
const POLL: Duration = Duration::from_millis(500);

/// How long a withdrawal that was asked for is waited for; it goes on by itself.
const WAIT: Duration = Duration::from_secs(120);

/// Why nothing was withdrawn from a stream.
#[derive(Debug, thiserror::Error)]
pub enum WithdrawError {
    /// Nothing has vested that was not fetched.
    #[error("nothing to withdraw")]
    Nothing,
    /// Gas would cost too large a part.
    #[error(
        "gas would cost {cost} wei, more than the {allowed} wei that are {percent} % of its worth ({amount} of the smallest units \
         of its money); fix: wait until more has vested, raise GOLEM_PROVIDER_STREAM_WITHDRAW_GAS_PERCENT, or use `streams \
         withdraw --force`"
    )]
    Gas {
        /// What gas would cost.
        cost: U256,
        /// What there is to fetch.
        amount: U256,
        /// Most that gas may cost.
        allowed: U256,
        /// The same in percent.
        percent: u8,
    },
    /// Nobody knows what the token is worth, and so whether it is worth its gas.
    #[error(
        "no rate of {0} is known, so it cannot be told whether a withdrawal is worth its gas; fix: name what the feed calls it in \
         the network's profile (token_price_id), set GOLEM_PROVIDER_STREAM_MIN_WITHDRAW_WEI to what is, or use `streams withdraw \
         --force`"
    )]
    NoRate(String),
    /// It pays a key that was replaced, and that cannot be had.
    #[error("it pays the former key {address}, which cannot be had: {why}")]
    Key {
        /// The key's address.
        address: Address,
        /// Why.
        why: String,
    },
    /// The chain could not be asked.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The transaction could not be made.
    #[error(transparent)]
    Send(#[from] SendError),
    /// It was mined, and did nothing; or another transaction took its place.
    #[error("the withdrawal failed: {0}")]
    Failed(String),
    /// It is in no block yet.
    #[error("the withdrawal is not yet in a block{}; it goes on by itself", .0.as_ref().map_or_else(String::new, |why| format!(": {why}")))]
    UnderWay(Option<String>),
    /// The ledger failed.
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
}

impl WithdrawError {
    /// Whether nothing was wrong: there is nothing to fetch, or nothing that is worth its gas.
    #[must_use]
    pub const fn is_skipped(&self) -> bool {
        matches!(self, Self::Nothing | Self::Gas { .. } | Self::NoRate(_))
    }

    /// Whether it may still come.
    #[must_use]
    pub const fn is_under_way(&self) -> bool {
        matches!(self, Self::UnderWay(_))
    }
}

/// What a withdrawal brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawn {
    /// Wei that were paid out.
    pub paid: U256,
    /// Wei that it cost.
    pub cost: U256,
    /// The transaction.
    pub hash: String,
}

impl Payments {
    /// Withdraws what has vested on the stream of `copy`, and waits until it is there. One that is under way is waited for.
    ///
    /// # Errors
    /// [`WithdrawError`].
    pub async fn withdraw(&self, copy: &StreamCopy) -> Result<Withdrawn, WithdrawError> {
        self.fetch(copy, false).await
    }

    /// The same, whatever gas costs of it.
    ///
    /// # Errors
    /// [`WithdrawError`].
    pub async fn withdraw_by_force(&self, copy: &StreamCopy) -> Result<Withdrawn, WithdrawError> {
        self.fetch(copy, true).await
    }

    async fn fetch(&self, copy: &StreamCopy, force: bool) -> Result<Withdrawn, WithdrawError> {
        let withdrawal = self.begin(copy, force).await?;
        self.settle(withdrawal, WAIT).await
    }

    /// What `token` is worth against what pays for gas, and its digits after the point. Of one that is not known nothing is:
    /// another's rate is none of its own.
    async fn worth(&self, token: U160) -> Result<(Worth, u8), LedgerError> {
        let config = self.config();
        if token.is_zero() {
            return Ok((Worth::Coin, config.coin.decimals));
        }
        let Some(currency) = self.currency(token) else { return Ok((Worth::Unknown, 0)) };
        if config.testnet {
            return Ok((Worth::Test, currency.decimals));
        }
        let rate = async |coin: &Option<String>| match coin {
            Some(coin) => Ok::<_, LedgerError>(self.0.ledger.rate(coin).await?.map(|rate| rate.usd)),
            None => Ok(None),
        };
        let (of_token, coin) = (rate(&currency.rated_as).await?, rate(&config.coin.rated_as).await?);
        let rates = of_token.zip(coin).map(|(token, coin)| Worth::Rates { token, coin });
        Ok((rates.unwrap_or(Worth::Unknown), currency.decimals))
    }

    /// Most wei that gas may cost for each of `amounts` of `token`, in percent of its worth; `None` if nobody knows that.
    pub(super) async fn gas_shares<const N: usize>(
        &self,
        token: U160,
        amounts: [(U256, u8); N],
    ) -> Result<[Option<U256>; N], LedgerError> {
        let (worth, decimals) = self.worth(token).await?;
        Ok(amounts.map(|(amount, percent)| most_gas(amount, decimals, percent, worth)))
    }

    /// Most wei that moving `amount` of `token` may cost, by what it is worth; `None` if nobody knows that.
    pub(crate) async fn most_gas(&self, token: U160, amount: U256) -> Result<Option<U256>, WithdrawError> {
        let [most] = self.gas_shares(token, [(amount, self.config().withdraw.gas_percent)]).await?;
        Ok(most)
    }

    /// Most wei that gas may cost to fetch `amount` of `token`; `None` if that is no reason not to.
    async fn allowed_gas(&self, token: U160, amount: U256) -> Result<Option<U256>, WithdrawError> {
        let allowed = self.most_gas(token, amount).await?;
        // A least amount that the operator set is what is worth it, of the money that it is set for.
        if allowed.is_none() && self.minimum(token).is_zero() {
            let name = self.currency(token).map(|currency| currency.symbol.clone());
            return Err(WithdrawError::NoRate(name.unwrap_or_else(|| format!("{token:#042x}"))));
        }
        Ok(allowed)
    }

    /// Least amount of `token` that is fetched, in its smallest units, as the operator set it for the streams' money.
    pub(super) fn minimum(&self, token: U160) -> U256 {
        let config = self.config();
        if token == number(config.token) { config.withdraw.minimum } else { U256::ZERO }
    }

    /// Has what has vested on the stream of `copy` withdrawn, if that is worth it, or by `force`, and not under way.
    pub(super) async fn begin(&self, copy: &StreamCopy, force: bool) -> Result<Withdrawal, WithdrawError> {
        let ledger = &self.0.ledger;
        let under_way = ledger.withdrawals_under_way(&self.0.contract).await?;
        if let Some(known) = under_way.into_iter().find(|one| one.key == copy.key) {
            return Ok(known);
        }
        let id = copy.key.id;
        let seen = self.0.reader.streams(&[id]).await?;
        let stream = *seen.streams.first().ok_or(ChainError::Nonsense("no answer to one question"))?;
        let amount = stream.withdrawable(seen.block.time);
        if amount.is_zero() || stream.recipient.is_zero() {
            return Err(WithdrawError::Nothing);
        }
        let (to, data) = (self.config().contract, Bytes::from(withdrawCall { streamId: id.0 }.abi_encode()));
        let most_cost = if force { None } else { self.allowed_gas(stream.token, amount).await? };
        let queue = self.queue_of(&stream)?;
        let mut plan = queue.sender().plan(Some(to), data.clone(), U256::ZERO).await?;
        if let Some(allowed) = most_cost.filter(|most| plan.expected_cost > *most) {
            let (cost, percent) = (plan.expected_cost, self.config().withdraw.gas_percent);
            return Err(WithdrawError::Gas { cost, amount, allowed, percent });
        }
        if let Err(error) = plan.is_affordable() {
            if self.config().faucet.is_none() || queue.account() != self.0.queue.account() {
                return Err(error.into());
            }
            plan = self.refilled(&plan, error).await?;
            plan.is_affordable()?;
        }
        let order = Order {
            purpose: Purpose::Withdraw,
            subject: copy.key.to_string(),
            to,
            data,
            value: U256::ZERO,
            most_cost,
        };
        crash_point!("withdraw-before-record");
        let copy = StreamCopy { stream, ..copy.clone() };
        let account = queue.account();
        let withdrawal = ledger.begin_withdrawal(copy, amount, account, order, Timestamp::now()).await?;
        crash_point!("withdraw-recorded");
        if let Some(id) = withdrawal.transaction {
            queue.planned(id, plan);
        }
        Ok(withdrawal)
    }

    /// What sends for the key that `stream` pays.
    pub(super) fn queue_of(&self, stream: &Stream) -> Result<&Queue, WithdrawError> {
        let pays = |queue: &&Queue| number(queue.account().wallet) == stream.recipient;
        if let Some(queue) = self.queues().find(pays) {
            return Ok(queue);
        }
        let locked = self.config().former.iter().find(|former| number(former.address) == stream.recipient);
        match locked.and_then(|former| former.wallet.as_ref().err().map(|why| (former.address, why.clone())))
        {
            Some((address, why)) => Err(WithdrawError::Key { address, why }),
            None => Ok(&self.0.queue),
        }
    }

    pub(crate) fn rpc(&self) -> &Rpc {
        &self.0.rpc
    }

    /// What sends for the node's key, and for those that it replaced.
    pub(crate) fn queues(&self) -> impl Iterator<Item = &Queue> {
        std::iter::once(&self.0.queue).chain(&self.0.former)
    }

    /// Gets money for gas, where it is worth nothing, and plans the same once more.
    async fn refilled(&self, plan: &Plan, error: SendError) -> Result<Plan, WithdrawError> {
        match self.refill(&Work::default()).await {
            Ok(Some(transaction)) => tracing::info!(transaction, "the faucet sent money for gas"),
            Ok(None) => {}
            Err(refill) => {
                golem_service::log_limited!(warn, error = %refill, "the faucet sent no money for gas");
                return Err(error.into());
            }
        }
        let before = plan.balance;
        let arrived = async {
            while self.0.queue.sender().balance().await.is_ok_and(|balance| balance <= before) {
                tokio::time::sleep(POLL).await;
            }
        };
        if tokio::time::timeout(WAIT, arrived).await.is_err() {
            return Err(error.into());
        }
        let Plan { transaction, .. } = plan;
        let sender = self.0.queue.sender();
        Ok(sender.plan(transaction.to, transaction.data.clone(), transaction.value).await?)
    }

    /// Waits for the end of `withdrawal` no longer than `within`, and books it.
    pub(super) async fn settle(
        &self,
        mut withdrawal: Withdrawal,
        within: Duration,
    ) -> Result<Withdrawn, WithdrawError> {
        let Some(id) = withdrawal.transaction else {
            return self.failed(withdrawal, "it has no transaction".to_owned()).await;
        };
        let account = self.0.ledger.transaction(id).await?.map(|transaction| transaction.account);
        let queue = self.queues().find(|queue| Some(queue.account()) == account).unwrap_or(&self.0.queue);
        let mined = match queue.wait(id, within).await {
            Ok(mined) => mined,
            Err(TransactionError::UnderWay(reason)) => return Err(WithdrawError::UnderWay(reason)),
            Err(TransactionError::Ledger(error)) => return Err(error.into()),
            Err(TransactionError::Failed { hash, reason, cost, .. }) => {
                withdrawal.hash = Some(hash.to_string());
                withdrawal.cost = Some(cost);
                return self.failed(withdrawal, reason).await;
            }
            Err(error) => return self.failed(withdrawal, error.to_string()).await,
        };
        self.mined(withdrawal, mined).await
    }

    async fn failed<T>(&self, mut withdrawal: Withdrawal, error: String) -> Result<T, WithdrawError> {
        withdrawal.state = WithdrawalState::Failed;
        withdrawal.error = Some(error.clone());
        self.0.ledger.end_withdrawal(withdrawal, Timestamp::now()).await?;
        Err(WithdrawError::Failed(error))
    }

    async fn mined(
        &self,
        mut withdrawal: Withdrawal,
        Mined { hash, block, cost, .. }: Mined,
    ) -> Result<Withdrawn, WithdrawError> {
        withdrawal.hash = Some(hash.to_string());
        withdrawal.block = Some(block);
        withdrawal.cost = Some(cost);
        let receipt = self.0.queue.sender().receipt(hash).await?;
        // What the contract says it has paid out since: true for any contract, whatever its events.
        let id = withdrawal.key.id;
        let before = self.copies(|copies| copies.get(&id).map(|copy| copy.stream.withdrawn));
        let seen = self.0.reader.streams(&[id]).await?;
        let stream = *seen.streams.first().ok_or(ChainError::Nonsense("no answer to one question"))?;
        let told = receipt.and_then(|receipt| self.paid_in(&receipt, id, address(stream.token)));
        let paid = told.unwrap_or_else(|| {
            before.map_or(withdrawal.expected, |before| stream.withdrawn.saturating_sub(before))
        });
        withdrawal.paid = Some(paid);
        withdrawal.state = WithdrawalState::Paid;
        crash_point!("withdraw-mined");
        self.0.ledger.end_withdrawal(withdrawal.clone(), Timestamp::now()).await?;
        let copy = StreamCopy {
            key: withdrawal.key.clone(),
            vm: withdrawal.vm.clone(),
            stream,
            block: seen.block.number,
            block_time: seen.block.time,
            read_at: Timestamp::now(),
        };
        self.keep_readings(vec![copy.clone()], seen.block, vec![(id, stream)]).await?;
        self.remember(copy);
        // Also where nobody follows the streams. What fails here is read by the next who does.
        if let Err(error) = self.read_books().await {
            tracing::debug!(%error, "the withdrawal is not in the books yet");
        }
        Ok(Withdrawn { paid, cost, hash: hash.to_string() })
    }

    /// The amount in the contract's own event, where the receipt has one, without what the stream's `token` kept of it.
    fn paid_in(&self, receipt: &Receipt, id: StreamId, token: Address) -> Option<U256> {
        let contract = self.config().contract;
        let ours = receipt.logs.iter().filter(|log| log.address == contract);
        let (recipient, paid) =
            ours.filter_map(|log| events::decode(&log.topics, &log.data)).find_map(|(stream, what)| {
                match what {
                    Happened::Withdrawn { recipient, amount } if stream == id => Some((recipient, amount)),
                    _ => None,
                }
            })?;
        // Where there is none, these are nobody's.
        let of_token = receipt.logs.iter().filter(|log| log.address == token && !token.is_zero());
        let transfers = of_token.filter_map(|log| events::transfer(&log.topics, &log.data));
        let arrived = arrived(transfers, contract, &BTreeSet::from([address(recipient)]));
        Some(arrived.map_or(paid, |arrived| arrived.min(paid)))
    }

    /// The streams that the rental `vm` has, or all: what can be withdrawn from.
    #[must_use]
    pub fn withdrawable(&self, vm: Option<&VmId>) -> Vec<StreamCopy> {
        self.known().into_iter().filter(|copy| vm.is_none_or(|vm| copy.vm == *vm)).collect()
    }
}
