//! That the books have every wei that reaches the wallet, whatever brought it.

use golem_node::entry::{EntryKind, EntrySource};
use golem_node::ledger::Entry;
use golem_testchain::{Limits, Provider};

use super::*;

/// M-01: a stream that its sender ends pays the rest to the wallet, and that is in the books, as are a withdrawal, its gas,
/// and a stream that nobody ever rented anything with; a node that was off meanwhile books it when it is back.
#[tokio::test]
async fn m_01_every_wei_that_reaches_the_wallet_is_booked() {
    let market = Market::new(&[]).await;
    let before = market.balance().await;
    let node = market.start().await;
    let [one, two] = [market.open(7200).await, market.open(7200).await];
    let vm = market.rent(&node, "one", one).await;
    market.rent(&node, "two", two).await;
    market.chain.warp(1000).await.unwrap();
    let payments = node.payments().unwrap().clone();
    let copy = payments.withdrawable(None).into_iter().find(|copy| copy.key.id == two).unwrap();
    let withdrawn = payments.withdraw(&copy).await.unwrap();
    market.chain.warp(500).await.unwrap();
    market.chain.terminate(1, one).await.unwrap();
    reaches(&node, &vm, VmState::Stopped).await;
    let ended = async || !booked(&payments, EntryKind::Terminated).await.is_empty();
    until("the end is booked", ended).await;
    node.shutdown(false).await;
    drop((node, payments));
    // Nobody looks: one is ended, one comes and goes.
    market.chain.terminate(1, two).await.unwrap();
    let gift = market.open(3600).await;
    market.chain.warp(100).await.unwrap();
    market.chain.withdraw(PROVIDER, gift).await.unwrap();
    market.chain.warp(100).await.unwrap();
    market.chain.terminate(1, gift).await.unwrap();

    let node = market.start().await;
    let payments = node.payments().unwrap().clone();
    let all_ended = async || booked(&payments, EntryKind::Terminated).await.len() == 3;
    until("all ends are booked", all_ended).await;
    let withdrawals = booked(&payments, EntryKind::Withdrawn).await;
    let ends = booked(&payments, EntryKind::Terminated).await;
    assert_eq!(withdrawals.len(), 2);
    assert_eq!(withdrawals[0].amount, withdrawn.paid);
    let of = |id: StreamId, all: &[Entry]| sum(all.iter().filter(|entry| entry.stream == Some(id)));
    let end = ends.iter().find(|entry| entry.stream == Some(one)).unwrap();
    assert_eq!(
        (end.vm.as_ref(), end.debit.as_str(), end.credit.as_str()),
        (Some(&vm), "wallet", "receivable")
    );
    assert!(end.transaction.is_some() && end.block.is_some() && end.renter.is_some());
    assert!(ends.iter().any(|entry| entry.stream == Some(gift) && entry.vm.is_none()));
    let gas = booked(&payments, EntryKind::Gas).await;
    assert_eq!(sum(&gas), withdrawn.cost, "of the node's own transaction");
    let earned = booked(&payments, EntryKind::Earned).await;
    for id in [one, two, gift] {
        let stream = market.chain.stream(id).await.unwrap().0;
        let received = of(id, &withdrawals) + of(id, &ends);
        assert_eq!(received, stream.withdrawn, "to the wei");
        assert_eq!(received, of(id, &earned), "all that vested was paid out");
        let refunded = booked(&payments, EntryKind::Refunded).await;
        assert_eq!(received + of(id, &refunded), stream.deposit);
    }
    let received = sum(&withdrawals) + sum(&ends);
    let lost = before + received - sum(&gas) - market.balance().await;
    assert!(lost < U256::from(10u64.pow(15)), "but for the gas of what was done by hand: {lost}");
    node.shutdown(false).await;
}

