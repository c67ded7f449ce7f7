//! What each part of the node is made with.
//!
//! Owns the way from the table of settings to the few that a part needs. Never checks a value: a setting that was read
//! is good.

use std::ops::Range;
use std::path::PathBuf;

use golem_chain::network;
use golem_node::AdmissionLimits;
use golem_node::ports::PortPolicy;
use golem_reach::Site;
use golem_reach::certificates::{CertificateSource, HttpsConfig};
use golem_types::Resources;
use jiff::Timestamp;
use ruint::aliases::U256;

use super::{
    Acme, Advertiser, AdvertiserType, Advertisers, Environment, FaucetSettings, MarketSettings, Mistake,
    Mistakes, Network, Origin, PaymentSettings, PortSettings, PublicIp, Settings, VmSettings,
};

/// The port on which a certificate authority validates over HTTP (RFC 8555, 8.3).
const ACME_HTTP_PORT: u16 = 80;

/// What machines are made with.
#[derive(Debug, Clone)]
pub struct BackendSettings {
    /// Where they and their images lie.
    pub data_dir: PathBuf,
    /// The settings of VMs.
    pub vms: VmSettings,
}

/// What rentals are paid with.
#[derive(Debug, Clone)]
pub struct ChainSettings {
    /// Where profiles of networks are.
    pub data_dir: PathBuf,
    /// The market in which the node offers itself.
    pub market: Network,
    /// The settings of payments.
    pub payments: PaymentSettings,
    /// Where test money comes from.
    pub faucets: FaucetSettings,
}

/// Which market the node is in.
#[derive(Debug, Clone)]
pub struct MarketplaceSettings {
    /// Where profiles of networks are.
    pub data_dir: PathBuf,
    /// Whether the node is a developer's.
    pub environment: Environment,
    /// Which providers are its equals.
    pub network: Network,
    /// The settings of the market.
    pub market: MarketSettings,
    /// Discovery servers that show who is connected: the operator's, else those of the networks on which rentals are paid.
    pub sockets: Vec<String>,
    /// Whether rentals are paid on a network whose profile names none: who pays there looks elsewhere.
    pub has_other_networks: bool,
}

/// What the node's adverts are made of.
#[derive(Debug, Clone)]
pub struct AdvertSettings {
    /// Where they are.
    pub marketplace: MarketplaceSettings,
    /// ISO 3166-1 alpha-2.
    pub country: String,
    /// The node's name.
    pub name: String,
    /// Where rentals are paid.
    pub payments_network: String,
    /// Where test money for them comes from.
    pub faucets: FaucetSettings,
    /// The most wei for a unit of gas.
    pub max_gas_price: Option<u128>,
    /// The most wei for gas in a day.
    pub daily_gas_limit: Option<U256>,
}

/// How renters reach the node, and who is asked whether they do.
#[derive(Debug, Clone)]
pub struct ReachSettings {
    /// Where the node listens, and how it learns its public address.
    pub site: Site,
    /// Where the token lies that marks what a router forwards.
    pub data_dir: PathBuf,
    /// What has to be known of a port before a rental gets it.
    pub policy: PortPolicy,
    /// URLs of servers that try ports.
    pub check_servers: Vec<String>,
    /// Whether nobody outside is asked.
    pub skip_verification: bool,
    /// Whether a router is asked to forward the ports.
    pub map_ports: bool,
    /// Where other providers are found that try ports, where the settings want them.
    pub peers: Option<MarketplaceSettings>,
}

/// What the setting of the network says where the operator leaves the choice to us.
const AUTO: &str = "auto";

impl ChainSettings {
    /// The networks on which rentals are paid for, by name; whoever names none pays on the first, of which there always is one.
    #[must_use]
    pub fn networks(&self) -> Vec<String> {
        let named = self.payments.payments_network.split(',').map(str::trim).filter(|name| !name.is_empty());
        let mut names: Vec<String> = Vec::new();
        for name in named {
            let name = if name == AUTO { self.by_default() } else { name };
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        if names.is_empty() { vec![self.by_default().to_owned()] } else { names }
    }

    /// The network of whoever names none. Endpoints, contracts, tokens and files that are set are those of the original's
    /// settings, and mean its network.
    fn by_default(&self) -> &'static str {
        let payments = &self.payments;
        let is_set = payments.stream_payment_address.is_some()
            || payments.glm_token_address.is_some()
            || payments.payments_rpc_url.is_some()
            || payments.deployments_dir.is_some()
            || network::path(&self.data_dir, network::ORIGINAL).is_ok_and(|file| file.exists());
        if is_set { network::ORIGINAL } else { network::DEFAULT }
    }
}

