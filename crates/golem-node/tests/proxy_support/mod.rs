//! Guests and renters for the proxy's tests.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use golem_node::proxy::{Counts, Proxy, ProxyLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Far more than anything here needs, so that only a hang reaches it.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Limits that no test reaches by itself.
pub const WIDE: ProxyLimits = ProxyLimits {
    per_port: 10_000,
    total: 10_000,
    greeting: 60_000,
    speak: Duration::from_secs(3600),
    idle: Duration::from_secs(3600),
    drain: Duration::from_secs(3600),
    connect: Duration::from_secs(60),
};

/// A port of the loopback that is free now. It lies below those that the kernel gives to outgoing
/// connections, and each process and each call gets its own.
pub fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % 100;
        let process = u16::try_from(std::process::id() % 100).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 21_000 + process * 100 + step));
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Opens a free port that leads to `target`.
pub async fn open(proxy: &Proxy, target: SocketAddr) -> SocketAddr {
    let listen = free_port();
    proxy.open(listen, target).await.unwrap();
    listen
}

/// A guest that says `name` to who comes, then everything that it is told.
pub struct EchoGuest {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl EchoGuest {
    pub async fn start(name: u8) -> Self {
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
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// A renter's connection through the proxy.
pub struct Renter(pub TcpStream);

impl Renter {
    /// Connects, and hears the guest's name.
    pub async fn greeted(port: SocketAddr) -> (Self, u8) {
        let mut renter = Self::connect(port).await;
        let name = in_time("the guest's greeting", renter.0.read_u8()).await.unwrap();
        (renter, name)
    }

    pub async fn connect(port: SocketAddr) -> Self {
        Self(in_time("a connection", TcpStream::connect(port)).await.unwrap())
    }

    /// Whether a byte comes back.
    pub async fn is_alive(&mut self) -> bool {
        if self.0.write_u8(b'?').await.is_err() {
            return false;
        }
        matches!(in_time("an echo or an end", self.0.read_u8()).await, Ok(b'?'))
    }

    /// Waits until the other side has ended the connection.
    pub async fn is_ended(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = in_time("the connection's end", self.0.read_to_end(&mut rest)).await;
    }
}

/// What `future` gives, within the deadline.
pub async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Waits until the counts of `port` are as wanted.
pub async fn counted(proxy: &Proxy, port: SocketAddr, wanted: impl Fn(Counts) -> bool) -> Counts {
    in_time("the counts", async {
        loop {
            let counts = proxy.counts(port.port()).unwrap();
            if wanted(counts) {
                return counts;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}
