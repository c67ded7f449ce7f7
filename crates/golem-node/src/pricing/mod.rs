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

use golem_chain::network::PaymentNetwork;
use golem_chain::price_id;
use golem_types::price::MonthlyPrice;

pub use feeds::{FeedError, Feeds, Quoted};
pub use prices::{PriceList, Rates};
pub use rate::{Bounds, Follower, RateOutcome};
pub use task::{PriceWatch, start};

use crate::error::NodeError;

/// What the ledger and settings call a GLM.
pub const GLM: &str = "GLM";

/// What the ledger calls the coin that feeds call `id`.
#[must_use]
pub fn coin_of(id: &str) -> &str {
    match id {
        price_id::GLM => GLM,
        // As ledgers have it that only knew this one.
        "ethereum" => "ETH",
        id => id,
    }
}

/// What streams are paid in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamMoney {
    /// The token GLM: the price that adverts tell.
    Glm,
    /// Another token.
    Token,
    /// The chain's own money.
    Coin,
}

/// The chain on which rentals are paid, as far as prices go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PricedNetwork {
    /// What feeds call the chain's own money; `None` if it has no price.
    pub coin_id: Option<String>,
    /// What feeds call the token of the streams; `None` if it has no price, or is GLM, or streams have none.
    pub token_id: Option<String>,
    /// What streams are paid in.
    pub money: StreamMoney,
    /// Whether its money is worth nothing.
    pub testnet: bool,
}

impl PricedNetwork {
    /// The chain of `payments`.
    #[must_use]
    pub fn of(payments: &PaymentNetwork) -> Self {
        let id = payments.price_id();
        let money = match id {
            _ if payments.token.is_zero() => StreamMoney::Coin,
            Some(price_id::GLM) => StreamMoney::Glm,
            _ => StreamMoney::Token,
        };
        Self {
            coin_id: payments.coin_price_id().map(str::to_owned),
            token_id: id.filter(|_| money == StreamMoney::Token).map(str::to_owned),
            money,
            testnet: payments.network.testnet || payments.network.local,
        }
    }
}

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
    /// Where rentals are paid; `None` if they are free.
    pub network: Option<PricedNetwork>,
}

impl PricingConfig {
    /// The feeds.
    ///
    /// # Errors
    /// [`FeedError::Client`].
    pub fn feeds(&self) -> Result<Feeds, FeedError> {
        let of_network =
            |id: fn(&PricedNetwork) -> Option<&String>| self.network.as_ref().and_then(id).cloned();
        Feeds::new(
            self.feed_urls.clone(),
            self.glm_ids.clone(),
            of_network(|network| network.coin_id.as_ref()),
            of_network(|network| network.token_id.as_ref()),
        )
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
