//! What the node offers on the market's network, and where that is.
//!
//! Owns the way from settings to an advert. Never decides what is written when: the node does.

use std::net::IpAddr;
use std::time::Duration;

use alloy_primitives::Address;
use anyhow::Context;
use golem_chain::Rpc;
use golem_market::arkiv::advert::platform;
use golem_market::arkiv::{Advert, AdvertPrices, Client, Profile, profile};
use golem_node::Node;
use golem_node::advertise::{AdvertiseConfig, Advertising, DiscoveryConfig, Pace, wishes};
use golem_node::pricing::PriceList;
use golem_node::transactions::GasRules;
use golem_types::Resources;
use golem_types::price::MonthlyPrice;
use ruint::aliases::U256;
use tokio::sync::watch;

use crate::faucet;
use crate::payments;
use crate::settings::{AdvertiserType, Environment, MarketSettings, Settings};
use golem_chain::identity::Identity;

/// Shortest half of an advert's life: the original looks no more often than every 30 seconds.
const INTERVAL_MINIMUM: Duration = Duration::from_secs(30);

/// What is asked for a month, as adverts have it.
#[must_use]
pub fn advertised(asked: MonthlyPrice) -> AdvertPrices {
    AdvertPrices {
        core: asked.core.to_float(),
        ram_gb: asked.memory.to_float(),
        storage_gb: asked.storage.to_float(),
    }
}

/// The market's network.
#[derive(Debug, Clone)]
pub struct MarketNetwork {
    pub name: String,
    /// What is known of it.
    pub profile: Profile,
    /// Its endpoint.
    pub rpc_url: String,
}

impl MarketNetwork {
    /// The network that the settings name.
    ///
    /// # Errors
    /// When it is not known, or lacks an endpoint.
    pub fn of(settings: &Settings) -> anyhow::Result<Self> {
        let name = settings.market.market_network.clone();
        let profile = profile::load(&settings.node.data_dir, &name)?;
        let development = settings.node.environment == Environment::Development;
        let own = settings.market.golem_base_dev_rpc_url.as_ref().filter(|_| development);
        let given = own.or(settings.market.golem_base_rpc_url.as_ref()).map(|url| url.0.clone());
        let rpc_url = given.or_else(|| profile.rpc_url.clone()).with_context(|| {
            format!(
                "the market network {name} has no endpoint; fix: set GOLEM_PROVIDER_GOLEM_BASE_RPC_URL to one"
            )
        })?;
        Ok(Self { name, profile, rpc_url })
    }

    /// A client of it.
    ///
    /// # Errors
    /// When the endpoint's address is none.
    pub fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(Rpc::new(&self.rpc_url)?, &self.profile))
    }
}

/// Whether the node keeps an advert on the market's network.
#[must_use]
pub const fn is_on_network(settings: &MarketSettings) -> bool {
    matches!(settings.advertiser_type, AdvertiserType::GolemBase | AdvertiserType::Both)
}

/// Whether the node keeps an advert on a discovery server.
#[must_use]
pub const fn is_on_server(settings: &MarketSettings) -> bool {
    matches!(settings.advertiser_type, AdvertiserType::DiscoveryServer | AdvertiserType::Both)
}

/// What the node offers, besides what is free.
fn offer(settings: &Settings, id: Address, ip_address: IpAddr, prices: PriceList) -> Advert {
    Advert {
        provider_id: id,
        ip_address,
        country: settings.node.country.0.clone(),
        name: settings.node.advertised_name(),
        platform: platform(std::env::consts::ARCH),
        network: settings.node.network.as_str().to_owned(),
        payments_network: settings.payments.payments_network.clone(),
        usd: advertised(prices.usd),
        glm: advertised(prices.glm),
        // The node fills in what is free.
        free: Resources::default(),
    }
}

