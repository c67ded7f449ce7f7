//! Streams of tokens that do what they like.

use alloy_primitives::Address;
use golem_node::entry::{Currency, EntryKind};
use golem_node::ledger::Entry;
use golem_node::payment::KnownContract;
use golem_testchain::Limits;

use super::*;

/// What a token takes of a transfer, by its kind: see `contracts/src/test/OddToken.sol`.
const TAKES: u64 = 3;
const TAKES_AFTERWARDS: u64 = 4;

/// Smallest units that vest in a second.
const RATE: u64 = 1_000_003;

impl Market {
    /// A token that moves what it is told to and returns nothing, of which the renter has plenty.
    async fn token(&self, decimals: u8) -> Address {
        let token = self.chain.deploy(&contracts(), "OddToken", &[U256::ZERO]).await.unwrap();
        self.chain.invoke(0, token, "setDecimals(uint8)", &[U256::from(decimals)]).await.unwrap();
        let mint = [word(self.chain.account(1)), U256::MAX >> 8];
        self.chain.invoke(0, token, "mint(address,uint256)", &mint).await.unwrap();
        token
    }

    /// A stream of `token` in `contract` to the provider that lasts for `seconds`.
    async fn open_in(&self, contract: Address, token: Address, seconds: u64) -> StreamId {
        let [deposit, rate] = [U256::from(RATE) * U256::from(seconds), U256::from(RATE)];
        let arguments = [word(token), word(self.chain.account(PROVIDER)), deposit, rate];
        let create = "createStream(address,address,uint256,uint128)";
        self.chain.invoke(1, contract, create, &arguments).await.unwrap();
        StreamId(self.chain.view_of(contract, "nextStreamId()", &[]).await.unwrap())
    }

    /// What the provider has of `token`.
    async fn has(&self, token: Address) -> U256 {
        let provider = word(self.chain.account(PROVIDER));
        self.chain.view_of(token, "balanceOf(address)", &[provider]).await.unwrap()
    }
}

/// What the books say came into the wallet by streams, and what tokens kept.
async fn came_and_kept(payments: &Payments) -> (U256, U256) {
    let entries = payments.entries(Timestamp::UNIX_EPOCH).await.unwrap();
    let sum = |is: &dyn Fn(&Entry) -> bool| {
        entries.iter().filter(|entry| is(entry)).fold(U256::ZERO, |sum, entry| sum + entry.amount)
    };
    let came =
        |entry: &Entry| entry.counts() && matches!(entry.kind, EntryKind::Withdrawn | EntryKind::Terminated);
    let wallet = sum(&|entry| entry.debit == "wallet")
        - sum(&|entry| entry.credit == "wallet" && entry.kind != EntryKind::Gas);
    assert_eq!(wallet, sum(&came));
    (wallet, sum(&|entry| entry.debit == "token_fee"))
}

