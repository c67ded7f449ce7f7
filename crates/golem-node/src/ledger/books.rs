//! The books: entries, up to which block events were read, and which streams pay to the node's wallets.
//!
//! Owns every SQL statement on them, and that they equal what was read: what an event says is booked once, however often it
//! is read; what is booked in blocks that were read again, and is not there any more, is taken back by an entry of its own.
//! Nothing is ever deleted. Never asks a chain.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use alloy_primitives::B256;
use golem_chain::Block;
use golem_chain::contract::events::Position;
use golem_types::{Decimal, StreamId, VmId};
use jiff::Timestamp;
use ruint::aliases::{U160, U256};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::columns::{parsed, time};
use super::money::{address, address_text, damaged, put_stream, stream_copy};
use super::sweeps::WITHIN;
use super::transactions::{Purpose, Transaction, TransactionState};
use super::{Ledger, LedgerError};
use crate::entry::{Currency, EntryKind, EntrySource, Posting};
use crate::paid::StreamCopy;

/// How old a rate may be, before or after, to be the one at the time of an entry.
const RATE_LIFE: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// Blocks that are remembered, to see how far a reorganisation goes back.
const BLOCKS_KEPT: u32 = 500;

/// Most days that are booked at once for one stream.
const DAYS: usize = 1000;

/// An entry as it stands in the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub id: i64,
    /// When the money moved.
    pub at: Timestamp,
    /// The chain.
    pub chain_id: u64,
    /// Chain and contract; `None` if it is the wallet's alone.
    pub contract: Option<String>,
    /// The stream.
    pub stream: Option<StreamId>,
    /// The rental that the stream paid for.
    pub vm: Option<VmId>,
    /// Who paid.
    pub renter: Option<U160>,
    /// The token; zero is the chain's own money.
    pub token: U160,
    /// What the token is called; `None` if that is not known.
    pub symbol: Option<String>,
    /// Digits after its point; `None` if that is not known.
    pub decimals: Option<u8>,
    /// What moved it.
    pub kind: EntryKind,
    /// Where it went.
    pub debit: String,
    /// Where it came from.
    pub credit: String,
    /// How much, in wei.
    pub amount: U256,
    /// How the node knows.
    pub source: EntrySource,
    /// The transaction.
    pub transaction: Option<String>,
    /// Index of the event in its block.
    pub log: Option<u64>,
    /// The block.
    pub block: Option<u64>,
    /// Hash of the block.
    pub block_hash: Option<B256>,
    /// US dollars for a whole coin at that time; `None` if that was not known.
    pub usd: Option<Decimal>,
    /// The entry that this one takes back.
    pub reverses: Option<i64>,
    /// Whether it was taken back.
    pub reversed: bool,
}

impl Entry {
    /// Whether it counts: neither taken back, nor taking back.
    #[must_use]
    pub const fn counts(&self) -> bool {
        !self.reversed && self.reverses.is_none()
    }
}

/// A stream that pays to a wallet of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookedStream {
    /// Which.
    pub id: StreamId,
    /// The rental that it pays for, or paid for last; `None` if there never was one.
    pub vm: Option<VmId>,
    /// Who pays.
    pub sender: U160,
    /// The token.
    pub token: U160,
    /// When it was opened, in seconds since the epoch.
    pub start: u64,
}

/// What was read of a contract: one transaction of the books.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Chain and contract.
    pub contract: Arc<str>,
    /// The chain.
    pub chain_id: u64,
    /// The block up to which everything is as it was booked before: those that were remembered after it are gone.
    pub after: u64,
    /// The blocks whose events were read, all of them: what is booked there and is not in `postings` is taken back.
    pub blocks: RangeInclusive<u64>,
    /// The last of them.
    pub last: Block,
    /// Streams that were opened to a wallet of the node.
    pub opened: Vec<BookedStream>,
    /// What events say was paid.
    pub postings: Vec<Posting>,
    /// Streams as they were read after that.
    pub copies: Vec<StreamCopy>,
    /// What tokens are called.
    pub currencies: BTreeMap<U160, Currency>,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Booked {
    /// Entries that were made of events.
    pub new: usize,
    /// Entries that were taken back.
    pub unbooked: usize,
}

const COLUMNS: &str = "id, at, chain, contract, stream_id, vm_id, renter, token, symbol, decimals, kind, debit, credit, \
                       amount, source, tx, log_index, block, block_hash, usd, reverses, reversed";

