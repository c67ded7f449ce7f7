//! Where the `multipass` program is.
//!
//! Owns the places in which its installers put it. Never runs it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Where installers put the program on `system`, in the words of [`std::env::consts::OS`]; for
/// services whose PATH lacks them.
fn usual_places(system: &str) -> &'static [&'static str] {
    match system {
        "linux" => &["/snap/bin/multipass", "/var/lib/snapd/snap/bin/multipass", "/usr/local/bin/multipass"],
        "macos" => &["/usr/local/bin/multipass", "/opt/homebrew/bin/multipass"],
        "windows" => &[
            r"C:\Program Files\Multipass\bin\multipass.exe",
            r"C:\Program Files (x86)\Multipass\bin\multipass.exe",
        ],
        _ => &[],
    }
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}

/// The program: the one that was `given`, which may not be missing; else the first in the folders
/// of `path`; else the one where its installer puts it.
#[must_use]
pub fn find(given: Option<&Path>, path: Option<&OsStr>) -> Option<PathBuf> {
    if let Some(given) = given {
        return is_program(given).then(|| given.to_owned());
    }
    let name = format!("multipass{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(path.unwrap_or_default())
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(&name))
        .chain(usual_places(std::env::consts::OS).iter().map(PathBuf::from))
        .find(|place| is_program(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_of_multipass_has_a_place() {
        for system in ["linux", "macos", "windows"] {
            assert!(!usual_places(system).is_empty(), "{system}");
        }
        assert!(usual_places("linux").contains(&"/snap/bin/multipass"));
    }

    #[cfg(unix)]
    #[test]
    fn s_010_the_given_program_wins_and_a_missing_one_is_not_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("multipass");
        std::fs::write(&program, "").unwrap();
        let path = std::env::join_paths([folder.path()]).unwrap();
        assert_ne!(find(None, Some(&path)), Some(program.clone()), "not executable");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find(None, Some(&path)), Some(program.clone()));
        assert_eq!(find(Some(&program), None), Some(program.clone()));
        assert_eq!(find(Some(&folder.path().join("absent")), Some(&path)), None);
    }
}
