//! A guest's memory, kept on disk while the guest does not run.
//!
//! ```text
//!   running ─► paused, memory.new grows ─► memory.img ─► no process              suspend
//!   memory.img ─► a process takes it up, paused ─► memory.used ─► running        start
//! ```
//! Owns these files and the order: `memory.img` is whole, and belongs to the disk as it is; it has another name before a
//! guest that took it up writes to that disk, so that no memory ever meets a disk that went on without it. Who dies in
//! between leaves a paused guest that can go on, or a guest that has lost no more than in a power cut. Never decides
//! whether a guest is to be suspended.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

use golem_files::{absent_is_fine, private_file, sync_folder_of, volume_trouble};
use golem_types::VmId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::quit::quit;
use super::{Qemu, RECORD_FILE, Record, failed, logs, process, qmp, read_json, step_error};
use crate::machine::BackendError;

/// What is being written.
const NEW_FILE: &str = "memory.new";

/// The whole memory of a guest that does not run.
const KEPT_FILE: &str = "memory.img";

/// What a guest has taken up that may run now.
const USED_FILE: &str = "memory.used";

/// What machine the memory is of.
const MACHINE_FILE: &str = "memory.json";

/// Under this name QEMU gets a file.
const END: &str = "memory";

/// How often QEMU is asked how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Bytes a second that may be written; QEMU's own bound is meant for networks. As much as fits its number.
const BANDWIDTH: u64 = i64::MAX.cast_unsigned() / 2;

/// Longest that the agent may take to set the guest's clock: it runs `hwclock`, for a second and more.
const SET_CLOCK: Duration = Duration::from_secs(10);

const SUSPENDING: &str = "keeping the guest's memory";

/// What memory that is kept needs of the machine that takes it up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// QEMU's full name for the machine: the short one means another after an upgrade.
    pub(super) machine: String,
}

/// The memory that is kept in `folder`, if there is any.
///
/// # Errors
/// Any error of looking: that says nothing about it.
pub(super) fn kept(folder: &Path) -> io::Result<Option<Kept>> {
    if !folder.join(KEPT_FILE).try_exists()? {
        return Ok(None);
    }
    read_json(&folder.join(MACHINE_FILE)).map(Some)
}

/// Whether memory is kept in `folder`.
pub(super) fn is_kept(folder: &Path) -> bool {
    folder.join(KEPT_FILE).exists()
}

/// Whether a guest that is paused is so because it was about to be suspended, or to go on after that.
pub(super) fn is_between(folder: &Path) -> bool {
    folder.join(NEW_FILE).exists() || folder.join(USED_FILE).exists()
}

/// Throws away what there is.
///
/// # Errors
/// Any error of removing it.
pub(super) fn forget(folder: &Path) -> io::Result<()> {
    forget_kept(folder)?;
    for file in [NEW_FILE, USED_FILE, MACHINE_FILE] {
        absent_is_fine(std::fs::remove_file(folder.join(file)))?;
    }
    Ok(())
}

/// Throws the whole memory away, for good: a guest may write to its disk from then on.
fn forget_kept(folder: &Path) -> io::Result<()> {
    match std::fs::remove_file(folder.join(KEPT_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| sync_folder_of(&folder.join(KEPT_FILE))),
    }
}

/// Lets a guest go on that was paused on the way to or from its memory on disk.
///
/// # Errors
/// Any error of talking to QEMU, or of removing what is of no use any more.
pub(super) async fn go_on(folder: &Path) -> io::Result<()> {
    cancel(folder, Instant::now() + LOOK_AGAIN * 50).await?;
    forget_kept(folder)?;
    qmp::Client::qmp(folder).await?.call("cont", Value::Null).await?;
    forget(folder)
}

/// How what QEMU writes or reads stands; nothing where it never did.
async fn transfer(folder: &Path) -> io::Result<Value> {
    qmp::Client::qmp(folder).await?.call("query-migrate", Value::Null).await
}

/// Whether the QEMU that runs was launched with memory that was kept, or does not say.
pub(super) async fn was_taken_up(folder: &Path) -> bool {
    transfer(folder).await.map_or(true, |transfer| transfer["status"] == "completed")
}

fn is_under_way(transfer: &Value) -> bool {
    let over = ["none", "completed", "failed", "cancelled"];
    transfer["status"].as_str().is_some_and(|status| !over.contains(&status))
}

