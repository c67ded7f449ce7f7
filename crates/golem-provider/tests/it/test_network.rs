//! A payment contract of one's own, and test money, by the true binary on a real EVM.

use alloy_primitives::Address;
use golem_chain::Network;
use golem_chain::contract::Version;
use golem_test_support::Home;
use golem_testchain::{Anvil, CHAIN_ID, contracts, word};
use ruint::aliases::U256;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Anvil's account that is the node's wallet.
const OWN: usize = 2;

struct World {
    runtime: Runtime,
    chain: Anvil,
    token: Address,
    home: Home,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let chain = runtime.block_on(Anvil::start(&contracts(), &[])).unwrap();
        let token = runtime.block_on(chain.deploy(&contracts(), "TestToken", &[U256::ZERO])).unwrap();
        let home = Home::new()
            .set("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY", Anvil::key(OWN))
            .set("GOLEM_PROVIDER_PAYMENTS_NETWORK", "mine")
            .set("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", "");
        Self { runtime, chain, token, home }
    }

    /// What the node's wallet has for gas.
    fn coins(&self) -> U256 {
        self.runtime.block_on(self.chain.balance(self.chain.account(OWN))).unwrap()
    }

    fn tokens(&self, owner: Address) -> U256 {
        let owner = [word(owner)];
        let asked = self.chain.view_of(self.token, "balanceOf(address)", &owner);
        self.runtime.block_on(asked).unwrap()
    }

    fn deploy(&self, name: &str, more: &[&str]) -> std::process::Output {
        self.home.run(&[&["networks", "deploy", name, "--json"], more].concat())
    }

    fn fails(&self, name: &str, more: &[&str]) -> String {
        let before = self.coins();
        let output = self.deploy(name, more);
        assert_eq!(output.status.code(), Some(1), "{}", Home::show(&output));
        assert_eq!(self.coins(), before, "nothing was paid");
        Home::show(&output)
    }

    fn profile(&self, name: &str) -> Option<Network> {
        let file = self.home.data().join(format!("networks/{name}.toml"));
        std::fs::read_to_string(file).ok().map(|text| toml::from_str(&text).unwrap())
    }
}

