//! The published ABI of the newer payment contract, against what the node takes it to be.

use golem_chain::contract::v4;
use golem_test_support::peers::NEWER_ABI;
use serde_json::Value;

use super::table::Table;
use super::world::{shown, tail};

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
