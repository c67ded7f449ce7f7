//! Files of settings: `NAME=value` lines, a `.env`.
//!
//! Owns whose files are believed, what is read of them, and that a change leaves the rest of a file as it is. Never knows
//! what a name means.

mod syntax;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

pub use syntax::{Assignment, BadLine, parse};

use syntax::quoted;

/// Largest file that is read, in bytes: far beyond any that people write.
const MAXIMUM: u64 = 1 << 20;

/// Why a file is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, as a sentence that begins with the file.
    pub problem: String,
    /// What to do.
    pub fix: String,
}

/// What the `.env` file at `path` holds, if it is there; or what is wrong with it, and the fix. Whoever can
/// write it decides what this process does: so only its user, or root, may.
///
/// # Errors
/// A file that others own or can write, that is larger than 1 MiB, or that is no text.
pub fn read(path: &Path) -> Result<Option<String>, Problem> {
    let wrong = |problem: String, fix: String| Err(Problem { problem, fix });
    let text_file = || "make it a readable text file".to_owned();
    let user = rustix::process::geteuid().as_raw();
    let is_trusted = |owner: u32| owner == user || owner == 0;
    let foreign = |what: &str, owner: u32| {
        let fix = format!("look at what it says, then `chown -h {user} {}`, or remove it", path.display());
        wrong(format!("{what} user {owner}, and this process runs as user {user}"), fix)
    };
    match std::fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Ok(link) if link.is_symlink() && !is_trusted(link.uid()) => {
            return foreign("is a symbolic link of", link.uid());
        }
        _ => {}
    }
    // Opening a pipe must not wait for its other end.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(nonblocking).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return wrong(format!("cannot be read: {error}"), text_file()),
        Ok(file) => file,
    };
    let found = match file.metadata() {
        Err(error) => return wrong(format!("cannot be read: {error}"), text_file()),
        Ok(found) if !found.is_file() => return wrong("is not a file".to_owned(), text_file()),
        Ok(found) if found.len() > MAXIMUM => {
            return wrong("is larger than 1 MiB".to_owned(), text_file());
        }
        Ok(found) => found,
    };
    if !is_trusted(found.uid()) {
        return foreign("belongs to", found.uid());
    }
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o022 != 0 {
        let fix = format!("look at what it says, then `chmod go-w {}`", path.display());
        return wrong(format!("can be written by other users ({mode:03o})"), fix);
    }
    let mut text = String::new();
    match file.take(MAXIMUM).read_to_string(&mut text) {
        Ok(_) => Ok(Some(text)),
        Err(error) => wrong(format!("cannot be read: {error}"), text_file()),
    }
}

/// Sets `changes` in the file `path`, in place of earlier lines; the rest of it stays as it is.
///
/// # Errors
/// Any error of reading or writing it.
pub fn write(path: &Path, changes: &BTreeMap<&str, String>) -> io::Result<()> {
    let before = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read?,
    };
    let sets = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        line.split_once('=').is_some_and(|(name, _)| changes.contains_key(name.trim_end()))
    };
    let kept = before.lines().filter(|line| !sets(line)).map(str::to_owned);
    let added = changes.iter().map(|(name, text)| format!("{name}={}", quoted(text)));
    let text: String = kept.chain(added).map(|line| line + "\n").collect();
    if let Some(folder) = path.parent() {
        golem_files::private_subfolder(folder)?;
    }
    // It may hold the key.
    golem_files::replace(path, text.as_bytes())
}
