//! The original's own library beside this crate: it encodes the same operations, and reads what
//! was written here from the same network. Needs python3-venv, and a package index once.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use alloy_primitives::{Address, B256, U256, hex};
use golem_chain::{Rpc, Sender};
use golem_market::arkiv::golem_base;
use golem_market::arkiv::offer::Filter;
use golem_market::arkiv::{Advert, AdvertPrices, Annotations, Client, Generation, Operation, Profile};
use golem_types::Resources;
use golem_types::Wallet;
use market_emulator::{Emulator, Protocol};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

/// The library's version that the original pins.
const SDK: &str = "golem-base-sdk==0.1.0";

/// A Python with the library; made on first use, and anew when it is half made.
fn python() -> &'static PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(install)
}

fn install() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("golem-base-sdk");
    let python = folder.join("bin/python");
    let has_it = Command::new(&python).args(["-c", "import golem_base_sdk"]).output();
    if !has_it.is_ok_and(|output| output.status.success()) {
        let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder).status().unwrap();
        assert!(made.success(), "install python3-venv");
        let got = Command::new(&python)
            .args(["-m", "pip", "install", "-q", "--disable-pip-version-check", SDK])
            .status()
            .unwrap();
        assert!(got.success(), "{SDK} could not be installed");
    }
    python
}

