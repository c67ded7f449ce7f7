//! What a live advert says, and the refusal of bad ones.
//!
//! Owns field names and bounds, which are the web client's: it shows only those with an https endpoint. Never decides
//! who may say it.

use std::net::{IpAddr, Ipv4Addr};

use golem_service::http::Url;
use golem_types::Resources;
use serde::{Deserialize, Serialize};

use crate::arkiv;
use crate::discovery::advert::{PLATFORM_BYTES, PRICE_MOST};
use crate::discovery::store::Filter;

/// Longest endpoint, in bytes.
const URL_BYTES: usize = 256;

/// Longest name of a host (RFC 1035), in bytes.
const HOST_BYTES: usize = 253;

/// An advert. Every field that is `None` is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveAdvert {
    /// Where the node is.
    pub ip_address: Ipv4Addr,
    /// Country in which it stands, as two letters in capitals.
    pub country: String,
    /// Its processor, `x86_64` or `arm64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// `https` or `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_protocol: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_port: Option<u16>,
    /// Where its API is; those without are hidden by the web client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
    /// What is free, at least one of each.
    pub resources: Resources,
    /// Prices for a month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pricing: Option<LivePrices>,
}

/// Prices for a month of 730 hours, in US dollars and in GLM.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LivePrices {
    pub usd_per_core_month: Option<f64>,
    pub usd_per_gb_ram_month: Option<f64>,
    pub usd_per_gb_storage_month: Option<f64>,
    pub glm_per_core_month: Option<f64>,
    pub glm_per_gb_ram_month: Option<f64>,
    pub glm_per_gb_storage_month: Option<f64>,
}

/// Why an advert is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the advert's {field} {problem}")]
pub struct BadAdvert {
    pub field: &'static str,
    pub problem: &'static str,
}

const fn bad(field: &'static str, problem: &'static str) -> BadAdvert {
    BadAdvert { field, problem }
}

/// Where renters reach a node's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    protocol: String,
    host: String,
    port: u16,
    url: String,
}

impl Endpoint {
    /// The endpoint `url`; `None` if it is no address of an HTTP server, or says who asks.
    #[must_use]
    pub fn of(url: &str) -> Option<Self> {
        let parsed = Url::parse(url).ok().filter(|_| url.len() <= URL_BYTES)?;
        let is_http = matches!(parsed.scheme(), "http" | "https");
        let tells_who = !parsed.username().is_empty() || parsed.password().is_some();
        if !is_http || tells_who || url.chars().any(|character| !character.is_ascii_graphic()) {
            return None;
        }
        Some(Self {
            protocol: parsed.scheme().to_owned(),
            host: parsed.host_str()?.to_owned(),
            port: parsed.port_or_known_default()?,
            url: url.to_owned(),
        })
    }
}

impl LivePrices {
    fn of(offer: &arkiv::Advert) -> Self {
        let (usd, glm) = (offer.usd, offer.glm);
        Self {
            usd_per_core_month: Some(usd.core),
            usd_per_gb_ram_month: Some(usd.ram_gb),
            usd_per_gb_storage_month: Some(usd.storage_gb),
            glm_per_core_month: Some(glm.core),
            glm_per_gb_ram_month: Some(glm.ram_gb),
            glm_per_gb_storage_month: Some(glm.storage_gb),
        }
    }

    fn all(self) -> [Option<f64>; 6] {
        [
            self.usd_per_core_month,
            self.usd_per_gb_ram_month,
            self.usd_per_gb_storage_month,
            self.glm_per_core_month,
            self.glm_per_gb_ram_month,
            self.glm_per_gb_storage_month,
        ]
    }
}

impl LiveAdvert {
    /// What a node with `offer`, whose API is at `endpoint`, says.
    ///
    /// # Errors
    /// When it cannot be said: the protocol has no IPv6, say.
    pub fn of(offer: &arkiv::Advert, endpoint: &Endpoint) -> Result<Self, BadAdvert> {
        let IpAddr::V4(ip_address) = offer.ip_address.to_canonical() else {
            return Err(bad("ip_address", "is none of IPv4, which is all that this kind of market knows"));
        };
        let advert = Self {
            ip_address,
            country: offer.country.clone(),
            platform: Some(offer.platform.clone()),
            endpoint_protocol: Some(endpoint.protocol.clone()),
            endpoint_host: Some(endpoint.host.clone()),
            endpoint_port: Some(endpoint.port),
            endpoint_url: Some(endpoint.url.clone()),
            resources: offer.free,
            pricing: Some(LivePrices::of(offer)),
        };
        advert.checked()
    }

