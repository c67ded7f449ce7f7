//! What a create is judged by.

use std::time::Duration;

use alloy_primitives::Address;
use golem_chain::Place;
use golem_chain::stream_proof::{self, BadProof, ProvenStream, StreamUse};
use golem_node::payment::StreamPrices;
use golem_node::{Node, NodeConfig, NodeError, Refusal};
use golem_types::price::MonthlyPrice;
use golem_types::stream::number;
use golem_types::wire::CreateVm;
use golem_types::{Decimal, Stream, StreamId, VmState, Wallet};
use ruint::aliases::U256;

use super::{CHAIN, Paid, now_seconds, paid};
use crate::support::{attach, reaches, wanted};

/// A node whose payments are as `change` makes them.
async fn node(paid: &Paid, change: impl FnOnce(&mut golem_node::payment::PaymentConfig)) -> Node {
    let mut config: NodeConfig = paid.config();
    change(config.payments.as_mut().unwrap());
    Node::start(config, paid.world.sim().0).await.unwrap()
}

fn usd(text: &str) -> MonthlyPrice {
    let core: Decimal = text.parse().unwrap();
    MonthlyPrice { core, ..MonthlyPrice::default() }
}

#[tokio::test]
async fn m_11_without_a_price_nothing_is_rented() {
    let market = Paid::new(4).await;
    let node = node(&market, |payments| payments.allow_unpriced = false).await;
    let stream = market.open(1, 3600);
    let payments = node.payments().unwrap();
    assert!(payments.lacks_price());
    // M-11: not even for a stream that pays something.
    let refused = node.create(paid("unpriced", stream)).await;
    assert!(matches!(refused, Err(NodeError::NoPrice)), "{refused:?}");
    assert!(node.vms().is_empty());
    payments.set_prices(Some(StreamPrices::of(usd("1e-12"))));
    assert!(!payments.lacks_price());
    market.rent(&node, "priced", stream).await;
    // A price that was known, and is no more.
    payments.set_prices(None);
    let refused = node.create(paid("late", market.open(2, 3600))).await;
    assert!(matches!(refused, Err(NodeError::NoPrice)), "{refused:?}");
    node.shutdown(false).await;
}

#[tokio::test]
async fn m_13_a_token_is_counted_in_its_own_digits_or_not_at_all() {
    let token = Address::repeat_byte(0x70);
    let market = Paid::new(4).await;
    market.chain.tokens_have(6);
    let in_token = |id: u64, rate: u64| {
        let stream = market.chain.stream(0xabc, market.wallet.address(), 7200, rate);
        market.chain.put(id, Stream { token: number(token), ..stream });
        StreamId(U256::from(id))
    };
    let wrong = node(&market, |payments| payments.token = token).await;
    // M-13: the profile says 18.
    let refused = wrong.create(paid("wrong", in_token(1, u64::MAX))).await;
    assert!(matches!(refused, Err(NodeError::TokenDigits { found: 6, expected: 18 })), "{refused:?}");
    assert!(wrong.payments().unwrap().token_problem().is_some());
    wrong.shutdown(false).await;

    let node = node(&market, |payments| (payments.token, payments.decimals) = (token, 6)).await;
    let payments = node.payments().unwrap();
    payments.set_prices(Some(StreamPrices::of(usd("12"))));
    let quote = payments.quote(wanted("any").resources, jiff::Timestamp::now()).unwrap().quote;
    assert_eq!(quote.rate, 5, "12 a month are 4.6 millionths a second");
    let refused = node.create(paid("cheap", in_token(2, 4))).await.unwrap_err();
    assert_eq!(refused.to_string(), "invalid stream: rate below price");
    let (vm, _) = node.create(paid("fair", in_token(3, 5))).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    payments.set_prices(Some(StreamPrices::of(usd("0.1"))));
    let coarse = payments.quote(wanted("any").resources, jiff::Timestamp::now());
    assert!(matches!(coarse, Err(NodeError::Coarse)), "{coarse:?}");
    node.shutdown(false).await;
}

