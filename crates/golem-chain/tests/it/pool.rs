//! Endpoints with the limits that public providers have, one and several: what is asked is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use alloy_primitives::{Address, B256};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use golem_chain::{ChainError, Rpc};
use serde_json::{Value, json};

use crate::endpoint::endpoint;

const CONTRACT: Address = Address::repeat_byte(1);

/// The chain's answer to `call`: numbers are doubled; there is a log in each block.
fn result(call: &Value, chain: u64) -> Value {
    match call["method"].as_str().unwrap() {
        "eth_chainId" => json!(format!("{chain:#x}")),
        "eth_getLogs" => {
            let number = |name: &str| golem_chain::rpc::quantity(&call["params"][0][name]).unwrap();
            let log = |block: u64| {
                json!({
                    "address": CONTRACT, "topics": [B256::ZERO], "data": "0x", "blockNumber": format!("{block:#x}"),
                    "blockHash": B256::ZERO, "transactionHash": B256::ZERO, "logIndex": "0x0",
                })
            };
            (number("fromBlock")..=number("toBlock")).map(log).collect()
        }
        _ => json!(call["params"][0].as_u64().unwrap() * 2),
    }
}

fn answers(request: &Value, chain: u64) -> Response {
    let answer = |call: &Value| json!({ "id": call["id"], "result": result(call, chain) });
    axum::Json(Value::from(request.as_array().unwrap().iter().map(answer).collect::<Vec<_>>()))
        .into_response()
}

fn error(code: i64, message: &str) -> Response {
    axum::Json(json!({ "error": { "code": code, "message": message } })).into_response()
}

fn doubles(count: u64) -> Vec<(&'static str, Value)> {
    (0..count).map(|number| ("double", json!([number]))).collect()
}

async fn is_answered(rpc: &Rpc, count: u64) {
    let results = rpc.calls(&doubles(count)).await.unwrap();
    assert_eq!(results, (0..count).map(|number| json!(number * 2)).collect::<Vec<_>>());
}

/// M-08: an endpoint may refuse batches in any way that is known: what is asked is answered, and the limit is kept to.
#[tokio::test]
async fn batches_are_as_large_as_an_endpoint_takes() {
    type Refusal = fn(&Value, usize) -> Response;
    let refusals: [(&str, Refusal); 8] = [
        ("400", |_, _| StatusCode::BAD_REQUEST.into_response()),
        ("413", |_, _| StatusCode::PAYLOAD_TOO_LARGE.into_response()),
        ("500", |_, _| StatusCode::INTERNAL_SERVER_ERROR.into_response()),
        ("an error for all", |_, _| error(-32600, "batch too large")),
        ("a list of one error", |_, _| {
            axum::Json(json!([{ "id": null, "error": { "code": -32600, "message": "no" } }])).into_response()
        }),
        ("an error each", |request, _| {
            let errors = request.as_array().unwrap().iter();
            let errors =
                errors.map(|call| json!({ "id": call["id"], "error": { "code": -32601, "message": "no" } }));
            axum::Json(errors.collect::<Vec<_>>()).into_response()
        }),
        ("fewer answers", |request, most| {
            answers(&Value::from(request.as_array().unwrap()[..most].to_vec()), 1)
        }),
        ("nothing", |_, _| "".into_response()),
    ];
    for (what, refusal) in refusals {
        for most in [1, 2, 7] {
            let (url, asked) = endpoint(move |request| {
                let count = request.as_array().unwrap().len();
                if count > most { refusal(&request, most) } else { answers(&request, 1) }
            })
            .await;
            let rpc = Rpc::new(&url).unwrap();
            is_answered(&rpc, 30).await;
            let first = asked.swap(0, Ordering::Relaxed);
            is_answered(&rpc, 30).await;
            let then = asked.load(Ordering::Relaxed);
            assert!(
                then <= first && then <= 30,
                "M-08: {what}, {most} a batch: {first}, then {then} requests"
            );
            if what == "fewer answers" {
                assert!(then <= 30usize.div_ceil(most) * 2, "{what}, {most} a batch: {then}");
            }
        }
    }
}

/// M-08: what a node refuses for what it says is an answer: no other endpoint is asked, and none is left alone for it.
#[tokio::test]
async fn a_refusal_of_what_is_asked_is_an_answer() {
    let mut counts = Vec::new();
    let mut urls = Vec::new();
    for _ in 0..2 {
        let (url, asked) = endpoint(|_| error(3, "execution reverted: no-stream")).await;
        urls.push(url);
        counts.push(asked);
    }
    let rpc = Rpc::new(&urls.join(",")).unwrap();
    for _ in 0..4 {
        let refused = rpc.calls(&doubles(1)).await;
        assert!(matches!(refused, Err(ChainError::Refused { code: 3, .. })), "{refused:?}");
    }
    // A list of one is refused as a whole, and asked again by itself, once for each endpoint.
    assert_eq!(counts.iter().map(|count| count.load(Ordering::Relaxed)).sum::<usize>(), 4, "in turn");
}

