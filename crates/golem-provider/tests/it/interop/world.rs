//! A node in a world of its own: a chain, a market, an address at which its API has the one port that
//! the requestor knows, and a renter with the published requestor.
//!
//! Owns how they find each other. Never judges a step.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use golem_test_support::peers::REQUESTOR;
use golem_test_support::{Home, own_address, wait_until};
use golem_testchain::{Anvil, CHAIN_ID, contracts};
use golem_types::{Stream, StreamId};
use market_emulator::{Emulator, Protocol};
use ruint::aliases::U256;
use serde_json::Value;
use tokio::runtime::Runtime;

/// The port that the requestor dials, whatever a provider says.
const PORT: u16 = 7466;

/// Anvil's accounts.
const RENTER: usize = 1;
const PROVIDER: usize = 2;

/// The market's chain id: that of the original's network.
const MARKET_CHAIN: u64 = 60_138_453_033;

pub(crate) struct World {
    pub(crate) home: Home,
    pub(crate) provider_id: String,
    pub(crate) chain: Anvil,
    market: Emulator,
    /// The renter's home.
    pub(crate) renter: tempfile::TempDir,
    pub(crate) runtime: Runtime,
}

impl World {
    /// A world whose node is not started yet.
    pub(crate) fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let chain = runtime.block_on(Anvil::start(&contracts(), &[])).unwrap();
        let market = runtime.block_on(Emulator::start(Protocol::GolemBase, MARKET_CHAIN)).unwrap();
        let host = own_address(PORT);
        let mut home = Home::new()
            .set("GOLEM_PROVIDER_HOST", &host.to_string())
            .set("GOLEM_PROVIDER_PUBLIC_IP", &host.to_string())
            .set("GOLEM_PROVIDER_PORT", &PORT.to_string())
            .set("GOLEM_PROVIDER_NETWORK", "testnet")
            .set("GOLEM_PROVIDER_COUNTRY", "SE")
            .set("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY", Anvil::key(PROVIDER))
            .set("GOLEM_PROVIDER_PAYMENTS_NETWORK", "mine")
            .set("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", "")
            .set("GOLEM_PROVIDER_STREAM_MONITOR_INTERVAL_SECONDS", "1")
            .set("GOLEM_PROVIDER_PRICING_UPDATE_ENABLED", "false")
            .set("GOLEM_PROVIDER_PRICE_GLM_PER_CORE_MONTH", "25")
            .set("GOLEM_PROVIDER_PRICE_GLM_PER_GB_RAM_MONTH", "10")
            .set("GOLEM_PROVIDER_PRICE_GLM_PER_GB_STORAGE_MONTH", "0.5")
            .set("GOLEM_PROVIDER_ADVERTISER_TYPE", "golem_base")
            .set("GOLEM_PROVIDER_GOLEM_BASE_RPC_URL", market.url());
        (home.host, home.api) = (host, PORT);
        let contract = chain.contract().to_string();
        home.add_network("mine", CHAIN_ID, chain.url(), &contract, &["--testnet", "--local"]);
        let provider_id = chain.account(PROVIDER).to_string();
        Self { home, provider_id, chain, market, renter: tempfile::tempdir().unwrap(), runtime }
    }

    /// Waits until the node's advert is on the market.
    pub(crate) fn wait_for_advert(&self) {
        wait_until("the advert", || !self.market.entities().is_empty());
    }

    /// The requestor, as a renter would call it.
    pub(crate) fn requestor(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(REQUESTOR.program());
        let renter = self.renter.path();
        command
            .args(arguments)
            .env_clear()
            .env("HOME", renter)
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("PYTHONIOENCODING", "utf-8")
            .env("GOLEM_REQUESTOR_NETWORK", "testnet")
            .env("GOLEM_REQUESTOR_PAYMENTS_NETWORK", "mine")
            .env("GOLEM_REQUESTOR_GOLEM_BASE_RPC_URL", self.market.url())
            .env("GOLEM_REQUESTOR_GOLEM_BASE_WS_URL", self.market.url().replace("http", "ws"))
            .env("GOLEM_REQUESTOR_POLYGON_RPC_URL", self.chain.url())
            .env("GOLEM_REQUESTOR_STREAM_PAYMENT_ADDRESS", self.chain.contract().to_string())
            .env("GOLEM_REQUESTOR_GLM_TOKEN_ADDRESS", "0x0000000000000000000000000000000000000000")
            .env("GOLEM_REQUESTOR_ETHEREUM_PRIVATE_KEY", format!("0x{}", Anvil::key(RENTER)))
            .current_dir(renter)
            .stdin(Stdio::null());
        command
    }

    /// What the requestor says while `typed` is typed into it.
    #[cfg(feature = "guest-tests")]
    pub(crate) fn type_into(&self, arguments: &[&str], typed: &str) -> (bool, String) {
        let mut command = self.requestor(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), typed.as_bytes()).unwrap();
        shown(&child.wait_with_output().unwrap())
    }

    /// What the requestor says, and whether it succeeded.
    pub(crate) fn ask(&self, arguments: &[&str]) -> (bool, String) {
        shown(&self.requestor(arguments).output().unwrap())
    }

    /// What the requestor says, which must succeed.
    pub(crate) fn says(&self, arguments: &[&str]) -> String {
        let (succeeded, text) = self.ask(arguments);
        assert!(succeeded, "{}", tail(&text));
        text
    }

    /// The JSON that the requestor prints, among other lines.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.says(arguments);
        let document = text.find("{\n").map(|at| &text[at..]).unwrap_or_default();
        let mut values = serde_json::Deserializer::from_str(document).into_iter();
        values.next().and_then(Result::ok).unwrap_or_else(|| panic!("no JSON: {}", tail(&text)))
    }

    /// What the requestor remembers of its VM `name`.
    pub(crate) fn row(&self, name: &str) -> Value {
        let list = self.json(&["vm", "list", "--json"]);
        let row = list["vms"].as_array().unwrap().iter().find(|vm| vm["name"] == name).cloned();
        row.unwrap_or_else(|| panic!("no row {name} in {list}"))
    }

    /// Writes into the row of `name` what the requestor would have written, had it updated the row
    /// instead of inserting it a second time.
    pub(crate) fn repair(&self, name: &str) -> u16 {
        let id = self.id(name);
        let (status, access) = self.home.http("GET", &format!("/api/v1/vms/{id}/access"), "");
        assert_eq!(status, 200, "{access}");
        let port = access["ssh_port"].as_u64().unwrap();
        let script = "import sqlite3, json, sys\n\
             database, name, port = sys.argv[1:]\n\
             rows = sqlite3.connect(database)\n\
             (config,) = rows.execute('select config from vms where name = ?', (name,)).fetchone()\n\
             config = json.dumps({**json.loads(config), 'ssh_port': int(port)})\n\
             rows.execute(\"update vms set config = ?, status = 'running' where name = ?\", (config, name))\n\
             rows.commit()";
        let done = REQUESTOR
            .python()
            .args(["-c", script])
            .args([self.database().to_str().unwrap(), name, &port.to_string()])
            .status();
        assert!(done.unwrap().success());
        u16::try_from(port).unwrap()
    }

    fn database(&self) -> PathBuf {
        self.renter.path().join(".golem/requestor/vms.db")
    }

    /// The provider's id of the requestor's VM `name`.
    pub(crate) fn id(&self, name: &str) -> String {
        self.row(name)["vm_id"].as_str().unwrap().to_owned()
    }

    /// What the node says of the requestor's VM `name`.
    pub(crate) fn vm(&self, name: &str) -> Value {
        self.home.http("GET", &format!("/api/v1/vms/{}", self.id(name)), "").1
    }

    /// A stream, as the chain has it, and the chain's time.
    pub(crate) fn stream(&self, id: u64) -> (Stream, u128) {
        self.runtime.block_on(self.chain.stream(StreamId(U256::from(id)))).unwrap()
    }
}

/// Whether a program succeeded, and all that it wrote.
pub(crate) fn shown(output: &Output) -> (bool, String) {
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

/// The end of a long text.
pub(crate) fn tail(text: &str) -> String {
    let text = text.trim();
    text.chars().skip(text.chars().count().saturating_sub(600)).collect()
}
