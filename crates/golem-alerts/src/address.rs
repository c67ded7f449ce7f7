//! Which addresses a message may go to.
//!
//! Owns the look-up and the rule. Never connects: who does takes the addresses that were checked, so that a name that
//! changes in between leads nowhere else.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use golem_types::net::{AddressScope, reach};
use tokio::net::lookup_host;
use tokio::time::timeout;

/// Longest that a look-up may take.
const LOOKUP: Duration = Duration::from_secs(10);

/// Why a host may not be told.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// Its name is not known now.
    #[error("{host} is not found; fix: check the name, and this machine's DNS")]
    Unknown {
        /// The host.
        host: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not on the internet.
    #[error(
        "{host} is at {address}, which is not on the internet; fix: set GOLEM_PROVIDER_ALERT_ALLOW_PRIVATE=true \
         if that is yours"
    )]
    Private {
        /// The host.
        host: String,
        /// Its address.
        address: IpAddr,
    },
}

/// The addresses of `host`, every one of which may be told.
///
/// # Errors
/// [`AddressError::Unknown`], and [`AddressError::Private`] if one of them may not.
pub async fn checked(host: &str, port: u16, allow_private: bool) -> Result<Vec<SocketAddr>, AddressError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let unknown = |source| AddressError::Unknown { host: host.to_owned(), source };
    let found = match timeout(LOOKUP, lookup_host((bare, port))).await {
        Ok(found) => found.map_err(unknown)?,
        Err(_) => return Err(unknown(io::ErrorKind::TimedOut.into())),
    };
    let addresses: Vec<SocketAddr> = found.collect();
    if addresses.is_empty() {
        return Err(unknown(io::ErrorKind::NotFound.into()));
    }
    for address in &addresses {
        let may = match reach(address.ip().to_canonical()) {
            AddressScope::Public => true,
            AddressScope::Private => allow_private,
            AddressScope::Never => false,
        };
        if !may {
            return Err(AddressError::Private { host: host.to_owned(), address: address.ip() });
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn private_addresses_are_told_only_where_that_is_set_and_metadata_never() {
        for host in
            ["127.0.0.1", "10.0.0.1", "192.168.1.1", "100.64.0.1", "[::1]", "[fd00::1]", "[::ffff:10.0.0.1]"]
        {
            assert!(matches!(checked(host, 80, false).await, Err(AddressError::Private { .. })), "{host}");
            assert!(checked(host, 80, true).await.is_ok(), "{host}");
        }
        for host in ["169.254.169.254", "0.0.0.0", "[fe80::1]", "224.0.0.1", "[::ffff:169.254.169.254]"] {
            assert!(matches!(checked(host, 80, true).await, Err(AddressError::Private { .. })), "{host}");
        }
        assert!(checked("1.1.1.1", 443, false).await.is_ok());
    }
}
