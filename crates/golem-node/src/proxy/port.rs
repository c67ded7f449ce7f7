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
use golem_service::places::Key;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::connection_limits::{Seat, Seats};
use super::pipe::Pipe;
use super::pipe::Pipes;
use super::relay::{LeftBytes, relay};
use super::{LeftOpen, LeftSession, Meter, ProxyLimits};

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

/// Listens on `listen`.
fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
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
    socket.listen(BACKLOG)
}

/// One open port.
pub(super) struct Port {
    target: Arc<Mutex<SocketAddr>>,
    meter: Arc<Meter>,
    /// Ends the listening.
    stop: CancellationToken,
    /// Ends the connections too.
    cut: CancellationToken,
    /// Ends the listening, and keeps everything open.
    leave: CancellationToken,
    task: JoinHandle<Option<LeftOpen>>,
}

impl Port {
    /// Binds `listen`, or goes on with what another process `left` of it, and starts the port's task.
    pub(super) fn open(
        listen: SocketAddr,
        target: SocketAddr,
        shared: Arc<Shared>,
        mut left: LeftOpen,
    ) -> io::Result<Self> {
        let listener = match left.listeners.remove(&listen) {
            Some(listener) => TcpListener::from_std(listener)?,
            None => bind(listen)?,
        };
        let target = Arc::new(Mutex::new(target));
        let meter = Arc::new(Meter::default());
        let (stop, cut, leave) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let mut listening = Listening {
            port: listen.port(),
            target: Arc::clone(&target),
            meter: Arc::clone(&meter),
            shared,
            leave: leave.clone(),
            connections: JoinSet::new(),
        };
        listening.shared.seats.open(listen.port());
        for session in left.sessions {
            listening.go_on(session);
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the port owns this task, names it in its log lines and stops it by its tokens"
        )]
        let task = tokio::spawn(listening.run(listener, stop.clone(), cut.clone()));
        Ok(Self { target, meter, stop, cut, leave, task })
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

    /// Ends, and gives what was open: the listener, and the connections.
    pub(super) async fn leave(self) -> LeftOpen {
        self.leave.cancel();
        match self.task.await {
            Ok(left) => left.unwrap_or_default(),
            Err(error) => {
                ended::<()>(Err(error));
                LeftOpen::default()
            }
        }
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

fn ended<T>(result: Result<T, tokio::task::JoinError>) {
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
    leave: CancellationToken,
    /// Each gives its sockets if it was left.
    connections: JoinSet<Option<LeftSession>>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.shared.seats.close(self.port);
    }
}

impl Listening {
    async fn run(
        mut self,
        listener: TcpListener,
        stop: CancellationToken,
        cut: CancellationToken,
    ) -> Option<LeftOpen> {
        let leave = self.leave.clone();
        loop {
            tokio::select! {
                biased;
                () = cut.cancelled() => break,
                () = leave.cancelled() => return self.left(listener).await,
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
                                () = leave.cancelled() => {}
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
        None
    }

    /// What is open, once every connection has been told.
    async fn left(mut self, listener: TcpListener) -> Option<LeftOpen> {
        let mut left = LeftOpen::default();
        while let Some(connection) = self.connections.join_next().await {
            match connection {
                Ok(session) => left.sessions.extend(session),
                Err(error) => ended::<()>(Err(error)),
            }
        }
        let address = listener.local_addr().ok()?;
        left.listeners.insert(address, listener.into_std().ok()?);
        Some(left)
    }

    /// Goes on with a connection that another process left; one for which there is no seat is closed.
    fn go_on(&mut self, session: LeftSession) {
        let LeftSession { renter, guest, inward, outward, is_proven } = session;
        let (Ok(address), Ok(renter)) = (renter.peer_addr(), TcpStream::from_std(renter)) else { return };
        let Some(guest) = guest else { return self.take(renter, address.ip()) };
        let Some(mut seat) = self.shared.seats.take(self.port, address.ip(), &self.meter) else { return };
        if is_proven {
            seat.prove();
        } else {
            seat.spoke();
            if !seat.enter() {
                return;
            }
        }
        let Ok(guest) = TcpStream::from_std(guest) else { return };
        let left =
            LeftBytes { inward: inward.and_then(Pipe::of_left), outward: outward.and_then(Pipe::of_left) };
        let (key, shared, leave) = (seat.key(), Arc::clone(&self.shared), self.leave.clone());
        self.serve(key, async move { relayed(renter, guest, left, &shared, seat, &leave).await });
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
        let (shared, leave) = (Arc::clone(&self.shared), self.leave.clone());
        self.serve(key, connection(renter, target, shared, seat, leave));
    }

    /// Serves the connection that holds `key`.
    fn serve(&mut self, key: Key, connection: impl Future<Output = Option<LeftSession>> + Send + 'static) {
        let task = self.connections.spawn(connection);
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

/// Serves one renter until an end, an error, a deadline, or `leave`; then gives what there is of its sockets. A renter whose
/// guest cannot be reached sees the connection close.
async fn connection(
    renter: TcpStream,
    target: SocketAddr,
    shared: Arc<Shared>,
    mut seat: Seat,
    leave: CancellationToken,
) -> Option<LeftSession> {
    let begin = async {
        if !seat.enter() && !waited(&renter, &mut seat).await {
            return None;
        }
        timeout(shared.limits.connect, TcpStream::connect(target)).await.ok()?.ok()
    };
    let Some(guest) = leave.run_until_cancelled(begin).await else {
        let renter = renter.into_std().ok()?;
        return Some(LeftSession::of(renter, false));
    };
    let guest = guest?;
    // Keystrokes must not wait for more of them. A socket that refuses the option is dead.
    guest.set_nodelay(true).ok()?;
    relayed(renter, guest, LeftBytes::default(), &shared, seat, &leave).await
}

/// Carries what passes between two sockets until an end; what there is of the connection, if it is to be left.
async fn relayed(
    mut renter: TcpStream,
    mut guest: TcpStream,
    left: LeftBytes,
    shared: &Shared,
    mut seat: Seat,
    leave: &CancellationToken,
) -> Option<LeftSession> {
    let left = relay(&mut renter, &mut guest, &shared.pipes, &mut seat, left, leave).await;
    let LeftBytes { inward, outward } = left?;
    Some(LeftSession {
        guest: Some(guest.into_std().ok()?),
        inward: inward.and_then(Pipe::leave),
        outward: outward.and_then(Pipe::leave),
        ..LeftSession::of(renter.into_std().ok()?, !seat.is_strange())
    })
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
