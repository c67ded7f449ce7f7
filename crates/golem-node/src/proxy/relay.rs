//! Two sockets, two flows of bytes.
//!
//! ```text
//!   a flow:  open ⇄ with bytes in a pipe
//!             ├──end of stream, or nobody to deliver to──► ended: the other socket is told
//!             ├──its source is dead──► failed: the connection ends
//!             └──to be handed over──► left to another process, which goes on with the sockets, and with what is in the pipe
//! ```
//!
//! Owns the rules of one connection: a flow takes new bytes only when it has delivered the last
//! (back-pressure), an end in one direction leaves the other open (half-close), and a connection
//! on which nothing moves is given up. Never looks at a byte.

use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::connection_limits::Seat;
use super::pipe::{Pipe, Pipes};

/// Bytes passed on without a pipe: what the smallest pipe, one page, takes in one write.
const FEW_BYTES: usize = 4096;

/// The bytes that are between two sockets.
#[derive(Debug, Default)]
pub(super) struct LeftBytes {
    /// On their way to the guest.
    pub(super) inward: Option<Pipe>,
    /// On their way to the renter.
    pub(super) outward: Option<Pipe>,
}

/// Carries bytes both ways, beginning with those that are `left`, until both have ended, a socket has failed, nothing has
/// moved for the idle deadline, or the renter has said nothing for too long: `None`. The caller closes the sockets then. Once
/// `leave` is cancelled, gives the bytes that are between them. Tells `seat` when its renter has spoken and when it is no
/// stranger any more.
pub(super) async fn relay(
    renter: &mut TcpStream,
    guest: &mut TcpStream,
    pipes: &Pipes,
    seat: &mut Seat,
    left: LeftBytes,
    leave: &CancellationToken,
) -> Option<LeftBytes> {
    let (from_renter, to_renter) = renter.split();
    let (from_guest, to_guest) = guest.split();
    let meter = Arc::clone(seat.meter());
    let mut inward = Flow::new(from_renter, to_guest, pipes, &meter.bytes_in);
    let mut outward = Flow::new(from_guest, to_renter, pipes, &meter.bytes_out);
    (inward.pipe, outward.pipe) = (left.inward, left.outward);
    let idle = seat.limits().idle;
    let mut last_move = Instant::now();
    let mut timer = pin!(sleep_until(seat.due().map_or(last_move + idle, |due| due.min(last_move + idle))));
    let mut leaving = pin!(leave.cancelled());
    let is_left = poll_fn(|cx| {
        // Half of it may have ended: whoever goes on reads that end again.
        if leaving.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        let moved_in = inward.poll(cx);
        let moved_out = outward.poll(cx);
        match (inward.state, outward.state) {
            (State::Failed, _) | (_, State::Failed) | (State::Ended, State::Ended) => {
                return Poll::Ready(false);
            }
            (State::Ended, State::Open) => inward.shut(cx),
            (State::Open, State::Ended) => outward.shut(cx),
            (State::Open, State::Open) => {}
        }
        if moved_in || moved_out {
            last_move = Instant::now();
            if seat.is_strange() {
                seat.moved(moved_in, outward.carried);
            }
        }
        // A move does not touch the timer, which would cost more than a look at the clock: the
        // timer is set again when it fires too early.
        while timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if now >= last_move + idle || !seat.is_in_time(now) {
                return Poll::Ready(false);
            }
            timer.as_mut().reset(seat.due().map_or(last_move + idle, |due| due.min(last_move + idle)));
        }
        Poll::Pending
    })
    .await;
    is_left.then(|| LeftBytes { inward: inward.left(), outward: outward.left() })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bytes may come.
    Open,
    /// Nothing more will be delivered.
    Ended,
    /// The socket that bytes come from is dead.
    Failed,
}

/// One direction of a connection.
struct Flow<'a> {
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    pipes: &'a Pipes,
    delivered: &'a AtomicU64,
    /// What of `delivered` went this way.
    carried: u64,
    /// Holds the bytes on their way; `None` while there are none.
    pipe: Option<Pipe>,
    /// Whether so much comes at a time that a pipe is worth its system calls.
    bulk: bool,
    state: State,
    /// Whether the other socket was told that nothing more comes.
    shut: bool,
}

