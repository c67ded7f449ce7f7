//! What a renter orders of the snapshots of a VM's disk.
//!
//! Owns what each order asks of a rental's state and payment, and waiting for its end. Never makes one: the row says what
//! is wanted, and the rental's task follows.

use std::sync::Arc;
use std::time::Duration;

use golem_types::{DiskSnapshot, SnapshotName, SnapshotState, VmId, VmState};
use jiff::Timestamp;
use tokio::time::timeout;

use super::{Node, lost, not_found};
use crate::error::NodeError;
use crate::vm::{Refusal, Vm};

/// How long the end of something is waited for; it goes on by itself.
const WAIT: Duration = Duration::from_secs(180);

impl Node {
    /// Most snapshots that one VM may have; 0 where there are none.
    fn most_snapshots(&self) -> u32 {
        if self.0.backend.has_snapshots() { self.0.config.limits.max_snapshots } else { 0 }
    }

    /// The snapshots of the VM `id`, oldest first.
    ///
    /// # Errors
    /// [`NodeError::NotFound`]; [`NodeError::Refused`] where there are none at all.
    pub fn snapshots(&self, id: &VmId) -> Result<Vec<DiskSnapshot>, NodeError> {
        let snapshots = self.live(id)?.vm.snapshots.clone();
        if snapshots.is_empty() && self.most_snapshots() == 0 {
            return Err(Refusal::NoSnapshots.into());
        }
        Ok(snapshots)
    }

    /// Keeps the disk of the VM `id` as it is now. Returns when that is done, or as it stands after three minutes.
    ///
    /// # Errors
    /// [`NodeError::WrongState`] unless it runs or is stopped; [`NodeError::Refused`] where one more is too many, or there is
    /// no room; [`NodeError::Snapshot`] if it could not be made; [`NodeError::Unpaid`], [`NodeError::NotFound`],
    /// [`NodeError::Ledger`].
    pub async fn create_snapshot(
        &self,
        id: &VmId,
        name: Option<SnapshotName>,
    ) -> Result<DiskSnapshot, NodeError> {
        let state = self.paid_for(id)?;
        if self.most_snapshots() == 0 {
            return Err(Refusal::NoSnapshots.into());
        }
        if !matches!(state, VmState::Running | VmState::Stopped) {
            return Err(NodeError::WrongState { state, action: "make a snapshot of" });
        }
        self.not_suspended(id, "make a snapshot of")?;
        let now = Timestamp::now();
        let name = name.unwrap_or_else(|| SnapshotName::at(now));
        let offer = self.0.host.borrow().offer;
        let granted = self.0.ledger.grant_snapshot(id, name.clone(), self.most_snapshots(), offer, now);
        granted.await.map_err(|error| lost(id, error))??;
        let vm = self.until_settled(id, &name).await?;
        let snapshot = vm.snapshot(&name).cloned().ok_or_else(|| not_found(id))?;
        match (snapshot.state, &snapshot.error) {
            (SnapshotState::Failed, Some(why)) => Err(NodeError::Snapshot(why.clone())),
            _ => Ok(snapshot),
        }
    }

    /// Makes the disk of the VM `id` what it was when the snapshot was made; a guest that runs is shut down before and
    /// booted after. Returns when the disk is, or as it stands after three minutes.
    ///
    /// # Errors
    /// [`NodeError::WrongState`] while the VM is on its way up or down; [`NodeError::Refused`] if there is no such snapshot;
    /// [`NodeError::Snapshot`] if it could not be done; [`NodeError::Unpaid`], [`NodeError::NotFound`],
    /// [`NodeError::Ledger`].
    pub async fn restore_snapshot(&self, id: &VmId, name: &SnapshotName) -> Result<Arc<Vm>, NodeError> {
        let state = self.paid_for(id)?;
        if matches!(state, VmState::Creating | VmState::Stopping) {
            return Err(NodeError::WrongState { state, action: "restore" });
        }
        self.not_suspended(id, "restore")?;
        self.order_snapshot(id, name, SnapshotState::Restoring).await
    }

    /// Deletes a snapshot of the VM `id`.
    ///
    /// # Errors
    /// [`NodeError::Refused`] if there is none of that name; [`NodeError::Snapshot`] if it could not be done;
    /// [`NodeError::NotFound`], [`NodeError::Ledger`].
    pub async fn delete_snapshot(&self, id: &VmId, name: &SnapshotName) -> Result<(), NodeError> {
        self.live(id)?;
        self.order_snapshot(id, name, SnapshotState::Deleting).await.map(drop)
    }

    /// Writes down that something is to be done with a snapshot that is there, and waits for its end.
    async fn order_snapshot(
        &self,
        id: &VmId,
        name: &SnapshotName,
        order: SnapshotState,
    ) -> Result<Arc<Vm>, NodeError> {
        let ordered = self.0.ledger.order_snapshot(id, name.clone(), order, Timestamp::now());
        ordered.await.map_err(|error| lost(id, error))??;
        let vm = self.until_settled(id, name).await?;
        match vm.snapshot(name).and_then(|snapshot| snapshot.error.clone()) {
            Some(why) => Err(NodeError::Snapshot(why)),
            None => Ok(vm),
        }
    }

    /// Wakes the rental's task, and waits until nothing is under way with the snapshot `name`, or the time is over.
    async fn until_settled(&self, id: &VmId, name: &SnapshotName) -> Result<Arc<Vm>, NodeError> {
        self.poke(id);
        let is_settled = |vm: &Vm| vm.snapshot(name).is_none_or(|snapshot| !snapshot.is_under_way());
        let mut changes = self.0.ledger.changes();
        let settled = changes.wait_for(|now| now.get(id).is_none_or(|rental| is_settled(&rental.vm)));
        let _ = timeout(WAIT, settled).await;
        Ok(Arc::clone(&self.live(id)?.vm))
    }
}
