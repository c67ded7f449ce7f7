//! Whether renters can reach this node: when that is asked, and of whom.
//!
//! ```text
//!   settings ─┬► report (no node runs) ───────────────────┐
//!             └► verifier_config ─► golem_node's Verifier ┴► golem_reach ─► report
//! ```
//! Owns who is asked, the verification without a node, and the mappings of a node that runs. Never judges: `golem_reach`
//! does, and which port a rental gets [`golem_node::ports`] decides.

mod display;
mod mapping;
mod report;

pub(crate) use display::{Display, show};
pub(crate) use mapping::{Kept, keep as keep_mapped, mapper};
pub use report::{report, report_here};

use std::collections::BTreeSet;
use std::net::SocketAddr;

use golem_node::port_verification::VerifierConfig;
use golem_node::proxy::LeftOpen;
use golem_reach::Site;
use golem_reach::certificates::WebPorts;
use golem_reach::peers;
use golem_reach::probe::is_free;
use golem_reach::source::CheckSource;

use anyhow::Context;
use tokio::net::TcpListener;

use crate::market;
use golem_host::settings::{Environment, MarketplaceSettings, ReachSettings};

/// What the node verifies of its ports, of which https serves `web`, and whom it asks.
///
/// # Errors
/// When no client can be made.
pub(crate) fn verifier_config(settings: &ReachSettings, web: WebPorts) -> anyhow::Result<VerifierConfig> {
    Ok(VerifierConfig {
        site: settings.site.clone(),
        sources: CheckSource::all(&settings.check_servers)?,
        web,
        market: settings.peers.as_ref().and_then(peer_market),
        on_request: settings.skip_verification,
    })
}

/// Where other providers are found that try this node's ports; `None` where the market cannot be asked.
fn peer_market(settings: &MarketplaceSettings) -> Option<peers::PeerMarket> {
    match market::network(settings).and_then(|market| Ok(market.client()?)) {
        Ok(client) => Some(peers::PeerMarket {
            client,
            environment: settings.network.as_str().to_owned(),
            private: settings.environment == Environment::Development,
        }),
        Err(error) => {
            tracing::warn!("the market cannot be asked for providers that try ports: {error:#}");
            None
        }
    }
}

/// Listens on `address`, which the setting `variable` names.
///
/// # Errors
/// With what to do about it.
pub(crate) async fn listen(address: SocketAddr, variable: &'static str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; fix: stop what uses the port, or set {variable} to another")
    })
}

/// Says which SSH ports other programs hold: the node leaves those out.
pub(crate) fn tell_held(site: &Site, left: &LeftOpen) {
    let range = site.ssh.clone();
    let own: BTreeSet<u16> = left.listeners.keys().map(SocketAddr::port).collect();
    let is_held = |port: &u16| !own.contains(port) && !is_free(site.host, *port);
    let held: Vec<u16> = range.clone().filter(is_held).collect();
    let (first, last) = (range.start, range.end - 1);
    if held.is_empty() {
        tracing::info!("SSH ports {first}-{last} are free");
    } else {
        tracing::warn!(?held, "some of the SSH ports {first}-{last} are held by other programs and left out");
    }
}
