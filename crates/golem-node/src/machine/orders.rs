//! What others ask of a machine's task.
//!
//! Owns what was asked for and not yet done, in memory: what has to outlive the node is a goal in the ledger.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

/// What others ask of a machine's task.
#[derive(Debug, Default)]
pub struct Orders {
    restart: AtomicBool,
    /// When a start was asked for, until the guest is seen to run after that.
    start: Mutex<Option<Instant>>,
    poke: Notify,
}

impl Orders {
    /// Tells the task to look at its row again.
    pub fn poke(&self) {
        self.poke.notify_one();
    }

    /// Tells that a start was asked for: a guest that shut itself down before that is to run.
    pub fn start(&self) {
        *self.asked_to_start() = Some(Instant::now());
    }

    fn asked_to_start(&self) -> MutexGuard<'_, Option<Instant>> {
        self.start.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for one restart of the guest.
    pub fn restart(&self) {
        self.restart.store(true, Ordering::Release);
        self.poke();
    }

    /// Ready when the task is to look at its row.
    pub(super) async fn poked(&self) {
        self.poke.notified().await;
    }

    /// Whether a restart was asked for.
    pub(super) fn is_restart(&self) -> bool {
        self.restart.load(Ordering::Acquire)
    }

    /// Takes the restart off that was asked for.
    pub(super) fn forget_restart(&self) {
        self.restart.store(false, Ordering::Release);
    }

    /// Whether a start was asked for.
    pub(super) fn is_start(&self) -> bool {
        self.asked_to_start().is_some()
    }

    /// Takes a start off that was asked for before `at`.
    pub(super) fn forget_start(&self, at: Instant) {
        let mut start = self.asked_to_start();
        *start = start.filter(|asked| *asked > at);
    }
}
