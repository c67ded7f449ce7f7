//! Puts contracts of the repository on a chain: those that only tests have, too.

use std::path::Path;

use alloy_primitives::{Address, Bytes, hex};
use anyhow::Context;
use golem_chain::one_off::carry_out;
use golem_chain::{Rpc, Sender};
use golem_types::Wallet;
use ruint::aliases::U256;
use serde_json::Value;

/// Deploys the contract `name`, whose artifact is in `contracts`, the repository's folder, with the words `arguments` for its
/// constructor; gives its address.
///
/// # Errors
/// When the chain does not answer, or the wallet cannot pay for it.
pub(crate) async fn deploy(
    (rpc, chain_id): (Rpc, u64),
    wallet: Wallet,
    contracts: &Path,
    (name, arguments): (&str, &[U256]),
) -> anyhow::Result<Address> {
    let artifact = std::fs::read_to_string(contracts.join(format!("artifacts/{name}.json")))
        .context("the contract's artifact cannot be read")?;
    let artifact: Value = serde_json::from_str(&artifact)?;
    let mut data = hex::decode(artifact["bytecode"].as_str().context("the artifact has no bytecode")?)?;
    arguments.iter().for_each(|argument| data.extend(argument.to_be_bytes::<32>()));
    let sender = Sender::new(rpc, wallet, chain_id);
    let plan = sender.plan(None, Bytes::from(data), U256::ZERO).await?;
    let receipt = carry_out(&sender, plan, |_| ()).await?;
    receipt.contract.context("the receipt names no contract")
}
