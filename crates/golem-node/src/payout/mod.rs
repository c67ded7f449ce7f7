//! Sends what was earned to an address of the operator's, and empties keys that were replaced.
//!
//! ```text
//!   look ─► what earlier transfers moved, by balances ─► is anything else to be sent? ──yes──► later
//!                                                              │ no
//!              [`plan`]: what is above the float, if it is worth its gas ─► [`crate::transactions`] ─► look
//! ```
//! Owns when and whither money leaves the node's wallets, but for gas (M-15): to the payout address, and from a key that was
//! replaced, where there is none, to the key that replaced it. Nothing is kept of it but transactions and what they moved, so
//! that a kill at any time costs a look at most. Each wallet on each chain goes at its own pace: one that is stuck holds up no
//! other. Never sends while anything else of the same wallet waits, and never touches the float.

mod plan;

use std::collections::BTreeMap;
use std::time::Duration;

use alloy_primitives::{Address, Bytes};
use golem_chain::balance::{At, balance};
use golem_chain::contract::token;
use golem_chain::{ChainError, Rpc, SendError};
use golem_types::stream::number;
use jiff::Timestamp;
use ruint::aliases::U256;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::crash::crash_point;
use crate::ledger::{
    Account, Ledger, LedgerError, Order, Purpose, Sweep, Transaction, TransactionState, WITHIN,
};
use crate::payment::{Contracts, Payments, WithdrawError};
use crate::transactions::{Queue, TransactionError};

use plan::{TOKEN_INTERVAL, TransferCost, may_try, passed};

/// How long a transfer is waited for until the next look.
const WAIT: Duration = Duration::from_secs(60);

/// Over which time the gas that was spent tells what will be.
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// Where the money goes, by the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayoutConfig {
    /// The address; `None` if money stays in the wallet.
    pub address: Option<Address>,
    /// Wei of the chain's coin that stay in the wallet; `None` if it is worked out from what gas costs.
    pub float: Option<U256>,
    /// How often it is looked for what can go.
    pub interval: Duration,
}

impl Default for PayoutConfig {
    fn default() -> Self {
        Self { address: None, float: None, interval: Duration::from_secs(60) }
    }
}

/// How it stands with a wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayoutLine {
    /// Whose.
    pub account: Account,
    /// Whether the key was replaced.
    pub is_former: bool,
    /// Where its money goes.
    pub to: Address,
    /// Wei of the coin that stay in it; `None` if it was not worked out yet.
    pub float: Option<U256>,
    /// Why money stays in it that should go.
    pub problem: Option<String>,
}

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
enum PayoutError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    #[error(transparent)]
    Worth(#[from] WithdrawError),
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
    #[error("the token {0} moved nothing of what was sent; it may have blocked one of the two addresses")]
    Nothing(Address),
    #[error("the wallet has {balance} wei, and up to {needed} wei are needed for gas")]
    NoGas { balance: U256, needed: U256 },
}

/// A wallet on a chain.
struct Purse {
    queue: Queue,
    rpc: Rpc,
    /// Tokens that it is paid in, each with a contract's payments in it.
    tokens: BTreeMap<Address, Payments>,
    /// Most that a transfer may cost, in percent.
    percent: u8,
    is_former: bool,
    /// Whether streams still pay it, so that it has to pay for withdrawals.
    is_paid: bool,
    /// The key that is used now.
    current: Address,
}

/// What is remembered between looks; a restart of the node begins anew.
#[derive(Default)]
struct Memory {
    /// What a contract refused before anything was sent: how often in a row, and when last.
    refused: BTreeMap<(Account, String), (u32, Timestamp)>,
    told: BTreeMap<(Account, String), String>,
}

/// The wallets of `contracts`, on each of their chains.
fn purses(contracts: &Contracts, now: Timestamp) -> BTreeMap<Account, Purse> {
    let mut purses: BTreeMap<Account, Purse> = BTreeMap::new();
    for payments in contracts.all() {
        let config = payments.config();
        for queue in payments.queues() {
            let account = queue.account();
            let recipient = number(account.wallet);
            let purse = purses.entry(account).or_insert_with(|| Purse {
                queue: queue.clone(),
                rpc: payments.rpc().clone(),
                tokens: BTreeMap::new(),
                percent: config.withdraw.gas_percent,
                is_former: account.wallet != config.wallet.address(),
                is_paid: false,
                current: config.wallet.address(),
            });
            if !config.token.is_zero() {
                purse.tokens.entry(config.token).or_insert_with(|| payments.clone());
            }
            purse.is_paid |= payments
                .known()
                .iter()
                .any(|copy| copy.stream.recipient == recipient && !copy.is_spent(copy.estimated_now(now)));
        }
    }
    purses
}

