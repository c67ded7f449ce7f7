//! Listeners that are up while ports are verified.
//!
//! ```text
//!   open ──► listening (each that comes reads the port's banner) ──► closed
//!     ▲                    │
//!     └── not while claimed ◄── claim: a rental wants the port
//! ```
//! Owns the bind test, the listeners, and the banner of each port: a token that follows from a
//! secret of the verification, so that only who really reached the port can repeat it. A rental always goes
//! first: [`Probes::claim`] closes the port's listener and keeps it closed. Never asks a checker.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alloy_primitives::keccak256;
use golem_service::tasks::Tasks;
use golem_types::wire::port_check::BANNER;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Connections that wait to be accepted: several checkers come at once.
const BACKLOG: u32 = 64;

/// How long one that came may take to be told the banner; it fits into the socket's buffer.
const GREETING: Duration = Duration::from_secs(1);

/// Wait after the kernel could not give a connection for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bytes of a token; it is written in hexadecimal.
const TOKEN: usize = 16;

#[derive(Debug, Clone)]
struct Probe {
    arrivals: Arc<AtomicU64>,
    stop: CancellationToken,
    /// Cancelled when the listener is gone.
    ended: CancellationToken,
}

#[derive(Debug, Default)]
struct Inner {
    secret: [u8; 32],
    open: BTreeMap<u16, Probe>,
    claimed: BTreeMap<u16, usize>,
}

/// The listeners of a node; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Probes(Arc<Mutex<Inner>>);

/// Keeps the listener of a port closed while it lives.
#[derive(Debug)]
pub struct PortClaim {
    probes: Probes,
    port: u16,
}

impl Drop for PortClaim {
    fn drop(&mut self) {
        let mut inner = self.probes.inner();
        if let Some(count) = inner.claimed.get_mut(&self.port) {
            *count -= 1;
            if *count == 0 {
                inner.claimed.remove(&self.port);
            }
        }
    }
}

impl Probes {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a verification: banners that were read before prove nothing any more.
    pub fn renew(&self, secret: [u8; 32]) {
        self.inner().secret = secret;
    }

    /// The banner of `port` in this verification.
    #[must_use]
    pub fn banner(&self, port: u16) -> String {
        let mut bytes = self.inner().secret.to_vec();
        bytes.extend(port.to_be_bytes());
        let token = alloy_primitives::hex::encode(&keccak256(bytes)[..TOKEN]);
        format!("{BANNER}{token}")
    }

    /// Listens on `port`, if nothing else does.
    ///
    /// # Errors
    /// That of the kernel; `AddrInUse` also when a rental has claimed the port, or it is open.
    pub fn open(&self, tasks: &Tasks, bind: IpAddr, port: u16) -> io::Result<()> {
        let banner = format!("{}\n", self.banner(port));
        let mut inner = self.inner();
        if inner.claimed.contains_key(&port) || inner.open.contains_key(&port) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let socket = if bind.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(bind, port))?;
        let listener = socket.listen(BACKLOG)?;
        let (arrivals, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let ended = CancellationToken::new();
        let probe = Probe { arrivals: Arc::clone(&arrivals), stop: stop.clone(), ended: ended.clone() };
        inner.open.insert(port, probe);
        drop(inner);
        let all = tasks.stopping().clone();
        tasks.spawn("port listener", async move {
            let _ended = ended.drop_guard();
            tokio::select! {
                () = greet(listener, banner, arrivals) => {}
                () = stop.cancelled() => {}
                () = all.cancelled() => {}
            }
        });
        Ok(())
    }

    /// How many connections came to `port` since it was opened; `None` if it is closed.
    #[must_use]
    pub fn arrivals(&self, port: u16) -> Option<u64> {
        self.inner().open.get(&port).map(|probe| probe.arrivals.load(Ordering::Relaxed))
    }

    /// Whether `port` is free but for a listener of ours.
    #[must_use]
    pub fn is_ours(&self, port: u16) -> bool {
        self.inner().open.contains_key(&port)
    }

    /// Closes the listeners of `ports`. Ready when they are.
    pub async fn close(&self, ports: impl IntoIterator<Item = u16>) {
        let probes: Vec<(u16, Probe)> = {
            let inner = self.inner();
            ports.into_iter().filter_map(|port| Some((port, inner.open.get(&port)?.clone()))).collect()
        };
        for (_, probe) in &probes {
            probe.stop.cancel();
        }
        for (port, probe) in probes {
            probe.ended.cancelled().await;
            // Known as ours until it is gone; another close may have been quicker.
            let mut inner = self.inner();
            if inner.open.get(&port).is_some_and(|open| open.ended.is_cancelled()) {
                inner.open.remove(&port);
            }
        }
    }

