//! A backup that is read.
//!
//! Owns that every byte of it is checked, whoever wrote it, before any is used: passphrase, form, names, sizes, digests, and that
//! nothing follows. Memory is bounded whatever the file says. Never writes a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

use age::DecryptError;
use age::secrecy::SecretString;
use age::stream::StreamReader;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::BackupError;
use super::manifest::{LARGEST_MANIFEST, Manifest, Member, NAME, SERVICE_SETTINGS, SETTINGS, USER_SETTINGS};
use super::write::hex;

/// Most that opening a file may cost: a gigabyte of memory, four times what ours take.
const MOST_WORK: u8 = 20;

/// In so many bytes the header of a file with a passphrase ends; age itself would look for the end as far as it goes.
const HEADER: usize = 1024;

/// Most that follows the last member: a tar ends in zeros.
const END: u64 = 1 << 20;

/// A backup of which every byte was checked.
pub struct Backup {
    path: PathBuf,
    stream: StreamReader<BufReader<File>>,
    /// What is in it.
    pub manifest: Manifest,
    /// Files of settings, by their member's name.
    pub settings: BTreeMap<String, Zeroizing<String>>,
}

impl Backup {
    /// Opens the backup `path` with `passphrase`, and checks it from its first byte to its last.
    ///
    /// # Errors
    /// [`BackupError::Read`], [`BackupError::NotOne`], [`BackupError::Passphrase`], [`BackupError::Work`],
    /// [`BackupError::Damaged`], [`BackupError::Member`], [`BackupError::NewerFormat`].
    pub fn open(path: &Path, passphrase: &str) -> Result<Self, BackupError> {
        let failed = |source| BackupError::Read { path: path.to_owned(), source };
        // Not waited for: somebody may have put a FIFO there.
        let found = std::fs::metadata(path).map_err(failed)?;
        if !found.is_file() {
            return Err(BackupError::NoFile(path.to_owned()));
        }
        let mut file = BufReader::new(File::open(path).map_err(failed)?);
        let mut header = Vec::with_capacity(HEADER);
        file.by_ref().take(HEADER as u64).read_to_end(&mut header).map_err(failed)?;
        let begins = header.starts_with(b"age-encryption.org/");
        if !begins || !header.windows(5).any(|five| five == b"\n--- ") {
            return Err(BackupError::NotOne);
        }
        file.rewind().map_err(failed)?;
        let decryptor = age::Decryptor::new_buffered(file).map_err(refusal)?;
        let mut identity = age::scrypt::Identity::new(SecretString::from(passphrase.to_owned()));
        identity.set_max_work_factor(MOST_WORK);
        let identities = std::iter::once(&identity as &dyn age::Identity);
        let mut stream = decryptor.decrypt(identities).map_err(refusal)?;
        let mut settings = BTreeMap::new();
        let manifest = check_members(&mut stream, &mut |member, content| {
            if [&format!("data/{SETTINGS}"), SERVICE_SETTINGS, USER_SETTINGS].contains(&member.name.as_str())
            {
                let mut text = Zeroizing::new(String::new());
                content.read_to_string(&mut text)?;
                settings.insert(member.name.clone(), text);
            }
            Ok(())
        })?;
        Ok(Self { path: path.to_owned(), stream, manifest, settings })
    }

    /// What tells this backup from every other.
    pub(super) fn digest(&self) -> String {
        hex(&Sha256::digest(format!("{:?}", self.manifest)))
    }

    /// Gives each member and what it holds to `take`, in the order of the manifest; all is checked again as it is read.
    ///
    /// # Errors
    /// As [`Backup::open`]; what `take` fails with is a [`BackupError::Read`].
    pub(super) fn each(
        &mut self,
        take: &mut dyn FnMut(&Member, &mut dyn Read) -> io::Result<()>,
    ) -> Result<(), BackupError> {
        let path = self.path.clone();
        self.stream.rewind().map_err(|source| BackupError::Read { path, source })?;
        let manifest = check_members(&mut self.stream, take)?;
        // Somebody wrote to the file meanwhile.
        if manifest != self.manifest {
            return Err(BackupError::Damaged("it changed while it was read"));
        }
        Ok(())
    }
}

