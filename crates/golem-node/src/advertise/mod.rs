//! Being found: one advert on the market's network, kept true at no needless gas.
//!
//! ```text
//!   node, prices, address ─► follow ─► wish ─► (quiet for a moment) ─► look ─► plan ─► write
//!                                                                        ▲               │
//!                                                       every few minutes└── receipt ◄───┘
//! ```
//! Owns when the network is asked and written to. What is written [`plan`] decides, from what the
//! network says and never from memory: after a restart in which nothing changed, nothing is
//! written. A network that cannot be asked stops nothing but this; it is tried again for ever.

mod follow;
mod plan;
mod problem;
mod task;
mod write;

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use golem_chain::golem_base::{Advert, Annotations, Client, Profile};
use golem_chain::{ChainError, Rpc, Sender, Wallet};
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

pub use follow::follow;
pub use plan::{Terms, plan};

use crate::ledger::{AdvertSpending, Ledger, LedgerError};
use crate::node::Node;
use crate::service::Tasks;

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
    /// How quickly things are done.
    pub pace: Pace,
}

/// The node's own advert, as the network told it last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its key.
    pub key: B256,
    /// What it says.
    pub annotations: Annotations,
    /// The block in which it lapses.
    pub expires_at: u64,
    /// The block at which it was looked at.
    pub block: u64,
    /// About when it lapses, if nothing is written.
    pub lapses: Timestamp,
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

/// How the advert stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AdvertState {
    /// How what renters read stands to what they should read.
    pub standing: Standing,
    /// The advert, as the network told it last; none when there was none.
    pub shown: Option<Shown>,
    /// When the network was last looked at.
    pub looked_at: Option<Timestamp>,
    /// What adverts on this network have cost so far.
    pub spent: AdvertSpending,
}

/// Why adverts cannot be kept at all.
#[derive(Debug, thiserror::Error)]
pub enum AdvertiseError {
    /// The endpoint's address is no URL.
    #[error("the market network's endpoint cannot be used")]
    Endpoint(#[source] ChainError),
    /// The ledger cannot be read.
    #[error("the ledger cannot be read")]
    Ledger(#[from] LedgerError),
}

/// A handle on the task that keeps the advert; clones share it.
#[derive(Debug, Clone)]
pub struct Advertising {
    network: Arc<str>,
    state: watch::Receiver<AdvertState>,
    check: Arc<Notify>,
    remove: Arc<watch::Sender<bool>>,
}

impl Advertising {
    /// Keeps one advert of `wallet` that says what `wish` wishes, as a task of `tasks`.
    ///
    /// # Errors
    /// [`AdvertiseError`]; a network that does not answer is not one.
    pub async fn start(
        config: AdvertiseConfig,
        wallet: Wallet,
        ledger: Ledger,
        wish: watch::Receiver<Wish>,
        tasks: &Tasks,
    ) -> Result<Self, AdvertiseError> {
        let rpc = Rpc::new(&config.rpc_url).map_err(AdvertiseError::Endpoint)?;
        let client = Client::new(rpc.clone(), &config.profile);
        let sender = Sender::new(rpc, wallet, config.profile.chain_id);
        let spent = ledger.advert_spending(&config.name).await?;
        let network = config.name.as_str().into();
        let (state_sender, state) = watch::channel(AdvertState { spent, ..AdvertState::default() });
        let check = Arc::new(Notify::new());
        let (remove, removed) = watch::channel(false);
        let task = task::Task::new(config, client, sender, ledger, wish, removed, state_sender);
        tasks.spawn("advertise", task.run(Arc::clone(&check), tasks.stopping().clone()));
        Ok(Self { network, state, check, remove: Arc::new(remove) })
    }

    /// Keeps the advert of `node` with the key `wallet`, until the node shuts down. `offer` is what
    /// an advert says besides what is free; none while it is not known.
    ///
    /// # Errors
    /// [`AdvertiseError`].
    pub async fn of_node(
        node: &Node,
        config: AdvertiseConfig,
        wallet: Wallet,
        offer: watch::Receiver<Option<Advert>>,
    ) -> Result<Self, AdvertiseError> {
        let (sender, wish) = watch::channel(Wish::Unknown);
        let tasks = node.tasks();
        let advertising = Self::start(config, wallet, node.ledger().clone(), wish, tasks).await?;
        tasks.spawn("offer", follow(node.clone(), offer, sender, tasks.stopping().clone()));
        Ok(advertising)
    }

    /// What the market's network is called.
    #[must_use]
    pub fn network(&self) -> &str {
        &self.network
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

    /// Looks at the network now.
    pub fn check(&self) {
        self.check.notify_one();
    }

    /// Takes the advert off the network, whatever is wished, and waits for it no longer than
    /// `within`. Gives whether it is gone.
    pub async fn remove(&self, within: Duration) -> bool {
        self.remove.send_replace(true);
        let mut state = self.state.clone();
        let hidden = state.wait_for(|state| state.standing == Standing::Hidden);
        timeout(within, hidden).await.is_ok_and(|hidden| hidden.is_ok())
    }
}
