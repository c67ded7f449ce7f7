//! A served socket while it is talked on, with an end that does as it likes.
//!
//! ```text
//!   hear ─► bounded in size and rate ─► text      pulse ─► silent for too long? gone : ping
//!   say  ─► taken in time, or gone                any of them ─► End: told why, or gone
//! ```
//! Owns the bounds of what the other end may say, and for how long it may be silent. Never knows what a message says.

use std::borrow::Cow;

use tokio::time::{Duration, Instant, Interval, MissedTickBehavior, interval_at};

use super::rate::{ALIVE, Rate};
use super::{Bytes, POLICY, ReceivedAny, SocketError, Utf8Bytes, WebSocket};

/// How often the other end is asked for a sign of life, and how long it may show none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulse {
    /// Time between two pings.
    pub ping: Duration,
    /// Longest silence: two pings and some.
    pub silence: Duration,
}

/// Why a socket ends.
#[derive(Debug)]
pub enum End {
    /// The other end is gone, or takes nothing.
    Gone,
    /// It is told why: the protocol's number, and a text.
    Told(u16, Cow<'static, str>),
}

impl End {
    /// An end that is told.
    #[must_use]
    pub fn told(code: u16, reason: &'static str) -> Self {
        Self::Told(code, reason.into())
    }
}

/// What the other end said, where that may be bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A text.
    Text(Utf8Bytes),
    /// Bytes.
    Bytes(Bytes),
}

/// A socket, and what its other end may still say.
pub struct Talk<'a> {
    socket: &'a mut WebSocket,
    pulse: Pulse,
    message: f64,
    rate: Rate,
    heard: Instant,
}

impl<'a> Talk<'a> {
    /// Nothing was said yet on `socket`, where each message costs `message` of its [`Rate`].
    pub fn new(socket: &'a mut WebSocket, pulse: Pulse, message: f64) -> Self {
        Self { socket, pulse, message, rate: Rate::default(), heard: Instant::now() }
    }

    /// What the other end says next, a text. May be given up at any time.
    ///
    /// # Errors
    /// [`End`], also where it says too much.
    pub async fn hear(&mut self) -> Result<Utf8Bytes, End> {
        const RULE: &str = "messages are texts of";
        match self.listen(RULE).await? {
            Said::Text(text) => Ok(text),
            Said::Bytes(_) => Err(self.end(&SocketError::Binary, RULE)),
        }
    }

    /// What the other end says next, a text or bytes. May be given up at any time.
    ///
    /// # Errors
    /// [`End`], also where it says too much.
    pub async fn hear_any(&mut self) -> Result<Said, End> {
        self.listen("messages have").await
    }

    async fn listen(&mut self, rule: &str) -> Result<Said, End> {
        loop {
            let received = self.socket.next_any().await.map_err(|error| self.end(&error, rule))?;
            self.heard = Instant::now();
            let (cost, said) = match received {
                ReceivedAny::Alive => (ALIVE, None),
                ReceivedAny::Text(text) => (self.message, Some(Said::Text(text))),
                ReceivedAny::Bytes(bytes) => (self.message, Some(Said::Bytes(bytes))),
            };
            self.pay(cost, "too many messages")?;
            if let Some(said) = said {
                return Ok(said);
            }
        }
    }

    /// Takes `cost` of the rate.
    ///
    /// # Errors
    /// The end, for `reason`, where there is not as much.
    pub fn pay(&mut self, cost: f64, reason: &'static str) -> Result<(), End> {
        if self.rate.take(cost) { Ok(()) } else { Err(End::told(POLICY, reason)) }
    }

    /// Sends `text`.
    ///
    /// # Errors
    /// [`End::Gone`] where it is not taken in time.
    pub async fn say(&mut self, text: Utf8Bytes) -> Result<(), End> {
        let said = self.socket.send(text).await;
        said.map_err(|_| End::Gone)
    }

    /// Sends `bytes`.
    ///
    /// # Errors
    /// As [`Self::say`].
    pub async fn say_bytes(&mut self, bytes: Bytes) -> Result<(), End> {
        let said = self.socket.send_bytes(bytes).await;
        said.map_err(|_| End::Gone)
    }

    /// Sends one message in `parts`.
    ///
    /// # Errors
    /// As [`Self::say`].
    pub async fn say_parts(&mut self, parts: impl Iterator<Item = Bytes>) -> Result<(), End> {
        let said = self.socket.send_parts(parts).await;
        said.map_err(|_| End::Gone)
    }

    /// Asks for a sign of life, if there was one lately.
    ///
    /// # Errors
    /// [`End::Gone`] where there was none.
    pub async fn pulse(&mut self) -> Result<(), End> {
        if self.heard.elapsed() >= self.pulse.silence {
            return Err(End::Gone);
        }
        let asked = self.socket.ping().await;
        asked.map_err(|_| End::Gone)
    }

    /// When to ask for a sign of life.
    #[must_use]
    pub fn pulses(&self) -> Interval {
        let mut pulses = interval_at(Instant::now() + self.pulse.ping, self.pulse.ping);
        pulses.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pulses
    }

    /// What `error` means, where `rule` was broken.
    fn end(&self, error: &SocketError, rule: &str) -> End {
        match error {
            SocketError::Broken(_) | SocketError::Binary => {
                let most = self.socket.limits.message_bytes >> 10;
                End::Told(POLICY, format!("{rule} at most {most} KiB").into())
            }
            _ => End::Gone,
        }
    }
}
