//! Whether the books equal the chain.
//!
//! Owns the comparison of every entry with what the chain says from the first block of the first stream on, and with the
//! receipts of what the node sent, and the repair: what is missing is booked, and what the chain does not have is taken back
//! by an entry of its own. Never deletes.

use std::collections::BTreeMap;

use golem_chain::{Block, ChainError};
use golem_types::{Stream, StreamId, VmId};
use jiff::Timestamp;
use ruint::aliases::U256;
use tokio_util::sync::CancellationToken;

use super::Payments;
use super::postings::{BooksError, Looked};
use crate::backoff::doubled;
use crate::entry::{EntryKind, EntrySource};
use crate::ledger::{Batch, BookedStream};

/// How often the node compares by itself.
const EVERY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// How long after its start it does so first: other things come first.
const FIRST: std::time::Duration = std::time::Duration::from_secs(600);

/// Something in which books and chain differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The stream.
    pub stream: Option<StreamId>,
    /// The rental that it paid for.
    pub vm: Option<VmId>,
    /// What moved the money.
    pub kind: EntryKind,
    /// The transaction; `None` if the contract's own sum differs from the books'.
    pub transaction: Option<String>,
    /// Wei by the chain.
    pub chain: U256,
    /// Wei by the books.
    pub books: U256,
}

/// What a comparison came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BooksCheck {
    /// Streams that were compared.
    pub streams: usize,
    /// Payments that the chain has.
    pub payments: usize,
    /// Wei that reached the wallet, by the chain, of streams in the token of the contract's network.
    pub received: U256,
    /// The first block and the last; `None` if there was no stream yet.
    pub blocks: Option<(u64, u64)>,
    /// Where they differ.
    pub differences: Vec<Difference>,
    /// Whether the differences were made good.
    pub repaired: bool,
}

impl BooksCheck {
    /// The differences that are left. Events that say more than the contract itself cannot be repaired.
    pub fn left(&self) -> impl Iterator<Item = &Difference> {
        let is_left = |difference: &&Difference| {
            !self.repaired || (difference.transaction.is_none() && difference.chain < difference.books)
        };
        self.differences.iter().filter(is_left)
    }
}

/// What the last comparison of the running node came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastCheck {
    /// When the books were last compared; `None` before the first time.
    pub at: Option<Timestamp>,
    /// Where they have differed since.
    pub differences: Vec<Difference>,
    /// Why a later comparison came to nothing.
    pub error: Option<String>,
}

/// One payment: transaction, index of its event, and kind.
type Key = (String, u64, EntryKind);

impl Payments {
    /// Compares the books with the chain from the first block of the first stream on; makes good what differs if `repair`.
    ///
    /// # Errors
    /// [`BooksError`].
    pub async fn check_books(&self, repair: bool) -> Result<BooksCheck, BooksError> {
        let checked = self.compare(repair).await;
        self.0.checked.send_modify(|last| match &checked {
            Ok(check) => {
                let differences = check.left().cloned().collect();
                *last = LastCheck { at: Some(Timestamp::now()), differences, error: None };
            }
            // What was found before is still so.
            Err(error) => last.error = Some(error.to_string()),
        });
        checked
    }

    /// What the last comparison came to.
    #[must_use]
    pub fn last_books_check(&self) -> LastCheck {
        self.0.checked.borrow().clone()
    }

    async fn compare(&self, repair: bool) -> Result<BooksCheck, BooksError> {
        let _alone = self.0.reading.lock().await;
        let head = self.0.reader.head(None).await?;
        // What is new is no difference.
        self.advance(&head).await?;
        let last = head.block;
        let known = self.0.ledger.book_streams(self.0.contract.clone()).await?;
        let entries = self.0.ledger.entries(Timestamp::UNIX_EPOCH).await?;
        let mut spent = self.check_gas(&last, &entries).await?;
        if known.is_empty() {
            let differences = spent.differences.clone();
            let repaired = repair && !differences.is_empty();
            if repaired {
                self.repair_gas(spent).await?;
            }
            return Ok(BooksCheck { differences, repaired, ..BooksCheck::default() });
        }
        let first = self.first_block(&last).await?;
        let batches = self.all(&first, &last).await?;
        let mut chain: BTreeMap<Key, (Option<StreamId>, U256)> = BTreeMap::new();
        for posting in batches.iter().flat_map(|batch| &batch.postings) {
            let key = (posting.position.transaction.to_string(), posting.position.log, posting.kind);
            chain.insert(key, (posting.stream, posting.amount));
        }
        let ours = |entry: &&crate::ledger::Entry| {
            entry.counts()
                && entry.kind.is_of_event()
                && entry.contract.as_deref() == Some(&*self.0.contract)
                // Whoever answers may be some blocks behind what was read before.
                && entry.block.is_none_or(|block| block <= last.number)
        };
        let mut read: BTreeMap<StreamId, U256> = BTreeMap::new();
        let mut books: BTreeMap<Key, (Option<StreamId>, U256)> = BTreeMap::new();
        for entry in entries.iter().filter(ours) {
            if let (EntrySource::Reading, Some(id)) = (entry.source, entry.stream) {
                let sum = read.entry(id).or_default();
                *sum = sum.saturating_add(entry.amount);
                continue;
            }
            let key =
                (entry.transaction.clone().unwrap_or_default(), entry.log.unwrap_or(u64::MAX), entry.kind);
            books.insert(key, (entry.stream, entry.amount));
        }
        let vm = |stream: Option<StreamId>| known.get(&stream?).and_then(|stream| stream.vm.clone());
        let mut differences = Vec::new();
        let keys: std::collections::BTreeSet<&Key> = chain.keys().chain(books.keys()).collect();
        for key in keys {
            let (on_chain, booked) = (chain.get(key), books.get(key));
            if on_chain == booked {
                continue;
            }
            let stream = on_chain.or(booked).and_then(|(stream, _)| *stream);
            differences.push(Difference {
                stream,
                vm: vm(stream),
                kind: key.2,
                transaction: Some(key.0.clone()),
                chain: on_chain.map(|(_, amount)| *amount).unwrap_or_default(),
                books: booked.map(|(_, amount)| *amount).unwrap_or_default(),
            });
        }
        let streams = self.unexplained(&last, &known, &chain, &read).await?;
        differences.extend(streams.iter().map(|(id, stream, books)| Difference {
            stream: Some(*id),
            vm: vm(Some(*id)),
            kind: EntryKind::Withdrawn,
            transaction: None,
            chain: stream.withdrawn,
            books: *books,
        }));
        differences.extend(spent.differences.drain(..).map(|one| Difference { vm: vm(one.stream), ..one }));
        let arrived = |(key, (_, amount)): (&Key, &(Option<StreamId>, U256))| {
            matches!(key.2, EntryKind::Withdrawn | EntryKind::Terminated).then_some(*amount)
        };
        let check = BooksCheck {
            streams: known.len(),
            payments: chain.len(),
            received: chain.iter().filter_map(arrived).fold(U256::ZERO, U256::saturating_add),
            blocks: Some((first.number.saturating_add(1), last.number)),
            repaired: repair && !differences.is_empty(),
            differences,
        };
        if check.repaired {
            for batch in batches {
                self.book(batch).await?;
            }
            let streams = streams.into_iter().map(|(id, stream, _)| (id, stream)).collect();
            self.book_readings(last, streams).await?;
            self.repair_gas(spent).await?;
        }
        Ok(check)
    }

