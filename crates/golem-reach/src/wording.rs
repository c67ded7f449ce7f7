//! What keeps renters from reaching the node, in words: what it is, what it means, and what to do.
//!
//! Owns every sentence, as a pure function of a diagnosis. Never chooses a cause: `diagnosis` does.

use std::fmt;
use std::net::IpAddr;

use super::certificates::privileged_port_fixes;
use super::diagnosis::{Detail, Diagnosed, PortKind, diagnose};
use super::report::{Cause, HostFacts, PortReport, PortsReport, ProblemReport};
use crate::verdict::UnreachableReason;

/// What to do where check servers cannot know.
const ASK_OUTSIDE: &str = "name a check server on the internet with GOLEM_PROVIDER_PORT_CHECK_SERVERS";

/// What to do where the public address is not right.
const SET_ADDRESS: &str = "set GOLEM_PROVIDER_PUBLIC_IP to the address at which the internet sees this node";

/// `ports` as ranges for people: `7466, 50800-50899`.
pub fn ranges(ports: &[u16], dash: char, between: &str) -> String {
    let mut parts: Vec<(u16, u16)> = Vec::new();
    for &port in ports {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == port => *last = port,
            _ => parts.push((port, port)),
        }
    }
    let part = |&(first, last): &(u16, u16)| {
        if first == last { first.to_string() } else { format!("{first}{dash}{last}") }
    };
    parts.iter().map(part).collect::<Vec<_>>().join(between)
}

/// Everything that is in the way, the worst first.
pub fn problems(report: &PortsReport, facts: &HostFacts) -> Vec<ProblemReport> {
    let words = Words { report, facts };
    diagnose(report, facts).into_iter().map(|one| words.problem(&one)).collect()
}

/// What sentences are made of.
struct Words<'a> {
    report: &'a PortsReport,
    facts: &'a HostFacts,
}

