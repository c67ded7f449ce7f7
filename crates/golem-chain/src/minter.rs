//! Test tokens from a contract that gives some to whoever calls it.
//!
//! Owns the call and what came by it. Never asks a faucet: [`crate::faucet`] does.

use alloy_primitives::B256;
use alloy_sol_types::SolCall;
use ruint::aliases::U256;

use crate::balance::{At, balance};
use crate::network::PaymentNetwork;
use crate::one_off::{OneOffError, carry_out};
use crate::rpc::{ChainError, Rpc};
use crate::sender::Sender;
use golem_types::wallet::Wallet;

mod abi {
    #![allow(missing_docs, reason = "names and types are the contract's")]
    alloy_sol_types::sol! {
        function create() external;
    }
}

/// Tokens that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Minted {
    /// The transaction that brought them.
    pub transaction: B256,
    /// What the wallet has now, and what it had before, in the token's smallest unit.
    pub now: U256,
    pub before: U256,
}

/// Why no tokens came.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// Nothing gives any there.
    #[error("{0} has no contract that gives test tokens")]
    NoMinter(String),
    /// The wallet cannot pay for gas.
    #[error(
        "the wallet has nothing to pay gas with, and calling the contract that gives test tokens takes some"
    )]
    NoGas,
    /// The chain cannot be asked.
    #[error("the chain cannot be asked")]
    Chain(#[from] ChainError),
    /// The call did nothing, or is not known to have done it.
    #[error(transparent)]
    Call(#[from] OneOffError),
}

/// Has the minter of `profile` give `wallet` what it gives, for at most `maximum_price` wei a unit of gas.
///
/// # Errors
/// [`MintError`].
pub async fn mint(
    profile: &PaymentNetwork,
    wallet: &Wallet,
    maximum_price: Option<u128>,
) -> Result<Minted, MintError> {
    let network = &profile.network;
    // Nobody gives real money away; a profile that says so is wrong.
    let minter = network.token_minter.filter(|_| network.testnet || network.local);
    let minter = minter.ok_or_else(|| MintError::NoMinter(profile.name.clone()))?;
    let rpc = Rpc::new(&profile.rpc_url)?;
    let sender = Sender::new(rpc.clone(), wallet.clone(), network.chain_id).capped(maximum_price);
    if sender.balance().await?.is_zero() {
        return Err(MintError::NoGas);
    }
    let has = || balance(&rpc, profile.token, wallet.address(), At::Latest);
    let before = has().await?;
    let call = abi::createCall {}.abi_encode().into();
    let plan = sender.plan(Some(minter), call, U256::ZERO).await.map_err(OneOffError::from)?;
    let receipt = carry_out(&sender, plan, |_| ()).await?;
    Ok(Minted { transaction: receipt.hash, now: has().await?, before })
}
