//! The ledger: the one record of who rents what.
//!
//! Owns the database and its only writer, a thread; every change is one transaction that is on
//! disk before anyone hears of it, and every side effect follows its row (I1). Capacity and port
//! are taken in one transaction, judged by [`crate::admit`] against the rows themselves (I6).
//! Never touches a backend, a socket or the clock of anything it records.

mod adopt;
mod adverts;
mod books;
mod boots;
mod claim;
mod columns;
mod contracts;
mod copy;
pub(crate) mod disk_snapshots;
mod entries;
mod error;
mod events;
mod history;
mod last_boot;
mod measurements;
mod money;
mod ports;
mod promises;
mod rates;
mod readings;
mod rebuild;
mod recover;
mod refunds;
mod resize;
mod room;
mod rows;
mod schema;
mod sessions;
mod snapshot;
mod suspension;
mod sweeps;
mod transaction_ends;
mod transactions;
mod unpaid;
mod writer;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use alloy_primitives::Address;
use golem_types::wire::CreateVm;
use golem_types::{AuthorizedKey, IllegalMove, ImageName, JobId, StreamId, StreamKey, VmId, VmName, VmState};
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, oneshot, watch};

pub use adopt::Adoption;
pub use adverts::{AdvertSpending, AdvertWrite};
pub use books::{Batch, Booked};
pub use boots::{BootFailure, KEPT_FOR};
pub(crate) use claim::ClaimedUse;
pub use entries::{BookedStream, Entry};
pub use error::LedgerError;
pub use events::Event;
pub use history::Pruned;
pub use measurements::{Measured, MeasuredHost, MeasuredVm, Step};
pub use money::{Withdrawal, WithdrawalState};
pub use readings::Readings;
pub use recover::Recovery;
pub(crate) use refunds::Refund;
pub(crate) use resize::ResizeRoom;
pub(crate) use room::Room;
pub use snapshot::Snapshot;
pub use sweeps::Sweep;
pub use transaction_ends::Correction;
pub(crate) use transactions::WITHIN;
pub use transactions::{Account, Order, Purpose, Transaction, TransactionState, Try};

use crate::admit::AdmissionContext;
use crate::paid::Paid;
use crate::rental::{Change, Goal, Known, Rental};
use crate::vm::{Job, Refusal, Vm, owner_of};
use writer::{JobEnd, quote_digest};

type Task = Box<dyn FnOnce(&mut Writer) + Send>;

/// A handle on the ledger; clones share it. The thread ends with the last handle.
#[derive(Debug, Clone)]
pub struct Ledger {
    tasks: mpsc::Sender<Task>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    /// What is wrong with the disk, since a write failed and until one succeeds.
    trouble: watch::Receiver<Option<&'static str>>,
}

/// What the ledger's thread holds.
struct Writer {
    connection: Connection,
    now: Snapshot,
    published: watch::Sender<Arc<Snapshot>>,
    trouble: watch::Sender<Option<&'static str>>,
}

/// Callers that wait for the thread before the next one is made to wait to ask.
const QUEUE: usize = 256;

