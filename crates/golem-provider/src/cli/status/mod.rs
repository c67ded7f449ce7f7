//! `status`: how the node is, whether or not it runs.
//!
//! ```text
//!   gather (everything at once, within a deadline) ─► golem_api::status::judge ─► text, or JSON
//! ```
//! Owns when that happens, and how the command ends. Never judges.

mod gather;

use std::io::{IsTerminal, Write};

use golem_api::status::{Checklist, Grade, StatusFacts, StatusSettings, judge, text};

use super::arguments::{self, seconds};
use super::{Exit, Invocation};
use gather::Gathered;

/// Time between two looks of `--watch`.
const EVERY: u64 = 2;

/// Moves to the upper left and clears the screen.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// `status`.
pub(super) async fn status(invocation: &Invocation, typed: &arguments::Status) -> anyhow::Result<Exit> {
    if typed.watch {
        return watch(invocation).await;
    }
    if !invocation.node.is_readable() {
        let note = "This user may not read the service's settings; for those: `sudo golem-provider status`.";
        invocation.printer.note(note);
    }
    let judged_by = StatusSettings::of(&invocation.node, &invocation.resolved.settings);
    let status = judge(&judged_by, facts(invocation).await?);
    invocation.printer.answer(&status, || text(&status));
    Ok(match (typed.exit_code, status.running) {
        (true, _) => exit(status.overall.status),
        (false, true) => Exit::Done,
        (false, false) => Exit::NotRunning,
    })
}

/// Whether the node does what its operator wants of it, as seen now.
pub(super) async fn checklist(invocation: &Invocation) -> anyhow::Result<Checklist> {
    let judged_by = StatusSettings::of(&invocation.node, &invocation.resolved.settings);
    Ok(judge(&judged_by, facts(invocation).await?).checklist)
}

/// How the command ends with `--exit-code`: 0, 1 or 2.
const fn exit(grade: Grade) -> Exit {
    match grade {
        Grade::Healthy => Exit::Done,
        Grade::Issues => Exit::Failed,
        Grade::Error => Exit::WrongUse,
    }
}

async fn gather(invocation: &Invocation, last: Option<&Gathered>) -> anyhow::Result<Gathered> {
    let held = invocation.node.running()?;
    Ok(gather::gather(invocation, held, last).await)
}

/// What is seen of the node now.
pub(super) async fn facts(invocation: &Invocation) -> anyhow::Result<StatusFacts> {
    Ok(gather(invocation, None).await?.facts)
}

/// Looks again and again until it is interrupted.
async fn watch(invocation: &Invocation) -> anyhow::Result<Exit> {
    let printer = invocation.printer;
    let settings = StatusSettings::of(&invocation.node, &invocation.resolved.settings);
    let watching = async {
        let mut last = None;
        loop {
            let gathered = gather(invocation, last.as_ref()).await?;
            let status = judge(&settings, gathered.facts.clone());
            last = Some(gathered);
            if printer.json {
                // One document a line.
                printer.out(&serde_json::to_string(&status)?);
            } else if std::io::stdout().is_terminal() && crate::logs::can_redraw() {
                // Not through the printer, which leaves this out where no colour is wanted.
                let _ = write!(std::io::stdout(), "{CLEAR}");
                printer.show(&text(&status));
            } else {
                printer.show(&format!("{}\n", text(&status)));
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
