//! What is not the internet: networks that nobody routes, and those that this host is part of.
//!
//! Owns which addresses a guest must never reach, whatever their range: special-purpose networks,
//! every address of this host, every subnet that it is connected to, and the address at which the
//! internet sees it: behind a router, that one leads back to the router and to this host. Reads the
//! kernel's tables anew at each call. Never blocks anything itself.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Special-purpose networks that are not the internet (IANA's registries for IPv4 and IPv6).
const SPECIAL: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "::ffff:0:0/96",
    "64:ff9b:1::/48",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
];

/// Shortest prefix that a route over a link without neighbours (a tunnel) may have to count as a
/// subnet of this host: a VPN that takes all traffic has routes as wide as half the internet.
const TUNNEL_PREFIX: u8 = 16;

/// Networks that a guest must not reach, by family, none within another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LocalNetworks {
    pub(super) v4: Vec<Ipv4Net>,
    pub(super) v6: Vec<Ipv6Net>,
}

impl LocalNetworks {
    /// The special-purpose networks and `own`, those of this host.
    fn of(own: BTreeSet<IpNet>) -> Self {
        let special = SPECIAL.iter().filter_map(|text| text.parse().ok());
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in own.into_iter().chain(special) {
            match net {
                IpNet::V4(net) => v4.push(net),
                IpNet::V6(net) => v6.push(net),
            }
        }
        Self { v4: Ipv4Net::aggregate(&v4), v6: Ipv6Net::aggregate(&v6) }
    }

    /// Both families as the elements of an nftables set each.
    pub(super) fn elements(&self) -> (String, String) {
        let join = |nets: Vec<String>| nets.join(", ");
        (
            join(self.v4.iter().map(ToString::to_string).collect()),
            join(self.v6.iter().map(ToString::to_string).collect()),
        )
    }
}

/// What is near this host now, which the internet sees at `outside`.
///
/// # Errors
/// Any error of reading the kernel's tables of IPv4, which are always there. A kernel without IPv6 has
/// none of IPv6, which is no error.
pub(super) fn now(outside: Option<IpAddr>) -> io::Result<LocalNetworks> {
    let mut own = own_v4(&std::fs::read_to_string("/proc/net/fib_trie")?);
    own.extend(connected_v4(&std::fs::read_to_string("/proc/net/route")?, has_neighbours));
    match std::fs::read_to_string("/proc/net/ipv6_route") {
        Ok(text) => own.extend(connected_v6(&text, has_neighbours)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    own.extend(outside.map(IpNet::from));
    Ok(LocalNetworks::of(own))
}

/// Whether this host has a way to the internet over IPv4, the only one that guests have.
///
/// # Errors
/// Any error of reading the kernel's table.
pub(super) fn has_internet() -> io::Result<bool> {
    Ok(leads_out(&std::fs::read_to_string("/proc/net/route")?))
}

/// Whether one of the routes of `/proc/net/route` leads to half the internet or more.
fn leads_out(text: &str) -> bool {
    const REJECT: u32 = 0x200;
    text.lines().skip(1).any(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let hex = |index: usize| words.get(index).and_then(|word| u32::from_str_radix(word, 16).ok());
        let is_wide = hex(7).is_some_and(|mask| mask.count_ones() <= 1);
        is_wide && hex(3).is_some_and(|flags| flags & REJECT == 0)
    })
}

/// Whether the device has a link layer with neighbours on it, as Ethernet has; a tunnel has not.
fn has_neighbours(device: &str) -> bool {
    const POINT_TO_POINT: u32 = 0x10;
    const NO_ARP: u32 = 0x80;
    let text = std::fs::read_to_string(format!("/sys/class/net/{device}/flags")).unwrap_or_default();
    let flags = text.trim().strip_prefix("0x").and_then(|hex| u32::from_str_radix(hex, 16).ok());
    // Of a device that cannot be looked at, the narrower reading would open something.
    flags.is_none_or(|flags| flags & (POINT_TO_POINT | NO_ARP) == 0)
}

/// Every IPv4 address of this host and every subnet that it is connected to, by whatever table of routes, from
/// `/proc/net/fib_trie`. It names no device, so that of wide subnets only `/proc/net/route` tells whether they
/// count.
fn own_v4(text: &str) -> BTreeSet<IpNet> {
    let mut own = BTreeSet::new();
    let mut address: Option<Ipv4Addr> = None;
    for line in text.lines() {
        let line = line.trim();
        if let Some(leaf) = line.strip_prefix("|-- ") {
            address = leaf.trim().parse().ok();
            continue;
        }
        let least = match line.split_once(' ') {
            // A whole prefix can be local; all of the internet is where a proxy catches it, and that is no address.
            Some((_, "host LOCAL")) => 1,
            Some((_, "link UNICAST")) => TUNNEL_PREFIX,
            _ => continue,
        };
        let prefix = line.split(' ').next().and_then(|word| word.strip_prefix('/')?.parse::<u8>().ok());
        if let (Some(address), Some(prefix)) = (address, prefix.filter(|prefix| *prefix >= least)) {
            own.extend(Ipv4Net::new(address, prefix).ok().map(|net| IpNet::V4(net.trunc())));
        }
    }
    own
}

/// Whether a route to `prefix` bits without a gateway leads to a subnet of this host.
fn counts(prefix: u8, neighbours: bool) -> bool {
    prefix > 0 && (neighbours || prefix >= TUNNEL_PREFIX)
}

/// Subnets that this host is connected to, and routers by which it goes elsewhere: one may lie in no subnet of this
/// host's (`onlink`). From `/proc/net/route`.
fn connected_v4(text: &str, has_neighbours: impl Fn(&str) -> bool) -> BTreeSet<IpNet> {
    const GATEWAY: u32 = 2;
    const REJECT: u32 = 0x200;
    let route = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let hex = |index: usize| u32::from_str_radix(words.get(index)?, 16).ok();
        // An address is the number that its bytes are in memory.
        let address = |index| Some(Ipv4Addr::from(hex(index)?.to_ne_bytes()));
        match hex(3)? & (GATEWAY | REJECT) {
            0 => {}
            GATEWAY => return Some(IpNet::from(IpAddr::V4(address(2)?))),
            _ => return None,
        }
        let net = Ipv4Net::with_netmask(address(1)?, address(7)?).ok()?;
        counts(net.prefix_len(), has_neighbours(words.first()?)).then_some(IpNet::V4(net.trunc()))
    };
    text.lines().skip(1).filter_map(route).collect()
}

