//! `cargo xtask deploy-contract`: puts the payment contract on a chain and writes its profile.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use golem_testchain::{Network, Rpc, network};
use golem_types::Wallet;

const USAGE: &str =
    "cargo xtask deploy-contract --rpc URL --key-file FILE [--name NAME] [--testnet] [--data-dir DIR]";

/// Chain ids of developers' own chains, whose clocks are moved at will: anvil and hardhat, ganache.
const LOCAL: [u64; 2] = [31_337, 1337];

/// Deploys the contract as the arguments say.
pub(crate) fn deploy(arguments: &[&str]) -> anyhow::Result<()> {
    let (mut rpc, mut key_file, mut name, mut data_dir, mut testnet) = (None, None, None, None, false);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().copied().with_context(|| format!("{word} needs a value; {USAGE}"));
        match *word {
            "--rpc" => rpc = Some(value()?),
            "--key-file" => key_file = Some(PathBuf::from(value()?)),
            "--name" => name = Some(value()?),
            "--data-dir" => data_dir = Some(PathBuf::from(value()?)),
            "--testnet" => testnet = true,
            _ => bail!("{word} is not known; {USAGE}"),
        }
    }
    let rpc = rpc.with_context(|| format!("--rpc is missing; {USAGE}"))?;
    let key_file = key_file.with_context(|| format!("--key-file is missing; {USAGE}"))?;
    let data_dir = match data_dir {
        Some(folder) => folder,
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set; use --data-dir")?)
            .join(".golem/provider"),
    };
    let wallet = read_key(&key_file)?;
    println!("==> deploy StreamPayment from {} over {rpc}", wallet.address());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let contracts = golem_testchain::contracts();
    let deployed = golem_testchain::deploy(Rpc::new(rpc)?, wallet, &contracts);
    let (contract, chain_id) = runtime.block_on(deployed)?;
    let local = LOCAL.contains(&chain_id);
    let name = name.map_or_else(|| format!("chain-{chain_id}"), str::to_owned);
    let network = Network {
        chain_id,
        rpc_url: Some(rpc.to_owned()),
        rpc_urls: Vec::new(),
        maximum_head_age_seconds: None,
        stream_payment_address: Some(contract),
        testnet: testnet || local,
        local,
        note: None,
        explorer: None,
        ..network::shipped().remove("mainnet").context("no profile ships")?
    };
    let path = network::save(&data_dir, &name, &network)?;
    println!("    contract {contract} on chain {chain_id}");
    println!("    wrote {}", path.display());
    println!("\nTo use it: GOLEM_PROVIDER_PAYMENTS_NETWORK={name} golem-provider start");
    Ok(())
}

/// The key in `file`: 64 hexadecimal digits, or a provider's own key file. Never an argument, which
/// every user of the machine could read.
fn read_key(file: &std::path::Path) -> anyhow::Result<Wallet> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    ensure!(text.len() < 4096, "{} holds no key", file.display());
    let parsed: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let key = parsed.as_ref().and_then(|json| json["private_key"].as_str()).unwrap_or_else(|| text.trim());
    Wallet::from_hex(key).with_context(|| format!("{} holds no key", file.display()))
}
