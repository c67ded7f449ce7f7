//! A chain that takes no transaction for long, or one with too little gas.

use std::process::Stdio;

use golem_test_support::{Home, wait_until};
use golem_testchain::{Limits, Provider, Says};
use serde_json::{Value, json};

use super::world::{RENTER, World, wei};

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

/// M-18: a transaction that ran out of gas is not told to be refused: it is sent again with more, both are booked, and one stream
/// is opened.
#[test]
fn m_18_a_transaction_that_ran_out_of_gas_is_sent_again_with_more() {
    let world = World::new();
    let _node = world.home.start(&[]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    // An endpoint that says too little of what opening a stream takes.
    let limits = Limits { gas_percent: 10, ..Limits::NONE };
    let endpoint = runtime.block_on(Provider::start(world.chain.url(), limits)).unwrap();
    let before = world.funds();
    let create = ["create", "web", "--provider", &world.url(), "--rpc-url", endpoint.url(), "--json"];
    let output = world.run(&create);
    assert!(output.status.success(), "{}", Home::show(&output));
    // M-18
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("ran out of gas; it is sent again with more") && !said.contains("refused"),
        "{said}"
    );
    let sent = world.ask("eth_getTransactionCount", json!([world.chain.account(RENTER), "latest"]));
    assert_eq!((world.streams(), world.running(), sent), ((1, 1), 1, json!("0x2")));
    let gas = wei(&output, "gas_wei");
    assert_eq!(world.funds(), before - world.stream(1).deposit - gas, "what the first cost is booked, too");
    world.json(&["destroy", "web", "--rpc-url", endpoint.url()]);
    assert_eq!((world.streams().1, world.running()), (0, 0));
}

/// M-08: an endpoint that is behind the block that opened the stream knows nothing of it; nobody takes that for its end.
#[test]
fn m_08_an_endpoint_that_is_behind_loses_no_stream() {
    let world = World::new();
    let _node = world.home.start(&[]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let start = |limits| runtime.block_on(Provider::start(world.chain.url(), limits)).unwrap();
    let replicas = start(Limits { lagging_percent: 50, ..Limits::NONE });
    let before = world.funds();
    let create = ["create", "web", "--provider", &world.url(), "--rpc-url", replicas.url(), "--json"];
    let output = world.run(&create);
    // M-08
    assert!(output.status.success(), "{}", Home::show(&output));
    assert_eq!((world.streams(), world.running()), ((1, 1), 1));
    // One that stands where there was no stream yet.
    let stalled = start(Limits::saying(Says::Stalled(1)));
    let output = world.run(&["destroy", "web", "--rpc-url", stalled.url()]);
    let said = Home::show(&output);
    assert!(!output.status.success() && said.contains("does not know stream 1"), "{said}");
    assert_eq!(world.streams(), (1, 1), "it is not forgotten");
    let ended = world.json(&["destroy", "web", "--rpc-url", world.chain.url()]);
    assert_eq!((ended["stream_id"].clone(), world.streams().1), (json!(1), 0), "{ended}");
    assert!(world.funds() > before - world.stream(1).deposit, "the rest came back: {ended}");
}
