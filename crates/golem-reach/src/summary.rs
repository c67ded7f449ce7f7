//! Makes the report of what the last verification found.
//!
//! Owns how verdicts, the outcome and the host's facts are put together. Never verifies anything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;

use super::report::{HostFacts, LocalState, PortReport, PortsReport, Reach, SourceReport};
use super::verification::{LocalPort, SourceOutcome, VerificationOutcome, VerificationProgress};
use super::wording::problems;
use crate::verdict::PortVerdict;

/// What the last verification saw.
#[derive(Debug, Clone, Default)]
pub struct LastVerification {
    /// What is on each port here.
    pub local: BTreeMap<u16, LocalPort>,
    /// The sources.
    pub asked: Vec<SourceOutcome>,
    /// Ports about which they contradict each other.
    pub disputed: BTreeSet<u16>,
    /// What this host knows of its own place.
    pub host: HostFacts,
    /// When it was over.
    pub at: Option<Timestamp>,
    /// How many there were.
    pub rounds: u64,
    /// How far one is that goes on.
    pub progress: Option<VerificationProgress>,
}

impl LastVerification {
    /// Takes over what a verification saw, on a host of which this is known.
    pub fn take(&mut self, outcome: VerificationOutcome, host: HostFacts) {
        self.local = outcome.local;
        self.asked = outcome.asked;
        self.disputed = outcome.disputed;
        self.host = HostFacts { inbound: outcome.inbound, ..host };
        self.at = Some(Timestamp::now());
        self.rounds += 1;
    }
}

/// What a report is made of.
pub struct ReportInputs<'a> {
    pub address: Option<IpAddr>,
    pub verified_only: bool,
    pub api: u16,
    pub ssh: std::ops::Range<u16>,
    pub web: &'a [u16],
    pub verdicts: &'a BTreeMap<u16, PortVerdict>,
    pub last: &'a LastVerification,
    pub in_use: &'a BTreeSet<u16>,
}

impl ReportInputs<'_> {
    /// The report.
    pub fn report(&self) -> PortsReport {
        let last = self.last;
        let source = |asked: &SourceOutcome| SourceReport {
            source: asked.source.clone(),
            problem: asked.problem.clone(),
            seen_at: asked.seen_at,
            inside: asked.inside,
        };
        let mut report = PortsReport {
            address: self.address,
            verified_only: self.verified_only,
            checking: last.progress.map(Into::into),
            rounds: last.rounds,
            checked_at: last.at,
            sources: last.asked.iter().map(source).collect(),
            provider: self.port(self.api),
            ssh: self.ssh.clone().map(|port| self.port(port)).collect(),
            web: self.web.iter().map(|port| self.port(*port)).collect(),
            problems: Vec::new(),
        };
        // Before the first verification nothing is known that could be wrong.
        if last.at.is_some() || self.address.is_none() {
            report.problems = problems(&report, &last.host);
        }
        report
    }

    fn port(&self, port: u16) -> PortReport {
        let verdict = self.verdicts.get(&port);
        let (local, local_detail) = match self.last.local.get(&port) {
            None => (None, None),
            Some(LocalPort::Free) => (Some(LocalState::Free), None),
            Some(LocalPort::Served(_)) => (Some(LocalState::Served), None),
            Some(LocalPort::Held(holder)) => (Some(LocalState::Held), holder.clone()),
            Some(LocalPort::Failed(why)) => (Some(LocalState::Failed), Some(why.clone())),
        };
        let problem = verdict.and_then(|verdict| verdict.problem.as_ref());
        PortReport {
            port,
            status: match verdict {
                None => Reach::Unknown,
                Some(_) if problem.is_some() => Reach::Unreachable,
                Some(_) => Reach::Reachable,
            },
            reason: problem.map(|reason| reason.tag().to_owned()),
            reason_detail: problem.and_then(|reason| reason.detail().map(ToOwned::to_owned)),
            local,
            local_detail,
            in_use: self.in_use.contains(&port),
            disputed: self.last.disputed.contains(&port),
            agreed: verdict.map_or(0, |verdict| verdict.sources.len()),
            answered: verdict.map_or(0, |verdict| verdict.answered),
            checked_at: verdict.map(|verdict| verdict.at),
        }
    }
}
