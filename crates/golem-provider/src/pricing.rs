//! What the settings say of prices.
//!
//! Owns the way from settings to [`PricingConfig`]. Never decides a price: [`golem_node::pricing`] does.

use golem_chain::network::PaymentNetwork;
use golem_node::pricing::{PricedNetwork, PricingConfig};
use golem_types::price::MonthlyPrice;

use golem_host::settings::PriceSettings;

/// What decides prices, where rentals are paid as `payments` says.
#[must_use]
pub fn config(settings: &PriceSettings, payments: Option<&PaymentNetwork>) -> PricingConfig {
    PricingConfig {
        usd: MonthlyPrice {
            core: settings.price_usd_core.0,
            memory: settings.price_usd_memory.0,
            storage: settings.price_usd_storage.0,
        },
        glm: MonthlyPrice {
            core: settings.price_glm_core.0,
            memory: settings.price_glm_memory.0,
            storage: settings.price_glm_storage.0,
        },
        follow: settings.pricing_update_enabled,
        threshold: u32::from(settings.pricing_min_delta.0) * 100,
        interval: settings.pricing_interval,
        feed_urls: settings.coingecko_api_url.0.clone(),
        glm_ids: settings.coingecko_ids.split(',').map(|id| id.trim().to_owned()).collect(),
        network: payments.map(PricedNetwork::of),
    }
}
