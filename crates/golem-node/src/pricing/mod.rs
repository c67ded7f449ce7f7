//! What the node asks: dollars from the settings, coins by the rates of a feed.
//!
//! ```text
//!   feeds (the next when one fails) ─► Follower (judges) ─► ledger ─► price list ─► adverts, streams' least rate
//! ```
//! Owns what decides prices, from the feed to the price list. Never says what a stream pays for a rental:
//! [`crate::payment`] does.

mod feeds;
mod prices;
mod rate;
mod task;

use std::time::Duration;

use golem_types::price::MonthlyPrice;

pub use feeds::{FeedError, Feeds};
pub use prices::{PriceList, Rates};
pub use rate::{Bounds, Follower, Outcome};
pub use task::{PriceWatch, start};

use crate::error::NodeError;

/// What the ledger and settings call the coins whose rates are followed.
pub const GLM: &str = "GLM";
/// The money of an Ethereum chain.
pub const ETHER: &str = "ETH";

/// What the operator set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PricingConfig {
    /// Asked for a month, in US dollars.
    pub usd: MonthlyPrice,
    /// Asked for a month in GLM where no rate of GLM is known or followed; zero: nothing.
    pub glm: MonthlyPrice,
    /// Whether prices in GLM follow the rate.
    pub follow: bool,
    /// Least change of a rate that counts, in hundredths of a percent.
    pub threshold: u32,
    /// How often the feeds are asked.
    pub interval: Duration,
    /// Where feeds are, the first that answers wins.
    pub feed_urls: Vec<String>,
    /// What feeds call a GLM.
    pub glm_ids: Vec<String>,
}

impl PricingConfig {
    /// The feeds.
    ///
    /// # Errors
    /// [`FeedError::Client`].
    pub fn feeds(&self) -> Result<Feeds, FeedError> {
        Feeds::new(self.feed_urls.clone(), self.glm_ids.clone())
    }
}

/// Why rates cannot be followed at all.
#[derive(Debug, thiserror::Error)]
pub enum PricingError {
    /// The ledger fails.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// No feed can be asked.
    #[error(transparent)]
    Feeds(#[from] FeedError),
}
