//! One open port: its listener, its caps, its connections.
//!
//! ```text
//!   listening ──stop──► draining ──all connections ended──► ended
//!       └──────────cut──────┴──────────────────────────────► ended
//! ```
//!
//! Owns a listener and the tasks of its connections. Never reads what a connection carries.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::pipe::Pipes;
use super::relay::relay;
use super::{Meter, ProxyLimits};

/// Connections that wait to be accepted. The kernel lowers it to `net.core.somaxconn`.
const BACKLOG: u32 = 1024;

/// Wait after the kernel could not give a connection for want of descriptors or memory. Others
/// give some back meanwhile; without a wait the loop would burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A port's warnings of one kind come at most this often: strangers decide how many there are.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Silence after which the kernel asks whether the renter is still there. The guest's own
/// keep-alive ends at this proxy, so nothing else would notice a renter whose line was cut.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(120);
/// Time between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Questions without an answer after which the renter is given up.
const KEEPALIVE_COUNT: u32 = 4;

/// What all ports share.
pub(super) struct Shared {
    pub(super) limits: ProxyLimits,
    /// Connections open on all ports.
    open: AtomicUsize,
    pipes: Pipes,
}

impl Shared {
    pub(super) fn new(limits: ProxyLimits) -> Self {
        Self { limits, open: AtomicUsize::new(0), pipes: Pipes::default() }
    }
}

/// One open port.
pub(super) struct Port {
    target: Arc<Mutex<SocketAddr>>,
    meter: Arc<Meter>,
    /// Ends the listening.
    stop: CancellationToken,
    /// Ends the connections too.
    cut: CancellationToken,
    task: JoinHandle<()>,
}

impl Port {
    /// Binds `listen` and starts the port's task.
    pub(super) fn open(listen: SocketAddr, target: SocketAddr, shared: Arc<Shared>) -> io::Result<Self> {
        let socket = if listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A port whose last connections still linger in the kernel can be opened again at once.
        socket.set_reuseaddr(true)?;
        // Accepted connections inherit these, which saves system calls on each.
        socket.set_nodelay(true)?;
        socket.set_keepalive(true)?;
        sockopt::set_tcp_keepidle(&socket, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(&socket, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(&socket, KEEPALIVE_COUNT)?;
        socket.bind(listen)?;
        let listener = socket.listen(BACKLOG)?;

        let target = Arc::new(Mutex::new(target));
        let meter = Arc::new(Meter::default());
        let stop = CancellationToken::new();
        let cut = CancellationToken::new();
        let listening = Listening {
            port: listen.port(),
            target: Arc::clone(&target),
            meter: Arc::clone(&meter),
            shared,
            connections: JoinSet::new(),
            full: Warning::default(),
            exhausted: Warning::default(),
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "the port owns this task, names it in its log lines and stops it by its tokens"
        )]
        let task = tokio::spawn(listening.run(listener, stop.clone(), cut.clone()));
        Ok(Self { target, meter, stop, cut, task })
    }

    pub(super) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Leads new connections to `target`.
    pub(super) fn retarget(&self, target: SocketAddr) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Stops listening; connections go on.
    pub(super) fn stop_listening(&self) {
        self.stop.cancel();
    }

    /// Stops listening, ends every connection and waits until that is done.
    pub(super) async fn cut(self) {
        self.cut.cancel();
        ended(self.task.await);
    }

    /// Waits until every connection has ended by itself; cuts the rest at `deadline`.
    pub(super) async fn drain(mut self, deadline: Instant) {
        self.stop.cancel();
        match timeout_at(deadline, &mut self.task).await {
            Ok(result) => ended(result),
            Err(_) => self.cut().await,
        }
    }
}

fn ended(result: Result<(), tokio::task::JoinError>) {
    if let Err(error) = result {
        tracing::error!(error = &error as &dyn std::error::Error, "a task of the SSH proxy failed");
    }
}

/// The state of a port's task.
struct Listening {
    port: u16,
    target: Arc<Mutex<SocketAddr>>,
    meter: Arc<Meter>,
    shared: Arc<Shared>,
    connections: JoinSet<()>,
    full: Warning,
    exhausted: Warning,
}

impl Listening {
    async fn run(mut self, listener: TcpListener, stop: CancellationToken, cut: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = cut.cancelled() => break,
                () = stop.cancelled() => break,
                Some(result) = self.connections.join_next() => ended(result),
                accepted = listener.accept() => match accepted {
                    Ok((renter, _)) => self.take(renter),
                    Err(error) => {
                        if is_exhausted(&error) {
                            if self.exhausted.is_due(Instant::now()) {
                                tracing::warn!(port = self.port, error = &error as &dyn std::error::Error, "SSH connections wait: the host has no room for more");
                            }
                            tokio::select! {
                                () = cut.cancelled() => break,
                                () = stop.cancelled() => break,
                                () = sleep(ACCEPT_PAUSE) => {}
                            }
                        }
                    }
                },
            }
        }
        drop(listener);
        loop {
            tokio::select! {
                biased;
                () = cut.cancelled() => break self.connections.shutdown().await,
                joined = self.connections.join_next() => match joined {
                    Some(result) => ended(result),
                    None => break,
                },
            }
        }
    }

    /// Begins a connection, or closes it at once where a cap is reached.
    fn take(&mut self, renter: TcpStream) {
        let limits = self.shared.limits;
        if self.connections.len() >= limits.per_port
            || self.shared.open.load(Ordering::Relaxed) >= limits.total
        {
            self.meter.refused.fetch_add(1, Ordering::Relaxed);
            if self.full.is_due(Instant::now()) {
                let refused = self.meter.refused.load(Ordering::Relaxed);
                tracing::warn!(port = self.port, refused, "SSH connections refused: too many are open");
            }
            return;
        }
        let target = *self.target.lock().unwrap_or_else(PoisonError::into_inner);
        let seat = Seat::take(&self.meter, &self.shared);
        self.connections.spawn(connection(renter, target, seat));
    }
}

