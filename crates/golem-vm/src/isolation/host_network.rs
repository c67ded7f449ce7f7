//! This host's addresses, networks, neighbours, listening programs and resolvers.
//!
//! Owns reading the kernel's tables. Sends nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where `resolv.conf` is, and where systemd keeps the one behind its stub.
const RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// A network that the host is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Subnet {
    pub(super) first: Ipv4Addr,
    pub(super) prefix: u32,
}

impl Subnet {
    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - self.prefix).unwrap_or(0)
    }

    /// Its last address, by which all of it is meant.
    pub(super) fn broadcast(self) -> Ipv4Addr {
        (u32::from(self.first) | !self.mask()).into()
    }
}

/// This host's networks, and who is on them.
#[derive(Debug, Default)]
pub(super) struct HostNetwork {
    /// Its own addresses, without the loopback's; for those that are of one device only, that device's number.
    pub(super) addresses: BTreeMap<IpAddr, u32>,
    pub(super) subnets: BTreeSet<Subnet>,
    /// Routers first, then who was spoken to lately.
    pub(super) neighbours: Vec<Ipv4Addr>,
    /// Where programs listen on TCP, and as which user.
    pub(super) listeners: BTreeMap<SocketAddr, u32>,
    pub(super) resolvers: BTreeSet<IpAddr>,
}

impl HostNetwork {
    /// Reads them all.
    ///
    /// # Errors
    /// When a table of the kernel cannot be read. IPv6 may be missing.
    pub(super) fn look() -> io::Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/net/{name}");
            std::fs::read_to_string(&path)
                .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
        };
        let six = |name: &str| read(name).unwrap_or_default();
        let trie = read("fib_trie")?;
        let mut addresses = own_v4(&trie);
        addresses.extend(own_v6(&six("if_inet6")));
        addresses.retain(|address, _| !address.is_loopback());
        let routes = read("route")?;
        let mut neighbours = gateways(&routes);
        for address in arp(&read("arp")?) {
            if !neighbours.contains(&address) {
                neighbours.push(address);
            }
        }
        let mut listeners = listeners(&read("tcp")?);
        listeners.extend(self::listeners(&six("tcp6")));
        let texts = RESOLVERS.map(|path| std::fs::read_to_string(path).unwrap_or_default());
        let resolvers = texts.iter().flat_map(|text| resolvers(text)).collect();
        let mut subnets = subnets(&routes);
        subnets.extend(connected(&trie));
        Ok(Self { addresses, subnets, neighbours, listeners, resolvers })
    }
}

/// The addresses that `/proc/net/fib_trie` calls local.
fn own_v4(text: &str) -> BTreeMap<IpAddr, u32> {
    let mut own = BTreeMap::new();
    let mut last = None;
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" {
            own.extend(last.map(|address| (IpAddr::V4(address), 0)));
        }
    }
    own
}

/// The networks that `/proc/net/fib_trie` calls connected, by whatever table of routes.
fn connected(text: &str) -> BTreeSet<Subnet> {
    let mut connected = BTreeSet::new();
    let mut last = None;
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if let Some(prefix) =
            line.strip_suffix(" link UNICAST").and_then(|word| word.strip_prefix('/'))
        {
            let prefix = prefix.parse().ok().filter(|prefix| (1..=32).contains(prefix));
            connected.extend(last.zip(prefix).map(|(first, prefix)| Subnet { first, prefix }));
        }
    }
    connected
}

/// The addresses in `/proc/net/if_inet6`.
fn own_v6(text: &str) -> Vec<(IpAddr, u32)> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = Ipv6Addr::from(u128::from_str_radix(words.next()?, 16).ok()?);
            let device = u32::from_str_radix(words.next()?, 16).ok()?;
            Some((IpAddr::V6(address), if address.is_unicast_link_local() { device } else { 0 }))
        })
        .collect()
}

/// The columns of each line of `/proc/net/route` after the head: destination, gateway and mask.
fn routes(text: &str) -> impl Iterator<Item = [Ipv4Addr; 3]> {
    text.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let address = |column: usize| {
            let bits = u32::from_str_radix(words.get(column)?, 16).ok()?;
            Some(Ipv4Addr::from(bits.to_ne_bytes()))
        };
        Some([address(1)?, address(2)?, address(7)?])
    })
}

