//! Ports that the router is asked to forward, where the operator wants that.
//!
//! ```text
//!   wanted ─► the API's port by PCP, else NAT-PMP, else UPnP ─► the SSH ports the same way
//!     ▲          │ none: why each did not                          │
//!     │          ▼                                               report ─► removed at the end
//!     │ 60 s   error                                               │
//!     └──────────┴── before leases end, soon where it fell silent ─┘
//! ```
//! Owns which ports are asked for, how often, and what the answers mean for the operator. Nothing is
//! asked for that the operator did not; what a node that dies leaves behind ends with its lease.

mod client;
mod gateway;
mod renewal;
mod report;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use client::Client;
use gateway::{Gateway, GatewayError, LEASE, Lease, Protocol};

pub use renewal::{MappingChange, Renewal};
pub use report::{LeftPort, MappingReport, UnmappingReport};
use report::{MappedPort, by_hand, problems};

use super::wording::ranges;
use crate::Site;
use crate::public_ip;
use golem_types::net::is_public;

/// Most ports that a router is asked for: home routers keep some hundred mappings at most, and some
/// fall over with more.
const MOST: usize = 128;

/// Time until a router that forwards nothing is asked again.
pub const AGAIN: Duration = Duration::from_secs(60);

/// Longest that the router may take for all ports.
const ROUND: Duration = Duration::from_secs(60);

/// Longest that it may take to remove them. A small router takes up to 0.4 s for one, and has a hundred. A
/// node's stop waits for it, and `stop` waits a minute for the node, beside what its VMs may take.
pub const REMOVAL: Duration = Duration::from_secs(45);

/// Longest that asking for the public address may take.
const ADDRESS: Duration = Duration::from_secs(5);

/// Why no port is forwarded.
#[derive(Debug, thiserror::Error)]
pub enum MappingError {
    #[error("the node listens on {0} only; fix: set GOLEM_PROVIDER_HOST=0.0.0.0")]
    Loopback(IpAddr),
    #[error("this host has the public address {0} itself: no router has to forward")]
    Public(IpAddr),
    #[error(
        "this host goes out by no IPv4 address, and routers forward nothing else; fix: give it an IPv4 address and \
         a default route, or forward the ports in the router yourself"
    )]
    NoIpv4,
    #[error("no router forwards the port of the API ({why}); fix: {fix}")]
    Nobody { why: String, fix: String },
}

/// Who asks the router, and remembers what for.
pub struct Mapper {
    site: Site,
    client: Client,
    /// Ports beside that of the API that a router is asked for: those of https, then SSH.
    others: Vec<NonZeroU16>,
    /// Those above what it is asked for.
    left_out: Vec<u16>,
    /// What was asked for, by whom it was asked.
    asked: Vec<(Gateway, BTreeSet<NonZeroU16>)>,
}

impl Mapper {
    /// Asks nobody yet. What is mapped is the node's own by `secret`, which nobody else knows and which is
    /// the same after a restart.
    ///
    /// # Errors
    /// Where no router could forward to this host, or has to.
    pub fn new(site: &Site, secret: &str) -> Result<Self, MappingError> {
        let lan = match public_ip::own(site.host) {
            _ if site.host.is_loopback() => return Err(MappingError::Loopback(site.host)),
            address if is_public(address) => return Err(MappingError::Public(address)),
            IpAddr::V4(address) if !address.is_loopback() => address,
            _ => return Err(MappingError::NoIpv4),
        };
        Ok(Self::of(site, Client::new(secret, lan)))
    }

    /// As [`Mapper::new`], with `client` this host.
    fn of(site: &Site, client: Client) -> Self {
        let mut others: Vec<u16> = site.web.iter().copied().chain(site.ssh.clone()).collect();
        let left_out = others.split_off(others.len().min(MOST - 1));
        let others = others.into_iter().filter_map(NonZeroU16::new).collect();
        Self { site: site.clone(), client, others, left_out, asked: Vec::new() }
    }

