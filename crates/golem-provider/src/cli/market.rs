//! `market`: the node's advert as the network tells it, and what others ask.
//!
//! Asks the network itself, so that it works whether or not the node runs, and shows what renters
//! see and not what the node believes.

use alloy_primitives::Address;
use anyhow::Context;
use golem_market::arkiv::offer::{Filter, cheaper_percent, month};
use golem_market::arkiv::{AdvertPrices, Offer};
use golem_market::discovery::Listed;
use golem_node::advertise::MarketKind;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::arguments::Market as MarketArguments;
use super::layout::table;
use super::{Exit, Invocation};
use crate::identity;
use crate::market::{self, MarketNetwork};
use crate::pricing;
use crate::settings::Settings;

/// Most adverts of others that are looked at.
const OFFERS: usize = 500;

/// Most of them that people are shown.
const SHOWN: usize = 10;

#[derive(Serialize)]
struct MarketsView {
    markets: Vec<MarketView>,
}

/// One market, as it tells itself.
#[derive(Serialize)]
struct MarketView {
    market: &'static str,
    /// What the network is called, or where the server is.
    place: String,
    /// Why it cannot be asked; then nothing is known.
    error: Option<String>,
    block: Option<u64>,
    own: Option<OwnAdvert>,
    /// Those whose adverts could be the same renter's choice.
    others: Vec<AdvertTerms>,
    /// Whether there are more than were looked at.
    more: bool,
    usd_month: PriceRank,
}

/// The node's own advert.
#[derive(Serialize)]
struct OwnAdvert {
    /// Its key on a network.
    key: Option<String>,
    expires_at_block: Option<u64>,
    blocks_left: Option<u64>,
    lapses_at: Option<Timestamp>,
    #[serde(flatten)]
    says: AdvertTerms,
}

/// What an advert offers.
#[derive(Serialize)]
struct AdvertTerms {
    provider_id: String,
    name: String,
    country: String,
    platform: String,
    cpu: u64,
    memory: u64,
    storage: u64,
    usd_month: Option<f64>,
    glm_month: Option<f64>,
}

/// Where the node's price stands among those of others.
#[derive(Serialize)]
struct PriceRank {
    own: f64,
    others: usize,
    lowest: Option<f64>,
    median: Option<f64>,
    cheaper_percent: Option<u8>,
}

impl AdvertTerms {
    fn of(offer: Offer, wanted: &MarketArguments) -> Self {
        let of_month = |prices: AdvertPrices| month(prices, wanted.cpu, wanted.memory, wanted.storage);
        Self {
            usd_month: offer.usd.map(of_month),
            glm_month: offer.glm.map(of_month),
            provider_id: offer.provider_id,
            name: offer.name,
            country: offer.country,
            platform: offer.platform,
            cpu: offer.cpu,
            memory: offer.memory,
            storage: offer.storage,
        }
    }
}

impl AdvertTerms {
    fn listed(listed: Listed, wanted: &MarketArguments) -> Self {
        let of_month = |prices: AdvertPrices| month(prices, wanted.cpu, wanted.memory, wanted.storage);
        let has = |name: &str| listed.resources.get(name).copied().unwrap_or_default();
        Self {
            usd_month: listed.usd().map(of_month),
            glm_month: listed.glm().map(of_month),
            cpu: has("cpu"),
            memory: has("memory"),
            storage: has("storage"),
            provider_id: listed.provider_id,
            name: listed.provider_name.unwrap_or_default(),
            country: listed.country,
            platform: listed.platform.unwrap_or_default(),
        }
    }
}

impl PriceRank {
    fn of(own: f64, others: &[AdvertTerms]) -> Self {
        let mut prices: Vec<f64> = others.iter().filter_map(|other| other.usd_month).collect();
        prices.sort_by(f64::total_cmp);
        Self {
            own,
            others: prices.len(),
            lowest: prices.first().copied(),
            median: prices.get(prices.len() / 2).copied(),
            cheaper_percent: cheaper_percent(own, &prices),
        }
    }
}

