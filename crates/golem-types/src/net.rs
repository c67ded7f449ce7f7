//! Who a peer is, as far as an address tells.
//!
//! Owns the networks by which strangers are counted, and which addresses the internet reaches. Never opens a
//! socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whom a connection or a request is counted to: the smallest network that one customer of an
/// access provider gets, and the one in which an attacker easily gets many of those.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// The IPv4 address, or the /64 of an IPv6 address.
    pub customer: IpAddr,
    /// The IPv4 /24 or the IPv6 /48 around it.
    pub network: IpAddr,
}

impl Source {
    /// The source of what comes from `address`. An IPv4 address in IPv6 notation is the IPv4 address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self { customer: customer(address), network: prefix(address, 24, 48) }
    }

    /// The IPv4 /16 or the IPv6 /32 around it: about one access provider or data centre.
    #[must_use]
    pub fn region(&self) -> IpAddr {
        prefix(self.network, 16, 32)
    }
}

/// The smallest network that one customer of an access provider gets: the IPv4 `address`, or the /64 of
/// the IPv6 one.
#[must_use]
pub fn customer(address: IpAddr) -> IpAddr {
    prefix(address, 32, 64)
}

/// From where an address can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressScope {
    /// From the internet, as far as its number tells.
    Public,
    /// Of a private network, of a carrier's, or of this host.
    Private,
    /// Never one host's: link-local, multicast, unspecified, or a tunnel to another address.
    Never,
}

/// From where `address` can be reached.
#[must_use]
pub fn reach(address: IpAddr) -> AddressScope {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> AddressScope {
    let [first, second, ..] = address.octets();
    if address.is_link_local() || first == 0 || first >= 224 {
        AddressScope::Never
    } else if address.is_private() || address.is_loopback() || (first == 100 && second & 0xc0 == 64) {
        AddressScope::Private
    } else {
        AddressScope::Public
    }
}

fn reach_v6(address: Ipv6Addr) -> AddressScope {
    let [first, second, ..] = address.segments();
    if address.is_loopback() || address.is_unique_local() {
        AddressScope::Private
    } else if first & 0xe000 != 0x2000 || first == 0x2002 || (first == 0x2001 && second == 0) {
        // Outside of what is routed at all (RFC 4291), or 6to4 and Teredo, which hold an IPv4 address.
        AddressScope::Never
    } else {
        AddressScope::Public
    }
}

/// Whether the internet can reach `address`, as far as its number tells.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    reach(address.to_canonical()) == AddressScope::Public
}

/// The first `v4` or `v6` bits of `address`; the rest are zero.
fn prefix(address: IpAddr, v4: u32, v6: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - v4).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - v6).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_customer_in_a_network() {
        let of = |text: &str| {
            let source = Source::of(text.parse().unwrap());
            [source.customer, source.network, source.region()].map(|address| address.to_string())
        };
        assert_eq!(of("192.0.2.7"), ["192.0.2.7", "192.0.2.0", "192.0.0.0"]);
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
        assert_eq!(of("2001:db8:1:2:3::4"), ["2001:db8:1:2::", "2001:db8:1::", "2001:db8::"]);
    }
}
