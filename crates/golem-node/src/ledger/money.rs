//! What the ledger keeps of money: copies of streams, and withdrawals.
//!
//! Owns every SQL statement on them. A stream's copy outlives its rental, because what vested can
//! still be withdrawn; a withdrawal is recorded, signed bytes and all, before it is sent. Never asks
//! a chain and never decides.

use golem_types::{Stream, StreamId, StreamKey, VmId};
use jiff::Timestamp;
use ruint::aliases::{U160, U256};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::columns::{
    address, address_text, damaged, json, json_text, optional, optional_json, parsed, time,
};
use super::entries::{BookedStream, put_book_stream};
use super::transactions::{self, Account, Order, Purpose, TransactionState, Try};
use super::{Ledger, LedgerError, events};
use crate::paid::StreamCopy;

/// Where a withdrawal stands.
///
/// ```text
///   sent ──► paid
///     └────► failed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WithdrawalState {
    /// Recorded, and sent as often as it takes.
    Sent,
    /// In a block, and the money is there.
    Paid,
    /// In a block, and refused by the contract; or overtaken by another transaction.
    Failed,
}

impl WithdrawalState {
    const ALL: [Self; 3] = [Self::Sent, Self::Paid, Self::Failed];

    /// The state as the ledger writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Paid => "paid",
            Self::Failed => "failed",
        }
    }
}

/// A withdrawal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// Its number in the ledger.
    pub id: i64,
    /// From which stream.
    pub key: StreamKey,
    /// The rental that the stream pays for.
    pub vm: VmId,
    /// The money; zero is the chain's own.
    pub token: U160,
    /// Where it stands.
    pub state: WithdrawalState,
    /// Wei that were withdrawable when it was made.
    pub expected: U256,
    /// Wei that were paid out.
    pub paid: Option<U256>,
    /// Wei that it cost.
    pub cost: Option<U256>,
    /// Its transaction; `None` in rows of an older version, which have what they sent in `tries`.
    pub transaction: Option<i64>,
    /// What an older version sent, oldest first.
    pub tries: Vec<Try>,
    /// Hash of the one that was mined.
    pub hash: Option<String>,
    /// The block that it is in.
    pub block: Option<u64>,
    /// Why it failed.
    pub error: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

const STREAM_COLUMNS: &str = "contract, id, vm_id, token, sender, recipient, start, stop, rate, deposit, withdrawn, \
                              halted, block, block_time, read_at, lease";

fn stream(row: &Row<'_>) -> rusqlite::Result<StreamCopy> {
    Ok(StreamCopy {
        key: StreamKey { contract: row.get::<_, String>(0)?.into(), id: parsed::<StreamId>(row, 1)? },
        vm: parsed(row, 2)?,
        stream: Stream {
            token: address(row, 3)?,
            sender: address(row, 4)?,
            recipient: address(row, 5)?,
            start: parsed(row, 6)?,
            stop: parsed(row, 7)?,
            rate: parsed(row, 8)?,
            deposit: parsed(row, 9)?,
            withdrawn: parsed(row, 10)?,
            halted: row.get(11)?,
            lease: optional_json(row, 15)?,
        },
        block: row.get(12)?,
        block_time: u128::from(row.get::<_, u64>(13)?),
        read_at: time(row, 14)?,
    })
}

/// Writes what was read of a stream.
pub(super) fn put_stream(connection: &Connection, copy: &StreamCopy) -> Result<(), LedgerError> {
    let stream = &copy.stream;
    let lease = stream.lease.as_ref().map(json_text).transpose()?;
    let sql = format!(
        "INSERT OR REPLACE INTO streams ({STREAM_COLUMNS}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16)"
    );
    connection.prepare_cached(&sql)?.execute(params![
        &*copy.key.contract,
        copy.key.id.to_string(),
        copy.vm.as_str(),
        address_text(stream.token),
        address_text(stream.sender),
        address_text(stream.recipient),
        stream.start.to_string(),
        stream.stop.to_string(),
        stream.rate.to_string(),
        stream.deposit.to_string(),
        stream.withdrawn.to_string(),
        stream.halted,
        copy.block,
        u64::try_from(copy.block_time).unwrap_or(u64::MAX >> 1),
        copy.read_at.as_microsecond(),
        lease,
    ])?;
    let booked = BookedStream {
        id: copy.key.id,
        vm: Some(copy.vm.clone()),
        sender: stream.sender,
        token: stream.token,
        start: u64::try_from(stream.start).unwrap_or(u64::MAX),
        rate: Some(copy.stream.rate),
    };
    put_book_stream(connection, &copy.key.contract, &booked)
}

