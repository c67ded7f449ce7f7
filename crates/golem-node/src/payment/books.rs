//! Reads what happened to streams, for the books.
//!
//! ```text
//!   last block that was booked ─► is it still there? ──yes──► events up to the head ─► postings ─► ledger (one transaction)
//!                                        │ no                          ▲
//!                                        └─► back to one that is ──────┘ what is gone there is taken back
//! ```
//! Owns which blocks are read, and whether what was booked of them is still there: events, and the node's own transactions.
//! Where it stands is in the ledger, so that a restart reads on from there and a kill at any time books nothing twice. Where
//! no endpoint gives events, what streams say of themselves is booked. Never decides what an event means.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;

use alloy_primitives::B256;
use golem_chain::{Block, ChainError, Head, History};
use golem_types::{Stream, StreamId};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::Payments;
use super::postings::{BooksError, Looked};
use crate::crash::crash_point;
use crate::ledger::{Batch, Booked, LedgerError, Readings};
use crate::paid::StreamCopy;
use crate::transactions::Queue;

/// Blocks whose events are read once more at the next look.
const OVERLAP: u64 = 2;

/// Looks whose blocks are read once more now and then: an answer that left something out, or was garbled, is made good.
const LOOKS_AGAIN: usize = 25;

/// Blocks that are looked at in one request while the first of a time is looked for.
const SEARCHED: u64 = 16;

/// How often in a row an event has to be missing from a block that is still there until it never was.
const BELIEF: u32 = 3;

/// How much is done to know what happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// Most requests for events.
    pub(super) requests: u64,
    /// Whether what was read lately is read once more.
    pub(super) again: bool,
}

/// What was read since the last booking.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Streams that something happened to; `None` if that could be any.
    pub(super) touched: Option<BTreeSet<StreamId>>,
    /// What is to be booked.
    pub(super) batch: Option<Batch>,
}

/// Reads what is too far behind for the monitor to wait for it, whenever that says so, until `stop`.
pub(crate) async fn catch_up(payments: Payments, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = payments.0.behind.notified() => {}
        }
        let read = tokio::select! {
            () = stop.cancelled() => return,
            read = payments.read_books() => read,
        };
        match read {
            Ok(Booked { new, unbooked, .. }) => tracing::debug!(new, unbooked, "the books are up to date"),
            Err(error) => golem_service::log_limited!(
                warn,
                error = &error as &dyn std::error::Error,
                "what happened to streams cannot be read; the books stay behind"
            ),
        }
    }
}

impl Payments {
    /// Reads what happened up to the newest block, and books it.
    ///
    /// # Errors
    /// [`BooksError`].
    pub async fn read_books(&self) -> Result<Booked, BooksError> {
        let _alone = self.0.reading.lock().await;
        let head = self.0.reader.head(None).await?;
        self.advance(&head).await
    }

    /// Books everything up to `head`. Whoever calls holds the lock on reading.
    pub(super) async fn advance(&self, head: &Head) -> Result<Booked, BooksError> {
        let mut sum = Booked::default();
        let mut effort = Effort { requests: u64::MAX, again: true };
        loop {
            let news = self.news(head, None, effort).await?;
            effort.again = false;
            let Some(batch) = news.batch else { return Ok(sum) };
            let is_last = batch.last.number >= head.block.number;
            let booked = self.book(batch).await?;
            sum.new += booked.new;
            sum.unbooked += booked.unbooked;
            sum.reopened += booked.reopened;
            if is_last {
                return Ok(sum);
            }
        }
    }

    /// Books `batch`.
    pub(super) async fn book(&self, batch: Batch) -> Result<Booked, LedgerError> {
        let booked = self.0.ledger.book(batch, Timestamp::now()).await?;
        self.follow_again(booked.reopened);
        Ok(booked)
    }

    /// Has `transactions` that are open again followed.
    pub(super) fn follow_again(&self, transactions: usize) {
        if transactions > 0 {
            tracing::warn!(
                transactions,
                "the chain was reorganised: transactions are in no block any more, and are followed again"
            );
            self.queues().for_each(Queue::has_more);
        }
    }

    /// Takes back what the node's transactions cost in those of the blocks among `blocks` that the chain has not, where no events
    /// are read. M-10
    pub(super) async fn take_back(&self, blocks: RangeInclusive<u64>) -> Result<(), BooksError> {
        let gone = self.gone(blocks).await?;
        if !gone.is_empty() {
            let chain = self.config().chain_id;
            self.follow_again(self.0.ledger.reopen_transactions(chain, gone, Timestamp::now()).await?);
        }
        Ok(())
    }

