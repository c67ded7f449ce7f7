//! What a renter sees of a VM, of what the node knows.
//!
//! Owns the translation into the documented JSON (`golem_types::wire::seeing`). Never measures.

use golem_node::boot::Reached;
use golem_node::ledger::{Event, Measured, MeasuredVm};
use golem_node::{HistoryRange, UseNow, Vm};
use golem_types::visible::line_of;
use golem_types::wire::{
    BootStage, LatestMetrics, MetricsHistory, MetricsPoint, VmEvent, VmEvents, WireTime,
};
use golem_types::{Resources, VmId};
use jiff::Timestamp;

/// Percent of all cores that were rented, with one digit after the point, of thousandths of one core.
fn cpu_percent(permille: u32, rented: Resources) -> f64 {
    let tenths = f64::from(permille) / f64::from(rented.cpu.max(1));
    tenths.round() / 10.0
}

/// A number of the ledger, where nothing is below zero.
fn whole(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// What `vm` uses.
pub(crate) fn latest(vm: &Vm, now: &UseNow) -> LatestMetrics {
    let rented = vm.resources;
    let mean = now.lately.map(|lately| lately.mean);
    LatestMetrics {
        vm_id: vm.id.clone(),
        measured_at: WireTime(now.at),
        rates_over_seconds: now.lately.map(|lately| (lately.time.as_secs_f64() * 10.0).round() / 10.0),
        cpu_percent: mean.and_then(|mean| mean.cpu_permille).map(|permille| cpu_percent(permille, rented)),
        cpu_rented_cores: rented.cpu,
        memory_used_bytes: now.used.map(|used| used.memory_bytes),
        memory_rented_bytes: rented.memory_mib() << 20,
        disk_used_bytes: now.used.map(|used| used.disk_bytes),
        disk_rented_bytes: rented.storage_bytes(),
        network_received_bytes: now.used.and_then(|used| used.bytes_in),
        network_sent_bytes: now.used.and_then(|used| used.bytes_out),
        network_received_bytes_per_second: mean.and_then(|mean| mean.received_per_second).map(whole),
        network_sent_bytes_per_second: mean.and_then(|mean| mean.sent_per_second).map(whole),
    }
}

/// What the VM `id`, of which `rented` was rented, used in the `range` before `now`.
pub(crate) fn history(
    (id, rented): (&VmId, Resources),
    range: HistoryRange,
    measured: &Measured<MeasuredVm>,
    now: Timestamp,
) -> MetricsHistory {
    let time = |second| WireTime(Timestamp::from_second(second).unwrap_or_default());
    let point = |(at, used): &(i64, MeasuredVm)| MetricsPoint {
        at: time(*at),
        cpu_percent: used.cpu_permille.map(|permille| cpu_percent(permille, rented)),
        memory_used_bytes: Some(whole(used.memory_bytes)),
        disk_used_bytes: Some(whole(used.disk_bytes)),
        network_received_bytes_per_second: used.received_per_second.map(whole),
        network_sent_bytes_per_second: used.sent_per_second.map(whole),
    };
    MetricsHistory {
        vm_id: id.clone(),
        range: range.as_str().to_owned(),
        step_seconds: u32::try_from(range.step_seconds()).unwrap_or(u32::MAX),
        from: time(range.start(now)),
        until: WireTime(now),
        points: measured.iter().map(point).collect(),
    }
}

/// Most characters of an event's details that are told.
const DETAIL: usize = 300;

/// What a renter is told of, of all that happens: nothing of the provider's own money.
pub(crate) const EVENT_KINDS: [&str; 46] = [
    "vm.created",
    "vm.imported",
    "vm.recovered",
    "vm.powered_off",
    "vm.out_of_memory",
    "vm.resized",
    "vm.rebuilt",
    "vm.not_suspended",
    "vm.resumed",
    "vm.memory_lost",
    "state.creating",
    "state.running",
    "state.stopping",
    "state.stopped",
    "state.suspending",
    "state.suspended",
    "state.error",
    "state.deleted",
    "boot.disk",
    "boot.launch",
    "boot.boot",
    "boot.port",
    "snapshot.created",
    "snapshot.failed",
    "snapshot.restored",
    "snapshot.not_restored",
    "snapshot.deleted",
    "snapshot.not_deleted",
    "console.opened",
    "console.closed",
    "stream.opened",
    "stream.attached",
    "stream.claimed_by_sender",
    "payment.ending",
    "payment.ended",
    "payment.resumed",
    "payment.hold_over",
    "room.waiting",
    "room.taken",
    "refund.due",
    "refund.done",
    "refund.nothing",
    "refund.failed",
    "refund.left",
    "port.unreachable",
    "port.reachable",
];

/// What happened to the VM `id`; without what is said of the provider's own network, of its machine or of its transactions.
pub(crate) fn events(id: &VmId, events: &[Event], last_boot: &[Reached]) -> VmEvents {
    let is_private = |kind: &str| {
        kind.starts_with("port.") || matches!(kind, "vm.imported" | "refund.failed" | "refund.left")
    };
    let event = |event: &Event| VmEvent {
        at: WireTime(event.at),
        kind: event.kind.clone(),
        detail: if is_private(&event.kind) { String::new() } else { line_of(&event.detail, DETAIL) },
    };
    let stage =
        |reached: &Reached| BootStage { stage: reached.stage.as_str().to_owned(), at: WireTime(reached.at) };
    VmEvents {
        vm_id: id.clone(),
        events: events.iter().map(event).collect(),
        last_boot: last_boot.iter().map(stage).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processors_are_told_of_what_was_rented() {
        let percent = |permille, cpu| cpu_percent(permille, Resources::new(cpu, 1, 10));
        assert_eq!((percent(1000, 1), percent(1000, 2), percent(125, 1)), (100.0, 50.0, 12.5));
        assert_eq!((percent(1, 16), percent(2001, 2), percent(0, 1)), (0.0, 100.1, 0.0));
        assert!(percent(u32::MAX, 0).is_finite());
    }
}
