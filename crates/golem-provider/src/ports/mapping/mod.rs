//! Ports that the router is asked to forward, where the operator wants that.
//!
//! ```text
//!   wanted ─► the API's port by PCP, else NAT-PMP, else UPnP ─► the SSH ports the same way
//!                │ none: why each did not                          │
//!                ▼                                            report ─► again before leases end ─► removed
//!              error
//! ```
//! Owns which ports are asked for, how often, and what the answers mean for the operator. Nothing is
//! asked for that the operator did not; what a node that dies leaves behind ends with its lease.

mod gateway;
mod keep;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::time::Duration;

use alloy_primitives::keccak256;
use serde::Serialize;
use tokio::time::{Instant, timeout};

use gateway::Protocol;
pub(crate) use keep::keep;

use super::all_ports;
use super::problem::{Cause, ProblemReport, ranges};
use crate::http::operator::Token;
use crate::port_checker::is_public;
use crate::public_ip;
use crate::settings::{Environment, Settings};
use gateway::{Client, Gateway, LEASE, Refusal};

/// Most ports that a router is asked for: home routers keep some hundred mappings at most, and some
/// fall over with more.
const MOST: usize = 128;

/// Longest that the router may take for all ports.
const ROUND: Duration = Duration::from_secs(60);

/// Longest that it may take to remove them: a stop waits for it.
const REMOVAL: Duration = Duration::from_secs(20);

/// Longest that asking for the public address may take.
const ADDRESS: Duration = Duration::from_secs(5);

/// Time between two rounds: a router that started anew has forgotten everything, and is told soon. At
/// most half of what a lease lasts.
const RENEWAL: Duration = Duration::from_secs(600);
/// However short a router's leases are, it is not asked more often.
const LEAST_RENEWAL: Duration = Duration::from_secs(30);

/// What to do where no router does it.
fn by_hand(ports: &str, lan: Ipv4Addr) -> String {
    format!(
        "turn on UPnP or NAT-PMP in the router's settings, or forward TCP {ports} to {lan} there yourself"
    )
}

/// Why no port is forwarded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MappingError {
    #[error("the node listens on {0} only; fix: set GOLEM_PROVIDER_HOST=0.0.0.0")]
    Loopback(IpAddr),
    #[error("this host has the public address {0} itself: no router has to forward")]
    Public(IpAddr),
    #[error("this host has no IPv4 address with which it goes out: routers forward IPv4 only")]
    NoIpv4,
    #[error(
        "the operator token, which marks the mappings, cannot be read or made; fix: run as the user who runs the provider"
    )]
    Token(#[source] io::Error),
    #[error("no router forwards the port of the API ({why}); fix: {fix}")]
    Nobody { why: String, fix: String },
}

/// What the router does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct MappingReport {
    /// The router.
    pub(crate) gateway: IpAddr,
    /// How it was asked.
    pub(crate) protocol: Protocol,
    /// Its address on the other side, as it says.
    pub(crate) external_address: Option<IpAddr>,
    /// The address to which it forwards.
    pub(crate) to: Ipv4Addr,
    /// Until when it forwards unless it is asked again, in seconds from now: the first port to end.
    pub(crate) lease_seconds: u64,
    /// The ports.
    pub(crate) ports: Vec<MappedPort>,
    /// What is still in the way, the worst first.
    pub(crate) problems: Vec<ProblemReport>,
}

/// What the router does with a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct MappedPort {
    /// The port.
    pub(crate) port: u16,
    /// Whether it is forwarded.
    pub(crate) forwarded: bool,
    /// Why it is not.
    pub(crate) problem: Option<String>,
}

impl MappingReport {
    /// Time until the router has to be asked again.
    pub(crate) fn renewal(&self) -> Duration {
        (Duration::from_secs(self.lease_seconds) / 2).clamp(LEAST_RENEWAL, RENEWAL)
    }

    /// The ports that are forwarded.
    pub(crate) fn forwarded(&self) -> BTreeSet<u16> {
        self.ports.iter().filter(|port| port.forwarded).map(|port| port.port).collect()
    }
}

/// What came of a removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct UnmappingReport {
    /// The ways in which a router could be asked.
    pub(crate) protocols: Vec<Protocol>,
    /// The ports that are no longer forwarded to this host by them.
    pub(crate) ports: Vec<u16>,
}

/// Who asks the router, and remembers what for.
pub(crate) struct Mapper {
    settings: Settings,
    client: Client,
    /// The API's port first.
    ports: Vec<NonZeroU16>,
    /// Ports above what a router is asked for.
    left_out: Vec<u16>,
    /// What was asked for, by whom it was asked.
    asked: Vec<(Gateway, BTreeSet<NonZeroU16>)>,
}

