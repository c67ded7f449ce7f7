//! Rentals that are paid by streams, on a chain that only pretends and misbehaves on demand.

mod clocks;
mod endings;
mod networks;
mod providers;
mod terms;

use std::time::Duration;

use golem_node::payment::{PaymentConfig, Rules, StreamPrices};
use golem_node::{Node, NodeConfig, NodeError, Refusal};
use golem_testchain::{Emulator, Fault};
use golem_types::Wallet;
use golem_types::price::MonthlyPrice;
use golem_types::wire::CreateVm;
use golem_types::{Decimal, Stream, StreamId, VmId, VmState};
use golem_vm::sim::SimControl;
use ruint::aliases::{U160, U256};

use crate::support::{
    DEADLINE, RULES, World, comes_within, greeting, own_clock, pass, payments, reaches, until, wanted,
};

const CHAIN: u64 = 4242;
const KEY: &str = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";

/// The time at which the pretended chain begins: now, because a chain from another time is not
/// believed.
fn now() -> u128 {
    u128::try_from(jiff::Timestamp::now().as_second()).unwrap()
}

/// This machine's time, in seconds since the epoch.
fn now_seconds() -> u64 {
    u64::try_from(now()).unwrap()
}

struct Paid {
    world: World,
    chain: Emulator,
    wallet: Wallet,
    rules: Rules,
    monitor: bool,
    interval: Duration,
    head_age: Option<Duration>,
    rpc_url: Option<String>,
}

impl Paid {
    async fn new(ports: u16) -> Self {
        Self {
            world: World::new(ports),
            chain: Emulator::start(CHAIN, now()).await.unwrap(),
            wallet: Wallet::from_hex(KEY).unwrap(),
            rules: RULES,
            monitor: true,
            interval: Duration::from_millis(20),
            head_age: Some(Duration::from_secs(180)),
            rpc_url: None,
        }
    }

    fn config(&self) -> NodeConfig {
        let url = self.rpc_url.as_deref().unwrap_or(self.chain.url());
        let payments = PaymentConfig {
            maximum_head_age: self.head_age,
            rules: self.rules,
            monitor: self.monitor,
            interval: self.interval,
            ..payments(url, CHAIN, self.chain.contract(), self.wallet.clone())
        };
        NodeConfig { payments: Some(payments), ..self.world.config() }
    }

    async fn start(&self) -> (Node, SimControl) {
        let (backend, control) = self.world.sim();
        (Node::start(self.config(), backend).await.unwrap(), control)
    }

    /// A stream to the provider that lasts for `seconds`.
    fn stream(&self, seconds: u64) -> Stream {
        self.chain.stream(0xabc, self.wallet.address(), seconds, 1000)
    }

    fn open(&self, id: u64, seconds: u64) -> StreamId {
        self.chain.put(id, self.stream(seconds));
        StreamId(U256::from(id))
    }

    async fn rent(&self, node: &Node, name: &str, stream: StreamId) -> VmId {
        let (vm, _) = node.create(paid(name, stream)).await.unwrap();
        reaches(node, &vm.id, VmState::Running).await;
        vm.id.clone()
    }
}

fn paid(name: &str, stream: StreamId) -> CreateVm {
    CreateVm { stream_id: Some(stream), ..wanted(name) }
}

/// Waits until `count` more requests have come: the monitor has seen what is now.
async fn ticks(chain: &Emulator, count: u64) {
    let from = chain.requests();
    let poll = async {
        while chain.requests() < from + count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, poll).await.unwrap();
}

