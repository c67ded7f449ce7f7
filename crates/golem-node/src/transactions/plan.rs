//! What to do next with the transactions of a wallet.
//!
//! ```text
//!   numbers   mined │ ours, in the pool │ pending: the first that is in no pool │ ours, or nobody's …
//!             ──────┼───────────────────┼───────────────────────────────────────┼──────────────────
//!   receipt   settle│ head: raise late  │ ours: send again    nobody's: fill it │ wait
//!   none      lost  │                   │                                       │
//! ```
//! Owns the decision, as a pure function of what is known; never asks a chain and never keeps anything.

use std::time::Duration;

use golem_chain::pursuit::LOST_AFTER;

use crate::backoff::doubled;

/// How quickly things are done, and how often at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Shortest time between two looks at the chain.
    pub poll: Duration,
    /// Longest time between two looks while something waits.
    pub poll_most: Duration,
    /// How long the transaction whose turn it is may wait before its fee is raised; longer with each raise.
    pub stuck: Duration,
    /// How long after it was sent what is in no pool is sent again; doubled with each time.
    pub again: Duration,
    /// Longest such time.
    pub again_most: Duration,
    /// How long a transaction that is not ours may block all others before it is outbid.
    pub foreign: Duration,
    /// How often in a row an endpoint has to say what would be costly to believe wrongly: of several nodes behind one
    /// address one may lag behind.
    pub looks: u32,
    /// How long, besides, an endpoint has to have no receipt of a transaction whose number it has in a block, until another
    /// transaction is believed to have the number: receipts may come later than counts.
    pub lost: Duration,
    /// Most transactions that have a number and are in no block.
    pub in_flight: usize,
    /// Most attempts of a transaction.
    pub attempts: usize,
}

impl Default for Pace {
    /// A fee that is raised eleven times is three and a half times the first.
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(500),
            poll_most: Duration::from_secs(30),
            stuck: Duration::from_secs(60),
            again: Duration::from_secs(10),
            again_most: Duration::from_secs(600),
            foreign: Duration::from_secs(600),
            looks: 3,
            lost: LOST_AFTER,
            in_flight: 4,
            attempts: 12,
        }
    }
}

/// A transaction that has a number, and whose end is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flight {
    /// Its number in the ledger.
    pub id: i64,
    /// Its number among those of the wallet.
    pub nonce: u64,
    /// Whether one of its attempts is in a block.
    pub found: bool,
    /// Whether it is to do nothing any more.
    pub cancel: bool,
    /// Whether its newest attempt does nothing already.
    pub newest_cancels: bool,
    /// How many attempts there are.
    pub attempts: usize,
    /// Whether no higher fee may be paid.
    pub at_cap: bool,
    /// How long ago the newest attempt was made.
    pub age: Duration,
    /// How long ago it was last sent; `None` if it was not, or if the endpoint asked for a higher fee.
    pub sent: Option<Duration>,
    /// How often it was sent.
    pub sends: u32,
    /// Looks in a row, before this one, that found its number used and no receipt.
    pub overtaken: u32,
    /// How long ago the first of them was.
    pub overtaken_for: Duration,
}

/// What the chain says of the wallet's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// The next that comes into a block.
    pub mined: u64,
    /// The first that is in no pool; at least `mined`.
    pub pending: u64,
    /// The first that is not known to be used by us: an endpoint that lags may say less.
    pub floor: u64,
    /// Looks in a row before this one in which `pending` was a gap below one of ours.
    pub gap: u32,
    /// How long a transaction that is not ours has been the next.
    pub foreign: Option<Duration>,
}

/// What to do with a transaction, by its number in the ledger, or with a number of the wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Write down what its receipt says.
    Settle(i64),
    /// Remember that another transaction seems to have the number.
    Overtaken(i64),
    /// Give the number up: another transaction has it.
    Lost(i64),
    /// Send one that does nothing in its place.
    Cancel(i64),
    /// Send it with a higher fee.
    Raise(i64),
    /// Send it, or send it again.
    Send(i64),
    /// Remember that nobody seems to have the number, and ours wait behind it.
    Gap,
    /// Use the number of the wallet for one that does nothing.
    Fill(u64),
    /// Give the number of the wallet to the next that is planned.
    Plan(u64),
}

