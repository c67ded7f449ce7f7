//! What was earned leaves the wallet, and a key that was replaced is emptied.

use alloy_primitives::Address;
use golem_chain::identity::Former;
use golem_node::payout::{PayoutConfig, PayoutLine};

use super::*;

/// The operator's own account.
const SAFE: usize = 5;

/// Small enough for accounts of 10,000 coins to have more.
fn coins(number: u64) -> U256 {
    U256::from(number) * U256::from(10u64.pow(18))
}

async fn node(market: &Market, payments: PaymentConfig, payout: PayoutConfig) -> Node {
    let config = NodeConfig { payments: Some(payments), payout, ..market.world.config() };
    Node::start(config, market.world.sim().0).await.unwrap()
}

fn to(address: Option<Address>, float: Option<U256>) -> PayoutConfig {
    PayoutConfig { address, float, interval: Duration::from_millis(20) }
}

async fn line(node: &Node, of: &str, is: impl Fn(&PayoutLine) -> bool) -> PayoutLine {
    until(of, async || node.payouts().iter().any(&is)).await;
    node.payouts().into_iter().find(&is).unwrap()
}

async fn swept(market: &Market) -> Vec<golem_node::ledger::Sweep> {
    let ledger = Ledger::open(&market.world.folder.path().join(LEDGER_FILE)).unwrap();
    ledger.sweeps(100).await.unwrap()
}

/// M-15: what is above the float goes to the payout address, to the wei, and what comes in later, too.
#[tokio::test]
async fn m_15_what_is_above_the_float_reaches_the_payout_address() {
    let market = Market::new(&[]).await;
    let safe = market.chain.account(SAFE);
    let there = market.chain.balance(safe).await.unwrap();
    let node = node(&market, market.payments(), to(Some(safe), Some(coins(7)))).await;
    until("it is paid out", async || market.balance().await < coins(8)).await;
    let left = market.balance().await;
    assert!(left >= coins(7) && left < coins(7) + U256::from(10u64.pow(15)), "the float stays: {left}");
    let arrived = market.chain.balance(safe).await.unwrap() - there;
    assert!(arrived > coins(9992) && arrived < coins(9993), "{arrived}");
    // More comes in: from a stream, say.
    let recipient = market.chain.account(PROVIDER);
    let gift =
        json!({ "from": market.chain.account(1), "to": recipient, "value": format!("{:#x}", coins(3)) });
    market.chain.send(gift).await.unwrap();
    until("that is paid out", async || {
        market.chain.balance(safe).await.unwrap() - there > arrived + coins(2)
    })
    .await;
    until("it is kept", async || swept_of(&node).await == 2).await;
    let state = line(&node, "it is well", |line| line.problem.is_none()).await;
    assert_eq!((state.to, state.float, state.is_former), (safe, Some(coins(7)), false));
    node.shutdown(false).await;
    drop(node);
    let sweeps = swept(&market).await;
    let sum = sweeps.iter().fold(U256::ZERO, |sum, sweep| sum + sweep.left);
    // The books and the chain agree.
    assert_eq!((sweeps.len(), sum), (2, market.chain.balance(safe).await.unwrap() - there));
    assert!(sweeps.iter().all(|sweep| sweep.left == sweep.arrived && sweep.to == safe));
}

/// M-15: a transfer that no block takes holds up the wallet of its own chain, and no other.
#[tokio::test]
async fn m_15_a_chain_that_is_stuck_holds_up_no_other() {
    let market = Market::new(&[]).await;
    let pool = golem_testchain::Pool::start(77).await.unwrap();
    pool.with(|chain| chain.mines = false);
    // It comes first, by its id.
    let stuck = PaymentConfig {
        name: "stuck".to_owned(),
        rpc_url: pool.url().to_owned(),
        chain_id: 77,
        monitor: false,
        ..market.payments()
    };
    let config = NodeConfig {
        payments: Some(market.payments()),
        more_payments: vec![stuck],
        payout: to(Some(market.chain.account(SAFE)), Some(U256::from(10u64.pow(17)))),
        ..market.world.config()
    };
    let node = Node::start(config, market.world.sim().0).await.unwrap();
    until("one waits", async || pool.with(|chain| chain.pool.len()) == 1).await;
    // M-15
    until("the other is paid out", async || market.balance().await < coins(1)).await;
    line(&node, "it is told", |line| line.account.chain_id != 77 && line.problem.is_none()).await;
    assert_eq!(pool.with(|chain| (chain.mined, chain.pool.len())), (0, 1), "it waits still");
    node.shutdown(false).await;
}

/// M-15: nothing leaves a wallet of which nobody said where to; and gas that is dear keeps small amounts.
#[tokio::test]
async fn m_15_nothing_goes_without_an_address_or_below_its_worth() {
    let market = Market::new(&[]).await;
    let before = market.balance().await;
    let stays = node(&market, market.payments(), to(None, Some(U256::ZERO))).await;
    until("the chain is read", async || stays.payments().unwrap().health().block.is_some()).await;
    assert!(stays.payouts().is_empty());
    stays.shutdown(false).await;
    drop(stays);
    assert_eq!(market.balance().await, before);
    let safe = Some(market.chain.account(SAFE));
    // A fifth of a coin above the float, at a price of gas at which a transfer costs more than half of that.
    let price = U256::from(6000) * U256::from(10u64.pow(9));
    market.chain.ask("anvil_setMinGasPrice", json!([format!("{price:#x}")])).await.ok();
    market.chain.ask("anvil_setNextBlockBaseFeePerGas", json!([format!("{price:#x}")])).await.unwrap();
    market.chain.ask("evm_mine", json!([])).await.unwrap();
    let dear = node(&market, market.payments(), to(safe, Some(before - coins(1) / U256::from(5)))).await;
    line(&dear, "it was looked at", |line| line.float.is_some()).await;
    dear.shutdown(false).await;
    assert_eq!(market.balance().await, before);
}

