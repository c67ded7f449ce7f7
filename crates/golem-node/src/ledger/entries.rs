//! Entries of the books, and the streams that they are about, as rows.
//!
//! Owns the SQL statements that write, take back and sum up entries. Never opens a transaction and never decides what is
//! booked: [`super::books`] does, and [`super::transactions`] for what is spent.

use alloy_primitives::B256;
use golem_chain::contract::events::Position;
use golem_types::{Decimal, StreamId, VmId};
use jiff::Timestamp;
use ruint::aliases::{U160, U256};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::columns::{address, address_text, optional, parsed, time};
use super::error::LedgerError;
use super::rates;
use crate::entry::{Currency, EntryKind, EntrySource};

/// How old a rate may be, before or after, to be the one at the time of an entry.
const RATE_LIFE: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// An entry as it stands in the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// In the order of writing, from 1.
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
    /// Smallest units that vest in a second; `None` if an older version recorded it.
    pub rate: Option<u128>,
}

pub(super) const COLUMNS: &str = "id, at, chain, contract, stream_id, vm_id, renter, token, symbol, decimals, kind, debit, credit, \
                       amount, source, tx, log_index, block, block_hash, usd, reverses, reversed";

pub(super) fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let renter = match row.get::<_, Option<String>>(6)? {
        Some(_) => Some(address(row, 6)?),
        None => None,
    };
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
        block_hash: optional(row, 18)?,
        usd: optional(row, 19)?,
        reverses: row.get(20)?,
        reversed: row.get(21)?,
    })
}

/// An entry that is to be written.
#[derive(Clone, Copy)]
pub(super) struct NewEntry<'a> {
    pub(super) at: Timestamp,
    pub(super) chain_id: u64,
    pub(super) contract: Option<&'a str>,
    pub(super) stream: Option<StreamId>,
    pub(super) token: U160,
    pub(super) currency: Option<&'a Currency>,
    pub(super) kind: EntryKind,
    pub(super) amount: U256,
    pub(super) source: EntrySource,
    pub(super) place: Place,
}

/// Where the chain says so, as far as that is known.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) transaction: Option<B256>,
    pub(super) log: Option<u64>,
    pub(super) block: Option<u64>,
    pub(super) block_hash: Option<B256>,
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

/// US dollars for a whole `coin` at the time `at`, if the last rate that was believed is of that time.
fn usd_at(connection: &Connection, coin: &str, at: Timestamp) -> Result<Option<String>, LedgerError> {
    let rate = rates::get(connection, coin)?;
    Ok(rate.filter(|rate| at.duration_since(rate.at).abs() <= RATE_LIFE).map(|rate| rate.usd.to_string()))
}

pub(super) fn put(connection: &Connection, entry: &NewEntry<'_>) -> Result<bool, LedgerError> {
    let Some((debit, credit)) = entry.kind.accounts() else { return Ok(false) };
    let stream = entry.stream.map(|id| id.to_string());
    let usd = match entry.currency.and_then(|currency| currency.rated_as.as_deref()) {
        Some(coin) => usd_at(connection, coin, entry.at)?,
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

/// What the `token` of the chain `chain_id` is called, or its own money if that is zero; `None` if that was not noted.
fn currency(connection: &Connection, chain_id: u64, token: U160) -> Result<Option<Currency>, LedgerError> {
    let read =
        |row: &Row<'_>| Ok(Currency { symbol: row.get(0)?, decimals: row.get(1)?, rated_as: row.get(2)? });
    let found = if token.is_zero() {
        let sql = "SELECT symbol, decimals, rated_as FROM coins WHERE chain = ?1";
        connection.prepare_cached(sql)?.query_row([chain_id], read).optional()?
    } else {
        let sql = "SELECT symbol, decimals, rated_as FROM tokens WHERE chain = ?1 AND token = ?2";
        connection.prepare_cached(sql)?.query_row(params![chain_id, address_text(token)], read).optional()?
    };
    Ok(found)
}

/// What a transaction of a wallet of the node cost, and what it swept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spent<'a> {
    /// The chain.
    pub(super) chain_id: u64,
    /// The transaction.
    pub(super) hash: B256,
    /// The block that it is in.
    pub(super) block: u64,
    /// Its hash.
    pub(super) block_hash: Option<B256>,
    /// The contract and the stream that it was about.
    pub(super) about: Option<(&'a str, StreamId)>,
    /// Wei of gas, without `l1_fee`.
    pub(super) gas: U256,
    /// Wei that a second layer took for the first.
    pub(super) l1_fee: U256,
    /// Token and amount that were sent to the payout address.
    pub(super) swept: Option<(U160, U256)>,
}

/// Books what was spent at `now`: once, however often it is written.
pub(super) fn put_spent(
    connection: &Connection,
    spent: &Spent<'_>,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let costs = [(EntryKind::Gas, U160::ZERO, spent.gas), (EntryKind::L1Fee, U160::ZERO, spent.l1_fee)];
    let swept = spent.swept.map(|(token, amount)| (EntryKind::Swept, token, amount));
    let all = costs.into_iter().chain(swept);
    for (kind, token, amount) in all.filter(|(.., amount)| !amount.is_zero()) {
        let currency = currency(connection, spent.chain_id, token)?;
        let place = Place {
            transaction: Some(spent.hash),
            log: None,
            block: Some(spent.block),
            block_hash: spent.block_hash,
        };
        let entry = NewEntry {
            at: now,
            chain_id: spent.chain_id,
            contract: spent.about.map(|(contract, _)| contract),
            stream: spent.about.map(|(_, id)| id),
            token,
            currency: currency.as_ref(),
            kind,
            amount,
            source: EntrySource::Event,
            place,
        };
        put(connection, &entry)?;
    }
    Ok(())
}

/// Takes back what the transaction `hash` on the chain `chain_id` spent of these `kinds`: its block is gone, or it was another
/// amount. M-10
pub(super) fn unspend(
    connection: &Connection,
    chain_id: u64,
    hash: &str,
    kinds: &[EntryKind],
    now: Timestamp,
) -> Result<(), LedgerError> {
    let sql =
        "SELECT id, kind FROM entries WHERE chain = ?1 AND tx = ?2 AND reversed = 0 AND reverses IS NULL";
    let mut statement = connection.prepare_cached(sql)?;
    let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, parsed::<EntryKind>(row, 1)?));
    let found = statement.query_map(params![chain_id, hash], read)?.collect::<Result<Vec<_>, _>>()?;
    let mut ours = found.into_iter().filter(|(_, kind)| kinds.contains(kind));
    ours.try_for_each(|(id, _)| reverse(connection, id, now))
}