fn optional<T: std::str::FromStr>(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<T>>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    match row.get::<_, Option<String>>(index)? {
        Some(_) => parsed(row, index).map(Some),
        None => Ok(None),
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let renter = match row.get::<_, Option<String>>(6)? {
        Some(_) => Some(address(row, 6)?),
        None => None,
    };
    let hash = row.get::<_, Option<String>>(18)?;
    Ok(Entry {
        id: row.get(0)?,
        at: time(row, 1)?,
        chain_id: row.get(2)?,
        contract: row.get(3)?,
        stream: optional(row, 4)?,
        vm: optional(row, 5)?,
        renter,
        token: address(row, 7)?,
        symbol: row.get(8)?,
        decimals: row.get(9)?,
        kind: parsed(row, 10)?,
        debit: row.get(11)?,
        credit: row.get(12)?,
        amount: parsed(row, 13)?,
        source: parsed(row, 14)?,
        transaction: row.get(15)?,
        log: row.get(16)?,
        block: row.get(17)?,
        block_hash: hash.map(|hash| hash.parse()).transpose().map_err(|error| damaged(18, error))?,
        usd: optional(row, 19)?,
        reverses: row.get(20)?,
        reversed: row.get(21)?,
    })
}

/// An entry that is to be written.
struct NewEntry<'a> {
    at: Timestamp,
    chain_id: u64,
    contract: Option<&'a str>,
    stream: Option<StreamId>,
    token: U160,
    currency: Option<&'a Currency>,
    kind: EntryKind,
    amount: U256,
    source: EntrySource,
    place: Place,
}

/// Where the chain says so, as far as that is known.
#[derive(Clone, Copy, Default)]
struct Place {
    transaction: Option<B256>,
    log: Option<u64>,
    block: Option<u64>,
    block_hash: Option<B256>,
}

impl From<Position> for Place {
    fn from(at: Position) -> Self {
        Self {
            transaction: Some(at.transaction),
            log: Some(at.log),
            block: Some(at.block),
            block_hash: Some(at.block_hash),
        }
    }
}

/// The rate of `coin` at the time `at`, if the last one that was believed is of that time.
fn rate_at(connection: &Connection, coin: &str, at: Timestamp) -> Result<Option<String>, LedgerError> {
    let sql = "SELECT usd, at FROM rates WHERE coin = ?1";
    let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, time(row, 1)?));
    let rate = connection.prepare_cached(sql)?.query_row([coin], read).optional()?;
    Ok(rate.filter(|(_, of)| at.duration_since(*of).abs() <= RATE_LIFE).map(|(usd, _)| usd))
}

fn put(connection: &Connection, entry: &NewEntry<'_>) -> Result<bool, LedgerError> {
    let Some((debit, credit)) = entry.kind.accounts() else { return Ok(false) };
    let stream = entry.stream.map(|id| id.to_string());
    let usd = match entry.currency.and_then(|currency| currency.rated_as.as_deref()) {
        Some(coin) => rate_at(connection, coin, entry.at)?,
        None => None,
    };
    let sql = "INSERT INTO entries (at, chain, contract, stream_id, vm_id, renter, token, symbol, decimals, kind, \
               debit, credit, amount, source, tx, log_index, block, block_hash, usd) \
               VALUES (?1, ?2, ?3, ?4, (SELECT vm_id FROM book_streams WHERE contract = ?3 AND id = ?4), \
               (SELECT sender FROM book_streams WHERE contract = ?3 AND id = ?4), \
               ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17) ON CONFLICT DO NOTHING";
    let written = connection.prepare_cached(sql)?.execute(params![
        entry.at.as_microsecond(),
        entry.chain_id,
        entry.contract,
        stream,
        address_text(entry.token),
        entry.currency.map(|currency| &currency.symbol),
        entry.currency.map(|currency| currency.decimals),
        entry.kind.as_str(),
        debit.as_str(),
        credit.as_str(),
        entry.amount.to_string(),
        entry.source.as_str(),
        entry.place.transaction.map(|hash| hash.to_string()),
        entry.place.log,
        entry.place.block,
        entry.place.block_hash.map(|hash| hash.to_string()),
        usd,
    ])?;
    Ok(written > 0)
}

