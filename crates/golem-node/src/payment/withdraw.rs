//! Fetches what has vested.
//!
//! ```text
//!   due ─► read ─► plan ─► sign ─► record ─► pursuit ─► mined, lost ─► record
//!                                    ▲          │
//!                                    └──────────┘ a higher fee, the same nonce
//! ```
//! Owns when it is worth it, and the one nonce: a withdrawal is in the ledger, signed, before it is
//! sent, and the next one begins only when its fate is known. A crash anywhere leads to the same
//! bytes being sent again, which a chain takes once. Never takes money that has not vested: the
//! contract would not give it.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy_primitives::Bytes;
use alloy_sol_types::SolCall;
use golem_chain::contract::withdrawCall;
use golem_chain::faucet::Work;
use golem_chain::pursuit::{Attempt, Fate, Limits, Pursuit, Recorder};
use golem_chain::{ChainError, Plan, Receipt, SendError, SignedTransaction};
use golem_types::{StreamId, VmId};
use jiff::Timestamp;
use ruint::aliases::U256;
use tokio_util::sync::CancellationToken;

use super::Payments;
use crate::crash::crash_point;
use crate::ledger::{Ledger, LedgerError, Try, Withdrawal, WithdrawalState};
use crate::paid::StreamCopy;

/// How often a receipt is asked for.
const POLL: Duration = Duration::from_millis(500);

/// How often the timer looks for something due.
const LOOK: Duration = Duration::from_secs(5);

/// How long a withdrawal that was asked for is waited for; it goes on by itself.
const WAIT: Duration = Duration::from_secs(120);

/// How a withdrawal is followed. Its fee grows to three and a half times the first, at most.
const LIMITS: Limits = Limits {
    poll: POLL,
    stuck: Duration::from_secs(60),
    attempts: 11,
    deadline: WAIT,
    // The next round goes on.
    failures: 1,
};

/// Why nothing was withdrawn from a stream.
#[derive(Debug, thiserror::Error)]
pub enum WithdrawError {
    /// Nothing has vested that was not fetched.
    #[error("nothing to withdraw")]
    Nothing,
    /// Gas would cost too large a part.
    #[error("gas would cost {cost} wei, more than {percent} % of {amount} wei")]
    Gas {
        /// What gas would cost.
        cost: U256,
        /// What there is to fetch.
        amount: U256,
        /// Most that gas may cost.
        percent: u8,
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
    #[error("the withdrawal is sent and not yet in a block; it goes on by itself")]
    UnderWay,
    /// The ledger failed.
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
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

/// A withdrawal that is followed, and kept in the ledger.
struct InLedger<'a> {
    ledger: &'a Ledger,
    withdrawal: &'a mut Withdrawal,
}

impl Recorder for InLedger<'_> {
    type Error = WithdrawError;

    async fn record(&mut self, attempt: &Attempt) -> Result<(), WithdrawError> {
        tracing::info!(stream = %self.withdrawal.key.id, "a withdrawal waits for long; its fee is raised");
        let Attempt { transaction, signed } = attempt.clone();
        self.withdrawal.tries.push(Try { transaction, signed, at: Timestamp::now() });
        Ok(self.ledger.change_withdrawal(self.withdrawal.clone(), Timestamp::now()).await?)
    }

    fn sent(&mut self) {
        crash_point!("withdraw-sent");
    }
}

/// Fetches what is due, and finishes what was begun, until `stop`.
pub(crate) async fn run(payments: Payments, stop: CancellationToken) {
    // What a crash interrupted is finished even where the timer is off.
    let mut last = match last_withdrawals(&payments).await {
        Ok(last) => last,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "earlier withdrawals cannot be read");
            BTreeMap::new()
        }
    };
    let mut told = BTreeMap::new();
    loop {
        let round = async {
            payments.finish().await;
            if payments.config().withdraw.enabled {
                payments.fetch_due(&mut last, &mut told).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = round => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK.min(payments.config().withdraw.interval)) => {}
        }
    }
}

/// When each stream was last withdrawn from.
async fn last_withdrawals(payments: &Payments) -> Result<BTreeMap<StreamId, Timestamp>, LedgerError> {
    let all = payments.0.ledger.withdrawals(Timestamp::UNIX_EPOCH).await?;
    let ours = all.into_iter().filter(|withdrawal| withdrawal.key.contract == payments.0.contract);
    Ok(ours.map(|withdrawal| (withdrawal.key.id, withdrawal.created_at)).collect())
}

