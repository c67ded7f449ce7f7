//! The places of one kind of clients, and who sits there.
//!
//! Owns how a client learns that it has to give way, and that its place is given back when it ends. Who has to
//! give way [`crate::places`] decides. Never closes anything itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use golem_types::net::Source;
use tokio::sync::Notify;

use crate::places::{HolderState, Key, PlaceLimits, Placement, Places};

/// Places that are shared fairly among clients; clones share them.
#[derive(Debug, Clone)]
pub struct Seats(Arc<Mutex<Places<Arc<Holder>>>>);

/// A client, as the others see it.
#[derive(Debug)]
pub struct Holder {
    state: Mutex<HolderState>,
    gives_way: Notify,
}

/// A place that is held; given back when dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Seats,
    key: Key,
    holder: Arc<Holder>,
}

impl Holder {
    /// Says what the client does now.
    pub fn becomes(&self, state: HolderState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn state(&self) -> HolderState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready when the place went to somebody else: the client has to be ended.
    pub async fn gives_way(&self) {
        self.gives_way.notified().await;
    }
}

impl Seat {
    /// The client that sits here.
    #[must_use]
    pub const fn holder(&self) -> &Arc<Holder> {
        &self.holder
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.0.lock().unwrap_or_else(PoisonError::into_inner).leave(self.key);
    }
}

impl Seats {
    /// Free places.
    #[must_use]
    pub fn new(limits: PlaceLimits) -> Self {
        Self(Arc::new(Mutex::new(Places::new(limits))))
    }

    /// A place for a client at `source`, idle so far, which another may have to give up; `None` if there is none
    /// for it. A `source` of `None` is trusted, and counts to nobody.
    #[must_use]
    pub fn take(&self, source: Option<Source>) -> Option<Seat> {
        let now = Instant::now();
        let holder = Arc::new(Holder { state: Mutex::new(HolderState::Idle(now)), gives_way: Notify::new() });
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = match places.take(source, Arc::clone(&holder), now, |other| other.state()) {
            Placement::Free(key) => key,
            Placement::Instead(key, other) => {
                other.gives_way.notify_one();
                key
            }
            Placement::Refused(_) => return None,
        };
        Some(Seat { seats: self.clone(), key, holder })
    }

    /// Has the client give way that has been idle for longest, if that is too long.
    pub fn relieve(&self) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = places.give_up_idle(Instant::now(), |other| other.state()) {
            other.gives_way.notify_one();
        }
    }
}
