//! Fetches what has vested from time to time, and goes on with what was begun.
//!
//! Owns when a stream's time has come, and how often it is tried in vain. Never decides what is worth its gas.

use std::collections::BTreeMap;
use std::time::Duration;

use golem_types::StreamId;
use golem_types::stream::{number, timestamp};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Payments;
use super::withdraw::{WithdrawError, Withdrawn};
use crate::backoff::doubled;
use crate::ledger::LedgerError;

/// How often the timer looks for something due.
const LOOK: Duration = Duration::from_secs(5);

/// How long the timer waits for one.
const TIMER_WAIT: Duration = Duration::from_secs(10);

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
    let (mut tries, mut told) = (BTreeMap::new(), BTreeMap::new());
    loop {
        let round = async {
            payments.fetch_due(&mut last, &mut tries, &mut told).await;
            payments.finish(&mut told).await;
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

/// How often in a row nothing was withdrawn from a stream whose time had come, and when it is tried again.
#[derive(Debug, Clone, Copy, Default)]
struct Tries {
    failures: u32,
    next: Option<Instant>,
}

impl Tries {
    /// One more; the next is not later than after `most`.
    fn again(self, most: Duration) -> Self {
        let pause = doubled(LOOK, self.failures, most.max(LOOK));
        Self { failures: self.failures.saturating_add(1), next: Some(Instant::now() + pause) }
    }
}

/// When each stream was last withdrawn from.
async fn last_withdrawals(payments: &Payments) -> Result<BTreeMap<StreamId, Timestamp>, LedgerError> {
    let all = payments.0.ledger.withdrawals(Timestamp::UNIX_EPOCH).await?;
    let ours = all.into_iter().filter(|withdrawal| withdrawal.key.contract == payments.0.contract);
    Ok(ours.map(|withdrawal| (withdrawal.key.id, withdrawal.created_at)).collect())
}

/// Tells what came of a withdrawal. The same trouble is told once, not at every interval.
fn tell(id: StreamId, result: Result<Withdrawn, WithdrawError>, told: &mut BTreeMap<StreamId, String>) {
    match result {
        Ok(done) => {
            told.remove(&id);
            tracing::info!(stream = %id, paid_wei = %done.paid, cost_wei = %done.cost, "withdrawn");
        }
        Err(error) => {
            let text = error.to_string();
            if told.get(&id) != Some(&text) {
                tracing::warn!(stream = %id, error = &error as &dyn std::error::Error, "not withdrawn");
                told.insert(id, text);
            }
        }
    }
}

impl Payments {
    /// Books what has come of the withdrawals that are under way.
    async fn finish(&self, told: &mut BTreeMap<StreamId, String>) {
        let under_way = match self.0.ledger.withdrawals_under_way(&self.0.contract).await {
            Ok(under_way) => under_way,
            Err(error) => {
                golem_service::log_limited!(
                    error,
                    error = &error as &dyn std::error::Error,
                    "withdrawals cannot be read"
                );
                return;
            }
        };
        for withdrawal in under_way {
            let id = withdrawal.key.id;
            let settled = self.settle(withdrawal, TIMER_WAIT).await;
            tell(id, settled, told);
        }
    }

    /// Withdraws from every stream whose time has come and which has enough, where that is on, and from those that pay a key
    /// that was replaced.
    async fn fetch_due(
        &self,
        last: &mut BTreeMap<StreamId, Timestamp>,
        tries: &mut BTreeMap<StreamId, Tries>,
        told: &mut BTreeMap<StreamId, String>,
    ) {
        let now = Timestamp::now();
        let rules = self.config().withdraw;
        let known = self.known();
        tries.retain(|id, _| known.iter().any(|copy| copy.key.id == *id));
        for copy in known {
            let id = copy.key.id;
            // A key that was replaced is to be emptied, whether or not money is fetched from time to time.
            if !rules.enabled && copy.stream.recipient == number(self.config().wallet.address()) {
                continue;
            }
            let before = last.get(&id).copied().or_else(|| timestamp(copy.stream.start)).unwrap_or(now);
            let waited = now.duration_since(before);
            let amount = copy.stream.withdrawable(copy.estimated_now(now));
            // Of a stream that ended the rest is fetched at once.
            let over = copy.stream.remaining_seconds(copy.estimated_now(now)) == 0;
            let due = over || (!waited.is_negative() && waited.unsigned_abs() >= rules.interval);
            if !due || amount.is_zero() || amount < self.minimum(copy.stream.token) {
                continue;
            }
            let failed = tries.get(&id).copied().unwrap_or_default();
            if failed.next.is_some_and(|next| Instant::now() < next) {
                continue;
            }
            last.insert(id, now);
            match self.begin(&copy, false).await {
                Ok(_) => drop(tries.remove(&id)),
                Err(error) => {
                    tries.insert(id, failed.again(rules.interval));
                    tell(id, Err(error), told);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_not_worth_its_gas_is_tried_ever_more_rarely() {
        let (mut tries, mut pauses) = (Tries::default(), Vec::new());
        for _ in 0..6 {
            tries = tries.again(Duration::from_secs(60));
            pauses.push(tries.next.unwrap().duration_since(Instant::now()).as_secs());
        }
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
        // Where the interval is shorter than the timer's own.
        let quick = tries.again(Duration::from_secs(1)).next.unwrap();
        assert_eq!(quick.duration_since(Instant::now()), LOOK);
    }
}
