//! What the operator API says, on both of its ends.

use std::collections::BTreeSet;
use std::net::IpAddr;

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

/// What the guest wrote to its serial console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleView {
    /// The last lines.
    pub text: String,
}

/// Whether new rentals are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainView {
    /// Whether none are.
    pub draining: bool,
}