impl<'a> Flow<'a> {
    fn new(from: ReadHalf<'a>, to: WriteHalf<'a>, pipes: &'a Pipes, delivered: &'a AtomicU64) -> Self {
        Self {
            from,
            to,
            pipes,
            delivered,
            carried: 0,
            pipe: None,
            bulk: false,
            state: State::Open,
            shut: false,
        }
    }

    /// Moves what can be moved now; whether anything was.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while self.state == State::Open {
            let step = if self.pipe.is_some() {
                self.poll_deliver(cx)
            } else if self.bulk {
                self.poll_take(cx)
            } else {
                self.poll_pass(cx)
            };
            match step {
                Poll::Ready(Ok(())) => moved = true,
                Poll::Ready(Err(end)) => self.state = end,
                Poll::Pending => break,
            }
        }
        moved
    }

    /// The bytes that were taken and are not delivered, if somebody may get them still.
    fn left(&mut self) -> Option<Pipe> {
        self.pipe.take().filter(|_| self.state == State::Open)
    }

    /// Passes a few bytes on through this process: for keystrokes and their echo this takes fewer
    /// system calls than a pipe. What the other socket does not accept at once goes into a pipe.
    fn poll_pass(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), State>> {
        let mut bytes = [MaybeUninit::uninit(); FEW_BYTES];
        let mut bytes = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut self.from).poll_read(cx, &mut bytes)).map_err(|_| State::Failed)?;
        let bytes = bytes.filled();
        if bytes.is_empty() {
            return Poll::Ready(Err(State::Ended));
        }
        self.bulk = bytes.len() == FEW_BYTES;
        let delivered = match Pin::new(&mut self.to).poll_write(cx, bytes) {
            Poll::Ready(delivered) => delivered.map_err(|_| State::Ended)?,
            Poll::Pending => 0,
        };
        self.count(delivered);
        if delivered < bytes.len() {
            let mut pipe = self.pipes.get().map_err(|_| State::Failed)?;
            pipe.store(&bytes[delivered..]).map_err(|_| State::Failed)?;
            self.pipe = Some(pipe);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes bytes from one socket into a pipe.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), State>> {
        let from = self.from.as_ref();
        loop {
            ready!(from.poll_read_ready(cx)).map_err(|_| State::Failed)?;
            let mut pipe = self.pipes.get().map_err(|_| State::Failed)?;
            match from.try_io(Interest::READABLE, || pipe.fill(from)) {
                Ok(0) => {
                    self.pipes.put(pipe);
                    return Poll::Ready(Err(State::Ended));
                }
                Ok(taken) => {
                    self.bulk = taken >= FEW_BYTES;
                    self.pipe = Some(pipe);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if is_transient(&error) => self.pipes.put(pipe),
                Err(_) => return Poll::Ready(Err(State::Failed)),
            }
        }
    }

    /// Hands bytes from the pipe to the other socket. Whoever should get them may be gone; what
    /// they sent before may still be on its way, so a failure ends this direction only.
    fn poll_deliver(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), State>> {
        let to = self.to.as_ref();
        while let Some(pipe) = &mut self.pipe {
            ready!(to.poll_write_ready(cx)).map_err(|_| State::Ended)?;
            match to.try_io(Interest::WRITABLE, || pipe.drain(to)) {
                Ok(delivered) => {
                    if pipe.is_empty()
                        && let Some(pipe) = self.pipe.take()
                    {
                        self.pipes.put(pipe);
                    }
                    self.count(delivered);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if is_transient(&error) => {}
                Err(_) => return Poll::Ready(Err(State::Ended)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn count(&mut self, delivered: usize) {
        self.carried += delivered as u64;
        self.delivered.fetch_add(delivered as u64, Ordering::Relaxed);
    }

    /// Tells the other socket, once, that nothing more comes.
    fn shut(&mut self, cx: &mut Context<'_>) {
        if !self.shut {
            self.shut = true;
            // Shutting a TCP socket never waits, and a dead one is found out by its own flow.
            let _ = Pin::new(&mut self.to).poll_shutdown(cx);
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
