//! Whom a check server dials.
//!
//! Owns the rule, as a pure function: the caller's own address and no other, so that nobody is
//! scanned through it; and no address that is somebody's inside. Never dials.

use std::net::IpAddr;

use golem_types::net::{AddressScope, reach};

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
pub enum TargetError {
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
    #[error("{0} is not globally routable, and is not dialled")]
    Inside(IpAddr),
}

impl Targets {
    /// The address to dial for `caller`, who asks for `wanted`.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn target(self, wanted: &str, caller: IpAddr) -> Result<IpAddr, TargetError> {
        let wanted: IpAddr = wanted.parse().map_err(|_| TargetError::NoAddress)?;
        let (wanted, caller) = (wanted.to_canonical(), caller.to_canonical());
        if wanted != caller && !self.any {
            return Err(TargetError::Another { wanted, caller });
        }
        match reach(wanted) {
            AddressScope::Public => Ok(wanted),
            AddressScope::Private if self.private => Ok(wanted),
            AddressScope::Private | AddressScope::Never => Err(TargetError::Inside(wanted)),
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
