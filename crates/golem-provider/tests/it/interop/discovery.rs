//! Discovery, of which each end is published: the server, the requestor's central driver, and the
//! original provider's advertiser; each with our other end.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use golem_test_support::peers::{DISCOVERY, ORIGINAL};
use golem_test_support::{Home, ports, wait_until};
use serde_json::{Value, json};

use super::table::Table;
use super::world::{World, shown, tail};

const ADVERTS: &str = "/api/v1/advertisements";

/// A process that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The published server on a port of its own, and its address.
fn published(home: &Home) -> (Ends, String) {
    let port = ports(1);
    let mut command = Command::new(DISCOVERY.program());
    command
        .env_clear()
        .env("HOME", home.folder.path())
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("GOLEM_DISCOVERY_HOST", "127.0.0.1")
        .env("GOLEM_DISCOVERY_PORT", port.to_string())
        .env("GOLEM_DISCOVERY_RATE_LIMIT_PER_MINUTE", "10000")
        .current_dir(home.folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let server = Ends(command.spawn().unwrap());
    wait_until("the published server has started", || home.reaches(port));
    (server, format!("http://127.0.0.1:{port}"))
}

/// An HTTP client for tests.
struct Http {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
}

impl Http {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        golem_service::http::install_cryptography();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
        Self { runtime, client }
    }

    /// The status and the JSON of an answer.
    fn ask(&self, method: &str, url: &str, headers: &[(&str, &str)], body: Option<&str>) -> (u16, Value) {
        let mut request = self.client.request(method.parse().unwrap(), url);
        for (name, text) in headers {
            request = request.header(*name, *text);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_owned());
        }
        self.runtime.block_on(async {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
        })
    }

    fn list(&self, server: &str) -> Vec<Value> {
        let (status, list) = self.ask("GET", &format!("{server}{ADVERTS}"), &[], None);
        assert_eq!(status, 200, "{list}");
        list.as_array().unwrap().clone()
    }
}

/// The server that the original's providers use takes our advert, and gives it to renters.
#[test]
fn the_published_server_shows_the_node() {
    let home = Home::new();
    let (_server, url) = published(&home);
    let home = home
        .set("GOLEM_PROVIDER_ADVERTISER_TYPE", "discovery_server")
        .set("GOLEM_PROVIDER_DISCOVERY_URL", &url)
        .set("GOLEM_PROVIDER_MIN_STORAGE_GB", "1")
        .set("GOLEM_PROVIDER_PUBLIC_IP", "203.0.113.7")
        .set("GOLEM_PROVIDER_PRICE_GLM_PER_CORE_MONTH", "25");
    let http = Http::new();
    let mut table = Table::new("golem-vm-discovery 0.1.25, with our node");
    let _node = home.start(&[]);
    table.step("the node is shown", || {
        wait_until("the advert", || !http.list(&url).is_empty());
        let list = http.list(&url);
        let (_, info) = home.http("GET", "/api/v1/provider/info", "");
        // S-017, S-114
        assert_eq!(list[0]["provider_id"], info["provider_id"], "{list:?}");
        assert_eq!(list[0]["ip_address"], "203.0.113.7");
        assert_eq!(list[0]["country"], "SE");
        assert_eq!(list[0]["pricing"]["glm_per_core_month"], 25.0);
        ((), "identity, the given address, prices".to_owned())
    });
    table.step("a rental is told of", || {
        let free = || http.list(&url)[0]["resources"]["cpu"].as_u64().unwrap();
        let before = free();
        home.rent("web-server");
        wait_until("the remainder", || free() == before - 1);
        ((), String::new())
    });
    table.step("the operator sees it", || {
        let market = home.json(&["market", "--json"]);
        assert!(market["markets"][0]["own"].is_object(), "{market}");
        ((), String::new())
    });
    table.step("a draining node is taken off", || {
        assert!(home.run(&["drain", "on"]).status.success());
        wait_until("no advert", || http.list(&url).is_empty());
        ((), String::new())
    });
    table.end();
}

/// What two servers say alike: the status, and of mistakes their place and kind.
fn alike((status, body): (u16, Value)) -> (u16, Value) {
    let told = match &body["detail"] {
        Value::Array(mistakes) => {
            let told: Vec<_> = mistakes.iter().map(|one| json!([one["loc"], one["type"]])).collect();
            json!(told)
        }
        Value::Null => {
            let names = ["provider_id", "ip_address", "country", "resources", "pricing", "status"];
            names.into_iter().map(|name| (name.to_owned(), body[name].clone())).collect()
        }
        coded => coded.clone(),
    };
    (status, told)
}

/// A request: method, path, headers, body.
type Asked<'a> = (&'a str, String, &'a [(&'a str, &'a str)], Option<String>);

