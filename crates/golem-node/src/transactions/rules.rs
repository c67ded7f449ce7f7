//! What gas may cost, and in which day; and what can become of a transaction.

use alloy_primitives::B256;
use golem_chain::SendError;
use jiff::Timestamp;
use ruint::aliases::U256;

use crate::ledger::LedgerError;

/// What gas may cost on a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GasRules {
    /// Most wei for a unit of gas; what would cost more waits. `None` if any price will do.
    pub maximum_price: Option<u128>,
    /// Most wei of gas in a day, by UTC; the rest waits for the next. `None` if there is no such limit.
    pub daily_limit: Option<U256>,
}

/// A transaction that did what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mined {
    /// Its number in the ledger.
    pub id: i64,
    pub hash: B256,
    /// The block that it is in.
    pub block: u64,
    /// Gas that it used.
    pub gas_used: u64,
    /// Wei that it cost in all.
    pub cost: U256,
}

/// Why a transaction did not do what it should, or is not known to have.
#[derive(Debug, thiserror::Error)]
pub enum TransactionError {
    /// Nothing was sent.
    #[error("nothing was sent: {0}")]
    Refused(String),
    /// Nothing can be planned.
    #[error(transparent)]
    Send(#[from] SendError),
    /// It is in a block, and did nothing.
    #[error("transaction {hash} failed: {reason}; gas cost {cost} wei")]
    Failed {
        hash: B256,
        /// Why.
        reason: String,
        /// Wei that it cost.
        cost: U256,
        /// Gas that it used.
        gas_used: u64,
    },
    /// It was cancelled.
    #[error("the transaction was cancelled")]
    Cancelled,
    /// Its end is not known yet; it goes on by itself.
    #[error("the transaction is not yet in a block{}; it goes on by itself", because(.0))]
    UnderWay(Option<String>),
    /// The ledger failed.
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
}

fn because(reason: &Option<String>) -> String {
    reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"))
}

/// Today's first moment, by UTC.
pub(super) fn today() -> Timestamp {
    let midnight = Timestamp::now().as_second().div_euclid(86_400) * 86_400;
    Timestamp::from_second(midnight).unwrap_or(Timestamp::UNIX_EPOCH)
}
