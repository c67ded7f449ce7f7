//! The node in the background.
//!
//! ```text
//!   parent: spawn self with --detached ─► wait for a line ─► "ready": exit 0
//!      ▲                                                 └► "error" or end of file: exit 1
//!      └──── pipe (the child's standard output) ◄── child: own session ─► start ─► report
//! ```
//! Owns detaching and the report to the parent. Never starts or stops a part of the node: `start` does.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use golem_chain::keystore::Passphrase;
use serde::{Deserialize, Serialize};

/// The hidden flag of `start` that makes it report to a parent.
pub const DETACHED_FLAG: &str = "--detached";

/// What the child tells its parent, as one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StartReport {
    /// The node serves at this address.
    Ready(String),
    /// The node could not start.
    Error(String),
}

/// A node that was started in the background.
#[derive(Debug)]
pub struct Started {
    /// Its process id.
    pub pid: u32,
    /// Address of its public API.
    pub address: String,
}

/// Starts this program again with `arguments` in the background, and waits until it is ready. It is given `passphrase`
/// on standard input, which no other process can read.
///
/// # Errors
/// What the child said, or that it ended without a word.
pub fn spawn(
    arguments: impl IntoIterator<Item = OsString>,
    passphrase: Option<&Passphrase>,
) -> anyhow::Result<Started> {
    let program = std::env::current_exe().context("this program's file cannot be found")?;
    let (reader, writer) = io::pipe().context("a pipe cannot be made")?;
    let mut child = Command::new(program)
        .args(arguments)
        .arg(DETACHED_FLAG)
        .stdin(if passphrase.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(writer)
        .stderr(Stdio::null())
        .spawn()
        .context("the background process cannot be started")?;
    if let (Some(passphrase), Some(mut input)) = (passphrase, child.stdin.take()) {
        // One that ended already says why.
        let _ = writeln!(input, "{}", passphrase.reveal());
    }
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).context("the background process cannot be heard")?;
    match serde_json::from_str(&line) {
        Ok(StartReport::Ready(address)) => Ok(Started { pid: child.id(), address }),
        Ok(StartReport::Error(message)) => {
            let _ = child.wait();
            bail!(message)
        }
        Err(_) => {
            let status = child.wait().context("the background process cannot be waited for")?;
            bail!("the background process ended before it was ready ({status})")
        }
    }
}

/// Leaves the terminal's session, so that its end does not end this process. One that was started anew
/// has done so before.
///
/// # Errors
/// Any error of `setsid`, but that this process leads a group already: a process just spawned does not,
/// so it is one that was started anew. (Asking for the session would not do: in a container it may be
/// one of another namespace, which has no id here.)
pub fn leave_session() -> anyhow::Result<()> {
    match rustix::process::setsid() {
        Ok(_) | Err(rustix::io::Errno::PERM) => Ok(()),
        Err(error) => Err(error).context("a session of its own cannot be made"),
    }
}

/// Tells the parent that the node serves at `address`, and lets go of it.
///
/// # Errors
/// When the parent's pipe cannot be let go of.
pub fn report_ready(address: &str) -> anyhow::Result<()> {
    report(&StartReport::Ready(address.to_owned()));
    // Until then the parent could be kept waiting by whoever inherits the pipe.
    let nothing =
        std::fs::OpenOptions::new().write(true).open("/dev/null").context("/dev/null cannot be opened")?;
    rustix::stdio::dup2_stdout(nothing).context("the parent's pipe cannot be closed")
}

/// Tells the parent that the node could not start.
pub fn report_error(message: &str) {
    report(&StartReport::Error(message.to_owned()));
}

/// A parent that went away needs no report.
fn report(report: &StartReport) {
    if let Ok(line) = serde_json::to_string(report) {
        let _ = writeln!(io::stdout(), "{line}");
    }
}