/// What the money of the chain `chain_id` itself is called, if that was noted.
fn coin(connection: &Connection, chain_id: u64) -> Result<Option<Currency>, LedgerError> {
    let sql = "SELECT symbol, decimals, rated_as FROM coins WHERE chain = ?1";
    let read =
        |row: &Row<'_>| Ok(Currency { symbol: row.get(0)?, decimals: row.get(1)?, rated_as: row.get(2)? });
    Ok(connection.prepare_cached(sql)?.query_row([chain_id], read).optional()?)
}

/// Books what `sent`, a transaction that is in a block, cost, and what it swept: once, however often it is written.
pub(super) fn put_cost(
    connection: &Connection,
    sent: &Transaction,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let (Some(hash), Some(block)) = (sent.hash, sent.block) else { return Ok(()) };
    let chain_id = sent.account.chain_id;
    let coin = coin(connection, chain_id)?;
    let of_stream = matches!(sent.order.purpose, Purpose::Withdraw | Purpose::Terminate);
    let key = sent.order.subject.rsplit_once(':').filter(|_| of_stream);
    let l1_fee = sent.l1_fee.unwrap_or_default();
    let is_swept = sent.order.purpose == Purpose::Sweep && sent.state == TransactionState::Mined;
    // What went from one key of the node to another is still in its wallet.
    let swept = (is_swept && !sent.order.subject.starts_with(WITHIN)).then(|| {
        match golem_chain::contract::token::transfer_of(&sent.order.data) {
            Some((_, amount)) => (U160::from_be_bytes(sent.order.to.into_array()), amount),
            None => (U160::ZERO, sent.order.value),
        }
    });
    let costs = [
        (EntryKind::Gas, U160::ZERO, sent.cost.unwrap_or_default().saturating_sub(l1_fee)),
        (EntryKind::L1Fee, U160::ZERO, l1_fee),
    ];
    let all = costs.into_iter().chain(swept.map(|(token, amount)| (EntryKind::Swept, token, amount)));
    for (kind, token, amount) in all.filter(|(.., amount)| !amount.is_zero()) {
        let entry = NewEntry {
            at: now,
            chain_id,
            contract: key.map(|(contract, _)| contract),
            stream: key.and_then(|(_, id)| id.parse().ok()),
            token,
            currency: coin.as_ref().filter(|_| token.is_zero()),
            kind,
            amount,
            source: EntrySource::Event,
            place: Place { transaction: Some(hash), block: Some(block), ..Place::default() },
        };
        put(connection, &entry)?;
    }
    Ok(())
}

/// Takes the entry `id` back.
fn reverse(connection: &Connection, id: i64, now: Timestamp) -> Result<(), LedgerError> {
    let sql = "INSERT INTO entries (at, chain, contract, stream_id, vm_id, renter, token, symbol, decimals, kind, debit, \
               credit, amount, source, tx, log_index, block, block_hash, usd, reverses) \
               SELECT ?2, chain, contract, stream_id, vm_id, renter, token, symbol, decimals, 'unbooked', credit, debit, \
               amount, source, tx, log_index, block, block_hash, usd, id FROM entries WHERE id = ?1 AND reversed = 0";
    connection.prepare_cached(sql)?.execute(params![id, now.as_microsecond()])?;
    connection.prepare_cached("UPDATE entries SET reversed = 1 WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// The entries of a contract that count, and fit `more`.
fn living(
    connection: &Connection,
    more: &str,
    parameters: impl rusqlite::Params,
) -> Result<Vec<Entry>, LedgerError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM entries WHERE reversed = 0 AND reverses IS NULL AND contract = ?1 AND {more} ORDER BY id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let entries = statement.query_map(parameters, entry)?.collect::<Result<_, _>>()?;
    Ok(entries)
}

/// What is booked of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamSums {
    /// Vested, by the books.
    pub earned: U256,
    /// Left the contract for the wallet; with what a token kept on the way.
    pub received: U256,
    /// When it was last booked as vested.
    pub earned_until: Option<Timestamp>,
}

fn sums(connection: &Connection, contract: &str, id: StreamId) -> Result<StreamSums, LedgerError> {
    let mut sums = StreamSums::default();
    for entry in living(connection, "stream_id = ?2", params![contract, id.to_string()])? {
        match entry.kind {
            EntryKind::Earned => sums.earned = sums.earned.saturating_add(entry.amount),
            EntryKind::EarnedLess => sums.earned = sums.earned.saturating_sub(entry.amount),
            EntryKind::Withdrawn | EntryKind::Terminated | EntryKind::TokenFee => {
                sums.received = sums.received.saturating_add(entry.amount);
            }
            _ => continue,
        }
        if matches!(entry.kind, EntryKind::Earned | EntryKind::EarnedLess) {
            sums.earned_until = sums.earned_until.max(Some(entry.at));
        }
    }
    Ok(sums)
}

