//! Quotes of leases: a price that the node signs, so that a stream of contract version 4 can be opened with it.
//!
//! Owns their JSON. Never decides a price: the node does, and signs it.

use alloy_primitives::hex;
use axum::extract::{Request, State};
use golem_node::payment::SignedLease;
use golem_service::server::json::ok;
use golem_service::server::peer::Peer;
use golem_service::server::serve::body;
use golem_types::wire::bodies::LeaseBody;
use golem_types::wire::{Exact, LeaseQuoteInfo, Problems, parse_lease_request};
use ruint::aliases::U256;

use super::Shared;
use crate::error::ApiResult;

/// A lease that the node signs, with which a stream is opened.
///
/// It reserves nothing, and nothing is remembered of it, unless the operator wants that. For contracts of version 4.
#[utoipa::path(
    post, path = "/api/v1/payments/lease-quotes", tag = "Payments",
    request_body = LeaseBody,
    responses(
        (status = 200, body = LeaseQuoteInfo, description = "The lease"),
        (status = 400, description = "No leases are taken here, or not for this image, size or time"),
        (status = 422, body = Problems, description = "The body is invalid: every mistake in it, with its place"),
    ),
)]
pub(super) async fn quote(State(public): Shared, request: Request) -> ApiResult {
    let source = Peer::source_of(&request);
    let request = parse_lease_request(&body(request).await?)?;
    Ok(ok(&info(&public.node.lease(&request, source).await?)))
}

fn info(lease: &SignedLease) -> LeaseQuoteInfo {
    let SignedLease { place, token, quote, duration, signature, reserved } = lease;
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
        reserved_until: reserved.then_some(quote.expires_at),
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, B256};
    use golem_chain::{LeaseQuote, Place};

    use super::*;

    #[test]
    fn what_is_kept_is_told_and_older_clients_see_nothing_of_it() {
        let quote = LeaseQuote {
            recipient: Address::ZERO,
            deposit: U256::from(2_u64.pow(60)),
            rate: 1,
            lease_id: B256::ZERO,
            terms_hash: B256::ZERO,
            expires_at: 1_800_000_900,
        };
        let place = Place { chain_id: 1, contract: Address::ZERO };
        let of = |reserved| SignedLease {
            place,
            token: Address::ZERO,
            quote,
            duration: 600,
            signature: [0; 65],
            reserved,
        };
        let json = |reserved| serde_json::to_value(info(&of(reserved))).unwrap();
        assert_eq!(json(true)["reserved_until"], 1_800_000_900);
        assert_eq!(json(false).get("reserved_until"), None);
    }
}
