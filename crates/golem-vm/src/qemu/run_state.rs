//! The run state of a guest, and how it is stopped and resumed.
//!
//! | process | QEMU says | seen as |
//! |---|---|---|
//! | none | | stopped: it was never started, or it crashed |
//! | frozen | | halted: whoever froze it has a reason |
//! | alive | nothing: it is busy | running: its process lives |
//! | alive | `shutdown`, and nobody here pressed the button | powered off by the guest itself |
//! | alive | `shutdown` after our button, `guest-panicked` | stopped: no guest is left in that process |
//! | alive | `io-error` | halted: a write failed; may go on once there is room, or after a while |
//! | alive | `paused`, and its memory is whole on disk | stopped: that process only waits to be ended |
//! | alive | `paused`, and its memory was about to be written or was just read | halted: may go on |
//! | alive | `paused`, `suspended`, `internal-error` | halted: not by us, so we do not know until when |
//! | alive | anything else | running, or about to |
//!
//! QEMU is told not to end with its guest (`-no-shutdown`), so that a guest that powers itself off can be
//! told from a crash also where no node ran at that moment. Owns that table, and the file that
//! remembers our power button. Never ends a process in which a guest may be alive, but when told to.

use std::io;
use std::path::Path;
use std::time::Duration;

use golem_files::absent_is_fine;
use golem_types::VmId;
use serde_json::Value;
use tokio::time::timeout;

use super::process::{self, Life};
use super::quit::quit;
use super::{DISK_FILE, Qemu, failed, memory, qmp};
use crate::machine::{BackendError, Observed};

/// How often a guest that should shut down is told again: one that still boots hears nothing.
const POWER_BUTTON_AGAIN: Duration = Duration::from_secs(5);

/// How often such a guest is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Written whenever the guest is asked to shut down.
const BUTTON_FILE: &str = "asked-to-shut-down";

/// How long after that its end is our doing: a stop may be called off, and the guest live on for months.
const BUTTON_COUNTS: Duration = Duration::from_secs(15 * 60);

/// Room in which a guest that was paused by a full disk goes on: a fiftieth of the volume, and not
/// less than that many bytes, nor more.
const ROOM: std::ops::RangeInclusive<u64> = (16 << 20)..=(256 << 20);

impl Qemu {
    pub(super) async fn observe(&self, id: &VmId) -> io::Result<Observed> {
        let folder = self.of(id);
        let halted = |reason: &str| Observed::Halted { reason: reason.to_owned(), resumable: false };
        let process = process::of(&folder, id)?;
        self.see_to_groups(id, &folder, process.map(|(qemu, _)| qemu)).await;
        let Some((_, life)) = process else { return Ok(Observed::Stopped) };
        let Some(guest) = self.guest(&folder)? else {
            return Ok(halted("the record of the guest's port is lost"));
        };
        if life == Life::Frozen {
            return Ok(halted("the guest's process is frozen by the host"));
        }
        Ok(match qmp::status(&folder).await.as_deref() {
            Some("shutdown") if was_asked(&folder) => Observed::Stopped,
            Some("shutdown") => Observed::PoweredOff,
            Some("guest-panicked") => Observed::Stopped,
            Some("io-error") => paused_by_disk(&folder).await,
            Some("paused" | "postmigrate" | "inmigrate" | "finish-migrate") if memory::is_kept(&folder) => {
                Observed::Stopped
            }
            Some("paused" | "postmigrate" | "finish-migrate") if memory::is_between(&folder) => {
                Observed::Halted { reason: "the guest was about to be suspended".to_owned(), resumable: true }
            }
            Some("running") if memory::is_kept(&folder) => {
                // Of a moment from before: a guest that writes to its disk has no other memory.
                memory::forget(&folder)?;
                Observed::Running(guest)
            }
            Some("paused") => halted("the guest is paused"),
            Some("suspended") => halted("the guest is suspended"),
            Some("internal-error") => halted("the guest's virtual CPU failed"),
            _ => Observed::Running(guest),
        })
    }

    /// Makes way for a launch; false where a guest may be alive, which stays.
    pub(super) async fn make_way(&self, id: &VmId) -> io::Result<bool> {
        match self.observe(id).await? {
            Observed::Stopped | Observed::PoweredOff => {
                quit(&self.of(id), id).await?;
                absent_is_fine(std::fs::remove_file(self.of(id).join(BUTTON_FILE)))?;
                Ok(true)
            }
            Observed::Running(_) | Observed::Halted { .. } | Observed::Unclear => Ok(false),
        }
    }

