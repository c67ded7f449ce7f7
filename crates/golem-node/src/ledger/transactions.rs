//! What the ledger keeps of transactions: everything that a wallet of the node sends, from before it is sent.
//!
//! Owns every SQL statement on them. Never asks a chain and never decides.

use alloy_primitives::{Address, B256, Bytes};
use golem_chain::Receipt;
use golem_types::stream::number;
use jiff::Timestamp;
use ruint::aliases::{U160, U256};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::columns::{damaged, json, json_text, optional, parsed, time};
use super::entries::{Spent, put_spent};
use super::{Ledger, LedgerError};

/// What a transaction is for. What stands first goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Fills a number that nothing else has, so that what waits behind it can go on.
    Gap,
    /// Ends a stream.
    Terminate,
    /// Fetches what has vested on a stream.
    Withdraw,
    /// Sends what was earned to the payout address.
    Sweep,
    /// Writes an advert.
    Advert,
}

impl Purpose {
    const ALL: [Self; 5] = [Self::Gap, Self::Terminate, Self::Withdraw, Self::Sweep, Self::Advert];

    /// The purpose as the ledger writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Terminate => "terminate",
            Self::Withdraw => "withdraw",
            Self::Sweep => "sweep",
            Self::Advert => "advert",
        }
    }
}

/// How the subject of a transfer begins that stays within the node.
pub(crate) const WITHIN: &str = "own";

/// Where a transaction stands. [`crate::transactions`] draws it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TransactionState {
    /// It has no number yet, and nothing is signed.
    Planned,
    /// Signed and recorded, and no endpoint took it yet.
    Recorded,
    /// Sent, and in no block yet.
    Sent,
    /// In a block, and it did what it should.
    Mined,
    /// In a block, and it did nothing.
    Failed,
    /// Never sent, because it would do nothing, or cost too much.
    Refused,
    /// What took its number does nothing, because that was asked for; or it was given up before it was sent.
    Cancelled,
    /// Another transaction of the same wallet, which is not ours, took its number.
    Lost,
}

impl TransactionState {
    const ALL: [Self; 8] = [
        Self::Planned,
        Self::Recorded,
        Self::Sent,
        Self::Mined,
        Self::Failed,
        Self::Refused,
        Self::Cancelled,
        Self::Lost,
    ];

    /// The state as the ledger writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Recorded => "recorded",
            Self::Sent => "sent",
            Self::Mined => "mined",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }

    /// Whether its end is not known yet.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Planned | Self::Recorded | Self::Sent)
    }
}

/// Whose transactions: those of a wallet on a chain share their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account {
    /// The chain.
    pub chain_id: u64,
    /// The wallet.
    pub wallet: Address,
}

/// One attempt to have a transaction mined; each has a higher fee than the one before, and only one of
/// them can ever be mined, because they share a nonce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// What was signed.
    pub transaction: golem_chain::Transaction,
    /// The signed bytes and their hash.
    pub signed: golem_chain::SignedTransaction,
    /// When it was first sent.
    pub at: Timestamp,
}

/// A transaction that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What for.
    pub purpose: Purpose,
    /// About what: chain, contract and stream, or a market's network. There is one open transaction of a purpose and subject.
    pub subject: String,
    /// Whom it calls.
    pub to: Address,
    /// What it says.
    pub data: Bytes,
    /// Wei that it carries.
    pub value: U256,
    /// Most wei that it may be expected to cost; it is refused where it would cost more. `None` if its cost is no reason
    /// not to send it.
    pub most_cost: Option<U256>,
}

