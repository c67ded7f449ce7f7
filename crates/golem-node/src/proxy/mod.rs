//! The SSH port proxy: one listener per rental, its own thread, no more than its limits.
//!
//! ```text
//!   renter ──► listener of the rental's port ──► guest's SSH server on this host
//! ```
//!
//! Owns every byte between a renter and a guest, on one thread with its own runtime, so that
//! SSH traffic neither crosses cores nor competes with the API. Never looks at what passes.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Caps and deadlines of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyLimits {
    /// Most connections open on one port.
    pub per_port: usize,
    /// Most connections open on all ports together.
    pub total: usize,
    /// A connection on which nothing moved for this long is closed.
    pub idle: Duration,
    /// How long open connections may go on after a shutdown was asked for.
    pub drain: Duration,
    /// How long a connection to a guest may take.
    pub connect: Duration,
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

/// What went through one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections open now.
    pub connections_open: u64,
    /// Connections taken since the port was opened.
    pub connections_total: u64,
    /// Bytes from renters to the guest.
    pub bytes_in: u64,
    /// Bytes from the guest to renters.
    pub bytes_out: u64,
}

#[derive(Debug, Default)]
struct Meter {
    open: AtomicU64,
    total: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

enum Command {
    Open(SocketAddr, SocketAddr, oneshot::Sender<Result<(), ProxyError>>),
    Close(u16, oneshot::Sender<()>),
    Shutdown(oneshot::Sender<()>),
}

/// A handle on the proxy; clones share it.
#[derive(Debug, Clone)]
pub struct Proxy {
    commands: mpsc::UnboundedSender<Command>,
    meters: Arc<Mutex<BTreeMap<u16, Arc<Meter>>>>,
}

impl Proxy {
    /// Starts the proxy's thread.
    ///
    /// # Errors
    /// [`ProxyError::Thread`].
    pub fn start(limits: ProxyLimits) -> Result<Self, ProxyError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ProxyError::Thread)?;
        let (commands, queue) = mpsc::unbounded_channel();
        let meters = Arc::<Mutex<BTreeMap<u16, Arc<Meter>>>>::default();
        let desk = Desk { limits, meters: Arc::clone(&meters), ports: BTreeMap::new() };
        std::thread::Builder::new()
            .name("proxy".to_owned())
            .spawn(move || runtime.block_on(desk.run(queue)))
            .map_err(ProxyError::Thread)?;
        Ok(Self { commands, meters })
    }

    /// Listens on `listen` for connections to `target`. A port that is open already keeps its
    /// connections; new ones go to `target`.
    ///
    /// # Errors
    /// [`ProxyError::Bind`], [`ProxyError::Ended`].
    pub async fn open(&self, listen: SocketAddr, target: SocketAddr) -> Result<(), ProxyError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Open(listen, target, answer)).map_err(|_| ProxyError::Ended)?;
        answered.await.map_err(|_| ProxyError::Ended)?
    }

    /// Stops listening on `port` and cuts what runs on it.
    pub async fn close(&self, port: u16) {
        let (answer, answered) = oneshot::channel();
        if self.commands.send(Command::Close(port, answer)).is_ok() {
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
            bytes_in: meter.bytes_in.load(Ordering::Relaxed),
            bytes_out: meter.bytes_out.load(Ordering::Relaxed),
        })
    }

    /// Stops listening everywhere, lets connections go on until the drain deadline, and ends.
    pub async fn shutdown(&self) {
        let (answer, answered) = oneshot::channel();
        if self.commands.send(Command::Shutdown(answer)).is_ok() {
            let _ = answered.await;
        }
    }
}

/// One open port.
struct Port {
    target: Arc<Mutex<SocketAddr>>,
    stop: CancellationToken,
    /// The listener's task, which owns its connections.
    tasks: JoinSet<()>,
}

/// What the proxy's thread holds.
struct Desk {
    limits: ProxyLimits,
    meters: Arc<Mutex<BTreeMap<u16, Arc<Meter>>>>,
    ports: BTreeMap<u16, Port>,
}

impl Desk {
    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Command>) {
        while let Some(command) = queue.recv().await {
            match command {
                Command::Open(listen, target, answer) => {
                    let _ = answer.send(self.open(listen, target).await);
                }
                Command::Close(port, answer) => {
                    self.close(port).await;
                    let _ = answer.send(());
                }
                Command::Shutdown(answer) => {
                    for port in self.ports.values() {
                        port.stop.cancel();
                    }
                    let all = async {
                        for port in self.ports.values_mut() {
                            while port.tasks.join_next().await.is_some() {}
                        }
                    };
                    let _ = timeout(self.limits.drain, all).await;
                    let _ = answer.send(());
                    return;
                }
            }
        }
    }

    async fn open(&mut self, listen: SocketAddr, target: SocketAddr) -> Result<(), ProxyError> {
        if let Some(port) = self.ports.get(&listen.port()) {
            *port.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
            return Ok(());
        }
        let listener = TcpListener::bind(listen).await.map_err(|error| ProxyError::Bind(listen, error))?;
        let meter = Arc::new(Meter::default());
        self.meters.lock().unwrap_or_else(PoisonError::into_inner).insert(listen.port(), Arc::clone(&meter));
        let target = Arc::new(Mutex::new(target));
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&target), meter, self.limits, stop.clone()));
        self.ports.insert(listen.port(), Port { target, stop, tasks });
        tracing::info!(port = listen.port(), "SSH port opened");
        Ok(())
    }

    async fn close(&mut self, port: u16) {
        if let Some(mut open) = self.ports.remove(&port) {
            open.tasks.shutdown().await;
            self.meters.lock().unwrap_or_else(PoisonError::into_inner).remove(&port);
            tracing::info!(port, "SSH port closed");
        }
    }
}

/// Takes connections until `stop`, then waits for those that are open.
async fn accept(
    listener: TcpListener,
    target: Arc<Mutex<SocketAddr>>,
    meter: Arc<Meter>,
    limits: ProxyLimits,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        let Ok((renter, _)) = accepted else {
            tokio::task::yield_now().await;
            continue;
        };
        if connections.len() >= limits.per_port {
            continue;
        }
        let target = *target.lock().unwrap_or_else(PoisonError::into_inner);
        connections.spawn(connection(renter, target, Arc::clone(&meter), limits));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(mut renter: TcpStream, target: SocketAddr, meter: Arc<Meter>, limits: ProxyLimits) {
    let Ok(Ok(mut guest)) = timeout(limits.connect, TcpStream::connect(target)).await else { return };
    meter.open.fetch_add(1, Ordering::Relaxed);
    meter.total.fetch_add(1, Ordering::Relaxed);
    if let Ok((bytes_in, bytes_out)) = tokio::io::copy_bidirectional(&mut renter, &mut guest).await {
        meter.bytes_in.fetch_add(bytes_in, Ordering::Relaxed);
        meter.bytes_out.fetch_add(bytes_out, Ordering::Relaxed);
    }
    meter.open.fetch_sub(1, Ordering::Relaxed);
}
