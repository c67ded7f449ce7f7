//! A contract of the newer version.

use super::*;

/// I3: a rental that is paid in the newer contract is granted where the profile says what that calls a
/// stream that pays. Once it is called something else nothing is granted and nothing ended on that, until the
/// stream's own numbers end it.
#[tokio::test]
async fn i3_a_stream_of_the_newer_contract_that_is_called_something_unknown_ends_nothing() {
    let market = Market::new(&[]).await;
    let chain = &market.chain;
    let contracts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../contracts");
    let word = |address: alloy_primitives::Address| U256::from_be_slice(address.as_slice());
    let token = chain.deploy(&contracts, "TestToken", &[U256::ZERO]).await.unwrap();
    let two = chain.deploy(&contracts, "StreamPaymentTwo", &[word(token)]).await.unwrap();
    let open = async || {
        let signature = "createStream(address,uint256,uint128,uint16,bytes32,bytes32,uint128,bytes)";
        let words = [3_600_000u64, 1000, 0, 1, 2, 3, 256, 0].map(U256::from);
        let arguments = [&[word(chain.account(PROVIDER))][..], &words].concat();
        chain.invoke(1, two, signature, &arguments).await.unwrap();
    };
    let payments = PaymentConfig {
        contract: two,
        version: golem_chain::Version::V4,
        paying_states: vec!["active".to_owned()],
        token,
        ..market.payments()
    };
    let config = NodeConfig { payments: Some(payments), ..market.world.config() };
    let node = Node::start(config, market.world.sim().0).await.unwrap();
    open().await;
    let vm = market.rent(&node, "one", StreamId(U256::ONE)).await;
    assert!(node.stream(&vm).await.unwrap().unclear.is_none());

    // Its end leaves no trace but the word.
    chain.invoke(1, two, "terminate(uint256)", &[U256::ONE]).await.unwrap();
    assert_eq!(node.stream(&vm).await.unwrap().unclear.as_deref(), Some("terminated"));
    open().await;
    chain.invoke(1, two, "terminate(uint256)", &[U256::from(2)]).await.unwrap();
    let second = CreateVm { stream_id: Some(StreamId(U256::from(2))), ..wanted("two") };
    let error = node.create(second).await.unwrap_err();
    // Whoever asks is told that the chain cannot be asked; why stands in the log, as the cause.
    let causes = golem_service::log::with_causes(&error);
    assert!(causes.contains("calls the stream \"terminated\""), "{causes}");
    let height = chain.height().await.unwrap();
    chain.warp(10).await.unwrap();
    let payments = node.payments().unwrap();
    until("the monitor has seen it", async || {
        payments.health().block.is_some_and(|block| block.number > height)
    })
    .await;
    assert_eq!(node.vm(&vm).await.unwrap().state, VmState::Running);
    chain.warp(3600).await.unwrap();
    let stopped = reaches(&node, &vm, VmState::Stopped).await;
    assert_eq!(stopped.unpaid.as_ref().unwrap().reason, "its stream has run out");
    node.shutdown(false).await;
}
