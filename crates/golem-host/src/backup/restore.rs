//! A backup that comes back.
//!
//! ```text
//!   DATA (old)   .DATA.restoring: staged, with links to what stays     ── before ──
//!     ▲──────── exchanged, in one step ────────▲
//!   DATA (new)   .DATA.restoring: what was there                       ── after ──
//!     what stays moves over ─► DATA-before-restore-DATE ─► settings elsewhere ─► the mark goes
//! ```
//! Owns that the data directory is the old one or the new one whenever the process ends, that a second run goes on where the
//! first one was cut off, and that nothing which was there is lost: what the backup replaces is kept beside, and disks, images and
//! logs stay where they are. Never starts before the whole backup was checked, and never looks whether a node runs: its caller
//! holds the lock.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::BackupError;
use super::manifest::{FOLDERS, SERVICE_SETTINGS, SETTINGS, USER_SETTINGS};
use super::read::Backup;
use crate::crash::crash_point;
use crate::place::{Begun, LEDGER_FILES, PID_FILE, begin, beside, give, real, sync};

/// The file that says that a folder was made by a restore which has not come to its end.
const MARK: &str = "restore-unfinished.json";

/// Free bytes that a restore leaves.
const MARGIN: u64 = 16 << 20;

/// Where a backup goes.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The data directory.
    pub data_dir: PathBuf,
    /// The service's file of settings, if the data directory is the service's.
    pub service_settings: Option<PathBuf>,
    /// The user's file of settings, if it is not in the data directory.
    pub user_settings: Option<PathBuf>,
    /// The newest version of the ledger's schema that this program reads.
    pub ledger_version: u32,
    /// Version of this program.
    pub program_version: &'static str,
}

/// What a restore would do, or has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restoration {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where what was in the data directory is kept; `None` if there was nothing.
    pub kept: Option<PathBuf>,
    /// Files of settings elsewhere that are written.
    pub settings: Vec<PathBuf>,
    /// What there is to say.
    pub notes: Vec<String>,
}

/// What is written down before the exchange, for whoever goes on after it.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    /// Digest of the backup's manifest.
    backup: String,
    /// Where what was there is kept.
    kept: PathBuf,
    /// Files of settings in the data directory that belong elsewhere, by their names.
    settings: Vec<(String, PathBuf)>,
    /// What is put behind the name of a file of settings that is replaced.
    suffix: String,
}

fn staging(data_dir: &Path) -> PathBuf {
    beside(data_dir, ".", ".restoring")
}