    /// Closes every listener. Ready when they are.
    pub async fn close_all(&self) {
        let open: BTreeSet<u16> = self.inner().open.keys().copied().collect();
        self.close(open).await;
    }

    /// Frees `port` for a rental, for as long as the claim lives.
    pub async fn claim(&self, port: u16) -> PortClaim {
        *self.inner().claimed.entry(port).or_default() += 1;
        let claim = PortClaim { probes: self.clone(), port };
        self.close([port]).await;
        claim
    }
}

/// Sends the banner to every connection, for ever.
async fn greet(listener: TcpListener, banner: String, arrivals: Arc<AtomicU64>) {
    loop {
        match listener.accept().await {
            Ok((mut stream, _)) => {
                arrivals.fetch_add(1, Ordering::Relaxed);
                let _ = timeout(GREETING, stream.write_all(banner.as_bytes())).await;
            }
            Err(error) => {
                tracing::debug!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether nothing else on this host listens on `port`.
#[must_use]
pub fn is_free(bind: IpAddr, port: u16) -> bool {
    std::net::TcpListener::bind(SocketAddr::new(bind, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;

    const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// A port that is free now.
    fn port() -> u16 {
        std::net::TcpListener::bind((HOST, 0)).unwrap().local_addr().unwrap().port()
    }

    async fn said(port: u16) -> String {
        let mut text = String::new();
        TcpStream::connect((HOST, port)).await.unwrap().read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn s_060_a_listener_says_its_ports_banner_and_is_gone_when_closed() {
        let (tasks, probes) = (Tasks::new(), Probes::default());
        let (one, other) = (port(), port());
        probes.renew([7; 32]);
        probes.open(&tasks, HOST, one).unwrap();
        probes.open(&tasks, HOST, other).unwrap();
        assert_eq!(said(one).await.trim_end(), probes.banner(one));
        assert_ne!(probes.banner(one), probes.banner(other));
        assert_eq!((probes.arrivals(one), probes.arrivals(other)), (Some(1), Some(0)));
        let before = probes.banner(one);
        probes.renew([8; 32]);
        assert_ne!(probes.banner(one), before);
        probes.close_all().await;
        assert!(is_free(HOST, one) && is_free(HOST, other));
        assert_eq!(probes.arrivals(one), None);
    }

    #[tokio::test]
    async fn s_058_a_port_that_another_holds_cannot_be_opened() {
        let held = std::net::TcpListener::bind((HOST, 0)).unwrap();
        let port = held.local_addr().unwrap().port();
        let error = Probes::default().open(&Tasks::new(), HOST, port).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    /// At every moment a port with a listener of ours is free, or known to be ours.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_port_never_seems_to_be_another_programs_while_its_listener_comes_and_goes() {
        let (tasks, probes) = (Tasks::new(), Probes::default());
        let port = port();
        let stop = CancellationToken::new();
        // Grows between an opening and a closing: a look during which both happen says nothing.
        let turns = Arc::new(AtomicU64::new(0));
        let looking = {
            let (probes, stop, turns) = (probes.clone(), stop.clone(), Arc::clone(&turns));
            tokio::task::spawn_blocking(move || {
                while !stop.is_cancelled() {
                    let turn = turns.load(Ordering::SeqCst);
                    let ours_or_free = probes.is_ours(port) || is_free(HOST, port) || probes.is_ours(port);
                    assert!(ours_or_free || turns.load(Ordering::SeqCst) != turn);
                }
            })
        };
        for _ in 0..300 {
            // The look itself holds the port for a moment.
            while probes.open(&tasks, HOST, port).is_err() {
                tokio::task::yield_now().await;
            }
            turns.fetch_add(1, Ordering::SeqCst);
            probes.close_all().await;
        }
        stop.cancel();
        looking.await.unwrap();
    }

    #[tokio::test]
    async fn a_rental_goes_first() {
        let (tasks, probes) = (Tasks::new(), Probes::default());
        let port = port();
        probes.open(&tasks, HOST, port).unwrap();
        let claim = probes.claim(port).await;
        let second = probes.claim(port).await;
        assert!(is_free(HOST, port));
        assert!(probes.open(&tasks, HOST, port).is_err());
        drop(claim);
        assert!(probes.open(&tasks, HOST, port).is_err());
        drop(second);
        probes.open(&tasks, HOST, port).unwrap();
    }
}
