//! A renter's order that a VM have more or less of the machine.
//!
//! Owns what the order asks of a rental's state and payment. Never touches a machine: the row says what it is to have, and
//! the rental's task follows.

use std::sync::Arc;

use golem_types::wire::ResizeVm;
use golem_types::{Resources, VmId, VmState};
use jiff::Timestamp;

use super::{Node, lost};
use crate::crash::crash_point;
use crate::error::NodeError;
use crate::ledger::{ClaimedUse, ResizeRoom};
use crate::paid::Paid;
use crate::vm::{Refusal, Vm};

impl Node {
    /// Has the VM `id` have `wanted.resources` from now on, paid for by `wanted.payment`, and the stream ended that paid for it
    /// until then. One that runs is restarted.
    ///
    /// # Errors
    /// [`NodeError::WrongState`] unless it runs or is stopped, [`NodeError::Suspended`]; [`NodeError::Refused`] where a disk would
    /// shrink, there is no room, or it is not paid for; [`NodeError::ChainUnknown`], [`NodeError::NotFound`],
    /// [`NodeError::Ledger`].
    pub async fn resize_vm(&self, id: &VmId, wanted: ResizeVm) -> Result<Arc<Vm>, NodeError> {
        let ResizeVm { resources, payment } = wanted;
        let vm = self.live(id)?.vm;
        if !self.0.backend.can_remake() {
            return Err(Refusal::NoResizing.into());
        }
        self.not_suspended(id, "resize")?;
        if !matches!(vm.state, VmState::Running | VmState::Stopped) {
            return Err(NodeError::WrongState { state: vm.state, action: "resize" });
        }
        if resources.storage < vm.resources.storage {
            return Err(Refusal::Shrinks { now: vm.resources.storage }.into());
        }
        if resources == vm.resources && payment.is_none() {
            return Ok(vm);
        }
        let paid = match (&payment, self.0.contracts.first()) {
            (None, Some(_)) => return Err(Refusal::StreamRequired.into()),
            (None, None) => Paid::free(),
            (Some(_), None) => return Err(NodeError::PaymentsOff),
            (Some(payment), Some(_)) => {
                // Clients of contract version 4 ask for a lease of the default image, whatever the VM has.
                let default = &self.0.config.default_image;
                match self.judge_attach(&vm, resources, default, payment).await {
                    Err(NodeError::Refused(_)) if payment.payment.is_some() && *default != vm.image => {
                        self.judge_attach(&vm, resources, &vm.image, payment).await?
                    }
                    judged => judged?,
                }
            }
        };
        self.claim(&paid, ClaimedUse::Attach(id.clone())).await?;
        let refund_at = self.refund_at(id);
        let room = ResizeRoom { offer: self.0.host.borrow().offer, minimum: self.0.config.limits.minimum };
        let resized = self.0.ledger.resize(id, resources, paid.clone(), refund_at, room, Timestamp::now());
        let vm = resized.await.map_err(|error| lost(id, error))??;
        crash_point!("resized");
        let Resources { cpu, memory, storage } = resources;
        tracing::info!(vm = id.redacted(), cpu, memory_gb = memory, storage_gb = storage, "VM resized");
        self.remember(&paid, id);
        self.poke(id);
        Ok(vm)
    }
}