impl ChainSettings {
    /// The network of test money on which rentals are paid although the market is that of real money; `None` if there
    /// is none.
    #[must_use]
    pub fn test_money_on_mainnet(&self) -> Option<String> {
        let is_free = self.payments.stream_payment_address.is_some_and(|address| address.0.is_zero());
        if self.market != Network::Mainnet || is_free {
            return None;
        }
        // One that is not known, or is damaged, is told where it is used.
        let is_test = |name: &String| network::load(&self.data_dir, name).is_ok_and(|found| found.testnet);
        self.networks().into_iter().find(is_test)
    }

    /// Refuses test money on the market of real money, unless the operator named the network of it: nobody who asks for
    /// mainnet alone means that.
    ///
    /// # Errors
    /// The mistake, with what to set.
    pub fn check_money(&self) -> Result<(), Mistakes> {
        let mut named = self.payments.payments_network.split(',').map(str::trim);
        match self.test_money_on_mainnet() {
            Some(test) if !named.any(|name| name == test) => Err(Mistakes(vec![Mistake {
                variable: "GOLEM_PROVIDER_PAYMENTS_NETWORK".to_owned(),
                value: None,
                origin: Origin::Unset,
                problem: format!(
                    "names no network of real money, and GOLEM_PROVIDER_NETWORK is mainnet: rentals would be paid in the test \
                     money of {test}"
                ),
                fix: format!(
                    "set it to a network of real money (`golem-provider networks list`), set GOLEM_PROVIDER_NETWORK=testnet, \
                     or set it to {test} if that is meant"
                ),
            }])),
            _ => Ok(()),
        }
    }
}

impl PortSettings {
    /// The ports that VMs get.
    #[must_use]
    pub fn ssh_ports(&self) -> Range<u16> {
        self.port_range_start.get()..self.port_range_end.get()
    }
}

impl PaymentSettings {
    /// The most wei for a unit of gas.
    #[must_use]
    pub fn max_gas_price_wei(&self) -> Option<u128> {
        let gwei = self.max_gas_price?;
        Some(u128::try_from(gwei.0.units(9)).unwrap_or(u128::MAX))
    }

    /// The most wei for gas in a day.
    #[must_use]
    pub fn daily_gas_limit_wei(&self) -> Option<U256> {
        self.daily_gas_limit.map(|limit| limit.0.atto())
    }
}

impl MarketplaceSettings {
    /// Whether the node offers itself in `market`.
    #[must_use]
    pub fn advertises_in(&self, market: Advertiser) -> bool {
        match (&self.market.advertisers, self.market.advertiser_type) {
            (Some(Advertisers(named)), _) => named.contains(&market),
            (None, Some(AdvertiserType::None)) => false,
            (None, Some(AdvertiserType::Both)) => market != Advertiser::WebSocket,
            (None, Some(AdvertiserType::GolemBase)) => market == Advertiser::Arkiv,
            (None, Some(AdvertiserType::DiscoveryServer)) => market == Advertiser::Http,
            (None, None) => match market {
                Advertiser::WebSocket => !self.sockets.is_empty(),
                Advertiser::Arkiv => self.has_other_networks,
                Advertiser::Http => false,
            },
        }
    }
}

impl VmSettings {
    /// What bounds new rentals.
    #[must_use]
    pub const fn limits(&self) -> AdmissionLimits {
        AdmissionLimits {
            max_vms: self.max_vms.0,
            minimum: Resources::new(self.min_cpu_cores.0, self.min_memory_gb.0, self.min_storage_gb.0),
            cpu_threshold: self.cpu_threshold.0,
            memory_threshold: self.memory_threshold.0,
            storage_threshold: self.storage_threshold.0,
            max_snapshots: self.max_snapshots,
            quotes_reserve: self.quote_reserves,
        }
    }
}