impl Words<'_> {
    fn problem(&self, diagnosed: &Diagnosed) -> ProblemReport {
        let Diagnosed { detail, ports, critical } = diagnosed;
        let cause = detail.cause();
        let (what, fixes) = self.what(detail, ports);
        ProblemReport {
            cause,
            critical: *critical,
            ports: ranges(ports, '-', ", "),
            what,
            impact: self.impact(cause, ports),
            fixes,
            help: cause.help(),
        }
    }

    /// What it means for renters that `ports` are not known to be reachable.
    fn impact(&self, cause: Cause, ports: &[u16]) -> String {
        if cause == Cause::OnlyInside {
            return "ports may seem reachable that are not, because the router loops them back (hairpin NAT), \
                    and the other way round"
                .to_owned();
        }
        let ssh: Vec<&PortReport> =
            self.report.ssh.iter().filter(|port| ports.contains(&port.port)).collect();
        let rented = ssh.iter().filter(|port| port.in_use).count();
        let mut impact = Vec::new();
        // Where nobody can tell, nothing is claimed.
        let known = !matches!(cause, Cause::NoAnswer | Cause::AddressUnknown | Cause::Disputed);
        if ports.contains(&self.report.provider.port) {
            let can = if known { "renters cannot reach" } else { "it is not known whether renters reach" };
            impact.push(format!("{can} this node at all"));
        }
        if rented > 0 && known {
            impact.push(format!("the renters of {rented} VMs cannot log in"));
        }
        if ssh.len() == self.report.ssh.len() && !ssh.is_empty() {
            impact.push("no VM can be rented out".to_owned());
        } else if !ssh.is_empty() {
            impact.push(format!("{} of {} SSH ports are not rented out", ssh.len(), self.report.ssh.len()));
        }
        if known && self.report.web.iter().any(|web| ports.contains(&web.port)) {
            impact.push("renters' web pages may not reach this node over https".to_owned());
        }
        if impact.is_empty() {
            return "what is known of ports stays as it is".to_owned();
        }
        impact.join("; ")
    }

    /// What is wrong at `ports`, and what to do: the first that fits.
    fn what(&self, detail: &Detail, ports: &[u16]) -> (String, Vec<String>) {
        let shown = ranges(ports, '-', ", ");
        match detail {
            Detail::AddressUnknown => {
                ("the public address is not known".to_owned(), vec![SET_ADDRESS.to_owned()])
            }
            Detail::SeenElsewhere { given, seen_at } => (
                format!("the public address is given as {given}, and a check server sees this node at {seen_at}"),
                vec![format!("set GOLEM_PROVIDER_PUBLIC_IP={seen_at}, or to auto")],
            ),
            Detail::SeenInside { seen_at } => (
                format!(
                    "the check server sees this node at {seen_at}: it stands in the same network and not outside"
                ),
                vec![ASK_OUTSIDE.to_owned()],
            ),
            Detail::DoubleNat { address } => (
                format!(
                    "{address} is not globally routable: a router, or a second one, stands in between"
                ),
                vec![
                    SET_ADDRESS.to_owned(),
                    "where the router itself has such an address, ask the internet provider for a public one, or let \
                     the outer router forward to the inner one"
                        .to_owned(),
                ],
            ),
            Detail::Ipv6Only { address } => (
                format!("the public address {address} is IPv6, and the node listens on IPv4 only"),
                vec!["set GOLEM_PROVIDER_HOST=::, which listens on both".to_owned()],
            ),
            Detail::PortHeld { kind, holder } => {
                let who = holder.as_deref().unwrap_or("another program");
                let other = match kind {
                    PortKind::Api => {
                        "or set GOLEM_PROVIDER_PORT to another port (existing clients know 7466 only)"
                    }
                    PortKind::Ssh => {
                        "or move the range with GOLEM_PROVIDER_PORT_RANGE_START and GOLEM_PROVIDER_PORT_RANGE_END"
                    }
                    PortKind::Web => "or go without https: GOLEM_PROVIDER_ACME=off",
                };
                (format!("TCP {shown} is in use by {who}"), vec![format!("stop {who}"), other.to_owned()])
            }
            Detail::CannotListen { is_web, why } => {
                let why = why.as_deref().unwrap_or("the system refuses");
                let fix = "set GOLEM_PROVIDER_HOST to an address of this host, and ports above 1023 where the node does not run as root";
                let fixes = if *is_web { privileged_port_fixes() } else { vec![fix.to_owned()] };
                (format!("TCP {shown} cannot be listened on: {why}"), fixes)
            }
            Detail::NoAnswer { servers, first, why } => (
                format!("none of {servers} check servers answers ({first} {why})"),
                vec![
                    "check this host's way to the internet and its DNS".to_owned(),
                    format!("check the server itself: curl {first}/health"),
                    "name others with GOLEM_PROVIDER_PORT_CHECK_SERVERS, or run one elsewhere: golem-provider port-checker"
                        .to_owned(),
                ],
            ),
            Detail::OnlyInside { server } => (
                format!(
                    "{server} stands in the same network as this node and not outside, and no other check server answers"
                ),
                vec![ASK_OUTSIDE.to_owned()],
            ),
            Detail::Between(cause) => self.between(*cause, ports),
        }
    }

    /// What is in the way between the internet and this host.
    fn between(&self, cause: Cause, ports: &[u16]) -> (String, Vec<String>) {
        let shown = ranges(ports, '-', ", ");
        let here = self.facts.lan.map_or_else(|| "this host".to_owned(), |lan| lan.to_string());
        let allow = format!(
            "let TCP {shown} in on this host, e.g. ufw allow {}/tcp",
            ranges(ports, ':', "/tcp && ufw allow ")
        );
        let forward = format!("in the router, forward TCP {shown} to {here}");
        let hoster = format!("let TCP {shown} in where the host is rented (security group, cloud firewall)");
        match cause {
            Cause::Firewall => (format!("the firewall of this host keeps TCP {shown} out"), vec![allow]),
            Cause::NotForwarded => {
                let map = "or have the router asked to: golem-provider ports map";
                (format!("the router does not forward TCP {shown} to {here}"), vec![forward, map.to_owned()])
            }
            Cause::Upstream => {
                let mut fixes = vec![hoster];
                // No router translates it, and those at home let nobody in.
                if let Some(address) = over_ipv6(self.report.address) {
                    fixes.push(format!(
                        "at home, in the router's firewall, let TCP {shown} in to {address} (IPv6)"
                    ));
                }
                (format!("TCP {shown} is kept out before it reaches this host"), fixes)
            }
            Cause::AnotherAnswers => {
                let address =
                    self.report.address.map_or_else(String::new, |address| format!(" at {address}"));
                let what = format!("something else answers on TCP {shown}{address}");
                let own = "take the router's own service (its settings page, a VPN, a proxy) off these ports"
                    .to_owned();
                (what, vec![format!("{forward} and to no other machine"), own])
            }
            Cause::Disputed => {
                let what = format!("check servers contradict each other about TCP {shown}");
                let fix =
                    "name more check servers with GOLEM_PROVIDER_PORT_CHECK_SERVERS: most of them decide";
                (what, vec![fix.to_owned()])
            }
            _ => {
                let what = format!("TCP {shown} cannot be reached from outside");
                if self.facts.has_public_address {
                    (what, vec![allow, hoster])
                } else {
                    (what, vec![forward, allow])
                }
            }
        }
    }
}

/// The public `address`, where renters come over IPv6.
fn over_ipv6(address: Option<IpAddr>) -> Option<IpAddr> {
    address.filter(|address| address.to_canonical().is_ipv6())
}

/// For people.
impl fmt::Display for UnreachableReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "connection refused",
            Self::TimedOut => "connection timed out",
            Self::NoRoute => "no route to the address",
            Self::AnotherAnswers => "something else answers at the public address",
            Self::NobodyCame => "accepted before it reached this node",
            Self::Other(text) => text,
        })
    }
}

#[cfg(test)]
mod tests;
