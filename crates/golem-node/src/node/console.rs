//! The serial console of a VM, opened for its renter.
//!
//! Owns which states of a rental it can be opened in. Never knows who may.

use golem_types::{VmId, VmState};

use super::Node;
use crate::console::{ConsoleSession, OpenedBy};
use crate::error::NodeError;

impl Node {
    /// Why no console can be opened on this node, for the renter; `None` if they can.
    #[must_use]
    pub fn console_problem(&self) -> Option<&'static str> {
        self.0.backend.console_problem()
    }

    /// Opens the serial console of the VM `id`. A session that there is already is taken over. Opening and closing are
    /// events of the VM, in which `by` says who did.
    ///
    /// # Errors
    /// [`NodeError::NoConsole`], [`NodeError::TooManyConsoles`]; [`NodeError::WrongState`] while it is stopped;
    /// [`NodeError::Unpaid`], [`NodeError::Backend`], [`NodeError::NotFound`], [`NodeError::Ledger`].
    pub async fn open_console(&self, id: &VmId, by: OpenedBy) -> Result<ConsoleSession, NodeError> {
        if let Some(problem) = self.console_problem() {
            return Err(NodeError::NoConsole(problem));
        }
        if self.0.tasks.stopping().is_cancelled() {
            return Err(NodeError::ShuttingDown);
        }
        // One that boots, or failed to, may have a guest: then its console says why.
        match self.paid_for(id)? {
            state @ (VmState::Stopped | VmState::Deleted) => {
                Err(NodeError::WrongState { state, action: "open the console of" })
            }
            _ => self.0.consoles.open(id, by).await,
        }
    }
}
