//! What is told of transactions that wait.

use jiff::Timestamp;
use ruint::aliases::U256;

use crate::ledger::{Purpose, TransactionState};

/// What waits in a queue, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// What has no end yet, in the order in which it is sent.
    pub open: Vec<Waiting>,
    /// Why the chain was not asked at the last look.
    pub problem: Option<String>,
    /// Looks in a row that failed.
    pub failures: u32,
    /// Wei of gas that were spent today, by UTC; as of the last look.
    pub spent_today: U256,
}

/// A transaction that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its number in the ledger.
    pub id: i64,
    /// Its number among those of the wallet.
    pub nonce: Option<u64>,
    /// What for.
    pub purpose: Purpose,
    /// Where it stands.
    pub state: TransactionState,
    /// Since when.
    pub since: Timestamp,
    /// Fees that were tried.
    pub attempts: usize,
    /// When it was sent again because no pool had it.
    pub sent_again: Option<Timestamp>,
    /// Why it waits.
    pub error: Option<String>,
}
