//! The task that follows the rates and tells who needs to know.
//!
//! Owns when the feeds are asked, and who is told of a new price list: the gate of payments, the adverts and
//! whoever shows prices. Never judges a rate: [`super::rate`] does.

use golem_types::Decimal;
use golem_types::price::Rate;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::feeds::Feeds;
use super::prices::{PriceList, Rates};
use super::rate::{Bounds, Follower, RateOutcome};
use super::{GLM, PricingConfig, PricingError, coin_of};
use crate::node::Node;
use crate::payment::Payments;

/// What the rest of the node reads of prices.
pub struct PriceWatch {
    /// Prices as they are now.
    pub prices: watch::Receiver<PriceList>,
    /// The same for adverts, which wait for the first rate: `None` until then.
    pub advertised: watch::Receiver<Option<PriceList>>,
}

/// A coin that is followed.
struct Followed {
    /// What the ledger calls it.
    coin: String,
    follower: Follower,
}

impl Followed {
    async fn of(node: &Node, coin: &str, bounds: Bounds, threshold: u32) -> Result<Self, PricingError> {
        let last = node.rate(coin).await?;
        Ok(Self { coin: coin.to_owned(), follower: Follower::new(bounds, threshold, last) })
    }

    async fn of_id(node: &Node, id: Option<&String>, threshold: u32) -> Result<Option<Self>, PricingError> {
        match id {
            Some(id) => Ok(Some(Self::of(node, coin_of(id), Bounds::coin(id), threshold).await?)),
            None => Ok(None),
        }
    }
}

/// The coins that are followed.
struct Coins {
    glm: Followed,
    coin: Option<Followed>,
    token: Option<Followed>,
}

impl Coins {
    fn rates(&self) -> Rates {
        let of = |followed: &Option<Followed>| -> Option<Rate> { followed.as_ref()?.follower.rate() };
        Rates { glm: self.glm.follower.rate(), coin: of(&self.coin), token: of(&self.token) }
    }
}

/// Follows the rates for `node` until it stops, and tells `payments` what their streams have to pay.
///
/// # Errors
/// [`PricingError`]; a feed that does not answer is no error.
pub async fn start(
    config: PricingConfig,
    node: &Node,
    payments: Option<&Payments>,
) -> Result<PriceWatch, PricingError> {
    let network = config.network.as_ref();
    let coin_id = network.and_then(|network| network.coin_id.as_ref());
    let token_id = network.and_then(|network| network.token_id.as_ref());
    let coins = Coins {
        glm: Followed::of(node, GLM, Bounds::glm(), config.threshold).await?,
        coin: Followed::of_id(node, coin_id, config.threshold).await?,
        token: Followed::of_id(node, token_id, config.threshold).await?,
    };
    let rates = coins.rates();
    let prices = PriceList::at(&config, rates);
    tell(payments, &prices);
    let (sender, receiver) = watch::channel(prices);
    // An advert waits for a first answer of the feed, rather than being written twice.
    let known = !config.follow || rates.glm.is_some();
    let (adverts, advertised) = watch::channel(known.then_some(prices));
    if config.follow {
        let feeds = config.feeds()?;
        let task = follow(config, (node.clone(), payments.cloned()), feeds, coins, sender, adverts);
        let stop: CancellationToken = node.tasks().stopping().clone();
        node.tasks().spawn("pricing", async move {
            stop.run_until_cancelled(task).await;
        });
    }
    Ok(PriceWatch { prices: receiver, advertised })
}

/// Tells the gate what streams have to pay.
fn tell(payments: Option<&Payments>, prices: &PriceList) {
    if let Some(payments) = payments {
        payments.set_prices(prices.of_streams);
    }
}

async fn follow(
    config: PricingConfig,
    (node, payments): (Node, Option<Payments>),
    feeds: Feeds,
    mut coins: Coins,
    prices: watch::Sender<PriceList>,
    adverts: watch::Sender<Option<PriceList>>,
) {
    let mut told = false;
    loop {
        match feeds.ask().await {
            Ok(quoted) => {
                if told {
                    tracing::info!("rates can be had again");
                }
                told = false;
                let now = Timestamp::now();
                judge(&node, Some(&mut coins.glm), Some(quoted.glm), now).await;
                judge(&node, coins.coin.as_mut(), quoted.coin, now).await;
                judge(&node, coins.token.as_mut(), quoted.token, now).await;
            }
            Err(error) if !told => {
                told = true;
                let last = coins.glm.follower.rate().map(|rate| rate.usd.to_string());
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    last_glm_usd = last,
                    "no rates; the last good ones stay"
                );
            }
            Err(_) => {}
        }
        let now = PriceList::at(&config, coins.rates());
        let changed = prices.send_if_modified(|before| {
            let changed = (before.glm, before.of_streams) != (now.glm, now.of_streams);
            *before = now;
            changed
        });
        if changed || adverts.borrow().is_none() {
            tell(payments.as_ref(), &now);
            tracing::info!(
                core = %now.glm.core, memory = %now.glm.memory, storage = %now.glm.storage,
                "prices for a month in GLM"
            );
            adverts.send_replace(Some(now));
        }
        tokio::time::sleep(config.interval).await;
    }
}

/// Judges what a feed gave for `followed`, if both are there.
async fn judge(node: &Node, followed: Option<&mut Followed>, usd: Option<Decimal>, now: Timestamp) {
    let (Some(Followed { coin, follower }), Some(usd)) = (followed, usd) else { return };
    match follower.judge(usd, now) {
        RateOutcome::Taken => {
            tracing::info!(coin, %usd, "rate changed");
            if let Some(rate) = follower.rate()
                && let Err(error) = node.keep_rate(coin, rate).await
            {
                tracing::error!(error = &error as &dyn std::error::Error, "a rate cannot be recorded");
            }
        }
        RateOutcome::Kept => {}
        RateOutcome::Doubted => {
            tracing::warn!(coin, %usd, "the feed's rate is far from the last; not believed yet")
        }
        RateOutcome::Refused => tracing::warn!(coin, %usd, "the feed's rate makes no sense; not believed"),
    }
}
