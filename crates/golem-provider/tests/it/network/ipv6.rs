//! A node that renters reach over IPv6 only: no address is translated, and what keeps them out is a firewall.

use golem_test_support::{Home, Running, wait_until, wanted};
use serde_json::Value;

use super::{Network, node, problem, run};

/// The node's host, the router's two sides, and a host on the internet.
const LAN: &str = "2a0b:cafe:7::2";
const INSIDE: &str = "2a0b:cafe:7::1";
const WAN: &str = "2a0b:cafe:1::1";
const OUTSIDE: &str = "2a0b:cafe:1::9";

impl Network {
    /// The hosts, joined by a router that passes IPv6 on, with a check server on the internet.
    fn over_ipv6(server: &Home) -> Self {
        let mut network = Self::new("");
        network.addresses([LAN, INSIDE, WAN, OUTSIDE], "/64 nodad");
        network.ip("lan", &format!("route add default via {INSIDE}"));
        network.ip("net", &format!("route add default via {WAN}"));
        run(network.at("router", "sysctl").args(["-qw", "net.ipv6.conf.all.forwarding=1"]));
        // Nothing is left of IPv4 between them.
        network.ip("router", "-4 address flush dev wan");
        network.check_server_with("net", server, &["--host", "::"]);
        network
    }
}

fn over_ipv6() -> Home {
    node()
        .set("GOLEM_PROVIDER_HOST", "::")
        .set("GOLEM_PROVIDER_PUBLIC_IP", LAN)
        .set("GOLEM_PROVIDER_PORT_CHECK_SERVERS", &format!("http://[{OUTSIDE}]:9000"))
}

/// Verified, rented out, and reached from outside over IPv6.
#[test]
fn a_node_with_ipv6_only_is_verified_and_reached() {
    let (server, home) = (Home::new(), over_ipv6());
    let network = Network::over_ipv6(&server);
    let report = network.check(&home);
    assert_eq!(report["address"], LAN);
    // S-059
    assert_eq!(report["provider"]["status"], "reachable", "{report:#}");
    assert!(report["ssh"].as_array().unwrap().iter().all(|port| port["status"] == "reachable"));
    assert_eq!(report["problems"], serde_json::json!([]));

    let mut running = Running::of(network.on("lan", &home, &["start"]), "listening on");
    // S-208
    running.says("all 10 SSH ports are reachable");
    let outside = |arguments: &[&str]| {
        let mut curl = network.at("net", "curl");
        let output = curl.args(["-sS", "--max-time", "30"]).args(arguments).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|_| panic!("{}", Home::show(&output)))
    };
    let api = format!("http://[{LAN}]:7466/api/v1");
    assert_eq!(outside(&[&format!("{api}/provider/info")])["ip_address"], LAN);
    let body = wanted("six", None).to_string();
    let vm = outside(&["-H", "Content-Type: application/json", "-d", &body, &format!("{api}/vms")]);
    assert_eq!(vm["status"], "running", "{vm}");
    let id = vm["id"].as_str().unwrap();
    let access = outside(&[&format!("{api}/vms/{id}/access")]);
    assert_eq!((&access["ssh_host"], &access["ssh_port"]), (&LAN.into(), &50800.into()), "{access}");
    wait_until("the guest greets over IPv6", || {
        let greeting =
            format!("import socket; print(socket.create_connection(('{LAN}', 50800), 30).recv(4))");
        let output = network.at("net", "python3").args(["-c", &greeting]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains("SSH-")
    });
}

/// The router's firewall, this host's own, and a node that listens on IPv4 only.
#[test]
fn what_keeps_ipv6_out_is_told_with_its_fix() {
    let (server, home) = (Home::new(), over_ipv6());
    let network = Network::over_ipv6(&server);
    network.rules(
        "router",
        "table ip6 fw { chain pass { type filter hook forward priority 0; iifname \"wan\" tcp flags & (syn | ack) == syn drop; }\n}",
    );
    let (cause, words) = problem(&network.check(&home));
    assert_eq!(cause, "upstream", "{words}");
    assert!(
        // S-252, S-253
        words.contains(&format!("in the router's firewall, let TCP 7466, 50800-50809 in to {LAN}")),
        "{words}"
    );

    run(network.at("router", "nft").args(["delete", "table", "ip6", "fw"]));
    network.rules(
        "lan",
        "table inet fw { chain in { type filter hook input priority 0; tcp dport 50803-50809 drop; }\n}",
    );
    let (cause, words) = problem(&network.check(&home));
    assert_eq!(cause, "firewall", "{words}");
    assert!(words.contains("ufw allow 50803:50809/tcp"), "{words}");

    run(network.at("lan", "nft").args(["delete", "table", "inet", "fw"]));
    let (cause, words) = problem(&network.check(&over_ipv6().set("GOLEM_PROVIDER_HOST", "0.0.0.0")));
    assert_eq!(cause, "ipv6-only", "{words}");
    assert!(words.contains("GOLEM_PROVIDER_HOST=::"), "{words}");
}
