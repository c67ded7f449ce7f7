//! The advert of a node on a discovery server that shows who is connected, through changes, faults and days.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use golem_market::arkiv::Advert;
use golem_market::discovery::live::requestor;
use golem_market::discovery::server::{self, ServerConfig};
use golem_market::discovery::{Filter, Listed, Store};
use golem_node::advertise::{AdvertState, Advertising, LiveConfig, Pace, Standing, Wish, wishes};
use golem_service::server::TrustedProxies;
use golem_service::tasks::Tasks;
use golem_types::Resources;
use market_emulator::{LiveFault, LiveServer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{advance, timeout};

use crate::support::market::{Advertiser, PACE, advert, shown, wallet};
use crate::support::{DEADLINE, World, comes_within, own_clock, pass, settle, until, wanted};

const ENDPOINT: &str = "https://203.0.113.7";

/// An advertiser, and where it should say that the node is.
struct Node {
    advertiser: Advertiser,
    endpoint: watch::Sender<Option<String>>,
}

impl Deref for Node {
    type Target = Advertiser;

    fn deref(&self) -> &Advertiser {
        &self.advertiser
    }
}

impl Node {
    fn start(url: &str, pace: Pace, endpoint: Option<&str>) -> Self {
        let tasks = Tasks::new();
        let (wish, wishes) = watch::channel(shown(8));
        let (endpoint, endpoints) = watch::channel(endpoint.map(str::to_owned));
        let config = LiveConfig { url: url.to_owned(), minimum: Resources::new(1, 1, 10), pace };
        let advertising = Advertising::on_socket(config, wallet(), wishes, endpoints, &tasks).unwrap();
        Self { advertiser: Advertiser { tasks, wish, advertising }, endpoint }
    }

    /// Waits until something is in the way, and tells what.
    async fn is_hindered(&self) -> String {
        let (problem, state) = self.advertiser.is_hindered().await;
        assert_eq!(state.connected, Some(false));
        problem
    }
}

/// How many cores renters read; `None` if they do not find the node.
fn cores(server: &LiveServer) -> Option<u64> {
    let adverts = server.adverts();
    adverts.get(&wallet().address().to_string()).map(|advert| advert["resources"]["cpu"].as_u64().unwrap())
}

fn upserts(server: &LiveServer) -> usize {
    server.told().iter().filter(|told| told["type"] == "advertisement.upsert").count()
}

#[tokio::test]
async fn the_server_shows_all_of_the_advert_its_changes_at_once_and_nothing_after_the_end() {
    let server = LiveServer::start().await.unwrap();
    let node = Node::start(server.url(), PACE, Some(ENDPOINT));
    let state = node.is_current().await;
    assert_eq!((state.connected, state.lapses), (Some(true), None));
    let told = server.told();
    assert_eq!((&told[0]["type"], &told[0]["nonce"]), (&json!("authenticate"), &json!("nonce-0001")));
    assert_eq!(
        told[1]["advertisement"],
        json!({
            "ip_address": "203.0.113.7", "country": "SE", "platform": "x86_64", "endpoint_protocol": "https",
            "endpoint_host": "203.0.113.7", "endpoint_port": 443, "endpoint_url": ENDPOINT,
            "resources": { "cpu": 8, "memory": 16, "storage": 100 },
            "pricing": {
                "usd_per_core_month": 5.0, "usd_per_gb_ram_month": 2.0, "usd_per_gb_storage_month": 0.1,
                "glm_per_core_month": 25.0, "glm_per_gb_ram_month": 10.0, "glm_per_gb_storage_month": 0.5,
            },
        })
    );
    for cpu in [7, 6, 5, 4] {
        node.wish.send_replace(shown(cpu));
    }
    until("the change", || cores(&server) == Some(4)).await;
    assert_eq!(upserts(&server), 2, "several changes at once are one");
    // A drift of free storage waits for the next change.
    let drifted = Advert { free: Resources::new(4, 16, 99), ..advert(4) };
    node.wish.send_replace(Wish::Shown(Box::new(drifted)));
    node.endpoint.send_replace(Some("https://203.0.113.7:8443".to_owned()));
    until("the endpoint", || upserts(&server) == 3).await;
    assert_eq!(server.told().last().unwrap()["advertisement"]["endpoint_port"], 8443);

    // Less than any VM needs, and then more again.
    node.wish.send_replace(shown(0));
    node.reaches("it is hidden", |state| state.standing == Standing::Hidden).await;
    until("nothing to rent", || cores(&server).is_none()).await;
    assert_eq!(server.told().last().unwrap(), &json!({ "type": "advertisement.remove" }));
    assert_eq!(node.advertising.state().connected, Some(false));
    node.wish.send_replace(shown(2));
    until("something to rent", || cores(&server) == Some(2)).await;
    node.tasks.stop().await;
    assert_eq!(cores(&server), None, "who ends says so");
    assert_eq!(server.told().last().unwrap(), &json!({ "type": "advertisement.remove" }));

    let node = Node::start(server.url(), PACE, Some(ENDPOINT));
    node.is_current().await;
    assert!(node.advertising.remove(DEADLINE).await);
    assert_eq!(cores(&server), None);
    node.wish.send_replace(shown(3));
    node.tasks.stop().await;
    assert_eq!(cores(&server), None, "what was removed stays removed");
}

#[tokio::test]
async fn without_an_endpoint_nothing_is_shown_and_the_operator_reads_why() {
    let server = LiveServer::start().await.unwrap();
    let node = Node::start(server.url(), PACE, None);
    let problem = node.is_hindered().await;
    for part in ["no https endpoint", "do not find this node", "rentals go on", "GOLEM_PROVIDER_ADVERTISERS"]
    {
        assert!(problem.contains(part), "{problem}");
    }
    assert_eq!(*server.sockets().borrow(), 0, "nothing is asked for nothing");
    // What was in the way is no more, while the server is asked.
    server.set_fault(LiveFault::NoHello);
    node.endpoint.send_replace(Some(ENDPOINT.to_owned()));
    node.reaches("it is asked", |state| state.standing == Standing::Starting).await;
    server.set_fault(LiveFault::None);
    node.is_current().await;
    node.endpoint.send_replace(None);
    node.is_hindered().await;
    assert_eq!(cores(&server), None);
    node.endpoint.send_replace(Some(ENDPOINT.to_owned()));
    node.is_current().await;
    // An address that the protocol has no words for.
    let six = Advert { ip_address: "2001:db8::7".parse().unwrap(), ..advert(4) };
    node.wish.send_replace(Wish::Shown(Box::new(six)));
    let problem = node.is_hindered().await;
    assert!(problem.contains("none of IPv4"), "{problem}");
    node.wish.send_replace(shown(4));
    node.is_current().await;
    node.tasks.stop().await;
}

/// What is wrong is told, the server is tried again, and found when it is well.
#[tokio::test]
async fn a_server_that_lies_floods_or_drops_is_told_of_and_tried_again() {
    for (fault, says) in [
        (LiveFault::Down, "HTTP status 503"),
        (LiveFault::OtherProtocol, "speaks \"central-discovery.ws.v9\" and not central-discovery.ws.v1"),
        (LiveFault::NobodyIsKnown, "the server refused: no authenticate here"),
        (LiveFault::Refuses, "the server refused: no advertisement.upsert here"),
        (LiveFault::Drops, "the connection was closed"),
        (LiveFault::Floods, "far more than it has to"),
        (LiveFault::Nonsense, "makes no sense"),
    ] {
        let server = LiveServer::start().await.unwrap();
        server.set_fault(fault);
        let node = Node::start(server.url(), PACE, Some(ENDPOINT));
        let problem = node.is_hindered().await;
        assert!(problem.contains(says), "{fault:?}: {problem}");
        server.set_fault(LiveFault::None);
        node.is_current().await;
        until("it is shown", || cores(&server) == Some(8)).await;
        node.tasks.stop().await;
    }
}

/// By a clock that the test moves.
#[tokio::test(start_paused = true)]
async fn a_server_that_never_greets_is_given_up_after_ten_seconds() {
    let clock = own_clock();
    let server = LiveServer::start().await.unwrap();
    server.set_fault(LiveFault::NoHello);
    let node = Node::start(server.url(), Pace::default(), Some(ENDPOINT));
    until("it is connected to", || *server.sockets().borrow() == 1).await;
    settle().await;
    advance(Duration::from_secs(10)).await;
    let problem = node.is_hindered().await;
    assert!(problem.contains("did not say hello in time"), "{problem}");
    node.tasks.stop().await;
    drop(clock);
}

/// U-16: a change is told at once, and no more of them than a server takes; none makes a server that fails be asked sooner.
#[tokio::test(start_paused = true)]
async fn u_16_changes_are_told_at_once_flood_nobody_and_hasten_no_server_that_fails() {
    let clock = own_clock();
    let server = LiveServer::start().await.unwrap();
    let node = Node::start(server.url(), Pace::default(), Some(ENDPOINT));
    node.is_current().await;
    // No time passes.
    for cpu in [7, 6, 5] {
        node.wish.send_replace(shown(cpu));
        until("what is left", || cores(&server) == Some(cpu.into())).await;
    }
    let is_behind = || node.advertising.state().is_behind;
    for number in 0..20 {
        let cpu = 1 + number % 4;
        node.wish.send_replace(shown(cpu));
        until("what is left, or that it is held back", || cores(&server) == Some(cpu.into()) || is_behind())
            .await;
    }
    assert!(is_behind(), "renters read an earlier one");
    assert_eq!(upserts(&server), 1 + 8, "in no time");
    node.wish.send_replace(shown(5));
    for _ in 0..3 {
        settle().await;
        advance(Duration::from_secs(5)).await;
    }
    until("the last one", || cores(&server) == Some(5)).await;
    node.is_current().await;
    until("it is told", || !is_behind()).await;
    server.set_fault(LiveFault::Down);
    node.is_hindered().await;
    let sockets = *server.sockets().borrow();
    for cpu in [1, 2, 3] {
        node.wish.send_replace(shown(cpu));
        settle().await;
    }
    assert_eq!(*server.sockets().borrow(), sockets);
    server.set_fault(LiveFault::None);
    advance(Duration::from_secs(5)).await;
    node.is_current().await;
    until("what it is by now", || cores(&server) == Some(3)).await;
    node.tasks.stop().await;
    drop(clock);
}

/// A server that drops whoever it shows is asked rarely, and one that returns is found within minutes.
#[tokio::test(start_paused = true)]
async fn a_day_with_a_server_that_drops_costs_few_connections() {
    let clock = own_clock();
    let server = LiveServer::start().await.unwrap();
    server.set_fault(LiveFault::Drops);
    let node = Node::start(server.url(), Pace::default(), Some(ENDPOINT));
    node.is_hindered().await;
    pass(24 * 60).await;
    let sockets = *server.sockets().borrow();
    assert!((100..1000).contains(&sockets), "{sockets} connections");
    server.set_fault(LiveFault::None);
    comes_within(Duration::from_secs(305), "the advert", || cores(&server).is_some()).await;
    node.is_current().await;
    node.tasks.stop().await;
    drop(clock);
}

/// Our own server, on the port that it had before.
struct OwnServer {
    tasks: Tasks,
    _folder: tempfile::TempDir,
    port: u16,
}

impl OwnServer {
    async fn start(port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&folder.path().join("discovery.db")).unwrap());
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = ServerConfig {
            requests_per_minute: 0,
            signed_only: false,
            trusted_proxies: TrustedProxies::default(),
        };
        let tasks = Tasks::new();
        server::start(config, store, listener, &tasks);
        Self { tasks, _folder: folder, port }
    }

    fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/api/v1/discovery/providers", self.port)
    }

    async fn listed(&self) -> Vec<Listed> {
        requestor::find(&self.url(), &Filter::default()).await.unwrap()
    }
}

