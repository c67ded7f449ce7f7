//! A chain that takes no transaction for long.

use std::process::Stdio;

use golem_test_support::{Home, wait_until};
use serde_json::{Value, json};

use super::world::{RENTER, World};

/// The fee that the renter's waiting transaction offers for a unit of gas, in wei.
fn fee(world: &World) -> Option<u128> {
    let waiting = world.ask("txpool_content", json!([]));
    let of_renter = waiting["pending"].as_object()?.iter().find_map(|(from, transactions)| {
        (from.parse() == Ok(world.chain.account(RENTER))).then_some(transactions)
    })?;
    let [transaction] = of_renter.as_object()?.values().collect::<Vec<_>>()[..] else { return None };
    u128::from_str_radix(transaction["maxFeePerGas"].as_str()?.strip_prefix("0x")?, 16).ok()
}

/// What waits for long is sent with a higher fee, in place of the first: one stream is opened, and a command
/// that is killed meanwhile knows of both.
#[test]
fn a_transaction_that_waits_for_long_is_sent_with_a_higher_fee_and_pays_once() {
    let world = World::new();
    let _node = world.home.start(&[]);
    world.ask("evm_setAutomine", json!([false]));
    let url = world.url();
    let create = || {
        let mut command = world.command(&["create", "web", "--provider", &url, "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut killed = create();
    wait_until("it is sent", || fee(&world).is_some());
    let first = fee(&world).unwrap();
    wait_until("it is sent with a higher fee", || fee(&world).is_some_and(|fee| fee >= first + first / 10));
    killed.kill().unwrap();
    killed.wait().unwrap();

    let child = create();
    world.ask("evm_setAutomine", json!([true]));
    world.ask("evm_mine", json!([]));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", Home::show(&output));
    let vm: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&vm["status"], &vm["payment"]["stream_id"]), (&json!("running"), &json!(1)), "{vm}");
    assert_eq!(vm["payment"]["pending"], Value::Null, "{vm}");
    assert_eq!((world.streams(), world.running()), ((1, 1), 1));
}
