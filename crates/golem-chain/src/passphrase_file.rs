//! A passphrase in a file.
//!
//! Owns what such a file holds, and who else may know it. Never shows what it read.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use crate::key_file::PassphraseError;
use crate::keystore::Passphrase;

/// Longest passphrase that is read, in bytes.
pub const MAXIMUM: u64 = 4096;

/// Refuses a file that others can read or change.
fn refuse_open(path: &Path) -> Result<(), PassphraseError> {
    let found =
        std::fs::metadata(path).map_err(|source| PassphraseError::Read { path: path.to_owned(), source })?;
    let (owner, user) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner != user {
        return Err(PassphraseError::Foreign { path: path.to_owned(), owner, user });
    }
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(PassphraseError::Open { path: path.to_owned(), mode });
    }
    Ok(())
}

/// As [`read`], of a file that nobody but this process's user knows.
///
/// # Errors
/// [`PassphraseError`].
pub fn read_own(path: &Path) -> Result<Passphrase, PassphraseError> {
    refuse_open(path)?;
    read(path)
}

/// The one line that the file `path` holds, whoever can read it.
///
/// # Errors
/// [`PassphraseError`].
pub fn read(path: &Path) -> Result<Passphrase, PassphraseError> {
    let bytes = golem_files::read(path, MAXIMUM)
        .map_err(|source| PassphraseError::Read { path: path.to_owned(), source })?;
    let bytes = Zeroizing::new(bytes);
    let text = std::str::from_utf8(&bytes).ok().and_then(line);
    text.ok_or_else(|| PassphraseError::Content { path: path.to_owned() })
}

/// `text` without the end of its only line; `None` if it has several, or nothing is in it.
#[must_use]
pub fn line(text: &str) -> Option<Passphrase> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    let is_one = !text.contains(['\n', '\r', '\0']);
    is_one.then(|| Passphrase::new(Zeroizing::new(text.to_owned()))).flatten()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::path::PathBuf;

    use super::*;

    fn file(folder: &Path, text: &[u8], mode: u32) -> PathBuf {
        let path = folder.join("passphrase");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_file_gives_its_only_line() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["a b", "a b\n", "a b\r\n"] {
            let given = read_own(&file(folder.path(), text.as_bytes(), 0o600)).unwrap();
            assert_eq!(given.reveal(), "a b");
        }
        for text in [&b""[..], b"\n", b"a\nb\n", b"\xff", b"a\0b"] {
            let refused = read_own(&file(folder.path(), text, 0o400)).unwrap_err();
            assert!(matches!(refused, PassphraseError::Content { .. }), "{text:?}: {refused}");
        }
        let none = folder.path().join("none");
        assert!(matches!(read_own(&none).unwrap_err(), PassphraseError::Read { .. }));
    }

    #[test]
    fn a_file_that_others_know_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o644, 0o640, 0o660, 0o602] {
            let refused = read_own(&file(folder.path(), b"secret", mode)).unwrap_err();
            assert!(matches!(refused, PassphraseError::Open { mode: told, .. } if told == mode), "{refused}");
            assert!(!refused.to_string().contains("secret") && refused.to_string().contains("chmod 600"));
        }
        if golem_test_support::as_root() {
            let path = file(folder.path(), b"secret", 0o600);
            std::os::unix::fs::chown(&path, Some(4242), None).unwrap();
            let refused = read_own(&path).unwrap_err();
            assert!(matches!(refused, PassphraseError::Foreign { owner: 4242, .. }), "{refused}");
        }
    }
}