fn gateways(text: &str) -> Vec<Ipv4Addr> {
    let mut all: Vec<Ipv4Addr> =
        routes(text).map(|[_, gateway, _]| gateway).filter(|gateway| !gateway.is_unspecified()).collect();
    all.dedup();
    all
}

fn subnets(text: &str) -> BTreeSet<Subnet> {
    routes(text)
        .filter(|[first, gateway, mask]| {
            gateway.is_unspecified() && !mask.is_unspecified() && !first.is_loopback()
        })
        .map(|[first, _, mask]| Subnet { first, prefix: u32::from(mask).leading_ones() })
        .collect()
}

/// Who is in `/proc/net/arp` with a hardware address.
fn arp(text: &str) -> Vec<Ipv4Addr> {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (*words.get(3)? != "00:00:00:00:00:00").then(|| words.first()?.parse().ok())?
        })
        .collect()
}

/// The sockets of `/proc/net/tcp` or `tcp6` that listen, each with its user.
fn listeners(text: &str) -> BTreeMap<SocketAddr, u32> {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (address, port) = words.get(1)?.split_once(':')?;
            let listens = *words.get(3)? == "0A";
            let port = u16::from_str_radix(port, 16).ok()?;
            let user = words.get(7)?.parse().ok()?;
            listens.then(|| Some((SocketAddr::new(kernels(address)?, port), user)))?
        })
        .collect()
}

/// An address as the kernel's tables of sockets write it: words of 32 bits in the host's own order.
fn kernels(text: &str) -> Option<IpAddr> {
    let word = |start: usize| Some(u32::from_str_radix(text.get(start..start + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (place, start) in bytes.chunks_exact_mut(4).zip([0, 8, 16, 24]) {
                place.copy_from_slice(&word(start)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

/// The resolvers in the text of a `resolv.conf`.
fn resolvers(text: &str) -> Vec<IpAddr> {
    let address =
        |line: &str| line.trim().strip_prefix("nameserver")?.split_whitespace().next()?.parse().ok();
    text.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_seen() {
        let seen = HostNetwork::look().unwrap();
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let again = HostNetwork::look().unwrap();
        assert!(!seen.addresses.keys().any(IpAddr::is_loopback));
        assert!(again.listeners.contains_key(&listener.local_addr().unwrap()));
    }

    #[test]
    fn the_kernels_tables_are_read() {
        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.88.0.0\n        /24 link UNICAST\n     |-- 10.88.0.1\n        /32 host LOCAL\n     |-- 10.88.0.255\n        /32 link BROADCAST\n";
        assert_eq!(own_v4(trie), BTreeMap::from([("10.88.0.1".parse().unwrap(), 0)]));
        assert_eq!(
            connected(trie),
            BTreeSet::from([Subnet { first: Ipv4Addr::new(10, 88, 0, 0), prefix: 24 }])
        );
        let six = own_v6("fe8000000000000000aabbfffeccddee 02 40 20 80     eth0\n");
        assert_eq!(six, [("fe80::aa:bbff:fecc:ddee".parse::<IpAddr>().unwrap(), 2)]);
        if cfg!(target_endian = "little") {
            let table = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
                         eth0 00000000 0200580A 0003 0 0 0 00000000 0 0 0\n\
                         eth1 007100CB 00000000 0001 0 0 0 00FFFFFF 0 0 0\n";
            assert_eq!(gateways(table), ["10.88.0.2".parse::<Ipv4Addr>().unwrap()]);
            let subnet = *subnets(table).first().unwrap();
            assert_eq!(subnet, Subnet { first: Ipv4Addr::new(203, 0, 113, 0), prefix: 24 });
            assert_eq!(subnet.broadcast(), Ipv4Addr::new(203, 0, 113, 255));
            assert_eq!(kernels("0100007F"), Some(Ipv4Addr::LOCALHOST.into()));
            assert_eq!(kernels("00000000000000000000000001000000"), Some(Ipv6Addr::LOCALHOST.into()));
        }
        assert_eq!(resolvers("nameserver 127.0.0.53\nnameserver fe80::1%eth0\n").len(), 1);
    }
}
