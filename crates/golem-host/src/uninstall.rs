//! What a node made on this machine, and its removal.
//!
//! ```text
//!   the node has ended ─► find ─► keys copied ─► VMs: shut down, then deleted ─► processes ─► packet filter, ports ─► files
//!                          │                      with disk, control group and                                       │
//!                          └ nothing: done        namespace                       what cannot be removed is told ◄────┘
//! ```
//! Owns the list of such traces, and the removal of each. Removing one that is gone already succeeds, so a run that was cut
//! off is simply repeated. Never removes what another node on this machine has, a file that no node makes, or the
//! program itself. Ends no node: its command does.

mod error;
mod files;
mod keys;

use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use golem_files::absent_is_fine;
use golem_reach::reserved_ports::ReservedPorts;
use golem_types::VmId;
use golem_vm::Backend;
use golem_vm::qemu::{ISOLATION_FOLDER, is_guest_user};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

pub use error::UninstallError;
pub use files::holds_a_node;
pub use keys::{copy_key, key_copies};

/// The tables of the packet filter that nodes make: the guests' one, and, followed by a port of the node, one that lasts for a
/// look from outside.
const TABLE: &str = "golem_provider";
const SHORT_TABLE: &str = "golem_provider_ports_";

/// Longest that a program of the host may take for an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Longest that a process may take to end once it was killed.
const END: Duration = Duration::from_secs(10);

/// How often it is looked whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// One thing that a node made on this machine. They are removed in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", content = "name", rename_all = "snake_case")]
pub enum Trace {
    /// A VM: its process, its control group, its namespace and its disk.
    Vm(VmId),
    /// A process of a VM whose files are gone, by its id.
    Process(u32),
    /// A table of nftables, by its name in the family `inet`.
    PacketFilter(String),
    /// Ports that were taken out of `net.ipv4.ip_local_port_range`.
    ReservedPorts,
    /// A file or folder, with all that is in it.
    File(PathBuf),
}

impl Trace {
    /// What it is, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Vm(id) => format!("VM {id}: its process, control group, network namespace and disk"),
            Self::Process(pid) => format!("process {pid} of a VM whose files are gone"),
            Self::PacketFilter(table) => format!("nftables table inet {table}"),
            Self::ReservedPorts => "ports in net.ipv4.ip_local_reserved_ports".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// Whether it is seen by this file that the data directory is a node's: it stays while something else could not be
    /// removed, so that the next run goes on.
    #[must_use]
    pub fn is_mark(&self) -> bool {
        matches!(self, Self::File(path) if files::is_mark(path))
    }

    /// Whether it is outside of the data directory, and goes where only the data is to stay.
    #[must_use]
    pub const fn is_outside(&self) -> bool {
        matches!(self, Self::Process(_) | Self::PacketFilter(_) | Self::ReservedPorts)
    }
}

/// The node whose traces are looked for.
#[derive(Debug, Clone)]
pub struct Installation<'a> {
    /// Its data directory.
    pub data_dir: &'a Path,
    /// Its PID file, which may be elsewhere.
    pub pid_file: &'a Path,
    /// Where its VMs are; `None` where [`holds_a_node`] says that there are none.
    pub backend: Option<&'a Backend>,
    /// The port of its public API.
    pub api: u16,
    /// Its ports for VMs.
    pub ssh: Range<u16>,
}

