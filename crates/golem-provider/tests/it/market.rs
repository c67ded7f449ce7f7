//! The true binary on an emulated market network.

use alloy_primitives::{Address, B256};
use golem_test_support::{Home, wait_until};
use golem_testchain::FaucetServer;
use market_emulator::{DiscoveryServer, Emulator, Protocol, ServerFault, Stored};
use rustix::process::Signal;
use tokio::runtime::Runtime;

/// A market network for one test.
struct Market {
    emulator: Emulator,
    _runtime: Runtime,
}

impl Market {
    fn start(protocol: Protocol) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let emulator = runtime.block_on(Emulator::start(protocol, 1337)).unwrap();
        Self { emulator, _runtime: runtime }
    }

    /// A home whose node offers itself here.
    fn home(&self, generation: &str) -> Home {
        let home = Home::new()
            .set("GOLEM_PROVIDER_ADVERTISER_TYPE", "golem_base")
            .set("GOLEM_PROVIDER_GOLEM_BASE_NETWORK", "mine")
            .set("GOLEM_PROVIDER_GOLEM_BASE_RPC_URL", self.emulator.url())
            .set("GOLEM_PROVIDER_PUBLIC_IP", "203.0.113.7");
        let folder = home.data().join("markets");
        std::fs::create_dir_all(&folder).unwrap();
        let profile = format!("generation = \"{generation}\"\nchain_id = 1337\n");
        std::fs::write(folder.join("mine.toml"), profile).unwrap();
        home
    }

    fn shows(&self, what: &str, condition: impl Fn(&Stored) -> bool) {
        wait_until(what, || self.emulator.entities().iter().any(|(_, entity)| condition(entity)));
    }
}

#[test]
fn a_node_is_found_and_its_operator_sees_it() {
    for (protocol, generation) in [(Protocol::GolemBase, "golem-base"), (Protocol::Tiramisu, "tiramisu")] {
        let market = Market::start(protocol);
        let home = market.home(generation);
        let mut node = home.start(&["--network", "mainnet"]);
        // S-195, S-197, S-211
        market.shows("the advert", |entity| entity.strings["golem_network"] == "mainnet");
        wait_until("it is known to be found", || {
            home.json(&["status", "--json"])["adverts"][0]["standing"] == "current"
        });
        let (key, entity) = market.emulator.entities().remove(0);
        assert_eq!(entity.strings["golem_ip_address"], "203.0.113.7");
        assert_eq!(entity.strings["golem_price_usd_core_month"], "5.0");
        let before = entity.numbers["golem_cpu"];

        let state = home.json(&["status", "--json"]);
        // S-256
        assert_eq!(state["adverts"][0]["standing"], "current", "{state}");
        assert_eq!(state["adverts"][0]["key"], key.to_string());
        assert_eq!(state["adverts"][0]["writes"], 1);
        assert!(state["adverts"][0]["gas"].as_u64().unwrap() > 21_000);

        // Another provider asks less, a third has too little, and a stranger's entity is no advert.
        for (owner, price, cpu) in [(7, "1.0", 8), (8, "0.5", 1)] {
            let mut other = entity.clone();
            other.owner = Address::repeat_byte(owner);
            other.strings.insert("golem_price_usd_core_month".to_owned(), price.to_owned());
            other.numbers.insert("golem_cpu".to_owned(), cpu);
            other.numbers.insert("golem_memory".to_owned(), 64);
            other.numbers.insert("golem_storage".to_owned(), 500);
            market.emulator.put(B256::repeat_byte(owner), other);
        }
        let arguments = ["--network", "mainnet"];
        let seen = {
            let home = &home;
            let command = |name: &'static str| {
                let mut command = home.command(&[name]);
                command.env("GOLEM_PROVIDER_NETWORK", arguments[1]);
                command
            };
            let output = command("market").arg("--json").output().unwrap();
            assert!(output.status.success(), "{}", Home::show(&output));
            let text = command("market").output().unwrap();
            assert!(
                String::from_utf8_lossy(&text.stdout).contains("1 offer 2 cores"),
                "{}",
                Home::show(&text)
            );
            serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["markets"][0].clone()
        };
        assert_eq!(seen["own"]["key"], key.to_string(), "{seen}");
        assert_eq!(seen["own"]["blocks_left"], 7200);
        assert_eq!(seen["others"].as_array().unwrap().len(), 1, "{seen}");
        assert_eq!(seen["usd_month"]["own"], 20.0);
        assert_eq!(seen["usd_month"]["lowest"], 12.0);
        assert_eq!(seen["usd_month"]["cheaper_percent"], 100);

        home.rent("web-server");
        let owner = entity.owner;
        // S-056, S-081
        market.shows("the remainder", |entity| {
            entity.owner == owner && entity.numbers["golem_cpu"] == before - 1
        });
        let written = market.emulator.mined().len();
        node.signal(Signal::TERM);
        assert_eq!(node.end(), Some(0));
        let mut node = home.start(&arguments);
        wait_until("it is known to be found", || {
            home.json(&["status", "--json"])["adverts"][0]["standing"] == "current"
        });
        // S-217, S-218: what is rented out was counted from the start.
        assert_eq!(market.emulator.mined().len(), written, "a restart writes nothing");

        let stopped = home.run(&["stop", "--withdraw-advert"]);
        assert!(stopped.status.success(), "{}", Home::show(&stopped));
        let left = market.emulator.entities();
        assert!(left.iter().all(|(left, _)| *left != key) && left.len() == 2);
        assert_eq!(node.end(), Some(0));
    }
}