    /// The advert, if every field is within its bounds.
    ///
    /// # Errors
    /// The first that is not.
    pub fn checked(mut self) -> Result<Self, BadAdvert> {
        let ip = self.ip_address;
        if ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() {
            return Err(bad("ip_address", "is none of one host"));
        }
        if self.country.len() != 2 || !self.country.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(bad("country", "has to be two letters (ISO 3166)"));
        }
        self.country.make_ascii_uppercase();
        let is_word = |text: &String, most| {
            !text.is_empty() && text.len() <= most && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if self.platform.as_ref().is_some_and(|platform| !is_word(platform, PLATFORM_BYTES)) {
            return Err(bad("platform", "has to be a word of at most 32 characters"));
        }
        self.endpoint()?;
        if self.endpoint_host.as_ref().is_some_and(|host| !is_word(host, HOST_BYTES)) {
            return Err(bad("endpoint_host", "is no name of a host"));
        }
        if self.endpoint_port == Some(0) {
            return Err(bad("endpoint_port", "has to be from 1 to 65535"));
        }
        if !Resources::new(1, 1, 1).fits(self.resources) {
            return Err(bad("resources", "have to be at least 1 each: cpu, memory, storage"));
        }
        let prices = self.pricing.unwrap_or_default().all();
        if prices.into_iter().flatten().any(|price| !(0.0..=PRICE_MOST).contains(&price)) {
            return Err(bad("pricing", "has to be of prices from 0 to 1e9"));
        }
        Ok(self)
    }

    /// What it says of its endpoint must be one thing.
    fn endpoint(&self) -> Result<(), BadAdvert> {
        if self
            .endpoint_protocol
            .as_ref()
            .is_some_and(|protocol| !matches!(protocol.as_str(), "http" | "https"))
        {
            return Err(bad("endpoint_protocol", "has to be https or http"));
        }
        let Some(url) = &self.endpoint_url else { return Ok(()) };
        let Some(endpoint) = Endpoint::of(url) else {
            return Err(bad("endpoint_url", "has to be an address that begins with https:// or http://"));
        };
        let differs = |told: &Option<String>, is: &str| told.as_ref().is_some_and(|told| told != is);
        if differs(&self.endpoint_protocol, &endpoint.protocol)
            || differs(&self.endpoint_host, &endpoint.host)
            || self.endpoint_port.is_some_and(|port| port != endpoint.port)
        {
            return Err(bad("endpoint_url", "is another than the other fields say"));
        }
        Ok(())
    }
}

