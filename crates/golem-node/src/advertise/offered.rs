//! What the node offers, besides what is free.
//!
//! Owns the way from prices and address to an advert. Never decides what is free: [`super::wanted_advert`] does.

use std::net::IpAddr;

use alloy_primitives::Address;
use golem_market::arkiv::advert::platform;
use golem_market::arkiv::{Advert, AdvertPrices};
use golem_types::Resources;
use golem_types::price::MonthlyPrice;
use tokio::sync::watch;

use crate::node::Node;
use crate::pricing::PriceList;

/// What an advert says that stays as it is while the node runs.
#[derive(Debug, Clone)]
pub struct AdvertBase {
    /// The address of the node's key.
    pub provider_id: Address,
    /// ISO 3166-1 alpha-2.
    pub country: String,
    /// The node's name.
    pub name: String,
    /// `mainnet`, `testnet` or `development`.
    pub network: String,
    /// Where rentals are paid.
    pub payments_network: String,
}

/// What is asked for a month, as adverts have it.
#[must_use]
pub fn advertised(asked: MonthlyPrice) -> AdvertPrices {
    AdvertPrices {
        core: asked.core.to_float(),
        ram_gb: asked.memory.to_float(),
        storage_gb: asked.storage.to_float(),
    }
}

impl AdvertBase {
    fn at(&self, ip_address: IpAddr, prices: PriceList) -> Advert {
        Advert {
            provider_id: self.provider_id,
            ip_address,
            country: self.country.clone(),
            name: self.name.clone(),
            platform: platform(std::env::consts::ARCH),
            network: self.network.clone(),
            payments_network: self.payments_network.clone(),
            usd: advertised(prices.usd),
            glm: advertised(prices.glm),
            // Filled in with what is free.
            free: Resources::default(),
        }
    }
}

/// What the node offers, as its address and its prices change; `None` while one of them is not known.
pub fn offers(
    node: &Node,
    offered: AdvertBase,
    mut ip_address: watch::Receiver<Option<IpAddr>>,
    mut prices: watch::Receiver<Option<PriceList>>,
) -> watch::Receiver<Option<Advert>> {
    let (sender, receiver) = watch::channel(None);
    let stop = node.tasks().stopping().clone();
    let follow = async move {
        loop {
            let known = ip_address.borrow_and_update().zip(*prices.borrow_and_update());
            let now = known.map(|(ip_address, prices)| offered.at(ip_address, prices));
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
