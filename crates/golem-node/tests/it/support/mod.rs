//! A node with the sim backend in a folder of its own, and the questions tests ask of it.

pub(crate) mod market;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use alloy_primitives::Address;
use golem_node::payment::{PaymentConfig, Rules, WithdrawConfig};
use golem_node::ports::PortPolicy;
use golem_node::proxy::ProxyLimits;
use golem_node::transactions::GasRules;
use golem_node::{AdmissionLimits, Node, NodeConfig, Vm};
use golem_types::wire::CreateVm;
use golem_types::{Resources, VmId, VmState, Wallet};
use golem_vm::Backend;
use golem_vm::sim::{Sim, SimConfig, SimControl};
use ruint::aliases::U256;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

pub(crate) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

/// Between two looks at a node in this process.
const PAUSE: Duration = Duration::from_millis(5);

/// Longest that a test waits for a level.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Ports for one test.
pub(crate) fn ports(count: u16) -> Range<u16> {
    let first = golem_test_support::ports(count);
    first..first + count
}

pub(crate) fn config(data_dir: &Path, ports: Range<u16>) -> NodeConfig {
    NodeConfig {
        history: None,
        data_dir: data_dir.to_owned(),
        ports,
        ssh_bind: Ipv4Addr::LOCALHOST.into(),
        port_policy: PortPolicy::Free,
        limits: AdmissionLimits {
            max_vms: 50,
            cpu_threshold: 100,
            memory_threshold: 100,
            storage_threshold: 100,
            ..AdmissionLimits::default()
        },
        closed: None,
        default_image: "24.04".parse().unwrap(),
        boot_deadline: Duration::from_secs(10),
        stop_grace: Duration::from_secs(5),
        watch_interval: Duration::from_millis(50),
        restart_delay: Duration::from_millis(20),
        restart_policy: golem_node::RestartPolicy::OnFailure,
        proxy: ProxyLimits {
            per_port: 20,
            total: 1000,
            greeting: 48,
            speak: Duration::from_secs(30),
            idle: Duration::from_secs(3600),
            drain: Duration::from_millis(200),
            connect: Duration::from_secs(5),
        },
        rent: golem_node::Rent::default(),
        totals: Some(Resources::new(100, 100, 1000)),
        payments: None,
        more_payments: Vec::new(),
        known_contracts: Vec::new(),
        payout: golem_node::payout::PayoutConfig::default(),
    }
}

/// When rentals of the tests are warned and stopped.
pub(crate) const RULES: Rules = Rules {
    least_runway: Duration::from_secs(60),
    create_runway: Duration::ZERO,
    warning: Duration::from_secs(600),
    hold: Duration::from_secs(86_400),
    grace: Duration::from_secs(3600),
};

/// Payments to `wallet` by `contract` on the chain `chain_id` at `url`; nothing is fetched without being asked.
pub(crate) fn payments(url: &str, chain_id: u64, contract: Address, wallet: Wallet) -> PaymentConfig {
    PaymentConfig {
        testnet: true,
        name: "test".to_owned(),
        symbol: "ETH".to_owned(),
        rpc_url: url.to_owned(),
        chain_id,
        local: false,
        maximum_head_age: Some(Duration::from_secs(180)),
        contract,
        version: golem_chain::Version::V1,
        token: Address::ZERO,
        rated_as: None,
        coin: golem_node::entry::Currency::coin("ETH"),
        confirmations: 0,
        wallet,
        decimals: 18,
        enforce_rate: true,
        allow_unpriced: true,
        refund_after: None,
        rules: RULES,
        monitor: true,
        interval: Duration::from_millis(20),
        withdraw: WithdrawConfig {
            enabled: false,
            interval: Duration::from_secs(1800),
            minimum: U256::ZERO,
            gas_percent: 10,
        },
        faucet: None,
        gas: GasRules::default(),
        former: Vec::new(),
    }
}

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) ports: Range<u16>,
}

