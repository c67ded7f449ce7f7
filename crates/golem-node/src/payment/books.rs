//! Reads what happened to streams, for the books.
//!
//! ```text
//!   last block that was booked ─► is it still there? ──yes──► events up to the head ─► postings ─► ledger (one transaction)
//!                                        │ no                          ▲
//!                                        └─► back to one that is ──────┘ what is gone there is taken back
//! ```
//! Owns which events are the node's: those of streams to its wallet, whatever brought the money and whether or not there
//! ever was a rental; and what really arrived of a token that keeps a fee. Where it stands is in the ledger, so that a restart
//! reads on from there and a kill at any time books nothing twice. Never decides what a stream is worth.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;

use alloy_primitives::{Address, B256};
use golem_chain::contract::events::{Happened, Split, StreamEvent};
use golem_chain::{Block, ChainError, Head, History};
use golem_types::{Stream, StreamId};
use jiff::Timestamp;
use ruint::aliases::{U160, U256};
use tokio_util::sync::CancellationToken;

use super::{PaymentConfig, Payments, address, number};
use crate::crash::crash_point;
use crate::entry::{Currency, EntryKind, Posting};
use crate::ledger::{Batch, Booked, BookedStream, LedgerError};

/// Blocks whose events are read once more at the next look.
const OVERLAP: u64 = 2;

/// Looks whose blocks are read once more now and then: an answer that left something out, or was garbled, is made good.
const LOOKS_AGAIN: usize = 25;

/// Blocks that are looked at in one request while the first of a time is looked for.
const SEARCHED: u64 = 16;

/// Why nothing more was booked.
#[derive(Debug, thiserror::Error)]
pub enum BooksError {
    /// The chain could not be read.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The ledger failed.
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
}

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

/// Money that left the contract for the wallet, or for a renter.
struct Payout {
    event: StreamEvent,
    kind: EntryKind,
    amount: U256,
    token: U160,
}

/// Which blocks were looked at: the fields of a [`Batch`] of these names.
pub(super) struct Looked {
    pub(super) after: u64,
    pub(super) blocks: RangeInclusive<u64>,
    pub(super) last: Block,
}

