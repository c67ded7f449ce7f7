//! Several queues, of which one's endpoint does not answer, and plans that are made once.

use std::time::Duration;

use alloy_primitives::{Address, Bytes};
use golem_chain::Rpc;
use golem_testchain::Pool;
use golem_types::Wallet;
use ruint::aliases::U256;

use super::*;

const DEADLINE: Duration = Duration::from_secs(60);

fn order(subject: &str) -> Order {
    Order {
        purpose: Purpose::Withdraw,
        subject: subject.to_owned(),
        to: Address::repeat_byte(1),
        data: Bytes::new(),
        value: U256::ZERO,
        most_cost: None,
    }
}

fn queue(transactions: &Transactions, url: &str, chain_id: u64) -> Queue {
    let wallet = Wallet::from_bytes(&[7; 32]).unwrap();
    transactions.queue(Sender::new(Rpc::new(url).unwrap(), wallet, chain_id), GasRules::default())
}

fn transactions(folder: &tempfile::TempDir) -> Transactions {
    Transactions::new(Ledger::open(&folder.path().join("provider.db")).unwrap())
}

/// M-08: an endpoint that takes connections and says nothing delays what is sent on its own chain only, also a chain that
/// comes later.
#[tokio::test]
async fn m_08_a_chain_that_hangs_delays_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let transactions = transactions(&folder);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // The first of them, by its id.
    let hanging = queue(&transactions, &format!("http://{}/", silent.local_addr().unwrap()), 1);
    hanging.submit(order("hangs")).await.unwrap();
    let stop = CancellationToken::new();
    let running = transactions.clone().run(stop.clone());
    let others = async {
        for chain_id in [77, 78] {
            let pool = Pool::start(chain_id).await.unwrap();
            let good = queue(&transactions, pool.url(), chain_id);
            let id = good.submit(order("goes")).await.unwrap();
            // Who waits for it drives it, too: here only the task does.
            let is_mined = async || {
                let row = transactions.ledger().transaction(id).await.unwrap().unwrap();
                row.state == TransactionState::Mined
            };
            while !is_mined().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // M-08
            assert_eq!(hanging.report().failures, 0, "its first question is still waited for");
        }
        stop.cancel();
    };
    tokio::time::timeout(DEADLINE, async { tokio::join!(running, others) }).await.unwrap();
}

#[tokio::test]
async fn a_plan_that_was_just_made_is_not_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let transactions = transactions(&folder);
    let pool = Pool::start(77).await.unwrap();
    let queue = queue(&transactions, pool.url(), 77);
    let estimates = || pool.with(|chain| chain.estimates);
    let Order { to, data, value, .. } = order("planned");
    let plan = queue.sender().plan(Some(to), data, value).await.unwrap();
    let id = queue.submit_planned(order("planned"), plan.clone()).await.unwrap();
    queue.wait(id, DEADLINE).await.unwrap();
    assert_eq!(estimates(), 1);
    // One of something else is not believed.
    let other = Order { value: U256::from(5), ..order("other") };
    let id = queue.submit_planned(other, plan).await.unwrap();
    queue.wait(id, DEADLINE).await.unwrap();
    assert_eq!(estimates(), 2);
    assert_eq!(pool.with(|chain| chain.mined), 2);
}