/// Sends what can go, until `stop`.
pub(crate) async fn run(
    config: PayoutConfig,
    contracts: Contracts,
    ledger: Ledger,
    report: watch::Sender<Vec<PayoutLine>>,
    stop: CancellationToken,
) {
    let payout = Payout { config, ledger };
    // Which wallets there are does not change while the node runs.
    let accounts: Vec<Account> = purses(&contracts, Timestamp::now()).into_keys().collect();
    let each = accounts.into_iter().map(|account| payout.pay_out(account, &contracts, &report));
    stop.run_until_cancelled(futures_util::future::join_all(each)).await;
}

struct Payout {
    config: PayoutConfig,
    ledger: Ledger,
}

impl Payout {
    /// Sends what can go of the wallet `account` of `contracts`, for good, and tells how it stands in its line of `report`.
    async fn pay_out(
        &self,
        account: Account,
        contracts: &Contracts,
        report: &watch::Sender<Vec<PayoutLine>>,
    ) {
        let mut memory = Memory::default();
        loop {
            if let Some(purse) = purses(contracts, Timestamp::now()).remove(&account) {
                let line = self.look(&purse, &mut memory).await;
                report.send_modify(|lines| {
                    lines.retain(|known| known.account != account);
                    lines.extend(line);
                    lines.sort_by_key(|known| known.account);
                });
            }
            tokio::time::sleep(self.config.interval).await;
        }
    }