/// M-01: whatever a token's digits, whether it returns anything, tells of anything or keeps a part: what is booked is what
/// the wallet has of it, to the last unit, by withdrawals, by ends and by hand; what the token kept is booked as such.
#[tokio::test]
async fn m_01_m_13_of_any_token_what_arrived_is_booked() {
    let mut market = Market::new(&[]).await;
    let contract = market.chain.contract();
    // Of a token that all the world uses nobody gets all transfers of even one block.
    let limits = Limits { log_results: 20, ..Limits::NONE };
    let endpoint = golem_testchain::Provider::start(market.chain.url(), limits).await.unwrap();
    let stranger = word(Address::repeat_byte(0x77));
    for (kind, decimals) in [(0, 6), (0, 0), (TAKES, 18), (TAKES_AFTERWARDS, 6), (5, 18)] {
        market.world = World::new(8);
        // Later than what was before this node.
        market.chain.warp(10).await.unwrap();
        let token = market.token(decimals).await;
        let mut payments = PaymentConfig { token, decimals, testnet: true, ..market.payments() };
        payments.rpc_url = endpoint.url().to_owned();
        let node = market.start_with(payments).await;
        let mut streams = Vec::new();
        for name in ["withdrawn", "ended", "by-hand"] {
            let stream = market.open_in(contract, token, 7200).await;
            streams.push((stream, market.rent(&node, name, stream).await));
        }
        // What a token takes it begins to take later: no contract of ours takes a deposit that does not arrive.
        market.chain.invoke(0, token, "become(uint256)", &[U256::from(kind)]).await.unwrap();
        market.chain.warp(1000).await.unwrap();
        let payments = node.payments().unwrap().clone();
        let copy = payments.withdrawable(Some(&streams[0].1)).remove(0);
        let done = payments.withdraw_by_force(&copy).await.unwrap();
        let transfer = || (token, "transfer(address,uint256)", vec![stranger, U256::ONE], U256::ZERO);
        market.chain.one_block(1, (0..30).map(|_| transfer())).await.unwrap();
        market.chain.terminate(1, streams[1].0).await.unwrap();
        market.chain.withdraw(PROVIDER, streams[2].0).await.unwrap();
        reaches(&node, &streams[1].1, VmState::Stopped).await;
        payments.read_books().await.unwrap();
        let has = market.has(token).await;
        let (came, kept) = came_and_kept(&payments).await;
        // M-01
        assert_eq!(came, has, "kind {kind}, {decimals} digits");
        let mut paid = U256::ZERO;
        for (stream, _) in &streams {
            paid += market.chain.stream(*stream).await.unwrap().0.withdrawn;
        }
        assert_eq!(came + kept, paid, "kind {kind}");
        assert_eq!(kept.is_zero(), kind != TAKES && kind != TAKES_AFTERWARDS, "kind {kind}: {kept}");
        assert!(paid >= U256::from(3 * 1000 * RATE), "{paid}");
        let check = payments.check_books(false).await.unwrap();
        assert_eq!((check.differences, check.received), (Vec::new(), has), "kind {kind}");
        // What is told of a withdrawal is what it brought.
        let entries = payments.entries(Timestamp::UNIX_EPOCH).await.unwrap();
        let is_it = |entry: &&Entry| {
            entry.kind == EntryKind::Withdrawn && entry.transaction.as_deref() == Some(&done.hash)
        };
        assert_eq!(entries.iter().find(is_it).unwrap().amount, done.paid, "kind {kind}");
        node.shutdown(false).await;
    }
}

/// M-04: the settings name another token: what streams of the former one bring is called and valued as what it is, and never by
/// the rate of the other; of a token that was never a setting only the address is known.
#[tokio::test]
async fn m_04_money_of_a_former_token_is_counted_as_what_it_is() {
    let market = Market::new(&[]).await;
    let contract = market.chain.contract();
    let [old, new, strange] = [market.token(6).await, market.token(18).await, market.token(0).await];
    let paid_in = |token, symbol: &str, decimals| {
        let rated_as = Some(symbol.to_lowercase());
        let coin = Currency { rated_as: Some("coin".to_owned()), ..Currency::coin("ETH") };
        let symbol = symbol.to_owned();
        PaymentConfig { token, symbol, decimals, rated_as, coin, testnet: false, ..market.payments() }
    };
    let node = market.start_with(paid_in(old, "OLD", 6)).await;
    let vm = market.rent(&node, "one", market.open_in(contract, old, 7200).await).await;
    node.shutdown(false).await;
    drop(node);
    let node = market.start_with(paid_in(new, "NEW", 18)).await;
    for (coin, usd) in [("new", "1000000000"), ("coin", "1")] {
        let rate = golem_types::price::Rate { usd: usd.parse().unwrap(), at: Timestamp::now() };
        node.keep_rate(coin, rate).await.unwrap();
    }
    market.chain.warp(1000).await.unwrap();
    let payments = node.payments().unwrap().clone();
    let copy = payments.withdrawable(Some(&vm)).remove(0);
    let refused = payments.withdraw(&copy).await.unwrap_err();
    // M-04
    assert!(matches!(&refused, WithdrawError::NoRate(symbol) if symbol == "OLD"), "{refused}");
    let gift = market.open_in(contract, strange, 3600).await;
    market.chain.warp(100).await.unwrap();
    market.chain.withdraw(PROVIDER, gift).await.unwrap();
    payments.withdraw_by_force(&copy).await.unwrap();
    payments.read_books().await.unwrap();
    let all = booked(&payments, EntryKind::Withdrawn).await;
    let mut told: Vec<_> =
        all.iter().map(|entry| (entry.symbol.as_deref(), entry.decimals, entry.usd.is_some())).collect();
    told.sort_unstable();
    // M-04
    assert_eq!(told, [(None, None, false), (Some("OLD"), Some(6), false)]);
    node.shutdown(false).await;
}

