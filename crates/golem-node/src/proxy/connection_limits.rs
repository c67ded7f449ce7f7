//! Who may stay.
//!
//! ```text
//!   accepted ──► silent ──speaks──► greeting ──8 KiB came back, or two minutes──► proven
//!                  │ (both reach the guest while few others of their source do; the rest wait)
//!                  └── nothing said in time: closed
//! ```
//!
//! Owns the caps: of a port, of all ports, of a source on a port, and of strangers that a guest has at
//! once. Of those that no key has proven yet, one gives way to a newcomer whose source holds less; a
//! proven session gives way only where all ports together are full and its own has more than its
//! share. Locked when a connection comes, speaks, is proven and goes; never for the bytes between.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use golem_service::log_limited;
use golem_service::places::{HolderState, Key, PATIENCE, PlaceLimits, Placement, Places};
use golem_types::net::Source;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{Meter, ProxyLimits};

/// Age after which a connection counts as logged in: by then an SSH server has closed those that did not.
const GRACE: Duration = Duration::from_secs(125);

/// How long a silent stranger may be at the guest while others of its source wait. Each that comes costs the guest a
/// process of its SSH server, so one address makes it start less than one in a second.
const AT_GUEST: Duration = Duration::from_secs(10);

/// What comes back from a guest only after a login: key exchange and refused logins are less.
const PROVEN_BYTES: u64 = 8 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Silent,
    Greeting,
    Proven,
}

/// A connection, as the others see it.
struct Holder {
    opened: Instant,
    phase: Phase,
    /// Ends it.
    task: Option<AbortHandle>,
}

fn standing(holder: &Holder) -> HolderState {
    match holder.phase {
        Phase::Silent => HolderState::Idle(holder.opened.into_std()),
        Phase::Greeting => HolderState::Young(holder.opened.into_std()),
        Phase::Proven => HolderState::Kept,
    }
}

/// What holds where a port has more than its share of all places: the newest goes, proven or not.
fn standing_above_share(holder: &Holder) -> HolderState {
    match standing(holder) {
        HolderState::Kept => HolderState::Young(holder.opened.into_std()),
        standing => standing,
    }
}

/// The connections of one port.
struct PortSeats {
    places: Places<Holder>,
    /// Those that the guest has and that are not proven.
    greeting: Places<Key>,
    /// Tells those who wait for the guest that there is room.
    freed: Arc<Notify>,
}

#[derive(Default)]
struct Table {
    held: usize,
    ports: BTreeMap<u16, PortSeats>,
}

/// The connections of all ports.
pub(super) struct Seats {
    limits: ProxyLimits,
    table: Mutex<Table>,
}

impl Seats {
    pub(super) fn new(limits: ProxyLimits) -> Self {
        Self { limits, table: Mutex::default() }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to count `port`.
    pub(super) fn open(&self, port: u16) {
        let per_port = self.limits.per_port;
        let few = per_port.min(4);
        let limits = PlaceLimits {
            total: per_port,
            per_customer: (per_port / 2).max(few),
            per_network: (per_port / 4 * 3).max(few),
            patience: PATIENCE,
        };
        let greeting = self.limits.greeting;
        let seats = PortSeats {
            places: Places::new(limits),
            greeting: Places::new(PlaceLimits {
                total: greeting,
                per_customer: (greeting / 6).max(1),
                per_network: (greeting / 3).max(1),
                patience: AT_GUEST,
            }),
            freed: Arc::default(),
        };
        self.table().ports.insert(port, seats);
    }

    /// Counts `port` no longer; its connections have ended.
    pub(super) fn close(&self, port: u16) {
        let mut table = self.table();
        if let Some(seats) = table.ports.remove(&port) {
            table.held -= seats.places.held();
        }
    }

    /// A seat on `port` for who comes from `address`, which another may have to give up; `None` if
    /// nobody has to.
    pub(super) fn take(self: &Arc<Self>, port: u16, address: IpAddr, meter: &Arc<Meter>) -> Option<Seat> {
        let source = Source::of(address);
        let opened = Instant::now();
        let key = self.table().take(port, source, opened, self.limits.total, meter)?;
        meter.open.fetch_add(1, Ordering::Relaxed);
        meter.total.fetch_add(1, Ordering::Relaxed);
        Some(Seat {
            seats: Arc::clone(self),
            meter: Arc::clone(meter),
            port,
            source,
            key,
            opened,
            phase: Phase::Silent,
            at_guest: None,
        })
    }

    /// Says which task serves the connection that holds `key`, so that it can be ended for another's sake.
    pub(super) fn served_by(&self, port: u16, key: Key, task: AbortHandle) {
        let mut table = self.table();
        if let Some(holder) = table.ports.get_mut(&port).and_then(|seats| seats.places.get_mut(key)) {
            holder.task = Some(task);
        }
    }

    /// Makes room where the host is short of descriptors: the longest silent goes.
    pub(super) fn relieve(&self) {
        let now = std::time::Instant::now();
        let mut table = self.table();
        let gone = table.ports.values_mut().find_map(|seats| seats.places.give_up_idle(now, standing));
        if let Some(gone) = gone {
            table.held -= 1;
            gone.end();
        }
    }
}

impl Holder {
    fn end(self) {
        log_limited!(warn, "an SSH connection was closed to make room for another source's");
        if let Some(task) = self.task {
            task.abort();
        }
    }
}

impl Table {
    fn take(
        &mut self,
        port: u16,
        source: Source,
        opened: Instant,
        total: usize,
        meter: &Meter,
    ) -> Option<Key> {
        let now = opened.into_std();
        let own = self.ports.get(&port)?.places.held();
        // Of all ports, that with the most connections makes room for one with fewer.
        if self.held >= total
            && let Some(gone) = self.give_way(own, total, now)
        {
            self.held -= 1;
            gone.end();
        }
        let own_most = if self.held >= total { own } else { usize::MAX };
        let holder = Holder { opened, phase: Phase::Silent, task: None };
        match self.ports.get_mut(&port)?.places.take_of(own_most, Some(source), holder, now, standing) {
            Placement::Free(key) => {
                self.held += 1;
                Some(key)
            }
            Placement::Instead(key, gone) => {
                meter.refused.fetch_add(1, Ordering::Relaxed);
                gone.end();
                Some(key)
            }
            Placement::Refused(_) => None,
        }
    }