impl Payments {
    /// Finishes the withdrawal that an earlier process began.
    async fn finish(&self) {
        let _one = self.0.withdrawing.lock().await;
        match self.0.ledger.withdrawal_under_way(&self.0.contract).await {
            Ok(Some(withdrawal)) => {
                let settled = self.settle(withdrawal).await;
                if let Err(error) = settled {
                    golem_service::log_limited!(
                        warn,
                        error = &error as &dyn std::error::Error,
                        "a withdrawal is not settled"
                    );
                }
            }
            Ok(None) => {}
            Err(error) => {
                golem_service::log_limited!(
                    error,
                    error = &error as &dyn std::error::Error,
                    "withdrawals cannot be read"
                )
            }
        }
    }

    /// Withdraws from every stream whose time has come and which has enough.
    async fn fetch_due(
        &self,
        last: &mut BTreeMap<StreamId, Timestamp>,
        told: &mut BTreeMap<StreamId, String>,
    ) {
        let now = Timestamp::now();
        let rules = self.config().withdraw;
        for copy in self.known() {
            let id = copy.key.id;
            let began = i64::try_from(copy.stream.start).ok().and_then(|at| Timestamp::from_second(at).ok());
            let before = last.get(&id).copied().or(began).unwrap_or(now);
            let waited = now.duration_since(before);
            let amount = copy.stream.withdrawable(copy.estimated_now(now));
            // Of a stream that ended the rest is fetched at once.
            let over = copy.stream.remaining_seconds(copy.estimated_now(now)) == 0;
            let due = over || (!waited.is_negative() && waited.unsigned_abs() >= rules.interval);
            if !due || amount.is_zero() || amount < rules.minimum {
                continue;
            }
            last.insert(id, now);
            match self.withdraw(&copy).await {
                Ok(done) => {
                    told.remove(&id);
                    tracing::info!(stream = %id, paid_wei = %done.paid, cost_wei = %done.cost, "withdrawn");
                }
                Err(error) => {
                    // The same trouble is told once, not at every interval.
                    let text = error.to_string();
                    if told.get(&id) != Some(&text) {
                        tracing::warn!(stream = %id, error = &error as &dyn std::error::Error, "not withdrawn");
                        told.insert(id, text);
                    }
                }
            }
        }
    }

    /// Withdraws what has vested on the stream of `copy`, and waits until it is there.
    ///
    /// # Errors
    /// [`WithdrawError`].
    pub async fn withdraw(&self, copy: &StreamCopy) -> Result<Withdrawn, WithdrawError> {
        let _one = self.0.withdrawing.lock().await;
        if let Some(before) = self.0.ledger.withdrawal_under_way(&self.0.contract).await? {
            self.settle(before).await?;
        }
        let id = copy.key.id;
        let seen = self.0.reader.streams(self.newest().as_ref(), &[id]).await?;
        let stream = seen.streams.first().ok_or(ChainError::Nonsense("no answer to one question"))?.stream;
        let amount = stream.withdrawable(seen.block.time);
        if amount.is_zero() || stream.recipient.is_zero() {
            return Err(WithdrawError::Nothing);
        }
        let data: Bytes = withdrawCall { streamId: id.0 }.abi_encode().into();
        let plan = self.0.sender.plan(Some(self.config().contract), data, U256::ZERO).await?;
        let percent = self.config().withdraw.gas_percent;
        let allowed = amount.saturating_mul(U256::from(percent)) / U256::from(100);
        if stream.token.is_zero() && plan.expected_cost > allowed {
            return Err(WithdrawError::Gas { cost: plan.expected_cost, amount, percent });
        }
        let (plan, signed) = match self.0.sender.sign(&plan) {
            Err(error @ SendError::NoFunds { .. }) if self.config().faucet.is_some() => {
                self.refilled(&plan, error).await?
            }
            signed => (plan, signed?),
        };
        let first = Try { transaction: plan.transaction, signed, at: Timestamp::now() };
        crash_point!("withdraw-before-record");
        let ledger = &self.0.ledger;
        ledger.begin_withdrawal(copy.key.clone(), copy.vm.clone(), stream.token, amount, first).await?;
        crash_point!("withdraw-recorded");
        let begun = ledger.withdrawal_under_way(&self.0.contract).await?;
        let begun = begun.ok_or_else(|| WithdrawError::Failed("it is not in the ledger".to_owned()))?;
        self.settle(begun).await
    }

