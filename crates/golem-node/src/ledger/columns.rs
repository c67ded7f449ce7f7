//! Values as the database keeps them.
//!
//! Owns reading texts and times of a row, and how exact a time is kept. Never asks the database.

use jiff::Timestamp;
use rusqlite::Row;

/// The text of column `index`, parsed; a text that does not parse is a damaged ledger.
pub(super) fn parsed<T: std::str::FromStr>(row: &Row<'_>, index: usize) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(index)?;
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error))
    })
}

pub(super) fn time(row: &Row<'_>, index: usize) -> rusqlite::Result<Timestamp> {
    Timestamp::from_microsecond(row.get(index)?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Integer, Box::new(error))
    })
}

/// The time as the database keeps it, so that a row reads back as it was published.
pub(super) fn rounded(now: Timestamp) -> Timestamp {
    now.round(jiff::Unit::Microsecond).unwrap_or(now)
}
