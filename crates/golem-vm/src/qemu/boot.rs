//! From a launched process to a guest that answers.
//!
//! Owns what counts as ready (an SSH server's greeting through the guest's own port) and what is done
//! about a boot that hangs. Never launches and never gives up: the caller sets the deadline.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use golem_types::VmId;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::talk::Talk;
use super::{Qemu, failed, process, said};
use crate::backend::{BackendError, Guest};

/// How long one attempt at a guest's banner may take: a guest without network answers nothing.
const BANNER_DEADLINE: Duration = Duration::from_millis(1500);

/// Pause between two attempts at a guest's banner.
const BANNER_PAUSE: Duration = Duration::from_millis(100);

/// How long a guest that boots may do nothing with its disks. The longest quiet time of a healthy
/// boot was a few seconds; a machine ten times as slow is still far from this.
const STALLED: Duration = Duration::from_secs(90);

/// Pause between two attempts at a QEMU that was just launched.
const LAUNCH_PAUSE: Duration = Duration::from_millis(20);

impl Qemu {
    /// A guest that does nothing with its disks for [`STALLED`] while it should boot hangs: seen in
    /// about one of a dozen boots of two CPUs without hardware virtualisation, in the kernel's
    /// first second. It is reset, once: it had written nothing that could be lost.
    pub(crate) async fn wait_ready(&self, id: &VmId) -> Result<Guest, BackendError> {
        let folder = self.of(id);
        let step = "booting the guest";
        let mut activity = Activity::default();
        loop {
            let Some(guest) = self.guest(&folder).map_err(failed(step))? else {
                return Err(BackendError::NoSuchMachine(id.clone()));
            };
            if process::of(&folder, id).map_err(failed(step))?.is_none() {
                return Err(said(step, "the guest ended before it was ready"));
            }
            if let Ok(Ok(true)) = timeout(BANNER_DEADLINE, greets(guest.ssh)).await {
                return Ok(guest);
            }
            if activity.stalls(disk_operations(&folder).await, Instant::now()) {
                tracing::warn!(vm = id.redacted(), "the guest hangs in its boot and is reset");
                if let Ok(mut talk) = Talk::qmp(&folder).await {
                    let _ = talk.call("system_reset", Value::Null).await;
                }
            }
            tokio::time::sleep(BANNER_PAUSE).await;
        }
    }
}

/// What a booting guest does with its disks.
#[derive(Debug, Default)]
struct Activity {
    /// Reads and writes so far, and since when there were no more.
    last: Option<(u64, Instant)>,
    was_reset: bool,
}

impl Activity {
    /// Whether a guest with so many reads and writes at `now` is to be reset; true at most once.
    fn stalls(&mut self, operations: Option<u64>, now: Instant) -> bool {
        let Some(operations) = operations else { return false };
        match self.last {
            Some((before, since)) if before == operations => {
                let stalls = !self.was_reset && now.duration_since(since) >= STALLED;
                self.was_reset |= stalls;
                stalls
            }
            _ => {
                self.last = Some((operations, now));
                false
            }
        }
    }
}

/// Reads and writes of all the guest's disks since its launch; none when QEMU does not answer.
async fn disk_operations(folder: &Path) -> Option<u64> {
    let mut talk = Talk::qmp(folder).await.ok()?;
    let answer = talk.call("query-blockstats", Value::Null).await.ok()?;
    let count = |disk: &Value| {
        let of = |name: &str| disk["stats"][name].as_u64().unwrap_or_default();
        of("rd_operations") + of("wr_operations")
    };
    Some(answer.as_array()?.iter().map(count).sum())
}

/// Ready when the QEMU that was just launched in `folder` answers. From then on it needs nobody:
/// its standard error leads nowhere, which it does not mind.
pub(super) async fn answers(folder: &Path) {
    while Talk::qmp(folder).await.is_err() {
        tokio::time::sleep(LAUNCH_PAUSE).await;
    }
}

/// Whether an SSH server greets at `address`.
async fn greets(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let mut start = [0; 4];
    stream.read_exact(&mut start).await?;
    Ok(&start == b"SSH-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_that_does_nothing_is_reset_once_and_a_slow_one_never() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut slow = Activity::default();
        assert!((0..100).all(|n| !slow.stalls(Some(n / 2), at(n * 45))));
        let mut unseen = Activity::default();
        assert!((0..100).all(|n| !unseen.stalls(None, at(n * 45))));
        let mut hung = Activity::default();
        let resets: Vec<u64> = (0..600).filter(|n| hung.stalls(Some(7), at(*n))).collect();
        assert_eq!(resets, [STALLED.as_secs()]);
    }
}
