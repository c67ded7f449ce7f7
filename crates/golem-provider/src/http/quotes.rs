//! Quotes as renters read them.
//!
//! Owns their JSON. Never decides a price: the node does, and signs it.

use alloy_primitives::hex;
use golem_chain::SignedQuote;
use golem_chain::network::PaymentNetwork;
use golem_node::pricing::PriceList;
use golem_types::wire::{Exact, QuoteInfo};
use golem_types::{Decimal, Resources};
use ruint::aliases::U256;
use tokio::sync::watch;

use super::HttpConfig;

/// Seconds of the month that prices are shown for: 730 hours.
const MONTH_SECONDS: u64 = 730 * 3600;

/// What quotes tell beside what is signed.
pub(super) struct Quotes {
    provider_id: String,
    payments: Option<PaymentNetwork>,
    prices: Option<watch::Receiver<PriceList>>,
}

impl Quotes {
    pub(super) fn of(config: &HttpConfig) -> Self {
        Self {
            provider_id: config.provider_id.clone(),
            payments: config.payments.clone(),
            prices: config.prices.clone(),
        }
    }

    /// What a renter is told: `signed`, or that nothing is asked.
    pub(super) fn info(&self, resources: Resources, signed: Option<&SignedQuote>) -> QuoteInfo {
        let rate = U256::from(signed.map_or(0, |signed| signed.quote.rate));
        let month = rate.saturating_mul(U256::from(MONTH_SECONDS));
        let usd = self.prices.as_ref().map(|prices| prices.borrow().usd.month().of(resources));
        let payments = self.payments.as_ref().filter(|_| signed.is_some());
        QuoteInfo {
            quote_id: signed.map(SignedQuote::id),
            provider_id: self.provider_id.clone(),
            resources,
            free: signed.is_none(),
            rate_wei_per_second: Exact(rate),
            price_per_month: Decimal::from_atto(month).to_string(),
            symbol: payments.map(|profile| profile.symbol().to_owned()),
            usd_per_month: usd.filter(|_| signed.is_some()).map(|usd| Decimal::from_atto(usd).to_string()),
            chain_id: payments.map(|profile| profile.network.chain_id),
            stream_payment_address: payments.map(|profile| profile.contract.to_string()),
            glm_token_address: payments.map(|profile| profile.token.to_string()),
            expires_at: signed.map(|signed| signed.quote.expires_at),
            nonce: signed.map(|signed| hex::encode_prefixed(signed.quote.nonce)),
            signature: signed.map(|signed| hex::encode_prefixed(signed.signature)),
        }
    }
}
