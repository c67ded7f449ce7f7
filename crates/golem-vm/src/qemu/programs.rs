//! Where the host's programs lie.

use std::ffi::OsString;
use std::path::PathBuf;

/// Where programs of the system lie; a user's own search path often lacks the latter two. A folder that is
/// not absolute is left out: what lies in the working directory may be anybody's.
pub(super) fn search_path() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let folders = std::env::split_paths(&path).filter(|folder| folder.is_absolute()).chain(system);
    std::env::join_paths(folders).unwrap_or_else(|_| OsString::from("/usr/bin:/bin:/usr/sbin:/sbin"))
}

/// The program `name` on the search path.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let path = search_path();
    let runs = |file: &PathBuf| {
        file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(runs)
}