/// Keeps the node's advert in each market that the settings name. Nothing is written while the
/// address or the prices are not known.
///
/// # Errors
/// When the network is not known or lacks an endpoint; one that does not answer is no error.
pub async fn start(
    settings: &Settings,
    identity: &Identity,
    node: &Node,
    ip_address: watch::Receiver<Option<IpAddr>>,
    prices: watch::Receiver<Option<PriceList>>,
) -> anyhow::Result<Vec<Advertising>> {
    let mut kept = Vec::new();
    if settings.market.advertiser_type == AdvertiserType::None {
        return Ok(kept);
    }
    let wallet = identity.wallet();
    let wish = wishes(node, offers(settings, wallet.address(), node, ip_address, prices));
    if is_on_network(&settings.market) {
        let config = network(settings)?;
        kept.push(Advertising::of_node(node, config, wallet.clone(), wish.clone()).await?);
    }
    if is_on_server(&settings.market) {
        let config = DiscoveryConfig {
            url: settings.market.discovery_url.0.clone(),
            interval: settings.market.discovery_interval,
            minimum: node.config().limits.minimum,
            pace: Pace::default(),
        };
        kept.push(Advertising::on_server(config, wallet.clone(), wish, node.tasks())?);
    }
    Ok(kept)
}

/// The market's network, and how the advert is kept there.
fn network(settings: &Settings) -> anyhow::Result<AdvertiseConfig> {
    let market = MarketNetwork::of(settings)?;
    // What is said of a network is said of its own endpoint.
    let its_own = market.profile.rpc_url.as_ref() == Some(&market.rpc_url);
    if let Some(note) = market.profile.note.as_ref().filter(|_| its_own) {
        tracing::info!(network = market.name, "the market's network is {note}");
    }
    let interval = settings.market.golem_base_advertisement_interval.max(INTERVAL_MINIMUM);
    let given = faucet::Given {
        url: settings.faucets.faucet_url.as_ref(),
        captcha_url: settings.faucets.captcha_url.as_ref(),
        captcha_key: settings.faucets.captcha_key.as_ref(),
    };
    let gas = gas_rules(&market.profile, settings);
    Ok(AdvertiseConfig {
        name: market.name,
        faucet: given.over(market.profile.faucet.as_ref()).filter(|_| market.profile.testnet),
        profile: market.profile,
        rpc_url: market.rpc_url,
        lifetime: interval.as_secs() * 2,
        gas,
        pace: Pace::default(),
    })
}

/// What gas for adverts may cost: no more than what is absurd, and in a day a coin of test money, or a twentieth of a real one.
fn gas_rules(profile: &Profile, settings: &Settings) -> GasRules {
    let thousandths = if profile.testnet { 1000 } else { 50 };
    let usual = U256::from(thousandths) * U256::from(10u64.pow(15));
    let limit = settings.payments.daily_gas_limit;
    GasRules {
        maximum_price: payments::max_gas_price(settings),
        daily_limit: Some(limit.map_or(usual, |limit| limit.0.atto())),
    }
}

/// What the node offers, as its address and its prices change.
fn offers(
    settings: &Settings,
    id: Address,
    node: &Node,
    mut ip_address: watch::Receiver<Option<IpAddr>>,
    mut prices: watch::Receiver<Option<PriceList>>,
) -> watch::Receiver<Option<Advert>> {
    let (sender, receiver) = watch::channel(None);
    let settings = settings.clone();
    let stop = node.tasks().stopping().clone();
    let follow = async move {
        loop {
            let known = ip_address.borrow_and_update().zip(*prices.borrow_and_update());
            let now = known.map(|(ip_address, prices)| offer(&settings, id, ip_address, prices));
            sender.send_if_modified(|offer| {
                let changed = *offer != now;
                *offer = now;
                changed
            });
            tokio::select! {
                Ok(()) = ip_address.changed() => {}
                Ok(()) = prices.changed() => {}
                // Neither can change any more.
                else => return,
            }
        }
    };
    node.tasks().spawn("market offer", async move {
        stop.run_until_cancelled(follow).await;
    });
    receiver
}
