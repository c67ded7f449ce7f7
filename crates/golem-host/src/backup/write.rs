//! A backup that is written.
//!
//! Owns which files go into it, in which order they are read, and that the file is whole under its name or not there. Never
//! changes what it reads, and never follows a file that somebody writes to meanwhile: each is replaced as a whole by whoever
//! writes it.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use age::secrecy::SecretString;
use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::BackupError;
use super::manifest::{
    FOLDERS, FORMAT, LARGEST, LEDGER, MOST, Manifest, Member, NAME, SERVICE_SETTINGS, SETTINGS,
    USER_SETTINGS, is_name,
};
use super::temporary::{remove_left, unique};
use crate::place::beside;

/// What trying a passphrase on a backup costs: 2 to this power steps of scrypt, each of which takes a kilobyte.
#[derive(Debug, Clone, Copy)]
pub struct Cost(pub(super) u8);

impl Cost {
    /// Half a second and 256 MiB, as age itself has it.
    pub const STANDARD: Self = Self(18);

    /// Next to nothing, for tests.
    pub const LEAST: Self = Self(1);
}

/// A copy of the ledger that nobody writes to.
#[derive(Debug)]
pub struct LedgerCopy {
    /// The file.
    pub path: PathBuf,
    /// Version of its schema.
    pub version: u32,
}

/// What a backup is made of.
#[derive(Debug)]
pub struct Source {
    /// The node's data directory.
    pub data_dir: PathBuf,
    /// Its ledger; `None` if there is none yet.
    pub ledger: Option<LedgerCopy>,
    /// The service's file of settings, if the node is the service's.
    pub service_settings: Option<PathBuf>,
    /// The user's file of settings, if it is not in the data directory.
    pub user_settings: Option<PathBuf>,
    /// The node's address, if it has a key.
    pub provider_id: Option<String>,
    /// Version of this program.
    pub program_version: &'static str,
}

/// One file, ready to be written.
enum Content {
    Bytes(Zeroizing<Vec<u8>>),
    File(File),
}

/// Writes a backup of `source` into the file `path`, which is there whole when this returns and as it was when this fails.
/// `replace` tells whether a file of that name may be replaced.
///
/// # Errors
/// [`BackupError::Exists`], [`BackupError::NoFile`]; every error of [`write_to`].
pub fn write(
    source: &Source,
    path: &Path,
    replace: bool,
    passphrase: &str,
    cost: Cost,
    now: Timestamp,
) -> Result<Manifest, BackupError> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(BackupError::NoFile(path.to_owned())),
        Ok(_) if !replace => return Err(BackupError::Exists(path.to_owned())),
        _ => {}
    }
    let failed = |source| BackupError::Write { path: path.to_owned(), source };
    // Two may be written at once; what has another name is somebody's.
    let unfinished = beside(path, "", ".new-");
    let prefix = unfinished.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let whole = std::path::absolute(path).map_err(failed)?;
    remove_left(whole.parent().unwrap_or(Path::new("/")), &prefix);
    let unfinished = unfinished.with_file_name(unique(&prefix));
    let file = File::options().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(failed)?;
    let written = || {
        let mut file = io::BufWriter::new(file);
        let manifest = write_to(source, &mut file, passphrase, cost, now).map_err(|error| match error {
            BackupError::Write { source, .. } => failed(source),
            error => error,
        })?;
        let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        crate::crash::crash_point!("backup-written");
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        rustix::fs::renameat_with(CWD, &unfinished, CWD, path, flags).map_err(|error| match error {
            rustix::io::Errno::EXIST => BackupError::Exists(path.to_owned()),
            error => failed(error.into()),
        })?;
        Ok(manifest)
    };
    let manifest = written().inspect_err(|_| {
        let _ = std::fs::remove_file(&unfinished);
    })?;
    golem_files::sync_folder_of(&whole).map_err(failed)?;
    Ok(manifest)
}

