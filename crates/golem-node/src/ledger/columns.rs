//! Values as the database keeps them.
//!
//! Owns reading texts and times of a row, and how exact a time is kept. Never asks the database.

use jiff::Timestamp;
use ruint::aliases::U160;
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

/// The text of column `index`, parsed, if there is one.
pub(super) fn optional<T: std::str::FromStr>(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<T>>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    match row.get::<_, Option<String>>(index)? {
        Some(_) => parsed(row, index).map(Some),
        None => Ok(None),
    }
}

/// What the JSON in column `index` says.
pub(super) fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, index: usize) -> rusqlite::Result<T> {
    serde_json::from_str(&row.get::<_, String>(index)?).map_err(|error| damaged(index, error))
}

/// What the JSON in column `index` says, if there is any.
pub(super) fn optional_json<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    index: usize,
) -> rusqlite::Result<Option<T>> {
    match row.get::<_, Option<String>>(index)? {
        Some(_) => json(row, index).map(Some),
        None => Ok(None),
    }
}

/// `value` as the database keeps it.
pub(super) fn json_text(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// What a damaged column is.
pub(super) fn damaged(
    index: usize,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, error.into())
}

/// The address in column `index`.
pub(super) fn address(row: &Row<'_>, index: usize) -> rusqlite::Result<U160> {
    let text: String = row.get(index)?;
    let digits = text.strip_prefix("0x").unwrap_or_default();
    U160::from_str_radix(digits, 16).map_err(|error| damaged(index, error))
}

/// An address as the database keeps it.
pub(super) fn address_text(address: U160) -> String {
    format!("{address:#042x}")
}
