//! Diagnosis: what keeps renters from reaching the node, what it means, and what to do.
//!
//! Owns the choice of causes and their wording, as a pure function over a report. Never looks at the host.

use std::collections::BTreeMap;
use std::net::IpAddr;

use golem_types::net::is_public;

use super::report::{Cause, HostFacts, LocalState, PortReport, PortsReport, ProblemReport, Reach};
use crate::verdict::UnreachableReason;

/// What to do where check servers cannot know.
const ASK_OUTSIDE: &str = "name a check server on the internet with GOLEM_PROVIDER_PORT_CHECK_SERVERS";

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

struct Diagnosis<'a> {
    report: &'a PortsReport,
    facts: &'a HostFacts,
    found: Vec<ProblemReport>,
}

/// Everything that is in the way, the worst first.
pub fn problems(report: &PortsReport, facts: &HostFacts) -> Vec<ProblemReport> {
    let mut diagnosis = Diagnosis { report, facts, found: Vec::new() };
    diagnosis.address();
    diagnosis.here();
    diagnosis.servers();
    diagnosis.inside();
    diagnosis.outside();
    let mut found = diagnosis.found;
    found.sort_by_key(|problem| (!problem.critical, problem.cause));
    found
}

impl Diagnosis<'_> {
    fn all(&self) -> impl Iterator<Item = &PortReport> {
        std::iter::once(&self.report.provider).chain(&self.report.ssh)
    }

    /// Tells of `cause` at `ports`, which keep renters out.
    fn tell(&mut self, cause: Cause, ports: &[u16], what: String, fixes: Vec<String>) {
        let api = self.report.provider.port;
        let ssh: Vec<&PortReport> =
            self.report.ssh.iter().filter(|port| ports.contains(&port.port)).collect();
        let all = ssh.len() == self.report.ssh.len();
        let rented = ssh.iter().filter(|port| port.in_use).count();
        let about_api = ports.contains(&api);
        let mut impact = Vec::new();
        // Where nobody can tell, nothing is claimed.
        let known = !matches!(cause, Cause::NoAnswer | Cause::AddressUnknown | Cause::Disputed);
        if about_api {
            let can = if known { "renters cannot reach" } else { "it is not known whether renters reach" };
            impact.push(format!("{can} this node at all"));
        }
        if rented > 0 && known {
            impact.push(format!("the renters of {rented} VMs cannot log in"));
        }
        if all && !ssh.is_empty() {
            impact.push("no VM can be rented out".to_owned());
        } else if !ssh.is_empty() {
            impact.push(format!("{} of {} SSH ports are not rented out", ssh.len(), self.report.ssh.len()));
        }
        self.found.push(ProblemReport {
            cause,
            critical: about_api || all,
            ports: ranges(ports, '-', ", "),
            what,
            impact: if impact.is_empty() {
                "what is known of ports stays as it is".to_owned()
            } else {
                impact.join("; ")
            },
            fixes,
            help: cause.help(),
        });
    }

    /// Every port that is not known to be reachable.
    fn not_reachable(&self) -> Vec<u16> {
        self.all().filter(|port| port.status != Reach::Reachable).map(|port| port.port).collect()
    }

    /// The public address, where renters come over IPv6.
    fn over_ipv6(&self) -> Option<IpAddr> {
        self.report.address.filter(|address| address.to_canonical().is_ipv6())
    }

    /// What is wrong with the public address.
    fn address(&mut self) {
        let set = "set GOLEM_PROVIDER_PUBLIC_IP to the address at which the internet sees this node";
        let Some(address) = self.report.address else {
            let ports = self.not_reachable();
            return self.tell(
                Cause::AddressUnknown,
                &ports,
                "the public address is not known".to_owned(),
                vec![set.to_owned()],
            );
        };
        let ports = self.not_reachable();
        if ports.is_empty() {
            return;
        }
        let seen_at = self.report.sources.iter().find_map(|source| source.seen_at);
        match seen_at {
            Some(seen_at) if is_public(seen_at) => {
                let what = format!(
                    "the public address is given as {address}, and a check server sees this node at {seen_at}"
                );
                let fixes = vec![format!("set GOLEM_PROVIDER_PUBLIC_IP={seen_at}, or to auto")];
                return self.tell(Cause::WrongAddress, &ports, what, fixes);
            }
            Some(seen_at) if !self.facts.development && is_public(address) => {
                let what = format!(
                    "the check server sees this node at {seen_at}: it stands in the same network and not outside"
                );
                return self.tell(Cause::WrongAddress, &ports, what, vec![ASK_OUTSIDE.to_owned()]);
            }
            _ => {}
        }
        // An address at which a port was found is none to doubt.
        let is_found = self.all().any(|port| port.status == Reach::Reachable);
        if !is_public(address) && !self.facts.development && !is_found {
            let what = format!(
                "{address} is not an address of the internet: a router, or a second one, stands in between"
            );
            let fixes = vec![
                set.to_owned(),
                "where the router itself has such an address, ask the internet provider for a public one, or let \
                 the outer router forward to the inner one"
                    .to_owned(),
            ];
            return self.tell(Cause::DoubleNat, &ports, what, fixes);
        }
        if self.over_ipv6().is_some() && self.facts.only_ipv4 {
            let what = format!("the public address {address} is IPv6, and the node listens on IPv4 only");
            let fixes = vec!["set GOLEM_PROVIDER_HOST=::, which listens on both".to_owned()];
            self.tell(Cause::Ipv6Only, &ports, what, fixes);
        }
    }

    /// What is wrong on this host.
    fn here(&mut self) {
        let api = self.report.provider.port;
        let mut held: BTreeMap<(bool, Option<String>), Vec<u16>> = BTreeMap::new();
        let mut failed: BTreeMap<Option<String>, Vec<u16>> = BTreeMap::new();
        for port in self.all() {
            match port.local {
                Some(LocalState::Held) => {
                    held.entry((port.port != api, port.local_detail.clone())).or_default().push(port.port);
                }
                Some(LocalState::Failed) => {
                    failed.entry(port.local_detail.clone()).or_default().push(port.port)
                }
                _ => {}
            }
        }
        for ((ssh, holder), ports) in held {
            let who = holder.as_deref().unwrap_or("another program");
            let what = format!("TCP {} is in use by {who}", ranges(&ports, '-', ", "));
            let other = if ssh {
                "or move the range with GOLEM_PROVIDER_PORT_RANGE_START and GOLEM_PROVIDER_PORT_RANGE_END"
            } else {
                "or set GOLEM_PROVIDER_PORT to another port (existing clients know 7466 only)"
            };
            let fixes = vec![format!("stop {who}"), other.to_owned()];
            self.tell(Cause::PortHeld, &ports, what, fixes);
        }
        for (why, ports) in failed {
            let what = format!(
                "TCP {} cannot be listened on: {}",
                ranges(&ports, '-', ", "),
                why.as_deref().unwrap_or("the system refuses")
            );
            let fix = "set GOLEM_PROVIDER_HOST to an address of this host, and ports above 1023 where the node does not run as root";
            self.tell(Cause::CannotListen, &ports, what, vec![fix.to_owned()]);
        }
    }

    /// What is wrong with the check servers.
    fn servers(&mut self) {
        let sources = &self.report.sources;
        let silent = !sources.is_empty() && sources.iter().all(|source| source.problem.is_some());
        if silent && sources.iter().all(|source| source.seen_at.is_none()) {
            let first = sources.first();
            let why = first.and_then(|source| source.problem.clone()).unwrap_or_default();
            let name = first.map(|source| source.source.clone()).unwrap_or_default();
            let what = format!("none of {} check servers answers ({name} {why})", sources.len());
            let ports = self.not_reachable();
            let fixes = vec![
                "check this host's way to the internet and its DNS".to_owned(),
                format!("check the server itself: curl {name}/health"),
                "name others with GOLEM_PROVIDER_PORT_CHECK_SERVERS, or run one elsewhere: golem-provider port-checker"
                    .to_owned(),
            ];
            self.tell(Cause::NoAnswer, &ports, what, fixes);
        }
    }

    /// Check servers that cannot know.
    fn inside(&mut self) {
        let answered: Vec<_> = self.report.sources.iter().filter(|source| source.problem.is_none()).collect();
        let Some(first) = answered.first().filter(|_| answered.iter().all(|source| source.inside)) else {
            return;
        };
        let what = format!(
            "{} stands in the same network as this node and not outside, and no other check server answers",
            first.source
        );
        let impact = "ports may seem reachable that are not, because the router loops them back (hairpin NAT), \
                      and the other way round";
        let cause = Cause::OnlyInside;
        self.found.push(ProblemReport {
            cause,
            critical: false,
            ports: String::new(),
            what,
            impact: impact.to_owned(),
            fixes: vec![ASK_OUTSIDE.to_owned()],
            help: cause.help(),
        });
    }

    /// What is in the way between the internet and this host.
    fn outside(&mut self) {
        // A wrong address explains every port that nobody found, unless somebody who came in was turned
        // away here; where nothing listens on IPv6, everybody is.
        let is = |cause: Cause| self.found.iter().any(|problem| problem.cause == cause);
        let unheard = is(Cause::Ipv6Only);
        let explained = unheard || is(Cause::WrongAddress) || is(Cause::DoubleNat);
        let mut causes: BTreeMap<Cause, Vec<u16>> = BTreeMap::new();
        let mut last = None;
        for port in self.all() {
            let cause = match port.status {
                Reach::Reachable => continue,
                Reach::Unknown if port.disputed => Cause::Disputed,
                Reach::Unknown => continue,
                Reach::Unreachable => self.cause(port, last),
            };
            last = Some(cause);
            if !explained || (cause == Cause::Firewall && !unheard) {
                causes.entry(cause).or_default().push(port.port);
            }
        }
        for (cause, ports) in causes {
            let (what, fixes) = self.words(cause, &ports);
            self.tell(cause, &ports, what, fixes);
        }
    }

    /// Why nobody found `port`; those that were not looked at closely are like the `last` one.
    fn cause(&self, port: &PortReport, last: Option<Cause>) -> Cause {
        if matches!(
            port.unreachable_reason(),
            Some(UnreachableReason::AnotherAnswers | UnreachableReason::NobodyCame)
        ) {
            return Cause::AnotherAnswers;
        }
        let inbound = self.facts.inbound.as_ref().map(|inbound| inbound.get(&port.port).copied());
        match inbound {
            Some(Some(true)) => Cause::Firewall,
            Some(Some(false)) if self.facts.has_public_address => Cause::Upstream,
            Some(Some(false)) => Cause::NotForwarded,
            Some(None) => last.unwrap_or(Cause::Blocked),
            None => Cause::Blocked,
        }
    }

    fn words(&self, cause: Cause, ports: &[u16]) -> (String, Vec<String>) {
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
                if let Some(address) = self.over_ipv6() {
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

#[cfg(test)]
mod tests;
