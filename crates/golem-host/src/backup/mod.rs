//! Backups: what a node cannot make again, in one encrypted file.
//!
//! ```text
//!   keys, settings, profiles ─┐
//!   copy of the ledger ───────┴─► tar, the manifest first ─► age, by a passphrase ─► FILE, whole or not there
//!                                                                                     │
//!   data directory ◄── one exchange ◄── folder beside it ◄── everything is checked ◄──┘
//! ```
//! Owns the file's form and how it comes back. Disks, images and logs are not in it. Never opens the ledger's database, whose
//! copy it is given, and knows no setting.

mod manifest;
mod read;
mod restore;
mod temporary;
mod write;

use std::io;
use std::path::PathBuf;

pub use manifest::{FORMAT, LEDGER, Manifest, Member, SERVICE_SETTINGS, USER_SETTINGS};
pub use read::{Backup, check_members};
pub use restore::{Destination, Restoration, finish, is_unfinished, look, run};
pub use temporary::{copy_place, remove_copies};
pub use write::{Cost, LedgerCopy, Source, write, write_to};

/// Why a backup is not written, not read, or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file of the node cannot be read.
    #[error("{} cannot be read for the backup", .path.display())]
    Source {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the node has a name that no backup holds.
    #[error("{} has a name that is too long or not plain text; fix: rename it", .0.display())]
    Name(PathBuf),
    /// There are more small files than a backup holds.
    #[error("there are more than {} files in {}; fix: move away what is not the provider's", manifest::MOST, .0.display())]
    Many(PathBuf),
    /// There is nothing to back up.
    #[error("there is no key, no ledger and no setting in {}; fix: set GOLEM_PROVIDER_DATA_DIR to the node's", .0.display())]
    Nothing(PathBuf),
    /// It is there already.
    #[error("{} is there already; fix: name another file, or add --force", .0.display())]
    Exists(PathBuf),
    /// It is there, and no file.
    #[error("{} is no file; fix: name another one", .0.display())]
    NoFile(PathBuf),
    /// The file cannot be written.
    #[error("the backup cannot be written to {}", .path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be encrypted.
    #[error("the backup cannot be encrypted")]
    Encrypt(#[source] age::EncryptError),
    /// It cannot be opened or read.
    #[error("the backup {} cannot be read", .path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is something else.
    #[error("this is no backup of a provider; fix: name a file that `golem-provider backup` wrote")]
    NotOne,
    /// Another passphrase opens it.
    #[error("the passphrase is wrong; fix: give the one that the backup was made with")]
    Passphrase,
    /// Opening it takes more memory than any backup of ours.
    #[error(
        "opening this file takes more memory than any backup does; fix: name a file that `golem-provider backup` wrote"
    )]
    Work,
    /// It is not what was written.
    #[error("the backup is damaged: {0}; fix: take another copy of it")]
    Damaged(&'static str),
    /// A member is not what it should be.
    #[error("the backup is refused: its member {0:?} {1}; fix: take another copy of it")]
    Member(String, &'static str),
    /// A later program wrote it.
    #[error("the backup has form {0}, and this program knows {FORMAT}; fix: update golem-provider")]
    NewerFormat(u32),
    /// Its ledger is a later program's.
    #[error(
        "the backup's ledger has version {found}, and this program knows {known}; fix: update golem-provider"
    )]
    NewerLedger {
        /// The backup's.
        found: u32,
        /// The newest that can be read.
        known: u32,
    },
    /// The folder cannot be put in its place.
    #[error("{} cannot be put in its place", .path.display())]
    Place {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file system has no exchange.
    #[error("the file system of {} cannot exchange two folders; fix: set GOLEM_PROVIDER_DATA_DIR to a folder on ext4, xfs or btrfs", .0.display())]
    Exchange(PathBuf),
    /// The data directory is where a file system is mounted.
    #[error("{} is where a file system is mounted, which cannot be exchanged; fix: set GOLEM_PROVIDER_DATA_DIR to a folder in it", .0.display())]
    MountPoint(PathBuf),
    /// The volume has not enough room.
    #[error("{} has no room for {bytes} bytes; fix: free some", .path.display())]
    Room {
        /// Where.
        path: PathBuf,
        /// What is needed, in bytes.
        bytes: u64,
    },
    /// Another one is at it.
    #[error("another restore is under way; fix: wait for its end")]
    Busy,
    /// What stands where the restore works is not its own.
    #[error("{} is not of a restore that was cut short; fix: look at it, then move it away", .0.display())]
    Stranger(PathBuf),
}

#[cfg(test)]
mod tests;
