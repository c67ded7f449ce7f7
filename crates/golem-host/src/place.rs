//! Folders that take the place of others.
//!
//! Owns names beside a folder, a folder that is worked in, whose everything in it is, and that names are on the disk. Never puts
//! one in its place.

use std::fs::{File, Metadata, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown};
use std::path::{Path, PathBuf};

/// What the ledger's database is in.
pub(crate) const LEDGER_FILES: [&str; 4] =
    ["provider.db", "provider.db-wal", "provider.db-shm", "provider.db-journal"];

/// The file that names the running node, in a data directory at no usual place.
pub(crate) const PID_FILE: &str = "provider.pid";

/// The way to the folder `path` without links, as it can be renamed.
pub(crate) fn real(path: &Path) -> io::Result<PathBuf> {
    match std::fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => std::path::absolute(path),
        real => real,
    }
}

/// `path` with `before` and `after` around its last component.
pub(crate) fn beside(path: &Path, before: &str, after: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{before}{name}{after}"))
}

/// Why a folder cannot be worked in.
#[derive(Debug)]
pub(crate) enum Begun {
    /// Another process works in it.
    Busy,
    /// It is not of one that was cut short.
    Stranger,
    Io(io::Error),
}

impl From<io::Error> for Begun {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Makes the folder `path` anew, and locks it as long as what this gives is there. What is left in it of one that was cut short,
/// which has a file `mark`, is removed.
///
/// # Errors
/// [`Begun`].
pub(crate) fn begin(path: &Path, mark: &str) -> Result<File, Begun> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.into()),
        _ => {}
    }
    // Not through a link.
    if std::fs::symlink_metadata(path)?.is_symlink() {
        return Err(Begun::Stranger);
    }
    let folder = File::open(path)?;
    match folder.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Begun::Busy),
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    if std::fs::read_dir(path)?.next().is_some() && !path.join(mark).exists() {
        return Err(Begun::Stranger);
    }
    // The mark goes last: without it nobody would know whose the rest is.
    empty(path, Some(mark))?;
    Ok(folder)
}

/// Removes what is in `folder`, but for what is called `kept`.
///
/// # Errors
/// Any error of looking or removing; gone already is fine.
pub(crate) fn empty(folder: &Path, kept: Option<&str>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if kept.is_some_and(|kept| entry.file_name() == kept) {
            continue;
        }
        golem_files::absent_is_fine(match entry.file_type()?.is_dir() {
            true => std::fs::remove_dir_all(entry.path()),
            false => std::fs::remove_file(entry.path()),
        })?;
    }
    Ok(())
}

/// Makes everything in `folder`, and itself, that is the user `before`'s the user's `user` and the `group`'s; root alone can.
///
/// # Errors
/// Any error of looking or changing.
pub(crate) fn give(folder: &Path, before: u32, user: u32, group: u32) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let hand = |path: &Path, found: &Metadata| match found.uid() == before {
        // What changes nothing is not written.
        true if (found.uid(), found.gid()) != (user, group) => lchown(path, Some(user), Some(group)),
        _ => Ok(()),
    };
    hand(folder, &std::fs::symlink_metadata(folder)?)?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            give(&entry.path(), before, user, group)?;
        } else {
            hand(&entry.path(), &entry.metadata()?)?;
        }
    }
    Ok(())
}

/// Sees to it that the names in `folder` and below it are on the disk.
///
/// # Errors
/// Any error of opening or syncing one.
pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync(&entry.path())?;
        }
    }
    File::open(folder)?.sync_all()
}
