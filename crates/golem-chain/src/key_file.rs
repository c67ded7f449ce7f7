//! One key in one file.
//!
//! Owns the two forms of it: that of the Python provider's `keys/provider_key.json`, so that an identity carries over, and
//! the encrypted one of [`keystore`]. What is in a file says which one it is. Never logs a key and never
//! writes one where others can read it.

use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use alloy_primitives::Address;
use golem_types::Wallet;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::keystore::{self, Cost, KeystoreError, Passphrase};

/// Largest key file that is read, in bytes; a plain one has about 150, an encrypted one about 500.
pub const FILE_MAXIMUM: u64 = 16 << 10;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The key file is there and cannot be read.
    #[error("the key file {} cannot be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The key file does not hold a key.
    #[error("the key file {} does not hold a key: {problem}; fix: restore it from a backup, or move it away for a new identity", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, without any of its text.
        problem: &'static str,
    },
    /// The key file is encrypted, and there is no passphrase.
    #[error("the key file {} is encrypted, and its passphrase cannot be had", .path.display())]
    Locked {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: PassphraseError,
    },
    /// The key file is encrypted, and is not decrypted.
    #[error("the key file {} cannot be decrypted", .path.display())]
    Encrypted {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeystoreError,
    },
    /// A key cannot be written.
    #[error("the key file {} cannot be written", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// Nobody gives one.
    #[error(
        "nothing gives one and there is no terminal to ask on; fix: put it into a file of mode 0600 and name that in GOLEM_PROVIDER_KEY_PASSPHRASE_FILE, or give the service the systemd credential golem-provider-passphrase"
    )]
    Absent,
    /// It cannot be read.
    #[error("{} cannot be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others can read it, or change it.
    #[error("{} has mode {mode:03o}, so that others know the passphrase too; fix: `chmod 600 {}`", .path.display(), .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        mode: u32,
    },
    /// It is another user's.
    #[error("{} belongs to user {owner}, and this process runs as user {user}; fix: `chown {user} {}`", .path.display(), .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        owner: u32,
        /// The user of this process.
        user: u32,
    },
    /// It is no single line of text.
    #[error("{} is not one line of text that is not empty", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
    },
    /// The terminal gives none.
    #[error("the terminal cannot be asked for it")]
    Terminal(#[source] io::Error),
    /// Nothing was typed, or two different ones.
    #[error("{0}")]
    Typed(&'static str),
}

/// Gives the passphrase of the encrypted file with this path.
pub type Unlock<'a> = &'a dyn Fn(&Path) -> Result<Passphrase, PassphraseError>;

/// What is in a key file.
pub enum Content {
    /// A key.
    Plain(Wallet),
    /// The text of a keystore.
    Encrypted(String),
}

/// The original's file.
#[derive(Deserialize)]
struct Plain {
    address: String,
    private_key: String,
}

impl Content {
    /// What the file at `path` holds; `None` if there is no file. One that others may read is closed, with a warning.
    ///
    /// # Errors
    /// [`KeyFileError::Read`], [`KeyFileError::Content`].
    pub fn read(path: &Path) -> Result<Option<Self>, KeyFileError> {
        let unreadable = |source| KeyFileError::Read { path: path.to_owned(), source };
        let bytes = match golem_files::read(path, FILE_MAXIMUM) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            bytes => Zeroizing::new(bytes.map_err(unreadable)?),
        };
        close(path, 0o600).map_err(unreadable)?;
        let content = |problem| KeyFileError::Content { path: path.to_owned(), problem };
        let text = std::str::from_utf8(&bytes).map_err(|_| content("it is no text"))?;
        Self::of(text).map(Some).map_err(content)
    }

    /// What the `text` of a key file is; the error says what is wrong, without any of it.
    ///
    /// # Errors
    /// When it is neither form.
    pub fn of(text: &str) -> Result<Self, &'static str> {
        if keystore::is_keystore(text) {
            return Ok(Self::Encrypted(text.to_owned()));
        }
        let file: Plain =
            serde_json::from_str(text).map_err(|_| "it is not JSON with address and private_key")?;
        let private_key = Zeroizing::new(file.private_key);
        let wallet = Wallet::from_hex(&private_key)
            .ok_or("private_key is not 64 hexadecimal digits of a secp256k1 key")?;
        if !file.address.eq_ignore_ascii_case(&wallet.address().to_string()) {
            return Err("address is not the one of private_key");
        }
        Ok(Self::Plain(wallet))
    }

    /// The address, as far as it is known without the passphrase.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        match self {
            Self::Plain(wallet) => Some(wallet.address()),
            Self::Encrypted(text) => keystore::address_of(text),
        }
    }

    /// The key in it, which came from the file `path`.
    ///
    /// # Errors
    /// [`KeyFileError::Locked`], [`KeyFileError::Encrypted`].
    pub fn open(self, path: &Path, unlock: Unlock<'_>) -> Result<Wallet, KeyFileError> {
        match self {
            Self::Plain(wallet) => Ok(wallet),
            Self::Encrypted(text) => {
                let passphrase =
                    unlock(path).map_err(|source| KeyFileError::Locked { path: path.to_owned(), source })?;
                keystore::decrypt(&text, &passphrase)
                    .map_err(|source| KeyFileError::Encrypted { path: path.to_owned(), source })
            }
        }
    }
}

/// The text of a key file with `wallet`: encrypted if there is a `passphrase`, at this `cost`.
///
/// # Errors
/// [`KeystoreError::Randomness`].
pub fn text(
    wallet: &Wallet,
    passphrase: Option<&Passphrase>,
    cost: Cost,
) -> Result<Zeroizing<String>, KeystoreError> {
    if let Some(passphrase) = passphrase {
        return keystore::encrypt(wallet, passphrase, cost).map(Zeroizing::new);
    }
    let (address, private_key) = (wallet.address(), wallet.to_hex());
    Ok(Zeroizing::new(format!(r#"{{"address":"{address}","private_key":"{}"}}"#, *private_key)))
}

/// Puts `text` into the file at `path`, which holds either it or what it held before, whatever happens.
///
/// # Errors
/// [`KeyFileError::Write`].
pub fn write(path: &Path, text: &str) -> Result<(), KeyFileError> {
    golem_files::replace(path, text.as_bytes())
        .map_err(|source| KeyFileError::Write { path: path.to_owned(), source })
}

/// Takes the rights on `path` away that go beyond `mode`, with a warning.
fn close(path: &Path, mode: u32) -> io::Result<()> {
    let before = std::fs::metadata(path)?.permissions().mode() & 0o777;
    if before & !mode != 0 {
        std::fs::set_permissions(path, Permissions::from_mode(before & mode))?;
        tracing::warn!(
            path = %path.display(),
            "other users could read this ({before:03o}); now only its owner can. If others use this machine, move to a new key"
        );
    }
    Ok(())
}
