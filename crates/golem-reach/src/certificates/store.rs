//! What an authority gave this node, in the data directory.
//!
//! ```text
//!   certificates/<directory>/account.json      the account and its key
//!                            certificate.pem   the key and the chain that belongs to it, in one file
//!                            attempted         when an order was last placed that has come to nothing so far
//! ```
//! Owns these files: private from their first byte, whole or not there, so that a kill at any time leaves a certificate
//! with its own key. Each directory has a folder of its own: what a test authority gave is not served for another.

use std::io;
use std::path::{Path, PathBuf};

use alloy_primitives::{hex, keccak256};
use instant_acme::AccountCredentials;
use jiff::Timestamp;

/// Most bytes of a file.
const LARGEST: u64 = 256 * 1024;

/// The folder of one directory.
#[derive(Debug, Clone)]
pub(super) struct Store {
    folder: PathBuf,
}

impl Store {
    /// The folder, below `certificates`, for what the authority at `directory` gave.
    pub(super) fn open(certificates: &Path, directory: &str) -> io::Result<Self> {
        let host = directory.split('/').nth(2).unwrap_or_default();
        let host: String = host.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let folder = certificates.join(format!("{host}-{}", hex::encode(&keccak256(directory)[..4])));
        golem_files::private_subfolder(&folder)?;
        Ok(Self { folder })
    }

    /// Reads a file; `None` if it is not there.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match golem_files::read(&self.folder.join(name), LARGEST) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    /// The account; `None` if there is none, or it cannot be read.
    pub(super) fn account(&self) -> io::Result<Option<AccountCredentials>> {
        Ok(self.read("account.json")?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    pub(super) fn keep_account(&self, account: &AccountCredentials) -> io::Result<()> {
        golem_files::replace(&self.folder.join("account.json"), &serde_json::to_vec(account)?)
    }

    pub(super) fn forget_account(&self) -> io::Result<()> {
        golem_files::absent_is_fine(std::fs::remove_file(self.folder.join("account.json")))
    }

    /// The certificate and its key.
    pub(super) fn certificate(&self) -> io::Result<Option<Vec<u8>>> {
        self.read("certificate.pem")
    }

    pub(super) fn keep_certificate(&self, pem: &[u8]) -> io::Result<()> {
        golem_files::replace(&self.folder.join("certificate.pem"), pem)?;
        golem_files::absent_is_fine(std::fs::remove_file(self.folder.join("attempted")))
    }

    /// When an order was last placed that has come to nothing, also before a kill.
    pub(super) fn attempted(&self) -> io::Result<Option<Timestamp>> {
        let text = self.read("attempted")?.and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(text.and_then(|text| text.trim().parse().ok()))
    }

    pub(super) fn begin_attempt(&self, at: Timestamp) -> io::Result<()> {
        golem_files::replace(&self.folder.join("attempted"), at.to_string().as_bytes())
    }
}
