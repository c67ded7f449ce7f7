//! Whether what is booked of gas is what the receipts of the node's own transactions say.
//!
//! Owns the comparison, and what makes a difference good. A receipt that an endpoint does not have says nothing: only where
//! its block is gone was nothing spent. Never asks about what still waits.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::B256;
use golem_chain::{Block, ChainError, Receipt};
use golem_types::StreamId;
use jiff::Timestamp;
use ruint::aliases::U256;

use super::Payments;
use super::books_check::Difference;
use super::postings::BooksError;
use crate::entry::EntryKind;
use crate::ledger::{Correction, Entry, Purpose, Transaction, TransactionState};

/// Newest transactions that are compared: as many as are kept however old they are.
const COMPARED: u32 = 1000;

/// Receipts that are asked for at once.
const AT_ONCE: usize = 200;

/// What is known of a transaction's gas.
#[derive(Debug, Clone, Default)]
struct Known {
    stream: Option<StreamId>,
    /// Wei of gas and of the fee for the chain below that are booked.
    gas: U256,
    l1_fee: U256,
    /// Where the books have it.
    place: Option<(u64, B256)>,
    /// Its row, if it was given up.
    lost: Option<Transaction>,
    /// Most wei of gas that it can have cost, as it was signed.
    most: Option<U256>,
}

/// Differences in what was spent, with what makes them good.
#[derive(Debug, Default)]
pub(super) struct GasCheck {
    pub(super) differences: Vec<Difference>,
    corrections: Vec<Correction>,
    /// What was given up, and is in a block after all.
    found: Vec<Transaction>,
    gone: BTreeSet<(u64, B256)>,
}

impl Payments {
    /// Compares the gas in `entries` with the receipts up to the block `last`: that of transactions about this contract, and of
    /// those of its wallets that are about none.
    pub(super) async fn check_gas(&self, last: &Block, entries: &[Entry]) -> Result<GasCheck, BooksError> {
        let known = self.known_gas(last, entries).await?;
        let hashes: Vec<B256> = known.keys().copied().collect();
        let mut check = GasCheck::default();
        for part in hashes.chunks(AT_ONCE) {
            let receipts = self.0.queue.sender().standing(part).await?.receipts;
            for (hash, receipt) in part.iter().zip(receipts) {
                let Some(known) = known.get(hash) else { continue };
                self.compare_gas(last, (*hash, known), receipt, &mut check).await?;
            }
        }
        Ok(check)
    }

    /// Makes good what `check` found.
    pub(super) async fn repair_gas(&self, check: GasCheck) -> Result<(), BooksError> {
        let (ledger, now) = (&self.0.ledger, Timestamp::now());
        for row in check.found {
            ledger.keep_transaction(row, now).await?;
        }
        ledger.correct_spent(self.config().chain_id, check.corrections, now).await?;
        let gone = check.gone.into_iter().collect();
        self.follow_again(ledger.reopen_transactions(self.config().chain_id, gone, now).await?);
        Ok(())
    }

