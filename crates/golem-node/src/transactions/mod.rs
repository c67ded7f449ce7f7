//! Everything that a wallet of the node sends: one queue for each wallet and chain.
//!
//! ```text
//!                  ┌── a higher fee, the same number ──┐   ┌── dropped: sent again
//!                  ▼                                   │   ▼
//!   planned ──► recorded ─────────────────────────► sent ──────► mined
//!      │           │                                   ├───────► failed      in a block, and it did nothing
//!      ▼           └───────────────────────────────────┼───────► cancelled   what took its number does nothing
//!   refused                                            └───────► lost        another took its number ─► planned anew
//!   mined, failed, cancelled ─► sent: where their block is gone, unless another is open in their place
//! ```
//! Owns the numbers of a wallet's transactions: nothing else sends any. What is sent is signed and in the ledger before, so
//! that a crash anywhere leads to the same bytes being sent again, which a chain takes once. Whoever waits for a transaction
//! drives the queue, and so does the node's task; the queue looks at the chain once in a while, for all that waits, and ever
//! more rarely the longer it waits. Never decides that something is worth sending.

mod driver;
mod plan;
mod queue;
mod report;
mod rules;
mod work;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use golem_chain::Sender;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::ledger::{Account, Ledger};

pub use crate::ledger::{Order, Purpose, Transaction, TransactionState};
pub use plan::{Flight, Numbers, Pace, Step, decide};
pub use queue::Queue;
pub use report::{Report, Waiting};
pub use rules::{GasRules, Mined, TransactionError};

/// The queues of a node's wallets; clones share them.
#[derive(Debug, Clone)]
pub struct Transactions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ledger: Ledger,
    pace: Pace,
    queues: Mutex<BTreeMap<Account, Queue>>,
    /// There is something to do.
    wake: Arc<Notify>,
}

impl Transactions {
    /// The queues whose transactions `ledger` keeps.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self::paced(ledger, Pace::default())
    }

    /// The same, as quick as `pace`.
    #[must_use]
    pub fn paced(ledger: Ledger, pace: Pace) -> Self {
        Self(Arc::new(Inner { ledger, pace, queues: Mutex::default(), wake: Arc::default() }))
    }

    /// The queue of `sender`'s wallet on its chain. The first sender that comes for a wallet and chain is the one that sends,
    /// by its `rules`.
    #[must_use]
    pub fn queue(&self, sender: Sender, rules: GasRules) -> Queue {
        let account = Account { chain_id: sender.chain_id(), wallet: sender.address() };
        let Inner { ledger, pace, queues, wake } = &*self.0;
        let mut queues = queues.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.entry(account).or_insert_with(|| {
            Queue::new(sender.capped(rules.maximum_price), ledger.clone(), rules, *pace, Arc::clone(wake))
        });
        self.0.wake.notify_one();
        queue.clone()
    }

    /// What keeps their transactions.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// Every queue.
    #[must_use]
    pub fn queues(&self) -> Vec<Queue> {
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Brings everything that waits on, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let forever = async {
            loop {
                let mut next = None;
                for queue in self.queues() {
                    let due = queue.advance().await;
                    next = [next, due].into_iter().flatten().min();
                }
                let later = async {
                    match next {
                        Some(due) => tokio::time::sleep_until(due).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = later => {}
                    () = self.0.wake.notified() => {}
                }
            }
        };
        stop.run_until_cancelled(forever).await;
    }
}