/// A contract of either version is made where the profile has none, its profile is written, and it is what `networks check`
/// and the contract itself say; nothing is paid unless somebody agreed, nor while gas is dear.
#[test]
fn a_payment_contract_is_made_on_a_network_that_has_none() {
    let world = World::new();
    let url = ["--rpc-url", world.chain.url()];
    let (token, donations) = (world.token.to_string(), world.chain.account(9));
    let recipient = donations.to_string();
    let four =
        [&url[..], &["--version", "4", "--token", &token, "--donation-recipient", &recipient]].concat();
    let yes = |more: &[&'static str]| [four.clone(), more.to_vec()].concat();

    let said = world.fails("mine", &four);
    assert!(said.contains("of gas, which") && said.contains("fix: --yes"), "{said}");
    let said = world.fails("mine", &[&url[..], &["--version", "4", "--yes"]].concat());
    assert!(said.contains("the profile names none; fix: --token"), "{said}");
    let nobody = recipient.as_str();
    let wrong = ["--version", "4", "--token", nobody, "--donation-recipient", nobody, "--yes"];
    assert!(world.fails("mine", &[&url[..], &wrong].concat()).contains("does not answer as one"));
    assert!(world.fails("hoodi", &yes(&["--yes"])).contains("hoodi has the payment contract 0xb5a225b2"));
    assert!(world.fails("other", &["--version", "1", "--yes"]).contains("no payment network is called"));
    let mut dear = Home::new();
    dear.environment.clone_from(&world.home.environment);
    let dear = dear.set("GOLEM_PROVIDER_MAX_GAS_PRICE_GWEI", "0.000000001");
    let output = dear.run(&[&["networks", "deploy", "mine"][..], &yes(&["--yes"])].concat());
    let said = Home::show(&output);
    assert!(output.status.code() == Some(1) && said.contains("no more than"), "{said}");
    assert_eq!(world.profile("mine"), None);

    let before = world.coins();
    let made = world.deploy("mine", &yes(&["--yes"]));
    assert!(made.status.success(), "{}", Home::show(&made));
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let gas: U256 = made["gas_wei"].as_str().unwrap().parse().unwrap();
    assert_eq!(world.coins(), before - gas, "to the wei");
    let profile = world.profile("mine").unwrap();
    let contract = profile.stream_payment_address.unwrap();
    assert_eq!(made["stream_payment_address"].as_str().unwrap().parse(), Ok(contract));
    assert_eq!((profile.chain_id, profile.contract_version, profile.local), (CHAIN_ID, Version::V4, true));
    assert_eq!(
        (profile.token_address, profile.token_symbol.as_str()),
        (world.token, "TST"),
        "as the token says"
    );
    let says =
        |signature: &str| world.runtime.block_on(world.chain.view_of(contract, signature, &[])).unwrap();
    assert_eq!((says("glmToken()"), says("donationRecipient()")), (word(world.token), word(donations)));
    let checked = world.home.json(&["networks", "check", "mine", "--json"]);
    assert_eq!((&checked["reachable"], &checked["contract_version"]), (&json!(true), &json!(4)), "{checked}");
    assert!(world.fails("mine", &yes(&["--yes"])).contains("mine has the payment contract"));

    // Of version 1, on a profile that is there and lacks it.
    let bare = Network { stream_payment_address: None, contract_version: Version::V1, ..profile };
    golem_chain::network::save(&world.home.data(), "older", &bare).unwrap();
    let made = world.deploy("older", &["--version", "1", "--yes"]);
    assert!(made.status.success(), "{}", Home::show(&made));
    let checked = world.home.json(&["networks", "check", "older", "--json"]);
    assert_eq!((&checked["reachable"], &checked["contract_version"]), (&json!(true), &json!(1)), "{checked}");

    // A node that runs numbers the wallet's transactions.
    let _node = world.home.start(&[]);
    assert!(world.fails("third", &yes(&["--yes"])).contains("a provider runs already"));
}

/// Test tokens come by their contract, for the operator's wallet and for a renter's; gas by a link; and none of real money.
#[test]
fn test_tokens_come_from_their_contract_and_gas_from_a_link() {
    let world = World::new();
    let page = "https://faucet.example/";
    let save = |testnet| {
        let network = Network {
            rpc_url: Some(world.chain.url().to_owned()),
            stream_payment_address: Some(world.chain.contract()),
            token_address: world.token,
            token_symbol: "TST".to_owned(),
            token_minter: Some(world.token),
            faucet_page: Some(page.to_owned()),
            chain_id: CHAIN_ID,
            testnet,
            ..golem_chain::network::shipped().remove("mainnet").unwrap()
        };
        golem_chain::network::save(&world.home.data(), "mine", &network).unwrap();
    };
    let own = world.chain.account(OWN);
    save(false);
    // S-223
    assert_eq!(world.home.json(&["wallet", "faucet", "--json"])["requested"], false);
    assert_eq!(world.tokens(own), U256::ZERO);
    save(true);
    let thousand = U256::from(10).pow(U256::from(21));
    let given = world.home.json(&["wallet", "faucet", "--json"]);
    // S-016
    assert_eq!((&given["requested"], &given["gas_from"]), (&json!(true), &json!(page)), "{given}");
    assert_eq!(
        (&given["balance_before_wei"], &given["balance_wei"]),
        (&json!("0"), &json!(thousand.to_string()))
    );
    assert_eq!(world.tokens(own), thousand);
    let text = world.home.run(&["wallet", "faucet-l2"]);
    let said = Home::show(&text);
    assert!(said.contains("Balance: 2000 TST, before 1000"), "{said}");
    assert!(said.contains(&format!("Gas: {page} gives ETH to {own}")), "{said}");

    // A renter's wallet of its own folder; and one that has nothing to pay gas with is told where that comes from.
    let rent = |key: &str| {
        let arguments = ["rent", "faucet", "--payments-network", "mine", "--json"];
        let output = world.home.command(&arguments).env("GOLEM_RENTER_PRIVATE_KEY", key).output().unwrap();
        let json: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", Home::show(&output)));
        (output.status.code(), json)
    };
    let (code, given) = rent(Anvil::key(1));
    assert_eq!((code, &given["requested"]), (Some(0), &json!(true)), "{given}");
    assert_eq!(world.tokens(world.chain.account(1)), thousand);
    let (code, refused) = rent(&"7".repeat(64));
    assert_eq!((code, &refused["requested"], &refused["gas_from"]), (Some(1), &json!(false), &json!(page)));
    assert!(refused["reason"].as_str().unwrap().contains("nothing to pay gas with"), "{refused}");
}
