//! Who has a VM's serial console open: one session at a time.
//!
//! ```text
//!   guest ─► pump ─► Line: the last 64 KiB that were not taken ─► session ─► whoever holds it
//!   guest ◄─ pump ◄─ a few messages; more wait              ◄─ session ◄─ whoever holds it
//!   opened, closed: events of the VM, with who and how long, and never what was said
//! ```
//! A session that is opened while there is one takes over, and the other is told: a renter who was cut off must not be locked
//! out by what is left of the last connection. Owns the bounds: how many there are, how long nothing may be typed, how
//! much is kept of what is not taken, and how fast a guest may write. Never knows who may open one.

mod line;
mod pump;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use golem_service::tasks::Tasks;
use golem_types::VmId;
use golem_vm::Backend;
use jiff::Timestamp;
use tokio::sync::Semaphore;

pub use line::{ConsoleOutput, ConsoleRoom, ConsoleSession};
use line::{Holder, Line};
use pump::Pump;

use crate::error::NodeError;
use crate::ledger::Ledger;

/// The bounds of consoles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConsoleLimits {
    /// Most that are open on the node.
    pub(crate) open: usize,
    /// How long nothing may be typed.
    pub(crate) idle: Duration,
    /// Most bytes that are kept of what the guest wrote and nobody took; older ones are dropped.
    pub(crate) output: usize,
    /// Most bytes that a guest may write in a second; one that writes more waits.
    pub(crate) rate: usize,
}

impl Default for ConsoleLimits {
    fn default() -> Self {
        Self { open: 64, idle: Duration::from_secs(15 * 60), output: 64 << 10, rate: 1 << 20 }
    }
}

/// Why a session is over. The texts are shown to the renter and kept as events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConsoleEnd {
    /// Whoever held it left.
    #[error("it was left")]
    Left,
    /// Another session was opened.
    #[error("another session took the console over")]
    TakenOver,
    /// Nothing was typed for too long.
    #[error("nothing was typed for 15 minutes")]
    Idle,
    /// The guest's process ended.
    #[error("the VM was stopped or started anew")]
    GuestEnded,
    /// The rental ended.
    #[error("the VM is gone")]
    Gone,
    /// The node stops; the guest does not.
    #[error("the provider's node stops, and the VM goes on")]
    NodeStops,
}

/// Who opens a console, for the VM's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedBy(pub String);

impl fmt::Display for OpenedBy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

type Slot = Arc<tokio::sync::Mutex<Option<Arc<Line>>>>;

/// What consoles are opened with.
#[derive(Clone)]
pub(crate) struct Consoles {
    limits: ConsoleLimits,
    places: Arc<Semaphore>,
    backend: Arc<Backend>,
    ledger: Ledger,
    tasks: Tasks,
    slots: Arc<Mutex<BTreeMap<VmId, Slot>>>,
}

impl Consoles {
    /// No console is open yet.
    pub(crate) fn new(limits: ConsoleLimits, backend: Arc<Backend>, ledger: Ledger, tasks: Tasks) -> Self {
        let places = Arc::new(Semaphore::new(limits.open));
        Self { limits, places, backend, ledger, tasks, slots: Arc::default() }
    }

    fn slot(&self, id: &VmId) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let is_used = |slot: &Slot| {
            Arc::strong_count(slot) > 1
                || slot.try_lock().is_ok_and(|line| line.as_ref().is_some_and(|line| !line.is_done()))
        };
        slots.retain(|_, slot| is_used(slot));
        Arc::clone(slots.entry(id.clone()).or_default())
    }

    /// Opens the console of the VM `id`, which runs, or takes it over.
    ///
    /// # Errors
    /// [`NodeError::TooManyConsoles`]; [`NodeError::Backend`]; [`NodeError::Ledger`], as nothing is opened that is not
    /// recorded.
    pub(crate) async fn open(&self, id: &VmId, by: OpenedBy) -> Result<ConsoleSession, NodeError> {
        let slot = self.slot(id);
        let mut line = slot.lock().await;
        if let Some(line) = line.as_ref() {
            if let Some((session, before, end)) = line.take_over(by.clone()) {
                self.note_closed(id, &before, end).await?;
                self.note_opened(id, &by).await?;
                return Ok(session);
            }
            // Its console is given back first.
            line.done().await;
        }
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| NodeError::TooManyConsoles)?;
        let console = self.backend.open_console(id).await?;
        let (fresh, session, typed) = Line::new(self.limits.output, by.clone());
        *line = Some(Arc::clone(&fresh));
        let pump = Pump { consoles: self.clone(), id: id.clone(), line: fresh, typed, _place: place };
        self.tasks.spawn(format!("console of {}", id.redacted()), pump.run(console));
        self.note_opened(id, &by).await?;
        Ok(session)
    }

    async fn note_opened(&self, id: &VmId, by: &OpenedBy) -> Result<(), NodeError> {
        golem_service::log_limited_each!(id, info, vm = id.redacted(), "console opened");
        let detail = format!("by {by}");
        Ok(self.ledger.note(id, "console.opened", detail, Timestamp::now()).await?)
    }

    async fn note_closed(&self, id: &VmId, holder: &Holder, end: ConsoleEnd) -> Result<(), NodeError> {
        let detail = format!("by {}, after {} s: {end}", holder.by, holder.since.elapsed().as_secs());
        golem_service::log_limited_each!(id, info, vm = id.redacted(), %end, "console closed");
        Ok(self.ledger.note(id, "console.closed", detail, Timestamp::now()).await?)
    }

    /// Closes what a node that was killed held open, until the node stops.
    pub(crate) async fn mend(self) {
        loop {
            for id in self.backend.mend_consoles().await {
                let detail = "the provider's node ended meanwhile".to_owned();
                if let Err(error) = self.ledger.note(&id, "console.closed", detail, Timestamp::now()).await {
                    golem_service::log_limited!(
                        warn,
                        error = &error as &dyn std::error::Error,
                        "that a console was closed is not recorded"
                    );
                }
            }
            tokio::select! {
                () = tokio::time::sleep(MEND_AGAIN) => {}
                () = self.tasks.stopping().cancelled() => return,
            }
        }
    }
}

/// How often consoles are looked at that could not be closed.
const MEND_AGAIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
