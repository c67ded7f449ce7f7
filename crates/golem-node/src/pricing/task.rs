//! The task that follows the rates and tells who needs to know.
//!
//! Owns when the feeds are asked, and who is told of a new price list: the gate of payments, the adverts and
//! whoever shows prices. Never judges a rate: [`super::rate`] does.

use golem_types::Decimal;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::feeds::Feeds;
use super::prices::{PriceList, Rates};
use super::rate::{Bounds, Follower, Outcome};
use super::{ETHER, GLM, PricingConfig, PricingError};
use crate::node::Node;

/// What the rest of the node reads of prices.
pub struct PriceWatch {
    /// Prices as they are now.
    pub prices: watch::Receiver<PriceList>,
    /// The same for adverts, which wait for the first rate: `None` until then.
    pub advertised: watch::Receiver<Option<PriceList>>,
}

/// Follows the rates for `node` until it stops.
///
/// # Errors
/// [`PricingError`]; a feed that does not answer is no error.
pub async fn start(config: PricingConfig, node: &Node) -> Result<PriceWatch, PricingError> {
    let last = (node.rate(GLM).await?, node.rate(ETHER).await?);
    let followers = (
        Follower::new(Bounds::glm(), config.threshold, last.0),
        Follower::new(Bounds::ether(), config.threshold, last.1),
    );
    let prices = PriceList::at(&config, Rates { glm: last.0, ether: last.1 });
    let (sender, receiver) = watch::channel(prices);
    // An advert waits for a first answer of the feed, rather than being written twice.
    let known = !config.follow || last.0.is_some();
    let (adverts, advertised) = watch::channel(known.then_some(prices));
    tell(node, &prices);
    if config.follow {
        let feeds = config.feeds()?;
        let task = follow(config, node.clone(), feeds, followers, sender, adverts);
        let stop: CancellationToken = node.tasks().stopping().clone();
        node.tasks().spawn("pricing", async move {
            stop.run_until_cancelled(task).await;
        });
    }
    Ok(PriceWatch { prices: receiver, advertised })
}

/// Tells the gate what streams have to pay.
fn tell(node: &Node, prices: &PriceList) {
    if let Some(payments) = node.payments() {
        payments.set_prices(prices.of_streams());
    }
}

async fn follow(
    config: PricingConfig,
    node: Node,
    feeds: Feeds,
    (mut glm, mut ether): (Follower, Follower),
    prices: watch::Sender<PriceList>,
    adverts: watch::Sender<Option<PriceList>>,
) {
    let mut told = false;
    loop {
        match feeds.ask().await {
            Ok((glm_usd, ether_usd)) => {
                if told {
                    tracing::info!("rates can be had again");
                }
                told = false;
                let now = Timestamp::now();
                judge(&node, GLM, &mut glm, glm_usd, now).await;
                if let Some(usd) = ether_usd {
                    judge(&node, ETHER, &mut ether, usd, now).await;
                }
            }
            Err(error) if !told => {
                told = true;
                let last = glm.rate().map(|rate| rate.usd.to_string());
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    last_glm_usd = last,
                    "no rates; the last good ones stay"
                );
            }
            Err(_) => {}
        }
        let now = PriceList::at(&config, Rates { glm: glm.rate(), ether: ether.rate() });
        let changed = prices.send_if_modified(|before| {
            let changed = (before.glm, before.ether) != (now.glm, now.ether);
            *before = now;
            changed
        });
        if changed || adverts.borrow().is_none() {
            tell(&node, &now);
            adverts.send_replace(Some(now));
            tracing::info!(
                core = %now.glm.core, memory = %now.glm.memory, storage = %now.glm.storage,
                "prices for a month in GLM"
            );
        }
        tokio::time::sleep(config.interval).await;
    }
}

async fn judge(node: &Node, coin: &'static str, follower: &mut Follower, usd: Decimal, now: Timestamp) {
    match follower.judge(usd, now) {
        Outcome::Taken => {
            tracing::info!(coin, %usd, "rate changed");
            if let Some(rate) = follower.rate()
                && let Err(error) = node.keep_rate(coin, rate).await
            {
                tracing::error!(error = &error as &dyn std::error::Error, "a rate cannot be recorded");
            }
        }
        Outcome::Kept => {}
        Outcome::Doubted => {
            tracing::warn!(coin, %usd, "the feed's rate is far from the last; not believed yet")
        }
        Outcome::Refused => tracing::warn!(coin, %usd, "the feed's rate makes no sense; not believed"),
    }
}
