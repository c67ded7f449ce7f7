//! What VMs use, now and over time.
//!
//! Owns the counters that are looked at together, and the task that keeps what was used in each minute. Charts are drawn of it;
//! nothing is decided or charged by it. How long it is kept, the ledger knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use golem_types::{VmId, VmState};
use golem_vm::Usage;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Node;
use crate::error::NodeError;
use crate::ledger::{Measured, MeasuredHost, MeasuredVm, Step};
use crate::vm::Vm;

/// Shortest time of which a rate says something: a clock that is set may end a minute early.
pub(super) const LEAST: Duration = Duration::from_secs(5);

/// What a VM has used since its process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// CPU time, in milliseconds, of all its processors together.
    pub cpu_ms: u64,
    /// Memory of the host that it holds now, in bytes.
    pub memory_bytes: u64,
    /// Space of the host that its disk takes now, in bytes.
    pub disk_bytes: u64,
    /// Bytes into it: over its network where that is counted, else through its SSH port while that is served.
    pub bytes_in: Option<u64>,
    /// Bytes out of it, as [`Self::bytes_in`].
    pub bytes_out: Option<u64>,
}

impl Used {
    /// What was used between `before` and this, `time` later.
    pub(super) fn since(&self, before: Option<&Self>, time: Duration) -> MeasuredVm {
        // A counter that went back begins anew, with another process.
        let went_back = |before: Option<u64>, after: Option<u64>| {
            before.zip(after).is_some_and(|(before, after)| before > after)
        };
        let before = before.filter(|before| {
            before.cpu_ms <= self.cpu_ms
                && !went_back(before.bytes_in, self.bytes_in)
                && !went_back(before.bytes_out, self.bytes_out)
        });
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
        let per_second = |after: u64, before: u64| {
            let moved = u128::from(after - before) * 1000 / u128::from(milliseconds);
            i64::try_from(moved).unwrap_or(i64::MAX)
        };
        let moved = |after: Option<u64>, before: Option<u64>| {
            after.zip(before).map(|(after, before)| per_second(after, before))
        };
        MeasuredVm {
            // Milliseconds of CPU time in a second are thousandths of a core.
            cpu_permille: before
                .map(|before| u32::try_from(per_second(self.cpu_ms, before.cpu_ms)).unwrap_or(u32::MAX)),
            memory_bytes: i64::try_from(self.memory_bytes).unwrap_or(i64::MAX),
            disk_bytes: i64::try_from(self.disk_bytes).unwrap_or(i64::MAX),
            received_per_second: before.and_then(|before| moved(self.bytes_in, before.bytes_in)),
            sent_per_second: before.and_then(|before| moved(self.bytes_out, before.bytes_out)),
        }
    }
}

impl Node {
    /// What each VM that runs has used.
    pub async fn used(&self) -> BTreeMap<VmId, Used> {
        self.used_by(&self.vms()).await
    }

    /// What each of `vms` has used that runs.
    pub(super) async fn used_by(&self, vms: &[Arc<Vm>]) -> BTreeMap<VmId, Used> {
        let ids: Vec<VmId> = vms.iter().map(|vm| vm.id.clone()).collect();
        let usages = self.backend().usages(&ids).await;
        let used = |vm: &Vm| {
            let Usage { cpu_ms, memory_bytes, disk_bytes } = *usages.get(&vm.id)?;
            let network = self.network(&vm.id).and_then(|network| network.traffic);
            let moved = network.map(|all| (all.bytes_in, all.bytes_out));
            let moved =
                moved.or_else(|| self.traffic(vm.ssh_port).map(|port| (port.bytes_in, port.bytes_out)));
            let (bytes_in, bytes_out) = moved.unzip();
            Some((vm.id.clone(), Used { cpu_ms, memory_bytes, disk_bytes, bytes_in, bytes_out }))
        };
        vms.iter().filter_map(|vm| used(vm)).collect()
    }

    /// What the host used, in steps of `step`, as far back as that is kept.
    ///
    /// # Errors
    /// [`NodeError::Ledger`].
    pub async fn host_use(&self, step: Step) -> Result<Measured<MeasuredHost>, NodeError> {
        Ok(self.0.ledger.host_use(step, Timestamp::now()).await?)
    }

