//! Providers that try each other's ports, found on an emulated market, without any central server.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use alloy_primitives::B256;
use golem_test_support::{Home, wait_until};
use golem_types::Wallet;
use golem_types::wire::port_check::{CheckAnswer, PortResult};
use market_emulator::{Emulator, Protocol};
use serde_json::{Value, json};

use crate::ports::request;

/// The port of a provider's API, which adverts do not tell.
const PORT: u16 = 7466;

/// A place at which a provider can listen on its port: an address of the loopback of its own.
fn place() -> Ipv4Addr {
    static NEXT: AtomicUsize = AtomicUsize::new(2);
    loop {
        let next = u8::try_from(NEXT.fetch_add(1, Ordering::Relaxed)).expect("fewer places");
        let place = Ipv4Addr::new(127, 77, (std::process::id() % 250) as u8, next);
        if TcpListener::bind((place, PORT)).is_ok() {
            return place;
        }
    }
}

/// A home whose node is at `place`, offers itself on the market at `url`, and tries others' ports. No
/// check server answers.
fn provider(url: &str, place: Ipv4Addr) -> Home {
    let mut home = Home::new()
        .set("GOLEM_ENVIRONMENT", "development")
        .set("GOLEM_PROVIDER_ADVERTISER_TYPE", "golem_base")
        .set("GOLEM_PROVIDER_GOLEM_BASE_NETWORK", "mine")
        .set("GOLEM_PROVIDER_GOLEM_BASE_RPC_URL", url)
        .set("GOLEM_PROVIDER_HOST", &place.to_string())
        .set("GOLEM_PROVIDER_PORT", &PORT.to_string())
        .set("GOLEM_PROVIDER_PUBLIC_IP", &place.to_string())
        .set("GOLEM_PROVIDER_VERIFY_PEERS", "true")
        .set("GOLEM_PROVIDER_PORT_CHECK_SERVERS", "http://127.0.0.1:1");
    (home.host, home.api) = (place, PORT);
    let folder = home.data().join("markets");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("mine.toml"), "generation = \"golem-base\"\nchain_id = 1337\n").unwrap();
    home
}

/// What is done to a peer's answer before it is signed, and after.
type Change = fn(&mut CheckAnswer);

/// A provider at `place` that says of every port that it is closed. How often it was asked.
fn liar(place: Ipv4Addr, wallet: &Wallet, before: Change, after: Change) -> Arc<AtomicUsize> {
    let listener = TcpListener::bind((place, PORT)).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let (wallet, count) = (wallet.clone(), Arc::clone(&asked));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = request(&mut stream);
            let closed =
                || PortResult { accessible: false, error: Some("Connection refused".to_owned()), read: None };
            let ports = request["ports"].as_array().unwrap();
            let results: BTreeMap<u16, PortResult> =
                ports.iter().map(|port| (u16::try_from(port.as_u64().unwrap()).unwrap(), closed())).collect();
            let mut answer = CheckAnswer {
                provider_ip: request["provider_ip"].as_str().map(str::to_owned),
                nonce: request["nonce"].as_str().map(str::to_owned),
                checked_at: u64::try_from(jiff::Timestamp::now().as_second()).ok(),
                checker: Some(wallet.address().to_string()),
                ..CheckAnswer::of(results)
            };
            before(&mut answer);
            let signature = wallet.sign_message(answer.signed_text().as_bytes()).unwrap().to_bytes();
            answer.signature = Some(format!("0x{}", alloy_primitives::hex::encode(signature)));
            after(&mut answer);
            count.fetch_add(1, Ordering::Relaxed);
            let body = serde_json::to_string(&answer).unwrap();
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).unwrap();
        }
    });
    asked
}

/// Three other providers verify a node's ports while no central server is there.
/// One that lies among four changes nothing; forged, replayed, old and unsigned verdicts
/// do not count.
#[test]
fn providers_verify_each_other_without_a_central_server() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let market = runtime.block_on(Emulator::start(Protocol::GolemBase, 1337)).unwrap();
    let peers: Vec<Home> = (0..3)
        .map(|_| provider(market.url(), place()).set("GOLEM_PROVIDER_SKIP_PORT_VERIFICATION", "true"))
        .collect();
    // Two providers could be one liar's: they are not enough.
    let mut running: Vec<_> = peers[..2].iter().map(|peer| peer.start(&[])).collect();
    wait_until("two adverts", || market.entities().len() == 2);
    let home = provider(market.url(), place()).set("GOLEM_PROVIDER_SKIP_PORT_VERIFICATION", "false");
    let check = |wanted: &str| -> Value {
        let output = home.run(&["ports", "check", "--json"]);
        let report: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", Home::show(&output)));
        assert_eq!(report["provider"]["status"], wanted, "{report:#}");
        assert!(report["ssh"].as_array().unwrap().iter().all(|port| port["status"] == wanted), "{report:#}");
        report
    };
    let report = check("unknown");
    assert_eq!(report["sources"][1]["problem"], "2 of 2 answered, and 3 have to", "{report:#}");

    running.push(peers[2].start(&[]));
    wait_until("three adverts", || market.entities().len() == 3);
    let report = check("reachable");
    // S-069, S-072: nobody else was asked.
    assert_eq!((&report["provider"]["agreed"], &report["provider"]["answered"]), (&json!(3), &json!(3)));
    // The running node asks the same, and is found by them in turn.
    let _node = home.start(&[]);
    wait_until("the node is verified", || {
        home.json(&["ports", "list", "--json"])["provider"]["status"] == "reachable"
    });
    wait_until("four adverts", || market.entities().len() == 4);

    // A lie that is signed is outvoted; what is not rightly signed does not count.
    let advert = market.entities().remove(0).1;
    let tricks: [(Change, Change); 5] = [
        (|_| {}, |_| {}),
        (|_| {}, |answer| answer.results.values_mut().for_each(|result| result.error = None)),
        (|answer| answer.nonce = Some("0".repeat(64)), |_| {}),
        (|answer| answer.checked_at = Some(1_700_000_000), |_| {}),
        (|_| {}, |answer| answer.signature = None),
    ];
    let mut asked = Vec::new();
    for (number, (before, after)) in (0x51u8..).zip(tricks) {
        let (wallet, at) = (Wallet::from_bytes(&[number; 32]).unwrap(), place());
        asked.push(liar(at, &wallet, before, after));
        let mut entity = advert.clone();
        entity.owner = wallet.address();
        entity.strings.insert("golem_provider_id".to_owned(), wallet.address().to_string());
        entity.strings.insert("golem_ip_address".to_owned(), at.to_string());
        market.put(B256::repeat_byte(number), entity);
    }
    // An advert in another provider's name is not asked at all.
    let (stranger, at) = (Wallet::from_bytes(&[0x60; 32]).unwrap(), place());
    let unasked = liar(at, &stranger, |_| {}, |_| {});
    let mut entity = advert.clone();
    entity.owner = stranger.address();
    entity.strings.insert("golem_ip_address".to_owned(), at.to_string());
    market.put(B256::repeat_byte(0x60), entity);
    let report = check("reachable");
    assert_eq!(
        (&report["provider"]["agreed"], &report["provider"]["answered"]),
        (&json!(3), &json!(4)),
        "{report:#}"
    );
    // S-070
    assert!(asked.iter().all(|asked| asked.load(Ordering::Relaxed) > 0), "every liar was asked");
    // S-073
    assert_eq!(unasked.load(Ordering::Relaxed), 0);
}
