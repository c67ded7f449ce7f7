//! What is known of the node's ports, as the operator reads it.
//!
//! Owns its shape, on both ends of the operator API and in `--json`. Never finds anything out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::problem::{HostFacts, ProblemReport, problems};
use super::round::{Asked, Local, Outcome, Progress};
use crate::verdict::{PortVerdict, UnreachableReason};

/// What is known of the node's ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortsReport {
    /// The public address that is verified; `None` while it is not known.
    pub address: Option<IpAddr>,
    /// Whether only ports that were seen to be reachable are handed out.
    pub verified_only: bool,
    /// How far a verification is that goes on now.
    pub checking: Option<ProgressReport>,
    /// How many verifications this process has finished.
    pub rounds: u64,
    /// When the last one was finished; none before the first.
    pub checked_at: Option<Timestamp>,
    /// What came of each check server; empty before the first verification.
    pub sources: Vec<SourceReport>,
    /// The port of the public API.
    pub provider: PortReport,
    /// The SSH ports, in order.
    pub ssh: Vec<PortReport>,
    /// What is in the way of renters, the worst first.
    pub problems: Vec<ProblemReport>,
}

/// How far a verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressReport {
    /// Ports that are done.
    pub done: usize,
    /// Ports of those under way to which somebody came already.
    pub visited: usize,
    /// Ports in all.
    pub total: usize,
}

impl From<Progress> for ProgressReport {
    fn from(Progress { done, visited, total }: Progress) -> Self {
        Self { done, visited, total }
    }
}

/// What came of a check server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// Its address.
    pub source: String,
    /// Why it did not answer; `None` if it did.
    pub problem: Option<String>,
    /// The address that it sees this node at, where it says that this is another.
    pub seen_at: Option<IpAddr>,
    /// Whether it stands in the same network as the node: beside others, its word does not count.
    #[serde(default)]
    pub inside: bool,
}

/// What is known of a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortReport {
    /// The port.
    pub port: u16,
    /// Whether it is reachable from outside.
    pub status: Reach,
    /// Why it is not, as [`UnreachableReason::tag`] has it.
    pub reason: Option<String>,
    /// What that alone does not tell.
    #[serde(default)]
    pub reason_detail: Option<String>,
    /// What is on it here; none before the first verification of this process.
    pub local: Option<LocalState>,
    /// What else there is to say about that: who holds it, or why it cannot be listened on.
    pub local_detail: Option<String>,
    /// Whether a rental has it.
    pub in_use: bool,
    /// Check servers that agree with the status.
    pub agreed: usize,
    /// Check servers that said something.
    pub answered: u16,
    /// Whether check servers contradict each other about it.
    pub disputed: bool,
    /// When the status was found out.
    pub checked_at: Option<Timestamp>,
}

/// Whether a port is reachable from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// It is.
    Reachable,
    /// It is not.
    Unreachable,
    /// Nobody could tell.
    Unknown,
}

impl Reach {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reachable => "reachable",
            Self::Unreachable => "unreachable",
            Self::Unknown => "unknown",
        }
    }
}

/// What is on a port of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LocalState {
    /// Nothing.
    Free,
    /// The node.
    Served,
    /// Another program.
    Held,
    /// It cannot be listened on.
    Failed,
}

impl LocalState {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Served => "served",
            Self::Held => "held by another program",
            Self::Failed => "cannot be listened on",
        }
    }
}

impl PortReport {
    /// Why it is not reachable.
    #[must_use]
    pub fn unreachable_reason(&self) -> Option<UnreachableReason> {
        let tag = self.reason.as_deref()?;
        Some(UnreachableReason::from_tag(tag, self.reason_detail.clone()))
    }

    /// Whether a renter can get it now.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let free = !matches!(self.local, Some(LocalState::Held | LocalState::Failed));
        self.status == Reach::Reachable && free && !self.in_use
    }
}

/// What the last verification saw.
#[derive(Debug, Clone, Default)]
pub struct Last {
    /// What is on each port here.
    pub local: BTreeMap<u16, Local>,
    /// The sources.
    pub asked: Vec<Asked>,
    /// Ports about which they contradict each other.
    pub disputed: BTreeSet<u16>,
    /// What this host knows of its own place.
    pub host: HostFacts,
    /// When it was over.
    pub at: Option<Timestamp>,
    /// How many there were.
    pub rounds: u64,
    /// How far one is that goes on.
    pub progress: Option<Progress>,
}

impl Last {
    /// Takes over what a verification saw, on a host of which this is known.
    pub fn take(&mut self, outcome: Outcome, host: HostFacts) {
        self.local = outcome.local;
        self.asked = outcome.asked;
        self.disputed = outcome.disputed;
        self.host = HostFacts { knocked: outcome.knocked, ..host };
        self.at = Some(Timestamp::now());
        self.rounds += 1;
    }
}

/// What a report is made of.
pub struct Parts<'a> {
    pub address: Option<IpAddr>,
    pub verified_only: bool,
    pub api: u16,
    pub ssh: std::ops::Range<u16>,
    pub verdicts: &'a BTreeMap<u16, PortVerdict>,
    pub last: &'a Last,
    pub in_use: &'a BTreeSet<u16>,
}

impl Parts<'_> {
    /// The report.
    pub fn report(&self) -> PortsReport {
        let last = self.last;
        let source = |asked: &Asked| SourceReport {
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
            Some(Local::Free) => (Some(LocalState::Free), None),
            Some(Local::Served(_)) => (Some(LocalState::Served), None),
            Some(Local::Held(holder)) => (Some(LocalState::Held), holder.clone()),
            Some(Local::Failed(why)) => (Some(LocalState::Failed), Some(why.clone())),
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
