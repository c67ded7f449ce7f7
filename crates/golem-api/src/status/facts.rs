//! What is known of a node when it is judged.
//!
//! Owns the shape of what was seen, and of the settings that say what should be. Never looks: whoever asks for a
//! verdict does.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;

use golem_host::node::Node;
use golem_host::settings::Settings;
use golem_node::AdmissionLimits;
use golem_reach::report::PortsReport;
use golem_types::wire::Exact;

use crate::views::{Summary, VmView};

/// How the node should be, by its settings.
#[derive(Debug, Clone)]
pub struct StatusSettings {
    /// The version of the program that judges.
    pub installed: &'static str,
    /// What starts the node.
    pub how_to_start: &'static str,
    /// Where the node keeps its files.
    pub data_dir: PathBuf,
    /// `production` or `development`.
    pub environment: &'static str,
    /// The market in which the node offers itself.
    pub network: &'static str,
    /// The address that the public API listens on.
    pub host: IpAddr,
    /// The port of the public API.
    pub port: u16,
    /// The ports that VMs get.
    pub ssh_ports: Range<u16>,
    /// Whether nobody outside is asked about ports.
    pub skip_port_verification: bool,
    /// What bounds new rentals.
    pub limits: AdmissionLimits,
    /// The network of test money on which rentals are paid although the market is that of real money.
    pub test_money_on_mainnet: Option<String>,
    /// Whether the node withdraws by itself, for which its wallet needs gas.
    pub withdraws: bool,
}

impl StatusSettings {
    /// What `node`, with these `settings`, is judged by.
    #[must_use]
    pub fn of(node: &Node, settings: &Settings) -> Self {
        Self {
            installed: env!("CARGO_PKG_VERSION"),
            how_to_start: node.how_to_start(),
            data_dir: settings.node.data_dir.clone(),
            environment: settings.node.environment.as_str(),
            network: settings.node.network.as_str(),
            host: settings.api.host,
            port: settings.api.port.get(),
            ssh_ports: settings.ports.ssh_ports(),
            skip_port_verification: settings.ports.skip_port_verification,
            limits: settings.vms.limits(),
            test_money_on_mainnet: settings.chain().test_money_on_mainnet(),
            withdraws: settings.payments.stream_withdraw_enabled,
        }
    }
}

/// What answers at the port of the public API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local {
    /// Something accepts connections.
    Listening,
    /// Nobody holds it.
    Free,
    /// Somebody holds it and does not answer.
    Held,
}

/// What the node that runs says of itself.
#[derive(Debug, Clone)]
pub struct NodeFacts {
    /// The node as a whole.
    pub summary: Summary,
    /// Its VMs.
    pub vms: Vec<VmView>,
    /// Those of the VMs' ports on which something listens.
    pub listening: BTreeSet<u16>,
}

/// The node's wallet on the chain that rentals are paid on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletFacts {
    /// The address of the node's key.
    pub address: String,
    /// What the chain's own money is called.
    pub symbol: String,
    /// What it has, or why that is not known.
    pub balance: Result<Exact, String>,
    /// Whether some can be had for nothing.
    pub has_faucet: bool,
}

/// Everything that was found.
#[derive(Debug, Clone)]
pub struct StatusFacts {
    /// Whether the node runs.
    pub running: bool,
    /// Its process.
    pub pid: Option<u32>,
    /// What the node says, or why it says nothing; `None` if it does not run.
    pub node: Option<Result<NodeFacts, String>>,
    /// Whether the backend can be used, or why not.
    pub backend: Result<(), String>,
    /// What the backend is called.
    pub backend_name: &'static str,
    /// What answers at the public API's port on this host.
    pub local: Local,
    /// What is known of reachability, or why nothing is.
    pub ports: Result<PortsReport, String>,
    /// The default image, when it should be here and is not.
    pub image_missing: Option<String>,
    /// `None` if rentals are free, or there is no key.
    pub wallet: Option<WalletFacts>,
    /// The latest version, where that is known.
    pub latest: Option<String>,
    /// Ports that rentals hold while the node does not run.
    pub held: BTreeSet<u16>,
}