impl Mapper {
    /// Asks nobody yet.
    ///
    /// # Errors
    /// Where no router could forward to this host.
    pub(crate) fn new(settings: &Settings) -> Result<Self, MappingError> {
        let lan = match public_ip::own(settings.host) {
            address if address.is_loopback() => return Err(MappingError::Loopback(address)),
            address if is_public(address) => return Err(MappingError::Public(address)),
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => return Err(MappingError::NoIpv4),
        };
        let mut all = all_ports(settings);
        let left_out = all.split_off(all.len().min(MOST));
        let nonce = nonce(settings).map_err(MappingError::Token)?;
        Ok(Self {
            settings: settings.clone(),
            client: Client { lan, router: router(), nonce },
            ports: all.into_iter().filter_map(NonZeroU16::new).collect(),
            left_out,
            asked: Vec::new(),
        })
    }

    /// Has the ports forwarded, or forwarded on.
    ///
    /// # Errors
    /// [`MappingError::Nobody`].
    pub(crate) async fn map(&mut self) -> Result<MappingReport, MappingError> {
        let end = Instant::now() + ROUND;
        let (&api, ssh) = self.ports.split_first().ok_or(MappingError::NoIpv4)?;
        let ssh = ssh.to_vec();
        // As before, and else from the beginning: the router may have been exchanged.
        let before = self.asked.last().map(|(gateway, _)| gateway.clone());
        let mut tried = Vec::new();
        let mut found = None;
        if let Some(gateway) = before
            && let Ok(lease) = self.ask(&gateway, api).await
        {
            found = Some((gateway, lease));
        }
        for protocol in Protocol::ALL {
            if found.is_some() {
                break;
            }
            let asked = match Gateway::find(self.client, protocol).await {
                Ok(gateway) => self.ask(&gateway, api).await.map(|lease| (gateway, lease)),
                Err(refusal) => Err(refusal),
            };
            match asked {
                Ok(one) => found = Some(one),
                Err(refusal) => tried.push(format!("{}: {refusal}", protocol.as_str())),
            }
        }
        let Some((gateway, lease)) = found else {
            let all: Vec<u16> = all_ports(&self.settings);
            let fix = by_hand(&ranges(&all, '-', ", "), self.client.lan);
            return Err(MappingError::Nobody { why: tried.join("; "), fix });
        };
        let mut life = lease.life;
        let mut ports = vec![MappedPort { port: api.get(), forwarded: true, problem: None }];
        let mut silent = false;
        for port in ssh {
            let asked = match tokio::time::timeout_at(end, self.ask(&gateway, port)).await {
                // One that stopped answering is not waited for again and again.
                _ if silent => Err(Refusal::Silent),
                Ok(asked) => asked,
                Err(_) => Err(Refusal::Silent),
            };
            silent = silent || matches!(asked, Err(Refusal::Silent));
            if let Ok(lease) = &asked {
                life = life.min(lease.life);
            }
            let problem = asked.err().map(|refusal| refusal.to_string());
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
            ports,
            problems: Vec::new(),
        };
        let known = timeout(ADDRESS, public_ip::find(&self.settings)).await.ok().and_then(Result::ok);
        let development = self.settings.environment == Environment::Development;
        report.problems = problems(&report, known, development, &self.left_out);
        Ok(report)
    }

    /// Asks `gateway` for `port`; it is remembered first, so that a request that is cut off is undone.
    async fn ask(&mut self, gateway: &Gateway, port: NonZeroU16) -> Result<gateway::Lease, Refusal> {
        let same =
            |known: &Gateway| known.protocol() == gateway.protocol() && known.address() == gateway.address();
        match self.asked.iter_mut().find(|(known, _)| same(known)) {
            Some((_, ports)) => _ = ports.insert(port),
            None => self.asked.push((gateway.clone(), BTreeSet::from([port]))),
        }
        let lease = gateway.map(port).await;
        let given_back = !matches!(lease, Ok(_) | Err(Refusal::Silent | Refusal::Nonsense));
        if given_back && let Some((_, ports)) = self.asked.iter_mut().find(|(known, _)| same(known)) {
            ports.remove(&port);
        }
        lease
    }

    /// Has what was asked for no longer forwarded.
    ///
    /// # Errors
    /// The ports that may still be forwarded, until their lease ends.
    pub(crate) async fn undo(&mut self) -> Result<(), Vec<u16>> {
        let end = Instant::now() + REMOVAL;
        let mut left = Vec::new();
        for (gateway, ports) in std::mem::take(&mut self.asked) {
            let mut silent = false;
            for port in ports {
                silent =
                    silent || !matches!(tokio::time::timeout_at(end, gateway.unmap(port)).await, Ok(Ok(())));
                if silent {
                    left.push(port.get());
                }
            }
        }
        if left.is_empty() { Ok(()) } else { Err(left) }
    }

