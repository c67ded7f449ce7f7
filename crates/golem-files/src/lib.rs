//! Files and folders of the node, and values of the kernel.
//!
//! Owns how they are made and read: what is ours can be entered and read by this process's user
//! alone from its first byte on, a file is whole under its name or not there, and a symbolic link that
//! somebody else made is never followed. Never decides what a file holds.
//!
//! A private folder protects everything below it, so files of other users inside (a guest's disk) need
//! no care of their own.

mod kernel;
mod volume;

use std::ffi::OsString;
use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub use kernel::kernel_value;
pub use volume::volume_trouble;

/// Mode of folders.
const FOLDER: u32 = 0o700;

/// The bit of folders in which everybody may make files, such as `/tmp`.
const STICKY: u32 = 0o1000;

/// Most symbolic links that are followed on a way, as the kernel does.
const LINKS: u32 = 40;

/// Mode of files.
const FILE: u32 = 0o600;

/// Why a file or folder is not used as the node's own. Comes inside an [`io::Error`].
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It belongs to another user, who could change it at any time.
    #[error(
        "{path} belongs to user {owner}, and this process runs as user {user}; fix: run as user {owner}, or \
         `chown {user} {path}`",
        path = .path.display()
    )]
    Foreign {
        /// Which one.
        path: PathBuf,
        owner: u32,
        /// The user of this process.
        user: u32,
    },
    /// A symbolic link of another user stands in its place.
    #[error("{path} is a symbolic link that user {owner} made; fix: remove it", path = .path.display())]
    Link {
        /// Which one.
        path: PathBuf,
        /// Whose link.
        owner: u32,
    },
    /// It is a folder that is not only ours.
    #[error("{path} holds files of others; fix: name a folder of its own", path = .0.display())]
    Shared(PathBuf),
    /// Every user can put another folder in its place.
    #[error("{path} can be written by every user; fix: `chmod o-w {path}`", path = .0.display())]
    Open(PathBuf),
    /// It is a symbolic link to what is not there.
    #[error(
        "{path} leads to {target}, which is not there; fix: mount the disk that it is on, or remove the link",
        path = .path.display(), target = .target.display()
    )]
    Nowhere {
        /// Which one.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// It is no file.
    #[error("{path} is no file; fix: remove it", path = .0.display())]
    NoFile(PathBuf),
    /// It is larger than anything that belongs there.
    #[error("{path} is larger than {maximum} bytes", path = .path.display())]
    Large {
        /// Which one.
        path: PathBuf,
        /// The most that is read.
        maximum: u64,
    },
}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        let kind = match error {
            FileError::Foreign { .. }
            | FileError::Link { .. }
            | FileError::Shared(_)
            | FileError::Open(_) => ErrorKind::PermissionDenied,
            FileError::Nowhere { .. } => ErrorKind::AlreadyExists,
            FileError::NoFile(_) => ErrorKind::InvalidInput,
            FileError::Large { .. } => ErrorKind::FileTooLarge,
        };
        Self::new(kind, error)
    }
}

/// Files that this process makes, and its children do, are private unless they say otherwise. Called
/// before the first file is made.
pub fn private_by_default() {
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
}

/// Makes the folder `path`, and those above it, for this user alone. One that is there and that others may
/// enter is closed, with a warning.
///
/// # Errors
/// [`FileError::Foreign`], [`FileError::Link`], [`FileError::Nowhere`]; any error of making or closing it.
pub fn private_folder(path: &Path) -> io::Result<()> {
    refuse_foreign_link(path)?;
    make_folder(path)?;
    close(&File::open(path)?, path, FOLDER)
}

/// Makes the folder `path` and those above it, where they are not there.
fn make_folder(path: &Path) -> io::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(FOLDER).create(path);
    match std::fs::read_link(path) {
        // Of a link that leads nowhere the system says that it exists.
        Ok(target) if made.is_err() && !path.exists() => {
            Err(FileError::Nowhere { path: path.to_owned(), target }.into())
        }
        _ => made,
    }
}

