//! What the ledger says now, in memory.
//!
//! Owns the copy from which every read is served. Never written but by the ledger's thread, and
//! only after the transaction that it mirrors is on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::B256;
use golem_reach::verdict::PortVerdict;
use golem_types::{Resources, StreamKey, VmId, VmState};

use crate::admit::AdmissionFacts;
use crate::host::{HostOffer, HostUse};
use crate::promise::Promise;
use crate::rental::Rental;

/// Whether a rental has, or will have before new ones, CPU and memory.
fn has_room(rental: &Rental) -> bool {
    !rental.vm.held || (rental.vm.unpaid.is_none() && !rental.is_set_aside())
}

/// The live rentals, what they hold, what is promised, and what is known of ports, as of one commit.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    rentals: BTreeMap<Arc<str>, Rental>,
    /// What quotes keep for their renters, by the lease.
    pub promised: BTreeMap<B256, Promise>,
    /// What was found out last about each port.
    pub port_verdicts: Arc<BTreeMap<u16, PortVerdict>>,
    /// When each port was last given back, in microseconds since the epoch.
    pub ports_last_used: Arc<BTreeMap<u16, i64>>,
    /// Whether the operator lets the node run empty.
    pub draining: bool,
}

impl Snapshot {
    /// The live rental `id`.
    #[must_use]
    pub fn get(&self, id: &VmId) -> Option<&Rental> {
        self.rentals.get(id.as_str())
    }

    /// The live rental that the stream `key` pays for.
    #[must_use]
    pub fn paid_by(&self, key: &StreamKey) -> Option<&Rental> {
        self.iter().find(|rental| rental.vm.stream.as_ref() == Some(key))
    }

    /// Every live rental, by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Rental> {
        self.rentals.values()
    }

    /// What new rentals cannot have: what live ones hold, and what is promised to others. One that was stopped for want of
    /// payment holds its disk and its snapshots only; one that is paid for again and waits for room comes before new ones.
    #[must_use]
    pub fn held(&self) -> Resources {
        let held = self.iter().fold(Resources::default(), |sum, rental| {
            let whole = Resources { storage: rental.vm.storage_held(), ..rental.vm.resources };
            sum.plus(if has_room(rental) { whole } else { Resources { cpu: 0, memory: 0, ..whole } })
        });
        held.plus(self.promised_in_all().1)
    }

    /// To how many VMs CPU and memory are promised, and how much of everything.
    pub(super) fn promised_in_all(&self) -> (u32, Resources) {
        let promises = self.promised.values();
        let sum = promises.fold(Resources::default(), |sum, promise| sum.plus(promise.resources));
        (u32::try_from(self.promised.len()).unwrap_or(u32::MAX), sum)
    }

    /// Live rentals that have, or will have before new ones, CPU and memory, and VMs to which they are promised.
    #[must_use]
    pub fn with_room(&self) -> u32 {
        let rentals = self.iter().filter(|rental| has_room(rental)).count();
        u32::try_from(rentals).unwrap_or(u32::MAX).saturating_add(self.promised_in_all().0)
    }

    /// What a create is judged by beside rentals as they are now, where the host has `offer` and is as busy as `host`. What
    /// is promised to the create itself, as `own`, is free for it.
    #[must_use]
    pub fn admission(&self, offer: HostOffer, host: HostUse, own: Option<&Promise>) -> AdmissionFacts {
        let vms = self.with_room().saturating_sub(u32::from(own.is_some()));
        let held = self.held().minus(own.map(|own| own.resources).unwrap_or_default());
        AdmissionFacts {
            total: offer.for_vms(vms.saturating_add(1)),
            held,
            vms,
            host,
            draining: self.draining,
        }
    }

    /// Ports that live rentals hold.
    #[must_use]
    pub fn ports(&self) -> BTreeSet<u16> {
        self.iter().map(|rental| rental.vm.ssh_port).collect()
    }

    /// Mirrors a row that was written.
    pub(super) fn mirror(&mut self, rental: Rental) {
        let key: Arc<str> = rental.vm.id.as_str().into();
        if rental.vm.state == VmState::Deleted {
            let ended = rental.vm.updated_at.as_microsecond();
            Arc::make_mut(&mut self.ports_last_used).insert(rental.vm.ssh_port, ended);
            self.rentals.remove(&key);
        } else {
            self.rentals.insert(key, rental);
        }
    }
}
