//! What the ledger keeps of sweeps: what a transfer of the node's earnings really moved, as balances tell.
//!
//! Owns their table. The transfers themselves are transactions. Never asks a chain and never decides.

use alloy_primitives::Address;
use jiff::Timestamp;
use ruint::aliases::U256;
use rusqlite::params;

use super::columns::{parsed, time};
use super::transactions::{self, Account, Transaction};
use super::{Ledger, LedgerError};

/// A transfer of what was earned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// Its transaction in the ledger.
    pub transaction: i64,
    /// Whose money it was.
    pub account: Account,
    /// Of which token; zero is the chain's own coin.
    pub token: Address,
    /// Where it went.
    pub to: Address,
    /// What was to be sent, in the token's smallest units.
    pub amount: U256,
    /// What left the wallet.
    pub left: U256,
    /// What arrived.
    pub arrived: U256,
    /// When that was seen.
    pub at: Timestamp,
}

impl Ledger {
    /// Keeps what `sweep` moved.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn keep_sweep(&self, sweep: Sweep) -> Result<(), LedgerError> {
        self.ask(move |writer| {
            writer.connection.execute(
                "INSERT OR IGNORE INTO sweeps (transaction_id, chain_id, wallet, token, recipient, amount, left_wallet, \
                 arrived, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    sweep.transaction,
                    sweep.account.chain_id,
                    sweep.account.wallet.to_string(),
                    sweep.token.to_string(),
                    sweep.to.to_string(),
                    sweep.amount.to_string(),
                    sweep.left.to_string(),
                    sweep.arrived.to_string(),
                    sweep.at.as_microsecond(),
                ],
            )?;
            Ok(())
        })
        .await
    }

    /// The last `limit` sweeps of all wallets, newest first.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn sweeps(&self, limit: u32) -> Result<Vec<Sweep>, LedgerError> {
        self.ask(move |writer| {
            let sql = "SELECT transaction_id, chain_id, wallet, token, recipient, amount, left_wallet, arrived, at \
                       FROM sweeps ORDER BY transaction_id DESC LIMIT ?1";
            let read = |row: &rusqlite::Row<'_>| {
                Ok(Sweep {
                    transaction: row.get(0)?,
                    account: Account { chain_id: row.get(1)?, wallet: parsed(row, 2)? },
                    token: parsed(row, 3)?,
                    to: parsed(row, 4)?,
                    amount: parsed(row, 5)?,
                    left: parsed(row, 6)?,
                    arrived: parsed(row, 7)?,
                    at: time(row, 8)?,
                })
            };
            let mut statement = writer.connection.prepare_cached(sql)?;
            let all = statement.query_map([limit], read)?.collect::<Result<_, _>>()?;
            Ok(all)
        })
        .await
    }

    /// Sweeps of `account` that are in a block, and of which it is not kept what they moved.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn unseen_sweeps(&self, account: Account) -> Result<Vec<Transaction>, LedgerError> {
        self.ask(move |writer| {
            let sql = "SELECT id FROM transactions WHERE purpose = 'sweep' AND state = 'mined' AND chain_id = ?1 \
                       AND wallet = ?2 AND id NOT IN (SELECT transaction_id FROM sweeps) ORDER BY id";
            let mut statement = writer.connection.prepare_cached(sql)?;
            let ids = statement
                .query_map(params![account.chain_id, account.wallet.to_string()], |row| row.get(0))?
                .collect::<Result<Vec<i64>, _>>()?;
            let read = |id| transactions::get(&writer.connection, id);
            Ok(ids.into_iter().map(read).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        })
        .await
    }

    /// How often in a row the newest sweeps of `account` about `subject` moved nothing, and when the newest of all ended;
    /// `None` if there was none.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn sweep_failures(
        &self,
        account: Account,
        subject: String,
    ) -> Result<Option<(u32, Timestamp)>, LedgerError> {
        self.ask(move |writer| {
            let sql = "SELECT t.state = 'mined' AND coalesce(s.left_wallet, '0') <> '0', t.updated_at \
                       FROM transactions t LEFT JOIN sweeps s ON s.transaction_id = t.id \
                       WHERE t.purpose = 'sweep' AND t.chain_id = ?1 AND t.wallet = ?2 AND t.subject = ?3 \
                       AND t.state IN ('mined', 'failed', 'refused') ORDER BY t.id DESC LIMIT 20";
            let mut statement = writer.connection.prepare_cached(sql)?;
            let rows = statement
                .query_map(params![account.chain_id, account.wallet.to_string(), subject], |row| {
                    Ok((row.get::<_, bool>(0)?, time(row, 1)?))
                })?
                .collect::<Result<Vec<_>, _>>()?;
            let failures = rows.iter().take_while(|(moved, _)| !moved).count();
            let newest = rows.first().map(|(_, at)| *at);
            Ok(newest.map(|at| (u32::try_from(failures).unwrap_or(u32::MAX), at)))
        })
        .await
    }
}
