//! `networks …`: the chains that rentals can be paid on.
//!
//! Owns what is printed of profiles and endpoints, and the profile that arguments describe. Never judges an endpoint:
//! [`golem_chain::probe`] does.

use std::collections::BTreeSet;

use alloy_primitives::Address;
use anyhow::Context;
use golem_chain::network::{self, Network};
use golem_chain::probe::{Probe, ProfileToken, probe};
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
    reachable: bool,
    contract_version: Version,
    block: Option<u64>,
    error: Option<String>,
    endpoints: Vec<Probe>,
}

/// Columns of the networks.
const COLUMNS: &str =
    "name,active,chain_id,symbol,token_symbol,testnet,rpc_url,stream_payment_address,contract_version";

/// `networks …`.
pub(super) async fn networks(invocation: &Invocation, command: Networks) -> anyhow::Result<Exit> {
    let settings = &invocation.resolved.settings;
    let printer = invocation.printer;
    let active = settings.chain().networks();
    let folder = &settings.node.data_dir;
    match command {
        Networks::List => {
            let all = network::all(folder)?;
            let named: Vec<_> = all
                .iter()
                .map(|(name, network)| Named { name, active: active.contains(name), network })
                .collect();
            printer.list(&named, &named, COLUMNS, || list(&named));
        }
        Networks::Show { name } => {
            let name = name.as_deref().or(active.first().map(String::as_str)).unwrap_or_default();
            let network = network::load(folder, name)?;
            let named = Named { name, active: active.iter().any(|known| known == name), network: &network };
            printer.answer(&named, || toml::to_string(&network).unwrap_or_default());
        }
        Networks::Add(add) => {
            let (name, network) = added(*add)?;
            let path = network::save(folder, &name, &network)?;
            let answer = serde_json::json!({ "name": name, "file": path.display().to_string() });
            printer.done(&answer, || {
                format!(
                    "Wrote {}. To use it: GOLEM_PROVIDER_PAYMENTS_NETWORK={name}; to try it: golem-provider \
                     networks check {name}",
                    path.display()
                )
            });
        }
        Networks::Deploy(wanted) => return super::deploy::deploy(invocation, wanted).await,
        Networks::Check { name } => {
            let name = name.unwrap_or_else(|| active.first().cloned().unwrap_or_default());
            let network = network::load(folder, &name)?;
            let url = settings
                .payments
                .payments_rpc_url
                .as_ref()
                .filter(|_| Some(&name) == active.first())
                .map(|urls| urls.0.join(","))
                .or_else(|| network.endpoints())
                .with_context(|| format!("{name} has no endpoint; fix: networks add {name} --rpc-url …"))?;
            let waiting =
                crate::logs::can_redraw().then(|| printer.waiting("asking each endpoint what it can do"));
            let checked = check(&name, &url, &network).await;
            drop(waiting);
            let exit = if checked.reachable { Exit::Done } else { Exit::Failed };
            printer.answer(&checked, || told(&checked, &network));
            return Ok(exit);
        }
    }
    Ok(Exit::Done)
}

async fn check(name: &str, urls: &str, network: &Network) -> Checked {
    let mut endpoints = Vec::new();
    let mut problem = None;
    for url in urls.split(',') {
        let probed = async {
            let contract = network.stream_payment_address.context("the profile names no contract")?;
            let rpc = Rpc::new(url)?.of_chain(network.chain_id);
            let reader = Reader::new(rpc.clone(), contract, network.chain_id, network.local)
                .of(network.contract_version)
                .with_maximum_head_age(network.maximum_head_age());
            let token = ProfileToken {
                address: network.token_address,
                symbol: &network.token_symbol,
                decimals: network.token_decimals,
            };
            anyhow::Ok(probe(&rpc, &reader, token).await)
        };
        match probed.await {
            Ok(probe) => endpoints.push(probe),
            Err(error) => problem = Some(format!("{error:#}")),
        }
    }
    let usable = endpoints.iter().find(|probe| probe.error.is_none());
    let first = endpoints.iter().find_map(|probe| probe.error.clone());
    Checked {
        name: name.to_owned(),
        reachable: usable.is_some(),
        contract_version: network.contract_version,
        block: usable.and_then(|probe| probe.block),
        error: if usable.is_some() { None } else { problem.or(first) },
        endpoints,
    }
}

/// What was found, for people: a row for each endpoint, and whether the network can be used.
fn told(checked: &Checked, network: &Network) -> String {
    let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let rows = checked.endpoints.iter().map(|probe| {
        let endpoint = &probe.endpoint;
        [
            endpoint.host.clone(),
            or(probe.chain_id.map(|id| id.to_string())),
            or(probe.block.map(|block| block.to_string())),
            or(probe.age_seconds.map(|age| format!("{age} s"))),
            or(endpoint.latency_ms.map(|latency| format!("{latency} ms"))),
            if endpoint.batch == 1 { "none".to_owned() } else { endpoint.batch.to_string() },
            endpoint.log_blocks.map_or_else(|| "none".to_owned(), |blocks| format!("{blocks} blocks")),
            endpoint
                .requests_per_second
                .map_or_else(|| "none seen".to_owned(), |rate| format!("{rate} a second")),
            or(probe.has_state.map(|has| if has { "yes" } else { "no" }.to_owned())),
            probe.error.clone().unwrap_or_else(|| "usable".to_owned()),
        ]
    });
    let headings =
        ["ENDPOINT", "CHAIN", "BLOCK", "AGE", "LATENCY", "BATCH", "LOGS", "LIMIT", "OLD STATE", "RESULT"];
    let end = match (&checked.error, checked.block) {
        (None, Some(block)) => {
            let version = network.contract_version;
            format!(
                "{} is usable: it is at block {block} and has the payment contract, version {version}.",
                checked.name
            )
        }
        (error, _) => {
            format!("{} is not usable: {}", checked.name, error.as_deref().unwrap_or("no endpoint answers"))
        }
    };
    // Each endpoint says the same of them, if it tells the truth.
    let differences: BTreeSet<&String> =
        checked.endpoints.iter().flat_map(|probe| &probe.differences).collect();
    let differences = differences.iter().map(|one| format!("\nDiffers from the profile: {one}."));
    format!("{}\n\n{end}{}", table(headings, rows), differences.collect::<String>())
}

/// The profile that the arguments describe.
fn added(add: AddNetwork) -> anyhow::Result<(String, Network)> {
    let address = |text: &str| -> anyhow::Result<Address> {
        text.parse().with_context(|| format!("{text:?} is no Ethereum address"))
    };
    let network = Network {
        rpc_url: add.rpc_url.first().cloned(),
        rpc_urls: add.rpc_url.get(1..).unwrap_or_default().to_vec(),
        maximum_head_age_seconds: add.maximum_head_age_seconds,
        stream_payment_address: Some(address(&add.contract)?),
        contract_version: Version::try_from(add.contract_version)?,
        token_address: add.token.as_deref().map_or(Ok(Address::ZERO), address)?,
        symbol: add.symbol,
        coin_price_id: add.coin_price_id,
        token_symbol: add.token_symbol,
        token_price_id: add.token_price_id,
        token_decimals: add.token_decimals,
        testnet: add.testnet,
        local: add.local,
        maximum_gas_price_gwei: add.maximum_gas_price_gwei,
        ..Network::bare(add.chain_id)
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