/// The stream `id` of `contract` as it was last read.
pub(super) fn stream_copy(
    connection: &Connection,
    contract: &str,
    id: StreamId,
) -> Result<Option<StreamCopy>, LedgerError> {
    let sql = format!("SELECT {STREAM_COLUMNS} FROM streams WHERE contract = ?1 AND id = ?2");
    Ok(connection.prepare_cached(&sql)?.query_row([contract, &id.to_string()], stream).optional()?)
}

const WITHDRAWAL_COLUMNS: &str = "id, contract, stream_id, vm_id, token, state, expected, paid, cost, tries, hash, \
                                  block, error, created_at, updated_at, transaction_id";

fn withdrawal(row: &Row<'_>) -> rusqlite::Result<Withdrawal> {
    let state: String = row.get(5)?;
    Ok(Withdrawal {
        id: row.get(0)?,
        key: StreamKey { contract: row.get::<_, String>(1)?.into(), id: parsed::<StreamId>(row, 2)? },
        vm: parsed(row, 3)?,
        token: address(row, 4)?,
        state: WithdrawalState::ALL
            .into_iter()
            .find(|known| known.as_str() == state)
            .ok_or_else(|| damaged(5, format!("no state is called {state}")))?,
        expected: parsed(row, 6)?,
        paid: optional(row, 7)?,
        cost: optional(row, 8)?,
        transaction: row.get(15)?,
        tries: json(row, 9)?,
        hash: row.get(10)?,
        block: row.get(11)?,
        error: row.get(12)?,
        created_at: time(row, 13)?,
        updated_at: time(row, 14)?,
    })
}