/// Writes a backup of `source` to `output`.
///
/// # Errors
/// [`BackupError::Source`], [`BackupError::Name`], [`BackupError::Many`], [`BackupError::Nothing`], [`BackupError::Encrypt`],
/// [`BackupError::Write`].
pub fn write_to(
    source: &Source,
    output: impl Write,
    passphrase: &str,
    cost: Cost,
    now: Timestamp,
) -> Result<Manifest, BackupError> {
    let (members, contents): (Vec<_>, Vec<_>) = collected(source)?.into_iter().unzip();
    let manifest = Manifest {
        format: FORMAT,
        program_version: source.program_version.to_owned(),
        provider_id: source.provider_id.clone(),
        ledger_version: source.ledger.as_ref().map(|copy| copy.version),
        created_at: now,
        members,
    };
    let mut recipient = age::scrypt::Recipient::new(SecretString::from(passphrase.to_owned()));
    recipient.set_work_factor(cost.0);
    let encryptor = age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
        .map_err(BackupError::Encrypt)?;
    let write = || -> io::Result<()> {
        let mut tar = tar::Builder::new(encryptor.wrap_output(output)?);
        let text = serde_json::to_vec_pretty(&manifest)?;
        append(&mut tar, NAME, text.len() as u64, now, text.as_slice())?;
        for (member, content) in manifest.members.iter().zip(contents) {
            match content {
                Content::Bytes(bytes) => append(&mut tar, &member.name, member.bytes, now, bytes.as_slice())?,
                Content::File(file) => append(&mut tar, &member.name, member.bytes, now, file)?,
            }
        }
        tar.into_inner()?.finish()?.flush()
    };
    write().map_err(|source| BackupError::Write { path: PathBuf::from("-"), source })?;
    Ok(manifest)
}

fn append(
    tar: &mut tar::Builder<impl Write>,
    name: &str,
    bytes: u64,
    now: Timestamp,
    content: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_mtime(u64::try_from(now.as_second()).unwrap_or(0));
    header.set_cksum();
    tar.append(&header, content.take(bytes))
}

/// Every member with what it holds.
fn collected(source: &Source) -> Result<Vec<(Member, Content)>, BackupError> {
    let mut all = Vec::new();
    // The ledger first: a key that was replaced after it was copied is among the former ones.
    if let Some(copy) = &source.ledger {
        let failed = |error| BackupError::Source { path: copy.path.clone(), source: error };
        let mut file = File::open(&copy.path).map_err(failed)?;
        let mut hasher = Sha256::new();
        let bytes = io::copy(&mut file, &mut hasher).map_err(failed)?;
        io::Seek::rewind(&mut file).map_err(failed)?;
        let sha256 = hex(&hasher.finalize());
        all.push((Member { name: LEDGER.to_owned(), bytes, sha256 }, Content::File(file)));
    }
    add(&mut all, "data/.env", &source.data_dir.join(SETTINGS))?;
    for (name, path) in [(SERVICE_SETTINGS, &source.service_settings), (USER_SETTINGS, &source.user_settings)]
    {
        if let Some(path) = path {
            add(&mut all, name, path)?;
        }
    }
    for folder in FOLDERS {
        add_folder(&mut all, &format!("data/{folder}"), &source.data_dir.join(folder))?;
    }
    if all.is_empty() {
        return Err(BackupError::Nothing(source.data_dir.clone()));
    }
    if all.len() > MOST {
        return Err(BackupError::Many(source.data_dir.clone()));
    }
    Ok(all)
}

/// Adds the file `path`, if it is there.
fn add(all: &mut Vec<(Member, Content)>, name: &str, path: &Path) -> Result<(), BackupError> {
    let bytes = match golem_files::read(path, LARGEST) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(BackupError::Source { path: path.to_owned(), source }),
        Ok(bytes) => Zeroizing::new(bytes),
    };
    if !is_name(name) {
        return Err(BackupError::Name(path.to_owned()));
    }
    let (length, sha256) = (bytes.len() as u64, hex(&Sha256::digest(&bytes)));
    all.push((Member { name: name.to_owned(), bytes: length, sha256 }, Content::Bytes(bytes)));
    Ok(())
}

/// Adds what is in the folder `path`, if it is there: files before folders, so that a key which is replaced meanwhile is in the
/// backup as the node's or as a former one.
fn add_folder(all: &mut Vec<(Member, Content)>, name: &str, path: &Path) -> Result<(), BackupError> {
    let failed = |source| BackupError::Source { path: path.to_owned(), source };
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    let mut names =
        entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>().map_err(failed)?;
    if all.len() + names.len() > MOST {
        return Err(BackupError::Many(path.to_owned()));
    }
    names.sort();
    let mut folders = Vec::new();
    for file_name in names {
        let path = path.join(&file_name);
        let plain = file_name.to_str().ok_or_else(|| BackupError::Name(path.clone()))?;
        // Half a file, which becomes one or is thrown away.
        if plain.ends_with(".new") {
            continue;
        }
        let name = format!("{name}/{plain}");
        match std::fs::metadata(&path) {
            Ok(found) if found.is_dir() => folders.push((name, path)),
            _ => add(all, &name, &path)?,
        }
    }
    // Deeper than a name may be long nothing is.
    folders.into_iter().try_for_each(|(name, path)| match is_name(&format!("{name}/x")) {
        true => add_folder(all, &name, &path),
        false => Err(BackupError::Name(path)),
    })
}

/// `bytes` in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
