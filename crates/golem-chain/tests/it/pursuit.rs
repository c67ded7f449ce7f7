//! Transactions that are followed: what is recorded before what is sent, and when their fate is known.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes};
use axum::response::{IntoResponse, Response};
use golem_chain::pursuit::{Attempt, Fate, Limits, Pursuit, Recorder};
use golem_chain::{Fee, Rpc, SendError, Sender, Transaction};
use golem_types::Wallet;
use ruint::aliases::U256;
use serde_json::{Value, json};

use crate::endpoint::endpoint;

const NONCE: u64 = 5;

const LIMITS: Limits = Limits {
    poll: Duration::from_millis(1),
    stuck: Duration::from_secs(3600),
    attempts: 3,
    deadline: Duration::from_secs(60),
    failures: 4,
    lost: Duration::ZERO,
};

/// What a chain says, and what was recorded and sent.
#[derive(Default)]
struct Chain {
    /// Transactions of the wallet that are in blocks.
    mined: u64,
    /// How many more looks another number is told for.
    lag: u32,
    /// The transaction that is in a block.
    in_block: Option<B256>,
    /// How many more times there is no receipt of it.
    receipts_late: u32,
    /// Sends after which the last one is in a block; 0: never.
    mines_after: usize,
    /// Whether nothing is answered.
    fails: bool,
    refuses: bool,
    steps: Vec<String>,
}

type Shared = Arc<Mutex<Chain>>;

fn answer(chain: &Shared, call: &Value) -> Value {
    let mut chain = chain.lock().unwrap();
    match call["method"].as_str().unwrap() {
        "eth_chainId" => json!({ "result": "0x1" }),
        "eth_getTransactionCount" => {
            if chain.lag > 0 {
                // Of each look's two counts, the first says it.
                chain.lag -= u32::from(call["params"][1] == "latest");
                return json!({ "result": format!("{:#x}", NONCE + 1) });
            }
            json!({ "result": format!("{:#x}", chain.mined) })
        }
        "eth_getTransactionReceipt" => {
            let hash: B256 = call["params"][0].as_str().unwrap().parse().unwrap();
            if chain.in_block == Some(hash) && chain.receipts_late > 0 {
                chain.receipts_late -= 1;
                return json!({ "result": null });
            }
            if chain.in_block != Some(hash) {
                return json!({ "result": null });
            }
            json!({ "result": {
                "transactionHash": hash, "status": "0x1", "blockNumber": "0x10", "gasUsed": "0x5208",
                "effectiveGasPrice": "0x3", "logs": [], "contractAddress": null,
            } })
        }
        _ => {
            let raw: Bytes = call["params"][0].as_str().unwrap().parse().unwrap();
            let hash = alloy_primitives::keccak256(&raw);
            if chain.refuses {
                chain.steps.push(format!("refused {hash}"));
                return json!({ "error": { "code": -32000, "message": "not now" } });
            }
            chain.steps.push(format!("sent {hash}"));
            let sent = chain.steps.iter().filter(|step| step.starts_with("sent")).count();
            if sent == chain.mines_after {
                chain.in_block = Some(hash);
                chain.mined = NONCE + 1;
            }
            json!({ "result": hash })
        }
    }
}

