//! A node's files in its data directory.
//!
//! Owns which of them are a node's, and their removal. Never removes what is behind a symbolic link, but for machines, nor
//! a file among the keys that no node makes.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use golem_files::absent_is_fine;
use golem_types::VmId;
use golem_vm::qemu::BASES_FOLDER;

use crate::data_dir::{MARKS, NAMES};
use crate::place;

/// Beginnings of names that a data directory may hold, beside those whole ones.
const PREFIXES: [&str; 2] = ["provider.db", "python-provider-backup"];

/// The folder of the machines.
pub(super) const VMS: &str = "vms";

/// The folder of the keys, the one that is used, also half written, and the folder of those that it replaced.
const KEYS: &str = "keys";
const KEY: [&str; 2] = ["provider_key.json", "provider_key.json.new"];
const FORMER: &str = "former";

/// Whether `data_dir` is a node's. Where it is not, a backend must not be opened there: it makes folders.
///
/// # Errors
/// Any error of looking at it; one that is missing is no node's.
pub fn holds_a_node(data_dir: &Path) -> io::Result<bool> {
    for mark in MARKS {
        match std::fs::metadata(data_dir.join(mark)) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            found => return found.map(|_| true),
        }
    }
    Ok(false)
}

/// Files and folders in `data_dir` that a node makes; none where it is not a node's. Those that
/// tell a second run whose the directory is come last.
pub(super) fn own(data_dir: &Path) -> io::Result<Vec<PathBuf>> {
    if !holds_a_node(data_dir)? {
        return Ok(Vec::new());
    }
    let mut own = entries(data_dir)?;
    own.retain(|path| is_own(path));
    own.sort_by_key(|path| (is_mark(path), path.clone()));
    Ok(own)
}

/// What `folder` holds; one that is missing holds nothing.
pub(super) fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}