/// A transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Its number in the ledger.
    pub id: i64,
    /// Whose it is.
    pub account: Account,
    /// Its number among those of the wallet; `None` until it is signed.
    pub nonce: Option<u64>,
    /// What is wanted.
    pub order: Order,
    /// Least gas that it gets, whatever is estimated.
    pub least_gas: u64,
    /// What was signed, the lowest fee first; all have the same number.
    pub attempts: Vec<Try>,
    /// Whether it is to do nothing any more.
    pub cancel: bool,
    /// Where it stands.
    pub state: TransactionState,
    /// Hash of the attempt that is in a block.
    pub hash: Option<B256>,
    /// The block that it is in.
    pub block: Option<u64>,
    /// That block's hash, by which it is seen that the block is gone.
    pub block_hash: Option<B256>,
    /// Gas that it used.
    pub gas_used: Option<u64>,
    /// Wei that it cost in all.
    pub cost: Option<U256>,
    /// What of that went to the chain below.
    pub l1_fee: Option<U256>,
    /// Why it waits or failed.
    pub error: Option<String>,
    /// The transaction that does it again.
    pub successor: Option<i64>,
    /// When it was wanted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Transaction {
    /// Takes over what `receipt` says, that of one of its attempts, which `cancels` if it does nothing in place of what was
    /// wanted.
    pub(crate) fn ends_by(&mut self, receipt: &Receipt, cancels: bool) {
        self.hash = Some(receipt.hash);
        self.block = Some(receipt.block);
        self.block_hash = receipt.block_hash;
        self.gas_used = Some(receipt.gas_used);
        self.cost = Some(receipt.cost);
        self.l1_fee = Some(receipt.l1_fee);
        self.error = None;
        self.state = match (receipt.succeeded, cancels) {
            (true, true) => TransactionState::Cancelled,
            (true, false) => TransactionState::Mined,
            (false, _) => TransactionState::Failed,
        };
    }

    /// Whether `attempt` is one that does nothing, in place of what was wanted.
    #[must_use]
    pub fn is_cancel(&self, attempt: &Try) -> bool {
        let transaction = &attempt.transaction;
        transaction.to == Some(self.account.wallet)
            && transaction.data.is_empty()
            && (self.order.to != self.account.wallet || !self.order.data.is_empty())
    }
}

const COLUMNS: &str = "id, chain_id, wallet, nonce, purpose, subject, recipient, data, value, most_cost, least_gas, \
                       attempts, cancel, state, hash, block, gas_used, cost, l1_fee, error, successor, created_at, \
                       updated_at, block_hash";

fn transaction(row: &Row<'_>) -> rusqlite::Result<Transaction> {
    let (purpose, state): (String, String) = (row.get(4)?, row.get(13)?);
    let unknown = |index, word: &str| damaged(index, format!("{word} is not known"));
    Ok(Transaction {
        id: row.get(0)?,
        account: Account { chain_id: row.get(1)?, wallet: parsed(row, 2)? },
        nonce: row.get(3)?,
        order: Order {
            purpose: Purpose::ALL
                .into_iter()
                .find(|known| known.as_str() == purpose)
                .ok_or_else(|| unknown(4, &purpose))?,
            subject: row.get(5)?,
            to: parsed(row, 6)?,
            data: parsed(row, 7)?,
            value: parsed(row, 8)?,
            most_cost: optional(row, 9)?,
        },
        least_gas: row.get(10)?,
        attempts: json(row, 11)?,
        cancel: row.get(12)?,
        state: TransactionState::ALL
            .into_iter()
            .find(|known| known.as_str() == state)
            .ok_or_else(|| unknown(13, &state))?,
        hash: optional(row, 14)?,
        block: row.get(15)?,
        gas_used: row.get(16)?,
        cost: optional(row, 17)?,
        l1_fee: optional(row, 18)?,
        error: row.get(19)?,
        successor: row.get(20)?,
        created_at: time(row, 21)?,
        updated_at: time(row, 22)?,
        block_hash: optional(row, 23)?,
    })
}

