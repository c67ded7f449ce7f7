//! What people read fits their terminal: the true binary on terminals of 40, 80 and 120 columns, with colours and without,
//! asking a node that always says the same.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;

use golem_test_support::Home;
use golem_test_support::healthy_node::{self, port};
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::terminal::written;

/// What is said at a path, without what is after its `?`.
type Answers = BTreeMap<&'static str, Value>;

/// Says what `answers` have for the path that is asked for; nothing else is there.
fn answer(mut stream: impl Read + Write, answers: &Answers) {
    let (mut request, mut part) = (String::new(), [0; 1024]);
    while !request.contains("\r\n\r\n") {
        match stream.read(&mut part) {
            Ok(count @ 1..) => request.push_str(&String::from_utf8_lossy(&part[..count])),
            _ => return,
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let found = answers.get(path.split('?').next().unwrap_or_default());
    let status = if found.is_some() { "200 OK" } else { "404 Not Found" };
    let body = found.map_or_else(|| json!({ "detail": "Not Found" }).to_string(), Value::to_string);
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: application/json");
    let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
}

/// A home whose node says `answers`, until the test's process ends.
pub(crate) fn with_node(answers: Answers) -> Home {
    let home = Home::new();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(home.data()).unwrap();
    let listener = UnixListener::bind(home.data().join("operator.sock")).unwrap();
    std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, &answers)));
    home
}

/// What `arguments` write, at each width, without colours and then with them.
fn at_each_width(home: &Home, arguments: &[&str]) -> String {
    let mut all = String::new();
    for columns in [40, 80, 120] {
        // Without the line that goes on while somebody is asked.
        let answer = |more: &[_]| {
            let environment = [&[("TERM", "xterm-256color")][..], more].concat();
            let all = written(home, arguments, columns, &environment);
            all.rsplit("\x1b[2K").next().unwrap_or_default().to_owned()
        };
        let plain = answer(&[("NO_COLOR", "1")]);
        assert!(!plain.contains('\x1b'), "{arguments:?}: {plain:?}");
        for line in plain.lines() {
            let is_one_word = line.split_whitespace().count() <= 1;
            let width = console::measure_text_width(line);
            assert!(width <= usize::from(columns) || is_one_word, "{columns}: {line:?} of\n{plain}");
        }
        all += &format!("=== {columns} columns\n{plain}");
        let coloured = answer(&[]);
        assert_eq!(console::strip_ansi_codes(&coloured), plain, "colours change no layout");
        if coloured != plain {
            all += &format!("=== {columns} columns, coloured\n{}", coloured.replace('\x1b', "␛"));
        }
    }
    all
}

fn vms() -> Value {
    let named = |name: &str, port: u16, more: Value| {
        let mut vm = healthy_node::vm(name, port);
        vm.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        vm
    };
    json!([
        named("web", 50800, json!({})),
        named("a-database-with-a-long-name", 50801, json!({ "status": "stopped", "stream_id": null })),
        named("again", 50802, json!({ "status": "creating", "ip_address": "10.0.0.2" })),
    ])
}

/// U-10, H-17
#[test]
fn u_10_vms_fit_and_one_that_boots_again_is_not_being_created() {
    let web = vms()[0].clone();
    let home = with_node(Answers::from([("/v1/vms", vms()), ("/v1/vms/web", web)]));
    let shown = at_each_width(&home, &["vms", "list"]);
    // U-15
    assert!(shown.contains("booting") && !shown.contains("creating"), "{shown}");
    assert_snapshot!(shown);
    let ids = home.run(&["vms", "list", "--quiet"]);
    let ids = String::from_utf8(ids.stdout).unwrap();
    assert_eq!(ids.lines().count(), 3);
    assert!(ids.starts_with("golem-web-20260102-030405-aaaaaaaaaaaaaaaa\n"), "{ids}");
    assert_snapshot!(home.snapshot(&home.run(&["vms", "list", "--format", "csv"])));
    assert_snapshot!(home.snapshot(&home.run(&["vms", "show", "web", "--format", "yaml"])));
}

fn streams() -> Value {
    let stream = |id: u64, name: &str, reason: &str| {
        json!({
            "name": name, "status": "running", "unpaid_since": null, "network": "polygon", "symbol": "GLM",
            "decimals": 18,
            "stream": {
                "vm_id": format!("golem-{name}-20260102-030405-aaaaaaaaaaaaaaaa"), "stream_id": id,
                "verified": reason == "ok", "reason": reason,
                "chain": {
                    "token": "0x0B220b82F3eA3B7F6d9A1D8ab58930C064A2b5Bf",
                    "sender": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
                    "recipient": "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
                    "startTime": 1_790_000_000, "stopTime": 1_790_086_400, "ratePerSecond": 1_000_000_000,
                    "deposit": 86_400_000_000_000_u64, "withdrawn": 5, "halted": false,
                },
                "computed": {
                    "now": 1_790_000_100, "remaining_seconds": 86_300, "vested_wei": 100_000_000_000_u64,
                    "withdrawable_wei": 99_999_999_995_u64,
                },
            },
        })
    };
    json!({
        "network": "polygon", "symbol": "GLM", "decimals": 18, "usd_per_coin": "0.25", "stale": null,
        "streams": [stream(7, "web", "ok"), stream(1_000_000, "a-database-with-a-long-name", "the stream pays another")],
    })
}

