//! What the operator API says, on both of its ends.

use std::collections::BTreeSet;
use std::net::IpAddr;

use golem_node::boot::{FailedBoot, Reached};
use golem_node::ledger::WithdrawalState;
use golem_types::wire::{Exact, NetworkInfo, StreamInfo};
use golem_types::{ImageName, Resources, VmId, VmName, VmState};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The node as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The node's version.
    pub version: String,
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
    /// How its rentals are paid for; none when they are free.
    pub payments: Option<PaymentsView>,
    /// The node's adverts, one a market in which it keeps one.
    pub adverts: Vec<AdvertView>,
    /// Machines on the backend that the ledger does not know; never touched.
    pub unmanaged: BTreeSet<VmId>,
}

/// The backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendView {
    /// `qemu` or `sim`.
    pub name: String,
    /// Whether it answered when it was last asked.
    pub answers: bool,
    /// Why a guest that is launched now would not reach the internet, with the fix.
    #[serde(default)]
    pub network_problem: Option<String>,
    /// `kvm` or `tcg`; none where this node does not decide it.
    #[serde(default)]
    pub accelerator: Option<String>,
    /// Why guests cannot use KVM, and what to do.
    #[serde(default)]
    pub accelerator_problem: Option<String>,
    /// What of this host guests can take without a bound, and what to do.
    #[serde(default)]
    pub bounds_problem: Option<String>,
}

/// How busy the host is, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostView {
    /// CPU time in use over the last minute.
    pub cpu_percent: u8,
    /// Memory in use.
    pub memory_percent: u8,
    /// Space in use on the volume where VMs live.
    pub storage_percent: u8,
}

/// The SSH ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortsView {
    /// The first.
    pub start: u16,
    /// The end, itself not among them.
    pub end: u16,
    /// Those that rentals hold.
    pub in_use: BTreeSet<u16>,
}

/// The node's advert in one market.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvertView {
    /// `golem_base` or `discovery_server`.
    pub market: String,
    /// What the network is called, or where the server is.
    pub place: String,
    /// `starting`, `current`, `hidden` or `problem`.
    pub standing: String,
    /// What is in the way.
    pub problem: Option<String>,
    /// The entity's key; none while there is none, and for a server.
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

/// How rentals are paid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// Every stream that may still pay.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StreamsView {
    /// The payment network.
    pub network: String,
    /// What its money is called.
    pub symbol: String,
    /// US dollars for one of it, as last believed; none for test money, and while no rate is known.
    pub usd_per_coin: Option<String>,
    /// The streams, oldest first.
    pub streams: Vec<StreamView>,
    /// Why they are shown as they were last read.
    pub stale: Option<String>,
}

/// A stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StreamView {
    /// What its renter calls the VM; none once that is gone.
    pub name: Option<VmName>,
    /// Where the VM stands.
    pub status: Option<VmState>,
    /// Since when the VM is not paid for.
    pub unpaid_since: Option<Timestamp>,
    /// What the public API says of it.
    pub stream: StreamInfo,
}

/// A withdrawal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WithdrawalView {
    /// When it was made.
    pub at: Timestamp,
    /// The VM that the stream paid for.
    pub vm_id: VmId,
    /// The stream.
    pub stream_id: Exact,
    /// Where it stands.
    pub state: WithdrawalState,
    /// Wei that were paid out; those expected, until it is known.
    pub amount_wei: Exact,
    /// Wei that gas cost.
    pub cost_wei: Exact,
    /// The transaction.
    pub transaction: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}

/// What came of withdrawing from one stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WithdrawView {
    /// The VM.
    pub vm_id: VmId,
    /// The stream.
    pub stream_id: Exact,
    /// Wei that were paid out.
    pub paid_wei: Exact,
    /// Wei that gas cost.
    pub cost_wei: Exact,
    /// The transaction.
    pub transaction: Option<String>,
    /// Why nothing was.
    pub error: Option<String>,
}

/// One VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmView {
    /// Its id.
    pub id: VmId,
    /// What its renter calls it.
    pub name: VmName,
    /// Where it stands.
    pub status: VmState,
    /// Why it stands there, where that needs saying.
    pub error: Option<String>,
    /// What it was sold.
    pub resources: Resources,
    /// Its image.
    pub image: ImageName,
    /// The guest's private address.
    pub ip_address: Option<IpAddr>,
    /// Its public SSH port.
    pub ssh_port: u16,
    /// When it was reserved.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// What went through its port since that was opened; none while it is closed.
    pub traffic: Option<TrafficView>,
    /// How its running guest is connected; none where that is not known.
    pub network: Option<NetworkInfo>,
    /// What is wrong with that, with the fix.
    pub network_problem: Option<NetworkProblem>,
    /// The stream that pays for it, as a decimal number.
    pub stream_id: Option<String>,
    /// Since when it is not paid for.
    pub unpaid_since: Option<Timestamp>,
}

/// What is wrong with how a guest is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "reason", rename_all = "lowercase")]
pub enum NetworkProblem {
    /// It is behind the host's packet filter and not in a namespace of its own, until it is restarted.
    Shared,
    /// It was launched with nothing but SSH in; why, with the fix.
    Restricted(String),
    /// It was cut; why.
    Cut(String),
}

/// What went through a VM's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficView {
    /// Connections open now.
    pub connections_open: u64,
    /// Connections taken.
    pub connections_total: u64,
    /// Bytes from renters to the guest.
    pub bytes_in: u64,
    /// Bytes from the guest to renters.
    pub bytes_out: u64,
}

/// What there is to look at of a VM, whether it is there or its create failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsView {
    /// The VM.
    pub id: VmId,
    /// What its renter calls it.
    pub name: VmName,
    /// The end of what the guest wrote to its serial console: since its launch, or up to the failure of a VM
    /// that is there no more.
    pub console: String,
    /// The same of what the process that runs it said.
    pub process_log: String,
    /// Its last boot that failed, within a day.
    pub failed_boot: Option<FailedBootView>,
}

/// What is left of a boot that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedBootView {
    /// When it failed.
    pub at: Timestamp,
    /// The stage at which it failed.
    pub stage: String,
    /// Why, as its renter reads it.
    pub reason: String,
    /// Why, with every cause.
    pub cause: String,
    /// When each stage was reached, oldest first.
    pub stages: Vec<StageView>,
    /// The end of what the guest had written to its serial console.
    pub console: String,
    /// What the process that ran it had said.
    pub process_log: String,
}

/// That a stage of a boot was reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageView {
    /// Which.
    pub stage: String,
    /// When.
    pub at: Timestamp,
}

impl FailedBootView {
    pub(super) fn of(failed: &FailedBoot) -> Self {
        let stage = |reached: &Reached| StageView { stage: reached.stage.to_string(), at: reached.at };
        Self {
            at: failed.at,
            stage: failed.stage().to_string(),
            reason: failed.reason.clone(),
            cause: failed.cause.clone(),
            stages: failed.stages.iter().map(stage).collect(),
            console: failed.console.clone(),
            process_log: failed.process_log.clone(),
        }
    }
}

/// Whether new rentals are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainView {
    /// Whether none are.
    pub draining: bool,
}