/// M-01: an entry that is lost is found by the comparison with the chain, by name, and made good; what the chain does not
/// have is taken back; nothing is deleted.
#[tokio::test]
async fn m_01_what_the_books_lack_is_named_and_made_good() {
    let market = Market::new(&[]).await;
    let node = market.start().await;
    let stream = market.open(7200).await;
    let vm = market.rent(&node, "one", stream).await;
    market.chain.warp(1000).await.unwrap();
    market.chain.terminate(1, stream).await.unwrap();
    reaches(&node, &vm, VmState::Stopped).await;
    let payments = node.payments().unwrap().clone();
    let equal = payments.check_books(false).await.unwrap();
    assert_eq!((equal.differences.len(), equal.streams, equal.payments), (0, 1, 2));
    let paid = market.chain.stream(stream).await.unwrap().0.withdrawn;
    assert_eq!(equal.received, paid);
    // Lost, as by a disk; and one that never was.
    let file = market.world.folder.path().join(LEDGER_FILE);
    let sql = |text: &str| rusqlite::Connection::open(&file).unwrap().execute(text, []).unwrap();
    assert_eq!(sql("DELETE FROM entries WHERE kind = 'terminated'"), 1);
    let twin = "INSERT INTO entries (at, chain, contract, stream_id, token, kind, debit, credit, amount, source, tx, \
                log_index, block, block_hash) SELECT at, chain, contract, stream_id, token, 'withdrawn', 'wallet', \
                'receivable', '5', source, tx, 77, block, block_hash FROM entries WHERE kind = 'refunded'";
    assert_eq!(sql(twin), 1);
    let found = payments.check_books(false).await.unwrap();
    let told: Vec<_> = found
        .differences
        .iter()
        .map(|one| (one.stream, one.vm.as_ref(), one.kind, one.chain, one.books, one.transaction.is_some()))
        .collect();
    // M-01
    assert_eq!(
        told,
        [
            (Some(stream), Some(&vm), EntryKind::Terminated, paid, U256::ZERO, true),
            (Some(stream), Some(&vm), EntryKind::Withdrawn, U256::ZERO, U256::from(5), true),
        ]
    );
    let last = payments.last_books_check();
    assert_eq!((last.differences, last.error), (found.differences, None));
    assert!(last.at.is_some());
    let count = payments.entries(Timestamp::UNIX_EPOCH).await.unwrap().len();
    let repaired = payments.check_books(true).await.unwrap();
    assert_eq!((repaired.differences.len(), repaired.left().count()), (2, 0));
    assert_eq!(payments.last_books_check().differences, []);
    assert_eq!(payments.check_books(false).await.unwrap().differences, []);
    let after = payments.entries(Timestamp::UNIX_EPOCH).await.unwrap();
    assert!(after.len() >= count + 2, "one is booked, one taken back by another");
    assert_eq!(sum(&booked(&payments, EntryKind::Terminated).await), paid);
    node.shutdown(false).await;
}

/// M-08: where no endpoint gives logs the books follow all the same, by what streams say of themselves, and say so; as soon as
/// one gives them, events take the place of that, to the wei.
#[tokio::test]
async fn m_08_books_follow_without_logs_and_are_made_exact_by_them() {
    let market = Market::new(&[]).await;
    let before = market.balance().await;
    let provider = Provider::start(market.chain.url(), Limits::MEANEST).await.unwrap();
    let behind = PaymentConfig { rpc_url: provider.url().to_owned(), ..market.payments() };
    let config = NodeConfig { payments: Some(behind), ..market.world.config() };
    let node = Node::start(config, market.world.sim().0).await.unwrap();
    let [one, two] = [market.open(7200).await, market.open(7200).await];
    let vm = market.rent(&node, "one", one).await;
    market.rent(&node, "two", two).await;
    let payments = node.payments().unwrap().clone();
    market.chain.warp(1000).await.unwrap();
    let copy = payments.withdrawable(None).into_iter().find(|copy| copy.key.id == two).unwrap();
    let withdrawn = payments.withdraw(&copy).await.unwrap();
    until("the withdrawal is booked", async || !booked(&payments, EntryKind::Withdrawn).await.is_empty())
        .await;
    market.chain.terminate(1, one).await.unwrap();
    reaches(&node, &vm, VmState::Stopped).await;
    until("the end is booked", async || !booked(&payments, EntryKind::Terminated).await.is_empty()).await;
    let all = async |payments: &Payments| {
        let mut all = booked(payments, EntryKind::Withdrawn).await;
        all.extend(booked(payments, EntryKind::Terminated).await);
        all
    };
    let read = all(&payments).await;
    // M-08
    assert!(read.iter().all(|entry| entry.source == EntrySource::Reading && entry.transaction.is_none()));
    let paid = |id: StreamId, all: &[Entry]| sum(all.iter().filter(|entry| entry.stream == Some(id)));
    let ended = market.chain.stream(one).await.unwrap().0.withdrawn;
    assert_eq!((paid(two, &read), paid(one, &read)), (withdrawn.paid, ended));
    assert!(payments.check_books(false).await.is_err());
    let last = payments.last_books_check();
    assert!(last.at.is_none() && last.error.is_some(), "{last:?}");
    node.shutdown(false).await;
    drop((node, payments));

    let node = market.start().await;
    let payments = node.payments().unwrap().clone();
    let of_events = async || all(&payments).await.iter().all(|entry| entry.source == EntrySource::Event);
    until("events take their place", of_events).await;
    let exact = all(&payments).await;
    assert!(exact.len() == 2 && exact.iter().all(|entry| entry.transaction.is_some()), "{exact:#?}");
    assert_eq!((paid(two, &exact), paid(one, &exact)), (withdrawn.paid, ended));
    assert_eq!(payments.check_books(false).await.unwrap().differences, []);
    let gas = sum(&booked(&payments, EntryKind::Gas).await);
    assert_eq!(market.balance().await, before + sum(&exact) - gas, "to the wei");
    node.shutdown(false).await;
}