    /// Takes a place away from the port that holds most, if that is more than `own`.
    fn give_way(&mut self, own: usize, total: usize, now: std::time::Instant) -> Option<Holder> {
        let share = total / self.ports.len().max(1);
        let (_, most) = self.ports.iter_mut().max_by_key(|(_, seats)| seats.places.held())?;
        let held = most.places.held();
        if held < own + 2 {
            return None;
        }
        let gone = most.places.give_up(now, standing);
        match gone {
            None if held > share => most.places.give_up(now, standing_above_share),
            gone => gone,
        }
    }
}

/// A connection's place among those that the caps allow; given back when dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
    meter: Arc<Meter>,
    port: u16,
    source: Source,
    key: Key,
    opened: Instant,
    phase: Phase,
    /// Its place among the strangers that the guest has.
    at_guest: Option<Key>,
}

impl Seat {
    pub(super) fn limits(&self) -> &ProxyLimits {
        &self.seats.limits
    }

    pub(super) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    pub(super) fn key(&self) -> Key {
        self.key
    }

    /// Whether the guest may be bothered with it now.
    pub(super) fn enter(&mut self) -> bool {
        let mut table = self.seats.table();
        let Some(PortSeats { places, greeting, .. }) = table.ports.get_mut(&self.port) else { return false };
        let now = std::time::Instant::now();
        let standing = |key: &Key| places.get(*key).map_or(HolderState::Kept, standing);
        let (seat, gone) = match greeting.take(Some(self.source), self.key, now, standing) {
            Placement::Free(seat) => (seat, None),
            Placement::Instead(seat, gone) => (seat, places.leave(gone)),
            Placement::Refused(_) => return false,
        };
        self.at_guest = Some(seat);
        if let Some(gone) = gone {
            table.held -= 1;
            gone.end();
        }
        true
    }

    /// Tells when there may be room at the guest.
    pub(super) fn freed(&self) -> Arc<Notify> {
        self.seats.table().ports.get(&self.port).map(|seats| Arc::clone(&seats.freed)).unwrap_or_default()
    }

    /// Whether it may be a stranger's still.
    pub(super) fn is_strange(&self) -> bool {
        self.phase != Phase::Proven
    }

    pub(super) fn has_spoken(&self) -> bool {
        self.phase != Phase::Silent
    }

    /// Until when its renter has to speak, or is a stranger; `None` if neither.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Silent => Some(self.opened + self.seats.limits.speak),
            Phase::Greeting => Some(self.opened + GRACE),
            Phase::Proven => None,
        }
    }

    /// Whether its renter has spoken in time; after the grace it is no stranger.
    pub(super) fn is_in_time(&mut self, now: Instant) -> bool {
        match self.due() {
            Some(due) if now >= due => {
                if self.phase == Phase::Silent {
                    return false;
                }
                self.becomes(Phase::Proven);
                true
            }
            _ => true,
        }
    }

    /// Takes note that bytes moved: from the renter (`inward`), and `outward` of them in all to it.
    pub(super) fn moved(&mut self, inward: bool, outward: u64) {
        if inward {
            self.spoke();
        }
        if outward >= PROVEN_BYTES && self.phase == Phase::Greeting {
            self.becomes(Phase::Proven);
        }
    }

    /// Takes note that its renter has spoken.
    pub(super) fn spoke(&mut self) {
        if self.phase == Phase::Silent {
            self.becomes(Phase::Greeting);
        }
    }

    /// Takes note that its renter has logged in.
    pub(super) fn prove(&mut self) {
        self.becomes(Phase::Proven);
    }

    fn becomes(&mut self, phase: Phase) {
        let seats = Arc::clone(&self.seats);
        let mut table = seats.table();
        if let Some(seats) = table.ports.get_mut(&self.port) {
            if phase == Phase::Proven {
                self.leave_guest(seats);
            }
            if let Some(holder) = seats.places.get_mut(self.key) {
                holder.phase = phase;
            }
        }
        self.phase = phase;
    }

    /// Counts no more among the strangers that the guest has.
    fn leave_guest(&mut self, seats: &mut PortSeats) {
        if let Some(seat) = self.at_guest.take() {
            seats.greeting.leave(seat);
            seats.freed.notify_waiters();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.meter.open.fetch_sub(1, Ordering::Relaxed);
        let seats = Arc::clone(&self.seats);
        let mut table = seats.table();
        let Some(seats) = table.ports.get_mut(&self.port) else { return };
        self.leave_guest(seats);
        if seats.places.leave(self.key).is_some() {
            table.held -= 1;
        }
    }
}
