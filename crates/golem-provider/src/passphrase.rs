//! Where the passphrase of an encrypted key comes from.
//!
//! ```text
//!   GOLEM_PROVIDER_KEY_PASSPHRASE_FILE ─► systemd's credential ─► a terminal, or the process that started this one
//! ```
//! Owns that order, and who else may know such a file. Never takes a passphrase from an argument or the environment,
//! which other programs of the same user can read, and never shows one.

use std::cell::RefCell;
use std::io::{self, BufRead, IsTerminal, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use console::Term;
use golem_chain::key_file::PassphraseError;
use golem_chain::keystore::Passphrase;
use zeroize::Zeroizing;

use crate::settings::NodeSettings;

/// The name of the credential that systemd gives a service.
const CREDENTIAL: &str = "golem-provider-passphrase";

/// Longest passphrase that is read, in bytes.
const MAXIMUM: u64 = 4096;

/// Who is asked where no file has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// Whoever sits at the terminal, if there is one.
    Terminal,
    /// The process that started this one in the background, once.
    Parent,
    /// Nobody.
    Nobody,
}

/// Gives passphrases, and asks for one at most once.
#[derive(Debug)]
pub struct Passphrases {
    file: Option<PathBuf>,
    asking: Asking,
    typed: RefCell<Option<Passphrase>>,
}

impl Passphrases {
    /// From `file`, if it is named, else from systemd's credential, else asked for.
    #[must_use]
    pub const fn new(file: Option<PathBuf>, asking: Asking) -> Self {
        Self { file, asking, typed: RefCell::new(None) }
    }

    /// For the node's keys.
    #[must_use]
    pub fn of_node(settings: &NodeSettings, asking: Asking) -> Self {
        Self::new(settings.key_passphrase_file.clone(), asking)
    }

    /// The passphrase of the encrypted file `path`.
    ///
    /// # Errors
    /// [`PassphraseError`].
    pub fn of(&self, path: &Path) -> Result<Passphrase, PassphraseError> {
        if let Some(passphrase) = self.written()? {
            return Ok(passphrase);
        }
        if let Some(typed) = &*self.typed.borrow() {
            return Ok(typed.clone());
        }
        let typed = match self.asking {
            Asking::Terminal => typed(&format!("Passphrase of {}: ", path.display()))?,
            Asking::Parent => handed_over()?,
            Asking::Nobody => return Err(PassphraseError::Absent),
        };
        *self.typed.borrow_mut() = Some(typed.clone());
        Ok(typed)
    }

    /// A passphrase for a file that is to be written: one that is typed is typed twice.
    ///
    /// # Errors
    /// [`PassphraseError`].
    pub fn new_one(&self) -> Result<Passphrase, PassphraseError> {
        if let Some(passphrase) = self.written()? {
            return Ok(passphrase);
        }
        let passphrase = typed("New passphrase: ")?;
        let again = typed("The same again: ")?;
        if passphrase.reveal() != again.reveal() {
            return Err(PassphraseError::Typed("the two are not the same"));
        }
        Ok(passphrase)
    }

    /// What was typed, to be handed to a process that is started in the background.
    #[must_use]
    pub fn typed(&self) -> Option<Passphrase> {
        self.typed.borrow().clone()
    }

    /// The passphrase that a file or systemd has.
    fn written(&self) -> Result<Option<Passphrase>, PassphraseError> {
        if let Some(file) = &self.file {
            refuse_open(file)?;
            return read(file).map(Some);
        }
        // Systemd alone decides who can enter this folder; the rights on the file say less.
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        match folder.map(|folder| folder.join(CREDENTIAL)) {
            Some(file) if file.exists() => read(&file).map(Some),
            _ => Ok(None),
        }
    }
}

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

/// The one line that the file `path` holds.
fn read(path: &Path) -> Result<Passphrase, PassphraseError> {
    let bytes = golem_files::read(path, MAXIMUM)
        .map_err(|source| PassphraseError::Read { path: path.to_owned(), source })?;
    let bytes = Zeroizing::new(bytes);
    let text = std::str::from_utf8(&bytes).ok().and_then(line);
    text.ok_or_else(|| PassphraseError::Content { path: path.to_owned() })
}

/// `text` without the end of its only line.
fn line(text: &str) -> Option<Passphrase> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    let is_one = !text.contains(['\n', '\r', '\0']);
    is_one.then(|| Passphrase::new(Zeroizing::new(text.to_owned()))).flatten()
}

/// What is typed on the terminal, unseen.
fn typed(prompt: &str) -> Result<Passphrase, PassphraseError> {
    let terminal = Term::stderr();
    if !io::stdin().is_terminal() || !terminal.is_term() {
        return Err(PassphraseError::Absent);
    }
    terminal.write_str(prompt).map_err(PassphraseError::Terminal)?;
    let text = Zeroizing::new(terminal.read_secure_line().map_err(PassphraseError::Terminal)?);
    Passphrase::new(text).ok_or(PassphraseError::Typed("nothing was typed"))
}

/// What the process that started this one says on standard input, which is empty if it says nothing.
fn handed_over() -> Result<Passphrase, PassphraseError> {
    let mut text = Zeroizing::new(String::new());
    let mut input = io::stdin().lock().take(MAXIMUM);
    input.read_line(&mut text).map_err(PassphraseError::Terminal)?;
    line(&text).ok_or(PassphraseError::Absent)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn file(folder: &Path, text: &[u8], mode: u32) -> Passphrases {
        let path = folder.join("passphrase");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        Passphrases::new(Some(path), Asking::Nobody)
    }

    #[test]
    fn a_file_gives_its_only_line() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["a b", "a b\n", "a b\r\n"] {
            let given = file(folder.path(), text.as_bytes(), 0o600).of(Path::new("key")).unwrap();
            assert_eq!(given.reveal(), "a b");
        }
        for text in [&b""[..], b"\n", b"a\nb\n", b"\xff", b"a\0b"] {
            let refused = file(folder.path(), text, 0o400).of(Path::new("key")).unwrap_err();
            assert!(matches!(refused, PassphraseError::Content { .. }), "{text:?}: {refused}");
        }
        let none = Passphrases::new(Some(folder.path().join("none")), Asking::Nobody);
        assert!(matches!(none.of(Path::new("key")).unwrap_err(), PassphraseError::Read { .. }));
    }

    #[test]
    fn a_file_that_others_know_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o644, 0o640, 0o660, 0o602] {
            let refused = file(folder.path(), b"secret", mode).of(Path::new("key")).unwrap_err();
            assert!(matches!(refused, PassphraseError::Open { mode: told, .. } if told == mode), "{refused}");
            assert!(!refused.to_string().contains("secret") && refused.to_string().contains("chmod 600"));
        }
        if golem_test_support::as_root() {
            let passphrases = file(folder.path(), b"secret", 0o600);
            std::os::unix::fs::chown(folder.path().join("passphrase"), Some(4242), None).unwrap();
            let refused = passphrases.of(Path::new("key")).unwrap_err();
            assert!(matches!(refused, PassphraseError::Foreign { owner: 4242, .. }), "{refused}");
        }
    }
}
