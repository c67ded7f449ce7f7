//! Whether renters can reach this node: when that is asked, and of which settings.
//!
//! ```text
//!   settings ─┬► look (no node runs) ─────────────────────┐
//!             └► verifier_config ─► golem_node's Verifier ┴► golem_reach ─► report
//! ```
//! Owns what the settings say about ports, the verification without a node, and the mappings of a node that runs.
//! Never judges: `golem_reach` does, and which port a rental gets [`golem_node::ports`] decides.

mod display;
mod look;
mod mapping;

pub(crate) use display::{Display, show};
pub use look::{look, look_here};
pub(crate) use mapping::{Kept, keep as keep_mapped, mapper};

use std::ops::Range;

use golem_node::port_verification::VerifierConfig;
use golem_node::ports::PortPolicy;
use golem_reach::source::Source;
use golem_reach::{Site, peers};

use crate::market::{MarketNetwork, is_on_network};
use crate::settings::{Environment, PublicIp, Settings};

/// The ports that VMs get.
pub(crate) fn ssh_ports(settings: &Settings) -> Range<u16> {
    settings.port_range_start.get()..settings.port_range_end.get()
}

/// Where the node listens, and how it learns its public address.
pub(crate) fn site(settings: &Settings) -> Site {
    Site {
        host: settings.host,
        api: settings.port,
        ssh: ssh_ports(settings),
        development: settings.environment == Environment::Development,
        public_address: match settings.public_ip {
            PublicIp::Fixed(address) => Some(address),
            PublicIp::Auto => None,
        },
        address_servers: settings.public_ip_sources.0.clone(),
        address_interval: settings.public_ip_interval,
    }
}

/// What the node verifies of its ports, and whom it asks.
///
/// # Errors
/// When no client can be made.
pub(crate) fn verifier_config(settings: &Settings) -> anyhow::Result<VerifierConfig> {
    Ok(VerifierConfig {
        site: site(settings),
        sources: Source::all(&settings.port_check_servers.0)?,
        market: peer_market(settings),
        on_request: settings.skip_port_verification,
    })
}

/// Where other providers are found that try this node's ports; `None` where the settings do not want them.
fn peer_market(settings: &Settings) -> Option<peers::PeerMarket> {
    if !settings.verify_peers || !is_on_network(settings) {
        return None;
    }
    match MarketNetwork::of(settings).and_then(|market| market.client()) {
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

/// What has to be known of a port before a rental gets it.
pub(crate) fn policy(settings: &Settings) -> PortPolicy {
    match settings.environment {
        _ if settings.skip_port_verification => PortPolicy::Free,
        Environment::Development => PortPolicy::Lenient,
        Environment::Production => PortPolicy::Verified,
    }
}
