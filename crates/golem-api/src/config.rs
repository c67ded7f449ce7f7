//! What the APIs are told when they start.
//!
//! Owns the structs. Never reads a setting: `golem-provider` does.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use golem_chain::network::PaymentNetwork;
use golem_host::settings::SettingsPlace;
use golem_market::survey::Survey;
use golem_node::advertise::Advertising;
use golem_node::port_verification::Verifier;
use golem_node::pricing::PriceList;
use golem_reach::certificates::Https;
use golem_reach::port_checker::Checker;
use golem_service::server::TrustedProxies;
use tokio::sync::watch;

use crate::status::StatusSettings;

/// What both APIs need to know beside the node.
#[derive(Clone)]
pub struct ApiConfig {
    /// The node's data directory, for the operator's token.
    pub data_dir: PathBuf,
    /// How the public API is served.
    pub public: PublicSettings,
    /// What the node says of itself.
    pub provider: ProviderDetails,
    /// How rentals are paid for; `None` if they are free.
    pub payments: Option<PaymentNetwork>,
    /// What VMs cost; `None` in tests of other things.
    pub prices: Option<watch::Receiver<PriceList>>,
    /// The adverts that the node keeps, one a market.
    pub advertising: Vec<Advertising>,
    /// The verification of its ports; `None` in tests of other things.
    pub ports: Option<Verifier>,
    /// Its https; `None` in tests of other things.
    pub https: Option<Https>,
    /// Whom to tell when something is wrong.
    pub alerts: golem_alerts::Config,
    /// What the operator's page needs beside that; `None` in tests of other things.
    pub dashboard: Option<DashboardConfig>,
}

/// What the operator's page needs to know beside the rest.
#[derive(Clone)]
pub struct DashboardConfig {
    /// What the node is judged by.
    pub judged_by: StatusSettings,
    /// Who knows the latest version.
    pub update_check_url: Option<String>,
    /// Which markets are asked what renters see; `None` where a profile of one cannot be read.
    pub survey: Option<Survey>,
    /// Where new prices are kept.
    pub settings: SettingsPlace,
}

/// How the public API is served.
#[derive(Clone)]
pub struct PublicSettings {
    /// Who may use a VM.
    pub access: VmAccess,
    /// Requests that one address may make in a minute; 0 means no limit.
    pub rate_limit_per_minute: u32,
    /// Reverse proxies that say for whom they ask.
    pub trusted_proxies: TrustedProxies,
    /// What tries the ports of other providers; `None` if the operator does not want that.
    pub checker: Option<Arc<Checker>>,
}

/// Who may use a VM over the public API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmAccess {
    /// Whoever knows its id, which cannot be guessed.
    Capability,
    /// Everyone, by its name too, and everyone sees every VM.
    Open,
}

/// What the node says of itself.
#[derive(Debug, Clone)]
pub struct ProviderDetails {
    /// Its name, as its operator and adverts have it.
    pub name: String,
    /// Its Ethereum address, in EIP-55 form.
    pub provider_id: String,
    /// The address that renters are told; `None` while it is not known.
    pub public_ip: watch::Receiver<Option<IpAddr>>,
    /// Where the public API and the VMs listen.
    pub host: IpAddr,
    /// The port of the public API.
    pub port: u16,
    /// Country in which the machine stands.
    pub country: String,
    /// `production` or `development`.
    pub environment: &'static str,
    /// The market in which the node offers itself.
    pub network: &'static str,
}
