//! Entries that follow from a stream: what vested of it day by day, and what it says itself of money that left it.
//!
//! Owns that what vested is booked before it is paid, and that a reading stands only for what no event explains. Never opens a
//! transaction and never asks a chain.

use std::collections::BTreeMap;
use std::sync::Arc;

use golem_chain::Block;
use golem_types::stream::timestamp;
use golem_types::{Stream, StreamId};
use jiff::Timestamp;
use ruint::aliases::{U160, U256};
use rusqlite::{Connection, TransactionBehavior, params};

use super::entries::{Entry, NewEntry, Place, living, put, reverse, sums};
use super::{Ledger, LedgerError};
use crate::entry::{Currency, EntryKind, EntrySource};

/// Most days that are booked at once for one stream.
const DAYS: usize = 1000;

/// The midnights, in UTC, after `from` and up to `to`; of very many, the last.
fn midnights(from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    const DAY: i64 = 86_400;
    let last = to.as_second().div_euclid(DAY);
    let first =
        (from.as_second().div_euclid(DAY) + 1).max(last.saturating_sub(i64::try_from(DAYS).unwrap_or(0)));
    (first..=last).filter_map(|day| Timestamp::from_second(day.checked_mul(DAY)?).ok()).collect()
}

/// The books of one contract while they are written.
#[derive(Clone, Copy)]
pub(super) struct Page<'a> {
    pub(super) connection: &'a Connection,
    /// Chain and contract.
    pub(super) contract: &'a str,
    pub(super) chain_id: u64,
    /// What tokens are called.
    pub(super) currencies: &'a BTreeMap<U160, Currency>,
    pub(super) now: Timestamp,
}

