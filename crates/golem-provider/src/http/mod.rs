//! The HTTP edges: the public API for renters, the operator API for the owner of the machine.
//!
//! ```text
//!   socket ─► serve (deadlines, places) ─► peer (who asks) ─► limit ─► public   ─┐
//!   loopback ─► serve ─► token, Host ──────────► operator ─┴─► node
//! ```
//! Owns everything about HTTP. Never decides about a rental.

pub mod operator;
mod public;
mod quotes;
pub(crate) mod reply;
mod streams;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use alloy_primitives::Address;
use golem_node::Node;
use golem_node::advertise::Advertising;
use golem_node::port_verification::Verifier;
use golem_node::pricing::PriceList;
use golem_service::tasks::Tasks;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use streams::info as stream_info;

use crate::settings::ApiAuth;
use golem_chain::network::PaymentNetwork;
use golem_reach::port_checker::Checker;
use golem_reach::public_ip;
use golem_service::server::{TrustedProxies, serve};

/// What the HTTP edges need to know.
#[derive(Clone)]
pub struct HttpConfig {
    /// The node's data directory, for the operator's token.
    pub data_dir: PathBuf,
    /// Who may use a VM over the public API.
    pub auth: ApiAuth,
    /// Requests that one address may make in a minute; 0 means no limit.
    pub rate_limit_per_minute: u32,
    /// Reverse proxies that say for whom they ask.
    pub trusted_proxies: TrustedProxies,
    /// The node's Ethereum address, in EIP-55 form.
    pub provider_id: String,
    /// The address that renters are told; none while it is not known.
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
    /// How rentals are paid for; none when they are free.
    pub payments: Option<PaymentNetwork>,
    /// What VMs cost.
    pub prices: Option<watch::Receiver<PriceList>>,
    /// The adverts that the node keeps, one a market.
    pub advertising: Vec<Advertising>,
    /// The verification of its ports; none in tests of other things.
    pub ports: Option<Verifier>,
    /// What tries the ports of other providers; none where the operator does not want that.
    pub checker: Option<Arc<Checker>>,
}

/// What a client needs to rent; the answer of `provider/info`.
#[derive(Debug, Serialize)]
struct ProviderInfo<'a> {
    provider_id: &'a str,
    /// Zero when payments are off.
    stream_payment_address: String,
    /// Zero when it is the chain's own money.
    glm_token_address: String,
    ip_address: IpAddr,
    country: &'a str,
    platform: &'static str,
}

impl<'a> ProviderInfo<'a> {
    fn of(config: &'a HttpConfig) -> Self {
        let payments = config.payments.as_ref();
        let shown = |address: Option<Address>| address.unwrap_or_default().to_string();
        Self {
            provider_id: &config.provider_id,
            stream_payment_address: shown(payments.map(|profile| profile.contract)),
            glm_token_address: shown(payments.map(|profile| profile.token)),
            ip_address: public_ip::told(&config.public_ip, config.host),
            country: &config.country,
            platform: match std::env::consts::ARCH {
                "aarch64" => "arm64",
                arch => arch,
            },
        }
    }
}

/// The running edges.
pub struct Http {
    tasks: Tasks,
    stop_asked: CancellationToken,
}

/// Serves the public API on `public` and the operator API on `operator`.
///
/// # Errors
/// Any error of reading or making the operator's token.
pub fn start(config: HttpConfig, node: Node, public: TcpListener, operator: TcpListener) -> io::Result<Http> {
    let token = operator::Token::ensure(&config.data_dir)?;
    let stop_asked = CancellationToken::new();
    let tasks = Tasks::new();
    let routes = public::router(&config, node.clone(), stop_asked.clone());
    tasks.spawn(
        "public API",
        serve::serve("public API connection", public, routes, config.trusted_proxies.clone(), tasks.clone()),
    );
    let routes = operator::router(config, node, token, stop_asked.clone());
    tasks.spawn(
        "operator API",
        serve::serve("operator API connection", operator, routes, TrustedProxies::default(), tasks.clone()),
    );
    Ok(Http { tasks, stop_asked })
}

impl Http {
    /// Ready when somebody who may has asked that the node stop.
    pub async fn stop_asked(&self) {
        self.stop_asked.cancelled().await;
    }

    /// Ready when a task of the edges has panicked.
    pub async fn failed(&self) {
        self.tasks.failed().await;
    }

    /// Takes no new connection, and waits a moment for the requests under way.
    pub async fn stop(&self) {
        self.tasks.stop().await;
    }
}
