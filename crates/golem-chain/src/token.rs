//! What a token says of itself.
//!
//! Owns the question how many digits it has after the point. Never decides what an answer means for a rental.

use alloy_primitives::{Address, Bytes};
use ruint::aliases::U256;
use serde_json::json;

use crate::contract;
use crate::rpc::{ChainError, Rpc, data};

/// Digits after the point of the token at `address`.
///
/// # Errors
/// [`ChainError`], also where nothing at the address answers with such a number.
pub async fn decimals(rpc: &Rpc, address: Address) -> Result<u8, ChainError> {
    let question = Bytes::from(contract::token::decimals());
    let call = json!([{ "to": address, "data": question }, "latest"]);
    let answers = rpc.calls(&[("eth_call", call)]).await?;
    answers
        .first()
        .and_then(data)
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
        .and_then(|bytes| u8::try_from(U256::from_be_bytes(bytes)).ok())
        .ok_or(ChainError::Nonsense("the token does not say how many digits it has after the point"))
}
