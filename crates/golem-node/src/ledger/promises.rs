//! What quotes of leases keep for their renters.
//!
//! Owns their table, and the one transaction in which a promise is made of what is free. A create takes its promise over in the
//! transaction that reserves ([`super::writer`]). On disk, because a renter opens a stream on a promise's word: it outlives the
//! process. Never decides which quotes may keep something: [`crate::promise`] does.

use std::time::Duration;

use alloy_primitives::B256;
use golem_types::Resources;
use golem_types::net::Source;
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, Row, TransactionBehavior, params};

use super::columns::{parsed, rounded, time};
use super::{Ledger, LedgerError, Writer};
use crate::admit::{AdmissionLimits, admit};
use crate::host::{HostOffer, HostUse};
use crate::promise::{Promise, QUOTE_LIFE, may_be_made};

/// What quotes of leases keep for their renters until they are over.
pub(super) const TABLE: &str = "
CREATE TABLE promises (
    lease       TEXT PRIMARY KEY,
    requestor   TEXT NOT NULL,
    customer    TEXT NOT NULL,
    network     TEXT NOT NULL,
    cpu INTEGER NOT NULL, memory INTEGER NOT NULL, storage INTEGER NOT NULL,
    until       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// By how much a clock may be set back without any promise ending early.
const CLOCK: Duration = Duration::from_secs(60);

fn promise(row: &Row<'_>) -> rusqlite::Result<Promise> {
    Ok(Promise {
        lease: parsed(row, 0)?,
        requestor: parsed(row, 1)?,
        source: Source { customer: parsed(row, 2)?, network: parsed(row, 3)? },
        resources: Resources::new(row.get(4)?, row.get(5)?, row.get(6)?),
        until: time(row, 7)?,
    })
}

/// Every promise.
pub(super) fn all(connection: &Connection) -> Result<Vec<Promise>, LedgerError> {
    let sql = "SELECT lease, requestor, customer, network, cpu, memory, storage, until FROM promises";
    let mut statement = connection.prepare(sql)?;
    Ok(statement.query_map([], promise)?.collect::<Result<_, _>>()?)
}

/// Removes the promise of `lease`.
pub(super) fn remove(connection: &Connection, lease: &B256) -> Result<(), LedgerError> {
    connection.prepare_cached("DELETE FROM promises WHERE lease = ?1")?.execute([lease.to_string()])?;
    Ok(())
}

impl Ledger {
    /// Keeps what `promise` is for, if there is room and it may be kept; gives whether that is so.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub(crate) async fn promise(
        &self,
        promise: Promise,
        limits: AdmissionLimits,
        offer: HostOffer,
        host: HostUse,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        self.ask(move |writer| writer.promise(promise, &limits, offer, host, now)).await
    }

    /// Frees what was kept by quotes that are over at `now`.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub(crate) async fn end_promises(&self, now: Timestamp) -> Result<(), LedgerError> {
        self.ask(move |writer| writer.end_promises(now)).await
    }
}

impl Writer {
    fn promise(
        &mut self,
        promise: Promise,
        limits: &AdmissionLimits,
        offer: HostOffer,
        host: HostUse,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        self.end_promises(now)?;
        let is_before = |other: &&Promise| other.is_of(promise.requestor, promise.source);
        let before = self.now.promised.values().find(is_before).cloned();
        let facts = self.now.admission(offer, host, before.as_ref());
        let others = self.now.promised.values().filter(|other| !is_before(other));
        if admit(promise.resources, limits, &facts).is_err() || !may_be_made(&promise, others, limits, &facts)
        {
            return Ok(false);
        }
        let promise = Promise { until: rounded(promise.until), ..promise };
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(before) = &before {
            remove(&transaction, &before.lease)?;
        }
        transaction.execute(
            "INSERT INTO promises (lease, requestor, customer, network, cpu, memory, storage, until) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                promise.lease.to_string(),
                promise.requestor.to_string(),
                promise.source.customer.to_string(),
                promise.source.network.to_string(),
                promise.resources.cpu,
                promise.resources.memory,
                promise.resources.storage,
                promise.until.as_microsecond(),
            ],
        )?;
        transaction.commit()?;
        if let Some(before) = before {
            self.now.promised.remove(&before.lease);
        }
        self.now.promised.insert(promise.lease, promise);
        self.publish();
        Ok(true)
    }

    /// Frees what is over at `now`, and what a clock that was wrong by more than a minute has kept for longer than any quote
    /// counts.
    pub(super) fn end_promises(&mut self, now: Timestamp) -> Result<(), LedgerError> {
        let longest = SignedDuration::try_from(QUOTE_LIFE + CLOCK).unwrap_or_default();
        let is_it = |promise: &Promise| {
            let left = promise.until.duration_since(now);
            left <= SignedDuration::ZERO || left > longest
        };
        let over: Vec<B256> = self
            .now
            .promised
            .values()
            .filter(|promise| is_it(promise))
            .map(|promise| promise.lease)
            .collect();
        if over.is_empty() {
            return Ok(());
        }
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for lease in &over {
            remove(&transaction, lease)?;
        }
        transaction.commit()?;
        for lease in &over {
            self.now.promised.remove(lease);
        }
        self.publish();
        Ok(())
    }
}