/// Writes `order` down as wanted, unless one of its purpose and subject is open; gives the number of that.
pub(super) fn want(
    connection: &Connection,
    account: Account,
    order: &Order,
    least_gas: u64,
    now: Timestamp,
) -> Result<i64, LedgerError> {
    let wallet = account.wallet.to_string();
    let open = "SELECT id FROM transactions WHERE chain_id = ?1 AND wallet = ?2 AND purpose = ?3 AND subject = ?4 \
                AND state IN ('planned', 'recorded', 'sent')";
    let purpose = order.purpose.as_str();
    let known = connection
        .prepare_cached(open)?
        .query_row(params![account.chain_id, wallet, purpose, order.subject], |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    connection
        .prepare_cached(
            "INSERT INTO transactions (chain_id, wallet, purpose, subject, recipient, data, value, most_cost, least_gas, \
             attempts, cancel, state, created_at, updated_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, '[]', 0, 'planned', ?10, ?10)",
        )?
        .execute(params![
            account.chain_id,
            wallet,
            purpose,
            order.subject,
            order.to.to_string(),
            order.data.to_string(),
            order.value.to_string(),
            order.most_cost.map(|wei| wei.to_string()),
            least_gas,
            now.as_microsecond(),
        ])?;
    Ok(connection.last_insert_rowid())
}

/// Writes what `transaction` is now.
pub(super) fn put(
    connection: &Connection,
    transaction: &Transaction,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let attempts = json_text(&transaction.attempts)?;
    connection
        .prepare_cached(
            "UPDATE transactions SET nonce = ?2, attempts = ?3, cancel = ?4, state = ?5, hash = ?6, block = ?7, \
             gas_used = ?8, cost = ?9, l1_fee = ?10, error = ?11, successor = ?12, updated_at = ?13, block_hash = ?14 \
             WHERE id = ?1",
        )?
        .execute(params![
            transaction.id,
            transaction.nonce,
            attempts,
            transaction.cancel,
            transaction.state.as_str(),
            transaction.hash.map(|hash| hash.to_string()),
            transaction.block,
            transaction.gas_used,
            transaction.cost.map(|wei| wei.to_string()),
            transaction.l1_fee.map(|wei| wei.to_string()),
            transaction.error,
            transaction.successor,
            now.as_microsecond(),
            transaction.block_hash.map(|hash| hash.to_string()),
        ])?;
    book(connection, transaction, now)
}

/// Books what `transaction` cost, if it is in a block, and what it swept.
fn book(connection: &Connection, transaction: &Transaction, now: Timestamp) -> Result<(), LedgerError> {
    let (Some(hash), Some(block)) = (transaction.hash, transaction.block) else { return Ok(()) };
    let order = &transaction.order;
    let key = order.subject.rsplit_once(':');
    let key = key.filter(|_| matches!(order.purpose, Purpose::Withdraw | Purpose::Terminate));
    let l1_fee = transaction.l1_fee.unwrap_or_default();
    let sweeps = order.purpose == Purpose::Sweep && transaction.state == TransactionState::Mined;
    // What went from one key of the node to another is still in its wallet.
    let swept =
        (sweeps && !order.subject.starts_with(WITHIN)).then(
            || match golem_chain::contract::token::transfer_of(&order.data) {
                Some((_, amount)) => (number(order.to), amount),
                None => (U160::ZERO, order.value),
            },
        );
    let spent = Spent {
        chain_id: transaction.account.chain_id,
        hash,
        block,
        block_hash: transaction.block_hash,
        about: key.and_then(|(contract, id)| Some((contract, id.parse().ok()?))),
        gas: transaction.cost.unwrap_or_default().saturating_sub(l1_fee),
        l1_fee,
        swept,
    };
    put_spent(connection, &spent, now)
}

pub(super) fn get(connection: &Connection, id: i64) -> Result<Option<Transaction>, LedgerError> {
    let sql = format!("SELECT {COLUMNS} FROM transactions WHERE id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([id], transaction).optional()?)
}

impl Ledger {
    /// Writes `order` of `account` down as wanted, unless one of its purpose and subject is open; gives the number of that.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn want_transaction(
        &self,
        account: Account,
        order: Order,
        now: Timestamp,
    ) -> Result<i64, LedgerError> {
        self.ask(move |writer| want(&writer.connection, account, &order, 0, now)).await
    }

    /// Writes what `transaction` is now.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn keep_transaction(
        &self,
        transaction: Transaction,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.ask(move |writer| put(&writer.connection, &transaction, now)).await
    }

    /// Ends `transaction`, and writes down that the same is wanted again, with `least_gas` at least; gives the number of that.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn repeat_transaction(
        &self,
        mut transaction: Transaction,
        least_gas: u64,
        now: Timestamp,
    ) -> Result<i64, LedgerError> {
        self.ask(move |writer| {
            let sql = writer.connection.transaction()?;
            put(&sql, &transaction, now)?;
            let successor = want(&sql, transaction.account, &transaction.order, least_gas, now)?;
            transaction.successor = Some(successor);
            put(&sql, &transaction, now)?;
            sql.commit()?;
            Ok(successor)
        })
        .await
    }

    /// Has the open transactions of `account`, or of all, do nothing: the one with `nonce`, or all. Gives how many there are.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn cancel_transactions(
        &self,
        account: Option<Account>,
        nonce: Option<u64>,
        now: Timestamp,
    ) -> Result<usize, LedgerError> {
        self.ask(move |writer| {
            // What is in no pool is gone at once.
            let sql = "UPDATE transactions SET cancel = 1, updated_at = ?4, \
                       state = CASE state WHEN 'planned' THEN 'cancelled' ELSE state END \
                       WHERE state IN ('planned', 'recorded', 'sent') AND (?1 IS NULL OR (chain_id = ?1 AND wallet = ?2)) \
                       AND (?3 IS NULL OR nonce = ?3)";
            let (chain, wallet) =
                account.map(|account| (account.chain_id, account.wallet.to_string())).unzip();
            Ok(writer.connection.execute(sql, params![chain, wallet, nonce, now.as_microsecond()])?)
        })
        .await
    }

    /// The transaction `id`.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn transaction(&self, id: i64) -> Result<Option<Transaction>, LedgerError> {
        self.ask(move |writer| get(&writer.connection, id)).await
    }

    /// Transactions whose end is not known, oldest first: those of `account`, or all.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn open_transactions(&self, account: Option<Account>) -> Result<Vec<Transaction>, LedgerError> {
        self.ask(move |writer| {
            let sql = format!(
                "SELECT {COLUMNS} FROM transactions WHERE state IN ('planned', 'recorded', 'sent') \
                 AND (?1 IS NULL OR (chain_id = ?1 AND wallet = ?2)) ORDER BY id"
            );
            let (chain, wallet) =
                account.map(|account| (account.chain_id, account.wallet.to_string())).unzip();
            let mut statement = writer.connection.prepare_cached(&sql)?;
            let all = statement.query_map(params![chain, wallet], transaction)?.collect::<Result<_, _>>()?;
            Ok(all)
        })
        .await
    }

    /// The last `limit` transactions of all wallets, newest first.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn transactions(&self, limit: u32) -> Result<Vec<Transaction>, LedgerError> {
        self.ask(move |writer| {
            let sql = format!("SELECT {COLUMNS} FROM transactions ORDER BY id DESC LIMIT ?1");
            let mut statement = writer.connection.prepare_cached(&sql)?;
            let all = statement.query_map([limit], transaction)?.collect::<Result<_, _>>()?;
            Ok(all)
        })
        .await
    }

    /// What transactions of `account` that came into blocks since `since` cost, in wei.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn gas_spent(&self, account: Account, since: Timestamp) -> Result<U256, LedgerError> {
        self.ask(move |writer| {
            let sql = "SELECT cost FROM transactions WHERE chain_id = ?1 AND wallet = ?2 AND updated_at >= ?3 \
                       AND cost IS NOT NULL";
            let mut statement = writer.connection.prepare_cached(sql)?;
            let wallet = account.wallet.to_string();
            let mut rows = statement.query(params![account.chain_id, wallet, since.as_microsecond()])?;
            let mut spent = U256::ZERO;
            while let Some(row) = rows.next()? {
                // Sums of 256 bits are beyond the database's own arithmetic.
                spent = spent.saturating_add(parsed(row, 0)?);
            }
            Ok(spent)
        })
        .await
    }
}
