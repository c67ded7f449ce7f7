//! What VMs cost, as the operator reads it.
//!
//! Owns the JSON. Never changes anything.

use golem_node::pricing::PriceList;
use golem_types::price::{MonthlyPrice, Rate};
use golem_types::wire::Exact;
use golem_types::{Resources, Size};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PricingView {
    /// In US dollars.
    pub usd: UnitPrices,
    /// In GLM; `None` while no rate is known.
    pub glm: Option<UnitPrices>,
    /// US dollars for a GLM.
    pub glm_usd: Option<String>,
    /// US dollars for a coin of the chain's own money.
    pub coin_usd: Option<String>,
    /// US dollars for a coin of the streams' token, where that is not GLM.
    pub token_usd: Option<String>,
    /// What streams have to pay, in their money; `None` while no price is known in it.
    pub streams: Option<UnitPrices>,
    /// When the feed last said so.
    pub rates_at: Option<Timestamp>,
    /// What usual sizes cost.
    pub examples: Vec<PriceExample>,
}

impl PricingView {
    /// What `prices` are.
    #[must_use]
    pub fn of(prices: &PriceList) -> Self {
        let rate = |rate: Option<Rate>| rate.map(|rate| rate.usd.to_string());
        Self {
            usd: UnitPrices::of(prices.usd),
            glm: (!prices.glm.is_zero()).then(|| UnitPrices::of(prices.glm)),
            glm_usd: rate(prices.rates.glm),
            coin_usd: rate(prices.rates.coin),
            token_usd: rate(prices.rates.token),
            streams: prices.of_streams.map(|prices| UnitPrices::of(prices.month)),
            rates_at: prices.rates.glm.map(|rate| rate.at),
            examples: Size::ALL
                .into_iter()
                .map(|size| PriceExample::of(prices, size.as_str(), size.resources()))
                .collect(),
        }
    }
}

/// What is asked for a month, as decimal text.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UnitPrices {
    /// For a CPU.
    pub per_core: String,
    /// For a GiB of memory.
    pub per_gb_ram: String,
    /// For a GiB of storage.
    pub per_gb_storage: String,
}

impl UnitPrices {
    fn of(asked: MonthlyPrice) -> Self {
        Self {
            per_core: asked.core.to_string(),
            per_gb_ram: asked.memory.to_string(),
            per_gb_storage: asked.storage.to_string(),
        }
    }
}

/// What a VM of some size costs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PriceExample {
    /// What the size is called.
    pub size: String,
    /// The size.
    pub resources: Resources,
    /// US dollars for a month.
    pub usd_month: String,
    /// GLM for a month; `None` while no rate is known.
    pub glm_month: Option<String>,
    /// What existing clients send, in wei a second.
    pub rate_wei_per_second: Option<Exact>,
}

impl PriceExample {
    /// What a VM of `resources` costs at `prices`.
    #[must_use]
    pub fn of(prices: &PriceList, size: &str, resources: Resources) -> Self {
        let glm = (!prices.glm.is_zero()).then_some(prices.glm);
        Self {
            size: size.to_owned(),
            resources,
            usd_month: prices.usd.of(resources).to_string(),
            glm_month: glm.map(|glm| glm.of(resources).to_string()),
            rate_wei_per_second: glm.map(|glm| glm.client_rate(resources).into()),
        }
    }
}
