//! Diagnosis: what keeps renters from reaching the node.
//!
//! Owns the choice of causes, as a pure function over a report. Never says it in words, which [`super::wording`] does, and
//! never looks at the host.

use std::collections::BTreeMap;
use std::net::IpAddr;

use golem_types::net::is_public;

use super::report::{Cause, HostFacts, LocalState, PortReport, PortsReport, Reach};
use crate::verdict::UnreachableReason;

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PortKind {
    Api,
    Ssh,
    /// https, or the answer to a certificate authority.
    Web,
}

/// A cause, with what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Detail {
    AddressUnknown,
    /// A check server on the internet sees the node at another address than was given.
    SeenElsewhere {
        given: IpAddr,
        seen_at: IpAddr,
    },
    /// A check server sees the node at an address inside.
    SeenInside {
        seen_at: IpAddr,
    },
    DoubleNat {
        address: IpAddr,
    },
    Ipv6Only {
        address: IpAddr,
    },
    /// `holder` names the program that has it.
    PortHeld {
        kind: PortKind,
        holder: Option<String>,
    },
    CannotListen {
        is_web: bool,
        why: Option<String>,
    },
    /// So many servers were asked; the first of them, and why that one did not answer.
    NoAnswer {
        servers: usize,
        first: String,
        why: String,
    },
    OnlyInside {
        server: String,
    },
    /// Something between the internet and this host: one of the causes from [`Cause::Firewall`] on.
    Between(Cause),
}

impl Detail {
    /// The cause, as tables and JSON have it.
    pub(crate) const fn cause(&self) -> Cause {
        match self {
            Self::AddressUnknown => Cause::AddressUnknown,
            Self::SeenElsewhere { .. } | Self::SeenInside { .. } => Cause::WrongAddress,
            Self::DoubleNat { .. } => Cause::DoubleNat,
            Self::Ipv6Only { .. } => Cause::Ipv6Only,
            Self::PortHeld { .. } => Cause::PortHeld,
            Self::CannotListen { .. } => Cause::CannotListen,
            Self::NoAnswer { .. } => Cause::NoAnswer,
            Self::OnlyInside { .. } => Cause::OnlyInside,
            Self::Between(cause) => *cause,
        }
    }
}

/// Something in the way of renters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnosed {
    pub(crate) detail: Detail,
    /// The ports that it is about; empty when it is about none in particular.
    pub(crate) ports: Vec<u16>,
    /// Whether nothing can be rented out because of it.
    pub(crate) critical: bool,
}

struct Diagnosis<'a> {
    report: &'a PortsReport,
    facts: &'a HostFacts,
    found: Vec<Diagnosed>,
}

/// Everything that is in the way, the worst first.
pub(crate) fn diagnose(report: &PortsReport, facts: &HostFacts) -> Vec<Diagnosed> {
    let mut diagnosis = Diagnosis { report, facts, found: Vec::new() };
    diagnosis.address();
    diagnosis.here();
    diagnosis.servers();
    diagnosis.inside();
    diagnosis.outside();
    let mut found = diagnosis.found;
    found.sort_by_key(|one| (!one.critical, one.detail.cause()));
    found
}

impl Diagnosis<'_> {
    fn all(&self) -> impl Iterator<Item = &PortReport> {
        std::iter::once(&self.report.provider).chain(&self.report.ssh).chain(&self.report.web)
    }

    fn kind(&self, port: u16) -> PortKind {
        match port {
            _ if port == self.report.provider.port => PortKind::Api,
            _ if self.report.web.iter().any(|web| web.port == port) => PortKind::Web,
            _ => PortKind::Ssh,
        }
    }

    /// Tells of `detail` at `ports`, which keeps renters out.
    fn tell(&mut self, detail: Detail, ports: Vec<u16>) {
        let about_api = ports.contains(&self.report.provider.port);
        let all = self.report.ssh.iter().all(|port| ports.contains(&port.port));
        self.found.push(Diagnosed { detail, critical: about_api || all, ports });
    }

    /// Every port that is not known to be reachable.
    fn not_reachable(&self) -> Vec<u16> {
        self.all().filter(|port| port.status != Reach::Reachable).map(|port| port.port).collect()
    }

    /// What is wrong with the public address.
    fn address(&mut self) {
        let ports = self.not_reachable();
        let Some(address) = self.report.address else {
            return self.tell(Detail::AddressUnknown, ports);
        };
        if ports.is_empty() {
            return;
        }
        let seen_at = self.report.sources.iter().find_map(|source| source.seen_at);
        match seen_at {
            Some(seen_at) if is_public(seen_at) => {
                return self.tell(Detail::SeenElsewhere { given: address, seen_at }, ports);
            }
            Some(seen_at) if !self.facts.development && is_public(address) => {
                return self.tell(Detail::SeenInside { seen_at }, ports);
            }
            _ => {}
        }
        // An address at which a port was found is not doubted.
        let is_found = self.all().any(|port| port.status == Reach::Reachable);
        if !is_public(address) && !self.facts.development && !is_found {
            return self.tell(Detail::DoubleNat { address }, ports);
        }
        if address.to_canonical().is_ipv6() && self.facts.only_ipv4 {
            self.tell(Detail::Ipv6Only { address }, ports);
        }
    }

    /// What is wrong on this host.
    fn here(&mut self) {
        let mut held: BTreeMap<(PortKind, Option<String>), Vec<u16>> = BTreeMap::new();
        let mut failed: BTreeMap<(bool, Option<String>), Vec<u16>> = BTreeMap::new();
        for port in self.all() {
            let (kind, detail) = (self.kind(port.port), port.local_detail.clone());
            match port.local {
                Some(LocalState::Held) => held.entry((kind, detail)).or_default().push(port.port),
                Some(LocalState::Failed) => {
                    failed.entry((kind == PortKind::Web, detail)).or_default().push(port.port)
                }
                _ => {}
            }
        }
        for ((kind, holder), ports) in held {
            self.tell(Detail::PortHeld { kind, holder }, ports);
        }
        for ((is_web, why), ports) in failed {
            self.tell(Detail::CannotListen { is_web, why }, ports);
        }
    }

    /// What is wrong with the check servers.
    fn servers(&mut self) {
        let sources = &self.report.sources;
        let silent = !sources.is_empty() && sources.iter().all(|source| source.problem.is_some());
        if silent && sources.iter().all(|source| source.seen_at.is_none()) {
            let first = sources.first();
            let detail = Detail::NoAnswer {
                servers: sources.len(),
                first: first.map(|source| source.source.clone()).unwrap_or_default(),
                why: first.and_then(|source| source.problem.clone()).unwrap_or_default(),
            };
            self.tell(detail, self.not_reachable());
        }
    }

    /// Check servers that cannot know.
    fn inside(&mut self) {
        let mut answered = self.report.sources.iter().filter(|source| source.problem.is_none()).peekable();
        let Some(first) = answered.peek().map(|first| first.source.clone()) else { return };
        if answered.all(|source| source.inside) {
            let detail = Detail::OnlyInside { server: first };
            self.found.push(Diagnosed { detail, ports: Vec::new(), critical: false });
        }
    }

    /// What is in the way between the internet and this host.
    fn outside(&mut self) {
        // A wrong address explains every port that nobody found, unless somebody who came in was turned
        // away here; where nothing listens on IPv6, everybody is.
        let is = |cause: Cause| self.found.iter().any(|one| one.detail.cause() == cause);
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
            self.tell(Detail::Between(cause), ports);
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
}
