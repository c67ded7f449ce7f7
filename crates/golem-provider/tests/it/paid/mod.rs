//! The true binary with payments, on a chain that only pretends: what renters and the operator read.

mod configured;

use golem_test_support::Feed;
use golem_test_support::{Home, wait_until};
use golem_testchain::{Emulator, Fault};
use golem_types::Stream;
use ruint::aliases::{U160, U256};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const CHAIN: u64 = 4242;

/// The node's key and address: the second of the well-known mnemonic "test test … junk".
const KEY: &str = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const ADDRESS: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

struct Market {
    chain: Emulator,
    home: Home,
    /// Serves the chain in threads of its own.
    _runtime: Runtime,
}

impl Market {
    fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let now = u128::try_from(jiff::Timestamp::now().as_second()).unwrap();
        let chain = runtime.block_on(Emulator::start(CHAIN, now)).unwrap();
        let home = Home::new()
            .set("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY", KEY)
            .set("GOLEM_PROVIDER_PAYMENTS_NETWORK", "mine")
            .set("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", "")
            .set("GOLEM_PROVIDER_RATE_LIMIT_PER_MINUTE", "0")
            .set("GOLEM_PROVIDER_STREAM_MONITOR_INTERVAL_SECONDS", "1");
        let contract = chain.contract().to_string();
        home.add_network("mine", CHAIN, chain.url(), &contract, &["--symbol", "MINE", "--testnet"]);
        Self { chain, home, _runtime: runtime }
    }

    fn open(&self, id: u64, seconds: u64) -> Stream {
        let stream = self.chain.stream(0xabc, ADDRESS.parse().unwrap(), seconds, 1000);
        self.chain.put(id, stream);
        stream
    }
}

/// The documented shapes, exact numbers included.
#[test]
fn streams_are_shown_as_documented() {
    let market = Market::new();
    let home = market.home;
    // Open, so that the list has something to show.
    let home = home.set("GOLEM_PROVIDER_API_AUTH", "open");
    let _node = home.start(&[]);
    let (_, info) = home.http("GET", "/api/v1/provider/info", "");
    // S-131, S-162
    assert_eq!(info["provider_id"], ADDRESS);
    // S-163
    assert_eq!(info["stream_payment_address"], market.chain.contract().to_string());
    // S-164
    assert_eq!(info["glm_token_address"], "0x0000000000000000000000000000000000000000");

    let stream = Stream {
        deposit: U256::from(10).pow(U256::from(18)) + U256::ONE,
        ..market.chain.stream(0xabc, ADDRESS.parse().unwrap(), 7200, 12_345)
    };
    market.chain.put(123, stream);
    let id = home.rent_paid("my-webserver", Some(123));
    market.chain.pass(600);
    let (status, shown) = home.http("GET", &format!("/api/v1/vms/{id}/stream"), "");
    // S-165
    assert_eq!(status, 200, "{shown}");
    assert_eq!(
        shown,
        json!({
            // S-167
            "vm_id": id,
            // S-168
            "stream_id": 123,
            // S-169
            "verified": true,
            "reason": "ok",
            "payment_state": "active",
            "chain": {
                // S-170
                "token": "0x0000000000000000000000000000000000000000",
                // S-171
                "sender": "0x0000000000000000000000000000000000000aBc",
                // S-172
                "recipient": ADDRESS,
                // S-173
                "startTime": stream.start as u64,
                "stopTime": stream.stop as u64,
                // S-174
                "ratePerSecond": 12_345,
                // S-175
                "deposit": 1_000_000_000_000_000_001u64,
                "withdrawn": 0,
                "halted": false,
            },
            "computed": {
                // S-178
                "now": stream.start as u64 + 600,
                // S-179
                "remaining_seconds": 6600,
                // S-180
                "vested_wei": 600 * 12_345,
                // S-181
                "withdrawable_wei": 600 * 12_345,
            },
        })
    );
    let (status, all) = home.http("GET", "/api/v1/payments/streams", "");
    assert_eq!((status, &all), (200, &json!([shown])));
    let (_, second) = {
        market.chain.put(124, Stream { start: stream.start + 600, stop: stream.stop + 600, ..stream });
        let id = home.rent_paid("another", Some(124));
        home.http("GET", &format!("/api/v1/vms/{id}/stream"), "")
    };
    let all = home.http("GET", "/api/v1/payments/streams", "").1;
    let ids: Vec<_> = all.as_array().unwrap().iter().map(|one| (&one["vm_id"], &one["stream_id"])).collect();
    // S-166
    assert_eq!(ids, [&shown, &second].map(|one| (&one["vm_id"], &one["stream_id"])), "{all}");

    // What was paid out, and what ended it.
    let token = "0x00000000000000000000000000000000000000AB";
    let changed =
        Stream { withdrawn: U256::from(12_345), halted: true, token: token.parse().unwrap(), ..stream };
    market.chain.put(123, changed);
    let (_, ended) = home.http("GET", &format!("/api/v1/vms/{id}/stream"), "");
    // S-169
    assert_eq!((&ended["verified"], &ended["reason"]), (&json!(false), &json!("stream halted")), "{ended}");
    // S-170
    assert_eq!(ended["chain"]["token"], token);
    // S-176
    assert_eq!(ended["chain"]["withdrawn"], 12_345);
    // S-177
    assert_eq!(ended["chain"]["halted"], true);
    // S-181: what vested, less what was paid out.
    assert_eq!(ended["computed"]["withdrawable_wei"], 599 * 12_345);
}

