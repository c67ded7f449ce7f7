//! Whatever happens to streams, to the chain and to the node, the books equal the chain, to the wei.
//!
//! Sequences of everything that a chain, its users, an endpoint and a crash can do are played on a real EVM, over the contract
//! with either spelling of its events. The judge is what the chain itself says the wallet has: nothing costs gas here.
//! `GOLEM_BOOKS_SEED` plays another set, `GOLEM_BOOKS_CASES` another number of them; with 1, the one case of that seed.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;

use alloy_primitives::Address;
use alloy_sol_types::SolCall;
use golem_chain::contract::{createStreamCall, haltStreamCall, terminateCall, topUpCall, withdrawCall};
use golem_node::entry::EntryKind;
use golem_node::ledger::Entry;
use golem_node::payment::BooksError;
use golem_node::transactions::Transactions;
use serde_json::Value;

use super::*;

/// Sequences that are played where nothing else is said: on the contract, and on the one whose events have other names.
/// Each run plays others.
const CASES: u64 = 500;
const CASES_RESPELT: u64 = 100;

/// Cases that once failed; they are played first.
const ONCE_FAILED: [u64; 1] = [1_795_725_243_294];

/// Most steps of one.
const STEPS: u64 = 12;

/// Numbers that look random and are the same for the same seed (`SplitMix64`).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// What is done next.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Opens a stream, to the node or, now and then, to somebody else.
    Create {
        seconds: u64,
        rate: u64,
        to_node: bool,
    },
    TopUp {
        stream: u64,
        amount: u64,
    },
    Withdraw {
        stream: u64,
    },
    Terminate {
        stream: u64,
        by_node: bool,
    },
    Halt {
        stream: u64,
    },
    Pass {
        seconds: u64,
    },
    /// The chain becomes again what it was before a step, or the last but one, and goes on by so many blocks.
    Reorganise {
        mark: u64,
        blocks: u64,
    },
    Read,
    /// Reads, and is killed after so many steps of it.
    KilledWhileReading {
        polls: u64,
    },
    /// Reads through an endpoint that spoils so many of a hundred answers.
    ReadSpoilt {
        percent: u64,
    },
}

fn create(random: &mut Random) -> Step {
    Step::Create {
        seconds: 1 + random.below(5000),
        rate: 1 + random.below(1_000_000_007),
        to_node: random.below(5) > 0,
    }
}

fn step(random: &mut Random) -> Step {
    let stream = random.below(3);
    match random.below(24) {
        0 | 1 => create(random),
        2 => Step::TopUp { stream, amount: 1 + random.below(1_000_000_000_000) },
        3..8 => Step::Withdraw { stream },
        8..12 => Step::Terminate { stream, by_node: random.below(2) == 0 },
        12 => Step::Halt { stream },
        13..15 => Step::Pass { seconds: random.below(3000) },
        15 => Step::Reorganise { mark: random.below(5), blocks: random.below(8) },
        16 | 17 => Step::Reorganise { mark: 99, blocks: random.below(3) },
        18..21 => Step::Read,
        21 | 22 => Step::KilledWhileReading { polls: random.below(40) },
        _ => Step::ReadSpoilt { percent: 20 + random.below(60) },
    }
}

/// `future`, dropped after so many polls that did not end it.
async fn killed<T>(future: impl Future<Output = T>, polls: u64) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// A chain, and one contract on it, to which it goes back before each case.
struct Place<'a> {
    chain: &'a Anvil,
    chaos: &'a Chaos,
    market: &'a Market,
    contract: Address,
    base: Value,
}

/// The node's books of one case.
struct Books {
    payments: Payments,
    ledger: Ledger,
}

impl Books {
    /// As a node that was started has them.
    async fn open(place: &Place<'_>, folder: &Path, url: &str) -> Self {
        let mut config = place.market.payments();
        (config.contract, config.rpc_url) = (place.contract, url.to_owned());
        let ledger = Ledger::open(&folder.join(LEDGER_FILE)).unwrap();
        let transactions = Transactions::new(ledger.clone());
        let payments = Payments::open(config, ledger.clone(), &transactions).await.unwrap();
        Self { payments, ledger }
    }
}

impl Books {
    /// Reads, as often as it takes an EVM that was just reverted to have its blocks.
    async fn read(&self) -> Result<(), BooksError> {
        for _ in 0..5 {
            if self.payments.read_books().await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.payments.read_books().await.map(drop)
    }
}

impl Place<'_> {
    async fn snapshot(&self) -> Value {
        self.chain.ask("evm_snapshot", json!([])).await.unwrap()
    }