impl Settings {
    /// What machines are made with.
    #[must_use]
    pub fn backend(&self) -> BackendSettings {
        BackendSettings { data_dir: self.node.data_dir.clone(), vms: self.vms.clone() }
    }

    /// What rentals are paid with.
    #[must_use]
    pub fn chain(&self) -> ChainSettings {
        ChainSettings {
            data_dir: self.node.data_dir.clone(),
            market: self.node.network,
            payments: self.payments.clone(),
            faucets: self.faucets.clone(),
        }
    }

    /// Which market the node is in.
    #[must_use]
    pub fn marketplace(&self) -> MarketplaceSettings {
        let networks = self.chain().networks();
        // One that is not known, or is damaged, is told where it is used.
        let of_profile = |name: &String| network::load(&self.node.data_dir, name).ok();
        let of_networks: Vec<Vec<String>> =
            networks.iter().filter_map(of_profile).map(|profile| profile.discovery_urls).collect();
        let has_other_networks = of_networks.iter().any(Vec::is_empty) || of_networks.is_empty();
        let set = self.market.discovery_ws_url.as_ref().map(|urls| urls.0.clone());
        MarketplaceSettings {
            sockets: set.unwrap_or_else(|| of_networks.concat()),
            has_other_networks,
            data_dir: self.node.data_dir.clone(),
            environment: self.node.environment,
            network: self.node.network,
            market: self.market.clone(),
        }
    }

    /// What the node's adverts are made of.
    #[must_use]
    pub fn advert(&self) -> AdvertSettings {
        AdvertSettings {
            marketplace: self.marketplace(),
            country: self.node.country.0.clone(),
            name: self.node.advertised_name(),
            payments_network: self.chain().networks().swap_remove(0),
            faucets: self.faucets.clone(),
            max_gas_price: self.payments.max_gas_price_wei(),
            daily_gas_limit: self.payments.daily_gas_limit_wei(),
        }
    }

    /// Where the certificate for https comes from.
    fn certificate_source(&self) -> CertificateSource {
        let https = &self.https;
        match (&https.certificate, &https.key, https.acme) {
            (Some(certificate), Some(key), _) => {
                CertificateSource::Files { certificate: certificate.clone(), key: key.clone() }
            }
            (_, _, Acme::Auto) => CertificateSource::Acme { directory: https.directory.0.clone() },
            (_, _, Acme::Off) => CertificateSource::None,
        }
    }

    /// The ports that https needs from outside.
    fn web_ports(&self) -> Vec<u16> {
        let port = self.https.port.get();
        match self.certificate_source() {
            CertificateSource::Files { .. } => vec![port],
            CertificateSource::Acme { .. } => vec![port, ACME_HTTP_PORT],
            CertificateSource::None => Vec::new(),
        }
    }

    /// How https is served.
    #[must_use]
    pub fn https_config(&self) -> HttpsConfig {
        HttpsConfig {
            host: self.api.host,
            port: self.https.port.get(),
            http_port: ACME_HTTP_PORT,
            source: self.certificate_source(),
            folder: self.node.data_dir.join("certificates"),
            development: self.node.environment == Environment::Development,
            clock: Timestamp::now,
        }
    }

    /// How renters reach the node.
    #[must_use]
    pub fn reach(&self) -> ReachSettings {
        let development = self.node.environment == Environment::Development;
        ReachSettings {
            site: Site {
                host: self.api.host,
                api: self.api.port,
                ssh: self.ports.ssh_ports(),
                web: self.web_ports(),
                development,
                public_address: match self.api.public_ip {
                    PublicIp::Fixed(address) => Some(address),
                    PublicIp::Auto => None,
                },
                address_servers: self.api.public_ip_sources.0.clone(),
                address_interval: self.api.public_ip_interval,
            },
            data_dir: self.node.data_dir.clone(),
            policy: match self.node.environment {
                _ if self.ports.skip_port_verification => PortPolicy::Free,
                Environment::Development => PortPolicy::Lenient,
                Environment::Production => PortPolicy::Verified,
            },
            check_servers: self.ports.port_check_servers.0.clone(),
            skip_verification: self.ports.skip_port_verification,
            map_ports: self.ports.port_mapping,
            peers: (self.ports.verify_peers.then(|| self.marketplace()))
                .filter(|market| market.advertises_in(Advertiser::Arkiv)),
        }
    }
}