/// Subnets, addresses and routers of IPv6, from `/proc/net/ipv6_route`.
fn connected_v6(text: &str, has_neighbours: impl Fn(&str) -> bool) -> BTreeSet<IpNet> {
    const GATEWAY: u32 = 2;
    const REJECT: u32 = 0x200;
    let route = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let flags = u32::from_str_radix(words.get(8)?, 16).ok()?;
        let address = |index: usize| Some(Ipv6Addr::from(u128::from_str_radix(words.get(index)?, 16).ok()?));
        match flags & (GATEWAY | REJECT) {
            0 => {}
            GATEWAY => return Some(IpNet::from(IpAddr::V6(address(4)?))),
            _ => return None,
        }
        let address = address(0)?;
        let prefix = u8::from_str_radix(words.get(1)?, 16).ok()?;
        let net = Ipv6Net::new(address, prefix).ok()?;
        counts(prefix, has_neighbours(words.get(9)?)).then_some(IpNet::V6(net.trunc()))
    };
    text.lines().filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> BTreeSet<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn i_09_addresses_of_the_host_are_read_whatever_their_range() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
                    Local:\n  +-- 0.0.0.0/0 3 0 5\n     +-- 203.0.113.0/24 2 0 2\n        |-- 203.0.113.2\n\
                    \x20          /32 host LOCAL\n        |-- 203.0.113.255\n           /32 link BROADCAST\n\
                    \x20    |-- 198.51.100.9\n        /32 host LOCAL\n";
        assert_eq!(own_v4(trie), nets(&["203.0.113.2/32", "198.51.100.9/32"]));
        // A subnet of another table, a prefix that is local as a whole, a VPN and a proxy that take everything.
        let more = "Id 100:\n  +-- 0.0.0.0/0 2 0 2\n     |-- 0.0.0.0\n        /0 host LOCAL\n        /1 link UNICAST\n\
                    \x20    |-- 8.0.0.0\n        /8 universe UNICAST\n     |-- 192.0.2.0\n        /24 link UNICAST\n\
                    \x20    |-- 198.51.100.128\n        /25 host LOCAL\n";
        assert_eq!(own_v4(more), nets(&["192.0.2.0/24", "198.51.100.128/25"]));
        assert_eq!(own_v4(""), nets(&[]));
    }

    #[test]
    fn i_09_connected_subnets_count_and_what_a_gateway_leads_to_does_not() {
        let hex =
            |text: &str| format!("{:08X}", u32::from_ne_bytes(text.parse::<Ipv4Addr>().unwrap().octets()));
        let line = |device: &str, to: &str, gateway: &str, flags: &str, mask: &str| {
            format!("{device}\t{}\t{}\t{flags}\t0\t0\t0\t{}\t0\t0\t0\n", hex(to), hex(gateway), hex(mask))
        };
        let text = [
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
                .to_owned(),
            line("eth0", "0.0.0.0", "203.0.113.1", "0003", "0.0.0.0"),
            line("eth0", "203.0.113.0", "0.0.0.0", "0001", "255.255.255.0"),
            line("eth1", "8.0.0.0", "0.0.0.0", "0001", "255.0.0.0"),
            line("eth0", "198.51.100.0", "203.0.113.7", "0003", "255.255.255.0"),
            // A VPN over which everything goes, and its own subnet.
            line("wg0", "0.0.0.0", "0.0.0.0", "0001", "128.0.0.0"),
            line("wg0", "128.0.0.0", "0.0.0.0", "0001", "128.0.0.0"),
            line("wg0", "192.0.2.0", "0.0.0.0", "0001", "255.255.255.0"),
            // A whole default route without a gateway is the internet, too.
            line("ppp0", "0.0.0.0", "0.0.0.0", "0001", "0.0.0.0"),
            "nonsense\n".to_owned(),
        ]
        .concat();
        let found = connected_v4(&text, |device| device.starts_with("eth"));
        assert!(leads_out(&text));
        let only_lan = format!("Iface\n{}", line("eth0", "203.0.113.0", "0.0.0.0", "0001", "255.255.255.0"));
        assert!(!leads_out(&only_lan) && !leads_out(""));
        // The routers, too, wherever they are.
        let routers = ["203.0.113.1/32", "203.0.113.7/32"];
        assert_eq!(found, nets(&[&["203.0.113.0/24", "8.0.0.0/8", "192.0.2.0/24"], &routers[..]].concat()));
    }

    #[test]
    fn i_09_subnets_of_ipv6_count_too() {
        let zero = "0".repeat(32);
        let line = |to: &str, prefix: &str, gateway: &str, flags: &str, device: &str| {
            format!("{to} {prefix} {zero} 00 {gateway} 00000100 00000001 00000000 {flags} {device}\n")
        };
        let lan = "20010db8000000010000000000000000";
        let text = [
            line(lan, "40", &zero, "00000001", "eth0"),
            line(&zero, "00", "fe800000000000000000000000000001", "00450003", "eth0"),
            line(&zero, "00", &zero, "00200200", "lo"),
        ]
        .concat();
        assert_eq!(connected_v6(&text, |_| true), nets(&["2001:db8:0:1::/64", "fe80::1/128"]));
    }

    #[test]
    fn s_247_i5_no_network_is_within_another_and_every_special_one_is_named() {
        let near = LocalNetworks::of(nets(&["10.1.2.0/24", "203.0.113.0/24", "203.0.113.2/32", "fd00::/64"]));
        let (v4, v6) = near.elements();
        for net in ["127.0.0.0/8", "10.0.0.0/8", "192.168.0.0/16", "169.254.0.0/16", "203.0.113.0/24"] {
            assert!(v4.contains(net), "{net} in {v4}");
        }
        assert!(!v4.contains("10.1.2.0") && !v4.contains("203.0.113.2/32"), "{v4}");
        assert!(v6.contains("fe80::/10") && v6.contains("fc00::/7") && !v6.contains("fd00::/64"), "{v6}");
        for (index, net) in near.v4.iter().enumerate() {
            assert!(near.v4[index + 1..].iter().all(|other| !net.contains(other) && !other.contains(net)));
        }
    }

    #[test]
    fn what_is_near_this_host_is_read() {
        let outside = "203.0.113.7".parse().unwrap();
        let near = now(Some(outside)).unwrap();
        for net in ["127.0.0.0/8", "203.0.113.7/32"] {
            assert!(near.v4.contains(&net.parse().unwrap()), "{net}");
        }
        assert!(!now(None).unwrap().v4.contains(&"203.0.113.7/32".parse().unwrap()));
    }
}
