//! Whom a check server dials.
//!
//! Owns the rule, as a pure function: the caller's own address and no other, so that nobody is
//! scanned through it; and no address that is somebody's inside. Never dials.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whom a check server dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Targets {
    /// Any address that is asked for, and not only that of who asks.
    pub any: bool,
    /// Private and loopback addresses too.
    pub private: bool,
}

/// Why an address is not dialled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    /// Names are not resolved: they may lead anywhere.
    #[error("provider_ip should be an IP address")]
    NoAddress,
    /// It is not the caller's.
    #[error(
        "only the address that asks is dialled: provider_ip is {wanted}, and the request comes from {caller}"
    )]
    Another {
        /// What was asked for.
        wanted: IpAddr,
        /// Who asks.
        caller: IpAddr,
    },
    /// It belongs to nobody on the internet.
    #[error("{0} is not an address of the internet, and is not dialled")]
    Inside(IpAddr),
}

/// What kind of address it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Public,
    /// Of a private network, of a carrier's, or of this host.
    Private,
    /// Never one host's: link-local, multicast, unspecified, or a tunnel to another address.
    Never,
}

fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(address) => kind_v4(address),
        IpAddr::V6(address) => kind_v6(address),
    }
}

fn kind_v4(address: Ipv4Addr) -> Kind {
    let [first, second, ..] = address.octets();
    if address.is_link_local() || first == 0 || first >= 224 {
        Kind::Never
    } else if address.is_private() || address.is_loopback() || (first == 100 && second & 0xc0 == 64) {
        Kind::Private
    } else {
        Kind::Public
    }
}

fn kind_v6(address: Ipv6Addr) -> Kind {
    let [first, second, ..] = address.segments();
    if address.is_loopback() || address.is_unique_local() {
        Kind::Private
    } else if first & 0xe000 != 0x2000 || first == 0x2002 || (first == 0x2001 && second == 0) {
        // Outside of what is routed at all (RFC 4291), or 6to4 and Teredo, which hold an IPv4 address.
        Kind::Never
    } else {
        Kind::Public
    }
}

/// Whether the internet can reach `address`, as far as its number tells.
pub(crate) fn is_public(address: IpAddr) -> bool {
    kind(address.to_canonical()) == Kind::Public
}

impl Targets {
    /// The address to dial for `caller`, who asks for `wanted`.
    ///
    /// # Errors
    /// [`TargetError`].
    pub(crate) fn target(self, wanted: &str, caller: IpAddr) -> Result<IpAddr, TargetError> {
        let wanted: IpAddr = wanted.parse().map_err(|_| TargetError::NoAddress)?;
        let (wanted, caller) = (wanted.to_canonical(), caller.to_canonical());
        if wanted != caller && !self.any {
            return Err(TargetError::Another { wanted, caller });
        }
        match kind(wanted) {
            Kind::Public => Ok(wanted),
            Kind::Private if self.private => Ok(wanted),
            Kind::Private | Kind::Never => Err(TargetError::Inside(wanted)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWN: Targets = Targets { any: false, private: false };
    const ANY: Targets = Targets { any: true, private: false };
    const INSIDE: Targets = Targets { any: true, private: true };

    fn caller() -> IpAddr {
        [198, 51, 100, 7].into()
    }

    #[test]
    fn only_the_callers_own_address_is_dialled_unless_it_is_allowed() {
        assert_eq!(OWN.target("198.51.100.7", caller()), Ok(caller()));
        assert_eq!(OWN.target("::ffff:198.51.100.7", caller()), Ok(caller()));
        let mapped: IpAddr = "::ffff:198.51.100.7".parse().unwrap();
        assert_eq!(OWN.target("198.51.100.7", mapped), Ok(caller()));
        let another = OWN.target("203.0.113.9", caller());
        assert!(matches!(another, Err(TargetError::Another { .. })), "{another:?}");
        assert_eq!(ANY.target("203.0.113.9", caller()), Ok([203, 0, 113, 9].into()));
        for name in ["localhost", "example.org", "", "203.0.113.9:80", "0x7f000001", "127.1"] {
            assert_eq!(INSIDE.target(name, caller()), Err(TargetError::NoAddress), "{name}");
        }
    }

    #[test]
    fn what_is_inside_is_dialled_only_where_it_is_allowed() {
        for address in [
            "10.0.0.1",
            "192.168.1.1",
            "172.31.0.1",
            "127.0.0.1",
            "100.64.0.1",
            "::1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(matches!(ANY.target(address, caller()), Err(TargetError::Inside(_))), "{address}");
            // A caller from inside is no exception.
            let own = OWN.target(address, address.parse().unwrap());
            assert!(matches!(own, Err(TargetError::Inside(_))), "{address}");
            assert!(INSIDE.target(address, caller()).is_ok(), "{address}");
        }
        for address in [
            "0.0.0.0",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "fe80::1",
            "ff02::1",
            "2002:7f00:1::",
            "2001::1",
            "64:ff9b::7f00:1",
            "::ffff:169.254.169.254",
        ] {
            assert!(matches!(INSIDE.target(address, caller()), Err(TargetError::Inside(_))), "{address}");
        }
        assert!(ANY.target("2a01:4f8::1", caller()).is_ok());
    }

    proptest! {
        #[test]
        fn nobody_else_is_ever_dialled(wanted: [u8; 4], caller: [u8; 4]) {
            let caller = IpAddr::from(caller);
            let dialled = OWN.target(&IpAddr::from(wanted).to_string(), caller);
            prop_assert!(dialled.is_err() || dialled == Ok(caller));
        }
    }
}
