//! Everything that a wallet of the node sends: one queue for each wallet and chain.
//!
//! ```text
//!                  ┌── a higher fee, the same number ──┐   ┌── dropped: sent again
//!                  ▼                                   │   ▼
//!   planned ──► recorded ─────────────────────────► sent ──────► mined
//!      │           │                                   ├───────► failed      in a block, and it did nothing
//!      ▼           └───────────────────────────────────┼───────► cancelled   what took its number does nothing
//!   refused                                            └───────► lost        another took its number ─► planned anew
//!   mined, failed, cancelled ─► sent: where their block is gone
//! ```
//! Owns the numbers of a wallet's transactions: nothing else sends any. What is sent is signed and in the ledger before, so
//! that a crash anywhere leads to the same bytes being sent again, which a chain takes once. Whoever waits for a transaction
//! drives the queue, and so does the node's task; the queue looks at the chain once in a while, for all that waits, and ever
//! more rarely the longer it waits. Never decides that something is worth sending.

mod driver;
mod made_plans;
mod plan;
mod queue;
mod report;
mod rules;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
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
    /// There is another queue.
    more: Notify,
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
        Self(Arc::new(Inner { ledger, pace, queues: Mutex::default(), more: Notify::new() }))
    }

    /// The queue of `sender`'s wallet on its chain. The first sender that comes for a wallet and chain is the one that sends,
    /// by its `rules`.
    #[must_use]
    pub fn queue(&self, sender: Sender, rules: GasRules) -> Queue {
        let account = Account { chain_id: sender.chain_id(), wallet: sender.address() };
        let Inner { ledger, pace, queues, more } = &*self.0;
        let mut queues = queues.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.entry(account).or_insert_with(|| {
            more.notify_one();
            Queue::new(sender.capped(rules.maximum_price), ledger.clone(), rules, *pace)
        });
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

    /// Brings everything that waits on, until `stop`: each queue by itself, so that an endpoint that is slow delays its own.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let forever = async {
            let (mut driven, mut all) = (BTreeSet::new(), FuturesUnordered::new());
            loop {
                for queue in self.queues() {
                    if driven.insert(queue.account()) {
                        all.push(async move { queue.drive().await });
                    }
                }
                tokio::select! {
                    () = self.0.more.notified() => {}
                    Some(()) = all.next() => {}
                }
            }
        };
        stop.run_until_cancelled(forever).await;
    }
}

#[cfg(test)]
mod tests;