    /// Those of the blocks among `blocks` that the node's transactions came into, by number and hash, which the chain has not.
    async fn gone(&self, blocks: RangeInclusive<u64>) -> Result<Vec<(u64, B256)>, BooksError> {
        let known = self.0.ledger.transaction_blocks(self.config().chain_id, blocks).await?;
        if known.is_empty() {
            return Ok(Vec::new());
        }
        let numbers: Vec<u64> = known.iter().map(|(number, _)| *number).collect();
        let found = self.0.reader.blocks(&numbers).await?;
        let is_gone = |((_, hash), block): &((u64, B256), Option<Block>)| {
            block.is_some_and(|block| block.hash != *hash)
        };
        Ok(known.into_iter().zip(found).filter(is_gone).map(|(place, _)| place).collect())
    }

    /// Whether an endpoint gives events, as far as is known.
    pub(super) fn has_events(&self) -> bool {
        self.0.reader.requests_of(1).is_some()
    }

    /// Keeps the streams that `changed`. Where no endpoint tells what happened to streams, the books follow from what those
    /// that were `read` at `block` say themselves.
    pub(super) async fn keep_readings(
        &self,
        changed: Vec<StreamCopy>,
        block: Block,
        read: Vec<(StreamId, Stream)>,
    ) -> Result<(), LedgerError> {
        if !changed.is_empty() {
            self.0.ledger.keep_streams(changed).await?;
        }
        // What takes a while, or failed by chance, is read by and by.
        if !self.has_events() {
            self.book_readings(block, read).await?;
        }
        Ok(())
    }

    /// Books what `streams` say of themselves at `block`, and no event.
    pub(super) async fn book_readings(
        &self,
        block: Block,
        streams: Vec<(StreamId, Stream)>,
    ) -> Result<(), LedgerError> {
        let readings = Readings {
            contract: self.0.contract.clone(),
            chain_id: self.config().chain_id,
            block,
            streams,
            currencies: self.currencies(),
        };
        let changed = self.0.ledger.book_readings(readings, Timestamp::now()).await?;
        if changed > 0 {
            golem_service::log_limited!(
                warn,
                network = self.config().name,
                streams = changed,
                "no endpoint gives events, so payments are booked as the streams themselves say, without their transactions; \
                 fix: add an endpoint with eth_getLogs to the network's profile"
            );
        }
        Ok(())
    }

    /// What happened up to `head`, of which `known` was read before. Nothing is read where that would take more than the
    /// requests of `effort`. What is to be booked is left to the caller, to be kept with what follows from it.
    pub(super) async fn news(
        &self,
        head: &Head,
        known: Option<&Block>,
        effort: Effort,
    ) -> Result<News, BooksError> {
        let reader = &self.0.reader;
        // Where to read on from is not looked for as long as nothing can be read there.
        if !self.has_events() {
            return Ok(News::default());
        }
        let (continues, head) = (head.continues, &head.block);
        let mut blocks = self.0.ledger.book_blocks(self.0.contract.clone()).await?;
        let first = blocks.first().copied();
        if first.is_some_and(|block| (block.number, block.hash) == (head.number, head.hash)) {
            return Ok(News { touched: Some(BTreeSet::new()), batch: None });
        }
        let is = |block: &Block, other: &Block| (block.number, block.hash) == (other.number, other.hash);
        let from = match first {
            // It is still there: the head was asked for together with it.
            Some(block) if continues && known.is_some_and(|known| is(known, &block)) => block,
            Some(_) => self.common(&mut blocks, head).await?,
            None => self.first_block(head).await?,
        };
        let is_whole = first.is_some_and(|first| is(&first, &from))
            && known.is_some_and(|known| known.number >= from.number);
        if first.is_some_and(|first| first.number < head.number && !is(&first, &from)) {
            tracing::warn!(
                block = from.number,
                "the chain was reorganised; what is gone after this block is taken out of the books"
            );
        }
        // Who answers may not have the logs of the newest blocks yet: those are read twice.
        let newest = from.number.saturating_add(1).saturating_sub(OVERLAP);
        let again = blocks.iter().take(LOOKS_AGAIN).next_back().map(|block| block.number.saturating_add(1));
        let start = again.filter(|_| effort.again).map_or(newest, |again| again.min(newest));
        let needed = reader.requests_of(head.number.saturating_sub(start));
        if needed.is_none_or(|needed| needed > effort.requests) {
            return Ok(News::default());
        }
        let history = reader.history(start, head.number).await?;
        let last = if history.through >= head.number {
            *head
        } else {
            let found = reader.blocks(&[history.through]).await?;
            found.first().copied().flatten().ok_or(ChainError::Nonsense("a gap in the chain"))?
        };
        self.nothing_is_withheld(&history, start).await?;
        let looked = Looked { after: from.number, blocks: start..=last.number, last };
        let mut batch = self.batch(&history, looked, head).await?;
        batch.gone = self.gone(start..=last.number).await?;
        crash_point!("books-read");
        let touched = (is_whole && last.number == head.number).then_some(history.touched);
        Ok(News { touched, batch: Some(batch) })
    }

