//! The guest's console and QEMU's own log.
//!
//! ```text
//!   guest's serial port ─► ring in QEMU's memory (64 KiB) ─ read, which empties it ─► console.log (64 KiB)
//!                           └─ while somebody has it open, `console` reads it ─────────┘
//!   QEMU's stderr ─► qemu.err (a pipe) ─► dd, in the guest's control group ─► qemu.log (16 KiB)
//! ```
//! A guest can make QEMU complain without end, and QEMU outlives the node: so a process that outlives the
//! node, too, writes its words down, and stops after the first 16 KiB; QEMU does not mind that nobody listens
//! any more. Owns both files and their bounds. They are of one launch, and go with the machine's folder.

use std::io::{self, Read};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use golem_files::absent_is_fine;
use golem_types::VmId;
use serde_json::json;

use super::console::{OPEN_FILE, put_ring_back};
use super::qmp;
use super::qmp::CONSOLE_BYTES;
use super::{Qemu, failed, process, step_error};
use crate::console::joined;
use crate::machine::BackendError;

/// What was read of the console since the launch.
const CONSOLE_FILE: &str = "console.log";

/// What QEMU said since the launch.
const LOG_FILE: &str = "qemu.log";

/// Through this QEMU says it.
const PIPE: &str = "qemu.err";

/// Most bytes of what QEMU said that are kept, from the launch on.
pub(super) const LOG_BYTES: u64 = 16_384;

/// Shell script that becomes the words after it, whose standard error is written down by a process of its
/// own, byte by byte up to its bound: `dd` counts reads, each of which may be short. Where that cannot be had,
/// standard error stays what it is.
pub(super) fn write_down() -> String {
    format!(
        "if mkfifo -m 600 {PIPE}; then (umask 077; exec dd bs=1 count={LOG_BYTES} status=none \
         of={LOG_FILE} <{PIPE} >/dev/null) & exec \"$@\" 2>{PIPE}; fi; exec \"$@\""
    )
}

/// Removes what is of an earlier launch.
///
/// # Errors
/// Any error of removing a file that is there.
pub(super) fn clear(folder: &Path) -> io::Result<()> {
    for file in [CONSOLE_FILE, OPEN_FILE, LOG_FILE, PIPE] {
        absent_is_fine(std::fs::remove_file(folder.join(file)))?;
    }
    Ok(())
}