fn timestamp(seconds: u128) -> Timestamp {
    let seconds = i64::try_from(seconds).ok();
    seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or(Timestamp::MAX)
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
            Ok(Booked { new, unbooked }) => tracing::debug!(new, unbooked, "the books are up to date"),
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
            let booked = self.0.ledger.book(batch, Timestamp::now()).await?;
            sum.new += booked.new;
            sum.unbooked += booked.unbooked;
            if is_last {
                return Ok(sum);
            }
        }
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
        let batch = self.batch(&history, looked, head).await?;
        crash_point!("books-read");
        let touched = (is_whole && last.number == head.number).then_some(history.touched);
        Ok(News { touched, batch: Some(batch) })
    }

    /// Makes sure that what is booked in the blocks from `start` on is in `history`, or that its block is gone.
    async fn nothing_is_withheld(&self, history: &History, start: u64) -> Result<(), BooksError> {
        let blocks = start..=history.through;
        let booked = self.0.ledger.booked_in(self.0.contract.clone(), blocks).await?;
        let there: BTreeSet<(u64, B256, u64)> =
            history.events.iter().map(|event| (event.at.block, event.at.block_hash, event.at.log)).collect();
        let missing: Vec<_> = booked.into_iter().filter(|place| !there.contains(place)).collect();
        if missing.is_empty() {
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

    /// What `history`, of the blocks `looked`, means for the books; what else has to be known is read as of `head`.
    pub(super) async fn batch(
        &self,
        history: &History,
        looked: Looked,
        head: &Block,
    ) -> Result<Batch, BooksError> {
        let Looked { after, blocks, last } = looked;
        let mut batch = Batch {
            contract: self.0.contract.clone(),
            chain_id: self.config().chain_id,
            after,
            blocks,
            last,
            opened: Vec::new(),
            foreign: Vec::new(),
            postings: Vec::new(),
            copies: Vec::new(),
            currencies: self.currencies(),
        };
        let pays = |event: &&StreamEvent| {
            matches!(
                event.what,
                Happened::Created { .. } | Happened::Withdrawn { .. } | Happened::Terminated(_)
            )
        };
        let events: Vec<&StreamEvent> = history.events.iter().filter(pays).collect();
        if events.is_empty() {
            return Ok(batch);
        }
        let wallet = number(self.config().wallet.address());
        let former = self.config().former.iter().map(|former| number(former.address));
        let own: BTreeSet<U160> = former.chain([wallet]).collect();
        let mut known = self.0.ledger.book_streams(self.0.contract.clone()).await?;
        for event in &events {
            if let Happened::Created { sender, recipient, token, start, .. } = event.what
                && own.contains(&recipient)
            {
                let vm = known.get(&event.id).and_then(|stream| stream.vm.clone());
                let start = u64::try_from(start).unwrap_or(u64::MAX);
                let stream = BookedStream { id: event.id, vm, sender, token, start };
                batch.opened.push(stream.clone());
                known.insert(event.id, stream);
            }
        }
        // What a garbled answer once said of a stream does not make it ours.
        let foreign = |event: &&&StreamEvent| match event.what {
            Happened::Created { recipient, .. } => !own.contains(&recipient),
            _ => false,
        };
        for event in events.iter().filter(foreign) {
            if known.get(&event.id).is_some_and(|stream| stream.vm.is_none()) {
                known.remove(&event.id);
                batch.foreign.push(event.id);
            }
        }
        let is_ours = |event: &&StreamEvent| match event.what {
            Happened::Withdrawn { recipient, .. } => {
                own.contains(&recipient) || known.contains_key(&event.id)
            }
            Happened::Terminated(_) => known.contains_key(&event.id),
            _ => false,
        };
        let ours: Vec<StreamEvent> = events.into_iter().filter(is_ours).copied().collect();
        if ours.is_empty() {
            return Ok(batch);
        }
        let times = self.times(&ours).await?;
        let streams = self.streams_of(&ours, &known, head).await?;
        for (id, stream) in streams.iter().filter(|(id, _)| !known.contains_key(id)) {
            let start = u64::try_from(stream.start).unwrap_or(u64::MAX);
            batch.opened.push(BookedStream {
                id: *id,
                vm: None,
                sender: stream.sender,
                token: stream.token,
                start,
            });
        }
        let mut payouts = Vec::new();
        for event in ours {
            let (Some(token), Some(time)) = (
                known
                    .get(&event.id)
                    .map(|known| known.token)
                    .or_else(|| streams.get(&event.id).map(|stream| stream.token)),
                times.get(&event.at.block),
            ) else {
                continue;
            };
            let mut push = |kind, amount: U256| {
                if !amount.is_zero() {
                    payouts.push(Payout { event, kind, amount, token });
                }
            };
            match event.what {
                Happened::Withdrawn { amount, .. } => push(EntryKind::Withdrawn, amount),
                Happened::Terminated(split) => {
                    let refund = streams
                        .get(&event.id)
                        .map_or(U256::ZERO, |stream| stream.deposit.saturating_sub(stream.vested(*time)));
                    let (paid, refunded) = split.settle(refund);
                    push(EntryKind::Terminated, paid);
                    push(EntryKind::Refunded, refunded);
                }
                _ => {}
            }
        }
        let arrived = self.arrived(&payouts, &own).await?;
        batch.postings = postings(&payouts, &times, arrived);
        Ok(batch)
    }

    /// The times of the blocks in which `events` are; the chain has to have these very blocks.
    async fn times(&self, events: &[StreamEvent]) -> Result<BTreeMap<u64, u128>, ChainError> {
        let hashes: BTreeMap<u64, B256> =
            events.iter().map(|event| (event.at.block, event.at.block_hash)).collect();
        let numbers: Vec<u64> = hashes.keys().copied().collect();
        let found = self.0.reader.blocks(&numbers).await?;
        let mut times = BTreeMap::new();
        for (number, block) in numbers.iter().zip(found) {
            match block {
                Some(block) if hashes.get(number) == Some(&block.hash) => {
                    times.insert(*number, block.time);
                }
                _ => return Err(ChainError::Nonsense("logs of blocks that the chain does not have")),
            }
        }
        if events.iter().any(|event| hashes.get(&event.at.block) != Some(&event.at.block_hash)) {
            return Err(ChainError::Nonsense("logs of two blocks with one number"));
        }
        Ok(times)
    }

    /// The streams of `events` of which more has to be known than is in the books.
    async fn streams_of(
        &self,
        events: &[StreamEvent],
        known: &BTreeMap<StreamId, BookedStream>,
        head: &Block,
    ) -> Result<BTreeMap<StreamId, Stream>, ChainError> {
        let is_open = |event: &&StreamEvent| match event.what {
            Happened::Terminated(Split::Either(one, other)) => one != other,
            _ => !known.contains_key(&event.id),
        };
        let ids: BTreeSet<StreamId> = events.iter().filter(is_open).map(|event| event.id).collect();
        let ids: Vec<StreamId> = ids.into_iter().collect();
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let readings = self.0.reader.at(head, &ids).await?;
        Ok(ids.into_iter().zip(readings).collect())
    }

    /// What of tokens arrived at the wallets `own`, by transaction and token.
    async fn arrived(&self, payouts: &[Payout], own: &BTreeSet<U160>) -> Result<Arrived, ChainError> {
        let mut wanted: BTreeMap<U160, BTreeSet<u64>> = BTreeMap::new();
        let to_wallet = |payout: &&Payout| !payout.token.is_zero() && payout.kind != EntryKind::Refunded;
        for payout in payouts.iter().filter(to_wallet) {
            wanted.entry(payout.token).or_default().insert(payout.event.at.block);
        }
        let own: BTreeSet<Address> = own.iter().copied().map(address).collect();
        let mut arrived = Arrived::new();
        for (token, blocks) in wanted {
            let (Some(from), Some(to)) = (blocks.first(), blocks.last()) else { continue };
            let found = self.0.reader.arrivals(address(token), &own, *from, *to).await?;
            arrived.extend(found.into_iter().map(|arrival| ((arrival.transaction, token), arrival.amount)));
        }
        Ok(arrived)
    }

    /// What tokens are called.
    fn currencies(&self) -> BTreeMap<U160, Currency> {
        let PaymentConfig { coin, token, symbol, decimals, rated_as, .. } = self.config();
        let own = Currency { symbol: symbol.clone(), decimals: *decimals, rated_as: rated_as.clone() };
        BTreeMap::from([(number(*token), own), (U160::ZERO, coin.clone())])
    }
}

type Arrived = BTreeMap<(B256, U160), U256>;

/// What is booked for `payouts`, where `arrived` is what really came of tokens: the rest was kept by the token. A token that
/// tells of no transfer at all in a transaction is believed to have brought all.
fn postings(payouts: &[Payout], times: &BTreeMap<u64, u128>, mut arrived: Arrived) -> Vec<Posting> {
    let mut postings = Vec::new();
    for payout in payouts {
        let Payout { event, kind, amount, token } = payout;
        let at = times.get(&event.at.block).copied().map_or(Timestamp::MAX, timestamp);
        let posting = |kind, amount| Posting {
            stream: Some(event.id),
            kind,
            amount,
            token: *token,
            at,
            position: event.at,
        };
        let brought = match arrived.get_mut(&(event.at.transaction, *token)) {
            Some(left) if *kind != EntryKind::Refunded => {
                let brought = (*left).min(*amount);
                *left = left.saturating_sub(brought);
                brought
            }
            _ => *amount,
        };
        if !brought.is_zero() {
            postings.push(posting(*kind, brought));
        }
        let kept = amount.saturating_sub(brought);
        if !kept.is_zero() {
            postings.push(posting(EntryKind::TokenFee, kept));
        }
    }
    postings
}
