//! The decision against a model of a chain that behaves badly.

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
    /// A reorganisation: the last so many are in no block any more, and wait in the pool; the node finds that out.
    Reorganise(u8),
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
        1 => (1u8..4).prop_map(Event::Reorganise),
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
    overtaken: Option<(u32, Duration)>,
    ended: bool,
    is_gap: bool,
    /// The row that this one does again.
    again: Option<usize>,
}

/// A chain, and a driver that does what is decided.
#[derive(Debug, Default)]
struct Model {
    now: Duration,
    /// What is in a block, and since when.
    blocks: Vec<(Sent, Duration)>,
    /// How long after its block a transaction has a receipt.
    receipts_after: Duration,
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
                    self.blocks.push((sent, self.now));
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
                    (row.sent, row.sends, row.overtaken) = (None, 0, None);
                }
                (self.gap, self.foreign, self.floor) = (0, None, 0);
            }
            Event::Reorganise(blocks) => {
                for _ in 0..blocks {
                    let Some((sent, _)) = self.blocks.pop() else { return };
                    let nonce = self.mined();
                    if let Some(row) = sent.ours {
                        self.rows[row].ended = false;
                        self.rows[row].overtaken = None;
                    }
                    self.pool.insert(nonce, sent);
                }
            }
            Event::Lag => {}
            Event::Wait(seconds) => self.now += SECOND * u32::from(seconds),
        }
    }

    fn look(&mut self, lags: bool, pace: &Pace) {
        self.now += pace.poll;
        let (mined, pending) = if lags { self.before } else { (self.mined(), self.pending()) };
        let flight = |(id, row): (usize, &Row)| {
            let newest = row.attempts.last()?;
            Some(Flight {
                id: i64::try_from(id).unwrap(),
                nonce: row.nonce?,
                // Receipts come from the same node as numbers.
                found: self
                    .blocks
                    .iter()
                    .take(usize::try_from(mined).unwrap())
                    .filter(|(_, at)| *at + self.receipts_after <= self.now)
                    .any(|(sent, _)| row.attempts.contains(sent)),
                cancel: row.cancel,
                newest_cancels: newest.cancels,
                attempts: row.attempts.len(),
                at_cap: false,
                age: self.now - row.made,
                sent: row.sent.map(|at| self.now - at),
                sends: row.sends,
                overtaken: row.overtaken.map_or(0, |(looks, _)| looks),
                overtaken_for: row.overtaken.map(|(_, first)| self.now - first).unwrap_or_default(),
            })
        };
        let mut flights: Vec<Flight> =
            self.rows.iter().enumerate().filter(|(_, row)| !row.ended).filter_map(flight).collect();
        flights.sort_by_key(|flight| (flight.nonce, flight.id));
        let planned = self.rows.iter().filter(|row| !row.ended && row.nonce.is_none()).count();
        let is_foreign = pending > mined && !flights.iter().any(|flight| flight.nonce == mined);
        let since = self.foreign.filter(|(nonce, _)| *nonce == mined).map_or(self.now, |(_, since)| since);
        self.foreign = is_foreign.then_some((mined, since));
        let foreign = is_foreign.then(|| self.now - since);
        let numbers = Numbers { mined, pending, floor: self.floor, gap: self.gap, foreign };
        for row in &mut self.rows {
            if row.nonce.is_some_and(|nonce| nonce >= mined) {
                row.overtaken = None;
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
        let row = |id: i64| usize::try_from(id).unwrap();
        match step {
            Step::Gap => {}
            Step::Settle(id) => {
                self.rows[row(id)].ended = true;
                self.floor = self.floor.max(self.rows[row(id)].nonce.unwrap() + 1);
            }
            Step::Overtaken(id) => {
                let (looks, first) = self.rows[row(id)].overtaken.unwrap_or((0, now));
                self.rows[row(id)].overtaken = Some((looks + 1, first));
            }
            Step::Lost(id) => {
                let lost = &mut self.rows[row(id)];
                lost.ended = true;
                if !lost.cancel && !lost.is_gap {
                    let again = lost.again.or(Some(row(id)));
                    self.rows.push(Row { again, ..Row::default() });
                }
            }
            Step::Send(id) => {
                let row = &mut self.rows[row(id)];
                (row.sent, row.sends) = (Some(now), row.sends + 1);
                let (nonce, newest) = (row.nonce.unwrap(), *row.attempts.last().unwrap());
                self.send(nonce, newest);
            }
            Step::Cancel(id) | Step::Raise(id) => {
                let row = row(id);
                let newest = self.rows[row].attempts.last().unwrap().cancels;
                let nonce = self.rows[row].nonce.unwrap();
                self.attempt(row, nonce, matches!(step, Step::Cancel(_)) || newest);
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
    /// twice, what is wanted is in at most one block, requests are few, and once the chain is well everything ends.
    #[test]
    fn every_transaction_ends_whatever_happens(
        events in prop::collection::vec(event(), 1..60), receipts_after in 0u32..30,
    ) {
        let pace = Pace { attempts: 1000, ..Pace::default() };
        let mut model = Model { receipts_after: SECOND * receipts_after, ..Model::default() };
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
            let is_it = |sent: &Sent| {
                !sent.cancels && sent.ours.is_some_and(|row| model.rows[row].again.unwrap_or(row) == index)
            };
            let times = model.blocks.iter().filter(|(sent, _)| is_it(sent)).count();
            prop_assert!(times <= 1, "{index} is in {times} blocks");
        }
    }
}

fn flight(nonce: u64) -> Flight {
    Flight {
        id: i64::try_from(nonce).unwrap(),
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
        overtaken_for: Duration::ZERO,
    }
}

/// M-10: after a reorganisation two of ours may have one number: one is sent, both are looked at.
#[test]
fn m_10_of_two_with_one_number_the_first_is_sent_and_each_is_followed_to_its_end() {
    let pace = Pace::default();
    let stuck = Flight { age: SECOND * 60, sent: None, ..flight(3) };
    let second = Flight { id: 7, ..stuck };
    assert_eq!(decide(&[stuck, second], 0, &numbers(3, 3), &pace), [Step::Raise(3)]);
    let found = Flight { found: true, ..second };
    assert_eq!(decide(&[stuck, found], 0, &numbers(4, 4), &pace), [Step::Overtaken(3), Step::Settle(7)]);
    let again = Flight { overtaken: 2, overtaken_for: SECOND * 29, ..stuck };
    assert_eq!(decide(&[again], 0, &numbers(4, 4), &pace), [Step::Overtaken(3)]);
    let lost = Flight { overtaken_for: SECOND * 30, ..again };
    // M-07
    assert_eq!(decide(&[lost], 0, &numbers(4, 4), &pace), [Step::Lost(3)]);
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
