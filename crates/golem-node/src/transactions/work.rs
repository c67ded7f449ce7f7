//! What a queue remembers between looks at the chain.
//!
//! Owns nothing that a restart needs: the rows of the ledger are the truth, and everything here begins anew with them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use ruint::aliases::U256;
use tokio::time::Instant;

use super::plan::Pace;
use super::report::{Report, Waiting};
use crate::ledger::Transaction;

/// What is remembered of an open transaction besides its row.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) row: Transaction,
    /// When the newest attempt was made, by an earlier process maybe.
    pub(super) made: Instant,
    pub(super) sent: Option<Instant>,
    pub(super) sends: u32,
    pub(super) sent_again: Option<Timestamp>,
    /// Looks in a row that found its number used and no receipt, and when the first of them was.
    pub(super) overtaken: Option<(u32, Instant)>,
    /// Whether an endpoint wanted a higher fee.
    pub(super) is_outbid: bool,
    /// Until when it is not planned.
    pub(super) hold: Option<Instant>,
    /// How often in a row it was left alone.
    pub(super) holds: u32,
}

impl Entry {
    pub(super) fn new(row: Transaction) -> Self {
        let now = Instant::now();
        let at = row.attempts.last().map(|newest| newest.at);
        let age = at.map(|at| Timestamp::now().duration_since(at)).and_then(|age| age.try_into().ok());
        let made = now.checked_sub(age.unwrap_or_default()).unwrap_or(now);
        Self {
            row,
            made,
            sent: None,
            sends: 0,
            sent_again: None,
            overtaken: None,
            is_outbid: false,
            hold: None,
            holds: 0,
        }
    }
}

/// What a queue remembers between looks; a restart begins anew, with the rows of the ledger.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) entries: BTreeMap<i64, Entry>,
    pub(super) looked: Option<Instant>,
    pub(super) due: Option<Instant>,
    pub(super) failures: u32,
    pub(super) gap: u32,
    /// The number of a transaction that is not ours and is the next, and since when.
    pub(super) foreign: Option<(u64, Instant)>,
    /// Wei of gas that were spent today.
    pub(super) spent: U256,
    /// The first number that we have not used, and since when that is known.
    pub(super) floor: Option<(u64, Instant)>,
}

impl Work {
    /// When there is more to do; `None` if nothing waits.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// There is something new.
    pub(super) fn look_soon(&mut self, pace: &Pace) {
        let now = Instant::now();
        let soon = self.looked.map_or(now, |looked| (looked + pace.poll).max(now));
        // An endpoint that fails is not asked more often because more waits for it.
        let due = self.due.filter(|due| self.failures > 0 || *due < soon);
        self.due = Some(due.unwrap_or(soon));
    }

    /// Takes over what the ledger has, in place of what was known.
    pub(super) fn merge(&mut self, rows: Vec<Transaction>) {
        let mut before = std::mem::take(&mut self.entries);
        for row in rows {
            let entry = match before.remove(&row.id) {
                Some(entry) => Entry { row, ..entry },
                None => Entry::new(row),
            };
            self.entries.insert(entry.row.id, entry);
        }
    }
}

pub(super) fn report(work: &Work, problem: Option<String>) -> Report {
    let mut open: Vec<&Entry> = work.entries.values().collect();
    // What has a number goes by that, the rest after it, what stands first first.
    open.sort_by_key(|entry| {
        (entry.row.nonce.is_none(), entry.row.nonce, entry.row.order.purpose, entry.row.id)
    });
    let line = |entry: &Entry| Waiting {
        id: entry.row.id,
        nonce: entry.row.nonce,
        purpose: entry.row.order.purpose,
        state: entry.row.state,
        since: entry.row.created_at,
        attempts: entry.row.attempts.len(),
        sent_again: entry.sent_again,
        error: entry.row.error.clone(),
    };
    let open = open.into_iter().map(line).collect();
    Report { open, problem, failures: work.failures, spent_today: work.spent }
}
