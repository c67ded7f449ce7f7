//! `networks …`: the chains that rentals can be paid on.

use alloy_primitives::Address;
use anyhow::Context;
use golem_chain::network::{self, Network};
use golem_chain::{Reader, Rpc, Version};
use serde::Serialize;

use super::arguments::{AddNetwork, Networks};
use super::layout::table;
use super::{Exit, Invocation};

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    active: bool,
    #[serde(flatten)]
    network: &'a Network,
}

#[derive(Serialize)]
struct Checked {
    name: String,
    rpc_url: String,
    reachable: bool,
    contract_version: Version,
    block: Option<u64>,
    error: Option<String>,
}

/// `networks …`.
pub(super) async fn networks(invocation: &Invocation, command: Networks) -> anyhow::Result<Exit> {
    let settings = &invocation.resolved.settings;
    let printer = invocation.printer;
    let active = &settings.payments.payments_network;
    let folder = &settings.node.data_dir;
    match command {
        Networks::List => {
            let all = network::all(folder)?;
            let named: Vec<_> =
                all.iter().map(|(name, network)| Named { name, active: name == active, network }).collect();
            printer.answer(&named, || list(&named));
        }
        Networks::Show { name } => {
            let name = name.as_deref().unwrap_or(active);
            let network = network::load(folder, name)?;
            let named = Named { name, active: name == active, network: &network };
            printer.answer(&named, || toml::to_string(&network).unwrap_or_default());
        }
        Networks::Add(add) => {
            let (name, network) = added(add)?;
            let path = network::save(folder, &name, &network)?;
            let answer = serde_json::json!({ "name": name, "file": path.display().to_string() });
            printer.answer(&answer, || {
                format!(
                    "Wrote {}. To use it: GOLEM_PROVIDER_PAYMENTS_NETWORK={name}; to try it: golem-provider \
                     networks check {name}",
                    path.display()
                )
            });
        }
        Networks::Check { name } => {
            let name = name.unwrap_or_else(|| active.clone());
            let network = network::load(folder, &name)?;
            let url = settings
                .payments
                .payments_rpc_url
                .as_ref()
                .filter(|_| name == *active)
                .map(|urls| urls.0.join(","))
                .or_else(|| network.endpoints())
                .with_context(|| format!("{name} has no endpoint; fix: networks add {name} --rpc-url …"))?;
            let checked = check(&name, &url, &network).await;
            let exit = if checked.reachable { Exit::Done } else { Exit::Failed };
            printer.answer(&checked, || match (&checked.error, checked.block) {
                (None, Some(block)) => {
                    let version = network.contract_version;
                    let known = if version == Version::V4 && network.paying_states.is_empty() {
                        " No stream of it counts as paying until the profile names its paying_states: docs/contracts.md."
                    } else {
                        ""
                    };
                    format!(
                        "{name} is usable: {url} is at block {block} and has the payment contract, version {version}.{known}"
                    )
                }
                (error, _) => format!("{name} is not usable: {}", error.as_deref().unwrap_or("no block")),
            });
            return Ok(exit);
        }
    }
    Ok(Exit::Done)
}

async fn check(name: &str, url: &str, network: &Network) -> Checked {
    let result = async {
        let contract = network.stream_payment_address.context("the profile names no contract")?;
        let reader = Reader::new(Rpc::new(url)?, contract, network.chain_id, network.local)
            .of(network.contract_version, network.paying_states.clone());
        reader.check().await?;
        anyhow::Ok(reader.head(None).await?.block.number)
    };
    let result = result.await;
    Checked {
        name: name.to_owned(),
        rpc_url: url.to_owned(),
        reachable: result.is_ok(),
        contract_version: network.contract_version,
        block: result.as_ref().ok().copied(),
        error: result.err().map(|error| format!("{error:#}")),
    }
}

/// The profile that the arguments describe.
fn added(add: AddNetwork) -> anyhow::Result<(String, Network)> {
    let address = |text: &str| -> anyhow::Result<Address> {
        text.parse().with_context(|| format!("{text:?} is no Ethereum address"))
    };
    let network = Network {
        chain_id: add.chain_id,
        rpc_url: add.rpc_url.first().cloned(),
        rpc_urls: add.rpc_url.get(1..).unwrap_or_default().to_vec(),
        maximum_head_age_seconds: add.maximum_head_age_seconds,
        stream_payment_address: Some(address(&add.contract)?),
        contract_version: Version::try_from(add.contract_version)?,
        paying_states: add.paying_state,
        token_address: add.token.as_deref().map_or(Ok(Address::ZERO), address)?,
        symbol: add.symbol,
        coin_price_id: add.coin_price_id,
        token_symbol: add.token_symbol,
        token_price_id: add.token_price_id,
        token_decimals: add.token_decimals,
        testnet: add.testnet,
        local: add.local,
        confirmations: None,
        maximum_gas_price_gwei: add.maximum_gas_price_gwei,
        explorer: None,
        faucet: None,
        note: None,
    };
    Ok((add.name, network))
}

fn list(all: &[Named<'_>]) -> String {
    let rows = all.iter().map(|named| {
        [
            format!("{}{}", if named.active { "* " } else { "  " }, named.name),
            named.network.chain_id.to_string(),
            named.network.symbol.clone(),
            if named.network.testnet { "test" } else { "real" }.to_owned(),
            named.network.endpoints().unwrap_or_else(|| "-".to_owned()),
            named.network.note.clone().unwrap_or_default(),
        ]
    });
    table(["  NAME", "CHAIN", "SYMBOL", "MONEY", "ENDPOINT", "NOTE"], rows)
}
