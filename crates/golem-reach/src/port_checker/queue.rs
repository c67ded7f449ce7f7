//! Whose turn it is to be checked.
//!
//! ```text
//!   asked ── its share is free ──────────────────────► runs ──► its dials are given back
//!     └── else waits: the least busy customer first ──┘ │
//!           └── too many wait, or too long ──► refused ◄─ (the caller went away: given back)
//! ```
//!
//! Owns the dials, which are what a check costs, and shares them: a customer has an eighth of them at
//! most, and the last ones are kept for small checks of those who have none running. Never dials.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use golem_service::descriptors;
use golem_service::shares::Shares;
use golem_types::net::Source;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Dials at a time; fewer where the process may have few descriptors.
const DIALS: usize = 2048;

/// What a check costs at least.
const LEAST: usize = 8;

/// Checks that wait: all, of one network, of one customer.
const WAITING: [usize; 3] = [256, 128, 8];

/// A queue of checks.
#[derive(Debug)]
pub(super) struct Queue {
    dials: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: Shares,
    waiting: Vec<Waiter>,
    /// Turns that were given.
    turns: u64,
    /// The last turns of those who wait or run: whose was longest ago is next.
    last: HashMap<Source, u64>,
}

impl State {
    /// The last turns of the network and of the customer of `source`.
    fn last(&self, source: Source) -> (u64, u64) {
        let of_network = self.last.iter().filter(|(other, _)| other.network == source.network);
        (of_network.map(|(_, turn)| *turn).max().unwrap_or(0), self.last.get(&source).copied().unwrap_or(0))
    }
}

#[derive(Debug)]
struct Waiter {
    source: Source,
    cost: usize,
    turn: oneshot::Sender<Turn>,
}

/// The right to dial, given back when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    queue: Arc<Queue>,
    source: Source,
    cost: usize,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.queue.state().running.give(self.source, self.cost);
        self.queue.admit();
    }
}

impl Queue {
    pub(super) fn new() -> Arc<Self> {
        Self::of(descriptors::share(DIALS))
    }

    fn of(dials: usize) -> Arc<Self> {
        Arc::new(Self { dials: dials.max(8 * LEAST), state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn for a check of `source` that dials so many at a time; `None` if too many wait already, or if
    /// there is none within `patience`.
    pub(super) async fn turn(
        self: &Arc<Self>,
        source: Source,
        dials: usize,
        patience: Duration,
    ) -> Option<Turn> {
        let cost = dials.clamp(LEAST, self.dials / 8);
        let (turn, taken) = oneshot::channel();
        {
            let mut state = self.state();
            state.waiting.retain(|waiter| !waiter.turn.is_closed());
            let waits =
                |group: &dyn Fn(&Waiter) -> bool| state.waiting.iter().filter(|waiter| group(waiter)).count();
            let [all, of_network, of_customer] = WAITING;
            if state.waiting.len() >= all
                || waits(&|other| other.source.network == source.network) >= of_network
                || waits(&|other| other.source == source) >= of_customer
            {
                return None;
            }
            state.waiting.push(Waiter { source, cost, turn });
        }
        self.admit();
        timeout(patience, taken).await.ok()?.ok()
    }

    /// Gives a turn to each who waits and has a right to it.
    fn admit(self: &Arc<Self>) {
        loop {
            let (turn, sender) = {
                let mut state = self.state();
                state.waiting.retain(|waiter| !waiter.turn.is_closed());
                let waiting = state.waiting.iter().enumerate();
                let admissible = waiting.filter(|(_, waiter)| self.has_room(&state.running, waiter));
                let next = admissible.min_by_key(|(number, waiter)| {
                    let runs = state.running.held(waiter.source).customer > 0;
                    (runs, state.last(waiter.source), waiter.cost, *number)
                });
                let Some((number, _)) = next else { return };
                let Waiter { source, cost, turn } = state.waiting.remove(number);
                state.running.take(source, cost);
                let State { running, waiting, turns, last } = &mut *state;
                *turns += 1;
                last.insert(source, *turns);
                last.retain(|source, _| {
                    running.held(*source).customer > 0
                        || waiting.iter().any(|waiter| waiter.source == *source)
                });
                (Turn { queue: Arc::clone(self), source, cost }, turn)
            };
            // Where who waited is gone the turn comes back, ends here, and gives its dials back.
            drop(sender.send(turn));
        }
    }

    /// Whether the dials of `waiter` are within what its source may have.
    fn has_room(&self, running: &Shares, waiter: &Waiter) -> bool {
        let held = running.held(waiter.source);
        let eighth = self.dials / 8;
        let (all, network) = match held.customer {
            0 if waiter.cost <= eighth / 2 => (8, 6),
            0 => (7, 4),
            _ => (6, 3),
        };
        held.all + waiter.cost <= all * eighth
            && held.network + waiter.cost <= network * eighth
            && held.customer + waiter.cost <= eighth
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    /// The turn of a check that need not wait.
    fn at_once(queue: &Arc<Queue>, address: &str, dials: usize) -> Option<Turn> {
        let turn = queue.turn(source(address), dials, Duration::ZERO);
        tokio::task::coop::unconstrained(turn).now_or_never().flatten()
    }

    #[tokio::test]
    async fn i_08_many_addresses_of_one_network_leave_room_for_others() {
        for dials in [1, 16, 128, 500] {
            let queue = Queue::of(2048);
            let mut turns = Vec::new();
            for n in 0..64 {
                turns.extend(at_once(&queue, &format!("192.0.2.{}", n % 16), dials));
            }
            for honest in ["203.0.113.1", "203.0.113.2", "2001:db8::1"] {
                turns.push(at_once(&queue, honest, 100).unwrap());
            }
            drop(turns);
            assert_eq!(queue.state().running.held(source("192.0.2.1")).all, 0);
        }
    }

    #[tokio::test]
    async fn i_08_the_least_busy_is_next_and_a_flood_of_those_who_wait_is_bounded() {
        let queue = Queue::of(64);
        let mut running: Vec<_> =
            (0..7).filter_map(|n| at_once(&queue, &format!("198.51.{n}.1"), 8)).collect();
        assert_eq!(queue.state().running.held(source("203.0.113.1")).all, 56);
        let minute = Duration::from_secs(60);
        let mut waiting: Vec<_> = Vec::new();
        for n in 0..1000 {
            let mut turn = Box::pin(queue.turn(source(&format!("198.51.{}.1", n % 7)), 8, minute));
            match futures_util::poll!(turn.as_mut()) {
                std::task::Poll::Pending => waiting.push(turn),
                std::task::Poll::Ready(refused) => assert!(refused.is_none()),
            }
        }
        assert_eq!(waiting.len(), 7 * WAITING[2]);
        let mut honest = Box::pin(queue.turn(source("203.0.113.1"), 8, minute));
        assert!(futures_util::poll!(honest.as_mut()).is_pending());
        running.pop();
        assert!(honest.await.is_some());
        // Those who went away hold nothing.
        drop((waiting, running));
        assert!(at_once(&queue, "203.0.113.1", 8).is_some());
        assert_eq!(queue.state().running.held(source("203.0.113.1")).all, 0);
    }
}
