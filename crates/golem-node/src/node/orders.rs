//! What a renter and the operator order of a VM.
//!
//! Owns what each order asks of a rental's state and payment. Never drives a machine: it writes the goal into the
//! ledger, or tells the rental's task, which follows.

use std::sync::Arc;
use std::time::Duration;

use golem_types::{AuthorizedKey, VmId, VmState};
use jiff::Timestamp;
use tokio::time::timeout;

use super::{Node, lost, not_found};
use crate::crash::crash_point;
use crate::error::NodeError;
use crate::rental::Goal;
use crate::vm::{Refusal, Vm};

/// How long a delete is waited for; it goes on by itself, and the renter's access ended already.
const DELETE_WAIT: Duration = Duration::from_secs(60);

/// How long a VM that is being suspended is waited for; that goes on by itself.
const SUSPEND_WAIT: Duration = Duration::from_secs(180);

impl Node {
    /// Takes CPU and memory for the VM `id` again, if they were given back.
    async fn take_room(&self, id: &VmId) -> Result<(), NodeError> {
        let rental = self.live(id)?;
        if rental.vm.held {
            let taken = self.0.ledger.take_room(id, self.room(), Timestamp::now()).await;
            let taken = taken.map_err(|error| lost(id, error))?;
            // One that its renter had suspended waits for nothing.
            let refused = if rental.is_set_aside() { NodeError::Refused } else { NodeError::NoRoom };
            taken.map_err(refused)?;
        }
        Ok(())
    }

    /// Asks that the VM run, with what was in its memory where that was kept. Running already is fine.
    ///
    /// # Errors
    /// [`NodeError::WrongState`] while it is being suspended; [`NodeError::Unpaid`], [`NodeError::NoRoom`], [`NodeError::NotFound`], [`NodeError::Ledger`].
    pub async fn start_vm(&self, id: &VmId) -> Result<Arc<Vm>, NodeError> {
        let state = self.paid_for(id)?;
        if state == VmState::Stopping && self.live(id)?.vm.suspends {
            return Err(NodeError::WrongState { state, action: "start" });
        }
        self.take_room(id).await?;
        let next = matches!(state, VmState::Stopped | VmState::Error).then_some(VmState::Creating);
        // Before the goal: a task that looks in between knows of it.
        if let Some(machine) = self.machine(id) {
            machine.start();
        }
        self.aim(id, Goal::Running, next).await
    }

    /// That the VM `id` is neither suspended nor about to be.
    pub(super) fn not_suspended(&self, id: &VmId, action: &'static str) -> Result<(), NodeError> {
        let vm = self.live(id)?.vm;
        if vm.is_suspended() { Err(NodeError::Suspended { status: vm.status(), action }) } else { Ok(()) }
    }

    /// Asks that what is in the VM's memory be kept on disk, its CPU and memory given back, and its port closed, until it is
    /// started again. Suspended already is fine. Returns when it is, or as it stands after three minutes.
    ///
    /// # Errors
    /// [`NodeError::Refused`] where that is not offered, or has no room; [`NodeError::WrongState`] unless it runs;
    /// [`NodeError::NotSuspended`] if it could not be done; [`NodeError::Unpaid`], [`NodeError::NotFound`],
    /// [`NodeError::Ledger`].
    pub async fn suspend_vm(&self, id: &VmId) -> Result<Arc<Vm>, NodeError> {
        let state = self.paid_for(id)?;
        if !self.0.backend.can_suspend() {
            return Err(Refusal::NoSuspending.into());
        }
        if !self.live(id)?.vm.is_suspended() {
            if state != VmState::Running {
                return Err(NodeError::WrongState { state, action: "suspend" });
            }
            let offer = self.0.host.borrow().offer;
            let granted = self.0.ledger.suspend(id, offer, Timestamp::now());
            granted.await.map_err(|error| lost(id, error))??;
            self.poke(id);
        }
        let mut changes = self.0.ledger.changes();
        let is_settled = |vm: &Vm| vm.state != VmState::Stopping || !vm.suspends;
        let settled = changes.wait_for(|now| now.get(id).is_none_or(|rental| is_settled(&rental.vm)));
        let _ = timeout(SUSPEND_WAIT, settled).await;
        let vm = self.live(id)?.vm;
        if vm.is_suspended() { Ok(vm) } else { Err(NodeError::NotSuspended) }
    }

