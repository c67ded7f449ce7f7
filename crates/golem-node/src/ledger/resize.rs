//! VMs that get more or less of the machine, as rows.
//!
//! Owns the one transaction in which that is granted: room and money are judged, the row says what the VM has from now on, and
//! the stream that paid until then is to be ended. One that runs is stopping then, and its goal, to run, has it restarted:
//! a machine is launched with what its row says. Never asks a chain.

use std::sync::Arc;

use golem_types::{Resources, VmId, VmState};
use jiff::Timestamp;
use rusqlite::TransactionBehavior;

use super::columns::rounded;
use super::{Ledger, LedgerError, Writer, events, money, promises, refunds, rows};
use crate::host::HostOffer;
use crate::paid::Paid;
use crate::rental::Rental;
use crate::vm::{Refusal, ShortResource, Vm};

/// What a VM may get.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResizeRoom {
    /// What the host has to rent out.
    pub(crate) offer: HostOffer,
    /// Least that one VM may have.
    pub(crate) minimum: Resources,
}

impl Ledger {
    /// Gives the live rental `id` all of `resources`, paid for by `paid`, and has the stream ended at `refund_at` that paid
    /// until now, if that is given and it is another.
    ///
    /// # Errors
    /// [`LedgerError::NoRental`], [`LedgerError::Sql`]; a refusal is the inner result.
    pub(crate) async fn resize(
        &self,
        id: &VmId,
        resources: Resources,
        paid: Paid,
        refund_at: Option<Timestamp>,
        room: ResizeRoom,
        now: Timestamp,
    ) -> Result<Result<Arc<Vm>, Refusal>, LedgerError> {
        let id = id.clone();
        self.ask(move |writer| {
            let rental = writer.now.get(&id).ok_or_else(|| LedgerError::NoRental(id.clone()))?;
            if !matches!(rental.vm.state, VmState::Running | VmState::Stopped)
                || rental.vm.suspends
                || rental.vm.snapshot_under_way().is_some()
            {
                // It was when the order came.
                return Ok(Err(Refusal::Busy));
            }
            if let Err(refusal) = writer.may_pay(rental, &paid)? {
                return Ok(Err(refusal));
            }
            if let Err(refusal) = writer.has_room_for(rental, resources, &paid, room) {
                return Ok(Err(refusal));
            }
            let rental = rental.clone();
            writer.resize(rental, resources, &paid, refund_at, now).map(Ok)
        })
        .await
    }
}

impl Writer {
    /// Whether `rental` can have `wanted` in place of what it has.
    fn has_room_for(
        &self,
        rental: &Rental,
        wanted: Resources,
        paid: &Paid,
        room: ResizeRoom,
    ) -> Result<(), Refusal> {
        let vm = &rental.vm;
        let now = vm.resources;
        if wanted.storage < now.storage {
            return Err(Refusal::Shrinks { now: now.storage });
        }
        let after = Vm { resources: wanted, ..(**vm).clone() };
        let own = paid.lease().and_then(|lease| self.now.promised.get(&lease));
        let own = own.map(|own| own.resources).unwrap_or_default();
        let free = room.offer.for_vms(self.now.with_room()).minus(self.now.held().minus(own));
        let whole = room.offer.for_vms(1);
        // Each snapshot may come to be as large as the disk.
        let more_storage = after.storage_held().saturating_sub(vm.storage_held());
        // One that has given them back waits for all of its CPU and memory, which the host has to have.
        let more = |wanted: u32, now: u32, whole: u32| match vm.held {
            true if wanted <= whole => 0,
            true => wanted,
            false => wanted.saturating_sub(now),
        };
        for (what, wanted, minimum, more, free, unit) in [
            (
                ShortResource::Cpu,
                wanted.cpu,
                room.minimum.cpu,
                more(wanted.cpu, now.cpu, whole.cpu),
                free.cpu,
                "CPU cores",
            ),
            (
                ShortResource::Memory,
                wanted.memory,
                room.minimum.memory,
                more(wanted.memory, now.memory, whole.memory),
                free.memory,
                "GB of memory",
            ),
            (
                ShortResource::Storage,
                wanted.storage,
                room.minimum.storage,
                more_storage,
                free.storage,
                "GB of storage",
            ),
        ] {
            if wanted < minimum {
                return Err(Refusal::BelowMinimum { what, minimum, unit });
            }
            if more > free {
                return Err(Refusal::Insufficient { what, wanted: more, free, unit });
            }
        }
        Ok(())
    }

    fn resize(
        &mut self,
        mut rental: Rental,
        resources: Resources,
        paid: &Paid,
        refund_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Arc<Vm>, LedgerError> {
        let before = Arc::clone(&rental.vm);
        let mut vm = (*before).clone();
        vm.resources = resources;
        if paid.key().is_some() {
            vm.stream = paid.key().cloned();
            vm.unpaid = None;
        }
        if vm.state == VmState::Running && resources != before.resources {
            vm.state = VmState::Stopping;
        }
        vm.updated_at = rounded(now);
        rental.vm = Arc::new(vm);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        rows::put(&transaction, &rental)?;
        let Resources { cpu, memory, storage } = resources;
        let detail = format!("{cpu} CPU cores, {memory} GB of memory, {storage} GB of storage");
        events::put(&transaction, &before.id, "vm.resized", &detail, now)?;
        events::put_change(&transaction, &before, &rental.vm, now)?;
        let another = rental.vm.stream != before.stream;
        if let Some(copy) = paid.copy(&before.id) {
            money::put_stream(&transaction, &copy)?;
            refunds::forget(&transaction, &copy.key)?;
            if another {
                events::put(&transaction, &before.id, "stream.attached", &copy.key.to_string(), now)?;
            }
        }
        if let (true, Some(at), Some(key)) = (another, refund_at, &before.stream) {
            refunds::put_due(&transaction, key, &before.id, at, now)?;
        }
        // What its quote keeps is for a VM that has its room.
        let promised = paid.lease().filter(|lease| self.now.promised.contains_key(lease));
        if let Some(lease) = &promised {
            promises::remove(&transaction, lease)?;
        }
        transaction.commit()?;
        if let Some(lease) = promised {
            self.now.promised.remove(&lease);
        }
        let vm = Arc::clone(&rental.vm);
        self.now.mirror(rental);
        self.publish();
        Ok(vm)
    }
}
