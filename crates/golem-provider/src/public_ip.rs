//! The address that renters are told.
//!
//! Owns the meaning of `auto`. Sends nothing: the kernel is only asked which of this machine's
//! addresses it would use.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use crate::settings::{Environment, PublicIp, Settings};

/// Some address on the internet (RFC 5737, documentation); never contacted.
const SOMEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);

/// The address for `setting`; loopback where this machine has no way out.
#[must_use]
pub(crate) fn resolve(setting: PublicIp) -> IpAddr {
    match setting {
        PublicIp::Fixed(address) => address,
        PublicIp::Auto => outgoing().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    }
}

/// The address at which renters can be told to come; none when it is not known.
#[must_use]
pub(crate) fn known(settings: &Settings) -> Option<IpAddr> {
    let address = resolve(settings.public_ip);
    let development = settings.environment == Environment::Development;
    // Without a way out, `auto` finds only the loopback, where no renter is.
    let is_of_use = settings.public_ip != PublicIp::Auto || !address.is_loopback() || development;
    is_of_use.then_some(address)
}

fn outgoing() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // For UDP, connecting sets the route and sends nothing.
    socket.connect(SOMEWHERE).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_113_a_given_address_wins_and_auto_is_one_of_this_machine() {
        let given = IpAddr::from([203, 0, 113, 7]);
        assert_eq!(resolve(PublicIp::Fixed(given)), given);
        let found = resolve(PublicIp::Auto);
        // Only an address of this machine can be bound.
        assert!(UdpSocket::bind((found, 0)).is_ok(), "{found}");
    }
}
