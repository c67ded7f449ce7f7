//! A served socket as long as it may last: until its place is needed, or everything stops.
//!
//! ```text
//!   seat ─► while_seated: done, or the end that is told ─► End: its reason goes to the other end
//! ```
//! Owns what ends a socket besides itself. Never knows what is said on it.

use tokio_util::sync::CancellationToken;

use super::talk::End;
use super::{GOING_AWAY, TRY_AGAIN, WebSocket};
use crate::server::seats::{Holder, Seat};

/// The place of a socket, and what stops it.
#[derive(Debug)]
pub struct Seated {
    seat: Seat,
    stop: CancellationToken,
    stopping: &'static str,
}

impl Seated {
    /// A socket at `seat`, which `stop` ends, and why is told as `stopping`.
    #[must_use]
    pub const fn new(seat: Seat, stop: CancellationToken, stopping: &'static str) -> Self {
        Self { seat, stop, stopping }
    }

    /// The client that sits here.
    #[must_use]
    pub const fn holder(&self) -> &std::sync::Arc<Holder> {
        self.seat.holder()
    }

    /// What `work` comes to, as long as it may last.
    ///
    /// # Errors
    /// [`End`], where the place is needed or everything stops before.
    pub async fn while_seated<T>(&self, work: impl Future<Output = T>) -> Result<T, End> {
        tokio::select! {
            done = work => Ok(done),
            () = self.seat.holder().gives_way() => {
                Err(End::told(TRY_AGAIN, "others, who hold fewer sockets, need the place"))
            }
            () = self.stop.cancelled() => Err(End::told(GOING_AWAY, self.stopping)),
        }
    }
}

impl End {
    /// Tells the other end of `socket`, which is of the kind `name`, if there is something to tell.
    pub async fn tell(self, socket: WebSocket, name: &'static str) {
        if let Self::Told(code, reason) = self {
            tracing::debug!(name, code, %reason, "a socket was ended");
            socket.close(code, &reason).await;
        }
    }
}
