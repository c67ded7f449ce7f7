//! What becomes of transactions that ended: some are taken back with their block, and all are forgotten some day.
//!
//! Owns the SQL statements on that. Never asks a chain and never decides.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use alloy_primitives::B256;
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::columns::parsed;
use super::entries::unspend;
use super::{Ledger, LedgerError};

/// Ended transactions that are kept however old they are: what `wallet transactions --all` shows.
const KEPT: u32 = 1000;

/// Takes back that transactions of the chain `chain_id` are in the block `gone`, number and hash, and what they cost: they are
/// open again, and come into another block, or are sent again. Gives how many. One in whose place another is open stays as it
/// is: it does again what that does, or has the same number.
pub(super) fn reopen(
    connection: &Connection,
    chain_id: u64,
    gone: (u64, B256),
    now: Timestamp,
) -> Result<usize, LedgerError> {
    let sql = "SELECT id, hash FROM transactions AS one WHERE chain_id = ?1 AND block = ?2 AND block_hash = ?3 \
               AND successor IS NULL AND NOT EXISTS (SELECT 1 FROM transactions AS other \
               WHERE other.chain_id = one.chain_id AND other.wallet = one.wallet \
               AND other.state IN ('planned', 'recorded', 'sent') \
               AND (other.nonce = one.nonce OR (other.purpose = one.purpose AND other.subject = one.subject)))";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement
        .query_map(params![chain_id, gone.0, gone.1.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<(i64, String)>, _>>()?;
    for (id, hash) in &rows {
        unspend(connection, chain_id, hash, now)?;
        let sql = "UPDATE transactions SET state = 'sent', hash = NULL, block = NULL, block_hash = NULL, gas_used = NULL, \
                   cost = NULL, l1_fee = NULL, error = 'its block is gone', updated_at = ?2 WHERE id = ?1";
        connection.prepare_cached(sql)?.execute(params![id, now.as_microsecond()])?;
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
