//! Puts the payment contract on a chain.

use std::path::Path;
use std::time::Duration;

use alloy_primitives::{Address, Bytes, hex};
use anyhow::{Context, bail, ensure};
use golem_chain::pursuit::{Attempt, Fate, Limits, Pursuit, Unrecorded};
use golem_chain::rpc::quantity;
use golem_chain::{Rpc, Sender};
use golem_types::Wallet;
use ruint::aliases::U256;
use serde_json::{Value, json};

/// How the contract's transaction is followed; its fee is never raised.
const LIMITS: Limits = Limits {
    poll: Duration::from_millis(100),
    stuck: Duration::MAX,
    attempts: 1,
    deadline: Duration::from_secs(300),
    failures: 1,
    lost: Duration::from_secs(1),
};

/// Deploys the contract whose artifact is in `contracts`, the repository's folder, with `wallet` as its
/// oracle; gives its address and the chain's id.
///
/// # Errors
/// When the chain does not answer, or the wallet cannot pay for it.
pub async fn deploy(rpc: Rpc, wallet: Wallet, contracts: &Path) -> anyhow::Result<(Address, u64)> {
    let oracle = crate::word(wallet.address());
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
    let pursuit = Pursuit::new(vec![Attempt { transaction: plan.transaction, signed }], LIMITS).sent();
    let receipt = match pursuit.follow(&sender, &mut Unrecorded).await? {
        Fate::Mined(receipt) => receipt,
        Fate::Lost => bail!("another transaction of the wallet took its number"),
        Fate::UnderWay(None) => bail!("it is in no block"),
        Fate::UnderWay(Some(error)) => return Err(error.into()),
    };
    ensure!(receipt.succeeded, "the chain refused the contract, in transaction {}", receipt.hash);
    Ok((receipt.contract.context("the receipt names no contract")?, chain))
}