/// Whether a node makes a file of this name in its data directory.
pub(super) fn is_own(path: &Path) -> bool {
    name(path)
        .is_some_and(|name| NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

/// Whether it is seen by this file of the data directory, or by one in it, that the directory is a node's.
pub(super) fn is_mark(path: &Path) -> bool {
    name(path).is_some_and(|name| MARKS.iter().any(|mark| name != VMS && Path::new(mark).starts_with(name)))
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// Removes a file, a link, or a folder with all that is in it; a mount point stays, empty. What was left, because no
/// node makes it.
pub(super) fn remove(path: &Path) -> io::Result<Vec<PathBuf>> {
    let kind = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        found => found?.file_type(),
    };
    match name(path) {
        Some(VMS) if kind.is_symlink() => return remove_linked_machines(path),
        Some(KEYS) if kind.is_dir() => return remove_keys(path),
        _ => {}
    }
    let removed = match kind.is_dir() {
        false => std::fs::remove_file(path),
        true => match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => place::empty(path, None),
            removed => removed,
        },
    };
    absent_is_fine(removed).map(|()| Vec::new())
}

/// Of machines on another volume, removes the copies of images and the link. The machines themselves were deleted before;
/// while one could not be, the link stays, by which the next run finds it.
fn remove_linked_machines(link: &Path) -> io::Result<Vec<PathBuf>> {
    let mut left = Vec::new();
    if let Ok(volume) = std::fs::canonicalize(link)
        && volume.is_dir()
    {
        absent_is_fine(std::fs::remove_dir_all(volume.join(BASES_FOLDER)))?;
        left = entries(&volume)?;
        left.sort();
    }
    if !left.iter().any(|path| name(path).is_some_and(|name| name.parse::<VmId>().is_ok())) {
        absent_is_fine(std::fs::remove_file(link))?;
    }
    Ok(left)
}

/// Removes the keys that [`super::key_copies`] copies, and the folder once nothing else is in it.
fn remove_keys(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut left = Vec::new();
    for path in entries(folder)? {
        match name(&path) {
            Some(name) if KEY.contains(&name) => absent_is_fine(std::fs::remove_file(&path))?,
            Some(FORMER) if path.is_symlink() => absent_is_fine(std::fs::remove_file(&path))?,
            Some(FORMER) if path.is_dir() => {
                for key in entries(&path)? {
                    match key.is_file() {
                        true => absent_is_fine(std::fs::remove_file(&key))?,
                        false => left.push(key),
                    }
                }
                remove_if_empty(&path)?;
            }
            _ => left.push(path),
        }
    }
    remove_if_empty(folder)?;
    left.sort();
    Ok(left)
}

/// Removes `folder`; a mount point, or one that is not empty, stays.
pub(super) fn remove_if_empty(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir(folder) {
        Err(error) if matches!(error.kind(), ErrorKind::ResourceBusy | ErrorKind::DirectoryNotEmpty) => {
            Ok(())
        }
        removed => absent_is_fine(removed),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const VM: &str = "golem-web-20261127-000000-abcdefghijklmnop";

    fn write(folder: &Path, files: &[&str]) {
        for file in files {
            std::fs::create_dir_all(folder.join(file).parent().unwrap()).unwrap();
            std::fs::write(folder.join(file), "x").unwrap();
        }
    }

    /// Somebody's folder may have names that nodes make.
    #[test]
    fn nothing_is_ours_in_a_folder_that_is_no_nodes() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        write(home, &[".env", "images/holiday.jpg", "keys/id_ed25519", "logs/a", "vms/machine"]);
        assert!(!holds_a_node(home).unwrap() && own(home).unwrap().is_empty());
        write(home, &["keys/provider_key.json"]);
        let names = own(home).unwrap();
        assert_eq!(names.last(), Some(&home.join("keys")), "what tells the next run goes last");
        assert_eq!(names.len(), 5);
    }

    #[test]
    fn of_a_link_only_the_link_goes() {
        let folder = tempfile::tempdir().unwrap();
        let (data, elsewhere) = (folder.path().join("data"), folder.path().join("elsewhere"));
        write(&data, &["provider.db"]);
        write(&elsewhere, &["holiday.jpg"]);
        for name in ["logs", "images", "certificates", "keys"] {
            symlink(&elsewhere, data.join(name)).unwrap();
            assert!(remove(&data.join(name)).unwrap().is_empty());
            assert!(!data.join(name).is_symlink());
        }
        assert!(elsewhere.join("holiday.jpg").exists());
    }

    #[test]
    fn of_machines_on_another_volume_only_what_nodes_make_goes() {
        let folder = tempfile::tempdir().unwrap();
        let (data, volume) = (folder.path().join("data"), folder.path().join("volume"));
        write(&data, &["provider.db"]);
        let disk = format!("{VM}/disk.qcow2");
        write(&volume, &[".bases/1-2-3", "holiday.jpg", "my-vm/disk.qcow2", &disk]);
        let link = data.join(VMS);
        symlink(&volume, &link).unwrap();
        let left = [volume.join(VM), volume.join("holiday.jpg"), volume.join("my-vm")];
        assert_eq!(remove(&link).unwrap(), left);
        assert!(link.exists() && volume.join(&disk).exists(), "one could not be deleted: it is found again");
        std::fs::remove_dir_all(volume.join(VM)).unwrap();
        assert_eq!(remove(&link).unwrap(), left[1..]);
        assert!(!link.is_symlink() && volume.join("my-vm/disk.qcow2").exists());
    }

    #[test]
    fn what_is_no_key_of_ours_is_left_among_the_keys() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        let strangers = ["former/more/old.json", "id_ed25519", "wallet-2.json"];
        write(&keys, &strangers);
        write(&keys, &["provider_key.json", "provider_key.json.new", "former/0xab.json"]);
        let left = [keys.join("former/more"), keys.join("id_ed25519"), keys.join("wallet-2.json")];
        assert_eq!(remove(&keys).unwrap(), left);
        assert!(strangers.iter().all(|file| keys.join(file).exists()));
        for ours in ["provider_key.json", "provider_key.json.new", "former/0xab.json"] {
            assert!(!keys.join(ours).exists(), "{ours}");
        }
    }

    /// When the package is purged the program is gone, and its script removes what this module would.
    #[test]
    fn the_package_removes_the_same_files() {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/debian/postrm");
        let script = std::fs::read_to_string(script).unwrap();
        let words: Vec<&str> = script.split([' ', '|', ')', '\n', '\\']).collect();
        let beginnings = PREFIXES.map(|prefix| format!("{prefix}*"));
        let covered = |name: &&str| PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        let names =
            NAMES.into_iter().filter(|name| !covered(name)).chain(beginnings.iter().map(String::as_str));
        assert_eq!(names.filter(|name| !words.contains(name)).collect::<Vec<_>>(), [] as [&str; 0]);
    }
}
