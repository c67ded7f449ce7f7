//! Where the passphrase of an encrypted key comes from.
//!
//! ```text
//!   GOLEM_PROVIDER_KEY_PASSPHRASE_FILE ─► systemd's credential ─► a terminal, or the process that started this one
//! ```
//! Owns that order. Never takes a passphrase from an argument or the environment, which other programs of the same user
//! can read, and never shows one.

use std::cell::RefCell;
use std::io::{self, BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};

use console::Term;
use golem_chain::key_file::PassphraseError;
use golem_chain::keystore::Passphrase;
use golem_chain::passphrase_file;
use zeroize::Zeroizing;

use golem_host::settings::NodeSettings;

/// The name of the credential that systemd gives a service.
const CREDENTIAL: &str = "golem-provider-passphrase";

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
            return passphrase_file::read_own(file).map(Some);
        }
        // Systemd alone decides who can enter this folder; the rights on the file say less.
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        match folder.map(|folder| folder.join(CREDENTIAL)) {
            Some(file) if file.exists() => passphrase_file::read(&file).map(Some),
            _ => Ok(None),
        }
    }
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
    let mut input = io::stdin().lock().take(passphrase_file::MAXIMUM);
    input.read_line(&mut text).map_err(PassphraseError::Terminal)?;
    passphrase_file::line(&text).ok_or(PassphraseError::Absent)
}
