//! The serial console of simulated guests: it echoes, asks for a login, and floods when it is told to.
//!
//! Owns what such a guest says, under the rules of a real one: it ends with its guest, it is held once, and its log goes on.

use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::{Arc, Weak};

use golem_types::VmId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::sleep;

use super::{LOOK_AGAIN, Shared, Sim};
use crate::console::{LiveConsole, joined};
use crate::machine::BackendError;

/// What a simulated guest says after each line.
pub const PROMPT: &[u8] = b"\r\nsim login: ";

/// The line after which it writes without end.
pub const FLOOD: &[u8] = b"flood";

/// The guest's end of a console.
#[derive(Debug)]
pub(super) struct Guest {
    id: VmId,
    /// How many guests were started when it was opened.
    boots: u32,
    stream: StdStream,
    shared: Weak<Shared>,
}

fn failed(message: &str, source: Option<io::Error>) -> BackendError {
    BackendError::Failed { step: "opening the console", message: message.to_owned(), source }
}

impl Sim {
    pub(crate) fn console(&self, id: &VmId) -> Result<String, BackendError> {
        let mut inner = self.0.lock();
        let state = match inner.machines.get(id) {
            Some(record) if record.running => "simulated guest: running\n",
            Some(_) => "simulated guest: stopped\n",
            None => return Err(BackendError::NoSuchMachine(id.clone())),
        };
        let more = self.0.consoles.of(id).map(|unkept| unkept.take()).unwrap_or_default();
        let log = joined(inner.console_logs.remove(id).unwrap_or_default(), &more);
        let all = joined(state.into(), &log);
        inner.console_logs.insert(id.clone(), log);
        Ok(String::from_utf8_lossy(&all).into_owned())
    }

    pub(crate) fn open_console(&self, id: &VmId) -> Result<LiveConsole, BackendError> {
        let boots = match self.0.lock().machines.get(id) {
            Some(record) if record.running => record.boots,
            Some(_) => return Err(failed("the guest does not run", None)),
            None => return Err(BackendError::NoSuchMachine(id.clone())),
        };
        let unkept = self.0.consoles.hold(id).ok_or_else(|| failed("it is open already", None))?;
        let open = || {
            let (ours, stream) = StdStream::pair()?;
            stream.set_nonblocking(true)?;
            let guest = Guest { id: id.clone(), boots, stream, shared: Arc::downgrade(&self.0) };
            self.0.console_guests.send(guest).map_err(|_| io::ErrorKind::BrokenPipe)?;
            LiveConsole::new(ours, unkept)
        };
        open().map_err(|error| failed("no console could be made", Some(error)))
    }

    pub(crate) fn close_console(&self, id: &VmId, console: LiveConsole) {
        let _held = console.hang_up();
        // Into the log.
        let _ = self.console(id);
    }
}

impl Guest {
    /// Says what the guest says, until it ends or nobody listens.
    ///
    /// # Errors
    /// Any error of the socket.
    pub(super) async fn serve(self) -> io::Result<()> {
        let mut stream = UnixStream::from_std(self.stream)?;
        let runs = || {
            let shared = self.shared.upgrade()?;
            let inner = shared.lock();
            inner
                .machines
                .get(&self.id)
                .filter(|record| record.running && record.boots == self.boots)
                .map(drop)
        };
        let ends = async {
            while runs().is_some() {
                sleep(LOOK_AGAIN).await;
            }
            Ok(())
        };
        tokio::select! {
            said = talk(&mut stream) => said,
            ended = ends => ended,
        }
    }
}

async fn talk(stream: &mut UnixStream) -> io::Result<()> {
    let mut line = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        let count = stream.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        for byte in bytes.get(..count).unwrap_or_default() {
            if *byte == b'\r' {
                stream.write_all(PROMPT).await?;
                if line == FLOOD {
                    loop {
                        stream.write_all(&b"y\r\n".repeat(1000)).await?;
                    }
                }
                line.clear();
            } else {
                stream.write_all(&[*byte]).await?;
                line.push(*byte);
                line.truncate(FLOOD.len() + 1);
            }
        }
    }
}
