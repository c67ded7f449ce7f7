//! One open port: its listener, its connections.
//!
//! ```text
//!   listening ──stop──► draining ──all connections ended──► ended
//!       └──────────cut──────┴──────────────────────────────► ended
//! ```
//!
//! Owns a listener and the tasks of its connections. Never reads what a connection carries.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use golem_service::log_limited;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::connection_limits::{Seat, Seats};
use super::pipe::Pipes;
use super::relay::relay;
use super::{Meter, ProxyLimits};

/// Connections that wait to be accepted. The kernel lowers it to `net.core.somaxconn`.
const BACKLOG: u32 = 1024;

/// Wait after the kernel could not give a connection for want of descriptors or memory. Others
/// give some back meanwhile; without a wait the loop would burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often who waits for the guest asks whether another has become less worthy than it.
const PATIENCE: Duration = Duration::from_secs(1);

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
    seats: Arc<Seats>,
    pipes: Pipes,
}

impl Shared {
    pub(super) fn new(limits: ProxyLimits) -> Self {
        Self { limits, seats: Arc::new(Seats::new(limits)), pipes: Pipes::default() }
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
        };
        listening.shared.seats.open(listen.port());
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
    // Cancelled is who had to make room for another.
    if let Err(error) = result
        && !error.is_cancelled()
    {
        log_limited!(error, error = &error as &dyn std::error::Error, "a task of the SSH proxy failed");
    }
}

/// The state of a port's task.
struct Listening {
    port: u16,
    target: Arc<Mutex<SocketAddr>>,
    meter: Arc<Meter>,
    shared: Arc<Shared>,
    connections: JoinSet<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.shared.seats.close(self.port);
    }
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
                    Ok((renter, address)) => self.take(renter, address.ip()),
                    Err(error) => {
                        if is_exhausted(&error) {
                            log_limited!(
                                warn,
                                port = self.port,
                                error = &error as &dyn std::error::Error,
                                "SSH connections wait: the host has no room for more"
                            );
                            self.shared.seats.relieve();
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

    /// Begins a connection, or closes it at once where there is no seat for it.
    fn take(&mut self, renter: TcpStream, address: IpAddr) {
        let Some(seat) = self.shared.seats.take(self.port, address, &self.meter) else {
            let refused = self.meter.refused.fetch_add(1, Ordering::Relaxed) + 1;
            log_limited!(warn, port = self.port, refused, "SSH connections refused: too many are open");
            return;
        };
        let key = seat.key();
        let target = *self.target.lock().unwrap_or_else(PoisonError::into_inner);
        let task = self.connections.spawn(connection(renter, target, Arc::clone(&self.shared), seat));
        // It has not run yet: the proxy has one thread.
        self.shared.seats.served_by(self.port, key, task);
    }
}

/// Whether the kernel was short of descriptors or memory; other errors concern one connection.
fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .map(|errno| Some(errno.raw_os_error()))
        .contains(&error.raw_os_error())
}

/// Serves one renter until an end, an error or a deadline. A renter whose guest cannot be reached sees
/// the connection close.
async fn connection(mut renter: TcpStream, target: SocketAddr, shared: Arc<Shared>, mut seat: Seat) {
    let limits = shared.limits;
    if !seat.enter() && !waited(&renter, &mut seat).await {
        return;
    }
    let Ok(Ok(mut guest)) = timeout(limits.connect, TcpStream::connect(target)).await else { return };
    // Keystrokes must not wait for more of them. A socket that refuses the option is dead.
    if guest.set_nodelay(true).is_ok() {
        relay(&mut renter, &mut guest, &shared.pipes, &mut seat).await;
    }
}

/// Waits until the guest has room for one more stranger; whether it was in time, and the renter there.
async fn waited(renter: &TcpStream, seat: &mut Seat) -> bool {
    let room = seat.freed();
    let deadline = Instant::now() + seat.limits().speak;
    let wait = async {
        let mut first = [0];
        loop {
            let mut freed = pin!(room.notified());
            freed.as_mut().enable();
            if seat.enter() {
                return true;
            }
            tokio::select! {
                () = freed => {}
                () = sleep(PATIENCE) => {}
                spoken = renter.peek(&mut first), if !seat.has_spoken() => match spoken {
                    Ok(1..) => seat.spoke(),
                    _ => return false,
                },
            }
        }
    };
    timeout_at(deadline, wait).await.unwrap_or(false)
}