    /// Asks that a suspended VM go on where it was. Running already is fine.
    ///
    /// # Errors
    /// [`NodeError::WrongState`] if it is not suspended; as [`Self::start_vm`].
    pub async fn resume_vm(&self, id: &VmId) -> Result<Arc<Vm>, NodeError> {
        let state = self.paid_for(id)?;
        let vm = self.live(id)?.vm;
        if state != VmState::Running && !vm.suspends {
            return Err(NodeError::WrongState { state, action: "resume" });
        }
        self.start_vm(id).await
    }

    /// Asks that the VM be shut down, disk and port kept. Stopped already is fine.
    ///
    /// # Errors
    /// [`NodeError::Suspended`], because what is in its memory would be lost; [`NodeError::NotFound`], [`NodeError::Ledger`].
    pub async fn stop_vm(&self, id: &VmId) -> Result<Arc<Vm>, NodeError> {
        let state = self.live(id)?.vm.state;
        self.not_suspended(id, "stop")?;
        let next = (state != VmState::Stopped).then_some(VmState::Stopping);
        self.aim(id, Goal::Stopped, next).await
    }

    /// Asks that the VM be shut down and booted again.
    ///
    /// # Errors
    /// [`NodeError::WrongState`] while it is being made or shut down; [`NodeError::Unpaid`], [`NodeError::NoRoom`],
    /// [`NodeError::NotFound`], [`NodeError::Ledger`].
    pub async fn restart_vm(&self, id: &VmId) -> Result<Arc<Vm>, NodeError> {
        let state = self.paid_for(id)?;
        if matches!(state, VmState::Creating | VmState::Stopping) {
            return Err(NodeError::WrongState { state, action: "restart" });
        }
        self.not_suspended(id, "restart")?;
        self.take_room(id).await?;
        if let Some(machine) = self.machine(id) {
            machine.restart();
        }
        let next = if state == VmState::Stopped { VmState::Creating } else { VmState::Stopping };
        self.aim(id, Goal::Running, Some(next)).await
    }

    /// When the stream of the VM `id` is to be ended, if the VM is deleted now; `None` if that is left to its sender.
    pub(super) fn refund_at(&self, id: &VmId) -> Option<Timestamp> {
        let key = self.0.ledger.now().get(id)?.vm.stream.clone()?;
        let after = self.contracts().of(&key)?.config().refund_after?;
        Timestamp::now().checked_add(after).ok()
    }

    /// Ends the rental: at once for the renter's access, and in a moment for disk, port and
    /// capacity. Returns when everything is gone, or after a minute when the backend does not
    /// answer; the deletion then goes on by itself.
    ///
    /// # Errors
    /// [`NodeError::NotFound`], [`NodeError::Ledger`].
    pub async fn delete_vm(&self, id: &VmId) -> Result<(), NodeError> {
        if self.0.ledger.now().get(id).is_none() {
            return Err(not_found(id));
        }
        crash_point!("before-goal-deleted");
        let deleted = self.0.ledger.delete(id, self.refund_at(id), Timestamp::now()).await;
        deleted.map_err(|error| lost(id, error))?;
        self.poke(id);
        crash_point!("goal-deleted");
        let mut changes = self.0.ledger.changes();
        let gone = changes.wait_for(|now| now.get(id).is_none());
        if timeout(DELETE_WAIT, gone).await.is_err() {
            golem_service::log_limited_each!(
                id,
                warn,
                vm = id.redacted(),
                "the backend has not yet removed a deleted VM"
            );
        }
        Ok(())
    }

    /// Lets `key` log in to the running VM `id`, now and after every boot.
    ///
    /// # Errors
    /// [`NodeError::WrongState`] unless it runs; [`NodeError::Backend`] when the guest did not take
    /// it; [`NodeError::NotFound`], [`NodeError::Ledger`], [`NodeError::ShuttingDown`].
    pub async fn add_key(&self, id: &VmId, key: AuthorizedKey) -> Result<Arc<Vm>, NodeError> {
        let state = self.live(id)?.vm.state;
        if state != VmState::Running {
            return Err(NodeError::WrongState { state, action: "add an SSH key" });
        }
        let machine = self.machine(id).ok_or_else(|| not_found(id))?;
        let Some(added) = machine.add_key(key).await else {
            let is_stopping = self.0.tasks.stopping().is_cancelled();
            return Err(if is_stopping { NodeError::ShuttingDown } else { not_found(id) });
        };
        let vm = added?;
        golem_service::log_limited_each!(id, info, vm = id.redacted(), "SSH key added");
        Ok(vm)
    }
}