/// Whether no stream of the rental `vm` can pay any more, by `now`.
pub(super) fn are_spent(connection: &Connection, vm: &str, now: Timestamp) -> Result<bool, LedgerError> {
    let sql = format!("SELECT {STREAM_COLUMNS} FROM streams WHERE vm_id = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    for copy in statement.query_map([vm], stream)? {
        let copy = copy?;
        if !copy.is_spent(copy.estimated_now(now)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Every stream of `contract` that ever paid for a rental, as last read.
pub(super) fn streams_of(connection: &Connection, contract: &str) -> Result<Vec<StreamCopy>, LedgerError> {
    let sql = format!("SELECT {STREAM_COLUMNS} FROM streams WHERE contract = ?1 ORDER BY read_at, id");
    let mut statement = connection.prepare_cached(&sql)?;
    let copies = statement.query_map([contract], stream)?.collect::<Result<_, _>>()?;
    Ok(copies)
}

fn under_way(connection: &Connection, contract: &str) -> Result<Vec<Withdrawal>, LedgerError> {
    let sql = format!(
        "SELECT {WITHDRAWAL_COLUMNS} FROM withdrawals WHERE contract = ?1 AND state = 'sent' ORDER BY id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let all = statement.query_map([contract], withdrawal)?.collect::<Result<_, _>>()?;
    Ok(all)
}

impl Ledger {
    /// Keeps what was read of streams: one transaction.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn keep_streams(&self, copies: Vec<StreamCopy>) -> Result<(), LedgerError> {
        self.ask(move |writer| {
            let transaction = writer.connection.transaction()?;
            for copy in &copies {
                put_stream(&transaction, copy)?;
            }
            transaction.commit()?;
            Ok(())
        })
        .await
    }

    /// Every stream of `contract` that ever paid for a rental, as last read.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn streams(&self, contract: &str) -> Result<Vec<StreamCopy>, LedgerError> {
        let contract = contract.to_owned();
        self.ask(move |writer| streams_of(&writer.connection, &contract)).await
    }

    /// Records that `order` of `account`, a withdrawal, is wanted, unless one from the same stream is under way. Gives the one
    /// that is.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn begin_withdrawal(
        &self,
        copy: StreamCopy,
        expected: U256,
        account: Account,
        order: Order,
        now: Timestamp,
    ) -> Result<Withdrawal, LedgerError> {
        self.ask(move |writer| {
            let sql = writer.connection.transaction()?;
            let (contract, stream) = (&*copy.key.contract, copy.key.id.to_string());
            let open = format!(
                "SELECT {WITHDRAWAL_COLUMNS} FROM withdrawals WHERE contract = ?1 AND stream_id = ?2 AND state = 'sent'"
            );
            let find = || sql.prepare_cached(&open)?.query_row(params![contract, stream], withdrawal).optional();
            if let Some(known) = find()? {
                return Ok(known);
            }
            let id = transactions::want(&sql, account, &order, 0, now)?;
            sql.execute(
                "INSERT INTO withdrawals (contract, stream_id, vm_id, token, state, expected, nonce, tries, \
                 created_at, updated_at, transaction_id) VALUES (?1, ?2, ?3, ?4, 'sent', ?5, 0, '[]', ?6, ?6, ?7)",
                params![
                    contract,
                    stream,
                    copy.vm.as_str(),
                    address_text(copy.stream.token),
                    expected.to_string(),
                    now.as_microsecond(),
                    id,
                ],
            )?;
            let begun = find()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            sql.commit()?;
            Ok(begun)
        })
        .await
    }

    /// Records what became of `withdrawal`, if it was under way; says whether it was.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn end_withdrawal(&self, withdrawal: Withdrawal, now: Timestamp) -> Result<bool, LedgerError> {
        self.ask(move |writer| {
            let transaction = writer.connection.transaction()?;
            let changed = transaction.execute(
                "UPDATE withdrawals SET state = ?2, paid = ?3, cost = ?4, hash = ?5, block = ?6, error = ?7, \
                 updated_at = ?8 WHERE id = ?1 AND state = 'sent'",
                params![
                    withdrawal.id,
                    withdrawal.state.as_str(),
                    withdrawal.paid.map(|wei| wei.to_string()),
                    withdrawal.cost.map(|wei| wei.to_string()),
                    withdrawal.hash,
                    withdrawal.block,
                    withdrawal.error,
                    now.as_microsecond(),
                ],
            )?;
            let told = match withdrawal.state {
                WithdrawalState::Sent => None,
                WithdrawalState::Paid => {
                    Some(("withdrawal.paid", format!("{} wei", withdrawal.paid.unwrap_or_default())))
                }
                WithdrawalState::Failed => {
                    Some(("withdrawal.failed", withdrawal.error.clone().unwrap_or_default()))
                }
            };
            if let Some((kind, detail)) = told.filter(|_| changed > 0) {
                events::put(&transaction, &withdrawal.vm, kind, &detail, now)?;
            }
            transaction.commit()?;
            Ok(changed > 0)
        })
        .await
    }

    /// The withdrawals from `contract` that are under way, oldest first.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn withdrawals_under_way(&self, contract: &str) -> Result<Vec<Withdrawal>, LedgerError> {
        let contract = contract.to_owned();
        self.ask(move |writer| under_way(&writer.connection, &contract)).await
    }

    /// Takes over the withdrawals from `contract` that an older version had under way, as transactions of `account`.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn take_over_withdrawals(
        &self,
        contract: &str,
        account: Account,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let contract = contract.to_owned();
        self.ask(move |writer| {
            let sql = writer.connection.transaction()?;
            for old in under_way(&sql, &contract)? {
                if old.transaction.is_some() {
                    continue;
                }
                let Some(first) = old.tries.first() else { continue };
                let order = Order {
                    purpose: Purpose::Withdraw,
                    subject: old.key.to_string(),
                    to: first.transaction.to.unwrap_or_default(),
                    data: first.transaction.data.clone(),
                    value: first.transaction.value,
                    most_cost: None,
                };
                let id = transactions::want(&sql, account, &order, 0, old.created_at)?;
                if let Some(wanted) = transactions::get(&sql, id)? {
                    let nonce = Some(first.transaction.nonce);
                    let state = TransactionState::Recorded;
                    let taken =
                        transactions::Transaction { nonce, state, attempts: old.tries.clone(), ..wanted };
                    transactions::put(&sql, &taken, now)?;
                }
                sql.execute("UPDATE withdrawals SET transaction_id = ?2 WHERE id = ?1", [old.id, id])?;
            }
            sql.commit()?;
            Ok(())
        })
        .await
    }

    /// Every withdrawal since `since`, oldest first.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn withdrawals(&self, since: Timestamp) -> Result<Vec<Withdrawal>, LedgerError> {
        self.ask(move |writer| {
            let sql =
                format!("SELECT {WITHDRAWAL_COLUMNS} FROM withdrawals WHERE created_at >= ?1 ORDER BY id");
            let mut statement = writer.connection.prepare(&sql)?;
            let all = statement.query_map([since.as_microsecond()], withdrawal)?.collect::<Result<_, _>>()?;
            Ok(all)
        })
        .await
    }
}
