//! The node's advert, with the original's annotations to the letter.
//!
//! Owns their names, their order and their spelling: requestors filter on them. Never decides what
//! is offered.

use std::net::IpAddr;

use alloy_primitives::Address;
use golem_types::Resources;

use super::Annotations;
use super::price::python_float;

/// Longest text of an annotation, in bytes: generation 4's limit, taken for both, so that an
/// advert can move.
pub const TEXT_MAXIMUM: usize = 128;

/// Names of the annotations that are asked for elsewhere.
pub(super) mod names {
    pub(crate) const TYPE: &str = "golem_type";
    pub(crate) const NETWORK: &str = "golem_network";
    pub(crate) const PAYMENTS_NETWORK: &str = "golem_payments_network";
    pub(crate) const PROVIDER_ID: &str = "golem_provider_id";
    pub(crate) const IP_ADDRESS: &str = "golem_ip_address";
    pub(crate) const COUNTRY: &str = "golem_country";
    pub(crate) const PROVIDER_NAME: &str = "golem_provider_name";
    pub(crate) const PLATFORM: &str = "golem_platform";
    pub(crate) const CPU: &str = "golem_cpu";
    pub(crate) const MEMORY: &str = "golem_memory";
    pub(crate) const STORAGE: &str = "golem_storage";
    /// Names of the prices of a core, of a GiB of memory and of a GiB of storage.
    pub(crate) const USD: [&str; 3] =
        ["golem_price_usd_core_month", "golem_price_usd_ram_gb_month", "golem_price_usd_storage_gb_month"];
    /// The same in GLM.
    pub(crate) const GLM: [&str; 3] =
        ["golem_price_glm_core_month", "golem_price_glm_ram_gb_month", "golem_price_glm_storage_gb_month"];
}

/// Prices for a month of 730 hours, in one currency.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct AdvertPrices {
    /// Of a core.
    pub core: f64,
    /// Of a GiB of memory.
    pub ram_gb: f64,
    /// Of a GiB of storage.
    pub storage_gb: f64,
}

impl AdvertPrices {
    const fn all(self) -> [f64; 3] {
        [self.core, self.ram_gb, self.storage_gb]
    }
}

/// What a node offers.
#[derive(Debug, Clone, PartialEq)]
pub struct Advert {
    /// The node's address, written with its checksum: requestors compare case-sensitively.
    pub provider_id: Address,
    /// Where its API and its VMs are reached.
    pub ip_address: IpAddr,
    /// Country in which it stands.
    pub country: String,
    /// What it calls itself.
    pub name: String,
    /// Its processor; see [`platform`].
    pub platform: String,
    /// The market: `development`, `testnet` or `mainnet`.
    pub network: String,
    /// Where it is paid, such as `l2.holesky`.
    pub payments_network: String,
    /// Prices in US dollars.
    pub usd: AdvertPrices,
    /// Prices in GLM; 0 while no rate is known.
    pub glm: AdvertPrices,
    /// What is free to rent.
    pub free: Resources,
}

/// Why an advert cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdvertError {
    /// A price that is none.
    #[error("{name} would be {value}; a price is a number of at least 0")]
    Price {
        /// The annotation.
        name: &'static str,
        /// The price.
        value: String,
    },
    /// A text that does not fit.
    #[error("{name} has {length} bytes; at most {TEXT_MAXIMUM} fit into an advert")]
    Text {
        /// The annotation.
        name: String,
        /// Its length in bytes.
        length: usize,
    },
}

/// How the original calls the processor `machine`.
#[must_use]
pub fn platform(machine: &str) -> String {
    let machine = machine.to_lowercase();
    match machine.as_str() {
        "x86_64" | "amd64" | "x64" => "x86_64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        arm if arm.starts_with("arm") => "arm64".to_owned(),
        _ => machine,
    }
}

impl Advert {
    /// The advert as an entity says it.
    ///
    /// # Errors
    /// [`AdvertError`].
    pub fn annotations(&self) -> Result<Annotations, AdvertError> {
        let mut strings: Vec<(String, String)> = [
            (names::TYPE, "provider"),
            (names::NETWORK, &self.network),
            (names::PAYMENTS_NETWORK, &self.payments_network),
            (names::PROVIDER_ID, &self.provider_id.to_checksum(None)),
            (names::IP_ADDRESS, &self.ip_address.to_string()),
            (names::COUNTRY, &self.country),
            (names::PROVIDER_NAME, &self.name),
            (names::PLATFORM, &self.platform),
            ("golem_price_currency", "USD/GLM"),
        ]
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .into();
        let prices = names::USD.into_iter().zip(self.usd.all());
        for (name, price) in prices.chain(names::GLM.into_iter().zip(self.glm.all())) {
            if !price.is_finite() || price < 0.0 {
                return Err(AdvertError::Price { name, value: python_float(price) });
            }
            strings.push((name.to_owned(), python_float(price)));
        }
        if let Some((name, text)) = strings.iter().find(|(_, text)| text.len() > TEXT_MAXIMUM) {
            return Err(AdvertError::Text { name: name.clone(), length: text.len() });
        }
        let numbers = [
            (names::CPU, self.free.cpu),
            (names::MEMORY, self.free.memory),
            (names::STORAGE, self.free.storage),
        ]
        .map(|(name, number)| (name.to_owned(), u64::from(number)))
        .into();
        Ok(Annotations { strings, numbers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advert() -> Advert {
        Advert {
            provider_id: Address::repeat_byte(1),
            ip_address: "203.0.113.7".parse().unwrap(),
            country: "SE".to_owned(),
            name: "golem-provider".to_owned(),
            platform: platform("x86_64"),
            network: "testnet".to_owned(),
            payments_network: "l2.holesky".to_owned(),
            usd: AdvertPrices { core: 5.0, ram_gb: 2.0, storage_gb: 0.1 },
            glm: AdvertPrices::default(),
            free: Resources::new(4, 16, 100),
        }
    }

    #[test]
    fn a_price_that_is_none_and_a_text_that_does_not_fit_are_refused() {
        for price in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -f64::MIN_POSITIVE] {
            let advert = Advert { glm: AdvertPrices { core: price, ..AdvertPrices::default() }, ..advert() };
            assert!(matches!(advert.annotations(), Err(AdvertError::Price { .. })), "{price}");
        }
        let long = Advert { name: "ä".repeat(65), ..advert() };
        let refusal = long.annotations().unwrap_err();
        assert_eq!(refusal.to_string(), "golem_provider_name has 130 bytes; at most 128 fit into an advert");
        assert!(Advert { name: "ä".repeat(64), ..advert() }.annotations().is_ok());
    }

    #[test]
    fn processors_have_the_originals_names() {
        for (machine, name) in [
            ("x86_64", "x86_64"),
            ("AMD64", "x86_64"),
            ("aarch64", "arm64"),
            ("armv7l", "arm64"),
            ("riscv64", "riscv64"),
            ("", ""),
        ] {
            assert_eq!(platform(machine), name);
        }
    }
}
