//! The node as a whole, as the operator reads it.
//!
//! Owns the JSON. Never changes anything.

use std::collections::BTreeSet;

use golem_node::advertise::{AdvertState, Advertising, Standing};
use golem_node::payment::Payments;
use golem_node::{Node, NodeError};
use golem_reach::certificates::HttpsReport;
use golem_types::wire::Exact;
use golem_types::{Resources, VmId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The node as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Summary {
    /// The node's version.
    pub version: String,
    /// When this run of it began to answer.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// Its name, as renters read it.
    #[serde(default)]
    pub name: String,
    /// Its Ethereum address.
    pub provider_id: String,
    /// `production` or `development`.
    pub environment: String,
    /// The market in which it offers itself.
    pub network: String,
    /// The backend that its VMs run on.
    pub backend: BackendView,
    /// Whether no new rentals are taken.
    pub draining: bool,
    /// What is wrong with the disk under the data directory.
    #[serde(default)]
    pub disk_trouble: Option<String>,
    /// Why no new rentals are taken, beside that.
    #[serde(default)]
    pub closed: Option<String>,
    /// What the host has to rent out.
    pub total: Resources,
    /// What is left of it.
    pub free: Resources,
    /// How busy the host is, in percent.
    pub host: HostView,
    /// Live VMs.
    pub vms: u32,
    /// Most live VMs.
    pub max_vms: u32,
    /// Its SSH ports.
    pub ports: PortsView,
    /// Its https.
    #[serde(default)]
    pub https: Option<HttpsReport>,
    /// How its rentals are paid for; `None` if they are free.
    pub payments: Option<PaymentsView>,
    /// Other contracts that rentals are still paid in.
    #[serde(default)]
    pub other_payments: Vec<PaymentsView>,
    /// Contracts that rentals are paid in, chain id and address, and that no profile names: nobody follows them.
    #[serde(default)]
    pub unknown_contracts: Vec<String>,
    /// Where what was earned goes, wallet by wallet.
    #[serde(default)]
    pub payouts: Vec<super::PayoutView>,
    /// What transactions wait for longer than usual, and why.
    #[serde(default)]
    pub transactions: Vec<String>,
    /// The node's adverts, one a market in which it keeps one.
    pub adverts: Vec<AdvertView>,
    /// Machines on the backend that the ledger does not know; never touched.
    pub unmanaged: BTreeSet<VmId>,
}

/// The backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackendView {
    /// `qemu` or `sim`.
    pub name: String,
    /// Whether it answered when it was last asked.
    pub answers: bool,
    /// Why a guest that is launched now would not reach the internet, with the fix.
    #[serde(default)]
    pub network_problem: Option<String>,
    /// `kvm` or `tcg`; `None` if this node does not decide it.
    #[serde(default)]
    pub accelerator: Option<String>,
    /// Why guests cannot use KVM, and what to do.
    #[serde(default)]
    pub accelerator_problem: Option<String>,
    /// What of this host guests can take without a bound, and what to do.
    #[serde(default)]
    pub bounds_problem: Option<String>,
}

impl BackendView {
    /// What is known of the backend of `node`.
    pub(crate) async fn of(node: &Node) -> Self {
        // Known since the start.
        let acceleration = node.backend().acceleration().await.ok().flatten();
        Self {
            name: node.backend().name().to_owned(),
            network_problem: node.network_problem(),
            answers: node.backend_answers(),
            accelerator: acceleration.map(|found| found.accelerator.as_str().to_owned()),
            bounds_problem: node.backend().bounds_problem().await,
            accelerator_problem: acceleration.and_then(|found| found.problem.clone()),
        }
    }
}
/// How busy the host is, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostView {
    /// CPU time in use over the last minute.
    pub cpu_percent: u8,
    /// Memory in use.
    pub memory_percent: u8,
    /// Space in use on the volume where VMs live.
    pub storage_percent: u8,
}

/// The SSH ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortsView {
    /// The first.
    pub start: u16,
    /// The end, itself not among them.
    pub end: u16,
    /// Those that rentals hold.
    pub in_use: BTreeSet<u16>,
}

