//! The market as requestors see it: their query, the offers it finds, and where a price stands.
//!
//! Owns reading others' adverts, of which every byte is untrusted. Never decides what is charged.

use alloy_primitives::B256;
use golem_types::visible::line_of;

use super::advert::names;
use super::{AdvertPrices, Annotations, Entity, Generation};

/// What a requestor filters by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// The market; `None`: any.
    pub network: Option<String>,
    /// Where providers are paid; `None`: anywhere.
    pub payments_network: Option<String>,
    /// Least free cores.
    pub cpu: Option<u32>,
    /// Least free memory in GiB.
    pub memory: Option<u32>,
    /// Least free storage in GiB.
    pub storage: Option<u32>,
    /// Country.
    pub country: Option<String>,
    /// Processor.
    pub platform: Option<String>,
}

/// Whether `text` can stand in a query as it is. Quotes and escapes differ between networks, and
/// no name of a network, a country or a processor needs them.
fn is_plain(text: &str) -> bool {
    text.len() <= super::advert::TEXT_MAXIMUM
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-: ".contains(c))
}

impl Filter {
    /// The query that the original requestor asks; `None` if a text cannot stand in one.
    #[must_use]
    pub fn query(&self, generation: Generation) -> Option<String> {
        let texts = [
            (names::TYPE, Some("provider")),
            (names::NETWORK, self.network.as_deref()),
            (names::PAYMENTS_NETWORK, self.payments_network.as_deref()),
        ];
        let numbers = [(names::CPU, self.cpu), (names::MEMORY, self.memory), (names::STORAGE, self.storage)];
        let more = [(names::COUNTRY, self.country.as_deref()), (names::PLATFORM, self.platform.as_deref())];
        let text = |(name, text): (&str, Option<&str>)| text.map(|text| (name.to_owned(), text.to_owned()));
        let texts: Vec<_> = texts.into_iter().filter_map(text).collect();
        let more: Vec<_> = more.into_iter().filter_map(text).collect();
        if texts.iter().chain(&more).any(|(_, text)| !is_plain(text)) {
            return None;
        }
        let equal = |(name, text): &(String, String)| match generation {
            Generation::GolemBase => format!("{name}=\"{text}\""),
            Generation::Tiramisu => format!("{name} = str('{text}')"),
        };
        let at_least = |(name, number): (&str, Option<u32>)| {
            number.map(|number| match generation {
                Generation::GolemBase => format!("{name}>={number}"),
                Generation::Tiramisu => format!("{name} >= u64({number})"),
            })
        };
        let conditions: Vec<String> = texts
            .iter()
            .map(equal)
            .chain(numbers.into_iter().filter_map(at_least))
            .chain(more.iter().map(equal))
            .collect();
        Some(conditions.join(match generation {
            Generation::GolemBase => " && ",
            Generation::Tiramisu => " AND ",
        }))
    }
}

/// What another provider offers, as far as its advert says so.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundAdvert {
    /// The entity.
    pub key: B256,
    /// The id that the advert gives; anyone can write any.
    pub provider_id: String,
    /// Name.
    pub name: String,
    /// Where it says that it is.
    pub ip_address: String,
    /// Country.
    pub country: String,
    /// Processor.
    pub platform: String,
    /// Free cores.
    pub cpu: u64,
    /// Free memory in GiB.
    pub memory: u64,
    /// Free storage in GiB.
    pub storage: u64,
    /// Prices in US dollars; `None` if one of them is no price.
    pub usd: Option<AdvertPrices>,
    /// Prices in GLM; `None` if one of them is no price.
    pub glm: Option<AdvertPrices>,
    /// The block in which it ends.
    pub expires_at: u64,
}

/// Longest piece of others' text that is kept, in characters.
const SHOWN: usize = 64;

fn prices(annotations: &Annotations, names: [&str; 3]) -> Option<AdvertPrices> {
    let price = |name: &str| -> Option<f64> {
        let price: f64 = annotations.string(name)?.parse().ok()?;
        (price.is_finite() && price >= 0.0).then_some(price)
    };
    let [core, ram_gb, storage_gb] = names;
    Some(AdvertPrices { core: price(core)?, ram_gb: price(ram_gb)?, storage_gb: price(storage_gb)? })
}