/// Whether the kernel was short of descriptors or memory; other errors concern one connection.
fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .map(|errno| Some(errno.raw_os_error()))
        .contains(&error.raw_os_error())
}

/// A connection's place among those that the caps allow; given back when dropped.
struct Seat {
    meter: Arc<Meter>,
    shared: Arc<Shared>,
}

impl Seat {
    fn take(meter: &Arc<Meter>, shared: &Arc<Shared>) -> Self {
        meter.open.fetch_add(1, Ordering::Relaxed);
        meter.total.fetch_add(1, Ordering::Relaxed);
        shared.open.fetch_add(1, Ordering::Relaxed);
        Self { meter: Arc::clone(meter), shared: Arc::clone(shared) }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.meter.open.fetch_sub(1, Ordering::Relaxed);
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves one renter until an end, an error or the idle deadline. A renter whose guest cannot be
/// reached sees the connection close.
async fn connection(mut renter: TcpStream, target: SocketAddr, seat: Seat) {
    let limits = seat.shared.limits;
    let Ok(Ok(mut guest)) = timeout(limits.connect, TcpStream::connect(target)).await else { return };
    // Keystrokes must not wait for more of them. A socket that refuses the option is dead.
    if guest.set_nodelay(true).is_ok() {
        let meter = &*seat.meter;
        relay(&mut renter, &mut guest, &seat.shared.pipes, limits.idle, &meter.bytes_in, &meter.bytes_out)
            .await;
    }
}

/// Keeps a warning from being said too often.
#[derive(Default)]
struct Warning {
    said: Option<Instant>,
}

impl Warning {
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.said.is_none_or(|said| now.duration_since(said) >= WARNING_INTERVAL);
        if due {
            self.said = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_243_a_warning_is_said_once_an_interval() {
        let mut warning = Warning::default();
        let start = Instant::now();
        assert!(warning.is_due(start));
        assert!(!warning.is_due(start + WARNING_INTERVAL / 2));
        assert!(warning.is_due(start + WARNING_INTERVAL));
        assert!(!warning.is_due(start + WARNING_INTERVAL));
    }
}
