//! Ports that the router forwards because it was asked: by a real one (miniupnpd) in each protocol, and
//! by ones that misbehave.

use std::io::Read;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use super::{INSIDE, LAN, Network, PUBLIC, node, problem};
use crate::home::{Home, Running, wait_until};

/// What miniupnpd writes its rules into.
const CHAINS: &str = "table inet gateway { chain forwarded { }\n chain translated { }\n chain sent { }\n \
    chain in { type nat hook prerouting priority dstnat; jump translated; }\n }";

/// What lets it speak NAT-PMP and PCP as well as UPnP.
const ALL: &str = "enable_natpmp=yes";

/// Keeps PCP from the router, and lets NAT-PMP through, which has the same port.
const NO_PCP: &str =
    "table inet nopcp { chain in { type filter hook input priority 0; udp dport 5351 @th,64,8 2 drop; }\n }";

/// A router that misbehaves: how, and the address that it says it has.
const FAKE: &str = r#"
import socket, struct, sys, threading
mode, address = sys.argv[1:]
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(('192.168.7.1', 5351))

def mapping(request):
    if mode == 'silent':
        return None
    if mode == 'garbage':
        return b'\xff' * 28
    if mode == 'huge':
        return b'\x00' * 60000
    if request[0] == 2:
        return bytes([0, 0x80, 0, 1, 0, 0, 0, 1])
    head = bytes([0, 0x80 + request[1], 0, 2 if mode == 'refuses' else 0, 0, 0, 0, 1])
    if request[1] == 0:
        return head + socket.inet_aton(address)
    inner, outer, life = struct.unpack('>HHI', request[4:12])
    print('unmap' if life == 0 else 'map', inner, flush=True)
    given = 0 if life == 0 else outer + 1000 if mode == 'another' else outer
    return head + struct.pack('>HHI', inner, given, life)

def searched():
    search = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    search.bind(('', 1900))
    member = socket.inet_aton('239.255.255.250') + socket.inet_aton('192.168.7.1')
    search.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    while True:
        _, caller = search.recvfrom(2000)
        reply = {'garbage': b'\xff\xfe', 'huge': b'HTTP/1.1 200 OK\r\nLOCATION: http://192.168.7.1:5000/\r\n\r\n'}
        if mode in reply:
            search.sendto(reply[mode], caller)

def endless():
    server = socket.create_server(('192.168.7.1', 5000))
    while True:
        client, _ = server.accept()
        try:
            client.sendall(b'HTTP/1.1 200 OK\r\n\r\n<a>')
            while True:
                client.sendall(b'<a>' * 10000)
        except OSError:
            pass

for task in searched, endless:
    threading.Thread(target=task, daemon=True).start()
print('up', flush=True)
while True:
    request, caller = udp.recvfrom(2000)
    answer = mapping(request)
    if answer:
        udp.sendto(answer, caller)
"#;

impl Network {
    /// Runs miniupnpd on the router, with `more` in its configuration.
    fn gateway(&mut self, home: &Home, more: &str) {
        self.rules("router", CHAINS);
        let folder = home.folder.path();
        let (configuration, pid) = (folder.join("gateway.conf"), folder.join("gateway.pid"));
        let text = format!(
            "ext_ifname=wan\nlistening_ip=inside\nenable_upnp=yes\nipv6_disable=yes\nsecure_mode=yes\n\
             upnp_table_name=gateway\nupnp_nat_table_name=gateway\nupnp_forward_chain=forwarded\n\
             upnp_nat_chain=translated\nupnp_nat_postrouting_chain=sent\nmin_lifetime=60\nmax_lifetime=7200\n\
             uuid=6a8d1ab0-0000-4000-8000-000000000001\n{more}\n"
        );
        std::fs::write(&configuration, text).unwrap();
        let mut command = self.at("router", "miniupnpd");
        command.arg("-d").arg("-f").arg(configuration).arg("-P").arg(pid).stdout(Stdio::null());
        self.servers.push(Running::of(command, "HTTP listening on port"));
    }

    /// Runs the router's fake.
    fn fake(&mut self, mode: &str, address: &str) {
        let mut command = self.at("router", "python3");
        let mut child = command.args(["-c", FAKE, mode, address]).stdout(Stdio::piped()).spawn().unwrap();
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
        let mut command = self.on("lan", home, &["ports", "map", "--json"]);
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
    let mut text = String::new();
    map.child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// S-252: a router that forwards nothing is told to by each protocol, and forwards nothing again afterwards.
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
        network.fake(mode, PUBLIC);
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
        network.fake("works", address);
        let (found, words) = problem(&interrupted(network.map(&node())));
        assert_eq!(found, cause, "{words}");
        assert!(words.contains(fix), "{words}");
        let asked = network.asked();
        assert_eq!(asked.matches("unmap").count(), 11, "{asked}");
    }
}
