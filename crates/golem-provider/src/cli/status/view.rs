//! The answer of `status`, as programs read it. The documented names stay as they are; more may come.

use golem_reach::report::{ProblemReport, Reach, SourceReport};
use golem_types::Resources;
use golem_types::wire::Exact;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::cli::Exit;
use golem_api::views::{AdvertView, HostView, PaymentsView};

/// The whole answer.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    pub(super) overall: Overall,
    pub(super) running: bool,
    pub(super) pid: Option<u32>,
    pub(super) draining: bool,
    pub(super) version: Version,
    pub(super) environment: EnvironmentPart,
    pub(super) vm_backend: BackendPart,
    pub(super) ports: Ports,
    pub(super) vms: u32,
    /// `None` if the node does not run.
    pub(super) resources: Option<ResourcesPart>,
    /// `None` if rentals are free, or there is no key yet.
    pub(super) wallet: Option<WalletPart>,
    /// `None` if rentals are free, or the node does not run.
    pub(super) payments: Option<PaymentsView>,
    /// The node's adverts, one a market; empty when it does not run.
    pub(super) adverts: Vec<AdvertView>,
    /// Machines on the backend that the node's ledger does not know.
    pub(super) unmanaged: Vec<String>,
}

/// The verdict.
#[derive(Debug, Serialize)]
pub(super) struct Overall {
    pub(super) status: Grade,
    /// What is off, the worst first.
    pub(super) issues: Vec<Issue>,
}

/// Something that is off. Programs read its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Issue {
    pub(super) text: String,
    /// What to do, where the text does not say: the first that fits.
    pub(super) fixes: Vec<String>,
    /// Where there is more.
    pub(super) help: Option<String>,
}

impl Serialize for Issue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// How the node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grade {
    /// Nothing is off.
    Healthy,
    /// Something is.
    Issues,
    /// Renters cannot use it.
    Error,
}

impl Grade {
    /// As programs read it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Issues => "issues",
            Self::Error => "error",
        }
    }

    /// How the command ends with `--exit-code`: 0, 1 or 2.
    pub(super) const fn exit(self) -> Exit {
        match self {
            Self::Healthy => Exit::Done,
            Self::Issues => Exit::Failed,
            Self::Error => Exit::WrongUse,
        }
    }
}

impl Serialize for Grade {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Version {
    pub(super) installed: &'static str,
    /// `None` if no release index is named, or it does not answer.
    pub(super) latest: Option<String>,
    /// Whether that is newer.
    pub(super) update_available: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct EnvironmentPart {
    pub(super) environment: String,
    pub(super) network: String,
    pub(super) dev_mode: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct BackendPart {
    pub(super) name: &'static str,
    pub(super) ok: bool,
    pub(super) error: Option<String>,
    /// `kvm` or `tcg`, where a node runs and decides it.
    pub(super) accelerator: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Ports {
    pub(super) provider: ProviderPort,
    pub(super) ssh: SshPorts,
    /// Whether reachability was checked, and if not, why.
    pub(super) check: Check,
    /// Check servers that were asked.
    pub(super) sources: Vec<SourceReport>,
    /// What was found out before, while a check fails.
    pub(super) last_known: Option<LastKnown>,
    /// What keeps renters out, with its fixes.
    pub(super) problems: Vec<ProblemReport>,
}

/// What the last check that did not fail found out; the node goes by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct LastKnown {
    /// When.
    pub(super) at: Timestamp,
    /// The API's port.
    pub(super) provider: Reach,
    /// How many SSH ports were reachable.
    pub(super) ssh_reachable: usize,
}

/// Whether reachability from outside is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub(super) enum Check {
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
pub(super) struct ProviderPort {
    pub(super) port: u16,
    pub(super) host: String,
    /// `reachable` or `unreachable`; what could not be checked counts as unreachable.
    pub(super) status: &'static str,
    /// Why it is not.
    pub(super) reason: Option<String>,
    pub(super) local_ok: bool,
    pub(super) local_detail: &'static str,
    /// Who holds it in our place, where that can be seen.
    pub(super) held_by: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct SshPorts {
    /// First port, and the first after the last.
    pub(super) range: [u16; 2],
    /// `ok`, `limited` or `blocked`.
    pub(super) status: &'static str,
    /// Ports known to be free and reachable from outside.
    pub(super) usable_free: usize,
    pub(super) in_use: usize,
    pub(super) issues: SshIssues,
    pub(super) ports: Vec<SshPort>,
}

/// How many ports are off, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct SshIssues {
    /// Not reachable from outside.
    pub(super) unreachable: usize,
    /// A VM's, and the node does not listen on it.
    pub(super) not_listening: usize,
    /// Another program's.
    pub(super) held: usize,
    /// Nobody could tell.
    pub(super) unknown: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct SshPort {
    pub(super) port: u16,
    /// Reachability from outside.
    pub(super) status: Reach,
    /// Whether the node serves a VM on it.
    pub(super) listening: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct ResourcesPart {
    pub(super) total: Resources,
    pub(super) free: Resources,
    pub(super) max_vms: u32,
    pub(super) host: HostView,
}

#[derive(Debug, Serialize)]
pub(super) struct WalletPart {
    pub(super) address: String,
    pub(super) symbol: String,
    pub(super) balance_wei: Option<Exact>,
    /// Why the balance is not known.
    pub(super) error: Option<String>,
}
