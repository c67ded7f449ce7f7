//! The ledger: the one record of who rents what.
//!
//! Owns the database and its only writer, a thread; every change is one transaction that is on
//! disk before anyone hears of it, and every side effect follows its row (I1). Capacity and port
//! are taken in one transaction, judged by [`crate::admit`] against the rows themselves (I6).
//! Never touches a backend, a socket (but for asking whether a port is free) or the clock of
//! anything it records.

mod adopt;
mod adverts;
mod book;
mod boots;
mod history;
mod money;
mod ports;
mod rates;
mod recover;
mod rows;
mod schema;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use golem_types::{
    AuthorizedKey, IllegalMove, ImageName, JobId, Resources, StreamKey, VmId, VmName, VmState,
};
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, oneshot, watch};

pub use adopt::Adoption;
pub use adverts::{AdvertSpending, AdvertWrite};
pub use boots::{Failure, KEPT_FOR};
pub use history::Pruned;
pub use money::{Event, StreamCopy, Try, Withdrawal, WithdrawalState};
pub use recover::Recovery;
pub use snapshot::Snapshot;

use crate::config::Limits;
use crate::host::{HostUse, Offer};
use crate::payment::Paid;
use crate::ports::PortPolicy;
use crate::vm::{Job, Refusal, Vm};
use book::JobEnd;
use golem_reach::probe::Probes;

