//! What is known of the node's ports, as the operator reads it.
//!
//! Owns its shape, on both ends of the operator API and in `--json`. Never finds anything out.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::verification::VerificationProgress;
use crate::verdict::UnreachableReason;

/// What is known of the node's ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortsReport {
    /// The public address that is verified; `None` while it is not known.
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// Whether only ports that were seen to be reachable are handed out.
    pub verified_only: bool,
    /// How far a verification is that goes on now.
    pub checking: Option<ProgressReport>,
    /// How many verifications this process has finished.
    pub rounds: u64,
    /// When the last one was finished; `None` before the first.
    pub checked_at: Option<Timestamp>,
    /// What came of each check server; empty before the first verification.
    pub sources: Vec<SourceReport>,
    /// The port of the public API.
    pub provider: PortReport,
    /// The SSH ports, in order.
    pub ssh: Vec<PortReport>,
    /// The ports of https; empty if there is no https.
    #[serde(default)]
    pub web: Vec<PortReport>,
    /// What is in the way of renters, the worst first.
    pub problems: Vec<ProblemReport>,
}

/// How far a verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProgressReport {
    /// Ports that are done.
    pub done: usize,
    /// Ports of those under way to which somebody came already.
    pub visited: usize,
    /// Ports in all.
    pub total: usize,
}

impl From<VerificationProgress> for ProgressReport {
    fn from(VerificationProgress { done, visited, total }: VerificationProgress) -> Self {
        Self { done, visited, total }
    }
}

/// What came of a check server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceReport {
    /// The URL, or the id of another provider.
    pub source: String,
    /// Why it did not answer; `None` if it did.
    pub problem: Option<String>,
    /// The address that it sees this node at, where it says that this is another.
    #[schema(value_type = Option<String>)]
    pub seen_at: Option<IpAddr>,
    /// Whether it stands in the same network as the node: beside others, its word does not count.
    #[serde(default)]
    pub inside: bool,
}

/// What is known of a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortReport {
    pub port: u16,
    /// Whether it is reachable from outside.
    pub status: Reach,
    /// Why it is not, as [`UnreachableReason::tag`] has it.
    pub reason: Option<String>,
    /// What that alone does not tell.
    #[serde(default)]
    pub reason_detail: Option<String>,
    /// What is on it here; `None` before the first verification of this process.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
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

/// What keeps renters from reaching the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The public address is not known.
    AddressUnknown,
    /// Check servers see the node at another address.
    WrongAddress,
    /// The public address is not globally routable: another router is in between.
    DoubleNat,
    /// Renters come over IPv6, and the node listens on IPv4 only.
    Ipv6Only,
    /// Another program holds the port.
    PortHeld,
    /// The port cannot be listened on.
    CannotListen,
    /// No check server answered.
    NoAnswer,
    /// Only check servers of the node's own network answered.
    OnlyInside,
    /// Connections reach this host, and its own firewall drops them.
    Firewall,
    /// The router does not forward connections to this host.
    NotForwarded,
    /// Connections do not reach this host, which has the public address itself.
    Upstream,
    /// Either the router does not forward, or this host's firewall drops; only root can see which.
    Blocked,
    /// Something else answers at the public address.
    AnotherAnswers,
    /// Check servers contradict each other.
    Disputed,
}

impl Cause {
    /// The heading of `docs/troubleshooting.md` that is about it, as a link's anchor.
    pub(super) const fn anchor(self) -> &'static str {
        match self {
            Self::NoAnswer | Self::Disputed | Self::OnlyInside => "check-servers",
            Self::AddressUnknown | Self::WrongAddress | Self::DoubleNat | Self::Ipv6Only => {
                "the-public-address"
            }
            _ => "ports",
        }
    }

    /// Where there is more about it.
    pub(super) fn help(self) -> String {
        format!("docs/troubleshooting.md#{}", self.anchor())
    }
}

/// Something in the way of renters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemReport {
    /// What it is.
    pub cause: Cause,
    /// Whether nothing can be rented out because of it.
    pub critical: bool,
    /// The ports, as people write them; empty when it is about none in particular.
    pub ports: String,
    /// What is wrong.
    pub what: String,
    /// What it means for renters.
    pub impact: String,
    /// What to do: the first that fits.
    pub fixes: Vec<String>,
    /// Where there is more.
    pub help: String,
}

impl ProblemReport {
    /// What is wrong and every fix, in one line of a log.
    pub fn line(&self) -> String {
        format!("{}; fix: {}", self.what, self.fixes.join("; or "))
    }
}

/// What this host knows of its own network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// The address with which it reaches the internet.
    pub lan: Option<IpAddr>,
    /// Whether the public address is one of its own.
    pub has_public_address: bool,
    /// Whether only IPv4 is listened on.
    pub only_ipv4: bool,
    /// Whether private addresses are as good as public ones.
    pub development: bool,
    /// For each port that was watched, whether a connection attempt reached this host; `None` if that
    /// cannot be seen.
    pub inbound: Option<BTreeMap<u16, bool>>,
}