/// The way that renters go, with our own server on it; each server for itself.
#[tokio::test]
async fn renters_find_a_true_node_on_two_servers_of_which_one_restarts() {
    let world = World::new(4);
    let (node, _) = world.node().await;
    let (_offer, offer) = watch::channel(Some(advert(0)));
    let (_endpoint, endpoint) = watch::channel(Some(ENDPOINT.to_owned()));
    let wish = wishes(&node, offer);
    let (one, two) = (OwnServer::start(0).await, OwnServer::start(0).await);
    let mut kept = Vec::new();
    for server in [&one, &two] {
        let config = LiveConfig { url: server.url(), minimum: Resources::new(1, 1, 10), pace: PACE };
        let (wish, endpoint) = (wish.clone(), endpoint.clone());
        kept.push(Advertising::on_socket(config, wallet(), wish, endpoint, node.tasks()).unwrap());
    }
    let is_current = |state: &AdvertState| state.standing == Standing::Current;
    for advertising in &kept {
        timeout(DEADLINE, advertising.changes().wait_for(is_current)).await.unwrap().unwrap();
    }
    let listed = one.listed().await;
    assert_eq!((listed.len(), listed[0].resources["cpu"]), (1, 100));
    assert_eq!(listed[0].provider_id, wallet().address().to_string());
    assert_eq!(listed[0].endpoint_url.as_deref(), Some(ENDPOINT));
    node.create(wanted("one")).await.unwrap();
    let cores =
        async |server: &OwnServer| server.listed().await.first().map(|listed| listed.resources["cpu"]);
    // S-056, S-081
    golem_test_support::until("a rental is told of on both", async || {
        [cores(&one).await, cores(&two).await] == [Some(99); 2]
    })
    .await;
    let port = two.port;
    two.tasks.stop().await;
    let is_hindered = |state: &AdvertState| matches!(state.standing, Standing::Problem(_));
    timeout(DEADLINE, kept[1].changes().wait_for(is_hindered)).await.unwrap().unwrap();
    assert_eq!(kept[0].state().standing, Standing::Current, "each server for itself");
    drop(two);
    let two = OwnServer::start(port).await;
    golem_test_support::until("it is found again", async || cores(&two).await == Some(99)).await;
    node.set_draining(true).await.unwrap();
    for advertising in &kept {
        let hidden = |state: &AdvertState| state.standing == Standing::Hidden;
        timeout(DEADLINE, advertising.changes().wait_for(hidden)).await.unwrap().unwrap();
    }
    assert!(one.listed().await.is_empty() && two.listed().await.is_empty());
    node.shutdown(false).await;
    for server in [one, two] {
        server.tasks.stop().await;
    }
}
