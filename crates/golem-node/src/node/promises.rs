//! Quotes that keep capacity, and its end.
//!
//! Owns the task that frees what a quote kept, when that is over. Never makes a promise of its own.

use std::time::Duration;

use alloy_primitives::Address;
use golem_service::log_limited;
use golem_types::net::Source;
use golem_types::wire::LeaseRequest;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::Node;
use crate::error::NodeError;
use crate::ledger::Ledger;
use crate::payment::SignedLease;
use crate::promise::Promise;

/// Longest that the end of a promise is waited for: the machine's clock may be set.
const LONGEST: Duration = Duration::from_secs(30);

impl Node {
    /// What is promised to `requestor` by an earlier answer to `source`, which a new one takes the place of.
    pub(super) fn promised(&self, requestor: Address, source: Source) -> Option<Promise> {
        let now = self.0.ledger.now();
        now.promised.values().find(|promise| promise.is_of(requestor, source)).cloned()
    }

    /// Keeps what `lease`, for which `source` asked, is for, if the operator wants that of quotes and there is room for it.
    pub(super) async fn promise(
        &self,
        lease: &SignedLease,
        request: &LeaseRequest,
        source: Source,
    ) -> Result<bool, NodeError> {
        let limits = self.0.config.limits;
        if !limits.quotes_reserve {
            return Ok(false);
        }
        let promise = Promise {
            lease: lease.quote.lease_id,
            requestor: request.requestor,
            source,
            resources: request.resources,
            until: golem_types::stream::timestamp(lease.quote.expires_at.into()).unwrap_or(Timestamp::MIN),
        };
        let host = *self.0.host.borrow();
        Ok(self.0.ledger.promise(promise, limits, host.offer, host.used, Timestamp::now()).await?)
    }
}

/// Frees what quotes kept, when they are over.
pub(super) async fn run(ledger: Ledger, stop: CancellationToken) {
    let mut changes = ledger.changes();
    loop {
        if let Err(error) = ledger.end_promises(Timestamp::now()).await {
            log_limited!(
                error,
                error = &error as &dyn std::error::Error,
                "capacity of quotes that are over is not free yet"
            );
        }
        let first = changes.borrow_and_update().promised.values().map(|promise| promise.until).min();
        let over = async {
            match first {
                Some(until) => {
                    let left = Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or_default();
                    // Not before it, nor again and again if it cannot be written.
                    tokio::time::sleep(left.clamp(Duration::from_millis(50), LONGEST)).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = over => {}
            changed = changes.wait_for(|now| now.promised.values().map(|promise| promise.until).min() != first) => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, B256};
    use golem_types::Resources;

    use super::*;
    use crate::admit::AdmissionLimits;
    use crate::host::{HostOffer, HostUse};

    #[tokio::test]
    async fn what_a_quote_kept_is_free_by_itself_when_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("ledger.db")).unwrap();
        let stop = CancellationToken::new();
        let tasks = golem_service::tasks::Tasks::new();
        tasks.spawn("promises", run(ledger.clone(), stop.clone()));
        let promise = |number: u8, milliseconds: i64| Promise {
            lease: B256::repeat_byte(number),
            requestor: Address::repeat_byte(number),
            source: Source::of([192, 0, number, 1].into()),
            resources: Resources::new(1, 1, 10),
            until: Timestamp::now() + jiff::SignedDuration::from_millis(milliseconds),
        };
        let limits = AdmissionLimits::default();
        let offer = HostOffer::fixed(Resources::new(8, 8, 80));
        for (number, milliseconds) in [(1, 800_000), (2, 100)] {
            let promise = promise(number, milliseconds);
            let kept = ledger.promise(promise, limits, offer, HostUse::default(), Timestamp::now()).await;
            assert!(kept.unwrap());
        }
        let mut changes = ledger.changes();
        let first_is_over = changes.wait_for(|now| now.promised.len() == 1);
        tokio::time::timeout(Duration::from_secs(20), first_is_over).await.unwrap().unwrap();
        assert!(ledger.now().promised.contains_key(&B256::repeat_byte(1)), "the other one counts on");
        stop.cancel();
        tasks.stop().await;
    }
}
