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
            in_flight: 4,
            attempts: 12,
        }
    }
}

/// A transaction that has a number, and whose end is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flight {
    /// Its number.
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
    /// Looks in a row that found another transaction at its number.
    pub overtaken: u32,
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

/// What to do with the transaction of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Write down what its receipt says.
    Settle(u64),
    /// Remember that another transaction seems to have the number.
    Overtaken(u64),
    /// Give the number up: another transaction has it.
    Lost(u64),
    /// Send one that does nothing in its place.
    Cancel(u64),
    /// Send it with a higher fee.
    Raise(u64),
    /// Send it, or send it again.
    Send(u64),
    /// Remember that nobody seems to have the number, and ours wait behind it.
    Gap,
    /// Use the number for one that does nothing.
    Fill(u64),
    /// Give the number to the next that is planned.
    Plan(u64),
}

/// The waiting time that is doubled `times`, up to `most`.
fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(most)
}

fn of_flight(flight: &Flight, numbers: &Numbers, pace: &Pace) -> Option<Step> {
    let nonce = flight.nonce;
    if flight.found {
        return Some(Step::Settle(nonce));
    }
    if nonce < numbers.mined {
        let believed = flight.overtaken + 1 >= pace.looks;
        return Some(if believed { Step::Lost(nonce) } else { Step::Overtaken(nonce) });
    }
    if flight.cancel && !flight.newest_cancels {
        return Some(Step::Cancel(nonce));
    }
    let raises = u32::try_from(flight.attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    // Raising the fee of one that waits for another helps nothing.
    let is_next = nonce == numbers.mined;
    let is_stuck = flight.age >= doubled(pace.stuck, raises / 4, pace.again_most.max(pace.stuck));
    if is_next && is_stuck && !flight.at_cap && flight.attempts < pace.attempts {
        return Some(Step::Raise(nonce));
    }
    match flight.sent {
        None => Some(Step::Send(nonce)),
        Some(since) => {
            let is_dropped = nonce >= numbers.pending;
            let times = flight.sends.saturating_sub(1);
            (is_dropped && since >= doubled(pace.again, times, pace.again_most)).then_some(Step::Send(nonce))
        }
    }
}

/// What to do with `flights`, sorted by number, and with `planned` more that have none.
#[must_use]
pub fn decide(flights: &[Flight], planned: usize, numbers: &Numbers, pace: &Pace) -> Vec<Step> {
    let mut steps: Vec<Step> = flights.iter().filter_map(|flight| of_flight(flight, numbers, pace)).collect();
    let has = |nonce: u64| flights.iter().any(|flight| flight.nonce == nonce);
    let pending = numbers.pending;
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
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// What happens between two looks.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        /// A block takes so many of those whose turn it is.
        Block(u8),
        /// The pool forgets this one of its transactions.
        Drop(u8),
        /// Another program of the same wallet sends one.
        Foreign,
        /// One more is wanted.
        Want,
        /// The operator cancels this one of those that wait.
        Cancel(u8),
        /// The endpoint says numbers as they were a block ago, until the next event.
        Lag,
        /// The process is killed, and begins anew with what it recorded.
        Restart,
        /// Nothing, for so many seconds.
        Wait(u16),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => (1u8..4).prop_map(Event::Block),
            3 => (0u8..6).prop_map(Event::Drop),
            1 => Just(Event::Foreign),
            3 => Just(Event::Want),
            1 => (0u8..6).prop_map(Event::Cancel),
            1 => Just(Event::Lag),
            1 => Just(Event::Restart),
            3 => (1u16..900).prop_map(Event::Wait),
        ]
    }

    /// Who sent a transaction: one of ours by its number in the ledger, or another program.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Sent {
        ours: Option<usize>,
        cancels: bool,
        fee: usize,
    }

    #[derive(Debug, Default)]
    struct Row {
        nonce: Option<u64>,
        attempts: Vec<Sent>,
        cancel: bool,
        made: Duration,
        sent: Option<Duration>,
        sends: u32,
        overtaken: u32,
        ended: bool,
        is_gap: bool,
    }

    /// A chain, and a driver that does what is decided.
    #[derive(Debug, Default)]
    struct Model {
        now: Duration,
        blocks: Vec<Sent>,
        pool: BTreeMap<u64, Sent>,
        before: (u64, u64),
        rows: Vec<Row>,
        gap: u32,
        foreign: Option<(u64, Duration)>,
        floor: u64,
        requests: usize,
    }

    impl Model {
        fn mined(&self) -> u64 {
            u64::try_from(self.blocks.len()).unwrap()
        }

        fn pending(&self) -> u64 {
            (self.mined()..).find(|nonce| !self.pool.contains_key(nonce)).unwrap()
        }

        fn send(&mut self, nonce: u64, sent: Sent) {
            self.requests += 1;
            if nonce < self.mined() || self.pool.get(&nonce).is_some_and(|known| known.fee >= sent.fee) {
                return;
            }
            self.pool.insert(nonce, sent);
        }

        fn happen(&mut self, event: Event) {
            self.before = (self.mined(), self.pending());
            match event {
                Event::Block(most) => {
                    for _ in 0..most {
                        let Some(sent) = self.pool.remove(&self.mined()) else { return };
                        self.blocks.push(sent);
                    }
                }
                Event::Drop(which) => {
                    let nonce = self.pool.keys().copied().nth(usize::from(which));
                    nonce.and_then(|nonce| self.pool.remove(&nonce));
                }
                Event::Foreign => {
                    let nonce = self.pending();
                    self.pool.insert(nonce, Sent { ours: None, cancels: false, fee: 1 });
                }
                Event::Want => self.rows.push(Row::default()),
                Event::Cancel(which) => {
                    let mut open = self.rows.iter_mut().filter(|row| !row.ended);
                    if let Some(row) = open.nth(usize::from(which)) {
                        row.cancel = true;
                        row.ended = row.nonce.is_none();
                    }
                }
                Event::Restart => {
                    for row in &mut self.rows {
                        (row.sent, row.sends, row.overtaken) = (None, 0, 0);
                    }
                    (self.gap, self.foreign, self.floor) = (0, None, 0);
                }
                Event::Lag => {}
                Event::Wait(seconds) => self.now += SECOND * u32::from(seconds),
            }
        }

        fn look(&mut self, lags: bool, pace: &Pace) {
            self.now += pace.poll;
            let (mined, pending) = if lags { self.before } else { (self.mined(), self.pending()) };
            let flight = |row: &Row| {
                let newest = row.attempts.last()?;
                Some(Flight {
                    nonce: row.nonce?,
                    // Receipts come from the same node as numbers.
                    found: self
                        .blocks
                        .iter()
                        .take(usize::try_from(mined).unwrap())
                        .any(|sent| row.attempts.contains(sent)),
                    cancel: row.cancel,
                    newest_cancels: newest.cancels,
                    attempts: row.attempts.len(),
                    at_cap: false,
                    age: self.now - row.made,
                    sent: row.sent.map(|at| self.now - at),
                    sends: row.sends,
                    overtaken: row.overtaken,
                })
            };
            let mut flights: Vec<Flight> =
                self.rows.iter().filter(|row| !row.ended).filter_map(flight).collect();
            flights.sort_by_key(|flight| flight.nonce);
            let planned = self.rows.iter().filter(|row| !row.ended && row.nonce.is_none()).count();
            let is_foreign = pending > mined && !flights.iter().any(|flight| flight.nonce == mined);
            let since =
                self.foreign.filter(|(nonce, _)| *nonce == mined).map_or(self.now, |(_, since)| since);
            self.foreign = is_foreign.then_some((mined, since));
            let foreign = is_foreign.then(|| self.now - since);
            let numbers = Numbers { mined, pending, floor: self.floor, gap: self.gap, foreign };
            for row in &mut self.rows {
                if row.nonce.is_some_and(|nonce| nonce >= mined) {
                    row.overtaken = 0;
                }
            }
            self.requests = 1;
            let steps = decide(&flights, planned, &numbers, pace);
            self.gap = if steps.contains(&Step::Gap) { self.gap + 1 } else { 0 };
            let held: BTreeSet<u64> = flights.iter().map(|flight| flight.nonce).collect();
            for step in steps {
                self.act(step, &held);
            }
            // One for each that waits, at most.
            assert!(self.requests <= 2 + flights.len(), "{} requests", self.requests);
        }

        fn act(&mut self, step: Step, held: &BTreeSet<u64>) {
            let now = self.now;
            let of = |rows: &Vec<Row>, nonce| {
                rows.iter().position(|row| !row.ended && row.nonce == Some(nonce)).expect("one of ours")
            };
            match step {
                Step::Gap => {}
                Step::Settle(nonce) => {
                    let index = of(&self.rows, nonce);
                    self.rows[index].ended = true;
                    self.floor = self.floor.max(nonce + 1);
                }
                Step::Overtaken(nonce) => {
                    let index = of(&self.rows, nonce);
                    self.rows[index].overtaken += 1;
                }
                Step::Lost(nonce) => {
                    let index = of(&self.rows, nonce);
                    self.rows[index].ended = true;
                    if !self.rows[index].cancel && !self.rows[index].is_gap {
                        self.rows.push(Row::default());
                    }
                }
                Step::Send(nonce) => {
                    let index = of(&self.rows, nonce);
                    let row = &mut self.rows[index];
                    (row.sent, row.sends) = (Some(now), row.sends + 1);
                    let newest = *row.attempts.last().unwrap();
                    self.send(nonce, newest);
                }
                Step::Cancel(nonce) | Step::Raise(nonce) => {
                    let index = of(&self.rows, nonce);
                    let cancels =
                        matches!(step, Step::Cancel(_)) || self.rows[index].attempts.last().unwrap().cancels;
                    self.attempt(index, nonce, cancels);
                }
                Step::Fill(nonce) | Step::Plan(nonce) => {
                    assert!(!held.contains(&nonce), "{nonce} is given twice");
                    let index = if matches!(step, Step::Fill(_)) {
                        self.rows.push(Row { is_gap: true, ..Row::default() });
                        self.rows.len() - 1
                    } else {
                        self.rows.iter().position(|row| !row.ended && row.nonce.is_none()).unwrap()
                    };
                    self.rows[index].nonce = Some(nonce);
                    self.attempt(index, nonce, false);
                }
            }
        }

        fn attempt(&mut self, index: usize, nonce: u64, cancels: bool) {
            let now = self.now;
            let row = &mut self.rows[index];
            let fee = row.attempts.last().map_or(1, |newest| newest.fee) + 1;
            let sent = Sent { ours: Some(index), cancels, fee };
            row.attempts.push(sent);
            (row.made, row.sent, row.sends) = (now, Some(now), 1);
            self.send(nonce, sent);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// M-07: whatever pools forget, other programs send, endpoints say late and crashes interrupt: no number is given
        /// twice, each transaction is in at most one block, requests are few, and once the chain is well everything ends.
        #[test]
        fn every_transaction_ends_whatever_happens(events in prop::collection::vec(event(), 1..60)) {
            let pace = Pace { attempts: 1000, ..Pace::default() };
            let mut model = Model::default();
            for event in events {
                model.happen(event);
                model.look(matches!(event, Event::Lag), &pace);
            }
            for _ in 0..400 {
                model.happen(Event::Wait(60));
                model.look(false, &pace);
                model.happen(Event::Block(10));
            }
            model.look(false, &pace);
            prop_assert!(model.rows.iter().all(|row| row.ended), "{model:?}");
            for index in 0..model.rows.len() {
                let times = model.blocks.iter().filter(|sent| sent.ours == Some(index)).count();
                prop_assert!(times <= 1, "{index} is in {times} blocks");
            }
        }
    }

    fn flight(nonce: u64) -> Flight {
        Flight {
            nonce,
            found: false,
            cancel: false,
            newest_cancels: false,
            attempts: 1,
            at_cap: false,
            age: SECOND,
            sent: Some(SECOND),
            sends: 1,
            overtaken: 0,
        }
    }

    fn numbers(mined: u64, pending: u64) -> Numbers {
        Numbers { mined, pending, floor: 0, gap: 0, foreign: None }
    }

    #[test]
    fn what_a_pool_forgot_is_sent_again_ever_more_rarely() {
        let pace = Pace::default();
        let dropped = |since: u64, sends| Flight {
            sent: Some(SECOND * u32::try_from(since).unwrap()),
            sends,
            ..flight(17)
        };
        let steps = |flight: Flight| decide(&[flight, self::flight(18)], 0, &numbers(17, 17), &pace);
        assert_eq!(steps(dropped(9, 1)), []);
        assert_eq!(steps(dropped(10, 1)), [Step::Send(17)]);
        assert_eq!(steps(dropped(39, 3)), []);
        assert_eq!(steps(dropped(40, 3)), [Step::Send(17)]);
        assert_eq!(steps(dropped(599, 30)), []);
        assert_eq!(steps(dropped(600, 30)), [Step::Send(17)]);
    }

    #[test]
    fn a_fee_at_its_cap_is_not_raised_and_nothing_is_put_behind_what_is_stuck() {
        let pace = Pace::default();
        let stuck = Flight { age: SECOND * 60, ..flight(3) };
        assert_eq!(decide(&[stuck], 2, &numbers(3, 4), &pace), [Step::Raise(3)]);
        // M-17
        assert_eq!(decide(&[Flight { at_cap: true, ..stuck }], 2, &numbers(3, 4), &pace), []);
        assert_eq!(decide(&[flight(3)], 2, &numbers(3, 4), &pace), [Step::Plan(4)]);
    }

    #[test]
    fn a_gap_that_nobody_has_is_filled_by_the_next_or_by_nothing() {
        let pace = Pace::default();
        let seen = |gap| Numbers { gap, ..numbers(5, 5) };
        assert_eq!(decide(&[flight(7)], 0, &seen(0), &pace), [Step::Gap]);
        assert_eq!(decide(&[flight(7)], 0, &seen(2), &pace), [Step::Fill(5)]);
        assert_eq!(decide(&[flight(7)], 1, &seen(2), &pace), [Step::Plan(5)]);
    }
}
