//! Rentals of clients that name no network, at a node that offers several.

use alloy_primitives::Address;

use super::*;

/// Who pays.
const SENDER: Address = alloy_primitives::address!("0000000000000000000000000000000000000abc");

/// The second chain.
const OTHER: u64 = CHAIN + 1;

/// A stream is looked for on each network that takes such streams, and paid for where it is.
#[tokio::test]
async fn a_stream_is_judged_on_the_network_that_it_is_of() {
    let paid = Paid::new(8).await;
    let other = Emulator::start(OTHER, now()).await.unwrap();
    let mut config = paid.config();
    let first = config.payments.clone().unwrap();
    let (name, rpc_url) = ("other".to_owned(), other.url().to_owned());
    config.more_payments = vec![PaymentConfig { name, rpc_url, chain_id: OTHER, ..first }];
    let node = Node::start(config, paid.world.sim().0).await.unwrap();
    let on_other = |id: u64, change: fn(&mut Stream)| {
        let mut stream = other.stream(0xabc, paid.wallet.address(), 3600, 1000);
        change(&mut stream);
        other.put(id, stream);
        StreamId(U256::from(id))
    };
    let chain_of = async |name: &str, stream: StreamId| {
        let (vm, _) = node.create(super::paid(name, stream)).await.unwrap();
        let key = vm.stream.clone().unwrap();
        key.contract.split(':').next().unwrap().parse::<u64>().unwrap()
    };
    // M-04: of one that is on one of them only, that one.
    assert_eq!(chain_of("one", on_other(1, |_| {})).await, OTHER);
    paid.open(2, 3600);
    let both = on_other(2, |_| {});
    // The first in the order of the settings, as long as it is not used.
    assert_eq!(chain_of("two", both).await, CHAIN);
    // Sent again it does not come to the other's, which may be a stranger's.
    let used = node.create(super::paid("three", both)).await;
    assert!(matches!(used, Err(NodeError::Refused(Refusal::StreamUsed))), "{used:?}");
    // What its sender asks for is looked for further on.
    let of_sender = |name: &str, stream| CreateVm { renter: Some(SENDER), ..super::paid(name, stream) };
    let (vm, _) = node.create(of_sender("four", both)).await.unwrap();
    assert!(vm.stream.as_ref().unwrap().contract.starts_with(&OTHER.to_string()), "{vm:?}");
    // What is wrong is told of the one that is ours, with the networks.
    let halted = refusal(&node, Some(on_other(3, |stream| stream.halted = true))).await;
    assert_eq!(halted.to_string(), "invalid stream: stream halted (looked for on test, other)");
    let nowhere = refusal(&node, Some(StreamId(U256::from(9)))).await;
    assert_eq!(nowhere.to_string(), "invalid stream: recipient mismatch (looked for on test, other)");
    // A chain that cannot be asked hides no stream of another that its sender asks for; what may be there is no refusal.
    paid.chain.misbehave(Fault::Down);
    let five = on_other(5, |_| {});
    let unknown = node.create(super::paid("five", five)).await;
    assert!(matches!(unknown, Err(NodeError::ChainUnknown(_))), "{unknown:?}");
    let (vm, _) = node.create(of_sender("five", five)).await.unwrap();
    assert!(vm.stream.as_ref().unwrap().contract.starts_with(&OTHER.to_string()), "{vm:?}");
    let unknown = node.create(super::paid("six", StreamId(U256::from(6)))).await;
    assert!(matches!(unknown, Err(NodeError::ChainUnknown(_))), "{unknown:?}");
    node.shutdown(false).await;
}