#[test]
fn u_10_streams_fit() {
    let home = with_node(Answers::from([("/v1/streams", streams())]));
    assert_snapshot!(at_each_width(&home, &["streams", "list"]));
    assert_snapshot!(home.snapshot(&home.run(&["streams", "list", "--format", "csv"])));
}

#[test]
fn u_10_earnings_fit() {
    let entry = |id: u64, day: &str, vm: &str, wei: u64| {
        json!({
            "id": id, "at": format!("2026-01-{day}T10:00:00Z"), "kind": "withdrawn",
            "vm_id": format!("golem-{vm}-20260102-030405-aaaaaaaaaaaaaaaa"),
            "renter": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "stream_id": id, "chain_id": 137,
            "contract": "0x5fbdb2315678afecb367f032d93f642f64180aa3", "amount_wei": wei,
            "token": "0x0b220b82f3ea3b7f6d9a1d8ab58930c064a2b5bf", "symbol": "GLM", "decimals": 18, "debit": "wallet",
            "credit": "receivable", "source": "event", "transaction": format!("0x{id:064x}"), "log_index": 0, "block": id,
            "pending": false, "usd_per_coin": "0.25", "reverses": null, "reversed": false,
        })
    };
    let mut empty = streams();
    empty["streams"] = json!([]);
    let entries =
        [entry(1, "02", "web", 5_000_000_000_000_000_000), entry(2, "03", "a-database-with-a-long-name", 1)];
    let home = with_node(Answers::from([("/v1/streams", empty), ("/v1/entries", json!(entries))]));
    assert_snapshot!(at_each_width(&home, &["earnings"]));
    let [csv, same] =
        [&["--format", "csv"][..], &["--csv"]].map(|form| home.run(&[&["earnings"], form].concat()).stdout);
    assert_eq!(csv, same, "as documented");
}

#[test]
fn u_10_ports_fit() {
    let mut report = healthy_node::ports_report();
    report["ssh"][3] = port(50803, &json!("unreachable"), &json!("free"));
    report["ssh"][4] = port(50804, &json!("unknown"), &json!("held"));
    report["problems"] = json!([{
        "cause": "not-forwarded", "critical": true, "protocol": "tcp", "ports": "50803", "what": "TCP port 50803 is not reachable",
        "impact": "a renter who gets it cannot log in", "fixes": ["forward TCP port 50803 on the router to this machine"],
        "help": "docs/troubleshooting.md#ports",
    }]);
    let home = with_node(Answers::from([("/v1/ports", report)]));
    assert_snapshot!(at_each_width(&home, &["ports", "list"]));
}

/// Names of others, in signs that take two columns.
#[test]
fn u_10_the_market_fits_whatever_others_are_called() {
    let advert = |id: u8, name: &str, usd: f64| {
        json!({
            "provider_id": format!("0x{id:040x}"), "provider_name": name, "ip_address": "203.0.113.7", "country": "JP",
            "platform": "x86_64", "resources": { "cpu": 8, "memory": 16, "storage": 200 },
            "pricing": { "usd_per_core_month": usd, "usd_per_gb_ram_month": 1.0, "usd_per_gb_storage_month": 0.1,
                         "glm_per_core_month": usd, "glm_per_gb_ram_month": 1.0, "glm_per_gb_storage_month": 0.1 },
        })
    };
    let adverts = json!([
        advert(1, "日本語のノードの名前は長い", 3.0),
        advert(2, "🚀 rocket 🚀", 5.0),
        advert(3, "plain", 4.0),
    ]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers = Answers::from([("/api/v1/advertisements", adverts)]);
    std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, &answers)));
    let home = Home::new()
        .set("GOLEM_PROVIDER_ADVERTISER_TYPE", "discovery_server")
        .set("GOLEM_PROVIDER_DISCOVERY_URL", &format!("http://127.0.0.1:{port}"));
    let shown = at_each_width(&home, &["market"]);
    assert_snapshot!(shown.replace(&port.to_string(), "[ONE]"));
    let names = home.run(&["market", "--quiet"]).stdout;
    assert_eq!(String::from_utf8(names).unwrap().lines().count(), 3);
    assert_snapshot!(
        home.snapshot(&home.run(&["market", "--format", "csv"])).replace(&port.to_string(), "[ONE]")
    );
}

#[test]
fn u_10_settings_and_help_fit() {
    let home = Home::bare()
        .set("GOLEM_PROVIDER_DATA_DIR", "/srv/golem")
        .set("GOLEM_PROVIDER_NAME", "日本語のノード 🚀");
    assert_snapshot!(at_each_width(&home, &["config", "list", "name"]));
    assert_snapshot!(at_each_width(&home, &["--help"]));
}
