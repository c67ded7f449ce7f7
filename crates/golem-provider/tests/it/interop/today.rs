//! A renter of today on the same node: the network, market and certificate that one needs, and the walk of
//! `contracts/clients/renter.js`, which knows of the node only what the published page does.
//!
//! Owns its world, beside [`World`]'s. Never judges a step: the renter does.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use golem_test_support::guest::keypair;
use golem_test_support::pebble::{Pebble, PebbleConfig, pebble_folder};
use golem_test_support::peers::NEWER_ABI;
use golem_test_support::{Home, Running, ports};
use golem_testchain::{Anvil, CHAIN_ID, Leases, contracts};
use ruint::aliases::U256;
use serde_json::json;

use super::table::Table;
use super::world::{World, shown, tail};

/// Anvil's account that rents.
const RENTER: usize = 3;

/// Seconds that are paid for.
const SECONDS: u64 = 7200;

/// What the renter gives to the contract's authors, as the published page does by default: hundredths of a percent.
const DONATION: u64 = 150;

pub(crate) struct Today {
    pebble: Pebble,
    _discovery: (Running, Home),
    /// Where renters look for providers.
    market: String,
    folder: tempfile::TempDir,
}

impl Today {
    /// Makes `world`'s node one that today's renters find and can pay, beside those of before; `None` where there is no
    /// Pebble.
    pub(crate) fn new(mut world: World) -> (Option<Self>, World) {
        let Some(pebble) = pebble_folder() else { return (None, world) };
        let home = Home::bare();
        let (discovery, url) = home.discovery_service(&[]);
        let market = |who: &str| format!("{}/api/v1/discovery/{who}", url.replace("http", "ws"));
        let (port, tls) = (ports(1), ports(1));
        let leases = world.runtime.block_on(Leases::deploy(&world.chain, &contracts())).unwrap();
        let (contract, token) = (leases.contract.to_string(), leases.token.to_string());
        world.runtime.block_on(leases.fund(RENTER, U256::from(10).pow(U256::from(21)))).unwrap();
        let kind = ["--contract-version", "4", "--token", &token, "--testnet", "--local"];
        world.home.add_network("today", CHAIN_ID, world.chain.url(), &contract, &kind);
        world.home = world
            .home
            .obtains_from_pebble(pebble.path(), port, tls)
            .set("GOLEM_PROVIDER_PAYMENTS_NETWORK", "mine,today")
            .set("GOLEM_PROVIDER_ADVERTISERS", "websocket,arkiv")
            .set("GOLEM_PROVIDER_DISCOVERY_WS_URL", &market("providers"));
        let config = PebbleConfig { port, http: ports(1), tls, life: 160 * 3600 };
        let today = Self {
            pebble: Pebble::start(pebble.path(), config),
            _discovery: (discovery, home),
            market: market("requestors"),
            folder: pebble,
        };
        (Some(today), world)
    }

    /// Starts the renter, who wants a VM of `image`.
    pub(crate) fn rent(&self, world: &World, image: &str) -> Child {
        let file = |name: &str, text: &str| -> PathBuf {
            let path = self.folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let script = "import json, golem_streaming_abi as a; print(json.dumps(a.STREAM_PAYMENT_ABI))";
        let (succeeded, abi) = shown(&NEWER_ABI.python().args(["-c", script]).output().unwrap());
        assert!(succeeded, "{}", tail(&abi));
        let settings = json!({
            "discovery": self.market,
            "rpc": world.chain.url(),
            "key": Anvil::key(RENTER),
            "abi": file("abi.json", &abi),
            "ssh_key": keypair(self.folder.path(), "renter", &["-t", "ed25519"]),
            "image": image,
            "donation_bps": DONATION,
            "seconds": SECONDS,
        });
        let mut renter = Command::new("node");
        renter.arg(contracts().join("clients/renter.js")).arg(file("renter.json", &settings.to_string()));
        // The authority is one of this test alone.
        renter.env("NODE_EXTRA_CA_CERTS", file("root.pem", &self.pebble.root()));
        renter.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

/// Waits for the end of the `renter`'s walk, and fails when a step did.
pub(crate) fn end(renter: Child) {
    let mut table =
        Table::new("a browser-like renter of today: ethers 6, fetch, WebSocket, golem-streaming-abi 0.1.2");
    table.walk(&renter.wait_with_output().unwrap());
    table.end();
}
