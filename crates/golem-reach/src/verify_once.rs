//! A verification without a node: the ports are tried once, and nothing is kept.
//!
//! Owns the end of it, at a deadline. Never asks a node that runs.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use golem_service::tasks::Tasks;
use tokio::time::Instant;

use crate::Site;
use crate::probe::Probes;
use crate::report::{PortsReport, ProgressReport};
use crate::source::{CheckSource, DEADLINE};
use crate::summary::{LastVerification, ReportInputs};
use crate::verification::Verification;

/// The report of a verification that ends at `end`. Where no `address` can be dialled, it tells what is on
/// the ports here. `tell` hears how far it is.
///
/// # Errors
/// When no randomness can be had; servers that do not answer are no error but in the report.
pub async fn verify_once(
    site: &Site,
    verified_only: bool,
    address: Option<IpAddr>,
    sources: &[CheckSource],
    end: Instant,
    tell: impl Fn(ProgressReport),
) -> io::Result<PortsReport> {
    let tasks = Tasks::new();
    // Not dialled: without an address nobody is asked.
    let dialled = address.unwrap_or(site.host);
    let verification = Verification {
        address: dialled,
        bind: site.host,
        ports: site.all_ports(),
        sources: if address.is_some() { sources } else { &[] },
        end,
        deadline: DEADLINE,
        probes: Probes::default(),
        tasks: &tasks,
        served: &|_| None,
    };
    let outcome = verification.find(|progress| tell(progress.into())).await;
    tasks.stop().await;
    let outcome = outcome?;
    let verdicts: BTreeMap<_, _> =
        outcome.verdicts.iter().map(|verdict| (verdict.port, verdict.clone())).collect();
    let mut last = LastVerification::default();
    last.take(outcome, site.host_facts(dialled));
    Ok(ReportInputs {
        address,
        verified_only,
        api: site.api.get(),
        ssh: site.ssh.clone(),
        web: &site.web,
        verdicts: &verdicts,
        last: &last,
        in_use: &BTreeSet::new(),
    }
    .report())
}
