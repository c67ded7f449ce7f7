//! What gas may cost, on a real EVM whose gas becomes a hundred times as dear.

use golem_node::transactions::{Order, Purpose, Queue, Transaction};

use super::*;

const GWEI: u128 = 1_000_000_000;

/// Most that a unit of gas may cost, in wei.
const CAP: u128 = GWEI * 8 / 5;

/// How long a transaction waits for a raise of its fee, or for its price to fall: longer than either.
const PATIENCE: Duration = Duration::from_secs(70);

impl Market {
    /// Sets the base fee, in wei, of the next block, and makes that.
    async fn base_fee(&self, wei: u128) {
        let fee = json!([format!("{wei:#x}")]);
        self.chain.ask("anvil_setNextBlockBaseFeePerGas", fee).await.unwrap();
        self.chain.ask("evm_mine", json!([])).await.unwrap();
    }
}

/// Lets the node's clock pass, and none of the machine's.
async fn wait_long() {
    tokio::time::pause();
    tokio::time::advance(PATIENCE).await;
    tokio::time::resume();
}

async fn of(ledger: &Ledger, purpose: Purpose) -> Vec<Transaction> {
    let all = ledger.transactions(100).await.unwrap();
    all.into_iter().filter(|one| one.order.purpose == purpose).collect()
}

/// Something that is not urgent, as an advert is.
fn advert(queue: &Queue) -> Order {
    Order {
        purpose: Purpose::Advert,
        subject: "advert".to_owned(),
        to: queue.account().wallet,
        data: alloy_primitives::Bytes::new(),
        value: U256::ZERO,
        most_cost: None,
    }
}

/// M-17: gas becomes a hundred times as dear. What is in the pool is raised to the cap and no further, what is due waits and
/// says why, and nothing is sent; when it is over all of it goes on by itself, and a day's gas stays within its limit.
#[tokio::test]
async fn m_17_a_hundredfold_price_of_gas_is_waited_for_and_the_day_stays_within_its_limit() {
    let market = Market { automatic: true, ..Market::new(&[]).await };
    let chain = &market.chain;
    let limit = U256::from(5 * 10u64.pow(14));
    let mut payments = market.payments();
    payments.gas = GasRules { maximum_price: Some(CAP), daily_limit: Some(limit) };
    payments.withdraw.interval = Duration::from_secs(1);
    let node = market.start_with(payments).await;
    let payments = node.payments().unwrap().clone();
    let ledger = Ledger::open(&market.world.folder.path().join(LEDGER_FILE)).unwrap();
    let queue = payments.queue();
    let (one, two) = (market.open(1_000_000).await, market.open(1_000_000).await);
    market.rent(&node, "one", one).await;
    chain.ask("evm_setAutomine", json!([false])).await.unwrap();
    chain.warp(3600).await.unwrap();
    until("it is sent", async || {
        of(&ledger, Purpose::Withdraw).await.iter().any(|sent| sent.attempts.len() == 1)
    })
    .await;
    market.base_fee(100 * GWEI).await;
    let waiting = queue.submit(advert(queue)).await.unwrap();
    wait_long().await;
    until("it is raised, or says why not", async || {
        let sent = of(&ledger, Purpose::Withdraw).await.remove(0);
        sent.attempts.len() > 1
    })
    .await;
    until("the advert says why", async || {
        let row = ledger.transaction(waiting).await.unwrap().unwrap();
        row.error.is_some_and(|why| why.contains("GOLEM_PROVIDER_MAX_GAS_PRICE_GWEI"))
    })
    .await;
    let known = payments.withdrawable(None).remove(0);
    let copy_of = |id: StreamId| golem_node::paid::StreamCopy {
        key: golem_types::StreamKey { id, ..known.key.clone() },
        ..known.clone()
    };
    let error = payments.withdraw_by_force(&copy_of(two)).await.unwrap_err();
    assert!(error.to_string().contains("no more than 1.6 gwei are paid"), "{error}");
    for _ in 0..6 {
        market.base_fee(100 * GWEI).await;
        wait_long().await;
        queue.advance().await;
    }
    // M-17
    assert_eq!(market.mined().await, 0, "nothing is paid for");
    let attempts = of(&ledger, Purpose::Withdraw).await.remove(0).attempts;
    assert!(attempts.iter().all(|one| one.transaction.fee.most() <= CAP), "{attempts:?}");
    assert!(of(&ledger, Purpose::Advert).await[0].attempts.is_empty());

    market.base_fee(GWEI).await;
    chain.ask("evm_setAutomine", json!([true])).await.unwrap();
    chain.ask("evm_mine", json!([])).await.unwrap();
    let is_paid = async || {
        let all = payments.withdrawals(Timestamp::UNIX_EPOCH).await.unwrap();
        all.iter().any(|one| one.state == WithdrawalState::Paid)
    };
    let end = std::time::Instant::now() + DEADLINE;
    while !is_paid().await {
        assert!(std::time::Instant::now() < end, "not in time: the withdrawal goes on");
        // However long the node waits before it looks again.
        wait_long().await;
        queue.advance().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    queue.wait(waiting, DEADLINE).await.unwrap();
    // By hand, until nothing is left of the day.
    let mut reached = None;
    for number in 0..50 {
        chain.warp(600).await.unwrap();
        market.base_fee(GWEI).await;
        match payments.withdraw_by_force(&copy_of(if number % 2 == 0 { one } else { two })).await {
            Ok(_) => {}
            Err(WithdrawError::UnderWay(why)) => {
                reached = why;
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    // M-17
    assert!(
        reached.as_ref().is_some_and(|why| why.contains("GOLEM_PROVIDER_DAILY_GAS_LIMIT")),
        "{reached:?}"
    );
    // What is reserved for one that comes into a block cheaper is there for the next; what is spent stays within the limit.
    for _ in 0..3 {
        wait_long().await;
        queue.advance().await;
        let spent = ledger.gas_spent(queue.account(), Timestamp::UNIX_EPOCH).await.unwrap();
        // M-17
        assert!(spent <= limit && !spent.is_zero(), "{spent}");
    }
    node.shutdown(false).await;
}
