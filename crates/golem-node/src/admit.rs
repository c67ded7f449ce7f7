//! Whether a create may be granted.
//!
//! Owns the decision, as one pure function over plain values, and the limits that it takes. Never reads the ledger or the
//! host, and never reserves: the ledger calls it inside the transaction that does.

use std::collections::BTreeSet;
use std::ops::Range;

use golem_types::Resources;

use crate::host::{HostOffer, HostUse};
use crate::ports::PortPolicy;
use crate::vm::{Refusal, ShortResource};

/// Limits on what is rented out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Most live VMs (`GOLEM_PROVIDER_MAX_VMS`).
    pub max_vms: u32,
    /// Least that one VM may ask for (`GOLEM_PROVIDER_MIN_*`).
    pub minimum: Resources,
    /// Percent of CPU in use above which no create is granted.
    pub cpu_threshold: u8,
    /// Percent of memory in use above which no create is granted.
    pub memory_threshold: u8,
    /// Percent of the VM volume in use above which no create is granted.
    pub storage_threshold: u8,
    /// Most snapshots that one VM may have (`GOLEM_PROVIDER_MAX_SNAPSHOTS`).
    pub max_snapshots: u32,
    /// Whether the quote of a lease keeps its capacity until it is over (`GOLEM_PROVIDER_QUOTE_RESERVES`).
    pub quotes_reserve: bool,
}

impl Default for AdmissionLimits {
    /// The original's documented defaults: 10 VMs, 1 CPU / 1 GiB / 10 GiB, 90 / 85 / 90 %.
    fn default() -> Self {
        Self {
            max_vms: 10,
            minimum: Resources::new(1, 1, 10),
            cpu_threshold: 90,
            memory_threshold: 85,
            storage_threshold: 90,
            max_snapshots: 2,
            quotes_reserve: false,
        }
    }
}

/// What a reservation is judged by, besides the ledger's own rows.
#[derive(Debug, Clone)]
pub struct AdmissionContext {
    /// Limits on what is rented out.
    pub limits: AdmissionLimits,
    /// What the host has to rent out.
    pub offer: HostOffer,
    /// How busy the host is.
    pub host: HostUse,
    /// SSH ports that may be handed out, end exclusive.
    pub ports: Range<u16>,
    /// What has to be known of a port.
    pub port_policy: PortPolicy,
    /// Ports on which nothing of another program listened a moment ago: only they are handed out.
    pub free_ports: BTreeSet<u16>,
}

/// What the ledger and the host say at the moment of the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionFacts {
    /// What the host has to rent out.
    pub total: Resources,
    /// What live rentals hold.
    pub held: Resources,
    /// How many live rentals there are.
    pub vms: u32,
    /// How busy the host is.
    pub host: HostUse,
    /// Whether the operator lets the node run empty.
    pub draining: bool,
}

impl AdmissionFacts {
    /// The same for what has its room already, because that was promised.
    #[must_use]
    pub fn with_room(self) -> Self {
        Self { held: Resources::default(), vms: 0, ..self }
    }
}

const CPU_UNIT: &str = "CPU cores";
const MEMORY_UNIT: &str = "GB of memory";
const STORAGE_UNIT: &str = "GB of storage";

