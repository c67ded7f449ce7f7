//! The books as the operator reads them.
//!
//! Owns the views of entries and of a comparison with the chain. Never prints.

use std::collections::BTreeMap;

use golem_node::entry::{EntryKind, EntrySource};
use golem_node::ledger::{Entry, LedgerError};
use golem_node::payment::{BooksCheck, Contracts, Difference, LastCheck, Payments};
use golem_types::VmId;
use golem_types::wire::Exact;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An entry of the books.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EntryView {
    /// In the order of writing, from 1.
    pub id: i64,
    /// When the money moved.
    pub at: Timestamp,
    /// What moved it.
    pub kind: EntryKind,
    /// The VM that the stream paid for; `None` if there never was one.
    pub vm_id: Option<VmId>,
    /// Who paid.
    pub renter: Option<String>,
    /// The stream.
    pub stream_id: Option<Exact>,
    /// The chain.
    pub chain_id: u64,
    /// The payment contract; `None` if the money is the wallet's alone.
    pub contract: Option<String>,
    /// The token; zero is the chain's own money.
    pub token: String,
    /// What the token is called; `None` if that is not known.
    pub symbol: Option<String>,
    /// Digits after its point; `None` if that is not known.
    pub decimals: Option<u8>,
    /// How much, in the token's smallest units.
    pub amount_wei: Exact,
    /// Where it went.
    pub debit: String,
    /// Where it came from.
    pub credit: String,
    /// How the node knows.
    pub source: EntrySource,
    /// The transaction.
    pub transaction: Option<String>,
    /// Index of the event in its block.
    pub log_index: Option<u64>,
    /// The block.
    pub block: Option<u64>,
    /// Whether the block is so new that it may still be taken back.
    pub pending: bool,
    /// US dollars for a whole coin at that time; `None` if that was not known.
    pub usd_per_coin: Option<String>,
    /// The entry that this one takes back.
    pub reverses: Option<i64>,
    /// Whether it was taken back.
    pub reversed: bool,
}

impl EntryView {
    /// Whether it counts: neither taken back, nor taking back.
    #[must_use]
    pub const fn counts(&self) -> bool {
        !self.reversed && self.reverses.is_none()
    }
}

fn view(entry: Entry, contracts: &Contracts, settled: &BTreeMap<String, u64>) -> EntryView {
    let payments = entry.contract.as_deref().and_then(|key| contracts.called(key));
    // Older versions did not write down what money was called.
    let named = payments.and_then(|payments| payments.currency(entry.token));
    let named = named.map(|currency| (currency.symbol.clone(), currency.decimals));
    let (symbol, decimals) = named.unzip();
    let settled = entry.contract.as_ref().and_then(|key| settled.get(key));
    EntryView {
        id: entry.id,
        at: entry.at,
        kind: entry.kind,
        renter: entry.renter.map(|renter| format!("{renter:#042x}")),
        stream_id: entry.stream.map(|id| Exact(id.0)),
        chain_id: entry.chain_id,
        contract: entry.contract.as_deref().and_then(|key| Some(key.split_once(':')?.1.to_owned())),
        token: format!("{:#042x}", entry.token),
        symbol: entry.symbol.or(symbol),
        decimals: entry.decimals.or(decimals),
        amount_wei: Exact(entry.amount),
        debit: entry.debit,
        credit: entry.credit,
        source: entry.source,
        transaction: entry.transaction,
        log_index: entry.log,
        block: entry.block,
        pending: entry.block.zip(settled).is_some_and(|(block, settled)| block > *settled),
        usd_per_coin: entry.usd.map(|usd| usd.to_string()),
        vm_id: entry.vm,
        reverses: entry.reverses,
        reversed: entry.reversed,
    }
}

