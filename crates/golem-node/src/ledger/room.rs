//! Room for a rental that was held and is paid for again.
//!
//! Owns the one transaction in which CPU and memory are taken back, if they are there. Never decides whether a rental is
//! paid for.

use std::sync::Arc;

use golem_types::VmId;
use jiff::Timestamp;
use rusqlite::TransactionBehavior;

use super::columns::rounded;
use super::{Ledger, LedgerError, Writer, rows};
use crate::host::HostOffer;
use crate::vm::{Refusal, ShortResource, Vm};

/// What there is to take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// What the host has to rent out.
    pub offer: HostOffer,
    /// Most VMs that may have CPU and memory.
    pub max_vms: u32,
}

impl Ledger {
    /// Takes CPU and memory for the live rental `id` again, if it was held, is paid for, and `room` has them.
    ///
    /// # Errors
    /// [`LedgerError::NoRental`], [`LedgerError::Sql`]; a refusal is the inner result.
    pub(crate) async fn take_room(
        &self,
        id: &VmId,
        room: Room,
        now: Timestamp,
    ) -> Result<Result<Arc<Vm>, Refusal>, LedgerError> {
        let id = id.clone();
        self.ask(move |writer| writer.take_room(&id, room, now)).await
    }
}

impl Writer {
    fn take_room(
        &mut self,
        id: &VmId,
        room: Room,
        now: Timestamp,
    ) -> Result<Result<Arc<Vm>, Refusal>, LedgerError> {
        let rental = self.now.get(id).ok_or_else(|| LedgerError::NoRental(id.clone()))?;
        if !rental.vm.held || rental.vm.unpaid.is_some() {
            return Ok(Ok(Arc::clone(&rental.vm)));
        }
        // What is promised is taken as well. Others that wait have nothing yet.
        let (mut vms, mut taken) = self.now.promised_in_all();
        for other in self.now.iter().filter(|other| !other.vm.held) {
            vms = vms.saturating_add(1);
            taken = taken.plus(other.vm.resources);
        }
        if vms >= room.max_vms {
            return Ok(Err(Refusal::TooManyVms { maximum: room.max_vms }));
        }
        let free = room.offer.for_vms(vms.saturating_add(1)).minus(taken);
        let wanted = rental.vm.resources;
        for (what, wanted, free, unit) in [
            (ShortResource::Cpu, wanted.cpu, free.cpu, "CPU cores"),
            (ShortResource::Memory, wanted.memory, free.memory, "GB of memory"),
        ] {
            if wanted > free {
                return Ok(Err(Refusal::Insufficient { what, wanted, free, unit }));
            }
        }
        let mut rental = rental.clone();
        rental.vm = Arc::new(Vm { held: false, updated_at: rounded(now), ..(*rental.vm).clone() });
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        rows::put(&transaction, &rental)?;
        transaction.commit()?;
        let vm = Arc::clone(&rental.vm);
        self.now.mirror(rental);
        self.publish();
        Ok(Ok(vm))
    }
}
