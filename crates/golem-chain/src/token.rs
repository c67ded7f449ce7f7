//! What a token says of itself.
//!
//! Owns the question how many digits it has after the point, and how a token is asked for a number. Never decides what an answer means for a rental.

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
    let digits = ask(rpc, address, contract::token::decimals()).await?;
    digits
        .and_then(|digits| u8::try_from(digits).ok())
        .ok_or(ChainError::Nonsense("the token does not say how many digits it has after the point"))
}

/// The number that the token at `address` answers `question` with; `None` if it answers something else.
///
/// # Errors
/// [`ChainError`].
pub(crate) async fn ask(rpc: &Rpc, address: Address, question: Vec<u8>) -> Result<Option<U256>, ChainError> {
    let call = json!([{ "to": address, "data": Bytes::from(question) }, "latest"]);
    let answers = rpc.calls(&[("eth_call", call)]).await?;
    let word = answers.first().and_then(data).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    Ok(word.map(U256::from_be_bytes))
}