    /// Gets money for gas, where it is worth nothing, and plans and signs the same once more.
    async fn refilled(
        &self,
        plan: &Plan,
        error: SendError,
    ) -> Result<(Plan, SignedTransaction), WithdrawError> {
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
            while self.0.sender.balance().await.is_ok_and(|balance| balance <= before) {
                tokio::time::sleep(POLL).await;
            }
        };
        if tokio::time::timeout(WAIT, arrived).await.is_err() {
            return Err(error.into());
        }
        let Plan { transaction, .. } = plan;
        let plan = self.0.sender.plan(transaction.to, transaction.data.clone(), transaction.value).await?;
        let signed = self.0.sender.sign(&plan)?;
        Ok((plan, signed))
    }

    /// Sends a recorded withdrawal until its fate is known.
    async fn settle(&self, mut withdrawal: Withdrawal) -> Result<Withdrawn, WithdrawError> {
        let Some(newest) = withdrawal.tries.last() else {
            return self.lost(&mut withdrawal, "it has no transaction").await;
        };
        let before = Timestamp::now().duration_since(newest.at);
        let before = Duration::try_from(before).unwrap_or_default();
        let attempts = withdrawal.tries.iter().map(Try::attempt).collect();
        let mut recorder = InLedger { ledger: &self.0.ledger, withdrawal: &mut withdrawal };
        let pursuit = Pursuit::new(attempts, LIMITS).waited(before);
        let fate = pursuit.follow(&self.0.sender, &mut recorder).await?;
        match fate {
            Fate::Mined(receipt) => self.mined(&mut withdrawal, &receipt).await,
            Fate::Lost => {
                let error =
                    "another transaction of the same wallet took its number; is the key used elsewhere?";
                self.lost(&mut withdrawal, error).await
            }
            Fate::UnderWay(None) => Err(WithdrawError::UnderWay),
            Fate::UnderWay(Some(error)) => Err(error.into()),
        }
    }

    async fn lost<T>(&self, withdrawal: &mut Withdrawal, error: &str) -> Result<T, WithdrawError> {
        withdrawal.state = WithdrawalState::Failed;
        withdrawal.error = Some(error.to_owned());
        self.0.ledger.change_withdrawal(withdrawal.clone(), Timestamp::now()).await?;
        Err(WithdrawError::Failed(error.to_owned()))
    }

    async fn mined(
        &self,
        withdrawal: &mut Withdrawal,
        receipt: &Receipt,
    ) -> Result<Withdrawn, WithdrawError> {
        let hash = receipt.hash.to_string();
        withdrawal.hash = Some(hash.clone());
        withdrawal.block = Some(receipt.block);
        withdrawal.cost = Some(receipt.cost);
        if !receipt.succeeded {
            return self.lost(withdrawal, "the contract refused it").await;
        }
        // What the contract says it has paid out since: true for any contract, whatever its events.
        let id = withdrawal.key.id;
        let before = self.copies(|copies| copies.get(&id).map(|copy| copy.stream.withdrawn));
        let seen = self.0.reader.streams(self.newest().as_ref(), &[id]).await?;
        let stream = seen.streams.first().ok_or(ChainError::Nonsense("no answer to one question"))?.stream;
        let paid = self.paid_in(receipt, withdrawal.key.id).unwrap_or_else(|| {
            before.map_or(withdrawal.expected, |before| stream.withdrawn.saturating_sub(before))
        });
        withdrawal.paid = Some(paid);
        withdrawal.state = WithdrawalState::Paid;
        crash_point!("withdraw-mined");
        self.0.ledger.change_withdrawal(withdrawal.clone(), Timestamp::now()).await?;
        let copy = StreamCopy {
            key: withdrawal.key.clone(),
            vm: withdrawal.vm.clone(),
            stream,
            block: seen.block.number,
            block_time: seen.block.time,
            read_at: Timestamp::now(),
        };
        self.0.ledger.keep_streams(vec![copy.clone()]).await?;
        self.remember(copy);
        Ok(Withdrawn { paid, cost: receipt.cost, hash })
    }

    /// The amount in the contract's own event, where the receipt has one.
    fn paid_in(&self, receipt: &Receipt, id: StreamId) -> Option<U256> {
        let word = |number: U256| alloy_primitives::B256::from(number.to_be_bytes::<32>());
        let event = alloy_primitives::keccak256("Withdrawn(uint256,address,uint256)");
        let log = receipt.logs.iter().find(|log| {
            log.address == self.config().contract
                && log.topics.first() == Some(&event)
                && log.topics.get(1) == Some(&word(id.0))
        })?;
        <[u8; 32]>::try_from(log.data.as_ref()).ok().map(U256::from_be_bytes)
    }

    /// The streams that the rental `vm` has, or all: what can be withdrawn from.
    #[must_use]
    pub fn withdrawable(&self, vm: Option<&VmId>) -> Vec<StreamCopy> {
        self.known().into_iter().filter(|copy| vm.is_none_or(|vm| copy.vm == *vm)).collect()
    }
}