/// Every entry since `since`, also those that were taken back, oldest first.
///
/// # Errors
/// [`LedgerError`].
pub async fn entries(contracts: &Contracts, since: Timestamp) -> Result<Vec<EntryView>, LedgerError> {
    let Some(first) = contracts.all().first() else { return Ok(Vec::new()) };
    let mut settled = BTreeMap::new();
    for payments in contracts.all() {
        if let Some(block) = payments.settled_block().await? {
            settled.insert(payments.contract().to_owned(), block);
        }
    }
    // The books are one, whichever contract is asked.
    let all = first.entries(since).await?;
    Ok(all.into_iter().map(|entry| view(entry, contracts, &settled)).collect())
}

/// Something in which books and chain differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DifferenceView {
    /// The stream.
    pub stream_id: Option<Exact>,
    /// The VM that it paid for.
    pub vm_id: Option<VmId>,
    /// What moved the money.
    pub kind: EntryKind,
    /// The transaction; `None` if the contract's own sum differs.
    pub transaction: Option<String>,
    /// By the chain, in the token's smallest units.
    pub chain_wei: Exact,
    /// By the books, in the token's smallest units.
    pub books_wei: Exact,
}

impl DifferenceView {
    fn of(difference: &Difference) -> Self {
        Self {
            stream_id: difference.stream.map(|id| Exact(id.0)),
            vm_id: difference.vm.clone(),
            kind: difference.kind,
            transaction: difference.transaction.clone(),
            chain_wei: Exact(difference.chain),
            books_wei: Exact(difference.books),
        }
    }
}

/// Differences that are told with the node's summary; `books check` tells all.
const TOLD: usize = 10;

/// How the books of one contract compared with the chain when the node last looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BooksView {
    /// When they were last compared; `None` before the first time.
    pub checked_at: Option<Timestamp>,
    /// In how many places they have differed since.
    pub differences: usize,
    /// The first ten of those.
    pub missing: Vec<DifferenceView>,
    /// Digits after the point of the money.
    pub decimals: u8,
    /// Why a later comparison came to nothing.
    pub error: Option<String>,
}

impl BooksView {
    /// What the last comparison of `payments` came to.
    pub(crate) fn of(payments: &Payments) -> Self {
        let LastCheck { at, differences, error } = payments.last_books_check();
        Self {
            checked_at: at,
            differences: differences.len(),
            missing: differences.iter().take(TOLD).map(DifferenceView::of).collect(),
            decimals: payments.config().decimals,
            error,
        }
    }
}

/// How the books of one contract compare with the chain.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BooksCheckView {
    /// The payment network.
    pub network: String,
    /// Chain and contract.
    pub contract: String,
    /// Streams that were compared.
    pub streams: usize,
    /// Payments that the chain has.
    pub payments: usize,
    /// What reached the wallet by the chain, in the smallest units.
    pub received_wei: Exact,
    /// The first block.
    pub from_block: Option<u64>,
    /// The last one.
    pub to_block: Option<u64>,
    /// Where they differ.
    pub differences: Vec<DifferenceView>,
    /// Whether the differences were made good.
    pub repaired: bool,
    /// How many are left.
    pub left: usize,
    /// Why the chain could not be read.
    pub error: Option<String>,
}

/// Compares the books of every contract with its chain, and makes good what differs if `repair`.
pub async fn check(contracts: &Contracts, repair: bool) -> Vec<BooksCheckView> {
    let mut all = Vec::new();
    for payments in contracts.all() {
        let checked = payments.check_books(repair).await;
        let error = checked.as_ref().err().map(ToString::to_string);
        if let Err(error) = &checked {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "the books could not be compared with the chain"
            );
        }
        let check: BooksCheck = checked.unwrap_or_default();
        all.push(BooksCheckView {
            network: payments.config().name.clone(),
            contract: payments.contract().to_owned(),
            streams: check.streams,
            payments: check.payments,
            received_wei: Exact(check.received),
            from_block: check.blocks.map(|(first, _)| first),
            to_block: check.blocks.map(|(_, last)| last),
            left: check.left().count(),
            differences: check.differences.iter().map(DifferenceView::of).collect(),
            repaired: check.repaired,
            error,
        });
    }
    all
}