/// A quote is what its signature says it is, also for a node that was started anew; a create that names
/// it pays its rate, though the price has gone up.
#[test]
fn a_quote_is_signed_and_outlives_the_node() {
    let market = Market::new();
    let price = |home: Home, core: &str| home.set("GOLEM_PROVIDER_PRICE_GLM_PER_CORE_MONTH", core);
    let mut home = price(market.home, "25");
    let size = json!({ "resources": { "cpu": 1, "memory": 1, "storage": 10 } });
    let node = home.start(&[]);
    let (status, quote) = home.http("POST", "/api/v1/quotes", &size.to_string());
    assert_eq!(status, 200, "{quote}");
    let rate = (25.0f64 / (730.0 * 3600.0) * 1e18) as u64;
    for (name, value) in [
        ("provider_id", json!(ADDRESS)),
        ("resources", size["resources"].clone()),
        ("free", json!(false)),
        ("rate_wei_per_second", json!(rate)),
        ("symbol", json!("MINE")),
        ("usd_per_month", json!("8")),
        ("chain_id", json!(CHAIN)),
        ("stream_payment_address", json!(market.chain.contract().to_string())),
        ("glm_token_address", json!("0x0000000000000000000000000000000000000000")),
    ] {
        assert_eq!(quote[name], value, "{name} in {quote}");
    }
    assert!(quote["price_per_month"].as_str().unwrap().starts_with("24.9999"), "{quote}");
    let left = quote["expires_at"].as_i64().unwrap() - jiff::Timestamp::now().as_second();
    assert!((840..=900).contains(&left), "{left}");
    let id = quote["quote_id"].as_str().unwrap();
    let provider = ADDRESS.parse().unwrap();
    let signed = golem_chain::SignedQuote::read(id, provider, Default::default()).unwrap();
    assert!(signed.is_genuine(golem_chain::Place { chain_id: CHAIN, contract: market.chain.contract() }));
    assert_eq!(json!(alloy_primitives::hex::encode_prefixed(signed.signature)), quote["signature"]);
    let (status, refused) = home.http("POST", "/api/v1/quotes", r#"{"resources": {"cpu": 3}}"#);
    assert_eq!(status, 422, "{refused}");
    drop(node);

    home = price(home, "50");
    let _node = home.start(&[]);
    let stream = Stream {
        deposit: U256::from(10).pow(U256::from(18)),
        ..market.chain.stream(0xabc, provider, 7200, 1000)
    };
    market.chain.put(5, Stream { rate: u128::from(rate), ..stream });
    let mut body = json!({
        "name": "quoted",
        "resources": size["resources"],
        "ssh_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X",
        "stream_id": 5,
    });
    let mut create = |quote: Value| {
        body["quote_id"] = quote;
        home.http("POST", "/api/v1/vms", &body.to_string())
    };
    for (named, words) in [
        (json!(null), "invalid stream: rate below price"),
        (json!(id.replace("0x0000", "0x0001")), "invalid quote: this provider did not sign it"),
        (json!("mine"), "invalid quote: this is not the quote_id of a quote"),
    ] {
        let (status, refused) = create(named);
        let text = refused["detail"].as_str().unwrap();
        assert!(status == 400 && text.starts_with(words), "{refused}");
    }
    assert_eq!(create(json!(7)).0, 422);
    let (status, vm) = create(json!(id));
    assert_eq!((status, &vm["status"]), (200, &json!("running")), "{vm}");
}

/// S-175: a number that no float can hold goes through as its digits.
#[test]
fn s_175_the_largest_numbers_are_exact_and_strangers_see_no_list() {
    let market = Market::new();
    let _node = market.home.start(&[]);
    let most = Stream { deposit: U256::MAX, rate: u128::MAX, ..market.open(1, 7200) };
    market.chain.put(1, most);
    let id = market.home.rent_paid("rich", Some(1));
    let (status, text) = raw(&market.home, "GET", &format!("/api/v1/vms/{id}/stream"));
    assert_eq!(status, 200);
    assert!(text.contains(&format!("\"deposit\":{}", U256::MAX)), "{text}");
    assert!(text.contains(&format!("\"ratePerSecond\":{}", u128::MAX)), "{text}");
    let (status, list) = market.home.http("GET", "/api/v1/payments/streams", "");
    assert_eq!((status, list), (200, json!([])), "an id is the right to use a VM");
    let (status, missing) =
        market.home.http("GET", "/api/v1/vms/golem-x-20260101-000000-aaaaaaaaaaaaaaaa/stream", "");
    assert_eq!(status, 404, "{missing}");
}

fn raw(home: &Home, method: &str, path: &str) -> (u16, String) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, home.api)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn create(home: &Home, stream: Value) -> (u16, Value) {
    let body = json!({
        "name": "refused",
        "ssh_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ",
        "stream_id": stream,
    });
    home.http("POST", "/api/v1/vms", &body.to_string())
}

