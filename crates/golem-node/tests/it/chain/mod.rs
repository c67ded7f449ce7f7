//! Rentals that are paid by streams on a real EVM, and money that is fetched from them.

mod books;
mod books_property;
mod contracts;
mod gas;
mod killed;
mod leases;
mod many;
mod market;
mod payout;
mod refunds;
mod rewound;
mod tokens;

use std::path::PathBuf;
use std::time::Duration;

use golem_node::ledger::{Ledger, Try, WithdrawalState};
use golem_node::payment::{PaymentConfig, Payments, WithdrawConfig, WithdrawError};
use golem_node::transactions::{GasRules, Pace, Transactions};
use golem_node::{LEDGER_FILE, Node, NodeConfig};
use golem_testchain::{Anvil, CHAIN_ID, Chaos, FaucetServer, contracts, word};
use golem_types::wire::CreateVm;
use golem_types::{StreamId, VmId, VmState};
use jiff::Timestamp;
use ruint::aliases::U256;
use serde_json::json;

use self::market::{Market, booked, patiently, payments_on, sum, until};
use crate::support::{DEADLINE, World, attach, greeting, payments, reaches, wanted};

/// The provider's account.
const PROVIDER: usize = 2;

/// The whole life of a paid rental.
#[tokio::test]
async fn a_rental_lives_as_long_as_its_stream() {
    let market = Market::new(&[]).await;
    let node = market.start().await;
    let stream = market.open(3600).await;
    let vm = market.rent(&node, "one", stream).await;
    let port = node.vm(&vm).await.unwrap().ssh_port;
    market.chain.warp(1000).await.unwrap();
    let status = node.stream(&vm).await.unwrap();
    let earned = market.chain.vested(stream).await.unwrap();
    // S-018, S-180: what the contract itself would pay.
    assert_eq!(status.stream.vested(status.now), earned);
    assert!(earned >= U256::from(status.stream.rate) * U256::from(1000));
    assert_eq!(status.stream.remaining_seconds(status.now), status.stream.stop - status.now);
    market.chain.warp(2600).await.unwrap();
    // S-119, S-134: it has run out.
    let stopped = reaches(&node, &vm, VmState::Stopped).await;
    assert!(stopped.unpaid.is_some() && greeting(port).await.is_none());
    market.chain.top_up(stream, status.stream.deposit).await.unwrap();
    // S-134: nothing of it was lost.
    reaches(&node, &vm, VmState::Running).await;
    assert!(greeting(port).await.is_some());
    market.chain.terminate(1, stream).await.unwrap();
    reaches(&node, &vm, VmState::Stopped).await;
    let other = market.open(7200).await;
    node.attach_stream(&vm, attach(other)).await.unwrap();
    reaches(&node, &vm, VmState::Running).await;
    market.chain.halt(other).await.unwrap();
    reaches(&node, &vm, VmState::Stopped).await;
    node.shutdown(false).await;
}