impl Ledger {
    /// Opens the ledger in the file `path`, which is made or brought to this version's schema.
    ///
    /// # Errors
    /// [`LedgerError::Sql`], [`LedgerError::Damaged`], [`LedgerError::Newer`]: the file is then as it was.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        golem_files::private_database(path).map_err(LedgerError::File)?;
        let mut connection = Connection::open(path)?;
        look_for_damage(&connection)?;
        refuse_newer(&connection)?;
        history::make_shrinkable(&connection);
        connection.pragma_update(None, "journal_mode", "wal")?;
        // A rental that was confirmed must survive a power cut, not only a crash of the process.
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        schema::migrations().to_latest(&mut connection).map_err(LedgerError::Migrate)?;
        let mut now = Snapshot::default();
        now.draining = rows::draining(&connection)?;
        for rental in rows::live(&connection)? {
            now.mirror(rental);
        }
        now.promised =
            promises::all(&connection)?.into_iter().map(|promise| (promise.lease, promise)).collect();
        now.port_verdicts = Arc::new(ports::verdicts(&connection)?);
        now.ports_last_used = Arc::new(rows::ports_last_used(&connection)?);
        let (published, snapshot) = watch::channel(Arc::new(now.clone()));
        let (tasks, mut queue) = mpsc::channel::<Task>(QUEUE);
        let (in_trouble, trouble) = watch::channel(None);
        let mut writer = Writer { connection, now, published, trouble: in_trouble };
        std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || {
                while let Some(task) = queue.blocking_recv() {
                    task(&mut writer);
                }
            })
            .map_err(LedgerError::Thread)?;
        Ok(Self { tasks, snapshot, trouble })
    }

    /// Puts everything that was written into the database's one file, so that a copy of it is whole. Other
    /// calls go on to work.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn checkpoint(&self) -> Result<(), LedgerError> {
        self.ask(|writer| {
            writer.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            Ok(())
        })
        .await
    }

    /// The ports that live rentals hold in the file `path`, without changing it; no node needs to run.
    ///
    /// # Errors
    /// [`LedgerError::Sql`] when there is no such file, or it has another version's schema.
    pub fn ports_held(path: &Path) -> Result<BTreeSet<u16>, LedgerError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        Ok(rows::live(&connection)?.iter().map(|rental| rental.vm.ssh_port).collect())
    }

    /// What the ledger says now.
    #[must_use]
    pub fn now(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// Tells of every change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }

    async fn ask<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Writer) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (answer, answered) = oneshot::channel();
        let task: Task = Box::new(move |writer| {
            let before = writer.connection.total_changes();
            let done = task(writer);
            let trouble = done.as_ref().err().and_then(LedgerError::disk_trouble);
            // What was only read says nothing about writing.
            if trouble.is_some() || writer.connection.total_changes() != before {
                writer.trouble.send_if_modified(|known| std::mem::replace(known, trouble) != trouble);
            }
            // A caller that went away does not undo what it asked for.
            let _ = answer.send(done);
        });
        self.tasks.send(task).await.map_err(|_| LedgerError::Closed)?;
        answered.await.map_err(|_| LedgerError::Closed)?
    }

    /// What is wrong with the disk under the ledger: known from writes that fail, and tried again now when
    /// the last one did.
    pub async fn trouble(&self) -> Option<&'static str> {
        if self.trouble.borrow().is_some() {
            let draining = self.now().draining;
            let _ = self.set_draining(draining).await;
        }
        *self.trouble.borrow()
    }

    /// Takes capacity, name, stream and port for the VM of `image` that is asked for, or says why not: one
    /// transaction.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger itself fails; a refusal is the inner result.
    pub async fn reserve(
        &self,
        request: CreateVm,
        image: ImageName,
        paid: Paid,
        context: AdmissionContext,
        now: Timestamp,
    ) -> Result<Result<(Arc<Vm>, Job), Refusal>, LedgerError> {
        self.ask(move |writer| writer.reserve(request, image, &paid, &context, now)).await
    }

    /// The live rental `name` that `stream` pays for, and its job, if its create named the quote `quote_id`.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn created(
        &self,
        name: VmName,
        stream: StreamKey,
        quote_id: &str,
    ) -> Result<Option<(Arc<Vm>, Job)>, LedgerError> {
        let quote = quote_digest(quote_id);
        self.ask(move |writer| {
            let is_it = |rental: &&Rental| rental.vm.name == name && rental.goal != Goal::Deleted;
            let Some(rental) = writer.now.paid_by(&stream).filter(is_it) else { return Ok(None) };
            let job = rows::job_of_quote(&writer.connection, &rental.vm.id, &quote)?;
            Ok(job.map(|job| (Arc::clone(&rental.vm), job)))
        })
        .await
    }

    /// The rental of the wallet `renter` that is called `name` and paid for by the stream `stream` of any contract, and its job;
    /// `None` if there is none.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn created_by(
        &self,
        renter: Address,
        stream: StreamId,
        name: VmName,
    ) -> Result<Option<(Arc<Vm>, Job)>, LedgerError> {
        let owner = owner_of(renter);
        self.ask(move |writer| {
            let is_it = |rental: &&Rental| {
                rental.vm.owner == owner
                    && rental.vm.name == name
                    && rental.vm.stream.as_ref().is_some_and(|key| key.id == stream)
                    && rental.goal != Goal::Deleted
            };
            let Some(rental) = writer.now.iter().find(is_it) else { return Ok(None) };
            let job = rows::job_of(&writer.connection, &rental.vm.id)?;
            Ok(job.map(|job| (Arc::clone(&rental.vm), job)))
        })
        .await
    }

    /// Sets what the live rental `id` should be, and moves it to `state` where given and legal.
    ///
    /// # Errors
    /// [`LedgerError::NoRental`]; [`LedgerError::Sql`].
    pub async fn aim(
        &self,
        id: &VmId,
        goal: Goal,
        state: Option<VmState>,
        now: Timestamp,
    ) -> Result<Arc<Vm>, LedgerError> {
        let id = id.clone();
        self.ask(move |writer| {
            writer.edit(&id, now, |rental, vm| {
                // Nothing leaves the way to deletion.
                if rental.goal != Goal::Deleted {
                    // Who has it shut down wants nothing of its memory, unless it is suspended: that is refused before.
                    vm.suspends &= goal != Goal::Stopped || vm.is_suspended();
                    rental.goal = goal;
                    if let Some(state) = state.filter(|state| vm.state.may_become(*state)) {
                        vm.state = state;
                        vm.error = None;
                    }
                }
                Ok(None)
            })
        })
        .await
    }

    /// Records what the machine's task saw or did.
    ///
    /// # Errors
    /// [`LedgerError::NoRental`], [`LedgerError::Illegal`], [`LedgerError::Sql`].
    pub async fn advance(&self, id: &VmId, change: Change, now: Timestamp) -> Result<Arc<Vm>, LedgerError> {
        let id = id.clone();
        self.ask(move |writer| {
            writer.edit(&id, now, move |rental, vm| {
                if let Some(state) = change.state.filter(|state| *state != vm.state) {
                    if !vm.state.may_become(state) {
                        return Err(IllegalMove { from: vm.state, to: state }.into());
                    }
                    vm.state = state;
                }
                if let Some(error) = change.error {
                    vm.error = error;
                }
                vm.ip_address = change.ip_address.or(vm.ip_address);
                let first = change.has_booted && !rental.has_booted;
                rental.has_booted |= change.has_booted;
                Ok(first.then_some(JobEnd::Ready))
            })
        })
        .await
    }

    /// Gives the create of rental `id` up: its job failed for `reason`, and what was made of it
    /// is to be removed.
    ///
    /// # Errors
    /// [`LedgerError::NoRental`]; [`LedgerError::Sql`].
    pub async fn give_up(&self, id: &VmId, reason: String, now: Timestamp) -> Result<Arc<Vm>, LedgerError> {
        let id = id.clone();
        self.ask(move |writer| {
            writer.edit(&id, now, |rental, vm| {
                rental.goal = Goal::Deleted;
                vm.state = VmState::Error;
                vm.error = Some(reason.clone());
                Ok(Some(JobEnd::Failed(reason)))
            })
        })
        .await
    }

    /// Ends the rental `id`, whose machine is gone: capacity, name and port are free.
    ///
    /// # Errors
    /// [`LedgerError::NoRental`]; [`LedgerError::Sql`].
    pub async fn end(&self, id: &VmId, now: Timestamp) -> Result<Arc<Vm>, LedgerError> {
        let id = id.clone();
        self.ask(move |writer| {
            writer.edit(&id, now, |rental, vm| {
                rental.goal = Goal::Deleted;
                vm.state = VmState::Deleted;
                Ok(Some(JobEnd::Failed("deleted before it ran".to_owned())))
            })
        })
        .await
    }

    /// Adds `key` to the live rental `id`, once.
    ///
    /// # Errors
    /// [`LedgerError::NoRental`]; [`LedgerError::Sql`].
    pub async fn add_key(
        &self,
        id: &VmId,
        key: AuthorizedKey,
        now: Timestamp,
    ) -> Result<Arc<Vm>, LedgerError> {
        let id = id.clone();
        self.ask(move |writer| {
            writer.edit(&id, now, |_, vm| {
                if !vm.keys.contains(&key) {
                    vm.keys.push(key);
                }
                Ok(None)
            })
        })
        .await
    }

    /// Lets another stream pay for the live rental `id`, which is paid for from now on.
    ///
    /// # Errors
    /// [`LedgerError::NoRental`], [`LedgerError::Sql`]; a refusal is the inner result.
    pub async fn attach(
        &self,
        id: &VmId,
        paid: Paid,
        now: Timestamp,
    ) -> Result<Result<Arc<Vm>, Refusal>, LedgerError> {
        let id = id.clone();
        self.ask(move |writer| writer.attach(&id, &paid, now)).await
    }

    /// Records that something happened to the rental `id`.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn note(
        &self,
        id: &VmId,
        kind: &'static str,
        detail: String,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let id = id.clone();
        self.ask(move |writer| events::put(&writer.connection, &id, kind, &detail, now)).await
    }

    /// The rental `id`, live or ended.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn rental(&self, id: &VmId) -> Result<Option<Rental>, LedgerError> {
        let id = id.clone();
        self.ask(move |writer| rows::get(&writer.connection, &id)).await
    }

    /// The job `id`.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn job(&self, id: &JobId) -> Result<Option<Job>, LedgerError> {
        let id = id.clone();
        self.ask(move |writer| rows::job(&writer.connection, &id)).await
    }

    /// What is known of `id`.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn known(&self, id: &VmId) -> Result<Known, LedgerError> {
        Ok(match self.rental(id).await? {
            Some(rental) if rows::is_live(&rental) => Known::Live,
            Some(_) => Known::Ended,
            None => Known::Unknown,
        })
    }

    /// Records whether the node should run empty.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn set_draining(&self, draining: bool) -> Result<(), LedgerError> {
        self.ask(move |writer| {
            rows::set_draining(&writer.connection, draining)?;
            writer.now.draining = draining;
            writer.publish();
            Ok(())
        })
        .await
    }
}

/// Whether the database can be read to its end, before anything is written to it.
fn look_for_damage(connection: &Connection) -> Result<(), LedgerError> {
    let damaged = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            LedgerError::Damaged(error)
        }
        _ => LedgerError::Sql(error),
    };
    let found: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(damaged)?;
    if found == "ok" {
        return Ok(());
    }
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    Err(LedgerError::Damaged(rusqlite::Error::SqliteFailure(code, Some(found))))
}

/// Refuses a database of a newer version before anything is written to it.
fn refuse_newer(connection: &Connection) -> Result<(), LedgerError> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > i64::from(schema::newest()) {
        return Err(LedgerError::Newer { found, known: schema::newest() });
    }
    Ok(())
}

#[cfg(test)]
mod kept_database;
#[cfg(test)]
mod tests;
