//! Very many streams at once.

use golem_node::entry::EntryKind;
use golem_testchain::{Limits, Provider};

use super::*;

/// Streams in a block.
const STREAMS: u64 = 1000;

/// A thousand streams to the provider come in one block, and end in another: a node with one rental books them all, to the wei,
/// in a number of requests that is far from theirs, and its rental is followed meanwhile; one of them can be rented with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_in_one_block_are_booked_in_few_requests() {
    let market = Market::new(&["--gas-limit", "2000000000"]).await;
    let chain = &market.chain;
    let single = Limits { batch: 1, log_blocks: 10, ..Limits::NONE };
    // M-08: logs, and nothing that brings several answers at once.
    let plain = Limits { refuses_programs: true, ..single };
    for limits in [Limits { batch: 100, ..Limits::NONE }, single, plain] {
        let world = World::new(8);
        chain.warp(10).await.unwrap();
        let endpoint = Provider::start(chain.url(), limits).await.unwrap();
        let mut payments = market.payments();
        payments.rpc_url = endpoint.url().to_owned();
        payments.interval = Duration::from_millis(500);
        let config = NodeConfig { payments: Some(payments), ..world.config() };
        let node = Node::start(config, world.sim().0).await.unwrap();
        let payments = node.payments().unwrap().clone();
        let kept = market.rent(&node, "kept", market.open(100_000).await).await;
        let short = market.open(3600).await;
        let ending = market.rent(&node, "ending", short).await;
        let before = market.balance().await;
        let (contract, provider) = (chain.contract(), word(chain.account(PROVIDER)));
        let deposit = U256::from(7_000_000_000u64);
        let create = || {
            let words = vec![U256::ZERO, provider, deposit, U256::from(1_000_003)];
            (contract, "createStream(address,address,uint256,uint128)", words, deposit)
        };
        let asked = endpoint.requests();
        let first = chain.view_of(contract, "nextStreamId()", &[]).await.unwrap() + U256::ONE;
        chain.one_block(1, (0..STREAMS).map(|_| create())).await.unwrap();
        let used = StreamId(first + U256::from(7));
        let rented = market.rent(&node, "one-of-them", used).await;
        chain.warp(100).await.unwrap();
        let ends = (0..STREAMS).map(|number| first + U256::from(number)).filter(|id| *id != used.0);
        let end = |id| (contract, "terminate(uint256)", vec![id], U256::ZERO);
        chain.one_block(1, ends.map(end)).await.unwrap();
        let of = async |kind: EntryKind| booked(&payments, kind).await;
        let wanted = usize::try_from(STREAMS).unwrap() - 1;
        until("all are booked", async || of(EntryKind::Terminated).await.len() == wanted).await;
        let requests = endpoint.requests() - asked;
        assert!(requests < STREAMS / 4, "{requests} requests, {limits:?}");
        assert_eq!(of(EntryKind::Refunded).await.len(), wanted);
        let paid = sum(&of(EntryKind::Terminated).await);
        assert_eq!(market.balance().await, before + paid, "to the wei");
        let check = payments.check_books(false).await.unwrap();
        assert_eq!((check.differences, check.streams), (Vec::new(), wanted + 3));
        // Others go on, and end.
        chain.warp(3600).await.unwrap();
        reaches(&node, &ending, VmState::Stopped).await;
        for vm in [&kept, &rented] {
            assert_eq!(node.vm(vm).await.unwrap().state, VmState::Running);
        }
        node.shutdown(false).await;
    }
}
