//! Snapshots of a machine's disk, within its qcow2 file.
//!
//! Owns making, deleting and restoring them, by QEMU where a guest runs and by qemu-img where none does. Inside the file,
//! because a snapshot is then one write of its tables: whoever dies in between leaves the old state or the new one, and
//! nothing that has to be put together again. Never decides how many there may be, and never starts or ends a guest.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use golem_types::{SnapshotConsistency, SnapshotName, VmId};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use super::user::become_guest;
use super::{
    DISK_FILE, Qemu, RECORD_FILE, Record, failed, memory, process, programs, qmp, read_json, step_error,
};
use crate::machine::BackendError;

/// Before each name in the file: qemu-img takes digits for a snapshot's number.
const PREFIX: &str = "golem-";

/// Longest that QEMU may take for one: it waits for what is being written.
const DEADLINE: Duration = Duration::from_secs(60);

/// Longest that the agent may take to hold the file systems still; a guest under load writes for some seconds first.
const FREEZE: Duration = Duration::from_secs(20);

/// How often the agent is told to let go again.
const THAWS: u32 = 5;

const CREATING: &str = "making the snapshot";
const DELETING: &str = "deleting the snapshot";
const RESTORING: &str = "restoring the snapshot";

fn word(name: &SnapshotName) -> String {
    format!("{PREFIX}{name}")
}

/// Whether `image`, as QEMU and qemu-img describe one, has the snapshot `word`.
fn has(image: &Value, word: &str) -> bool {
    let names = image["snapshots"].as_array().into_iter().flatten().map(|snapshot| &snapshot["name"]);
    names.into_iter().any(|name| name == word)
}

/// A machine's disk that nobody runs from.
struct Idle<'a> {
    folder: &'a Path,
    /// Who the machine is, where it is not us.
    uid: Option<u32>,
}

impl Idle<'_> {
    /// Runs `qemu-img` as the machine's user: what it reads is a renter's, and what can be wrong with it is its parser's.
    async fn qemu_img(&self, words: &[&str]) -> io::Result<Vec<u8>> {
        let program = programs::program("qemu-img").unwrap_or_else(|| "qemu-img".into());
        let mut all: Vec<OsString> =
            self.uid.map(|uid| become_guest(uid, None)).into_iter().flatten().map(OsString::from).collect();
        all.push(program.into());
        all.extend(words.iter().map(OsString::from));
        let mut command = Command::new(all.remove(0));
        command.args(all).current_dir(self.folder).stdin(Stdio::null());
        command.env_clear().env("PATH", programs::search_path()).kill_on_drop(true);
        let output = command.output().await?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(complaint.trim().chars().take(500).collect::<String>()))
    }

    async fn has(&self, word: &str) -> io::Result<bool> {
        Ok(has(&self.image().await?, word))
    }

    /// What qemu-img says of it.
    async fn image(&self) -> io::Result<Value> {
        Ok(serde_json::from_slice(&self.qemu_img(&["info", "--output=json", DISK_FILE]).await?)?)
    }

    /// Makes it as large as `gib` GiB, if it is smaller.
    async fn grow(&self, gib: u32) -> io::Result<()> {
        let bytes = u64::from(gib) << 30;
        if self.image().await?["virtual-size"].as_u64().is_some_and(|now| now >= bytes) {
            return Ok(());
        }
        self.qemu_img(&["resize", "-q", "-f", "qcow2", DISK_FILE, &bytes.to_string()]).await?;
        self.sync().await
    }

    /// Makes sure that what was written to the disk's file outlives the host.
    async fn sync(&self) -> io::Result<()> {
        let file = self.folder.join(DISK_FILE);
        let sync = move || std::fs::File::open(file)?.sync_all();
        tokio::task::spawn_blocking(sync).await.map_err(io::Error::other)?
    }
}

/// The QEMU of a machine whose guest runs.
struct Live(qmp::Client);

impl Live {
    async fn call(&mut self, command: &str, mut arguments: Value) -> io::Result<Value> {
        arguments["device"] = "disk".into();
        self.0.call_within(DEADLINE, command, arguments).await
    }

    async fn has(&mut self, word: &str) -> io::Result<bool> {
        let drives = self.0.call_within(DEADLINE, "query-block", Value::Null).await?;
        let disk = drives.as_array().into_iter().flatten().find(|drive| drive["device"] == "disk");
        Ok(disk.is_some_and(|drive| has(&drive["inserted"]["image"], word)))
    }
}

/// Has the guest's agent hold its file systems still; false where there is none, or it cannot.
async fn freeze(folder: &Path) -> bool {
    let Ok(mut agent) = qmp::Client::agent(folder).await else { return false };
    match agent.call_within(FREEZE, "guest-fsfreeze-freeze", Value::Null).await {
        Ok(frozen) => frozen.as_u64().is_some_and(|count| count > 0),
        Err(error) => {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the guest holds its file systems not still"
            );
            false
        }
    }
}

