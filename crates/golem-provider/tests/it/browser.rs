//! The dashboard and the page of consoles in a real browser, as people use them: `dashboard/test/*.js`. Needs Chromium, Node.js and `npm ci` in
//! `dashboard/`. Screenshots go to `target/dashboard`.

use std::path::PathBuf;
use std::process::Command;

use golem_test_support::{Home, StopAtEnd, wait_until};
use golem_testchain::{Emulator, Fault};
use serde_json::json;

const CHAIN: u64 = 4242;

/// The node's key and address: the second of the well-known mnemonic "test test … junk".
const KEY: &str = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const ADDRESS: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

fn root() -> PathBuf {
    let own = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    own.parent().unwrap().parent().unwrap().to_owned()
}

/// Runs `script` of `dashboard/test` with the node of `home`, and with what else it is `told`.
fn drive(script: &str, home: &Home, told: &serde_json::Value) {
    let command = home.command(&[]);
    let environment: serde_json::Map<_, _> = command
        .get_envs()
        .filter_map(|(name, text)| Some((name.to_str()?.to_owned(), text?.to_str()?.into())))
        .collect();
    let told = json!({
        "program": command.get_program().to_str(),
        "environment": environment,
        "folder": home.folder.path(),
        "api": home.api,
        "told": told,
    });
    let screenshots = root().join("target/dashboard");
    std::fs::create_dir_all(&screenshots).unwrap();
    let output = Command::new("node")
        .arg(root().join("dashboard/test").join(script))
        .env("GOLEM_TEST_NODE", told.to_string())
        .env("GOLEM_TEST_SCREENSHOTS", &screenshots)
        .output()
        .expect("node is installed");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    assert!(output.status.success(), "{script}:\n{said}");
}

/// Every view and every action, in the light and in the dark, on a desk and on a phone, with the node restarting and with
/// hostile texts.
#[test]
fn the_operators_tasks_are_done_in_a_browser() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let now = u128::try_from(jiff::Timestamp::now().as_second()).unwrap();
    let chain = runtime.block_on(Emulator::start(CHAIN, now)).unwrap();
    let (_server, server) = Home::new().discovery_service(&[]);
    let (_checker, checker) = Home::new().check_server();
    let home = Home::new()
        .set("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY", KEY)
        .set("GOLEM_PROVIDER_PAYMENTS_NETWORK", "mine")
        .set("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", "")
        .set("GOLEM_PROVIDER_RATE_LIMIT_PER_MINUTE", "0")
        .set("GOLEM_PROVIDER_ADVERTISER_TYPE", "discovery_server")
        .set("GOLEM_PROVIDER_DISCOVERY_URL", &server)
        .set("GOLEM_PROVIDER_SKIP_PORT_VERIFICATION", "false")
        .set("GOLEM_PROVIDER_PORT_CHECK_SERVERS", &checker)
        .set("GOLEM_TEST_TOTALS", "8,16,200");
    let contract = chain.contract().to_string();
    home.add_network("mine", CHAIN, chain.url(), &contract, &["--symbol", "MINE", "--testnet"]);
    let _stop = StopAtEnd(&home);
    home.json(&["start", "--daemon", "--json"]);
    let mut vms = Vec::new();
    for (number, name) in (1..).zip(["web-server", "builder", "doomed"]) {
        let rate = 10_u64.pow(15);
        chain.put(number, chain.stream(0xabc, ADDRESS.parse().unwrap(), 7200, rate));
        vms.push(home.rent_paid(name, Some(number)));
    }
    chain.pass(600);
    drive("tasks.js", &home, &json!({ "vms": vms, "address": ADDRESS }));
    chain.misbehave(Fault::Down);
    let is_known = || !home.json(&["status", "--json"])["payments"]["error"].is_null();
    wait_until("the node knows that the endpoint is gone", is_known);
    drive("endpoint.js", &home, &json!(null));
}

/// The list of a thousand VMs is drawn as fast as one looks, and stays small.
#[test]
fn a_thousand_vms_are_looked_at_in_a_browser() {
    let home = Home::wide(1000)
        .set("GOLEM_PROVIDER_RATE_LIMIT_PER_MINUTE", "0")
        .set("GOLEM_PROVIDER_MAX_VMS", "1000")
        .set("GOLEM_TEST_TOTALS", "1000,1000,10000");
    let _stop = StopAtEnd(&home);
    home.json(&["start", "--daemon", "--json"]);
    std::thread::scope(|scope| {
        for renter in 0..8 {
            let home = &home;
            scope.spawn(move || {
                for number in (renter..1000).step_by(8) {
                    let wanted = golem_test_support::wanted(&format!("vm-{number}"), None);
                    let (status, vm) = home.http("POST", "/api/v1/vms?async=true", &wanted.to_string());
                    assert!(matches!(status, 200 | 202), "{vm}");
                }
            });
        }
    });
    drive("thousand.js", &home, &json!({ "vms": 1000 }));
    // What is scraped of them stays bounded: a line or two for each thing that is told of a VM.
    let scrape = crate::metrics::read(&home, "/metrics");
    let of_vms = scrape.lines().filter(|line| line.contains("{vm=\"")).count();
    assert!(
        (5_000..15_000).contains(&of_vms) && scrape.len() < 2 << 20,
        "{of_vms} lines, {} bytes",
        scrape.len()
    );
}

/// A renter types at the console of a VM on the node's own page.
#[test]
fn a_renter_uses_the_console_in_a_browser() {
    let home = Home::new().set("GOLEM_TEST_TOTALS", "8,16,200");
    let _stop = StopAtEnd(&home);
    home.json(&["start", "--daemon", "--json"]);
    let url = format!("http://{}:{}", home.host, home.api);
    let made = home.json(&["rent", "create", "web", "--provider", &url, "--free", "--yes", "--json"]);
    drive("console.js", &home, &json!({ "id": made["vm_id"] }));
}