/// M-10: gas that is booked is compared with the receipts of the node's own transactions: what is missing, what is of another
/// amount and what is booked of a block that is gone is named, and made good.
#[tokio::test]
async fn m_10_booked_gas_is_compared_with_receipts() {
    let market = Market::new(&[]).await;
    let node = market.start_with(PaymentConfig { monitor: false, ..market.payments() }).await;
    let [one, two] = [market.open(7200).await, market.open(7200).await];
    market.rent(&node, "one", one).await;
    market.rent(&node, "two", two).await;
    market.chain.warp(1000).await.unwrap();
    let payments = node.payments().unwrap().clone();
    for copy in payments.withdrawable(None) {
        payments.withdraw(&copy).await.unwrap();
    }
    assert_eq!(payments.check_books(false).await.unwrap().differences, []);
    let gas = sum(&booked(&payments, EntryKind::Gas).await);
    let file = market.world.folder.path().join(LEDGER_FILE);
    let sql = |text: &str| rusqlite::Connection::open(&file).unwrap().execute(text, []).unwrap();
    assert_eq!(sql(&format!("DELETE FROM entries WHERE kind = 'gas' AND stream_id = '{one}'")), 1);
    // That one was given up too early.
    let given_up =
        "UPDATE transactions SET state = 'lost', hash = NULL, block = NULL, block_hash = NULL, cost = NULL";
    assert_eq!(sql(&format!("{given_up} WHERE subject LIKE '%:{one}'")), 1);
    assert_eq!(
        sql(&format!("UPDATE entries SET amount = '7' WHERE kind = 'gas' AND stream_id = '{two}'")),
        1
    );
    let phantom = "INSERT INTO entries (at, chain, contract, stream_id, token, kind, debit, credit, amount, source, tx, \
                   block, block_hash) SELECT at, chain, contract, stream_id, token, kind, debit, credit, '5', source, \
                   '0x' || substr(hex(zeroblob(32)), 1), block, '0x' || hex(zeroblob(32)) FROM entries WHERE kind = 'gas'";
    assert_eq!(sql(phantom), 1);
    let found = payments.check_books(false).await.unwrap().differences;
    let mut told: Vec<_> = found.iter().map(|one| (one.stream, one.books.to::<u64>())).collect();
    told.sort_unstable();
    // M-10
    assert_eq!(told, [(Some(one), 0), (Some(two), 5), (Some(two), 7)]);
    assert!(
        found.iter().all(|one| one.kind == EntryKind::Gas && one.transaction.is_some() && one.vm.is_some())
    );
    let repaired = payments.check_books(true).await.unwrap();
    assert_eq!((repaired.differences.len(), repaired.left().count()), (3, 0));
    assert_eq!(payments.check_books(false).await.unwrap().differences, []);
    assert_eq!(sum(&booked(&payments, EntryKind::Gas).await), gas, "to the wei");
    let all = Ledger::open(&file).unwrap().transactions(10).await.unwrap();
    // M-07
    assert!(all.iter().all(|one| one.state.as_str() == "mined" && one.cost.is_some()), "{all:?}");
    node.shutdown(false).await;
}