/// M-15: a key that was replaced goes on being paid, is withdrawn from, and is emptied once its streams are spent.
#[tokio::test]
async fn m_15_a_key_that_was_replaced_is_withdrawn_from_and_emptied() {
    let market = Market { automatic: true, ..Market::new(&[]).await };
    let first = node(&market, market.payments(), to(None, None)).await;
    let stream = market.open(7200).await;
    let vm = market.rent(&first, "one", stream).await;
    first.shutdown(false).await;
    drop(first);

    let (old, next) = (market.chain.account(PROVIDER), golem_types::Wallet::from_bytes(&[9; 32]).unwrap());
    let wallet = Anvil::wallet(PROVIDER).unwrap();
    let rotated = |wallet: Result<golem_types::Wallet, String>| {
        let former = Former { address: old, path: PathBuf::from("former"), wallet };
        PaymentConfig { wallet: next.clone(), former: vec![former], ..market.payments() }
    };
    // Its passphrase is another one: rentals run on all the same.
    let locked = node(&market, rotated(Err("locked".to_owned())), to(None, None)).await;
    reaches(&locked, &vm, VmState::Running).await;
    market.chain.warp(1800).await.unwrap();
    let payments = locked.payments().unwrap();
    market.is_seen(payments).await;
    let error = payments.withdraw(&payments.withdrawable(None)[0]).await.unwrap_err();
    assert!(matches!(error, WithdrawError::Key { .. }), "{error}");
    assert!(locked.vm(&vm).await.unwrap().unpaid.is_none());
    locked.shutdown(false).await;
    drop(locked);

    let there = market.chain.balance(next.address()).await.unwrap();
    let node = node(&market, rotated(Ok(wallet)), to(None, None)).await;
    reaches(&node, &vm, VmState::Running).await;
    // A new rental pays the new key, and only that.
    let refused = CreateVm { stream_id: Some(market.open(7200).await), ..wanted("two") };
    let refused = node.create(refused).await.unwrap_err();
    assert!(refused.to_string().contains("recipient mismatch"), "{refused}");
    let former = line(&node, "the float is known", |line| line.is_former && line.float.is_some()).await;
    assert!(former.float.unwrap() > U256::ZERO && former.to == next.address(), "a stream still pays it");
    let payments = node.payments().unwrap();
    let done = payments.withdraw(&payments.withdrawable(Some(&vm))[0]).await.unwrap();
    assert!(done.paid >= U256::from(1800u64) * U256::from(10u64.pow(16) / 3600));
    // It ends: nothing has to be withdrawn any more.
    market.chain.terminate(1, stream).await.unwrap();
    until("it is emptied", async || market.balance().await < U256::from(10u64.pow(16))).await;
    until("it arrived", async || market.chain.balance(next.address()).await.unwrap() > there + coins(9999))
        .await;
    node.shutdown(false).await;
}

/// M-15: a token that says nothing, takes a fee, says no, or has blocked somebody: what it moved is what balances say, and
/// what fails is told once and tried ever more rarely.
#[tokio::test]
async fn m_15_tokens_are_paid_out_by_what_their_balances_say() {
    let market = Market::new(&[]).await;
    let (safe, wallet) = (market.chain.account(SAFE), market.chain.account(PROVIDER));
    let amount = coins(1);
    // Returns nothing; takes 5 %; returns false; blocks.
    for (name, argument, left, arrived) in [
        ("OddToken", 0u64, 100u64, 100u64),
        ("TestToken", 500, 100, 95),
        ("OddToken", 1, 0, 0),
        ("OddToken", 2, 0, 0),
    ] {
        let token = market.chain.deploy(&contracts(), name, &[U256::from(argument)]).await.unwrap();
        market.chain.invoke(1, token, "mint(address,uint256)", &[word(wallet), amount]).await.unwrap();
        let before = swept(&market).await.len();
        let payments = PaymentConfig { token, ..market.payments() };
        let node = node(&market, payments, to(Some(safe), Some(market.balance().await))).await;
        if argument == 2 {
            let failed = line(&node, "the refusal is told", |line| line.problem.is_some()).await;
            assert!(failed.problem.unwrap().contains("blocked"));
        } else if left == 0 {
            let failed = line(&node, "it is told", |line| line.problem.is_some()).await;
            assert!(failed.problem.unwrap().contains("moved nothing"), "{argument}");
            // Backed off: it stays at one.
            let height = market.chain.height().await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(market.chain.height().await.unwrap(), height, "no second try");
            assert!(node.payouts()[0].problem.is_some());
        } else {
            until("it is paid out", async || swept_of(&node).await > before).await;
        }
        node.shutdown(false).await;
        drop(node);
        let sweeps = swept(&market).await;
        let of_token: Vec<_> = sweeps.iter().filter(|sweep| sweep.token == token).collect();
        if argument == 2 {
            assert!(of_token.is_empty());
        } else {
            assert_eq!(of_token.len(), 1, "{name} {argument}");
            assert_eq!(
                (of_token[0].left, of_token[0].arrived),
                (amount / U256::from(100) * U256::from(left), amount / U256::from(100) * U256::from(arrived)),
                "{name} {argument}"
            );
        }
    }
}

async fn swept_of(node: &Node) -> usize {
    node.sweeps(100).await.unwrap().len()
}
