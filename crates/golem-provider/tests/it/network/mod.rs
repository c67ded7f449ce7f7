//! Ports behind a real router: hosts in network namespaces, nftables between them, the true binary on
//! both ends. Each cause that keeps renters out is brought about and has to be called by its name.
mod ipv6;
mod mapping;
#[cfg(feature = "peer-tests")]
mod wide;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use golem_test_support::{Home, Running, wait_until};
use serde_json::Value;

/// The node's host, the router's two sides, and a host on the internet: with addresses that are in
/// nobody's list of reserved ones, because real routers refuse those.
const LAN: &str = "192.168.7.2";
const INSIDE: &str = "192.168.7.1";
const PUBLIC: &str = "44.0.113.1";
const OUTSIDE: &str = "44.0.113.9";

/// The ports: that of the API, and ten for VMs.
const PORTS: &str = "7466, 50800-50809";

/// What the router forwards when all is well.
const FORWARD: &str = "chain in { type nat hook prerouting priority dstnat; \
    iifname \"wan\" tcp dport { 7466, 50800-50809 } dnat ip to 192.168.7.2; }";

/// Three hosts in a row: `lan`, `router`, `net`.
struct Network {
    name: String,
    children: Vec<Child>,
    servers: Vec<Running>,
}

impl Drop for Network {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.servers.clear();
        for host in ["lan", "router", "net"] {
            let _ = Command::new("ip").args(["netns", "delete", &self.host(host)]).output();
        }
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", Home::show(&output));
}

impl Network {
    /// The hosts, joined by a router that translates what goes out, and does `more` besides.
    fn new(more: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("golem{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let network = Self { name, children: Vec::new(), servers: Vec::new() };
        for host in ["lan", "router", "net"] {
            run(Command::new("ip").args(["netns", "add", &network.host(host)]));
            network.ip(host, "link set lo up");
        }
        let link = |one: &str, its: &str, other: &str, others: &str| {
            let (one, other) = (network.host(one), network.host(other));
            run(Command::new("ip").args([
                "link", "add", its, "netns", &one, "type", "veth", "peer", "name", others, "netns", &other,
            ]));
        };
        link("lan", "eth", "router", "inside");
        link("net", "eth", "router", "wan");
        network.addresses([LAN, INSIDE, PUBLIC, OUTSIDE], "/24");
        network.ip("lan", &format!("route add default via {INSIDE}"));
        run(network.at("router", "sysctl").args(["-qw", "net.ipv4.ip_forward=1"]));
        network.rules("router", &format!(
            "table ip nat {{ chain out {{ type nat hook postrouting priority srcnat; oifname \"wan\" masquerade; }}\n {more}\n}}"
        ));
        network
    }

    fn host(&self, host: &str) -> String {
        format!("{}{host}", self.name)
    }

    /// `program`, run on `host`.
    fn at(&self, host: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.host(host)]).arg(program);
        command
    }

    fn ip(&self, host: &str, arguments: &str) {
        run(Command::new("ip").args(["-n", &self.host(host)]).args(arguments.split(' ')));
    }

    /// Gives the node's host, the router's two sides and the host outside these addresses, which end in
    /// `more`.
    fn addresses(&self, addresses: [&str; 4], more: &str) {
        let sides = [("lan", "eth"), ("router", "inside"), ("router", "wan"), ("net", "eth")];
        for ((host, device), address) in sides.into_iter().zip(addresses) {
            self.ip(host, &format!("address add dev {device} {address}{more}"));
            self.ip(host, &format!("link set {device} up"));
        }
    }

    fn rules(&self, host: &str, rules: &str) {
        run(self.at(host, "nft").arg(rules));
    }

    /// `command`, as `home` would run it, on `host`.
    fn on(&self, host: &str, home: &Home, arguments: &[&str]) -> Command {
        let own = home.command(arguments);
        let mut command = self.at(host, own.get_program());
        command.args(own.get_args()).env_clear().stdin(Stdio::null());
        command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(own.get_current_dir().unwrap_or(Path::new("/")));
        command
    }

    /// Runs our check server on `host`.
    fn check_server(&mut self, host: &str, home: &Home) {
        self.check_server_with(host, home, &[]);
    }

    fn check_server_with(&mut self, host: &str, home: &Home, more: &[&str]) {
        let command = self.on(host, home, &[&["port-checker", "--port", "9000"], more].concat());
        self.servers.push(Running::of(command, "checking ports on"));
    }

    /// Something on `host` that accepts connections on `port` and says nothing.
    fn other_program(&mut self, host: &str, port: u16) {
        let script = format!(
            "import socket, time\ns = socket.create_server(('0.0.0.0', {port}))\nprint('up', flush=True)\ntime.sleep(600)"
        );
        let child = self.at(host, "python3").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        self.children.push(child);
        wait_until("the other program", || {
            let listens = self.at(host, "cat").arg("/proc/net/tcp").output().unwrap();
            String::from_utf8_lossy(&listens.stdout).contains(&format!("00000000:{port:04X} "))
        });
    }

    /// What `ports check` on the node's host reports.
    fn check(&self, home: &Home) -> Value {
        let output = self.on("lan", home, &["ports", "check", "--json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", Home::show(&output)))
    }
}