impl Filter {
    /// Whether a renter who asks for this wants `advert`.
    #[must_use]
    pub fn wants(&self, advert: &LiveAdvert) -> bool {
        let least = [self.cpu, self.memory, self.storage].map(Option::unwrap_or_default);
        let [cpu, memory, storage] = least;
        let is = |wanted: &Option<String>, told: Option<&str>| {
            wanted.as_ref().is_none_or(|wanted| told.is_some_and(|told| told.eq_ignore_ascii_case(wanted)))
        };
        Resources::new(cpu, memory, storage).fits(advert.resources)
            && is(&self.country, Some(&advert.country))
            && is(&self.platform, advert.platform.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn good() -> Value {
        json!({
            "ip_address": "203.0.113.7", "country": "se", "platform": "x86_64", "endpoint_protocol": "https",
            "endpoint_host": "203.0.113.7", "endpoint_port": 443, "endpoint_url": "https://203.0.113.7",
            "resources": { "cpu": 4, "memory": 8, "storage": 100, "gpu": 1 }, "unknown": [1],
            "pricing": { "usd_per_core_month": 5, "usd_per_gb_ram_month": null, "glm_per_core_month": 25.5 },
        })
    }

    fn with(name: &str, value: Value) -> Result<LiveAdvert, String> {
        let mut advert = good();
        advert[name] = value;
        let read: LiveAdvert = serde_json::from_value(advert).map_err(|error| error.to_string())?;
        read.checked().map_err(|error| error.to_string())
    }

    #[test]
    fn an_advert_is_read_and_what_is_not_said_is_left_out() {
        let read = with("country", json!("se")).unwrap();
        assert_eq!((read.country.as_str(), read.resources), ("SE", Resources::new(4, 8, 100)));
        assert_eq!(read.pricing.unwrap().usd_per_core_month, Some(5.0));
        let least = json!({
            "ip_address": "203.0.113.7", "country": "SE", "resources": { "cpu": 1, "memory": 1, "storage": 1 },
        });
        let least_read: LiveAdvert = serde_json::from_value(least.clone()).unwrap();
        assert_eq!(serde_json::to_value(least_read.checked().unwrap()).unwrap(), least);
    }

    #[test]
    fn what_is_out_of_bounds_is_not_taken() {
        for (name, value) in [
            ("ip_address", json!("2001:db8::1")),
            ("ip_address", json!("0.0.0.0")),
            ("ip_address", json!("255.255.255.255")),
            ("ip_address", json!("224.0.0.1")),
            ("ip_address", json!("host.example")),
            ("ip_address", json!(null)),
            ("country", json!("S")),
            ("country", json!("SWE")),
            ("country", json!("S1")),
            ("country", json!("é")),
            ("country", json!(null)),
            ("platform", json!("x".repeat(33))),
            ("platform", json!("a\u{1b}")),
            ("endpoint_protocol", json!("ftp")),
            ("endpoint_protocol", json!("http")),
            ("endpoint_host", json!("elsewhere.example")),
            ("endpoint_port", json!(0)),
            ("endpoint_port", json!(65_536)),
            ("endpoint_port", json!(8443)),
            ("endpoint_url", json!("javascript:alert(1)")),
            ("endpoint_url", json!("https://user:pass@203.0.113.7")),
            ("endpoint_url", json!("https://203.0.113.7/\u{7}")),
            ("endpoint_url", json!(format!("https://203.0.113.7/{}", "x".repeat(256)))),
            ("resources", json!({ "cpu": 0, "memory": 8, "storage": 100 })),
            ("resources", json!({ "cpu": 1, "memory": -8, "storage": 100 })),
            ("resources", json!({ "cpu": 1, "memory": 8 })),
            ("resources", json!({ "cpu": 1.5, "memory": 8, "storage": 100 })),
            ("pricing", json!({ "usd_per_core_month": -1 })),
            ("pricing", json!({ "usd_per_core_month": 1e30 })),
            ("pricing", json!({ "usd_per_core_month": "5" })),
            ("pricing", json!(5)),
        ] {
            assert!(with(name, value.clone()).is_err(), "{name}: {value}");
        }
        for (name, value) in
            [("pricing", json!(null)), ("platform", json!(null)), ("endpoint_url", json!(null))]
        {
            assert!(with(name, value).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_filter_wants_what_is_large_enough_and_where_it_should_be() {
        let advert = with("country", json!("SE")).unwrap();
        let wants = |filter: Filter| filter.wants(&advert);
        assert!(wants(Filter::default()));
        assert!(wants(Filter { cpu: Some(4), memory: Some(8), storage: Some(100), ..Filter::default() }));
        assert!(wants(Filter {
            country: Some("se".into()),
            platform: Some("x86_64".into()),
            ..Filter::default()
        }));
        assert!(!wants(Filter { cpu: Some(5), ..Filter::default() }));
        assert!(!wants(Filter { storage: Some(101), ..Filter::default() }));
        assert!(!wants(Filter { country: Some("DE".into()), ..Filter::default() }));
        assert!(!wants(Filter { platform: Some("arm64".into()), ..Filter::default() }));
    }

    #[test]
    fn an_endpoint_of_an_address_without_a_port_has_its_schemes() {
        let endpoint = Endpoint::of("https://203.0.113.7").unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("203.0.113.7", 443));
        assert_eq!(Endpoint::of("http://203.0.113.7:7466").unwrap().port, 7466);
        assert_eq!(Endpoint::of("ws://203.0.113.7"), None);
    }
}
