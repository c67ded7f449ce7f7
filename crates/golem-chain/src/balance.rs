//! What an address has.
//!
//! Owns the two questions, for the chain's own coin and for a token. Never holds a key.

use alloy_primitives::{Address, hex};
use ruint::aliases::U256;
use serde_json::{Value, json};

use crate::contract::token;
use crate::rpc::{ChainError, Rpc, wei};

/// As of which block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The newest.
    Latest,
    /// The one of this number.
    Block(u64),
}

impl At {
    fn tag(self) -> Value {
        match self {
            Self::Latest => "latest".into(),
            Self::Block(number) => format!("{number:#x}").into(),
        }
    }
}

/// The smallest units of `token` that `account` has; zero is the chain's own coin.
///
/// # Errors
/// [`ChainError`], also where there is no such token.
pub async fn balance(rpc: &Rpc, token: Address, account: Address, at: At) -> Result<U256, ChainError> {
    let question = if token.is_zero() {
        ("eth_getBalance", json!([hex::encode_prefixed(account), at.tag()]))
    } else {
        let data = hex::encode_prefixed(token::balance_of(account));
        ("eth_call", json!([{ "to": hex::encode_prefixed(token), "data": data }, at.tag()]))
    };
    let answers = rpc.calls(&[question]).await?;
    answers.first().and_then(wei).ok_or(ChainError::Nonsense("no balance"))
}