/// What age says against a file.
fn refusal(error: DecryptError) -> BackupError {
    match error {
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => BackupError::Passphrase,
        DecryptError::ExcessiveWork { .. } => BackupError::Work,
        DecryptError::InvalidMac => BackupError::Damaged("its header was changed"),
        DecryptError::Io(_) | DecryptError::InvalidHeader => {
            BackupError::Damaged("its header cannot be understood")
        }
        // Encrypted to keys and not by a passphrase, or of a later version of age.
        _ => BackupError::NotOne,
    }
}

/// What is wrong with a file whose content cannot be read to its end.
fn damage(error: io::Error) -> BackupError {
    match error.kind() {
        ErrorKind::UnexpectedEof => BackupError::Damaged("it was cut off"),
        _ => BackupError::Damaged("it is not what was written"),
    }
}

/// Reads what is encrypted in a backup, which may be anything, and checks all of it; gives each member and what it holds to
/// `take`, in the order of the manifest, which need not read it to its end.
///
/// # Errors
/// As [`Backup::open`]; also what `take` fails with.
pub fn check_members(
    mut content: impl Read,
    take: &mut dyn FnMut(&Member, &mut dyn Read) -> io::Result<()>,
) -> Result<Manifest, BackupError> {
    let mut archive = tar::Archive::new(&mut content);
    // Raw: what extends names and sizes, and is read into memory for that, is refused as any other kind of member.
    let mut entries = archive.entries().map_err(damage)?.raw(true);
    let mut next = |name: &str, bytes: Option<u64>, largest: u64| {
        let entry = entries.next().ok_or(BackupError::Damaged("it was cut off"))?.map_err(damage)?;
        let wrong = |why| Err(BackupError::Member(name.to_owned(), why));
        if entry.path_bytes() != name.as_bytes() {
            return wrong("is not where the manifest says");
        }
        if entry.header().entry_type() != tar::EntryType::Regular {
            return wrong("is no file");
        }
        let size = entry.header().entry_size().map_err(damage)?;
        if bytes.is_some_and(|bytes| bytes != size) || size > largest {
            return wrong("has another size");
        }
        Ok(entry)
    };
    let manifest = {
        let mut text = Vec::new();
        next(NAME, None, LARGEST_MANIFEST)?.read_to_end(&mut text).map_err(damage)?;
        Manifest::parse(&text)?
    };
    for member in &manifest.members {
        let entry = next(&member.name, Some(member.bytes), member.bytes)?;
        let mut checked = Checked { inner: entry, hasher: Sha256::new(), bytes: 0, broken: None };
        let taken = take(member, &mut checked);
        let rest = io::copy(&mut checked, &mut io::sink());
        if let Some(error) = checked.broken.take() {
            return Err(damage(error));
        }
        taken
            .and(rest.map(drop))
            .map_err(|source| BackupError::Read { path: member.name.clone().into(), source })?;
        if checked.bytes != member.bytes {
            return Err(BackupError::Damaged("it was cut off"));
        }
        if hex(&checked.hasher.finalize()) != member.sha256 {
            return Err(BackupError::Member(member.name.clone(), "is not what was written"));
        }
    }
    match entries.next() {
        None => {}
        Some(Ok(_)) => return Err(BackupError::Damaged("more is in it than its manifest says")),
        Some(Err(error)) => return Err(damage(error)),
    }
    let mut end = Ending { bytes: 0 };
    io::copy(&mut content, &mut end).map_err(damage)?;
    Ok(manifest)
}

/// A member's content, counted and digested as it is read.
struct Checked<R> {
    inner: R,
    hasher: Sha256,
    bytes: u64,
    /// Why the backup, and not what takes it, failed.
    broken: Option<io::Error>,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(read) => {
                self.hasher.update(&buffer[..read]);
                self.bytes += read as u64;
                Ok(read)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.broken = Some(error);
                Err(kind.into())
            }
        }
    }
}

/// Takes the zeros at the end of a tar, and nothing else.
struct Ending {
    bytes: u64,
}

impl Write for Ending {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.bytes += buffer.len() as u64;
        if self.bytes > END || buffer.iter().any(|byte| *byte != 0) {
            return Err(ErrorKind::InvalidData.into());
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
