//! A chain for `cargo xtask demo --paid`: anvil with the payment contract, a renter with money, and a
//! clock that is moved on.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use golem_testchain::{Anvil, CHAIN_ID, Network, network};
use golem_types::StreamId;
use ruint::aliases::U256;
use tokio::runtime::Runtime;

use crate::run::{root, step};

/// Anvil's accounts.
const RENTER: usize = 1;
const PROVIDER: usize = 2;

/// Wei a second: a hundredth of a coin an hour, about.
const RATE: u64 = 10u64.pow(16) / 3600;

/// What the renter pays for at first and with each top-up, in seconds.
const SECONDS: u64 = 2 * 3600;

/// A chain, and the stream that the renter opened on it.
pub(crate) struct Market {
    runtime: Runtime,
    chain: Anvil,
    stream: Option<StreamId>,
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
        Ok(Self { runtime, chain, stream: None })
    }

    /// What the node has to know.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("GOLEM_PROVIDER_PAYMENTS_NETWORK", "demo".to_owned()),
            ("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY", Anvil::key(PROVIDER).to_owned()),
            ("GOLEM_PROVIDER_STREAM_MONITOR_INTERVAL_SECONDS", "2".to_owned()),
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

    /// Opens a stream to the node, as the renter; gives its number.
    pub(crate) fn open(&mut self) -> anyhow::Result<u64> {
        println!("==> the renter opens a stream of {SECONDS} s at {RATE} wei a second");
        let deposit = U256::from(RATE) * U256::from(SECONDS);
        let recipient = self.chain.account(PROVIDER);
        let stream =
            self.runtime.block_on(self.chain.create(RENTER, recipient, deposit, u128::from(RATE)))?;
        self.stream = Some(stream);
        println!("    stream {stream}");
        u64::try_from(stream.0).context("a stream's number is small on a new chain")
    }

    /// Pays for more.
    pub(crate) fn top_up(&self) -> anyhow::Result<()> {
        let stream = self.stream.context("no stream was opened")?;
        self.runtime.block_on(self.chain.top_up(stream, U256::from(RATE) * U256::from(SECONDS)))
    }

    /// Moves the chain's clock on.
    pub(crate) fn pass(&self, seconds: u64) -> anyhow::Result<()> {
        self.runtime.block_on(self.chain.warp(seconds))
    }
}
