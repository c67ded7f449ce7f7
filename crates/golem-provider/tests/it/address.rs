//! The address that renters are told, as the true binary finds it.

use golem_test_support::{Feed, Home, wait_until};
use market_emulator::DiscoveryServer;
use serde_json::Value;

/// A home whose node asks `echoes` for its address, every second.
fn home(echoes: [&Feed; 2]) -> Home {
    Home::new()
        // What a rental leaves on a small disk is still told of.
        .set("GOLEM_PROVIDER_MIN_STORAGE_GB", "1")
        .set("GOLEM_PROVIDER_PUBLIC_IP", "auto")
        .set("GOLEM_PROVIDER_PUBLIC_IP_SOURCES", &format!("{},{}", echoes[0].url, echoes[1].url))
        .set("GOLEM_PROVIDER_PUBLIC_IP_INTERVAL_SECONDS", "1")
}

fn told(home: &Home) -> Value {
    home.http("GET", "/api/v1/provider/info", "").1["ip_address"].clone()
}

/// S-113: agreed by two, told everywhere, and followed.
#[test]
fn s_113_the_public_address_is_found_followed_and_advertised() {
    let (one, two) = (Feed::start("203.0.113.7"), Feed::start(r#"{"ip":"203.0.113.7"}"#));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.block_on(DiscoveryServer::start()).unwrap();
    let home = home([&one, &two])
        .set("GOLEM_PROVIDER_ADVERTISER_TYPE", "discovery_server")
        .set("GOLEM_PROVIDER_DISCOVERY_URL", server.url());
    let _node = home.start(&[]);
    let advertised = || server.adverts().into_values().next().map(|advert| advert["ip_address"].clone());
    wait_until("the address is advertised", || advertised().is_some_and(|address| address == "203.0.113.7"));
    assert_eq!(told(&home), "203.0.113.7");
    let id = home.rent("web-server");
    one.say("203.0.113.8");
    two.say("203.0.113.8");
    wait_until("the new address is told", || told(&home) == "203.0.113.8");
    wait_until("and advertised", || advertised().is_some_and(|address| address == "203.0.113.8"));
    let (_, access) = home.http("GET", &format!("/api/v1/vms/{id}/access"), "");
    assert_eq!(access["ssh_host"], "203.0.113.8");
    // Servers that die or lie leave it as it is.
    one.say("<html>");
    two.say("10.0.0.1");
    let asked = one.asked();
    wait_until("they were asked again", || one.asked() > asked + 1);
    assert_eq!(told(&home), "203.0.113.8");
}

/// Without an address nobody is sent anywhere, and the operator reads why, and what mends it.
#[test]
fn an_address_that_is_not_known_is_never_advertised() {
    let (one, two) = (Feed::start("192.168.1.5"), Feed::start("192.168.1.5"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.block_on(DiscoveryServer::start()).unwrap();
    let home = home([&one, &two])
        .set("GOLEM_PROVIDER_ADVERTISER_TYPE", "discovery_server")
        .set("GOLEM_PROVIDER_DISCOVERY_URL", server.url());
    let mut node = home.start(&[]);
    node.says("the node is not offered: its public address is not known");
    let warning = node.seen.iter().find(|line| line.contains("is not offered")).unwrap();
    assert!(warning.contains("192.168.1.5, which is not globally routable"), "{warning}");
    assert!(warning.contains("fix: set GOLEM_PROVIDER_PUBLIC_IP"), "{warning}");
    let asked = one.asked();
    wait_until("they were asked again", || one.asked() > asked + 1);
    assert!(server.adverts().is_empty());
    // Who asks the node itself came by some way already.
    assert_eq!(told(&home), "127.0.0.1");
    home.rent("web-server");

    let given = self::home([&one, &two]).set("GOLEM_PROVIDER_PUBLIC_IP", "192.168.1.5");
    let mut node = given.start(&[]);
    node.says("renters are told an address that the internet does not reach; fix:");
    assert_eq!(told(&given), "192.168.1.5", "an operator may rent out to a network of their own");
}

#[test]
fn one_server_is_not_enough_to_decide() {
    let home = Home::new().set("GOLEM_PROVIDER_PUBLIC_IP_SOURCES", "http://127.0.0.1:1/");
    let output = home.run(&["start"]);
    assert_eq!(output.status.code(), Some(2), "{}", Home::show(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("two have to agree"), "{}", Home::show(&output));
}
