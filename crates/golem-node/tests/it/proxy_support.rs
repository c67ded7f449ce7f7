//! Guests and renters for the proxy's tests.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use golem_node::proxy::{Counts, Proxy, ProxyLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Far more than anything here needs, so that only a hang reaches it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);

/// Limits that no test reaches by itself.
pub(crate) const WIDE: ProxyLimits = ProxyLimits {
    per_port: 10_000,
    total: 10_000,
    greeting: 60_000,
    speak: Duration::from_secs(3600),
    idle: Duration::from_secs(3600),
    drain: Duration::from_secs(3600),
    connect: Duration::from_secs(60),
};

/// A port of the loopback that is free now.
pub(crate) fn free_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, golem_test_support::ports(1)))
}

/// Opens a free port that leads to `target`.
pub(crate) async fn open(proxy: &Proxy, target: SocketAddr) -> SocketAddr {
    let listen = free_port();
    proxy.open(listen, target).await.unwrap();
    listen
}

/// A guest that says `name` to who comes, then everything that it is told.
pub(crate) struct EchoGuest {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl EchoGuest {
    pub(crate) async fn start(name: u8) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut task = JoinSet::new();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Some(_) = connections.join_next() => drop(counted.fetch_sub(1, Ordering::Relaxed)),
                    accepted = listener.accept() => if let Ok((mut stream, _)) = accepted {
                        counted.fetch_add(1, Ordering::Relaxed);
                        connections.spawn(async move {
                            let (mut read, mut write) = stream.split();
                            if write.write_u8(name).await.is_ok() {
                                let _ = tokio::io::copy(&mut read, &mut write).await;
                            }
                        });
                    },
                }
            }
        });
        Self { address, connections: count, _task: task }
    }

    /// How many connections it has.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// A renter's connection through the proxy.
pub(crate) struct Renter(pub(crate) TcpStream);

impl Renter {
    /// Connects, and hears the guest's name.
    pub(crate) async fn greeted(port: SocketAddr) -> (Self, u8) {
        let mut renter = Self::connect(port).await;
        let name = in_time("the guest's greeting", renter.0.read_u8()).await.unwrap();
        (renter, name)
    }

    pub(crate) async fn connect(port: SocketAddr) -> Self {
        Self(in_time("a connection", TcpStream::connect(port)).await.unwrap())
    }

    /// Whether a byte comes back.
    pub(crate) async fn is_alive(&mut self) -> bool {
        if self.0.write_u8(b'?').await.is_err() {
            return false;
        }
        matches!(in_time("an echo or an end", self.0.read_u8()).await, Ok(b'?'))
    }

    /// Waits until the other side has ended the connection.
    pub(crate) async fn is_ended(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = in_time("the connection's end", self.0.read_to_end(&mut rest)).await;
    }
}

/// A renter and the guest's end of the same connection.
pub(crate) async fn joined(proxy: &Proxy) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = open(proxy, listener.local_addr().unwrap()).await;
    let renter = Renter::connect(port).await.0;
    let (guest, _) = in_time("the guest's end", listener.accept()).await.unwrap();
    (renter, guest)
}

/// What `future` gives, within the deadline.
pub(crate) async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Waits until the counts of `port` are as wanted.
pub(crate) async fn counted(proxy: &Proxy, port: SocketAddr, wanted: impl Fn(Counts) -> bool) -> Counts {
    in_time("the counts", async {
        loop {
            let counts = proxy.counts(port.port()).unwrap();
            if wanted(counts) {
                return counts;
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await
}