/// M-06: the renter of a VM that ran out for want of seconds has to pay ten minutes, and the same begins a rental.
#[tokio::test]
async fn m_06_a_rental_begins_and_goes_on_with_some_runway() {
    let mut market = Paid::new(4).await;
    (market.rules.least_runway, market.rules.create_runway) = (Duration::ZERO, Duration::from_secs(600));
    let (node, _) = market.start().await;
    let short = node.create(paid("short", market.open(1, 599))).await.unwrap_err();
    assert_eq!(short.to_string(), "invalid stream: runway below minimum");
    let vm = market.rent(&node, "long", market.open(2, 601)).await;
    market.chain.pass(602);
    reaches(&node, &vm, VmState::Stopped).await;
    let held = || {
        let now = node.changes().borrow().clone();
        let rental = now.get(&vm).unwrap();
        (rental.vm.held, rental.vm.unpaid.is_some(), now.held().cpu)
    };
    crate::support::until("it is held", || held() == (true, true, 0)).await;
    let attached = node.attach_stream(&vm, attach(market.open(3, 30))).await.unwrap_err();
    assert_eq!(attached.to_string(), "invalid stream: runway below minimum");
    node.attach_stream(&vm, attach(market.open(4, 601))).await.unwrap();
    reaches(&node, &vm, VmState::Running).await;
    assert_eq!((held().0, held().1), (false, false));
    node.shutdown(false).await;
}

#[tokio::test]
async fn m_05_a_stream_is_its_senders_whoever_comes_first() {
    let market = Paid::new(6).await;
    let mut config = market.config();
    config.limits.max_vms = 1;
    let node = Node::start(config, market.world.sim().0).await.unwrap();
    let (payer, other) = (Wallet::from_bytes(&[5; 32]).unwrap(), Wallet::from_bytes(&[6; 32]).unwrap());
    let sender = number(payer.address());
    market.chain.put(1, Stream { sender, ..market.stream(3600) });
    let stream = StreamId(U256::ONE);
    let proven = ProvenStream {
        place: Place { chain_id: CHAIN, contract: market.chain.contract() },
        provider: market.wallet.address(),
        id: stream,
    };
    let create = async |name: &str, wallet: Option<&Wallet>| {
        let request = paid(name, stream);
        let wanted = StreamUse::Create { name, ssh_key: request.ssh_key.as_str() };
        let stream_proof =
            wallet.and_then(|wallet| stream_proof::sign(&proven, wanted, now_seconds() + 3600, wallet));
        node.create(CreateVm { stream_proof, ..request }).await
    };
    let stranger = market.rent(&node, "stranger", stream).await;
    // M-05: nobody else's word takes it, and the sender's does, though there is no room but the stranger's.
    let foreign = create("other", Some(&other)).await;
    let is_foreign = matches!(foreign, Err(NodeError::Refused(Refusal::Proof(BadProof::Foreign))));
    assert!(is_foreign && node.vm(&stranger).await.is_ok(), "{foreign:?}");
    let (mine, job) = create("mine", Some(&payer)).await.unwrap();
    reaches(&node, &mine.id, VmState::Running).await;
    assert!(matches!(node.vm(&stranger).await, Err(NodeError::NotFound(_))), "the stranger's is gone");
    let events = node.events(Some(stranger.clone()), 9).await.unwrap();
    assert!(events.iter().any(|event| event.kind == "stream.claimed_by_sender"), "{events:?}");
    let (again, same) = create("mine", Some(&payer)).await.unwrap();
    assert_eq!((&again.id, same.id), (&mine.id, job.id), "a create that is sent again is the same one");
    // Nobody takes it back, not even when it pays for nothing.
    let back = create("stranger", None).await;
    assert!(matches!(back, Err(NodeError::Refused(Refusal::SenderOnly))), "{back:?}");
    let second = create("second", Some(&payer)).await;
    assert!(matches!(second, Err(NodeError::Refused(Refusal::StreamUsed))), "{second:?}");
    node.delete_vm(&mine.id).await.unwrap();
    let back = create("stranger", None).await;
    assert!(matches!(back, Err(NodeError::Refused(Refusal::SenderOnly))), "{back:?}");
    let (moved, _) = create("second", Some(&payer)).await.unwrap();
    reaches(&node, &moved.id, VmState::Running).await;
    node.shutdown(false).await;
}