/// M-01: a token that has blocked the provider keeps its own money back, and nobody else's: it is told, a withdrawal that fails
/// in its block is booked with its gas, and once it pays again everything comes.
#[tokio::test]
async fn m_01_a_token_that_blocks_the_provider_stops_nothing_else() {
    let market = Market { automatic: true, ..Market::new(&[]).await };
    let provider = market.chain.account(PROVIDER);
    let token = market.token(6).await;
    let oracle = word(market.chain.account(0));
    let earlier = market.chain.deploy(&contracts(), "StreamPayment", &[oracle]).await.unwrap();
    let in_token = || {
        let name = "tokens".to_owned();
        let mut config = PaymentConfig { name, contract: earlier, token, decimals: 6, ..market.payments() };
        config.withdraw =
            WithdrawConfig { interval: Duration::from_secs(1), minimum: U256::ONE, ..config.withdraw };
        config
    };
    let in_coins = || {
        let mut config = market.payments();
        config.withdraw.interval = Duration::from_secs(1);
        config
    };
    let config = NodeConfig { payments: Some(in_token()), ..market.world.config() };
    let node = Node::start(config, market.world.sim().0).await.unwrap();
    let blocked = market.open_in(earlier, token, 100_000).await;
    let vm = market.rent(&node, "blocked", blocked).await;
    node.shutdown(false).await;
    drop(node);

    let block = async |is: u64| {
        let arguments = [word(provider), U256::from(is)];
        market.chain.invoke(0, token, "setBlocked(address,bool)", &arguments).await.unwrap();
    };
    block(1).await;
    let known_contracts = vec![KnownContract { config: in_token(), is_own: true }];
    let config = NodeConfig { payments: Some(in_coins()), known_contracts, ..market.world.config() };
    let node = Node::start(config, market.world.sim().0).await.unwrap();
    let paying = market.open(100_000).await;
    let other = market.rent(&node, "paying", paying).await;
    market.chain.warp(3600).await.unwrap();
    let payments =
        node.contracts().all().iter().find(|one| one.config().contract == earlier).unwrap().clone();
    let copy = payments.withdrawable(Some(&vm)).remove(0);
    let refused = payments.withdraw_by_force(&copy).await.unwrap_err();
    assert!(
        matches!(&refused, WithdrawError::Send(_)) && refused.to_string().contains("blocked"),
        "{refused}"
    );
    let paid = async |of: &Payments| {
        let all = of.withdrawals(Timestamp::UNIX_EPOCH).await.unwrap();
        all.iter().filter(|one| one.state == WithdrawalState::Paid).count()
    };
    let own = node.payments().unwrap().clone();
    // M-01
    until("what others owe is fetched", async || paid(&own).await > 0).await;
    // It pays when it is asked, and not when it counts.
    block(0).await;
    market.chain.ask("evm_setAutomine", json!([false])).await.unwrap();
    let begun = tokio::time::timeout(Duration::from_secs(1), payments.withdraw_by_force(&copy)).await;
    assert!(begun.is_err(), "it is in no block: {begun:?}");
    let slot = format!("{:#x}", slot_of(provider));
    let is_blocked = json!([token, slot, format!("{:#066x}", 1)]);
    market.chain.ask("anvil_setStorageAt", is_blocked).await.unwrap();
    market.chain.ask("evm_setAutomine", json!([true])).await.unwrap();
    market.chain.ask("evm_mine", json!([])).await.unwrap();
    let failed = payments.withdraw_by_force(&copy).await.unwrap_err();
    assert!(matches!(failed, WithdrawError::Failed(_) | WithdrawError::Send(_)), "{failed}");
    until("it is told", async || {
        let all = payments.withdrawals(Timestamp::UNIX_EPOCH).await.unwrap();
        all.iter()
            .any(|one| one.state == WithdrawalState::Failed && one.cost.is_some_and(|cost| !cost.is_zero()))
    })
    .await;
    let before = paid(&own).await;
    market.chain.warp(3600).await.unwrap();
    until("others go on", async || paid(&own).await > before).await;
    block(0).await;
    until("it comes", async || paid(&payments).await > 0).await;
    node.shutdown(false).await;
    let (came, _) = came_and_kept(&payments).await;
    let coins = market.chain.stream(paying).await.unwrap().0.withdrawn;
    assert_eq!(came, market.has(token).await + coins);
    for vm in [vm, other] {
        assert!(node.vm(&vm).await.unwrap().unpaid.is_none());
    }
}

/// Where the token's storage says whether `who` is blocked: its third variable is that mapping.
fn slot_of(who: Address) -> alloy_primitives::B256 {
    let key = [word(who).to_be_bytes::<32>(), U256::from(2).to_be_bytes::<32>()].concat();
    alloy_primitives::keccak256(key)
}
