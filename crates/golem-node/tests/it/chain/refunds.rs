//! What becomes of the stream of a VM that was deleted.

use super::*;

/// A node whose streams are ended so long after their VM was deleted.
async fn node(market: &Market, after: Duration) -> Node {
    market.start_with(PaymentConfig { refund_after: Some(after), ..market.payments() }).await
}

async fn is_ended(market: &Market, stream: StreamId) -> bool {
    market.chain.stream(stream).await.unwrap().0.recipient.is_zero()
}

async fn kinds(node: &Node, vm: &VmId) -> Vec<String> {
    let events = node.events(Some(vm.clone()), 20).await.unwrap();
    events.into_iter().map(|event| event.kind).rev().collect()
}

/// A deleted VM's stream is ended, and the rest goes back, though the node was away when it was due.
#[tokio::test]
async fn a_deleted_vm_is_refunded_across_a_restart() {
    let market = Market::new(&[]).await;
    let first = node(&market, Duration::from_millis(1500)).await;
    let stream = market.open(7200).await;
    let vm = market.rent(&first, "one", stream).await;
    market.chain.warp(1000).await.unwrap();
    let before = market.balance().await;
    first.delete_vm(&vm).await.unwrap();
    assert!(!is_ended(&market, stream).await, "its sender may do it first");
    first.shutdown(false).await;
    drop(first);
    let second = node(&market, Duration::from_millis(1500)).await;
    until("the stream is ended", async || is_ended(&market, stream).await).await;
    until("it is told", async || kinds(&second, &vm).await.contains(&"refund.done".to_owned())).await;
    assert!(market.balance().await > before, "what had vested is the provider's");
    second.shutdown(false).await;
}

/// M-10: a refund whose block is gone goes out once more, also where no endpoint gives events, and after a restart.
#[tokio::test]
async fn m_10_a_refund_whose_block_is_gone_is_made_again_without_events() {
    let market = Market::new(&[]).await;
    let no_logs = golem_testchain::Limits { log_blocks: 0, ..golem_testchain::Limits::NONE };
    let provider = golem_testchain::Provider::start(market.chain.url(), no_logs).await.unwrap();
    let refund_after = Some(Duration::from_millis(100));
    let config = || PaymentConfig { rpc_url: provider.url().to_owned(), refund_after, ..market.payments() };
    let node = market.start_with(config()).await;
    let stream = market.open(7200).await;
    let vm = market.rent(&node, "one", stream).await;
    market.chain.warp(1000).await.unwrap();
    let mark = market.chain.ask("evm_snapshot", json!([])).await.unwrap();
    node.delete_vm(&vm).await.unwrap();
    until("it is told", async || kinds(&node, &vm).await.contains(&"refund.done".to_owned())).await;
    assert!(is_ended(&market, stream).await);
    node.shutdown(false).await;
    drop(node);
    let height = market.chain.height().await.unwrap();
    assert_eq!(market.chain.ask("evm_revert", json!([mark])).await.unwrap(), json!(true));
    market.chain.ask("anvil_mine", json!([format!("{height:#x}")])).await.unwrap();
    assert!(!is_ended(&market, stream).await);
    let node = market.start_with(config()).await;
    // M-10
    until("the stream is ended again", async || is_ended(&market, stream).await).await;
    node.shutdown(false).await;
}

/// A stream that pays for another VM meanwhile is left alone, and so is one whose rest is not worth the gas.
#[tokio::test]
async fn what_is_used_again_or_not_worth_its_gas_is_left_alone() {
    let market = Market::new(&[]).await;
    let node = node(&market, Duration::from_millis(700)).await;
    let (used, fresh) = (market.open(7200).await, market.open(7200).await);
    let last = market.open(7200).await;
    let moved = market.rent(&node, "moved", used).await;
    let young = market.rent(&node, "young", fresh).await;
    market.chain.warp(5).await.unwrap();
    // Nothing was earned yet that would pay the gas: whoever opens and deletes again and again costs us nothing.
    node.delete_vm(&young).await.unwrap();
    until("it is left", async || kinds(&node, &young).await.contains(&"refund.left".to_owned())).await;
    market.chain.warp(1000).await.unwrap();
    node.delete_vm(&moved).await.unwrap();
    let other = market.rent(&node, "other", used).await;
    // What is due later is done: so was this.
    let marker = market.rent(&node, "marker", last).await;
    node.delete_vm(&marker).await.unwrap();
    until("the last is ended", async || is_ended(&market, last).await).await;
    assert!(!is_ended(&market, used).await && !is_ended(&market, fresh).await);
    assert_eq!(node.vm(&other).await.unwrap().state, VmState::Running);
    node.shutdown(false).await;
}

/// M-15: a stream that pays a key that was replaced is ended by that key.
#[tokio::test]
async fn m_15_a_stream_to_a_former_key_goes_back_too() {
    let market = Market::new(&[]).await;
    let first = node(&market, Duration::from_millis(700)).await;
    let stream = market.open(7200).await;
    let vm = market.rent(&first, "one", stream).await;
    market.chain.warp(1000).await.unwrap();
    first.shutdown(false).await;
    drop(first);
    let old = Anvil::wallet(PROVIDER).unwrap();
    let former = golem_chain::identity::Former {
        address: old.address(),
        path: PathBuf::from("former"),
        wallet: Ok(old),
    };
    let second = market
        .start_with(PaymentConfig {
            refund_after: Some(Duration::from_millis(700)),
            wallet: Anvil::wallet(3).unwrap(),
            former: vec![former],
            ..market.payments()
        })
        .await;
    reaches(&second, &vm, VmState::Running).await;
    second.delete_vm(&vm).await.unwrap();
    until("it is ended", async || is_ended(&market, stream).await).await;
    second.shutdown(false).await;
}
