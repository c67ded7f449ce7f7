//! Ports that the router forwards because it was asked: by a real one (miniupnpd) in each protocol, and
//! by ones that misbehave.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use golem_test_support::{Home, Running, wait_until};
use rustix::process::Signal;
use serde_json::Value;

use super::{FORWARD, INSIDE, LAN, Network, OUTSIDE, PORTS, PUBLIC, node, problem};

/// What miniupnpd writes its rules into.
const CHAINS: &str = "table inet gateway { chain forwarded { }\n chain translated { }\n chain sent { }\n \
    chain in { type nat hook prerouting priority dstnat; jump translated; }\n }";

/// What lets it speak NAT-PMP and PCP as well as UPnP.
const ALL: &str = "enable_natpmp=yes";

/// Keeps PCP from the router, and lets NAT-PMP through, which has the same port.
const NO_PCP: &str =
    "table inet nopcp { chain in { type filter hook input priority 0; udp dport 5351 @th,64,8 2 drop; }\n }";

/// A router that misbehaves: how, the address that it says it has, and how long its leases last.
const FAKE: &str = include_str!("router.py");

impl Network {
    /// Runs miniupnpd on the router, with `more` in its configuration.
    fn gateway(&mut self, home: &Home, more: &str) {
        self.rules("router", CHAINS);
        let folder = home.folder.path();
        let (configuration, pid) = (folder.join("gateway.conf"), folder.join("gateway.pid"));
        let text = format!(
            "ext_ifname=wan\nlistening_ip=inside\nenable_upnp=yes\nipv6_disable=yes\nsecure_mode=yes\n\
             upnp_table_name=gateway\nupnp_nat_table_name=gateway\nupnp_forward_chain=forwarded\n\
             upnp_nat_chain=translated\nupnp_nat_postrouting_chain=sent\nmin_lifetime=30\nmax_lifetime=7200\n\
             uuid=6a8d1ab0-0000-4000-8000-000000000001\n{more}\n"
        );
        std::fs::write(&configuration, text).unwrap();
        let mut command = self.at("router", "miniupnpd");
        command.arg("-d").arg("-f").arg(configuration).arg("-P").arg(pid).stdout(Stdio::null());
        self.servers.push(Running::of(command, "HTTP listening on port"));
    }

    /// Runs the router's fake, whose leases last `lease` seconds at most.
    fn fake(&mut self, mode: &str, address: &str, lease: &str) {
        let mut command = self.at("router", "python3");
        let mut child =
            command.args(["-c", FAKE, mode, address, lease]).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
        self.children.push(child);
    }

