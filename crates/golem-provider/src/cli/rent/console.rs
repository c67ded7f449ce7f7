//! `rent console`: the serial console of a VM, on this terminal or in a pipe.
//!
//! ```text
//!   keyboard (raw) ─► Ctrl-]? leave : type      guest ─► standard output, as it is
//!   pipe ─► type, to its end ─► until the guest has said nothing for 2 s ─► leave
//! ```
//! Owns that the terminal is as before whatever ends this. What a guest writes goes to the terminal as over SSH.

use std::io::{IsTerminal, Read, Write, stdin, stdout};
use std::time::Duration;

use anyhow::Context;
use golem_rent::{Console, FromConsole, Renter};
use golem_types::VmName;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::cli::Exit;
use crate::cli::printer::Printer;

/// Ctrl-].
const ESCAPE: u8 = 0x1d;

/// After the end of a pipe, how long the guest may say nothing.
const QUIET: Duration = Duration::from_secs(2);

/// After the end of a pipe, how long it is listened to at most.
const LISTEN: Duration = Duration::from_secs(60);

/// How long standard output may take for what is left at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Pieces that wait, of what is typed and of what is shown.
const PIECES: usize = 16;

/// Why a console was left.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    /// Who typed wanted to, or the pipe has ended.
    Wanted,
    /// The provider ended it, and why.
    Closed(String),
}

/// A terminal whose keys come as they are typed, until this is dropped.
struct Raw(Termios);

impl Raw {
    fn of_input() -> anyhow::Result<Self> {
        let before = tcgetattr(stdin()).context("the terminal cannot be set")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Flush, &raw).context("the terminal cannot be set")?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.0);
    }
}

/// `rent console`.
pub(super) async fn console(renter: &Renter<'_>, printer: Printer, vm: &VmName) -> anyhow::Result<Exit> {
    let is_terminal = stdin().is_terminal();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let opened = {
        let _waiting = printer.waiting(format!("Opening the console of {vm}"));
        golem_rent::open_console(renter, vm).await?
    };
    if is_terminal {
        printer.note(&format!("The console of {vm}. Press Enter to see a prompt; Ctrl-] leaves."));
    }
    let raw = if is_terminal { Some(Raw::of_input()?) } else { None };
    let left = tokio::select! {
        left = carry(opened, is_terminal) => Some(left),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        _ = hang_up.recv() => None,
    };
    drop(raw);
    if is_terminal {
        // The guest's line may not have ended.
        printer.note("");
    }
    match left {
        None => Ok(Exit::Interrupted),
        Some(Ok(Left::Wanted)) => Ok(Exit::Done),
        Some(Ok(Left::Closed(why))) => anyhow::bail!("the provider closed the console: {why}"),
        Some(Err(error)) => Err(error),
    }
}

/// What comes from standard input; the channel ends with it.
///
/// # Errors
/// When there can be no thread.
fn typed() -> anyhow::Result<mpsc::Receiver<Vec<u8>>> {
    let (sender, typed) = mpsc::channel(PIECES);
    // Nothing ends a read from a terminal: the thread goes with the process.
    let read = move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = stdin().lock().read(&mut bytes) {
            if sender.blocking_send(bytes.get(..count).unwrap_or_default().to_vec()).is_err() {
                break;
            }
        }
    };
    std::thread::Builder::new().name("console keyboard".to_owned()).spawn(read)?;
    Ok(typed)
}

/// Standard output, which may take its time without holding up signals.
struct Output {
    pieces: mpsc::Sender<Vec<u8>>,
    done: oneshot::Receiver<()>,
}

impl Output {
    /// # Errors
    /// When there can be no thread.
    fn open() -> anyhow::Result<Self> {
        let (pieces, mut waiting) = mpsc::channel::<Vec<u8>>(PIECES);
        let (is_done, done) = oneshot::channel();
        let write = move || {
            while let Some(bytes) = waiting.blocking_recv() {
                let mut output = stdout().lock();
                if output.write_all(&bytes).and_then(|()| output.flush()).is_err() {
                    return;
                }
            }
            // Who waits for it may be gone.
            let _ = is_done.send(());
        };
        std::thread::Builder::new().name("console output".to_owned()).spawn(write)?;
        Ok(Self { pieces, done })
    }

    /// # Errors
    /// When nobody reads standard output any more.
    async fn write(&self, bytes: Vec<u8>) -> anyhow::Result<()> {
        self.pieces.send(bytes).await.ok().context("standard output cannot be written")
    }

    /// Waits until what is left is written.
    async fn end(self) {
        drop(self.pieces);
        let _ = timeout(LAST_WORDS, self.done).await;
    }
}

/// `bytes` up to the key that leaves; whether it is there.
fn until_escape(mut bytes: Vec<u8>) -> (Vec<u8>, bool) {
    let at = bytes.iter().position(|byte| *byte == ESCAPE);
    bytes.truncate(at.unwrap_or(bytes.len()));
    (bytes, at.is_some())
}

async fn carry(console: Console, is_terminal: bool) -> anyhow::Result<Left> {
    let output = Output::open()?;
    let left = carry_to(&output, console, is_terminal).await;
    output.end().await;
    left
}

async fn carry_to(output: &Output, mut console: Console, is_terminal: bool) -> anyhow::Result<Left> {
    let mut typed = typed()?;
    // When to leave after the end of what is typed: at the latest, and if nothing more is said.
    let mut end: Option<(Instant, Instant)> = None;
    loop {
        let leave_at = end.map_or_else(Instant::now, |(latest, quiet)| latest.min(quiet));
        tokio::select! {
            said = console.next() => match said? {
                FromConsole::Bytes(bytes) => {
                    output.write(bytes.to_vec()).await?;
                    end = end.map(|(latest, _)| (latest, Instant::now() + QUIET));
                }
                FromConsole::Dropped(bytes) => {
                    let text = format!("\r\n[{bytes} bytes were not taken in time]\r\n");
                    output.write(text.into_bytes()).await?;
                }
                FromConsole::Closed(why) => return Ok(Left::Closed(why)),
            },
            more = typed.recv(), if end.is_none() => match more {
                Some(bytes) => {
                    let (bytes, leaves) = if is_terminal { until_escape(bytes) } else { (bytes, false) };
                    console.write(&bytes).await?;
                    if leaves {
                        console.leave().await;
                        return Ok(Left::Wanted);
                    }
                }
                None => end = Some((Instant::now() + LISTEN, Instant::now() + QUIET)),
            },
            () = sleep_until(leave_at), if end.is_some() => {
                console.leave().await;
                return Ok(Left::Wanted);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_the_key_that_leaves_is_typed() {
        assert_eq!(until_escape(b"ls\r".to_vec()), (b"ls\r".to_vec(), false));
        assert_eq!(until_escape(b"ls\x1dmore".to_vec()), (b"ls".to_vec(), true));
        assert_eq!(until_escape(vec![ESCAPE]), (Vec::new(), true));
    }
}
