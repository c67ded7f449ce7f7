//! What adverts cost.
//!
//! Owns every SQL statement on it. Never keeps what an advert says: the network does.

use alloy_primitives::B256;
use jiff::Timestamp;
use ruint::aliases::U256;
use rusqlite::{Connection, params};

use super::{Ledger, LedgerError};

/// A transaction that wrote an advert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdvertWrite {
    /// When it was in a block.
    pub at: Timestamp,
    /// The market's network.
    pub network: String,
    /// Its hash.
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
        self.ask(move |book| {
            book.connection.execute(
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
            spending(&book.connection, &write.network)
        })
        .await
    }

    /// What adverts on `network` have cost.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn advert_spending(&self, network: &str) -> Result<AdvertSpending, LedgerError> {
        let network = network.to_owned();
        self.ask(move |book| spending(&book.connection, &network)).await
    }
}

fn spending(connection: &Connection, network: &str) -> Result<AdvertSpending, LedgerError> {
    let mut statement =
        connection.prepare_cached("SELECT succeeded, gas, cost FROM advert_writes WHERE network = ?1")?;
    let mut rows = statement.query([network])?;
    let mut spent = AdvertSpending::default();
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