/// Takes the entry `id` back.
pub(super) fn reverse(connection: &Connection, id: i64, now: Timestamp) -> Result<(), LedgerError> {
    let sql = "INSERT INTO entries (at, chain, contract, stream_id, vm_id, renter, token, symbol, decimals, kind, debit, \
               credit, amount, source, tx, log_index, block, block_hash, usd, reverses) \
               SELECT ?2, chain, contract, stream_id, vm_id, renter, token, symbol, decimals, 'unbooked', credit, debit, \
               amount, source, tx, log_index, block, block_hash, usd, id FROM entries WHERE id = ?1 AND reversed = 0";
    connection.prepare_cached(sql)?.execute(params![id, now.as_microsecond()])?;
    connection.prepare_cached("UPDATE entries SET reversed = 1 WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// The sign keeps SQLite from the index of `reverses`, by which it would read nearly every entry there is.
fn select_living(more: &str) -> String {
    format!(
        "SELECT {COLUMNS} FROM entries WHERE reversed = 0 AND +reverses IS NULL AND contract = ?1 AND {more} ORDER BY id"
    )
}

/// The entries of a contract that count, and fit `more`.
pub(super) fn living(
    connection: &Connection,
    more: &str,
    parameters: impl rusqlite::Params,
) -> Result<Vec<Entry>, LedgerError> {
    let sql = select_living(more);
    let mut statement = connection.prepare_cached(&sql)?;
    let entries = statement.query_map(parameters, entry)?.collect::<Result<_, _>>()?;
    Ok(entries)
}

/// What is booked of a stream.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StreamSums {
    /// Vested, by the books, but for what is in `earned_less`.
    earned: U256,
    /// What vested less. More than `earned` while a reorganisation took back only some of what belongs together.
    earned_less: U256,
    /// Left the contract for the wallet; with what a token kept on the way.
    pub(super) received: U256,
    /// When it was last booked as vested.
    pub(super) earned_until: Option<Timestamp>,
}

impl StreamSums {
    /// Vested, by the books.
    pub(super) const fn earned(&self) -> U256 {
        self.earned.saturating_sub(self.earned_less)
    }

    /// What has to be booked so that as much vested as was paid; of the amount zero if nothing.
    pub(super) fn settlement(&self) -> (EntryKind, U256) {
        let (plus, minus) = (self.received.saturating_add(self.earned_less), self.earned);
        if plus >= minus { (EntryKind::Earned, plus - minus) } else { (EntryKind::EarnedLess, minus - plus) }
    }
}

pub(super) fn sums(connection: &Connection, contract: &str, id: StreamId) -> Result<StreamSums, LedgerError> {
    let mut sums = StreamSums::default();
    for entry in living(connection, "stream_id = ?2", params![contract, id.to_string()])? {
        let sum = match entry.kind {
            EntryKind::Earned => &mut sums.earned,
            EntryKind::EarnedLess => &mut sums.earned_less,
            EntryKind::Withdrawn | EntryKind::Terminated | EntryKind::TokenFee => &mut sums.received,
            _ => continue,
        };
        *sum = sum.saturating_add(entry.amount);
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
    let sql = "INSERT INTO book_streams (contract, id, vm_id, sender, token, start, rate) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
               ON CONFLICT (contract, id) DO UPDATE SET vm_id = coalesce(?3, vm_id), sender = ?4, token = ?5, start = ?6, \
               rate = coalesce(?7, rate)";
    connection.prepare_cached(sql)?.execute(params![
        contract,
        stream.id.to_string(),
        stream.vm.as_ref().map(VmId::as_str),
        address_text(stream.sender),
        address_text(stream.token),
        i64::try_from(stream.start).unwrap_or(i64::MAX),
        stream.rate.map(|rate| rate.to_string()),
    ])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked for each block, or each event of one, reads the entries that it is about.
    #[test]
    fn no_look_at_the_books_reads_all_of_them() {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::schema::migrations().to_latest(&mut connection).unwrap();
        for more in [
            "stream_id = '1'",
            "tx = '1' AND stream_id = '1' AND kind = 'earned' AND log_index IS NULL",
            "(block BETWEEN 1 AND 2 OR (block > 2 AND at < 3)) AND log_index IS NOT NULL",
        ] {
            let sql = format!("EXPLAIN QUERY PLAN {}", select_living(more));
            let mut statement = connection.prepare(&sql).unwrap();
            let plan = statement.query_map(["contract"], |row| row.get::<_, String>(3)).unwrap();
            let plan: Vec<String> = plan.map(Result::unwrap).collect();
            let by = |index: &str| plan.iter().any(|line| line.contains(index));
            assert!(by("entries_of_stream") || by("entries_by_block"), "{more}: {plan:?}");
            assert!(!by("SCAN entries") && !by("autoindex"), "{more}: {plan:?}");
        }
    }
}