/// As [`private_folder`], for a folder in one of ours, which is made too.
///
/// # Errors
/// As [`private_folder`]; also when the outer folder is another user's.
pub fn private_subfolder(path: &Path) -> io::Result<()> {
    if let Some(outer) = path.parent() {
        refuse_foreign_link(outer)?;
        make_folder(outer)?;
        refuse_foreign(&std::fs::metadata(outer)?, outer)?;
    }
    private_folder(path)
}

/// As [`private_folder`], for the folder that holds all others: what lies in it is closed too, for it may
/// have been made when the folder was open to others. One that others may enter is only closed to them if
/// it is empty, holds one of `marks`, or nothing but `names`: any other is not only ours.
///
/// # Errors
/// As [`private_folder`]; [`FileError::Shared`]; [`FileError::Open`]; also when others own or made something in it, or a
/// folder on the way to it: they could put another in its place at any time.
pub fn private_root(path: &Path, marks: &[&str], names: &[&str]) -> io::Result<()> {
    refuse_foreign_way(path)?;
    make_folder(path)?;
    let folder = File::open(path)?;
    let found = folder.metadata()?;
    let mode = found.permissions().mode();
    let found_names =
        std::fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    let is_open = mode & 0o077 != 0;
    let is_marked = marks.iter().any(|mark| path.join(mark).exists());
    let is_ours = is_marked || found_names.iter().all(|found| names.iter().any(|name| found == name));
    if (is_open && !is_ours) || mode & STICKY != 0 {
        return Err(FileError::Shared(path.to_owned()).into());
    }
    close(&folder, path, FOLDER)?;
    for name in found_names {
        let path = path.join(name);
        refuse_foreign_link(&path)?;
        match std::fs::metadata(&path) {
            // A link to nothing, or gone meanwhile: nobody can read it.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // Root's, such as a file system's `lost+found`.
            Ok(found) if found.uid() == 0 && user() != 0 => {}
            found => close_at(&path, &found?, FOLDER)?,
        }
    }
    Ok(())
}

/// Opens the file `path` for reading and writing, as `options` say beside, and makes it if it is not
/// there. One that others may read is closed, with a warning.
///
/// # Errors
/// [`FileError::Foreign`], [`FileError::Link`]; any error of opening or closing it.
pub fn private_file(path: &Path, options: &OpenOptions) -> io::Result<File> {
    refuse_foreign_link(path)?;
    let file = options.clone().create(true).mode(FILE).open(path)?;
    close(&file, path, FILE)?;
    Ok(file)
}

/// Makes the empty SQLite database `path`, if it is not there, and closes it and the files that SQLite keeps
/// beside it: they get the mode of the database when SQLite makes them.
///
/// # Errors
/// As [`private_file`].
pub fn private_database(path: &Path) -> io::Result<()> {
    refuse_foreign_link(path)?;
    match OpenOptions::new().write(true).create_new(true).mode(FILE).open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        let file = PathBuf::from(file);
        refuse_foreign_link(&file)?;
        match std::fs::metadata(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            found => close_at(&file, &found?, FILE)?,
        }
    }
    Ok(())
}

/// Puts `bytes` in the file `path`, in place of what it held: it is whole and on the disk when this
/// returns, and as it was before when this fails.
///
/// # Errors
/// Any error of writing.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    absent_is_fine(std::fs::remove_file(&unfinished))?;
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE).open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)
    };
    write().inspect_err(|_| {
        let _ = std::fs::remove_file(&unfinished);
    })?;
    sync_folder_of(path)
}

/// Sees to it that the names in the folder of `path` are on the disk.
///
/// # Errors
/// Any error of opening or syncing it.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// What the file `path` holds, which is at most `maximum` bytes.
///
/// # Errors
/// [`FileError::Large`]; any error of reading.
pub fn read(path: &Path, maximum: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Not waited for: somebody may have put a FIFO there.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(FileError::NoFile(path.to_owned()).into());
    }
    file.take(maximum.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > maximum {
        return Err(FileError::Large { path: path.to_owned(), maximum }.into());
    }
    Ok(bytes)
}

