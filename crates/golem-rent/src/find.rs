//! Finding providers, on the market's network and on discovery servers of either kind.
//!
//! Owns reading adverts, which anybody can write, bounded, as one list; where a provider is that is named by its id; and
//! what the market asks in the middle. Never relies on them: a price counts once its provider has signed it.

use std::collections::HashSet;
use std::net::IpAddr;

use alloy_primitives::Address;
use anyhow::{Context, anyhow, bail, ensure};
use futures_util::future::join_all;
use golem_market::arkiv::offer::{Filter, month};
use golem_market::arkiv::{AdvertPrices, Client, FoundAdvert};
use golem_market::discovery::Listed;
use golem_market::discovery::live::requestor;
use golem_service::http::Url;
use golem_types::{Decimal, Resources};
use serde::Serialize;

use super::provider::Provider;
use super::shown::shown;

/// Most adverts that are shown.
const MOST: usize = 500;

/// Fewest adverts from which a median tells something.
const FEWEST: usize = 3;

/// Where providers are looked for.
#[derive(Debug, Clone)]
pub enum Market {
    /// A discovery server.
    Server {
        /// Its URL, as it was given.
        url: String,
    },
    /// A discovery server that shows who is connected.
    Live {
        /// The URL of its socket for renters, or for providers.
        url: String,
    },
    /// The network on which providers advertise.
    Network {
        name: String,
        /// A client of it.
        client: Client,
        /// Which providers count: those that say that they are on `mainnet`, `testnet` or `development`.
        environment: String,
    },
}

/// What a provider has to offer.
#[derive(Debug, Clone, Default)]
pub struct Search {
    pub cpu: u32,
    pub memory: u32,
    pub storage: u32,
    pub country: Option<String>,
    pub platform: Option<String>,
}

/// A provider, as its advert says.
#[derive(Debug, Clone, Serialize)]
pub struct Listing {
    pub provider_id: String,
    pub name: String,
    pub ip_address: String,
    pub country: String,
    pub platform: String,
    pub cpu: u64,
    pub memory: u64,
    pub storage: u64,
    /// What a VM of the size that was looked for costs in a month.
    pub usd_month: Option<f64>,
    pub glm_month: Option<f64>,
    /// Where its API is; only those who are connected to a discovery server tell.
    pub endpoint_url: Option<String>,
}

impl Search {
    /// As discovery servers know it.
    fn filter(&self) -> golem_market::discovery::Filter {
        golem_market::discovery::Filter {
            cpu: Some(self.cpu),
            memory: Some(self.memory),
            storage: Some(self.storage),
            country: self.country.clone(),
            platform: self.platform.clone(),
        }
    }

    fn month(&self, prices: Option<AdvertPrices>) -> Option<f64> {
        let month = month(prices?, self.cpu, self.memory, self.storage);
        (month.is_finite() && month >= 0.0).then_some(month)
    }

    fn of_market(&self, offer: FoundAdvert) -> Listing {
        Listing {
            usd_month: self.month(offer.usd),
            glm_month: self.month(offer.glm),
            provider_id: offer.provider_id,
            name: offer.name,
            ip_address: offer.ip_address,
            country: offer.country,
            platform: offer.platform,
            cpu: offer.cpu,
            memory: offer.memory,
            storage: offer.storage,
            endpoint_url: None,
        }
    }

    fn of_server(&self, listed: Listed) -> Listing {
        Listing {
            usd_month: self.month(listed.usd()),
            glm_month: self.month(listed.glm()),
            cpu: listed.free("cpu"),
            memory: listed.free("memory"),
            storage: listed.free("storage"),
            provider_id: listed.provider_id,
            name: listed.provider_name.unwrap_or_default(),
            ip_address: listed.ip_address,
            country: listed.country,
            platform: listed.platform.unwrap_or_default(),
            endpoint_url: listed.endpoint_url,
        }
    }
}

/// What was found, and where nothing could be asked.
#[derive(Debug)]
pub struct Found {
    /// The cheapest in US dollars first.
    pub listings: Vec<Listing>,
    /// Why a market could not be asked, while others could.
    pub failures: Vec<anyhow::Error>,
}

/// The providers that `search` finds on any of the `markets`, which are asked side by side. One that several show is
/// listed as the first of them says.
///
/// # Errors
/// When none of them can be asked.
pub async fn find(markets: &[Market], search: &Search) -> anyhow::Result<Found> {
    let asked = join_all(markets.iter().map(|market| on(market, search))).await;
    let (mut listings, mut failures) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    let mut is_answered = false;
    for answer in asked {
        match answer {
            Ok(found) => {
                is_answered = true;
                // An address is one id, however it is spelt.
                listings.extend(
                    found.into_iter().filter(|found| seen.insert(found.provider_id.to_ascii_lowercase())),
                );
            }
            Err(failure) => failures.push(failure),
        }
    }
    if !is_answered {
        return Err(failures.pop().unwrap_or_else(|| anyhow!("no market is known in which to look")));
    }
    let price = |found: &Listing| found.usd_month.unwrap_or(f64::MAX);
    listings.sort_by(|a, b| price(a).total_cmp(&price(b)));
    Ok(Found { listings, failures })
}

