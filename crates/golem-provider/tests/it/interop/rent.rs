//! The published requestor rents from the node, on the market, paid on a real EVM.

use std::time::Instant;

use golem_test_support::peers::REQUESTOR;
use golem_types::Stream;
use ruint::aliases::{U160, U256};
use serde_json::json;

use super::table::Table;
use super::world::{World, shown, tail};

/// What the requestor says after every create that succeeded: it inserts its own row twice.
pub(crate) const OWN_DEFECT: &str = "UNIQUE constraint failed: vms.name";

/// Prints who signed a quote, as the library of the requestor's own wallet has it.
const QUOTE_SIGNER: &str = r#"
import json, sys
from eth_account import Account
from eth_account.messages import encode_typed_data
quote = json.loads(sys.argv[1])
fields = "address provider, uint32 cpu, uint32 memoryGb, uint32 storageGb, address token, uint128 ratePerSecond, \
uint64 expiresAt, bytes16 nonce"
types = {"Quote": [dict(zip(("type", "name"), field.split())) for field in fields.split(", ")]}
domain = {"name": "golem-provider quote", "version": "1", "chainId": quote["chain_id"],
          "verifyingContract": quote["stream_payment_address"]}
size = quote["resources"]
message = {"provider": quote["provider_id"], "cpu": size["cpu"], "memoryGb": size["memory"], "storageGb": size["storage"],
           "token": quote["glm_token_address"], "ratePerSecond": quote["rate_wei_per_second"],
           "expiresAt": quote["expires_at"], "nonce": bytes.fromhex(quote["nonce"][2:])}
print(Account.recover_message(encode_typed_data(domain, types, message), signature=quote["signature"]))
"#;

/// Runs a create, which succeeds at the provider and fails in the requestor's own database.
pub(crate) fn create(world: &World, name: &str, stream: Option<u64>) -> u16 {
    let stream = stream.map(|stream| stream.to_string());
    let mut arguments = vec!["vm", "create", name, "--provider-id", &world.provider_id];
    arguments.extend(SPEC);
    if let Some(stream) = &stream {
        arguments.extend(["--stream-id", stream]);
    }
    let (_, text) = world.ask(&arguments);
    assert!(text.contains(OWN_DEFECT), "{}", tail(&text));
    world.repair(name)
}

#[test]
fn s_132_the_published_requestor_rents_on_the_market() {
    let world = World::new();
    let _node = world.home.start(&[]);
    world.wait_for_advert();
    let mut table = Table::new("request-vm-on-golem 0.1.58, Golem Base driver, simulated machines");
    let provider = &world.provider_id;
    let opened = find_and_open(&world, &mut table);
    table.step("the node's quote, read by eth-account", || {
        let size = json!({ "resources": { "cpu": 1, "memory": 1, "storage": 10 } });
        let (status, quote) = world.home.http("POST", "/api/v1/quotes", &size.to_string());
        assert_eq!(status, 200, "{quote}");
        let checked = REQUESTOR.python().args(["-c", QUOTE_SIGNER, &quote.to_string()]).output().unwrap();
        let (succeeded, signer) = shown(&checked);
        assert!(succeeded && signer.trim() == world.provider_id, "{quote}: {signer}");
        let (stream, _) = world.stream(opened);
        assert_eq!(json!(stream.rate as u64), quote["rate_wei_per_second"], "what the requestor computes");
        ((), "signed by the provider (EIP-712), at the rate that the requestor computes".to_owned())
    });
    table.step("vm create --stream-id", || {
        let port = create(&world, "first", Some(opened));
        assert_eq!(world.vm("first")["status"], "running");
        ((), format!("runs, port {port}; the requestor then fails on its own row, which is repaired"))
    });
    table.step("vm create with a stream that is used", || {
        let began = Instant::now();
        let used = opened.to_string();
        let more = ["vm", "create", "third", "--stream-id", &used, "--provider-id", provider];
        let (succeeded, text) = world.ask(&[&more[..], &SPEC[..]].concat());
        assert!(!succeeded && text.contains("already used by another VM"), "{}", tail(&text));
        // Not its ten minutes of polling.
        assert!(began.elapsed().as_secs() < 300);
        ((), "refused at once, with the node's reason".to_owned())
    });
    table.step("vm create, opening the stream itself", || {
        create(&world, "second", None);
        let stream = world.row("second")["config"]["stream_id"].as_u64().unwrap();
        assert_ne!(stream, opened);
        let (stream, _) = world.stream(stream);
        assert_eq!(stream.deposit, U256::from(stream.rate) * U256::from(3600));
        ((), "one hour, its default".to_owned())
    });
    listed(&world, &mut table, 2);
    streams(&world, &mut table, opened, 2);
    machines(&world, &mut table);
    table.end();
}

/// The VM that the requestor asks for.
pub(crate) const SPEC: [&str; 6] = ["--cpu", "1", "--memory", "1", "--storage", "10"];

/// Finds the node on the market, and opens a stream to it for two hours; gives its number.
pub(crate) fn find_and_open(world: &World, table: &mut Table) -> u64 {
    let provider = &world.provider_id;
    table.step("vm providers", || {
        let text = world.says(&[&["vm", "providers"], &SPEC[..]].concat());
        assert!(text.contains(provider.as_str()), "{}", tail(&text));
        ((), "the table".to_owned())
    });
    table.step("vm providers --json", || {
        let found = world.json(&["vm", "providers", "--json"]);
        assert_eq!(found["providers"][0]["provider_id"], *provider, "{found}");
        assert_eq!(found["providers"][0]["pricing"]["glm_per_core_month"], 25.0);
        assert_eq!(found["providers"][0]["ip_address"], world.home.host.to_string());
        ((), "identity, address and prices are the node's".to_owned())
    });
    table.step("vm stream open", || {
        let arguments = [&["vm", "stream", "open", "--provider-id", provider, "--hours", "2"], &SPEC[..]];
        let opened = world.json(&arguments.concat());
        let id = opened["stream_id"].as_u64().unwrap();
        let (stream, _) = world.stream(id);
        assert_eq!(json!(stream.rate as u64), opened["rate_per_second_wei"]);
        assert_eq!(stream.deposit, U256::from(stream.rate) * U256::from(7200));
        // 25 + 10 + 5 GLM a month of 730 hours.
        assert_eq!(stream.rate, (40.0 / (730.0 * 3600.0) * 1e18) as u128);
        (id, format!("stream {id}, {} wei a second", stream.rate))
    })
}

