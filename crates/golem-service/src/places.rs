//! A bounded number of places, shared fairly among untrusted clients.
//!
//! ```text
//!   newcomer ── room, and within its share ──────────────────────────────────► takes a free place
//!      ├── full, and another source holds two more than the newcomer's ─────► takes one of its places
//!      ├── over its share, and one of its own has been idle for too long ───► takes that place
//!      ├── full, and somebody has been idle for too long ───────────────────► takes that place
//!      └── otherwise ───────────────────────────────────────────────────────► is refused
//! ```
//!
//! Owns who holds how many places and who has to give way. Sources are compared by network first and
//! by customer then, so that many addresses of one network count as the one attacker that they often
//! are, and a customer within an attacked network still has a share of it. A holder that is
//! [`HolderState::Kept`] never gives way. Never closes anything: the caller ends who had to go.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use golem_types::net::Source;

/// Idle time after which any holder can lose its place to one that waits.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// How many places there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceLimits {
    /// All.
    pub total: usize,
    /// Most of one customer.
    pub per_customer: usize,
    /// Most of one network.
    pub per_network: usize,
    /// How long a holder may be idle while others wait, whoever it is.
    pub patience: Duration,
}

impl PlaceLimits {
    /// `total` places, with the most of one customer and of one network, whose idle holders give way after [`PATIENCE`].
    #[must_use]
    pub const fn of(total: usize, [per_customer, per_network]: [usize; 2]) -> Self {
        Self { total, per_customer, per_network, patience: PATIENCE }
    }
}

/// What a holder has done so far, which decides whether it may have to give way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HolderState {
    /// It has asked for nothing since then; the one that has waited longest goes first.
    Idle(Instant),
    /// It has sent something, then, but has not proven who it is; the newest goes first.
    Young(Instant),
    /// It keeps its place.
    Kept,
}

/// A place that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    source: Option<Source>,
    number: u64,
}

/// Whether a newcomer got a place.
#[derive(Debug, PartialEq, Eq)]
pub enum Placement<T> {
    /// It has a free place.
    Free(Key),
    /// It has the place of another, which has to be ended.
    Instead(Key, T),
    /// There is no place for it.
    Refused(T),
}

/// The places of one network.
#[derive(Debug)]
struct Network<T> {
    held: usize,
    customers: BTreeMap<IpAddr, BTreeMap<u64, T>>,
}

impl<T> Default for Network<T> {
    fn default() -> Self {
        Self { held: 0, customers: BTreeMap::new() }
    }
}

/// Places and their holders.
#[derive(Debug)]
pub struct Places<T> {
    limits: PlaceLimits,
    next: u64,
    held: usize,
    networks: BTreeMap<IpAddr, Network<T>>,
    /// Holders that count to no source, and never give way.
    exempt: BTreeMap<u64, T>,
}

/// Among whom the holder that gives way is searched for.
#[derive(Debug, Clone, Copy, Default)]
struct Search {
    /// In this network only.
    network: Option<IpAddr>,
    /// Of this customer only.
    customer: Option<IpAddr>,
    /// In networks that hold so many.
    network_holds: usize,
    /// Of customers that hold so many.
    customer_holds: usize,
    /// Among those that have been idle for so long.
    idle: Option<Duration>,
}

/// The order in which holders give way: the greatest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    network: usize,
    customer: usize,
    idle: bool,
    /// How long it has been idle; how short it has been young.
    time: Duration,
}

impl<T> Places<T> {
    /// Free places.
    #[must_use]
    pub fn new(limits: PlaceLimits) -> Self {
        Self { limits, next: 0, held: 0, networks: BTreeMap::new(), exempt: BTreeMap::new() }
    }

    /// How many are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// How many `source` holds: its customer, and its network.
    fn held_by(&self, source: Source) -> (usize, usize) {
        let network = self.networks.get(&source.network);
        let customer = network.and_then(|network| network.customers.get(&source.customer));
        (customer.map_or(0, BTreeMap::len), network.map_or(0, |network| network.held))
    }

