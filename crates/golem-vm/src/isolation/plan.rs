//! What the guest tries to reach, and what would be seen if an attempt came through.
//!
//! Owns the list. Never judges.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::timeout;

use super::CheckedNode;
use super::host_network::HostNetwork;
use super::traps::{GROUPS, Traps};

/// The guest's side of it.
const SCRIPT: &str = include_str!("guest.py");

/// How long this host itself tries what it has the guest try.
const CONTROL: Duration = Duration::from_secs(2);

/// Most addresses, neighbours and listening programs that are tried, each.
const ADDRESSES: usize = 16;
const NEIGHBOURS: usize = 8;
const LISTENERS: usize = 48;

/// What neighbours in a network usually offer: logins, names, web pages.
const USUAL: [u16; 4] = [22, 53, 80, 443];

/// Addresses by which a guest means something near it: those of QEMU's own network, which are this host's
/// loopback unless somebody sees to it, and those of the network behind that.
const INNER: [&str; 7] = ["gateway", "10.0.2.2", "10.0.2.3", "10.0.2.4", "10.0.2.77", "10.0.3.2", "10.0.3.3"];

/// One in each network that is not the internet, and the addresses at which clouds tell a machine its secrets.
const SPECIAL: [&str; 12] = [
    "169.254.169.254",
    "169.254.169.253",
    "169.254.1.1",
    "100.100.100.200",
    "100.64.0.1",
    "10.255.255.254",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.255.254",
    "192.0.0.192",
    "198.18.0.1",
    "240.0.0.1",
];

/// How a thing is tried, in the words of the guest's script.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct IsolationStep {
    pub(super) way: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'static str>,
    /// Bytes of the datagram; more than a packet holds is sent in pieces.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u16>,
    /// The hardware and IP address that a forged packet claims to come from, and whom it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pieces: bool,
    /// A name that a resolver is asked for, past the guest's own or through it.
    #[serde(skip_serializing_if = "Option::is_none")]
    question: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// What would show that an attempt came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttemptProof {
    /// A trap at this address (of this device, where only that has it), which this host itself reaches.
    Trap(Option<(IpAddr, u32)>),
    /// Somebody who answers this host there.
    Answer,
    /// A packet on the wire: for somebody who is there, or whom nobody else would ask for.
    Wire { stranger: bool },
    /// The guest itself would notice.
    Guest,
}

/// Whether it should come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Refused,
    Works,
}

/// One thing that the guest tries.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// The kind of thing, for people.
    pub(super) what: &'static str,
    pub(super) target: String,
    pub(super) step: IsolationStep,
    pub(super) proof: AttemptProof,
    pub(super) wanted: Expected,
}

/// Collects attempts of one kind.
struct IsolationPlan<'a> {
    attempts: Vec<Attempt>,
    host_network: &'a HostNetwork,
    port: u16,
}

fn step(way: &'static str, address: impl ToString, port: u16) -> IsolationStep {
    IsolationStep { way, address: address.to_string(), port: Some(port), ..IsolationStep::default() }
}