/// Why the ledger could not answer.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database cannot be read or written.
    #[error("the database failed")]
    Sql(#[from] rusqlite::Error),
    /// The database is damaged.
    #[error(
        "the ledger is damaged; it is left as it is. Fix: `golem-provider recover` puts it aside and writes a new one \
         from the VMs that are on this host"
    )]
    Damaged(#[source] rusqlite::Error),
    /// The database is of a newer version.
    #[error("the database could not be brought to this version's schema")]
    Migrate(#[source] rusqlite_migration::Error),
    /// The database's file cannot be made, or is not this user's alone.
    #[error("the database's file cannot be used")]
    File(#[source] std::io::Error),
    /// The thread of the ledger could not be started.
    #[error("the ledger's thread could not be started")]
    Thread(#[source] std::io::Error),
    /// A change that the states' drawing does not have.
    #[error("an illegal change was refused")]
    Illegal(#[from] IllegalMove),
    /// No live rental has that id.
    #[error("no live rental {0}")]
    NoRental(VmId),
    /// No port is left for a machine that is taken over.
    #[error("no SSH port is left")]
    NoPort,
    /// No randomness could be had.
    #[error("the operating system gave no randomness")]
    Random,
    /// The ledger was closed.
    #[error("the ledger is closed")]
    Closed,
}

impl LedgerError {
    /// What is wrong with the disk under the ledger, if that is what is wrong; renters may read it.
    #[must_use]
    pub fn disk_trouble(&self) -> Option<&'static str> {
        use rusqlite::ErrorCode;
        match self {
            Self::File(error) | Self::Thread(error) => golem_files::disk_trouble(error),
            Self::Sql(error) | Self::Migrate(rusqlite_migration::Error::RusqliteError { err: error, .. }) => {
                match error.sqlite_error_code()? {
                    ErrorCode::DiskFull => Some("the provider's disk is full"),
                    ErrorCode::ReadOnly => Some("the provider's disk is read-only"),
                    // A quota that is used up, too, and a full disk where SQLite maps a file.
                    ErrorCode::SystemIoFailure => Some("the provider's disk is full or failing"),
                    ErrorCode::CannotOpen => Some("the provider's disk cannot be written"),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// What a rental should be; only its renter, the operator or the end of money changes it, and its guest by
/// shutting itself down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Running, for as long as it is rented.
    Running,
    /// Stopped, disk kept.
    Stopped,
    /// Gone.
    Deleted,
}

impl Goal {
    const ALL: [Self; 3] = [Self::Running, Self::Stopped, Self::Deleted];

    /// The goal as the ledger writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Deleted => "deleted",
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no goal.
#[derive(Debug, thiserror::Error)]
#[error("no goal is called {0:?}")]
pub struct UnknownGoal(String);

impl FromStr for Goal {
    type Err = UnknownGoal;

    fn from_str(text: &str) -> Result<Self, UnknownGoal> {
        Self::ALL.into_iter().find(|goal| goal.as_str() == text).ok_or_else(|| UnknownGoal(text.to_owned()))
    }
}

/// A row: the rental as the outside sees it, and what the node wants with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rental {
    /// The rental as the outside sees it.
    pub vm: Arc<Vm>,
    /// What its renter wants it to be.
    pub goal: Goal,
    /// Whether it ran once: from then on its disk is the renter's, and is never made anew.
    pub made: bool,
}

impl Rental {
    /// What the machine should be: what its renter wants, as long as that is paid for.
    #[must_use]
    pub fn aim(&self) -> Goal {
        match self.goal {
            Goal::Running if self.vm.unpaid.is_some() => Goal::Stopped,
            goal => goal,
        }
    }
}

/// What a machine's task reports of its rental.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// The new state; none keeps it.
    pub state: Option<VmState>,
    /// The new error text; the outer none keeps it.
    pub error: Option<Option<String>>,
    /// The guest's address, once known.
    pub ip_address: Option<IpAddr>,
    /// Set with the first time that it runs: ends the job as ready.
    pub made: bool,
}

impl Change {
    /// A move to `state`, without error.
    #[must_use]
    pub fn to(state: VmState) -> Self {
        Self { state: Some(state), error: Some(None), ..Self::default() }
    }

    /// A move to `error`, and why.
    #[must_use]
    pub fn error(reason: impl Into<String>) -> Self {
        Self { state: Some(VmState::Error), error: Some(Some(reason.into())), ..Self::default() }
    }
}

/// What a create takes.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Who rents.
    pub owner: String,
    /// What the renter calls it.
    pub name: VmName,
    /// What it is to have.
    pub resources: Resources,
    /// Catalogue name of its image.
    pub image: ImageName,
    /// The key that may log in.
    pub ssh_key: AuthorizedKey,
    /// The digest of the quote that was named, by which the same create is known again.
    pub quote: Option<String>,
    /// That it is paid for.
    pub paid: Paid,
}

/// What a reservation is judged by, besides the ledger's own rows.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Limits on what is rented out.
    pub limits: Limits,
    /// What the host has to rent out.
    pub offer: Offer,
    /// How busy the host is.
    pub host: HostUse,
    /// SSH ports that may be handed out, end exclusive.
    pub ports: Range<u16>,
    /// Address on which the SSH ports listen.
    pub ssh_bind: IpAddr,
    /// What has to be known of a port.
    pub port_policy: PortPolicy,
    /// Listeners of ours, which keep no port from being handed out.
    pub probes: Probes,
}

/// What the ledger knows of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// A live rental.
    Live,
    /// A rental that ended: whatever is left of it is to be removed.
    Ended,
    /// Nothing. A machine with such an id is not ours to touch: the ledger may have been lost.
    Unknown,
}

type Task = Box<dyn FnOnce(&mut Book) + Send>;

/// A handle on the ledger; clones share it. The thread ends with the last handle.
#[derive(Debug, Clone)]
pub struct Ledger {
    tasks: mpsc::Sender<Task>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    /// What is wrong with the disk, since a write failed and until one succeeds.
    trouble: watch::Receiver<Option<&'static str>>,
}

/// What the ledger's thread holds.
struct Book {
    connection: Connection,
    now: Snapshot,
    ports_last_used: BTreeMap<u16, i64>,
    published: watch::Sender<Arc<Snapshot>>,
    trouble: watch::Sender<Option<&'static str>>,
}

/// Callers that wait for the thread before the next one is made to wait to ask.
const QUEUE: usize = 256;

impl Ledger {
    /// Opens the ledger in the file `path`, which is made or brought to this version's schema.
    ///
    /// # Errors
    /// [`LedgerError::Sql`], [`LedgerError::Migrate`] when it is newer or damaged.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        golem_files::private_database(path).map_err(LedgerError::File)?;
        let mut connection = Connection::open(path)?;
        look_for_damage(&connection)?;
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
        now.port_verdicts = Arc::new(ports::verdicts(&connection)?);
        let ports_last_used = rows::ports_last_used(&connection)?;
        let (published, snapshot) = watch::channel(Arc::new(now.clone()));
        let (tasks, mut queue) = mpsc::channel::<Task>(QUEUE);
        let (in_trouble, trouble) = watch::channel(None);
        let mut book = Book { connection, now, ports_last_used, published, trouble: in_trouble };
        std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || {
                while let Some(task) = queue.blocking_recv() {
                    task(&mut book);
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
        self.ask(|book| {
            book.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
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
        task: impl FnOnce(&mut Book) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (answer, answered) = oneshot::channel();
        let task: Task = Box::new(move |book| {
            let before = book.connection.total_changes();
            let done = task(book);
            let trouble = done.as_ref().err().and_then(LedgerError::disk_trouble);
            // What was only read says nothing about writing.
            if trouble.is_some() || book.connection.total_changes() != before {
                book.trouble.send_if_modified(|known| std::mem::replace(known, trouble) != trouble);
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

    /// Takes capacity, name and port for what is `wanted`, or says why not: one transaction.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger itself fails; a refusal is the inner result.
    pub async fn reserve(
        &self,
        wanted: Wanted,
        terms: Terms,
        now: Timestamp,
    ) -> Result<Result<(Arc<Vm>, Job), Refusal>, LedgerError> {
        self.ask(move |book| book.reserve(wanted, &terms, now)).await
    }

    /// The live rental `name` that `stream` pays for, and its job, if its create named the quote of the
    /// digest `quote`.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn created(
        &self,
        name: VmName,
        stream: StreamKey,
        quote: String,
    ) -> Result<Option<(Arc<Vm>, Job)>, LedgerError> {
        self.ask(move |book| {
            let is_it = |rental: &&Rental| {
                rental.vm.stream.as_ref() == Some(&stream)
                    && rental.vm.name == name
                    && rental.goal != Goal::Deleted
            };
            let Some(rental) = book.now.iter().find(is_it) else { return Ok(None) };
            let job = rows::job_of_quote(&book.connection, &rental.vm.id, &quote)?;
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
        self.ask(move |book| {
            book.edit(&id, now, |rental, vm| {
                // Nothing leaves the way to deletion.
                if rental.goal != Goal::Deleted {
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
        self.ask(move |book| {
            book.edit(&id, now, move |rental, vm| {
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
                let first = change.made && !rental.made;
                rental.made |= change.made;
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
        self.ask(move |book| {
            book.edit(&id, now, |rental, vm| {
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
        self.ask(move |book| {
            let vm = book.edit(&id, now, |rental, vm| {
                rental.goal = Goal::Deleted;
                vm.state = VmState::Deleted;
                Ok(Some(JobEnd::Failed("deleted before it ran".to_owned())))
            })?;
            book.ports_last_used.insert(vm.ssh_port, now.as_microsecond());
            Ok(vm)
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
        self.ask(move |book| {
            book.edit(&id, now, |_, vm| {
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
        self.ask(move |book| book.attach(&id, &paid, now)).await
    }

    /// Records that the live rental `id` is not paid for, and why; or that it is again.
    ///
    /// # Errors
    /// [`LedgerError::NoRental`], [`LedgerError::Sql`].
    pub async fn set_unpaid(
        &self,
        id: &VmId,
        reason: Option<String>,
        now: Timestamp,
    ) -> Result<Arc<Vm>, LedgerError> {
        let id = id.clone();
        self.ask(move |book| book.set_unpaid(&id, reason.as_deref(), now)).await
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
        self.ask(move |book| money::put_event(&book.connection, &id, kind, &detail, now)).await
    }

    /// The rental `id`, live or ended.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn rental(&self, id: &VmId) -> Result<Option<Rental>, LedgerError> {
        let id = id.clone();
        self.ask(move |book| rows::get(&book.connection, &id)).await
    }

    /// The job `id`.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn job(&self, id: &JobId) -> Result<Option<Job>, LedgerError> {
        let id = id.clone();
        self.ask(move |book| rows::job(&book.connection, &id)).await
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
        self.ask(move |book| {
            rows::set_draining(&book.connection, draining)?;
            book.now.draining = draining;
            book.publish();
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

#[cfg(test)]
mod tests;
