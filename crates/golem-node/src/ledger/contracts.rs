//! Which payment contracts were used, and which still hold the money of rentals.
//!
//! Owns every SQL statement on them. Never asks a chain.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::B256;
use jiff::Timestamp;
use rusqlite::OptionalExtension;

use super::columns::json_text;
use super::{Ledger, LedgerError, money};
use crate::payment::ContractProfile;

impl Ledger {
    /// Keeps the profile by which the contract `key` is used.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn keep_contract(&self, key: String, profile: ContractProfile) -> Result<(), LedgerError> {
        self.ask(move |writer| {
            let text = json_text(&profile)?;
            writer.connection.execute(
                "INSERT INTO contracts (key, profile) VALUES (?1, ?2) \
                 ON CONFLICT (key) DO UPDATE SET profile = ?2 WHERE profile <> ?2",
                [key, text],
            )?;
            Ok(())
        })
        .await
    }

    /// Every contract that was used, by its key. One whose profile this version cannot read is left out.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn contracts(&self) -> Result<BTreeMap<String, ContractProfile>, LedgerError> {
        self.ask(move |writer| {
            let mut statement = writer.connection.prepare("SELECT key, profile FROM contracts")?;
            let mut rows = statement.query([])?;
            let mut all = BTreeMap::new();
            while let Some(row) = rows.next()? {
                let (key, text): (String, String) = (row.get(0)?, row.get(1)?);
                match serde_json::from_str(&text) {
                    Ok(profile) => drop(all.insert(key, profile)),
                    Err(error) => tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        contract = key,
                        "a contract's profile in the ledger cannot be read"
                    ),
                }
            }
            Ok(all)
        })
        .await
    }

    /// The code of the contract `key`, as its hash, when it was first seen; `found` is kept if that is now.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn first_code(&self, key: String, found: Option<B256>) -> Result<Option<B256>, LedgerError> {
        self.ask(move |writer| {
            if let Some(found) = found {
                writer.connection.execute(
                    "UPDATE contracts SET code = ?2 WHERE key = ?1 AND code IS NULL",
                    [&key, &found.to_string()],
                )?;
            }
            let sql = "SELECT code FROM contracts WHERE key = ?1";
            let code =
                writer.connection.query_row(sql, [&key], |row| row.get::<_, Option<String>>(0)).optional()?;
            Ok(code.flatten().and_then(|code| code.parse().ok()))
        })
        .await
    }

    /// The contracts that live rentals are paid in, that a withdrawal is under way from, or that have a stream which may still
    /// pay, by `now`.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn contracts_in_use(&self, now: Timestamp) -> Result<BTreeSet<String>, LedgerError> {
        self.ask(move |writer| {
            let live = writer.now.iter().filter_map(|rental| rental.vm.stream.as_ref());
            let mut used: BTreeSet<String> = live.map(|key| key.contract.to_string()).collect();
            let texts = |sql: &str| -> Result<Vec<String>, LedgerError> {
                let mut statement = writer.connection.prepare(sql)?;
                let all = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
                Ok(all)
            };
            used.extend(texts("SELECT DISTINCT contract FROM withdrawals WHERE state = 'sent'")?);
            for contract in texts("SELECT DISTINCT contract FROM streams")? {
                let copies = money::streams_of(&writer.connection, &contract)?;
                if copies.iter().any(|copy| !copy.is_spent(copy.estimated_now(now))) {
                    used.insert(contract);
                }
            }
            Ok(used)
        })
        .await
    }
}