impl IsolationPlan<'_> {
    fn add(
        &mut self,
        what: &'static str,
        target: impl Into<String>,
        step: IsolationStep,
        proof: AttemptProof,
    ) {
        self.attempts.push(Attempt { what, target: target.into(), step, proof, wanted: Expected::Refused });
    }

    fn tcp(&mut self, what: &'static str, address: impl ToString, port: u16, proof: AttemptProof) {
        let address = address.to_string();
        self.add(what, format!("{address} TCP {port}"), step("tcp", address, port), proof);
    }

    fn udp(&mut self, what: &'static str, address: impl ToString, port: u16, proof: AttemptProof) {
        let address = address.to_string();
        self.add(what, format!("{address} UDP {port}"), step("udp", address, port), proof);
    }

    fn forged(&mut self, target: &str, step: IsolationStep, proof: AttemptProof) {
        let address = step.address.clone();
        let step = IsolationStep { way: "forged", protocol: Some(step.protocol.unwrap_or("udp")), ..step };
        self.add("forged packets", format!("{target}, to {address}"), step, proof);
    }

    fn loopback(&mut self) {
        let (what, port) = ("host loopback", self.port);
        let trap = AttemptProof::Trap(Some((Ipv4Addr::LOCALHOST.into(), 0)));
        for address in INNER {
            self.tcp(what, address, port, trap);
            self.udp(what, address, port, trap);
        }
        for protocol in ["udp", "tcp"] {
            let step = IsolationStep {
                protocol: Some(protocol),
                way: "forged",
                ..step("forged", Ipv4Addr::LOCALHOST, port)
            };
            self.add(
                what,
                format!("127.0.0.1 {} {port}, past the guest's own", protocol.to_uppercase()),
                step,
                trap,
            );
        }
        // What QEMU can serve by itself.
        self.udp("QEMU's own services", "10.0.2.2", 69, AttemptProof::Guest);
        self.tcp("QEMU's own services", "10.0.2.4", 139, AttemptProof::Guest);
        self.tcp("QEMU's own services", "10.0.2.4", 445, AttemptProof::Guest);
    }

    /// Programs that listen on this host, other guests' ways in among them.
    fn listeners(&mut self, node: &CheckedNode) {
        let mut by_port: BTreeMap<u16, (IpAddr, u32)> = BTreeMap::new();
        for (address, user) in &self.host_network.listeners {
            if address.port() != self.port {
                by_port.insert(address.port(), (address.ip(), *user));
            }
        }
        let first = self.host_network.addresses.keys().find(|address| address.is_ipv4()).copied();
        let mut all: Vec<_> = by_port.into_iter().collect();
        let what = |port: u16, user: u32| {
            if port == node.operator_api {
                "the node's operator API"
            } else if port == node.api {
                "the node's public API"
            } else if node.ssh.contains(&port) || crate::qemu::is_guest_user(user) {
                "other guests"
            } else {
                "programs of this host"
            }
        };
        // The node's own first.
        all.sort_by_key(|(port, (_, user))| what(*port, *user) == "programs of this host");
        for (port, (address, user)) in all.into_iter().take(LISTENERS) {
            let what = what(port, user);
            if address.is_loopback() || address.is_unspecified() {
                self.tcp(what, "10.0.2.2", port, AttemptProof::Answer);
            }
            match (address, first) {
                (IpAddr::V4(own), _) if !own.is_loopback() && !own.is_unspecified() => {
                    self.tcp(what, own, port, AttemptProof::Answer);
                }
                (address, Some(own)) if address.is_unspecified() => {
                    self.tcp(what, own, port, AttemptProof::Answer)
                }
                _ => {}
            }
        }
        // Where every guest is in its own network, and where QEMU is in the one behind it.
        for address in ["10.0.2.15", "10.0.3.100", "10.0.3.1"] {
            if address != "10.0.2.15" {
                self.tcp("other guests", address, 22, AttemptProof::Guest);
            }
            let step =
                IsolationStep { source: Some("10.0.2.99".to_owned()), ..step("forged", address, self.port) };
            self.forged("pretending to be a neighbour", step, AttemptProof::Wire { stranger: true });
        }
    }

    fn addresses(&mut self) {
        let (what, port) = ("addresses of this host", self.port);
        for (address, device) in self.host_network.addresses.iter().take(ADDRESSES) {
            let trap = AttemptProof::Trap(Some((*address, *device)));
            self.tcp(what, address, port, trap);
            self.udp(what, address, port, trap);
            if address.is_ipv4() {
                let big = IsolationStep { size: Some(3000), ..step("udp", address, port) };
                self.add(what, format!("{address} UDP {port}, in pieces"), big, trap);
                self.add(what, format!("{address} ICMP"), step("icmp", address, 0), trap);
            }
        }
    }

    fn neighbours(&mut self) {
        let what = "neighbours in this host's networks";
        let present = AttemptProof::Wire { stranger: false };
        for address in self.host_network.neighbours.iter().take(NEIGHBOURS) {
            for port in USUAL {
                self.tcp(what, address, port, AttemptProof::Answer);
            }
            self.tcp(what, address, self.port, present);
            self.udp(what, address, self.port, present);
            self.add(what, format!("{address} ICMP"), step("icmp", address, 0), present);
        }
        let what = "this host's connected networks";
        for subnet in self.host_network.subnets.iter().take(NEIGHBOURS) {
            let known = |address: &Ipv4Addr| {
                self.host_network.addresses.contains_key(&IpAddr::V4(*address))
                    || self.host_network.neighbours.contains(address)
            };
            let (low, high) = (u32::from(subnet.first), u32::from(subnet.broadcast()));
            let inside = (low.saturating_add(1)..high).map(Ipv4Addr::from);
            let last = inside.clone().next_back();
            let strangers: Vec<Ipv4Addr> =
                inside.take(4).chain(last).filter(|address| !known(address)).collect();
            for address in strangers.iter().take(1).chain(strangers.last()) {
                self.tcp(what, address, self.port, AttemptProof::Wire { stranger: true });
            }
        }
    }

    fn special(&mut self) {
        let what = "special addresses";
        for address in SPECIAL {
            self.tcp(what, address, 80, AttemptProof::Answer);
            self.tcp(what, address, self.port, AttemptProof::Wire { stranger: true });
        }
    }

    /// Resolvers of this host's network, which guests have no business with: they get names from theirs.
    fn resolvers(&mut self, name: &str) {
        let what = "resolvers of this host";
        for address in self.host_network.resolvers.iter().filter(|address| !address.is_loopback()) {
            self.tcp(what, address, 53, AttemptProof::Answer);
            let asking = IsolationStep { question: Some(name.to_owned()), ..step("udp", address, 53) };
            self.add(what, format!("{address} UDP 53"), asking, AttemptProof::Answer);
            self.udp(what, address, self.port, AttemptProof::Wire { stranger: false });
        }
    }

    fn forgeries(&mut self) {
        let own = self.host_network.addresses.keys().find(|address| address.is_ipv4()).copied();
        let Some(own) = own else { return };
        let (trap, port) = (AttemptProof::Trap(Some((own, 0))), self.port);
        let to = || step("forged", own, port);
        let other = "52:54:00:66:66:66";
        let pretending = |source: &str| IsolationStep { source: Some(source.to_owned()), ..to() };
        self.forged("another hardware address", IsolationStep { mac: Some(other), ..to() }, trap);
        for source in ["10.0.2.2", "10.0.2.99", "10.0.3.2", "127.0.0.1", "198.51.100.77"] {
            self.forged(&format!("pretending to be {source}"), pretending(source), trap);
        }
        self.forged("pretending to be this host", pretending(&own.to_string()), trap);
        let both = IsolationStep { mac: Some(other), ..pretending("10.0.2.99") };
        self.forged("another hardware and IP address", both, trap);
        let everybody = IsolationStep { to: Some("ff:ff:ff:ff:ff:ff"), ..to() };
        self.forged("to every hardware address", everybody, trap);
        self.forged("in small pieces", IsolationStep { pieces: true, ..to() }, trap);
    }

    fn groups(&mut self) {
        let what = "multicast and broadcast";
        for group in GROUPS {
            self.udp(what, group, self.port, AttemptProof::Trap(None));
        }
        self.udp(what, GROUPS[0], 5353, AttemptProof::Wire { stranger: false });
        self.udp(what, GROUPS[1], 1900, AttemptProof::Wire { stranger: false });
        self.udp(what, Ipv4Addr::BROADCAST, self.port, AttemptProof::Trap(None));
        for subnet in self.host_network.subnets.iter().take(NEIGHBOURS).filter(|subnet| subnet.prefix < 31) {
            self.udp(what, subnet.broadcast(), self.port, AttemptProof::Trap(None));
        }
        let what = "IPv6";
        self.udp(what, "ff02::1", self.port, AttemptProof::Trap(None));
        let solicit = IsolationStep { way: "solicit", ..IsolationStep::default() };
        self.add(what, "a router advertisement, asked for", solicit, AttemptProof::Guest);
        let advertise = IsolationStep { way: "advertise", ..IsolationStep::default() };
        self.add(
            what,
            "a router advertisement of its own",
            advertise,
            AttemptProof::Wire { stranger: false },
        );
    }

    fn internet(&mut self, internet: &str, mail: bool) {
        let (name, port) = internet.rsplit_once(':').unwrap_or((internet, "443"));
        let name = name.trim_matches(['[', ']']);
        let port = port.parse().unwrap_or(443);
        self.tcp("outgoing mail", name, 25, AttemptProof::Answer);
        if name.parse::<IpAddr>().is_err() {
            let step =
                IsolationStep { way: "resolve", name: Some(name.to_owned()), ..IsolationStep::default() };
            self.add("names", format!("{name} by the guest's resolver"), step, AttemptProof::Answer);
        }
        self.tcp("the internet", name, port, AttemptProof::Answer);
        for attempt in &mut self.attempts {
            if matches!(attempt.what, "names" | "the internet") || (mail && attempt.what == "outgoing mail") {
                attempt.wanted = Expected::Works;
            }
        }
    }
}

