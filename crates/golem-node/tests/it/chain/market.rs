//! A provider, renters and a chain.

use golem_node::entry::EntryKind;
use golem_node::ledger::Entry;

use super::*;

pub(super) struct Market {
    pub(super) world: World,
    pub(super) chain: Anvil,
    pub(super) automatic: bool,
}

impl Market {
    pub(super) async fn new(more: &[&str]) -> Self {
        Self {
            world: World::new(8),
            chain: Anvil::start(&contracts(), more).await.unwrap(),
            automatic: false,
        }
    }

    pub(super) fn payments(&self) -> PaymentConfig {
        let config = payments_on(self.chain.url(), self.chain.contract());
        let withdraw = WithdrawConfig { enabled: self.automatic, ..config.withdraw };
        PaymentConfig { withdraw, ..config }
    }

    pub(super) async fn start(&self) -> Node {
        self.start_with(self.payments()).await
    }

    pub(super) async fn start_with(&self, payments: PaymentConfig) -> Node {
        let config = NodeConfig { payments: Some(payments), ..self.world.config() };
        Node::start(config, self.world.sim().0).await.unwrap()
    }

    /// A stream that lasts for `seconds` at a hundredth of a coin an hour, about.
    pub(super) async fn open(&self, seconds: u64) -> StreamId {
        let rate = 10u64.pow(16) / 3600;
        let deposit = U256::from(rate) * U256::from(seconds);
        self.chain.create(1, self.chain.account(PROVIDER), deposit, u128::from(rate)).await.unwrap()
    }

    pub(super) async fn rent(&self, node: &Node, name: &str, stream: StreamId) -> VmId {
        let request = CreateVm { stream_id: Some(stream), ..wanted(name) };
        let (vm, _) = node.create(request).await.unwrap();
        reaches(node, &vm.id, VmState::Running).await;
        vm.id.clone()
    }

    pub(super) async fn balance(&self) -> U256 {
        self.chain.balance(self.chain.account(PROVIDER)).await.unwrap()
    }

    /// How many of the provider's transactions are in blocks.
    pub(super) async fn mined(&self) -> u64 {
        let asked = json!([self.chain.account(PROVIDER), "latest"]);
        let count = self.chain.ask("eth_getTransactionCount", asked).await.unwrap();
        golem_chain::rpc::quantity(&count).unwrap()
    }

    /// Waits until the monitor of `payments` has seen what the chain is now.
    pub(super) async fn is_seen(&self, payments: &Payments) {
        let height = self.chain.height().await.unwrap();
        until("the monitor has seen it", async || {
            payments.health().block.is_some_and(|block| block.number >= height)
        })
        .await;
    }
}

/// Payments to the provider by `contract` on the chain at `url`; nothing is fetched without being asked.
pub(super) fn payments_on(url: &str, contract: alloy_primitives::Address) -> PaymentConfig {
    let wallet = Anvil::wallet(PROVIDER).unwrap();
    PaymentConfig {
        local: true,
        maximum_head_age: None,
        interval: Duration::from_millis(50),
        withdraw: WithdrawConfig {
            enabled: false,
            interval: Duration::from_secs(900),
            minimum: U256::from(1_000_000_000_000u64),
            gas_percent: 50,
        },
        ..payments(url, CHAIN_ID, contract, wallet)
    }
}

/// Waits until `condition` holds.
pub(super) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    within(DEADLINE, what, condition).await;
}

/// The same with an endpoint that is asked ever less often while it refuses, on a busy machine.
pub(super) async fn patiently(what: &str, condition: impl AsyncFn() -> bool) {
    within(DEADLINE * 6, what, condition).await;
}

async fn within(deadline: Duration, what: &str, condition: impl AsyncFn() -> bool) {
    let poll = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(deadline, poll).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// The entries that count, of the kind `kind`.
pub(super) async fn booked(payments: &Payments, kind: EntryKind) -> Vec<Entry> {
    let all = payments.entries(Timestamp::UNIX_EPOCH).await.unwrap();
    all.into_iter().filter(|entry| entry.kind == kind && entry.counts()).collect()
}

pub(super) fn sum<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> U256 {
    entries.into_iter().fold(U256::ZERO, |sum, entry| sum + entry.amount)
}
