//! What a router was seen to do, and what of it is in the operator's way.
//!
//! Owns the words for it. Never asks anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use golem_types::net::is_public;
use serde::Serialize;

use super::gateway::Protocol;
use super::{AGAIN, MOST};
use crate::report::{Cause, ProblemReport};
use crate::wording::ranges;

/// Time between two rounds: a router that started anew has forgotten everything, and is told soon. At
/// most half of what a lease lasts.
const RENEWAL: Duration = Duration::from_secs(600);
/// However short a router's leases are, it is not asked more often.
const LEAST_RENEWAL: Duration = Duration::from_secs(30);

/// What the router does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MappingReport {
    /// The router.
    pub gateway: IpAddr,
    /// How it was asked.
    pub protocol: Protocol,
    /// Its address on the other side, as it says.
    pub external_address: Option<IpAddr>,
    /// The address to which it forwards.
    pub to: Ipv4Addr,
    /// Until when it forwards unless it is asked again, in seconds from now: the first port to end.
    pub lease_seconds: u64,
    /// Whether it stopped answering before it was asked for all.
    #[serde(skip)]
    pub silent: bool,
    /// The ports.
    pub ports: Vec<MappedPort>,
    /// What is still in the way, the worst first.
    pub problems: Vec<ProblemReport>,
}

/// What the router does with a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MappedPort {
    pub port: u16,
    /// Whether it is forwarded.
    pub forwarded: bool,
    /// Why it is not.
    pub problem: Option<String>,
}

impl MappingReport {
    /// Time until the router has to be asked again.
    pub fn renewal(&self) -> Duration {
        let most = if self.silent { AGAIN } else { RENEWAL };
        (Duration::from_secs(self.lease_seconds) / 2).clamp(LEAST_RENEWAL, most)
    }

    /// The ports that are forwarded.
    pub fn forwarded(&self) -> BTreeSet<u16> {
        self.ports.iter().filter(|port| port.forwarded).map(|port| port.port).collect()
    }
}

/// What came of a removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnmappingReport {
    /// The ways in which a router answered, though it may have refused.
    pub protocols: Vec<Protocol>,
    /// The ports that are no longer forwarded to this host by them.
    pub ports: Vec<u16>,
    /// Those that may still be, until their lease ends.
    pub left: Vec<LeftPort>,
}

/// A port that the router may still forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftPort {
    pub port: u16,
    /// How the router was asked to end it.
    pub protocol: Protocol,
    /// Why it did not.
    pub problem: String,
}

/// What to do where no router does it.
pub(super) fn by_hand(ports: &str, lan: Ipv4Addr) -> String {
    format!(
        "turn on UPnP or NAT-PMP in the router's settings, or forward TCP {ports} to {lan} there yourself"
    )
}

/// What is still in the way, with `known` the address that renters are told.
pub(super) fn problems(
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
                "the router's own address {external} is not globally routable: another router stands before it"
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
