//! Rows of rentals whose ledger was lost.
//!
//! Owns writing them: under their old ids, and never over one that is there. What they say is known from
//! the machines' disks: [`crate::recover`] reads that.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::TransactionBehavior;

use super::columns::rounded;
use super::{Ledger, LedgerError, Writer, events, rows};
use crate::ports;
use crate::rental::Rental;
use crate::vm::Vm;

/// A rental as its machine's disk tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The rental; its port counts only if it is kept.
    pub rental: Rental,
    /// Whether it keeps its port; otherwise it gets a free one.
    pub keeps_port: bool,
}

impl Ledger {
    /// Writes the rows of `recoveries`, all of them or none. Those without a port get a free one of
    /// `free_ports`.
    ///
    /// # Errors
    /// [`LedgerError::Sql`], also when an id, a name of one owner, a port or a stream is in use already;
    /// [`LedgerError::NoPort`].
    pub async fn recover(
        &self,
        recoveries: Vec<Recovery>,
        free_ports: Range<u16>,
        now: Timestamp,
    ) -> Result<Vec<Arc<Vm>>, LedgerError> {
        self.ask(move |writer| writer.recover(recoveries, &free_ports, now)).await
    }
}

impl Writer {
    fn recover(
        &mut self,
        recoveries: Vec<Recovery>,
        free_ports: &Range<u16>,
        now: Timestamp,
    ) -> Result<Vec<Arc<Vm>>, LedgerError> {
        let mut taken = self.now.ports();
        taken.extend(recoveries.iter().filter(|one| one.keeps_port).map(|one| one.rental.vm.ssh_port));
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut rentals = Vec::new();
        for Recovery { mut rental, keeps_port } in recoveries {
            let mut vm = (*rental.vm).clone();
            if !keeps_port {
                let free =
                    ports::pick(free_ports.clone(), &taken, &BTreeSet::new(), &self.now.ports_last_used);
                vm.ssh_port = free.ok_or(LedgerError::NoPort)?;
                taken.insert(vm.ssh_port);
            }
            vm.created_at = rounded(vm.created_at);
            vm.updated_at = rounded(now);
            rental.vm = Arc::new(vm);
            rows::put(&transaction, &rental)?;
            events::put(&transaction, &rental.vm.id, "vm.recovered", "", now)?;
            rentals.push(rental);
        }
        transaction.commit()?;
        Ok(self.publish_all(rentals))
    }
}