/// The adverts of a market.
#[derive(Default)]
struct Adverts {
    block: Option<u64>,
    own: Option<OwnAdvert>,
    others: Vec<AdvertTerms>,
    more: bool,
}

/// Asks the market's network.
async fn network(
    market: &MarketNetwork,
    settings: &Settings,
    own: Address,
    wanted: &MarketArguments,
) -> anyhow::Result<Adverts> {
    let client = market.client()?;
    let filter = Filter {
        network: Some(settings.node.network.as_str().to_owned()),
        payments_network: Some(settings.payments.payments_network.clone()),
        cpu: Some(wanted.cpu),
        memory: Some(wanted.memory),
        storage: Some(wanted.storage),
        ..Filter::default()
    };
    let query = filter
        .query(client.generation())
        .context("the name of the payments network cannot stand in a query")?;
    let seen = client.own(own, own).await?;
    let found = client.find(&query, OFFERS).await?;
    let mine = seen.entities.iter().max_by_key(|entity| entity.expires_at).and_then(|entity| {
        let blocks_left = entity.expires_at.checked_sub(seen.block)?;
        let seconds = blocks_left.saturating_mul(u64::from(market.profile.block_seconds));
        let later = SignedDuration::from_secs(i64::try_from(seconds).ok()?);
        Some(OwnAdvert {
            key: Some(entity.key.to_string()),
            expires_at_block: Some(entity.expires_at),
            blocks_left: Some(blocks_left),
            lapses_at: Timestamp::now().checked_add(later).ok(),
            says: AdvertTerms::of(Offer::of(entity)?, wanted),
        })
    });
    let others = found.entities.iter().filter(|entity| entity.owner != own).filter_map(Offer::of);
    Ok(Adverts {
        block: Some(seen.block),
        own: mine,
        others: others.map(|offer| AdvertTerms::of(offer, wanted)).collect(),
        more: found.more,
    })
}

/// Asks the discovery server.
async fn server(url: &str, own: Address, wanted: &MarketArguments) -> anyhow::Result<Adverts> {
    let client = golem_market::discovery::Client::new(url)?;
    let own = own.to_string();
    let mine = client.get(&own).await?.map(|listed| OwnAdvert {
        key: None,
        expires_at_block: None,
        blocks_left: None,
        lapses_at: listed.lapses(),
        says: AdvertTerms::listed(listed, wanted),
    });
    let filter = golem_market::discovery::Filter {
        cpu: Some(wanted.cpu),
        memory: Some(wanted.memory),
        storage: Some(wanted.storage),
        ..golem_market::discovery::Filter::default()
    };
    let mut others = client.find(&filter).await?;
    others.retain(|listed| listed.provider_id != own);
    let more = others.len() > OFFERS;
    others.truncate(OFFERS);
    let others = others.into_iter().map(|listed| AdvertTerms::listed(listed, wanted)).collect();
    Ok(Adverts { block: None, own: mine, others, more })
}

impl MarketView {
    fn of(kind: MarketKind, place: String, adverts: anyhow::Result<Adverts>, asked: f64) -> Self {
        let (error, Adverts { block, own, others, more }) = match adverts {
            Ok(adverts) => (None, adverts),
            Err(error) => (Some(format!("{error:#}")), Adverts::default()),
        };
        let price = own.as_ref().and_then(|own| own.says.usd_month).unwrap_or(asked);
        let usd_month = PriceRank::of(price, &others);
        Self { market: kind.as_str(), place, error, block, own, others, more, usd_month }
    }
}

