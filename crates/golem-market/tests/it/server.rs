//! A discovery server in this process, asked over HTTP.

use std::ops::Deref;
use std::sync::Arc;

use golem_market::discovery::Store;
use golem_market::discovery::identity::sign;
use golem_market::discovery::server::{self, ServerConfig};
use golem_service::server::TrustedProxies;
use golem_service::tasks::Tasks;
use golem_test_support::discovery::{ADVERTS, Answer, DiscoveryClient, advert};
use golem_types::Wallet;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// A server that runs, and who asks it.
struct Service {
    _folder: tempfile::TempDir,
    runtime: Runtime,
    client: DiscoveryClient,
}

impl Service {
    /// A server that takes `requests_per_minute` of each address, or any number if that is 0.
    fn start(requests_per_minute: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&folder.path().join("discovery.db")).unwrap());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let config = ServerConfig {
            requests_per_minute,
            signed_only: false,
            trusted_proxies: TrustedProxies::default(),
        };
        // Its tasks end with the runtime.
        runtime.block_on(async { server::start(config, store, listener, &Tasks::new()) });
        Self { _folder: folder, runtime, client: DiscoveryClient::new(url) }
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
fn a_list_is_bounded_and_goes_on_page_by_page() {
    let service = Service::start(0);
    for number in 0..7 {
        assert_eq!(service.post(&format!("p{number}"), &advert(4)).status, 200);
    }
    let mut path = format!("{ADVERTS}?cpu=2&limit=3");
    let mut pages = Vec::new();
    loop {
        pages.push(service.ids(&path));
        let Some(link) = service.get(&path).link else { break };
        let next = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
        path = next.unwrap().to_owned();
        assert!(path.contains("cpu=2") && path.contains("limit=3"), "{path}");
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1]);
    let mut all = pages.concat();
    all.sort();
    assert_eq!(all, ["p0", "p1", "p2", "p3", "p4", "p5", "p6"]);
    let lost = service.get(&format!("{ADVERTS}?after=p3"));
    assert_eq!((lost.status, &lost.body["detail"][0]["loc"]), (422, &json!(["query", "after"])));
}

/// I-07: 1,100 unsigned adverts from 13 addresses, and whose ids come first in any order by id.
#[test]
fn i_07_a_flood_of_adverts_leaves_the_honest_on_the_first_page() {
    let service = Service::start(0);
    let body = advert(4).to_string();
    service.runtime.block_on(async {
        for address in 0..13 {
            let from = std::net::Ipv4Addr::new(127, 1, 0, 1 + address);
            let http = reqwest::Client::builder().local_address(Some(from.into())).build().unwrap();
            for number in 0..85 {
                let request = http.post(format!("{}{ADVERTS}", service.url)).body(body.clone());
                let request = request.header("content-type", "application/json");
                let request = request.header("X-Provider-ID", format!("0x0{address}-{number}"));
                let answer = request.header("X-Provider-Signature", "s").send().await.unwrap();
                assert_eq!(answer.status(), 200);
            }
        }
    });
    assert_eq!(service.post("zz-unsigned", &advert(4)).status, 200);
    assert_eq!(service.signed("POST", ADVERTS, &wallet(), &advert(4)).status, 200);
    let page = service.get(ADVERTS);
    let list = page.body.as_array().unwrap();
    assert_eq!((list.len(), &list[0]["signed"]), (1000, &json!(true)), "the signed one is first");
    assert!(list.iter().any(|advert| advert["provider_id"] == "zz-unsigned"));
    assert!(page.link.is_some());
}

