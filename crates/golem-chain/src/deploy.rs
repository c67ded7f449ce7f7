//! Putting the payment contract of this repository on a chain.
//!
//! Owns its code, as `contracts/artifacts` has it, and the profile that names it. Never decides to pay for it.

use alloy_primitives::{Address, Bytes, hex};
use ruint::aliases::U256;
use serde::Deserialize;
use serde_json::json;

use crate::contract::Version;
use crate::network::Network;
use crate::rpc::{ChainError, Rpc, quantity};
use crate::sender::{Plan, SendError, Sender};
use crate::token;

/// What `npm run build` makes of the sources.
const V1: &str = include_str!("../../../contracts/artifacts/StreamPayment.json");
const V4: &str = include_str!("../../../contracts/artifacts/StreamPaymentV4.json");

/// Chain ids of developers' own chains, whose clocks are moved at will: anvil and hardhat, ganache.
const LOCAL: [u64; 2] = [31_337, 1337];

/// A payment contract that can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewContract {
    /// Of version 1.
    V1 {
        /// Who may freeze a stream.
        oracle: Address,
    },
    /// Of version 4.
    V4 {
        /// In what its streams are paid.
        token: Address,
        /// Who gets the donations.
        donation_recipient: Address,
    },
}

/// Why it cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The transaction cannot be planned.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The token cannot be asked.
    #[error("the token {0} does not answer as one")]
    Token(Address, #[source] ChainError),
    /// The file that ships is not one.
    #[error("the contract's code that ships is damaged")]
    Artifact,
}

#[derive(Deserialize)]
struct Artifact {
    bytecode: String,
}

fn word(address: Address) -> [u8; 32] {
    address.into_word().0
}

impl NewContract {
    /// Its version.
    #[must_use]
    pub const fn version(&self) -> Version {
        match self {
            Self::V1 { .. } => Version::V1,
            Self::V4 { .. } => Version::V4,
        }
    }

    /// What makes it, as a transaction's data.
    fn code(&self) -> Result<Bytes, DeployError> {
        let (artifact, arguments) = match *self {
            Self::V1 { oracle } => (V1, vec![word(oracle)]),
            Self::V4 { token, donation_recipient } => (V4, vec![word(token), word(donation_recipient)]),
        };
        let artifact: Artifact = serde_json::from_str(artifact).map_err(|_| DeployError::Artifact)?;
        let mut data = hex::decode(artifact.bytecode).map_err(|_| DeployError::Artifact)?;
        data.extend(arguments.concat());
        Ok(data.into())
    }

    /// What making it would be, and where it would be then.
    ///
    /// # Errors
    /// [`DeployError`].
    pub async fn plan(&self, sender: &Sender) -> Result<(Plan, Address), DeployError> {
        let plan = sender.plan(None, self.code()?, U256::ZERO).await?;
        let address = sender.address().create(plan.transaction.nonce);
        Ok((plan, address))
    }

    /// `network` with this contract at `address`; of a token what that says of itself over `rpc`.
    ///
    /// # Errors
    /// [`DeployError::Token`].
    pub async fn profile(
        &self,
        network: Network,
        rpc: &Rpc,
        address: Address,
    ) -> Result<Network, DeployError> {
        let network =
            // What was said of it was that it has none.
            Network { stream_payment_address: Some(address), contract_version: self.version(), note: None, ..network };
        let Self::V4 { token: contract, .. } = *self else { return Ok(network) };
        let wrong = |error| DeployError::Token(contract, error);
        let token_decimals = token::decimals(rpc, contract).await.map_err(wrong)?;
        let symbol = token::symbol(rpc, contract).await.map_err(wrong)?;
        let token_symbol = symbol.unwrap_or_else(|| network.token_symbol.clone());
        Ok(Network { token_address: contract, token_decimals, token_symbol, ..network })
    }
}

/// The chain at `rpc` as a profile that nobody wrote yet.
///
/// # Errors
/// [`ChainError`].
pub async fn unknown_network(rpc: &Rpc, rpc_url: &str, testnet: bool) -> Result<Network, ChainError> {
    let answers = rpc.calls(&[("eth_chainId", json!([]))]).await?;
    let chain_id = answers.first().and_then(quantity).ok_or(ChainError::Nonsense("no chain id"))?;
    let is_real =
        crate::network::shipped().values().any(|known| known.chain_id == chain_id && !known.testnet);
    if testnet && is_real {
        return Err(ChainError::Nonsense("a test network, and the chain id of one with real money"));
    }
    let local = LOCAL.contains(&chain_id);
    let mut urls = rpc_url.split(',').map(str::to_owned);
    Ok(Network {
        rpc_url: urls.next(),
        rpc_urls: urls.collect(),
        local,
        testnet: testnet || local,
        ..Network::bare(chain_id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is sent is the code of the version that is asked for, and its constructor's arguments.
    #[test]
    fn the_code_that_ships_is_of_the_version() {
        let [one, two] = [1, 2].map(Address::repeat_byte);
        for (contract, end) in [
            (NewContract::V1 { oracle: one }, vec![one]),
            (NewContract::V4 { token: one, donation_recipient: two }, vec![one, two]),
        ] {
            let code = contract.code().unwrap();
            let arguments: Vec<u8> = end.into_iter().flat_map(word).collect();
            assert!(code.ends_with(&arguments));
            assert_eq!(Version::of_code(&code), Some(contract.version()));
        }
    }
}
