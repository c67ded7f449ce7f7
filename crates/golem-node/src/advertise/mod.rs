//! Being found: one advert in each market, kept true at no needless gas.
//!
//! ```text
//!   node, prices, address ─► follow ─► wish ─┬► (quiet for a moment) ─► look ─► plan ─► write
//!                                            │                            ▲               │
//!                                            │           every few minutes└── receipt ◄───┘
//!                                            ├► discovery server, by HTTP
//!                                            └► discovery servers that show who is connected, by WebSocket
//! ```
//! Owns when a market is asked and written to. What is written on the network [`plan()`] decides, from
//! what the network says and never from memory: after a restart in which nothing changed, nothing is
//! written. A market that cannot be asked stops nothing but this; it is tried again for ever.

mod discovery;
mod gas;
mod live;
mod offered;
mod plan;
mod problem;
mod task;
mod wanted_advert;
mod write;

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use golem_chain::faucet::Faucet;
use golem_chain::{ChainError, Rpc, Sender};
use golem_market::arkiv::{Advert, Annotations, Client, Profile};
use golem_market::discovery::DiscoveryError;
use golem_market::discovery::live::provider::LiveError;
use golem_types::Wallet;
use jiff::Timestamp;
use ruint::aliases::U256;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

pub use discovery::DiscoveryConfig;
pub use live::LiveConfig;
pub use offered::{AdvertBase, advertised, offers};
pub use plan::{NetworkRules, plan};
pub use wanted_advert::follow;

use crate::backoff::doubled;
use crate::ledger::{AdvertSpending, Ledger, LedgerError};
use crate::node::Node;
use crate::transactions::{self, GasRules, Transactions};
use golem_service::tasks::Tasks;

/// What renters should read.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Wish {
    /// It is not known yet: what is there stays as it is.
    #[default]
    Unknown,
    /// Nothing: the node takes no renters.
    Hidden,
    /// This.
    Shown(Box<Advert>),
}

/// How quickly things are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long what is wished has to stay the same before it is written.
    pub quiet: Duration,
    /// How long a wish that keeps changing is waited for.
    pub quiet_most: Duration,
    /// How often the network is looked at when nothing changes.
    pub check: Duration,
    /// Wait after the first failure; doubled with each.
    pub retry: Duration,
    /// Longest wait after failures.
    pub retry_most: Duration,
    /// How often a receipt is asked for.
    pub receipt: Duration,
    /// How long a transaction may wait before a better paid one takes its place.
    pub stuck: Duration,
    /// Most writes within an hour; more would be made only for an endpoint that lies.
    pub hourly: usize,
}

impl Default for Pace {
    /// Several VMs that come at once make one write. Blocks take two seconds; looking every five
    /// minutes sees within a twelfth of the original's advert's life that someone removed it.
    fn default() -> Self {
        Self {
            quiet: Duration::from_secs(5),
            quiet_most: Duration::from_secs(30),
            check: Duration::from_secs(300),
            retry: Duration::from_secs(5),
            retry_most: Duration::from_secs(300),
            receipt: Duration::from_secs(2),
            stuck: Duration::from_secs(120),
            // A hundred rentals a day make two hundred changes.
            hourly: 60,
        }
    }
}

impl Pace {
    /// The wait after so many `failures` in a row. Half of it is by chance, so that not every node
    /// asks at once when a server is back.
    fn retry_after(self, failures: u32) -> Duration {
        let wait = doubled(self.retry, failures.saturating_sub(1), self.retry_most);
        let mut byte = [0];
        let chance = if getrandom::fill(&mut byte).is_ok() { u32::from(byte[0]) } else { 255 };
        wait / 2 + wait / 2 * chance / 255
    }
}

/// Waits until nothing changes for a moment, so that several changes make one write.
async fn wait_for_quiet(wish: &mut watch::Receiver<Wish>, removed: &mut watch::Receiver<bool>, pace: Pace) {
    let most = Instant::now() + pace.quiet_most;
    loop {
        tokio::select! {
            changed = wish.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            Ok(()) = removed.changed() => return,
            () = sleep(pace.quiet) => return,
            () = sleep_until(most) => return,
        }
    }
}

/// Where and how adverts are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdvertiseConfig {
    /// What the network is called.
    pub name: String,
    /// The network.
    pub profile: Profile,
    /// Its endpoint.
    pub rpc_url: String,
    /// How long an advert lives without a write, in blocks. The original's is twice
    /// `GOLEM_BASE_ADVERTISEMENT_INTERVAL`, which is 3600.
    pub lifetime: u64,
    /// Where gas can be had, where it is worth nothing.
    pub faucet: Option<Faucet>,
    /// What gas may cost.
    pub gas: GasRules,
    /// How quickly things are done.
    pub pace: Pace,
}

/// The node's own advert, as the network told it last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub key: B256,
    /// What it says.
    pub annotations: Annotations,
    /// The block in which it lapses.
    pub expires_at: u64,
    /// The block at which it was looked at.
    pub block: u64,
}

