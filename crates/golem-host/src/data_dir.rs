//! Owner and permissions of the data directory.
//!
//! Owns that it and everything in it is the node's user's alone, whichever command is the first. Never
//! decides what lies in it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What only a data directory has; the Python provider's too.
pub(crate) const MARKS: [&str; 4] =
    ["operator.token", "provider.db", "keys/provider_key.json", "vms/vm_names.json"];

/// What a data directory may hold; the Python provider's too.
pub(crate) const NAMES: [&str; 26] = [
    ".env",
    "certificates",
    "dashboard.sessions",
    "doctor",
    "env.removed",
    "images",
    "isolation-check",
    "keys",
    "known_hosts",
    "logs",
    "markets",
    "move-in-unfinished.json",
    "multipass",
    "networks",
    "operator.sock",
    "operator.token",
    "ports.json",
    "provider.db",
    "provider.pid",
    "proxy",
    "python-provider-backup",
    "reserved-ports.json",
    "restore-unfinished.json",
    "sim",
    "streams.json",
    "vms",
];

/// Makes `data_dir` for this user alone; closes it and what is in it to others, with a warning.
///
/// # Errors
/// When it is another user's, or not only a provider's; the message names the fix.
pub fn make(data_dir: &Path) -> io::Result<()> {
    golem_files::private_root(data_dir, &MARKS, &NAMES)?;
    // Only now: each of the many files that are written would tell its own story.
    match rustix::fs::access(data_dir, rustix::fs::Access::WRITE_OK) {
        Err(rustix::io::Errno::ROFS) => Err(io::Error::new(
            io::ErrorKind::ReadOnlyFilesystem,
            "it is on a file system that is read-only; fix: mount it for writing, or set GOLEM_PROVIDER_DATA_DIR to \
             another folder",
        )),
        _ => Ok(()),
    }
}

/// As [`make`], for a command that may write nothing: makes nothing, and leaves another user's alone.
pub fn close(data_dir: &Path) {
    let own =
        std::fs::metadata(data_dir).is_ok_and(|folder| folder.uid() == rustix::process::geteuid().as_raw());
    if own && let Err(error) = golem_files::private_root(data_dir, &MARKS, &NAMES) {
        tracing::warn!(error = &error as &dyn std::error::Error, "the data directory is open to others");
    }
}
