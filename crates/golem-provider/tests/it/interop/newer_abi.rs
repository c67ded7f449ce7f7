//! The published ABI of the newer payment contract, against what the node takes it to be.

use golem_chain::contract::v4;
use golem_test_support::peers::NEWER_ABI;
use golem_testchain::{Anvil, Leases, contracts};
use ruint::aliases::U256;
use serde_json::{Value, json};

use super::table::Table;
use super::world::{shown, tail};

/// Anvil's accounts.
const RENTER: usize = 1;
const PROVIDER: usize = 2;

/// Prints every function, with the names and types of what it answers.
const FUNCTIONS: &str = r#"
import json
from golem_streaming_abi import STREAM_PAYMENT_ABI as abi
named = lambda entry: f"{entry['name']}({','.join(i['type'] for i in entry['inputs'])})"
print(json.dumps({named(e): [f"{o['type']} {o['name']}" for o in e["outputs"]] for e in abi if e["type"] == "function"}))
"#;

const STREAM: [&str; 14] = [
    "address token",
    "address sender",
    "address recipient",
    "uint128 startTime",
    "uint128 stopTime",
    "uint128 providerRatePerSecond",
    "uint256 providerDeposit",
    "uint256 providerWithdrawn",
    "uint16 donationBps",
    "address donationRecipient",
    "uint256 donationDeposit",
    "uint256 donationWithdrawn",
    "bytes32 leaseId",
    "bytes32 termsHash",
];

#[test]
fn the_newer_contract_is_read_as_its_published_abi_says() {
    let mut table = Table::new("golem-streaming-abi 0.1.2, the ABI of the newer payment contract");
    let (succeeded, text) = shown(&NEWER_ABI.python().args(["-c", FUNCTIONS]).output().unwrap());
    assert!(succeeded, "{}", tail(&text));
    let functions: Value = serde_json::from_str(&text).unwrap();
    table.step("functions that the node calls", || {
        for called in v4::CALLED {
            assert!(functions[called].is_array(), "{called} is not in {functions}");
        }
        ((), v4::CALLED.join(", "))
    });
    table.step("streams", || {
        assert_eq!(functions["streams(uint256)"], serde_json::json!(STREAM));
        ((), "fourteen members, in the order in which they are read".to_owned())
    });
    table.end();
}

#[test]
fn the_newer_contract_is_driven_by_web3_with_its_published_abi() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let chain = runtime.block_on(Anvil::start(&contracts(), &[])).unwrap();
    let leases = runtime.block_on(Leases::deploy(&chain, &contracts())).unwrap();
    runtime.block_on(leases.fund(RENTER, U256::from(10).pow(U256::from(18)))).unwrap();
    let settings = json!({
        "rpc": chain.url(),
        "contract": leases.contract.to_string(),
        "token": leases.token.to_string(),
        "provider": Anvil::key(PROVIDER),
        "renter": Anvil::key(RENTER),
    });
    let mut python = NEWER_ABI.python();
    python.arg(contracts().join("clients/streams.py")).arg(settings.to_string());
    let mut table = Table::new("web3.py 7 with golem-streaming-abi 0.1.2, on the contract of version 4");
    table.walk(&python.output().unwrap());
    table.end();
}
