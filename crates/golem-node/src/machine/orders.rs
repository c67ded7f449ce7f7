//! What a machine's task does because it was told to, and not because of its rental's goal.
//!
//! Owns adding a key to a guest that runs, and ending a guest with the node. Never changes a goal.

use golem_types::VmState;
use jiff::Timestamp;

use super::handle::KeyOrder;
use super::{Machine, bounded};
use crate::error::NodeError;
use crate::rental::{Change, Goal, Rental};

impl Machine {
    /// Lets a key log in to the guest, now and after every boot. A stop, a restart or a delete does not wait for it.
    pub(super) async fn add_key(&self, rental: &Rental, KeyOrder { key, done }: KeyOrder) {
        let state = rental.vm.state;
        let refused = |state| NodeError::WrongState { state, action: "add an SSH key" };
        let added = if state == VmState::Running {
            tokio::select! {
                added = bounded(self.backend.add_key(&self.id, &key)) => added.map_err(NodeError::Backend),
                () = self.overtaken(Goal::Running) => {
                    // That was asked for is done next.
                    self.handle.poke();
                    Err(refused(VmState::Stopping))
                }
            }
        } else {
            Err(refused(state))
        };
        let outcome = match added {
            Ok(()) => self.ledger.add_key(&self.id, key, Timestamp::now()).await.map_err(NodeError::Ledger),
            Err(error) => Err(error),
        };
        // Who asked may be gone.
        let _ = done.send(outcome);
    }

    /// Shuts the guest down for as long as the node is away: what its renter wants stays as it is.
    pub(super) async fn stop_for_exit(&self) {
        let Some(rental) = self.ledger.now().get(&self.id).cloned() else { return };
        // What goes on from its memory is left as it is: the next node goes on with that.
        if rental.aim() != Goal::Running || rental.vm.state == VmState::Stopped || rental.vm.suspends {
            return;
        }
        if let Err(error) = self.end_guest().await {
            return tracing::error!(
                vm = self.id.redacted(),
                error = &error as &dyn std::error::Error,
                "VM not stopped"
            );
        }
        let stopped = Change::to(VmState::Stopped);
        if let Err(error) = self.ledger.advance(&self.id, stopped, Timestamp::now()).await {
            tracing::error!(
                vm = self.id.redacted(),
                error = &error as &dyn std::error::Error,
                "a stop could not be recorded"
            );
        }
    }
}
