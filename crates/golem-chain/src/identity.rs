//! Who the node or a renter is: an Ethereum key and the address that follows from it.
//!
//! Owns the key file, in the format of the Python provider's `keys/provider_key.json`, so that an identity carries over.
//! Never logs the key and never writes it where others can read it.

use std::fmt;
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use golem_types::wallet::Wallet;

/// Largest key file that is read, in bytes; a real one has about 150.
const FILE_MAXIMUM: u64 = 4096;

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
    /// The key given in the settings is none.
    #[error("{0} is not a private key of secp256k1; fix: remove it, or set it to one")]
    Given(&'static str),
    /// A new key cannot be drawn.
    #[error("the operating system gives no randomness: {0}")]
    Randomness(getrandom::Error),
    /// A new key cannot be written.
    #[error("the key file {} cannot be written", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
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
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The original's file.
#[derive(Serialize, Deserialize)]
struct KeyFile {
    address: String,
    private_key: String,
}

impl Identity {
    /// The identity whose key was `given`, else the one in `keys/<file>` under `folder`, else a new one, which is
    /// written there.
    ///
    /// # Errors
    /// [`IdentityError`]; a key file that is there is never overwritten.
    pub fn load(
        folder: &Path,
        file: &'static str,
        given: Option<GivenKey<'_>>,
    ) -> Result<Self, IdentityError> {
        if let Some(GivenKey { variable, key }) = given {
            return Self::from_hex(key).ok_or(IdentityError::Given(variable));
        }
        let folder = folder.join("keys");
        let private = |source| IdentityError::Folder { path: folder.clone(), source };
        golem_files::private_subfolder(&folder).map_err(private)?;
        let path = folder.join(file);
        if let Some(identity) = Self::read(&path)? {
            return Ok(identity);
        }
        // Two that begin at once would else each hold a key, of which only one is kept.
        let turn = File::open(&folder).map_err(private)?;
        turn.lock().map_err(private)?;
        if let Some(identity) = Self::read(&path)? {
            return Ok(identity);
        }
        let identity = Self::draw()?;
        identity.write(&path).map_err(|source| IdentityError::Write { path, source })?;
        tracing::info!(address = identity.address(), file, "made a new key");
        Ok(identity)
    }

    /// The identity that the file at `path` holds; `None` if there is no file.
    fn read(path: &Path) -> Result<Option<Self>, IdentityError> {
        let unreadable = |source| IdentityError::Read { path: path.to_owned(), source };
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.map_err(unreadable)?,
        };
        close(path, 0o600).map_err(unreadable)?;
        let mut text = String::new();
        file.take(FILE_MAXIMUM).read_to_string(&mut text).map_err(unreadable)?;
        let content = |problem| IdentityError::Content { path: path.to_owned(), problem };
        Self::from_file(&text).map(Some).map_err(content)
    }

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

    fn new(wallet: Wallet) -> Self {
        let address = wallet.address().to_string();
        Self { wallet, address }
    }

    fn from_hex(text: &str) -> Option<Self> {
        Wallet::from_hex(text).map(Self::new)
    }

    fn from_file(text: &str) -> Result<Self, &'static str> {
        let file: KeyFile =
            serde_json::from_str(text).map_err(|_| "it is not JSON with address and private_key")?;
        let identity = Self::from_hex(&file.private_key)
            .ok_or("private_key is not 64 hexadecimal digits of a secp256k1 key")?;
        if !file.address.eq_ignore_ascii_case(&identity.address) {
            return Err("address is not the one of private_key");
        }
        Ok(identity)
    }

    fn draw() -> Result<Self, IdentityError> {
        let mut bytes = [0; 32];
        loop {
            getrandom::fill(&mut bytes).map_err(IdentityError::Randomness)?;
            // All but 2^-128 of the 256-bit numbers are keys.
            if let Some(wallet) = Wallet::from_bytes(&bytes) {
                return Ok(Self::new(wallet));
            }
        }
    }

    /// Writes the key to `path`, which is either whole afterwards or not there.
    fn write(&self, path: &Path) -> io::Result<()> {
        let private_key = self.wallet.to_hex();
        let text = serde_json::to_string(&KeyFile { address: self.address.clone(), private_key })?;
        golem_files::replace(path, text.as_bytes())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The first account of the well-known development mnemonic "test test … junk".
    const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    const ADDRESS: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

    fn load(folder: &Path) -> Result<Identity, IdentityError> {
        Identity::load(folder, "provider_key.json", None)
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_address_is_that_of_ethereum_with_its_checksum() {
        assert_eq!(Identity::from_hex(KEY).unwrap().address(), ADDRESS);
    }

    #[test]
    fn a_new_key_is_private_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let made = load(folder.path()).unwrap();
        let file = folder.path().join("keys/provider_key.json");
        assert_eq!((mode(&file), mode(&folder.path().join("keys"))), (0o600, 0o700));
        let read = load(folder.path()).unwrap();
        assert_eq!(made.address(), read.address());
        let text: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(text["address"], made.address());
        assert_eq!(text["private_key"].as_str().unwrap().len(), 64);
        assert!(!format!("{made:?}").contains(text["private_key"].as_str().unwrap()));
    }

    #[test]
    fn all_that_begin_at_once_have_the_one_key_that_is_kept() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let made = std::thread::scope(|scope| {
                let begin = || load(folder.path()).unwrap();
                let all: Vec<_> = (0..8).map(|_| scope.spawn(begin)).collect();
                all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
            });
            let kept = load(folder.path()).unwrap();
            assert!(made.iter().all(|one| one.address() == kept.address()));
        }
    }

    #[test]
    fn the_originals_file_is_taken_over_and_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        std::fs::create_dir(&keys).unwrap();
        let file = keys.join("provider_key.json");
        for private_key in [KEY.to_owned(), format!("0x{KEY}")] {
            std::fs::write(&file, format!(r#"{{"address": "{ADDRESS}", "private_key": "{private_key}"}}"#))
                .unwrap();
            std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
            std::fs::set_permissions(&keys, Permissions::from_mode(0o755)).unwrap();
            assert_eq!(load(folder.path()).unwrap().address(), ADDRESS);
            assert_eq!((mode(&file), mode(&keys)), (0o600, 0o700));
        }
    }

    #[test]
    fn a_damaged_file_is_neither_used_nor_replaced_nor_shown() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("keys")).unwrap();
        let file = folder.path().join("keys/provider_key.json");
        let zero = "0".repeat(64);
        let other = "0x0000000000000000000000000000000000000001";
        for text in [
            String::new(),
            "{".to_owned(),
            format!(r#"{{"private_key": "{KEY}"}}"#),
            format!(r#"{{"address": "{ADDRESS}", "private_key": "{}"}}"#, &KEY[1..]),
            format!(r#"{{"address": "{ADDRESS}", "private_key": "{zero}"}}"#),
            format!(r#"{{"address": "{other}", "private_key": "{KEY}"}}"#),
        ] {
            std::fs::write(&file, &text).unwrap();
            let error = load(folder.path()).unwrap_err();
            assert!(matches!(error, IdentityError::Content { .. }), "{text}");
            assert!(!format!("{error} {error:?}").contains(&KEY[1..]));
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
    }
}
