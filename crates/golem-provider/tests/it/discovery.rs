//! The discovery service as it is run: the true binary, asked over HTTP.

use std::ops::Deref;

use golem_market::discovery::identity::sign;
use golem_test_support::discovery::{ADVERTS, Answer, DiscoveryClient, advert};
use golem_test_support::{Home, Running, wait_until};
use golem_types::Wallet;
use rustix::process::Signal;
use serde_json::{Value, json};

/// A service that runs, and who asks it.
struct Service {
    home: Home,
    running: Running,
    client: DiscoveryClient,
}

impl Service {
    fn start(arguments: &[&str]) -> Self {
        Self::of(Home::new(), arguments)
    }

    fn of(home: Home, arguments: &[&str]) -> Self {
        let (running, url) = home.discovery_service(arguments);
        Self { home, running, client: DiscoveryClient::new(url) }
    }

    /// Asks with the signature of `wallet` over `body`.
    fn signed(&self, method: &str, path: &str, wallet: &Wallet, body: &Value) -> Answer {
        let body = body.to_string();
        let signature = sign(wallet, body.as_bytes()).unwrap();
        self.client.provider(method, path, &wallet.address().to_string(), &signature, &body)
    }
}

impl Deref for Service {
    type Target = DiscoveryClient;

    fn deref(&self) -> &DiscoveryClient {
        &self.client
    }
}

fn wallet() -> Wallet {
    Wallet::from_hex(&"46".repeat(32)).unwrap()
}

#[test]
fn adverts_are_taken_found_and_kept_over_a_restart() {
    let mut service = Service::start(&[]);
    assert_eq!(service.get("/health").body, json!({ "status": "healthy" }));
    let posted = service.post("0xAlice", &advert(4));
    assert_eq!(posted.status, 200, "{}", posted.body);
    for (name, value) in [
        ("provider_id", json!("0xAlice")),
        ("provider_name", Value::Null),
        ("ip_address", json!("203.0.113.7")),
        ("country", json!("SE")),
        ("platform", json!("x86_64")),
        ("resources", json!({ "cpu": 4, "memory": 8, "storage": 100 })),
        ("pricing", json!({ "usd_per_core_month": 5.0, "glm_per_core_month": 25.0 })),
        ("signed", json!(false)),
    ] {
        assert_eq!(posted.body[name], value, "{name}");
    }
    let mut other = advert(1);
    other["platform"] = json!("arm64");
    other["country"] = json!("DE");
    other["name"] = json!("Bob's");
    other["ip_address"] = json!("2001:db8::1");
    assert_eq!(service.post("0xBob", &other).body["provider_name"], "Bob's");
    for (query, found) in [
        ("", &["0xAlice", "0xBob"][..]),
        ("?cpu=2", &["0xAlice"]),
        ("?cpu=2&memory=8&storage=100&country=SE&platform=x86_64", &["0xAlice"]),
        ("?platform=arm64", &["0xBob"]),
        ("?country=DE&cpu=2", &[]),
        ("?storage=99999999999999999999", &[]),
    ] {
        assert_eq!(service.ids(&format!("{ADVERTS}{query}")), found, "{query}");
    }

    service.running.signal(Signal::TERM);
    assert_eq!(service.running.end(), Some(0));
    let service = Service::of(service.home, &[]);
    assert_eq!(service.ids(ADVERTS), ["0xAlice", "0xBob"]);
    let bob = [("X-Provider-ID", "0xBob"), ("X-Provider-Signature", "s")];
    let alice = format!("{ADVERTS}/0xAlice");
    let refused = service.ask("DELETE", &alice, &bob, b"");
    assert_eq!((refused.status, &refused.body["detail"]["code"]), (401, &json!("AUTH_004")));
    let own = [("X-Provider-ID", "0xAlice"), ("X-Provider-Signature", "s")];
    assert_eq!(service.ask("DELETE", &alice, &own, b"").body, json!({ "status": "success" }));
    let gone = service.ask("DELETE", &alice, &own, b"");
    assert_eq!((gone.status, &gone.body["detail"]["code"]), (404, &json!("ADV_004")));
    assert_eq!(service.get(&alice).status, 404);
}