    /// The transactions that ended, or are booked, by hash.
    async fn known_gas(&self, last: &Block, entries: &[Entry]) -> Result<BTreeMap<B256, Known>, BooksError> {
        let accounts: BTreeSet<_> = self.queues().map(|queue| queue.account()).collect();
        let rows = self.0.ledger.transactions(COMPARED).await?;
        let since = rows.last().filter(|_| rows.len() >= usize::try_from(COMPARED).unwrap_or(usize::MAX));
        let since = since.map_or(Timestamp::UNIX_EPOCH, |oldest| oldest.created_at);
        let mut known: BTreeMap<B256, Known> = BTreeMap::new();
        let is_over = |row: &&Transaction| !row.state.is_open() && accounts.contains(&row.account);
        for row in rows.iter().filter(is_over) {
            let about = match row.order.purpose {
                Purpose::Withdraw | Purpose::Terminate => row.order.subject.rsplit_once(':'),
                Purpose::Gap | Purpose::Sweep | Purpose::Advert => None,
            };
            if about.is_some_and(|(contract, _)| contract != &*self.0.contract) {
                continue;
            }
            let stream = about.and_then(|(_, id)| id.parse().ok());
            let place = row.block.filter(|block| *block <= last.number).zip(row.block_hash);
            let lost = (row.state == TransactionState::Lost).then_some(row);
            // Of one that was given up any attempt may be in a block after all.
            let attempts = row
                .attempts
                .iter()
                .map(|attempt| (attempt.signed.hash, Some(attempt.transaction.most_gas_cost())));
            for (hash, most) in row.hash.map(|hash| (hash, None)).into_iter().chain(attempts) {
                known.insert(hash, Known { stream, place, lost: lost.cloned(), most, ..Known::default() });
            }
        }
        let open: BTreeSet<B256> = rows
            .iter()
            .filter(|row| row.state.is_open())
            .flat_map(|row| row.attempts.iter().map(|attempt| attempt.signed.hash))
            .collect();
        for entry in entries {
            let amount = match entry.kind {
                EntryKind::Gas => (entry.amount, U256::ZERO),
                EntryKind::L1Fee => (U256::ZERO, entry.amount),
                _ => continue,
            };
            let is_here = entry.contract.as_deref().is_none_or(|contract| contract == &*self.0.contract);
            if !entry.counts() || entry.chain_id != self.config().chain_id || !is_here || entry.at < since {
                continue;
            }
            let Some(hash) = entry.transaction.as_deref().and_then(|hash| hash.parse().ok()) else {
                continue;
            };
            if open.contains(&hash) {
                continue;
            }
            let one = known.entry(hash).or_default();
            one.gas = one.gas.saturating_add(amount.0);
            one.l1_fee = one.l1_fee.saturating_add(amount.1);
            one.stream = one.stream.or(entry.stream);
            one.place = entry.block.zip(entry.block_hash).or(one.place);
        }
        Ok(known)
    }

    async fn compare_gas(
        &self,
        last: &Block,
        (hash, known): (B256, &Known),
        receipt: Option<Receipt>,
        check: &mut GasCheck,
    ) -> Result<(), BooksError> {
        let is_booked = !known.gas.is_zero() || !known.l1_fee.is_zero();
        let lost = receipt.as_ref().and_then(|receipt| found(known.lost.clone()?, receipt));
        let (gas, l1_fee, block) = match receipt {
            // Whoever answers may be ahead of what was read; and an old node does not tell the price.
            Some(receipt) if receipt.block > last.number || receipt.cost.is_zero() => return Ok(()),
            Some(receipt) if known.most.is_some_and(|most| receipt.gas_cost() > most) => {
                return Err(ChainError::Nonsense("a receipt that costs more than was signed").into());
            }
            Some(receipt) => (receipt.gas_cost(), receipt.l1_fee, Some((receipt.block, receipt.block_hash))),
            None => {
                let Some(place) = known.place.filter(|_| is_booked) else { return Ok(()) };
                let found = self.0.reader.blocks(&[place.0]).await?.first().copied().flatten();
                if found.is_none_or(|block| block.hash == place.1) {
                    return Ok(());
                }
                check.gone.insert(place);
                (U256::ZERO, U256::ZERO, None)
            }
        };
        if (gas, l1_fee) == (known.gas, known.l1_fee) {
            return Ok(());
        }
        let amounts = [(EntryKind::Gas, gas, known.gas), (EntryKind::L1Fee, l1_fee, known.l1_fee)];
        let differs = amounts.into_iter().filter(|(_, chain, books)| chain != books);
        check.differences.extend(differs.map(|(kind, chain, books)| Difference {
            stream: known.stream,
            vm: None,
            kind,
            transaction: Some(hash.to_string()),
            chain,
            books,
        }));
        match lost {
            Some(row) => check.found.push(row),
            None => {
                let about = known.stream.map(|id| self.key(id));
                check.corrections.push(Correction { hash, block, about, gas, l1_fee });
            }
        }
        Ok(())
    }
}

/// `row`, which was given up, as `receipt` says that it ended.
fn found(mut row: Transaction, receipt: &Receipt) -> Option<Transaction> {
    let attempt = row.attempts.iter().find(|attempt| attempt.signed.hash == receipt.hash)?;
    let cancels = row.is_cancel(attempt);
    row.ends_by(receipt, cancels);
    Some(row)
}