/// `result`, with the absence of the file as no error.
///
/// # Errors
/// Every other error.
pub fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Whether an error says that no more can be written here, whoever tries: the disk or a quota is full,
/// failing, or read-only. What it says to renters, without the cause.
#[must_use]
pub fn disk_trouble(error: &io::Error) -> Option<&'static str> {
    use rustix::io::Errno;
    if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
        return Some("the provider's disk is full");
    }
    match Errno::from_io_error(error)? {
        Errno::ROFS => Some("the provider's disk is read-only"),
        Errno::IO => Some("the provider's disk is failing"),
        _ => None,
    }
}

/// The user of this process.
fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Refuses a `path` on which another user could change what it leads to. What is not there yet is not looked at.
fn refuse_foreign_way(path: &Path) -> io::Result<()> {
    let mut here = PathBuf::from("/");
    // The components that are left, the next one last.
    let mut rest: Vec<OsString> = Vec::new();
    let absolute = std::path::absolute(path)?;
    push_components(&mut rest, &absolute);
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == ".." {
            here.pop();
            continue;
        }
        here.push(name);
        let found = match std::fs::symlink_metadata(&here) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        refuse_foreign_link(&here)?;
        if found.is_symlink() {
            links += 1;
            if links > LINKS {
                return Err(rustix::io::Errno::LOOP.into());
            }
            let target = std::fs::read_link(&here)?;
            here.pop();
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            push_components(&mut rest, &target);
            continue;
        }
        if found.uid() != 0 {
            refuse_foreign(&found, &here)?;
        }
        let mode = found.permissions().mode();
        // In a sticky folder, such as `/tmp`, nobody moves what is another's.
        if !rest.is_empty() && mode & 0o002 != 0 && mode & STICKY == 0 {
            return Err(FileError::Open(here).into());
        }
    }
    Ok(())
}

/// Puts the components of `path` on the stack `rest`, the first on top.
fn push_components(rest: &mut Vec<OsString>, path: &Path) {
    use std::path::Component;
    let names = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    rest.extend(names);
}

/// Root may do anything anyway; a link of its own is as good as ours.
fn refuse_foreign_link(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() && ![0, user()].contains(&found.uid()) => {
            Err(FileError::Link { path: path.to_owned(), owner: found.uid() }.into())
        }
        Ok(_) => Ok(()),
        Err(error) => absent_is_fine(Err(error)),
    }
}

/// Takes the rights on `opened` away that go beyond `mode`, with a warning.
fn close(opened: &File, path: &Path, mode: u32) -> io::Result<()> {
    let found = opened.metadata()?;
    refuse_foreign(&found, path)?;
    beyond(&found, mode).map_or(Ok(()), |rights| {
        opened.set_permissions(Permissions::from_mode(rights))?;
        tell(path, &found);
        Ok(())
    })
}

/// As [`close`], by name: for what lies in a folder that is closed. A file that is not opened keeps the
/// locks that this process may have on it.
fn close_at(path: &Path, found: &Metadata, mode: u32) -> io::Result<()> {
    refuse_foreign(found, path)?;
    beyond(found, mode).map_or(Ok(()), |rights| {
        std::fs::set_permissions(path, Permissions::from_mode(rights))?;
        tell(path, found);
        Ok(())
    })
}

/// The rights to be left to a file or folder whose rights go beyond `mode`.
fn beyond(found: &Metadata, mode: u32) -> Option<u32> {
    let before = found.permissions().mode() & 0o777;
    ((found.is_dir() || found.is_file()) && before & mode != before).then_some(before & mode)
}

fn tell(path: &Path, found: &Metadata) {
    tracing::warn!(
        path = %path.display(),
        "other users of this machine could use this ({:03o}); now only its owner can",
        found.permissions().mode() & 0o777
    );
}

fn refuse_foreign(found: &Metadata, path: &Path) -> io::Result<()> {
    let (owner, user) = (found.uid(), user());
    if owner == user {
        return Ok(());
    }
    Err(FileError::Foreign { path: path.to_owned(), owner, user }.into())
}

#[cfg(test)]
mod tests;
