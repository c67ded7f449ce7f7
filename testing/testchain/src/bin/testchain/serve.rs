//! `testchain serve`: anvil with the payment contract, and a clock that is moved by lines on standard input.

use std::io::BufRead;
use std::path::Path;

use anyhow::Context;
use golem_testchain::{Anvil, CHAIN_ID, Network, network};
use serde_json::json;

/// Which of anvil's accounts rents, and which provides.
const RENTER: usize = 1;
const PROVIDER: usize = 2;

/// Serves until standard input ends.
pub(crate) fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let chain = runtime.block_on(Anvil::start(&golem_testchain::contracts(), &[]))?;
    println!(
        "{}",
        json!({
            "url": chain.url(),
            "contract": chain.contract().to_string(),
            "renter_key": Anvil::key(RENTER),
            "provider_key": Anvil::key(PROVIDER),
        })
    );
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let seconds = line.strip_prefix("warp ").and_then(|number| number.parse().ok());
        runtime.block_on(chain.warp(seconds.with_context(|| format!("not understood: {line}"))?))?;
        println!("{}", json!({ "warped": seconds }));
    }
    Ok(())
}

/// Writes the profile `demo` of the chain at `url` for the node in `data_dir`.
pub(crate) fn profile(data_dir: &Path, url: &str, contract: &str) -> anyhow::Result<()> {
    let network = Network {
        chain_id: CHAIN_ID,
        rpc_url: Some(url.to_owned()),
        rpc_urls: Vec::new(),
        maximum_head_age_seconds: None,
        stream_payment_address: Some(contract.parse().context("CONTRACT is no address")?),
        testnet: true,
        local: true,
        explorer: None,
        note: None,
        ..network::shipped().remove("mainnet").context("no profile ships")?
    };
    network::save(data_dir, "demo", &network)?;
    Ok(())
}