impl World {
    pub(crate) fn new(count: u16) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), ports: ports(count) }
    }

    pub(crate) fn config(&self) -> NodeConfig {
        config(self.folder.path(), self.ports.clone())
    }

    pub(crate) fn sim(&self) -> (Backend, SimControl) {
        sim_in(self.folder.path())
    }

    pub(crate) async fn node(&self) -> (Node, SimControl) {
        let (backend, control) = self.sim();
        (Node::start(self.config(), backend).await.unwrap(), control)
    }
}

/// The simulated machines that are in `data_dir`.
pub(crate) fn sim_in(data_dir: &Path) -> (Backend, SimControl) {
    let images = BTreeSet::from(["24.04".parse().unwrap()]);
    let config = SimConfig { data_dir: data_dir.to_owned(), images, boot: Duration::ZERO };
    let sim = Sim::open(config).unwrap();
    let control = sim.control();
    (Backend::Sim(sim), control)
}

/// The request that `stream_id` pay for a VM.
pub(crate) fn attach(stream_id: golem_types::StreamId) -> golem_types::wire::AttachStream {
    golem_types::wire::AttachStream { stream_id, stream_proof: None, payment: None, renter: None }
}

pub(crate) fn wanted(name: &str) -> CreateVm {
    CreateVm {
        name: name.parse().unwrap(),
        resources: Resources::new(1, 1, 10),
        image: None,
        ssh_key: KEY.parse().unwrap(),
        more_keys: Vec::new(),
        first_boot: golem_types::FirstBoot::default(),
        stream_id: None,
        quote_id: None,
        stream_proof: None,
        payment: None,
        renter: None,
    }
}

/// Waits until `id` is in `state`.
pub(crate) async fn reaches(node: &Node, id: &VmId, state: VmState) -> std::sync::Arc<Vm> {
    let mut changes = node.changes();
    let found = changes.wait_for(|now| now.get(id).is_some_and(|rental| rental.vm.state == state));
    tokio::time::timeout(DEADLINE, found)
        .await
        .unwrap_or_else(|_| panic!("not {state} in time: {:?}", node.vms()))
        .unwrap();
    node.vm(id).await.unwrap()
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    // By the machine's clock: the runtime's may stand still.
    let end = std::time::Instant::now() + DEADLINE;
    while !condition() {
        assert!(std::time::Instant::now() < end, "not in time: {what}");
        pause().await;
    }
}

/// Lets the machine's time pass, and none of the runtime's: a paused clock stands while a blocking task runs.
async fn pause() {
    tokio::task::spawn_blocking(|| std::thread::park_timeout(PAUSE)).await.unwrap();
}

/// What the guest behind `port` says first; `None` if nobody answers.
pub(crate) async fn greeting(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
    let mut bytes = [0; 13];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut bytes)).await.ok()?.ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The test's own clock, for as long as this lives: a paused clock moves only when it is told to while
/// a blocking task runs, so that a socket can be waited for.
pub(crate) fn own_clock() -> tokio::sync::oneshot::Sender<()> {
    let (keep, end) = tokio::sync::oneshot::channel::<()>();
    drop(tokio::task::spawn_blocking(move || end.blocking_recv()));
    keep
}

/// Gives whatever can go on without the clock, sockets included, the time to do so.
pub(crate) async fn settle() {
    for _ in 0..10 {
        pause().await;
    }
}

/// Lets `minutes` of a paused clock pass, a minute at a time, and what is due be done.
pub(crate) async fn pass(minutes: u32) {
    for _ in 0..minutes {
        step(Duration::from_secs(60)).await;
    }
}

/// Lets a paused clock go on, a second at a time, until `condition` holds, for no longer than `most`.
pub(crate) async fn comes_within(most: Duration, what: &str, condition: impl Fn() -> bool) {
    let began = tokio::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() <= most, "not within {most:?}: {what}");
        step(Duration::from_secs(1)).await;
        // What was asked over a socket has the machine's time to be answered, also on one that is busy.
        pause().await;
    }
}

/// Lets a paused clock go on by `time`, and what is due be done.
async fn step(time: Duration) {
    tokio::time::advance(time).await;
    // Sockets are looked at when nothing else is to be done.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
