//! Several contracts: rentals of an earlier one go on as they were.

use super::*;

/// M-04: the contract is changed while rentals run. What was rented before is followed and withdrawn from by the profile as it was
/// used, until it is spent; what no profile names is told.
#[tokio::test]
async fn m_04_rentals_of_an_earlier_contract_are_followed_and_paid() {
    let market = Market::new(&[]).await;
    let node = market.start().await;
    let [kept, ended] = [market.open(100_000).await, market.open(7200).await];
    let kept_vm = market.rent(&node, "kept", kept).await;
    let ended_vm = market.rent(&node, "ended", ended).await;
    node.shutdown(false).await;
    drop(node);

    // Another contract on the same chain; the first one is the market's.
    let oracle = word(market.chain.account(0));
    let other = market.chain.deploy(&contracts(), "StreamPayment", &[oracle]).await.unwrap();
    let start = async || {
        let maximum_head_age = Some(Duration::from_secs(100_000));
        let (name, contract) = ("other".to_owned(), other);
        market.start_with(PaymentConfig { name, contract, maximum_head_age, ..market.payments() }).await
    };
    let node = start().await;
    // M-04
    assert_eq!(node.contracts().all().len(), 2);
    assert_eq!(node.payments().unwrap().config().contract, other);
    // M-04: each by the rules of its own network.
    let ages = node.contracts().others().map(|earlier| earlier.config().maximum_head_age);
    assert_eq!(ages.collect::<Vec<_>>(), [market.payments().maximum_head_age]);
    reaches(&node, &kept_vm, VmState::Running).await;
    market.chain.warp(3600).await.unwrap();
    assert_eq!(node.stream(&kept_vm).await.unwrap().key.id, kept);
    assert_eq!(node.streams().await.unwrap().len(), 2);
    market.chain.terminate(1, ended).await.unwrap();
    // M-04: an end is seen on the earlier contract, too.
    reaches(&node, &ended_vm, VmState::Stopped).await;
    assert_eq!(node.vm(&kept_vm).await.unwrap().state, VmState::Running);
    let before = market.balance().await;
    let (mut paid, mut cost) = (U256::ZERO, U256::ZERO);
    for (payments, copy) in node.contracts().withdrawable(Some(&kept_vm)) {
        let done = payments.withdraw(&copy).await.unwrap();
        (paid, cost) = (paid + done.paid, cost + done.cost);
    }
    assert!(paid > U256::from(10u64.pow(15)), "{paid}");
    assert_eq!(market.balance().await, before + paid - cost);
    node.shutdown(false).await;
    drop(node);

    // An older database has no profiles.
    let file = market.world.folder.path().join(LEDGER_FILE);
    rusqlite::Connection::open(&file).unwrap().execute("DELETE FROM contracts", []).unwrap();
    let node = start().await;
    let key = golem_node::payment::contract_key(CHAIN_ID, market.chain.contract());
    // M-04
    assert_eq!(node.contracts().unknown(), [key]);
    let error = node.stream(&kept_vm).await.unwrap_err().to_string();
    assert!(error.contains("no network profile"), "{error}");
    reaches(&node, &kept_vm, VmState::Running).await;
    node.shutdown(false).await;
    drop(node);

    // A profile that is known now finds it again; without one for new rentals, too.
    let known = golem_node::payment::KnownContract { config: market.payments(), is_own: false };
    let config = NodeConfig { known_contracts: vec![known], ..market.world.config() };
    let node = Node::start(config, market.world.sim().0).await.unwrap();
    assert!(node.payments().is_none() && node.contracts().unknown().is_empty());
    assert_eq!(node.stream(&kept_vm).await.unwrap().key.id, kept);
    node.shutdown(false).await;
}

/// M-04: another contract takes the place of the one that rentals are paid in, and says that no stream pays: it is told, and
/// nothing ends.
#[tokio::test]
async fn m_04_a_contract_that_was_replaced_ends_nothing() {
    let market = Market::new(&[]).await;
    let node = market.start_with(PaymentConfig { local: false, ..market.payments() }).await;
    let stream = market.open(7200).await;
    let vm = market.rent(&node, "one", stream).await;
    let chain = &market.chain;
    // Streams of zeros: return(0, 288).
    let [contract, code] = [chain.contract().to_string(), "0x6101206000f3".to_owned()];
    chain.ask("anvil_setCode", json!([contract, code])).await.unwrap();
    let payments = node.payments().unwrap();
    until("it is told", async || {
        payments.health().error.is_some_and(|error| error.contains("is not what it was"))
    })
    .await;
    assert_eq!(node.vm(&vm).await.unwrap().state, VmState::Running);
    assert!(node.vm(&vm).await.unwrap().unpaid.is_none());
    node.shutdown(false).await;
}

/// M-04: a rental was accepted in its stream's own token, and is paid in it, whatever new rentals are to be paid in.
#[tokio::test]
async fn m_04_another_token_in_the_settings_stops_no_rental() {
    let market = Market::new(&[]).await;
    let node = market.start().await;
    let stream = market.open(7200).await;
    let vm = market.rent(&node, "one", stream).await;
    node.shutdown(false).await;
    drop(node);
    let token = alloy_primitives::Address::repeat_byte(5);
    let node =
        market.start_with(PaymentConfig { token, symbol: "GLM".to_owned(), ..market.payments() }).await;
    market.chain.warp(10).await.unwrap();
    market.is_seen(node.payments().unwrap()).await;
    assert!(node.stream(&vm).await.unwrap().verdict.is_ok());
    assert_eq!(node.vm(&vm).await.unwrap().unpaid, None);
    node.shutdown(false).await;
}
