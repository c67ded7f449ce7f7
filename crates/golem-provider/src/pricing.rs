//! What the node asks: dollars from the settings, coins by the rates of a feed.
//!
//! ```text
//!   feeds (the next when one fails) ─► Follower (judges) ─► ledger ─► advert, streams' least rate
//! ```
//! Owns asking the feeds, bounded and untrusted, and telling who needs to know. Never judges a rate:
//! [`golem_node::pricing`] does.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use golem_node::Node;
use golem_node::pricing::{self, Asked, Bounds, Follower, Outcome, Rate};
use golem_service::http::{self, Options};
use golem_types::Decimal;
use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::market;
use crate::settings::Settings;

/// Longest that a feed may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Largest answer of a feed.
const ANSWER_BYTES: usize = 64 << 10;

/// What the ledger calls the coins, and what feeds call the chain's own money.
pub(crate) const GLM: &str = "GLM";
pub(crate) const ETHER: &str = "ETH";
const ETHER_ID: &str = "ethereum";

/// Rates that are believed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Of a GLM.
    pub glm: Option<Rate>,
    /// Of the chain's own money.
    pub ether: Option<Rate>,
}

/// What is asked for a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    /// In US dollars, as the operator set it.
    pub usd: Asked,
    /// In GLM; zero while no rate is known.
    pub glm: Asked,
    /// In the chain's own money, where its rate is known.
    pub ether: Option<Asked>,
    /// The rates that they follow from.
    pub rates: Rates,
}

/// What the settings ask, in US dollars.
#[must_use]
pub const fn usd(settings: &Settings) -> Asked {
    Asked {
        core: settings.price_usd_core.0,
        memory: settings.price_usd_memory.0,
        storage: settings.price_usd_storage.0,
    }
}

impl Prices {
    /// What is asked at `rates`. Without a rate of GLM, or where prices do not follow it, those of
    /// the settings count.
    #[must_use]
    pub fn at(settings: &Settings, rates: Rates) -> Self {
        let usd = usd(settings);
        let given = Asked {
            core: settings.price_glm_core.0,
            memory: settings.price_glm_memory.0,
            storage: settings.price_glm_storage.0,
        };
        let follows = rates.glm.filter(|_| settings.pricing_update_enabled);
        let glm = follows.and_then(|rate| usd.in_coins(rate.usd)).unwrap_or(given);
        let ether = rates.ether.and_then(|rate| usd.in_coins(rate.usd));
        Self { usd, glm, ether, rates }
    }

    /// As an advert has them.
    fn advertised(&self) -> market::Asked {
        let floats = |asked: Asked| golem_chain::golem_base::Prices {
            core: asked.core.to_float(),
            ram_gb: asked.memory.to_float(),
            storage_gb: asked.storage.to_float(),
        };
        market::Asked { usd: floats(self.usd), glm: floats(self.glm) }
    }
}

/// Feeds of rates.
pub struct Feeds {
    http: http::Client,
    urls: Vec<String>,
    glm_ids: Vec<String>,
}

type Coins = BTreeMap<String, BTreeMap<String, Box<RawValue>>>;

