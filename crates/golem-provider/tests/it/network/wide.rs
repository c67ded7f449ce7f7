//! A range of ten thousand ports, the most that a node may have for VMs.

use golem_test_support::{Home, Running};
use serde_json::{Value, json};

use super::{FORWARD, Network, node, problem};

/// As the operator sees it, without a node and with one: all are verified, shown in
/// one line, and told one by one to programs.
#[test]
fn ten_thousand_ports_are_verified_and_shown() {
    let (server, mut home) = (Home::new(), node());
    for (name, text) in [("START", "20000"), ("END", "30000")] {
        home = home.set(&format!("GOLEM_PROVIDER_PORT_RANGE_{name}"), text);
    }
    // All but fifty of them.
    let mut network = Network::new(&FORWARD.replace("50800-50809", "20000-29949"));
    network.check_server("net", &server);
    let report = network.check(&home);
    let (cause, words) = problem(&report);
    assert_eq!(cause, "not-forwarded", "{words}");
    assert!(words.contains("forward TCP 29950-29999 to"), "{words}");

    let mut running = Running::of(network.on("lan", &home, &["start"]), "listening on");
    running.says("9950 of 10000 SSH ports are reachable");
    let output = network.on("lan", &home, &["ports", "list"]).output().unwrap();
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("SSH ports       9950 usable, 0 held by other programs, 10000 in all"), "{table}");
    assert!(table.contains("20000-29949") && table.contains("29950-29999"), "{table}");

    let status =
        |arguments: &[&str]| network.on("lan", &home, &[&["status"], arguments].concat()).output().unwrap();
    let seen: Value = serde_json::from_slice(&status(&["--json"]).stdout).unwrap();
    let ssh = &seen["ports"]["ssh"];
    // S-027
    assert_eq!((&ssh["range"], &ssh["usable_free"]), (&json!([20000, 30000]), &json!(9950)), "{seen}");
    assert_eq!(ssh["issues"]["unreachable"], 50, "{}", ssh["issues"]);
    let ports = ssh["ports"].as_array().unwrap();
    // S-049
    assert_eq!(ports.len(), 10_000);
    assert_eq!(
        (&ports[9949]["status"], &ports[9950]["status"]),
        (&json!("reachable"), &json!("unreachable"))
    );
    let words = status(&[]);
    let words = String::from_utf8_lossy(&words.stdout);
    // S-025
    assert!(words.contains("20000-29999") && words.contains("50 not reachable externally"), "{words}");
}
