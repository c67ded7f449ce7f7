//! What events mean for the books.
//!
//! Owns which events are the node's: those of streams to its wallets, whatever brought the money and whether or not there ever
//! was a rental; and what really arrived of a token that keeps a fee. Never decides which blocks are read.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use alloy_primitives::{Address, B256};
use golem_chain::contract::events::{Happened, Split, StreamEvent};
use golem_chain::{Block, ChainError, History};
use golem_types::stream::{address, number, timestamp};
use golem_types::{Stream, StreamId};
use jiff::Timestamp;
use ruint::aliases::{U160, U256};

use super::Payments;
use crate::entry::{Currency, EntryKind, Posting};
use crate::ledger::{Batch, BookedStream, LedgerError};

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

impl Payments {
    /// What `history`, of the blocks `looked`, means for the books; what else has to be known is read as of `head`.
    pub(super) async fn batch(
        &self,
        history: &History,
        looked: Looked,
        head: &Block,
    ) -> Result<Batch, BooksError> {
        let Looked { after, blocks, last } = looked;
        let from = *blocks.start();
        let mut batch = Batch {
            contract: self.0.contract.clone(),
            chain_id: self.config().chain_id,
            after,
            blocks,
            last,
            opened: Vec::new(),
            foreign: Vec::new(),
            gone: Vec::new(),
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
            if let Happened::Created { sender, recipient, token, start, rate, .. } = event.what
                && own.contains(&recipient)
            {
                let vm = known.get(&event.id).and_then(|stream| stream.vm.clone());
                let start = u64::try_from(start).unwrap_or(u64::MAX);
                let rate = u128::try_from(rate).ok();
                let stream = BookedStream { id: event.id, vm, sender, token, start, rate };
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
        let told = self.told_refunds(&ours, &known, &times, from).await?;
        let streams = self.streams_of(&ours, &known, &told, head).await?;
        for (id, stream) in streams.iter().filter(|(id, _)| !known.contains_key(id)) {
            let start = u64::try_from(stream.start).unwrap_or(u64::MAX);
            batch.opened.push(BookedStream {
                id: *id,
                vm: None,
                sender: stream.sender,
                token: stream.token,
                start,
                rate: Some(stream.rate),
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
                    let read = || {
                        let stream = streams.get(&event.id)?;
                        Some(stream.deposit.saturating_sub(stream.vested(*time)))
                    };
                    let refund = told.get(&event.id).copied().or_else(read).unwrap_or_default();
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

    /// What went back to the senders of streams that ended by `events`, which were read from the block `from` on, where books and
    /// events tell it themselves: both shares and all that was paid before are the deposit, of which a second vests the rate.
    /// So a thousand ends cost no more requests than one. Where neither share is just that, as of a stream that was halted, the
    /// stream has to be read; so has one whose deposit had vested, because what is left of its last second went back, too.
    async fn told_refunds(
        &self,
        events: &[StreamEvent],
        known: &BTreeMap<StreamId, BookedStream>,
        times: &BTreeMap<u64, u128>,
        from: u64,
    ) -> Result<BTreeMap<StreamId, U256>, LedgerError> {
        let ends = |event: &&StreamEvent| matches!(event.what, Happened::Terminated(Split::Either(..)));
        let ids: Vec<StreamId> = events.iter().filter(ends).map(|event| event.id).collect();
        let mut paid = self.0.ledger.paid_before(self.0.contract.clone(), ids, from).await?;
        let mut refunds = BTreeMap::new();
        let mut in_order: Vec<&StreamEvent> = events.iter().collect();
        in_order.sort_by_key(|event| (event.at.block, event.at.log));
        for event in in_order {
            let (one, other) = match event.what {
                Happened::Withdrawn { amount, .. } => {
                    paid.entry(event.id).and_modify(|sum| *sum = sum.saturating_add(amount));
                    continue;
                }
                Happened::Terminated(Split::Either(one, other)) => (one, other),
                _ => continue,
            };
            let stream = known.get(&event.id).and_then(|stream| Some((stream.start, stream.rate?)));
            let facts = stream.zip(times.get(&event.at.block)).zip(paid.get(&event.id));
            let Some((((start, rate), time), before)) = facts else { continue };
            let deposit = before.saturating_add(one).saturating_add(other);
            let seconds = time.saturating_sub(u128::from(start));
            let vested = U256::from(rate).saturating_mul(U256::from(seconds));
            let refund = deposit.saturating_sub(vested);
            if !refund.is_zero() && (refund == one || refund == other) {
                refunds.insert(event.id, refund);
            }
        }
        Ok(refunds)
    }

    /// The streams of `events` of which more has to be known than is in the books, and than was `told`.
    async fn streams_of(
        &self,
        events: &[StreamEvent],
        known: &BTreeMap<StreamId, BookedStream>,
        told: &BTreeMap<StreamId, U256>,
        head: &Block,
    ) -> Result<BTreeMap<StreamId, Stream>, ChainError> {
        let is_open = |event: &&StreamEvent| match event.what {
            Happened::Terminated(Split::Either(one, other)) => one != other && !told.contains_key(&event.id),
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
    pub(super) fn currencies(&self) -> BTreeMap<U160, Currency> {
        self.0.currencies.clone()
    }

    /// What `token` is called; `None` if nothing was ever to be paid in it.
    #[must_use]
    pub fn currency(&self, token: U160) -> Option<&Currency> {
        self.0.currencies.get(&token)
    }
}

type Arrived = BTreeMap<(B256, U160), U256>;

/// What is booked for `payouts`, where `arrived` is what really came of tokens: the rest was kept by the token. A token that
/// tells of no transfer at all in a transaction is believed to have brought all.
fn postings(payouts: &[Payout], times: &BTreeMap<u64, u128>, mut arrived: Arrived) -> Vec<Posting> {
    let mut postings = Vec::new();
    for payout in payouts {
        let Payout { event, kind, amount, token } = payout;
        let at = times.get(&event.at.block).copied().and_then(timestamp).unwrap_or(Timestamp::MAX);
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
