//! Gas for adverts from a faucet, on a network of generation 1, over days.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use golem_chain::faucet::Faucet;
use golem_market::arkiv::{Generation, Profile};
use golem_node::advertise::{AdvertiseConfig, Advertising, Pace, Standing, Wish};
use golem_node::ledger::Ledger;
use golem_service::tasks::Tasks;
use golem_testchain::FaucetServer;
use market_emulator::{Emulator, Fault, Protocol};
use tokio::sync::watch;
use tokio::time::advance;

use crate::support::market::{shown, wallet};
use crate::support::{comes_within, own_clock, pass, settle, until};

const CHAIN: u64 = 1337;

/// A tenth of a coin, which known faucets pay, and what is enough.
const GIFT: u128 = 100_000_000_000_000_000;
const ENOUGH: u128 = 10_000_000_000_000_000;

/// How long a write may take until it is seen in a block: looks at the chain are at most half a minute apart.
const SEEN: Duration = Duration::from_secs(40);

/// The clock goes on by a second. What is asked goes over true sockets, for which it has to wait.
async fn a_second_passes() {
    advance(Duration::from_secs(1)).await;
    // Sockets have the time they need, also on a machine that is busy.
    settle().await;
}

/// A network without a coin in the node's wallet, its faucet, and an advertiser.
struct Run {
    emulator: Arc<Emulator>,
    faucet: FaucetServer,
    advertising: Advertising,
    tasks: Tasks,
    _wish: watch::Sender<Wish>,
    _folder: tempfile::TempDir,
}

impl Run {
    async fn start(balance: u128, site: &str, fault: Fault) -> Self {
        let emulator = Arc::new(Emulator::start(Protocol::GolemBase, CHAIN).await.unwrap());
        let account = wallet().address();
        emulator.set_balance(account, balance);
        emulator.set_fault(fault);
        let bank = Arc::clone(&emulator);
        let pay = move |to: Address| {
            bank.set_balance(to, GIFT);
            "0x01".to_owned()
        };
        let faucet = FaucetServer::paying(pay).await.unwrap();
        let config = AdvertiseConfig {
            name: "test".to_owned(),
            profile: Profile {
                generation: Generation::GolemBase,
                chain_id: CHAIN,
                rpc_url: None,
                block_seconds: 2,
                testnet: true,
                faucet: None,
                explorer: None,
                note: None,
            },
            rpc_url: emulator.url().to_owned(),
            lifetime: 7200,
            faucet: Some(Faucet {
                url: faucet.url(),
                captcha_url: faucet.captcha_url().to_owned(),
                captcha_key: site.to_owned(),
            }),
            gas: golem_node::transactions::GasRules::default(),
            pace: Pace::default(),
        };
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("provider.db")).unwrap();
        let tasks = Tasks::new();
        let (wish, receiver) = watch::channel(shown(8));
        let advertising = Advertising::on_network(config, wallet(), ledger, receiver, &tasks).await.unwrap();
        Self { emulator, faucet, advertising, tasks, _wish: wish, _folder: folder }
    }

    /// A few seconds pass until the receipt is seen.
    async fn becomes_current(&self) {
        let began = tokio::time::Instant::now();
        while self.advertising.state().standing != Standing::Current {
            assert!(began.elapsed() <= SEEN, "{:?}", self.advertising.state().standing);
            a_second_passes().await;
        }
    }

    async fn is_hindered(&self) -> String {
        let mut changes = self.advertising.changes();
        let state = changes.wait_for(|state| matches!(state.standing, Standing::Problem(_))).await.unwrap();
        let Standing::Problem(problem) = &state.standing else { unreachable!() };
        problem.clone()
    }
}

/// A wallet without gas gets it at the start, by work, and then the advert comes; when it is
/// low again, the faucet is asked again, but rarely.
#[tokio::test(start_paused = true)]
async fn a_wallet_without_gas_gets_it_at_the_start_and_rarely_again() {
    let clock = own_clock();
    let run = Run::start(0, "testsite", Fault::None).await;
    // S-221, S-222: who solved its puzzle is paid.
    until("the faucet paid", || run.faucet.paid() == 1).await;
    // No time has to pass for it: a write takes several questions, and each has ten seconds for its answer.
    until("the advert", || !run.emulator.entities().is_empty()).await;
    run.becomes_current().await;
    pass(13 * 60).await;
    assert_eq!(run.faucet.paid(), 1, "enough is there");
    run.emulator.set_balance(wallet().address(), ENOUGH - 1);
    pass(61).await;
    comes_within(Duration::from_secs(600), "it is low", || run.faucet.paid() == 2).await;
    run.emulator.set_balance(wallet().address(), 0);
    pass(6 * 60).await;
    assert_eq!(run.faucet.paid(), 2, "not twice in half a day");
    run.tasks.stop().await;
    drop(clock);
}

#[tokio::test(start_paused = true)]
async fn s_221_a_wallet_with_a_hundredth_of_a_coin_asks_no_faucet() {
    let clock = own_clock();
    let run = Run::start(ENOUGH, "testsite", Fault::None).await;
    run.becomes_current().await;
    pass(3 * 60).await;
    assert_eq!(run.faucet.paid(), 0);
    run.tasks.stop().await;
    drop(clock);
}

/// A captcha that refuses costs the advert, which the operator reads; gas from elsewhere mends it.
#[tokio::test(start_paused = true)]
async fn a_captcha_that_refuses_stops_nothing_but_the_advert() {
    let clock = own_clock();
    let run = Run::start(0, "another-site", Fault::None).await;
    let problem = run.is_hindered().await;
    assert!(problem.contains("fix: send gas to the node's wallet"), "{problem}");
    pass(3 * 60).await;
    assert_eq!(run.faucet.paid(), 0);
    run.emulator.set_balance(wallet().address(), ENOUGH);
    run.advertising.check();
    // No time has to pass for it: a write takes several questions, and each has ten seconds for its answer.
    until("the advert", || !run.emulator.entities().is_empty()).await;
    run.becomes_current().await;
    run.tasks.stop().await;
    drop(clock);
}

/// A day without the endpoint: it is asked rarely, no faucet is, and its return is noticed in minutes: it is looked at every
/// five, and a write takes some seconds, and up to half a minute until it is seen.
#[tokio::test(start_paused = true)]
async fn a_day_without_the_endpoint_costs_few_requests_and_ends_by_itself() {
    let clock = own_clock();
    let run = Run::start(0, "testsite", Fault::Down).await;
    let problem = run.is_hindered().await;
    for part in
        ["HTTP status 500", "new renters do not find this node", "rentals go on, and it is tried again"]
    {
        assert!(problem.contains(part), "{problem}");
    }
    pass(24 * 60).await;
    let asked = run.emulator.requests();
    assert!(asked < 1000, "{asked} requests in a day");
    assert_eq!(run.faucet.paid(), 0, "a network that is gone needs no gas");
    run.emulator.set_balance(wallet().address(), ENOUGH);
    run.emulator.set_fault(Fault::None);
    let mended = tokio::time::Instant::now();
    while run.emulator.entities().is_empty() {
        assert!(mended.elapsed() <= Duration::from_secs(330), "{:?}", mended.elapsed());
        a_second_passes().await;
    }
    run.becomes_current().await;
    assert!(mended.elapsed() <= Duration::from_secs(360), "{:?}", mended.elapsed());
    run.tasks.stop().await;
    drop(clock);
}
