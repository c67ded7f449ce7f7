//! Two sockets, two flows of bytes.
//!
//! ```text
//!   a flow:  waiting ──bytes──► carrying ──all delivered──► waiting
//!               └──end of stream──► the other socket's sending side is shut; ended
//! ```
//!
//! Owns the rules of one connection: a flow takes new bytes only when it has delivered the last
//! (back-pressure), an end in one direction leaves the other open (half-close), and a connection
//! on which nothing moves is given up. Never looks at a byte.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::pipe::{Pipe, Pipes};

/// Carries bytes both ways until both have ended, a socket has failed, or nothing has moved for
/// `idle`. The caller closes the sockets. `inward` counts bytes handed to `guest`, `outward` those
/// handed to `renter`.
pub(super) async fn relay(
    renter: &TcpStream,
    guest: &TcpStream,
    pipes: &Pipes,
    idle: Duration,
    inward: &AtomicU64,
    outward: &AtomicU64,
) {
    let mut to_guest = Flow::new(renter, guest, pipes, inward);
    let mut to_renter = Flow::new(guest, renter, pipes, outward);
    let mut last_move = Instant::now();
    let mut timer = pin!(sleep(idle));
    poll_fn(|cx| {
        let moved_in = to_guest.poll(cx);
        let moved_out = to_renter.poll(cx);
        if to_guest.has_failed() || to_renter.has_failed() || to_guest.has_ended() && to_renter.has_ended() {
            return Poll::Ready(());
        }
        if moved_in || moved_out {
            last_move = Instant::now();
        }
        // A move does not touch the timer, which would cost more than a look at the clock: the
        // timer is set again when it fires too early.
        while timer.as_mut().poll(cx).is_ready() {
            if last_move.elapsed() >= idle {
                return Poll::Ready(());
            }
            timer.as_mut().reset(last_move + idle);
        }
        Poll::Pending
    })
    .await;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bytes may come.
    Open,
    /// Nothing more will come.
    Ended,
    /// The socket that bytes come from is dead.
    Failed,
}

/// One direction of a connection.
struct Flow<'a> {
    from: &'a TcpStream,
    to: &'a TcpStream,
    pipes: &'a Pipes,
    delivered: &'a AtomicU64,
    /// Holds the bytes on their way; none while there are none.
    pipe: Option<Pipe>,
    state: State,
}

impl<'a> Flow<'a> {
    fn new(from: &'a TcpStream, to: &'a TcpStream, pipes: &'a Pipes, delivered: &'a AtomicU64) -> Self {
        Self { from, to, pipes, delivered, pipe: None, state: State::Open }
    }

    fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    fn has_failed(&self) -> bool {
        self.state == State::Failed
    }

    /// Moves what can be moved now; whether anything was.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while self.state == State::Open {
            let step = if self.pipe.is_some() { self.poll_deliver(cx) } else { self.poll_take(cx) };
            match step {
                Poll::Ready(()) => moved = true,
                Poll::Pending => break,
            }
        }
        moved
    }

    /// Takes bytes from one socket into a pipe.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if ready!(self.from.poll_read_ready(cx)).is_err() {
                self.state = State::Failed;
                return Poll::Ready(());
            }
            let taken = self.pipes.get().and_then(|mut pipe| {
                let taken = self.from.try_io(Interest::READABLE, || pipe.fill(self.from));
                match taken {
                    Ok(1..) => self.pipe = Some(pipe),
                    _ => self.pipes.put(pipe),
                }
                taken
            });
            match taken {
                Ok(0) => {
                    self.state = State::Ended;
                    // A dead socket cannot be shut, and its own flow finds out.
                    let _ = shut_sending(self.to);
                    return Poll::Ready(());
                }
                Ok(_) => return Poll::Ready(()),
                Err(error) if is_transient(&error) => {}
                Err(_) => {
                    self.state = State::Failed;
                    return Poll::Ready(());
                }
            }
        }
    }

    /// Hands bytes from the pipe to the other socket.
    fn poll_deliver(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut pipe) = self.pipe.take() else { return Poll::Ready(()) };
        loop {
            let given = match self.to.poll_write_ready(cx) {
                Poll::Pending => {
                    self.pipe = Some(pipe);
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => Err(error),
                Poll::Ready(Ok(())) => self.to.try_io(Interest::WRITABLE, || pipe.drain(self.to)),
            };
            match given {
                Ok(given) => {
                    self.delivered.fetch_add(given as u64, Ordering::Relaxed);
                    if pipe.is_empty() {
                        self.pipes.put(pipe);
                    } else {
                        self.pipe = Some(pipe);
                    }
                    return Poll::Ready(());
                }
                Err(error) if is_transient(&error) => {}
                // Whoever should get the bytes is gone, but what they sent before may still be
                // on its way: only this direction ends. The pipe is not used again.
                Err(_) => {
                    self.state = State::Ended;
                    return Poll::Ready(());
                }
            }
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn shut_sending(socket: &TcpStream) -> io::Result<()> {
    Ok(rustix::net::shutdown(socket, rustix::net::Shutdown::Write)?)
}