    /// Sends what can go of `purse`, and tells how it stands; `None` if its money stays.
    async fn look(&self, purse: &Purse, memory: &mut Memory) -> Option<PayoutLine> {
        let account = purse.queue.account();
        let to = match self.config.address {
            Some(address) => address,
            None if purse.is_former => purse.current,
            None => return None,
        };
        let mut line = PayoutLine { account, is_former: purse.is_former, to, float: None, problem: None };
        let kinds = purse.tokens.keys().copied().chain([Address::ZERO]);
        for token in kinds {
            let subject = subject(purse, to, token);
            let sent = self.sweep(purse, token, to, &subject, memory, &mut line.float).await;
            let key = (account, subject);
            match sent {
                Ok(true) => drop(memory.told.remove(&key)),
                Ok(false) => line.problem = memory.told.get(&key).cloned().or(line.problem),
                Err(error) => {
                    let text = error.to_string();
                    if memory.told.get(&key) != Some(&text) {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            chain = account.chain_id,
                            wallet = %account.wallet,
                            %token,
                            %to,
                            "what was earned is not paid out; it is tried again, ever more rarely"
                        );
                        memory.told.insert(key, text.clone());
                    }
                    line.problem = Some(text);
                }
            }
        }
        Some(line)
    }

    /// Sends what can go of `token`; `false` if it is not the time to tell whether it can.
    async fn sweep(
        &self,
        purse: &Purse,
        token: Address,
        to: Address,
        subject: &str,
        memory: &mut Memory,
        float: &mut Option<U256>,
    ) -> Result<bool, PayoutError> {
        let (account, now) = (purse.queue.account(), Timestamp::now());
        for sweep in self.ledger.unseen_sweeps(account).await? {
            self.see(purse, sweep).await?;
        }
        for open in self.ledger.open_transactions(Some(account)).await? {
            // What was planned for a balance of another time, and cannot be sent.
            let is_stale = open.order.purpose == Purpose::Sweep && open.state == TransactionState::Planned;
            if !is_stale || !purse.queue.give_up(open.id).await? {
                // The rest of what waits goes first, and may need what is there.
                return Ok(false);
            }
        }
        let has = balance(&purse.rpc, token, account.wallet, At::Latest).await?;
        if has.is_zero() {
            return Ok(true);
        }
        let before = self.ledger.sweep_failures(account, subject.to_owned()).await?;
        let key = (account, subject.to_owned());
        let refused = memory.refused.get(&key).copied();
        for (failures, last) in before.into_iter().chain(refused) {
            if !may_try(failures, last, now) {
                return Ok(false);
            }
        }
        let worth = match purse.tokens.get(&token) {
            Some(payments) => payments.most_gas(number(token), has).await?,
            None => None,
        };
        // Of a token whose worth nobody knows it cannot be told whether it is worth its gas: once in a while it is sent.
        let recent =
            before.is_some_and(|(failures, last)| failures == 0 && passed(last, now) < TOKEN_INTERVAL);
        if !token.is_zero() && worth.is_none() && recent {
            return Ok(true);
        }
        let probe = if token.is_zero() { U256::ONE } else { has };
        let order = transfer(token, to, probe);
        let planned = purse.queue.sender().plan(Some(order.to), order.data.clone(), order.value).await;
        let mut plan = match planned {
            Ok(plan) => plan,
            Err(error @ SendError::Reverts(_)) => {
                let failures = refused.map_or(0, |(failures, _)| failures);
                memory.refused.insert(key, (failures.saturating_add(1), now));
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        };
        memory.refused.remove(&key);
        let price = plan.transaction.fee.most();
        let cost = TransferCost {
            expected: plan.expected_cost,
            needed: plan.transaction.most_gas_cost(),
            percent: purse.percent,
        };
        let amount = if token.is_zero() {
            let stays = self.float(purse, price, now).await?;
            *float = Some(stays);
            match plan::coin(has, stays, &cost) {
                Some(amount) => amount,
                None => return Ok(true),
            }
        } else if worth.is_some_and(|most| cost.expected > most) {
            return Ok(true);
        } else if plan.balance < cost.needed {
            return Err(PayoutError::NoGas { balance: plan.balance, needed: cost.needed });
        } else {
            has
        };
        let most_cost = if token.is_zero() { Some(cost.most(amount)) } else { worth };
        let order = Order { subject: subject.to_owned(), most_cost, ..transfer(token, to, amount) };
        crash_point!("sweep-before-record");
        // The transfer of another amount takes as much gas.
        plan.transaction.value = order.value;
        let id = purse.queue.submit_planned(order, plan).await?;
        crash_point!("sweep-recorded");
        match purse.queue.wait(id, WAIT).await {
            Ok(_) => {}
            // Followed and seen by a later look.
            Err(TransactionError::UnderWay(_)) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        crash_point!("sweep-mined");
        for sweep in self.ledger.unseen_sweeps(account).await? {
            self.see(purse, sweep).await?;
        }
        Ok(true)
    }

    /// Wei of the coin that stay in the wallet, at `price` for a unit of gas.
    async fn float(&self, purse: &Purse, price: u128, now: Timestamp) -> Result<U256, PayoutError> {
        if purse.is_former && !purse.is_paid {
            return Ok(U256::ZERO);
        }
        if let Some(float) = self.config.float {
            return Ok(float);
        }
        let since = now.checked_sub(WEEK).unwrap_or(Timestamp::UNIX_EPOCH);
        let spent = self.ledger.gas_spent(purse.queue.account(), since).await?;
        Ok(plan::default_float(price, spent))
    }

    /// Looks what a transfer that is in a block moved, and keeps it.
    async fn see(&self, purse: &Purse, sent: Transaction) -> Result<(), PayoutError> {
        let order = &sent.order;
        let (token, to, amount) = match token::transfer_of(&order.data) {
            Some((to, amount)) => (order.to, to, amount),
            None => (Address::ZERO, order.to, order.value),
        };
        // A coin goes as it is sent; a token does as it likes.
        let (left, arrived) = match sent.block {
            Some(block) if !token.is_zero() => self.moved(purse, token, to, block, amount).await?,
            _ => (amount, amount),
        };
        let sweep = Sweep {
            transaction: sent.id,
            account: sent.account,
            token,
            to,
            amount,
            left,
            arrived,
            at: Timestamp::now(),
        };
        self.ledger.keep_sweep(sweep).await?;
        if left.is_zero() {
            return Err(PayoutError::Nothing(token));
        }
        tracing::info!(
            chain = sent.account.chain_id,
            wallet = %sent.account.wallet,
            %token,
            %to,
            left_wei = %left,
            arrived_wei = %arrived,
            cost_wei = sent.cost.map(|wei| wei.to_string()),
            "what was earned is paid out"
        );
        Ok(())
    }

    /// What left the wallet and what arrived in `block`, of `token`.
    async fn moved(
        &self,
        purse: &Purse,
        token: Address,
        to: Address,
        block: u64,
        amount: U256,
    ) -> Result<(U256, U256), PayoutError> {
        let wallet = purse.queue.account().wallet;
        let at = async |account, number| balance(&purse.rpc, token, account, At::Block(number)).await;
        let earlier = block.saturating_sub(1);
        let seen = async {
            let (had, has) = (at(wallet, earlier).await?, at(wallet, block).await?);
            let (had_there, has_there) = (at(to, earlier).await?, at(to, block).await?);
            Ok::<_, ChainError>((had.saturating_sub(has), has_there.saturating_sub(had_there)))
        };
        match seen.await {
            Ok(moved) => Ok(moved),
            // Not every endpoint remembers: what is there now tells whether it went.
            Err(ChainError::Refused { .. } | ChainError::Nonsense(_)) => {
                let left = balance(&purse.rpc, token, wallet, At::Latest).await?;
                let moved = if left < amount { amount } else { U256::ZERO };
                Ok((moved, moved))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// What a transfer of `token` out of `purse` is about, for the ledger. One within the node is told apart: it is none of what
/// was paid out.
fn subject(purse: &Purse, to: Address, token: Address) -> String {
    let kind = if to == purse.current { WITHIN } else { "payout" };
    format!("{kind} {token}")
}

/// The transfer of `amount` of `token` to `to`.
fn transfer(token: Address, to: Address, amount: U256) -> Order {
    let (to, data, value) = if token.is_zero() {
        (to, Bytes::new(), amount)
    } else {
        (token, token::transfer(to, amount).into(), U256::ZERO)
    };
    Order { purpose: Purpose::Sweep, subject: String::new(), to, data, value, most_cost: None }
}
