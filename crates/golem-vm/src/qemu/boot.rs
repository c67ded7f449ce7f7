//! From a launched process to a guest that answers.
//!
//! Owns what counts as ready (an SSH server's greeting through the guest's own port) and what is done
//! about a boot that hangs. Never launches and never gives up: the caller sets the deadline.

use std::path::Path;
use std::time::Duration;

use golem_types::VmId;
use serde_json::Value;
use tokio::time::Instant;

use super::qmp;
use super::ssh_greeting::Listener;
use super::{Qemu, failed, memory, step_error};
use crate::machine::{BackendError, Guest, Observed};

/// Longest that a guest's greeting is waited for before the guest itself is looked at again.
const LISTEN: Duration = Duration::from_millis(500);

/// How long a guest that boots may do nothing with its disks. The longest quiet time of a healthy
/// boot was a few seconds; a machine ten times as slow is still far from this.
const STALLED: Duration = Duration::from_secs(90);

/// Writes that a boot loader makes at most; a guest that made more has a file system to lose.
const LOADER_WRITES: u64 = 8;

/// How long a network card may take to come up until the guest is tried all the same: its driver may
/// not tell.
const CARD_DEADLINE: Duration = Duration::from_secs(60);

/// How often the console of a guest that boots is written down.
const HEAR_AGAIN: Duration = Duration::from_secs(2);

/// Pause between two attempts at a QEMU that was just launched.
const LAUNCH_PAUSE: Duration = Duration::from_millis(20);

impl Qemu {
    /// A guest that does nothing with its disks for [`STALLED`] while it should boot hangs: seen in
    /// about one of a dozen boots of two CPUs without hardware virtualisation, in the kernel's
    /// first second. It is reset, once, and only where it has written nothing that could be lost. One that a
    /// full disk paused goes on once there is room.
    pub(crate) async fn wait_ready(&self, id: &VmId) -> Result<Guest, BackendError> {
        let folder = self.of(id);
        let step = "booting the guest";
        let began = Instant::now();
        let mut activity = Activity::default();
        let mut listener = Listener::default();
        let mut has_card = false;
        // What it has in its memory is more than a boot.
        let was_suspended = memory::was_taken_up(&folder).await;
        let mut heard = began;
        loop {
            // The ring goes with its process, and the console tells why that went.
            if heard.elapsed() > HEAR_AGAIN {
                self.listen(id).await;
                heard = Instant::now();
            }
            let Some(guest) = self.guest(&folder).map_err(failed(step))? else {
                return Err(BackendError::NoSuchMachine(id.clone()));
            };
            match self.observe(id).await.map_err(failed(step))? {
                Observed::Stopped | Observed::PoweredOff => {
                    return Err(step_error(step, "the guest ended before it was ready"));
                }
                Observed::Halted { resumable: true, .. } => self.resume(id).await?,
                Observed::Halted { .. } | Observed::Running(_) | Observed::Unclear => {}
            }
            has_card = has_card || began.elapsed() > CARD_DEADLINE || card_is_up(&folder).await;
            if !has_card {
                tokio::time::sleep(LISTEN).await;
            } else if listener.greets(guest.ssh, LISTEN).await {
                return Ok(guest);
            }
            if !was_suspended && activity.stalls(disk_use(&folder).await, Instant::now()) {
                golem_service::log_limited_each!(
                    id,
                    warn,
                    vm = id.redacted(),
                    "the guest hangs in its boot and is reset"
                );
                if let Ok(mut client) = qmp::Client::qmp(&folder).await {
                    let _ = client.call("system_reset", Value::Null).await;
                }
            }
        }
    }
}

/// What a booting guest does with its disks.
#[derive(Debug, Default)]
struct Activity {
    /// What it did so far, and since when that is all.
    last: Option<(DiskUse, Instant)>,
    was_reset: bool,
}

/// Reads and writes of all of a guest's disks since its launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DiskUse {
    reads: u64,
    writes: u64,
}

impl Activity {
    /// Whether a guest that did so much at `now` is to be reset; true at most once.
    fn stalls(&mut self, now_used: Option<DiskUse>, now: Instant) -> bool {
        let Some(used) = now_used else { return false };
        match self.last {
            Some((before, since)) if before == used => {
                let stalls =
                    !self.was_reset && used.writes <= LOADER_WRITES && now.duration_since(since) >= STALLED;
                self.was_reset |= stalls;
                stalls
            }
            _ => {
                self.last = Some((used, now));
                false
            }
        }
    }
}

/// What the guest's disks were used for; `None` if QEMU does not answer, and while the guest is paused.
async fn disk_use(folder: &Path) -> Option<DiskUse> {
    if qmp::status(folder).await.as_deref() != Some("running") {
        return None;
    }
    let mut client = qmp::Client::qmp(folder).await.ok()?;
    let answer = client.call("query-blockstats", Value::Null).await.ok()?;
    let disks = answer.as_array()?;
    let sum =
        |name: &str| disks.iter().map(|disk| disk["stats"][name].as_u64().unwrap_or_default()).sum::<u64>();
    Some(DiskUse { reads: sum("rd_operations"), writes: sum("wr_operations") })
}

/// Whether the guest has brought its network card up: its driver then says what the card is to take in.
/// Before that a connection would only be queued by QEMU, which tries for it again every 6, 12 and 24 s,
/// and hands all that were queued to the guest at once.
async fn card_is_up(folder: &Path) -> bool {
    let up = async {
        let mut client = qmp::Client::qmp(folder).await.ok()?;
        let answer = client.call("query-rx-filter", Value::Null).await.ok()?;
        answer.as_array()?.first()?.get("promiscuous")?.as_bool()
    };
    up.await == Some(false)
}

/// Ready when the QEMU that was just launched in `folder` answers.
pub(super) async fn answers(folder: &Path) {
    while qmp::Client::qmp(folder).await.is_err() {
        tokio::time::sleep(LAUNCH_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_that_does_nothing_is_reset_once_and_a_slow_one_never() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let used = |reads, writes| Some(DiskUse { reads, writes });
        let mut slow = Activity::default();
        assert!((0..100).all(|n| !slow.stalls(used(n / 2, 0), at(n * 45))));
        let mut unseen = Activity::default();
        assert!((0..100).all(|n| !unseen.stalls(None, at(n * 45))));
        let mut hung = Activity::default();
        let resets: Vec<u64> = (0..600).filter(|n| hung.stalls(used(7, 1), at(*n))).collect();
        assert_eq!(resets, [STALLED.as_secs()]);
    }

    #[test]
    fn h_02_a_guest_that_has_written_something_is_never_reset() {
        let began = Instant::now();
        let mut idle = Activity::default();
        let used = Some(DiskUse { reads: 9000, writes: LOADER_WRITES + 1 });
        assert!((0..10_000).all(|n| !idle.stalls(used, began + Duration::from_secs(n))));
    }
}
