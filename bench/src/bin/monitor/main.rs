//! `cargo xtask bench monitor`: what it costs to follow streams: RPC requests and CPU time of a tick
//! with 1, 100, 1,000 and 10,000 of them, beside the original's own monitor on the same chain.

#![expect(clippy::print_stdout, reason = "a benchmark's report is its output")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use alloy_primitives::Address;
use anyhow::{Context, ensure};
use bench::figures::{Figures, Table, Targets};
use bench::process::Process;
use golem_node::ledger::Ledger;
use golem_node::payment::{PaymentConfig, Rules, WithdrawConfig};
use golem_node::ports::PortPolicy;
use golem_node::proxy::ProxyLimits;
use golem_node::transactions::GasRules;
use golem_node::{AdmissionLimits, LEDGER_FILE, Node, NodeConfig};
use golem_testchain::{Emulator, Limits, Provider};
use golem_types::Wallet;
use golem_types::{Resources, VmId};
use golem_vm::Backend;
use golem_vm::sim::{Sim, SimConfig};
use jiff::Timestamp;
use ruint::aliases::U256;

const COUNTS: [u64; 4] = [1, 100, 1000, 10_000];

/// The original needs seconds for a thousand, and its cost is a straight line.
const ORIGINAL_MOST: u64 = 1000;

const CHAIN: u64 = 4242;
const KEY: &str = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";

/// Ticks that are measured, one block and one touched stream each.
const TICKS: usize = 15;

/// How the endpoint is called that takes no batches, gives no logs and has no old state.
const MEAN: &str = "meanest";

/// Streams for each request of a tick that such an endpoint may be asked.
const STREAMS_A_REQUEST: u64 = 20;

/// Requests of a tick that are too few to be counted: the newest block, and what ends next.
const FREE: u64 = 4;

/// Ticks that are measured there: more than the twenty after which everything is read again.
const MEAN_TICKS: usize = 25;

/// Most CPU time of a tick with 10,000 streams.
const TARGET: Duration = Duration::from_millis(100);