/// The service answers as the published one does, to good and to bad.
#[test]
fn the_service_answers_as_the_published_one() {
    let home = Home::new();
    let (_server, published) = published(&home);
    let (_service, ours) = home.discovery_service(&[]);
    let http = Http::new();
    let good = json!({
        "ip_address": "1.2.3.4", "country": "SE", "platform": "x86_64",
        "resources": { "cpu": 4, "memory": 8, "storage": 100 }, "pricing": { "usd_per_core_month": 5.0 },
    });
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        Some(body.to_string())
    };
    let credentials = [("X-Provider-ID", "0xabc"), ("X-Provider-Signature", "signature")];
    let stranger = [("X-Provider-ID", "0xdef"), ("X-Provider-Signature", "signature")];
    let resources =
        |cpu: Value| with("resources", json!({ "cpu": cpu, "memory": 1, "storage": 1, "gpu": 2 }));
    let own = format!("{ADVERTS}/0xabc");
    let filtered = |query: &str| format!("{ADVERTS}?{query}");
    let requests: Vec<Asked<'_>> = vec![
        ("GET", "/health".to_owned(), &[], None),
        ("POST", ADVERTS.to_owned(), &credentials, Some(good.to_string())),
        ("GET", own.clone(), &[], None),
        ("POST", ADVERTS.to_owned(), &[], Some(good.to_string())),
        ("POST", ADVERTS.to_owned(), &credentials[..1], Some("{}".to_owned())),
        (
            "POST",
            ADVERTS.to_owned(),
            &[("X-Provider-ID", ""), ("X-Provider-Signature", "s")],
            Some(good.to_string()),
        ),
        ("POST", ADVERTS.to_owned(), &credentials, Some("{}".to_owned())),
        ("POST", ADVERTS.to_owned(), &credentials, Some("[]".to_owned())),
        ("POST", ADVERTS.to_owned(), &credentials, Some("\"x\"".to_owned())),
        ("POST", ADVERTS.to_owned(), &credentials, Some("null".to_owned())),
        ("POST", ADVERTS.to_owned(), &credentials, None),
        ("POST", ADVERTS.to_owned(), &credentials, with("country", json!("SWE"))),
        ("POST", ADVERTS.to_owned(), &credentials, with("country", json!("S"))),
        ("POST", ADVERTS.to_owned(), &credentials, with("country", Value::Null)),
        ("POST", ADVERTS.to_owned(), &credentials, with("ip_address", json!("localhost"))),
        ("POST", ADVERTS.to_owned(), &credentials, with("ip_address", Value::Null)),
        ("POST", ADVERTS.to_owned(), &credentials, resources(json!(0))),
        ("POST", ADVERTS.to_owned(), &credentials, resources(json!(-3))),
        ("POST", ADVERTS.to_owned(), &credentials, resources(json!("x"))),
        ("POST", ADVERTS.to_owned(), &credentials, resources(json!([]))),
        ("POST", ADVERTS.to_owned(), &credentials, resources(Value::Null)),
        ("POST", ADVERTS.to_owned(), &credentials, resources(json!("4"))),
        ("POST", ADVERTS.to_owned(), &credentials, resources(json!(2.5))),
        ("POST", ADVERTS.to_owned(), &credentials, resources(json!(true))),
        ("POST", ADVERTS.to_owned(), &credentials, with("resources", json!([]))),
        ("POST", ADVERTS.to_owned(), &credentials, with("resources", Value::Null)),
        ("POST", ADVERTS.to_owned(), &credentials, with("pricing", json!("x"))),
        ("POST", ADVERTS.to_owned(), &credentials, with("pricing", json!([]))),
        ("POST", ADVERTS.to_owned(), &credentials, with("pricing", Value::Null)),
        ("POST", ADVERTS.to_owned(), &credentials, with("pricing", json!({ "a": { "b": 1 } }))),
        ("GET", filtered("cpu=0"), &[], None),
        ("GET", filtered("cpu=x&memory=1.5"), &[], None),
        ("GET", filtered("storage="), &[], None),
        ("GET", format!("{ADVERTS}/nobody"), &[], None),
        ("DELETE", own.clone(), &[], None),
        ("DELETE", own.clone(), &stranger, None),
        ("DELETE", own.clone(), &credentials, None),
        ("DELETE", own, &credentials, None),
        ("GET", "/nowhere".to_owned(), &[], None),
        ("PUT", ADVERTS.to_owned(), &[], None),
    ];
    let mut table = Table::new("golem-vm-discovery 0.1.25, beside our service");
    for (method, path, headers, body) in &requests {
        table.step(&format!("{method} {path} {}", body.as_deref().unwrap_or_default()), || {
            let [theirs, ours] = [&published, &ours]
                .map(|server| alike(http.ask(method, &format!("{server}{path}"), headers, body.as_deref())));
            assert_eq!(ours, theirs);
            ((), theirs.0.to_string())
        });
    }
    table.end();
}