/// What QEMU in `folder` said so far; nothing where that cannot be read.
pub(super) fn log(folder: &Path) -> String {
    let read = || {
        let mut bytes = Vec::new();
        std::fs::File::open(folder.join(LOG_FILE))?.take(LOG_BYTES).read_to_end(&mut bytes)?;
        io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

/// What was read of the console so far.
fn console(folder: &Path) -> Vec<u8> {
    // Written by the node alone, within its bound.
    std::fs::read(folder.join(CONSOLE_FILE)).unwrap_or_default()
}

impl Qemu {
    /// The end of what the guest wrote to its serial console since its launch.
    pub(crate) async fn console(&self, id: &VmId) -> Result<String, BackendError> {
        let folder = self.of(id);
        if !folder.exists() {
            return Err(BackendError::NoSuchMachine(id.clone()));
        }
        let (all, error) = self.listen(id).await;
        match error {
            Some(error) if all.is_empty() => match process::of(&folder, id) {
                Ok(None) => Err(step_error("reading the console", "the guest does not run")),
                _ => Err(failed("reading the console")(error)),
            },
            _ => Ok(String::from_utf8_lossy(&all).into_owned()),
        }
    }

    /// Empties the ring of the console into its file. All that was read since the launch, and why the ring
    /// could not be read.
    pub(super) async fn listen(&self, id: &VmId) -> (Vec<u8>, Option<io::Error>) {
        let folder = self.of(id);
        // What is read is gone from the ring: nobody else may read until it is in the file.
        let _reading = self.reading.lock().await;
        if self.consoles.of(id).is_some() {
            return (self.keep_unread(id, &folder).await, None);
        }
        if folder.join(OPEN_FILE).exists()
            && let Err(error) = put_ring_back(&folder).await
        {
            return (console(&folder), Some(error));
        }
        match ring(&folder).await {
            Ok(more) => (keep(&folder, &more).await, None),
            Err(error) => (console(&folder), Some(error)),
        }
    }

    /// Puts what whoever holds the console has read into its file. All that was read since the launch. To be called
    /// with nobody reading.
    pub(super) async fn keep_unread(&self, id: &VmId, folder: &Path) -> Vec<u8> {
        let more = self.consoles.of(id).map(|unkept| unkept.take()).unwrap_or_default();
        keep(folder, &more).await
    }

    /// What the guest's process said since its launch: its first [`LOG_BYTES`] bytes.
    pub(crate) fn process_log(&self, id: &VmId) -> String {
        log(&self.of(id))
    }
}

/// Adds `more` to the file, within its bound; what is in it then.
async fn keep(folder: &Path, more: &[u8]) -> Vec<u8> {
    let all = joined(console(folder), more);
    if more.is_empty() {
        return all;
    }
    let (file, bytes) = (folder.join(CONSOLE_FILE), all.clone());
    let kept = tokio::task::spawn_blocking(move || golem_files::replace(&file, &bytes)).await;
    if let Err(error) = kept.unwrap_or_else(|error| Err(io::Error::other(error))) {
        golem_service::log_limited!(
            warn,
            error = &error as &dyn std::error::Error,
            "what was read of a console could not be kept"
        );
    }
    all
}

/// What is in the ring. In base 64: QEMU ends its text at the first zero byte.
async fn ring(folder: &Path) -> io::Result<Vec<u8>> {
    let mut client = qmp::Client::qmp(folder).await?;
    let arguments = json!({ "device": "console", "size": CONSOLE_BYTES, "format": "base64" });
    let answer = client.call("ringbuf-read", arguments).await?;
    STANDARD.decode(answer.as_str().unwrap_or_default()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    /// The words of `script`, through the pipe, in `folder`.
    fn run(folder: &Path, script: &str) -> std::process::Child {
        Command::new("sh")
            .args(["-c", &write_down(), "sh", "sh", "-c", script])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn until(what: &str, is: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !is() {
            assert!(Instant::now() < end, "not in time: {what}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// H-14: what the process says is written down as it says it, and whoever launched it is not needed.
    #[test]
    fn h_14_what_qemu_says_is_written_down_at_once_and_outlives_the_node() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = run(folder.path(), "echo early >&2; read -r line; echo \"late $line\" >&2");
        until("the first line", || log(folder.path()) == "early\n");
        // The node that launched it is gone, and so is its end of the pipe.
        drop(child.stderr.take());
        child.stdin.take().unwrap().write_all(b"word\n").unwrap();
        assert!(child.wait().unwrap().success());
        until("the last line", || log(folder.path()) == "early\nlate word\n");
        clear(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// H-14: a guest that makes its process complain without end fills no disk, with no node there to see it.
    #[test]
    fn h_14_a_process_that_never_stops_complaining_fills_16_kib() {
        let folder = tempfile::tempdir().unwrap();
        // As QEMU does, it goes on where nobody listens.
        let script = "trap '' PIPE; n=0; while [ $n -lt 3000 ]; do echo 'guest error: a line of complaint' >&2; \
                      n=$((n + 1)); done; : >done";
        let mut child = run(folder.path(), script);
        drop(child.stderr.take());
        child.wait().unwrap();
        assert!(folder.path().join("done").exists(), "it went on to its end");
        let size = || std::fs::metadata(folder.path().join(LOG_FILE)).unwrap().len();
        until("the log is full", || size() == LOG_BYTES);
    }

    /// H-14: without a pipe to be had, the launch goes on as before, and nothing grows.
    #[test]
    fn h_14_without_a_pipe_it_is_launched_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(PIPE), b"").unwrap();
        let output = run(folder.path(), "echo said >&2").wait_with_output().unwrap();
        assert!(output.status.success() && String::from_utf8_lossy(&output.stderr).contains("said"));
        assert_eq!(std::fs::metadata(folder.path().join(PIPE)).unwrap().len(), 0);
    }
}
