//! How others reach a machine's task.
//!
//! Owns what was ordered and not yet done, in memory: what has to outlive the node is a goal in the ledger. Never does
//! any of it: the task does, one thing at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use golem_types::AuthorizedKey;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use crate::error::NodeError;
use crate::vm::Vm;

/// That a key may log in to the guest from now on.
#[derive(Debug)]
pub(super) struct KeyOrder {
    pub(super) key: AuthorizedKey,
    pub(super) done: oneshot::Sender<Result<Arc<Vm>, NodeError>>,
}

/// The key orders of one machine, for its task; they are refused when it ends.
#[derive(Debug)]
pub struct KeyOrders(mpsc::UnboundedReceiver<KeyOrder>);

impl KeyOrders {
    /// The next one. Never ready while there is none.
    pub(super) async fn next(&mut self) -> KeyOrder {
        match self.0.recv().await {
            Some(order) => order,
            // The task holds a handle itself, so that there is always one.
            None => std::future::pending().await,
        }
    }
}

/// A handle on a machine's task: what others ask of it.
#[derive(Debug)]
pub struct MachineHandle {
    restart: AtomicBool,
    exit: AtomicBool,
    /// When a start was asked for, until the guest is seen to run after that.
    start: Mutex<Option<Instant>>,
    poke: Notify,
    keys: mpsc::UnboundedSender<KeyOrder>,
}

impl MachineHandle {
    /// A handle, and what its task needs beside it.
    #[must_use]
    pub fn new() -> (Arc<Self>, KeyOrders) {
        let (keys, orders) = mpsc::unbounded_channel();
        let handle = Self {
            restart: AtomicBool::default(),
            exit: AtomicBool::default(),
            start: Mutex::default(),
            poke: Notify::new(),
            keys,
        };
        (Arc::new(handle), KeyOrders(orders))
    }

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

    /// Asks that the task, when it is to end, shut the guest down before. The next start boots it.
    pub fn stop_at_exit(&self) {
        self.exit.store(true, Ordering::Release);
    }

    /// Lets `key` log in to the guest; `None` if the task ends before that.
    pub async fn add_key(&self, key: AuthorizedKey) -> Option<Result<Arc<Vm>, NodeError>> {
        let (done, answer) = oneshot::channel();
        self.keys.send(KeyOrder { key, done }).ok()?;
        answer.await.ok()
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

    /// Whether the guest is to be shut down at the end of the task.
    pub(super) fn is_stop_at_exit(&self) -> bool {
        self.exit.load(Ordering::Acquire)
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
