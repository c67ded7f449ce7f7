//! Whether a file of settings can be written where it is.
//!
//! Owns that question, asked before anybody answers others. Never writes.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};

/// Free space without which nothing is begun, in bytes: settings and a ledger's first page fit well.
const LEAST: u64 = 1 << 20;

/// Why a file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Its folder is on a file system that is read-only, or another user's.
    #[error("the settings would be in {}, and {} cannot be written; fix: {fix}", .file.display(), .folder.display())]
    Unwritable {
        /// The file.
        file: PathBuf,
        /// What would be written.
        folder: PathBuf,
        /// What to do.
        fix: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The volume is full.
    #[error("the settings would be in {}, and its disk has {free} bytes left; fix: make room there", .file.display())]
    Full {
        /// The file.
        file: PathBuf,
        /// What is left.
        free: u64,
    },
}

/// Whether the settings can be written to `file`, which need not be there, nor its folder.
///
/// # Errors
/// [`PlaceError`].
pub fn check(file: &Path) -> Result<(), PlaceError> {
    let mut folder = file.parent().unwrap_or(Path::new("/"));
    while !folder.exists() {
        let Some(above) = folder.parent() else { break };
        folder = above;
    }
    let (file, folder) = (file.to_owned(), folder.to_owned());
    if let Err(error) = access(&folder, Access::WRITE_OK | Access::EXEC_OK) {
        let fix = match error {
            rustix::io::Errno::ROFS => "make its file system writable",
            _ => "run this as its owner (`sudo golem-provider setup`), or as another user with `--here`",
        };
        return Err(PlaceError::Unwritable { file, folder, fix, source: error.into() });
    }
    match statvfs(&folder) {
        Ok(volume) => {
            let free = volume.f_bavail.saturating_mul(volume.f_frsize);
            if free < LEAST { Err(PlaceError::Full { file, free }) } else { Ok(()) }
        }
        // What cannot be seen is told by the write itself.
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_is_looked_for_above() {
        let folder = tempfile::tempdir().unwrap();
        check(&folder.path().join("a/b/.env")).unwrap();
        // Nobody writes there, root neither.
        let refused = check(Path::new("/proc/1/no/such/.env")).unwrap_err();
        assert!(refused.to_string().contains("; fix: "), "{refused}");
    }
}
