//! The advert of a node on a discovery server, through changes, faults and days.
//!
//! Days pass by a clock that stands still but for the test.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::time::Duration;

use golem_market::arkiv::{Advert, AdvertPrices};
use golem_node::advertise::{Advertising, DiscoveryConfig, Pace, Standing, Wish, wishes};
use golem_node::ports::PortPolicy;
use golem_node::{Node, NodeConfig};
use golem_reach::verdict::{PortVerdict, UnreachableReason};
use golem_service::tasks::Tasks;
use golem_types::Resources;
use golem_types::wallet::signer_of;
use jiff::Timestamp;
use market_emulator::{DiscoveryServer, ServerFault};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, advance};

use crate::support::market::{Advertiser, PACE, advert, shown, wallet};
use crate::support::{DEADLINE, World, comes_within, own_clock, pass, until, wanted};

/// What the seed documents.
const INTERVAL: Duration = Duration::from_secs(240);

fn config(server: &DiscoveryServer, pace: Pace) -> DiscoveryConfig {
    DiscoveryConfig {
        url: server.url().to_owned(),
        interval: INTERVAL,
        minimum: Resources::new(1, 1, 10),
        pace,
    }
}

/// An advertiser, and the server it posts to.
struct Run {
    server: DiscoveryServer,
    advertiser: Advertiser,
}

impl Deref for Run {
    type Target = Advertiser;

    fn deref(&self) -> &Advertiser {
        &self.advertiser
    }
}

impl Run {
    async fn start(pace: Pace, fault: ServerFault) -> Self {
        let server = DiscoveryServer::start().await.unwrap();
        server.set_fault(fault);
        let tasks = Tasks::new();
        let (wish, receiver) = watch::channel(shown(8));
        let advertising = Advertising::on_server(config(&server, pace), wallet(), receiver, &tasks).unwrap();
        Self { server, advertiser: Advertiser { tasks, wish, advertising } }
    }

    /// How many cores renters read; `None` if they do not find the node.
    fn cores(&self) -> Option<u64> {
        let adverts = self.server.adverts();
        adverts
            .get(&wallet().address().to_string())
            .map(|advert| advert["resources"]["cpu"].as_u64().unwrap())
    }

    fn posts(&self) -> usize {
        self.server.told().iter().filter(|told| told.advert).count()
    }
}

/// A signed advert that says all, and its end.
#[tokio::test]
async fn the_server_reads_a_signed_advert_changes_at_once_and_a_removal() {
    let run = Run::start(PACE, ServerFault::None).await;
    let state = run.is_current().await;
    assert!(state.lapses.is_some() && state.shown.is_none());
    let told = run.server.told().remove(0);
    assert_eq!(told.id, wallet().address().to_string());
    let signature = alloy_primitives::hex::decode(&told.signature).unwrap();
    // S-114
    assert_eq!(signer_of(&told.body, &signature), Some(wallet().address()));
    let body: Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(body["ip_address"], "203.0.113.7");
    assert_eq!((&body["country"], &body["platform"]), (&"SE".into(), &"x86_64".into()));
    assert_eq!(body["resources"], serde_json::json!({ "cpu": 8, "memory": 16, "storage": 100 }));
    assert_eq!(body["pricing"]["usd_per_core_month"], 5.0);
    assert_eq!(body["pricing"]["glm_per_gb_storage_month"], 0.5);

    for cpu in [7, 6, 5, 4] {
        run.wish.send_replace(shown(cpu));
    }
    until("the change", || run.cores() == Some(4)).await;
    // S-081
    assert_eq!(run.posts(), 2, "several changes at once are one");

    // Less than any VM needs, and then more again.
    run.wish.send_replace(shown(0));
    until("nothing to rent", || run.cores().is_none()).await;
    run.reaches("it is hidden", |state| state.standing == Standing::Hidden && state.lapses.is_none()).await;
    run.wish.send_replace(shown(2));
    until("something to rent", || run.cores() == Some(2)).await;

    assert!(run.advertising.remove(DEADLINE).await);
    assert_eq!(run.cores(), None);
    run.wish.send_replace(shown(3));
    run.tasks.stop().await;
    assert_eq!(run.cores(), None, "what was removed stays removed");
}

/// Every 240 s, for a day, and no gap that the server's 300 s would not bridge.
#[tokio::test(start_paused = true)]
async fn a_day_of_posts_every_240_seconds() {
    let clock = own_clock();
    let run = Run::start(Pace::default(), ServerFault::None).await;
    run.is_current().await;
    let mut requests = run.server.requests();
    let began = Instant::now();
    for post in 1..=360 {
        assert_eq!(run.posts(), post);
        requests.mark_unchanged();
        advance(INTERVAL - Duration::from_secs(1)).await;
        // S-115
        assert!(!requests.has_changed().unwrap(), "none before its time");
        advance(Duration::from_secs(1)).await;
        requests.changed().await.unwrap();
        run.reaches("it is known", |state| state.looked_at.is_some()).await;
        // S-115, S-216
        until("the post", || run.posts() == post + 1).await;
    }
    assert_eq!(began.elapsed(), Duration::from_secs(86_400));
    run.tasks.stop().await;
    drop(clock);
}

