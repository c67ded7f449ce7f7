//! An endpoint that misbehaves in every way that is known, and what is made of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use alloy_primitives::{Address, B256};
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use golem_chain::{Block, ChainError, Reader, Rpc, StreamTerms, StreamVerdict};
use golem_types::StreamId;
use ruint::aliases::{U160, U256};
use serde_json::{Value, json};

use crate::endpoint::endpoint;

fn now() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs().into()
}

/// A well-behaved chain: block 7, made now, and one stream for everybody.
fn chain(request: &Value) -> Value {
    let artifact = include_str!("../../../../contracts/artifacts/StreamPayment.json");
    let contract: Value = serde_json::from_str(artifact).unwrap();
    let word = |number: u128| format!("{number:064x}");
    let time = now();
    let stream = [0, 1, 7, time - 100, time + 4000, 10, 41_000, 0, 0].map(word).concat();
    let answers: Vec<Value> = request
        .as_array()
        .unwrap()
        .iter()
        .map(|call| {
            let result = match call["method"].as_str().unwrap() {
                "eth_chainId" => json!("0x7a69"),
                "eth_getCode" => contract["deployedBytecode"].clone(),
                "eth_getBlockByNumber" => {
                    json!({ "number": "0x7", "hash": B256::repeat_byte(7), "timestamp": format!("{time:#x}") })
                }
                _ => {
                    assert_eq!(call["params"][1], "0x7", "all at one block");
                    json!(format!("0x{stream}"))
                }
            };
            json!({ "jsonrpc": "2.0", "id": call["id"], "result": result })
        })
        .collect();
    Value::from(answers)
}

const CONTRACT: Address = Address::repeat_byte(1);

const TERMS: StreamTerms = StreamTerms {
    recipient: U160::from_limbs([7, 0, 0]),
    token: U160::ZERO,
    least_rate: None,
    least_runway: 0,
    grace: 0,
    lease: None,
};

fn id(number: u64) -> StreamId {
    StreamId(U256::from(number))
}

async fn reader(
    answer: impl Fn(Value) -> Response + Clone + Send + Sync + 'static,
) -> (Reader, Arc<AtomicUsize>) {
    let (url, asked) = endpoint(answer).await;
    (Reader::new(Rpc::new(&url).unwrap(), CONTRACT, 31_337, false), asked)
}

#[tokio::test]
async fn a_hundred_streams_are_read_in_two_round_trips() {
    let (reader, asked) = reader(|request| axum::Json(chain(&request)).into_response()).await;
    reader.check().await.unwrap();
    asked.store(0, Ordering::Relaxed);
    let ids: Vec<StreamId> = (1..=100).map(id).collect();
    let seen = reader.streams(&ids).await.unwrap();
    assert_eq!((seen.block.number, seen.streams.len()), (7, 100));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    assert!(matches!(reader.verdict(id(1), &TERMS).await, StreamVerdict::Good { .. }));
}

#[tokio::test]
async fn answers_in_another_order_belong_to_their_questions() {
    let (reader, _) = reader(|request| {
        let mut answers = chain(&request);
        answers.as_array_mut().unwrap().reverse();
        axum::Json(answers).into_response()
    })
    .await;
    reader.check().await.unwrap();
}

/// I3: whatever an endpoint does wrong, the verdict is Unknown and never Bad.
#[tokio::test]
async fn i3_an_endpoint_that_misbehaves_ends_no_rental() {
    type Answer = fn(Value) -> Response;
    let misbehaviours: [(&str, Answer); 15] = [
        ("500", |_| StatusCode::INTERNAL_SERVER_ERROR.into_response()),
        ("429", |_| StatusCode::TOO_MANY_REQUESTS.into_response()),
        ("a redirect", |_| (StatusCode::FOUND, [("location", "http://127.0.0.1:1/")]).into_response()),
        ("nothing", |_| Body::empty().into_response()),
        ("no JSON", |_| "<html>".into_response()),
        ("half an answer", |request| {
            let text = chain(&request).to_string();
            text[..text.len() / 2].to_owned().into_response()
        }),
        ("one error for all", |_| {
            axum::Json(json!({ "error": { "code": -32000, "message": "busy" } })).into_response()
        }),
        ("an error each", |request| {
            let errors = request.as_array().unwrap().iter().map(
                |call| json!({ "id": call["id"], "error": { "code": -32005, "message": "limit exceeded" } }),
            );
            axum::Json(errors.collect::<Vec<_>>()).into_response()
        }),
        ("too few answers", |_| axum::Json(json!([])).into_response()),
        ("foreign ids", |request| {
            let mut answers = chain(&request);
            answers[0]["id"] = json!(99);
            axum::Json(answers).into_response()
        }),
        ("no stream", |request| {
            let mut answers = chain(&request);
            if request[0]["method"] == "eth_call" {
                answers[0]["result"] = json!("0x");
            }
            axum::Json(answers).into_response()
        }),
        ("an impossible stream", |request| {
            let mut answers = chain(&request);
            if request[0]["method"] == "eth_call" {
                // More was paid out than in.
                let text = answers[0]["result"].as_str().unwrap().to_owned();
                let most = "f".repeat(64);
                answers[0]["result"] = json!(format!("{}{most}{}", &text[..2 + 7 * 64], &text[2 + 8 * 64..]));
            }
            axum::Json(answers).into_response()
        }),
        ("another chain", |request| {
            let mut answers = chain(&request);
            for (n, call) in request.as_array().unwrap().iter().enumerate() {
                if call["method"] == "eth_chainId" {
                    answers[n]["result"] = json!("0x1");
                }
            }
            axum::Json(answers).into_response()
        }),
        ("a block from the future", |request| {
            let mut answers = chain(&request);
            if request[0]["method"] == "eth_getBlockByNumber" {
                answers[0]["result"]["timestamp"] = json!("0xffffffffffff");
            }
            axum::Json(answers).into_response()
        }),
        ("more than anyone asked for", |_| vec![b' '; 20 << 20].into_response()),
    ];
    for (what, answer) in misbehaviours {
        let (reader, _) = reader(answer).await;
        let verdict = reader.verdict(id(1), &TERMS).await;
        assert!(matches!(verdict, StreamVerdict::Unknown(_)), "{what}: {verdict:?}");
    }
    let nobody = Reader::new(Rpc::new("http://127.0.0.1:1/").unwrap(), CONTRACT, 31_337, false);
    assert!(matches!(nobody.verdict(id(1), &TERMS).await, StreamVerdict::Unknown(ChainError::NoAnswer(_))));
}

/// An endpoint behind a balancer answers from several nodes, some of which lag; and after a
/// reorganisation a block that was known is no longer part of the chain.
#[tokio::test]
async fn a_lagging_endpoint_is_not_believed_and_a_reorganisation_is_seen() {
    let (reader, asked) = reader(|request| axum::Json(chain(&request)).into_response()).await;
    let head = reader.head(None).await.unwrap();
    assert!(!head.continues, "nothing was known before");
    assert!(reader.head(Some(&head.block)).await.unwrap().continues);
    assert_eq!(asked.load(Ordering::Relaxed), 2, "one round trip each");
    let replaced = Block { hash: B256::ZERO, ..head.block };
    assert!(!reader.head(Some(&replaced)).await.unwrap().continues);
    // One that lags is asked again and again, and then believed: the chain may have been rewound.
    let newer = Block { number: 8, ..head.block };
    assert!(!reader.head(Some(&newer)).await.unwrap().continues);
}
