//! What `doctor --fix` does, and `doctor --undo` puts back.
//!
//! ```text
//!   seen ─► recorded, on the disk ─► done          undo: the last first, each only if it is still as it was left
//! ```
//! Owns the repairs, their record in the data directory, and the way back. Does only what loses nothing: modes are narrowed,
//! what a dead node left is put aside. Never touches a node that runs, nor what is another user's.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{CWD, OFlags, RenameFlags};
use serde::{Deserialize, Serialize};

use super::check::Check;
use super::machine::{is_own, open_modes, stale};
use crate::node::Node;
use crate::pid_file::{PidFile, PidFileError};

/// Folder of the data directory that has the record, and what was put aside.
pub const FOLDER: &str = "doctor";

const RECORD: &str = "repairs.json";

/// Version of the record.
const FORMAT: u32 = 1;

/// Most that a record may have, in bytes.
const LARGEST: u64 = 4 << 20;

/// Why nothing was repaired, or not everything.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Another doctor is at work.
    #[error("another `doctor --fix` or `--undo` of this node is at work; fix: wait until it has ended")]
    Busy,
    /// What was done before cannot be read.
    #[error("the record {} cannot be read; fix: look at it, and move it away", .path.display())]
    Record {
        /// The record.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something could not be done; what was done before it is recorded.
    #[error("{} cannot be changed; fix: run this as the user who runs the node, and see that its disk can be written", .path.display())]
    Change {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be seen whether the node runs.
    #[error("it cannot be seen whether the node runs")]
    Running(#[from] PidFileError),
}

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Repair {
    /// A file or folder was closed to others.
    Mode {
        /// It.
        path: PathBuf,
        /// Its mode until then.
        before: u32,
        /// Its mode since.
        after: u32,
    },
    /// A file that nobody holds was put aside.
    Aside {
        /// Where it was.
        path: PathBuf,
        /// Where it is.
        to: PathBuf,
    },
}

impl Repair {
    /// What it is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Mode { path, .. } | Self::Aside { path, .. } => path,
        }
    }

    /// What was done, for people.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Mode { path, before, after } => {
                format!("closed {} to others (mode {before:04o}, now {after:04o})", path.display())
            }
            Self::Aside { path, to } => format!("put {} aside, into {}", path.display(), to.display()),
        }
    }
}

/// What came of a way back.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Undone {
    /// Put back, the last first.
    pub put_back: Vec<Repair>,
    /// Left, because it is not as it was left.
    pub left: Vec<Repair>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    format: u32,
    repairs: Vec<Recorded>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Recorded {
    at: Timestamp,
    #[serde(flatten)]
    repair: Repair,
}

/// What is done about `check`, for the documentation; `None` if nothing is.
#[must_use]
pub const fn what_is_done(check: Check) -> Option<&'static str> {
    match check {
        Check::DataDirectory => Some("closes files and folders to others"),
        Check::Leftovers => Some("puts them aside, into `doctor/`"),
        _ => None,
    }
}

/// Does what is safe for `node`: what was done, which is recorded.
///
/// # Errors
/// [`RepairError`]; what was done before it is recorded.
pub async fn fix(node: &Node, now: Timestamp) -> Result<Vec<Repair>, RepairError> {
    let data_dir = &node.data_dir;
    if !is_own(data_dir) {
        return Ok(Vec::new());
    }
    let open = open_modes(data_dir).map_err(|source| change(data_dir, source))?;
    let left = stale(node)?;
    if open.is_empty() && left.is_empty() {
        return Ok(Vec::new());
    }
    let folder = data_dir.join(FOLDER);
    golem_files::private_subfolder(&folder).map_err(|source| change(&folder, source))?;
    let _lock = lock(&folder)?;
    let mut record = read(&folder)?;
    let mut done = Vec::new();
    for one in open {
        let repair = Repair::Mode { path: one.path, before: one.mode, after: one.mode & !0o077 };
        if make(&folder, &mut record, &repair, now)? {
            done.push(repair);
        }
    }
    // The PID file first, whose lock a node takes before it makes a socket.
    let (pid, sockets): (Vec<_>, Vec<_>) = left.into_iter().partition(|path| *path == node.pid_file);
    for path in pid {
        let repair = Repair::Aside { to: aside(&folder, &path, now), path };
        if make(&folder, &mut record, &repair, now)? {
            done.push(repair);
        }
    }
    if !sockets.is_empty() {
        // Nobody starts meanwhile.
        let _held = PidFile::take(&node.pid_file).await?;
        for path in sockets {
            let repair = Repair::Aside { to: aside(&folder, &path, now), path };
            if make(&folder, &mut record, &repair, now)? {
                done.push(repair);
            }
        }
    }
    Ok(done)
}

/// Puts back what was done for `node`, the last first. What is not as it was left stays as it is.
///
/// # Errors
/// [`RepairError`]; what was not put back yet is still recorded.
pub fn undo(node: &Node) -> Result<Undone, RepairError> {
    let folder = node.data_dir.join(FOLDER);
    let mut undone = Undone::default();
    if !folder.is_dir() {
        return Ok(undone);
    }
    let _lock = lock(&folder)?;
    let mut record = read(&folder)?;
    while let Some(last) = record.repairs.last() {
        let repair = last.repair.clone();
        let is_back = put_back(&repair).map_err(|source| change(repair.path(), source))?;
        record.repairs.pop();
        write(&folder, &record)?;
        if is_back { undone.put_back.push(repair) } else { undone.left.push(repair) }
    }
    let path = folder.join(RECORD);
    golem_files::absent_is_fine(std::fs::remove_file(&path)).map_err(|source| change(&path, source))?;
    // What could not be put back is kept.
    let _ = std::fs::remove_dir(&folder);
    Ok(undone)
}

