//! Taking over machines that another program made.
//!
//! Owns the rows of such rentals and what the backend calls their machines. A machine is taken over
//! once and for good: its name stays known after its rental ended. Never looks at a backend.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use golem_types::{FirstBoot, ImageName, Resources, StreamKey, VmId, VmName, VmState};
use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};

use super::columns::{parsed, rounded};
use super::writer::random;
use super::{Ledger, LedgerError, Writer, events, rows};
use crate::ports;
use crate::rental::{Goal, Rental};
use crate::vm::Vm;

/// Owner of rentals that were taken over: who rents them is not known.
const OWNER: &str = "imported";

/// A machine that is there, and was made by another program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// What the backend calls it.
    pub backend_name: String,
    /// What its renter calls it.
    pub name: VmName,
    /// Whether it runs, boots or is stopped.
    pub state: VmState,
    /// What it was sold.
    pub resources: Resources,
    /// The image it was made from.
    pub image: ImageName,
    /// The guest's address, while it runs.
    pub ip_address: Option<IpAddr>,
    /// The port that leads to it; `None` if any free one will do.
    pub ssh_port: Option<u16>,
    /// The stream that pays for it.
    pub stream: Option<StreamKey>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What the backend calls the machines that were taken over, by rental.
fn backend_names(connection: &Connection) -> Result<BTreeMap<VmId, String>, LedgerError> {
    let mut statement =
        connection.prepare("SELECT id, backend_name FROM vms WHERE backend_name IS NOT NULL")?;
    let names =
        statement.query_map([], |row| Ok((parsed(row, 0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    Ok(names)
}

impl Ledger {
    /// Takes machines over, all of them or none: one transaction. A machine without a port gets a
    /// free one of `free_ports`. Gives the rentals in the order of `adoptions`.
    ///
    /// # Errors
    /// [`LedgerError::Sql`], also when a name, a port or a stream is in use already;
    /// [`LedgerError::NoPort`].
    pub async fn adopt(
        &self,
        adoptions: Vec<Adoption>,
        free_ports: std::ops::Range<u16>,
        now: Timestamp,
    ) -> Result<Vec<Arc<Vm>>, LedgerError> {
        self.ask(move |writer| writer.adopt(adoptions, &free_ports, now)).await
    }

    /// What the backend calls each machine that was ever taken over, ended rentals included.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn backend_names(&self) -> Result<BTreeMap<VmId, String>, LedgerError> {
        self.ask(|writer| backend_names(&writer.connection)).await
    }
}

impl Writer {
    fn adopt(
        &mut self,
        adoptions: Vec<Adoption>,
        free_ports: &std::ops::Range<u16>,
        now: Timestamp,
    ) -> Result<Vec<Arc<Vm>>, LedgerError> {
        let mut taken = self.now.ports();
        taken.extend(adoptions.iter().filter_map(|adoption| adoption.ssh_port));
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut rentals = Vec::new();
        for adoption in adoptions {
            let ssh_port = adoption
                .ssh_port
                .or_else(|| {
                    ports::pick(free_ports.clone(), &taken, &BTreeSet::new(), &self.now.ports_last_used)
                })
                .ok_or(LedgerError::NoPort)?;
            taken.insert(ssh_port);
            let rental = rental(&adoption, ssh_port, now)?;
            let id = &rental.vm.id;
            rows::put(&transaction, &rental)?;
            transaction.execute(
                "UPDATE vms SET backend_name = ?2 WHERE id = ?1",
                params![id.as_str(), adoption.backend_name],
            )?;
            events::put(&transaction, id, "vm.imported", &adoption.backend_name, now)?;
            rentals.push(rental);
        }
        transaction.commit()?;
        Ok(self.publish_all(rentals))
    }
}

/// The rental of a machine that is there: it ran once, so its disk is its renter's.
fn rental(adoption: &Adoption, ssh_port: u16, now: Timestamp) -> Result<Rental, LedgerError> {
    let goal = if adoption.state == VmState::Stopped { Goal::Stopped } else { Goal::Running };
    let vm = Vm {
        id: VmId::new(&adoption.name, rounded(adoption.created_at), random()?),
        name: adoption.name.clone(),
        owner: OWNER.to_owned(),
        state: adoption.state,
        error: None,
        resources: adoption.resources,
        image: adoption.image.clone(),
        keys: Vec::new(),
        first_boot: FirstBoot::default(),
        snapshots: Vec::new(),
        ip_address: adoption.ip_address,
        ssh_port,
        stream: adoption.stream.clone(),
        unpaid: None,
        held: false,
        suspends: false,
        rebuild_at: None,
        rebuild_due: false,
        created_at: rounded(adoption.created_at),
        updated_at: rounded(now),
    };
    Ok(Rental { vm: Arc::new(vm), goal, has_booted: true })
}