/// Grants `wanted`, or says why not.
///
/// # Errors
/// The first [`Refusal`] that applies: draining, count, minimum, room, thresholds.
pub fn admit(wanted: Resources, limits: &AdmissionLimits, facts: &AdmissionFacts) -> Result<(), Refusal> {
    if facts.draining {
        return Err(Refusal::Draining);
    }
    if facts.vms >= limits.max_vms {
        return Err(Refusal::TooManyVms { maximum: limits.max_vms });
    }
    let free = facts.total.minus(facts.held);
    let minimum = limits.minimum;
    for (what, wanted, minimum, free, unit) in [
        (ShortResource::Cpu, wanted.cpu, minimum.cpu, free.cpu, CPU_UNIT),
        (ShortResource::Memory, wanted.memory, minimum.memory, free.memory, MEMORY_UNIT),
        (ShortResource::Storage, wanted.storage, minimum.storage, free.storage, STORAGE_UNIT),
    ] {
        if wanted < minimum {
            return Err(Refusal::BelowMinimum { what, minimum, unit });
        }
        if wanted > free {
            return Err(Refusal::Insufficient { what, wanted, free, unit });
        }
    }
    let host = facts.host;
    for (what, used, threshold, unit) in [
        (ShortResource::Cpu, host.cpu_percent, limits.cpu_threshold, "CPU"),
        (ShortResource::Memory, host.memory_percent, limits.memory_threshold, "memory"),
        (ShortResource::Storage, host.storage_percent, limits.storage_threshold, "storage"),
    ] {
        if used > threshold {
            return Err(Refusal::OverThreshold { what, used, threshold, unit });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn facts() -> AdmissionFacts {
        AdmissionFacts {
            total: Resources::new(8, 16, 200),
            held: Resources::new(2, 4, 50),
            vms: 2,
            host: HostUse { cpu_percent: 10, memory_percent: 10, storage_percent: 10 },
            draining: false,
        }
    }

    const WANTED: Resources = Resources::new(2, 4, 20);

    #[test]
    fn s_105_the_vm_limit_is_enforced() {
        let full = AdmissionFacts { vms: 10, ..facts() };
        assert_eq!(
            admit(WANTED, &AdmissionLimits::default(), &full),
            Err(Refusal::TooManyVms { maximum: 10 })
        );
    }

    #[test]
    fn s_077_below_a_minimum_is_refused() {
        let limits = AdmissionLimits { minimum: Resources::new(2, 2, 20), ..AdmissionLimits::default() };
        for (wanted, what) in [
            (Resources::new(1, 4, 20), ShortResource::Cpu),
            (Resources::new(2, 1, 20), ShortResource::Memory),
            (Resources::new(2, 4, 10), ShortResource::Storage),
        ] {
            let refusal = admit(wanted, &limits, &facts()).unwrap_err();
            assert!(matches!(refusal, Refusal::BelowMinimum { what: w, .. } if w == what), "{refusal:?}");
        }
    }

    #[test]
    fn the_last_of_what_is_free_is_granted_and_nothing_above_it() {
        let last = Resources::new(6, 12, 150);
        assert_eq!(admit(last, &AdmissionLimits::default(), &facts()), Ok(()));
        for more in [
            Resources { cpu: 7, ..last },
            Resources { memory: 13, ..last },
            Resources { storage: 151, ..last },
        ] {
            let refusal = admit(more, &AdmissionLimits::default(), &facts());
            assert!(matches!(refusal, Err(Refusal::Insufficient { .. })), "{refusal:?}");
        }
    }

    #[test]
    fn a_busy_host_grants_nothing_more() {
        let busy = |cpu, memory, storage| AdmissionFacts {
            host: HostUse { cpu_percent: cpu, memory_percent: memory, storage_percent: storage },
            ..facts()
        };
        let limits = AdmissionLimits::default();
        // S-082, S-083, S-084: as much as that is fine.
        assert_eq!(admit(WANTED, &limits, &busy(90, 85, 90)), Ok(()));
        for (facts, word) in
            [(busy(91, 0, 0), "CPU"), (busy(0, 86, 0), "memory"), (busy(0, 0, 91), "storage")]
        {
            let text = admit(WANTED, &limits, &facts).unwrap_err().to_string();
            // S-078, S-082, S-083, S-084: a percent more is not.
            assert!(text.contains(word) && text.contains("capacity"), "{text}");
        }
    }

    #[test]
    fn what_has_its_room_already_is_granted_on_a_full_node_and_not_on_one_that_drains() {
        let full = AdmissionFacts { held: facts().total, vms: 10, ..facts() };
        assert_eq!(admit(WANTED, &AdmissionLimits::default(), &full.with_room()), Ok(()));
        let draining = AdmissionFacts { draining: true, ..full };
        assert_eq!(admit(WANTED, &AdmissionLimits::default(), &draining.with_room()), Err(Refusal::Draining));
    }

    proptest! {
        /// S-080, I6: whatever is granted fits into what the ledger leaves.
        #[test]
        fn s_080_nothing_is_granted_that_does_not_fit(
            cpu in 0u32..20, memory in 0u32..70, storage in 0u32..400,
            held_cpu in 0u32..10, held_memory in 0u32..20, held_storage in 0u32..250, vms in 0u32..12,
        ) {
            let wanted = Resources::new(cpu, memory, storage);
            let facts = AdmissionFacts { held: Resources::new(held_cpu, held_memory, held_storage), vms, ..facts() };
            let granted = admit(wanted, &AdmissionLimits::default(), &facts).is_ok();
            let fits = wanted.plus(facts.held).fits(facts.total) && AdmissionLimits::default().minimum.fits(wanted) && vms < 10;
            prop_assert_eq!(granted, fits);
        }
    }
}
