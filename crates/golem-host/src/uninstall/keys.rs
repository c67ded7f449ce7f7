//! Copies of a node's keys, which own money and so outlive it.
//!
//! Owns which files hold one, and that a copy is whole, for its owner alone, and over no file. Never opens a key.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::UninstallError;
use crate::settings_file;

/// A setting that may hold the wallet's key, in place of a file of it.
const KEY_SETTING: &str = "GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY";

/// Most bytes of a file that a key is copied from.
const KEY_FILE_MAXIMUM: u64 = 1 << 20;

/// The files of `data_dir` that hold a key, and where each is copied to: the wallet's to `copy`, the others beside it.
///
/// # Errors
/// Any error of listing them.
pub fn key_copies(data_dir: &Path, copy: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let beside = |suffix: &str| {
        let mut name = copy.file_stem().unwrap_or_default().to_owned();
        name.push(suffix);
        copy.with_file_name(name)
    };
    let mut copies = Vec::new();
    let wallet = data_dir.join("keys/provider_key.json");
    if wallet.exists() {
        copies.push((wallet, copy.to_owned()));
    }
    match std::fs::read_dir(data_dir.join("keys/former")) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        former => {
            for former in former? {
                let former = former?;
                if !former.path().is_file() {
                    continue;
                }
                let suffix = format!("-former-{}", former.file_name().to_string_lossy());
                copies.push((former.path(), beside(&suffix)));
            }
        }
    }
    for settings in [".env", "env.removed"] {
        let path = data_dir.join(settings);
        if std::fs::read(&path).is_ok_and(|text| has_key(&String::from_utf8_lossy(&text))) {
            copies.push((path, beside(&format!("-{}", settings.trim_start_matches('.')))));
        }
    }
    copies.sort();
    Ok(copies)
}

/// Whether settings hold a key, also in a line that the node cannot read.
fn has_key(settings: &str) -> bool {
    let (assignments, bad) = settings_file::parse(settings);
    assignments.iter().any(|found| found.name == KEY_SETTING && !found.value.is_empty())
        || bad
            .iter()
            .any(|bad| settings.lines().nth(bad.line - 1).is_some_and(|line| line.contains(KEY_SETTING)))
}

/// Copies the key's file `from` to `to`, which must not be there, for this user alone.
///
/// # Errors
/// [`UninstallError::Key`]; nothing is left then.
pub fn copy_key(from: &Path, to: &Path) -> Result<(), UninstallError> {
    let copy = || {
        let bytes = golem_files::read(from, KEY_FILE_MAXIMUM)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        let written = io::Write::write_all(&mut file, &bytes).and_then(|()| file.sync_all());
        if written.is_err() {
            let _ = std::fs::remove_file(to);
        }
        written.and_then(|()| golem_files::sync_folder_of(&std::path::absolute(to)?))
    };
    copy().map_err(|source| UninstallError::Key { path: from.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Whatever way the node would read it, and where it cannot.
    #[test]
    fn a_key_in_settings_is_seen_however_it_is_written() {
        for line in [
            "\u{feff}KEY=ab",
            "A=1\n export KEY = ab",
            "KEY='ab'",
            "KEY=\"ab",
            "export  KEY=ab",
            "export\tKEY=ab",
        ] {
            assert!(has_key(&line.replace("KEY", KEY_SETTING)), "{line:?}");
        }
        for line in ["", "#KEY=ab", "KEY=", "KEY=''", "KEY= # none", "A=1 # KEY=ab"] {
            assert!(!has_key(&line.replace("KEY", KEY_SETTING)), "{line:?}");
        }
    }

    #[test]
    fn every_key_is_copied_for_its_owner_alone_and_over_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        std::fs::create_dir_all(data.join("keys/former")).unwrap();
        let copy = data.join("copy.json");
        assert_eq!(key_copies(data, &copy).unwrap(), []);
        for key in ["keys/provider_key.json", "keys/former/0xab.json"] {
            std::fs::write(data.join(key), key).unwrap();
        }
        std::fs::write(data.join(".env"), format!("#{KEY_SETTING}=1\n{KEY_SETTING}=\n")).unwrap();
        let to = |data: &Path| -> Vec<String> {
            let copies = key_copies(data, &copy).unwrap();
            copies.iter().map(|(_, to)| to.file_name().unwrap().to_str().unwrap().to_owned()).collect()
        };
        assert_eq!(to(data), ["copy-former-0xab.json", "copy.json"]);
        std::fs::write(data.join(".env"), format!("A=1\nexport {KEY_SETTING} = ab\n")).unwrap();
        assert_eq!(to(data), ["copy-env", "copy-former-0xab.json", "copy.json"]);
        for (from, to) in key_copies(data, &copy).unwrap() {
            copy_key(&from, &to).unwrap();
            assert_eq!(std::fs::read(&from).unwrap(), std::fs::read(&to).unwrap());
            assert_eq!(to.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            assert!(matches!(copy_key(&from, &to), Err(UninstallError::Key { .. })), "one is there already");
        }
    }
}