    /// Makes sure that what is booked in the blocks from `start` on is in `history`, or that its block is gone.
    pub(super) async fn nothing_is_withheld(&self, history: &History, start: u64) -> Result<(), BooksError> {
        let blocks = start..=history.through;
        let booked = self.0.ledger.booked_in(self.0.contract.clone(), blocks).await?;
        let there: BTreeSet<(u64, B256, u64)> =
            history.events.iter().map(|event| (event.at.block, event.at.block_hash, event.at.log)).collect();
        let missing: Vec<_> = booked.into_iter().filter(|place| !there.contains(place)).collect();
        if missing.is_empty() {
            self.0.withheld.store(0, Ordering::Relaxed);
            return Ok(());
        }
        let numbers: Vec<u64> = missing.iter().map(|(number, ..)| *number).collect();
        let found = self.0.reader.blocks(&numbers).await?;
        let is_there = |((_, hash, _), block): (&(u64, B256, u64), Option<Block>)| {
            block.is_some_and(|block| block.hash == *hash)
        };
        if missing.iter().zip(found).any(is_there) {
            // Said again and again it is true, and what was said before was not.
            if self.0.withheld.fetch_add(1, Ordering::Relaxed) < BELIEF {
                return Err(ChainError::Nonsense("a block without an event that it had before").into());
            }
        }
        self.0.withheld.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// The newest of `blocks`, older than `head`, that is still part of the chain; those above it are dropped. Where none is,
    /// everything is read again.
    async fn common(&self, blocks: &mut Vec<Block>, head: &Block) -> Result<Block, BooksError> {
        blocks.retain(|block| block.number < head.number);
        let mut step = 8;
        while !blocks.is_empty() {
            let some: Vec<Block> = blocks.iter().take(step).copied().collect();
            let numbers: Vec<u64> = some.iter().map(|block| block.number).collect();
            let found = self.0.reader.blocks(&numbers).await?;
            let same = some
                .iter()
                .zip(found)
                .position(|(known, found)| found.is_some_and(|found| found.hash == known.hash));
            match same {
                Some(same) => {
                    blocks.drain(..same);
                    if let Some(block) = blocks.first() {
                        return Ok(*block);
                    }
                }
                None => drop(blocks.drain(..some.len())),
            }
            step = step.saturating_mul(4);
        }
        self.first_block(head).await
    }

    /// The block before the first stream to the node was opened; before the newest where there is none yet.
    pub(super) async fn first_block(&self, head: &Block) -> Result<Block, BooksError> {
        let streams = self.0.ledger.book_streams(self.0.contract.clone()).await?;
        let first = streams.values().map(|stream| u128::from(stream.start)).min();
        let before = head.number.saturating_sub(1);
        let number = match first {
            Some(first) if first <= head.time => self.block_before(first, before).await?,
            _ => before,
        };
        let found = self.0.reader.blocks(&[number]).await?;
        Ok(found.first().copied().flatten().ok_or(ChainError::Nonsense("a gap in the chain"))?)
    }

    /// The number of the last block before the time `time`, not above `most`.
    async fn block_before(&self, time: u128, most: u64) -> Result<u64, BooksError> {
        let (mut low, mut high) = (0, most);
        while low < high {
            let width = (high - low).div_ceil(SEARCHED).max(1);
            let numbers: Vec<u64> =
                (1..=SEARCHED).map(|part| low.saturating_add(width.saturating_mul(part)).min(high)).collect();
            let found = self.0.reader.blocks(&numbers).await?;
            let is_before = |block: &Option<Block>| block.is_some_and(|block| block.time < time);
            let passed = found.iter().take_while(|block| is_before(block)).count();
            let last = passed.checked_sub(1).and_then(|index| numbers.get(index)).copied();
            let next = numbers.get(passed).copied();
            low = last.unwrap_or(low);
            match next {
                // The one that is looked for is `low` or above, and below `next`.
                Some(next) => high = next.saturating_sub(1).max(low),
                None => return Ok(low),
            }
        }
        Ok(low)
    }
}
