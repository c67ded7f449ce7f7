//! A guest's serial console, held open by the node.
//!
//! ```text
//!   closed: serial port ─► ring in QEMU's memory ─► console.log            (see `logs`)
//!   open:   serial port ◄─► one end of a socket pair ◄─► the node ─► console.log
//!   node killed meanwhile: what the guest writes is dropped, until the next node finds `console.open`
//! ```
//! QEMU exchanges what is behind the port while the guest runs, on an order of the node, which hands over a socket that has
//! no name: no program on the host can open it, and a QEMU that was taken over cannot have the node, with its rights, speak
//! to another one. A guest of an older version has such a port, too. Owns that exchange, and that the ring comes back.
//! What the guest writes in the milliseconds of an exchange may be lost to the log.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use golem_files::absent_is_fine;
use golem_types::VmId;
use serde_json::{Value, json};

use super::qmp::{self, CONSOLE_BYTES};
use super::{Qemu, failed, process, step_error};
use crate::Architecture;
use crate::console::LiveConsole;
use crate::machine::BackendError;

/// Is there while a console may have no ring.
pub(super) const OPEN_FILE: &str = "console.open";

/// Under this name QEMU gets its end.
const END: &str = "console-end";

const STEP: &str = "opening the console";

impl Qemu {
    /// Why no console can be opened.
    pub(crate) fn console_problem(&self) -> Option<&'static str> {
        match self.config.architecture {
            // What is behind a PL011 cannot be exchanged, as of QEMU 10.
            Some(Architecture::Aarch64) => {
                Some("QEMU cannot hand over the serial console of an ARM guest while it runs")
            }
            Some(Architecture::X86_64) | None => None,
        }
    }

    pub(crate) async fn open_console(&self, id: &VmId) -> Result<LiveConsole, BackendError> {
        if let Some(problem) = self.console_problem() {
            return Err(step_error(STEP, problem));
        }
        let folder = self.of(id);
        if !folder.exists() {
            return Err(BackendError::NoSuchMachine(id.clone()));
        }
        // What was written so far is in the log first.
        if let (_, Some(error)) = self.listen(id).await {
            return Err(match process::of(&folder, id) {
                Ok(None) => step_error(STEP, "the guest does not run"),
                _ => failed(STEP)(error),
            });
        }
        let _reading = self.reading.lock().await;
        let unkept = self.consoles.hold(id).ok_or_else(|| step_error(STEP, "it is open already"))?;
        let (ours, theirs) = UnixStream::pair().map_err(failed(STEP))?;
        let console = LiveConsole::new(ours, unkept).map_err(failed(STEP))?;
        golem_files::replace(&folder.join(OPEN_FILE), b"").map_err(failed(STEP))?;
        let exchanged = async {
            let mut client = qmp::Client::qmp(&folder).await?;
            client.hand_over(END, theirs).await?;
            let data = json!({ "addr": { "type": "fd", "data": { "str": END } }, "server": false });
            client.call("chardev-change", change("socket", &data)).await
        };
        if let Err(error) = exchanged.await {
            drop(console);
            // The ring is there still, or comes back with the next look.
            let _ = put_ring_back(&folder).await;
            return Err(failed(STEP)(error));
        }
        Ok(console)
    }

    pub(crate) async fn close_console(&self, id: &VmId, console: LiveConsole) {
        let folder = self.of(id);
        let _reading = self.reading.lock().await;
        // Before the exchange: a byte that waits for room in the socket would wait for ever behind a ring, and all that the
        // guest writes after it.
        let held = console.hang_up();
        if let Err(error) = put_ring_back(&folder).await {
            tracing::debug!(
                vm = id.redacted(),
                error = &error as &dyn std::error::Error,
                "the console's ring is not back yet"
            );
        }
        if folder.exists() {
            self.keep_unread(id, &folder).await;
        }
        drop(held);
    }

    /// Gives consoles their rings back that a node which was killed held open: whose they are.
    pub(crate) async fn mend_consoles(&self) -> Vec<VmId> {
        let mut mended = Vec::new();
        for id in self.ids().unwrap_or_default() {
            let folder = self.of(&id);
            let is_lost = folder.join(OPEN_FILE).exists() && matches!(process::of(&folder, &id), Ok(Some(_)));
            if is_lost && self.consoles.of(&id).is_none() && self.listen(&id).await.1.is_none() {
                mended.push(id);
            }
        }
        mended
    }
}

fn change(kind: &str, data: &Value) -> Value {
    json!({ "id": "console", "backend": { "type": kind, "data": data } })
}

/// Puts the ring behind the port again. To be called with nobody reading.
///
/// # Errors
/// Any error of talking to QEMU; it is to be tried again then.
pub(super) async fn put_ring_back(folder: &Path) -> io::Result<()> {
    let mut client = qmp::Client::qmp(folder).await?;
    client.call("chardev-change", change("ringbuf", &json!({ "size": CONSOLE_BYTES }))).await?;
    absent_is_fine(std::fs::remove_file(folder.join(OPEN_FILE)))
}
