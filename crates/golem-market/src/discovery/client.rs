//! Asking a discovery server: to show an advert, to show it no longer, and what it shows.
//!
//! Owns the exchange, bounded in time and size. Never decides when, and never tries again.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::arkiv::AdvertPrices;
use golem_service::http::header::CONTENT_TYPE;
use golem_service::http::{self, HttpError, Method, Options, Request, StatusCode, Url};
use golem_types::visible::line_of;
use golem_types::wallet::Wallet;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::LIFETIME_SECONDS;
use super::advert::{PRICES, PostedAdvert};
use super::identity::sign;
use super::live::advert::Endpoint;
use super::store::Filter;

/// Longest that one exchange may take: the original's.
const DEADLINE: Duration = Duration::from_secs(5);

/// Largest answer that is one advert or none.
const ANSWER_BYTES: usize = 64 << 10;

/// Largest list: some ten thousand adverts.
const LIST_BYTES: usize = 8 << 20;

/// Why a server was not asked in the end.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// No HTTP client can be made.
    #[error("no HTTP client can be made")]
    Http(#[source] HttpError),
    /// It did not answer in time, or not at all.
    #[error("the discovery server does not answer{}", .0.through())]
    NoAnswer(#[source] HttpError),
    /// It refused.
    #[error("the discovery server refused with HTTP status {status}: {text}")]
    Refused {
        status: u16,
        /// The beginning of what it said.
        text: String,
    },
    /// Its answer is larger than any that is expected.
    #[error("the discovery server's answer is too large")]
    TooLarge,
    /// It answered something else than what was asked.
    #[error("the discovery server's answer makes no sense")]
    Nonsense,
    /// What should be posted cannot be signed.
    #[error("the advert cannot be signed")]
    Unsigned,
}

/// An advert, as a server shows it. What is missing or odd there is left out here.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Listed {
    /// Whose it says it is.
    pub provider_id: String,
    /// What the provider calls itself; the published server never tells.
    #[serde(default)]
    pub provider_name: Option<String>,
    /// Where it is reached.
    pub ip_address: String,
    /// Country in which it stands.
    pub country: String,
    /// Its processor; the published server never tells.
    #[serde(default)]
    pub platform: Option<String>,
    /// What is free.
    pub resources: BTreeMap<String, u64>,
    /// Prices for a month.
    #[serde(default)]
    pub pricing: Option<Map<String, Value>>,
    /// When it was last posted, in UTC without saying so.
    #[serde(default)]
    pub updated_at: Option<String>,
    /// Where its API is; only live adverts tell.
    #[serde(default)]
    pub endpoint_url: Option<String>,
}

/// Longest piece of others' text that is kept, in characters.
const SHOWN: usize = 64;

impl Listed {
    /// Without what a terminal should not be sent.
    pub(super) fn cleaned(mut self) -> Self {
        let clean = |text: &mut String| *text = line_of(text, SHOWN);
        let texts = [&mut self.provider_id, &mut self.ip_address, &mut self.country];
        texts.into_iter().chain(self.provider_name.as_mut()).chain(self.platform.as_mut()).for_each(clean);
        // Cut off, it would be another address.
        self.endpoint_url = self.endpoint_url.filter(|url| Endpoint::of(url).is_some());
        self
    }

    /// How much of `resource` is free; 0 if the advert does not say.
    #[must_use]
    pub fn free(&self, resource: &str) -> u64 {
        self.resources.get(resource).copied().unwrap_or_default()
    }

    /// Whether as much of each resource is free as `filter` asks for.
    #[must_use]
    pub fn is_large_enough(&self, filter: &Filter) -> bool {
        let least = [("cpu", filter.cpu), ("memory", filter.memory), ("storage", filter.storage)];
        least.into_iter().all(|(name, least)| self.free(name) >= u64::from(least.unwrap_or_default()))
    }

    /// Prices for a month in US dollars; `None` if one of them is no price.
    #[must_use]
    pub fn usd(&self) -> Option<AdvertPrices> {
        let [core, ram_gb, storage_gb, ..] = PRICES;
        self.prices([core, ram_gb, storage_gb])
    }

    /// The same in GLM.
    #[must_use]
    pub fn glm(&self) -> Option<AdvertPrices> {
        let [.., core, ram_gb, storage_gb] = PRICES;
        self.prices([core, ram_gb, storage_gb])
    }

    fn prices(&self, [core, ram_gb, storage_gb]: [&str; 3]) -> Option<AdvertPrices> {
        let price = |name: &str| {
            let price = self.pricing.as_ref()?.get(name)?.as_f64()?;
            (price.is_finite() && price >= 0.0).then_some(price)
        };
        Some(AdvertPrices { core: price(core)?, ram_gb: price(ram_gb)?, storage_gb: price(storage_gb)? })
    }

    /// When it lapses unless it is posted again.
    #[must_use]
    pub fn lapses(&self) -> Option<Timestamp> {
        let posted: DateTime = self.updated_at.as_ref()?.parse().ok()?;
        let posted = posted.to_zoned(TimeZone::UTC).ok()?.timestamp();
        posted.checked_add(SignedDuration::from_secs(LIFETIME_SECONDS)).ok()
    }
}

/// A discovery server.
#[derive(Debug, Clone)]
pub struct Client {
    http: http::Client,
    url: String,
}

