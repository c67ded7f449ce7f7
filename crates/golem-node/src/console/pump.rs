//! The task that carries bytes between a guest and the line to whoever holds its console.
//!
//! Owns that the guest is always read, at a bounded rate, whoever takes what it writes: neither a flood nor somebody who reads
//! slowly holds up QEMU, or makes this process grow.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use golem_service::web_socket::Bytes;
use golem_types::VmId;
use golem_vm::LiveConsole;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::line::Line;
use super::{ConsoleEnd, Consoles};
use crate::rental::Goal;

/// How often what was read is put into the log.
const KEEP: Duration = Duration::from_secs(5);

/// In this time a guest may write its share of the rate.
const WINDOW: Duration = Duration::from_millis(100);

/// Most bytes that are read at a time.
const PIECE: usize = 16 << 10;

/// The task.
pub(super) struct Pump {
    pub(super) consoles: Consoles,
    pub(super) id: VmId,
    pub(super) line: Arc<Line>,
    pub(super) typed: mpsc::Receiver<Bytes>,
    pub(super) _place: OwnedSemaphorePermit,
}

impl Pump {
    /// Carries until there is a reason to end, and gives `console` back.
    pub(super) async fn run(mut self, console: LiveConsole) {
        let _done = self.line.done_when_dropped();
        let stop = self.consoles.tasks.stopping().clone();
        let (holder, end) = loop {
            let end = tokio::select! {
                end = self.carry(&console) => end,
                () = stop.cancelled() => ConsoleEnd::NodeStops,
            };
            // It may have been taken over at the last moment.
            if let Some(holder) = self.line.end(end) {
                break (holder, end);
            }
        };
        self.consoles.backend.close_console(&self.id, console).await;
        if let Err(error) = self.consoles.note_closed(&self.id, &holder, end).await {
            golem_service::log_limited!(
                warn,
                error = &error as &dyn std::error::Error,
                "that a console was closed is not recorded"
            );
        }
    }

    async fn carry(&mut self, console: &LiveConsole) -> ConsoleEnd {
        let Self { consoles, id, line, typed, .. } = self;
        let limits = consoles.limits;
        let mut changes = consoles.ledger.changes();
        let mut keep = interval(KEEP);
        keep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut bytes = vec![0; PIECE];
        let mut pending = Bytes::new();
        let mut has_news = false;
        let mut pace = Pace::new(limits.rate);
        loop {
            let idle_at = line.typed_at() + limits.idle;
            tokio::select! {
                _ = console.readable(), if pace.may_read() => match console.read(&mut bytes) {
                    Ok(0) => return ConsoleEnd::GuestEnded,
                    Ok(count) => {
                        line.push(bytes.get(..count).unwrap_or_default());
                        pace.took(count);
                        has_news = true;
                    }
                    Err(error) if is_nothing(&error) => {}
                    Err(_) => return ConsoleEnd::GuestEnded,
                },
                () = sleep_until(pace.next_window()), if !pace.may_read() => pace.begin_window(),
                Some(more) = typed.recv(), if pending.is_empty() => pending = more,
                _ = console.writable(), if !pending.is_empty() => match console.write(&pending) {
                    Ok(count) => pending = pending.slice(count.min(pending.len())..),
                    Err(error) if is_nothing(&error) => {}
                    Err(_) => return ConsoleEnd::GuestEnded,
                },
                Ok(()) = changes.changed() => {
                    let now = changes.borrow_and_update();
                    if now.get(id).is_none_or(|rental| rental.goal == Goal::Deleted) {
                        return ConsoleEnd::Gone;
                    }
                }
                () = line.is_left() => return ConsoleEnd::Left,
                () = sleep_until(idle_at) => {
                    if line.typed_at() + limits.idle <= Instant::now() {
                        return ConsoleEnd::Idle;
                    }
                }
                _ = keep.tick(), if has_news => {
                    // Reading the log keeps what is not in it yet.
                    let _ = consoles.backend.console(id).await;
                    has_news = false;
                }
            }
        }
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// How fast a guest is read.
struct Pace {
    most: usize,
    read: usize,
    began: Instant,
}

impl Pace {
    /// At most `rate` bytes a second.
    fn new(rate: usize) -> Self {
        let most = rate.saturating_mul(WINDOW.as_millis() as usize) / 1000;
        Self { most: most.max(1), read: 0, began: Instant::now() }
    }

    fn may_read(&self) -> bool {
        self.read < self.most
    }

    fn took(&mut self, count: usize) {
        self.begin_window();
        self.read += count;
    }

    fn next_window(&self) -> Instant {
        self.began + WINDOW
    }

    /// Begins the window that it is time for; what was read too much in those before counts in it.
    fn begin_window(&mut self) {
        let over = u32::try_from(self.began.elapsed().as_millis() / WINDOW.as_millis()).unwrap_or(u32::MAX);
        self.read = self.read.saturating_sub(self.most.saturating_mul(over as usize));
        self.began += WINDOW.saturating_mul(over);
    }
}