    /// Has the ports forwarded, or forwarded on; `tell` hears how many are done, of how many.
    ///
    /// # Errors
    /// [`MappingError::Nobody`].
    pub async fn map(&mut self, tell: impl Fn(usize, usize)) -> Result<MappingReport, MappingError> {
        let end = Instant::now() + ROUND;
        let (api, others) = (self.site.api, self.others.clone());
        let (gateway, lease) = self.find(api).await?;
        let mut life = lease.life;
        let mut ports = vec![MappedPort { port: api.get(), forwarded: true, problem: None }];
        let mut silent = false;
        for &port in &others {
            tell(ports.len(), others.len() + 1);
            // One that stopped answering is not waited for again and again.
            let asked = match silent {
                true => Err(GatewayError::Silent),
                false => timeout_at(end, self.ask(&gateway, port)).await.unwrap_or(Err(GatewayError::Silent)),
            };
            silent = silent || asked == Err(GatewayError::Silent);
            if let Ok(lease) = &asked {
                life = life.min(lease.life);
            }
            let problem = asked.err().map(|error| error.to_string());
            ports.push(MappedPort { port: port.get(), forwarded: problem.is_none(), problem });
        }
        let external_address = match lease.external {
            Some(address) => Some(address),
            None => gateway.external().await,
        };
        let mut report = MappingReport {
            gateway: gateway.address(),
            protocol: gateway.protocol(),
            external_address,
            to: self.client.lan,
            lease_seconds: life.as_secs(),
            silent,
            ports,
            problems: Vec::new(),
        };
        let known = timeout(ADDRESS, public_ip::find(&self.site)).await.ok().and_then(Result::ok);
        let development = self.site.development;
        report.problems = problems(&report, known, development, &self.left_out);
        Ok(report)
    }

    /// The router that forwards `api`: the previous one, or another if that no longer does.
    async fn find(&mut self, api: NonZeroU16) -> Result<(Gateway, Lease), MappingError> {
        let before = self.asked.iter().rfind(|(_, ports)| !ports.is_empty());
        if let Some((gateway, _)) = before.cloned()
            && let Ok(lease) = self.ask(&gateway, api).await
        {
            return Ok((gateway, lease));
        }
        let mut tried = Vec::new();
        for protocol in Protocol::ALL {
            let asked = match Gateway::find(self.client, protocol).await {
                Ok(gateway) => self.ask(&gateway, api).await.map(|lease| (gateway, lease)),
                Err(error) => Err(error),
            };
            match asked {
                Ok(found) => return Ok(found),
                Err(error) => tried.push(format!("{}: {error}", protocol.as_str())),
            }
        }
        let fix = by_hand(&ranges(&self.site.all_ports(), '-', ", "), self.client.lan);
        Err(MappingError::Nobody { why: tried.join("; "), fix })
    }

    /// Asks `gateway` for `port`; it is remembered first, so that a request that is cut off is undone.
    async fn ask(&mut self, gateway: &Gateway, port: NonZeroU16) -> Result<Lease, GatewayError> {
        let same =
            |known: &Gateway| known.protocol() == gateway.protocol() && known.address() == gateway.address();
        let is_new = match self.asked.iter_mut().find(|(known, _)| same(known)) {
            Some((known, ports)) => {
                // After a start it may be reached elsewhere (UPnP).
                *known = gateway.clone();
                ports.insert(port)
            }
            None => {
                self.asked.push((gateway.clone(), BTreeSet::from([port])));
                true
            }
        };
        let lease = gateway.map(port).await;
        // A renewal that is refused does not end what was given before.
        let given_back =
            is_new && !matches!(lease, Ok(_) | Err(GatewayError::Silent | GatewayError::Nonsense));
        for (known, ports) in &mut self.asked {
            // It is one's at a time: who forwards it now is who removes it, and not who once fell silent.
            let is_not_its = if same(known) { given_back } else { lease.is_ok() };
            if is_not_its {
                ports.remove(&port);
            }
        }
        lease
    }

    /// What was asked for and may be forwarded.
    pub fn held(&self) -> BTreeSet<u16> {
        self.asked.iter().flat_map(|(_, ports)| ports).map(|port| port.get()).collect()
    }

