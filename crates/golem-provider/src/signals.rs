//! The signals that stop the process, or have it start anew.
//!
//! Owns what each signal asks for. Never stops anything but a server whose tasks it is given.

use std::io::{self, IsTerminal};

use golem_service::tasks::Tasks;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for; with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignalRequest {
    /// That the node stop.
    Stop(&'static str),
    /// That it be started anew.
    Reload(&'static str),
}

/// The signals that stop a node, or start it anew.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    /// Whether a hangup means that a terminal was closed.
    in_terminal: bool,
}

impl Signals {
    /// Begins to listen for them; from then on they no longer end the process by themselves.
    ///
    /// # Errors
    /// When the system does not let us listen.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            in_terminal: io::stdin().is_terminal() || io::stderr().is_terminal(),
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> SignalRequest {
        tokio::select! {
            _ = self.interrupt.recv() => SignalRequest::Stop("SIGINT"),
            _ = self.terminate.recv() => SignalRequest::Stop("SIGTERM"),
            _ = self.hangup.recv() => {
                if self.in_terminal { SignalRequest::Stop("SIGHUP") } else { SignalRequest::Reload("SIGHUP") }
            }
        }
    }

    /// Waits until the server `what`, whose tasks these are, is to stop, and stops it. A server of
    /// that kind has nothing to take over anew.
    ///
    /// # Errors
    /// When one of its tasks dies.
    pub(crate) async fn until_stopped(&mut self, tasks: &Tasks, what: &str) -> anyhow::Result<()> {
        let why = tokio::select! {
            request = self.next() => match request {
                SignalRequest::Stop(by) | SignalRequest::Reload(by) => Ok(by),
            },
            () = tasks.failed() => Err(anyhow::anyhow!("a task of {what} died; the log names it")),
        };
        tracing::info!(by = why.as_ref().copied().unwrap_or("a failure"), "stopping");
        tasks.stop().await;
        why.map(drop)
    }
}
