//! Rates of coins that were believed last, so that a restart without a feed still knows a price.
//!
//! Owns their table. Never judges a rate: [`crate::pricing`] does.

use golem_types::price::Rate;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use super::columns::{parsed, time};
use super::{Ledger, LedgerError};

/// The rate of `coin` that was believed last.
pub(super) fn get(connection: &Connection, coin: &str) -> Result<Option<Rate>, LedgerError> {
    let read = |row: &Row<'_>| Ok(Rate { usd: parsed(row, 0)?, at: time(row, 1)? });
    let mut statement = connection.prepare_cached("SELECT usd, at FROM rates WHERE coin = ?1")?;
    Ok(statement.query_row([coin], read).optional()?)
}

impl Ledger {
    /// The rate of `coin` that was believed last.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn rate(&self, coin: &str) -> Result<Option<Rate>, LedgerError> {
        let coin = coin.to_owned();
        self.ask(move |writer| get(&writer.connection, &coin)).await
    }

    /// Keeps `rate` as the one of `coin` that was believed last.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn keep_rate(&self, coin: &str, rate: Rate) -> Result<(), LedgerError> {
        let coin = coin.to_owned();
        let at: Timestamp = rate.at;
        self.ask(move |writer| {
            writer.connection.execute(
                "INSERT OR REPLACE INTO rates (coin, usd, at) VALUES (?1, ?2, ?3)",
                rusqlite::params![coin, rate.usd.to_string(), at.as_microsecond()],
            )?;
            Ok(())
        })
        .await
    }
}