/// Whether the folder holds anything that a restore would replace or take along.
fn holds_data(data_dir: &Path) -> io::Result<bool> {
    let entries = match std::fs::read_dir(data_dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        entries => entries?,
    };
    for entry in entries {
        if !["lost+found", PID_FILE, "logs"]
            .iter()
            .any(|name| entry.as_ref().is_ok_and(|e| e.file_name() == *name))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What restoring `backup` to `destination` would do. Writes nothing.
///
/// # Errors
/// [`BackupError::NewerLedger`], [`BackupError::MountPoint`], [`BackupError::Room`], [`BackupError::Place`].
pub fn look(backup: &Backup, destination: &Destination, now: Timestamp) -> Result<Restoration, BackupError> {
    let failed = |source| BackupError::Place { path: destination.data_dir.clone(), source };
    let manifest = &backup.manifest;
    if let Some(found) = manifest.ledger_version.filter(|found| *found > destination.ledger_version) {
        return Err(BackupError::NewerLedger { found, known: destination.ledger_version });
    }
    let data_dir = real(&destination.data_dir).map_err(failed)?;
    let existing = data_dir.ancestors().skip(1).find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    if let (Ok(folder), Ok(outer)) = (std::fs::metadata(&data_dir), std::fs::metadata(existing))
        && folder.dev() != outer.dev()
    {
        return Err(BackupError::MountPoint(data_dir));
    }
    let bytes = manifest.bytes().saturating_add(MARGIN);
    if golem_files::volume_trouble(existing, bytes).is_some() {
        return Err(BackupError::Room { path: existing.to_owned(), bytes });
    }
    let mut notes = Vec::new();
    if manifest.created_at > now {
        notes.push(format!(
            "the backup says that it was made at {}, which is to come: this machine's clock, or that one's, is wrong",
            manifest.created_at
        ));
    }
    if manifest.program_version != destination.program_version {
        notes.push(format!("golem-provider {} wrote the backup", manifest.program_version));
    }
    let elsewhere = elsewhere(backup, destination);
    for (name, path) in &elsewhere {
        if path.is_none() {
            notes.push(format!(
                "settings that had their place elsewhere are put into {}; nothing reads them there",
                data_dir.join(name).display()
            ));
        }
    }
    let kept = holds_data(&data_dir).map_err(failed)?;
    let settings: Vec<_> = elsewhere.into_iter().filter_map(|(_, path)| path).collect();
    Ok(Restoration {
        kept: kept.then(|| kept_place(&data_dir, &free_date(&data_dir, &settings, now))),
        settings,
        data_dir,
        notes,
    })
}

fn kept_place(data_dir: &Path, date: &str) -> PathBuf {
    beside(data_dir, "", &format!("-before-restore-{date}"))
}

/// What is put behind the name of a file of settings that is kept.
fn kept_suffix(date: &str) -> String {
    format!(".before-restore-{date}")
}

/// The date of what is kept, with a number where something of that date is there already: of a restore in the same second,
/// or from before the clock was set back.
fn free_date(data_dir: &Path, settings: &[PathBuf], now: Timestamp) -> String {
    let is_there = |path: PathBuf| std::fs::symlink_metadata(path).is_ok();
    let is_taken = |date: &str| {
        is_there(kept_place(data_dir, date))
            || settings.iter().any(|file| is_there(beside(file, "", &kept_suffix(date))))
    };
    let first = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut date = first.clone();
    for number in 2_u32.. {
        if !is_taken(&date) {
            break;
        }
        date = format!("{first}-{number}");
    }
    date
}

/// Files of settings that are not in the data directory: the name that they have there meanwhile, and where they belong.
fn elsewhere(backup: &Backup, destination: &Destination) -> Vec<(String, Option<PathBuf>)> {
    let places =
        [(SERVICE_SETTINGS, &destination.service_settings), (USER_SETTINGS, &destination.user_settings)];
    let there = |(member, place): (&str, &Option<PathBuf>)| {
        backup.settings.contains_key(member).then(|| (member.replace('/', "-"), place.clone()))
    };
    places.into_iter().filter_map(there).collect()
}

/// Restores `backup` to `destination`, as [`look`] says. What was there goes where `kept` says.
///
/// # Errors
/// As [`look`]; [`BackupError::Busy`], [`BackupError::Stranger`]; every error of reading and writing. What was there is
/// then as it was, unless [`is_unfinished`].
pub fn run(
    backup: &mut Backup,
    destination: &Destination,
    now: Timestamp,
) -> Result<Restoration, BackupError> {
    let plan = look(backup, destination, now)?;
    let data_dir = &plan.data_dir;
    let staging = staging(data_dir);
    let failed = |source| BackupError::Place { path: staging.clone(), source };
    let outer = staging.parent().unwrap_or(Path::new("/"));
    if !outer.exists() {
        golem_files::private_folder(outer).map_err(failed)?;
    }
    let _lock = begin(&staging, MARK).map_err(|error| match error {
        Begun::Busy => BackupError::Busy,
        Begun::Stranger => BackupError::Stranger(staging.clone()),
        Begun::Io(source) => failed(source),
    })?;
    let date = free_date(data_dir, &plan.settings, now);
    let mark = Mark {
        backup: backup.digest(),
        kept: plan.kept.clone().unwrap_or_else(|| kept_place(data_dir, &date)),
        settings: elsewhere(backup, destination)
            .into_iter()
            .filter_map(|(name, path)| Some((name, path?)))
            .collect(),
        suffix: kept_suffix(&date),
    };
    let staged = stage(backup, &staging, &mark).and_then(|()| {
        match std::fs::metadata(data_dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            found => {
                let found = found.map_err(failed)?;
                link_what_stays(data_dir, &staging).map_err(failed)?;
                give(&staging, 0, found.uid(), found.gid()).map_err(failed)?;
            }
        }
        sync(&staging).map_err(failed)?;
        crash_point!("restore-staged");
        exchange(&staging, data_dir).map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::INVAL | Errno::NOSYS) => BackupError::Exchange(data_dir.clone()),
            _ => failed(error),
        })
    });
    if let Err(error) = staged {
        // Whatever cannot be removed now is when the next restore begins.
        let _ = std::fs::remove_dir_all(&staging);
        return Err(error);
    }
    crash_point!("restore-exchanged");
    finish_any(data_dir)?;
    Ok(plan)
}

/// Writes everything that is in `backup` to the folder `staging`.
fn stage(backup: &mut Backup, staging: &Path, mark: &Mark) -> Result<(), BackupError> {
    let failed = |source| BackupError::Place { path: staging.to_owned(), source };
    let text = serde_json::to_vec(mark).map_err(|error| failed(error.into()))?;
    golem_files::replace(&staging.join(MARK), &text).map_err(failed)?;
    crash_point!("restore-begun");
    let mut broken = None;
    backup
        .each(&mut |member, content| {
            let path = match member.name.strip_prefix("data/") {
                Some(inside) => staging.join(inside),
                None => staging.join(member.name.replace('/', "-")),
            };
            let open = || {
                if let Some(folder) = path.parent() {
                    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
                }
                File::options().write(true).create_new(true).mode(0o600).open(&path)
            };
            let written = open().and_then(|mut file| {
                io::copy(content, &mut file)?;
                file.sync_all()
            });
            // The name of the file is worth more than that of the member.
            written.inspect_err(|error| {
                broken.get_or_insert((path.clone(), io::Error::new(error.kind(), error.to_string())));
            })
        })
        .map_err(|error| match (error, broken) {
            (BackupError::Read { .. }, Some((path, source))) => BackupError::Place { path, source },
            (error, _) => error,
        })
}

