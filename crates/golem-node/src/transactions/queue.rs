//! One wallet's transactions on one chain.
//!
//! Owns what may be asked of them: to be sent, waited for and cancelled; and what is told of them. How they come into
//! blocks is [`super::driver`]'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use golem_chain::{Plan, Sender};
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::driver::Driver;
use super::made_plans::Plans;
use super::plan::Pace;
use super::report::Report;
use super::rules::{GasRules, Mined, TransactionError};
use super::work::Work;
use crate::ledger::{Account, Ledger, LedgerError, Order, Purpose, Transaction, TransactionState};

/// Failures in a row after which who waits is told, and not kept waiting.
const FAILURES: u32 = 4;

/// A wallet's transactions on a chain; clones share them.
#[derive(Debug, Clone)]
pub struct Queue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    driver: Driver,
    /// Held while the chain is looked at.
    work: tokio::sync::Mutex<Work>,
    report: watch::Sender<Report>,
    /// Whether something was written down since the last look.
    has_more: AtomicBool,
    wake: Notify,
}

impl Queue {
    pub(super) fn new(sender: Sender, ledger: Ledger, rules: GasRules, pace: Pace) -> Self {
        let account = Account { chain_id: sender.chain_id(), wallet: sender.address() };
        let driver = Driver { account, sender, ledger, rules, pace, plans: Plans::default() };
        let report = watch::channel(Report::default()).0;
        let (work, has_more) = (tokio::sync::Mutex::default(), AtomicBool::new(true));
        Self(Arc::new(Inner { driver, work, report, has_more, wake: Notify::new() }))
    }

    /// Whose they are.
    #[must_use]
    pub fn account(&self) -> Account {
        self.0.driver.account
    }

    /// What asks the chain. Nothing may be sent by it.
    #[must_use]
    pub fn sender(&self) -> &Sender {
        &self.0.driver.sender
    }

    /// What gas may cost.
    #[must_use]
    pub fn rules(&self) -> GasRules {
        self.0.driver.rules
    }

    /// What waits, as of the last look.
    #[must_use]
    pub fn report(&self) -> Report {
        self.0.report.borrow().clone()
    }