    /// Takes a place at `now` for `newcomer`, which comes from `source`; `None` for one that is
    /// trusted and counts to no source. `state` tells the state of a holder.
    pub fn take(
        &mut self,
        source: Option<Source>,
        newcomer: T,
        now: Instant,
        state: impl Fn(&T) -> HolderState,
    ) -> Placement<T> {
        self.take_of(self.limits.total, source, newcomer, now, state)
    }

    /// The same, as if there were `total` places.
    pub fn take_of(
        &mut self,
        total: usize,
        source: Option<Source>,
        newcomer: T,
        now: Instant,
        state: impl Fn(&T) -> HolderState,
    ) -> Placement<T> {
        let (customer, network) = source.map_or((0, 0), |source| self.held_by(source));
        let within = customer < self.limits.per_customer && network < self.limits.per_network;
        if self.held < total.min(self.limits.total) && within {
            return Placement::Free(self.put(source, newcomer));
        }
        // Two more than the newcomer's, so that a place does not go to and fro between two sources.
        let others = Search { network_holds: network + 2, ..Search::default() };
        let overdue = Search { idle: Some(self.limits.patience), ..Search::default() };
        let neighbours = source.map(|Source { network, .. }| Search {
            network: Some(network),
            customer_holds: customer + 2,
            ..Search::default()
        });
        // Of two clients behind one address, the one that speaks has its turn.
        let own = source.map(|Source { customer, network }| Search {
            network: Some(network),
            customer: Some(customer),
            idle: Some(self.limits.patience),
            ..Search::default()
        });
        let overdue_here = source.map(|Source { network, .. }| Search { network: Some(network), ..overdue });
        let searches = if within {
            [Some(others), neighbours, own, Some(overdue)]
        } else if customer < self.limits.per_customer {
            [neighbours, own, overdue_here, None]
        } else {
            [own, None, None, None]
        };
        let mut searches = searches.into_iter().flatten();
        let victim = searches.find_map(|search| self.victim(now, search, &state));
        match victim.and_then(|victim| self.leave(victim)) {
            Some(gone) => Placement::Instead(self.put(source, newcomer), gone),
            None => Placement::Refused(newcomer),
        }
    }

    /// Takes a place away from the holder that gives way first, for something other than a newcomer
    /// here; `None` if all keep theirs.
    pub fn give_up(&mut self, now: Instant, state: impl Fn(&T) -> HolderState) -> Option<T> {
        let victim = self.victim(now, Search::default(), &state)?;
        self.leave(victim)
    }

    /// Takes the place away from the holder that has been idle for longest, if that is longer than the patience.
    pub fn give_up_idle(&mut self, now: Instant, state: impl Fn(&T) -> HolderState) -> Option<T> {
        let victim =
            self.victim(now, Search { idle: Some(self.limits.patience), ..Search::default() }, &state)?;
        self.leave(victim)
    }

