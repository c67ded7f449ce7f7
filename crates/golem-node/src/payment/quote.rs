//! Quotes: what this node promises to charge, and what it is held to.
//!
//! Owns the price that is promised and for how long. Nothing is remembered: the signature tells what was
//! promised. Never decides whether there is room: a quote reserves nothing.

use golem_chain::{Place, Quote, SignedQuote};
use golem_types::Resources;
use jiff::Timestamp;

use super::Payments;
use crate::error::NodeError;
use crate::promise::QUOTE_LIFE;
use crate::vm::Refusal;

/// This machine's time, in seconds since the epoch.
fn seconds(now: Timestamp) -> u64 {
    u64::try_from(now.as_second()).unwrap_or_default()
}

impl Payments {
    pub(super) fn place(&self) -> Place {
        Place { chain_id: self.config().chain_id, contract: self.config().contract }
    }

    /// Promises the price that is asked at `now` for `resources`.
    ///
    /// # Errors
    /// [`NodeError::NoPrice`] while none is known; [`NodeError::Coarse`]; [`NodeError::TokenDigits`];
    /// [`NodeError::Unsigned`].
    pub fn quote(&self, resources: Resources, now: Timestamp) -> Result<SignedQuote, NodeError> {
        let config = self.config();
        let prices = self.prices().ok_or(NodeError::NoPrice)?;
        if let Some(problem) = self.token_problem() {
            return Err(problem);
        }
        let rate = prices.quoted_rate(resources, config.decimals).ok_or(NodeError::Coarse)?;
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|_| NodeError::Unsigned)?;
        let quote = Quote {
            provider: config.wallet.address(),
            resources,
            token: config.token,
            rate,
            expires_at: seconds(now) + QUOTE_LIFE.as_secs(),
            nonce,
        };
        quote.sign(self.place(), &config.wallet).ok_or(NodeError::Unsigned)
    }

    /// The rate that was promised for `resources` by the quote that a create names, in wei a second.
    ///
    /// # Errors
    /// [`Refusal::Quote`].
    pub(super) fn quoted_rate(&self, id: &str, resources: Resources) -> Result<u128, Refusal> {
        let config = self.config();
        let terms = (config.wallet.address(), config.token, self.place());
        let quote = SignedQuote::named(id, terms, resources, seconds(Timestamp::now()));
        quote.map(|quote| quote.rate).map_err(Refusal::Quote)
    }
}
