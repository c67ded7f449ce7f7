//! A node run from source that moves to the service's place.

use golem_host::move_in::{self, Move};
use golem_test_support::Home;
use jiff::Timestamp;
use serde_json::Value;

use crate::backup::{address, stop};

fn vms(home: &Home) -> Vec<(Value, Value, Value)> {
    let vms = home.json(&["vms", "list", "--json"]);
    vms.as_array()
        .unwrap()
        .iter()
        .map(|vm| (vm["id"].clone(), vm["status"].clone(), vm["ssh_port"].clone()))
        .collect()
}

/// Real guests do the same, which name no place either; only a simulated one can be looked at here.
#[test]
fn h_11_a_node_goes_on_at_another_place_with_its_vms() {
    let mut home = Home::new();
    let mut node = home.start(&[]);
    home.rent("one");
    let (id, before) = (address(&home), vms(&home));
    stop(&mut node);
    let to = home.folder.path().join("var/lib/golem-provider");
    let wanted = Move { from: home.data(), to: to.clone(), owner: None, replace: false };
    let plan = move_in::run(&wanted, Timestamp::now()).unwrap().unwrap();
    assert!(plan.renamed && plan.kept.join("keys/provider_key.json").exists(), "{plan:?}");

    home.environment.insert("GOLEM_PROVIDER_DATA_DIR".into(), to.display().to_string());
    let mut node = home.start(&[]);
    assert_eq!((address(&home), vms(&home)), (id, before));
    assert!(node.seen.iter().any(|line| line.contains("VM adopted")), "it ran on: {:#?}", node.seen);
    assert!(!home.data().exists(), "there is nothing left to start a second node with");
    stop(&mut node);
}
