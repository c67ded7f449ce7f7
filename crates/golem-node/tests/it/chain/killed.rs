//! A node that is killed between any two steps of what it does with money, in a process of its own.

use std::process::{Command, ExitStatus};

use alloy_primitives::Address;
use golem_node::entry::EntryKind;
use golem_node::ledger::Entry;
use golem_node::payout::PayoutConfig;
use golem_node::transactions::{Purpose, TransactionState};

use super::*;

/// What the node is told that is to be killed: a JSON object.
const TOLD: &str = "GOLEM_TEST_KILLED";

/// The operator's own account.
const SAFE: usize = 5;

/// Wei that stay in the wallet: seven coins.
const FLOAT: u64 = 7 * 10u64.pow(18);

/// What the process was told that is to be killed; `None` in the one that tells it.
fn told() -> Option<serde_json::Value> {
    std::env::var(TOLD).ok().map(|text| serde_json::from_str(&text).unwrap())
}

/// Runs the test `name` in a process that kills itself at `point`.
async fn killed(market: &Market, name: &str, point: &str, vm: Option<&VmId>) -> ExitStatus {
    let told = json!({
        "url": market.chain.url(), "contract": market.chain.contract(), "folder": market.world.folder.path(),
        "ports": [market.world.ports.start, market.world.ports.end], "safe": market.chain.account(SAFE),
        "vm": vm.map(VmId::as_str),
    });
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name]).env(TOLD, told.to_string()).env("FAILPOINTS", format!("{point}=return"));
    // Anvil is served by a process of its own.
    tokio::task::spawn_blocking(move || command.output().unwrap().status).await.unwrap()
}

/// The node of a process that is to be killed.
async fn node_to_be_killed(
    told: &serde_json::Value,
    refund_after: Option<Duration>,
    safe: Option<Address>,
) -> Node {
    let text = |name: &str| told[name].as_str().unwrap();
    let payments =
        PaymentConfig { refund_after, ..payments_on(text("url"), text("contract").parse().unwrap()) };
    let port = |at: usize| u16::try_from(told["ports"][at].as_u64().unwrap()).unwrap();
    let folder = PathBuf::from(text("folder"));
    let payout = to(safe);
    let config =
        NodeConfig { payments: Some(payments), payout, ..crate::support::config(&folder, port(0)..port(1)) };
    Node::start(config, crate::support::sim_in(&folder).0).await.unwrap()
}

fn to(safe: Option<Address>) -> PayoutConfig {
    PayoutConfig { address: safe, float: Some(U256::from(FLOAT)), interval: Duration::from_millis(20) }
}

/// Lives until it is killed, and fails if it is not.
async fn waits_for_its_end() {
    tokio::time::sleep(DEADLINE).await;
    panic!("it should have been killed");
}

/// What came of the node's transactions: those that are in blocks, with what they were for and what they cost.
async fn sent(market: &Market) -> Vec<(Purpose, U256)> {
    let ledger = Ledger::open(&market.world.folder.path().join(LEDGER_FILE)).unwrap();
    let all = ledger.transactions(100).await.unwrap();
    assert!(all.iter().all(|one| one.state == TransactionState::Mined), "{all:?}");
    all.into_iter().map(|one| (one.order.purpose, one.cost.unwrap())).collect()
}

async fn in_books(market: &Market, kind: EntryKind) -> Vec<Entry> {
    let ledger = Ledger::open(&market.world.folder.path().join(LEDGER_FILE)).unwrap();
    let all = ledger.entries(Timestamp::UNIX_EPOCH).await.unwrap();
    all.into_iter().filter(|entry| entry.kind == kind && entry.counts()).collect()
}

