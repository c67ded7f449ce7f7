//! What a machine's task does with the snapshots of its disk.
//!
//! ```text
//!   grant ─► creating ─┬─► ready ─► restoring ─► ready
//!                      └─► failed     └─► deleting ─► (no row)
//! ```
//! Owns the order: the row that announces comes before the effect, the row that reports it after; so a node that was killed
//! in between does the same again, which the backend takes. A restore ends the guest; that it is booted again follows from
//! the rental's goal. Never decides which snapshots there are to be.

use golem_types::{DiskSnapshot, SnapshotState, VmState};
use jiff::Timestamp;

use super::error::StepError;
use super::{Machine, Memory, bounded};
use crate::crash::crash_point;
use crate::ledger::disk_snapshots::SnapshotOutcome;
use crate::rental::Rental;

impl Machine {
    /// Does what is under way with `snapshot`, to its end or to an error, and records which.
    pub(super) async fn work_on(
        &self,
        rental: &Rental,
        snapshot: &DiskSnapshot,
        memory: &mut Memory,
    ) -> Result<(), StepError> {
        let name = &snapshot.name;
        let (outcome, kind) = match snapshot.state {
            SnapshotState::Creating => {
                let made = bounded(self.backend.create_snapshot(&self.id, name)).await;
                crash_point!("snapshot-made");
                match made {
                    Ok(consistency) => (SnapshotOutcome::Made(consistency), "snapshot.created"),
                    Err(error) => {
                        // What is left of it would take room that nobody counts.
                        let _ = bounded(self.backend.delete_snapshot(&self.id, name)).await;
                        (SnapshotOutcome::NotMade(self.told(error.into())), "snapshot.failed")
                    }
                }
            }
            SnapshotState::Restoring => {
                if rental.vm.state != VmState::Stopped {
                    self.shut_down(rental, memory).await?;
                }
                crash_point!("snapshot-stopped");
                let restored = bounded(self.backend.restore_snapshot(&self.id, name)).await;
                crash_point!("snapshot-restored");
                match restored {
                    Ok(()) => (SnapshotOutcome::Restored, "snapshot.restored"),
                    Err(error) => {
                        (SnapshotOutcome::NotDone(self.told(error.into())), "snapshot.not_restored")
                    }
                }
            }
            SnapshotState::Deleting => {
                let deleted = bounded(self.backend.delete_snapshot(&self.id, name)).await;
                crash_point!("snapshot-deleted");
                match deleted {
                    Ok(()) => (SnapshotOutcome::Gone, "snapshot.deleted"),
                    Err(error) => (SnapshotOutcome::NotDone(self.told(error.into())), "snapshot.not_deleted"),
                }
            }
            SnapshotState::Ready | SnapshotState::Failed => return Ok(()),
        };
        self.ledger.note(&self.id, kind, name.to_string(), Timestamp::now()).await?;
        self.ledger.settle_snapshot(&self.id, name.clone(), outcome, Timestamp::now()).await?;
        crash_point!("snapshot-settled");
        Ok(())
    }

    /// Logs why something was not done, and gives what the renter may read.
    fn told(&self, error: StepError) -> String {
        golem_service::log_limited_each!(
            self.id,
            error,
            vm = self.id.redacted(),
            error = &error as &dyn std::error::Error,
            "something asked of a snapshot was not done"
        );
        error.public()
    }
}