/// What `script` prints, as JSON, when it is given `input`.
fn run(script: &str, input: &Value) -> Value {
    let mut child = Command::new(python())
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

const ENCODE: &str = r#"
import json, sys
from golem_base_sdk import types as t
from golem_base_sdk.utils import rlp_encode_transaction
key = lambda k: t.EntityKey(t.GenericBytes.from_hex_string(k))
pairs = lambda l: [t.Annotation(k, v) for k, v in l]
def encode(ops):
    of = lambda kind: [o for o in ops if o["kind"] == kind]
    return "0x" + rlp_encode_transaction(t.GolemBaseTransaction(
        creates=[t.GolemBaseCreate(b"", o["blocks"], pairs(o["strings"]), pairs(o["numbers"])) for o in of("create")],
        updates=[t.GolemBaseUpdate(key(o["key"]), b"", o["blocks"], pairs(o["strings"]), pairs(o["numbers"])) for o in of("update")],
        deletes=[t.GolemBaseDelete(key(o["key"])) for o in of("delete")],
        extensions=[t.GolemBaseExtend(key(o["key"]), o["blocks"]) for o in of("extend")],
    )).hex().removeprefix("0x")
print(json.dumps([encode(ops) for ops in json.load(sys.stdin)]))
"#;

fn annotations() -> impl Strategy<Value = Annotations> {
    let strings = proptest::collection::vec(("\\PC{0,60}", "\\PC{0,80}"), 0..6);
    let numbers = proptest::collection::vec(("\\PC{0,60}", any::<u64>()), 0..6);
    (strings, numbers).prop_map(|(strings, numbers)| Annotations { strings, numbers })
}

fn operation() -> impl Strategy<Value = Operation> {
    let key = || any::<[u8; 32]>().prop_map(B256::from);
    prop_oneof![
        (any::<u64>(), annotations())
            .prop_map(|(blocks, annotations)| Operation::Create { blocks, annotations }),
        (key(), any::<u64>(), annotations()).prop_map(|(key, blocks, annotations)| Operation::Update {
            key,
            blocks,
            before: Annotations::default(),
            annotations
        }),
        (key(), any::<u64>()).prop_map(|(key, blocks)| Operation::Extend { key, blocks, expires_at: 0 }),
        key().prop_map(|key| Operation::Delete { key }),
    ]
}

fn told(operation: &Operation) -> Value {
    let kind = operation.kind();
    match operation {
        Operation::Create { blocks, annotations } => json!({
            "kind": kind, "blocks": blocks, "strings": annotations.strings, "numbers": annotations.numbers,
        }),
        Operation::Update { key, blocks, annotations, .. } => json!({
            "kind": kind, "key": key, "blocks": blocks,
            "strings": annotations.strings, "numbers": annotations.numbers,
        }),
        Operation::Extend { key, blocks, .. } => json!({ "kind": kind, "key": key, "blocks": blocks }),
        Operation::Delete { key } => json!({ "kind": kind, "key": key }),
    }
}

#[test]
fn any_operations_have_the_bytes_of_the_originals_library() {
    let mut runner = TestRunner::default();
    let any = proptest::collection::vec(operation(), 0..6);
    let cases: Vec<Vec<Operation>> = (0..300).map(|_| any.new_tree(&mut runner).unwrap().current()).collect();
    let input: Vec<Vec<Value>> = cases.iter().map(|case| case.iter().map(told).collect()).collect();
    let theirs = run(ENCODE, &json!(input));
    for (case, theirs) in cases.iter().zip(theirs.as_array().unwrap()) {
        assert_eq!(hex::encode_prefixed(golem_base::encode(case)), *theirs, "{case:?}");
    }
}

/// Reads as the original's requestor does, and writes an advert of its own.
const USE: &str = r#"
import asyncio, json, sys
from web3 import AsyncWeb3
from golem_base_sdk import GolemBaseClient
from golem_base_sdk.types import Annotation, GenericBytes, GolemBaseCreate
given = json.load(sys.stdin)
async def main():
    client = GolemBaseClient(given["url"], AsyncWeb3(), bytes.fromhex(given["key"]))
    http = client.http_client()
    found = []
    for entity in await http.query_entities(given["query"]):
        data = await http.get_entity_metadata(GenericBytes.from_hex_string(entity.entity_key))
        found.append({
            "expires": data.expires_at_block,
            "owner": data.owner.as_address(),
            "strings": {a.key: a.value for a in data.string_annotations},
            "numbers": {a.key: a.value for a in data.numeric_annotations},
        })
    created = await client.create_entities([GolemBaseCreate(b"", 100,
        [Annotation("golem_type", "provider"), Annotation("golem_provider_id", client.get_account_address())],
        [Annotation("golem_cpu", 7)])])
    print(json.dumps({"found": found, "created": [created[0].entity_key.as_hex_string(), created[0].expiration_block]}))
asyncio.run(main())
"#;

#[tokio::test]
async fn the_originals_library_finds_the_advert_and_is_found() {
    let emulator = Emulator::start(Protocol::GolemBase, 1337).await.unwrap();
    let rpc = Rpc::new(emulator.url()).unwrap();
    let wallet = Wallet::from_hex(&"46".repeat(32)).unwrap();
    let advert = Advert {
        provider_id: wallet.address(),
        ip_address: "203.0.113.7".parse().unwrap(),
        country: "SE".to_owned(),
        name: "Żółw \"東京\"".to_owned(),
        platform: "x86_64".to_owned(),
        network: "testnet".to_owned(),
        payments_network: "l2.holesky".to_owned(),
        usd: AdvertPrices { core: 5.0, ram_gb: 2.0, storage_gb: 0.1 },
        glm: AdvertPrices { core: 25.0, ram_gb: 1e-5, storage_gb: 0.0 },
        free: Resources::new(4, 16, 100),
    };
    let sender = Sender::new(rpc.clone(), wallet, 1337);
    let create = Operation::Create { blocks: 7200, annotations: advert.annotations().unwrap() };
    let calldata = Generation::GolemBase.calldata(&[create], 0);
    let plan = sender.plan(Some(Generation::GolemBase.address()), calldata, U256::ZERO).await.unwrap();
    sender.send(&sender.sign(&plan).unwrap().raw).await.unwrap();

    let filter = Filter {
        network: Some("testnet".to_owned()),
        payments_network: Some("l2.holesky".to_owned()),
        cpu: Some(2),
        ..Filter::default()
    };
    let other = Wallet::from_hex(&"47".repeat(32)).unwrap();
    let input = json!({
        "url": emulator.url(), "key": *other.to_hex(),
        "query": filter.query(Generation::GolemBase).unwrap(),
    });
    let answer = tokio::task::spawn_blocking(move || run(USE, &input)).await.unwrap();
    let found = &answer["found"][0];
    // S-017, S-118, S-215
    assert_eq!(answer["found"].as_array().unwrap().len(), 1);
    assert_eq!(found["owner"], sender.address().to_string());
    assert_eq!(found["expires"], 7202);
    for (name, text) in advert.annotations().unwrap().strings {
        assert_eq!(found["strings"][&name], text, "{name}");
    }
    assert_eq!(found["numbers"], json!({ "golem_cpu": 4, "golem_memory": 16, "golem_storage": 100 }));

    let profile: Profile = toml::from_str("generation = \"golem-base\"\nchain_id = 1337").unwrap();
    let owner: Address = other.address();
    let seen = Client::new(rpc, &profile).own(owner, owner).await.unwrap();
    assert_eq!(seen.entities.len(), 1);
    assert_eq!(json!(seen.entities[0].key), answer["created"][0]);
    assert_eq!(json!(seen.entities[0].expires_at), answer["created"][1]);
}