/// Has the agent let go again, whatever became of the request to hold still: a guest that stays so hangs.
async fn thaw(folder: &Path, id: &VmId) {
    for _ in 0..THAWS {
        let thaw = async {
            let mut agent = qmp::Client::agent(folder).await?;
            agent.call_within(FREEZE, "guest-fsfreeze-thaw", Value::Null).await
        };
        match thaw.await {
            Ok(_) => return,
            // It has no such command, and so held nothing still.
            Err(error) if error.kind() == io::ErrorKind::Other => return,
            Err(_) => {}
        }
    }
    golem_service::log_limited_each!(
        id,
        warn,
        vm = id.redacted(),
        "the guest's agent did not say that its file systems go on; a restart of the VM helps where they do not"
    );
}

impl Qemu {
    pub(crate) async fn create_snapshot(
        &self,
        id: &VmId,
        name: &SnapshotName,
    ) -> Result<SnapshotConsistency, BackendError> {
        let word = word(name);
        if let Some(trouble) = self.disk_trouble(None) {
            return Err(step_error(CREATING, trouble));
        }
        let folder = self.machine(id)?;
        let Some(mut live) = self.live(id, &folder).await.map_err(failed(CREATING))? else {
            let idle = self.idle(&folder).map_err(failed(CREATING))?;
            if !idle.has(&word).await.map_err(failed(CREATING))? {
                idle.qemu_img(&["snapshot", "-c", &word, DISK_FILE]).await.map_err(failed(CREATING))?;
                idle.sync().await.map_err(failed(CREATING))?;
            }
            return Ok(SnapshotConsistency::Stopped);
        };
        if live.has(&word).await.map_err(failed(CREATING))? {
            // Made by a node that died before it could say so, and perhaps before it let go of the file systems.
            thaw(&folder, id).await;
            return Ok(SnapshotConsistency::PowerCut);
        }
        let is_still = freeze(&folder).await;
        let made = live.call("blockdev-snapshot-internal-sync", json!({ "name": word })).await;
        thaw(&folder, id).await;
        made.map_err(failed(CREATING))?;
        Ok(if is_still { SnapshotConsistency::FileSystem } else { SnapshotConsistency::PowerCut })
    }

    pub(crate) async fn delete_snapshot(&self, id: &VmId, name: &SnapshotName) -> Result<(), BackendError> {
        let word = word(name);
        let folder = self.machine(id)?;
        match self.live(id, &folder).await.map_err(failed(DELETING))? {
            Some(mut live) => {
                if live.has(&word).await.map_err(failed(DELETING))? {
                    let delete = live.call("blockdev-snapshot-delete-internal-sync", json!({ "name": word }));
                    delete.await.map_err(failed(DELETING))?;
                }
            }
            None => {
                let idle = self.idle(&folder).map_err(failed(DELETING))?;
                if idle.has(&word).await.map_err(failed(DELETING))? {
                    idle.qemu_img(&["snapshot", "-d", &word, DISK_FILE]).await.map_err(failed(DELETING))?;
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn restore_snapshot(&self, id: &VmId, name: &SnapshotName) -> Result<(), BackendError> {
        let word = word(name);
        let folder = self.machine(id)?;
        if memory::is_kept(&folder) {
            // It belongs to the disk as it is.
            return Err(step_error(RESTORING, "the guest's memory is kept: start it first"));
        }
        if self.live(id, &folder).await.map_err(failed(RESTORING))?.is_some() {
            return Err(step_error(RESTORING, "the guest still runs"));
        }
        let idle = self.idle(&folder).map_err(failed(RESTORING))?;
        if !idle.has(&word).await.map_err(failed(RESTORING))? {
            return Err(step_error(RESTORING, "it is not in the machine's disk"));
        }
        idle.qemu_img(&["snapshot", "-a", &word, DISK_FILE]).await.map_err(failed(RESTORING))?;
        // It may be of a time when the disk was smaller.
        let record: Record = read_json(&folder.join(RECORD_FILE)).map_err(failed(RESTORING))?;
        idle.grow(record.resources.storage).await.map_err(failed(RESTORING))?;
        idle.sync().await.map_err(failed(RESTORING))
    }

    /// Makes the disk in `folder`, from which no guest runs, as large as `gib` GiB, if it is smaller.
    pub(super) async fn grow(&self, folder: &Path, gib: u32) -> io::Result<()> {
        self.idle(folder)?.grow(gib).await
    }

    /// The machine's folder, with its disk.
    fn machine(&self, id: &VmId) -> Result<std::path::PathBuf, BackendError> {
        let folder = self.of(id);
        if folder.join(DISK_FILE).exists() {
            Ok(folder)
        } else {
            Err(BackendError::NoSuchMachine(id.clone()))
        }
    }

    /// QEMU, where its process is there.
    async fn live(&self, id: &VmId, folder: &Path) -> io::Result<Option<Live>> {
        if process::of(folder, id)?.is_none() {
            return Ok(None);
        }
        let client = timeout(DEADLINE, qmp::Client::qmp(folder)).await;
        client.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map(|client| Some(Live(client)))
    }

    fn idle<'a>(&self, folder: &'a Path) -> io::Result<Idle<'a>> {
        let record: Record = read_json(&folder.join(RECORD_FILE))?;
        Ok(Idle { folder, uid: record.uid.filter(|_| self.root) })
    }
}