fn respond(chain: &Shared, request: &Value) -> Response {
    if chain.lock().unwrap().fails {
        return axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let answers = request.as_array().unwrap().iter().map(|call| {
        let mut one = answer(chain, call);
        one["jsonrpc"] = json!("2.0");
        one["id"] = call["id"].clone();
        one
    });
    axum::Json(Value::from(answers.collect::<Vec<_>>())).into_response()
}

async fn sender(chain: &Shared) -> Sender {
    let shared = Arc::clone(chain);
    let (url, _) = endpoint(move |request| respond(&shared, &request)).await;
    Sender::new(Rpc::new(&url).unwrap(), wallet(), 1)
}

fn wallet() -> Wallet {
    Wallet::from_bytes(&[7; 32]).unwrap()
}

fn first() -> Attempt {
    let transaction = Transaction {
        chain_id: 1,
        nonce: NONCE,
        fee: Fee::Market { maximum: 800, priority: 80 },
        gas: 21_000,
        to: Some(Address::repeat_byte(1)),
        value: U256::ZERO,
        data: Bytes::new(),
    };
    let signed = transaction.sign(&wallet()).unwrap();
    Attempt { transaction, signed }
}

/// Writes down what is recorded among what is sent.
struct Diary {
    chain: Shared,
    /// Whether it cannot be written.
    full: bool,
    attempts: Vec<Attempt>,
}

#[derive(Debug, thiserror::Error)]
enum DiaryError {
    #[error("full")]
    Full,
    #[error(transparent)]
    Send(#[from] SendError),
}

impl Recorder for Diary {
    type Error = DiaryError;

    async fn record(&mut self, attempt: &Attempt) -> Result<(), DiaryError> {
        if self.full {
            return Err(DiaryError::Full);
        }
        self.chain.lock().unwrap().steps.push(format!("recorded {}", attempt.signed.hash));
        self.attempts.push(attempt.clone());
        Ok(())
    }
}

fn diary(chain: &Shared) -> Diary {
    Diary { chain: Arc::clone(chain), full: false, attempts: Vec::new() }
}

fn chain(chain: Chain) -> Shared {
    Arc::new(Mutex::new(chain))
}

#[tokio::test]
async fn a_higher_fee_is_recorded_before_it_is_sent() {
    let chain = chain(Chain { mined: NONCE, mines_after: 3, ..Chain::default() });
    let sender = sender(&chain).await;
    let mut diary = diary(&chain);
    let limits = Limits { stuck: Duration::from_millis(1), ..LIMITS };
    let first = first();
    let pursuit = Pursuit::new(vec![first.clone()], limits);
    let fate = pursuit.follow(&sender, &mut diary).await.unwrap();
    let Fate::Mined(receipt) = fate else { panic!("{fate:?}") };
    let [second, third] = [0, 1].map(|index| diary.attempts[index].clone());
    assert_eq!(receipt.hash, third.signed.hash);
    let steps = chain.lock().unwrap().steps.clone();
    let told = |step: &str, attempt: &Attempt| format!("{step} {}", attempt.signed.hash);
    let expected = [
        told("sent", &first),
        told("recorded", &second),
        told("sent", &second),
        told("recorded", &third),
        told("sent", &third),
    ];
    assert_eq!(steps, expected);
    assert!(diary.attempts.iter().all(|attempt| attempt.transaction.nonce == NONCE));
    assert!(third.transaction.fee.most() > second.transaction.fee.most());
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_sent() {
    let chain = chain(Chain { mined: NONCE, ..Chain::default() });
    let sender = sender(&chain).await;
    let mut diary = Diary { full: true, ..diary(&chain) };
    let limits = Limits { stuck: Duration::ZERO, ..LIMITS };
    let fate = Pursuit::new(vec![first()], limits).follow(&sender, &mut diary).await;
    assert!(matches!(fate, Err(DiaryError::Full)));
    assert_eq!(chain.lock().unwrap().steps.len(), 1);
}

/// What an earlier process made long ago is raised at once, and no more often than is allowed.
#[tokio::test]
async fn the_fee_is_raised_as_often_as_is_allowed_and_the_deadline_ends_it() {
    let chain = chain(Chain { mined: NONCE, ..Chain::default() });
    let sender = sender(&chain).await;
    let mut diary = diary(&chain);
    let limits = Limits { deadline: Duration::from_millis(100), ..LIMITS };
    let pursuit = Pursuit::new(vec![first()], limits).waited(LIMITS.stuck);
    let fate = pursuit.follow(&sender, &mut diary).await.unwrap();
    assert!(matches!(fate, Fate::UnderWay(None)), "{fate:?}");
    assert_eq!(diary.attempts.len(), 1, "the new one is not stuck yet");
    let limits = Limits { stuck: Duration::ZERO, ..limits };
    let fate = Pursuit::new(vec![first()], limits).follow(&sender, &mut diary).await.unwrap();
    assert!(matches!(fate, Fate::UnderWay(None)), "{fate:?}");
    assert_eq!(diary.attempts.len(), 1 + 2, "three attempts in all");
}

/// An endpoint of which one node lags behind says once or twice that the number is used.
#[tokio::test]
async fn a_transaction_is_lost_only_where_that_is_said_again_and_again() {
    let chain = chain(Chain { mined: NONCE, lag: 2, mines_after: 1, ..Chain::default() });
    let sender = sender(&chain).await;
    let mut diary = diary(&chain);
    let fate = Pursuit::new(vec![first()], LIMITS).follow(&sender, &mut diary).await.unwrap();
    assert!(matches!(fate, Fate::Mined(_)), "{fate:?}");
    *chain.lock().unwrap() = Chain { mined: NONCE + 1, ..Chain::default() };
    let fate = Pursuit::new(vec![first()], LIMITS).follow(&sender, &mut diary).await.unwrap();
    assert!(matches!(fate, Fate::Lost), "{fate:?}");
    assert!(chain.lock().unwrap().steps.is_empty(), "nothing is sent that cannot be mined");
    let fate = Pursuit::new(Vec::new(), LIMITS).follow(&sender, &mut diary).await.unwrap();
    assert!(matches!(fate, Fate::Lost), "{fate:?}");
}

/// M-07: of what is in a block the receipt may come long after the count.
#[tokio::test]
async fn m_07_a_receipt_that_comes_late_is_waited_for() {
    let chain = chain(Chain { mined: NONCE, mines_after: 1, receipts_late: 50, ..Chain::default() });
    let sender = sender(&chain).await;
    let mut diary = diary(&chain);
    let limits = Limits { lost: Duration::from_secs(30), ..LIMITS };
    let fate = Pursuit::new(vec![first()], limits).follow(&sender, &mut diary).await.unwrap();
    // M-07
    assert!(matches!(fate, Fate::Mined(_)), "{fate:?}");
}

#[tokio::test]
async fn an_endpoint_that_fails_loses_nothing_and_is_given_up() {
    let chain = chain(Chain { mined: NONCE, fails: true, ..Chain::default() });
    let sender = sender(&chain).await;
    let mut diary = diary(&chain);
    let fate = Pursuit::new(vec![first()], LIMITS).follow(&sender, &mut diary).await.unwrap();
    assert!(matches!(fate, Fate::UnderWay(Some(_))), "{fate:?}");
    assert!(diary.attempts.is_empty());
}

/// What is refused is sent until it is taken; what was just taken is not sent again.
#[tokio::test]
async fn what_the_chains_node_refuses_is_tried_again() {
    let chain = chain(Chain { mined: NONCE, refuses: true, ..Chain::default() });
    let sender = sender(&chain).await;
    let mut diary = diary(&chain);
    let limits = Limits { deadline: Duration::from_millis(50), ..LIMITS };
    let fate = Pursuit::new(vec![first()], limits).follow(&sender, &mut diary).await.unwrap();
    assert!(matches!(fate, Fate::UnderWay(None)), "{fate:?}");
    assert!(chain.lock().unwrap().steps.len() > 1);
    *chain.lock().unwrap() = Chain { mined: NONCE, ..Chain::default() };
    Pursuit::new(vec![first()], limits).follow(&sender, &mut diary).await.unwrap();
    assert_eq!(chain.lock().unwrap().steps.len(), 1);
    *chain.lock().unwrap() = Chain { mined: NONCE, ..Chain::default() };
    Pursuit::new(vec![first()], limits).sent().follow(&sender, &mut diary).await.unwrap();
    assert!(chain.lock().unwrap().steps.is_empty(), "the caller has sent it");
}
