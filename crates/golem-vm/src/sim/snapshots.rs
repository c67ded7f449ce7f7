//! Snapshots of simulated disks: which there are.

use golem_types::{SnapshotConsistency, SnapshotName, VmId};

use super::{Call, Sim};
use crate::machine::BackendError;

fn refused(step: &'static str, message: &str) -> BackendError {
    BackendError::Failed { step, message: message.to_owned(), source: None }
}

impl Sim {
    pub(crate) async fn create_snapshot(
        &self,
        id: &VmId,
        name: &SnapshotName,
    ) -> Result<SnapshotConsistency, BackendError> {
        self.0.enter(Call::Snapshot).await?;
        let mut runs = false;
        self.0.change(id, "making the snapshot", |record| {
            runs = record.running;
            record.snapshots.insert(name.as_str().to_owned());
        })?;
        Ok(if runs { SnapshotConsistency::FileSystem } else { SnapshotConsistency::Stopped })
    }

    pub(crate) async fn delete_snapshot(&self, id: &VmId, name: &SnapshotName) -> Result<(), BackendError> {
        self.0.enter(Call::Snapshot).await?;
        self.0.change(id, "deleting the snapshot", |record| {
            record.snapshots.remove(name.as_str());
        })
    }

    pub(crate) async fn restore_snapshot(&self, id: &VmId, name: &SnapshotName) -> Result<(), BackendError> {
        const STEP: &str = "restoring the snapshot";
        self.0.enter(Call::Snapshot).await?;
        let (mut runs, mut is_there) = (false, false);
        let mut is_kept = false;
        self.0.change(id, STEP, |record| {
            (runs, is_there) = (record.running, record.snapshots.contains(name.as_str()));
            is_kept = record.suspended;
        })?;
        match (runs, is_there) {
            _ if is_kept => Err(refused(STEP, "the guest's memory is kept: start it first")),
            (true, _) => Err(refused(STEP, "the guest still runs")),
            (_, false) => Err(refused(STEP, "it is not in the machine's disk")),
            _ => Ok(()),
        }
    }
}
