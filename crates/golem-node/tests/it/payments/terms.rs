//! What a create is judged by.

use alloy_primitives::Address;
use golem_node::payment::StreamPrices;
use golem_node::{Node, NodeConfig, NodeError};
use golem_types::price::MonthlyPrice;
use golem_types::{Decimal, Stream, VmState};
use ruint::aliases::{U160, U256};

use super::{Paid, paid};
use crate::support::{reaches, wanted};

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
        market.chain.put(id, Stream { token: U160::from_be_bytes(token.into_array()), ..stream });
        golem_types::StreamId(U256::from(id))
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
