//! The signals that stop the process, or have it start anew.
//!
//! Owns what each signal asks for. Never stops anything but a server whose tasks it is given.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use golem_service::tasks::Tasks;
use nix::sys::signal::{self, SigSet, SigmaskHow};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for; with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignalRequest {
    /// That the node stop.
    Stop(&'static str),
    /// That it be started anew.
    Reload(&'static str),
}

/// Signals that come while a program makes way for the next, which nobody waits for then.
#[derive(Debug, Clone)]
pub(crate) struct NotedSignals {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl NotedSignals {
    /// Takes note of them from now on, those that [`hold_back`] kept waiting first.
    ///
    /// # Errors
    /// When the system does not let us.
    pub(crate) fn begin() -> io::Result<Self> {
        let noted = Self { stop: Arc::default(), reload: Arc::default() };
        flag::register(SIGINT, Arc::clone(&noted.stop))?;
        flag::register(SIGTERM, Arc::clone(&noted.stop))?;
        flag::register(SIGHUP, Arc::clone(&noted.reload))?;
        signal::pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&held_back()), None)?;
        Ok(noted)
    }

    /// Whether there was one that stops a node.
    pub(crate) fn is_stop(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Whether there was one that starts it anew.
    pub(crate) fn is_reload(&self) -> bool {
        self.reload.load(Ordering::SeqCst)
    }
}

fn held_back() -> SigSet {
    [signal::Signal::SIGINT, signal::Signal::SIGTERM, signal::Signal::SIGHUP].into_iter().collect()
}

/// Has them wait, also for the program that takes this one's place, until that takes [note](NotedSignals::begin) of them.
///
/// # Errors
/// When the system does not let us.
pub(crate) fn hold_back() -> io::Result<()> {
    Ok(signal::pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&held_back()), None)?)
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
