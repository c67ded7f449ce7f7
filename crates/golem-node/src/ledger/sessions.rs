//! Sessions: who may act as which wallet, until when.
//!
//! Owns their tables. A token is kept as its hash alone, and a nonce for as long as a signature with it would count. What is over
//! is removed whenever one is opened. Never judges a signature.

use alloy_primitives::{Address, B256};
use jiff::Timestamp;
use rusqlite::{Row, TransactionBehavior, params};

use super::columns::{parsed, time};
use super::{Ledger, LedgerError};
use crate::sessions::{Session, SessionError};

/// Most nonces of one wallet that are remembered.
const NONCES_OF_WALLET: i64 = 500;

/// Most nonces that are remembered in all: 100 bytes each, about.
const NONCES: i64 = 200_000;

fn session(row: &Row<'_>) -> rusqlite::Result<(B256, Session)> {
    let session = Session {
        id: row.get(1)?,
        wallet: parsed(row, 2)?,
        vm: row.get(3)?,
        read_only: row.get(4)?,
        parent: row.get(5)?,
        created_at: time(row, 6)?,
        expires_at: time(row, 7)?,
    };
    Ok((parsed(row, 0)?, session))
}

impl Ledger {
    /// Every session that counts at `now`, by the hash of its token.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub(crate) async fn sessions(&self, now: Timestamp) -> Result<Vec<(B256, Session)>, LedgerError> {
        self.ask(move |writer| {
            let sql = "SELECT token, id, wallet, vm, read_only, parent, created_at, expires_at FROM sessions \
                       WHERE expires_at > ?1";
            let mut statement = writer.connection.prepare(sql)?;
            let rows = statement.query_map([now.as_microsecond()], session)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Remembers that `wallet` used `nonce`, which counts until `until`.
    ///
    /// # Errors
    /// [`LedgerError::Sql`]; inside, [`SessionError::NonceUsed`] and [`SessionError::TooMany`].
    pub(crate) async fn use_nonce(
        &self,
        wallet: Address,
        nonce: String,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Result<(), SessionError>, LedgerError> {
        self.ask(move |writer| {
            let wallet = wallet.to_string();
            let transaction = writer.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute("DELETE FROM session_nonces WHERE until <= ?1", [now.as_microsecond()])?;
            let sql = "SELECT count(*) FROM session_nonces WHERE wallet = ?1";
            let of_wallet: i64 = transaction.prepare_cached(sql)?.query_row([&wallet], |row| row.get(0))?;
            let sql = "SELECT count(*) FROM session_nonces";
            let all: i64 = transaction.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
            if of_wallet >= NONCES_OF_WALLET || all >= NONCES {
                return Ok(Err(SessionError::TooMany));
            }
            let added = transaction.execute(
                "INSERT OR IGNORE INTO session_nonces (wallet, nonce, until) VALUES (?1, ?2, ?3)",
                params![wallet, nonce, until.as_microsecond()],
            )?;
            transaction.commit()?;
            Ok(if added == 0 { Err(SessionError::NonceUsed) } else { Ok(()) })
        })
        .await
    }

    /// Keeps `session`, whose token has the hash `token`, and removes what is over at `now`.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub(crate) async fn keep_session(
        &self,
        token: B256,
        session: Session,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.ask(move |writer| {
            let transaction = writer.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute("DELETE FROM sessions WHERE expires_at <= ?1", [now.as_microsecond()])?;
            transaction.execute(
                "INSERT INTO sessions (token, id, wallet, vm, read_only, parent, created_at, expires_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    token.to_string(),
                    session.id,
                    session.wallet.to_string(),
                    session.vm,
                    session.read_only,
                    session.parent,
                    session.created_at.as_microsecond(),
                    session.expires_at.as_microsecond(),
                ],
            )?;
            Ok(transaction.commit()?)
        })
        .await
    }

    /// Forgets the sessions `ids`.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub(crate) async fn end_sessions(&self, ids: Vec<String>) -> Result<(), LedgerError> {
        self.ask(move |writer| {
            let transaction = writer.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for id in &ids {
                transaction.prepare_cached("DELETE FROM sessions WHERE id = ?1")?.execute([id])?;
            }
            Ok(transaction.commit()?)
        })
        .await
    }
}
