//! What the ledger forgets after a while.
//!
//! | rows | kept |
//! |---|---|
//! | live rentals, their jobs and events | as long as they live |
//! | streams that can still pay, and their rentals | until what vested is fetched |
//! | withdrawals | for good: they are the books |
//! | rentals that were taken over from the Python provider | for good: nothing is taken over twice |
//! | rentals whose machine is still on the backend | until it is gone |
//! | what a failed boot left | a day, and of the newest only (see `boots`) |
//! | other ended rentals, their jobs, events and spent streams; events of no rental | the time that is set |
//! | what each advert cost | the time that is set, and the sum for good |
//! | transactions that ended, with what sweeps moved | the time that is set, and the newest 1,000; their cost for good |
//!
//! Owns that, in small transactions, and giving the space back to the disk. Never decides when.

use std::collections::BTreeSet;

use golem_types::VmId;
use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};

use super::{Ledger, LedgerError, Writer, adverts, money, transaction_ends};

/// Rows of one kind that go in one transaction: callers wait a few milliseconds for it.
const BATCH: u32 = 200;

/// Pages of the file that are given back after one transaction.
const PAGES: u32 = 256;

/// Most pages of an older file that are written anew once, so that it can shrink: 256 MiB.
const SHRINKABLE_PAGES: i64 = 65_536;

/// What went in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Rentals.
    pub rentals: usize,
    /// Events of none.
    pub events: usize,
    /// Writes of adverts.
    pub adverts: usize,
    /// Transactions.
    pub transactions: usize,
}

impl Pruned {
    /// Whether there was nothing left to do.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.rentals + self.events + self.adverts + self.transactions == 0
    }
}

/// Lets the file give back space. One of an older version is written anew for it, once; that may fail on a
/// full disk, and then it only stays as large as it is.
pub(super) fn make_shrinkable(connection: &Connection) {
    const INCREMENTAL: i64 = 2;
    let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let (Ok(mode), Ok(pages)) = (pragma("auto_vacuum"), pragma("page_count")) else { return };
    if mode == INCREMENTAL {
        return;
    }
    let made = connection.pragma_update(None, "auto_vacuum", INCREMENTAL);
    let made = made.and_then(|()| match pages {
        1..=SHRINKABLE_PAGES => connection.execute_batch("VACUUM"),
        _ => Ok(()),
    });
    if let Err(error) = made {
        tracing::debug!(%error, "the ledger's file does not shrink");
    }
}

impl Ledger {
    /// Forgets some of what ended before `cutoff`; called again until nothing is left. Rentals of `machines`
    /// are kept.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn prune(
        &self,
        cutoff: Timestamp,
        machines: BTreeSet<VmId>,
        now: Timestamp,
    ) -> Result<Pruned, LedgerError> {
        self.ask(move |writer| writer.prune(cutoff, &machines, now)).await
    }
}

impl Writer {
    fn prune(
        &mut self,
        cutoff: Timestamp,
        machines: &BTreeSet<VmId>,
        now: Timestamp,
    ) -> Result<Pruned, LedgerError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut pruned = Pruned::default();
        for id in ended(&transaction, cutoff, machines, now)? {
            for sql in [
                "DELETE FROM jobs WHERE vm_id = ?1",
                "DELETE FROM events WHERE vm_id = ?1",
                "DELETE FROM failed_boots WHERE vm_id = ?1",
                "DELETE FROM streams WHERE vm_id = ?1",
                "DELETE FROM vms WHERE id = ?1 AND state = 'deleted'",
            ] {
                transaction.prepare_cached(sql)?.execute([&id])?;
            }
            pruned.rentals += 1;
        }
        let sql = "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE at < ?1 AND NOT EXISTS \
                   (SELECT 1 FROM vms WHERE vms.id = events.vm_id) LIMIT ?2)";
        pruned.events = transaction.prepare_cached(sql)?.execute(params![cutoff.as_microsecond(), BATCH])?;
        pruned.adverts = adverts::sum_up(&transaction, cutoff, BATCH)?;
        pruned.transactions = transaction_ends::prune(&transaction, cutoff, BATCH)?;
        transaction.commit()?;
        if !pruned.is_none() {
            // Each step gives one page back.
            let mut give_back = self.connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
            let mut pages = give_back.query([])?;
            while pages.next()?.is_some() {}
        }
        Ok(pruned)
    }
}

/// Ids of up to a batch of rentals that may go.
fn ended(
    connection: &Connection,
    cutoff: Timestamp,
    machines: &BTreeSet<VmId>,
    now: Timestamp,
) -> Result<Vec<String>, LedgerError> {
    let sql = "SELECT id FROM vms WHERE state = 'deleted' AND updated_at < ?1 AND backend_name IS NULL \
               AND NOT EXISTS (SELECT 1 FROM withdrawals WHERE vm_id = vms.id AND state = 'sent') \
               ORDER BY updated_at";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([cutoff.as_microsecond()])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let has_machine = id.parse::<VmId>().is_ok_and(|id| machines.contains(&id));
        if !has_machine && money::are_spent(connection, &id, now)? {
            ids.push(id);
        }
        if ids.len() >= BATCH as usize {
            break;
        }
    }
    Ok(ids)
}