/// A server that is down for a day is asked rarely, and told within minutes of its return.
#[tokio::test(start_paused = true)]
async fn a_day_without_the_server_costs_few_requests_and_ends_by_itself() {
    let clock = own_clock();
    let run = Run::start(Pace::default(), ServerFault::Down).await;
    let problem = run.is_hindered().await.0;
    for part in ["HTTP status 500", "do not find this node", "rentals go on", "GOLEM_PROVIDER_DISCOVERY_URL"]
    {
        assert!(problem.contains(part), "{problem}");
    }
    let requests = run.server.requests();
    pass(24 * 60).await;
    let asked = *requests.borrow();
    assert!(asked < 1000, "{asked} requests");
    run.server.set_fault(ServerFault::None);
    let mended = Instant::now();
    comes_within(Duration::from_secs(305), "the advert", || run.cores().is_some()).await;
    run.is_current().await;
    assert!(mended.elapsed() <= Duration::from_secs(305), "{:?}", mended.elapsed());
    run.tasks.stop().await;
    drop(clock);
}

#[tokio::test]
async fn a_server_that_refuses_or_never_ends_is_told_of_and_tried_again() {
    for (fault, says) in [
        (ServerFault::Refuses, "refused with HTTP status 422"),
        (ServerFault::Endless, "answer is too large"),
    ] {
        let run = Run::start(PACE, fault).await;
        let problem = run.is_hindered().await.0;
        assert!(problem.contains(says), "{problem}");
        run.server.set_fault(ServerFault::None);
        run.is_current().await;
        assert_eq!(run.cores(), Some(8));
        run.tasks.stop().await;
    }
}

#[tokio::test]
async fn what_cannot_be_said_is_told_and_not_posted_and_nothing_is_asked_for_nothing() {
    let run = Run::start(PACE, ServerFault::None).await;
    run.is_current().await;
    let priced = |core: f64| Advert { usd: AdvertPrices { core, ..advert(8).usd }, ..advert(8) };
    let bad = [
        (Advert { name: "n".repeat(129), ..advert(8) }, "golem_provider_name has 129 bytes"),
        (priced(-1.0), "would be -1.0"),
        (priced(f64::NAN), "would be nan"),
        (priced(f64::INFINITY), "would be inf"),
    ];
    for (advert, says) in bad {
        run.wish.send_replace(Wish::Shown(Box::new(advert)));
        run.reaches(
            says,
            |state| matches!(&state.standing, Standing::Problem(problem) if problem.contains(says)),
        )
        .await;
        assert_eq!(run.posts(), 1, "{says}");
    }
    run.wish.send_replace(Wish::Shown(Box::new(priced(0.0))));
    until("it is given away", || run.posts() == 2).await;
    run.is_current().await;
    let body: Value = serde_json::from_slice(&run.server.told()[1].body).unwrap();
    assert_eq!(body["pricing"]["usd_per_core_month"], 0.0);
    run.tasks.stop().await;
}

/// Five seconds, by a clock that moves when nothing else does.
#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up_after_five_seconds() {
    let began = Instant::now();
    let run = Run::start(Pace::default(), ServerFault::Silent).await;
    let problem = run.is_hindered().await.0;
    assert!(problem.contains("does not answer"), "{problem}");
    assert!(began.elapsed() >= Duration::from_secs(5) && began.elapsed() < Duration::from_secs(6));
    run.tasks.stop().await;
}

/// Rentals and a drain of a true node.
#[tokio::test]
async fn the_server_is_told_of_rentals_and_of_a_drain() {
    let world = World::new(4);
    let (node, _) = world.node().await;
    let server = DiscoveryServer::start().await.unwrap();
    let (_offer, offer) = watch::channel(Some(advert(0)));
    let wish = wishes(&node, offer);
    let advertising = Advertising::on_server(config(&server, PACE), wallet(), wish, node.tasks()).unwrap();
    let cores = || {
        let adverts = server.adverts();
        adverts.values().next().map(|advert| advert["resources"]["cpu"].as_u64().unwrap())
    };
    until("all is free", || cores() == Some(100)).await;
    node.create(wanted("one")).await.unwrap();
    // S-056, S-081
    until("the VM is told of", || cores() == Some(99)).await;
    node.set_draining(true).await.unwrap();
    until("a draining node is not found", || cores().is_none()).await;
    node.set_draining(false).await.unwrap();
    until("it is found again", || cores() == Some(99)).await;
    assert_eq!(advertising.place(), server.url());
    node.shutdown(false).await;
}

/// What no port can be handed out for is not offered: before any was seen to be reachable, after
/// the last one went to a rental, and when all that are left stop being reachable.
#[tokio::test]
async fn nothing_is_offered_without_a_port_to_hand_out() {
    let world = World::new(2);
    let config = NodeConfig { port_policy: PortPolicy::Verified, ..world.config() };
    let node = Node::start(config, world.sim().0).await.unwrap();
    let (_offer, offer) = watch::channel(Some(advert(0)));
    let wish = wishes(&node, offer);
    let free = || match &*wish.borrow() {
        Wish::Shown(advert) => Some(advert.free.cpu),
        Wish::Unknown | Wish::Hidden => None,
    };
    let found = async |port: u16, problem: Option<UnreachableReason>| {
        let (address, sources) = ([203, 0, 113, 7].into(), BTreeSet::new());
        let verdict = PortVerdict { port, problem, address, sources, answered: 1, at: Timestamp::now() };
        node.keep_port_verdicts(vec![verdict]).await.unwrap();
    };
    until("nothing is known of any port", || free() == Some(0)).await;
    found(world.ports.start, Some(UnreachableReason::TimedOut)).await;
    found(world.ports.start + 1, None).await;
    until("one port is reachable", || free() == Some(100)).await;
    node.create(wanted("one")).await.unwrap();
    // S-062
    until("it is rented out", || free() == Some(0)).await;
    found(world.ports.start, None).await;
    until("another port is reachable", || free() == Some(99)).await;
    found(world.ports.start, Some(UnreachableReason::Refused)).await;
    // S-062, S-081
    until("it no longer is", || free() == Some(0)).await;
    node.shutdown(false).await;
}
