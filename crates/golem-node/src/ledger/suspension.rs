//! VMs whose guests' memory is kept, as rows.
//!
//! ```text
//!   running ─► stopping ─► stopped ─► creating ─► running        the state, with `suspends`
//!                └───────────────────────────────────┘           it could not be kept
//! ```
//! Owns the transaction in which that is granted: as much storage as the guest has memory counts as rented from then on,
//! until the guest runs again. Never writes any memory: the rental's task does, and says here if it could not.

use std::sync::Arc;

use golem_types::{VmId, VmState};
use jiff::Timestamp;

use super::{Ledger, LedgerError, Writer};
use crate::host::HostOffer;
use crate::rental::Goal;
use crate::vm::{Refusal, ShortResource, Vm};

/// Whether a guest's memory is kept, or is to be.
pub(super) const COLUMN: &str = "
ALTER TABLE vms ADD COLUMN suspends INTEGER NOT NULL DEFAULT 0 CHECK (suspends IN (0, 1));
";

impl Ledger {
    /// Records that the live rental `id`, which runs, is to be suspended, if `offer` has room for its memory. One that does not
    /// run stays as it is.
    ///
    /// # Errors
    /// [`LedgerError::NoRental`], [`LedgerError::Sql`]; a refusal is the inner result.
    pub(crate) async fn suspend(
        &self,
        id: &VmId,
        offer: HostOffer,
        now: Timestamp,
    ) -> Result<Result<Arc<Vm>, Refusal>, LedgerError> {
        let id = id.clone();
        self.ask(move |writer| {
            let rental = writer.now.get(&id).ok_or_else(|| LedgerError::NoRental(id.clone()))?;
            if rental.vm.state != VmState::Running {
                return Ok(Ok(Arc::clone(&rental.vm)));
            }
            if rental.vm.snapshot_under_way().is_some() {
                return Ok(Err(Refusal::Busy));
            }
            if let Err(refusal) = writer.has_room_for_memory(&rental.vm, offer) {
                return Ok(Err(refusal));
            }
            writer
                .edit(&id, now, |rental, vm| {
                    rental.goal = Goal::Stopped;
                    vm.suspends = true;
                    vm.state = VmState::Stopping;
                    Ok(None)
                })
                .map(Ok)
        })
        .await
    }

    /// Records that the memory of the guest of `id` is not kept: one that its renter had suspended goes on, one that is not
    /// paid for is shut down.
    ///
    /// # Errors
    /// [`LedgerError::NoRental`], [`LedgerError::Sql`].
    pub(crate) async fn not_suspended(&self, id: &VmId, now: Timestamp) -> Result<Arc<Vm>, LedgerError> {
        let id = id.clone();
        self.ask(move |writer| {
            writer.edit(&id, now, |rental, vm| {
                if rental.is_set_aside() {
                    rental.goal = Goal::Running;
                    // A guest that is there is met again, and not restarted, as one that is stopping would be.
                    vm.state = VmState::Creating;
                }
                vm.suspends = false;
                Ok(None)
            })
        })
        .await
    }
}

impl Writer {
    /// Whether `offer` has storage for as much as `vm` has memory.
    pub(super) fn has_room_for_memory(&self, vm: &Vm, offer: HostOffer) -> Result<(), Refusal> {
        let wanted = vm.resources.memory;
        let free = offer.for_vms(self.now.with_room()).storage.saturating_sub(self.now.held().storage);
        let (what, unit) = (ShortResource::Storage, "GB of storage");
        if wanted > free { Err(Refusal::Insufficient { what, wanted, free, unit }) } else { Ok(()) }
    }
}