/// The requestor's list, of `count` VMs, and what it tells of the first.
pub(crate) fn listed(world: &World, table: &mut Table, count: usize) {
    table.step("vm list", || {
        let list = world.json(&["vm", "list", "--json"]);
        assert_eq!(list["vms"].as_array().unwrap().len(), count, "{list}");
        ((), String::new())
    });
    table.step("vm info", || {
        let info = world.json(&["vm", "info", "first", "--json"]);
        assert_eq!(info["provider_ip"], world.home.host.to_string());
        assert_eq!(info["config"]["cpu"], 1);
        ((), String::new())
    });
}

/// What the requestor can do with streams; `count` of its VMs have one.
pub(crate) fn streams(world: &World, table: &mut Table, opened: u64, count: usize) {
    table.step("vm stream status", || {
        let status = world.json(&["vm", "stream", "status", "first", "--json"]);
        assert_eq!(status["stream_id"], opened);
        assert_eq!((&status["verified"], &status["reason"]), (&json!(true), &json!("ok")));
        let people = world.says(&["vm", "stream", "status", "first"]);
        assert!(people.contains("Stream Status for VM: first"), "{}", tail(&people));
        ((), "verified".to_owned())
    });
    table.step("vm stream list", || {
        let list = world.json(&["vm", "stream", "list", "--json"]);
        let streams = list["streams"].as_array().unwrap();
        assert_eq!(streams.len(), count, "{list}");
        assert!(streams.iter().all(|stream| stream["verified"] == true), "{list}");
        ((), "all verified".to_owned())
    });
    let id = opened.to_string();
    table.step("vm stream inspect", || {
        let seen = world.json(&["vm", "stream", "inspect", "--stream-id", &id, "--json"]);
        let told = world.json(&["vm", "stream", "status", "first", "--json"]);
        for field in ["recipient", "startTime", "stopTime", "ratePerSecond", "deposit", "halted"] {
            assert_eq!(seen["chain"][field], told["chain"][field], "{field}");
        }
        ((), "the chain and the node say the same".to_owned())
    });
    table.step("vm stream topup --hours", || {
        let (before, _) = world.stream(opened);
        world.json(&["vm", "stream", "topup", "--stream-id", &id, "--hours", "3"]);
        let (after, _) = world.stream(opened);
        assert_eq!(after.stop - before.stop, 3 * 3600);
        ((), "three hours more".to_owned())
    });
    table.step("vm stream topup --glm", || {
        let (before, _) = world.stream(opened);
        world.json(&["vm", "stream", "topup", "--stream-id", &id, "--glm", "0.5"]);
        let (after, _) = world.stream(opened);
        assert_eq!(after.deposit - before.deposit, U256::from(500_000_000_000_000_000u64));
        let told = world.json(&["vm", "stream", "status", "first", "--json"]);
        assert_eq!(json!(after.stop as u64), told["chain"]["stopTime"], "the node sees it");
        ((), "seen by the node".to_owned())
    });
}

/// What the requestor can do with machines that run.
fn machines(world: &World, table: &mut Table) {
    let stream =
        |name: &str| -> Stream { world.stream(world.row(name)["config"]["stream_id"].as_u64().unwrap()).0 };
    table.step("vm stop", || {
        let text = world.says(&["vm", "stop", "first"]);
        assert!(text.contains("VM Stopped Successfully"), "{}", tail(&text));
        assert_eq!(world.vm("first")["status"], "stopped");
        // Its terminate mixes two kinds of fees and never gets out, so the stream lives on.
        let live = stream("first").recipient != U160::ZERO;
        (
            (),
            if live { "the requestor's terminate does not get out; the stream vests on" } else { "" }
                .to_owned(),
        )
    });
    table.step("vm start", || {
        let text = world.says(&["vm", "start", "first"]);
        assert!(text.contains("VM Started Successfully"), "{}", tail(&text));
        golem_test_support::wait_until("it runs again", || world.vm("first")["status"] == "running");
        ((), "a route that the original's provider does not have".to_owned())
    });
    let id = world.id("first");
    table.step("vm destroy", || {
        let text = world.says(&["vm", "destroy", "first"]);
        assert!(text.contains("VM Destroyed Successfully"), "{}", tail(&text));
        let (status, answer) = world.home.http("GET", &format!("/api/v1/vms/{id}"), "");
        assert_ne!(answer["status"], "running", "{status} {answer}");
        assert_eq!(world.json(&["vm", "list", "--json"])["vms"].as_array().unwrap().len(), 1);
        ((), String::new())
    });
    table.step("vm purge", || {
        let text = world.says(&["vm", "purge", "--yes"]);
        assert!(text.contains("100.0%"), "{}", tail(&text));
        let (_, vms) = world.home.http("GET", "/api/v1/vms", "");
        assert_eq!(vms, json!([]));
        let mine = world.home.json(&["vms", "list", "--json"]);
        assert!(!mine.to_string().contains("\"running\""), "{mine}");
        ((), "nothing is left at the node".to_owned())
    });
}