impl Client {
    /// The server at `url`. Nothing is asked yet.
    ///
    /// # Errors
    /// [`DiscoveryError::Http`].
    pub fn new(url: &str) -> Result<Self, DiscoveryError> {
        let http = http::Client::new(Options::within(DEADLINE)).map_err(DiscoveryError::Http)?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned() })
    }

    /// Whether the server is well.
    ///
    /// # Errors
    /// [`DiscoveryError`] when it is not.
    pub async fn health(&self) -> Result<(), DiscoveryError> {
        self.exchange(self.http.get(&format!("{}/health", self.url)), ANSWER_BYTES).await.map(drop)
    }

    /// Has `advert` shown as that of `wallet`, for as long as the server shows one.
    ///
    /// # Errors
    /// [`DiscoveryError`].
    pub async fn advertise(&self, wallet: &Wallet, advert: &PostedAdvert) -> Result<(), DiscoveryError> {
        let url = format!("{}/api/v1/advertisements", self.url);
        let request = self.signed(Method::POST, &url, wallet, advert)?;
        self.exchange(request, ANSWER_BYTES).await.map(drop)
    }

    /// Has the advert of `wallet` shown no longer. That none was is no error.
    ///
    /// # Errors
    /// [`DiscoveryError`].
    pub async fn remove(&self, wallet: &Wallet, now: Timestamp) -> Result<(), DiscoveryError> {
        let id = wallet.address().to_string();
        let url = format!("{}/api/v1/advertisements/{id}", self.url);
        let wish = json!({ "remove": id, "timestamp": now.as_millisecond() });
        match self.exchange(self.signed(Method::DELETE, &url, wallet, &wish)?, ANSWER_BYTES).await {
            Ok(_) => Ok(()),
            Err(DiscoveryError::Refused { status, .. }) if status == StatusCode::NOT_FOUND => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The advert of `id`, if there is one.
    ///
    /// # Errors
    /// [`DiscoveryError`].
    pub async fn get(&self, id: &str) -> Result<Option<Listed>, DiscoveryError> {
        let request = self.http.get(&format!("{}/api/v1/advertisements/{id}", self.url));
        match self.exchange(request, ANSWER_BYTES).await {
            Ok(bytes) => {
                let listed: Listed = serde_json::from_slice(&bytes).map_err(|_| DiscoveryError::Nonsense)?;
                Ok(Some(listed.cleaned()))
            }
            Err(DiscoveryError::Refused { status, .. }) if status == StatusCode::NOT_FOUND => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the server shows to a renter with `filter`: its first page. Adverts that make no sense
    /// are left out.
    ///
    /// # Errors
    /// [`DiscoveryError`].
    pub async fn find(&self, filter: &Filter) -> Result<Vec<Listed>, DiscoveryError> {
        let numbers = [("cpu", filter.cpu), ("memory", filter.memory), ("storage", filter.storage)];
        let numbers = numbers.into_iter().filter_map(|(name, least)| Some((name, least?.to_string())));
        let texts = [("country", &filter.country), ("platform", &filter.platform)];
        let texts = texts.into_iter().filter_map(|(name, text)| Some((name, text.clone()?)));
        let wanted: Vec<_> = numbers.chain(texts).collect();
        let url = format!("{}/api/v1/advertisements", self.url);
        let url = Url::parse_with_params(&url, wanted).map_err(|_| DiscoveryError::Nonsense)?;
        let bytes = self.exchange(self.http.get(url.as_str()), LIST_BYTES).await?;
        let list: Vec<Value> = serde_json::from_slice(&bytes).map_err(|_| DiscoveryError::Nonsense)?;
        let listed = list.into_iter().filter_map(|advert| serde_json::from_value::<Listed>(advert).ok());
        Ok(listed.map(Listed::cleaned).collect())
    }

    fn signed(
        &self,
        method: Method,
        url: &str,
        wallet: &Wallet,
        body: &impl Serialize,
    ) -> Result<Request, DiscoveryError> {
        let body = serde_json::to_vec(body).map_err(|_| DiscoveryError::Unsigned)?;
        let signature = sign(wallet, &body).ok_or(DiscoveryError::Unsigned)?;
        Ok(self
            .http
            .request(method, url)
            .header("X-Provider-ID", wallet.address().to_string())
            .header("X-Provider-Signature", signature)
            .header(CONTENT_TYPE, "application/json")
            .body(body))
    }

    async fn exchange(&self, request: Request, most: usize) -> Result<Vec<u8>, DiscoveryError> {
        let answer = request.send(most).await.map_err(|error| match error {
            HttpError::TooLarge(_) => DiscoveryError::TooLarge,
            error => DiscoveryError::NoAnswer(error),
        })?;
        if answer.status.is_success() {
            return Ok(answer.bytes);
        }
        Err(DiscoveryError::Refused { status: answer.status.as_u16(), text: answer.beginning() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_shows_is_read_with_care() {
        let told = |pricing: Value| -> Listed {
            let told = json!({
                "provider_id": "0x1", "ip_address": "1.2.3.4", "country": "S\u{1b}E", "resources": { "cpu": 4 },
                "pricing": pricing, "updated_at": "2026-11-24T12:16:38.349726", "provider_name": "x".repeat(100),
            });
            serde_json::from_value::<Listed>(told).unwrap().cleaned()
        };
        let good = told(json!({
            "usd_per_core_month": 5, "usd_per_gb_ram_month": 2.0, "usd_per_gb_storage_month": 0.1,
            "glm_per_core_month": -1,
        }));
        assert_eq!(good.usd(), Some(AdvertPrices { core: 5.0, ram_gb: 2.0, storage_gb: 0.1 }));
        assert_eq!(good.glm(), None);
        assert_eq!((good.country.as_str(), good.provider_name.unwrap().len()), ("SE", SHOWN));
        assert_eq!(told(json!(null)).lapses(), Some("2026-11-24T12:21:38.349726Z".parse().unwrap()));
        assert_eq!(told(json!({ "usd_per_core_month": "5" })).usd(), None);
    }
}