/// Everything that is tried from a guest on this host.
pub(super) fn plan(
    host_network: &HostNetwork,
    traps: &Traps,
    node: &CheckedNode,
    internet: &str,
) -> Vec<Attempt> {
    let mut plan = IsolationPlan { attempts: Vec::new(), host_network, port: traps.port };
    let name = internet.rsplit_once(':').map_or(internet, |(name, _)| name);
    plan.loopback();
    plan.listeners(node);
    plan.addresses();
    plan.neighbours();
    plan.special();
    plan.resolvers(if name.parse::<IpAddr>().is_ok() { "example.com" } else { name });
    plan.forgeries();
    plan.groups();
    plan.internet(internet, node.allows_smtp);
    plan.attempts
}

/// Whether this host itself gets through, for each attempt that says something only then.
pub(super) async fn controls(attempts: &[Attempt], traps: &Traps) -> Vec<bool> {
    // A word that is no attempt's.
    let own = traps.word(attempts.len());
    let control = async |attempt: &Attempt| match attempt.proof {
        AttemptProof::Trap(Some((IpAddr::V6(address), device))) => {
            connects(SocketAddrV6::new(address, traps.port, 0, device), &own).await
        }
        AttemptProof::Trap(Some((address, _))) => connects((address, traps.port), &own).await,
        AttemptProof::Answer => answers(&attempt.step).await,
        AttemptProof::Trap(None) | AttemptProof::Wire { .. } | AttemptProof::Guest => true,
    };
    let tried = join_all(attempts.iter().map(control));
    tokio::select! {
        tried = tried => tried,
        never = traps.watch() => match never {},
    }
}