/// Notes a stream that pays, and the rental that it pays for.
pub(super) fn put_book_stream(
    connection: &Connection,
    contract: &str,
    stream: &BookedStream,
) -> Result<(), LedgerError> {
    let sql = "INSERT INTO book_streams (contract, id, vm_id, sender, token, start) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
               ON CONFLICT (contract, id) DO UPDATE SET vm_id = coalesce(?3, vm_id), sender = ?4, token = ?5, start = ?6";
    connection.prepare_cached(sql)?.execute(params![
        contract,
        stream.id.to_string(),
        stream.vm.as_ref().map(VmId::as_str),
        address_text(stream.sender),
        address_text(stream.token),
        i64::try_from(stream.start).unwrap_or(i64::MAX),
    ])?;
    Ok(())
}

/// The midnights, in UTC, after `from` and up to `to`; of very many, the last.
fn midnights(from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    const DAY: i64 = 86_400;
    let last = to.as_second().div_euclid(DAY);
    let first =
        (from.as_second().div_euclid(DAY) + 1).max(last.saturating_sub(i64::try_from(DAYS).unwrap_or(0)));
    (first..=last).filter_map(|day| Timestamp::from_second(day.checked_mul(DAY)?).ok()).collect()
}

/// A batch while it is written.
struct Writing<'a> {
    connection: &'a Connection,
    batch: &'a Batch,
    now: Timestamp,
}

