//! A key, an advert and a pace that the advertisers' tests share.

use std::time::Duration;

use golem_market::arkiv::{Advert, AdvertPrices};
use golem_node::advertise::{Pace, Wish};
use golem_types::Resources;
use golem_types::Wallet;

/// Fast, and looked at only when something happens or a test asks.
pub(crate) const PACE: Pace = Pace {
    quiet: Duration::from_millis(20),
    quiet_most: Duration::from_secs(5),
    check: Duration::from_secs(3600),
    retry: Duration::from_millis(5),
    retry_most: Duration::from_millis(20),
    receipt: Duration::from_millis(5),
    stuck: Duration::from_secs(3600),
    hourly: 60,
};

pub(crate) fn wallet() -> Wallet {
    Wallet::from_hex(&"46".repeat(32)).unwrap()
}

pub(crate) fn advert(cpu: u32) -> Advert {
    Advert {
        provider_id: wallet().address(),
        ip_address: "203.0.113.7".parse().unwrap(),
        country: "SE".to_owned(),
        name: "golem-provider".to_owned(),
        platform: "x86_64".to_owned(),
        network: "testnet".to_owned(),
        payments_network: "l2.holesky".to_owned(),
        usd: AdvertPrices { core: 5.0, ram_gb: 2.0, storage_gb: 0.1 },
        glm: AdvertPrices { core: 25.0, ram_gb: 10.0, storage_gb: 0.5 },
        free: Resources::new(cpu, 16, 100),
    }
}

pub(crate) fn shown(cpu: u32) -> Wish {
    Wish::Shown(Box::new(advert(cpu)))
}
