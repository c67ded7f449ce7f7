//! Providers that are looked for.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};

use golem_test_support::{Home, own_address, wait_until};
use market_emulator::{Emulator, Protocol};
use serde_json::json;

use super::world::World;

/// The port that every client dials for a provider that it knows by an advert.
const PORT: u16 = 7466;

/// A provider is found by its advert, rented from by its id, and has to be who the advert says.
#[test]
fn a_provider_is_found_on_the_market_and_rented_from_by_its_id() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let market = runtime.block_on(Emulator::start(Protocol::GolemBase, 60_138_453_033)).unwrap();
    let host = own_address(PORT);
    let mut world = World::new();
    world.home = world
        .home
        .set("GOLEM_PROVIDER_HOST", &host.to_string())
        .set("GOLEM_PROVIDER_PUBLIC_IP", &host.to_string())
        .set("GOLEM_PROVIDER_PORT", &PORT.to_string())
        .set("GOLEM_PROVIDER_ADVERTISER_TYPE", "golem_base")
        .set("GOLEM_PROVIDER_GOLEM_BASE_RPC_URL", market.url());
    (world.home.host, world.home.api) = (host, PORT);
    world.renter = world.renter.set("GOLEM_PROVIDER_GOLEM_BASE_RPC_URL", market.url());
    let _node = world.home.start(&["--network", "testnet"]);
    wait_until("the advert", || !market.entities().is_empty());
    let found = world.json(&["providers"]);
    assert_eq!((&found[0]["ip_address"], &found[0]["glm_month"]), (&json!(host), &json!(40.0)), "{found}");
    assert_eq!(world.json(&["providers", "--cpu", "5000"]), json!([]));
    let id = found[0]["provider_id"].as_str().unwrap().to_owned();
    let vm = world.json(&["create", "web", "--provider", &id]);
    assert_eq!((&vm["status"], &vm["provider_id"]), (&json!("running"), &json!(id)), "{vm}");
    world.json(&["destroy", "web"]);
    let other = format!("0x{}", "1".repeat(40));
    let nobody = world.run(&["create", "web", "--provider", &other]);
    let said = Home::show(&nobody);
    assert!(nobody.status.code() == Some(1) && said.contains("no advert of provider 0x1111"), "{said}");
    // M-12: what the market asks is told where somebody decides, and a price far from it is refused whoever agreed.
    let row = |provider: &str, per_core: f64| {
        json!({
            "provider_id": provider, "ip_address": host, "country": "SE",
            "resources": { "cpu": 1, "memory": 1, "storage": 10 },
            "pricing": { "usd_per_core_month": per_core, "usd_per_gb_ram_month": 0, "usd_per_gb_storage_month": 0 },
        })
    };
    for (per_core, is_refused) in [(0.5, true), (7.0, false)] {
        let others = ["1", "2", "3"].map(|digit| row(&format!("0x{}", digit.repeat(40)), per_core));
        let adverts = serde_json::Value::from_iter([row(&id, 8.0)].into_iter().chain(others));
        let (url, server) = serve(adverts.to_string(), 2);
        let opened = world.streams().0;
        let create = world.run(&["create", "web", "--provider", &id, "--discovery", &url]);
        server.join().unwrap();
        let said = Home::show(&create);
        if is_refused {
            let wanted = "it costs 8 USD a month, and other providers ask about 0.5 USD for the same";
            assert!(create.status.code() == Some(1) && said.contains(wanted), "{said}");
            assert_eq!((world.streams().0, world.json(&["list"])), (opened, json!([])), "nothing is paid");
        } else {
            assert!(create.status.success(), "{said}");
            assert!(said.contains("says 8 USD a month; other providers ask about 7 USD"), "{said}");
            world.json(&["destroy", "web"]);
        }
    }
    // Whoever answers at the address has to be who was looked for.
    let advert = json!([{
        "provider_id": other, "ip_address": host, "country": "SE",
        "resources": { "cpu": 1, "memory": 1, "storage": 10 }, "pricing": null,
    }]);
    let (url, server) = serve(advert.to_string(), 1);
    let impostor = world.run(&["create", "web", "--provider", &other, "--discovery", &url]);
    let said = Home::show(&impostor);
    assert!(said.contains(&format!("the provider there is {id}, not {other}")), "{said}");
    server.join().unwrap();
}

/// A provider that is connected to a discovery server is rented from where it says that its API is, whatever port that
/// has.
#[test]
fn a_provider_is_found_by_web_socket_and_rented_from_at_its_endpoint() {
    let service = Home::new();
    let (_running, url) = service.discovery_service(&[]);
    let socket = format!("{}/api/v1/discovery/providers", url.replace("http", "ws"));
    let mut world = World::new();
    world.home = world
        .home
        .set("GOLEM_ENVIRONMENT", "development")
        .set("GOLEM_PROVIDER_ADVERTISERS", "websocket")
        .set("GOLEM_PROVIDER_DISCOVERY_WS_URL", &socket);
    let node = world.home.start(&[]);
    let providers = || world.json(&["providers", "--discovery", &socket]);
    wait_until("it is shown", || providers()[0].is_object());
    let found = providers();
    let id = found[0]["provider_id"].as_str().unwrap().to_owned();
    assert_eq!(found[0]["endpoint_url"], format!("http://127.0.0.1:{}", world.home.api));
    let vm = world.json(&["create", "web", "--provider", &id, "--discovery", &socket]);
    assert_eq!((&vm["status"], &vm["provider_id"]), (&json!("running"), &json!(id)), "{vm}");
    world.json(&["destroy", "web"]);
    drop(node);
    wait_until("it is gone", || providers() == json!([]));
}

/// A discovery server that answers so many questions.
fn serve(answer: String, questions: u32) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        for _ in 0..questions {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 4096];
            let count = stream.read(&mut asked).unwrap();
            let line = String::from_utf8_lossy(&asked[..count]).into_owned();
            assert!(line.starts_with("GET /api/v1/advertisements?cpu="), "{line}");
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
                answer.len()
            )
            .unwrap();
        }
    });
    (url, server)
}

/// What a discovery server says is shown, and what is wrong with it is said.
#[test]
fn a_discovery_server_is_asked_where_one_is_named() {
    let renter = Home::bare();
    let ask = |url: &str| renter.run(&["rent", "providers", "--discovery", url, "--cpu", "2"]);
    let row = json!({
        "provider_id": "0xAbc", "ip_address": "192.0.2.9", "country": "SE", "resources": { "cpu": 4, "memory": 8, "storage": 90 },
        "pricing": { "usd_per_core_month": 5, "usd_per_gb_ram_month": 2, "usd_per_gb_storage_month": 0.1 },
    });
    let (url, server) = serve(json!([row, { "provider_id": 5 }]).to_string(), 1);
    insta::assert_snapshot!(Home::show(&ask(&url)));
    server.join().unwrap();
    let (url, server) = serve("<html>".to_owned(), 1);
    let said = Home::show(&ask(&url));
    assert!(said.contains("the discovery server's answer makes no sense"), "{said}");
    server.join().unwrap();
    let said = Home::show(&ask("http://127.0.0.1:1"));
    assert!(said.contains("the discovery server does not answer"), "{said}");
}
