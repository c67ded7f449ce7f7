//! Whether a rental is paid for, as a row.
//!
//! Owns the one transaction in which that changes, and with it what becomes of the guest: its memory is kept if there is
//! room for it. Never decides whether a rental is paid for, and never drives its machine.

use std::sync::Arc;

use golem_types::{VmId, VmState};
use jiff::Timestamp;
use rusqlite::TransactionBehavior;

use super::columns::rounded;
use super::{Ledger, LedgerError, Writer, events, rows};
use crate::host::HostOffer;
use crate::vm::{Unpaid, Vm};

impl Ledger {
    /// Records that the live rental `id` is not paid for, why, and the chain's time in seconds since the epoch; or that it is
    /// again. Where `offer` is given and has room for what is in a running guest's memory, that is to be kept.
    ///
    /// # Errors
    /// [`LedgerError::NoRental`], [`LedgerError::Sql`].
    pub async fn set_unpaid(
        &self,
        id: &VmId,
        ended: Option<(String, u128)>,
        offer: Option<HostOffer>,
        now: Timestamp,
    ) -> Result<Arc<Vm>, LedgerError> {
        let id = id.clone();
        self.ask(move |writer| {
            let ended = ended.as_ref().map(|(reason, chain_now)| (reason.as_str(), *chain_now));
            writer.set_unpaid(&id, ended, offer, now)
        })
        .await
    }
}

impl Writer {
    /// Records whether the live rental `id` is paid for; if not, why, and what time the chain has.
    fn set_unpaid(
        &mut self,
        id: &VmId,
        ended: Option<(&str, u128)>,
        offer: Option<HostOffer>,
        now: Timestamp,
    ) -> Result<Arc<Vm>, LedgerError> {
        let mut rental = self.now.get(id).ok_or_else(|| LedgerError::NoRental(id.clone()))?.clone();
        let mut vm = (*rental.vm).clone();
        let (kind, detail) = match (ended, &rental.vm.unpaid) {
            // The clock of the hold runs on from when it began.
            (Some((reason, _)), Some(unpaid)) if unpaid.reason == reason => return Ok(rental.vm),
            (Some((reason, chain_now)), before) => {
                let begins = (rounded(now), u64::try_from(chain_now).ok());
                let (since, chain_time) = before.as_ref().map_or(begins, |one| (one.since, one.chain_time));
                vm.held |= vm.state == VmState::Stopped;
                let runs = vm.state == VmState::Running && rental.has_booted && before.is_none();
                vm.suspends |=
                    runs && offer.is_some_and(|offer| self.has_room_for_memory(&vm, offer).is_ok());
                vm.unpaid = Some(Unpaid { since, chain_time, reason: reason.to_owned() });
                ("payment.ended", reason)
            }
            (None, None) => return Ok(rental.vm),
            (None, Some(_)) => {
                vm.unpaid = None;
                // Nothing was done yet.
                vm.suspends &= vm.state != VmState::Running;
                ("payment.resumed", "")
            }
        };
        vm.updated_at = rounded(now);
        rental.vm = Arc::new(vm);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        rows::put(&transaction, &rental)?;
        events::put(&transaction, id, kind, detail, now)?;
        transaction.commit()?;
        let vm = Arc::clone(&rental.vm);
        self.now.mirror(rental);
        self.publish();
        Ok(vm)
    }
}
