//! The bytes that the original's own library wrote, and those that this crate writes.

use alloy_primitives::{Bytes, U256, hex, keccak256};
use golem_chain::{Fee, Rpc, Sender, Transaction};
use golem_market::arkiv::golem_base::{Create, Extend, NumericAnnotation, Storage, StringAnnotation, Update};
use golem_market::arkiv::price::python_float;
use golem_market::arkiv::{Advert, AdvertPrices, Annotations, Event, Generation, Operation, logs};
use golem_types::Resources;
use golem_types::Wallet;
use serde_json::{Value, json};

use crate::transcript;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../data/golem-base.json")).unwrap()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn bytes(value: &Value) -> Bytes {
    hex::decode(value.as_str().unwrap()).unwrap().into()
}

/// The operations of a vector; `None` if a number is beyond what the network takes.
fn storage(input: &Value) -> Option<Storage> {
    let strings = |entity: &Value| -> Vec<StringAnnotation> {
        let pairs = list(entity, "string_annotations").iter();
        pairs.map(|pair| StringAnnotation { key: text(&pair[0]), value: text(&pair[1]) }).collect()
    };
    let numbers = |entity: &Value| -> Option<Vec<NumericAnnotation>> {
        let pairs = list(entity, "numeric_annotations").iter();
        pairs.map(|pair| Some(NumericAnnotation { key: text(&pair[0]), value: pair[1].as_u64()? })).collect()
    };
    let key = |value: &Value| value.as_str().unwrap().parse().unwrap();
    Some(Storage {
        creates: list(input, "creates")
            .iter()
            .map(|create| {
                Some(Create {
                    blocks: create["btl"].as_u64().unwrap(),
                    payload: bytes(&create["data"]),
                    strings: strings(create),
                    numbers: numbers(create)?,
                })
            })
            .collect::<Option<_>>()?,
        updates: list(input, "updates")
            .iter()
            .map(|update| {
                Some(Update {
                    key: key(&update["entity_key"]),
                    blocks: update["btl"].as_u64().unwrap(),
                    payload: bytes(&update["data"]),
                    strings: strings(update),
                    numbers: numbers(update)?,
                })
            })
            .collect::<Option<_>>()?,
        deletes: list(input, "deletes").iter().map(key).collect(),
        extends: list(input, "extensions")
            .iter()
            .map(|extend| Extend {
                key: key(&extend["entity_key"]),
                blocks: extend["number_of_blocks"].as_u64().unwrap(),
            })
            .collect(),
    })
}

fn named<'a>(vectors: &'a Value, name: &str) -> &'a Value {
    list(vectors, "rlp_vectors").iter().find(|vector| vector["name"] == name).unwrap()
}

#[test]
fn every_transaction_has_the_bytes_of_the_originals_library() {
    let vectors = vectors();
    let mut beyond = Vec::new();
    let mut same = 0;
    for vector in list(&vectors, "rlp_vectors") {
        let Some(storage) = storage(&vector["input"]) else {
            beyond.push(text(&vector["name"]));
            continue;
        };
        assert_eq!(hex::encode_prefixed(storage.encoded()), vector["rlp"], "{}", vector["name"]);
        same += 1;
    }
    // Its numbers are beyond 64 bits: the network refuses them, and here they cannot be said.
    assert_eq!(beyond, ["ints_beyond_u64_encoder_only"]);
    assert_eq!(same, 20);
}

/// The advert of a vector's first create, as the node would be told it.
fn advert(create: &Value) -> Advert {
    let string = |name: &str| {
        let mut pairs = list(create, "string_annotations").iter();
        text(&pairs.find(|pair| pair[0] == name).unwrap()[1])
    };
    let number = |name: &str| -> u32 {
        let mut pairs = list(create, "numeric_annotations").iter();
        pairs.find(|pair| pair[0] == name).unwrap()[1].as_u64().unwrap().try_into().unwrap()
    };
    let prices = |currency: &str| {
        let price = |what: &str| string(&format!("golem_price_{currency}_{what}_month")).parse().unwrap();
        AdvertPrices { core: price("core"), ram_gb: price("ram_gb"), storage_gb: price("storage_gb") }
    };
    Advert {
        provider_id: string("golem_provider_id").parse().unwrap(),
        ip_address: string("golem_ip_address").parse().unwrap(),
        country: string("golem_country"),
        name: string("golem_provider_name"),
        platform: string("golem_platform"),
        network: string("golem_network"),
        payments_network: string("golem_payments_network"),
        usd: prices("usd"),
        glm: prices("glm"),
        free: Resources::new(number("golem_cpu"), number("golem_memory"), number("golem_storage")),
    }
}