    /// Has what was asked for no longer forwarded, in [`REMOVAL`] at most; what may still be, until its
    /// lease ends, is [`Mapper::held`] afterwards, and whenever this is cut off. `tell` hears how many
    /// are done, of how many.
    pub async fn undo(&mut self, tell: impl Fn(usize, usize)) {
        let end = Instant::now() + REMOVAL;
        let total = self.asked.iter().map(|(_, ports)| ports.len()).sum();
        let mut done = 0..;
        for (gateway, ports) in &mut self.asked {
            // What is left says enough.
            _ = remove(gateway, ports, end, || tell(done.next().unwrap_or_default(), total)).await;
        }
    }

    /// Has none of this node's ports forwarded to this host any more, whoever asked for it; `tell` hears
    /// whom that is asked of, and how many are done, of how many.
    ///
    /// # Errors
    /// [`MappingError::Nobody`].
    pub async fn unmap(
        &self,
        tell: impl Fn(Protocol, usize, usize),
    ) -> Result<UnmappingReport, MappingError> {
        let all: BTreeSet<_> = std::iter::once(self.site.api).chain(self.others.iter().copied()).collect();
        let (mut routers, mut tried, mut gone) = (Vec::new(), Vec::new(), BTreeSet::new());
        for protocol in Protocol::ALL {
            let asked = async {
                let gateway = Gateway::find(self.client, protocol).await?;
                let own = gateway.own(&all).await;
                let mut left = own.clone();
                let mut done = 0..;
                let told = || tell(protocol, done.next().unwrap_or_default(), own.len());
                match remove(&gateway, &mut left, Instant::now() + ROUND, told).await {
                    Err(error) if error.is_of_all() && left == own => Err(error),
                    _ => Ok((gateway, own, left)),
                }
            };
            match asked.await {
                Ok((gateway, own, left)) => {
                    gone.extend(&own - &left);
                    routers.push((gateway, left));
                }
                Err(error) => tried.push(format!("{}: {error}", protocol.as_str())),
            }
        }
        if routers.is_empty() {
            let fix = format!("wait: what was asked for ends {} minutes after it was", LEASE / 60);
            return Err(MappingError::Nobody { why: tried.join("; "), fix });
        }
        let protocols = routers.iter().map(|(gateway, _)| gateway.protocol()).collect();
        let mut left = Vec::new();
        for (gateway, mut ports) in routers {
            // One protocol refuses what another had forwarded: now that each had its turn, it is gone.
            let refused = ports.clone();
            let again = remove(&gateway, &mut ports, Instant::now() + ROUND, || ()).await;
            gone.extend(&refused - &ports);
            if let Err(error) = again {
                let (protocol, problem) = (gateway.protocol(), error.to_string());
                left.extend(ports.iter().map(|port| LeftPort {
                    port: port.get(),
                    protocol,
                    problem: problem.clone(),
                }));
            }
        }
        let ports = gone.into_iter().map(NonZeroU16::get);
        let ports = ports.filter(|port| left.iter().all(|left| left.port != *port)).collect();
        Ok(UnmappingReport { protocols, ports, left })
    }
}

/// Has `ports` no longer forwarded by `gateway` until `end`, and takes out those that are not; `tell` is
/// called before each.
///
/// # Errors
/// Why some are left. One that is refused keeps no other; a router that does not answer is not waited
/// for again and again.
async fn remove(
    gateway: &Gateway,
    ports: &mut BTreeSet<NonZeroU16>,
    end: Instant,
    mut tell: impl FnMut(),
) -> Result<(), GatewayError> {
    let mut refused = Ok(());
    // The newest first: miniupnpd finds those in two thirds of the time.
    for port in ports.clone().into_iter().rev() {
        tell();
        match timeout_at(end, gateway.unmap(port)).await.unwrap_or(Err(GatewayError::Silent)) {
            Ok(()) => _ = ports.remove(&port),
            Err(error) if error.is_of_all() => return Err(error),
            Err(error) => refused = Err(error),
        }
    }
    refused
}

#[cfg(test)]
mod tests;
