//! Who the node or a renter is: an Ethereum key and the address that follows from it.
//!
//! ```text
//!   keys/provider_key.json ─── replaced by another key ───► keys/former/<address>.json, kept for good
//!        the key now                                          keys that were: what they are paid is still ours
//! ```
//! Owns the folder of keys and the order in which it is written, so that a crash at any instant loses no key: a key is on
//! the disk under its address before another takes its place. Never logs a key.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use alloy_primitives::Address;
use golem_types::Wallet;

use crate::key_file::{self, Content, KeyFileError, Unlock};
use crate::keystore::{Cost, KeystoreError, Passphrase};

/// Where keys are that were replaced, under the folder of keys.
const FORMER: &str = "former";

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The folder of the key cannot be made or closed to others.
    #[error("the key's folder {} cannot be made private", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The key file gives no key, or takes none.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The key given in the settings is none.
    #[error("{0} is not a private key of secp256k1; fix: remove it, or set it to one")]
    Given(&'static str),
    /// A new key cannot be drawn.
    #[error("the operating system gives no randomness: {0}")]
    Randomness(getrandom::Error),
    /// A key cannot be encrypted.
    #[error("the key cannot be encrypted")]
    Encrypt(#[source] KeystoreError),
    /// The key is to be replaced by itself.
    #[error("{0} is the key already")]
    Same(Address),
}

/// A key that the settings hold.
#[derive(Clone, Copy)]
pub struct GivenKey<'a> {
    /// The variable that it is in.
    pub variable: &'static str,
    /// The key, in hexadecimal.
    pub key: &'a str,
}

/// A key, and the address that follows from it.
#[derive(Clone)]
pub struct Identity {
    wallet: Wallet,
    address: String,
    former: Vec<Former>,
}

/// A key that was replaced: what it is paid is still the node's.
#[derive(Debug, Clone)]
pub struct Former {
    pub address: Address,
    /// Its file.
    pub path: PathBuf,
    /// The key; where it cannot be had, why.
    pub wallet: Result<Wallet, String>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Identity {
    /// The address, with the checksum of EIP-55.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The wallet of the key.
    #[must_use]
    pub const fn wallet(&self) -> &Wallet {
        &self.wallet
    }

    /// The keys that it replaced.
    #[must_use]
    pub fn former(&self) -> &[Former] {
        &self.former
    }

    /// The identity of the key of `wallet`, which replaced none.
    #[must_use]
    pub fn of(wallet: Wallet) -> Self {
        let address = wallet.address().to_string();
        Self { wallet, address, former: Vec::new() }
    }
}

/// A new key.
///
/// # Errors
/// [`IdentityError::Randomness`].
pub fn draw() -> Result<Wallet, IdentityError> {
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    loop {
        getrandom::fill(&mut *bytes).map_err(IdentityError::Randomness)?;
        // All but 2^-128 of the 256-bit numbers are keys.
        if let Some(wallet) = Wallet::from_bytes(&bytes) {
            return Ok(wallet);
        }
    }
}

/// The folder with a key and those that it replaced.
#[derive(Debug, Clone)]
pub struct KeyFolder {
    folder: PathBuf,
    path: PathBuf,
    /// What trying a passphrase on a file is to cost that is written.
    cost: Cost,
}

impl KeyFolder {
    /// The folder `keys` under `folder`, in which `file` is the key.
    #[must_use]
    pub fn new(folder: &Path, file: &str) -> Self {
        let folder = folder.join("keys");
        Self { path: folder.join(file), folder, cost: Cost::STANDARD }
    }

    /// The file with the key.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file with the key holds; `None` if there is none yet.
    ///
    /// # Errors
    /// [`IdentityError::File`].
    pub fn content(&self) -> Result<Option<Content>, IdentityError> {
        Ok(Content::read(&self.path)?)
    }

    /// Whether the key is encrypted.
    ///
    /// # Errors
    /// [`IdentityError::File`].
    pub fn is_encrypted(&self) -> Result<bool, IdentityError> {
        Ok(matches!(self.content()?, Some(Content::Encrypted(_))))
    }

    /// The identity whose key was `given`, else the one in the file, else a new one, which is written there.
    ///
    /// # Errors
    /// [`IdentityError`]; a key file that is there is never overwritten.
    pub fn load(&self, given: Option<GivenKey<'_>>, unlock: Unlock<'_>) -> Result<Identity, IdentityError> {
        let mut identity = match given {
            Some(GivenKey { variable, key }) => {
                Identity::of(Wallet::from_hex(key).ok_or(IdentityError::Given(variable))?)
            }
            None => self.read_or_make(unlock)?,
        };
        identity.former = self.former(identity.wallet.address(), unlock)?;
        Ok(identity)
    }

    fn read_or_make(&self, unlock: Unlock<'_>) -> Result<Identity, IdentityError> {
        golem_files::private_subfolder(&self.folder).map_err(|source| self.private(source))?;
        let open = |content: Content| content.open(&self.path, unlock).map(Identity::of);
        if let Some(content) = self.content()? {
            return Ok(open(content)?);
        }
        // Two that begin at once would else each hold a key, of which only one is kept.
        let _turn = self.turn()?;
        if let Some(content) = self.content()? {
            return Ok(open(content)?);
        }
        let identity = Identity::of(draw()?);
        let text = key_file::text(&identity.wallet, None, self.cost).map_err(IdentityError::Encrypt)?;
        key_file::write(&self.path, &text)?;
        let file = self.path.file_name().map(|name| name.to_string_lossy().into_owned());
        tracing::info!(address = identity.address(), file, "made a new key");
        Ok(identity)
    }

