//! The queue of a wallet's transactions, on a chain that only pretends and behaves badly on demand.

use std::time::Duration;

use alloy_primitives::{Address, Bytes};
use golem_chain::{Rpc, Sender};
use golem_node::ledger::Ledger;
use golem_node::transactions::{
    GasRules, Order, Pace, Purpose, Queue, TransactionError, TransactionState, Transactions,
};
use golem_testchain::{Pool, PoolState, Taken};
use golem_types::Wallet;
use ruint::aliases::U256;

use crate::support::DEADLINE;

const CHAIN: u64 = 77;
const GWEI: u128 = 1_000_000_000;

struct World {
    _folder: tempfile::TempDir,
    ledger: Ledger,
    pool: Pool,
    pace: Pace,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("provider.db")).unwrap();
        let pool = Pool::start(CHAIN).await.unwrap();
        // As quick as a test wants it.
        let millis = Duration::from_millis;
        let pace = Pace {
            poll: millis(5),
            poll_most: millis(40),
            stuck: millis(200),
            again: millis(20),
            again_most: millis(80),
            foreign: millis(100),
            lost: millis(100),
            ..Pace::default()
        };
        Self { _folder: folder, ledger, pool, pace }
    }

    fn queue(&self, rules: GasRules) -> Queue {
        let wallet = Wallet::from_bytes(&[7; 32]).unwrap();
        let sender = Sender::new(Rpc::new(self.pool.url()).unwrap(), wallet, CHAIN);
        Transactions::paced(self.ledger.clone(), self.pace).queue(sender, rules)
    }

    fn chain<T>(&self, change: impl FnOnce(&mut PoolState) -> T) -> T {
        self.pool.with(change)
    }
}

fn order(purpose: Purpose, subject: &str) -> Order {
    Order {
        purpose,
        subject: subject.to_owned(),
        to: Address::repeat_byte(u8::try_from(subject.len()).unwrap()),
        data: Bytes::from(vec![1, 2, 3]),
        value: U256::ZERO,
        most_cost: None,
    }
}

const LONG: Duration = Duration::from_secs(20);