/// The published requestor's central driver: with our service it sees the node in its table too, of
/// which the published server's answers make it fail, and it rents.
#[test]
fn the_published_requestor_finds_and_rents_through_our_service() {
    let mut world = World::new();
    let (_service, url) = world.home.discovery_service(&[]);
    for (name, text) in [
        ("GOLEM_PROVIDER_ADVERTISER_TYPE", "discovery_server"),
        ("GOLEM_PROVIDER_DISCOVERY_URL", url.as_str()),
    ] {
        world.home.environment.insert(name.to_owned(), text.to_owned());
    }
    let _node = world.home.start(&[]);
    let http = Http::new();
    wait_until("the advert", || !http.list(&url).is_empty());
    let central = |arguments: &[&str]| {
        let mut command = world.requestor(arguments);
        command
            .env("GOLEM_REQUESTOR_ENVIRONMENT", "production")
            .env("GOLEM_REQUESTOR_DISCOVERY_DRIVER", "central")
            .env("GOLEM_REQUESTOR_DISCOVERY_URL", &url);
        shown(&command.output().unwrap())
    };
    let mut table = Table::new("request-vm-on-golem 0.1.58, central driver, with our service");
    table.step("vm providers --json", || {
        let (succeeded, text) = central(&["vm", "providers", "--json"]);
        // S-017, S-215
        assert!(succeeded && text.contains(&world.provider_id), "{}", tail(&text));
        ((), String::new())
    });
    table.step("vm providers", || {
        let (succeeded, text) =
            central(&["vm", "providers", "--cpu", "1", "--memory", "1", "--storage", "10"]);
        assert!(succeeded && text.contains(&world.provider_id), "{}", tail(&text));
        assert!(!text.contains("provider_name"), "{}", tail(&text));
        ((), "the table, with the name".to_owned())
    });
    table.step("vm providers, of another kind", || {
        let (_, text) = central(&["vm", "providers", "--json", "--cpu", "5000"]);
        assert!(!text.contains(&world.provider_id), "{}", tail(&text));
        ((), String::new())
    });
    table.step("vm create", || {
        let spec = ["--cpu", "1", "--memory", "1", "--storage", "10"];
        let (_, opened) = central(
            &[&["vm", "stream", "open", "--provider-id", &world.provider_id, "--hours", "2"], &spec[..]]
                .concat(),
        );
        let stream =
            opened.split("\"stream_id\": ").nth(1).and_then(|text| text.split([',', '\n', '}']).next());
        let stream = stream.unwrap_or_else(|| panic!("{}", tail(&opened))).trim().to_owned();
        let more = ["vm", "create", "found", "--provider-id", &world.provider_id, "--stream-id", &stream];
        let (_, text) = central(&[&more[..], &spec[..]].concat());
        assert!(text.contains(super::rent::OWN_DEFECT), "{}", tail(&text));
        assert_eq!(world.vm("found")["status"], "running");
        ((), "found, verified, rented".to_owned())
    });
    table.end();
}

/// The original provider's own advertiser, whose look-up of its address, in the internet, is replaced.
const ADVERTISER: &str = "
import asyncio, sys
from provider.discovery.advertiser import DiscoveryServerAdvertiser
class Tracker:
    def on_update(self, call): self.call = call
    def get_available_resources(self): return {'cpu': 6, 'memory': 12, 'storage': 80}
    def _meets_minimum_requirements(self, resources): return True
class Advertiser(DiscoveryServerAdvertiser):
    async def _get_public_ip(self): return '203.0.113.9'
async def main():
    advertiser = Advertiser(Tracker(), sys.argv[1], sys.argv[2])
    await advertiser.initialize()
    await advertiser.post_advertisement()
    await advertiser.stop()
asyncio.run(main())
";

#[test]
fn the_original_providers_advertiser_posts_to_our_service() {
    let home = Home::new();
    let (_service, url) = home.discovery_service(&[]);
    let http = Http::new();
    let id = "0x2222222222222222222222222222222222222222";
    let mut table = Table::new("golem-vm-provider 0.1.63, its advertiser, with our service");
    table.step("health and post", || {
        let output = ORIGINAL
            .python()
            .args(["-c", ADVERTISER, &url, id])
            .env_clear()
            .env("HOME", home.folder.path())
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("GOLEM_PROVIDER_PUBLIC_IP", "127.0.0.1")
            .env("GOLEM_PROVIDER_MULTIPASS_BINARY_PATH", "/bin/true")
            .current_dir(home.folder.path())
            .output()
            .unwrap();
        let (succeeded, text) = shown(&output);
        assert!(succeeded, "{}", tail(&text));
        let list = http.list(&url);
        assert_eq!(list[0]["provider_id"], id, "{list:?} {}", tail(&text));
        assert_eq!(list[0]["ip_address"], "203.0.113.9");
        assert_eq!(list[0]["resources"]["cpu"], 6);
        assert!(list[0]["platform"].is_string(), "{list:?}");
        ((), "with its processor, which the published server drops".to_owned())
    });
    table.end();
}
