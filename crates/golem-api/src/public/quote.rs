//! Quotes: a promise of the price that is asked now.
//!
//! Owns their JSON. Never decides a price: the node does, and signs it.

use alloy_primitives::hex;
use axum::extract::{Request, State};
use golem_chain::SignedQuote;
use golem_chain::network::PaymentNetwork;
use golem_node::NodeError;
use golem_node::vm::Refusal;
use golem_service::server::json::ok;
use golem_service::server::serve::body;
use golem_types::wire::bodies::SizeBody;
use golem_types::wire::{Exact, Problems, QuoteInfo, parse_resources};
use golem_types::{Decimal, Resources};
use jiff::Timestamp;
use ruint::aliases::U256;

use super::{Public, Shared};
use crate::error::ApiResult;

/// Seconds of the month that prices are shown for: 730 hours.
const MONTH_SECONDS: u64 = 730 * 3600;

/// What a VM of a size costs, as a promise that the node signs.
///
/// It reserves nothing, and nothing is remembered of it. For contracts up to version 3.
#[utoipa::path(
    post, path = "/api/v1/quotes", tag = "Payments",
    request_body = SizeBody,
    responses(
        (status = 200, body = QuoteInfo, description = "The price and the promise"),
        (status = 400, description = "Leases are what pays here: ask for one of those, or the price is too small for the token"),
        (status = 422, body = Problems, description = "The body is invalid: every mistake in it, with its place"),
    ),
)]
pub(super) async fn quote(State(public): Shared, request: Request) -> ApiResult {
    let resources = parse_resources(&body(request).await?)?;
    let contracts = public.node.contracts();
    let payments = contracts.without_leases();
    if payments.is_none() && !contracts.offered().is_empty() {
        // It is not free, either.
        return Err(NodeError::from(Refusal::LeaseRequired).into());
    }
    let signed = payments.map(|payments| payments.quote(resources, Timestamp::now())).transpose()?;
    Ok(ok(&info(&public, resources, signed.as_ref())))
}

/// What a renter is told: `signed`, or that nothing is asked.
fn info(public: &Public, resources: Resources, signed: Option<&SignedQuote>) -> QuoteInfo {
    let rate = U256::from(signed.map_or(0, |signed| signed.quote.rate));
    let month = rate.saturating_mul(U256::from(MONTH_SECONDS));
    let usd = public.prices.as_ref().map(|prices| prices.borrow().usd.of(resources));
    let payments = public.payments.as_ref().filter(|_| signed.is_some());
    QuoteInfo {
        quote_id: signed.map(SignedQuote::id),
        provider_id: public.provider.provider_id.clone(),
        resources,
        free: signed.is_none(),
        rate_wei_per_second: Exact(rate),
        price_per_month: Decimal::from_units(month, payments.map_or(18, PaymentNetwork::decimals))
            .to_string(),
        symbol: payments.map(|profile| profile.symbol().to_owned()),
        usd_per_month: usd.filter(|_| signed.is_some()).map(|usd| usd.to_string()),
        chain_id: payments.map(|profile| profile.network.chain_id),
        stream_payment_address: payments.map(|profile| profile.contract.to_string()),
        glm_token_address: payments.map(|profile| profile.token.to_string()),
        expires_at: signed.map(|signed| signed.quote.expires_at),
        nonce: signed.map(|signed| hex::encode_prefixed(signed.quote.nonce)),
        signature: signed.map(|signed| hex::encode_prefixed(signed.signature)),
    }
}