/// Most numbers beyond our own that others are believed to use: a count that says more makes no sense, and each number below one
/// of ours would have to be filled.
const FOREIGN: u64 = 16;

/// What to do with `flight`; where it `shares` its number with one that goes first, it is only looked at: after a
/// reorganisation two of ours may have the same.
fn of_flight(flight: &Flight, shares: bool, numbers: &Numbers, pace: &Pace) -> Option<Step> {
    let Flight { id, nonce, .. } = *flight;
    if flight.found {
        return Some(Step::Settle(id));
    }
    if nonce < numbers.mined {
        let believed = flight.overtaken + 1 >= pace.looks && flight.overtaken_for >= pace.lost;
        return Some(if believed { Step::Lost(id) } else { Step::Overtaken(id) });
    }
    if shares {
        return None;
    }
    if flight.cancel && !flight.newest_cancels {
        return Some(Step::Cancel(id));
    }
    let raises = u32::try_from(flight.attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    // Raising the fee of one that waits for another helps nothing.
    let is_next = nonce == numbers.mined;
    let is_stuck = flight.age >= doubled(pace.stuck, raises / 4, pace.again_most.max(pace.stuck));
    if is_next && is_stuck && !flight.at_cap && flight.attempts < pace.attempts {
        return Some(Step::Raise(id));
    }
    match flight.sent {
        None => Some(Step::Send(id)),
        Some(since) => {
            let is_dropped = nonce >= numbers.pending;
            let times = flight.sends.saturating_sub(1);
            (is_dropped && since >= doubled(pace.again, times, pace.again_most)).then_some(Step::Send(id))
        }
    }
}

/// What to do with `flights`, sorted by number, and with `planned` more that have none.
#[must_use]
pub fn decide(flights: &[Flight], planned: usize, numbers: &Numbers, pace: &Pace) -> Vec<Step> {
    let mut before = None;
    let mut steps: Vec<Step> = Vec::new();
    for flight in flights {
        let shares = before.replace(flight.nonce) == Some(flight.nonce);
        steps.extend(of_flight(flight, shares, numbers, pace));
    }
    let has = |nonce: u64| flights.iter().any(|flight| flight.nonce == nonce);
    let next = flights.last().map_or(0, |flight| flight.nonce.saturating_add(1));
    let known = next.max(numbers.mined).max(numbers.floor);
    let pending = numbers.pending.min(known.saturating_add(FOREIGN));
    let waits_behind = |nonce: u64| flights.iter().any(|flight| !flight.found && flight.nonce > nonce);
    let is_gap = !has(pending) && waits_behind(pending);
    // What is stuck is not helped by more that waits behind it.
    let is_stuck = flights.first().is_some_and(|head| !head.found && head.age >= pace.stuck);
    let has_room = flights.iter().filter(|flight| !flight.found).count() < pace.in_flight;
    let foreign = numbers.foreign.filter(|_| !has(numbers.mined) && pending > numbers.mined);
    if foreign.is_some_and(|since| since >= pace.foreign) && (planned > 0 || !flights.is_empty()) {
        steps.push(Step::Fill(numbers.mined));
    } else if is_gap && numbers.gap + 1 >= pace.looks {
        steps.push(if planned > 0 { Step::Plan(pending) } else { Step::Fill(pending) });
    } else if is_gap {
        steps.push(Step::Gap);
    } else if planned > 0 && has_room && !is_stuck {
        let first = pending.max(numbers.floor);
        let free = (first..).find(|nonce| !has(*nonce));
        steps.extend(free.map(Step::Plan));
    }
    steps
}

#[cfg(test)]
mod tests;
