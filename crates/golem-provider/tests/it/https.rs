//! https of the true binary: with a certificate that is given, and with one of a true ACME authority (Debian's Pebble).

use std::os::unix::fs::PermissionsExt;

use golem_service::http::install_cryptography;
use golem_test_support::pebble::{Pebble, PebbleConfig, certificate, pebble_folder};
use golem_test_support::{Home, ports, wait_until};
use rustix::process::Signal;
use serde_json::Value;

/// Asks over https, whatever the certificate: its status and its body.
fn ask(port: u16, method: &str, path: &str) -> (u16, Value) {
    install_cryptography();
    let client = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build().unwrap();
    let request = client
        .request(method.parse().unwrap(), format!("https://127.0.0.1:{port}{path}"))
        .header("content-type", "application/json")
        .body("{}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    })
}

/// What a page of another site is told first on the live socket of the VM `id`, over https.
fn live(port: u16, id: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let client = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build().unwrap();
    let request = client
        .get(format!("https://127.0.0.1:{port}/api/v1/vms/{id}/live"))
        .header("origin", "https://rent.example")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let told = async {
        let mut socket = request.send().await.unwrap().upgrade().await.unwrap();
        let auth = br#"{"type":"auth","token":""}"#;
        // A text in one frame, whose mask is zero.
        let frame = [&[0x81, 0x80 | u8::try_from(auth.len()).unwrap(), 0, 0, 0, 0], &auth[..]].concat();
        socket.write_all(&frame).await.unwrap();
        let mut told = Vec::new();
        while !String::from_utf8_lossy(&told).contains(r#""snapshots":"#) {
            assert!(socket.read_buf(&mut told).await.unwrap() > 0, "{}", String::from_utf8_lossy(&told));
        }
        String::from_utf8_lossy(&told).into_owned()
    };
    runtime.block_on(async { tokio::time::timeout(std::time::Duration::from_secs(60), told).await }).unwrap()
}

fn https(home: &Home) -> Value {
    home.json(&["status", "--json"])["https"].clone()
}

/// Waits until the node has the endpoint of `port`.
fn has_endpoint(home: &Home, port: u16) {
    let wanted = format!("https://127.0.0.1:{port}");
    wait_until("the endpoint", || https(home)["endpoint"] == wanted);
}

/// A home with a certificate until 2090.
fn with_certificate(port: u16) -> Home {
    let home = Home::new();
    let (chain, key) = (home.folder.path().join("cert.pem"), home.folder.path().join("key.pem"));
    let pem = certificate(&["127.0.0.1"], 2020, 2090);
    std::fs::write(&chain, pem.certificate).unwrap();
    std::fs::write(&key, pem.key).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    home.set("GOLEM_PROVIDER_TLS_PORT", &port.to_string())
        .set("GOLEM_PROVIDER_TLS_CERT", &chain.display().to_string())
        .set("GOLEM_PROVIDER_TLS_KEY", "key.pem")
}

#[test]
fn renters_are_served_over_https_beside_the_plain_port_and_nobody_else_is() {
    let port = ports(1);
    let home = with_certificate(port)
        .set("GOLEM_PROVIDER_API_AUTH", "open")
        .set("GOLEM_PROVIDER_VERIFY_PEERS", "true");
    let node = home.start(&[]);
    has_endpoint(&home, port);
    assert_eq!(ask(port, "GET", "/health").0, 200);
    let info = ask(port, "GET", "/api/v1/provider/info");
    assert_eq!(
        (200, info.1["endpoint_url"].as_str().unwrap()),
        (info.0, &*format!("https://127.0.0.1:{port}"))
    );
    assert_eq!(
        home.http("GET", "/api/v1/provider/info", "").1,
        info.1,
        "the plain port stays for old clients"
    );
    for (method, path) in [
        ("GET", "/api/v1/vms"),
        ("GET", "/api/v1/images"),
        ("POST", "/api/v1/quotes"),
        ("POST", "/api/v1/payments/lease-quotes"),
        ("POST", "/api/v1/auth/requestor-sessions"),
    ] {
        assert_ne!(ask(port, method, path).0, 404, "{path} is there");
    }
    let id = home.rent("web-server");
    let told = live(port, &id);
    assert!(told.contains(r#""protocol":"vm-live.v1""#) && told.contains(&id), "{told}");
    for (method, path) in [
        ("GET", "/api/v1/summary"),
        ("POST", "/api/v1/admin/shutdown"),
        ("GET", "/port-check"),
        ("POST", "/check-ports"),
        ("GET", "/v1/summary"),
    ] {
        assert_eq!(ask(port, method, path).0, 404, "{path} is for others");
    }
    assert_eq!(home.http("GET", "/api/v1/summary", "").0, 200);
    let shown = String::from_utf8(home.run(&["status"]).stdout).unwrap();
    assert!(shown.contains(&format!("https           \u{2705} https://127.0.0.1:{port}")), "{shown}");
    assert!(shown.contains("  Certificate   for 127.0.0.1 by "), "{shown}");
    drop(node);
    // A key that others can read is not used, and the fix is told; the node starts all the same.
    let key = home.folder.path().join("key.pem");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut node = home.start(&[]);
    node.says(&format!("fix: chmod 600 {}", key.display()));
    let shown = String::from_utf8(home.run(&["status"]).stdout).unwrap();
    assert!(shown.contains("other users can read it (644)") && shown.contains("chmod 600 "), "{shown}");
    assert_eq!(home.http("GET", "/api/v1/provider/info", "").1.get("endpoint_url"), None);
    assert_eq!(home.json(&["status", "--json"])["https"]["problems"][0]["cause"], "key-not-private");
}

#[test]
fn a_certificate_of_an_authority_outlives_a_kill_and_a_start_without_that_authority() {
    let Some(folder) = pebble_folder() else { return };
    let (port, tls) = (ports(1), ports(1));
    let home = Home::new().obtains_from_pebble(folder.path(), port, tls);
    let config = PebbleConfig { port, http: ports(1), tls, life: 160 * 3600 };
    let pebble = Pebble::start(folder.path(), config);
    let mut node = home.start(&[]);
    has_endpoint(&home, tls);
    let certificate = https(&home)["certificate"].clone();
    assert!(certificate["issuer"].as_str().unwrap().contains("Pebble"), "{certificate}");
    assert_eq!(ask(tls, "GET", "/health").0, 200);
    drop(pebble);
    node.signal(Signal::KILL);
    node.end();
    let _node = home.start(&[]);
    has_endpoint(&home, tls);
    assert_eq!(https(&home)["certificate"], certificate);
}
