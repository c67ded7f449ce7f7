//! What comes of a [`super::Verification`].
//!
//! Owns its shape. Never judges it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::verdict::PortVerdict;

/// What this program serves on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// The public API, which says the port's banner when it is asked.
    Api,
    /// A rental's SSH server.
    Ssh,
    /// https, or the answer to a certificate authority.
    Web,
}

/// What is on a port of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalPort {
    /// Nothing: it could be listened on.
    Free,
    /// This program.
    Served(Served),
    /// Another program, by its name where that can be seen.
    Held(Option<String>),
    /// It cannot be listened on, and why.
    Failed(String),
}

/// What came of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceOutcome {
    /// The URL, or the id of another provider.
    pub source: String,
    /// Why it did not answer.
    pub problem: Option<String>,
    /// The address that it saw this node at, where that is another.
    pub seen_at: Option<IpAddr>,
    /// Whether it stands in the same network as this node.
    pub inside: bool,
}

/// What came of a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerificationOutcome {
    /// What is on each port here.
    pub local: BTreeMap<u16, LocalPort>,
    /// Verdicts; none of a port that nobody can tell of.
    pub verdicts: Vec<PortVerdict>,
    /// Ports about which those that answered contradict each other.
    pub disputed: BTreeSet<u16>,
    /// The sources.
    pub asked: Vec<SourceOutcome>,
    /// Of the ports that nobody found: whether connection attempts reached this host; `None` if that cannot be
    /// seen.
    pub inbound: Option<BTreeMap<u16, bool>>,
}

/// How far a verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerificationProgress {
    /// Ports that are done.
    pub done: usize,
    /// Ports of those under way to which somebody came already.
    pub visited: usize,
    /// Ports in all.
    pub total: usize,
}