/// The node's advert in one market.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdvertView {
    /// `golem_base`, `discovery_server` or `websocket`.
    pub market: String,
    /// What the network is called, or where the server is.
    pub place: String,
    /// `starting`, `current`, `hidden` or `problem`.
    pub standing: String,
    /// What is in the way.
    pub problem: Option<String>,
    /// Whether there is a connection to the server; `None` for a market that needs none.
    #[serde(default)]
    pub connected: Option<bool>,
    /// Whether renters still read an earlier advert, until the new one is told.
    #[serde(default)]
    pub is_behind: bool,
    /// The entity's key; `None` while there is none, and for a server.
    pub key: Option<String>,
    /// The block in which it lapses.
    pub expires_at_block: Option<u64>,
    /// About when renters stop reading it, if nothing is written.
    pub lapses_at: Option<Timestamp>,
    /// When the market was last looked at.
    pub looked_at: Option<Timestamp>,
    /// Transactions so far.
    pub writes: u64,
    /// Those of them that did nothing.
    pub failed_writes: u64,
    /// Gas that they used.
    pub gas: u64,
    /// What they cost, in wei of the network's money.
    pub cost_wei: Exact,
}

impl AdvertView {
    /// Where `advertising` stands.
    pub(crate) fn of(advertising: &Advertising) -> Self {
        let AdvertState { standing, shown, lapses, looked_at, spent, removed: _, connected, is_behind } =
            advertising.state();
        let (standing, problem) = match standing {
            Standing::Starting => ("starting", None),
            Standing::Current => ("current", None),
            Standing::Hidden => ("hidden", None),
            Standing::Problem(problem) => ("problem", Some(problem)),
        };
        Self {
            market: advertising.market().as_str().to_owned(),
            place: advertising.place().to_owned(),
            standing: standing.to_owned(),
            problem,
            connected,
            is_behind,
            key: shown.as_ref().map(|shown| shown.key.to_string()),
            expires_at_block: shown.as_ref().map(|shown| shown.expires_at),
            lapses_at: lapses,
            looked_at,
            writes: spent.writes,
            failed_writes: spent.failed,
            gas: spent.gas,
            cost_wei: Exact(spent.cost),
        }
    }
}

/// How rentals are paid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PaymentsView {
    /// The payment network.
    pub network: String,
    /// What its money is called.
    pub symbol: String,
    /// The payment contract.
    pub contract: String,
    /// The newest block that was read.
    pub block: Option<u64>,
    /// When that was.
    pub read_at: Option<Timestamp>,
    /// Why the chain cannot be asked now.
    pub error: Option<String>,
    /// How the chain's endpoints are; by their hosts, because the rest may be a key.
    #[serde(default)]
    pub endpoints: Vec<golem_chain::EndpointHealth>,
    /// Why nothing can be rented out, whatever streams pay.
    #[serde(default)]
    pub closed: Option<PaymentsClosed>,
    /// How the books compare with the chain; `None` from an older version.
    #[serde(default)]
    pub books: Option<super::BooksView>,
}

/// Why nothing can be rented out, whatever streams pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum PaymentsClosed {
    /// No price is known in the money of the streams.
    NoPrice,
    /// The token has other digits after the point than the profile says.
    TokenDigits {
        /// What the token says.
        found: u8,
        /// What the profile says.
        expected: u8,
    },
}

impl PaymentsClosed {
    fn of(payments: &Payments) -> Option<Self> {
        match payments.token_problem() {
            Some(NodeError::TokenDigits { found, expected }) => Some(Self::TokenDigits { found, expected }),
            _ => payments.lacks_price().then_some(Self::NoPrice),
        }
    }
}

impl PaymentsView {
    /// How `payments`, of the contract that new rentals use, stand.
    pub(crate) fn of(payments: &Payments) -> Self {
        Self { closed: PaymentsClosed::of(payments), ..Self::earlier(payments) }
    }

    /// How `payments`, of a contract that new rentals do not use, stand.
    pub(crate) fn earlier(payments: &Payments) -> Self {
        let (health, config) = (payments.health(), payments.config());
        Self {
            network: config.name.clone(),
            symbol: config.symbol.clone(),
            contract: config.contract.to_string(),
            block: health.block.map(|block| block.number),
            read_at: health.read_at,
            error: health.error,
            endpoints: payments.endpoints(),
            closed: None,
            books: Some(super::BooksView::of(payments)),
        }
    }
}

/// How somebody gets into the dashboard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoginLink {
    /// The secret at the end of the link.
    pub link: String,
    /// How long it works.
    pub seconds: u64,
    /// The port of this machine that the dashboard is on.
    pub port: u16,
}

/// Whether new rentals are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainView {
    /// Whether none are.
    pub draining: bool,
}