#[test]
fn a_service_can_demand_signatures() {
    let service = Service::start(&["--require-signatures"]);
    let refused = service.post("0xAlice", &advert(4));
    assert_eq!((refused.status, &refused.body["detail"]["code"]), (401, &json!("AUTH_002")));
    assert_eq!(service.signed("POST", ADVERTS, &wallet(), &advert(4)).body["signed"], true);
}

#[test]
fn an_address_may_ask_as_often_as_is_set() {
    // A hundred a minute come back meanwhile; whoever asks on and on is refused all the same.
    let refused = |service: &Service, most| (0..most).any(|_| service.get("/health").status == 429);
    assert!(refused(&Service::start(&[]), 1000));
    let open = Service::of(Home::new().set("GOLEM_DISCOVERY_RATE_LIMIT_PER_MINUTE", "0"), &[]);
    assert!(!refused(&open, 150));
}

/// The node advertises on it, and its operator sees what renters see.
#[test]
fn a_node_is_found_on_the_service_and_its_operator_sees_it() {
    let service = Service::start(&[]);
    let home = Home::new()
        .set("GOLEM_PROVIDER_ADVERTISER_TYPE", "discovery_server")
        .set("GOLEM_PROVIDER_DISCOVERY_URL", &service.url)
        .set("GOLEM_PROVIDER_NAME", "my node")
        .set("GOLEM_PROVIDER_PUBLIC_IP", "203.0.113.7");
    let mut node = home.start(&[]);
    wait_until("the advert", || !service.ids(ADVERTS).is_empty());
    let (_, info) = home.http("GET", "/api/v1/provider/info", "");
    let list = service.get(ADVERTS).body;
    // S-114
    assert_eq!(list[0]["provider_id"], info["provider_id"], "{list}");
    // S-103
    assert_eq!((&list[0]["signed"], &list[0]["provider_name"]), (&json!(true), &json!("my node")));
    let mut cheaper = advert(8);
    cheaper["pricing"] = json!({
        "usd_per_core_month": 1.0, "usd_per_gb_ram_month": 1.0, "usd_per_gb_storage_month": 0.1,
    });
    assert_eq!(service.post("0xBob", &cheaper).status, 200);

    let seen = home.json(&["market", "--json"]);
    let market = &seen["markets"][0];
    assert_eq!((&market["market"], &market["place"]), (&json!("discovery_server"), &json!(service.url)));
    assert_eq!(market["own"]["provider_id"], info["provider_id"], "{market}");
    assert!(market["own"]["lapses_at"].is_string());
    assert_eq!(market["usd_month"]["own"], 20.0);
    assert_eq!(
        (&market["usd_month"]["lowest"], &market["usd_month"]["cheaper_percent"]),
        (&json!(8.0), &json!(100))
    );
    let text = home.run(&["market"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    // S-256
    assert!(text.contains("✅ renters find this node") && text.contains("100 % of 1 ask less"), "{text}");

    assert!(home.run(&["stop", "--withdraw-advert"]).status.success());
    assert_eq!(node.end(), Some(0));
    assert_eq!(service.ids(ADVERTS), ["0xBob"]);
}

/// A node in development is found by WebSocket as long as it runs, by those who rent and by its operator; who has no
/// endpoint is told why it is not.
#[test]
fn a_node_is_found_by_web_socket_while_it_runs() {
    let service = Service::start(&[]);
    let socket = |path: &str| format!("{}/api/v1/discovery/{path}", service.url.replace("http", "ws"));
    let dead = "ws://127.0.0.1:1/api/v1/discovery/providers";
    let home = || {
        Home::new()
            .set("GOLEM_PROVIDER_ADVERTISERS", "websocket,http")
            .set("GOLEM_PROVIDER_DISCOVERY_WS_URL", &format!("{},{dead}", socket("providers")))
            .set("GOLEM_PROVIDER_DISCOVERY_URL", &service.url)
            .set("GOLEM_PROVIDER_PUBLIC_IP", "203.0.113.7")
    };
    let renter = Home::bare();
    let found = |url: &str| Home::bare().json(&["rent", "providers", "--discovery", url, "--json"]);
    let pages = home().set("GOLEM_ENVIRONMENT", "development");
    let mut node = pages.start(&[]);
    wait_until("it is found", || {
        found(&socket("requestors")).as_array().is_some_and(|list| !list.is_empty())
    });
    let (_, info) = pages.http("GET", "/api/v1/provider/info", "");
    let list = found(&socket("providers"));
    assert_eq!(
        (&list[0]["provider_id"], list.as_array().unwrap().len()),
        (&info["provider_id"], 1),
        "{list}"
    );
    assert_eq!(list[0]["endpoint_url"], format!("http://203.0.113.7:{}", pages.api), "{list}");
    // Without --discovery the servers of the settings are asked, and what could not be asked is told.
    let renter = renter
        .set("GOLEM_PROVIDER_DISCOVERY_WS_URL", &format!("{dead},{}", socket("providers")))
        .set("GOLEM_PROVIDER_GOLEM_BASE_RPC_URL", "http://127.0.0.1:1");
    let everywhere = renter.run(&["rent", "providers", "--json"]);
    let said = Home::show(&everywhere);
    assert_eq!(serde_json::from_slice::<Value>(&everywhere.stdout).unwrap(), list, "{said}");
    for part in [&format!("{dead} cannot be asked"), "the market network ethwarsaw.holesky cannot be asked"] {
        assert!(said.contains(part), "{said}");
    }

    let adverts = || pages.json(&["status", "--json"])["adverts"].clone();
    wait_until("all is known of each", || {
        let adverts = adverts();
        let standing = |at: usize| adverts[at]["standing"].as_str().unwrap_or_default().to_owned();
        [standing(0), standing(1), standing(2)] == ["current", "problem", "current"]
    });
    let adverts = adverts();
    assert_eq!((&adverts[0]["market"], &adverts[0]["connected"]), (&json!("websocket"), &json!(true)));
    assert_eq!((&adverts[1]["place"], &adverts[1]["connected"]), (&json!(dead), &json!(false)));
    assert!(adverts[1]["problem"].as_str().unwrap().contains("the server does not answer"), "{adverts}");
    assert_eq!((&adverts[2]["market"], &adverts[2]["connected"]), (&json!("discovery_server"), &Value::Null));
    let text = pages.run(&["status"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains(&format!("✅ renters find the node on {}", socket("providers"))), "{text}");
    assert!(text.contains(&format!("❌ not connected to {dead}: see above")), "{text}");
    let seen = pages.run(&["market", "--json"]);
    assert_eq!(seen.status.code(), Some(1), "one of them cannot be asked");
    let seen: Value = serde_json::from_slice(&seen.stdout).unwrap();
    assert_eq!(seen["markets"][0]["own"]["provider_id"], info["provider_id"], "{seen}");
    node.signal(Signal::TERM);
    assert_eq!(node.end(), Some(0));
    assert_eq!(found(&socket("requestors")), json!([]), "it said that it ends");

    // Nothing is set: the profile of the network on which rentals are paid says where renters look.
    let mut plain = home();
    for variable in ["ADVERTISERS", "ADVERTISER_TYPE", "DISCOVERY_WS_URL"] {
        plain.environment.remove(&format!("GOLEM_PROVIDER_{variable}"));
    }
    let folder = plain.data().join("networks");
    std::fs::create_dir_all(&folder).unwrap();
    let profile = format!("chain_id = 5\ndiscovery_urls = [\"{}\"]", socket("providers"));
    std::fs::write(folder.join("mine.toml"), profile).unwrap();
    let plain = plain.set("GOLEM_PROVIDER_PAYMENTS_NETWORK", "mine");
    let _node = plain.start(&[]);
    wait_until("why it is not shown", || {
        let advert = plain.json(&["status", "--json"])["adverts"][0].clone();
        advert["problem"].as_str().is_some_and(|problem| problem.contains("no https endpoint"))
    });
    let adverts = plain.json(&["status", "--json"])["adverts"].clone();
    assert_eq!((adverts.as_array().unwrap().len(), &adverts[0]["place"]), (1, &json!(socket("providers"))));
    assert_eq!(found(&socket("requestors")), json!([]));
}