    /// Has none of this node's ports forwarded to this host any more, whoever asked for it.
    ///
    /// # Errors
    /// [`MappingError::Nobody`].
    pub(crate) async fn unmap(&mut self) -> Result<UnmappingReport, MappingError> {
        let mut report = UnmappingReport { protocols: Vec::new(), ports: Vec::new() };
        let mut tried = Vec::new();
        let mut removed = BTreeSet::new();
        for protocol in Protocol::ALL {
            let unmapped = async {
                let gateway = Gateway::find(self.client, protocol).await?;
                for port in gateway.own(&self.ports).await {
                    gateway.unmap(port).await?;
                    removed.insert(port.get());
                }
                Ok::<(), Refusal>(())
            };
            match timeout(ROUND, unmapped).await {
                Ok(Ok(())) => report.protocols.push(protocol),
                Ok(Err(refusal)) => tried.push(format!("{}: {refusal}", protocol.as_str())),
                Err(_) => tried.push(format!("{}: {}", protocol.as_str(), Refusal::Silent)),
            }
        }
        if report.protocols.is_empty() {
            let fix = format!("wait: what was asked for ends {} minutes after it was", LEASE / 60);
            return Err(MappingError::Nobody { why: tried.join("; "), fix });
        }
        report.ports = removed.into_iter().collect();
        Ok(report)
    }
}

/// What is still in the way, with `known` the address that renters are told.
fn problems(
    report: &MappingReport,
    known: Option<IpAddr>,
    development: bool,
    left_out: &[u16],
) -> Vec<ProblemReport> {
    let ssh = report.ports.len().saturating_sub(1) + left_out.len();
    let mut problems = Vec::new();
    let mut tell = |cause: Cause, ports: &[u16], what: String, fix: String| {
        problems.push(ProblemReport {
            cause,
            critical: ports.is_empty(),
            ports: ranges(ports, '-', ", "),
            what,
            impact: if ports.is_empty() {
                "renters cannot reach this node at all".to_owned()
            } else {
                format!("{} of {ssh} SSH ports are not forwarded", ports.len())
            },
            fixes: vec![fix],
            help: "docs/troubleshooting.md#port-mapping".to_owned(),
        });
    };
    match report.external_address {
        Some(external) if !is_public(external) && !development => tell(
            Cause::DoubleNat,
            &[],
            format!(
                "the router's own address {external} is none of the internet: another router stands before it"
            ),
            "ask the internet provider for a public address, or let the outer router forward to this one"
                .to_owned(),
        ),
        Some(external) if known.is_some_and(|known| known != external) => tell(
            Cause::WrongAddress,
            &[],
            format!(
                "the router's address is {external}, and renters are told {}",
                known.map(|known| known.to_string()).unwrap_or_default()
            ),
            format!("set GOLEM_PROVIDER_PUBLIC_IP={external}, or to auto"),
        ),
        _ => {}
    }
    let mut refused: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
    for port in &report.ports {
        if let Some(problem) = &port.problem {
            refused.entry(problem).or_default().push(port.port);
        }
    }
    for (why, ports) in refused {
        let shown = ranges(&ports, '-', ", ");
        let what = format!("TCP {shown} is not forwarded: {why}");
        tell(Cause::NotForwarded, &ports, what, by_hand(&shown, report.to));
    }
    if let Some(first) = left_out.first() {
        let shown = ranges(left_out, '-', ", ");
        tell(
            Cause::NotForwarded,
            left_out,
            format!(
                "TCP {shown} was not asked for: routers keep few mappings, and {MOST} are asked for at most"
            ),
            format!(
                "set GOLEM_PROVIDER_PORT_RANGE_END={first}, or forward TCP {shown} to {} in the router yourself",
                report.to
            ),
        );
    }
    problems
}

/// The first 96 bits of what only this node knows, the same after a restart: a router lets nobody
/// else renew or remove what it forwards (RFC 6887, 11.2).
fn nonce(settings: &Settings) -> io::Result<[u32; 3]> {
    std::fs::create_dir_all(&settings.data_dir)?;
    let token = Token::ensure(&settings.data_dir)?;
    let hash = keccak256(format!("port mapping {}", token.bearer()));
    Ok(std::array::from_fn(|word| u32::from_be_bytes(std::array::from_fn(|byte| hash[4 * word + byte]))))
}

/// The router by which this host goes out, as the kernel's table names it; none elsewhere than on
/// Linux, where only UPnP, which finds it by itself, is left.
fn router() -> Option<Ipv4Addr> {
    default_route(&std::fs::read_to_string("/proc/net/route").ok()?)
}

/// The gateway of the default route with the least metric in `table`.
fn default_route(table: &str) -> Option<Ipv4Addr> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (to, by) = (*columns.get(1)?, u32::from_str_radix(columns.get(2)?, 16).ok()?);
        let (metric, mask) = (columns.get(6)?.parse::<u32>().ok()?, *columns.get(7)?);
        (to == "00000000" && mask == "00000000" && by != 0)
            .then_some((metric, Ipv4Addr::from(by.to_ne_bytes())))
    });
    routes.min_by_key(|(metric, _)| *metric).map(|(_, address)| address)
}

#[cfg(test)]
mod tests;
