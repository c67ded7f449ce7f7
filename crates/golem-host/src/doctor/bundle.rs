//! The file for a bug report.
//!
//! ```text
//!   status, rows, versions, settings, last log lines ─► Redactor ─► tar ─► gzip ─► FILE, 0600 from its first byte
//! ```
//! Owns what goes into it, and that nothing does but through the [`Redactor`]. Sends it nowhere.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use golem_service::log_file::LogReader;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use super::redact::Redactor;
use crate::node::{Node, Whose};
use crate::settings::{Origin, Resolved, TABLE};

/// Lines of the log that go along.
const LINES: usize = 500;

/// Longest that systemd's journal is waited for.
const JOURNAL: Duration = Duration::from_secs(5);

/// What stands first in it.
const README: &str = "\
What `golem-provider doctor --bundle` saw of a node, for a bug report.

  doctor.json    each check: its state, what was seen, what to do
  status.json    the answer of `golem-provider status`
  versions.json  this program, its system
  settings.txt   settings that somebody set, and where
  log.txt        the last lines of the node's log

Keys, passwords, tokens, paths and queries of URLs, e-mail addresses, and whatever looked like one of these were taken out.
Host names, addresses of machines and wallets, and names of VMs are still in it. Have a look before you give it to anybody.
";

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The name is taken.
    #[error("{} is there already; fix: name another file", .0.display())]
    Exists(PathBuf),
    /// It cannot be written.
    #[error("{} cannot be written; fix: name a file in a folder that this user may write, on a disk with room", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What goes into it, as it was seen.
#[derive(Debug)]
pub struct Seen {
    /// The rows of `doctor`.
    pub rows: Value,
    /// The status.
    pub status: Value,
    /// Version of this program.
    pub program_version: &'static str,
    /// Settings that were set.
    pub settings: String,
    /// The last lines of the log, or why there are none.
    pub log: String,
}

/// Writes `seen` to the file `path`, without secrets. The names of what is in it, in their order.
///
/// # Errors
/// [`BundleError`]; no file is left then.
pub fn write(
    path: &Path,
    seen: &Seen,
    redactor: &Redactor,
    now: Timestamp,
) -> Result<Vec<&'static str>, BundleError> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        match error.kind() {
            ErrorKind::AlreadyExists => BundleError::Exists(path.to_owned()),
            _ => BundleError::Write { path: path.to_owned(), source: error },
        }
    })?;
    let members = members(seen, redactor);
    let written = write_to(file, &members, now).and_then(|file| file.sync_all());
    written.map_err(|source| {
        let _ = std::fs::remove_file(path);
        BundleError::Write { path: path.to_owned(), source }
    })?;
    Ok(members.into_iter().map(|(name, _)| name).collect())
}

/// Each file of it with its text, from which secrets were taken.
fn members(seen: &Seen, redactor: &Redactor) -> Vec<(&'static str, String)> {
    let document = |document: &Value| format!("{:#}\n", redactor.document(document.clone()));
    vec![
        ("README.txt", README.to_owned()),
        ("doctor.json", document(&seen.rows)),
        ("status.json", document(&seen.status)),
        ("versions.json", document(&versions(seen.program_version))),
        ("settings.txt", redactor.text(&seen.settings)),
        ("log.txt", redactor.text(&seen.log)),
    ]
}

fn write_to<W: Write>(output: W, members: &[(&'static str, String)], now: Timestamp) -> io::Result<W> {
    let mut tar = tar::Builder::new(GzEncoder::new(output, Compression::default()));
    for (name, text) in members {
        let mut header = tar::Header::new_ustar();
        header.set_path(format!("golem-provider-doctor/{name}"))?;
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(now.as_second()).unwrap_or(0));
        header.set_cksum();
        tar.append(&header, text.as_bytes())?;
    }
    tar.into_inner()?.finish()
}

/// What runs here.
fn versions(program: &str) -> Value {
    let kernel = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    json!({
        "golem_provider": program,
        "kernel": text(kernel.release()),
        "architecture": text(kernel.machine()),
        "system": name.map(|name| name.trim_matches('"')),
    })
}

/// Settings that somebody set, one a line, with where; those that are secret are masked.
#[must_use]
pub fn settings(resolved: &Resolved) -> String {
    let mut text = String::new();
    for row in TABLE {
        let (value, origin) = resolved.shown(row);
        if !matches!(origin, Origin::Unset | Origin::Default) {
            text += &format!("{}={value}  # {}\n", row.name, origin.describe(row.name));
        }
    }
    for line in &resolved.mistakes {
        text += &format!("# not used: {line}\n");
    }
    text
}

/// The last lines of what `node` logged, or why there are none.
pub async fn log(node: &Node) -> String {
    let told = match node.whose {
        Whose::Service => journal().await,
        Whose::Own | Whose::Named => LogReader::open(&node.data_dir.join("logs"), LINES)
            .map(|(_, lines)| String::from_utf8_lossy(&lines).into_owned()),
    };
    told.unwrap_or_else(|error| format!("no log was read: {error}\n"))
}

async fn journal() -> io::Result<String> {
    let mut program = Command::new("journalctl");
    program
        .args(["--no-pager", "--unit", "golem-provider", "--lines", &LINES.to_string()])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output =
        timeout(JOURNAL, program.output()).await.map_err(|_| io::Error::from(ErrorKind::TimedOut))??;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests;
