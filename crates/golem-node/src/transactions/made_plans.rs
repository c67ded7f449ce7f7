//! Plans of transactions that were made to see whether they are worth sending, and need not be made again to send them.
//!
//! Owns for how long and for what one is good. Never makes any.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use golem_chain::Plan;
use tokio::time::Instant;

use crate::ledger::Order;

/// How long after it was made a plan is as good as a new one: its fee is above the base fee of several blocks.
const FRESH: Duration = Duration::from_secs(10);

/// Plans by the number of their transaction in the ledger, and when they were made.
#[derive(Debug, Default)]
pub(super) struct Plans(Mutex<BTreeMap<i64, (Plan, Instant)>>);

impl Plans {
    /// Keeps `plan`, which was just made of the transaction `id`.
    pub(super) fn remember(&self, id: i64, plan: Plan) {
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        plans.retain(|_, (_, at)| at.elapsed() < FRESH);
        plans.insert(id, (plan, Instant::now()));
    }

    /// The plan of the transaction `id`, if it was just made, and of `order`.
    pub(super) fn take(&self, id: i64, order: &Order) -> Option<Plan> {
        let (plan, at) = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)?;
        let planned = &plan.transaction;
        let is_of_order =
            (planned.to, &planned.data, planned.value) == (Some(order.to), &order.data, order.value);
        (is_of_order && at.elapsed() < FRESH).then_some(plan)
    }
}