    /// The holder of the place `key`, if it is still held.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&T> {
        let Some(source) = key.source else { return self.exempt.get(&key.number) };
        self.networks.get(&source.network)?.customers.get(&source.customer)?.get(&key.number)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let Some(source) = key.source else { return self.exempt.get_mut(&key.number) };
        self.networks.get_mut(&source.network)?.customers.get_mut(&source.customer)?.get_mut(&key.number)
    }

    /// Gives the place `key` back, if it is still held.
    pub fn leave(&mut self, key: Key) -> Option<T> {
        let gone = match key.source {
            None => self.exempt.remove(&key.number),
            Some(source) => {
                let network = self.networks.get_mut(&source.network)?;
                let holders = network.customers.get_mut(&source.customer)?;
                let gone = holders.remove(&key.number);
                if holders.is_empty() {
                    network.customers.remove(&source.customer);
                }
                network.held -= usize::from(gone.is_some());
                if network.held == 0 {
                    self.networks.remove(&source.network);
                }
                gone
            }
        };
        self.held -= usize::from(gone.is_some());
        gone
    }

    fn put(&mut self, source: Option<Source>, holder: T) -> Key {
        let number = self.next;
        self.next += 1;
        self.held += 1;
        match source {
            None => drop(self.exempt.insert(number, holder)),
            Some(source) => {
                let network = self.networks.entry(source.network).or_default();
                network.held += 1;
                network.customers.entry(source.customer).or_default().insert(number, holder);
            }
        }
        Key { source, number }
    }

    /// Who gives way among those that `search` allows.
    fn victim(&self, now: Instant, search: Search, state: &impl Fn(&T) -> HolderState) -> Option<Key> {
        let networks = match search.network {
            Some(network) => self.networks.range(network..=network),
            None => self.networks.range::<IpAddr, _>(..),
        };
        let mut found: Option<(Rank, Key)> = None;
        for (&address, network) in networks {
            // Lighter networks than that of who was found need no look.
            if network.held < found.map_or(search.network_holds, |(rank, _)| rank.network) {
                continue;
            }
            for (&customer, holders) in &network.customers {
                if holders.len() < search.customer_holds
                    || search.customer.is_some_and(|only| only != customer)
                {
                    continue;
                }
                for (&number, holder) in holders {
                    let Some(rank) = rank(network.held, holders.len(), state(holder), now) else {
                        continue;
                    };
                    let wanted = search.idle.is_none_or(|least| rank.idle && rank.time >= least);
                    if wanted && found.is_none_or(|(best, _)| rank > best) {
                        let source = Source { customer, network: address };
                        found = Some((rank, Key { source: Some(source), number }));
                    }
                }
            }
        }
        found.map(|(_, key)| key)
    }
}