    /// Everything that happened in the blocks after `first` up to `last`.
    async fn all(&self, first: &Block, last: &Block) -> Result<Vec<Batch>, BooksError> {
        let mut batches = Vec::new();
        let mut from = first.number;
        while from < last.number {
            let start = from.saturating_add(1);
            let history = self.0.reader.history(start, last.number).await?;
            let through = history.through.min(last.number);
            if through < start {
                return Err(ChainError::Nonsense("no progress over a range of blocks").into());
            }
            // An endpoint that tells of nothing at all keeps it to itself: that is no difference, and nothing to take back.
            if history.events.is_empty() {
                self.nothing_is_withheld(&history, start).await?;
            }
            // Where the books stand does not change by looking back.
            let looked = Looked { after: last.number, blocks: start..=through, last: *last };
            batches.push(self.batch(&history, looked, last).await?);
            from = through;
        }
        Ok(batches)
    }

    /// Streams of which the contract says that it has paid out something else than is booked by the events on `chain` and what
    /// was `read` without them, with the sum of those: an event is missing on every endpoint. Of a stream that has ended some
    /// contracts do not keep the sum.
    async fn unexplained(
        &self,
        last: &Block,
        known: &BTreeMap<StreamId, BookedStream>,
        chain: &BTreeMap<Key, (Option<StreamId>, U256)>,
        read: &BTreeMap<StreamId, U256>,
    ) -> Result<Vec<(StreamId, Stream, U256)>, BooksError> {
        let ids: Vec<StreamId> = known.keys().copied().collect();
        let readings = self.0.reader.at(last, &ids).await?;
        let mut booked = read.clone();
        for (key, (stream, amount)) in chain {
            if let (Some(id), EntryKind::Withdrawn | EntryKind::TokenFee) = (stream, key.2) {
                let sum = booked.entry(*id).or_default();
                *sum = sum.saturating_add(*amount);
            }
        }
        let differs = |(id, stream): (StreamId, Stream)| {
            let booked = booked.get(&id).copied().unwrap_or_default();
            let is_open = !stream.sender.is_zero() && !stream.recipient.is_zero();
            (is_open && stream.withdrawn != booked).then_some((id, stream, booked))
        };
        Ok(ids.into_iter().zip(readings).filter_map(differs).collect())
    }
}

/// Compares the books with the chain once a day, until `stop`.
pub(crate) async fn check_daily(payments: Payments, stop: CancellationToken) {
    let (mut wait, mut failures) = (FIRST, 0);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        let checked = tokio::select! {
            () = stop.cancelled() => return,
            checked = payments.check_books(false) => checked,
        };
        failures = if checked.is_ok() { 0 } else { failures + 1 };
        wait = if failures > 0 { doubled(FIRST, failures, EVERY) } else { EVERY };
        let network = &payments.config().name;
        match checked {
            Ok(check) if check.differences.is_empty() => {
                tracing::info!(
                    network,
                    streams = check.streams,
                    payments = check.payments,
                    "the books equal the chain"
                );
            }
            Ok(check) => tracing::error!(
                network,
                differences = check.differences.len(),
                "the books differ from the chain; fix: `golem-provider books check` names where, and --repair makes it good"
            ),
            Err(error) => tracing::warn!(
                network,
                error = &error as &dyn std::error::Error,
                "the books could not be compared with the chain"
            ),
        }
    }
}
