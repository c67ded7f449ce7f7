//! VMs whose disks are to be made anew, as rows.
//!
//! Owns the transaction in which that is ordered: the row has the image and the time of the order from then on. One that
//! runs is stopping then, and its goal, to run, has it restarted; a machine that is launched has its disk made anew where
//! the last order is later than the last that was done. Never touches a disk.

use std::sync::Arc;

use golem_types::{DiskSnapshot, ImageName, VmId, VmState};
use jiff::{Span, Timestamp};

use super::columns::rounded;
use super::{Ledger, LedgerError};
use crate::vm::{Refusal, Vm};

/// When it was last ordered that the disk be made anew, and whether that is still to be done.
pub(super) const COLUMN: &str = "
ALTER TABLE vms ADD COLUMN rebuild_at INTEGER;
ALTER TABLE vms ADD COLUMN rebuild_due INTEGER NOT NULL DEFAULT 0 CHECK (rebuild_due IN (0, 1));
";

impl Ledger {
    /// Has the disk of the live rental `id` made anew from `image`, or from its own.
    ///
    /// # Errors
    /// [`LedgerError::NoRental`], [`LedgerError::Sql`]; a refusal is the inner result.
    pub(crate) async fn rebuild(
        &self,
        id: &VmId,
        image: ImageName,
        now: Timestamp,
    ) -> Result<Result<Arc<Vm>, Refusal>, LedgerError> {
        let id = id.clone();
        self.ask(move |writer| {
            let vm = &writer.now.get(&id).ok_or_else(|| LedgerError::NoRental(id.clone()))?.vm;
            if !matches!(vm.state, VmState::Running | VmState::Stopped | VmState::Error) || vm.suspends {
                // It was when the order came.
                return Ok(Err(Refusal::Busy));
            }
            if vm.snapshot_under_way().is_some() {
                return Ok(Err(Refusal::Busy));
            }
            if vm.snapshots.iter().any(DiskSnapshot::takes_room) {
                return Ok(Err(Refusal::HasSnapshots));
            }
            writer
                .edit(&id, now, |_, vm| {
                    vm.image = image;
                    // Later than the last one, also where the clock was set back.
                    let next =
                        vm.rebuild_at.and_then(|last| last.checked_add(Span::new().microseconds(1)).ok());
                    vm.rebuild_at = next.max(Some(rounded(now)));
                    vm.rebuild_due = true;
                    if vm.state.may_become(VmState::Stopping) {
                        vm.state = VmState::Stopping;
                        vm.error = None;
                    }
                    Ok(None)
                })
                .map(Ok)
        })
        .await
    }
}
