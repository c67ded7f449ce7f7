//! A real EVM, with accounts that are rich and the payment contract deployed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use alloy_primitives::{Address, Bytes};
use alloy_sol_types::SolCall;
use anyhow::{Context, bail, ensure};
use golem_chain::contract::{createStreamCall, haltStreamCall, terminateCall, topUpCall, withdrawCall};
use golem_chain::rpc::quantity;
use golem_chain::{Reader, Rpc};
use golem_types::Wallet;
use golem_types::{Stream, StreamId};
use ruint::aliases::U256;
use serde_json::{Value, json};

use crate::deploy::deploy;

/// Gas that a call may use: several times what the dearest of the contracts' takes.
const GAS: u64 = 1_000_000;

/// How often a receipt is asked for, and for how long.
const POLL: Duration = Duration::from_millis(10);
const RECEIPT_DEADLINE: Duration = Duration::from_secs(20);

/// Anvil's chain id.
pub const CHAIN_ID: u64 = 31_337;

/// The private keys of anvil's first accounts: they follow from its well-known mnemonic "test test …
/// junk", and are worth nothing anywhere else.
const KEYS: [&str; 4] = [
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
];

/// A chain of its own; ends when dropped.
pub struct Anvil {
    process: Child,
    url: String,
    rpc: Rpc,
    accounts: Vec<Address>,
    contract: Address,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn program(contracts: &Path) -> anyhow::Result<PathBuf> {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let path = contracts.join(format!("node_modules/@foundry-rs/anvil-linux-{arch}/bin/anvil"));
    ensure!(path.is_file(), "{} is not there; fix: npm ci, in contracts/", path.display());
    Ok(path)
}

impl Anvil {
    /// Starts a chain on a loopback port of its own, and deploys the contract whose artifact is in
    /// `contracts`, the repository's folder. Account 0 is its oracle, 1 and 3 rent, 2 provides.
    ///
    /// # Errors
    /// When anvil is not installed, or does not do what it is told.
    pub async fn start(contracts: &Path, more: &[&str]) -> anyhow::Result<Self> {
        let mut process = Command::new(program(contracts)?)
            .args(["--port", "0"])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .context("anvil cannot be started")?;
        let output = process.stdout.take().context("anvil has no output")?;
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let address = lines
            .by_ref()
            .find_map(|line| Some(line.strip_prefix("Listening on ")?.trim().to_owned()))
            .context("anvil does not listen")?;
        // Nobody reads on, and anvil must not be stopped by a full pipe.
        std::thread::Builder::new().name("anvil output".to_owned()).spawn(move || lines.for_each(drop))?;
        let url = format!("http://{address}");
        let rpc = Rpc::new(&url)?;
        let mut chain = Self { process, url, rpc, accounts: Vec::new(), contract: Address::ZERO };
        let accounts = chain.ask("eth_accounts", json!([])).await?;
        let accounts = accounts.as_array().context("no accounts")?;
        chain.accounts = accounts.iter().filter_map(|account| account.as_str()?.parse().ok()).collect();
        let oracle = crate::word(chain.account(0));
        chain.contract = chain.deploy(contracts, "StreamPayment", &[oracle]).await?;
        Ok(chain)
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The payment contract.
    #[must_use]
    pub const fn contract(&self) -> Address {
        self.contract
    }

    /// The address of account `number`; zero where there is none.
    #[must_use]
    pub fn account(&self, number: usize) -> Address {
        self.accounts.get(number).copied().unwrap_or_default()
    }

    /// The key of account `number`, as text.
    #[must_use]
    pub fn key(number: usize) -> &'static str {
        KEYS.get(number).copied().unwrap_or_default()
    }

    /// The wallet of account `number`.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn wallet(number: usize) -> anyhow::Result<Wallet> {
        Wallet::from_hex(Self::key(number)).context("no such account")
    }