#[test]
fn in_development_the_market_and_its_endpoint_are_those_of_development() {
    let market = Market::start(Protocol::GolemBase);
    for variable in ["GOLEM_PROVIDER_GOLEM_BASE_DEV_RPC_URL", "GOLEM_BASE_DEV_RPC_URL"] {
        let home = market
            .home("golem-base")
            .set("GOLEM_ENVIRONMENT", "development")
            .set("GOLEM_PROVIDER_GOLEM_BASE_RPC_URL", "http://127.0.0.1:9/")
            .set("GOLEM_PROVIDER_GOLEM_BASE_DEV_WS_URL", "ws://127.0.0.1:9/")
            .set("GOLEM_PROVIDER_NAME", variable)
            .set(variable, market.emulator.url());
        let _node = home.start(&[]);
        // S-186, S-193, S-198, S-199
        market.shows("the advert", |entity| {
            entity.strings["golem_network"] == "development"
                && entity.strings["golem_provider_name"] == format!("DEVMODE-{variable}")
        });
    }
}

#[test]
fn a_market_that_does_not_answer_is_told_of_and_renting_goes_on() {
    let market = Market::start(Protocol::GolemBase);
    let home = market.home("golem-base");
    market.emulator.set_fault(market_emulator::Fault::Down);
    let mut node = home.start(&[]);
    node.says("do not find this node");
    home.rent("web-server");
    let state = home.json(&["status", "--json"]);
    assert_eq!(state["overall"]["status"], "issues", "{state}");
    assert!(state["overall"]["issues"][0].as_str().unwrap().contains("HTTP status 500"), "{state}");
    let seen = home.run(&["market"]);
    assert_eq!(seen.status.code(), Some(1), "{}", Home::show(&seen));
}

/// The discovery server is told when the settings say so, and only then; the log
/// and the operator hear of it.
#[test]
fn a_discovery_server_is_told_of_the_node_where_the_operator_wants_it() {
    let market = Market::start(Protocol::GolemBase);
    let server = market._runtime.block_on(DiscoveryServer::start()).unwrap();
    // What a rental leaves on a small disk is still told of.
    let home = || {
        let home = market.home("golem-base").set("GOLEM_PROVIDER_MIN_STORAGE_GB", "1");
        home.set("GOLEM_PROVIDER_DISCOVERY_URL", server.url())
    };
    let by_default = home();
    let mut node = by_default.start(&[]);
    node.says("renters find this node on the market");
    // S-116
    assert!(server.told().is_empty(), "it is not needed");
    drop(node);

    let both = home().set("GOLEM_PROVIDER_ADVERTISER_TYPE", "both").set("GOLEM_PROVIDER_LOG_LEVEL", "debug");
    let mut node = both.start(&[]);
    // S-114
    wait_until("both markets", || !server.adverts().is_empty() && !market.emulator.entities().is_empty());
    wait_until("both are known", || {
        let state = both.json(&["status", "--json"]);
        state["adverts"].as_array().unwrap().iter().all(|advert| advert["standing"] == "current")
    });
    let state = both.json(&["status", "--json"]);
    assert_eq!(state["adverts"][0]["market"], "golem_base", "{state}");
    assert_eq!(state["adverts"][1]["market"], "discovery_server", "{state}");
    assert_eq!(state["adverts"][1]["place"], server.url());
    assert!(state["adverts"][1]["lapses_at"].is_string());
    both.rent("web-server");
    // S-244
    node.wait_for("advert posted to the discovery server");
    assert!(both.run(&["stop", "--withdraw-advert"]).status.success());
    node.end();
    assert!(server.adverts().is_empty());
    for said in ["renters find this node on the discovery server", "this node is not on the discovery server"]
    {
        assert!(node.seen.iter().any(|line| line.contains(said)), "{said}: {:#?}", node.seen);
    }
}

