//! The address that renters are told.
//!
//! ```text
//!   given ────────────────────────────────────────┐
//!   development: this machine's on its network ───┼─► watch ─► adverts, API, port checks
//!   auto: two servers agree │ this machine's own, ┘
//!         where that is public │ else unknown, and asked again
//! ```
//! Owns what is told, and that changes are noticed. What was known stays while nothing better is. An
//! address that the internet cannot reach is only told where the operator gave it, or in development.

mod sources;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use golem_service::tasks::Tasks;
use golem_types::net::is_public;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::Site;
use sources::{Family, NotAgreed};

/// Some addresses on the internet (RFC 5737 and 3849, documentation); never contacted.
const SOMEWHERE_V4: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);
const SOMEWHERE_V6: (Ipv6Addr, u16) = (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9);

/// First wait for an address that is not known; doubled up to the setting's interval.
const RETRY: Duration = Duration::from_secs(15);

/// The address at which renters can be told to come; `None` while it is not known.
pub type PublicAddress = watch::Receiver<Option<IpAddr>>;

/// Why the address is not known.
#[derive(Debug, thiserror::Error)]
#[error("{0}; this machine's own address is {1}")]
pub struct Unknown(#[source] NotAgreed, String);

/// Follows the address of `site`, until `tasks` stop. Known at once where nobody has to
/// be asked.
pub fn follow(site: &Site, tasks: &Tasks) -> PublicAddress {
    let at_once = at_once(site);
    let (sender, receiver) = watch::channel(at_once);
    if let Some(address) = at_once {
        if !site.development && !is_public(address) {
            tracing::warn!(
                %address,
                "renters are told an address that the internet does not reach; fix: set GOLEM_PROVIDER_PUBLIC_IP \
                 to the router's address, or to auto"
            );
        }
        return receiver;
    }
    let (site, stop) = (site.clone(), tasks.stopping().clone());
    tasks.spawn("public address", async move {
        stop.run_until_cancelled(watch_changes(&site, sender)).await;
    });
    receiver
}

async fn watch_changes(site: &Site, address: watch::Sender<Option<IpAddr>>) {
    let mut retry = RETRY;
    let mut told = false;
    loop {
        let known = address.borrow().is_some();
        match find(site).await {
            Ok(found) => {
                (retry, told) = (RETRY, false);
                let changed = address.send_if_modified(|address| address.replace(found) != Some(found));
                if changed {
                    tracing::info!(address = %found, before_known = known, "renters are told this address");
                }
            }
            Err(error) if told => tracing::debug!(%error, "the public address is still not known"),
            Err(error) => {
                told = true;
                if known {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the public address cannot be asked for; the last one stays"
                    );
                } else {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the node is not offered: its public address is not known; fix: set \
                         GOLEM_PROVIDER_PUBLIC_IP to the router's address"
                    );
                }
            }
        }
        if address.borrow().is_some() {
            sleep(site.address_interval).await;
        } else {
            sleep(retry.min(site.address_interval)).await;
            retry = retry.saturating_mul(2);
        }
    }
}

/// The address, where nobody has to be asked for it.
fn at_once(site: &Site) -> Option<IpAddr> {
    site.public_address.or_else(|| site.development.then(|| own(site.host)))
}

/// The address of `site`, now.
///
/// # Errors
/// [`Unknown`].
pub async fn find(site: &Site) -> Result<IpAddr, Unknown> {
    if let Some(address) = at_once(site) {
        return Ok(address);
    }
    let urls = &site.address_servers;
    let asked = match site.host {
        IpAddr::V4(_) => sources::ask(urls, Family::V4).await,
        // Both reach the node there, and old clients know only the first.
        IpAddr::V6(host) if host.is_unspecified() => match sources::ask(urls, Family::V4).await {
            Ok(address) => Ok(address),
            Err(_) => sources::ask(urls, Family::V6).await,
        },
        IpAddr::V6(_) => sources::ask(urls, Family::V6).await,
    };
    asked.or_else(|error| {
        let own = own(site.host);
        if is_public(own) { Ok(own) } else { Err(Unknown(error, own.to_string())) }
    })
}

/// What the node's own API says its address is: `known`, or that of this machine on its network.
pub fn advertised_address(known: &PublicAddress, host: IpAddr) -> IpAddr {
    known.borrow().unwrap_or_else(|| own(host))
}

/// This machine's address, as it is seen on its network: where it listens, or the one with which it
/// would go out; loopback where it has no way out.
pub fn own(host: IpAddr) -> IpAddr {
    if !host.is_unspecified() {
        return host;
    }
    let out = match host {
        IpAddr::V4(_) => outgoing(host, SOMEWHERE_V4.into()),
        IpAddr::V6(_) => outgoing(IpAddr::V4(Ipv4Addr::UNSPECIFIED), SOMEWHERE_V4.into())
            .or_else(|| outgoing(host, SOMEWHERE_V6.into())),
    };
    out.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn outgoing(from: IpAddr, to: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((from, 0)).ok()?;
    // For UDP, connecting sets the route and sends nothing.
    socket.connect(to).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_unspecified())
}

#[cfg(test)]
mod tests;
