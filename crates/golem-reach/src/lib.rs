//! Reachability: whether renters can reach this node, verified from outside, and what to do if not.
//!
//! ```text
//!   site ─► verification ─► listeners (probe) ◄── dial ── sources: check servers, other providers
//!                └─► verdicts ─► summary ─► report ─► diagnosis (what is in the way) ─► wording (and its fix)
//!   router mapping · reserved ports · the public address · certificates · the check service for others
//! ```
//! Owns the verification, the verdicts and the report. Never decides when the node asks nor which port a rental gets,
//! and knows no payment and no machine; of `golem-chain` it uses the key that signs, and whose signature it is.

pub mod certificates;
mod diagnosis;
mod inbound_probe;
pub mod mapping;
pub mod peers;
pub mod port_checker;
pub mod port_owner;
pub mod probe;
pub mod public_ip;
pub mod report;
pub mod reserved_ports;
pub mod source;
pub mod summary;
pub mod verdict;
pub mod verification;
pub mod verify_once;
pub mod wording;

use std::net::{IpAddr, UdpSocket};
use std::num::NonZeroU16;
use std::ops::Range;
use std::time::Duration;

use report::HostFacts;

/// Where a node listens, and how it learns its public address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Address on which the public API and VMs listen.
    pub host: IpAddr,
    /// Port of the public API.
    pub api: NonZeroU16,
    /// Ports that VMs get.
    pub ssh: Range<u16>,
    /// Ports of https: its own, and the one for certificate authorities. Empty if there is no https.
    pub web: Vec<u16>,
    /// In development private addresses are as good as public ones, and this machine's own is told to renters.
    pub development: bool,
    /// The public address, where the operator gives it; `None` to find it out.
    pub public_address: Option<IpAddr>,
    /// Servers that tell a caller its own address, as URLs.
    pub address_servers: Vec<String>,
    /// How often they are asked.
    pub address_interval: Duration,
}

impl Site {
    /// Every port that renters have to reach: that of the API first.
    #[must_use]
    pub fn all_ports(&self) -> Vec<u16> {
        std::iter::once(self.api.get()).chain(self.ssh.clone()).chain(self.web.iter().copied()).collect()
    }

    /// What this host knows of its network, with `address` its public address.
    #[must_use]
    pub fn host_facts(&self, address: IpAddr) -> HostFacts {
        HostFacts {
            lan: Some(public_ip::own(self.host)).filter(|address| !address.is_loopback()),
            has_public_address: UdpSocket::bind((address, 0)).is_ok(),
            only_ipv4: self.host.is_ipv4(),
            development: self.development,
            inbound: None,
        }
    }
}