    async fn revert(&self, to: &Value) {
        assert_eq!(self.chain.ask("evm_revert", json!([to])).await.unwrap(), json!(true));
    }

    /// Has account `from` call the contract; what it refuses is refused.
    async fn call(&self, from: usize, call: impl SolCall, value: U256) {
        let data = alloy_primitives::hex::encode_prefixed(call.abi_encode());
        let transaction = json!({
            "from": self.chain.account(from), "to": self.contract, "data": data, "value": format!("{value:#x}"),
            "gas": "0x7a120", "gasPrice": "0x0",
        });
        let hash = self.chain.ask("eth_sendTransaction", json!([transaction])).await.unwrap();
        // It is mined a moment later, and must not get into what comes after a reorganisation.
        let mined = async {
            while self.chain.ask("eth_getTransactionReceipt", json!([hash])).await.unwrap().is_null() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(DEADLINE, mined).await.unwrap();
    }

    async fn pass(&self, seconds: u64, blocks: u64) {
        self.chain.ask("evm_increaseTime", json!([seconds])).await.unwrap();
        self.chain.ask("anvil_mine", json!([format!("{blocks:#x}")])).await.unwrap();
    }

    async fn wallet(&self) -> U256 {
        self.chain.balance(self.chain.account(PROVIDER)).await.unwrap()
    }

    /// Plays the case `seed`; gives how many entries that made, and how many of them were taken back.
    async fn play(&mut self, seed: u64) -> Result<(usize, usize), String> {
        let mut random = Random(seed);
        let base = std::mem::take(&mut self.base);
        self.revert(&base).await;
        self.base = self.snapshot().await;
        let folder = tempfile::tempdir_in(fast_folder()).unwrap();
        let before = self.wallet().await;
        let mut books = Books::open(self, folder.path(), self.chain.url()).await;
        // The first look is before anything happens: what was before a node's first start is not looked for.
        books.read().await.unwrap();
        let (mut marks, mut highest) = (Vec::new(), 0);
        let mut steps = vec![create(&mut random), create(&mut random)];
        let more = 3 + random.below(STEPS - 4);
        steps.extend((0..more).map(|_| step(&mut random)));
        for step in &steps {
            let id = |stream: u64| U256::from(stream + 1);
            if !matches!(step, Step::Reorganise { .. }) {
                marks.push(self.snapshot().await);
            }
            match *step {
                Step::Create { seconds, rate, to_node } => {
                    let deposit = U256::from(seconds) * U256::from(rate) + U256::from(rate / 2);
                    let recipient = self.chain.account(if to_node { PROVIDER } else { 3 });
                    let token = Address::ZERO;
                    let call = createStreamCall { token, recipient, deposit, ratePerSecond: rate.into() };
                    self.call(1, call, deposit).await;
                }
                Step::TopUp { stream, amount } => {
                    let amount = U256::from(amount);
                    self.call(1, topUpCall { streamId: id(stream), amount }, amount).await;
                }
                Step::Withdraw { stream } => {
                    self.call(PROVIDER, withdrawCall { streamId: id(stream) }, U256::ZERO).await;
                }
                Step::Terminate { stream, by_node } => {
                    let from = if by_node { PROVIDER } else { 1 };
                    self.call(from, terminateCall { streamId: id(stream) }, U256::ZERO).await;
                }
                Step::Halt { stream } => {
                    self.call(0, haltStreamCall { streamId: id(stream) }, U256::ZERO).await;
                }
                Step::Pass { seconds } => self.pass(seconds, 1).await,
                Step::Reorganise { mark, blocks } => {
                    highest = highest.max(self.chain.height().await.unwrap());
                    let last = marks.len().checked_sub(2).and_then(|last| marks.get(last));
                    let mark = marks.get(usize::try_from(mark).unwrap()).or(last).cloned();
                    if let Some(mark) = mark {
                        let position = marks.iter().position(|known| *known == mark).unwrap();
                        self.revert(&mark).await;
                        marks.truncate(position);
                        // Never the same blocks once more.
                        self.pass(1 + random.below(100), 1 + blocks).await;
                    }
                }
                Step::Read => {
                    books.read().await.map_err(|error| format!("{step:?}: {error:?}"))?;
                }
                Step::KilledWhileReading { polls } => {
                    killed(books.payments.read_books(), polls).await;
                    drop(books);
                    books = Books::open(self, folder.path(), self.chain.url()).await;
                }
                Step::ReadSpoilt { percent } => {
                    drop(books);
                    books = Books::open(self, folder.path(), self.chaos.url()).await;
                    self.chaos.spoil(percent);
                    let read =
                        tokio::time::timeout(Duration::from_millis(40), books.payments.read_books()).await;
                    if let Ok(Err(error @ BooksError::Ledger(_))) = read {
                        return Err(format!("{step:?}: {error:?}"));
                    }
                    self.chaos.spoil(0);
                    drop(books);
                    books = Books::open(self, folder.path(), self.chain.url()).await;
                }
            }
            highest = highest.max(self.chain.height().await.unwrap());
        }
        // A chain that was reorganised grows beyond what it was.
        let missing = (highest + 1).saturating_sub(self.chain.height().await.unwrap()).max(1);
        self.pass(1, missing).await;
        books.read().await.map_err(|error| format!("at the end: {error:?}"))?;
        let arrived = self.wallet().await - before;
        let entries = books.ledger.entries(Timestamp::UNIX_EPOCH).await.unwrap();
        equal(&entries, arrived).map_err(|problem| format!("{problem}, after {steps:?}: {entries:#?}"))?;
        let unbooked = entries.iter().filter(|entry| entry.kind == EntryKind::Unbooked).count();
        Ok((entries.len(), unbooked))
    }
}

/// Whether the books `entries` say that just this arrived in the wallet.
fn equal(entries: &[Entry], arrived: U256) -> Result<(), String> {
    let mut wallet = (U256::ZERO, U256::ZERO);
    let mut streams: BTreeMap<StreamId, (U256, U256, u32)> = BTreeMap::new();
    for entry in entries {
        // All of them, also those that were taken back: they cancel out.
        if entry.debit == "wallet" {
            wallet.0 += entry.amount;
        }
        if entry.credit == "wallet" {
            wallet.1 += entry.amount;
        }
        if !entry.counts() {
            continue;
        }
        let (earned, received, ends) = streams.entry(entry.stream.unwrap()).or_default();
        match entry.kind {
            EntryKind::Earned => *earned += entry.amount,
            EntryKind::EarnedLess => *earned -= entry.amount,
            EntryKind::Withdrawn => *received += entry.amount,
            EntryKind::Terminated => {
                *received += entry.amount;
                *ends += 1;
            }
            _ => {}
        }
    }
    let booked = wallet.0 - wallet.1;
    if booked != arrived {
        return Err(format!("{arrived} arrived, and {booked} is booked"));
    }
    for (id, (earned, received, ends)) in streams {
        if earned != received || ends > 1 {
            return Err(format!("stream {id}: {earned} earned, {received} received, ended {ends} times"));
        }
    }
    Ok(())
}

/// Where files cost nothing, if there is such a place: what is tested is not the disk.
fn fast_folder() -> std::path::PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// Plays `cases` on a chain of their own, on which the contract is the one of the artifact `name`.
async fn books_equal_the_chain(name: &str, cases: u64) {
    let market = Market::new(&["--gas-price", "0", "--base-fee", "0"]).await;
    let chain = &market.chain;
    let oracle = word(chain.account(0));
    let contract = chain.deploy(&contracts(), name, &[oracle]).await.unwrap();
    // Each block is later than the one before, so that something vests.
    chain.ask("anvil_setBlockTimestampInterval", json!([7])).await.unwrap();
    let chaos = Chaos::start(chain.url(), 7).await.unwrap();
    let first = setting("GOLEM_BOOKS_SEED", u64::try_from(Timestamp::now().as_millisecond()).unwrap());
    let cases = setting("GOLEM_BOOKS_CASES", cases);
    println!("{name}: GOLEM_BOOKS_SEED={first} GOLEM_BOOKS_CASES={cases}");
    let base = chain.ask("evm_snapshot", json!([])).await.unwrap();
    let mut place = Place { chain, chaos: &chaos, market: &market, contract, base };
    let (mut entries, mut unbooked) = (0, 0);
    for seed in ONCE_FAILED.into_iter().chain((0..cases).map(|number| first.wrapping_add(number))) {
        match place.play(seed).await {
            Ok((all, back)) => {
                entries += all;
                unbooked += back;
            }
            Err(problem) => panic!("{name}: GOLEM_BOOKS_SEED={seed} GOLEM_BOOKS_CASES=1: {problem}"),
        }
    }
    println!("{name}: {entries} entries, of which {unbooked} take others back");
    assert!(cases < 100 || (entries > 0 && unbooked > 0), "nothing was tried");
}

// M-01, M-10
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m_01_m_10_books_equal_the_chain_after_any_sequence() {
    books_equal_the_chain("StreamPayment", CASES).await;
}

// M-01, M-10
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m_01_m_10_books_equal_the_chain_whatever_its_events_are_called() {
    books_equal_the_chain("StreamPaymentRespelt", CASES_RESPELT).await;
}
