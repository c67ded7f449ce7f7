//! Tasks: every one has a name, an owner and a stop.
//!
//! Owns the one place where a task is spawned. Never restarts a task: what must go on loops by
//! itself, and a panic is logged with the task's name and makes [`Tasks::failed`] ready.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// An owner of tasks.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    failed: CancellationToken,
}

/// Marks the owner as failed when a task unwinds.
struct PanicGuard {
    name: String,
    failed: CancellationToken,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = %self.name, "task panicked");
            self.failed.cancel();
        }
    }
}

impl Tasks {
    /// Makes an owner without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `future` as a task named `name` until it ends; it should end soon after
    /// [`Tasks::stopping`] is ready.
    pub fn spawn<F>(&self, name: impl Into<String>, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let name = name.into();
        // A task is no part of the one that began it, nor are its log lines.
        let span = tracing::debug_span!(parent: None, "task", %name);
        let guard = PanicGuard { name, failed: self.failed.clone() };
        let future = async move {
            let _guard = guard;
            future.await;
        };
        #[expect(clippy::disallowed_methods, reason = "this is the one place that names and owns tasks")]
        tokio::spawn(self.tracker.track_future(future.instrument(span)));
    }

    /// The token that is cancelled when tasks should end.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Ready when a task has panicked.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Asks every task to end and waits until all have.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_seen_by_the_owner_and_stop_waits_for_the_rest() {
        let tasks = Tasks::new();
        let token = tasks.stopping().clone();
        tasks.spawn("waits", async move { token.cancelled().await });
        tasks.spawn("panics", async { panic!("on purpose") });
        tasks.failed().await;
        tasks.stop().await;
        assert!(tasks.tracker.is_empty());
    }
}
