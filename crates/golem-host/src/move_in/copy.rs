//! Folders that are copied to another file system.
//!
//! Owns that a copy is what was copied, and as private. Sockets and pipes, which are nothing without their process, are left out;
//! a link leads where it led.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{MoveInError, failed};

/// Bytes of the files in `from`, of its entries that are `wanted`.
///
/// # Errors
/// Any error of looking.
pub(super) fn size(from: &Path, wanted: &dyn Fn(&str) -> bool) -> io::Result<u64> {
    let mut bytes: u64 = 0;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(wanted) {
            let found = entry.metadata()?;
            bytes = bytes.saturating_add(match found.is_dir() {
                true => size(&entry.path(), &|_| true)?,
                false => found.len(),
            });
        }
    }
    Ok(bytes)
}

/// Copies the entries of the folder `from` that are `wanted` to the folder `to`, which is there.
///
/// # Errors
/// [`MoveInError::Changed`], [`MoveInError::Io`].
pub(super) fn copy(from: &Path, to: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<(), MoveInError> {
    copy_in(from, from, to, wanted)
}

/// As [`copy`], in the folder `root`.
fn copy_in(root: &Path, from: &Path, to: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<(), MoveInError> {
    for entry in std::fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        let name = entry.file_name();
        if !name.to_str().is_some_and(wanted) {
            continue;
        }
        let (path, target) = (entry.path(), to.join(&name));
        let kind = entry.file_type().map_err(failed(&path))?;
        if kind.is_dir() {
            std::fs::DirBuilder::new().mode(0o700).create(&target).map_err(failed(&target))?;
            copy_in(root, &path, &target, &|_| true)?;
        } else if kind.is_symlink() {
            let leads = std::fs::read_link(&path).map_err(failed(&path))?;
            symlink(kept_target(&path, &leads, root), &target).map_err(failed(&target))?;
        } else if kind.is_file() {
            copy_file(&path, &target)?;
        }
    }
    Ok(())
}

/// Where the link `path`, which says `target`, has to lead to lead where it does when the folder `root` is elsewhere.
pub(super) fn kept_target(path: &Path, target: &Path, root: &Path) -> PathBuf {
    match std::fs::canonicalize(path) {
        Ok(real) if target.is_relative() && !real.starts_with(root) => real,
        _ => target.to_owned(),
    }
}

pub(super) fn copy_file(from: &Path, to: &Path) -> Result<(), MoveInError> {
    let write = || {
        let mut target = File::options().write(true).create_new(true).mode(0o600).open(to)?;
        io::copy(&mut File::open(from)?, &mut target)?;
        target.sync_all()
    };
    write().map_err(failed(to))?;
    if digest(from).map_err(failed(from))? != digest(to).map_err(failed(to))? {
        return Err(MoveInError::Changed(from.to_owned()));
    }
    Ok(())
}

fn digest(path: &Path) -> io::Result<[u8; 32]> {
    let (mut file, mut hasher) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            read => hasher.update(&buffer[..read]),
        }
    }
}
