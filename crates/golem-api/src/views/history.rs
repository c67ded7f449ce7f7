//! What was used over time, as lists that a chart takes as they are: those of one answer are equally long, oldest first.
//!
//! Owns the JSON. Never changes anything.

use golem_node::ledger::{Measured, MeasuredHost, MeasuredVm, Step};
use serde::Serialize;
use utoipa::ToSchema;

/// What the host used.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct HostHistoryView {
    /// How long each step is, in seconds. Steps in which the node did not run are missing.
    pub step_seconds: i64,
    /// When each began, in seconds since 1970.
    pub at: Vec<i64>,
    /// CPU time in use, of all cores that the node may use together, from 0 to 100.
    pub cpu_percent: Vec<u8>,
    /// Memory in use, from 0 to 100.
    pub memory_percent: Vec<u8>,
    /// Space in use where VMs live, from 0 to 100.
    pub storage_percent: Vec<u8>,
    /// VMs that ran; of an hour, the most at a time.
    pub vms: Vec<u32>,
}

impl HostHistoryView {
    pub(crate) fn of(step: Step, measured: &Measured<MeasuredHost>) -> Self {
        Self {
            step_seconds: step.seconds(),
            at: measured.iter().map(|(at, _)| *at).collect(),
            cpu_percent: measured.iter().map(|(_, host)| host.cpu_percent).collect(),
            memory_percent: measured.iter().map(|(_, host)| host.memory_percent).collect(),
            storage_percent: measured.iter().map(|(_, host)| host.storage_percent).collect(),
            vms: measured.iter().map(|(_, host)| host.vms).collect(),
        }
    }
}

/// What a VM used: means of that part of each step in which it ran. `null` where a process had only just begun.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct VmHistoryView {
    /// How long each step is, in seconds. Steps in which the VM did not run are missing.
    pub step_seconds: i64,
    /// When each began, in seconds since 1970.
    pub at: Vec<i64>,
    /// Thousandths of one core.
    pub cpu_permille: Vec<Option<u32>>,
    /// Memory of the host, in bytes.
    pub memory_bytes: Vec<i64>,
    /// Space of the host that its disk takes, in bytes.
    pub disk_bytes: Vec<i64>,
    /// Bytes a second into it.
    pub received_per_second: Vec<Option<i64>>,
    /// Bytes a second out of it.
    pub sent_per_second: Vec<Option<i64>>,
}

impl VmHistoryView {
    pub(crate) fn of(step: Step, measured: &Measured<MeasuredVm>) -> Self {
        Self {
            step_seconds: step.seconds(),
            at: measured.iter().map(|(at, _)| *at).collect(),
            cpu_permille: measured.iter().map(|(_, vm)| vm.cpu_permille).collect(),
            memory_bytes: measured.iter().map(|(_, vm)| vm.memory_bytes).collect(),
            disk_bytes: measured.iter().map(|(_, vm)| vm.disk_bytes).collect(),
            received_per_second: measured.iter().map(|(_, vm)| vm.received_per_second).collect(),
            sent_per_second: measured.iter().map(|(_, vm)| vm.sent_per_second).collect(),
        }
    }
}