fn change(path: &Path, source: io::Error) -> RepairError {
    RepairError::Change { path: path.to_owned(), source }
}

/// Nobody else repairs or undoes while this is there.
fn lock(folder: &Path) -> Result<File, RepairError> {
    let file = File::open(folder).map_err(|source| change(folder, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(RepairError::Busy),
        Err(std::fs::TryLockError::Error(source)) => Err(change(folder, source)),
    }
}

fn read(folder: &Path) -> Result<Record, RepairError> {
    let path = folder.join(RECORD);
    // What others wrote there they may not do, and this user does not do it for them.
    if path.symlink_metadata().is_ok_and(|seen| seen.uid() != rustix::process::geteuid().as_raw()) {
        let source = io::Error::new(ErrorKind::PermissionDenied, "it belongs to another user");
        return Err(RepairError::Record { path, source });
    }
    let bytes = match golem_files::read(&path, LARGEST) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(Record { format: FORMAT, repairs: Vec::new() });
        }
        Err(source) => return Err(RepairError::Record { path, source }),
        Ok(bytes) => bytes,
    };
    match serde_json::from_slice::<Record>(&bytes) {
        Ok(record) if record.format == FORMAT => Ok(record),
        Ok(record) => {
            let source =
                io::Error::other(format!("it has format {}, and this program knows {FORMAT}", record.format));
            Err(RepairError::Record { path, source })
        }
        Err(error) => Err(RepairError::Record { path, source: error.into() }),
    }
}

fn write(folder: &Path, record: &Record) -> Result<(), RepairError> {
    let path = folder.join(RECORD);
    let text = serde_json::to_vec_pretty(record).map_err(|error| change(&path, error.into()))?;
    golem_files::replace(&path, &text).map_err(|source| change(&path, source))
}

/// Where `path` is put.
fn aside(folder: &Path, path: &Path, now: Timestamp) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    folder.join(format!("{}-{name}", now.as_nanosecond()))
}

/// Records `repair`, then does it: a crash in between leaves a record of nothing, which its way back passes over. False if it is
/// not as it was seen any more.
fn make(folder: &Path, record: &mut Record, repair: &Repair, now: Timestamp) -> Result<bool, RepairError> {
    record.repairs.push(Recorded { at: now, repair: repair.clone() });
    write(folder, record)?;
    let done = match repair {
        Repair::Mode { path, before, after } => set_mode(path, *before, *after),
        Repair::Aside { path, to } => move_unheld(path, to),
    };
    let done = done.map_err(|source| change(repair.path(), source))?;
    if !done {
        record.repairs.pop();
        write(folder, record)?;
    }
    Ok(done)
}

fn put_back(repair: &Repair) -> io::Result<bool> {
    match repair {
        Repair::Mode { path, before, after } => set_mode(path, *after, *before),
        // Not if it was not put aside, or another is in its place.
        Repair::Aside { path, to } => move_file(to, path),
    }
}

/// Gives `path`, a file or folder of this user, the mode `to`; false if it is gone, another's, or has another mode than `from`.
fn set_mode(path: &Path, from: u32, to: u32) -> io::Result<bool> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if is_replaced(&error) => return Ok(false),
        opened => opened?,
    };
    let seen = file.metadata()?;
    let is_own = seen.uid() == rustix::process::geteuid().as_raw();
    if !is_own || seen.permissions().mode() & 0o7777 != from {
        return Ok(false);
    }
    file.set_permissions(PermissionsExt::from_mode(to))?;
    Ok(true)
}

/// Whether `error`, of opening what was a file or a folder, says that it is gone, or that a link or a socket is in its place.
fn is_replaced(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let replaced = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::NXIO];
    Errno::from_io_error(error).is_some_and(|errno| replaced.contains(&errno))
}

/// Moves `path`, which nobody holds; false if it is gone or somebody holds it.
fn move_unheld(path: &Path, to: &Path) -> io::Result<bool> {
    // A node that starts takes the lock of its PID file, and sees by it that the file was moved.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let held = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) if file.try_lock().is_err() => return Ok(false),
        opened => opened.ok(),
    };
    let moved = move_file(path, to);
    drop(held);
    moved
}

/// Moves `from` to `to`, where nothing is; false if it is gone, something is there, or it is a socket and `to` is on another
/// volume.
fn move_file(from: &Path, to: &Path) -> io::Result<bool> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::EXIST) => Ok(false),
        // A PID file need not be on the volume of the data directory.
        Err(rustix::io::Errno::XDEV)
            if from.symlink_metadata()?.is_file() && to.symlink_metadata().is_err() =>
        {
            golem_files::replace(to, &golem_files::read(from, LARGEST)?)?;
            std::fs::remove_file(from).map(|()| true)
        }
        Err(rustix::io::Errno::XDEV) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