fn rank(network: usize, customer: usize, state: HolderState, now: Instant) -> Option<Rank> {
    let (idle, time) = match state {
        HolderState::Kept => return None,
        HolderState::Idle(since) => (true, now.saturating_duration_since(since)),
        HolderState::Young(since) => (false, Duration::MAX - now.saturating_duration_since(since)),
    };
    Some(Rank { network, customer, idle, time })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: PlaceLimits =
        PlaceLimits { total: 64, per_customer: 32, per_network: 48, patience: PATIENCE };

    fn source(text: &str) -> Option<Source> {
        Some(Source::of(text.parse().unwrap()))
    }

    /// Places full of newcomers from `addresses`, one after the other, each of which is `state`.
    fn flooded(addresses: impl IntoIterator<Item = String>, state: HolderState) -> Places<HolderState> {
        let mut places = Places::new(LIMITS);
        for address in addresses {
            places.take(source(&address), state, Instant::now(), |state| *state);
        }
        places
    }

    fn arrives(places: &mut Places<HolderState>, address: &str) -> Placement<HolderState> {
        places.take(source(address), HolderState::Kept, Instant::now(), |state| *state)
    }

    #[test]
    fn i_05_i_06_a_newcomer_takes_the_place_of_who_holds_most() {
        let now = Instant::now();
        for state in [HolderState::Idle(now), HolderState::Young(now)] {
            let one = (0..300).map(|_| "192.0.2.1".to_owned());
            let neighbours = (0..300).map(|n| format!("192.0.2.{}", n % 20));
            let many = (0..300).map(|n| format!("198.51.{}.1", n % 20));
            for addresses in [one.collect::<Vec<_>>(), neighbours.collect(), many.collect()] {
                let mut places = flooded(addresses.clone(), state);
                let held = places.held();
                for honest in ["203.0.113.9", "192.0.2.250", "2001:db8::1"] {
                    let taken = arrives(&mut places, honest);
                    assert!(!matches!(taken, Placement::Refused(_)), "{honest} among {:?}", addresses.last());
                }
                assert!(places.held() <= LIMITS.total && places.held() >= held);
                // None of these is driven out by more of the same.
                for address in &addresses {
                    arrives(&mut places, address);
                }
                let (customers, _) = places.held_by(source("203.0.113.9").unwrap());
                assert_eq!(customers, 1);
            }
        }
    }

    #[test]
    fn who_proved_its_worth_keeps_its_place_and_one_source_cannot_have_all() {
        let mut places = flooded((0..300).map(|_| "192.0.2.1".to_owned()), HolderState::Kept);
        assert_eq!(places.held(), LIMITS.per_customer);
        for n in 2..200 {
            arrives(&mut places, &format!("192.0.2.{n}"));
        }
        assert_eq!(places.held(), LIMITS.per_network);
        assert!(matches!(arrives(&mut places, "203.0.113.9"), Placement::Free(_)));
        for n in 0..200 {
            arrives(&mut places, &format!("198.51.{n}.1"));
        }
        assert_eq!(places.held(), LIMITS.total);
        assert!(matches!(arrives(&mut places, "203.0.113.10"), Placement::Refused(_)));
        assert_eq!(places.give_up(Instant::now(), |state| *state), None);
    }

    #[test]
    fn behind_one_address_who_is_idle_makes_room_and_strangers_may_not_be_idle_for_long() {
        let long_ago = Instant::now();
        let now = long_ago + PATIENCE;
        let mut places = flooded((0..64).map(|n| format!("198.51.{n}.1")), HolderState::Idle(long_ago));
        let taken = places.take(source("203.0.113.9"), HolderState::Kept, now, |state| *state);
        assert!(matches!(taken, Placement::Instead(..)));
        let mut places = flooded((0..64).map(|n| format!("192.0.2.{n}")), HolderState::Idle(long_ago));
        let taken = places.take(source("192.0.2.250"), HolderState::Kept, now, |state| *state);
        assert!(matches!(taken, Placement::Instead(..)));
        let mut places = flooded((0..32).map(|_| "192.0.2.1".to_owned()), HolderState::Idle(long_ago));
        let taken = places.take(source("192.0.2.1"), HolderState::Kept, now, |state| *state);
        assert!(matches!(taken, Placement::Instead(_, HolderState::Idle(_))));
        // A trusted proxy speaks for many.
        let trusted = |places: &mut Places<HolderState>| {
            places.take(None, HolderState::Young(now), now, |state| *state)
        };
        for _ in 0..60 {
            assert!(!matches!(trusted(&mut places), Placement::Refused(_)));
        }
        assert_eq!(places.held(), LIMITS.total);
    }

    proptest! {
        #[test]
        fn counts_stay_true_and_limits_hold(
            moves in prop::collection::vec((0u8..4, 0u8..4, 0u8..3, any::<bool>()), 1..400),
        ) {
            let now = Instant::now();
            let mut places = Places::new(PlaceLimits { total: 12, per_customer: 6, per_network: 9, patience: PATIENCE });
            let mut keys = BTreeMap::new();
            let mut number = 0;
            for (network, customer, state, leaves) in moves {
                if leaves && let Some((_, key)) = keys.pop_first() {
                    prop_assert!(places.leave(key).is_some());
                    prop_assert!(places.leave(key).is_none());
                    continue;
                }
                let state = [HolderState::Idle(now), HolderState::Young(now), HolderState::Kept][usize::from(state)];
                let source = source(&format!("10.0.{network}.{customer}"));
                number += 1;
                match places.take(source, (number, state), now, |(_, state)| *state) {
                    Placement::Free(key) => drop(keys.insert(number, key)),
                    Placement::Instead(key, (gone, was)) => {
                        prop_assert!(was != HolderState::Kept);
                        keys.remove(&gone).unwrap();
                        keys.insert(number, key);
                    }
                    Placement::Refused(_) => {}
                }
                prop_assert_eq!(places.held(), keys.len());
                prop_assert!(places.held() <= 12);
                for key in keys.values() {
                    let (customers, networks) = places.held_by(key.source.unwrap());
                    prop_assert!(customers <= 6 && networks <= 9);
                }
            }
        }
    }
}