/// How what renters read stands to what they should read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Standing {
    /// Nothing was looked at yet, or nothing is wished.
    #[default]
    Starting,
    /// They read what they should.
    Current,
    /// They do not find the node, and should not.
    Hidden,
    /// Something is in the way: what, and what it costs.
    Problem(String),
}

impl Standing {
    /// Tells the log how the node stands on the discovery server at `server`.
    fn log_of_server(&self, server: &str) {
        match self {
            Self::Starting => {}
            Self::Current => tracing::info!(server, "renters find this node on the discovery server"),
            Self::Hidden => tracing::info!(
                server,
                "this node is not on the discovery server: it drains, was taken off, or has less left than any VM needs"
            ),
            Self::Problem(problem) => tracing::warn!(server, "{problem}"),
        }
    }
}

/// How the advert stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AdvertState {
    /// How what renters read stands to what they should read.
    pub standing: Standing,
    /// The advert, as the network told it last; `None` if there was none, and for a server.
    pub shown: Option<Shown>,
    /// About when renters stop reading the advert, if nothing is written; `None` if they read none.
    pub lapses: Option<Timestamp>,
    /// When the market was last looked at.
    pub looked_at: Option<Timestamp>,
    /// What adverts on this network have cost so far.
    pub spent: AdvertSpending,
    /// Whether the advert was taken off the market because that was asked for.
    pub removed: bool,
    /// Whether there is a connection to the server; `None` for a market that needs none.
    pub connected: Option<bool>,
    /// Whether renters still read an earlier advert, until the new one is told.
    pub is_behind: bool,
}

/// Why adverts cannot be kept at all.
#[derive(Debug, thiserror::Error)]
pub enum AdvertiseError {
    /// The endpoint's address is no URL.
    #[error("the market network's endpoint cannot be used")]
    Endpoint(#[source] ChainError),
    /// No client of the discovery server can be made.
    #[error("the discovery server cannot be asked")]
    Discovery(#[from] DiscoveryError),
    /// No client of the discovery servers that show who is connected can be made.
    #[error("the discovery server cannot be connected to")]
    Live(#[from] LiveError),
    /// The ledger cannot be read.
    #[error("the ledger cannot be read")]
    Ledger(#[from] LedgerError),
}

/// A kind of market.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarketKind {
    /// A network that holds entities.
    GolemBase,
    /// A discovery server.
    DiscoveryServer,
    /// A discovery server that shows who is connected.
    WebSocket,
}

impl MarketKind {
    /// The word for it, as the settings `ADVERTISER_TYPE` and `ADVERTISERS` have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GolemBase => "golem_base",
            Self::DiscoveryServer => "discovery_server",
            Self::WebSocket => "websocket",
        }
    }
}

/// A handle on the task that keeps the advert in one market; clones share it.
#[derive(Debug, Clone)]
pub struct Advertising {
    market: MarketKind,
    place: Arc<str>,
    state: watch::Receiver<AdvertState>,
    check: Arc<Notify>,
    remove: Arc<watch::Sender<bool>>,
}

/// What `node` wishes renters to read, until it shuts down. `offer` is what an advert says besides
/// what is free; `None` while it is not known.
#[must_use]
pub fn wishes(node: &Node, offer: watch::Receiver<Option<Advert>>) -> watch::Receiver<Wish> {
    let (sender, wish) = watch::channel(Wish::Unknown);
    let tasks = node.tasks();
    tasks.spawn("offer", follow(node.clone(), offer, sender, tasks.stopping().clone()));
    wish
}

/// What gas for adverts may cost: no more than what is absurd, and in a day a coin of test money, or a twentieth of a
/// real one. `maximum_price` is wei for a unit of gas and `daily_limit` wei, both as the operator set them.
#[must_use]
pub fn gas_rules(testnet: bool, maximum_price: Option<u128>, daily_limit: Option<U256>) -> GasRules {
    let thousandths = if testnet { 1000 } else { 50 };
    let usual = U256::from(thousandths) * U256::from(10u64.pow(15));
    GasRules { maximum_price, daily_limit: Some(daily_limit.unwrap_or(usual)) }
}

impl Advertising {
    /// Keeps one advert of `wallet` on a network that says what `wish` wishes, as a task of `tasks`.
    ///
    /// # Errors
    /// [`AdvertiseError`]; a network that does not answer is not one.
    pub async fn on_network(
        config: AdvertiseConfig,
        wallet: Wallet,
        ledger: Ledger,
        wish: watch::Receiver<Wish>,
        tasks: &Tasks,
    ) -> Result<Self, AdvertiseError> {
        // Nothing else sends for this wallet, so its numbers may be given as quickly as adverts want it.
        let Pace { receipt: poll, stuck, .. } = config.pace;
        let quick = transactions::Pace { poll, stuck, foreign: stuck, ..transactions::Pace::default() };
        let transactions = Transactions::paced(ledger.clone(), quick);
        Self::sent_by(&transactions, config, wallet, ledger, wish, tasks).await
    }

