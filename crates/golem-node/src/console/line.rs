//! What stands between a guest and whoever holds its console.
//!
//! Owns what was written and not yet taken, within its bound, and who holds the console. Never reads or writes a guest.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use golem_service::web_socket::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{ConsoleEnd, OpenedBy};

/// Most messages of a session that wait for the guest to take them.
const TYPED_MESSAGES: usize = 4;

/// Most bytes that are taken at a time.
const PIECE: usize = 16 << 10;

/// The line.
#[derive(Debug)]
pub(super) struct Line {
    most: usize,
    shared: Mutex<Shared>,
    changed: Notify,
    typed: mpsc::Sender<Bytes>,
    done: CancellationToken,
}

#[derive(Debug)]
struct Shared {
    holder: Holder,
    output: VecDeque<u8>,
    dropped: u64,
    ended: Option<ConsoleEnd>,
}

/// Who holds the console.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    number: u64,
    pub(super) by: OpenedBy,
    pub(super) since: Instant,
    typed_at: Instant,
    has_left: bool,
}

impl Holder {
    fn new(number: u64, by: OpenedBy) -> Self {
        let now = Instant::now();
        Self { number, by, since: now, typed_at: now, has_left: false }
    }
}

/// An open console. It is left when this is dropped.
#[derive(Debug)]
pub struct ConsoleSession {
    line: Arc<Line>,
    number: u64,
}

/// What the guest wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleOutput {
    /// How many bytes before these were dropped, because nobody took them in time.
    pub dropped: u64,
    /// At most 16 KiB.
    pub bytes: Bytes,
}

/// Room for something that is typed.
#[derive(Debug)]
pub struct ConsoleRoom<'a> {
    session: &'a ConsoleSession,
    permit: mpsc::Permit<'a, Bytes>,
}

impl Line {
    /// A line that `by` holds, its session, and what is typed there. Keeps at most `most` bytes.
    pub(super) fn new(most: usize, by: OpenedBy) -> (Arc<Self>, ConsoleSession, mpsc::Receiver<Bytes>) {
        let (typed, receiver) = mpsc::channel(TYPED_MESSAGES);
        let shared = Shared { holder: Holder::new(0, by), output: VecDeque::new(), dropped: 0, ended: None };
        let line = Arc::new(Self {
            most,
            shared: Mutex::new(shared),
            changed: Notify::new(),
            typed,
            done: CancellationToken::new(),
        });
        (Arc::clone(&line), ConsoleSession { line, number: 0 }, receiver)
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session of `by` in place of the one that there is, who that was and how it ended; `None` if the line has ended.
    pub(super) fn take_over(self: &Arc<Self>, by: OpenedBy) -> Option<(ConsoleSession, Holder, ConsoleEnd)> {
        let mut shared = self.shared();
        if shared.ended.is_some() {
            return None;
        }
        let number = shared.holder.number + 1;
        let before = std::mem::replace(&mut shared.holder, Holder::new(number, by));
        // What nobody took was not meant for this session.
        shared.output.clear();
        shared.dropped = 0;
        drop(shared);
        self.changed.notify_waiters();
        let end = if before.has_left { ConsoleEnd::Left } else { ConsoleEnd::TakenOver };
        Some((ConsoleSession { line: Arc::clone(self), number }, before, end))
    }

    /// Takes what the guest wrote.
    pub(super) fn push(&self, bytes: &[u8]) {
        let mut shared = self.shared();
        shared.output.extend(bytes);
        let over = shared.output.len().saturating_sub(self.most);
        shared.output.drain(..over);
        shared.dropped = shared.dropped.saturating_add(over as u64);
        drop(shared);
        self.changed.notify_waiters();
    }

    /// Ready when whoever holds the console has left; it can be taken over again meanwhile.
    pub(super) async fn is_left(&self) {
        loop {
            let changed = self.changed.notified();
            if self.shared().holder.has_left {
                return;
            }
            changed.await;
        }
    }

    /// When something was typed last.
    pub(super) fn typed_at(&self) -> Instant {
        self.shared().holder.typed_at
    }

    /// Ends the line, unless `end` is no longer so.
    pub(super) fn end(&self, end: ConsoleEnd) -> Option<Holder> {
        let mut shared = self.shared();
        if end == ConsoleEnd::Left && !shared.holder.has_left {
            return None;
        }
        shared.ended = Some(end);
        let holder = shared.holder.clone();
        drop(shared);
        self.changed.notify_waiters();
        Some(holder)
    }

    /// Ready when the guest's console was given back.
    pub(super) async fn done(&self) {
        self.done.cancelled().await;
    }

    pub(super) fn is_done(&self) -> bool {
        self.done.is_cancelled()
    }

    /// Says that the console was given back, when it is dropped.
    pub(super) fn done_when_dropped(&self) -> DropGuard {
        self.done.clone().drop_guard()
    }
}

impl ConsoleSession {
    /// What the guest writes next. May be given up at any time without losing anything.
    ///
    /// # Errors
    /// [`ConsoleEnd`], when the session is over.
    pub async fn next(&self) -> Result<ConsoleOutput, ConsoleEnd> {
        loop {
            let changed = self.line.changed.notified();
            {
                let mut shared = self.line.shared();
                if shared.holder.number != self.number {
                    return Err(ConsoleEnd::TakenOver);
                }
                if !shared.output.is_empty() {
                    let count = shared.output.len().min(PIECE);
                    let bytes: Vec<u8> = shared.output.drain(..count).collect();
                    let dropped = std::mem::take(&mut shared.dropped);
                    return Ok(ConsoleOutput { dropped, bytes: bytes.into() });
                }
                if let Some(end) = shared.ended {
                    return Err(end);
                }
            }
            changed.await;
        }
    }

    /// Room for what is typed next, which there is not while the guest takes nothing. `None` if the session is over. May be
    /// given up at any time.
    pub async fn room(&self) -> Option<ConsoleRoom<'_>> {
        let permit = self.line.typed.reserve().await.ok()?;
        Some(ConsoleRoom { session: self, permit })
    }
}

impl ConsoleRoom<'_> {
    /// Types `bytes`, if the session is not over.
    pub fn send(self, bytes: Bytes) {
        let mut shared = self.session.line.shared();
        if shared.holder.number == self.session.number && shared.ended.is_none() {
            shared.holder.typed_at = Instant::now();
            self.permit.send(bytes);
        }
    }
}

impl Drop for ConsoleSession {
    fn drop(&mut self) {
        let mut shared = self.line.shared();
        if shared.holder.number == self.number {
            shared.holder.has_left = true;
            drop(shared);
            self.line.changed.notify_waiters();
        }
    }
}