#[test]
fn an_advert_has_the_originals_annotations_and_bytes() {
    let vectors = vectors();
    for name in [
        "provider_create_defaults",
        "provider_create_arm64_dev",
        "provider_create_float_formats",
        "provider_create_unicode_and_empty",
        "provider_create_zero_resources",
    ] {
        let vector = named(&vectors, name);
        let create = &vector["input"]["creates"][0];
        let annotations = advert(create).annotations().unwrap();
        let operation = Operation::Create { blocks: create["btl"].as_u64().unwrap(), annotations };
        let calldata = Generation::GolemBase.calldata(&[operation], 0);
        // S-117, S-213, S-214: byte for byte.
        assert_eq!(hex::encode_prefixed(&calldata), vector["rlp"], "{name}");
    }
    let vector = named(&vectors, "provider_update");
    let update = &vector["input"]["updates"][0];
    let operation = Operation::Update {
        key: update["entity_key"].as_str().unwrap().parse().unwrap(),
        blocks: update["btl"].as_u64().unwrap(),
        before: Annotations::default(),
        annotations: advert(update).annotations().unwrap(),
    };
    assert_eq!(hex::encode_prefixed(Generation::GolemBase.calldata(&[operation], 0)), vector["rlp"]);
    let vector = named(&vectors, "provider_extend");
    let extend = &vector["input"]["extensions"][0];
    let operation = Operation::Extend {
        key: extend["entity_key"].as_str().unwrap().parse().unwrap(),
        blocks: extend["number_of_blocks"].as_u64().unwrap(),
        expires_at: 9,
    };
    assert_eq!(hex::encode_prefixed(Generation::GolemBase.calldata(&[operation], 0)), vector["rlp"]);
    let vector = named(&vectors, "delete_many");
    let deletes: Vec<_> = list(&vector["input"], "deletes")
        .iter()
        .map(|key| Operation::Delete { key: key.as_str().unwrap().parse().unwrap() })
        .collect();
    assert_eq!(hex::encode_prefixed(Generation::GolemBase.calldata(&deletes, 0)), vector["rlp"]);
}

#[test]
fn every_signed_transaction_has_the_bytes_of_the_originals_library() {
    let vectors = vectors();
    for vector in list(&vectors, "signed_transactions") {
        let wallet = Wallet::from_hex(vector["private_key"].as_str().unwrap()).unwrap();
        assert_eq!(wallet.address().to_string(), vector["sender"]);
        let fields = &vector["fields"];
        let number = |name: &str| fields[name].as_u64().unwrap();
        let wei = |name: &str| u128::from(number(name));
        let fee = if fields.get("gasPrice").is_some() {
            Fee::Legacy { price: wei("gasPrice") }
        } else {
            Fee::Market { maximum: wei("maxFeePerGas"), priority: wei("maxPriorityFeePerGas") }
        };
        let data = named(&vectors, vector["data_from_vector"].as_str().unwrap());
        let signed = Transaction {
            chain_id: number("chainId"),
            nonce: number("nonce"),
            fee,
            gas: number("gas"),
            to: Some(Generation::GolemBase.address()),
            value: U256::ZERO,
            data: storage(&data["input"]).unwrap().encoded(),
        }
        .sign(&wallet)
        .unwrap();
        assert_eq!(hex::encode_prefixed(&signed.raw), vector["raw"], "{}", vector["name"]);
        assert_eq!(json!(signed.hash), vector["tx_hash"], "{}", vector["name"]);
    }
}

#[test]
fn every_price_has_pythons_spelling() {
    for vector in list(&vectors(), "python_float_str") {
        let number: f64 = vector["input_repr"].as_str().unwrap().parse().unwrap();
        assert_eq!(python_float(number), vector["str"], "{}", vector["hex"]);
    }
}

#[test]
fn the_network_is_the_originals() {
    let vectors = vectors();
    let address = Generation::GolemBase.address();
    assert_eq!(hex::encode_prefixed(address), vectors["storage_address"]);
    for (signature, topic) in vectors["event_topics"].as_object().unwrap() {
        assert_eq!(json!(keccak256(signature)), *topic);
    }
}

/// The life of an advert of the original, recorded: create, nothing to do, extend, update.
#[tokio::test]
async fn recorded_answers_are_understood() {
    let recorded = transcript::Recorded::load(include_str!("../data/golem-base-transcript.jsonl"));
    let rpc = Rpc::new(&recorded.serve().await).unwrap();
    let wallet = Wallet::from_hex(&"46".repeat(32)).unwrap();
    let profile = transcript::profile();
    let client = golem_market::arkiv::Client::new(rpc.clone(), &profile);
    let query = format!("golem_provider_id=\"{}\"", wallet.address());

    // What the original created is found with what it wrote.
    let seen = client.find(&query, 10).await.unwrap();
    let [entity] = seen.entities.as_slice() else { panic!("{seen:?}") };
    assert_eq!((entity.owner, entity.expires_at), (wallet.address(), 7201));
    let vectors = vectors();
    let defaults = &named(&vectors, "provider_create_defaults")["input"]["creates"][0];
    assert!(advert(defaults).annotations().unwrap().say_the_same(&entity.annotations));

    // Every receipt says what was done.
    let sender = Sender::new(rpc, wallet, profile.chain_id);
    let mut kinds = Vec::new();
    for hash in recorded.transactions() {
        let receipt = sender.receipt(hash).await.unwrap().unwrap();
        let events = logs::events(Generation::GolemBase, &receipt.logs);
        assert_eq!(receipt.succeeded, !events.is_empty(), "{hash}");
        assert!(receipt.gas_used > 21_000);
        kinds.extend(events.into_iter().map(|event| match event {
            Event::Created { .. } => 'c',
            Event::Updated { .. } => 'u',
            Event::Extended { .. } => 'e',
            Event::Deleted { .. } => 'd',
        }));
    }
    assert!(kinds.starts_with(&['c', 'e', 'u']), "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == 'd').count(), 2, "{kinds:?}");
}