async fn refusal(node: &Node, stream: Option<StreamId>) -> Refusal {
    let request = CreateVm { stream_id: stream, ..wanted("refused") };
    match node.create(request).await {
        Err(NodeError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// Each reason in its documented words, and nothing is
/// reserved.
#[tokio::test]
async fn a_create_without_a_good_stream_is_refused() {
    let paid = Paid::new(4).await;
    let (node, _) = paid.start().await;
    let good = paid.stream(3600);
    let nobody = refusal(&node, None).await;
    // S-142
    assert_eq!(nobody.to_string(), "stream_id required when payments are enabled");
    for (number, (stream, why)) in (1u64..).zip([
        // S-137
        (Stream { recipient: U160::from(5), ..good }, "recipient mismatch"),
        (Stream { recipient: U160::ZERO, ..good }, "recipient mismatch"),
        // S-138
        (Stream { deposit: U256::ZERO, ..good }, "no deposit"),
        // S-139
        (Stream { start: good.start + 500, stop: good.stop + 500, ..good }, "stream not started"),
        // S-140
        (Stream { halted: true, ..good }, "stream halted"),
        (Stream { token: U160::from(9), ..good }, "wrong token"),
        // S-141
        (Stream { stop: good.start + 59, ..good }, "runway below minimum"),
        (Stream { stop: good.start, ..good }, "runway below minimum"),
    ]) {
        paid.chain.put(number, stream);
        let refusal = refusal(&node, Some(StreamId(U256::from(number)))).await;
        assert_eq!(refusal.to_string(), format!("invalid stream: {why}"));
    }
    for missing in [U256::from(99), U256::MAX] {
        let refusal = refusal(&node, Some(StreamId(missing))).await;
        assert_eq!(refusal.to_string(), "invalid stream: recipient mismatch");
    }
    assert!(node.vms().is_empty());
    assert_eq!(node.capacity().free, node.capacity().total);
    node.shutdown(false).await;
}

/// The price is asked for once it is known, and not before; a stream of most possible numbers is
/// judged like any other.
#[tokio::test]
async fn a_stream_has_to_pay_the_price_once_it_is_known() {
    let paid = Paid::new(4).await;
    let (node, _) = paid.start().await;
    let stream = paid.open(1, 3600);
    let coin = U256::from(10).pow(U256::from(18));
    let month = MonthlyPrice { core: Decimal::from_atto(coin), ..MonthlyPrice::default() };
    let payments = node.payments().unwrap();
    payments.set_prices(Some(StreamPrices::of(month)));
    assert_eq!(refusal(&node, Some(stream)).await.to_string(), "invalid stream: rate below price");
    // Who read a lower price a while ago may still come with it.
    let nothing = MonthlyPrice::default();
    payments.set_prices(Some(StreamPrices::of(nothing)));
    payments.set_prices(Some(StreamPrices::of(month)));
    paid.rent(&node, "one", stream).await;
    payments.set_prices(None);
    let most = Stream {
        rate: u128::MAX,
        stop: u128::MAX,
        deposit: U256::MAX,
        withdrawn: U256::MAX,
        ..paid.stream(60)
    };
    paid.chain.put(2, most);
    let vm = paid.rent(&node, "two", StreamId(U256::from(2))).await;
    let status = node.stream(&vm).await.unwrap();
    assert_eq!((status.stream.deposit, status.stream.withdrawable(status.now)), (U256::MAX, U256::ZERO));
    node.shutdown(false).await;
}

/// A quote holds both sides to its price: ours when prices have risen, the renter's when they have
/// fallen; and what is no quote of ours for this VM is refused by name.
#[tokio::test]
async fn a_create_that_names_a_quote_is_held_to_it() {
    let paid = Paid::new(4).await;
    let (node, _) = paid.start().await;
    let payments = node.payments().unwrap();
    let size = wanted("any").resources;
    let now = jiff::Timestamp::now();
    assert!(matches!(payments.quote(size, now), Err(NodeError::NoPrice)), "nothing is promised blindly");
    let coin = U256::from(10).pow(U256::from(18));
    let price = |coins: u64| {
        let core = Decimal::from_atto(coin * U256::from(coins));
        let glm = MonthlyPrice { core, ..MonthlyPrice::default() };
        payments.set_prices(Some(StreamPrices::of(glm)));
    };
    price(2);
    let quote = payments.quote(size, now).unwrap();
    let rate = quote.quote.rate;
    assert_eq!(rate, (2.0 / (730.0 * 3600.0) * 1e18) as u128);
    let open = |id: u64, rate: u128| {
        paid.chain.put(id, Stream { rate, deposit: coin, ..paid.stream(3600) });
        Some(StreamId(U256::from(id)))
    };
    let create = async |name: &str, stream_id, quote_id: &str| {
        let request = CreateVm { stream_id, quote_id: Some(quote_id.to_owned()), ..wanted(name) };
        node.create(request).await.map(|(vm, _)| vm.id.clone())
    };
    let refused = async |stream_id, quote_id: &str| match create("refused", stream_id, quote_id).await {
        Err(NodeError::Refused(refusal)) => refusal.to_string(),
        other => panic!("not refused: {other:?}"),
    };
    // Twice the price, three months' time: the promise counts.
    price(4);
    let id = quote.id();
    create("held", open(1, rate), &id).await.unwrap();
    assert_eq!(refused(open(2, rate - 1), &id).await, "invalid stream: rate below price");
    price(1);
    assert_eq!(refused(open(2, rate - 1), &id).await, "invalid stream: rate below price");
    assert!(node.create(CreateVm { stream_id: open(2, rate - 1), ..wanted("cheap") }).await.is_ok());

    let other = open(3, rate * 4);
    let large = payments.quote(golem_types::Resources::new(2, 1, 10), now).unwrap();
    assert_eq!(
        refused(other, &large.id()).await,
        "invalid quote: it is for 2 CPU, 1 GB of memory and 10 GB of storage, which is not what is requested"
    );
    let past = now - golem_node::promise::QUOTE_LIFE;
    let old = payments.quote(size, past).unwrap();
    assert_eq!(refused(other, &old.id()).await, "invalid quote: it has expired; ask for another one");
    let place = golem_chain::Place { chain_id: CHAIN, contract: paid.chain.contract() };
    let stranger = Wallet::from_hex(&KEY.replace('5', "6")).unwrap();
    let forged = quote.quote.sign(place, &stranger).unwrap();
    let foreign =
        quote.quote.sign(golem_chain::Place { chain_id: CHAIN + 1, ..place }, &paid.wallet).unwrap();
    for bad in [forged, foreign] {
        assert_eq!(
            refused(other, &bad.id()).await,
            "invalid quote: this provider did not sign it for the contract and token in which it is paid"
        );
    }
    assert_eq!(refused(other, "123").await, "invalid quote: this is not the quote_id of a quote");

    // Sent again because the answer was lost, a create gives the same VM: also once its quote is over, and
    // only to who names all that it named.
    let short = payments.quote(size, past + Duration::from_secs(3)).unwrap();
    let (first, job) = {
        let request = CreateVm { stream_id: other, quote_id: Some(short.id()), ..wanted("again") };
        node.create(request).await.unwrap()
    };
    let is_over = || now_seconds() >= short.quote.expires_at;
    crate::support::until("the quote is over", is_over).await;
    assert!(refused(open(4, rate), &short.id()).await.contains("it has expired"));
    let again = CreateVm { stream_id: other, quote_id: Some(short.id()), ..wanted("again") };
    let (same, same_job) = node.create(again).await.unwrap();
    assert_eq!((&same.id, &same_job.id), (&first.id, &job.id));
    assert_eq!(refused(other, &id).await, "invalid stream: already used by another VM");
    let named = CreateVm { stream_id: other, quote_id: Some(short.id()), ..wanted("another") };
    assert!(node.create(named).await.is_err());
    node.shutdown(false).await;
}

/// I2: of a hundred creates at once with one stream, one is granted; and the stream is free again
/// once its rental has ended.
#[tokio::test]
async fn i2_one_stream_pays_for_one_rental_under_a_hundred_attempts() {
    let paid = Paid::new(110).await;
    let (node, _) = paid.start().await;
    let stream = paid.open(1, 3600);
    let attempts = (0..100).map(|number| {
        let node = node.clone();
        async move { node.create(self::paid(&format!("vm-{number}"), stream)).await }
    });
    let results = futures_util::future::join_all(attempts).await;
    let granted: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert_eq!(granted.len(), 1);
    let refused = results.iter().filter_map(|result| result.as_ref().err());
    assert!(refused.clone().all(|error| matches!(error, NodeError::Refused(Refusal::StreamUsed))));
    assert_eq!(refused.count(), 99);
    let id = granted[0].0.id.clone();
    reaches(&node, &id, VmState::Running).await;
    node.delete_vm(&id).await.unwrap();
    paid.rent(&node, "again", stream).await;
    node.shutdown(false).await;
}

/// The mapping is in streams.json, in the ledger, and gone with the rental.
#[tokio::test]
async fn the_mapping_is_exported_survives_a_restart_and_ends_with_the_rental() {
    let paid = Paid::new(4).await;
    let (node, _) = paid.start().await;
    let largest = StreamId(U256::from(u64::MAX));
    paid.chain.put(u64::MAX, paid.stream(3600));
    let vm = paid.rent(&node, "one", largest).await;
    let file = paid.world.folder.path().join("streams.json");
    let holds = async |wanted: &str| {
        let poll = async {
            while std::fs::read_to_string(&file).unwrap_or_default().split_whitespace().collect::<String>()
                != wanted
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, poll).await.unwrap_or_else(|_| panic!("not {wanted}"));
    };
    // S-133
    holds(&format!("{{\"{vm}\":{}}}", u64::MAX)).await;
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    node.shutdown(false).await;
    std::fs::remove_file(&file).unwrap();
    let (node, _) = paid.start().await;
    holds(&format!("{{\"{vm}\":{}}}", u64::MAX)).await;
    assert_eq!(node.vm(&vm).await.unwrap().stream.as_ref().unwrap().id, largest);
    node.delete_vm(&vm).await.unwrap();
    // S-136
    holds("{}").await;
    node.shutdown(false).await;
}

/// Below the minimum the VM is stopped and its disk kept; a top-up starts it
/// again, by the same port; each step is an event.
#[tokio::test]
async fn a_vm_that_is_not_paid_for_is_stopped_held_and_resumed() {
    let paid = Paid::new(4).await;
    let (node, _) = paid.start().await;
    let stream = paid.open(1, 3600);
    let vm = paid.rent(&node, "one", stream).await;
    let port = node.vm(&vm).await.unwrap().ssh_port;
    assert!(greeting(port).await.is_some());
    // The chain's clock moves on by less than an endpoint may be ahead: 3000 s would not be believed.
    let short = Stream { stop: paid.stream(0).start + 100, ..paid.stream(3600) };
    paid.chain.put(1, short);
    ticks(&paid.chain, 6).await;
    // S-125: enough is left.
    assert_eq!(node.vm(&vm).await.unwrap().state, VmState::Running, "100 s are left");
    paid.chain.pass(50);
    // S-125, S-134
    let stopped = reaches(&node, &vm, VmState::Stopped).await;
    assert_eq!(stopped.unpaid.as_ref().unwrap().reason, "its stream has run out");
    assert!(greeting(port).await.is_none(), "the port is closed");
    let error = node.start_vm(&vm).await.unwrap_err();
    assert!(matches!(error, NodeError::Unpaid(_)), "{error}");
    assert!(matches!(node.restart_vm(&vm).await, Err(NodeError::Unpaid(_))));
    // A top-up.
    paid.chain.put(1, Stream { stop: short.stop + 3600, deposit: short.deposit * U256::from(2), ..short });
    // S-134
    let running = reaches(&node, &vm, VmState::Running).await;
    assert_eq!((running.ssh_port, &running.unpaid), (port, &None));
    assert!(greeting(port).await.is_some());
    let kinds: Vec<String> =
        node.events(Some(vm.clone()), 50).await.unwrap().into_iter().map(|event| event.kind).rev().collect();
    let is_of_money = |kind: &&String| kind.starts_with("stream.") || kind.starts_with("payment.");
    assert_eq!(
        kinds.iter().filter(is_of_money).collect::<Vec<_>>(),
        ["stream.opened", "payment.ending", "payment.ended", "payment.resumed"]
    );
    node.shutdown(false).await;
}

/// The chain is asked once an interval: not before it is over, and then at once.
#[tokio::test(start_paused = true)]
async fn s_127_the_monitor_looks_once_an_interval_and_not_more_often() {
    let clock = own_clock();
    for interval in [Duration::from_secs(30), Duration::from_secs(300)] {
        let mut paid = Paid::new(4).await;
        // Minutes pass in a moment, and blocks do not.
        (paid.interval, paid.head_age) = (interval, None);
        let (node, _) = paid.start().await;
        let payments = node.payments().unwrap();
        let looked = || payments.health().block.map(|block| block.number);
        for round in 0..3 {
            until("a look", || looked().is_some() && looked() != Some(0)).await;
            let before = looked();
            // What a look does after it has read is done when nothing is left to be done.
            crate::support::settle().await;
            paid.chain.pass(1);
            let asked = paid.chain.requests();
            tokio::time::advance(interval - Duration::from_secs(1)).await;
            crate::support::settle().await;
            assert_eq!(paid.chain.requests(), asked, "not before {interval:?} are over, round {round}");
            tokio::time::advance(Duration::from_secs(1)).await;
            until("the next look", || looked() != before).await;
        }
        node.shutdown(false).await;
    }
    drop(clock);
}

/// A stream that ended ends its VM's run where the monitor is on. Where it is off nobody even looks.
#[tokio::test(start_paused = true)]
async fn s_126_only_a_monitor_that_is_on_stops_what_is_not_paid_for() {
    let clock = own_clock();
    for monitor in [false, true] {
        let mut paid = Paid::new(4).await;
        (paid.monitor, paid.interval, paid.head_age) = (monitor, Duration::from_secs(30), None);
        let (node, _) = paid.start().await;
        let vm = paid.rent(&node, "one", paid.open(1, 3600)).await;
        paid.chain.put(1, Stream { recipient: U160::ZERO, ..paid.stream(3600) });
        let asked = paid.chain.requests();
        if monitor {
            let stopped = || node.vms().iter().all(|vm| vm.state == VmState::Stopped);
            comes_within(Duration::from_secs(600), "it is stopped", stopped).await;
        } else {
            pass(10).await;
            assert_eq!(paid.chain.requests(), asked, "nobody looks");
            assert_eq!(node.vm(&vm).await.unwrap().state, VmState::Running);
        }
        node.shutdown(false).await;
    }
    drop(clock);
}