    /// What the fake was asked for, when it is gone.
    fn asked(&mut self) -> String {
        let mut fake = self.children.pop().unwrap();
        fake.kill().unwrap();
        fake.wait().unwrap();
        let mut text = String::new();
        fake.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// What the router forwards on request.
    fn forwarded(&self) -> String {
        let list = self.at("router", "nft").args(["list", "chain", "inet", "gateway", "translated"]).output();
        let rules = String::from_utf8(list.unwrap().stdout).unwrap();
        rules.lines().filter(|line| line.contains("dnat")).collect()
    }

    /// `ports map` on the node's host, when it holds what it got.
    fn map(&self, home: &Home) -> Running {
        self.map_with(home, &["ports", "map", "--json"])
    }

    fn map_with(&self, home: &Home, arguments: &[&str]) -> Running {
        let mut command = self.on("lan", home, arguments);
        command.stdout(Stdio::piped());
        Running::of(command, "Forwarded until Ctrl-C")
    }

    fn ports(&self, home: &Home, arguments: &[&str]) -> std::process::Output {
        self.on("lan", home, &[&["ports"], arguments].concat()).output().unwrap()
    }
}

/// Ends `ports map` as Ctrl-C does; its report.
fn interrupted(mut map: Running) -> Value {
    map.signal(Signal::INT);
    assert_eq!(map.end(), Some(0), "{:#?}", map.seen);
    serde_json::from_str(&printed(&mut map)).unwrap()
}

/// What a program that has ended printed.
fn printed(map: &mut Running) -> String {
    let mut text = String::new();
    map.child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

/// All that an operator reads of a program that has ended.
fn read(map: &mut Running) -> String {
    format!("--- stdout\n{}--- stderr\n{}", printed(map), map.seen.join("\n"))
}

/// A router that forwards nothing is told to by each protocol, and forwards nothing again afterwards.
#[test]
fn the_router_forwards_on_request_in_each_protocol_and_no_longer_after_it() {
    for (protocol, more, rules) in [("pcp", ALL, ""), ("nat-pmp", ALL, NO_PCP), ("upnp-igd", "", "")] {
        let (server, home, router) = (Home::new(), node(), Home::new());
        let mut network = Network::new("");
        network.check_server("net", &server);
        network.gateway(&router, more);
        if !rules.is_empty() {
            network.rules("router", rules);
        }
        let (cause, words) = problem(&network.check(&home));
        assert_eq!(cause, "not-forwarded");
        // S-252
        assert!(words.contains("golem-provider ports map"), "{words}");

        let map = network.map(&home);
        let report = network.check(&home);
        assert_eq!(report["provider"]["status"], "reachable", "{protocol}: {report:#}");
        assert!(report["ssh"].as_array().unwrap().iter().all(|port| port["status"] == "reachable"));

        let report = interrupted(map);
        assert_eq!(report["protocol"], protocol, "{report:#}");
        assert_eq!((&report["gateway"], &report["to"]), (&INSIDE.into(), &LAN.into()), "{report:#}");
        assert_eq!(report["external_address"], PUBLIC, "{report:#}");
        assert_eq!(report["lease_seconds"], 3600, "{report:#}");
        assert_eq!(report["ports"].as_array().unwrap().len(), 11);
        assert_eq!(report["problems"], serde_json::json!([]));
        assert_eq!(network.forwarded(), "");
        assert_eq!(problem(&network.check(&home)).0, "not-forwarded");
    }
}

/// A node that was told to maps its ports when it starts, rents only what is reachable by then, and
/// leaves nothing behind.
#[test]
fn a_node_keeps_its_ports_mapped_while_it_runs() {
    let (server, router) = (Home::new(), Home::new());
    let home = node().set("GOLEM_PROVIDER_PORT_MAPPING", "true");
    let mut network = Network::new("");
    network.check_server("net", &server);
    network.gateway(&router, ALL);
    let mut running = Running::of(network.on("lan", &home, &["start"]), "listening on");
    running.says("the router forwards 11 ports to this node");
    wait_until("the ports are seen to be reachable", || {
        let output = network.ports(&home, &["list", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["ssh"].as_array().unwrap().iter().all(|port| port["status"] == "reachable")
    });
    for command in ["map", "unmap"] {
        let output = network.ports(&home, &[command]);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(words.contains("GOLEM_PROVIDER_PORT_MAPPING") && !output.status.success(), "{words}");
    }
    running.signal(Signal::TERM);
    assert_eq!(running.end(), Some(0));
    assert_eq!(network.forwarded(), "");
}

/// A node that starts anew leaves to itself what the router forwards, and has it removed where it no longer
/// wants that.
#[test]
fn a_reload_shuts_no_renter_out() {
    let (home, router) = (node(), Home::new());
    let settings = |text: &str| std::fs::write(home.folder.path().join(".env"), text).unwrap();
    settings("GOLEM_PROVIDER_PORT_MAPPING=true");
    let mut network = Network::new("");
    network.gateway(&router, ALL);
    let mut running = Running::of(network.on("lan", &home, &["start"]), "listening on");
    running.says("the router forwards 11 ports to this node");
    let before = network.forwarded();
    assert!(before.contains("7466") && before.contains("50809"), "{before}");
    settings("GOLEM_PROVIDER_PORT_MAPPING=true\nGOLEM_PROVIDER_MAX_VMS=3");
    running.signal(Signal::HUP);
    running.wait_for("the router forwards 11 ports on, for the node that starts anew");
    assert_eq!(network.forwarded(), before);
    running.wait_for("listening on");
    running.wait_for("the router forwards 11 ports to this node");

    settings("GOLEM_PROVIDER_PORT_MAPPING=false");
    running.signal(Signal::HUP);
    running.wait_for("the router forwards no port to this node any more");
    assert_eq!(network.forwarded(), "");
    running.wait_for("listening on");
    running.signal(Signal::TERM);
    assert_eq!(running.end(), Some(0));
}

/// What a program that was killed leaves in the router is its own when it comes again, and goes when it is told to.
#[test]
fn what_a_killed_program_left_is_taken_over_and_removed() {
    for more in [ALL, ""] {
        let (home, router) = (node(), Home::new());
        let mut network = Network::new("");
        network.gateway(&router, more);
        for _twice in 0..2 {
            let mut map = network.map(&home);
            map.child.kill().unwrap();
            map.child.wait().unwrap();
            assert!(network.forwarded().contains("7466"));
        }
        let output = network.ports(&home, &["unmap"]);
        assert!(output.status.success(), "{}", Home::show(&output));
        assert_eq!(network.forwarded(), "", "{}", Home::show(&output));
    }
}

/// A real router that does not allow it, for some ports and for all.
#[test]
fn a_router_that_does_not_allow_it_is_told_with_the_fix() {
    let (home, router) = (node(), Home::new());
    let mut network = Network::new("");
    let some = "allow 7466 192.168.7.0/24 7466\nallow 50800-50803 192.168.7.0/24 50800-50803\ndeny 0-65535 0.0.0.0/0 0-65535";
    network.gateway(&router, some);
    let report = interrupted(network.map(&home));
    let (cause, words) = problem(&report);
    assert_eq!(cause, "not-forwarded");
    assert!(words.contains("6 of 10 SSH ports are not forwarded"), "{words}");

    let mut network = Network::new("");
    let router = Home::new();
    network.gateway(&router, "deny 0-65535 0.0.0.0/0 0-65535");
    let output = network.ports(&home, &["map"]);
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(words.contains("forward TCP 7466, 50800-50809 to 192.168.7.2"), "{words}");
}

/// Whatever a router answers, the command ends with words that help, and nothing is left open.
#[test]
fn routers_that_misbehave_are_told_apart() {
    for (mode, said) in [
        ("silent", "PCP: no answer; NAT-PMP: no answer; UPnP-IGD: no answer"),
        ("refuses", "NAT-PMP: the router refuses (not allowed)"),
        ("garbage", "NAT-PMP: an answer that cannot be understood"),
        ("huge", "NAT-PMP: an answer that cannot be understood"),
        ("another", "NAT-PMP: the router gave port 8466 instead, which was given back"),
    ] {
        let mut network = Network::new("");
        network.fake(mode, PUBLIC, "3600");
        let output = network.ports(&node(), &["map"]);
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{mode}: {words}");
        assert!(words.contains(said) && words.contains("; fix: turn on UPnP or NAT-PMP"), "{mode}: {words}");
        let asked = network.asked();
        assert_eq!(asked.contains("unmap 7466"), mode == "another", "{mode}: {asked}");
    }
}

/// A router behind another, and one with another address than renters are told.
#[test]
fn an_address_that_does_not_lead_here_is_told() {
    for (address, cause, fix) in [
        ("10.0.0.7", "double-nat", "ask the internet provider for a public address"),
        ("44.0.113.5", "wrong-address", "set GOLEM_PROVIDER_PUBLIC_IP=44.0.113.5, or to auto"),
    ] {
        let mut network = Network::new("");
        network.fake("works", address, "3600");
        let (found, words) = problem(&interrupted(network.map(&node())));
        assert_eq!(found, cause, "{words}");
        assert!(words.contains(fix), "{words}");
        let asked = network.asked();
        assert_eq!(asked.matches("unmap").count(), 11, "{asked}");
    }
}

/// What an operator reads: a range above what a router is asked for, a router that keeps a port,
/// and one that is slow, whose removal an impatient operator ends.
#[test]
fn what_people_read_of_a_mapping() {
    let mut network = Network::new("");
    network.fake("works", PUBLIC, "3600");
    let mut map = network.map_with(&node().set("GOLEM_PROVIDER_PORT_RANGE_END", "50960"), &["ports", "map"]);
    map.signal(Signal::INT);
    assert_eq!(map.end(), Some(0), "{:#?}", map.seen);
    insta::assert_snapshot!("a_wide_range", read(&mut map));
    let asked = network.asked();
    assert_eq!((asked.matches("unmap ").count(), asked.matches("map ").count()), (128, 256), "{asked}");
    assert!(asked.contains("map 50926") && !asked.contains("map 50927"), "{asked}");

    network.fake("keeps", PUBLIC, "3600");
    let mut map = network.map_with(&node(), &["ports", "map"]);
    map.signal(Signal::INT);
    assert_eq!(map.end(), Some(1), "{:#?}", map.seen);
    insta::assert_snapshot!("a_port_that_is_kept", read(&mut map));
    let output = network.ports(&node(), &["unmap"]);
    insta::assert_snapshot!("a_port_that_is_kept_from_unmap", Home::show(&output));
    assert_eq!(network.asked().matches("unmap ").count(), 11 + 11 + 1);

    network.fake("slow", PUBLIC, "3600");
    let mut map = network.map_with(&node(), &["ports", "map"]);
    map.signal(Signal::INT);
    map.wait_for("a second Ctrl-C ends this at once");
    map.signal(Signal::INT);
    assert_eq!(map.end(), Some(1), "{:#?}", map.seen);
    let said = map.seen.join("\n");
    assert!(said.contains("the router may forward TCP 7466, 5080"), "{said}");
    assert!(network.asked().matches("unmap ").count() < 11);
}

/// Leases are renewed before they end. A router that is gone then is warned about, and what it may still
/// forward is named at the end.
#[test]
fn leases_are_renewed_before_they_end_and_a_router_that_is_gone_ends_nothing() {
    let mut network = Network::new("");
    network.fake("works", PUBLIC, "60");
    let mut map = network.map(&node());
    let fake = network.children.last_mut().unwrap();
    let lines = BufReader::new(fake.stdout.take().unwrap()).lines().map_while(Result::ok);
    let asked: Vec<String> = lines.take(22).collect();
    let ports = || std::iter::once(7466).chain(50800..50810);
    let first = ports().map(|port| format!("map {port}"));
    let again = ports().map(|port| format!("renew {port}"));
    assert_eq!(asked, first.chain(again).collect::<Vec<_>>());
    fake.kill().unwrap();
    fake.wait().unwrap();
    map.wait_for("the router is asked again every 60 s until Ctrl-C");
    map.signal(Signal::INT);
    assert_eq!(map.end(), Some(1), "{:#?}", map.seen);
    let said = map.seen.join("\n");
    assert!(said.contains("no router forwards the port of the API (PCP: no answer"), "{said}");
    assert!(said.contains("the router may forward TCP 7466, 50800-50809 to this host"), "{said}");
    let report: Value = serde_json::from_str(&printed(&mut map)).unwrap();
    assert_eq!(report["lease_seconds"], 60, "one document: {report:#}");
}

/// A real router that starts anew and has forgotten everything forwards again after the next renewal.
#[test]
fn a_router_that_starts_anew_forwards_again() {
    let (home, router) = (node(), Home::new());
    let mut network = Network::new("");
    let short = format!("{ALL}\nmax_lifetime=60");
    network.gateway(&router, &short);
    let map = network.map(&home);
    assert!(network.forwarded().contains("7466"));
    // Ends it by its pid, and it takes no rule along.
    drop(network.servers.pop());
    network.rules("router", "delete table inet gateway");
    network.gateway(&router, &short);
    assert_eq!(network.forwarded(), "");
    wait_until("the router is asked again", || network.forwarded().contains("50809"));
    assert_eq!(interrupted(map)["protocol"], "pcp");
    assert_eq!(network.forwarded(), "");
}

/// Each protocol in which the router answered is named. What another protocol had it forward is removed
/// as well; what another node did is not, and is named.
#[test]
fn unmap_names_each_protocol_and_what_the_router_does_not_let_go() {
    for same in [true, false] {
        let (home, another, router) = (node(), node(), Home::new());
        let mut network = Network::new("");
        network.gateway(&router, ALL);
        if same {
            network.rules("router", NO_PCP);
        }
        let mut map = network.map(&home);
        map.child.kill().unwrap();
        map.child.wait().unwrap();
        if same {
            network.rules("router", "delete table inet nopcp");
        }
        // PCP lets nobody without the first one's token remove what it forwards.
        let output = network.ports(if same { &home } else { &another }, &["unmap", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["protocols"], serde_json::json!(["pcp", "nat-pmp", "upnp-igd"]), "{report:#}");
        let (gone, left) = if same { (11, 0) } else { (0, 11) };
        assert_eq!(report["ports"].as_array().unwrap().len(), gone, "{report:#}");
        assert_eq!(report["left"].as_array().unwrap().len(), left, "{report:#}");
        assert_eq!(output.status.code(), Some(if same { 0 } else { 1 }));
        assert_eq!(network.forwarded().is_empty(), same);
    }
}

/// A host with a public address of its own needs no router, and one without IPv4 has none to ask.
#[test]
fn a_host_that_needs_no_router_is_told_so() {
    let network = Network::new("");
    network.ip("net", &format!("route add default via {PUBLIC}"));
    for command in ["map", "unmap"] {
        let output = network.on("net", &node(), &["ports", command]).output().unwrap();
        let words = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{}", Home::show(&output));
        assert!(words.starts_with("Nothing to do: this host has the public address 44.0.113.9"), "{words}");
        let output = network.on("net", &node(), &["ports", command, "--json"]).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report, serde_json::json!({ "needed": false, "public_address": OUTSIDE }));
    }
    let mapping = node().set("GOLEM_PROVIDER_PORT_MAPPING", "true");
    let mut running = Running::of(network.on("net", &mapping, &["start"]), "no port is mapped");
    let line = running.seen.last().unwrap();
    assert!(line.contains("INFO") && line.contains(OUTSIDE), "{line}");
    running.signal(Signal::TERM);
    assert_eq!(running.end(), Some(0));

    network.ip("lan", "route delete default");
    for (home, fix) in [
        (node().set("GOLEM_PROVIDER_HOST", "127.0.0.1"), "fix: set GOLEM_PROVIDER_HOST=0.0.0.0"),
        (node(), "fix: give it an IPv4 address and a default route"),
    ] {
        let output = network.ports(&home, &["map"]);
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(words.contains(fix), "{words}");
    }
}

/// At its question setup tries what was answered, at once: the router forwards while it tries and not after it, and what is
/// forwarded by hand is tried from outside as well.
#[test]
fn a_setup_tries_its_ports_through_the_router_and_tells_what_came_of_it() {
    let reach = |network: &Network, flag: &str| {
        let output =
            network.on("lan", &node(), &["setup", "--here", "--yes", "--json", flag]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", Home::show(&output));
        let done: Value = serde_json::from_slice(&output.stdout).unwrap();
        (done["reach"].as_str().unwrap().to_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (server, router) = (Home::new(), Home::new());
    let mut network = Network::new("");
    network.check_server("net", &server);
    let (told, said) = reach(&network, "--no-map-ports");
    assert!(told.starts_with("Reached from outside: no. TCP port 7466 is not reachable"), "{told}");
    assert!(told.contains(&format!("fix: in the router, forward TCP {PORTS} to {LAN}")), "{told}");
    assert!(!said.contains("TCP"), "for programs it is in the answer: {said}");
    // No router that forwards on request.
    let (told, _) = reach(&network, "--map-ports");
    assert!(told.starts_with("Reached from outside: no. "), "{told}");

    network.gateway(&router, ALL);
    let (told, _) = reach(&network, "--map-ports");
    assert_eq!(told, "Reached from outside: yes. TCP 7466 and 10 of 10 SSH ports were reached from outside");
    assert_eq!(network.forwarded(), "", "it was only tried");

    let mut network = Network::new(FORWARD);
    network.check_server("net", &server);
    let (told, _) = reach(&network, "--no-map-ports");
    assert!(told.starts_with("Reached from outside: yes. "), "{told}");
}