    /// Puts the key of `wallet` in the place of the one that is there, which is kept under its address, and returns where;
    /// `None` if there was none. It is encrypted if there is a `passphrase`.
    ///
    /// # Errors
    /// [`IdentityError`]; both files hold a whole key at any instant.
    pub fn replace(
        &self,
        wallet: &Wallet,
        passphrase: Option<&Passphrase>,
        unlock: Unlock<'_>,
    ) -> Result<Option<PathBuf>, IdentityError> {
        let text = key_file::text(wallet, passphrase, self.cost).map_err(IdentityError::Encrypt)?;
        let _turn = self.turn()?;
        let Some(content) = self.content()? else {
            key_file::write(&self.path, &text)?;
            return Ok(None);
        };
        let address = match content.address() {
            Some(address) => address,
            None => content.open(&self.path, unlock)?.address(),
        };
        if address == wallet.address() {
            return Err(IdentityError::Same(address));
        }
        let kept = self.former_path(address);
        let folder = self.folder.join(FORMER);
        golem_files::private_subfolder(&folder)
            .map_err(|source| IdentityError::Folder { path: folder, source })?;
        let unreadable = |source| KeyFileError::Read { path: self.path.clone(), source };
        let before = golem_files::read(&self.path, key_file::FILE_MAXIMUM).map_err(unreadable)?;
        let before = zeroize::Zeroizing::new(before);
        key_file::write(&kept, &String::from_utf8_lossy(&before))?;
        key_file::write(&self.path, &text)?;
        Ok(Some(kept))
    }

    /// Writes every key anew: encrypted if there is a `passphrase`, else plain. Those that are so already stay as they are.
    ///
    /// # Errors
    /// [`IdentityError`]; each file holds its key at any instant.
    pub fn rewrite(
        &self,
        passphrase: Option<&Passphrase>,
        unlock: Unlock<'_>,
    ) -> Result<Vec<PathBuf>, IdentityError> {
        let _turn = self.turn()?;
        let mut files = vec![self.path.clone()];
        files.extend(self.former_files()?);
        let mut written = Vec::new();
        for path in files {
            let Some(content) = Content::read(&path)? else { continue };
            if matches!(content, Content::Encrypted(_)) == passphrase.is_some() {
                continue;
            }
            let wallet = content.open(&path, unlock)?;
            let text = key_file::text(&wallet, passphrase, self.cost).map_err(IdentityError::Encrypt)?;
            key_file::write(&path, &text)?;
            written.push(path);
        }
        Ok(written)
    }

    /// The addresses of keys that were replaced, with their files. One that is in use again is among them.
    ///
    /// # Errors
    /// [`IdentityError::Folder`].
    pub fn former_addresses(&self) -> Result<Vec<(Address, PathBuf)>, IdentityError> {
        let named = |path: PathBuf| Some((path.file_stem()?.to_str()?.parse().ok()?, path));
        Ok(self.former_files()?.into_iter().filter_map(named).collect())
    }

    /// The keys that were replaced, but not the one of `now`. One that cannot be had keeps nobody from starting: it says why.
    fn former(&self, now: Address, unlock: Unlock<'_>) -> Result<Vec<Former>, IdentityError> {
        let mut former = Vec::new();
        for (address, path) in self.former_addresses()? {
            if address == now {
                continue;
            }
            let read = match Content::read(&path) {
                Ok(Some(content)) => content.open(&path, unlock),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            let wallet = match read {
                Ok(wallet) if wallet.address() == address => Ok(wallet),
                Ok(_) => Err(format!("{} holds another key than its name says", path.display())),
                Err(error) => Err(match std::error::Error::source(&error) {
                    Some(cause) => format!("{error}: {cause}"),
                    None => error.to_string(),
                }),
            };
            former.push(Former { address, path, wallet });
        }
        Ok(former)
    }

    /// The files of keys that were replaced, in the order of their names.
    fn former_files(&self) -> Result<Vec<PathBuf>, IdentityError> {
        let folder = self.folder.join(FORMER);
        let unreadable = |source| IdentityError::Folder { path: folder.clone(), source };
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(unreadable)?,
        };
        let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
        let mut paths = paths.map_err(unreadable)?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        paths.sort();
        Ok(paths)
    }

    fn former_path(&self, address: Address) -> PathBuf {
        self.folder.join(FORMER).join(format!("{address}.json"))
    }

    /// Held while keys are written.
    fn turn(&self) -> Result<File, IdentityError> {
        golem_files::private_subfolder(&self.folder).map_err(|source| self.private(source))?;
        let turn = File::open(&self.folder).map_err(|source| self.private(source))?;
        turn.lock().map_err(|source| self.private(source))?;
        Ok(turn)
    }

    fn private(&self, source: io::Error) -> IdentityError {
        IdentityError::Folder { path: self.folder.clone(), source }
    }
}

#[cfg(test)]
mod tests;
