//! The original's requestor, unmodified, looks for the node. Needs python3-venv, and a package index
//! once.

use std::process::Command;

use golem_test_support::peers::REQUESTOR;
use golem_test_support::{Home, wait_until};
use market_emulator::{Emulator, Protocol};
use serde_json::Value;

use super::table::Table;

#[test]
fn s_017_the_originals_requestor_finds_the_node() {
    let program = REQUESTOR.program();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let emulator = runtime.block_on(Emulator::start(Protocol::GolemBase, 60_138_453_033)).unwrap();
    let home = Home::new()
        .set("GOLEM_PROVIDER_ADVERTISER_TYPE", "golem_base")
        .set("GOLEM_PROVIDER_GOLEM_BASE_RPC_URL", emulator.url())
        .set("GOLEM_PROVIDER_PUBLIC_IP", "203.0.113.7")
        .set("GOLEM_PROVIDER_PRICE_GLM_PER_CORE_MONTH", "25")
        .set("GOLEM_PROVIDER_PRICE_GLM_PER_GB_STORAGE_MONTH", "0.00001");
    let _node = home.start(&["--network", "testnet"]);
    wait_until("the advert", || !emulator.entities().is_empty());

    let folder = tempfile::tempdir().unwrap();
    let find = |more: &[&str]| -> Value {
        let output = Command::new(&program)
            .args(["vm", "providers", "--json", "--driver", "golem-base"])
            .args(more)
            .env_clear()
            .env("HOME", folder.path())
            .env("GOLEM_REQUESTOR_GOLEM_BASE_RPC_URL", emulator.url())
            .env("GOLEM_REQUESTOR_GOLEM_BASE_WS_URL", emulator.url().replace("http", "ws"))
            .current_dir(folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let document = text.find("{\n").map(|at| &text[at..]).unwrap_or_default();
        serde_json::from_str(document).unwrap_or_else(|_| panic!("{}", Home::show(&output)))
    };
    let mut table = Table::new("request-vm-on-golem 0.1.58, what it finds on Golem Base");
    table.step("vm providers --network testnet", || ((), seen(&find(&["--network", "testnet"]), &home)));
    for (name, arguments) in [
        ("another market", &["--network", "mainnet"][..]),
        ("more than the node has", &["--network", "testnet", "--cpu", "5000"]),
    ] {
        table.step(name, || {
            let none = find(arguments);
            // S-118
            assert_eq!(none["providers"], serde_json::json!([]), "{none}");
            ((), "the node is not among them".to_owned())
        });
    }
    table.end();
}

/// What the node's advert says is what the requestor sees.
fn seen(found: &Value, home: &Home) -> String {
    let [provider] = found["providers"].as_array().unwrap().as_slice() else { panic!("{found}") };
    let key = std::fs::read_to_string(home.data().join("keys/provider_key.json")).unwrap();
    let key: Value = serde_json::from_str(&key).unwrap();
    assert_eq!(provider["provider_id"], key["address"]);
    assert_eq!(provider["ip_address"], "203.0.113.7");
    assert_eq!(provider["payments_network"], "l2.holesky");
    assert_eq!(provider["pricing"]["glm_per_core_month"], 25.0);
    assert_eq!(provider["pricing"]["glm_per_gb_storage_month"], 1e-5);
    assert_eq!(provider["pricing"]["usd_per_core_month"], 5.0);
    "identity, address, payment network and prices".to_owned()
}