impl Writing<'_> {
    fn currency(&self, token: U160) -> Option<&Currency> {
        self.batch.currencies.get(&token)
    }

    fn entry(&self, posting: &Posting) -> NewEntry<'_> {
        NewEntry {
            at: posting.at,
            chain_id: self.batch.chain_id,
            contract: Some(&self.batch.contract),
            stream: posting.stream,
            token: posting.token,
            currency: self.currency(posting.token),
            kind: posting.kind,
            amount: posting.amount,
            source: EntrySource::Event,
            place: posting.position.into(),
        }
    }

    /// Takes back what is booked in the blocks that were read and is not there. M-10
    fn unbook(&self) -> Result<usize, LedgerError> {
        let place = |at: &Position| (at.transaction.to_string(), at.log, Some(at.block_hash));
        let there: BTreeMap<_, U256> = self
            .batch
            .postings
            .iter()
            .map(|posting| ((place(&posting.position), posting.kind), posting.amount))
            .collect();
        let places: BTreeSet<_> =
            self.batch.postings.iter().map(|posting| place(&posting.position)).collect();
        let booked = living(
            self.connection,
            "block BETWEEN ?2 AND ?3 AND log_index IS NOT NULL",
            params![&*self.batch.contract, self.batch.blocks.start(), self.batch.blocks.end()],
        )?;
        let mut unbooked = 0;
        for entry in booked {
            let (Some(transaction), Some(log)) = (entry.transaction.clone(), entry.log) else { continue };
            let place = (transaction, log, entry.block_hash);
            let stands = if entry.kind.is_of_event() {
                there.get(&(place, entry.kind)) == Some(&entry.amount)
            } else {
                places.contains(&place)
            };
            if !stands {
                reverse(self.connection, entry.id, self.now)?;
                unbooked += 1;
            }
        }
        Ok(unbooked)
    }

    /// Whether an older version recorded what `posting` says; then the entry of that learns where it stands.
    fn adopt(&self, posting: &Posting) -> Result<bool, LedgerError> {
        let (transaction, stream) =
            (posting.position.transaction.to_string(), posting.stream.map(|id| id.to_string()));
        let older = living(
            self.connection,
            "tx = ?2 AND stream_id = ?3 AND kind = ?4 AND log_index IS NULL",
            params![&*self.batch.contract, transaction, stream, posting.kind.as_str()],
        )?;
        let Some(older) = older.first() else { return Ok(false) };
        if older.amount != posting.amount {
            reverse(self.connection, older.id, self.now)?;
            return Ok(false);
        }
        let sql = "UPDATE entries SET log_index = ?2, block = ?3, block_hash = ?4, at = ?5, \
                   symbol = coalesce(symbol, ?6), decimals = coalesce(decimals, ?7) WHERE id = ?1";
        let at = posting.position;
        let currency = self.currency(posting.token);
        self.connection.prepare_cached(sql)?.execute(params![
            older.id,
            at.log,
            at.block,
            at.block_hash.to_string(),
            posting.at.as_microsecond(),
            currency.map(|currency| &currency.symbol),
            currency.map(|currency| currency.decimals),
        ])?;
        Ok(true)
    }

    /// Books what vested of `copy` at each midnight up to `until`.
    fn accrue(&self, copy: &StreamCopy, until: Timestamp) -> Result<(), LedgerError> {
        let stream = &copy.stream;
        if stream.recipient.is_zero() {
            return Ok(());
        }
        let mut sums = sums(self.connection, &self.batch.contract, copy.key.id)?;
        let start = i64::try_from(stream.start).ok().and_then(|at| Timestamp::from_second(at).ok());
        let Some(from) = sums.earned_until.or(start) else { return Ok(()) };
        for midnight in midnights(from, until) {
            let vested = stream.vested(u128::try_from(midnight.as_second()).unwrap_or(0));
            let Some(amount) = vested.checked_sub(sums.earned).filter(|amount| !amount.is_zero()) else {
                continue;
            };
            sums.earned = vested;
            let entry = NewEntry {
                // The last moment of the day in which it vested.
                at: midnight - jiff::SignedDuration::from_micros(1),
                stream: Some(copy.key.id),
                token: stream.token,
                currency: self.currency(stream.token),
                kind: EntryKind::Earned,
                amount,
                source: EntrySource::Clock,
                place: Place::default(),
                chain_id: self.batch.chain_id,
                contract: Some(&self.batch.contract),
            };
            put(self.connection, &entry)?;
        }
        Ok(())
    }

    /// Books that as much had vested of the stream of `posting` as was paid: payouts pay all of it.
    fn earn(&self, posting: &Posting) -> Result<(), LedgerError> {
        let Some(id) = posting.stream else { return Ok(()) };
        let before = sums(self.connection, &self.batch.contract, id)?;
        let (kind, amount) = if before.received >= before.earned {
            (EntryKind::Earned, before.received - before.earned)
        } else {
            (EntryKind::EarnedLess, before.earned - before.received)
        };
        if !amount.is_zero() {
            put(self.connection, &NewEntry { kind, amount, ..self.entry(posting) })?;
        }
        Ok(())
    }

    fn write(&self) -> Result<Booked, LedgerError> {
        let contract = &*self.batch.contract;
        for stream in &self.batch.opened {
            put_book_stream(self.connection, contract, stream)?;
        }
        let mut booked = Booked { new: 0, unbooked: self.unbook()? };
        let mut ended: BTreeMap<StreamId, &Posting> = BTreeMap::new();
        for posting in &self.batch.postings {
            if let Some(id) = posting.stream {
                if let Some(copy) = stream_copy(self.connection, contract, id)? {
                    self.accrue(&copy, posting.at)?;
                }
                if posting.kind != EntryKind::Refunded {
                    ended.insert(id, posting);
                }
            }
            if !self.adopt(posting)? && put(self.connection, &self.entry(posting))? {
                booked.new += 1;
            }
        }
        for posting in ended.values() {
            self.earn(posting)?;
        }
        for copy in &self.batch.copies {
            put_stream(self.connection, copy)?;
        }
        self.remember()?;
        Ok(booked)
    }

    fn remember(&self) -> Result<(), LedgerError> {
        let Batch { contract, last, .. } = self.batch;
        let number = i64::try_from(last.number).unwrap_or(i64::MAX);
        // Those above are of a chain that is no more.
        self.connection
            .prepare_cached("DELETE FROM book_blocks WHERE contract = ?1 AND number > ?2")?
            .execute(params![&**contract, self.batch.after])?;
        let sql = "INSERT OR REPLACE INTO book_blocks (contract, number, hash, time) VALUES (?1, ?2, ?3, ?4)";
        let time = i64::try_from(last.time).unwrap_or(i64::MAX);
        self.connection.prepare_cached(sql)?.execute(params![
            &**contract,
            number,
            last.hash.to_string(),
            time
        ])?;
        let sql = "DELETE FROM book_blocks WHERE contract = ?1 AND number < (SELECT min(number) FROM \
                   (SELECT number FROM book_blocks WHERE contract = ?1 ORDER BY number DESC LIMIT ?2))";
        self.connection.prepare_cached(sql)?.execute(params![&**contract, BLOCKS_KEPT])?;
        Ok(())
    }
}

