//! Files that are there while one process works on them.
//!
//! Owns their names, which no other process uses, and the removal of what a process left that was killed. Never removes one
//! whose process runs, nor a file that has another name.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// What copies of the ledger are called, before the process's number.
const COPY: &str = "provider.db.copy-";

/// What SQLite keeps beside a database.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Where a copy of the ledger may be made in `folder`.
#[must_use]
pub fn copy_place(folder: &Path) -> PathBuf {
    folder.join(unique(COPY))
}

/// Removes what killed backups left of copies of the ledger in `folder`. What cannot be removed stays until the next time.
pub fn remove_copies(folder: &Path) {
    remove_left(folder, COPY);
}

/// A name that begins with `prefix`, and that no other process makes.
pub(super) fn unique(prefix: &str) -> String {
    let random = RandomState::new().build_hasher().finish();
    format!("{prefix}{}-{random:016x}", std::process::id())
}

/// Removes the files in `folder` whose names [`unique`] made of `prefix` in processes that are gone.
pub(super) fn remove_left(folder: &Path, prefix: &str) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| process_of(name.strip_prefix(prefix)?, prefix == COPY));
        if process.is_some_and(|process| test_kill_process(process) == Err(Errno::SRCH)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// The process of a file whose name ends so. Copies of the ledger were once named by their process alone, if `is_copy`.
fn process_of(end: &str, is_copy: bool) -> Option<Pid> {
    let end = BESIDE.iter().find_map(|beside| end.strip_suffix(beside)).unwrap_or(end);
    let process = match end.split_once('-') {
        Some((process, random))
            if random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            process
        }
        None if is_copy => end,
        _ => return None,
    };
    Pid::from_raw(process.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_goes_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        let (own, gone) = (std::process::id(), gone.id());
        let left = [
            format!("{COPY}{gone}"),
            format!("{COPY}{gone}-0123456789abcdef"),
            format!("{COPY}{gone}-0123456789abcdef-wal"),
        ];
        let mut stays = vec![
            unique(COPY),
            format!("{COPY}{own}"),
            format!("{COPY}{gone}-mine"),
            format!("{COPY}mine"),
            "provider.db".to_owned(),
            format!("a.age.new-{gone}-0123456789abcdef"),
        ];
        for name in left.iter().chain(&stays) {
            std::fs::write(folder.path().join(name), b"").unwrap();
        }
        remove_copies(folder.path());
        let names = || {
            let entries = std::fs::read_dir(folder.path()).unwrap();
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        stays.sort();
        assert_eq!(names(), stays);
        std::fs::write(folder.path().join(format!("a.age.new-{gone}")), b"").unwrap();
        remove_left(folder.path(), "a.age.new-");
        assert!(names().contains(&format!("a.age.new-{gone}")), "somebody's");
        assert!(!names().iter().any(|name| name.ends_with(&format!("new-{gone}-0123456789abcdef"))));
        assert_ne!(copy_place(folder.path()), copy_place(folder.path()));
    }
}