/// Calls off what is being written.
async fn cancel(folder: &Path, until: Instant) -> io::Result<()> {
    while is_under_way(&transfer(folder).await?) {
        if Instant::now() > until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        qmp::Client::qmp(folder).await?.call("migrate_cancel", Value::Null).await?;
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// QEMU's full name for the machine that runs: not what the short name means to this QEMU now.
async fn machine(folder: &Path) -> io::Result<String> {
    let of_machine = json!({ "path": "/machine", "property": "type" });
    let kind = qmp::Client::qmp(folder).await?.call("qom-get", of_machine).await?;
    let named = kind.as_str().and_then(|kind| kind.strip_suffix("-machine"));
    named.map(str::to_owned).ok_or_else(|| io::Error::other("QEMU does not name its machine"))
}

/// Pauses the guest and has its memory written to `memory.img`, whole.
async fn write(folder: &Path, until: Instant) -> io::Result<()> {
    cancel(folder, until).await?;
    let kept = Kept { machine: machine(folder).await? };
    golem_files::replace(&folder.join(MACHINE_FILE), &serde_json::to_vec(&kept).map_err(io::Error::other)?)?;
    // Before the pause: whoever finds the guest paused then knows why.
    let file =
        private_file(&folder.join(NEW_FILE), OpenOptions::new().write(true).create(true).truncate(true))?;
    let mut client = qmp::Client::qmp(folder).await?;
    if client.call("query-status", Value::Null).await?["status"] == "postmigrate" {
        // Its memory was written before, by a node that died; QEMU writes none twice.
        client.call("cont", Value::Null).await?;
    }
    client.call("stop", Value::Null).await?;
    client.call("migrate-set-parameters", json!({ "max-bandwidth": BANDWIDTH })).await?;
    client.hand_over(END, &file).await?;
    client.call("migrate", json!({ "uri": format!("fd:{END}") })).await?;
    drop(client);
    loop {
        let transfer = transfer(folder).await?;
        match transfer["status"].as_str() {
            Some("completed") => break,
            _ if is_under_way(&transfer) && Instant::now() < until => tokio::time::sleep(LOOK_AGAIN).await,
            _ if is_under_way(&transfer) => return Err(io::ErrorKind::TimedOut.into()),
            status => {
                let why =
                    transfer["error-desc"].as_str().or(status).unwrap_or("QEMU does not say how it went");
                return Err(io::Error::other(why.chars().take(200).collect::<String>()));
            }
        }
    }
    let sync = tokio::task::spawn_blocking(move || file.sync_all());
    let synced = tokio::time::timeout_at(until, sync).await.map_err(|_| io::ErrorKind::TimedOut)?;
    synced.map_err(io::Error::other)??;
    std::fs::rename(folder.join(NEW_FILE), folder.join(KEPT_FILE))?;
    sync_folder_of(&folder.join(KEPT_FILE))
}

impl Qemu {
    pub(crate) async fn suspend(&self, id: &VmId, deadline: Duration) -> Result<(), BackendError> {
        let folder = self.of(id);
        if is_kept(&folder) && qmp::status(&folder).await.as_deref() == Some("running") {
            // It is of a moment from before.
            forget(&folder).map_err(failed(SUSPENDING))?;
        }
        if !is_kept(&folder) {
            if process::of(&folder, id).map_err(failed(SUSPENDING))?.is_none() {
                return Err(step_error(SUSPENDING, "no guest runs"));
            }
            match qmp::status(&folder).await.as_deref() {
                Some("running" | "postmigrate") => {}
                Some("paused" | "finish-migrate") if is_between(&folder) => {}
                _ => return Err(step_error(SUSPENDING, "the guest is halted, or does not answer")),
            }
            let record: Record = read_json(&folder.join(RECORD_FILE)).map_err(failed(SUSPENDING))?;
            if let Some(trouble) = volume_trouble(&folder, u64::from(record.resources.memory) << 30) {
                return Err(step_error(SUSPENDING, trouble));
            }
            if let Err(error) = write(&folder, Instant::now() + deadline).await {
                // Whoever asked goes on without; the guest does so until it is told something else.
                if let Err(error) = go_on(&folder).await {
                    tracing::warn!(
                        vm = id.redacted(),
                        error = &error as &dyn std::error::Error,
                        "a guest that was not suspended does not go on yet"
                    );
                }
                return Err(failed(SUSPENDING)(error));
            }
        }
        quit(&folder, id).await.map_err(failed(SUSPENDING))
    }

    /// Has the QEMU that was launched for it take up the memory that is kept, and the guest go on.
    ///
    /// # Errors
    /// Of kind `InvalidData`, with what QEMU complained of: this memory it will never take up. Any other may pass.
    pub(super) async fn take_up(&self, id: &VmId, folder: &Path) -> io::Result<()> {
        let memory = File::open(folder.join(KEPT_FILE))?;
        let mut client = qmp::Client::qmp(folder).await?;
        client.hand_over(END, &memory).await?;
        client.call("migrate-incoming", json!({ "uri": format!("fd:{END}") })).await?;
        drop(client);
        // The caller sets the deadline.
        loop {
            match qmp::status(folder).await.as_deref() {
                Some("paused") => break,
                Some("inmigrate" | "prelaunch") => {}
                Some(other) => return Err(never(&format!("the machine is {other}"))),
                // It is busy, or it ended, and where it refused it said why.
                None if process::of(folder, id)?.is_none() => {
                    return Err(match logs::log(folder).trim() {
                        "" => io::Error::other("QEMU ended without a word"),
                        complaint => never(complaint),
                    });
                }
                None => {}
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        std::fs::rename(folder.join(KEPT_FILE), folder.join(USED_FILE))?;
        sync_folder_of(&folder.join(USED_FILE))?;
        go_on(folder).await?;
        set_clock(folder).await;
        Ok(())
    }
}

/// That QEMU refuses the memory.
fn never(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.chars().take(500).collect::<String>())
}

/// Has the guest's agent set its clock, which stood still meanwhile. Without an agent, the guest's own time service does
/// so later.
async fn set_clock(folder: &Path) {
    let set = async {
        let now = i64::try_from(jiff::Timestamp::now().as_nanosecond()).map_err(io::Error::other)?;
        let mut agent = qmp::Client::agent(folder).await?;
        agent.call_within(SET_CLOCK, "guest-set-time", json!({ "time": now })).await
    };
    if let Err(error) = set.await {
        tracing::debug!(error = &error as &dyn std::error::Error, "the guest's clock was not set");
    }
}