const DEADLINE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let result = match words.first().map(String::as_str) {
        Some("chain") => chain(&words),
        _ => compare(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The chain, in a process of its own so that its work is not counted: reads lines `put N`, answers
/// each with the number of requests so far. Where a fourth word says so, it is behind the meanest endpoint there is.
fn chain(words: &[String]) -> anyhow::Result<ExitCode> {
    let count: u64 = words.get(1).context("how many streams?")?.parse()?;
    let recipient: Address = words.get(2).context("to whom?")?.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let now = u128::try_from(Timestamp::now().as_second())?;
    let chain = runtime.block_on(Emulator::start(CHAIN, now))?;
    for id in 1..=count {
        chain.put(id, chain.stream(0xabc, recipient, 1_000_000, 1000));
    }
    let is_mean = words.get(3).is_some_and(|word| word == MEAN);
    let limits = if is_mean { Limits::MEANEST } else { Limits::NONE };
    let endpoint = if is_mean { Some(runtime.block_on(Provider::start(chain.url(), limits))?) } else { None };
    let url = endpoint.as_ref().map_or_else(|| chain.url(), |endpoint| endpoint.url());
    println!("{url} {}", chain.contract());
    for line in std::io::stdin().lock().lines() {
        if line?.starts_with("put") {
            chain.put(1, chain.stream(0xabc, recipient, 1_000_000, 1000));
        }
        println!("{}", endpoint.as_ref().map_or_else(|| chain.requests(), Provider::requests));
        std::io::stdout().flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A chain with streams.
struct Chain {
    process: Process,
    answers: BufReader<std::process::ChildStdout>,
    url: String,
    contract: Address,
}

impl Chain {
    fn start(count: u64, recipient: Address, endpoint: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["chain", &count.to_string(), &recipient.to_string(), endpoint]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(&mut command)?;
        let output = process.child().stdout.take().context("no output")?;
        let mut answers = BufReader::new(output);
        let mut line = String::new();
        answers.read_line(&mut line)?;
        let (url, contract) = line.trim().split_once(' ').context("the chain did not start")?;
        Ok(Self { url: url.to_owned(), contract: contract.parse()?, process, answers })
    }

    /// Sends a line; the number of requests so far.
    fn tell(&mut self, what: &str) -> anyhow::Result<u64> {
        let input = self.process.child().stdin.as_mut().context("no input")?;
        writeln!(input, "{what}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim().parse()?)
    }
}

/// What a tick cost.
struct Cost {
    requests: f64,
    /// Of each tick by itself.
    ticks: Figures,
    milliseconds: Figures,
}

fn compare() -> anyhow::Result<ExitCode> {
    let python = bench::original::python()?;
    let wallet = Wallet::from_hex(KEY).context("the key is one")?;
    let mut table = Table::new(&[
        "streams",
        "requests a tick",
        "CPU ms a tick",
        "original: requests",
        "original: CPU ms",
        "requests, ratio",
    ]);
    let mut requests = Vec::new();
    let mut targets = Targets::default();
    for count in COUNTS {
        bench::say(&format!("{count} streams …"));
        let mut chain = Chain::start(count, wallet.address(), "good")?;
        let ours = ours(&mut chain, &wallet, count, TICKS)?;
        let theirs = if count <= ORIGINAL_MOST { Some(theirs(&mut chain, &python, count)?) } else { None };
        let shown =
            |figure: Option<f64>| figure.map_or_else(|| "not run".to_owned(), |one| format!("{one:.0}"));
        table.row(vec![
            count.to_string(),
            format!("{:.1}", ours.requests),
            format!("{:.1}", ours.milliseconds),
            shown(theirs.as_ref().map(|theirs| theirs.requests)),
            shown(theirs.as_ref().map(|theirs| theirs.milliseconds.median())),
            theirs
                .as_ref()
                .map_or_else(|| "-".to_owned(), |theirs| format!("{:.4}", ours.requests / theirs.requests)),
        ]);
        requests.push(ours.requests);
        if count == COUNTS[COUNTS.len() - 1] {
            let median = ours.milliseconds.median();
            let most = TARGET.as_secs_f64() * 1000.0;
            targets.add(
                "at most 100 ms of CPU a tick with 10,000 streams",
                format!("{median:.1} ms"),
                median <= most,
            );
        }
    }
    let (least, most) =
        (requests.iter().copied().fold(f64::MAX, f64::min), requests.iter().copied().fold(0.0, f64::max));
    targets.add(
        "the same number of requests at any number of streams",
        format!("{least:.1} to {most:.1}"),
        most - least < 0.5,
    );
    let mean = meanest(&wallet, &python, &mut targets)?;
    println!("\nA tick sees one new block, in which one stream was touched.\n\n{table}");
    println!("The same behind an endpoint without batches, logs and old state.\n\n{mean}\n{targets}");
    Ok(if targets.missed() == 0 { ExitCode::SUCCESS } else { ExitCode::from(4) })
}

/// What the node asks an endpoint that takes no batches, gives no logs and has no old state.
fn meanest(wallet: &Wallet, python: &Path, targets: &mut Targets) -> anyhow::Result<Table> {
    let mut table = Table::new(&[
        "streams",
        "requests a tick (and range)",
        "one for each 20 streams",
        "original: requests",
    ]);
    let mut is_met = true;
    for count in COUNTS {
        bench::say(&format!("{count} streams, the meanest endpoint …"));
        let mut chain = Chain::start(count, wallet.address(), MEAN)?;
        let ours = ours(&mut chain, wallet, count, MEAN_TICKS)?;
        let most = count.div_ceil(STREAMS_A_REQUEST).max(FREE);
        #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
        let is_within = ours.ticks.median() <= most as f64;
        is_met &= is_within;
        let theirs = if count <= ORIGINAL_MOST { Some(theirs(&mut chain, python, count)?) } else { None };
        table.row(vec![
            count.to_string(),
            format!("{:.0}", ours.ticks),
            most.to_string(),
            theirs.map_or_else(|| "not run".to_owned(), |theirs| format!("{:.0}", theirs.requests)),
        ]);
    }
    targets.add(
        "at most one request for each 20 streams and tick with the meanest endpoint, and four for less than 80",
        if is_met { "in the median tick" } else { "more" },
        is_met,
    );
    Ok(table)
}

/// Runs the node's monitor over `count` rentals, and measures its ticks.
fn ours(chain: &mut Chain, wallet: &Wallet, count: u64, ticks: usize) -> anyhow::Result<Cost> {
    let folder = tempfile::tempdir()?;
    rentals(folder.path(), chain, count)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let images = BTreeSet::from(["24.04".parse()?]);
    let data_dir = folder.path().to_owned();
    let sim = Sim::open(SimConfig { data_dir: data_dir.clone(), images, boot: Duration::ZERO })?;
    let payments = PaymentConfig {
        testnet: true,
        name: "test".to_owned(),
        symbol: "ETH".to_owned(),
        rpc_url: chain.url.clone(),
        chain_id: CHAIN,
        local: false,
        maximum_head_age: Some(Duration::from_secs(180)),
        contract: chain.contract,
        version: golem_chain::Version::V1,
        token: Address::ZERO,
        rated_as: None,
        coin: golem_node::entry::Currency::coin("ETH"),
        confirmations: 0,
        wallet: wallet.clone(),
        decimals: 18,
        enforce_rate: true,
        allow_unpriced: true,
        refund_after: None,
        rules: Rules {
            least_runway: Duration::from_secs(60),
            create_runway: Duration::ZERO,
            warning: Duration::from_secs(600),
            hold: Duration::from_secs(86_400),
            grace: Duration::from_secs(3600),
        },
        monitor: true,
        interval: INTERVAL,
        withdraw: WithdrawConfig {
            enabled: false,
            interval: Duration::from_secs(1800),
            minimum: U256::ZERO,
            gas_percent: 10,
        },
        faucet: None,
        gas: GasRules::default(),
        former: Vec::new(),
    };
    let config = NodeConfig {
        history: None,
        data_dir,
        ports: 1024..65_000,
        ssh_bind: Ipv4Addr::LOCALHOST.into(),
        port_policy: PortPolicy::Free,
        limits: AdmissionLimits { max_vms: u32::MAX, ..AdmissionLimits::default() },
        closed: None,
        default_image: "24.04".parse()?,
        boot_deadline: Duration::from_secs(60),
        stop_grace: Duration::from_secs(1),
        // The monitor alone is measured.
        watch_interval: Duration::from_secs(3600),
        restart_delay: Duration::from_secs(3600),
        restart_policy: golem_node::RestartPolicy::OnFailure,
        proxy: ProxyLimits {
            per_port: 1,
            total: 1,
            greeting: 48,
            speak: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            drain: Duration::from_millis(10),
            connect: Duration::from_secs(1),
        },
        rent: golem_node::Rent::default(),
        totals: Some(Resources::new(u32::MAX / 2, u32::MAX / 2, u32::MAX / 2)),
        payments: Some(payments),
        more_payments: Vec::new(),
        known_contracts: Vec::new(),
        payout: golem_node::payout::PayoutConfig::default(),
    };
    let node = runtime.block_on(Node::start(config, Backend::Sim(sim)))?;
    // The first reading of everything is not a tick like the others.
    let whole = count.div_ceil(100) + 1;
    let begun = chain.tell("how many")?;
    bench::wait_for("the first reading", DEADLINE, || {
        Ok(chain.tell("how many")? >= whole.min(begun + whole))
    })?;
    quiet(chain)?;
    let mut cost = Cost { requests: 0.0, ticks: Figures::default(), milliseconds: Figures::default() };
    let mut all = 0;
    for _ in 0..ticks {
        let before = chain.tell("put")?;
        let used = cpu()?;
        bench::wait_for("the next tick", DEADLINE, || Ok(chain.tell("how many")? > before))?;
        let after = quiet(chain)?;
        cost.milliseconds.push((cpu()? - used).as_secs_f64() * 1000.0);
        all += after - before;
        #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
        cost.ticks.push((after - before) as f64);
    }
    #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
    {
        cost.requests = all as f64 / ticks as f64;
    }
    runtime.block_on(node.shutdown(false));
    Ok(cost)
}

/// How often the node's monitor looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Waits until nothing is asked for a moment: a tick is over. Gives the requests so far.
fn quiet(chain: &mut Chain) -> anyhow::Result<u64> {
    let mut before = chain.tell("how many")?;
    bench::wait_for("a pause", DEADLINE, || {
        std::thread::park_timeout(INTERVAL / 4);
        let now = chain.tell("how many")?;
        let same = now == before;
        before = now;
        Ok(same)
    })?;
    Ok(before)
}

/// CPU time of this process so far.
fn cpu() -> anyhow::Result<Duration> {
    let mut text = String::new();
    let mut nanoseconds = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        text.clear();
        // A thread that ended meanwhile is counted no more; the node's do not end.
        if let Ok(mut file) = std::fs::File::open(task?.path().join("schedstat")) {
            file.read_to_string(&mut text)?;
            nanoseconds += text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
        }
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Writes `count` stopped rentals, each with its stream, into a new ledger in `folder`.
fn rentals(folder: &Path, chain: &Chain, count: u64) -> anyhow::Result<()> {
    let file = folder.join(LEDGER_FILE);
    drop(Ledger::open(&file)?);
    let mut connection = rusqlite::Connection::open(&file)?;
    let transaction = connection.transaction()?;
    let contract = format!("{CHAIN}:{}", chain.contract.to_string().to_lowercase());
    let name = "vm".parse().or_else(|_| "vm-1".parse())?;
    let now = Timestamp::now();
    for number in 1..=count {
        let mut random = [0; 10];
        random[2..].copy_from_slice(&number.to_be_bytes());
        let id = VmId::new(&name, now, random);
        transaction.execute(
            "INSERT INTO vms (id, name, owner, state, goal, made, cpu, memory, storage, image, keys, ssh_port, \
             created_at, updated_at, contract, stream_id) \
             VALUES (?1, ?2, ?3, 'stopped', 'stopped', 1, 1, 1, 10, '24.04', '[]', ?4, ?5, ?5, ?6, ?7)",
            rusqlite::params![
                id.as_str(),
                name.as_str(),
                format!("eth:{number}"),
                1024 + number,
                now.as_microsecond(),
                contract,
                number.to_string()
            ],
        )?;
    }
    transaction.commit()?;
    Ok(())
}

/// Runs one tick of the original's monitor over `count` streams.
fn theirs(chain: &mut Chain, python: &Path, count: u64) -> anyhow::Result<Cost> {
    let before = chain.tell("how many")?;
    let home = tempfile::tempdir()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/monitor/original.py");
    let output = Command::new(python)
        .arg(script)
        .args([&chain.url, &chain.contract.to_string(), &count.to_string()])
        // It will not be imported without one; the monitor starts no VM.
        .env("GOLEM_PROVIDER_MULTIPASS_BINARY_PATH", "/bin/true")
        .env("HOME", home.path())
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let seconds = text.lines().last().and_then(|line| line.parse::<f64>().ok());
    let seconds = seconds.with_context(|| format!("the original's monitor did not end its tick: {text}"))?;
    let after = chain.tell("how many")?;
    ensure!(after > before, "the original asked nothing");
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let requests = (after - before) as f64;
    Ok(Cost {
        requests,
        ticks: [requests].into_iter().collect(),
        milliseconds: [seconds * 1000.0].into_iter().collect(),
    })
}
