//! `status`: how the node is, whether or not it runs.
//!
//! ```text
//!   facts (everything at once, within a deadline) ─► judge (pure) ─► view ─► text, or JSON
//! ```
//! Owns when that happens, and how the command ends.

mod facts;
mod judge;
mod text;
mod view;

use std::io::{IsTerminal, Write};

use super::arguments::{self, seconds};
use super::{Exit, Invocation};
use crate::pid_file;
use facts::Facts;

/// Time between two looks of `--watch`.
const EVERY: u64 = 2;

/// Moves to the upper left and clears the screen.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// `status`.
pub(super) async fn status(invocation: &Invocation, typed: &arguments::Status) -> anyhow::Result<Exit> {
    if typed.watch {
        return watch(invocation).await;
    }
    let status = judge::judge(&invocation.resolved.settings, facts(invocation, None).await?);
    invocation.printer.answer(&status, || text::text(&status));
    Ok(match (typed.exit_code, status.running) {
        (true, _) => status.overall.status.exit(),
        (false, true) => Exit::Done,
        (false, false) => Exit::NotRunning,
    })
}

async fn facts(invocation: &Invocation, last: Option<&Facts>) -> anyhow::Result<Facts> {
    let held = pid_file::holder(&invocation.pid_file)?;
    Ok(facts::gather(invocation, held, last).await)
}

/// Looks again and again until it is interrupted.
async fn watch(invocation: &Invocation) -> anyhow::Result<Exit> {
    let printer = invocation.printer;
    let watching = async {
        let mut last = None;
        loop {
            let facts = facts(invocation, last.as_ref()).await?;
            let status = judge::judge(&invocation.resolved.settings, facts.clone());
            last = Some(facts);
            if printer.json {
                // One document a line.
                printer.out(&serde_json::to_string(&status)?);
            } else if std::io::stdout().is_terminal() && crate::logs::can_redraw() {
                // Not through the printer, which leaves this out where no colour is wanted.
                let _ = write!(std::io::stdout(), "{CLEAR}");
                printer.show(&text::text(&status));
            } else {
                printer.show(&format!("{}\n", text::text(&status)));
                printer.out("---");
            }
            tokio::time::sleep(seconds(EVERY)).await;
        }
    };
    tokio::select! {
        ended = watching => ended,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Done),
    }
}