/// Brings `queue` on until `condition` holds.
async fn drive(queue: &Queue, what: &str, condition: impl Fn() -> bool) {
    let poll = async {
        while !condition() {
            queue.advance().await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(DEADLINE, poll).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

#[tokio::test]
async fn m_07_ten_that_a_pool_forgot_are_told_and_sent_again_at_few_requests() {
    let world = World::new().await;
    world.chain(|chain| (chain.mines, chain.forgets) = (false, true));
    let queue = world.queue(GasRules::default());
    let mut ids = Vec::new();
    for number in 1..=10 {
        ids.push(queue.submit(order(Purpose::Withdraw, &"x".repeat(number))).await.unwrap());
    }
    drive(&queue, "some are sent", || world.chain(|chain| chain.sends > 3)).await;
    let (before, began) = (world.chain(|chain| chain.requests), std::time::Instant::now());
    drive(&queue, "a second passes", || began.elapsed() > Duration::from_secs(1)).await;
    let requests = world.chain(|chain| chain.requests) - before;
    // M-07: at the quickest of this pace there would be 200 looks in a second; they become ever fewer, however many wait.
    assert!(requests < 120, "{requests} requests");
    let report = queue.report();
    assert_eq!(report.open.len(), 10);
    assert!(report.open[0].sent_again.is_some() && report.open[0].nonce == Some(0), "{report:?}");
    assert_eq!(
        report.open.iter().filter(|one| one.nonce.is_some()).count(),
        4,
        "the rest wait without a number"
    );
    world.chain(|chain| (chain.mines, chain.forgets) = (true, false));
    for id in ids {
        // M-07
        queue.wait(id, LONG).await.unwrap();
    }
    assert_eq!(world.chain(|chain| chain.mined), 10, "each of them once");
}

#[tokio::test]
async fn m_07_a_gap_that_nobody_has_is_filled_and_what_is_urgent_goes_first() {
    let world = World::new().await;
    world.chain(|chain| chain.mines = false);
    let queue = world.queue(GasRules::default());
    let first = queue.submit(order(Purpose::Withdraw, "a")).await.unwrap();
    let second = queue.submit(order(Purpose::Withdraw, "ab")).await.unwrap();
    drive(&queue, "both are sent", || world.chain(|chain| chain.pool.len() == 2)).await;
    // The first is dropped, and the ledger does not know it any more: a gap below the second.
    world.chain(|chain| drop(chain.pool.remove(&0)));
    let mut row = world.ledger.transaction(first).await.unwrap().unwrap();
    row.state = TransactionState::Cancelled;
    world.ledger.keep_transaction(row, jiff::Timestamp::now()).await.unwrap();
    drive(&queue, "the gap is filled", || world.chain(|chain| chain.pool.contains_key(&0))).await;
    let wallet = queue.account().wallet;
    // M-07: with a transaction to oneself.
    assert_eq!(world.chain(|chain| chain.pool[&0].to), Some(wallet));
    world.chain(PoolState::block);
    queue.wait(second, LONG).await.unwrap();
    // Planned in any order, given numbers by their urgency.
    world.chain(|chain| chain.base_fee = 1_000_000 * GWEI);
    for (purpose, subject) in [
        (Purpose::Advert, "abcd"),
        (Purpose::Withdraw, "abc"),
        (Purpose::Sweep, "abcde"),
        (Purpose::Terminate, "abcdef"),
    ] {
        queue.submit(order(purpose, subject)).await.unwrap();
    }
    drive(&queue, "all are held", || {
        let open = queue.report().open;
        open.len() == 4 && open.iter().all(|one| one.error.is_some())
    })
    .await;
    let lines: Vec<Purpose> = queue.report().open.iter().map(|one| one.purpose).collect();
    assert_eq!(lines, [Purpose::Terminate, Purpose::Withdraw, Purpose::Sweep, Purpose::Advert]);
}

#[tokio::test]
async fn a_number_that_another_program_blocks_is_outbid_and_one_it_took_is_planned_anew() {
    let world = World::new().await;
    world.chain(|chain| {
        chain.mines = false;
        let foreign = Taken { hash: "foreign".to_owned(), gas: 21_000, to: None };
        chain.pool.insert(0, foreign);
    });
    let queue = world.queue(GasRules::default());
    let id = queue.submit(order(Purpose::Withdraw, "a")).await.unwrap();
    drive(&queue, "it is outbid", || {
        world.chain(|chain| chain.pool.get(&0).is_some_and(|one| one.to.is_some()))
    })
    .await;
    world.chain(PoolState::block);
    queue.wait(id, LONG).await.unwrap();
    // Overtaken: another program's transaction comes into a block in place of ours.
    let id = queue.submit(order(Purpose::Withdraw, "ab")).await.unwrap();
    let next = world.chain(|chain| chain.mined);
    drive(&queue, "it is sent", || world.chain(|chain| chain.pool.contains_key(&next))).await;
    world.chain(|chain| {
        chain.pool.clear();
        (chain.mined, chain.mines) = (chain.mined + 1, true);
    });
    let done = queue.wait(id, LONG).await.unwrap();
    assert_ne!(done.id, id);
    let lost = world.ledger.transaction(id).await.unwrap().unwrap();
    // M-07
    assert_eq!((lost.state, lost.successor), (TransactionState::Lost, Some(done.id)));
}

/// M-07: an endpoint that counts a transaction long before it has its receipt never makes us pay twice.
#[tokio::test]
async fn m_07_a_receipt_that_comes_later_than_the_count_is_waited_for() {
    let mut world = World::new().await;
    world.pace.lost = Duration::from_secs(3600);
    world.chain(|chain| chain.withholds = true);
    let queue = world.queue(GasRules::default());
    let id = queue.submit(order(Purpose::Withdraw, "a")).await.unwrap();
    let requests = world.chain(|chain| chain.requests);
    drive(&queue, "many looks", || world.chain(|chain| chain.mined == 1 && chain.requests > requests + 30))
        .await;
    // M-07
    assert_eq!(world.ledger.transactions(10).await.unwrap().len(), 1, "nothing is planned anew");
    world.chain(|chain| chain.withholds = false);
    let done = queue.wait(id, LONG).await.unwrap();
    assert_eq!((done.id, world.chain(|chain| chain.mined)), (id, 1));
    // A payout of which there never is a receipt: the next one is of what the wallet has then, and no copy of it.
    world.pace.lost = Duration::from_millis(50);
    world.chain(|chain| chain.withholds = true);
    let queue = world.queue(GasRules::default());
    let id = queue.submit(order(Purpose::Sweep, "ab")).await.unwrap();
    assert!(matches!(queue.wait(id, LONG).await, Err(TransactionError::Refused(_))));
    let row = world.ledger.transaction(id).await.unwrap().unwrap();
    // M-15
    assert_eq!((row.state, row.successor), (TransactionState::Lost, None));
    assert_eq!(world.ledger.transactions(10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn m_17_a_spike_and_a_lying_price_wait_and_say_so_and_the_daily_limit_holds() {
    let world = World::new().await;
    let limit = U256::from(10u64.pow(15));
    let rules = GasRules { maximum_price: Some(50 * GWEI), daily_limit: Some(limit) };
    let queue = world.queue(rules);
    world.chain(|chain| chain.base_fee = 100 * GWEI);
    let order = |subject: &str| order(Purpose::Withdraw, subject);
    let waits = queue.send(order("a"), LONG).await.unwrap_err();
    // M-17
    let TransactionError::UnderWay(Some(reason)) = waits else { panic!("{waits:?}") };
    assert!(
        reason.contains("100.000000001 gwei") && reason.contains("GOLEM_PROVIDER_MAX_GAS_PRICE_GWEI"),
        "{reason}"
    );
    assert_eq!(world.chain(|chain| chain.sends), 0);
    // 121,000 gas at up to 3 gwei: two of them, and a third while the first cost less than they could.
    world.chain(|chain| chain.base_fee = GWEI);
    let queue = world.queue(rules);
    let mut reached = None;
    for number in 1..60 {
        match queue.send(order(&"x".repeat(number)), LONG).await {
            Ok(_) => {}
            Err(error) => {
                reached = Some(error.to_string());
                break;
            }
        }
    }
    // M-17
    let reached = reached.unwrap();
    assert!(reached.contains("GOLEM_PROVIDER_DAILY_GAS_LIMIT"), "{reached}");
    let spent = world.ledger.gas_spent(queue.account(), jiff::Timestamp::UNIX_EPOCH).await.unwrap();
    assert!(spent > limit / U256::from(2) && spent <= limit, "{spent}");
    // A restart forgets nothing of it.
    let again = world.queue(rules).send(order("again"), LONG).await.unwrap_err().to_string();
    assert!(again.contains("GOLEM_PROVIDER_DAILY_GAS_LIMIT"), "{again}");
}

#[tokio::test]
async fn m_17_a_fee_is_raised_to_the_cap_and_no_further() {
    let mut world = World::new().await;
    world.pace.stuck = Duration::from_millis(20);
    world.chain(|chain| chain.mines = false);
    let most = 2 * GWEI + GWEI / 2;
    let queue = world.queue(GasRules { maximum_price: Some(most), daily_limit: None });
    let id = queue.submit(order(Purpose::Withdraw, "a")).await.unwrap();
    drive(&queue, "the fee is raised", || queue.report().open.first().is_some_and(|one| one.attempts > 1))
        .await;
    let began = std::time::Instant::now();
    drive(&queue, "time passes", || began.elapsed() > Duration::from_millis(500)).await;
    let row = world.ledger.transaction(id).await.unwrap().unwrap();
    // M-17
    assert!(row.attempts.iter().all(|one| one.transaction.fee.most() <= most), "{row:?}");
    let fees: Vec<u128> = row.attempts.iter().map(|one| one.transaction.fee.most()).collect();
    assert!(fees.windows(2).all(|two| two[1] >= two[0] + two[0] / 8), "{fees:?}");
    world.chain(PoolState::block);
    queue.wait(id, LONG).await.unwrap();
}

#[tokio::test]
async fn m_18_one_that_ran_out_of_gas_is_sent_again_with_more_and_a_refusal_is_not() {
    let world = World::new().await;
    world.chain(|chain| chain.takes = 200_000);
    let queue = world.queue(GasRules::default());
    let id = queue.submit(order(Purpose::Terminate, "a")).await.unwrap();
    let done = queue.wait(id, LONG).await.unwrap();
    let all = world.ledger.transactions(10).await.unwrap();
    let told: Vec<_> = all.iter().map(|one| (one.state, one.attempts[0].transaction.gas)).collect();
    // M-18
    assert_eq!(told, [(TransactionState::Mined, 242_000), (TransactionState::Failed, 121_000)]);
    assert_eq!(done.gas_used, 200_000);
    // One that would take endless gas is given up.
    world.chain(|chain| chain.takes = u64::MAX);
    let error = queue.send(order(Purpose::Terminate, "ab"), LONG).await.unwrap_err();
    assert!(matches!(error, TransactionError::Failed { .. }), "{error:?}");
    assert!(world.ledger.transactions(20).await.unwrap().len() < 10);
}

#[tokio::test]
async fn m_09_what_the_chain_below_takes_is_expected_and_counted() {
    let world = World::new().await;
    world.chain(|chain| chain.l1_fee = Some(7_000_000_000_000_000));
    let queue = world.queue(GasRules::default());
    let l1_fee = U256::from(7_000_000_000_000_000u64);
    let plan = queue.sender().plan(Some(Address::ZERO), Bytes::new(), U256::ZERO).await.unwrap();
    // M-09
    assert_eq!(plan.expected_cost, l1_fee + U256::from(21_000 * (GWEI + 1)));
    let refused = Order { most_cost: Some(l1_fee), ..order(Purpose::Withdraw, "a") };
    let error = queue.send(refused, LONG).await.unwrap_err();
    assert!(matches!(error, TransactionError::Refused(_)), "{error:?}");
    let done = queue.send(order(Purpose::Withdraw, "ab"), LONG).await.unwrap();
    let row = world.ledger.transaction(done.id).await.unwrap().unwrap();
    // M-09
    assert_eq!((row.l1_fee, row.cost), (Some(l1_fee), Some(l1_fee + U256::from(21_000 * GWEI))));
}

#[tokio::test]
async fn m_07_a_cancel_takes_the_number_and_what_has_none_is_gone() {
    let world = World::new().await;
    world.chain(|chain| chain.mines = false);
    let queue = world.queue(GasRules::default());
    let sent = queue.submit(order(Purpose::Withdraw, "a")).await.unwrap();
    drive(&queue, "it is sent", || world.chain(|chain| chain.pool.len() == 1)).await;
    world.chain(|chain| chain.base_fee = 1_000_000 * GWEI);
    let planned = queue.submit(order(Purpose::Advert, "ab")).await.unwrap();
    drive(&queue, "it is held", || queue.report().open.iter().any(|one| one.error.is_some())).await;
    world.chain(|chain| chain.base_fee = GWEI);
    assert_eq!(queue.cancel(None).await.unwrap(), 2);
    let wallet = queue.account().wallet;
    drive(&queue, "it is replaced", || world.chain(|chain| chain.pool[&0].to == Some(wallet))).await;
    world.chain(PoolState::block);
    for id in [sent, planned] {
        // M-07
        assert!(matches!(queue.wait(id, LONG).await, Err(TransactionError::Cancelled)));
    }
    // The number is used, and the queue goes on.
    world.chain(|chain| chain.mines = true);
    queue.send(order(Purpose::Withdraw, "abc"), LONG).await.unwrap();
    assert_eq!(world.chain(|chain| chain.mined), 2);
}

/// A wallet that was emptied by somebody else: what waits is told, and goes on once there is money.
#[tokio::test]
async fn a_submission_of_the_same_purpose_and_subject_is_one_transaction() {
    let mut world = World::new().await;
    // Its fee is not raised meanwhile, however busy the machine is.
    world.pace.stuck = LONG;
    world.chain(|chain| chain.mines = false);
    let queue = world.queue(GasRules::default());
    let one = queue.submit(order(Purpose::Terminate, "a")).await.unwrap();
    assert_eq!(queue.submit(order(Purpose::Terminate, "a")).await.unwrap(), one);
    drive(&queue, "it is sent", || world.chain(|chain| chain.pool.len() == 1)).await;
    assert_eq!(queue.submit(order(Purpose::Terminate, "a")).await.unwrap(), one);
    assert!(!queue.give_up(one).await.unwrap(), "it has a number");
    // A new process goes on with it: the same bytes.
    let again = world.queue(GasRules::default());
    world.chain(|chain| chain.pool.clear());
    drive(&again, "it is sent again", || world.chain(|chain| chain.pool.len() == 1)).await;
    world.chain(PoolState::block);
    let done = again.wait(one, LONG).await.unwrap();
    assert_eq!((done.id, world.chain(|chain| chain.mined)), (one, 1));
    assert_eq!(world.ledger.transaction(one).await.unwrap().unwrap().attempts.len(), 1);
}

/// M-07: one answer that makes no sense neither takes a number far away nor fills the numbers below it.
#[tokio::test]
async fn m_07_an_absurd_count_of_pending_transactions_costs_nothing() {
    let world = World::new().await;
    let queue = world.queue(GasRules::default());
    world.chain(|chain| chain.pending_lies = vec![1 << 40]);
    let id = queue.submit(order(Purpose::Withdraw, "a")).await.unwrap();
    queue.wait(id, LONG).await.unwrap();
    let all = world.ledger.transactions(100_000).await.unwrap();
    let gaps = all.iter().filter(|one| one.order.purpose == Purpose::Gap).count();
    assert!(gaps <= 16, "{gaps} numbers were filled");
}

/// M-10: a receipt that says that more was paid than was allowed is none.
#[tokio::test]
async fn m_10_a_receipt_that_costs_more_than_was_allowed_is_not_believed() {
    let world = World::new().await;
    let queue = world.queue(GasRules::default());
    world.chain(|chain| chain.price_lie = Some("0xffffffffffffffffffff".to_owned()));
    let id = queue.submit(order(Purpose::Withdraw, "a")).await.unwrap();
    let looks = std::cell::Cell::new(0);
    drive(&queue, "some looks", || {
        looks.set(looks.get() + 1);
        looks.get() > 20
    })
    .await;
    assert!(world.ledger.entries(jiff::Timestamp::UNIX_EPOCH).await.unwrap().is_empty());
    let row = world.ledger.transaction(id).await.unwrap().unwrap();
    assert!(row.cost.is_none() && row.state != TransactionState::Mined, "{row:?}");
}
