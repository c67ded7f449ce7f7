//! The state of the ports, whether or not the node runs.
//!
//! Owns the choice: a node that runs is asked, because it knows more and listens already; else this
//! program verifies by itself and keeps nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use golem_node::ports::PortPolicy;
use golem_reach::peers::peers;
use golem_reach::probe::Probes;
use golem_reach::public_ip;
use golem_reach::report::{PortsReport, ProgressReport};
use golem_reach::source::{DEADLINE, Source};
use golem_reach::summary::{LastVerification, ReportInputs};
use golem_reach::verification::Verification;
use golem_service::tasks::Tasks;
use tokio::time::{Instant, timeout};

use super::{peer_market, policy, site, ssh_ports};
use crate::settings::Settings;
use golem_api::operator::Client;

/// What is known of the ports: of the running node, as it last verified them (at once); without
/// one, as this call verifies them, within `deadline`. Whatever no check server told by then is
/// `unknown`. `tell` hears how far it is.
///
/// # Errors
/// When the node does not answer, or no client or randomness can be had; servers that do not
/// answer are no error but in the report.
pub async fn look(
    settings: &Settings,
    node: Option<&Client>,
    deadline: Duration,
    tell: impl Fn(ProgressReport),
) -> anyhow::Result<PortsReport> {
    if let Some(node) = node {
        return Ok(node.ports().await?);
    }
    let mut sources = Source::all(&settings.port_check_servers.0)?;
    let end = Instant::now() + deadline;
    // Within half of the time: the ports need the rest.
    let address = timeout(deadline / 2, public_ip::find(&site(settings))).await.ok().and_then(Result::ok);
    if let (Some(address), Some(market)) = (address, peer_market(settings)) {
        let found = timeout(deadline / 4, peers(&market, address, &BTreeSet::new())).await;
        sources.extend(found.unwrap_or_default());
    }
    verify(settings, address, &sources, end, tell).await
}

/// What is on the ports of this host; nobody else is asked.
///
/// # Errors
/// When no randomness can be had.
pub async fn look_here(settings: &Settings) -> anyhow::Result<PortsReport> {
    verify(settings, None, &[], Instant::now(), |_| {}).await
}

/// The report of a verification that ends at `end`. Where no `address` can be dialled, it tells what is on
/// the ports here.
async fn verify(
    settings: &Settings,
    address: Option<IpAddr>,
    sources: &[Source],
    end: Instant,
    tell: impl Fn(ProgressReport),
) -> anyhow::Result<PortsReport> {
    let (tasks, site) = (Tasks::new(), site(settings));
    // Not dialled: without an address nobody is asked.
    let dialled = address.unwrap_or(settings.host);
    let round = Verification {
        address: dialled,
        bind: settings.host,
        ports: site.all_ports(),
        sources: if address.is_some() { sources } else { &[] },
        end,
        deadline: DEADLINE,
        probes: Probes::default(),
        tasks: &tasks,
        served: &|_| None,
    };
    let outcome = round.find(|progress| tell(progress.into())).await;
    tasks.stop().await;
    let outcome = outcome.context("the ports cannot be verified")?;
    let verdicts: BTreeMap<_, _> =
        outcome.verdicts.iter().map(|verdict| (verdict.port, verdict.clone())).collect();
    let mut last = LastVerification::default();
    last.take(outcome, site.host_facts(dialled));
    Ok(ReportInputs {
        address,
        verified_only: policy(settings) == PortPolicy::Verified,
        api: settings.port.get(),
        ssh: ssh_ports(settings),
        verdicts: &verdicts,
        last: &last,
        in_use: &BTreeSet::new(),
    }
    .report())
}