/// The balance grows by what had vested, less gas; what has nothing to give
/// does not keep the others waiting; the receipts are kept.
#[tokio::test]
async fn what_vested_reaches_the_wallet() {
    for more in [&[][..], &["--hardfork", "berlin"][..]] {
        let market = Market::new(more).await;
        let node = market.start().await;
        let mut streams = Vec::new();
        for name in ["one", "two", "three"] {
            let stream = market.open(7200).await;
            streams.push(stream);
            market.rent(&node, name, stream).await;
        }
        market.chain.warp(3600).await.unwrap();
        market.chain.terminate(1, streams[1]).await.unwrap();
        let before = market.balance().await;
        let payments = node.payments().unwrap();
        let (mut paid, mut cost, mut failures) = (U256::ZERO, U256::ZERO, 0);
        for copy in payments.withdrawable(None) {
            match payments.withdraw(&copy).await {
                Ok(done) => {
                    paid += done.paid;
                    cost += done.cost;
                }
                Err(WithdrawError::Nothing) => failures += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(failures, 1, "the terminated one was paid by its termination");
        assert!(paid >= U256::from(2u64 * 3600) * U256::from(10u64.pow(16) / 3600));
        assert!(!cost.is_zero());
        // S-019
        assert_eq!(market.balance().await, before + paid - cost, "to the wei, {more:?}");
        let kept = payments.withdrawals(Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!(kept.len(), 2);
        assert!(kept.iter().all(|one| one.state == WithdrawalState::Paid && one.hash.is_some()));
        assert_eq!(kept.iter().filter_map(|one| one.paid).fold(U256::ZERO, |sum, wei| sum + wei), paid);
        node.shutdown(false).await;
    }
}

/// Nothing is fetched where that is off; where it is on, from each stream once in an interval of its own, and not
/// less than the minimum. What a stream that is over left is fetched at once, which tells here that all others were
/// looked at, too: they come before it.
#[tokio::test]
async fn each_stream_is_withdrawn_from_once_per_interval_when_it_is_worth_it() {
    // Streams that began an hour ago, by the chain's clock and by this machine's.
    let past = (Timestamp::now().as_second() - 3600).to_string();
    let mut market = Market::new(&["--timestamp", &past]).await;
    let hour = U256::from(10u64.pow(16));
    let small =
        market.chain.create(1, market.chain.account(PROVIDER), hour, 10u128.pow(15) / 3600).await.unwrap();
    let [fetched, due] = [market.open(14_400).await, market.open(14_400).await];
    let over = [market.open(600).await, market.open(700).await, market.open(800).await];
    let node = market.start().await;
    let all = [small, fetched, due, over[0], over[1], over[2]];
    for (name, stream) in ["small", "fetched", "due", "over-0", "over-1", "over-2"].into_iter().zip(all) {
        market.rent(&node, name, stream).await;
    }
    market.chain.warp(3600).await.unwrap();
    // How often something was fetched from each of `all`, at least once from `until_paid`.
    let fetch = async |node: &Node, until_paid: StreamId| {
        let payments = node.payments().unwrap().clone();
        let paid = async || {
            let kept = payments.withdrawals(Timestamp::UNIX_EPOCH).await.unwrap();
            let of = |id: StreamId| {
                kept.iter().filter(|one| one.key.id == id && one.state == WithdrawalState::Paid).count()
            };
            (all.map(of), of(until_paid))
        };
        until("a withdrawal", async || paid().await.1 > 0).await;
        paid().await.0
    };
    // By hand, by a node that finds all of it due, while the timer is off.
    node.shutdown(false).await;
    drop(node);
    let mut off = market.payments();
    off.withdraw.interval = Duration::from_secs(1);
    let config = NodeConfig { payments: Some(off), ..market.world.config() };
    let node = Node::start(config, market.world.sim().0).await.unwrap();
    let payments = node.payments().unwrap().clone();
    let copy = payments.withdrawable(None).into_iter().find(|copy| copy.key.id == fetched).unwrap();
    payments.withdraw(&copy).await.unwrap();
    // A timer that is on would have begun twice by then. One at a time: what it began comes before this.
    tokio::time::sleep(Duration::from_secs(2)).await;
    payments.withdraw(&copy).await.unwrap_err();
    // S-128
    assert_eq!(fetch(&node, fetched).await, [0, 1, 0, 0, 0, 0]);
    node.shutdown(false).await;
    drop((node, payments));

    market.automatic = true;
    let next = async |interval: u64, minimum: U256| {
        let mut config = market.payments();
        config.withdraw.interval = Duration::from_secs(interval);
        config.withdraw.minimum = minimum;
        let config = NodeConfig { payments: Some(config), ..market.world.config() };
        Node::start(config, market.world.sim().0).await.unwrap()
    };
    let above = U256::from(10u64.pow(15) * 2);
    let node = next(7200, U256::from(10u64.pow(15))).await;
    let counts = fetch(&node, over[2]).await;
    // S-128: what is on fetches what is due. S-129: an hour is less than the interval.
    assert_eq!(counts, [0, 1, 0, 1, 1, 1]);
    node.shutdown(false).await;
    let node = next(1800, above).await;
    let counts = fetch(&node, due).await;
    // S-129, S-135: the interval of a stream counts from its own last withdrawal. S-130: and less than the minimum stays.
    assert_eq!(counts, [0, 1, 1, 1, 1, 1]);
    node.shutdown(false).await;
    let node = next(1800, U256::from(10u64.pow(14) * 5)).await;
    let counts = fetch(&node, small).await;
    // S-130
    assert_eq!(counts, [1, 1, 1, 1, 1, 1]);
    node.shutdown(false).await;
}

/// A withdrawal that a crash interrupted is finished by the next process: once, not twice.
#[tokio::test]
async fn a_withdrawal_in_mid_flight_is_neither_forgotten_nor_paid_twice() {
    let market = Market::new(&[]).await;
    let node = market.start().await;
    let stream = market.open(7200).await;
    market.rent(&node, "one", stream).await;
    market.chain.warp(3600).await.unwrap();
    market.chain.ask("evm_setAutomine", json!([false])).await.unwrap();
    let payments = node.payments().unwrap().clone();
    let copy = payments.withdrawable(None).remove(0);
    let waiting = tokio::time::timeout(Duration::from_millis(1500), payments.withdraw(&copy)).await;
    assert!(waiting.is_err(), "it is in no block");
    let sent = payments.withdrawals(Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!((sent.len(), sent[0].state), (1, WithdrawalState::Sent));
    node.shutdown(false).await;
    drop(payments);

    let node = market.start().await;
    let before = market.balance().await;
    market.chain.ask("evm_setAutomine", json!([true])).await.unwrap();
    market.chain.ask("evm_mine", json!([])).await.unwrap();
    let payments = node.payments().unwrap().clone();
    until("the withdrawal is settled", async || {
        let all = payments.withdrawals(Timestamp::UNIX_EPOCH).await.unwrap();
        all.iter().all(|one| one.state == WithdrawalState::Paid)
    })
    .await;
    let all = payments.withdrawals(Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(market.mined().await, 1, "one transaction");
    assert_eq!(market.balance().await, before + all[0].paid.unwrap() - all[0].cost.unwrap());
    node.shutdown(false).await;
}

/// What an older version left under way is taken over: a transaction that waits for long is replaced by one with a higher
/// fee, and one whose number another program of the same wallet used is planned anew.
#[tokio::test]
async fn a_stuck_withdrawal_is_replaced_and_an_overtaken_one_is_planned_anew() {
    let market = Market::new(&[]).await;
    let stream = market.open(7200).await;
    let node = market.start().await;
    let vm = market.rent(&node, "one", stream).await;
    market.chain.warp(3600).await.unwrap();
    node.shutdown(false).await;
    drop(node);
    let config = market.payments();
    let file = market.world.folder.path().join(LEDGER_FILE);
    let ledger = Ledger::open(&file).unwrap();
    let sender = golem_chain::Sender::new(market.chain.rpc().clone(), config.wallet.clone(), CHAIN_ID);
    // A row as that version wrote it, of a transaction below what any node takes: it was sent once, and nobody mines it.
    let begin = async || {
        use alloy_sol_types::SolCall;
        let data = golem_chain::contract::withdrawCall { streamId: stream.0 }.abi_encode();
        let mut plan = sender.plan(Some(config.contract), data.into(), U256::ZERO).await.unwrap();
        plan.transaction.fee = golem_chain::Fee::Market { maximum: 1, priority: 0 };
        let signed = sender.sign(&plan).unwrap();
        let at = Timestamp::now() - Duration::from_secs(61);
        let tries = json!([Try { transaction: plan.transaction, signed, at }]).to_string();
        let contract = golem_node::payment::contract_key(CHAIN_ID, config.contract);
        rusqlite::Connection::open(&file)
            .unwrap()
            .execute(
                "INSERT INTO withdrawals (contract, stream_id, vm_id, token, state, expected, nonce, tries, created_at, \
                 updated_at) VALUES (?1, ?2, ?3, '0x0', 'sent', '1', 0, ?4, ?5, ?5)",
                rusqlite::params![contract, stream.to_string(), vm.as_str(), tries, at.as_microsecond()],
            )
            .unwrap();
        let pace = Pace { lost: Duration::from_secs(1), ..Pace::default() };
        let transactions = Transactions::paced(ledger.clone(), pace);
        Payments::open(market.payments(), ledger.clone(), &transactions).await.unwrap()
    };
    // Overtaken: its number is used by another transaction.
    let payments = begin().await;
    let (from, to) = (market.chain.account(PROVIDER), market.chain.account(3));
    market.chain.send(json!({ "from": from, "to": to, "value": "0x1" })).await.unwrap();
    let copy = payments.withdrawable(None).remove(0);
    let done = payments.withdraw(&copy).await.unwrap();
    assert!(!done.paid.is_zero());
    let all = ledger.transactions(10).await.unwrap();
    let states: Vec<_> = all.iter().map(|one| (one.state.as_str(), one.nonce)).collect();
    // M-07
    assert_eq!(states, [("mined", Some(1)), ("lost", Some(0))]);
    // Stuck: the fee is raised until it is taken. A node that takes any fee mines the first raise.
    market.chain.warp(600).await.unwrap();
    market.chain.ask("anvil_setNextBlockBaseFeePerGas", json!(["0x0"])).await.unwrap();
    let payments = begin().await;
    let done = payments.withdraw(&copy).await.unwrap();
    assert!(!done.paid.is_zero());
    let replaced = ledger.transactions(1).await.unwrap().remove(0);
    assert!(replaced.attempts.len() >= 2, "{replaced:?}");
    assert!(replaced.attempts.iter().all(|one| one.transaction.nonce == 2));
    let all = payments.withdrawals(Timestamp::UNIX_EPOCH).await.unwrap();
    assert!(all.iter().all(|one| one.state == WithdrawalState::Paid), "{all:?}");
}

/// A wallet without money for gas, a withdrawal that the contract refuses, and a key that is not the
/// recipient's: each is told, none is recorded as sent.
#[tokio::test]
async fn a_withdrawal_that_cannot_work_is_not_sent() {
    let market = Market::new(&[]).await;
    let stream = market.open(7200).await;
    let node = market.start().await;
    market.rent(&node, "one", stream).await;
    market.chain.warp(3600).await.unwrap();
    let payments = node.payments().unwrap();
    let copy = payments.withdrawable(None).remove(0);
    let provider = market.chain.account(PROVIDER);
    market.chain.ask("anvil_setBalance", json!([provider, "0x1"])).await.unwrap();
    let error = payments.withdraw(&copy).await.unwrap_err();
    assert!(matches!(error, WithdrawError::Send(_)), "{error:?}");
    market.chain.ask("anvil_setBalance", json!([provider, "0xde0b6b3a7640000"])).await.unwrap();
    let absent = golem_node::paid::StreamCopy {
        key: golem_types::StreamKey { id: StreamId(U256::from(999)), ..copy.key.clone() },
        ..copy.clone()
    };
    assert!(matches!(payments.withdraw(&absent).await, Err(WithdrawError::Nothing)));
    assert!(payments.withdrawals(Timestamp::UNIX_EPOCH).await.unwrap().is_empty());
    payments.withdraw(&copy).await.unwrap();
    // Nothing is left but what vests meanwhile, which gas would eat.
    let error = payments.withdraw(&copy).await.unwrap_err();
    assert!(matches!(error, WithdrawError::Gas { .. } | WithdrawError::Nothing), "{error:?}");
    node.shutdown(false).await;
}

/// I3, I4: two hundred rentals behind an endpoint of which every other answer is late, cut, refused
/// or garbled. Whoever pays is never stopped, not for a moment; whoever does not is, all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_i4_chaos_before_the_endpoint_hurts_nobody_who_pays_and_lets_nobody_else_run() {
    const RENTALS: u16 = 200;
    let mut market = Market::new(&[]).await;
    market.world = World::new(RENTALS + 10);
    let chaos = Chaos::start(market.chain.url(), 42).await.unwrap();
    let mut payments = market.payments();
    payments.rpc_url = chaos.url().to_owned();
    payments.interval = Duration::from_millis(20);
    let mut config = NodeConfig { payments: Some(payments), ..market.world.config() };
    config.limits.max_vms = u32::from(RENTALS);
    config.totals = Some(golem_types::Resources::new(1000, 1000, 10_000));
    let node = Node::start(config, market.world.sim().0).await.unwrap();
    let (mut paying, mut ending) = (Vec::new(), Vec::new());
    for number in 0..RENTALS {
        let pays = number % 2 == 0;
        let stream = market.open(if pays { 100_000 } else { 5000 }).await;
        let request = CreateVm { stream_id: Some(stream), ..wanted(&format!("vm-{number}")) };
        let (vm, _) = node.create(request).await.unwrap();
        if pays { paying.push(vm.id.clone()) } else { ending.push(vm.id.clone()) }
    }
    for id in paying.iter().chain(&ending) {
        reaches(&node, id, VmState::Running).await;
    }
    chaos.spoil(50);
    // Every change of the ledger is looked at, not only the last one.
    let mut changes = node.changes();
    let watched = paying.clone();
    let mut watch = tokio::task::JoinSet::new();
    watch.spawn(async move {
        while changes.changed().await.is_ok() {
            let now = changes.borrow_and_update();
            for id in &watched {
                assert!(now.get(id).is_some_and(|rental| rental.vm.unpaid.is_none()), "{id} was stopped");
            }
        }
    });
    let spoilt = chaos.spoilt();
    // The endpoint often says that it is asked too often, and is then asked less often.
    patiently("twenty spoilt answers", async || chaos.spoilt() > spoilt + 20).await;
    assert!(
        ending.iter().all(|id| node.changes().borrow().get(id).is_some_and(|one| one.vm.unpaid.is_none()))
    );
    market.chain.warp(5000).await.unwrap();
    let is_stopped =
        |id: &VmId| node.changes().borrow().get(id).is_some_and(|one| one.vm.state == VmState::Stopped);
    patiently("whoever does not pay is stopped", async || ending.iter().all(is_stopped)).await;
    let spoilt = chaos.spoilt();
    patiently("twenty more", async || chaos.spoilt() > spoilt + 20).await;
    for id in &paying {
        assert_eq!(node.vm(id).await.unwrap().state, VmState::Running);
    }
    assert_eq!(node.vms().len(), usize::from(RENTALS), "nothing is lost");
    node.shutdown(false).await;
    drop(node);
    watch.join_next().await.unwrap().unwrap();
}

/// S-236: on a test network a withdrawal that the wallet cannot pay for gets its gas from the faucet.
#[tokio::test]
async fn s_236_a_withdrawal_without_gas_asks_the_faucet_first() {
    let market = Market::new(&[]).await;
    let faucet = FaucetServer::start(market.chain.rpc().clone(), market.chain.account(0)).await.unwrap();
    let mut payments = market.payments();
    payments.faucet = Some(golem_chain::faucet::Faucet {
        url: faucet.url(),
        captcha_url: faucet.captcha_url().to_owned(),
        captcha_key: faucet.site().to_owned(),
    });
    let node = market.start_with(payments).await;
    let stream = market.open(7200).await;
    market.rent(&node, "one", stream).await;
    market.chain.warp(3600).await.unwrap();
    let provider = market.chain.account(PROVIDER);
    market.chain.ask("anvil_setBalance", json!([provider, "0x1"])).await.unwrap();
    let payments = node.payments().unwrap();
    let copy = payments.withdrawable(None).remove(0);
    let done = payments.withdraw(&copy).await.unwrap();
    assert_eq!(faucet.paid(), 1);
    let gift = U256::from(10u64.pow(17));
    assert_eq!(market.balance().await, U256::ONE + gift + done.paid - done.cost);
    // Enough is there now.
    assert_eq!(payments.refill(&golem_chain::faucet::Work::default()).await.unwrap(), None);
    node.shutdown(false).await;
}