    pub(crate) async fn stop(&self, id: &VmId, grace: Duration) -> Result<(), BackendError> {
        let folder = self.of(id);
        let ending = "ending the guest";
        if process::of(&folder, id).map_err(failed(ending))?.is_none() {
            return memory::forget(&folder).map_err(failed(ending));
        }
        if memory::is_between(&folder)
            && !memory::is_kept(&folder)
            && let Err(error) = memory::go_on(&folder).await
        {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "a guest that was about to be suspended does not go on"
            );
        }
        let press = async {
            while !is_over(&folder, id).await {
                // Before the button: from now on the guest's end is ours.
                if let Err(error) = golem_files::replace(&folder.join(BUTTON_FILE), b"") {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "not kept that a stop was asked for"
                    );
                }
                if let Ok(mut client) = qmp::Client::qmp(&folder).await {
                    let _ = client.call("system_powerdown", Value::Null).await;
                }
                let over = async {
                    while !is_over(&folder, id).await {
                        tokio::time::sleep(LOOK_AGAIN).await;
                    }
                };
                let _ = timeout(POWER_BUTTON_AGAIN, over).await;
            }
        };
        if !memory::is_kept(&folder) && timeout(grace, press).await.is_err() {
            golem_service::log_limited_each!(
                id,
                warn,
                vm = id.redacted(),
                "the guest did not shut down in {} s and is ended",
                grace.as_secs()
            );
        }
        quit(&folder, id).await.map_err(failed(ending))?;
        memory::forget(&folder).map_err(failed(ending))
    }

    /// Lets a guest go on that a failed write paused, or that was about to be suspended, and no other.
    pub(crate) async fn resume(&self, id: &VmId) -> Result<(), BackendError> {
        let step = "resuming the guest";
        let folder = self.of(id);
        match qmp::status(&folder).await.as_deref() {
            Some("io-error") => {}
            Some("paused" | "postmigrate" | "finish-migrate")
                if memory::is_between(&folder) && !memory::is_kept(&folder) =>
            {
                return memory::go_on(&folder).await.map_err(failed(step));
            }
            _ => return Ok(()),
        }
        let mut client = qmp::Client::qmp(&folder).await.map_err(failed(step))?;
        client.call("cont", Value::Null).await.map_err(failed(step))?;
        Ok(())
    }
}

/// Whether we asked the guest to shut down a moment ago. A clock that was set back says yes.
fn was_asked(folder: &Path) -> bool {
    let asked = std::fs::metadata(folder.join(BUTTON_FILE)).and_then(|file| file.modified());
    asked.is_ok_and(|at| at.elapsed().map_or(true, |ago| ago < BUTTON_COUNTS))
}

/// Whether no guest is left: the process ended, or only waits to be ended.
async fn is_over(folder: &Path, id: &VmId) -> bool {
    match process::of(folder, id) {
        Ok(None) => true,
        Ok(Some((_, Life::Alive))) => qmp::status(folder).await.as_deref() == Some("shutdown"),
        Ok(Some((_, Life::Frozen))) | Err(_) => false,
    }
}

/// A guest that a failed write paused.
async fn paused_by_disk(folder: &Path) -> Observed {
    let is_full = match failures(folder).await {
        Some(failures) => !failures.iter().any(|failure| failure == "failed"),
        None => true,
    };
    let disk = folder.join(DISK_FILE);
    let has_room = tokio::task::spawn_blocking(move || has_room(&disk)).await;
    let has_room = matches!(has_room, Ok(Ok(true)));
    let reason = match (is_full, has_room) {
        (true, false) => "the guest is paused: the provider's disk is full",
        (true, true) => "the guest is paused: the provider's disk was full",
        (false, _) => "the guest is paused: the provider's disk fails",
    };
    Observed::Halted { reason: reason.to_owned(), resumable: has_room || !is_full }
}

/// Whether the volume of `disk` has room for what a guest may want to write at once.
fn has_room(disk: &Path) -> io::Result<bool> {
    let volume = rustix::fs::statvfs(disk)?;
    let bytes = |blocks: u64| blocks.saturating_mul(volume.f_frsize);
    let needed = (bytes(volume.f_blocks) / 50).clamp(*ROOM.start(), *ROOM.end());
    Ok(bytes(volume.f_bavail) >= needed)
}

/// How each disk's last failed write failed: `nospace` or `failed`; `None` if QEMU does not answer.
async fn failures(folder: &Path) -> Option<Vec<String>> {
    let mut client = qmp::Client::qmp(folder).await.ok()?;
    let answer = client.call("query-block", Value::Null).await.ok()?;
    let word = |disk: &Value| Some(disk.get("io-status")?.as_str()?.to_owned());
    Some(answer.as_array()?.iter().filter_map(word).collect())
}