/// Whether somebody takes a connection at `address` and the `word` on it.
async fn connects(address: impl Into<SocketAddr>, word: &str) -> bool {
    let connect = async {
        let mut stream = TcpStream::connect(address.into()).await?;
        stream.write_all(word.as_bytes()).await
    };
    matches!(timeout(CONTROL, connect).await, Ok(Ok(())))
}

async fn answers(step: &IsolationStep) -> bool {
    let port = step.port.unwrap_or_default();
    match (step.way, step.address.as_str()) {
        // What QEMU's network turns into the loopback; that a program listens there was seen.
        (_, "10.0.2.2") => true,
        ("resolve", _) => {
            let name = step.name.clone().unwrap_or_default();
            matches!(timeout(2 * CONTROL, lookup_host((name, 0))).await, Ok(Ok(_)))
        }
        ("udp", address) => {
            let Some(name) = &step.question else { return false };
            let Ok(address) = address.parse::<IpAddr>() else { return false };
            matches!(timeout(CONTROL, ask_dns((address, port).into(), name)).await, Ok(Ok(())))
        }
        (_, address) => {
            let found = timeout(2 * CONTROL, lookup_host((address, port))).await;
            let Ok(Ok(mut found)) = found else { return false };
            match found.find(SocketAddr::is_ipv4) {
                Some(address) => connects(address, "").await,
                None => false,
            }
        }
    }
}

/// Asks the resolver at `address` for `name`; any answer will do.
async fn ask_dns(address: SocketAddr, name: &str) -> std::io::Result<()> {
    let mut question = vec![0x47, 0x6f, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for part in name.split('.') {
        question.push(u8::try_from(part.len()).unwrap_or(0));
        question.extend(part.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    let any: SocketAddr = if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    socket.send(&question).await?;
    let mut answer = [0; 512];
    socket.recv(&mut answer).await?;
    Ok(())
}

/// The program that the guest runs.
pub(super) fn script(attempts: &[Attempt], traps: &Traps) -> String {
    let steps: Vec<serde_json::Value> = attempts
        .iter()
        .enumerate()
        .map(|(number, attempt)| {
            let mut step = serde_json::to_value(&attempt.step).unwrap_or_default();
            step["id"] = number.into();
            step["token"] = traps.word(number).into();
            step
        })
        .collect();
    // A string in JSON is one in Python.
    let text = serde_json::Value::from(serde_json::Value::from(steps).to_string());
    format!("{SCRIPT}\n\nmain(json.loads({text}))\n")
}
