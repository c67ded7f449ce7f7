//! The answer of `status`, as programs read it. The documented names stay as they are; more may come.
//!
//! Owns its shape. Never judges.

use golem_host::doctor::Check;
use golem_reach::certificates::HttpsReport;
use golem_reach::report::{ProblemReport, Reach, SourceReport};
use golem_types::Resources;
use golem_types::wire::Exact;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::views::{AdvertView, HostView, PaymentsView};

/// The whole answer.
#[derive(Debug, Serialize)]
pub struct Status {
    pub overall: Overall,
    pub checklist: Checklist,
    pub running: bool,
    pub pid: Option<u32>,
    pub draining: bool,
    pub version: VersionPart,
    pub environment: EnvironmentPart,
    pub vm_backend: BackendPart,
    pub ports: PortsPart,
    pub vms: u32,
    /// `None` if the node does not run.
    pub https: Option<HttpsReport>,
    /// `None` if the node does not run.
    pub resources: Option<ResourcesPart>,
    /// `None` if rentals are free, or there is no key yet.
    pub wallet: Option<WalletPart>,
    /// `None` if rentals are free, or the node does not run.
    pub payments: Option<PaymentsView>,
    /// The node's adverts, one a market; empty when it does not run.
    pub adverts: Vec<AdvertView>,
    /// Machines on the backend that the node's ledger does not know.
    pub unmanaged: Vec<String>,
}

/// The verdict.
#[derive(Debug, Serialize)]
pub struct Overall {
    pub status: Grade,
    /// What is off, the worst first.
    pub issues: Vec<Issue>,
}

/// Whether the node does what its operator wants of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checklist {
    /// Whether the next renter gets a VM.
    pub rented: ChecklistRow,
    /// Whether renters find the node in a market.
    pub found: ChecklistRow,
    /// Whether renters reach the API, and a port for a VM.
    pub reached: ChecklistRow,
    /// Whether rentals are paid for, and the money gets to the operator.
    pub paid: ChecklistRow,
}

/// One of the four answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChecklistRow {
    pub answer: Answer,
    /// Why, as a sentence without its full stop.
    pub reason: String,
    /// What to do; there for every [`Answer::No`].
    pub fix: Option<String>,
    /// Whether a "no" is what the settings ask for, or what the node is for: all of it is rented out.
    pub by_choice: bool,
}

/// Whether something is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    Yes,
    No,
    /// Nobody could tell.
    Unknown,
}

impl Answer {
    /// The word for it, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "not known",
        }
    }
}

impl Checklist {
    /// The rows, each with its word.
    pub const fn rows(&self) -> [(&'static str, &ChecklistRow); 4] {
        [("rented", &self.rented), ("found", &self.found), ("reached", &self.reached), ("paid", &self.paid)]
    }

    /// Whether something is in the way that the settings do not ask for.
    pub fn is_blocked(&self) -> bool {
        self.rows().iter().any(|(_, row)| row.answer == Answer::No && !row.by_choice)
    }
}

/// Something that is off. Programs read its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Which of `doctor`'s checks it belongs to.
    pub about: Check,
    /// Whether it keeps renters out.
    pub critical: bool,
    pub text: String,
    /// What to do, where the text does not say: the first that fits.
    pub fixes: Vec<String>,
    /// Where there is more.
    pub help: Option<String>,
}

impl Serialize for Issue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// How the node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Nothing is off.
    Healthy,
    /// Something is.
    Issues,
    /// Renters cannot use it.
    Error,
}

impl Grade {
    /// As programs read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Issues => "issues",
            Self::Error => "error",
        }
    }
}

impl Serialize for Grade {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[derive(Debug, Serialize)]
pub struct VersionPart {
    pub installed: &'static str,
    /// `None` if no release index is named, or it does not answer.
    pub latest: Option<String>,
    /// Whether that is newer.
    pub update_available: bool,
}

#[derive(Debug, Serialize)]
pub struct EnvironmentPart {
    pub environment: String,
    pub network: String,
    pub dev_mode: bool,
}

#[derive(Debug, Serialize)]
pub struct BackendPart {
    pub name: &'static str,
    pub ok: bool,
    pub error: Option<String>,
    /// `kvm` or `tcg`, where a node runs and decides it.
    pub accelerator: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct PortsPart {
    pub provider: ProviderPort,
    pub ssh: SshPorts,
    /// Whether reachability was checked, and if not, why.
    pub check: PortCheck,
    /// Check servers that were asked.
    pub sources: Vec<SourceReport>,
    /// What was found out before, while a check fails.
    pub last_known: Option<LastKnown>,
    /// What keeps renters out, with its fixes.
    pub problems: Vec<ProblemReport>,
}

/// What the last check that did not fail found out; the node goes by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LastKnown {
    /// When.
    pub at: Timestamp,
    /// The API's port.
    pub provider: Reach,
    /// How many SSH ports were reachable.
    pub ssh_reachable: usize,
}

/// Whether reachability from outside is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum PortCheck {
    /// Check servers answered.
    Done {
        /// When.
        at: Option<Timestamp>,
    },
    /// The settings say that nobody is asked.
    Skipped,
    /// Nobody answered.
    Failed {
        /// Why.
        reason: String,
    },
}

#[derive(Debug, Serialize)]
pub struct ProviderPort {
    pub port: u16,
    pub host: String,
    /// `reachable` or `unreachable`; what could not be checked counts as unreachable.
    pub status: &'static str,
    /// Why it is not.
    pub reason: Option<String>,
    pub local_ok: bool,
    pub local_detail: &'static str,
    /// Who holds it in our place, where that can be seen.
    pub held_by: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct SshPorts {
    /// First port, and the first after the last.
    pub range: [u16; 2],
    /// `ok`, `limited` or `blocked`.
    pub status: &'static str,
    /// Ports known to be free and reachable from outside.
    pub usable_free: usize,
    pub in_use: usize,
    pub issues: SshIssues,
    pub ports: Vec<SshPort>,
}

/// How many ports are off, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SshIssues {
    /// Not reachable from outside.
    pub unreachable: usize,
    /// A VM's, and the node does not listen on it.
    pub not_listening: usize,
    /// Another program's.
    pub held: usize,
    /// Nobody could tell.
    pub unknown: usize,
}

#[derive(Debug, Serialize)]
pub struct SshPort {
    pub port: u16,
    /// Reachability from outside.
    pub status: Reach,
    /// Whether the node serves a VM on it.
    pub listening: bool,
}

#[derive(Debug, Serialize)]
pub struct ResourcesPart {
    pub total: Resources,
    pub free: Resources,
    pub max_vms: u32,
    pub host: HostView,
}

#[derive(Debug, Serialize)]
pub struct WalletPart {
    pub address: String,
    pub symbol: String,
    pub balance_wei: Option<Exact>,
    /// Why the balance is not known.
    pub error: Option<String>,
}