/// M-10: what a transaction cost is taken out of the books with its block, and booked again, as much as it costs there, when it
/// comes into another; whether or not an endpoint gives events.
#[tokio::test]
async fn m_10_gas_is_taken_back_with_its_block() {
    for limits in [Limits::NONE, Limits { log_blocks: 0, ..Limits::NONE }] {
        gas_is_taken_back(limits).await;
    }
}

async fn gas_is_taken_back(limits: Limits) {
    let market = Market::new(&[]).await;
    let provider = Provider::start(market.chain.url(), limits).await.unwrap();
    let behind = PaymentConfig { rpc_url: provider.url().to_owned(), ..market.payments() };
    let node = market.start_with(behind).await;
    let stream = market.open(7200).await;
    market.rent(&node, "one", stream).await;
    market.chain.warp(1000).await.unwrap();
    let before = market.balance().await;
    let mark = market.chain.ask("evm_snapshot", json!([])).await.unwrap();
    let payments = node.payments().unwrap().clone();
    let withdrawn = payments.withdraw(&payments.withdrawable(None).remove(0)).await.unwrap();
    let gas = async || booked(&payments, EntryKind::Gas).await;
    until("it is booked", async || booked(&payments, EntryKind::Withdrawn).await.len() == 1).await;
    assert_eq!((gas().await.len(), sum(&gas().await)), (1, withdrawn.cost));
    let height = market.chain.height().await.unwrap();
    market.chain.ask("evm_setAutomine", json!([false])).await.unwrap();
    assert_eq!(market.chain.ask("evm_revert", json!([mark])).await.unwrap(), json!(true));
    market.chain.ask("anvil_mine", json!([format!("{height:#x}")])).await.unwrap();
    until("its block is gone", async || gas().await.is_empty()).await;
    // M-10
    until("what it brought is, too", async || booked(&payments, EntryKind::Withdrawn).await.is_empty()).await;
    assert_eq!(market.balance().await, before);
    // It waits to come into a block, as before.
    until("it is sent again", async || {
        market.chain.ask("txpool_status", json!([])).await.unwrap()["pending"] == "0x1"
    })
    .await;
    market.chain.ask("evm_setAutomine", json!([true])).await.unwrap();
    market.chain.ask("evm_mine", json!([])).await.unwrap();
    until("it is booked again", async || {
        gas().await.len() == 1 && booked(&payments, EntryKind::Withdrawn).await.len() == 1
    })
    .await;
    let (again, received) = (sum(&gas().await), sum(&booked(&payments, EntryKind::Withdrawn).await));
    assert_eq!(market.balance().await, before + received - again, "to the wei");
    let all = payments.entries(Timestamp::UNIX_EPOCH).await.unwrap();
    let of_gas = all.iter().filter(|entry| entry.debit == "gas" || entry.credit == "gas");
    assert_eq!(of_gas.count(), 3, "booked, taken back, and booked again: nothing is deleted");
    node.shutdown(false).await;
}

/// M-01: an endpoint that keeps events to itself takes nothing out of the books, not by a repair, and not by being silent now and
/// then.
#[tokio::test]
async fn m_01_an_endpoint_without_events_takes_nothing_back() {
    let market = Market::new(&[]).await;
    let chaos = Chaos::start(market.chain.url(), 1).await.unwrap();
    let node = market
        .start_with(PaymentConfig { rpc_url: chaos.url().to_owned(), monitor: false, ..market.payments() })
        .await;
    let stream = market.open(7200).await;
    market.rent(&node, "one", stream).await;
    market.chain.warp(1000).await.unwrap();
    let payments = node.payments().unwrap().clone();
    payments.read_books().await.unwrap();
    market.chain.terminate(1, stream).await.unwrap();
    payments.read_books().await.unwrap();
    let ended = async || booked(&payments, EntryKind::Terminated).await.len();
    assert_eq!(ended().await, 1);
    for look in 0..23 {
        market.chain.ask("evm_mine", json!([])).await.unwrap();
        if look % 5 == 3 {
            chaos.blank(true);
            assert!(payments.read_books().await.is_err(), "look {look}");
            chaos.blank(false);
        }
        payments.read_books().await.unwrap();
        assert_eq!(ended().await, 1, "look {look}");
    }
    chaos.blank(true);
    let repaired = payments.check_books(true).await;
    assert!(repaired.is_err(), "{repaired:?}");
    chaos.blank(false);
    assert_eq!(ended().await, 1);
    assert!(payments.check_books(false).await.unwrap().differences.is_empty());
    node.shutdown(false).await;
}
