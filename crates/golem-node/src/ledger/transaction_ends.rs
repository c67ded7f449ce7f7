//! What becomes of transactions that ended: some are taken back with their block, and all are forgotten some day.
//!
//! Owns the SQL statements on that. Never asks a chain and never decides.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use alloy_primitives::B256;
use golem_types::StreamKey;
use jiff::Timestamp;
use ruint::aliases::U256;
use rusqlite::{Connection, Row, params};

use super::columns::parsed;
use super::entries::{Spent, put_spent, unspend};
use super::{Ledger, LedgerError};
use crate::entry::EntryKind;

/// Ended transactions that are kept however old they are: what `wallet transactions --all` shows.
const KEPT: u32 = 1000;

/// What a transaction really cost.
#[derive(Debug, Clone)]
pub struct Correction {
    /// The transaction.
    pub hash: B256,
    /// The block that it is in, and that one's hash; `None` if it is in none.
    pub block: Option<(u64, Option<B256>)>,
    /// The stream that it was about.
    pub about: Option<StreamKey>,
    /// Wei of gas, without `l1_fee`.
    pub gas: U256,
    /// Wei that a second layer took for the first.
    pub l1_fee: U256,
}

/// Takes back that transactions of the chain `chain_id` are in the block `gone`, number and hash, and what they cost: they are
/// open again, all of them, and come into another block, or are sent again. Of several that do the same, or have the same
/// number, each is followed to its own end, so that its gas is booked where it is paid. Gives how many.
pub(super) fn reopen(
    connection: &Connection,
    chain_id: u64,
    gone: (u64, B256),
    now: Timestamp,
) -> Result<usize, LedgerError> {
    let sql = "SELECT id, hash FROM transactions WHERE chain_id = ?1 AND block = ?2 AND block_hash = ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement
        .query_map(params![chain_id, gone.0, gone.1.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<(i64, String)>, _>>()?;
    for (id, hash) in &rows {
        unspend(connection, chain_id, hash, &[EntryKind::Gas, EntryKind::L1Fee, EntryKind::Swept], now)?;
        let sql = "UPDATE transactions SET state = 'sent', hash = NULL, block = NULL, block_hash = NULL, gas_used = NULL, \
                   cost = NULL, l1_fee = NULL, error = 'its block is gone', updated_at = ?2 WHERE id = ?1";
        connection.prepare_cached(sql)?.execute(params![id, now.as_microsecond()])?;
        // What a sweep really moved is looked at again where it comes to be.
        connection.prepare_cached("DELETE FROM sweeps WHERE transaction_id = ?1")?.execute([id])?;
    }
    Ok(rows.len())
}

/// Forgets up to `limit` transactions that ended before `cutoff`, but for the newest [`KEPT`], and for those of which
/// something else is still to be found out. What they cost stays in the books.
pub(super) fn prune(connection: &Connection, cutoff: Timestamp, limit: u32) -> Result<usize, LedgerError> {
    let sql = "SELECT id FROM transactions AS one WHERE updated_at < ?1 AND state NOT IN ('planned', 'recorded', 'sent') \
               AND id < (SELECT min(id) FROM (SELECT id FROM transactions ORDER BY id DESC LIMIT ?2)) \
               AND NOT EXISTS (SELECT 1 FROM withdrawals WHERE transaction_id = one.id AND withdrawals.state = 'sent') \
               AND NOT (purpose = 'sweep' AND state = 'mined' AND id NOT IN (SELECT transaction_id FROM sweeps)) \
               ORDER BY id LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let ids = statement
        .query_map(params![cutoff.as_microsecond(), KEPT, limit], |row| row.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    for id in &ids {
        connection.prepare_cached("DELETE FROM sweeps WHERE transaction_id = ?1")?.execute([id])?;
        connection.prepare_cached("DELETE FROM transactions WHERE id = ?1")?.execute([id])?;
    }
    Ok(ids.len())
}

impl Ledger {
    /// Books what transactions on the chain `chain_id` really cost in place of what is booked of them.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn correct_spent(
        &self,
        chain_id: u64,
        corrections: Vec<Correction>,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.ask(move |writer| {
            let transaction = writer.connection.transaction()?;
            for Correction { hash, block, about, gas, l1_fee } in corrections {
                unspend(&transaction, chain_id, &hash.to_string(), &[EntryKind::Gas, EntryKind::L1Fee], now)?;
                let Some((block, block_hash)) = block else { continue };
                let sql = "UPDATE transactions SET cost = ?3, l1_fee = ?4 WHERE chain_id = ?1 AND hash = ?2";
                let cost = gas.saturating_add(l1_fee).to_string();
                transaction.prepare_cached(sql)?.execute(params![
                    chain_id,
                    hash.to_string(),
                    cost,
                    l1_fee.to_string()
                ])?;
                let about = about.as_ref().map(|key| (&*key.contract, key.id));
                let spent = Spent { chain_id, hash, block, block_hash, about, gas, l1_fee, swept: None };
                put_spent(&transaction, &spent, now)?;
            }
            transaction.commit()?;
            Ok(())
        })
        .await
    }

    /// Takes back that transactions on the chain `chain_id` are in the blocks `gone`, number and hash; gives how many.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn reopen_transactions(
        &self,
        chain_id: u64,
        gone: Vec<(u64, B256)>,
        now: Timestamp,
    ) -> Result<usize, LedgerError> {
        self.ask(move |writer| {
            let transaction = writer.connection.transaction()?;
            let mut reopened = 0;
            for block in gone {
                reopened += reopen(&transaction, chain_id, block, now)?;
            }
            transaction.commit()?;
            Ok(reopened)
        })
        .await
    }

    /// The blocks among `blocks`, by number and hash, that transactions on the chain `chain_id` came into.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn transaction_blocks(
        &self,
        chain_id: u64,
        blocks: RangeInclusive<u64>,
    ) -> Result<BTreeSet<(u64, B256)>, LedgerError> {
        self.ask(move |writer| {
            let sql = "SELECT block, block_hash FROM transactions WHERE chain_id = ?1 AND block BETWEEN ?2 AND ?3 \
                       AND block_hash IS NOT NULL";
            let mut statement = writer.connection.prepare_cached(sql)?;
            let read = |row: &Row<'_>| Ok((row.get(0)?, parsed(row, 1)?));
            let found = statement.query_map(params![chain_id, blocks.start(), blocks.end()], read)?;
            Ok(found.collect::<Result<_, _>>()?)
        })
        .await
    }
}