impl Installation<'_> {
    /// Everything that the node made and that is still here.
    ///
    /// # Errors
    /// When VMs, processes or files cannot be looked at.
    pub async fn find(&self) -> Result<Vec<Trace>, UninstallError> {
        let mut traces = Vec::new();
        if let Some(backend) = self.backend {
            traces.extend(backend.list().await.map_err(UninstallError::Vms)?.into_keys().map(Trace::Vm));
        }
        let seen = guests(self.data_dir).map_err(|source| file(Path::new("/proc"), source))?;
        if traces.is_empty() {
            traces.extend(seen.own.into_iter().map(Trace::Process));
        }
        let is_node = holds_a_node(self.data_dir).map_err(|source| file(self.data_dir, source))?;
        if !seen.others && (is_node || !traces.is_empty()) {
            let is_own = |port: &u16| *port == self.api || self.ssh.contains(port);
            traces.extend(tables(is_own).await.into_iter().map(Trace::PacketFilter));
        }
        if !is_node {
            // What else is here is somebody else's, whatever its name.
            return Ok(traces);
        }
        if self.ports().is_left() {
            traces.push(Trace::ReservedPorts);
        }
        let found = files::own(self.data_dir).map_err(|source| file(self.data_dir, source))?;
        traces.extend(found.into_iter().map(Trace::File));
        if self.pid_file.exists() && !self.pid_file.starts_with(self.data_dir) {
            traces.push(Trace::File(self.pid_file.to_owned()));
        }
        Ok(traces)
    }

    /// The node's part of the list of reserved ports; which ports it is remembered in the data directory.
    fn ports(&self) -> ReservedPorts {
        ReservedPorts::new(self.data_dir, 0..0)
    }

    /// Shuts the VMs among `traces` down side by side, and ends each after `grace`; those for which that failed.
    pub async fn shut_down(&self, traces: &[Trace], grace: Duration) -> Vec<(VmId, UninstallError)> {
        let Some(backend) = self.backend else { return Vec::new() };
        let vms = traces.iter().filter_map(|trace| match trace {
            Trace::Vm(id) => Some(id),
            _ => None,
        });
        let stop = async |id: &VmId| {
            let stopped = backend.stop(id, grace).await;
            stopped.err().map(|error| (id.clone(), UninstallError::Vm(error)))
        };
        futures_util::future::join_all(vms.map(stop)).await.into_iter().flatten().collect()
    }

    /// Removes `trace`. Gone already is fine. What was left of it, because no node makes it.
    ///
    /// # Errors
    /// [`UninstallError`]; the rest can be removed all the same.
    pub async fn remove(&self, trace: &Trace) -> Result<Vec<PathBuf>, UninstallError> {
        let removed = match trace {
            Trace::Vm(id) => match self.backend {
                Some(backend) => backend.delete(id).await.map_err(UninstallError::Vm),
                None => Ok(()),
            },
            Trace::Process(pid) => {
                end(*pid).await.map_err(|source| UninstallError::Process { pid: *pid, source })
            }
            Trace::PacketFilter(table) => {
                // The first line makes it where it is gone, so that the second one cannot fail for that.
                let rules = format!("table inet {table}\ndelete table inet {table}\n");
                nft(&["-f", "-"], &rules).await.map(drop).map_err(UninstallError::PacketFilter)
            }
            Trace::ReservedPorts => self.ports().release().map_err(UninstallError::ReservedPorts),
            Trace::File(path) => return files::remove(path).map_err(|source| file(path, source)),
        };
        removed.map(|()| Vec::new())
    }

    /// Removes the data directory itself, once all that nodes make is gone from it; what else it holds, if it holds
    /// something. A mount point stays, and so does, empty, the folder behind a link.
    ///
    /// # Errors
    /// [`UninstallError::File`].
    pub fn close(&self) -> Result<Vec<PathBuf>, UninstallError> {
        let failed = |source| file(self.data_dir, source);
        let mut left = files::entries(self.data_dir).map_err(failed)?;
        if left.is_empty() {
            let removed = match self.data_dir.is_symlink() {
                true => absent_is_fine(std::fs::remove_file(self.data_dir)),
                false => files::remove_if_empty(self.data_dir),
            };
            removed.map_err(failed)?;
        }
        // What is left in a folder of ours was told when that was removed.
        left.retain(|path| !files::is_own(path));
        left.sort();
        Ok(left)
    }
}

fn file(path: &Path, source: io::Error) -> UninstallError {
    UninstallError::File { path: path.to_owned(), source }
}

/// Where the processes of the node of `data_dir` have their folders: of its machines, and of a look at how they are bounded.
/// What lies deeper may be another node's.
fn machine_folders(data_dir: &Path) -> Vec<PathBuf> {
    let folders = [data_dir.join(files::VMS), data_dir.join(ISOLATION_FOLDER).join(files::VMS)];
    let behind = folders.iter().filter_map(|folder| std::fs::canonicalize(folder).ok()).collect::<Vec<_>>();
    folders.into_iter().chain(behind).collect()
}