    /// The same of the VM `id`; nothing of one that is not known.
    ///
    /// # Errors
    /// [`NodeError::Ledger`].
    pub async fn vm_use(&self, id: VmId, step: Step) -> Result<Measured<MeasuredVm>, NodeError> {
        Ok(self.0.ledger.vm_use(id, step, Timestamp::now()).await?)
    }
}

/// Keeps what was used in each minute, at its end, until `stop`.
pub(super) async fn run(node: Node, stop: CancellationToken) {
    let mut last = (Instant::now(), Arc::new(node.used().await));
    node.0.counted.keep(last.0, Arc::clone(&last.1));
    loop {
        let minute = Step::Minute.start(Timestamp::now());
        let end = minute + Step::Minute.seconds();
        let left = Timestamp::from_second(end).map(|end| end.duration_since(Timestamp::now()));
        let left = left.ok().and_then(|left| Duration::try_from(left).ok()).unwrap_or(LEAST);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(left) => {}
        }
        let time = last.0.elapsed();
        if time < LEAST {
            continue;
        }
        let now = (Instant::now(), Arc::new(node.used().await));
        node.0.counted.keep(now.0, Arc::clone(&now.1));
        let of = |(id, used): (&VmId, &Used)| (id.clone(), used.since(last.1.get(id), time));
        let vms: Vec<_> = now.1.iter().map(of).collect();
        let used = node.host();
        let running = node.vms().iter().filter(|vm| vm.state == VmState::Running).count();
        let host = MeasuredHost {
            cpu_percent: used.cpu_percent,
            memory_percent: used.memory_percent,
            storage_percent: used.storage_percent,
            vms: u32::try_from(running).unwrap_or(u32::MAX),
        };
        if let Err(error) = node.0.ledger.measured(minute, host, vms).await {
            golem_service::log_limited!(
                warn,
                error = &error as &dyn std::error::Error,
                "what VMs used in the last minute was not kept: charts have a gap"
            );
        }
        last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ZERO: Used =
        Used { cpu_ms: 0, memory_bytes: 0, disk_bytes: 0, bytes_in: Some(0), bytes_out: Some(0) };

    #[test]
    fn two_busy_cores_are_two_thousand() {
        let after = Used { cpu_ms: 120_000, bytes_in: Some(600), bytes_out: Some(6_000), ..ZERO };
        let measured = after.since(Some(&ZERO), Duration::from_secs(60));
        assert_eq!(measured.cpu_permille, Some(2000));
        assert_eq!((measured.received_per_second, measured.sent_per_second), (Some(10), Some(100)));
    }

    #[test]
    fn the_first_minute_of_a_process_has_no_rates() {
        let after = Used { memory_bytes: 7, ..ZERO };
        let before = Used { cpu_ms: 1, ..ZERO };
        for before in [None, Some(&before)] {
            let measured = after.since(before, Duration::from_secs(60));
            assert_eq!((measured.cpu_permille, measured.memory_bytes), (None, 7));
        }
    }

    #[test]
    fn what_is_not_counted_has_no_rate() {
        let silent = Used { bytes_in: None, bytes_out: None, cpu_ms: 1000, ..ZERO };
        for (before, after) in [(ZERO, silent), (silent, Used { cpu_ms: 2000, ..ZERO }), (silent, silent)] {
            let measured = after.since(Some(&before), Duration::from_secs(1));
            assert!(measured.cpu_permille.is_some());
            assert_eq!((measured.received_per_second, measured.sent_per_second), (None, None));
        }
    }

    proptest! {
        /// Whatever counters say, a rate is never more than what was counted in the time.
        #[test]
        fn rates_are_bounded(before: [u64; 3], after: [u64; 3], seconds in 0u64..10_000_000) {
            let of = |[cpu_ms, bytes_in, bytes_out]: [u64; 3]| Used {
                cpu_ms,
                bytes_in: Some(bytes_in),
                bytes_out: Some(bytes_out),
                ..ZERO
            };
            let measured = of(after).since(Some(&of(before)), Duration::from_secs(seconds));
            for (rate, after) in [(measured.received_per_second, after[1]), (measured.sent_per_second, after[2])] {
                let rate = rate.map(|rate| u64::try_from(rate).unwrap());
                prop_assert!(rate.is_none_or(|rate| rate <= after / seconds.max(1)));
            }
        }
    }
}
