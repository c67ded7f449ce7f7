//! The payment contract on a real EVM, read and judged as the node does.
#![cfg(test)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use alloy_primitives::hex;
use alloy_sol_types::SolCall;
use golem_chain::contract::{createStreamCall, haltStreamCall, terminateCall, topUpCall};
use golem_chain::{Bad, ChainError, Reader, Rpc, Terms, Verdict};
use golem_types::{Stream, StreamId};
use ruint::aliases::{U160, U256};
use serde_json::{Value, json};

/// Anvil's chain id.
const CHAIN: u64 = 31_337;

/// A chain of its own; ends with the test.
struct Chain {
    anvil: Child,
    rpc: Rpc,
    accounts: Vec<String>,
    contract: String,
}

impl Drop for Chain {
    fn drop(&mut self) {
        let _ = self.anvil.kill();
        let _ = self.anvil.wait();
    }
}

fn contracts() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../contracts")
}

fn anvil() -> PathBuf {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let path = contracts().join(format!("node_modules/@foundry-rs/anvil-linux-{arch}/bin/anvil"));
    assert!(path.is_file(), "{} is not there; run: npm ci, in contracts/", path.display());
    path
}

impl Chain {
    async fn start() -> Self {
        let mut anvil = Command::new(anvil()).args(["--port", "0"]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(anvil.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address = lines
            .into_iter()
            .find_map(|line| Some(line.strip_prefix("Listening on ")?.trim().to_owned()))
            .expect("anvil listens");
        let rpc = Rpc::new(&format!("http://{address}")).unwrap();
        let mut chain = Self { anvil, rpc, accounts: Vec::new(), contract: String::new() };
        let accounts = chain.ask("eth_accounts", json!([])).await;
        chain.accounts =
            accounts.as_array().unwrap().iter().map(|account| account.as_str().unwrap().to_owned()).collect();
        let artifact = std::fs::read_to_string(contracts().join("artifacts/StreamPayment.json")).unwrap();
        let artifact: Value = serde_json::from_str(&artifact).unwrap();
        let oracle = &chain.accounts[0];
        let code = format!("{}{:0>64}", artifact["bytecode"].as_str().unwrap(), &oracle[2..]);
        let receipt = chain.send(json!({ "from": oracle, "data": code })).await;
        chain.contract = receipt["contractAddress"].as_str().unwrap().to_owned();
        chain
    }

    async fn ask(&self, method: &str, params: Value) -> Value {
        self.rpc.calls(&[(method, params)]).await.unwrap().remove(0)
    }

    /// The receipt of a transaction that must succeed.
    async fn send(&self, transaction: Value) -> Value {
        let hash = self.ask("eth_sendTransaction", json!([transaction])).await;
        let receipt = self.ask("eth_getTransactionReceipt", json!([hash])).await;
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        receipt
    }

    async fn call(&self, from: usize, call: impl SolCall, value: u64) {
        let data = format!("0x{}", hex::encode(call.abi_encode()));
        let (from, to) = (&self.accounts[from], &self.contract);
        self.send(json!({ "from": from, "to": to, "data": data, "value": format!("{value:#x}") })).await;
    }

    async fn warp(&self, seconds: u64) {
        self.ask("evm_increaseTime", json!([seconds])).await;
        self.ask("evm_mine", json!([])).await;
    }

    fn address(&self, account: usize) -> U160 {
        U160::from_str_radix(&self.accounts[account][2..], 16).unwrap()
    }

    fn reader(&self) -> Reader {
        Reader::new(self.rpc.clone(), self.contract.parse().unwrap(), CHAIN, true)
    }

    async fn create(&self, recipient: usize, deposit: u64, rate: u128) {
        let recipient = alloy_primitives::Address::from(self.address(recipient).to_be_bytes());
        let token = alloy_primitives::Address::ZERO;
        let call = createStreamCall { token, recipient, deposit: U256::from(deposit), ratePerSecond: rate };
        self.call(1, call, deposit).await;
    }

    /// What the contract itself says has vested.
    async fn vested(&self, id: u64) -> U256 {
        let selector = &alloy_primitives::keccak256("vestedAmount(uint256)")[..4];
        let data = format!("0x{}{id:064x}", hex::encode(selector));
        let answer = self.ask("eth_call", json!([{ "to": self.contract, "data": data }, "latest"])).await;
        U256::from_str_radix(&answer.as_str().unwrap()[2..], 16).unwrap()
    }

    async fn seen(&self, id: u64) -> (Stream, u128) {
        let seen = self.reader().streams(None, &[StreamId(U256::from(id))]).await.unwrap();
        (seen.streams[0], seen.block.time)
    }
}

/// I7: what is computed is what the contract would pay, through a life with a top-up, a lapse, a late
/// top-up, a halt and an end; and each verdict is the one that the state calls for.
#[tokio::test]
async fn i7_streams_on_a_real_chain_are_read_judged_and_computed_to_the_wei() {
    let chain = Chain::start().await;
    let reader = chain.reader();
    reader.check().await.unwrap();
    let nothing = Reader::new(chain.rpc.clone(), alloy_primitives::Address::repeat_byte(9), CHAIN, true);
    assert!(nothing.check().await.is_err(), "no contract there");
    let elsewhere = Reader::new(chain.rpc.clone(), reader.contract(), CHAIN + 1, true);
    assert!(matches!(elsewhere.check().await, Err(ChainError::WrongChain { .. })));
    assert!(matches!(elsewhere.head(None).await, Err(ChainError::WrongChain { .. })));

    let terms =
        Terms { recipient: chain.address(2), token: U160::ZERO, least_rate: Some(1000), least_runway: 60 };
    let verdict =
        async |number: u64, terms: &Terms| reader.verdict(None, StreamId(U256::from(number)), terms).await;
    assert!(matches!(verdict(1, &terms).await, Verdict::Bad(Bad::Recipient)), "there is none yet");
    chain.create(2, 100_000, 1000).await;
    let Verdict::Good { stream, .. } = verdict(1, &terms).await else { panic!("it pays") };
    assert_eq!((stream.rate, stream.deposit, stream.stop - stream.start), (1000, U256::from(100_000), 100));
    assert_eq!((stream.sender, stream.recipient), (chain.address(1), chain.address(2)));
    let dearer = Terms { least_rate: Some(1001), ..terms };
    assert!(matches!(verdict(1, &dearer).await, Verdict::Bad(Bad::Rate)));
    let foreign = Terms { recipient: chain.address(3), ..terms };
    assert!(matches!(verdict(1, &foreign).await, Verdict::Bad(Bad::Recipient)));

    let one = U256::from(1);
    for step in 0..8 {
        match step {
            0 | 5 => chain.warp(30).await,
            1 | 3 => chain.call(1, topUpCall { streamId: one, amount: U256::from(50_500) }, 50_500).await,
            2 => chain.warp(5_000).await,
            4 => chain.warp(20).await,
            6 => chain.call(0, haltStreamCall { streamId: one }, 0).await,
            _ => chain.warp(1_000).await,
        }
        let (stream, now) = chain.seen(1).await;
        assert_eq!(stream.vested(now), chain.vested(1).await, "step {step}");
        let expected = match step {
            2 | 5 => Some(Bad::Runway),
            6 | 7 => Some(Bad::Halted),
            3 | 4 => (stream.remaining_seconds(now) < 60).then_some(Bad::Runway),
            _ => None,
        };
        match (verdict(1, &terms).await, expected) {
            (Verdict::Good { .. }, None) => {}
            (Verdict::Bad(bad), Some(expected)) => assert_eq!(bad, expected, "step {step}"),
            (verdict, expected) => panic!("step {step}: {verdict:?}, not {expected:?}"),
        }
    }
    chain.call(1, terminateCall { streamId: one }, 0).await;
    assert!(matches!(verdict(1, &terms).await, Verdict::Bad(Bad::Recipient)), "terminated");
}
