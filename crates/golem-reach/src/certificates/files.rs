//! A certificate that the operator gives as files.
//!
//! Owns reading them, and noticing that they changed. A key that other users can read is not used. Never writes them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::certificate::Certificate;
use super::problem::Problem;

/// Most bytes of a file: a chain of a dozen certificates is below 32 KiB.
const LARGEST: u64 = 256 * 1024;

/// Rights that nobody but a key's owner may have.
const OTHERS: u32 = 0o077;

/// Tells one version of a file from another; `None` if it is not there.
type Version = Option<(u64, i64, i64, u64, u32)>;

/// The files, and what was last read of them.
#[derive(Debug)]
pub(super) struct Files {
    certificate: PathBuf,
    key: PathBuf,
    /// As they were when they were last read.
    read: Option<[Version; 2]>,
    /// As they were at the last look.
    seen: Option<[Version; 2]>,
}

impl Files {
    pub(super) fn new(certificate: PathBuf, key: PathBuf) -> Self {
        Self { certificate, key, read: None, seen: None }
    }

    /// The certificate in them, if they changed since they were last read and no longer do; the first look reads at
    /// once.
    pub(super) fn look(&mut self) -> Option<Result<Certificate, Problem>> {
        let now = [version(&self.certificate), version(&self.key)];
        let (is_first, is_quiet) = (self.seen.is_none(), self.seen == Some(now));
        self.seen = Some(now);
        if self.read == Some(now) || !(is_first || is_quiet) {
            return None;
        }
        self.read = Some(now);
        Some(self.load())
    }

    fn load(&self) -> Result<Certificate, Problem> {
        let text = |path: &Path| {
            golem_files::read(path, LARGEST)
                .map_err(|error| Problem::Unreadable { path: path.to_owned(), why: error.to_string() })
        };
        let chain = text(&self.certificate)?;
        let mode = std::fs::metadata(&self.key).map_or(0, |found| found.mode() & 0o777);
        if mode & OTHERS != 0 {
            return Err(Problem::NotPrivate { path: self.key.clone(), mode });
        }
        let key = text(&self.key)?;
        Certificate::read(&chain, &key).map_err(|error| Problem::Unusable {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            why: error.to_string(),
        })
    }
}

/// A look at a few local files does not hold the runtime up.
fn version(file: &Path) -> Version {
    let found = std::fs::metadata(file).ok()?;
    Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len(), found.mode()))
}
