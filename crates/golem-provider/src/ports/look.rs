//! The state of the ports, whether or not the node runs.
//!
//! Owns the choice: a node that runs is asked, because it knows more and listens already; else this
//! program verifies by itself and keeps nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context;
use golem_node::ports::{PortPolicy, Probes};
use golem_node::service::Tasks;
use tokio::time::{Instant, timeout};

use super::peers::peers;
use super::report::{Last, Parts, PortsReport};
use super::round::Round;
use super::source::Source;
use super::{ProgressReport, all_ports, host_facts, policy, ssh_ports};
use crate::http::operator::Client;
use crate::public_ip;
use crate::settings::Settings;

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
    let end = Instant::now() + deadline;
    let (tasks, probes) = (Tasks::new(), Probes::default());
    let mut sources = Source::all(&settings.port_check_servers.0)?;
    // Within half of the time: the ports need the rest.
    let address = timeout(deadline / 2, public_ip::find(settings)).await.ok().and_then(Result::ok);
    let mut last = Last::default();
    let mut verdicts = BTreeMap::new();
    if let Some(address) = address {
        let found = timeout(deadline / 4, peers(settings, address, &BTreeSet::new())).await;
        sources.extend(found.unwrap_or_default());
        let round = Round {
            address,
            bind: settings.host,
            ports: all_ports(settings),
            sources: &sources,
            end,
            deadline,
            probes: probes.clone(),
            tasks: &tasks,
            served: &|_| None,
        };
        let outcome = round.find(|progress| tell(progress.into())).await;
        tasks.stop().await;
        let outcome = outcome.context("the ports cannot be verified")?;
        verdicts.extend(outcome.verdicts.iter().map(|verdict| (verdict.port, verdict.clone())));
        last.take(outcome, host_facts(settings, address));
    }
    Ok(Parts {
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
