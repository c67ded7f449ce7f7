//! Which markets the node is in, and what its advert is made of.
//!
//! Owns the way from settings to markets and adverts. Never decides what is written when: the node does.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use alloy_primitives::Address;
use anyhow::Context;
use golem_market::arkiv::{MarketNetwork, profile};
use golem_market::survey::{Survey, SurveyPlace};
use golem_node::Node;
use golem_node::advertise::{
    self, AdvertBase, AdvertiseConfig, Advertising, DiscoveryConfig, LiveConfig, Pace, offers, wishes,
};
use golem_node::pricing::PriceList;
use golem_service::tasks::Tasks;
use tokio::sync::watch;

use crate::{faucet, pricing};
use golem_chain::identity::Identity;
use golem_host::settings::{AdvertSettings, Advertiser, Environment, MarketplaceSettings, Settings};

/// Shortest half of an advert's life: the original looks no more often than every 30 seconds.
const INTERVAL_MINIMUM: Duration = Duration::from_secs(30);

/// The market's network that the settings name.
///
/// # Errors
/// When it is not known, or lacks an endpoint.
pub(crate) fn network(settings: &MarketplaceSettings) -> anyhow::Result<MarketNetwork> {
    let market = &settings.market;
    let name = market.market_network.clone();
    let profile = profile::load(&settings.data_dir, &name)?;
    let development = settings.environment == Environment::Development;
    let own = market.golem_base_dev_rpc_url.as_ref().filter(|_| development);
    let given = own.or(market.golem_base_rpc_url.as_ref()).map(|url| url.0.clone());
    let rpc_url = given.or_else(|| profile.rpc_url.clone()).with_context(|| {
        format!(
            "the market network {name} has no endpoint; fix: set GOLEM_PROVIDER_GOLEM_BASE_RPC_URL to one"
        )
    })?;
    Ok(MarketNetwork { name, profile, rpc_url })
}

/// Which markets are asked what renters see of `own`, and of others.
///
/// # Errors
/// When the profile of a market cannot be read.
pub(crate) fn survey(settings: &Settings, own: Address) -> anyhow::Result<Survey> {
    let marketplace = settings.marketplace();
    let is_in = |market| marketplace.advertises_in(market);
    let mut places = Vec::new();
    // Who offers nothing anywhere can still see what others ask.
    if is_in(Advertiser::Arkiv) || !(is_in(Advertiser::Http) || is_in(Advertiser::WebSocket)) {
        places.push(SurveyPlace::Network {
            market: Box::new(network(&marketplace)?),
            environment: settings.node.network.as_str().to_owned(),
            payments_network: settings.chain().networks().swap_remove(0),
        });
    }
    if is_in(Advertiser::WebSocket) {
        places.extend(marketplace.sockets.iter().cloned().map(SurveyPlace::Socket));
    }
    if is_in(Advertiser::Http) {
        places.push(SurveyPlace::Server(settings.market.discovery_url.0.clone()));
    }
    Ok(Survey { own, asked: advertise::advertised(pricing::config(&settings.prices, None).usd), places })
}

/// Where renters' pages reach the node's API: over `https`; in development, without it, over plain HTTP on `port` as
/// well. `None` while there is no such place.
#[must_use]
pub fn endpoint(
    environment: Environment,
    port: u16,
    mut ip_address: watch::Receiver<Option<IpAddr>>,
    mut https: watch::Receiver<Option<String>>,
    tasks: &Tasks,
) -> watch::Receiver<Option<String>> {
    if environment == Environment::Production {
        return https;
    }
    let (sender, endpoint) = watch::channel(None);
    let stop = tasks.stopping().clone();
    let follow = async move {
        loop {
            let plain =
                ip_address.borrow_and_update().map(|ip| format!("http://{}", SocketAddr::new(ip, port)));
            sender.send_replace(https.borrow_and_update().clone().or(plain));
            tokio::select! {
                Ok(()) = ip_address.changed() => {}
                Ok(()) = https.changed() => {}
                else => return,
            }
        }
    };
    tasks.spawn("endpoint", async move {
        stop.run_until_cancelled(follow).await;
    });
    endpoint
}

/// Keeps the node's advert in each market that the settings name. Nothing is written while the
/// address or the prices are not known; where renters' pages look, `endpoint` has to be known as well.
///
/// # Errors
/// When the network is not known or lacks an endpoint; one that does not answer is no error.
pub async fn start(
    settings: &AdvertSettings,
    identity: &Identity,
    node: &Node,
    ip_address: watch::Receiver<Option<IpAddr>>,
    prices: watch::Receiver<Option<PriceList>>,
    endpoint: watch::Receiver<Option<String>>,
) -> anyhow::Result<Vec<Advertising>> {
    let mut kept = Vec::new();
    let market = &settings.marketplace.market;
    let is_in = |kind| settings.marketplace.advertises_in(kind);
    if ![Advertiser::WebSocket, Advertiser::Arkiv, Advertiser::Http].into_iter().any(is_in) {
        return Ok(kept);
    }
    let wallet = identity.wallet();
    let offered = AdvertBase {
        provider_id: wallet.address(),
        country: settings.country.clone(),
        name: settings.name.clone(),
        network: settings.marketplace.network.as_str().to_owned(),
        payments_network: settings.payments_network.clone(),
    };
    let wish = wishes(node, offers(node, offered, ip_address, prices));
    if is_in(Advertiser::WebSocket) {
        for url in &settings.marketplace.sockets {
            let minimum = node.config().limits.minimum;
            let config = LiveConfig { url: url.clone(), minimum, pace: Pace::default() };
            let (wallet, wish, endpoint) = (wallet.clone(), wish.clone(), endpoint.clone());
            kept.push(Advertising::on_socket(config, wallet, wish, endpoint, node.tasks())?);
        }
    }
    if is_in(Advertiser::Arkiv) {
        let config = on_network(settings)?;
        kept.push(Advertising::of_node(node, config, wallet.clone(), wish.clone()).await?);
    }
    if is_in(Advertiser::Http) {
        let config = DiscoveryConfig {
            url: market.discovery_url.0.clone(),
            interval: market.discovery_interval,
            minimum: node.config().limits.minimum,
            pace: Pace::default(),
        };
        kept.push(Advertising::on_server(config, wallet.clone(), wish, node.tasks())?);
    }
    Ok(kept)
}

/// The market's network, and how the advert is kept there.
fn on_network(settings: &AdvertSettings) -> anyhow::Result<AdvertiseConfig> {
    let market = network(&settings.marketplace)?;
    // What is said of a network is said of its own endpoint.
    let its_own = market.profile.rpc_url.as_ref() == Some(&market.rpc_url);
    if let Some(note) = market.profile.note.as_ref().filter(|_| its_own) {
        tracing::info!(network = market.name, "the market's network is {note}");
    }
    let interval = settings.marketplace.market.golem_base_advertisement_interval.max(INTERVAL_MINIMUM);
    let given = faucet::Given {
        url: settings.faucets.faucet_url.as_ref(),
        captcha_url: settings.faucets.captcha_url.as_ref(),
        captcha_key: settings.faucets.captcha_key.as_ref(),
    };
    let gas = advertise::gas_rules(market.profile.testnet, settings.max_gas_price, settings.daily_gas_limit);
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