impl Feeds {
    /// The feeds that the settings name.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn of(settings: &Settings) -> anyhow::Result<Self> {
        let http = http::Client::new(Options::within(DEADLINE))?;
        let ids = settings.coingecko_ids.split(',').map(|id| id.trim().to_owned());
        Ok(Self { http, urls: settings.coingecko_api_url.0.clone(), glm_ids: ids.collect() })
    }

    /// US dollars for a GLM and for a coin of the chain, from the first feed that knows the first.
    ///
    /// # Errors
    /// Why none did.
    pub async fn ask(&self) -> anyhow::Result<(Decimal, Option<Decimal>)> {
        let mut problems = Vec::new();
        for url in &self.urls {
            match self.ask_one(url).await {
                Ok(rates) => return Ok(rates),
                Err(error) => problems.push(format!("{url}: {error:#}")),
            }
        }
        bail!("no feed gives a rate ({})", problems.join("; "))
    }

    async fn ask_one(&self, url: &str) -> anyhow::Result<(Decimal, Option<Decimal>)> {
        let url = format!("{}/simple/price", url.trim_end_matches('/'));
        let ids = format!("{},{ETHER_ID}", self.glm_ids.join(","));
        let url = http::Url::parse_with_params(&url, [("ids", ids.as_str()), ("vs_currencies", "usd")])?;
        let answer = self.http.get(url.as_str()).send(ANSWER_BYTES).await?;
        if !answer.status.is_success() {
            bail!("it answers with HTTP status {}", answer.status.as_u16());
        }
        let coins: Coins = answer.json().context("its answer makes no sense")?;
        // The digits themselves: a float would round them.
        let rate = |id: &str| coins.get(id)?.get("usd")?.get().parse::<Decimal>().ok();
        let glm = self.glm_ids.iter().find_map(|id| rate(id)).context("it knows no rate of GLM")?;
        Ok((glm, rate(ETHER_ID)))
    }
}

/// What the rest of the node reads of prices.
pub struct Asking {
    /// Prices as they are now.
    pub prices: watch::Receiver<Prices>,
    /// The same as adverts have them.
    pub advertised: watch::Receiver<Option<market::Asked>>,
}

/// Follows the rates for `node` until it stops.
///
/// # Errors
/// When the ledger fails, or no client can be made.
pub async fn start(settings: &Settings, node: &Node) -> anyhow::Result<Asking> {
    let threshold = u32::from(settings.pricing_min_delta.0) * 100;
    let last = (node.rate(GLM).await?, node.rate(ETHER).await?);
    let followers =
        (Follower::new(Bounds::glm(), threshold, last.0), Follower::new(Bounds::ether(), threshold, last.1));
    let prices = Prices::at(settings, Rates { glm: last.0, ether: last.1 });
    let (sender, receiver) = watch::channel(prices);
    // An advert waits for a first answer of the feed, rather than being written twice.
    let known = !settings.pricing_update_enabled || last.0.is_some();
    let (adverts, advertised) = watch::channel(known.then(|| prices.advertised()));
    tell(node, &prices);
    if settings.pricing_update_enabled {
        let feeds = Feeds::of(settings)?;
        let task = follow(settings.clone(), node.clone(), feeds, followers, sender, adverts);
        let stop: CancellationToken = node.tasks().stopping().clone();
        node.tasks().spawn("pricing", async move {
            stop.run_until_cancelled(task).await;
        });
    }
    Ok(Asking { prices: receiver, advertised })
}

/// Tells the gate what streams have to pay.
fn tell(node: &Node, prices: &Prices) {
    if let Some(payments) = node.payments() {
        let native = prices.rates.ether.map(|rate| rate.usd);
        payments.set_prices(pricing::prices(prices.usd, prices.glm, native));
    }
}

async fn follow(
    settings: Settings,
    node: Node,
    feeds: Feeds,
    (mut glm, mut ether): (Follower, Follower),
    prices: watch::Sender<Prices>,
    adverts: watch::Sender<Option<market::Asked>>,
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
                    error = &*error as &dyn std::error::Error,
                    last_glm_usd = last,
                    "no rates; the last good ones stay"
                );
            }
            Err(_) => {}
        }
        let now = Prices::at(&settings, Rates { glm: glm.rate(), ether: ether.rate() });
        let changed = prices.send_if_modified(|before| {
            let changed = (before.glm, before.ether) != (now.glm, now.ether);
            *before = now;
            changed
        });
        if changed || adverts.borrow().is_none() {
            tell(&node, &now);
            adverts.send_replace(Some(now.advertised()));
            tracing::info!(
                core = %now.glm.core, memory = %now.glm.memory, storage = %now.glm.storage,
                "prices for a month in GLM"
            );
        }
        tokio::time::sleep(settings.pricing_interval).await;
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
