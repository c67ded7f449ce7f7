//! What follows for a rental from how it is paid.
//!
//! Owns the three ways in which money changes a rental. Never drives a machine: its task does, once it is told to look.

use std::sync::Arc;

use golem_types::{VmId, VmState};
use jiff::Timestamp;

use crate::ledger::{Ledger, LedgerError, Room};
use crate::rental::Goal;
use crate::vm::Refusal;

/// The node's rentals, as far as payments may change them.
#[derive(Clone)]
pub(crate) struct RentalControl {
    ledger: Ledger,
    /// Has a rental's task look at its row.
    poke: Arc<dyn Fn(&VmId) + Send + Sync>,
    /// What there is to rent out now.
    room: Arc<dyn Fn() -> Room + Send + Sync>,
    /// Whether what is in a guest's memory can be kept while it is not paid for.
    can_suspend: bool,
}

impl RentalControl {
    /// Changes rentals in `ledger`, and tells their tasks by `poke`; `room` is what there is to rent out, `can_suspend` whether
    /// guests can be suspended.
    pub(crate) fn new(
        ledger: Ledger,
        poke: impl Fn(&VmId) + Send + Sync + 'static,
        room: impl Fn() -> Room + Send + Sync + 'static,
        can_suspend: bool,
    ) -> Self {
        Self { ledger, poke: Arc::new(poke), room: Arc::new(room), can_suspend }
    }

    /// Records that something happened to the rental `id`.
    pub(super) async fn note(
        &self,
        id: &VmId,
        kind: &'static str,
        detail: String,
    ) -> Result<(), LedgerError> {
        self.ledger.note(id, kind, detail, Timestamp::now()).await
    }

    /// Records that the rental `id` is not paid for, why, and what time the chain has; or that it is again. Its machine
    /// follows.
    pub(super) async fn set_unpaid(
        &self,
        id: &VmId,
        ended: Option<(String, u128)>,
    ) -> Result<(), LedgerError> {
        let offer = self.can_suspend.then(|| (self.room)().offer);
        self.ledger.set_unpaid(id, ended, offer, Timestamp::now()).await?;
        (self.poke)(id);
        Ok(())
    }

    /// Gives the rental `id` its CPU and memory again, if there is room, so that its machine may run.
    pub(super) async fn take_room(&self, id: &VmId) -> Result<Result<(), Refusal>, LedgerError> {
        let taken = self.ledger.take_room(id, (self.room)(), Timestamp::now()).await?;
        (self.poke)(id);
        Ok(taken.map(drop))
    }

    /// Ends the rental `id`, without waiting for it.
    pub(super) async fn abandon(&self, id: &VmId) -> Result<(), LedgerError> {
        self.ledger.aim(id, Goal::Deleted, Some(VmState::Stopping), Timestamp::now()).await?;
        (self.poke)(id);
        Ok(())
    }
}
