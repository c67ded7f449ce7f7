//! Snapshots of VMs' disks, as rows.
//!
//! Owns the transaction in which one is granted: it counts as storage that is rented from then on, until it is gone. Never
//! makes or deletes any: the rental's task does, and says here what became of it.

use std::sync::Arc;

use golem_types::{DiskSnapshot, SnapshotConsistency, SnapshotName, SnapshotState, VmId};
use jiff::Timestamp;

use super::columns::rounded;
use super::{Ledger, LedgerError, Writer};
use crate::host::HostOffer;
use crate::vm::{Refusal, ShortResource, Vm};

/// Snapshots of a VM's disk, as JSON: few, and counted with the VM in one transaction.
pub(super) const COLUMN: &str = "
ALTER TABLE vms ADD COLUMN snapshots TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(snapshots));
";

/// What became of something that was to be done with a snapshot.
#[derive(Debug, Clone)]
pub(crate) enum SnapshotOutcome {
    /// It is there, and may be expected to be this.
    Made(SnapshotConsistency),
    /// It could not be made; why.
    NotMade(String),
    /// The disk is as it was then.
    Restored,
    /// It is there as before; why.
    NotDone(String),
    /// It is deleted.
    Gone,
}

impl Ledger {
    /// Grants the live rental `id` a snapshot, which counts from now on.
    ///
    /// # Errors
    /// [`LedgerError::NoRental`], [`LedgerError::Sql`]; a refusal is the inner result.
    pub(crate) async fn grant_snapshot(
        &self,
        id: &VmId,
        name: SnapshotName,
        most: u32,
        offer: HostOffer,
        now: Timestamp,
    ) -> Result<Result<Arc<Vm>, Refusal>, LedgerError> {
        let id = id.clone();
        self.ask(move |writer| writer.grant_snapshot(&id, name, most, offer, now)).await
    }

    /// Records that a snapshot is to be restored or deleted.
    ///
    /// # Errors
    /// [`LedgerError::NoRental`], [`LedgerError::Sql`]; a refusal is the inner result.
    pub(crate) async fn order_snapshot(
        &self,
        id: &VmId,
        name: SnapshotName,
        order: SnapshotState,
        now: Timestamp,
    ) -> Result<Result<Arc<Vm>, Refusal>, LedgerError> {
        let id = id.clone();
        self.ask(move |writer| {
            let rental = writer.now.get(&id).ok_or_else(|| LedgerError::NoRental(id.clone()))?;
            if let Some(busy) = rental.vm.snapshot_under_way() {
                return Ok(Err(Refusal::SnapshotBusy(busy.name.clone())));
            }
            if order == SnapshotState::Restoring && !rental.vm.may_change_disk() {
                return Ok(Err(Refusal::Busy));
            }
            let found = rental.vm.snapshot(&name).map(|snapshot| snapshot.state);
            match (found, order) {
                (None, _) | (Some(SnapshotState::Failed), SnapshotState::Restoring) => {
                    return Ok(Err(Refusal::NoSnapshot(name)));
                }
                _ => {}
            }
            writer
                .edit(&id, now, |_, vm| {
                    if order == SnapshotState::Deleting {
                        // Of what could not be made nothing is left.
                        vm.snapshots.retain(|snapshot| snapshot.name != name || snapshot.takes_room());
                    }
                    for snapshot in vm.snapshots.iter_mut().filter(|snapshot| snapshot.name == name) {
                        snapshot.state = order;
                        snapshot.error = None;
                    }
                    Ok(None)
                })
                .map(Ok)
        })
        .await
    }

    /// Records what became of what was to be done with the snapshot `name`.
    ///
    /// # Errors
    /// [`LedgerError::NoRental`], [`LedgerError::Sql`].
    pub(crate) async fn settle_snapshot(
        &self,
        id: &VmId,
        name: SnapshotName,
        outcome: SnapshotOutcome,
        now: Timestamp,
    ) -> Result<Arc<Vm>, LedgerError> {
        let id = id.clone();
        self.ask(move |writer| {
            writer.edit(&id, now, |_, vm| {
                if matches!(outcome, SnapshotOutcome::Gone) {
                    vm.snapshots.retain(|snapshot| snapshot.name != name);
                }
                for snapshot in vm.snapshots.iter_mut().filter(|snapshot| snapshot.name == name) {
                    settle(snapshot, &outcome);
                }
                Ok(None)
            })
        })
        .await
    }
}

fn settle(snapshot: &mut DiskSnapshot, outcome: &SnapshotOutcome) {
    snapshot.state = SnapshotState::Ready;
    match outcome {
        SnapshotOutcome::Made(consistency) => snapshot.consistency = Some(*consistency),
        SnapshotOutcome::NotMade(why) => {
            snapshot.state = SnapshotState::Failed;
            snapshot.error = Some(why.clone());
        }
        SnapshotOutcome::NotDone(why) => snapshot.error = Some(why.clone()),
        SnapshotOutcome::Restored | SnapshotOutcome::Gone => snapshot.error = None,
    }
}

impl Writer {
    fn grant_snapshot(
        &mut self,
        id: &VmId,
        name: SnapshotName,
        most: u32,
        offer: HostOffer,
        now: Timestamp,
    ) -> Result<Result<Arc<Vm>, Refusal>, LedgerError> {
        let rental = self.now.get(id).ok_or_else(|| LedgerError::NoRental(id.clone()))?;
        let vm = &rental.vm;
        if let Some(busy) = vm.snapshot_under_way() {
            return Ok(Err(Refusal::SnapshotBusy(busy.name.clone())));
        }
        if !vm.may_change_disk() {
            return Ok(Err(Refusal::Busy));
        }
        if vm.snapshot(&name).is_some_and(DiskSnapshot::takes_room) {
            return Ok(Err(Refusal::SnapshotTaken(name)));
        }
        let there = vm.snapshots.iter().filter(|snapshot| snapshot.takes_room()).count();
        if u32::try_from(there).unwrap_or(u32::MAX) >= most {
            return Ok(Err(Refusal::TooManySnapshots { maximum: most }));
        }
        let (wanted, held) = (vm.resources.storage, self.now.held().storage);
        let free = offer.for_vms(self.now.with_room()).storage.saturating_sub(held);
        if wanted > free {
            let (what, unit) = (ShortResource::Storage, "GB of storage");
            return Ok(Err(Refusal::Insufficient { what, wanted, free, unit }));
        }
        self.edit(id, now, |_, vm| {
            // What failed before is of no use to anybody any more.
            vm.snapshots.retain(DiskSnapshot::takes_room);
            vm.snapshots.push(DiskSnapshot::wanted(name, rounded(now)));
            Ok(None)
        })
        .map(Ok)
    }
}
