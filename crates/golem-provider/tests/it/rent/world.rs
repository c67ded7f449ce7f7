//! A node that is paid on a real EVM, and a renter with a home and a wallet of its own.

use std::process::{Command, Output, Stdio};

use alloy_primitives::Address;
use golem_chain::contract::Version;
use golem_chain::{Reader, Rpc};
use golem_test_support::Home;
use golem_testchain::{Anvil, CHAIN_ID, Leases, contracts};
use golem_types::{Stream, StreamId};
use ruint::aliases::{U160, U256};
use serde_json::Value;
use tokio::runtime::Runtime;

/// Anvil's accounts.
pub(crate) const RENTER: usize = 1;
pub(crate) const PROVIDER: usize = 2;

/// 40 coins a month of 730 hours, for the smallest VM.
pub(crate) const RATE: u64 = 15_220_700_152_207;

pub(crate) struct World {
    runtime: Runtime,
    pub(crate) chain: Anvil,
    /// The node's.
    pub(crate) home: Home,
    /// The renter's; no node runs there.
    pub(crate) renter: Home,
    pub(crate) contract: Address,
    pub(crate) token: Address,
    version: Version,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::paid_with(|_, chain| (chain.contract(), Address::ZERO, Version::V1))
    }

    /// A world whose streams are opened with leases, on contract version 4; the renter has a thousand of its token.
    pub(crate) fn leased() -> Self {
        Self::paid_with(|runtime, chain| {
            let made = async {
                let leases = Leases::deploy(chain, &contracts()).await?;
                thousand(chain, leases.token, chain.account(RENTER)).await?;
                anyhow::Ok((leases.contract, leases.token, Version::V4))
            };
            runtime.block_on(made).unwrap()
        })
    }

    /// A world whose streams are of a token, of which the renter has a thousand.
    pub(crate) fn with_token() -> Self {
        Self::paid_with(|runtime, chain| {
            let made = async {
                let token = chain.deploy(&contracts(), "TestToken", &[U256::ZERO]).await?;
                thousand(chain, token, chain.account(RENTER)).await?;
                anyhow::Ok((chain.contract(), token, Version::V1))
            };
            runtime.block_on(made).unwrap()
        })
    }

    fn paid_with(paid: impl FnOnce(&Runtime, &Anvil) -> (Address, Address, Version)) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let chain = runtime.block_on(Anvil::start(&contracts(), &[])).unwrap();
        let (contract, token, version) = paid(&runtime, &chain);
        let home = Home::new()
            .set("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY", Anvil::key(PROVIDER))
            .set("GOLEM_PROVIDER_PAYMENTS_NETWORK", "mine")
            .set("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", "")
            .set("GOLEM_PROVIDER_RATE_LIMIT_PER_MINUTE", "0")
            .set("GOLEM_PROVIDER_STREAM_MONITOR_INTERVAL_SECONDS", "1")
            .set("GOLEM_PROVIDER_PRICE_GLM_PER_CORE_MONTH", "25")
            .set("GOLEM_PROVIDER_PRICE_GLM_PER_GB_RAM_MONTH", "10")
            .set("GOLEM_PROVIDER_PRICE_GLM_PER_GB_STORAGE_MONTH", "0.5");
        let renter = Home::bare()
            .set("GOLEM_RENTER_PRIVATE_KEY", Anvil::key(RENTER))
            .set("GOLEM_PROVIDER_DISCOVERY_WS_URL", "ws://127.0.0.1:1/api/v1/discovery/providers");
        let world = Self { runtime, chain, home, renter, contract, token, version };
        world.add_network(&world.home);
        world.add_network(&world.renter);
        world
    }

    fn add_network(&self, home: &Home) {
        let (id, contract, token) = (CHAIN_ID.to_string(), self.contract.to_string(), self.token.to_string());
        let version = self.version.to_string();
        let mut arguments = vec!["networks", "add", "mine", "--chain-id", &id, "--contract", &contract];
        arguments.extend(["--rpc-url", self.chain.url(), "--token", &token, "--local", "--json"]);
        arguments.extend(["--contract-version", &version]);
        home.json(&arguments);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}:{}", self.home.host, self.home.api)
    }

    /// `golem-provider rent …`, as the renter types it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.renter.command(&["rent"]);
        command.args(arguments).stdin(Stdio::null());
        if arguments.first() == Some(&"create") {
            command.arg("--yes");
            if !arguments.contains(&"--most") && !arguments.contains(&"--free") {
                command.args(["--most", "1000"]);
            }
        }
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs it, which must succeed, and reads the JSON that it prints.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", Home::show(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", Home::show(&output)))
    }

    /// Rents a VM of the smallest size.
    pub(crate) fn create(&self, name: &str, more: &[&str]) -> Value {
        self.json(&[&["create", name, "--provider", &self.url()], more].concat())
    }

    /// What is printed, without what differs from run to run.
    pub(crate) fn snapshot(&self, output: &Output) -> String {
        let contract = self.contract.to_string();
        self.home
            .snapshot(output)
            .replace(&self.renter.folder.path().display().to_string(), "[RENTER]")
            .replace(&contract, "[CONTRACT]")
            .replace(self.chain.url(), "[RPC]")
    }

    /// What the renter has: of the token, which may be the chain's own money.
    pub(crate) fn funds(&self) -> U256 {
        let renter = self.chain.account(RENTER);
        let asked = async {
            if self.token.is_zero() {
                return self.chain.balance(renter).await;
            }
            let owner = U256::from_be_slice(renter.as_slice());
            self.chain.view_of(self.token, "balanceOf(address)", &[owner]).await
        };
        self.runtime.block_on(asked).unwrap()
    }

    /// What the token says, asked `signature` with `arguments`.
    fn ask_token(&self, signature: &str, arguments: &[U256]) -> U256 {
        self.runtime.block_on(self.chain.view_of(self.token, signature, arguments)).unwrap()
    }

    /// What the payment contract may still take from the renter.
    pub(crate) fn allowance(&self) -> U256 {
        let renter = golem_testchain::word(self.chain.account(RENTER));
        self.ask_token("allowance(address,address)", &[renter, golem_testchain::word(self.contract)])
    }

    /// What the provider has of the token.
    pub(crate) fn provider_funds(&self) -> U256 {
        self.ask_token("balanceOf(address)", &[golem_testchain::word(self.chain.account(PROVIDER))])
    }

    /// Gives the wallet of `key` a thousand of the token, and nothing for gas.
    pub(crate) fn mint(&self, key: &str) {
        let wallet = golem_types::Wallet::from_hex(key).unwrap();
        self.runtime.block_on(thousand(&self.chain, self.token, wallet.address())).unwrap();
    }

    /// What anvil answers.
    pub(crate) fn ask(&self, method: &str, params: Value) -> Value {
        self.runtime.block_on(self.chain.ask(method, params)).unwrap()
    }

    pub(crate) fn warp(&self, seconds: u64) {
        self.runtime.block_on(self.chain.warp(seconds)).unwrap();
    }

    pub(crate) fn stream(&self, id: u64) -> Stream {
        let rpc = Rpc::new(self.chain.url()).unwrap();
        let reader = Reader::new(rpc, self.contract, CHAIN_ID, true).of(self.version);
        self.runtime.block_on(reader.streams(&[StreamId(U256::from(id))])).unwrap().streams[0]
    }

    /// Streams that were opened, and how many of them still run.
    pub(crate) fn streams(&self) -> (u64, usize) {
        let newest = self.chain.view_of(self.contract, "nextStreamId()", &[]);
        let opened = u64::try_from(self.runtime.block_on(newest).unwrap()).unwrap();
        let live = (1..=opened).filter(|id| self.stream(*id).recipient != U160::ZERO).count();
        (opened, live)
    }

    /// VMs at the node that are neither deleted nor stopped for want of payment.
    pub(crate) fn running(&self) -> usize {
        let vms = self.home.json(&["vms", "list", "--json"]);
        vms.as_array().unwrap().iter().filter(|vm| vm["status"] == "running").count()
    }
}

/// Gives `owner` a thousand of `token`.
async fn thousand(chain: &Anvil, token: Address, owner: Address) -> anyhow::Result<()> {
    let thousand = U256::from(10).pow(U256::from(21));
    chain.invoke(0, token, "mint(address,uint256)", &[golem_testchain::word(owner), thousand]).await
}

/// A number of JSON with all its digits, out of what was printed.
pub(crate) fn wei(output: &Output, name: &str) -> U256 {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let at =
        text.find(&format!("\"{name}\": ")).unwrap_or_else(|| panic!("no {name}: {}", Home::show(output)));
    let digits: String = text[at + name.len() + 4..].chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no number {name}: {}", Home::show(output)))
}