/// A node behind the router, with the check server on the internet.
fn node() -> Home {
    let mut home = Home::new();
    for (name, text) in [
        ("HOST", "0.0.0.0"),
        ("PORT", "7466"),
        ("PORT_RANGE_START", "50800"),
        ("PORT_RANGE_END", "50810"),
        ("PUBLIC_IP", PUBLIC),
        ("SKIP_PORT_VERIFICATION", "false"),
        ("PORT_CHECK_SERVERS", "http://44.0.113.9:9000"),
    ] {
        home = home.set(&format!("GOLEM_PROVIDER_{name}"), text);
    }
    home
}

/// The one problem in `report`: its cause, and all of its words.
fn problem(report: &Value) -> (String, String) {
    let problems = report["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 1, "{report:#}");
    (problems[0]["cause"].as_str().unwrap().to_owned(), problems[0].to_string())
}

#[test]
fn ports_that_are_forwarded_are_reachable_through_the_router() {
    let (server, home) = (Home::new(), node());
    let mut network = Network::new(FORWARD);
    network.check_server("net", &server);
    let report = network.check(&home);
    assert_eq!(report["provider"]["status"], "reachable", "{report:#}");
    assert!(report["ssh"].as_array().unwrap().iter().all(|port| port["status"] == "reachable"));
    assert_eq!(report["problems"], serde_json::json!([]));
}

/// A router that forwards nothing, whether it refuses or is silent.
#[test]
fn a_router_that_does_not_forward_is_called_that() {
    let silent = "chain closed { type filter hook input priority 0; iifname \"wan\" tcp flags & (syn | ack) == syn drop; }";
    for (more, reason) in [("", "refused"), (silent, "timed_out")] {
        let (server, home) = (Home::new(), node());
        let mut network = Network::new(more);
        network.check_server("net", &server);
        let report = network.check(&home);
        assert_eq!(report["provider"]["reason"], reason, "{report:#}");
        let (cause, words) = problem(&report);
        assert_eq!(cause, "not-forwarded");
        // S-252, S-253
        assert!(words.contains(&format!("forward TCP {PORTS} to {LAN}")), "{words}");
        // Nothing of the look is left.
        let tables = network.at("lan", "nft").args(["list", "tables"]).output().unwrap();
        assert!(
            !String::from_utf8_lossy(&tables.stdout).contains("golem_provider_ports"),
            "{}",
            Home::show(&tables)
        );
    }
}

/// The host's own firewall, which the router's forwarding reaches.
#[test]
fn the_firewall_of_this_host_is_called_that() {
    for verdict in ["drop", "reject with tcp reset"] {
        let (server, home) = (Home::new(), node());
        let mut network = Network::new(FORWARD);
        network.check_server("net", &server);
        network.rules("lan", &format!(
            "table inet fw {{ chain in {{ type filter hook input priority 0; tcp dport 50803-50809 {verdict}; }}\n}}"
        ));
        let report = network.check(&home);
        assert_eq!(report["provider"]["status"], "reachable", "{report:#}");
        let (cause, words) = problem(&report);
        assert_eq!(cause, "firewall", "{words}");
        // S-253
        assert!(words.contains("ufw allow 50803:50809/tcp"), "{words}");
        assert!(words.contains("7 of 10 SSH ports are not rented out"), "{words}");
    }
}

/// S-252: another program on the port, and another machine behind it.
#[test]
fn s_252_who_else_has_the_port_is_named() {
    let (server, home) = (Home::new(), node());
    let mut network = Network::new(FORWARD);
    network.check_server("net", &server);
    network.other_program("lan", 50801);
    let report = network.check(&home);
    let (cause, words) = problem(&report);
    assert_eq!(cause, "port-held");
    assert!(words.contains("TCP 50801 is in use by python3"), "{words}");

    // The router keeps the API's port for itself.
    let without = FORWARD.replace("7466, ", "");
    let mut network = Network::new(&without);
    network.check_server("net", &Home::new());
    network.other_program("router", 7466);
    let report = network.check(&home);
    let (cause, words) = problem(&report);
    assert_eq!(cause, "another-answers", "{words}");
    assert!(words.contains(&format!("something else answers on TCP 7466 at {PUBLIC}")), "{words}");
}

/// S-252: an address that is not the node's, one of its own network, and a check server in that network.
#[test]
fn s_252_a_wrong_address_is_told_with_the_right_one() {
    let server = Home::new();
    let mut network = Network::new(FORWARD);
    network.check_server("net", &server);
    for wrong in ["44.0.113.77", LAN] {
        let report = network.check(&node().set("GOLEM_PROVIDER_PUBLIC_IP", wrong));
        let (cause, words) = problem(&report);
        assert_eq!(cause, "wrong-address", "{words}");
        assert!(words.contains(&format!("GOLEM_PROVIDER_PUBLIC_IP={PUBLIC}")), "{words}");
    }
    network.check_server("router", &Home::new());
    let inside = node().set("GOLEM_PROVIDER_PORT_CHECK_SERVERS", "http://192.168.7.1:9000");
    let (cause, words) = problem(&network.check(&inside));
    assert_eq!(cause, "wrong-address", "{words}");
    assert!(words.contains("not outside"), "{words}");
}

/// A router that loops back what the node's own network sends to the public address (hairpin NAT), and lets
/// nobody in from outside: a check server inside is fooled, and does not count beside one outside.
#[test]
fn a_check_server_that_the_router_loops_back_is_not_believed() {
    let looped = FORWARD.replace("iifname \"wan\"", "iifname \"inside\" ip daddr 44.0.113.1")
        + "\nchain back { type nat hook postrouting priority srcnat - 1; ip daddr 192.168.7.2 masquerade; }";
    let mut network = Network::new(&looped);
    network.check_server("net", &Home::new());
    let (inside, outside) = ("http://192.168.7.2:9000", "http://44.0.113.9:9000");
    network.check_server_with("lan", &Home::new(), &["--allow-any-target"]);

    let report = network.check(&node().set("GOLEM_PROVIDER_PORT_CHECK_SERVERS", inside));
    assert_eq!(report["provider"]["status"], "reachable", "{report:#}");
    let (cause, words) = problem(&report);
    // S-254
    assert_eq!(cause, "only-inside", "{words}");
    assert!(words.contains(&format!("{inside} stands in the same network")), "{words}");

    let both = format!("{inside},{outside}");
    let report = network.check(&node().set("GOLEM_PROVIDER_PORT_CHECK_SERVERS", &both));
    // S-071
    assert_eq!(report["provider"]["status"], "unreachable", "{report:#}");
    assert_eq!(
        (&report["sources"][0]["inside"], &report["sources"][1]["inside"]),
        (&true.into(), &false.into())
    );
    assert_eq!(problem(&report).0, "not-forwarded");
}

/// S-254: a line that is cut, and another server by a setting.
#[test]
fn s_254_a_check_server_that_is_gone_is_told_and_another_is_used() {
    let mut network = Network::new(FORWARD);
    network.check_server("net", &Home::new());
    let gone = "http://44.0.113.9:9001";
    let (cause, words) = problem(&network.check(&node().set("GOLEM_PROVIDER_PORT_CHECK_SERVERS", gone)));
    assert_eq!(cause, "no-answer");
    assert!(words.contains("GOLEM_PROVIDER_PORT_CHECK_SERVERS") && words.contains(gone), "{words}");
    let both = format!("{gone},http://44.0.113.9:9000");
    let report = network.check(&node().set("GOLEM_PROVIDER_PORT_CHECK_SERVERS", &both));
    assert_eq!(report["provider"]["status"], "reachable", "{report:#}");
}

/// The published check server, beside our own and alone: it agrees on what is open and what is not.
#[cfg(feature = "peer-tests")]
#[test]
fn s_064_the_published_check_server_is_a_source() {
    let mut network = Network::new(&FORWARD.replace("50800-50809", "50800-50804"));
    network.check_server("net", &Home::new());
    let published = network
        .at("net", golem_test_support::peers::PORT_CHECKER.program())
        .env("PORT_CHECKER_HOST", "0.0.0.0")
        .env("PORT_CHECKER_PORT", "9100")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    network.children.push(published);
    wait_until("the published server", || {
        let listens = network.at("net", "cat").arg("/proc/net/tcp").output().unwrap();
        String::from_utf8_lossy(&listens.stdout).contains("00000000:238C ")
    });
    for (servers, agreed) in
        [("http://44.0.113.9:9100", 1), ("http://44.0.113.9:9100,http://44.0.113.9:9000", 2)]
    {
        let report = network.check(&node().set("GOLEM_PROVIDER_PORT_CHECK_SERVERS", servers));
        for port in report["ssh"].as_array().unwrap() {
            let open = port["port"].as_u64().unwrap() < 50805;
            assert_eq!(port["status"], if open { "reachable" } else { "unreachable" }, "{report:#}");
            assert_eq!(port["agreed"], agreed, "{report:#}");
        }
        assert_eq!(problem(&report).0, "not-forwarded");
    }
}
