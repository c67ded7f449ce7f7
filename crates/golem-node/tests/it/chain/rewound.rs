//! A chain that goes back by very many blocks.

use golem_node::entry::EntryKind;

use super::*;

/// Blocks that are gone.
const GONE: u64 = 300;

/// How old the newest block may be, in seconds: three hundred blocks of a second come at once here.
const AGE: u64 = 900;

/// M-02, M-10: three hundred blocks are gone, with a withdrawal, a stream, an end and a top-up in them. The books take back what
/// was in them; a rental that was paid for before runs on, one whose end is undone runs again, one whose payment is gone is
/// held, and runs again once its sender has paid again.
#[tokio::test]
async fn m_02_m_10_a_chain_that_goes_back_by_300_blocks_ends_nothing() {
    let past = (Timestamp::now().as_second() - 600).to_string();
    let market = Market::new(&["--timestamp", &past]).await;
    let chain = &market.chain;
    let start = async || {
        let maximum_head_age = Some(Duration::from_secs(AGE));
        market.start_with(PaymentConfig { local: false, maximum_head_age, ..market.payments() }).await
    };
    let node = start().await;
    let [kept, ended] = [market.open(100_000).await, market.open(50_000).await];
    let kept_vm = market.rent(&node, "kept", kept).await;
    let ended_vm = market.rent(&node, "ended", ended).await;
    let payments = node.payments().unwrap().clone();
    // A withdrawal that stays.
    chain.warp(10).await.unwrap();
    let copy = || payments.withdrawable(Some(&kept_vm)).remove(0);
    let first = payments.withdraw_by_force(&copy()).await.unwrap();
    let snapshot = chain.ask("evm_snapshot", json!([])).await.unwrap();
    let before = market.balance().await;

    let lost = market.open(100_000).await;
    let lost_vm = market.rent(&node, "lost", lost).await;
    chain.ask("anvil_mine", json!([format!("{:#x}", GONE / 2), "0x1"])).await.unwrap();
    payments.withdraw_by_force(&copy()).await.unwrap();
    chain.terminate(1, ended).await.unwrap();
    reaches(&node, &ended_vm, VmState::Stopped).await;
    chain.ask("anvil_mine", json!([format!("{:#x}", GONE / 2), "0x1"])).await.unwrap();
    let height = chain.height().await.unwrap();
    until("it is read", async || payments.health().block.is_some_and(|block| block.number == height)).await;
    let entries = async |kind: EntryKind| booked(&payments, kind).await;
    assert_eq!(entries(EntryKind::Withdrawn).await.len(), 2);
    assert_eq!(entries(EntryKind::Terminated).await.len(), 1);
    // Every change of the ledger is looked at, not only the last one.
    let mut changes = node.changes();
    let watched = kept_vm.clone();
    let mut watch = tokio::task::JoinSet::new();
    watch.spawn(async move {
        while changes.changed().await.is_ok() {
            let now = changes.borrow_and_update();
            assert!(now.get(&watched).is_some_and(|rental| rental.vm.unpaid.is_none()), "it was stopped");
        }
    });

    assert_eq!(chain.ask("evm_revert", json!([snapshot])).await.unwrap(), json!(true));
    // It goes on where it was, with other blocks, and time does not go back.
    let time = payments.health().block.unwrap().time + 1;
    chain.ask("evm_setNextBlockTimestamp", json!([format!("{time:#x}")])).await.unwrap();
    chain.ask("anvil_mine", json!(["0x2", "0x1"])).await.unwrap();
    assert!(chain.height().await.unwrap() + GONE - 10 < height);
    // M-10
    until("the withdrawal is taken back", async || entries(EntryKind::Withdrawn).await.len() == 1).await;
    assert_eq!(entries(EntryKind::Withdrawn).await[0].transaction.as_ref(), Some(&first.hash));
    assert!(entries(EntryKind::Terminated).await.is_empty());
    // M-02: judged again, by what the chain says now.
    reaches(&node, &ended_vm, VmState::Running).await;
    let held = reaches(&node, &lost_vm, VmState::Stopped).await;
    assert!(held.unpaid.is_some());
    assert_eq!(market.open(100_000).await, lost, "the same stream, once more");
    reaches(&node, &lost_vm, VmState::Running).await;
    assert_eq!(market.balance().await, before, "nothing else was sent");
    assert_eq!(payments.check_books(false).await.unwrap().differences, []);
    assert_eq!(node.vms().len(), 3);
    node.shutdown(false).await;
    drop((node, payments));
    watch.join_next().await.unwrap().unwrap();

    // What was withdrawn and is gone is fetched again.
    let node = start().await;
    let payments = node.payments().unwrap().clone();
    chain.warp(10).await.unwrap();
    payments.withdraw_by_force(&payments.withdrawable(Some(&kept_vm)).remove(0)).await.unwrap();
    assert_eq!(payments.check_books(false).await.unwrap().differences, []);
    let has = chain.stream(kept).await.unwrap().0.withdrawn;
    let booked = payments.entries(Timestamp::UNIX_EPOCH).await.unwrap();
    let sum = booked.iter().filter(|entry| entry.kind == EntryKind::Withdrawn && entry.counts());
    assert_eq!(sum.fold(U256::ZERO, |sum, entry| sum + entry.amount), has);
    node.shutdown(false).await;
    drop((node, payments));
    // Who is a block behind does not know of it, and takes nothing back.
    let newest = chain.height().await.unwrap();
    let behind = golem_testchain::Limits::saying(golem_testchain::Says::Stalled(newest - 1));
    let endpoint = golem_testchain::Provider::start(chain.url(), behind).await.unwrap();
    let config = PaymentConfig { rpc_url: endpoint.url().to_owned(), ..market.payments() };
    let ledger = Ledger::open(&market.world.folder.path().join(LEDGER_FILE)).unwrap();
    let payments = Payments::open(config, ledger.clone(), &Transactions::new(ledger)).await.unwrap();
    let check = payments.check_books(false).await.unwrap();
    assert_eq!((check.differences, check.payments), (Vec::new(), 1));
    let after = payments.entries(Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(after, booked);
}