/// M-08: load is spread, one that fails is left alone, and asked again once it answers; no restart is needed.
#[tokio::test]
async fn several_endpoints_stand_in_for_each_other() {
    let broken = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&broken);
    let (one, one_asked) = endpoint(move |request| {
        if state.load(Ordering::Relaxed) {
            return StatusCode::BAD_GATEWAY.into_response();
        }
        answers(&request, 1)
    })
    .await;
    let (two, two_asked) = endpoint(|request| answers(&request, 1)).await;
    let rpc = Rpc::new(&format!("{one}, http://127.0.0.1:1/,{two}")).unwrap();
    let asked = |count: &AtomicUsize| count.swap(0, Ordering::Relaxed);
    for _ in 0..20 {
        is_answered(&rpc, 3).await;
    }
    let (first, second) = (asked(&one_asked), asked(&two_asked));
    assert!(first >= 7 && second >= 7, "{first} and {second} requests");
    broken.store(true, Ordering::Relaxed);
    for _ in 0..20 {
        is_answered(&rpc, 3).await;
    }
    assert!(asked(&one_asked) < 8, "it is left alone");
    broken.store(false, Ordering::Relaxed);
    let back = async {
        while one_asked.load(Ordering::Relaxed) == 0 {
            is_answered(&rpc, 3).await;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), back).await.unwrap();
}

/// M-08: an endpoint of another chain among several is left out, and nothing that it says counts; where all are, it is said.
#[tokio::test]
async fn an_endpoint_of_another_chain_is_left_out() {
    let (foreign, _) = endpoint(|request| answers(&request, 5)).await;
    let (own, own_asked) = endpoint(|request| answers(&request, 1)).await;
    let rpc = Rpc::new(&format!("{foreign},{own}")).unwrap().of_chain(1);
    for _ in 0..10 {
        let results = rpc.calls(&[("double", json!([4])), ("eth_chainId", json!([]))]).await.unwrap();
        assert_eq!(results, [json!(8), json!("0x1")]);
        is_answered(&rpc, 1).await;
    }
    assert!(own_asked.load(Ordering::Relaxed) >= 20);
    let rpc = Rpc::new(&foreign).unwrap().of_chain(1);
    let error = rpc.calls(&doubles(1)).await.unwrap_err();
    assert!(matches!(error, ChainError::WrongChain { found: 5, expected: 1 }), "{error}");
}

/// M-08: an endpoint that takes a few requests a second is asked as often as it likes, and gives everything in the end.
#[tokio::test]
async fn an_endpoint_is_asked_no_faster_than_it_likes() {
    let started = std::time::Instant::now();
    let taken = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&taken);
    let (url, _) = endpoint(move |request| {
        if request.as_array().unwrap().len() > 1 {
            return error(-32600, "no batches");
        }
        // Twenty at once, and twenty more a second.
        let most = 20 + u64::try_from(started.elapsed().as_millis()).unwrap() / 50;
        if count.load(Ordering::Relaxed) >= most {
            return StatusCode::TOO_MANY_REQUESTS.into_response();
        }
        count.fetch_add(1, Ordering::Relaxed);
        answers(&request, 1)
    })
    .await;
    let rpc = Rpc::new(&url).unwrap();
    is_answered(&rpc, 60).await;
    is_answered(&rpc, 5).await;
}

/// M-08: logs are asked for in pieces as large as an endpoint gives them, whatever its words; none at all is said to be so.
#[tokio::test]
async fn logs_are_read_in_pieces_that_an_endpoint_gives() {
    for most in [1, 5, 10, 300, 2000] {
        let (url, asked) = endpoint(move |request| {
            let filter = &request[0]["params"][0];
            let number = |name: &str| golem_chain::rpc::quantity(&filter[name]).unwrap();
            if request[0]["method"] == "eth_getLogs" && number("toBlock") - number("fromBlock") >= most {
                return error(-32005, "query returned more than 10000 results");
            }
            answers(&request, 1)
        })
        .await;
        let rpc = Rpc::new(&url).unwrap().of_chain(1);
        let read = rpc.logs(CONTRACT, &[], 100, 139).await.unwrap();
        let blocks: Vec<u64> = read.logs.iter().map(|log| log.block.0).collect();
        assert_eq!((blocks, read.through), ((100..=139).collect::<Vec<_>>(), 139), "{most} blocks");
        asked.store(0, Ordering::Relaxed);
        rpc.logs(CONTRACT, &[vec![B256::ZERO]], 140, 179).await.unwrap();
        let then = u64::try_from(asked.load(Ordering::Relaxed)).unwrap();
        assert!(then <= 40u64.div_ceil(most.min(40)) * 2, "{most} blocks: {then} requests");
        assert_eq!(rpc.logs(CONTRACT, &[], 5, 4).await.unwrap().logs, []);
    }
    let (none, _) = endpoint(|_| error(-32601, "the method eth_getLogs does not exist")).await;
    let rpc = Rpc::new(&none).unwrap();
    assert!(matches!(rpc.logs(CONTRACT, &[], 1, 3).await, Err(ChainError::NoLogs)));
    assert_eq!(rpc.log_requests(10), None);
}
