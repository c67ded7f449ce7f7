//! Quotes of leases: a price that the node signs, so that a stream of contract version 4 can be opened with it.
//!
//! Owns their JSON. Never decides a price: the node does, and signs it.

use alloy_primitives::hex;
use axum::extract::{Request, State};
use golem_node::payment::SignedLease;
use golem_service::server::json::ok;
use golem_service::server::serve::body;
use golem_types::wire::{Exact, LeaseQuoteInfo, parse_lease_request};
use ruint::aliases::U256;

use super::Shared;
use crate::error::ApiResult;

/// It reserves nothing, and nothing is remembered of it.
pub(super) async fn quote(State(public): Shared, request: Request) -> ApiResult {
    let request = parse_lease_request(&body(request).await?)?;
    Ok(ok(&info(&public.node.lease(&request).await?)))
}

fn info(lease: &SignedLease) -> LeaseQuoteInfo {
    let SignedLease { place, token, quote, duration, signature } = lease;
    LeaseQuoteInfo {
        provider_address: quote.recipient.to_string(),
        chain_id: place.chain_id,
        contract_address: place.contract.to_string(),
        glm_token_address: token.to_string(),
        lease_id: format!("{:#x}", quote.lease_id),
        terms_hash: format!("{:#x}", quote.terms_hash),
        provider_rate_per_second_wei: Exact(U256::from(quote.rate)),
        provider_deposit_wei: Exact(quote.deposit),
        min_runway_seconds: *duration,
        quote_expires_at: quote.expires_at,
        signature: hex::encode_prefixed(signature),
    }
}
