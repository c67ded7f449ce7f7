//! Answers that were recorded, served again.

use std::collections::HashMap;
use std::sync::Arc;

use alloy_primitives::B256;
use axum::Router;
use axum::routing::post;
use golem_market::arkiv::{Generation, Profile};
use serde_json::{Value, json};

/// Questions and their recorded answers; of a question asked often, the first answer that is not
/// empty.
pub(crate) struct Recorded(Arc<HashMap<String, Value>>);

fn question(call: &Value) -> String {
    format!("{} {}", call["method"], call["params"])
}

fn is_empty(answer: &Value) -> bool {
    answer.is_null() || answer.as_array().is_some_and(Vec::is_empty)
}

/// The network of the recording.
pub(crate) fn profile() -> Profile {
    Profile {
        generation: Generation::GolemBase,
        chain_id: 60_138_453_033,
        rpc_url: None,
        block_seconds: 2,
        testnet: true,
        faucet: None,
        explorer: None,
        note: None,
    }
}

impl Recorded {
    pub(crate) fn load(lines: &str) -> Self {
        let mut answers = HashMap::new();
        for line in lines.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let result = &line["response"]["result"];
            if !is_empty(result) {
                answers.entry(question(&line["request"])).or_insert_with(|| result.clone());
            }
        }
        Self(Arc::new(answers))
    }

    /// Hashes of the transactions, in no order but that of their blocks.
    pub(crate) fn transactions(&self) -> Vec<B256> {
        let mut receipts: Vec<_> =
            self.0.iter().filter(|(asked, _)| asked.contains("getTransactionReceipt")).collect();
        receipts.sort_by_key(|(_, receipt)| {
            u64::from_str_radix(receipt["blockNumber"].as_str().unwrap().trim_start_matches("0x"), 16)
                .unwrap()
        });
        receipts
            .into_iter()
            .map(|(_, receipt)| receipt["transactionHash"].as_str().unwrap().parse().unwrap())
            .collect()
    }

    pub(crate) async fn serve(&self) -> String {
        let answers = Arc::clone(&self.0);
        let handler = async move |axum::Json(calls): axum::Json<Value>| {
            let answer = |call: &Value| {
                let result = answers.get(&question(call)).cloned().unwrap_or_default();
                json!({ "jsonrpc": "2.0", "id": call["id"], "result": result })
            };
            axum::Json(match calls.as_array() {
                Some(calls) => calls.iter().map(answer).collect(),
                None => answer(&calls),
            })
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, Router::new().route("/", post(handler))).await });
        // It serves until the test ends.
        tasks.detach_all();
        url
    }
}
