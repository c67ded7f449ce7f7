//! What adverts cost.
//!
//! Owns every SQL statement on it. Never keeps what an advert says: the network does.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use alloy_primitives::B256;
use jiff::Timestamp;
use ruint::aliases::U256;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::columns::parsed;
use super::{Ledger, LedgerError};

/// A transaction that wrote an advert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdvertWrite {
    /// When it was in a block.
    pub at: Timestamp,
    /// The market's network.
    pub network: String,
    pub hash: B256,
    /// What it did, in words.
    pub kinds: String,
    /// Whether it did it.
    pub succeeded: bool,
    /// Gas that it used.
    pub gas: u64,
    /// What it cost, in wei.
    pub cost: U256,
}

/// What adverts on a network have cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AdvertSpending {
    /// Transactions in blocks.
    pub writes: u64,
    /// Those of them that did nothing.
    pub failed: u64,
    /// Gas that they used.
    pub gas: u64,
    /// What they cost, in wei.
    pub cost: U256,
}

impl Ledger {
    /// Records a write, and gives what its network has cost with it.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn record_advert_write(&self, write: AdvertWrite) -> Result<AdvertSpending, LedgerError> {
        self.ask(move |writer| {
            writer.connection.execute(
                "INSERT INTO advert_writes (at, network, hash, kinds, succeeded, gas, cost)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    write.at.as_microsecond(),
                    write.network,
                    write.hash.to_string(),
                    write.kinds,
                    write.succeeded,
                    i64::try_from(write.gas).unwrap_or(i64::MAX),
                    write.cost.to_string(),
                ],
            )?;
            spending(&writer.connection, &write.network)
        })
        .await
    }

    /// What adverts on `network` have cost.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn advert_spending(&self, network: &str) -> Result<AdvertSpending, LedgerError> {
        let network = network.to_owned();
        self.ask(move |writer| spending(&writer.connection, &network)).await
    }
}

/// What adverts on `network` have cost whose rows are no longer kept.
fn total(connection: &Connection, network: &str) -> Result<AdvertSpending, LedgerError> {
    let sql = "SELECT writes, failed, gas, cost FROM advert_totals WHERE network = ?1";
    let read = |row: &Row<'_>| {
        Ok(AdvertSpending {
            writes: row.get(0)?,
            failed: row.get(1)?,
            gas: row.get(2)?,
            cost: parsed(row, 3)?,
        })
    };
    Ok(connection.prepare_cached(sql)?.query_row([network], read).optional()?.unwrap_or_default())
}

/// Adds up to `limit` writes before `cutoff` to the totals of their networks, in place of their rows; how
/// many there were.
pub(super) fn sum_up(connection: &Connection, cutoff: Timestamp, limit: u32) -> Result<usize, LedgerError> {
    let sql =
        "SELECT id, network, succeeded, gas, cost FROM advert_writes WHERE at < ?1 ORDER BY at LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![cutoff.as_microsecond(), limit])?;
    let (mut ids, mut totals) = (Vec::<i64>::new(), BTreeMap::<String, AdvertSpending>::new());
    while let Some(row) = rows.next()? {
        let (network, succeeded, gas): (String, bool, i64) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let cost: String = row.get(4)?;
        ids.push(row.get(0)?);
        let spent = match totals.entry(network) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let before = total(connection, entry.key())?;
                entry.insert(before)
            }
        };
        spent.writes += 1;
        spent.failed += u64::from(!succeeded);
        spent.gas = spent.gas.saturating_add(gas.unsigned_abs());
        spent.cost = spent.cost.saturating_add(cost.parse().unwrap_or_default());
    }
    for (network, spent) in totals {
        connection.execute(
            "INSERT OR REPLACE INTO advert_totals (network, writes, failed, gas, cost) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                network,
                i64::try_from(spent.writes).unwrap_or(i64::MAX),
                i64::try_from(spent.failed).unwrap_or(i64::MAX),
                i64::try_from(spent.gas).unwrap_or(i64::MAX),
                spent.cost.to_string()
            ],
        )?;
    }
    for id in &ids {
        connection.prepare_cached("DELETE FROM advert_writes WHERE id = ?1")?.execute([id])?;
    }
    Ok(ids.len())
}

fn spending(connection: &Connection, network: &str) -> Result<AdvertSpending, LedgerError> {
    let mut spent = total(connection, network)?;
    let mut statement =
        connection.prepare_cached("SELECT succeeded, gas, cost FROM advert_writes WHERE network = ?1")?;
    let mut rows = statement.query([network])?;
    while let Some(row) = rows.next()? {
        let (succeeded, gas, cost): (bool, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        spent.writes += 1;
        spent.failed += u64::from(!succeeded);
        spent.gas = spent.gas.saturating_add(gas.unsigned_abs());
        // Sums of 256 bits are beyond the database's own arithmetic.
        spent.cost = spent.cost.saturating_add(cost.parse().unwrap_or_default());
    }
    Ok(spent)
}
