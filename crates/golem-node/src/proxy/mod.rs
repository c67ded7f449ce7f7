//! The SSH port proxy: one listener per rental, its own thread, no more than its limits.
//!
//! ```text
//!   renter ──► listener of the rental's port ──► guest's SSH server on this host
//!   handle (this file) ──commands──► listeners ──► port (accepts) ──► seats (who may stay) ──► relay (bytes) ──► pipe
//! ```
//!
//! Owns every byte between a renter and a guest, on one thread with its own runtime, so that
//! SSH traffic neither crosses cores nor competes with the API. Never looks at what passes and
//! never logs who a renter is.
//!
//! Connections to guests are made when a renter comes and are never pooled: an SSH session
//! belongs to one renter from its first byte. What is pooled is what carries the bytes
//! (the module `pipe`), which a connection holds only while bytes are on their way.

mod listeners;
#[cfg_attr(target_os = "linux", path = "pipe_splice.rs")]
#[cfg_attr(not(target_os = "linux"), path = "pipe_buffer.rs")]
mod pipe;
// What other systems use is tested here too.
mod connection_limits;
mod left_open;
#[cfg(all(test, target_os = "linux"))]
mod pipe_buffer;
mod port;
mod relay;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use golem_service::descriptors;
use tokio::sync::{mpsc, oneshot};

pub use left_open::{LeftOpen, LeftSession};
use listeners::{Command, Listeners};

/// Caps and deadlines of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyLimits {
    /// Most connections open on one port; one address may have half of them, one network (an IPv4
    /// /24, an IPv6 /48) three quarters.
    pub per_port: usize,
    /// Most connections open on all ports together.
    pub total: usize,
    /// Most connections of one port that the guest has and that may be a stranger's still: open for
    /// less than two minutes, and little came back. One address may have a sixth of them, one network
    /// a third; more wait at the proxy. A guest's SSH server refuses renters when there are too many.
    pub greeting: usize,
    /// How long a renter may say nothing at first.
    pub speak: Duration,
    /// A connection on which nothing moved for this long is closed.
    pub idle: Duration,
    /// How long open connections may go on after a shutdown was asked for.
    pub drain: Duration,
    /// How long a connection to a guest may take.
    pub connect: Duration,
}

/// Caps of the SSH proxy. A session may be silent for hours (`less`, an editor); four outlast a
/// lunch and a meeting. A stop cuts sessions off soon: they never end by themselves.
const MOST: ProxyLimits = ProxyLimits {
    per_port: 256,
    total: 4096,
    greeting: 48,
    speak: Duration::from_secs(30),
    idle: Duration::from_secs(4 * 3600),
    drain: Duration::from_secs(2),
    connect: Duration::from_secs(10),
};

impl ProxyLimits {
    /// Those of a node, which are lower where the host allows few open files.
    #[must_use]
    pub fn of_this_host() -> Self {
        let total = descriptors::share(MOST.total);
        if total < MOST.total {
            tracing::warn!(
                open_files = descriptors::limit(),
                "no more than {total} SSH connections at a time, because few files may be open; fix: raise the hard \
                 limit (ulimit -Hn, LimitNOFILE in a unit) to {}",
                MOST.total * 8
            );
        }
        Self { total, ..MOST }
    }
}

/// Why the proxy could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The proxy's thread could not be started.
    #[error("the proxy's thread could not be started")]
    Thread(#[source] io::Error),
    /// The port cannot be listened on.
    #[error("port {} cannot be listened on", .0.port())]
    Bind(SocketAddr, #[source] io::Error),
    /// The proxy has ended.
    #[error("the proxy has ended")]
    Ended,
}

/// What went through one port since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections open now.
    pub connections_open: u64,
    /// Connections taken.
    pub connections_total: u64,
    /// Connections closed, at once or later, because others have a better right to their place.
    pub connections_refused: u64,
    /// Bytes from renters that were handed to the guest.
    pub bytes_in: u64,
    /// Bytes from the guest that were handed to renters.
    pub bytes_out: u64,
}

/// The counters behind [`Counts`]: written by the proxy's thread, read by any.
#[derive(Debug, Default)]
struct Meter {
    open: AtomicU64,
    total: AtomicU64,
    refused: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

type Meters = Arc<Mutex<BTreeMap<u16, Arc<Meter>>>>;

/// A handle on the proxy; clones share it. The proxy ends when it is shut down or when the last
/// handle is dropped.
#[derive(Debug, Clone)]
pub struct Proxy {
    commands: mpsc::UnboundedSender<Command>,
    meters: Meters,
}

impl Proxy {
    /// Starts the proxy's thread.
    ///
    /// # Errors
    /// [`ProxyError::Thread`].
    pub fn start(limits: ProxyLimits) -> Result<Self, ProxyError> {
        Self::go_on(limits, LeftOpen::default())
    }

    /// As [`Self::start`]; a port that is opened is what another process `left` of it, with its connections.
    ///
    /// # Errors
    /// [`ProxyError::Thread`].
    pub fn go_on(limits: ProxyLimits, left: LeftOpen) -> Result<Self, ProxyError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ProxyError::Thread)?;
        let (commands, queue) = mpsc::unbounded_channel();
        let meters = Meters::default();
        let listeners = Listeners::new(limits, Arc::clone(&meters), left);
        std::thread::Builder::new()
            .name("proxy".to_owned())
            .spawn(move || runtime.block_on(listeners.run(queue)))
            .map_err(ProxyError::Thread)?;
        Ok(Self { commands, meters })
    }

    /// Listens on `listen` for connections to `target`. A port that is open already keeps its
    /// listener and its connections; new ones go to `target`.
    ///
    /// # Errors
    /// [`ProxyError::Bind`], [`ProxyError::Ended`].
    pub async fn open(&self, listen: SocketAddr, target: SocketAddr) -> Result<(), ProxyError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Open { listen, target, answer }).map_err(|_| ProxyError::Ended)?;
        answered.await.map_err(|_| ProxyError::Ended)?
    }

    /// Stops listening on `port` and cuts what runs on it. Ready when both are done.
    pub async fn close(&self, port: u16) {
        let (answer, answered) = oneshot::channel();
        if self.commands.send(Command::Close { port, answer }).is_ok() {
            // No answer: the proxy has ended, and the port with it.
            let _ = answered.await;
        }
    }

    /// What went through `port`, while it is open.
    #[must_use]
    pub fn counts(&self, port: u16) -> Option<Counts> {
        let meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        meters.get(&port).map(|meter| Counts {
            connections_open: meter.open.load(Ordering::Relaxed),
            connections_total: meter.total.load(Ordering::Relaxed),
            connections_refused: meter.refused.load(Ordering::Relaxed),
            bytes_in: meter.bytes_in.load(Ordering::Relaxed),
            bytes_out: meter.bytes_out.load(Ordering::Relaxed),
        })
    }

    /// Stops listening everywhere, lets connections go on until the drain deadline, cuts the
    /// rest, and ends the thread.
    pub async fn shutdown(&self) {
        let (answer, answered) = oneshot::channel();
        if self.commands.send(Command::Shutdown { answer }).is_ok() {
            // No answer: the proxy has ended already.
            let _ = answered.await;
        }
    }

    /// Ends the thread, and gives what is open: the listeners, where whoever comes waits until another process accepts, and
    /// the connections, with what is on its way.
    pub async fn leave(&self) -> LeftOpen {
        let (answer, answered) = oneshot::channel();
        match self.commands.send(Command::Leave { answer }) {
            Ok(()) => answered.await.unwrap_or_default(),
            Err(_) => LeftOpen::default(),
        }
    }
}