/// Processes that run as guests' users.
#[derive(Debug, Default)]
struct Guests {
    /// Those that lie among the node's machines, by their ids.
    own: Vec<u32>,
    /// Whether there are others, of another node.
    others: bool,
}

fn guests(data_dir: &Path) -> io::Result<Guests> {
    let mut guests = Guests::default();
    let own = machine_folders(data_dir);
    for process in std::fs::read_dir("/proc")? {
        let process = process?;
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has ended meanwhile is nobody's.
        let status = std::fs::read_to_string(process.path().join("status")).unwrap_or_default();
        let uid = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok());
        if !uid.is_some_and(is_guest_user) {
            continue;
        }
        match std::fs::read_link(process.path().join("cwd")) {
            Ok(folder) if is_own_guest(&own, &folder) => guests.own.push(pid),
            Ok(_) => guests.others = true,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(_) => guests.others = true,
        }
    }
    Ok(guests)
}

/// Whether a process in `folder` is one of those that have theirs in `machines`.
fn is_own_guest(machines: &[PathBuf], folder: &Path) -> bool {
    folder.parent().is_some_and(|parent| machines.iter().any(|machines| machines == parent))
}

/// Kills the process `pid` of a guest, and waits until it is gone.
async fn end(pid: u32) -> io::Result<()> {
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    match kill_process(process, Signal::KILL) {
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        killed => killed?,
    }
    let deadline = Instant::now() + END;
    while rustix::process::test_kill_process(process).is_ok() {
        if Instant::now() >= deadline {
            return Err(ErrorKind::TimedOut.into());
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// The tables that are ours. Without nftables, or without the right to ask, there are none that this user made.
async fn tables(is_own: impl Fn(&u16) -> bool) -> Vec<String> {
    let said = nft(&["-j", "list", "tables"], "").await.unwrap_or_default();
    parse_tables(&said, is_own)
}

fn parse_tables(said: &[u8], is_own: impl Fn(&u16) -> bool) -> Vec<String> {
    let said: serde_json::Value = serde_json::from_slice(said).unwrap_or_default();
    let tables = said["nftables"].as_array().into_iter().flatten().map(|part| &part["table"]);
    let own = tables.filter(|table| table["family"] == "inet").filter_map(|table| table["name"].as_str());
    let port = |name: &str| name.strip_prefix(SHORT_TABLE).and_then(|port| port.parse().ok());
    own.filter(|name| *name == TABLE || port(name).is_some_and(|port| is_own(&port)))
        .map(str::to_owned)
        .collect()
}

async fn nft(arguments: &[&str], input: &str) -> io::Result<Vec<u8>> {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let run = async {
        if let Some(mut stdin) = child.stdin.take() {
            tokio::io::AsyncWriteExt::write_all(&mut stdin, input.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let output = timeout(ANSWER, run).await.map_err(|_| io::Error::from(ErrorKind::TimedOut))??;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation(data_dir: &Path) -> Installation<'_> {
        Installation {
            data_dir,
            pid_file: Path::new("/nonexistent"),
            backend: None,
            api: 7466,
            ssh: 50800..50900,
        }
    }

    /// The files among `traces`, without their folder.
    fn files(traces: &[Trace]) -> Vec<&str> {
        let name = |trace: &'_ Trace| matches!(trace, Trace::File(_));
        let files = traces.iter().filter(|trace| name(trace));
        files
            .filter_map(|trace| match trace {
                Trace::File(path) => path.file_name()?.to_str(),
                _ => None,
            })
            .collect()
    }

    /// Issue 17, part 7: what nodes make goes, what others put there stays and is named, and a second run finds nothing.
    #[tokio::test]
    async fn own_files_go_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let volume = folder.path().join("volume");
        for made in [&data, &data.join("keys"), &volume, &volume.join(".bases")] {
            std::fs::create_dir(made).unwrap();
        }
        for made in
            ["provider.db", "provider.db-wal", "operator.token", "keys/provider_key.json", "diary.txt"]
        {
            std::fs::write(data.join(made), "x").unwrap();
        }
        std::os::unix::fs::symlink(&volume, data.join("vms")).unwrap();
        std::fs::write(volume.join("holiday.jpg"), "x").unwrap();
        std::fs::write(data.join("keys/id_ed25519"), "x").unwrap();
        let here = installation(&data);
        let found = here.find().await.unwrap();
        assert_eq!(files(&found), ["provider.db-wal", "vms", "keys", "operator.token", "provider.db"]);
        let mut left = Vec::new();
        for trace in found.iter().filter(|trace| !trace.is_outside()) {
            left.extend(here.remove(trace).await.unwrap());
            here.remove(trace).await.unwrap();
        }
        assert_eq!(here.close().unwrap(), [data.join("diary.txt")]);
        // What the operator has on a volume of VMs or among the keys stays, and is named.
        assert_eq!(left, [volume.join("holiday.jpg"), data.join("keys/id_ed25519")]);
        assert!(left.iter().all(|path| path.exists()) && !volume.join(".bases").exists());
        assert!(files(&here.find().await.unwrap()).is_empty());
        std::fs::remove_file(data.join("diary.txt")).unwrap();
        std::fs::remove_dir_all(data.join("keys")).unwrap();
        assert!(here.close().unwrap().is_empty() && !data.exists());
        assert!(here.close().unwrap().is_empty(), "again");
    }

    /// Somebody's folder is nothing of a node's, and neither is another node's table.
    #[tokio::test]
    async fn a_folder_that_is_no_nodes_has_no_traces() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("images")).unwrap();
        std::fs::write(folder.path().join("provider.pid"), "1").unwrap();
        let here =
            Installation { pid_file: &folder.path().join("provider.pid"), ..installation(folder.path()) };
        assert_eq!(here.find().await.unwrap(), []);
    }

    /// A data directory that is a link goes with the link; the operator's folder stays.
    #[test]
    fn a_data_directory_that_is_a_link_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("data"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        std::fs::write(real.join("diary.txt"), "x").unwrap();
        assert_eq!(installation(&link).close().unwrap(), [link.join("diary.txt")]);
        std::fs::remove_file(real.join("diary.txt")).unwrap();
        assert_eq!(installation(&link).close().unwrap(), [] as [PathBuf; 0]);
        assert!(!link.is_symlink() && real.is_dir());
        assert!(installation(&link).close().unwrap().is_empty(), "again");
    }

    /// A node in a folder of another one has its own guests.
    #[test]
    fn guests_are_looked_for_among_the_machines_only() {
        let folder = tempfile::tempdir().unwrap();
        let (data, volume) = (folder.path().join("data"), folder.path().join("volume"));
        std::fs::create_dir(&data).unwrap();
        std::fs::create_dir(&volume).unwrap();
        std::os::unix::fs::symlink(&volume, data.join("vms")).unwrap();
        let own = |folder: &Path| is_own_guest(&machine_folders(&data), folder);
        let volume = volume.canonicalize().unwrap();
        assert!(
            own(&volume.join("a")) && own(&data.join("vms/a")) && own(&data.join("isolation-check/vms/a"))
        );
        assert!(
            !own(&data.join("vms")) && !own(&data.join("other/vms/a")) && !own(&data.join("vms/a/vms/b"))
        );
    }

    #[test]
    fn only_the_nodes_tables_are_found() {
        let said = br#"{"nftables": [{"metainfo": {}}, {"table": {"family": "inet", "name": "golem_provider"}},
            {"table": {"family": "ip", "name": "golem_provider"}}, {"table": {"family": "inet", "name": "filter"}},
            {"table": {"family": "inet", "name": "golem_provider_ports_7466"}},
            {"table": {"family": "inet", "name": "golem_provider_ports_7"}},
            {"table": {"family": "inet", "name": "golem_provider_other"}}]}"#;
        let own = |port: &u16| *port == 7466;
        assert_eq!(parse_tables(said, own), ["golem_provider", "golem_provider_ports_7466"]);
        assert!(parse_tables(b"", own).is_empty() && parse_tables(b"[1]", own).is_empty());
    }
}
