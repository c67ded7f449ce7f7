//! Puts the payment contract on a chain.

use std::path::Path;
use std::time::Duration;

use alloy_primitives::{Address, Bytes, hex};
use anyhow::{Context, ensure};
use golem_chain::rpc::quantity;
use golem_chain::{Rpc, Sender, Wallet};
use ruint::aliases::U256;
use serde_json::{Value, json};

/// How often the receipt is asked for, and for how long.
const POLL: Duration = Duration::from_millis(100);
const DEADLINE: Duration = Duration::from_secs(300);

/// Deploys the contract whose artifact is in `contracts`, the repository's folder, with `wallet` as its
/// oracle; gives its address and the chain's id.
///
/// # Errors
/// When the chain does not answer, or the wallet cannot pay for it.
pub async fn deploy(rpc: Rpc, wallet: Wallet, contracts: &Path) -> anyhow::Result<(Address, u64)> {
    let oracle = U256::from_be_slice(wallet.address().as_slice());
    deploy_one(rpc, wallet, contracts, ("StreamPayment", &[oracle])).await
}

/// Deploys the contract `name`, whose artifact is in `contracts`, with the words `arguments` for its
/// constructor; gives its address and the chain's id.
///
/// # Errors
/// When the chain does not answer, or the wallet cannot pay for it.
pub(crate) async fn deploy_one(
    rpc: Rpc,
    wallet: Wallet,
    contracts: &Path,
    (name, arguments): (&str, &[U256]),
) -> anyhow::Result<(Address, u64)> {
    let artifact = std::fs::read_to_string(contracts.join(format!("artifacts/{name}.json")))
        .context("the contract's artifact cannot be read")?;
    let artifact: Value = serde_json::from_str(&artifact)?;
    let mut data = hex::decode(artifact["bytecode"].as_str().context("the artifact has no bytecode")?)?;
    arguments.iter().for_each(|argument| data.extend(argument.to_be_bytes::<32>()));
    let data = Bytes::from(data);
    let chain = rpc.calls(&[("eth_chainId", json!([]))]).await?;
    let chain = chain.first().and_then(quantity).context("no chain id")?;
    let sender = Sender::new(rpc, wallet, chain);
    let plan = sender.plan(None, data, U256::ZERO).await?;
    let signed = sender.sign(&plan)?;
    sender.send(&signed.raw).await?;
    let receipt = async {
        loop {
            if let Some(receipt) = sender.receipt(signed.hash).await? {
                return anyhow::Ok(receipt);
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let receipt = tokio::time::timeout(DEADLINE, receipt).await.context("it is in no block")??;
    ensure!(receipt.succeeded, "the chain refused the contract, in transaction {}", signed.hash);
    Ok((receipt.contract.context("the receipt names no contract")?, chain))
}