/// Renting goes on, the operator reads what is wrong and what it costs, and it ends by itself.
#[test]
fn a_discovery_server_that_does_not_answer_is_told_of_and_found_again_without_a_restart() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.block_on(DiscoveryServer::start()).unwrap();
    server.set_fault(ServerFault::Down);
    let home = Home::new()
        .set("GOLEM_PROVIDER_ADVERTISER_TYPE", "discovery_server")
        .set("GOLEM_PROVIDER_MIN_STORAGE_GB", "1")
        .set("GOLEM_PROVIDER_DISCOVERY_URL", server.url());
    let mut node = home.start(&[]);
    node.says("renters who look there do not find this node");
    home.rent("web-server");
    let advert = || home.json(&["status", "--json"])["adverts"][0].clone();
    let problem = advert()["problem"].as_str().unwrap_or_default().to_owned();
    assert!(problem.contains("HTTP status 500") && problem.contains("rentals go on"), "{problem}");
    assert_eq!(home.run(&["market"]).status.code(), Some(1));
    server.set_fault(ServerFault::None);
    wait_until("it is found", || advert()["standing"] == "current");
    assert_eq!(server.adverts().len(), 1);
}

/// S-221: from the faucet that the settings name, on a test network; and never on another.
#[test]
fn s_221_gas_comes_from_the_named_faucet_on_test_networks_only() {
    let market = Market::start(Protocol::GolemBase);
    let emulator = std::sync::Arc::new(market.emulator);
    let bank = std::sync::Arc::clone(&emulator);
    let pay = move |to: Address| {
        bank.set_balance(to, 100_000_000_000_000_000);
        "0x01".to_owned()
    };
    let faucet = market._runtime.block_on(FaucetServer::paying(pay)).unwrap();
    let home = |testnet: bool| {
        let home = Home::new()
            .set("GOLEM_PROVIDER_ADVERTISER_TYPE", "golem_base")
            .set("GOLEM_PROVIDER_GOLEM_BASE_NETWORK", "mine")
            .set("GOLEM_PROVIDER_GOLEM_BASE_RPC_URL", emulator.url())
            .set("GOLEM_PROVIDER_FAUCET_URL", &faucet.url())
            .set("GOLEM_PROVIDER_CAPTCHA_URL", faucet.captcha_url())
            .set("GOLEM_PROVIDER_CAPTCHA_API_KEY", faucet.site())
            .set("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY", &"46".repeat(32));
        let folder = home.data().join("markets");
        std::fs::create_dir_all(&folder).unwrap();
        let profile = format!("generation = \"golem-base\"\nchain_id = 1337\ntestnet = {testnet}\n");
        std::fs::write(folder.join("mine.toml"), profile).unwrap();
        home
    };
    let account = golem_types::Wallet::from_hex(&"46".repeat(32)).unwrap().address();
    emulator.set_balance(account, 0);
    let real = home(false);
    let mut node = real.start(&[]);
    node.says("fix: send gas to the node's wallet");
    drop(node);
    assert_eq!(faucet.paid(), 0);
    let test = home(true);
    let mut node = test.start(&[]);
    node.says("the faucet sent gas for adverts");
    wait_until("the advert", || !emulator.entities().is_empty());
    assert_eq!(faucet.paid(), 1);
}