    /// Writes down that `order` is wanted; it is sent by and by, whether or not it is waited for. Gives its number in the
    /// ledger; of one of the same purpose and subject that is open, the number of that.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn submit(&self, order: Order) -> Result<i64, LedgerError> {
        let id = self.0.driver.ledger.want_transaction(self.account(), order, Timestamp::now()).await?;
        self.has_more();
        Ok(id)
    }

    /// The same of an `order` of which `plan` was just made: it is not made twice.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn submit_planned(&self, order: Order, plan: Plan) -> Result<i64, LedgerError> {
        let id = self.0.driver.ledger.want_transaction(self.account(), order, Timestamp::now()).await?;
        self.planned(id, plan);
        Ok(id)
    }

    /// The transaction `id` was written down for this queue, and `plan` was just made of it.
    pub(crate) fn planned(&self, id: i64, plan: Plan) {
        self.0.driver.plans.remember(id, plan);
        self.has_more();
    }

    /// Something was written down for this queue.
    pub(crate) fn has_more(&self) {
        self.0.has_more.store(true, Ordering::Release);
        self.0.wake.notify_one();
    }

    /// Waits for the end of the transaction `id`, or of what does the same in its place, no longer than `within`.
    ///
    /// # Errors
    /// [`TransactionError`].
    pub async fn wait(&self, mut id: i64, within: Duration) -> Result<Mined, TransactionError> {
        let deadline = Instant::now() + within;
        let ledger = &self.0.driver.ledger;
        loop {
            let due = self.advance().await;
            let row = ledger.transaction(id).await?;
            let Some(row) = row else {
                return Err(TransactionError::Refused("it is not in the ledger".to_owned()));
            };
            if let Some(successor) = row.successor {
                // Of two that a reorganisation opened again, each may be in the other's place.
                if Instant::now() >= deadline {
                    return Err(TransactionError::UnderWay(None));
                }
                id = successor;
                continue;
            }
            if !row.state.is_open() {
                return ended(row);
            }
            let report = self.report();
            let problem = report.problem.filter(|_| report.failures >= FAILURES);
            let held = row.error.filter(|_| row.state == TransactionState::Planned);
            let reason = held.or(problem);
            if reason.is_some() || Instant::now() >= deadline {
                return Err(TransactionError::UnderWay(reason));
            }
            sleep_until(due.unwrap_or(deadline).min(deadline)).await;
        }
    }

    /// Sends `order`, and waits for its end no longer than `within`; it goes on after that.
    ///
    /// # Errors
    /// [`TransactionError`].
    pub async fn send(&self, order: Order, within: Duration) -> Result<Mined, TransactionError> {
        let id = self.submit(order).await?;
        self.wait(id, within).await
    }

    /// Gives up the transaction `id` if nothing of it was signed; says whether it is so.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn give_up(&self, id: i64) -> Result<bool, LedgerError> {
        let _work = self.0.work.lock().await;
        let ledger = &self.0.driver.ledger;
        let row = ledger.transaction(id).await?.filter(|row| row.state == TransactionState::Planned);
        let Some(row) = row else { return Ok(false) };
        let ended = Transaction { state: TransactionState::Cancelled, ..row };
        ledger.keep_transaction(ended, Timestamp::now()).await?;
        Ok(true)
    }

    /// Has the transactions that wait do nothing: the one with `nonce`, or all. Gives how many there are. One that is in a
    /// pool may still come into a block before what takes its place.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn cancel(&self, nonce: Option<u64>) -> Result<usize, LedgerError> {
        let _work = self.0.work.lock().await;
        let ledger = &self.0.driver.ledger;
        let count = ledger.cancel_transactions(Some(self.account()), nonce, Timestamp::now()).await?;
        self.has_more();
        Ok(count)
    }

    /// The open transaction of `purpose` and `subject`.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn open(&self, purpose: Purpose, subject: &str) -> Result<Option<Transaction>, LedgerError> {
        let open = self.0.driver.ledger.open_transactions(Some(self.account())).await?;
        Ok(open.into_iter().find(|one| one.order.purpose == purpose && one.order.subject == subject))
    }

    /// Brings on what waits, for good.
    pub(super) async fn drive(&self) {
        loop {
            let due = self.advance().await;
            let later = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = later => {}
                () = self.0.wake.notified() => {}
            }
        }
    }

    /// Looks at the chain, if it is time to, and brings on what waits. Gives when there is more to do; `None` if nothing
    /// waits.
    pub async fn advance(&self) -> Option<Instant> {
        let mut work = self.0.work.lock().await;
        if self.0.has_more.swap(false, Ordering::AcqRel) {
            work.look_soon(&self.0.driver.pace);
        }
        let report = self.0.driver.advance(&mut work).await;
        if let Some(report) = report {
            self.0.report.send_if_modified(|before| {
                let changed = *before != report;
                *before = report;
                changed
            });
        }
        work.due()
    }
}

/// What became of `row`, which has ended.
fn ended(row: Transaction) -> Result<Mined, TransactionError> {
    let reason = row.error.unwrap_or_default();
    match (row.state, row.hash) {
        (TransactionState::Mined, Some(hash)) => Ok(Mined {
            id: row.id,
            hash,
            block: row.block.unwrap_or_default(),
            gas_used: row.gas_used.unwrap_or_default(),
            cost: row.cost.unwrap_or_default(),
        }),
        (TransactionState::Failed, Some(hash)) => {
            let (cost, gas_used) = (row.cost.unwrap_or_default(), row.gas_used.unwrap_or_default());
            Err(TransactionError::Failed { hash, reason, cost, gas_used })
        }
        (TransactionState::Cancelled, _) => Err(TransactionError::Cancelled),
        _ => Err(TransactionError::Refused(reason)),
    }
}
