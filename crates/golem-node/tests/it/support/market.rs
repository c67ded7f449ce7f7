//! A key, an advert, a pace and an advertiser that is waited for, which the advertisers' tests share.

use std::time::Duration;

use golem_market::arkiv::{Advert, AdvertPrices};
use golem_node::advertise::{AdvertState, Advertising, Pace, Standing, Wish};
use golem_service::tasks::Tasks;
use golem_types::Resources;
use golem_types::Wallet;
use tokio::sync::watch;
use tokio::time::timeout;

use super::DEADLINE;

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

/// An advertiser, and what it should say.
pub(crate) struct Advertiser {
    pub(crate) tasks: Tasks,
    pub(crate) wish: watch::Sender<Wish>,
    pub(crate) advertising: Advertising,
}

impl Advertiser {
    pub(crate) async fn reaches(
        &self,
        what: &str,
        condition: impl FnMut(&AdvertState) -> bool,
    ) -> AdvertState {
        let mut changes = self.advertising.changes();
        match timeout(DEADLINE, changes.wait_for(condition)).await {
            Ok(state) => state.unwrap().clone(),
            Err(_) => panic!("not in time: {what}: {:?}", self.advertising.state()),
        }
    }

    pub(crate) async fn is_current(&self) -> AdvertState {
        self.reaches("the advert", |state| state.standing == Standing::Current).await
    }

    /// Waits until something is in the way, and tells what.
    pub(crate) async fn is_hindered(&self) -> (String, AdvertState) {
        let state = self.reaches("a problem", |state| matches!(state.standing, Standing::Problem(_))).await;
        let Standing::Problem(problem) = &state.standing else { unreachable!() };
        (problem.clone(), state)
    }
}