async fn on(market: &Market, search: &Search) -> anyhow::Result<Vec<Listing>> {
    match market {
        Market::Server { url } => on_server(url, search).await,
        Market::Live { url } => {
            let listed = requestor::find(url, &search.filter()).await;
            let listed = listed.with_context(|| format!("{} cannot be asked", shown(url)))?;
            Ok(listed.into_iter().take(MOST).map(|listed| search.of_server(listed)).collect())
        }
        Market::Network { name, client, environment } => on_network(name, client, environment, search).await,
    }
}

async fn on_network(
    name: &str,
    client: &Client,
    environment: &str,
    search: &Search,
) -> anyhow::Result<Vec<Listing>> {
    let filter = Filter {
        network: Some(environment.to_owned()),
        payments_network: None,
        cpu: Some(search.cpu),
        memory: Some(search.memory),
        storage: Some(search.storage),
        country: search.country.clone(),
        platform: search.platform.clone(),
    };
    let query =
        filter.query(client.generation()).context("a filter has characters that no query can have")?;
    let seen = client.find(&query, MOST).await;
    let seen = seen.with_context(|| format!("the market network {name} cannot be asked"))?;
    Ok(seen.entities.iter().filter_map(FoundAdvert::of).map(|offer| search.of_market(offer)).collect())
}

async fn on_server(url: &str, search: &Search) -> anyhow::Result<Vec<Listing>> {
    let parsed: Url = url.parse().with_context(|| format!("{:?} is no URL", shown(url)))?;
    ensure!(
        matches!(parsed.scheme(), "http" | "https"),
        "a discovery server's URL begins with http:// or https://"
    );
    let listed = golem_market::discovery::Client::new(url)?.find(&search.filter()).await?;
    Ok(listed.into_iter().take(MOST).map(|listed| search.of_server(listed)).collect())
}

/// The URL at which the provider `id` says that its API is: its endpoint where it tells one, else that of its address.
///
/// # Errors
/// When it is not found, or nothing can be asked.
async fn url_of(markets: &[Market], id: Address) -> anyhow::Result<String> {
    let everyone = Search { cpu: 1, memory: 1, storage: 1, ..Search::default() };
    let found = find(markets, &everyone).await?.listings;
    let its = |found: &Listing| found.provider_id.parse() == Ok(id);
    let Some(advert) = found.iter().find(|found| its(found)) else {
        bail!(
            "no advert of provider {id} is found; fix: see `golem-provider rent providers`, or give its URL"
        );
    };
    if let Some(endpoint) = &advert.endpoint_url {
        return Ok(Provider::at(endpoint)?.url());
    }
    let address: IpAddr = advert
        .ip_address
        .parse()
        .with_context(|| format!("its advert has the address {:?}", advert.ip_address))?;
    Ok(Provider::url_of(address))
}

/// Where the API of the provider that was named is, and who it has to be, where that is known.
///
/// # Errors
/// When `named` is neither a URL nor an id, or the provider cannot be found.
pub async fn named(
    markets: impl FnOnce() -> anyhow::Result<Vec<Market>>,
    named: &str,
) -> anyhow::Result<(String, Option<Address>)> {
    if named.contains("://") {
        return Ok((Provider::at(named)?.url(), None));
    }
    let id: Address = named.parse().ok().with_context(|| {
        format!(
            "{named:?} is neither a provider's URL, like http://192.0.2.7:7466, nor its id, 0x and 40 digits"
        )
    })?;
    Ok((url_of(&markets()?, id).await?, Some(id)))
}

/// What providers on the market ask for `size` in the middle, in US dollars a month; `None` if there are too few.
pub async fn median_price(markets: &[Market], size: Resources) -> Option<Decimal> {
    let search =
        Search { cpu: size.cpu, memory: size.memory, storage: size.storage, country: None, platform: None };
    let found = find(markets, &search).await.ok()?.listings;
    let mut prices: Vec<Decimal> =
        found.iter().filter_map(|found| format!("{:.8}", found.usd_month?).parse().ok()).collect();
    prices.sort();
    (prices.len() >= FEWEST).then(|| prices.get(prices.len() / 2).copied()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_either_servers_form_is_read() {
        let search = Search { cpu: 1, memory: 1, storage: 10, ..Search::default() };
        let old = r#"{"provider_id": "0x1", "ip_address": "192.0.2.1", "country": "SE", "created_at": "x",
            "resources": {"cpu": 4, "memory": 8, "storage": 100, "gpu": 1}, "pricing": null}"#;
        let row = search.of_server(serde_json::from_str(old).unwrap());
        assert_eq!((row.country.as_str(), row.usd_month), ("SE", None));
        let new = r#"{"provider_id": "0x1", "ip_address": "192.0.2.1", "country": "SE", "platform": "arm64",
            "provider_name": "mine", "resources": {"cpu": 4, "memory": 8, "storage": 100},
            "pricing": {"usd_per_core_month": 5, "usd_per_gb_ram_month": 2.0, "usd_per_gb_storage_month": 0.1}}"#;
        let row = search.of_server(serde_json::from_str(new).unwrap());
        assert_eq!((row.name.as_str(), row.platform.as_str(), row.usd_month), ("mine", "arm64", Some(8.0)));
        assert_eq!(row.glm_month, None);
    }
}
