//! A chain for `cargo xtask demo --paid`: anvil with the payment contract, a renter with money, and a
//! clock that is moved on.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use golem_testchain::{Anvil, CHAIN_ID, Network, network};
use tokio::runtime::Runtime;

use crate::run::{root, step};

/// Anvil's accounts.
const RENTER: usize = 1;
const PROVIDER: usize = 2;

/// A chain.
pub(crate) struct Market {
    runtime: Runtime,
    chain: Anvil,
}

impl Market {
    /// Starts the chain and deploys the contract.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let contracts = root().join("contracts");
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-progress"]).current_dir(&contracts);
        step("the chain's packages", npm)?;
        println!("==> start a chain and deploy StreamPayment");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let chain = runtime.block_on(Anvil::start(&contracts, &[]))?;
        println!("    contract {} on {}", chain.contract(), chain.url());
        Ok(Self { runtime, chain })
    }

    /// What the node and the renter have to know.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("GOLEM_PROVIDER_PAYMENTS_NETWORK", "demo".to_owned()),
            ("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY", Anvil::key(PROVIDER).to_owned()),
            ("GOLEM_PROVIDER_STREAM_MONITOR_INTERVAL_SECONDS", "2".to_owned()),
            ("GOLEM_PROVIDER_PRICE_GLM_PER_CORE_MONTH", "5".to_owned()),
            ("GOLEM_PROVIDER_PRICE_GLM_PER_GB_RAM_MONTH", "2".to_owned()),
            ("GOLEM_PROVIDER_PRICE_GLM_PER_GB_STORAGE_MONTH", "0.1".to_owned()),
            ("GOLEM_RENTER_PRIVATE_KEY", Anvil::key(RENTER).to_owned()),
        ]
    }

    /// Writes the chain's profile for the node in `data_dir`.
    pub(crate) fn profile(&self, data_dir: &Path) -> anyhow::Result<()> {
        let network = Network {
            chain_id: CHAIN_ID,
            rpc_url: Some(self.chain.url().to_owned()),
            stream_payment_address: Some(self.chain.contract()),
            testnet: true,
            local: true,
            explorer: None,
            note: None,
            ..network::shipped().remove("mainnet").context("no profile ships")?
        };
        network::save(data_dir, "demo", &network)?;
        Ok(())
    }

    /// Moves the chain's clock on.
    pub(crate) fn pass(&self, seconds: u64) -> anyhow::Result<()> {
        self.runtime.block_on(self.chain.warp(seconds))
    }
}
