//! VMs as the operator reads them.
//!
//! Owns the JSON. Never changes anything.

use std::net::IpAddr;

use golem_node::boot::{FailedBoot, Reached};
use golem_node::{Node, Vm};
use golem_types::wire::NetworkInfo;
use golem_types::{ImageName, Resources, VmId, VmName, VmStatus};
use golem_vm::NetworkState;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::renter;

/// One VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmView {
    pub id: VmId,
    /// What its renter calls it.
    pub name: VmName,
    /// Where it stands.
    pub status: VmStatus,
    /// Why it stands there, where that needs saying.
    pub error: Option<String>,
    /// What it was sold.
    pub resources: Resources,
    pub image: ImageName,
    /// The guest's private address.
    #[schema(value_type = Option<String>)]
    pub ip_address: Option<IpAddr>,
    /// Its public SSH port.
    pub ssh_port: u16,
    /// When it was reserved.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// What went through its port since that was opened; `None` while it is closed.
    pub traffic: Option<TrafficView>,
    /// How its running guest is connected; `None` if that is not known.
    pub network: Option<NetworkInfo>,
    /// What is wrong with that, with the fix.
    pub network_problem: Option<NetworkProblem>,
    /// The stream that pays for it, as a decimal number.
    pub stream_id: Option<String>,
    /// Since when it is not paid for.
    pub unpaid_since: Option<Timestamp>,
    /// Whether it has given back its CPU and memory, because it was not paid for.
    #[serde(default)]
    pub held: bool,
}

impl VmView {
    /// All that `node` knows of `vm`.
    pub(crate) fn of(node: &Node, vm: &Vm) -> Self {
        let network = node.network(&vm.id);
        Self {
            id: vm.id.clone(),
            name: vm.name.clone(),
            status: vm.status(),
            error: vm.reason().map(str::to_owned),
            resources: vm.resources,
            image: vm.image.clone(),
            ip_address: vm.ip_address,
            ssh_port: vm.ssh_port,
            created_at: vm.created_at,
            updated_at: vm.updated_at,
            traffic: node.traffic(vm.ssh_port).map(|counts| TrafficView {
                connections_open: counts.connections_open,
                connections_total: counts.connections_total,
                bytes_in: counts.bytes_in,
                bytes_out: counts.bytes_out,
            }),
            network_problem: network.as_ref().and_then(|network| match network.state.clone() {
                NetworkState::Own => None,
                NetworkState::Shared => Some(NetworkProblem::Shared),
                NetworkState::Restricted { reason } => Some(NetworkProblem::Restricted(reason)),
                NetworkState::Cut { reason } => Some(NetworkProblem::Cut(reason)),
            }),
            network: network.as_ref().map(renter::network),
            stream_id: vm.stream.as_ref().map(|key| key.id.to_string()),
            unpaid_since: vm.unpaid.as_ref().map(|unpaid| unpaid.since),
            held: vm.held,
        }
    }
}

/// What is wrong with how a guest is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StageView {
    /// Which.
    pub stage: String,
    /// When.
    pub at: Timestamp,
}

impl FailedBootView {
    pub(crate) fn of(failed: &FailedBoot) -> Self {
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
