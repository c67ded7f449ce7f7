//! A renter's order that a VM's disk be made anew.
//!
//! Owns what the order asks of a rental's state and payment. Never touches a disk: the row says what is wanted, and the
//! rental's task follows.

use std::sync::Arc;

use golem_types::{ImageName, VmId, VmState};
use jiff::Timestamp;

use super::{Node, lost};
use crate::crash::crash_point;
use crate::error::NodeError;
use crate::vm::{Refusal, Vm};

impl Node {
    /// Has the disk of the VM `id` made anew from `image`, or from the image that it has: all that is on it is lost; keys,
    /// user-data, address and port stay. One that runs is restarted, another has its new disk when it is started.
    ///
    /// # Errors
    /// [`NodeError::WrongState`] while it is on its way up or down, [`NodeError::Suspended`]; [`NodeError::Refused`] while it
    /// has snapshots, or where the image is not there; [`NodeError::Unpaid`], [`NodeError::NotFound`], [`NodeError::Ledger`].
    pub async fn rebuild_vm(&self, id: &VmId, image: Option<ImageName>) -> Result<Arc<Vm>, NodeError> {
        let state = self.paid_for(id)?;
        if !self.0.backend.can_remake() {
            return Err(Refusal::NoResizing.into());
        }
        self.not_suspended(id, "rebuild")?;
        if matches!(state, VmState::Creating | VmState::Stopping) {
            return Err(NodeError::WrongState { state, action: "rebuild" });
        }
        let image = match image {
            Some(image) => image,
            None => self.live(id)?.vm.image.clone(),
        };
        if !self.0.backend.has_image(&image) {
            return Err(Refusal::NoSuchImage(image).into());
        }
        if let Some(trouble) = self.disk_trouble_of(&image).await {
            return Err(Refusal::Disk(trouble).into());
        }
        let ordered = self.0.ledger.rebuild(id, image, Timestamp::now()).await;
        let vm = ordered.map_err(|error| lost(id, error))??;
        crash_point!("rebuild-ordered");
        self.0
            .ledger
            .note(id, "vm.rebuilt", format!("from the image {}", vm.image), Timestamp::now())
            .await?;
        tracing::info!(vm = id.redacted(), image = %vm.image, "the VM's disk is made anew");
        self.poke(id);
        Ok(vm)
    }
}