    /// [`Advertising::on_network`], with what `transactions` has for the wallet and chain.
    async fn sent_by(
        transactions: &Transactions,
        config: AdvertiseConfig,
        wallet: Wallet,
        ledger: Ledger,
        wish: watch::Receiver<Wish>,
        tasks: &Tasks,
    ) -> Result<Self, AdvertiseError> {
        let rpc = Rpc::new(&config.rpc_url).map_err(AdvertiseError::Endpoint)?;
        let client = Client::new(rpc.clone(), &config.profile);
        let queue = transactions.queue(Sender::new(rpc, wallet, config.profile.chain_id), config.gas);
        let spent = ledger.advert_spending(&config.name).await?;
        let place = config.name.as_str().into();
        let (state_sender, state) = watch::channel(AdvertState { spent, ..AdvertState::default() });
        let check = Arc::new(Notify::new());
        let (remove, removed) = watch::channel(false);
        if let Some(faucet) = config.faucet.clone() {
            let gas = gas::keep(config.name.clone(), queue.sender().clone(), faucet, Arc::clone(&check));
            let stop = tasks.stopping().clone();
            tasks.spawn("gas for adverts", async move {
                stop.run_until_cancelled(gas).await;
            });
        }
        let task = task::Task::new(config, client, queue, ledger, wish, removed, state_sender);
        tasks.spawn("advertise", task.run(Arc::clone(&check), tasks.stopping().clone()));
        Ok(Self { market: MarketKind::GolemBase, place, state, check, remove: Arc::new(remove) })
    }

    /// [`Advertising::on_network`] for `node`, whose ledger records what it costs, and whose queue sends it.
    ///
    /// # Errors
    /// [`AdvertiseError`].
    pub async fn of_node(
        node: &Node,
        config: AdvertiseConfig,
        wallet: Wallet,
        wish: watch::Receiver<Wish>,
    ) -> Result<Self, AdvertiseError> {
        let ledger = node.ledger().clone();
        Self::sent_by(node.transactions(), config, wallet, ledger, wish, node.tasks()).await
    }

    /// Keeps one advert of `wallet` on a discovery server that says what `wish` wishes, as a task of
    /// `tasks`.
    ///
    /// # Errors
    /// [`AdvertiseError`]; a server that does not answer is not one.
    pub fn on_server(
        config: DiscoveryConfig,
        wallet: Wallet,
        wish: watch::Receiver<Wish>,
        tasks: &Tasks,
    ) -> Result<Self, AdvertiseError> {
        let client = golem_market::discovery::Client::new(&config.url)?;
        let place = config.url.as_str().into();
        let (state_sender, state) = watch::channel(AdvertState::default());
        let check = Arc::new(Notify::new());
        let (remove, removed) = watch::channel(false);
        let task = discovery::Task::new(config, client, wallet, wish, removed, state_sender);
        tasks.spawn("advertise on server", task.run(Arc::clone(&check), tasks.stopping().clone()));
        Ok(Self { market: MarketKind::DiscoveryServer, place, state, check, remove: Arc::new(remove) })
    }

    /// Keeps `wallet` connected to a discovery server as long as `wish` wishes an advert and `endpoint` says where the
    /// node's API is, as a task of `tasks`.
    ///
    /// # Errors
    /// [`AdvertiseError`]; a server that does not answer is not one.
    pub fn on_socket(
        config: LiveConfig,
        wallet: Wallet,
        wish: watch::Receiver<Wish>,
        endpoint: watch::Receiver<Option<String>>,
        tasks: &Tasks,
    ) -> Result<Self, AdvertiseError> {
        let place = config.url.as_str().into();
        let state = AdvertState { connected: Some(false), ..AdvertState::default() };
        let (state_sender, state) = watch::channel(state);
        let check = Arc::new(Notify::new());
        let (remove, removed) = watch::channel(false);
        let task = live::Task::new(config, wallet, wish, endpoint, removed, state_sender)?;
        tasks.spawn("advertise on socket", task.run(Arc::clone(&check), tasks.stopping().clone()));
        Ok(Self { market: MarketKind::WebSocket, place, state, check, remove: Arc::new(remove) })
    }

    /// What kind of market it is.
    #[must_use]
    pub const fn market(&self) -> MarketKind {
        self.market
    }

    /// What the network is called, or where the server is.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// How the advert stands.
    #[must_use]
    pub fn state(&self) -> AdvertState {
        self.state.borrow().clone()
    }

    /// Tells of every change of how the advert stands.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<AdvertState> {
        self.state.clone()
    }

    /// Looks at the market now.
    pub fn check(&self) {
        self.check.notify_one();
    }

    /// Takes the advert off the market, whatever is wished, and waits for it no longer than
    /// `within`. Gives whether it is gone.
    pub async fn remove(&self, within: Duration) -> bool {
        self.remove.send_replace(true);
        let mut state = self.state.clone();
        timeout(within, state.wait_for(|state| state.removed)).await.is_ok_and(|removed| removed.is_ok())
    }
}
