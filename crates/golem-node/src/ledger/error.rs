//! Why the ledger did not do what it was asked.
//!
//! Owns the errors, and which of them say that the disk is at fault.

use golem_types::{IllegalMove, VmId};

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
    /// A newer program wrote the database.
    #[error(
        "the ledger has version {found}, and this program knows {known}; it is left as it is. Fix: install the newer \
         golem-provider again, or `golem-provider restore` a backup from before the update"
    )]
    Newer {
        /// The database's version.
        found: i64,
        /// This program's.
        known: u32,
    },
    /// A step to this version's schema failed.
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
