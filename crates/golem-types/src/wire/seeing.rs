//! What the renter of a VM sees of it: what it uses, what happened to it, and what it wrote to its console.
//!
//! Owns the names of the members, units included. What is not known is null, and never zero.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answers::WireTime;
use crate::VmId;

/// What a VM uses now, and what was rented. What it uses is null while it does not run, and where the provider cannot tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LatestMetrics {
    /// The VM.
    pub vm_id: VmId,
    /// When that was looked at.
    pub measured_at: WireTime,
    /// Over how many seconds before that the rates are means; null where none is known, as in a VM's first minute.
    pub rates_over_seconds: Option<f64>,
    /// CPU time, in percent of all its cores together; the work that the host does for it counts as well, so that it may be a
    /// little above 100.
    pub cpu_percent: Option<f64>,
    /// Cores that were rented.
    pub cpu_rented_cores: u32,
    /// Memory of the host that it holds, in bytes. What the guest itself has free cannot be seen from outside.
    pub memory_used_bytes: Option<u64>,
    /// Memory that was rented, in bytes.
    pub memory_rented_bytes: u64,
    /// Space of the host that its disk takes, in bytes.
    pub disk_used_bytes: Option<u64>,
    /// Disk that was rented, in bytes.
    pub disk_rented_bytes: u64,
    /// Bytes that it received since it was booted.
    pub network_received_bytes: Option<u64>,
    /// Bytes that it sent since it was booted.
    pub network_sent_bytes: Option<u64>,
    /// Bytes that it receives in a second.
    pub network_received_bytes_per_second: Option<u64>,
    /// Bytes that it sends in a second.
    pub network_sent_bytes_per_second: Option<u64>,
}

/// What a VM used over a range of the past.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricsHistory {
    /// The VM.
    pub vm_id: VmId,
    /// `1h`, `6h`, `24h`, `7d` or `30d`.
    pub range: String,
    /// How long each step is, in seconds: 60, 300, 900, 3,600 or 14,400.
    pub step_seconds: u32,
    /// When the first step of the range begins.
    pub from: WireTime,
    /// When the range ends.
    pub until: WireTime,
    /// The steps in which it ran, oldest first. Those of which nothing is known are missing.
    pub points: Vec<MetricsPoint>,
}

/// What a VM used in a step: means of that part of it in which it ran.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricsPoint {
    /// When the step began.
    pub at: WireTime,
    /// CPU time, in percent of all its cores together.
    pub cpu_percent: Option<f64>,
    /// Memory of the host that it held, in bytes.
    pub memory_used_bytes: Option<u64>,
    /// Space of the host that its disk took, in bytes.
    pub disk_used_bytes: Option<u64>,
    /// Bytes that it received in a second.
    pub network_received_bytes_per_second: Option<u64>,
    /// Bytes that it sent in a second.
    pub network_sent_bytes_per_second: Option<u64>,
}

/// What happened to a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmEvents {
    /// The VM.
    pub vm_id: VmId,
    /// What happened, newest first.
    pub events: Vec<VmEvent>,
    /// When each stage of its last boot was reached, oldest first; empty where that is not known.
    pub last_boot: Vec<BootStage>,
}

/// Something that happened to a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmEvent {
    /// When, by the provider's clock.
    pub at: WireTime,
    /// What, as words with a dot between them.
    pub kind: String,
    /// The rest, for people; may be empty.
    pub detail: String,
}

/// That a stage of a VM's boot was reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BootStage {
    /// `reserved`, `disk`, `launch`, `boot`, `port` or `running`.
    pub stage: String,
    /// When.
    pub at: WireTime,
}

/// What a VM wrote to its serial console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConsoleLog {
    /// The VM.
    pub vm_id: VmId,
    /// The end of it since the last launch, at most 64 KiB, control characters included: it is not fit for a terminal as it is.
    pub console: String,
}
