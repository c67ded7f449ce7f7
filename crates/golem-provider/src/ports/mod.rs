//! Whether renters can reach this node: when that is asked, and of which settings.
//!
//! ```text
//!   settings ─┬► look (no node runs) ─────────────────────┐
//!             └► verifier_config ─► golem_node's Verifier ┴► golem_reach ─► report
//! ```
//! Owns what the settings say about ports, the verification without a node, and the mappings of a node that runs.
//! Never judges: `golem_reach` does, and which port a rental gets [`golem_node::ports`] decides.

mod display;
mod mapping;
mod report;

pub(crate) use display::{Display, show};
pub(crate) use mapping::{Kept, keep as keep_mapped, mapper};
pub use report::{report, report_here};

use std::ops::Range;

use golem_node::port_verification::VerifierConfig;
use golem_node::ports::PortPolicy;
use golem_reach::source::Source;
use golem_reach::{Site, peers};

use crate::market::{self, is_on_network};
use crate::settings::{Environment, PortSettings, PublicIp, Settings};

/// The ports that VMs get.
pub(crate) fn ssh_ports(settings: &PortSettings) -> Range<u16> {
    settings.port_range_start.get()..settings.port_range_end.get()
}

/// Where the node listens, and how it learns its public address.
pub(crate) fn site(settings: &Settings) -> Site {
    Site {
        host: settings.api.host,
        api: settings.api.port,
        ssh: ssh_ports(&settings.ports),
        development: settings.node.environment == Environment::Development,
        public_address: match settings.api.public_ip {
            PublicIp::Fixed(address) => Some(address),
            PublicIp::Auto => None,
        },
        address_servers: settings.api.public_ip_sources.0.clone(),
        address_interval: settings.api.public_ip_interval,
    }
}

/// What the node verifies of its ports, and whom it asks.
///
/// # Errors
/// When no client can be made.
pub(crate) fn verifier_config(settings: &Settings) -> anyhow::Result<VerifierConfig> {
    Ok(VerifierConfig {
        site: site(settings),
        sources: Source::all(&settings.ports.port_check_servers.0)?,
        market: peer_market(settings),
        on_request: settings.ports.skip_port_verification,
    })
}

/// Where other providers are found that try this node's ports; `None` where the settings do not want them.
fn peer_market(settings: &Settings) -> Option<peers::PeerMarket> {
    if !settings.ports.verify_peers || !is_on_network(&settings.market) {
        return None;
    }
    match market::network(&settings.node, &settings.market).and_then(|market| Ok(market.client()?)) {
        Ok(client) => Some(peers::PeerMarket {
            client,
            environment: settings.node.network.as_str().to_owned(),
            private: settings.node.environment == Environment::Development,
        }),
        Err(error) => {
            tracing::warn!("the market cannot be asked for providers that try ports: {error:#}");
            None
        }
    }
}

/// What has to be known of a port before a rental gets it.
pub(crate) fn policy(settings: &Settings) -> PortPolicy {
    match settings.node.environment {
        _ if settings.ports.skip_port_verification => PortPolicy::Free,
        Environment::Development => PortPolicy::Lenient,
        Environment::Production => PortPolicy::Verified,
    }
}