    /// An endpoint.
    #[must_use]
    pub const fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// A reader of the contract.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.rpc.clone(), self.contract, CHAIN_ID, true)
    }

    /// The answer to one question.
    ///
    /// # Errors
    /// When there is none.
    pub async fn ask(&self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.rpc.calls(&[(method, params)]).await?.pop().context("no answer")
    }

    /// The receipt of a transaction that must succeed.
    ///
    /// # Errors
    /// When it does not.
    pub async fn send(&self, mut transaction: Value) -> anyhow::Result<Value> {
        // One kind of transaction for chains with and without EIP-1559.
        transaction["gasPrice"] = self.ask("eth_gasPrice", json!([])).await?;
        // M-18: what is estimated in the second of a payment can be too little in the next.
        if transaction["gas"].is_null() {
            transaction["gas"] = json!(format!("{GAS:#x}"));
        }
        let hash = self.ask("eth_sendTransaction", json!([transaction])).await?;
        let mined = async {
            loop {
                let receipt = self.ask("eth_getTransactionReceipt", json!([hash])).await?;
                if !receipt.is_null() {
                    return anyhow::Ok(receipt);
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let receipt = tokio::time::timeout(RECEIPT_DEADLINE, mined).await.context("it is in no block")??;
        if receipt["status"] != "0x1" {
            bail!("the transaction did not succeed: {receipt}");
        }
        Ok(receipt)
    }

    /// Deploys another contract, `name` in `contracts`, with the words `arguments` for its constructor.
    ///
    /// # Errors
    /// When the chain refuses it.
    pub async fn deploy(&self, contracts: &Path, name: &str, arguments: &[U256]) -> anyhow::Result<Address> {
        deploy((self.rpc.clone(), CHAIN_ID), Self::wallet(0)?, contracts, (name, arguments)).await
    }

    /// Has account `from` call the function `signature` of the contract `to` with the words `arguments`.
    ///
    /// # Errors
    /// When the contract refuses it.
    pub async fn invoke(
        &self,
        from: usize,
        to: Address,
        signature: &str,
        arguments: &[U256],
    ) -> anyhow::Result<()> {
        self.submit(from, to, call_data(signature, arguments).into()).await
    }

    /// Puts calls of account `from` into one block: to a contract, a function's signature and its words, and wei.
    ///
    /// # Errors
    /// When anvil takes one of them not; what the contract refuses is in the block all the same.
    pub async fn one_block(
        &self,
        from: usize,
        calls: impl IntoIterator<Item = (Address, &str, Vec<U256>, U256)>,
    ) -> anyhow::Result<()> {
        self.ask("evm_setAutomine", json!([false])).await?;
        let price = self.ask("eth_gasPrice", json!([])).await?;
        let send = |(to, signature, arguments, value): (Address, &str, Vec<U256>, U256)| {
            let transaction = json!({
                "from": self.account(from), "to": to, "data": call_data(signature, &arguments),
                "value": format!("{value:#x}"), "gas": format!("{GAS:#x}"), "gasPrice": price,
            });
            ("eth_sendTransaction", json!([transaction]))
        };
        let calls: Vec<_> = calls.into_iter().map(send).collect();
        self.rpc.calls(&calls).await?;
        self.ask("evm_mine", json!([])).await?;
        self.ask("evm_setAutomine", json!([true])).await.map(drop)
    }

    async fn call(&self, from: usize, call: impl SolCall, value: U256) -> anyhow::Result<()> {
        let data = Bytes::from(call.abi_encode());
        let transaction = json!({
            "from": self.account(from), "to": self.contract, "data": data, "value": format!("{value:#x}"),
        });
        self.send(transaction).await.map(drop)
    }

    /// A stream of the chain's own money from account `from` to `recipient`; gives its id.
    ///
    /// # Errors
    /// When the contract refuses it.
    pub async fn create(
        &self,
        from: usize,
        recipient: Address,
        deposit: U256,
        rate: u128,
    ) -> anyhow::Result<StreamId> {
        let token = Address::ZERO;
        let call = createStreamCall { token, recipient, deposit, ratePerSecond: rate };
        self.call(from, call, deposit).await?;
        Ok(StreamId(self.view("nextStreamId()", &[]).await?))
    }

    /// Adds `amount` wei to the stream `id`.
    ///
    /// # Errors
    /// When the contract refuses it.
    pub async fn top_up(&self, id: StreamId, amount: U256) -> anyhow::Result<()> {
        self.call(1, topUpCall { streamId: id.0, amount }, amount).await
    }

    /// Ends the stream `id` as its sender, account `from`.
    ///
    /// # Errors
    /// When the contract refuses it.
    pub async fn terminate(&self, from: usize, id: StreamId) -> anyhow::Result<()> {
        self.call(from, terminateCall { streamId: id.0 }, U256::ZERO).await
    }

    /// Freezes the stream `id`, as the oracle.
    ///
    /// # Errors
    /// When the contract refuses it.
    pub async fn halt(&self, id: StreamId) -> anyhow::Result<()> {
        self.call(0, haltStreamCall { streamId: id.0 }, U256::ZERO).await
    }

    /// Withdraws from the stream `id` as account `from`.
    ///
    /// # Errors
    /// When the contract refuses it.
    pub async fn withdraw(&self, from: usize, id: StreamId) -> anyhow::Result<()> {
        self.call(from, withdrawCall { streamId: id.0 }, U256::ZERO).await
    }

    /// Moves the chain's clock on.
    ///
    /// # Errors
    /// When anvil does not answer.
    pub async fn warp(&self, seconds: u64) -> anyhow::Result<()> {
        self.ask("evm_increaseTime", json!([seconds])).await?;
        self.ask("evm_mine", json!([])).await.map(drop)
    }

    /// The stream `id` and the chain's time.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn stream(&self, id: StreamId) -> anyhow::Result<(Stream, u128)> {
        let seen = self.reader().streams(&[id]).await?;
        Ok((*seen.streams.first().context("no stream")?, seen.block.time))
    }

    /// What the contract itself says has vested on the stream `id`, in wei.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn vested(&self, id: StreamId) -> anyhow::Result<U256> {
        self.view("vestedAmount(uint256)", &[id.0]).await
    }

    /// What `address` has, in wei.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn balance(&self, address: Address) -> anyhow::Result<U256> {
        word(&self.ask("eth_getBalance", json!([address, "latest"])).await?)
    }

    /// The chain's height.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn height(&self) -> anyhow::Result<u64> {
        quantity(&self.ask("eth_blockNumber", json!([])).await?).context("no number")
    }

    /// Sends `data` from account `from` to the contract `to`.
    ///
    /// # Errors
    /// When the contract refuses it.
    pub async fn submit(&self, from: usize, to: Address, data: Vec<u8>) -> anyhow::Result<()> {
        let data = Bytes::from(data);
        self.send(json!({ "from": self.account(from), "to": to, "data": data })).await.map(drop)
    }

    /// The chain's time, in seconds since the epoch.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn time(&self) -> anyhow::Result<u64> {
        let block = self.ask("eth_getBlockByNumber", json!(["latest", false])).await?;
        quantity(&block["timestamp"]).context("no time")
    }

    async fn view(&self, signature: &str, arguments: &[U256]) -> anyhow::Result<U256> {
        self.view_of(self.contract, signature, arguments).await
    }

    /// The word that the function `signature` of the contract `to` answers to the words `arguments`.
    ///
    /// # Errors
    /// When it answers with none.
    pub async fn view_of(&self, to: Address, signature: &str, arguments: &[U256]) -> anyhow::Result<U256> {
        let call = json!([{ "to": to, "data": call_data(signature, arguments) }, "latest"]);
        word(&self.ask("eth_call", call).await?)
    }
}

fn call_data(signature: &str, arguments: &[U256]) -> Bytes {
    let mut data = alloy_primitives::keccak256(signature)[..4].to_vec();
    arguments.iter().for_each(|argument| data.extend(argument.to_be_bytes::<32>()));
    data.into()
}

fn word(value: &Value) -> anyhow::Result<U256> {
    let text = value.as_str().and_then(|text| text.strip_prefix("0x")).context("no number")?;
    Ok(U256::from_str_radix(text, 16)?)
}