/// Whether a restore replaces the entry `name` of the data directory, even by nothing.
fn is_replaced(name: &str) -> bool {
    FOLDERS.contains(&name)
        || LEDGER_FILES.contains(&name)
        || [SETTINGS, PID_FILE, MARK, "lost+found"].contains(&name)
        || name.starts_with("settings-")
}

/// Links in `staging` everything of `data_dir` that stays to where it will be after the exchange.
fn link_what_stays(data_dir: &Path, staging: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(data_dir)? {
        let name = entry?.file_name();
        if !name.to_str().is_some_and(is_replaced) {
            symlink(staging.join(&name), staging.join(&name))?;
        }
    }
    Ok(())
}

/// Puts `staging` in the place of `data_dir`, and that, if it is there, in the place of `staging`.
fn exchange(staging: &Path, data_dir: &Path) -> io::Result<()> {
    let done = rustix::fs::renameat_with(CWD, staging, CWD, data_dir, RenameFlags::EXCHANGE);
    match done {
        Err(Errno::NOENT) => {
            rustix::fs::renameat_with(CWD, staging, CWD, data_dir, RenameFlags::NOREPLACE)?;
        }
        done => done?,
    }
    golem_files::sync_folder_of(data_dir)
}

/// Whether a restore of `data_dir` was cut short after the exchange: settings elsewhere may be the old ones.
#[must_use]
pub fn is_unfinished(data_dir: &Path) -> bool {
    data_dir.join(MARK).exists()
}

/// Brings a restore to its end that was cut short after the data directory was exchanged. If it was one of `backup`, nothing is
/// left to do, and this tells where what it replaced is kept; `None` otherwise.
///
/// # Errors
/// [`BackupError::Place`].
pub fn finish(data_dir: &Path, backup: &Backup) -> Result<Option<Option<PathBuf>>, BackupError> {
    let finished = finish_any(data_dir)?.filter(|mark| mark.backup == backup.digest());
    Ok(finished.map(|mark| Some(mark.kept).filter(|kept| kept.exists())))
}

/// As [`finish`], whichever backup it was; gives its mark.
fn finish_any(data_dir: &Path) -> Result<Option<Mark>, BackupError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| BackupError::Place { path, source }
    };
    let data_dir = &real(data_dir).map_err(failed(data_dir))?;
    let mark_file = data_dir.join(MARK);
    let mark: Mark = match golem_files::read(&mark_file, 1 << 20) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => {
            let parsed = read.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
            parsed.map_err(failed(&mark_file))?
        }
    };
    let old = staging(data_dir);
    if old.exists() {
        for entry in std::fs::read_dir(data_dir).map_err(failed(data_dir))? {
            let name = entry.map_err(failed(data_dir))?.file_name();
            move_over(&old.join(&name), &data_dir.join(&name)).map_err(failed(data_dir))?;
            crash_point!("restore-moved");
        }
        keep(&old, &mark.kept).map_err(failed(&old))?;
        crash_point!("restore-kept");
    }
    for (name, place) in &mark.settings {
        put_settings(&data_dir.join(name), place, &mark.suffix).map_err(failed(place))?;
        crash_point!("restore-settings");
    }
    std::fs::remove_file(&mark_file).map_err(failed(&mark_file))?;
    golem_files::sync_folder_of(&mark_file).map_err(failed(&mark_file))?;
    Ok(Some(mark))
}

/// Moves `from` to the link at `to` that leads to it; the link, which then leads to itself, is removed.
fn move_over(from: &Path, to: &Path) -> io::Result<()> {
    let leads_to = |link: &Path| std::fs::read_link(link).ok();
    if leads_to(to).as_deref() == Some(from) {
        rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE)?;
    }
    if leads_to(from).as_deref() == Some(from) {
        std::fs::remove_file(from)?;
    }
    Ok(())
}

/// Keeps the folder `old` as `kept`, if anything is left in it.
fn keep(old: &Path, kept: &Path) -> io::Result<()> {
    // A link that was taken along, and whose removal was cut short.
    for entry in std::fs::read_dir(old)? {
        let path = entry?.path();
        if std::fs::read_link(&path).is_ok_and(|target| target == path) {
            std::fs::remove_file(&path)?;
        }
    }
    golem_files::absent_is_fine(std::fs::remove_file(old.join(PID_FILE)))?;
    match std::fs::remove_dir(old) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
            rustix::fs::renameat_with(CWD, old, CWD, kept, RenameFlags::NOREPLACE)?;
        }
        Err(error) => return Err(error),
    }
    golem_files::sync_folder_of(old)
}

/// Puts the file of settings `staged` to its place; what was there is kept with `suffix`.
fn put_settings(staged: &Path, place: &Path, suffix: &str) -> io::Result<()> {
    let bytes = match std::fs::read(staged) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        read => read?,
    };
    if let Some(folder) = place.parent().filter(|folder| !folder.exists()) {
        golem_files::private_subfolder(folder)?;
    }
    match std::fs::read(place) {
        Ok(before) if before != bytes => golem_files::replace(&beside(place, "", suffix), &before)?,
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    golem_files::replace(place, &bytes)?;
    std::fs::remove_file(staged)
}
