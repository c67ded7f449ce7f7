//! A copy of the ledger, while a node writes to it or none runs.
//!
//! Owns that the copy is of one moment, and whole. Never changes the ledger.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{Ledger, LedgerError, look_for_damage, schema};

/// How long the ledger is waited for where it is locked; with its log beside it, readers never are.
const PATIENCE: Duration = Duration::from_secs(5);

impl Ledger {
    /// The newest version of the schema that this program reads.
    #[must_use]
    pub fn newest_version() -> u32 {
        schema::newest()
    }

    /// Copies the ledger in the file `path` to the file `copy`, which is made and must be empty if it is there. Gives the version
    /// of its schema, which may be newer than this program's: nothing of it has to be understood for that. Takes as long as
    /// reading all of it does.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`]; [`LedgerError::Sql`], also when there is no such ledger; [`LedgerError::File`] about the copy.
    pub fn copy(path: &Path, copy: &Path) -> Result<u32, LedgerError> {
        golem_files::private_database(copy).map_err(LedgerError::File)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(PATIENCE)?;
        look_for_damage(&connection)?;
        connection.execute("VACUUM INTO ?1", [copy.to_string_lossy()])?;
        // Of the copy: the ledger may have been brought to another version meanwhile.
        let connection = Connection::open_with_flags(copy, flags)?;
        Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn h_11_a_copy_has_every_row_that_is_written_and_the_ledger_is_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("ledger.db"), folder.path().join("copy.db"));
        let ledger = Ledger::open(&path).unwrap();
        // In the log beside the file, where a copy of the file alone would miss it.
        ledger.set_draining(true).await.unwrap();
        let before = std::fs::read(&path).unwrap();
        assert_eq!(Ledger::copy(&path, &copy).unwrap(), Ledger::newest_version());
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        ledger.set_draining(false).await.unwrap();
        assert!(Ledger::open(&copy).unwrap().now().draining, "of the moment when it was copied");
        assert!(matches!(Ledger::copy(&path, &copy), Err(LedgerError::Sql(_))), "no copy is written over");
    }

    #[test]
    fn a_damaged_ledger_is_not_copied_and_one_that_is_not_there_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("ledger.db"), folder.path().join("copy.db"));
        assert!(matches!(Ledger::copy(&path, &copy), Err(LedgerError::Sql(_))));
        assert!(!path.exists());
        std::fs::write(&path, b"not a database, but long enough to be read as one: ".repeat(40)).unwrap();
        assert!(matches!(Ledger::copy(&path, &copy), Err(LedgerError::Damaged(_))));
    }
}
