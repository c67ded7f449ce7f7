//! How much the other end of a socket may say.
//!
//! Owns the bound, the same for every socket: tokens that come by the second. What a message costs, its protocol says.
//! Never ends a socket.

use tokio::time::Instant;

/// Tokens of a full bucket. One comes each second.
const MOST: f64 = 60.0;

/// What a ping, or the answer to one, costs.
pub const ALIVE: f64 = 1.0;

/// A bucket of tokens.
#[derive(Debug)]
pub struct Rate {
    tokens: f64,
    at: Instant,
}

impl Default for Rate {
    fn default() -> Self {
        Self { tokens: MOST, at: Instant::now() }
    }
}

impl Rate {
    /// Takes `cost` tokens; gives whether there were as many.
    #[must_use]
    pub fn take(&mut self, cost: f64) -> bool {
        let now = Instant::now();
        let came = now.saturating_duration_since(self.at).as_secs_f64();
        (self.tokens, self.at) = ((self.tokens + came).min(MOST), now);
        let is_enough = self.tokens >= cost;
        if is_enough {
            self.tokens -= cost;
        }
        is_enough
    }
}
