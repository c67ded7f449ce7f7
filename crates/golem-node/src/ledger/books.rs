//! The books: entries, up to which block events were read, and which streams pay to the node's wallets.
//!
//! Owns that they equal what was read: what an event says is booked once, however often it is read; what is booked in blocks
//! that were read again, and is not there any more, is taken back by an entry of its own. Nothing is ever deleted. Never asks
//! a chain.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use alloy_primitives::B256;
use golem_chain::Block;
use golem_chain::contract::events::Position;
use golem_types::StreamId;
use jiff::Timestamp;
use ruint::aliases::{U160, U256};
use rusqlite::{Row, TransactionBehavior, params};

use super::columns::{address, address_text, optional, parsed};
use super::entries::{BookedStream, COLUMNS, Entry, NewEntry, entry, living, put, put_book_stream, reverse};
use super::money::{put_stream, stream_copy};
use super::readings::Page;
use super::transaction_ends::reopen;
use super::{Ledger, LedgerError};
use crate::entry::{Currency, EntryKind, EntrySource, Posting};
use crate::paid::StreamCopy;

/// Blocks that are remembered, to see how far a reorganisation goes back.
const BLOCKS_KEPT: u32 = 500;

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
    /// Streams that were opened to others: whatever was thought of them before.
    pub foreign: Vec<StreamId>,
    /// Blocks, by number and hash, that transactions of the node's came into, and that are gone.
    pub gone: Vec<(u64, B256)>,
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
    /// Transactions that are in no block any more.
    pub reopened: usize,
}

/// A batch while it is written.
struct Writing<'a> {
    page: Page<'a>,
    batch: &'a Batch,
}

