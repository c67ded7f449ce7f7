//! What a token says of itself.
//!
//! Owns the questions how many digits it has after the point and what it is called, and how a token is asked for a number. Never decides what an answer means for a rental.

use alloy_primitives::{Address, Bytes};
use ruint::aliases::U256;
use serde_json::json;

use crate::contract::{self, WrongContract};
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

/// What the token at `address` calls itself; `None` if it does not say that in a way that is known.
///
/// # Errors
/// [`ChainError`]; [`ChainError::Contract`] where there is no code.
pub(crate) async fn symbol(rpc: &Rpc, address: Address) -> Result<Option<String>, ChainError> {
    let call = json!([{ "to": address, "data": Bytes::from(contract::token::symbol()) }, "latest"]);
    let code = rpc.calls(&[("eth_getCode", json!([address, "latest"]))]).await?;
    if code.first().and_then(data).is_none_or(|code| code.is_empty()) {
        return Err(WrongContract::Nothing.into());
    }
    match rpc.calls(&[("eth_call", call)]).await {
        Ok(answers) => {
            Ok(answers.first().and_then(data).and_then(|answer| contract::token::symbol_of(&answer)))
        }
        // It knows no such function.
        Err(ChainError::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
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

#[cfg(test)]
mod tests {
    use crate::contract::token::symbol_of;

    #[test]
    fn a_symbol_is_a_text_or_bytes_and_nothing_that_moves_a_terminal() {
        let word = |number: u8| [vec![0; 31], vec![number]].concat();
        let padded = |text: &[u8]| [text, &vec![0; 32 - text.len()]].concat();
        let text = |text: &[u8]| [word(32), word(u8::try_from(text.len()).unwrap()), padded(text)].concat();
        for (answer, symbol) in [
            (text(b"GLM"), Some("GLM")),
            (padded(b"MKR"), Some("MKR")),
            (text(b"\x1b[31mGLM\n"), Some("[31mGLM")),
            (text(b""), None),
            (padded(b""), None),
            (Vec::new(), None),
            (vec![1; 31], None),
        ] {
            assert_eq!(symbol_of(&answer).as_deref(), symbol, "{answer:?}");
        }
    }
}