impl Ledger {
    /// Books what was read, with the streams and the last block: one transaction.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn book(&self, batch: Batch, now: Timestamp) -> Result<Booked, LedgerError> {
        self.ask(move |writer| {
            let transaction = writer.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let booked = Writing { connection: &transaction, batch: &batch, now }.write()?;
            transaction.commit()?;
            Ok(booked)
        })
        .await
    }

    /// Notes what the money of the chain `chain_id` itself is called.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn name_coin(&self, chain_id: u64, coin: Currency) -> Result<(), LedgerError> {
        self.ask(move |writer| {
            let sql =
                "INSERT OR REPLACE INTO coins (chain, symbol, decimals, rated_as) VALUES (?1, ?2, ?3, ?4)";
            let Currency { symbol, decimals, rated_as } = coin;
            writer.connection.execute(sql, params![chain_id, symbol, decimals, rated_as])?;
            Ok(())
        })
        .await
    }

    /// The blocks up to which events of `contract` were read, newest first.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn book_blocks(&self, contract: Arc<str>) -> Result<Vec<Block>, LedgerError> {
        self.ask(move |writer| {
            let sql = "SELECT number, hash, time FROM book_blocks WHERE contract = ?1 ORDER BY number DESC";
            let read = |row: &Row<'_>| {
                Ok(Block { number: row.get(0)?, hash: parsed(row, 1)?, time: row.get::<_, u64>(2)?.into() })
            };
            let mut statement = writer.connection.prepare_cached(sql)?;
            let blocks = statement.query_map([&*contract], read)?.collect::<Result<_, _>>()?;
            Ok(blocks)
        })
        .await
    }

    /// Where events are that are booked in these `blocks` of `contract`: number and hash of the block, index in it.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn booked_in(
        &self,
        contract: Arc<str>,
        blocks: RangeInclusive<u64>,
    ) -> Result<BTreeSet<(u64, B256, u64)>, LedgerError> {
        self.ask(move |writer| {
            let booked = living(
                &writer.connection,
                "block BETWEEN ?2 AND ?3 AND log_index IS NOT NULL",
                params![&*contract, blocks.start(), blocks.end()],
            )?;
            let place = |entry: Entry| Some((entry.block?, entry.block_hash?, entry.log?));
            Ok(booked.into_iter().filter_map(place).collect())
        })
        .await
    }

    /// Every stream of `contract` that is known to pay to a wallet of the node.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn book_streams(
        &self,
        contract: Arc<str>,
    ) -> Result<BTreeMap<StreamId, BookedStream>, LedgerError> {
        self.ask(move |writer| {
            let sql = "SELECT id, vm_id, sender, token, start FROM book_streams WHERE contract = ?1";
            let read = |row: &Row<'_>| {
                Ok(BookedStream {
                    id: parsed(row, 0)?,
                    vm: optional(row, 1)?,
                    sender: address(row, 2)?,
                    token: address(row, 3)?,
                    start: row.get(4)?,
                })
            };
            let mut statement = writer.connection.prepare_cached(sql)?;
            let mut streams = BTreeMap::new();
            for stream in statement.query_map([&*contract], read)? {
                let stream = stream?;
                streams.insert(stream.id, stream);
            }
            Ok(streams)
        })
        .await
    }

    /// What is booked of the streams `ids` of `contract`.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn book_sums(
        &self,
        contract: Arc<str>,
        ids: Vec<StreamId>,
    ) -> Result<BTreeMap<StreamId, StreamSums>, LedgerError> {
        self.ask(move |writer| {
            ids.iter().map(|id| Ok((*id, sums(&writer.connection, &contract, *id)?))).collect()
        })
        .await
    }

    /// Every entry since `since`, also those that were taken back, oldest first.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn entries(&self, since: Timestamp) -> Result<Vec<Entry>, LedgerError> {
        self.ask(move |writer| {
            let sql = format!("SELECT {COLUMNS} FROM entries WHERE at >= ?1 ORDER BY at, id");
            let mut statement = writer.connection.prepare_cached(&sql)?;
            let entries = statement.query_map([since.as_microsecond()], entry)?.collect::<Result<_, _>>()?;
            Ok(entries)
        })
        .await
    }
}
