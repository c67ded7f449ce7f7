//! Streams whose VM was deleted, or is paid by another, and which are to be ended so that the rest goes back.
//!
//! ```text
//!   deleted ──► due ──► ending ──► (forgotten: events tell what came of it)
//!                │
//!                └── another VM uses the stream ──► (forgotten)
//! ```
//! Owns their table. A refund is due in the transaction that deletes the VM, and a stream that is being ended is in no VM's
//! use, and comes into none. Never asks a chain.

use std::sync::Arc;

use golem_types::{StreamId, StreamKey, VmId, VmState};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::columns::{parsed, rounded, time};
use super::{Ledger, LedgerError, Writer, events, rows};
use crate::rental::Goal;
use crate::vm::Vm;

/// A stream that is to be ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refund {
    /// The stream.
    pub(crate) key: StreamKey,
    /// The VM that it paid for.
    pub(crate) vm: VmId,
    /// When it is to be ended.
    pub(crate) due_at: Timestamp,
    /// Whether a transaction that ends it was, or is now, wanted.
    pub(crate) is_ending: bool,
}

fn refund(row: &Row<'_>) -> rusqlite::Result<Refund> {
    Ok(Refund {
        key: StreamKey { contract: row.get::<_, String>(0)?.into(), id: parsed::<StreamId>(row, 1)? },
        vm: parsed(row, 2)?,
        due_at: time(row, 3)?,
        is_ending: row.get(4)?,
    })
}

/// Whether the stream is being ended. One whose end is only due is not ended any more: it is used again.
pub(super) fn is_ending(connection: &Connection, key: &StreamKey) -> Result<bool, LedgerError> {
    let sql = "SELECT ending FROM refunds WHERE contract = ?1 AND stream_id = ?2";
    let key = params![&*key.contract, key.id.to_string()];
    Ok(connection.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()?.unwrap_or(false))
}

/// Forgets that the stream was to be ended.
pub(super) fn forget(connection: &Connection, key: &StreamKey) -> Result<(), LedgerError> {
    let sql = "DELETE FROM refunds WHERE contract = ?1 AND stream_id = ?2";
    connection.prepare_cached(sql)?.execute(params![&*key.contract, key.id.to_string()])?;
    Ok(())
}

/// Writes that the stream `key`, which paid for `vm`, is to be ended at `due_at`.
pub(super) fn put_due(
    connection: &Connection,
    key: &StreamKey,
    vm: &VmId,
    due_at: Timestamp,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let sql = "INSERT OR REPLACE INTO refunds (contract, stream_id, vm_id, due_at, ending) \
               VALUES (?1, ?2, ?3, ?4, 0)";
    let due_at = due_at.as_microsecond();
    connection.execute(sql, params![&*key.contract, key.id.to_string(), vm.as_str(), due_at])?;
    events::put(connection, vm, "refund.due", &key.to_string(), now)
}

impl Ledger {
    /// Has the live rental `id` deleted, and its stream ended at `refund_at`, if that is given: one transaction.
    ///
    /// # Errors
    /// [`LedgerError::NoRental`], [`LedgerError::Sql`].
    pub(crate) async fn delete(
        &self,
        id: &VmId,
        refund_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Arc<Vm>, LedgerError> {
        let id = id.clone();
        self.ask(move |writer| writer.delete(&id, refund_at, now)).await
    }

    /// The streams of `contract` that are to be ended.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub(crate) async fn refunds(&self, contract: &str) -> Result<Vec<Refund>, LedgerError> {
        let contract = contract.to_owned();
        self.ask(move |writer| {
            let sql = "SELECT contract, stream_id, vm_id, due_at, ending FROM refunds WHERE contract = ?1 \
                       ORDER BY due_at";
            let mut statement = writer.connection.prepare_cached(sql)?;
            let all = statement.query_map([contract], refund)?.collect::<Result<_, _>>()?;
            Ok(all)
        })
        .await
    }

    /// Records that the stream `key` is being ended, unless a live rental uses it: then it is no longer to be. Says which.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub(crate) async fn begin_refund(&self, key: StreamKey) -> Result<bool, LedgerError> {
        self.ask(move |writer| {
            if writer.now.paid_by(&key).is_some_and(|rental| rental.goal != Goal::Deleted) {
                forget(&writer.connection, &key)?;
                return Ok(false);
            }
            let sql = "UPDATE refunds SET ending = 1 WHERE contract = ?1 AND stream_id = ?2";
            let changed = writer.connection.execute(sql, params![&*key.contract, key.id.to_string()])?;
            Ok(changed > 0)
        })
        .await
    }

    /// Records what came of `refund`, which is done with.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub(crate) async fn end_refund(
        &self,
        refund: Refund,
        kind: &'static str,
        detail: String,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.ask(move |writer| {
            let transaction = writer.connection.transaction()?;
            forget(&transaction, &refund.key)?;
            events::put(&transaction, &refund.vm, kind, &detail, now)?;
            transaction.commit()?;
            Ok(())
        })
        .await
    }
}

impl Writer {
    fn delete(
        &mut self,
        id: &VmId,
        refund_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Arc<Vm>, LedgerError> {
        let mut rental = self.now.get(id).ok_or_else(|| LedgerError::NoRental(id.clone()))?.clone();
        if rental.goal == Goal::Deleted {
            return Ok(rental.vm);
        }
        let before = Arc::clone(&rental.vm);
        let mut vm = (*before).clone();
        if vm.state.may_become(VmState::Stopping) {
            vm.state = VmState::Stopping;
            vm.error = None;
        }
        vm.updated_at = rounded(now);
        rental.goal = Goal::Deleted;
        rental.vm = Arc::new(vm);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        rows::put(&transaction, &rental)?;
        events::put_change(&transaction, &before, &rental.vm, now)?;
        if let (Some(at), Some(key)) = (refund_at, &rental.vm.stream) {
            put_due(&transaction, key, id, at, now)?;
        }
        transaction.commit()?;
        let vm = Arc::clone(&rental.vm);
        self.now.mirror(rental);
        self.publish();
        Ok(vm)
    }
}