#[test]
fn mistakes_and_limits_are_told_in_the_published_forms() {
    let service = Service::start(100);
    let headers = [("X-Provider-ID", "a"), ("X-Provider-Signature", "s")];
    let refused = service.ask("POST", ADVERTS, &[], b"{}");
    let places: Vec<_> =
        refused.body["detail"].as_array().unwrap().iter().map(|one| one["loc"].clone()).collect();
    assert_eq!(refused.status, 422);
    assert_eq!(
        places,
        [
            json!(["header", "x-provider-id"]),
            json!(["header", "x-provider-signature"]),
            json!(["body", "ip_address"]),
            json!(["body", "country"]),
            json!(["body", "resources"]),
        ]
    );
    let empty = [("X-Provider-ID", ""), ("X-Provider-Signature", "s")];
    let nobody = service.ask("POST", ADVERTS, &empty, advert(1).to_string().as_bytes());
    assert_eq!((nobody.status, &nobody.body["detail"]["code"]), (401, &json!("AUTH_003")));
    let huge = service.ask("POST", ADVERTS, &headers, &vec![b' '; 1 << 20]);
    assert_eq!(huge.status, 413);
    let small = service.get(&format!("{ADVERTS}?cpu=0"));
    assert_eq!((small.status, &small.body["detail"]["code"]), (400, &json!("ADV_002")));
    let odd = service.get(&format!("{ADVERTS}?memory=much"));
    assert_eq!((odd.status, &odd.body["detail"][0]["type"]), (422, &json!("type_error.integer")));
    assert_eq!(service.get("/nowhere").body, json!({ "detail": "Not Found" }));
    let limited = (0..101).map(|_| service.get("/health")).find(|answer| answer.status != 200).unwrap();
    assert_eq!((limited.status, &limited.body["code"]), (429, &json!("RATE_001")), "{}", limited.body);
    assert_eq!(limited.body["message"], "Rate limit exceeded");
}

#[test]
fn who_signs_once_cannot_be_spoken_for_by_others() {
    let service = Service::start(100);
    let wallet = wallet();
    let id = wallet.address().to_string();
    let at = |milliseconds: i64| {
        let mut advert = advert(4);
        advert["timestamp"] = json!(Timestamp::now().as_millisecond() + milliseconds);
        advert
    };
    // Before the first proof, whoever says so.
    assert_eq!(service.post(&id, &advert(2)).body["signed"], false);
    let first = at(0);
    let proven = service.signed("POST", ADVERTS, &wallet, &first);
    assert_eq!((proven.status, &proven.body["signed"]), (200, &json!(true)), "{}", proven.body);
    let code = |answer: Answer| {
        (answer.status, answer.body["detail"]["code"].as_str().unwrap_or_default().to_owned())
    };
    let refused = |code: &str| (401, code.to_owned());
    assert_eq!(code(service.post(&id, &advert(1))), refused("AUTH_002"));
    assert_eq!(code(service.post(&id.to_lowercase(), &advert(1))), refused("AUTH_002"));
    assert_eq!(code(service.signed("POST", ADVERTS, &wallet, &first)), refused("AUTH_005"), "again");
    assert_eq!(code(service.signed("POST", ADVERTS, &wallet, &at(-400_000))), refused("AUTH_005"), "old");
    let stranger = Wallet::from_hex(&"47".repeat(32)).unwrap();
    let body = at(1000).to_string();
    let forged = sign(&stranger, body.as_bytes()).unwrap();
    let headers = [("X-Provider-ID", id.as_str()), ("X-Provider-Signature", &forged)];
    assert_eq!(code(service.ask("POST", ADVERTS, &headers, body.as_bytes())), refused("AUTH_001"));
    let own = format!("{ADVERTS}/{id}");
    assert_eq!(service.get(&own).body["resources"]["cpu"], 4);

    let unsigned = [("X-Provider-ID", id.as_str()), ("X-Provider-Signature", "signature")];
    assert_eq!(code(service.ask("DELETE", &own, &unsigned, b"")), refused("AUTH_002"));
    // An advert's signature is none for taking it off.
    assert_eq!(code(service.signed("DELETE", &own, &wallet, &at(2000))), refused("AUTH_001"));
    let wish = json!({ "remove": id, "timestamp": Timestamp::now().as_millisecond() + 3000 });
    assert_eq!(service.signed("DELETE", &own, &wallet, &wish).status, 200);
    assert!(service.ids(ADVERTS).is_empty());
}

#[test]
fn i_14_pages_may_look_and_nothing_else() {
    let service = Service::start(100);
    let body = advert(4).to_string();
    let own = [("X-Provider-ID", "0xAlice"), ("X-Provider-Signature", "s")];
    let with = |name, text| [own[0], own[1], (name, text)];
    let form = service.ask("POST", ADVERTS, &with("content-type", "text/plain"), body.as_bytes());
    assert_eq!(form.status, 415, "{}", form.body);
    let page = with("origin", "https://evil.example");
    assert_eq!(service.ask("POST", ADVERTS, &page, body.as_bytes()).status, 403);
    assert_eq!(service.post("0xAlice", &advert(4)).status, 200);
    assert_eq!(service.ask("DELETE", &format!("{ADVERTS}/0xAlice"), &page, b"").status, 403);
    assert_eq!(service.ask("GET", ADVERTS, &page[2..], b"").body.as_array().unwrap().len(), 1);
}