/// The statuses of every answer about payments.
#[test]
fn each_refusal_has_its_documented_status_and_words() {
    let market = Market::new();
    let node = market.home.start(&[]);
    let said = |answer: (u16, Value)| (answer.0, answer.1["detail"].as_str().unwrap_or_default().to_owned());
    let required = "stream_id required when payments are enabled";
    // S-142
    assert_eq!(said(create(&market.home, Value::Null)), (400, required.to_owned()));
    assert_eq!(said(create(&market.home, json!(7))), (400, "invalid stream: recipient mismatch".to_owned()));
    assert_eq!(create(&market.home, json!(-1)).0, 422);
    market.open(1, 3600);
    let id = market.home.rent_paid("one", Some(1));
    let used = "invalid stream: already used by another VM";
    assert_eq!(said(create(&market.home, json!(1))), (400, used.to_owned()));
    market.chain.misbehave(Fault::Down);
    let (status, text) = said(create(&market.home, json!(1)));
    assert!(status == 503 && text.contains("cannot be asked"), "{status} {text}");
    let (status, text) = said(market.home.http("GET", &format!("/api/v1/vms/{id}/stream"), ""));
    assert!(status == 502 && text.starts_with("stream lookup failed: "), "{status} {text}");
    market.chain.misbehave(Fault::None);
    // Its end, and what its renter reads and does then.
    market.chain.put(1, Stream { recipient: U160::ZERO, ..market.open(1, 3600) });
    let state = || market.home.http("GET", &format!("/api/v1/vms/{id}"), "").1;
    wait_until("the VM is stopped", || state()["status"] == "stopped");
    assert_eq!(state()["error_message"], "its stream was terminated");
    let (status, text) = said(market.home.http("POST", &format!("/api/v1/vms/{id}/start"), ""));
    assert!(status == 402 && text.contains("top up its stream, or attach another one"), "{status} {text}");
    market.open(2, 3600);
    let attach = |body: &str| market.home.http("POST", &format!("/api/v1/vms/{id}/stream"), body);
    assert_eq!(attach("{}").0, 422);
    assert_eq!(attach(r#"{"stream_id": 99}"#).0, 400);
    assert_eq!(attach(r#"{"stream_id": 2}"#).0, 200);
    wait_until("the VM runs again", || state()["status"] == "running");
    drop(node);

    let free = Home::new();
    let _node = free.start(&[]);
    let id = free.rent("free");
    let off = "streaming payments not enabled on this provider";
    for (method, path) in [
        ("GET", format!("/api/v1/vms/{id}/stream")),
        ("GET", "/api/v1/payments/streams".to_owned()),
        ("POST", format!("/api/v1/vms/{id}/stream")),
    ] {
        // S-182
        assert_eq!(said(free.http(method, &path, "{}")), (400, off.to_owned()));
    }
}

/// The operator's view, with the node and without it; totals are
/// the sums of the rows.
#[test]
fn the_operator_sees_streams_and_earnings() {
    let market = Market::new();
    let home = &market.home;
    let mut node = home.start(&[]);
    for number in 1..=2u64 {
        market.open(number, 7200);
        home.rent_paid(&format!("vm-{number}"), Some(number));
    }
    market.chain.pass(700);
    let look = || {
        let sum = |rows: &[Value], of: fn(&Value) -> u64| rows.iter().map(of).sum::<u64>();
        let read = |words: &[&str]| home.json(&[words, &["--json"]].concat());
        let vested_of = |list: &Value| {
            let rows = list["streams"].as_array().unwrap();
            sum(rows, |row| row["stream"]["computed"]["vested_wei"].as_u64().unwrap())
        };
        // All as of one block: the chain goes on meanwhile.
        let looks = std::iter::repeat_with(|| {
            let list = read(&["streams", "list"]);
            let earnings = (read(&["streams", "earnings"]), read(&["earnings"]));
            let vested = vested_of(&list);
            (vested == vested_of(&read(&["streams", "list"]))).then_some((list, vested, earnings))
        });
        let found = looks.take(50).flatten().next();
        let (list, vested, (earnings, short)) = found.expect("two looks at one block");
        assert_eq!(list["symbol"], "MINE");
        let rows = list["streams"].as_array().unwrap().clone();
        // S-230
        assert_eq!(rows.len(), 2, "{list}");
        let shown = home.json(&["streams", "show", "vm-2", "--json"]);
        // S-231
        assert_eq!(shown["stream"]["stream_id"], 2);
        assert_eq!(shown["stream"]["vm_id"], rows[1]["stream"]["vm_id"]);
        let by_id = home.json(&["streams", "show", shown["stream"]["vm_id"].as_str().unwrap(), "--json"]);
        assert_eq!(by_id["stream"]["stream_id"], 2);
        assert!(vested >= 2 * 700 * 1000);
        // S-232, S-233
        assert_eq!(earnings["totals"]["vested_wei"], vested);
        let lines = earnings["streams"].as_array().unwrap();
        assert_eq!(sum(lines, |line| line["vested_wei"].as_u64().unwrap()), vested);
        assert_eq!(
            earnings["totals"]["withdrawable_wei"],
            sum(lines, |line| line["withdrawable_wei"].as_u64().unwrap())
        );
        let text = String::from_utf8(home.run(&["streams", "list"]).stdout).unwrap();
        // S-229
        assert!(text.starts_with("VM ") && text.contains("vm-1") && text.contains("MINE"), "{text}");
        let csv = String::from_utf8(home.run(&["streams", "earnings", "--csv"]).stdout).unwrap();
        assert!(csv.starts_with("date,kind,state,vm,renter,stream,chain,contract,"), "{csv}");
        // M-16: what is earned is known before it is withdrawn, by the day, the VM and the renter.
        assert_eq!(
            sum(earnings["by_vm"].as_array().unwrap(), |line| line["earned_wei"].as_u64().unwrap()),
            vested
        );
        assert_eq!(
            sum(earnings["periods"].as_array().unwrap(), |line| line["earned_wei"].as_u64().unwrap()),
            vested
        );
        assert!(earnings["forecast"]["total_wei"].as_u64().unwrap() > vested, "{earnings}");
        assert_eq!(short["totals"], earnings["totals"]);
        let checked = home.json(&["books", "check", "--json"]);
        assert_eq!((&checked[0]["left"], &checked[0]["error"]), (&json!(0), &Value::Null), "{checked}");
        assert_eq!(home.json(&["streams", "history", "--json"]), json!([]));
        assert_eq!(home.run(&["streams", "show", "nobody"]).status.code(), Some(1));
    };
    look();
    // M-01: what the comparison came to stays to be seen.
    let books = &home.json(&["status", "--json"])["payments"]["books"];
    assert!(books["differences"] == 0 && books["checked_at"].is_string(), "{books}");
    node.signal(rustix::process::Signal::TERM);
    assert_eq!(node.end(), Some(0));
    // Nobody runs: the ledger itself is asked.
    look();
    // And as last read, when the chain does not answer.
    market.chain.misbehave(Fault::Down);
    let list = home.json(&["streams", "list", "--json"]);
    assert_eq!(list["streams"].as_array().unwrap().len(), 2);
    assert!(list["stale"].as_str().unwrap().contains("cannot be asked"), "{list}");
}

/// Amounts are told in dollars, too, at the rate that was believed last; test money is worth nothing.
#[test]
fn earnings_and_the_wallet_are_told_in_dollars() {
    let mut market = Market::new();
    let feed = Feed::start(r#"{"golem": {"usd": 0.25}, "ethereum": {"usd": 3000}}"#);
    for (name, variable) in [
        ("GOLEM_PROVIDER_PRICING_UPDATE_ENABLED", "true"),
        ("GOLEM_PROVIDER_COINGECKO_API_URL", &feed.url),
        ("GOLEM_PROVIDER_STREAM_ENFORCE_RATE", "false"),
    ] {
        market.home = market.home.set(name, variable);
    }
    let (id, contract) = (CHAIN.to_string(), market.chain.contract().to_string());
    let mut add = vec!["networks", "add", "ether", "--chain-id", &id, "--rpc-url", market.chain.url()];
    add.extend(["--contract", &contract, "--symbol", "ETH", "--json"]);
    market.home.json(&add);
    market.home = market.home.set("GOLEM_PROVIDER_PAYMENTS_NETWORK", "ether");
    let stream = market.chain.stream(0xabc, ADDRESS.parse().unwrap(), 7200, 10u64.pow(15));
    market.chain.put(1, stream);
    let home = &market.home;
    let mut node = home.start(&[]);
    home.rent_paid("vm-1", Some(1));
    market.chain.pass(700);
    wait_until("the rate is known", || home.json(&["pricing", "show", "--json"])["coin_usd"] == "3000");
    let look = || {
        let list = home.json(&["streams", "list", "--json"]);
        assert_eq!(list["usd_per_coin"], "3000", "{list}");
        let totals = &home.json(&["streams", "earnings", "--json"])["totals"];
        let vested: u128 = totals["vested_wei"].to_string().parse().unwrap();
        let cents = vested * 3000 / 10u128.pow(16);
        assert!(cents >= 210_000, "{totals}");
        assert_eq!(totals["vested_usd"], format!("{}.{:02}", cents / 100, cents % 100));
        for command in [&["streams", "list"][..], &["streams", "show", "vm-1"], &["streams", "earnings"]] {
            let text = String::from_utf8(home.run(command).stdout).unwrap();
            assert!(text.contains(" ETH (") && text.contains(" USD)"), "{text}");
        }
    };
    look();
    let balance = home.json(&["wallet", "balance", "--json"]);
    assert_eq!(balance["usd_per_coin"], "3000", "{balance}");
    node.signal(rustix::process::Signal::TERM);
    assert_eq!(node.end(), Some(0));
    look();
    // The same coins, for test.
    add.push("--testnet");
    home.json(&add);
    let list = home.json(&["streams", "list", "--json"]);
    assert_eq!(list["usd_per_coin"], Value::Null, "{list}");
}