impl<'a> Page<'a> {
    pub(super) fn currency(&self, token: U160) -> Option<&'a Currency> {
        self.currencies.get(&token)
    }

    /// An entry of nothing yet, of the stream `id`.
    fn entry(&self, id: StreamId, token: U160, kind: EntryKind, source: EntrySource) -> NewEntry<'a> {
        NewEntry {
            at: self.now,
            chain_id: self.chain_id,
            contract: Some(self.contract),
            stream: Some(id),
            token,
            currency: self.currency(token),
            kind,
            amount: U256::ZERO,
            source,
            place: Place::default(),
        }
    }

    /// Books what vested of `stream` at each midnight up to `until`.
    pub(super) fn accrue(&self, id: StreamId, stream: &Stream, until: Timestamp) -> Result<(), LedgerError> {
        if stream.recipient.is_zero() {
            return Ok(());
        }
        let sums = sums(self.connection, self.contract, id)?;
        let mut earned = sums.earned();
        let Some(from) = sums.earned_until.or_else(|| timestamp(stream.start)) else { return Ok(()) };
        for midnight in midnights(from, until) {
            let vested = stream.vested(u128::try_from(midnight.as_second()).unwrap_or(0));
            let Some(amount) = vested.checked_sub(earned).filter(|amount| !amount.is_zero()) else {
                continue;
            };
            earned = vested;
            let entry = self.entry(id, stream.token, EntryKind::Earned, EntrySource::Clock);
            // The last moment of the day in which it vested.
            let at = midnight - jiff::SignedDuration::from_micros(1);
            put(self.connection, &NewEntry { at, amount, ..entry })?;
        }
        Ok(())
    }

    /// Books that as much had vested of the stream of `paid` as was paid: an event pays all of it, and a reading tells only
    /// that it was that much at least.
    pub(super) fn earn(&self, paid: &NewEntry<'_>) -> Result<(), LedgerError> {
        let Some(id) = paid.stream else { return Ok(()) };
        let (kind, amount) = sums(self.connection, self.contract, id)?.settlement();
        if amount.is_zero() || (kind == EntryKind::EarnedLess && paid.source == EntrySource::Reading) {
            return Ok(());
        }
        self.settle(&NewEntry { kind, amount, ..*paid })
    }

    /// Books what vested of the stream `id`, of which entries were taken back, where the last that is left of what it paid says
    /// that it was more.
    pub(super) fn earn_what_is_left(&self, id: StreamId) -> Result<(), LedgerError> {
        let (kind, amount) = sums(self.connection, self.contract, id)?.settlement();
        if amount.is_zero() || kind != EntryKind::Earned {
            return Ok(());
        }
        let more = "stream_id = ?2 AND kind IN ('withdrawn', 'terminated', 'token_fee')";
        let left = living(self.connection, more, params![self.contract, id.to_string()])?;
        let Some(last) = left.last() else { return Ok(()) };
        let place = Place {
            transaction: last.transaction.as_deref().and_then(|hash| hash.parse().ok()),
            log: last.log,
            block: last.block,
            block_hash: last.block_hash,
        };
        let entry = self.entry(id, last.token, kind, last.source);
        self.settle(&NewEntry { at: last.at, amount, place, ..entry })
    }

    /// Books `entry`, of what vested more or less. One place has one entry of a kind: with one that stands there it is one.
    fn settle(&self, entry: &NewEntry<'_>) -> Result<(), LedgerError> {
        let mut amount = entry.amount;
        let more = "stream_id = ?2 AND kind = ?3 AND tx = ?4 AND log_index = ?5";
        let (stream, transaction) = (entry.stream, entry.place.transaction);
        let place = params![
            self.contract,
            stream.map(|id| id.to_string()),
            entry.kind.as_str(),
            transaction.map(|hash| hash.to_string()),
            entry.place.log
        ];
        for standing in living(self.connection, more, place)? {
            reverse(self.connection, standing.id, self.now)?;
            amount = amount.saturating_add(standing.amount);
        }
        put(self.connection, &NewEntry { amount, ..*entry }).map(drop)
    }

    /// What is booked of the stream `id` because the stream said so, and no event.
    fn readings(&self, id: StreamId) -> Result<Vec<Entry>, LedgerError> {
        let more = "stream_id = ?2 AND source = 'reading' AND kind IN ('withdrawn', 'terminated')";
        living(self.connection, more, params![self.contract, id.to_string()])
    }

    /// All that is booked as paid of the stream `id`, with the last entry that a reading made; `None` if there is none of
    /// those.
    pub(super) fn read_before(&self, id: StreamId) -> Result<Option<(U256, Entry)>, LedgerError> {
        let Some(last) = self.readings(id)?.pop() else { return Ok(None) };
        Ok(Some((sums(self.connection, self.contract, id)?.received, last)))
    }

    /// Has readings stand for what no event explains of the `paid` out in all of the stream of `last`, an entry of theirs.
    pub(super) fn explain(&self, last: &Entry, paid: U256) -> Result<(), LedgerError> {
        let Some(id) = last.stream else { return Ok(()) };
        let place = Place { block: last.block, block_hash: last.block_hash, ..Place::default() };
        let entry = self.entry(id, last.token, last.kind, EntrySource::Reading);
        self.fill(id, NewEntry { at: last.at, place, ..entry }, paid).map(drop)
    }

    /// Has readings stand for what no event explains of what `stream` says was paid out at a `block` of that number and time;
    /// says whether that changed anything. Of a stream that was ended not all contracts count what that paid: it is what was
    /// booked at least.
    pub(super) fn read(
        &self,
        id: StreamId,
        stream: &Stream,
        block: (u64, u128),
    ) -> Result<bool, LedgerError> {
        // One that never was says nothing.
        let Some(at) = timestamp(block.1).filter(|_| !stream.sender.is_zero()) else { return Ok(false) };
        let has_ended = stream.recipient.is_zero();
        let kind = if has_ended { EntryKind::Terminated } else { EntryKind::Withdrawn };
        let place = Place { block: Some(block.0), ..Place::default() };
        let entry = NewEntry { at, place, ..self.entry(id, stream.token, kind, EntrySource::Reading) };
        self.accrue(id, stream, at)?;
        let booked = if has_ended { sums(self.connection, self.contract, id)?.received } else { U256::ZERO };
        self.fill(id, entry, stream.withdrawn.max(booked))
    }

    /// Books `entry`, which is of the stream `id`, for what neither events nor readings explain of the `paid` out in all; takes
    /// readings back that say too much.
    fn fill(&self, id: StreamId, entry: NewEntry<'_>, paid: U256) -> Result<bool, LedgerError> {
        let readings = self.readings(id)?;
        let read = readings.iter().fold(U256::ZERO, |sum, one| sum.saturating_add(one.amount));
        let received = sums(self.connection, self.contract, id)?.received;
        let unexplained = paid.saturating_sub(received.saturating_sub(read));
        if unexplained == read {
            return Ok(false);
        }
        let mut amount = unexplained;
        if unexplained < read {
            for one in &readings {
                reverse(self.connection, one.id, self.now)?;
            }
        } else {
            amount -= read;
        }
        if !amount.is_zero() {
            put(self.connection, &NewEntry { amount, ..entry })?;
        }
        self.earn(&entry)?;
        Ok(true)
    }
}

/// Streams of a contract whose events cannot be had, as they were read.
#[derive(Debug, Clone)]
pub struct Readings {
    /// Chain and contract.
    pub contract: Arc<str>,
    /// The chain.
    pub chain_id: u64,
    /// The block at which they were read.
    pub block: Block,
    /// The streams.
    pub streams: Vec<(StreamId, Stream)>,
    /// What tokens are called.
    pub currencies: BTreeMap<U160, Currency>,
}

impl Ledger {
    /// Books what streams say was paid out, and no event in the books explains; gives how many of them that changed. An event
    /// takes its place as soon as it can be read.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn book_readings(&self, readings: Readings, now: Timestamp) -> Result<usize, LedgerError> {
        self.ask(move |writer| {
            let transaction = writer.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let Readings { contract, chain_id, block, streams, currencies } = &readings;
            let page = Page { connection: &transaction, contract, chain_id: *chain_id, currencies, now };
            let mut changed = 0;
            for (id, stream) in streams {
                changed += usize::from(page.read(*id, stream, (block.number, block.time))?);
            }
            transaction.commit()?;
            Ok(changed)
        })
        .await
    }
}