impl Writing<'_> {
    fn entry(&self, posting: &Posting) -> NewEntry<'_> {
        NewEntry {
            at: posting.at,
            chain_id: self.batch.chain_id,
            contract: Some(&self.batch.contract),
            stream: posting.stream,
            token: posting.token,
            currency: self.page.currency(posting.token),
            kind: posting.kind,
            amount: posting.amount,
            source: EntrySource::Event,
            place: posting.position.into(),
        }
    }

    /// Takes back what is booked in the blocks that were read and is not there, and what is booked above the last of them in
    /// blocks that were earlier: time goes forward along a chain, so they are not of this one, which has not come as far again.
    /// An endpoint that is only some blocks behind has an earlier time, too. M-10
    /// Gives the streams of what was taken back, once for each entry.
    fn unbook(&self) -> Result<Vec<Option<StreamId>>, LedgerError> {
        let place = |at: &Position| (at.transaction.to_string(), at.log, Some(at.block_hash));
        let there: BTreeMap<_, U256> = self
            .batch
            .postings
            .iter()
            .map(|posting| ((place(&posting.position), posting.kind), posting.amount))
            .collect();
        let places: BTreeSet<_> =
            self.batch.postings.iter().map(|posting| place(&posting.position)).collect();
        let Batch { contract, blocks, last, .. } = self.batch;
        let time = last.time.saturating_mul(1_000_000);
        let booked = living(
            self.page.connection,
            "(block BETWEEN ?2 AND ?3 OR (block > ?4 AND at < ?5)) AND log_index IS NOT NULL",
            params![
                &**contract,
                blocks.start(),
                blocks.end(),
                last.number,
                i64::try_from(time).unwrap_or(i64::MAX)
            ],
        )?;
        let mut unbooked = Vec::new();
        for entry in booked {
            let (Some(transaction), Some(log)) = (entry.transaction.clone(), entry.log) else { continue };
            let place = (transaction, log, entry.block_hash);
            let stands = if entry.kind.is_of_event() {
                there.get(&(place, entry.kind)) == Some(&entry.amount)
            } else {
                places.contains(&place)
            };
            if !stands {
                reverse(self.page.connection, entry.id, self.page.now)?;
                unbooked.push(entry.stream);
            }
        }
        Ok(unbooked)
    }

    /// Whether an older version recorded what `posting` says; then the entry of that learns where it stands.
    fn adopt(&self, posting: &Posting) -> Result<bool, LedgerError> {
        let (transaction, stream) =
            (posting.position.transaction.to_string(), posting.stream.map(|id| id.to_string()));
        let older = living(
            self.page.connection,
            "tx = ?2 AND stream_id = ?3 AND kind = ?4 AND log_index IS NULL",
            params![&*self.batch.contract, transaction, stream, posting.kind.as_str()],
        )?;
        let Some(older) = older.first() else { return Ok(false) };
        if older.amount != posting.amount {
            reverse(self.page.connection, older.id, self.page.now)?;
            return Ok(false);
        }
        let sql = "UPDATE entries SET log_index = ?2, block = ?3, block_hash = ?4, at = ?5, \
                   symbol = coalesce(symbol, ?6), decimals = coalesce(decimals, ?7) WHERE id = ?1";
        let at = posting.position;
        let currency = self.page.currency(posting.token);
        self.page.connection.prepare_cached(sql)?.execute(params![
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

    fn write(&self) -> Result<Booked, LedgerError> {
        let contract = &*self.batch.contract;
        for stream in &self.batch.opened {
            put_book_stream(self.page.connection, contract, stream)?;
        }
        for id in &self.batch.foreign {
            let sql = "DELETE FROM book_streams WHERE contract = ?1 AND id = ?2 AND vm_id IS NULL";
            self.page.connection.prepare_cached(sql)?.execute(params![contract, id.to_string()])?;
        }
        let streams: BTreeSet<StreamId> =
            self.batch.postings.iter().filter_map(|posting| posting.stream).collect();
        let mut read = Vec::new();
        for id in streams {
            read.extend(self.page.read_before(id)?);
        }
        let unbooked = self.unbook()?;
        let mut booked = Booked { new: 0, unbooked: unbooked.len(), reopened: 0 };
        for gone in &self.batch.gone {
            booked.reopened += reopen(self.page.connection, self.batch.chain_id, *gone, self.page.now)?;
        }
        let mut ended: BTreeMap<StreamId, &Posting> = BTreeMap::new();
        for posting in &self.batch.postings {
            if let Some(id) = posting.stream {
                if let Some(copy) = stream_copy(self.page.connection, contract, id)? {
                    self.page.accrue(id, &copy.stream, posting.at)?;
                }
                if posting.kind != EntryKind::Refunded {
                    ended.insert(id, posting);
                }
            }
            if !self.adopt(posting)? && put(self.page.connection, &self.entry(posting))? {
                booked.new += 1;
            }
        }
        // Events take the place of what was read without them.
        for (paid, last) in &read {
            self.page.explain(last, *paid)?;
        }
        for posting in ended.values() {
            self.page.earn(&self.entry(posting))?;
        }
        let fewer: BTreeSet<StreamId> = unbooked.into_iter().flatten().collect();
        for id in fewer.into_iter().filter(|id| !ended.contains_key(id)) {
            self.page.earn_what_is_left(id)?;
        }
        for copy in &self.batch.copies {
            put_stream(self.page.connection, copy)?;
            if self.page.read_before(copy.key.id)?.is_some() {
                self.page.read(copy.key.id, &copy.stream, (copy.block, copy.block_time))?;
            }
        }
        self.remember()?;
        Ok(booked)
    }

    fn remember(&self) -> Result<(), LedgerError> {
        let Batch { contract, last, .. } = self.batch;
        let number = i64::try_from(last.number).unwrap_or(i64::MAX);
        // Those above are of a chain that is no more.
        self.page
            .connection
            .prepare_cached("DELETE FROM book_blocks WHERE contract = ?1 AND number > ?2")?
            .execute(params![&**contract, self.batch.after])?;
        let sql = "INSERT OR REPLACE INTO book_blocks (contract, number, hash, time) VALUES (?1, ?2, ?3, ?4)";
        let time = i64::try_from(last.time).unwrap_or(i64::MAX);
        self.page.connection.prepare_cached(sql)?.execute(params![
            &**contract,
            number,
            last.hash.to_string(),
            time
        ])?;
        let sql = "DELETE FROM book_blocks WHERE contract = ?1 AND number < (SELECT min(number) FROM \
                   (SELECT number FROM book_blocks WHERE contract = ?1 ORDER BY number DESC LIMIT ?2))";
        self.page.connection.prepare_cached(sql)?.execute(params![&**contract, BLOCKS_KEPT])?;
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
            let Batch { contract, chain_id, currencies, .. } = &batch;
            let page = Page { connection: &transaction, contract, chain_id: *chain_id, currencies, now };
            let booked = Writing { page, batch: &batch }.write()?;
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

    /// Notes what the `token` of the chain `chain_id` is called, for as long as anything was ever paid in it.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn name_token(&self, chain_id: u64, token: U160, name: Currency) -> Result<(), LedgerError> {
        self.ask(move |writer| {
            let sql = "INSERT OR REPLACE INTO tokens (chain, token, symbol, decimals, rated_as) \
                       VALUES (?1, ?2, ?3, ?4, ?5)";
            let Currency { symbol, decimals, rated_as } = name;
            let row = params![chain_id, address_text(token), symbol, decimals, rated_as];
            writer.connection.execute(sql, row)?;
            Ok(())
        })
        .await
    }

    /// What the tokens of the chain `chain_id` are called in which streams were ever to pay.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn tokens(&self, chain_id: u64) -> Result<BTreeMap<U160, Currency>, LedgerError> {
        self.ask(move |writer| {
            let sql = "SELECT token, symbol, decimals, rated_as FROM tokens WHERE chain = ?1";
            let read = |row: &Row<'_>| {
                let name = Currency { symbol: row.get(1)?, decimals: row.get(2)?, rated_as: row.get(3)? };
                Ok((address(row, 0)?, name))
            };
            let mut statement = writer.connection.prepare_cached(sql)?;
            let tokens = statement.query_map([chain_id], read)?.collect::<Result<_, _>>()?;
            Ok(tokens)
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
            let sql = "SELECT id, vm_id, sender, token, start, rate FROM book_streams WHERE contract = ?1";
            let read = |row: &Row<'_>| {
                Ok(BookedStream {
                    id: parsed(row, 0)?,
                    vm: optional(row, 1)?,
                    sender: address(row, 2)?,
                    token: address(row, 3)?,
                    start: row.get(4)?,
                    rate: optional(row, 5)?,
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

    /// What is booked as paid out of the streams `ids` of `contract` before the block `block`, with what tokens kept; none of
    /// those of which only a reading tells.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn paid_before(
        &self,
        contract: Arc<str>,
        ids: Vec<StreamId>,
        block: u64,
    ) -> Result<BTreeMap<StreamId, U256>, LedgerError> {
        self.ask(move |writer| {
            let mut paid = BTreeMap::new();
            for id in ids {
                let more = "stream_id = ?2 AND kind IN ('withdrawn', 'terminated', 'token_fee')";
                let booked = living(&writer.connection, more, params![&*contract, id.to_string()])?;
                if booked.iter().any(|entry| entry.source != EntrySource::Event) {
                    continue;
                }
                let before = booked.iter().filter(|entry| entry.block.is_some_and(|known| known < block));
                paid.insert(id, before.fold(U256::ZERO, |sum, entry| sum.saturating_add(entry.amount)));
            }
            Ok(paid)
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