impl FoundAdvert {
    /// The offer in `entity`; `None` if it is not one.
    #[must_use]
    pub fn of(entity: &Entity) -> Option<Self> {
        let annotations = &entity.annotations;
        let text = |name: &str| -> String {
            let text = annotations.string(name).unwrap_or_default();
            line_of(text, SHOWN)
        };
        if annotations.string(names::TYPE) != Some("provider") {
            return None;
        }
        Some(Self {
            key: entity.key,
            provider_id: text(names::PROVIDER_ID),
            name: text(names::PROVIDER_NAME),
            ip_address: text(names::IP_ADDRESS),
            country: text(names::COUNTRY),
            platform: text(names::PLATFORM),
            cpu: annotations.number(names::CPU)?,
            memory: annotations.number(names::MEMORY)?,
            storage: annotations.number(names::STORAGE)?,
            usd: prices(annotations, names::USD),
            glm: prices(annotations, names::GLM),
            expires_at: entity.expires_at,
        })
    }
}

/// What a month of such a VM costs at `prices`.
#[must_use]
pub fn month(prices: AdvertPrices, cpu: u32, memory: u32, storage: u32) -> f64 {
    prices
        .storage_gb
        .mul_add(f64::from(storage), prices.core.mul_add(f64::from(cpu), prices.ram_gb * f64::from(memory)))
}

/// How many percent of `others` ask for less than `own`; `None` without others.
#[must_use]
pub fn cheaper_percent(own: f64, others: &[f64]) -> Option<u8> {
    let cheaper = others.iter().filter(|other| **other < own).count();
    u8::try_from((cheaper * 100).checked_div(others.len())?).ok()
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Address;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_query_is_the_original_requestors() {
        let filter = Filter {
            network: Some("testnet".to_owned()),
            payments_network: Some("l2.holesky".to_owned()),
            cpu: Some(2),
            memory: Some(4),
            storage: Some(20),
            country: Some("SE".to_owned()),
            platform: Some("x86_64".to_owned()),
        };
        // S-118, S-215
        assert_eq!(
            filter.query(Generation::GolemBase).unwrap(),
            "golem_type=\"provider\" && golem_network=\"testnet\" && golem_payments_network=\"l2.holesky\" \
             && golem_cpu>=2 && golem_memory>=4 && golem_storage>=20 \
             && golem_country=\"SE\" && golem_platform=\"x86_64\""
        );
        let short = Filter { network: Some("testnet".to_owned()), cpu: Some(2), ..Filter::default() };
        assert_eq!(
            short.query(Generation::Tiramisu).unwrap(),
            "golem_type = str('provider') AND golem_network = str('testnet') AND golem_cpu >= u64(2)"
        );
        for bad in ["a\"b", "a'b", "a\\", "a\nb", "é"] {
            let filter = Filter { country: Some(bad.to_owned()), ..Filter::default() };
            assert_eq!(filter.query(Generation::GolemBase), None, "{bad:?}");
        }
    }

    #[test]
    fn a_price_stands_among_those_of_others() {
        assert_eq!(cheaper_percent(5.0, &[]), None);
        assert_eq!(cheaper_percent(5.0, &[5.0, 6.0]), Some(0));
        assert_eq!(cheaper_percent(5.0, &[1.0, 2.0, 5.0, 9.0]), Some(50));
        assert_eq!(cheaper_percent(f64::MAX, &[1.0]), Some(100));
        let prices = AdvertPrices { core: 5.0, ram_gb: 2.0, storage_gb: 0.5 };
        assert!((month(prices, 2, 4, 20) - 28.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn no_advert_of_another_makes_a_panic(
            strings in proptest::collection::vec(("golem_[a-z_]{0,30}", "\\PC{0,100}"), 0..20),
            numbers in proptest::collection::vec(("golem_(cpu|memory|storage)", any::<u64>()), 0..6),
        ) {
            let mut annotations = Annotations { strings, numbers };
            annotations.strings.push((names::TYPE.to_owned(), "provider".to_owned()));
            let entity = Entity { key: B256::ZERO, owner: Address::ZERO, expires_at: 1, annotations };
            if let Some(offer) = FoundAdvert::of(&entity) {
                prop_assert!(offer.name.chars().count() <= SHOWN);
            }
        }
    }
}