/// `market`.
pub(super) async fn market(invocation: &Invocation, wanted: &MarketArguments) -> anyhow::Result<Exit> {
    let settings = &invocation.resolved.settings;
    let own = identity::address_of_node(&settings.node)?.unwrap_or_default();
    let asked = month(
        market::advertised(pricing::config(&settings.prices, None).usd),
        wanted.cpu,
        wanted.memory,
        wanted.storage,
    );
    let mut markets = Vec::new();
    // Who offers nothing anywhere can still see what others ask.
    if market::is_on_network(&settings.market) || !market::is_on_server(&settings.market) {
        let market = MarketNetwork::of(settings)?;
        let _waiting = invocation.printer.waiting(format!("Asking {}", market.name));
        let adverts = network(&market, settings, own, wanted).await;
        markets.push(MarketView::of(MarketKind::GolemBase, market.name, adverts, asked));
    }
    if market::is_on_server(&settings.market) {
        let url = settings.market.discovery_url.0.clone();
        let _waiting = invocation.printer.waiting(format!("Asking {url}"));
        let adverts = server(&url, own, wanted).await;
        markets.push(MarketView::of(MarketKind::DiscoveryServer, url, adverts, asked));
    }
    let failed = markets.iter().any(|seen| seen.error.is_some());
    let answer = MarketsView { markets };
    invocation.printer.answer(&answer, || {
        let texts: Vec<String> = answer.markets.iter().map(|seen| text(seen, wanted)).collect();
        texts.join("\n\n")
    });
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

/// The answer for people.
fn text(seen: &MarketView, wanted: &MarketArguments) -> String {
    let block = seen.block.map_or_else(String::new, |block| format!(" at block {block}"));
    let mut lines = vec![format!("Market     {}{block}", seen.place)];
    if let Some(error) = &seen.error {
        lines.push(format!("           ❌ it cannot be asked: {error}"));
        return lines.join("\n");
    }
    match &seen.own {
        None => lines.push("Advert     ❌ renters do not find this node".to_owned()),
        Some(own) => {
            let key = own.key.as_deref().unwrap_or("renters find this node");
            lines.push(format!("Advert     ✅ {key}"));
            lines.push(format!(
                "  offers   {} cores, {} GiB of memory, {} GiB of storage",
                own.says.cpu, own.says.memory, own.says.storage
            ));
            let lapses = own.lapses_at.map(|at| at.strftime("%F %R UTC").to_string());
            let blocks = own.blocks_left.map_or_else(String::new, |blocks| format!(", in {blocks} blocks"));
            lines
                .extend(lapses.map(|at| format!("  lapses   about {at}{blocks}, unless the node renews it")));
        }
    }
    let place = &seen.usd_month;
    lines.push(format!(
        "Others     {}{} offer {} cores, {} GiB of memory and {} GiB of storage",
        seen.others.len(),
        if seen.more { " or more" } else { "" },
        wanted.cpu,
        wanted.memory,
        wanted.storage
    ));
    let mut price = format!("A month    {:.2} USD here", place.own);
    if let (Some(lowest), Some(median), Some(cheaper)) = (place.lowest, place.median, place.cheaper_percent) {
        price +=
            &format!("; lowest {lowest:.2}, median {median:.2}; {cheaper} % of {} ask less", place.others);
    }
    lines.push(price);
    if !seen.others.is_empty() {
        let mut cheapest: Vec<&AdvertTerms> = seen.others.iter().collect();
        let price = |other: &AdvertTerms| other.usd_month.unwrap_or(f64::MAX);
        cheapest.sort_by(|one, other| price(one).total_cmp(&price(other)));
        let rows = cheapest.into_iter().take(SHOWN).map(|other| {
            [
                other.name.clone(),
                other.country.clone(),
                other.platform.clone(),
                other.usd_month.map_or_else(|| "?".to_owned(), |price| format!("{price:.2}")),
                other.glm_month.map_or_else(|| "?".to_owned(), |price| format!("{price:.2}")),
            ]
        });
        lines.push(String::new());
        lines.push(table(["NAME", "COUNTRY", "PLATFORM", "USD", "GLM"], rows));
    }
    lines.join("\n")
}