/// Killed at any step between the deletion of a VM and the end of its stream, the next start ends it: the renter gets the rest
/// back, the node pays for one transaction, and it is booked once.
#[tokio::test]
async fn a_node_killed_anywhere_between_a_delete_and_its_refund_ends_the_stream_once() {
    const NAME: &str =
        "chain::killed::a_node_killed_anywhere_between_a_delete_and_its_refund_ends_the_stream_once";
    let at_once = Some(Duration::ZERO);
    if let Some(told) = told() {
        let _scenario = fail::FailScenario::setup();
        let node = node_to_be_killed(&told, at_once, None).await;
        node.delete_vm(&told["vm"].as_str().unwrap().parse().unwrap()).await.unwrap();
        return waits_for_its_end().await;
    }
    for point in [
        "before-goal-deleted",
        "goal-deleted",
        "ended",
        "refund-begun",
        "transaction-before-record",
        "transaction-recorded",
        "transaction-sent",
        "refund-sent",
    ] {
        let market = Market::new(&[]).await;
        let node = market.start().await;
        let stream = market.open(7200).await;
        let vm = market.rent(&node, "one", stream).await;
        node.shutdown(false).await;
        drop(node);
        market.chain.warp(1000).await.unwrap();
        let before = market.balance().await;
        assert_eq!(
            killed(&market, NAME, point, Some(&vm)).await.code(),
            None,
            "{point}: it should have been killed"
        );

        let node = market.start_with(PaymentConfig { refund_after: at_once, ..market.payments() }).await;
        if point == "before-goal-deleted" {
            // Nobody had been promised anything.
            node.delete_vm(&vm).await.unwrap();
        }
        let done = async || {
            let events = node.events(Some(vm.clone()), 20).await.unwrap();
            events.iter().any(|event| event.kind == "refund.done")
        };
        until(&format!("it is told, after {point}"), done).await;
        let payments = node.payments().unwrap();
        assert_eq!(payments.check_books(false).await.unwrap().differences, [], "{point}");
        node.shutdown(false).await;
        drop(node);
        assert!(market.chain.stream(stream).await.unwrap().0.recipient.is_zero(), "{point}");
        let [(purpose, cost)] = sent(&market).await[..] else { panic!("{point}: more than one transaction") };
        assert_eq!((purpose, market.mined().await), (Purpose::Terminate, 1), "{point}");
        let [paid] = &in_books(&market, EntryKind::Terminated).await[..] else {
            panic!("{point}: booked twice")
        };
        assert_eq!(market.balance().await, before + paid.amount - cost, "{point}");
        assert_eq!(in_books(&market, EntryKind::Refunded).await.len(), 1, "{point}");
    }
}

/// M-15: killed at any step of a sweep, the next start finishes it: the operator's address is paid once, to the wei, the float
/// stays, and it is booked once.
#[tokio::test]
async fn m_15_a_node_killed_at_any_step_of_a_sweep_pays_once() {
    const NAME: &str = "chain::killed::m_15_a_node_killed_at_any_step_of_a_sweep_pays_once";
    if let Some(told) = told() {
        let _scenario = fail::FailScenario::setup();
        let safe = told["safe"].as_str().unwrap().parse().unwrap();
        let _node = node_to_be_killed(&told, None, Some(safe)).await;
        return waits_for_its_end().await;
    }
    for point in [
        "sweep-before-record",
        "sweep-recorded",
        "transaction-before-record",
        "transaction-recorded",
        "transaction-sent",
        "sweep-mined",
    ] {
        let market = Market::new(&[]).await;
        let safe = market.chain.account(SAFE);
        let (before, there) = (market.balance().await, market.chain.balance(safe).await.unwrap());
        assert_eq!(
            killed(&market, NAME, point, None).await.code(),
            None,
            "{point}: it should have been killed"
        );

        let payments = Some(market.payments());
        let config = NodeConfig { payments, payout: to(Some(safe)), ..market.world.config() };
        let node = Node::start(config, market.world.sim().0).await.unwrap();
        until(&format!("it is kept, after {point}"), async || node.sweeps(10).await.unwrap().len() == 1)
            .await;
        // What would be sent once more would be sent at the next look.
        until("it was looked again", async || node.payouts().iter().any(|line| line.float.is_some())).await;
        node.shutdown(false).await;
        drop(node);
        let [(purpose, cost)] = sent(&market).await[..] else { panic!("{point}: more than one transaction") };
        assert_eq!((purpose, market.mined().await), (Purpose::Sweep, 1), "{point}");
        let arrived = market.chain.balance(safe).await.unwrap() - there;
        // M-15
        let [swept] = &in_books(&market, EntryKind::Swept).await[..] else {
            panic!("{point}: not booked once")
        };
        assert_eq!((swept.amount, market.balance().await), (arrived, before - arrived - cost), "{point}");
        assert!(market.balance().await >= U256::from(FLOAT), "{point}");
    }
}
