//! What goes wrong, and that no money is lost by it.

use std::process::Stdio;

use golem_test_support::{Home, wait_until};
use golem_testchain::Anvil;
use insta::assert_snapshot;
use ruint::aliases::U256;

use super::world::World;

/// Runs a create that must fail; what it prints.
fn fails(world: &World, more: &[&str]) -> String {
    let output = world.run(&[&["create", "web", "--provider", &world.url()], more].concat());
    assert_eq!(output.status.code(), Some(1), "{}", Home::show(&output));
    world.snapshot(&output)
}

/// Nothing was paid, nothing is remembered.
fn untouched(world: &World, before: U256) {
    assert_eq!(world.funds(), before);
    assert_eq!(world.json(&["list"]), serde_json::json!([]));
}

#[test]
fn what_the_renter_does_not_want_is_not_paid() {
    let mut world = World::new();
    let _node = world.home.start(&[]);
    let before = world.funds();
    assert_snapshot!(fails(&world, &["--free"]));
    assert_snapshot!(fails(&world, &["--most", "39.9"]));
    assert_snapshot!(fails(&world, &["--cpu", "3"]));
    // A contract that the renter's networks do not have is not paid, whoever names it.
    assert_snapshot!(fails(&world, &["--payments-network", "l2.holesky"]));
    assert_snapshot!(fails(&world, &["--rpc-url", "http://127.0.0.1:1"]));
    let nobody = world.run(&["create", "web", "--provider", "http://127.0.0.1:1"]);
    assert_snapshot!(world.snapshot(&nobody));
    let wrong = world.run(&["create", "web", "--provider", "127.0.0.1"]);
    assert_snapshot!(world.snapshot(&wrong));
    untouched(&world, before);

    // A wallet without money, and a key that is none.
    world.renter = world.renter.set("GOLEM_RENTER_PRIVATE_KEY", &"7".repeat(64));
    assert_snapshot!(fails(&world, &[]));
    world.renter = world.renter.set("GOLEM_RENTER_PRIVATE_KEY", &format!("{}x", &Anvil::key(1)[1..]));
    let output = world.snapshot(&world.run(&["list"]));
    assert!(!output.contains(&Anvil::key(1)[1..]), "{output}");
    assert_snapshot!(output);
    world.renter = world.renter.set("GOLEM_RENTER_PRIVATE_KEY", &"0".repeat(64));
    assert_snapshot!(fails(&world, &[]));
}

/// The provider changes its mind between its quote and the create: the stream is ended, and all but the
/// seconds and the gas comes back.
#[test]
fn a_provider_that_refuses_after_payment_costs_gas_and_seconds_only() {
    let world = World::new();
    let _node = world.home.start(&[]);
    world.home.json(&["drain", "on", "--json"]);
    let before = world.funds();
    let said = fails(&world, &[]);
    assert!(said.contains("the provider says: provider is draining"), "{said}");
    assert!(said.contains("stream 1 has ended: ") && said.contains(" came back, "), "{said}");
    assert_eq!(world.streams(), (1, 0));
    assert_eq!(world.json(&["list"]), serde_json::json!([]));
    let lost = before - world.funds();
    let minute = U256::from(super::world::RATE) * U256::from(60);
    let gas = U256::from(10).pow(U256::from(16));
    assert!(lost < minute + gas, "{lost}");

    // The name is free again, and the next one is granted.
    world.home.json(&["drain", "off", "--json"]);
    world.create("web", &[]);
    let taken = world.run(&["create", "web", "--provider", &world.url()]);
    assert_snapshot!(world.snapshot(&taken));
}

/// A provider that cannot make the VM does not keep the money.
#[test]
fn a_vm_that_cannot_be_made_is_not_paid_for() {
    let world = World::new();
    let home = world.home.folder.path().join(".golem/provider");
    let _node = world.home.start(&[]);
    // The simulated backend's folder is a file: nothing can be made there, for a while.
    let sim = home.join("sim");
    std::fs::remove_dir_all(&sim).unwrap();
    std::fs::write(&sim, "").unwrap();
    let create =
        world.command(&["create", "web", "--provider", &world.url()]).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("it fails", || world.home.json(&["vms", "list", "--json"])[0]["status"] == "error");
    std::fs::remove_file(&sim).unwrap();
    std::fs::create_dir(&sim).unwrap();
    let output = create.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", Home::show(&output));
    let said = Home::show(&output);
    assert!(said.contains("the provider could not make the VM"), "{said}");
    assert!(said.contains("stream 1 has ended"), "{said}");
    assert_eq!(world.streams(), (1, 0));
}

/// The chain goes away under an open stream: what is paid is remembered, and ended once it can be.
#[test]
fn a_chain_that_goes_away_delays_the_refund_and_loses_nothing() {
    let world = World::new();
    let node = world.home.start(&[]);
    world.create("web", &[]);
    let away = ["--rpc-url", "http://127.0.0.1:1"];
    let stuck = world.run(&[&["destroy", "web"][..], &away].concat());
    assert_snapshot!(world.snapshot(&stuck));
    let list = world.json(&["list"]);
    assert_eq!(list[0]["payment"]["stream_id"], 1, "{list}");
    assert_eq!(world.streams(), (1, 1));
    // Nor does a provider that is gone keep the money.
    drop(node);
    let ended = world.run(&["destroy", "web"]);
    assert!(ended.status.success(), "{}", Home::show(&ended));
    assert_eq!(world.streams(), (1, 0));
    let _node = world.home.start(&[]);
    wait_until("nothing runs unpaid", || world.running() == 0);
}
