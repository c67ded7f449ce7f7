//! `logs`: what the node logged, and goes on to log.
//!
//! Owns where that is. What is put aside meanwhile [`golem_service::log_file`] finds.

use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use golem_host::node::Whose;
use golem_service::log_file::LogReader;
use serde_json::json;

use super::{Exit, Invocation, arguments};

/// How often it is looked for more.
const LOOK: Duration = Duration::from_millis(200);

/// Where a node in the background logs.
///
/// # Errors
/// It is this machine's service, which logs to systemd's journal.
pub(super) fn folder(invocation: &Invocation) -> anyhow::Result<PathBuf> {
    match invocation.node.whose {
        Whose::Service => bail!("the service logs to systemd's journal"),
        Whose::Own | Whose::Named => Ok(invocation.node.data_dir.join("logs")),
    }
}

/// `logs`.
pub(super) async fn logs(invocation: &Invocation, wanted: &arguments::Logs) -> anyhow::Result<Exit> {
    let printer = invocation.printer;
    let Ok(folder) = folder(invocation) else { return journal(wanted, printer.json) };
    let (mut reader, last) = match LogReader::open(&folder, wanted.lines) {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "there is no log in {}: a provider that runs in a terminal logs there; fix: start it with --daemon",
            folder.display()
        ),
        opened => opened.with_context(|| format!("the log in {} cannot be read", folder.display()))?,
    };
    let text = |bytes: &[u8]| printer.others(&String::from_utf8_lossy(bytes));
    if !wanted.follow {
        let last = text(&last);
        let lines: Vec<&str> = last.lines().collect();
        let file = folder.join("provider.log").display().to_string();
        if printer.json {
            printer.answer(&json!({ "file": file, "lines": lines }), String::new);
        } else {
            printer.raw(&last)?;
        }
        return Ok(Exit::Done);
    }
    let following = async {
        printer.raw(&text(&last))?;
        loop {
            tokio::time::sleep(LOOK).await;
            let more = reader.more().context("the log cannot be read")?;
            printer.raw(&text(&more))?;
        }
    };
    tokio::select! {
        ended = following => ended,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Done),
    }
}

/// Becomes systemd's program; returns only when that failed.
fn journal(wanted: &arguments::Logs, json: bool) -> anyhow::Result<Exit> {
    let mut program = Command::new("journalctl");
    program.args(["--no-pager", "--unit", "golem-provider", "--lines", &wanted.lines.to_string()]);
    program.args(wanted.follow.then_some("--follow")).args(json.then_some("--output=json"));
    let error = program.exec();
    if error.kind() == ErrorKind::NotFound {
        bail!(
            "journalctl is not installed; fix: look where this system keeps the log of golem-provider.service"
        );
    }
    Err(anyhow::Error::new(error).context("journalctl cannot be started"))
}
