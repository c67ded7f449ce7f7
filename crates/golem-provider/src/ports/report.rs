//! The state of the ports, whether or not the node runs.
//!
//! Owns the choice: a node that runs is asked, because it knows more and listens already; else this
//! program verifies by itself and keeps nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use golem_api::operator::Client;
use golem_node::ports::PortPolicy;
use golem_reach::peers::peers;
use golem_reach::public_ip;
use golem_reach::report::{PortsReport, ProgressReport};
use golem_reach::source::CheckSource;
use golem_reach::verify_once::verify_once;
use tokio::time::{Instant, timeout};

use super::peer_market;
use golem_host::settings::ReachSettings;

/// What cannot be done.
const FAILED: &str = "the ports cannot be verified";

/// What is known of the ports: of the running node, as it last verified them (at once); without
/// one, as this call verifies them, within `deadline`. Whatever no check server told by then is
/// `unknown`. `tell` hears how far it is.
///
/// # Errors
/// When the node does not answer, or no client or randomness can be had; servers that do not
/// answer are no error but in the report.
pub async fn report(
    settings: &ReachSettings,
    node: Option<&Client>,
    deadline: Duration,
    tell: impl Fn(ProgressReport),
) -> anyhow::Result<PortsReport> {
    if let Some(node) = node {
        return Ok(node.ports().await?);
    }
    let mut sources = CheckSource::all(&settings.check_servers)?;
    let end = Instant::now() + deadline;
    // Within half of the time: the ports need the rest.
    let address = timeout(deadline / 2, public_ip::find(&settings.site)).await.ok().and_then(Result::ok);
    if let (Some(address), Some(market)) = (address, settings.peers.as_ref().and_then(peer_market)) {
        let found = timeout(deadline / 4, peers(&market, address, &BTreeSet::new())).await;
        sources.extend(found.unwrap_or_default());
    }
    let verified_only = settings.policy == PortPolicy::Verified;
    let report = verify_once(&settings.site, verified_only, address, &sources, end, tell).await;
    report.context(FAILED)
}

/// What is on the ports of this host; nobody else is asked.
///
/// # Errors
/// When no randomness can be had.
pub async fn report_here(settings: &ReachSettings) -> anyhow::Result<PortsReport> {
    let verified_only = settings.policy == PortPolicy::Verified;
    verify_once(&settings.site, verified_only, None, &[], Instant::now(), |_| {}).await.context(FAILED)
}
