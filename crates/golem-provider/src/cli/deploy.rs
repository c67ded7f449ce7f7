//! `networks deploy`: a payment contract on a network that has none.
//!
//! Owns what is asked before the gas is paid, and what is printed. Never makes the contract: [`golem_chain::deploy`] does.

use alloy_primitives::Address;
use anyhow::{Context, bail, ensure};
use golem_chain::deploy::{self, NewContract};
use golem_chain::network::{self, Network};
use golem_chain::one_off::carry_out;
use golem_chain::{Rpc, Sender, Version};
use golem_types::amount::coins;
use golem_types::wire::Exact;
use serde_json::json;

use super::arguments::DeployContract;
use super::confirm::confirmed;
use super::{Exit, Invocation};
use crate::identity;
use crate::passphrase::{Asking, Passphrases};
use crate::payments;
use golem_host::pid_file::PidFile;

/// What is to be made for `network`, where the wallet `own` pays.
fn contract(wanted: &DeployContract, network: &Network, own: Address) -> anyhow::Result<NewContract> {
    Ok(match Version::try_from(wanted.contract_version)? {
        Version::V1 => NewContract::V1 { oracle: own },
        Version::V4 => NewContract::V4 {
            token: wanted
                .token
                .or(Some(network.token_address).filter(|token| !token.is_zero()))
                .context("version 4 is paid in a token, and the profile names none; fix: --token 0x…")?,
            donation_recipient: wanted
                .donation_recipient
                .context("version 4 names who gets donations; fix: --donation-recipient 0x…")?,
        },
    })
}

/// `networks deploy`.
pub(super) async fn deploy(invocation: &Invocation, wanted: DeployContract) -> anyhow::Result<Exit> {
    let (settings, printer, name) = (&invocation.resolved.settings, invocation.printer, wanted.name.as_str());
    let folder = &settings.node.data_dir;
    network::path(folder, name)?;
    let network = match (network::all(folder)?.remove(name), &wanted.rpc_url) {
        (Some(known), _) => known,
        (None, Some(url)) => deploy::unknown_network(&Rpc::new(url)?, url, wanted.testnet).await?,
        (None, None) => network::load(folder, name)?,
    };
    if let Some(there) = network.stream_payment_address {
        bail!("{name} has the payment contract {there}; fix: choose a name of your own, and give --rpc-url");
    }
    let url = wanted.rpc_url.clone().or_else(|| network.endpoints());
    let rpc = Rpc::new(&url.with_context(|| format!("{name} has no endpoint; fix: --rpc-url URL"))?)?;
    // A node that runs numbers the wallet's transactions.
    let _lock = PidFile::take(&invocation.node.pid_file).await?;
    let identity =
        identity::of_node(&settings.node, &Passphrases::of_node(&settings.node, Asking::Terminal))?;
    let wallet = identity.wallet();
    let most = payments::gas_rules(&network, &settings.chain()).maximum_price;
    let sender = Sender::new(rpc.clone(), wallet.clone(), network.chain_id).capped(most);
    let new = contract(&wanted, &network, wallet.address())?;
    let (plan, address) = new.plan(&sender).await?;
    plan.is_affordable()?;
    let network = new.profile(network, &rpc, address).await?;
    printer.note(&format!(
        "the payment contract of version {} on {name} (chain id {}) takes about {} {} of gas, which {} pays",
        new.version(),
        network.chain_id,
        coins(Exact(plan.expected_cost)),
        network.symbol,
        wallet.address()
    ));
    if !wanted.yes && !confirmed("Make it?", "nobody can be asked whether to pay for it; fix: --yes")? {
        bail!("you did not agree; nothing was paid");
    }
    let signed = |hash| printer.note(&format!("transaction {hash} makes {address}"));
    let left =
        || format!("{name} was not written; fix, once {address} has code: golem-provider networks add");
    let receipt = carry_out(&sender, plan, signed).await.with_context(left)?;
    ensure!(receipt.contract == Some(address), "transaction {} made another contract", receipt.hash);
    let path = network::save(folder, name, &network)?;
    let answer = json!({
        "name": name,
        "file": path.display().to_string(),
        "chain_id": network.chain_id,
        "stream_payment_address": address,
        "contract_version": network.contract_version,
        "transaction": receipt.hash,
        "gas_wei": receipt.cost.to_string(),
    });
    let file = path.display();
    printer.answer(&answer, || {
        format!("Made {address} and wrote {file}. To use it: GOLEM_PROVIDER_PAYMENTS_NETWORK={name}")
    });
    Ok(Exit::Done)
}
