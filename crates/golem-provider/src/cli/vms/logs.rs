//! `vms logs`: what there is to look at of a VM, as text.
//!
//! Owns the layout, and how often a console is looked at. A guest that runs and whose process said nothing is its console
//! and nothing else.

use std::time::Duration;

use crate::cli::Exit;
use crate::cli::layout::time;
use crate::cli::printer::Printer;
use golem_api::operator::{Client, OperatorError};
use golem_api::views::{FailedBootView, LogsView};
use golem_host::console::added;

/// How often a console is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// `vms logs --follow` of the VM that `which` names: what there is, and what its guest goes on to write.
pub(super) async fn follow(
    client: &Client,
    printer: Printer,
    which: &str,
    raw: bool,
) -> anyhow::Result<Exit> {
    let shown = |text: &str| if raw { text.to_owned() } else { printer.others(text) };
    let following = async {
        let first = client.logs(which).await?;
        printer.raw(&shown(&if raw { first.console.clone() } else { text(&first) }))?;
        let mut console = first.console;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = match client.logs(first.id.as_str()).await {
                Ok(logs) => logs.console,
                // Its guest does not run, or it is gone.
                Err(OperatorError::Refused(why)) => match client.vm(first.id.as_str()).await {
                    Ok(_) => continue,
                    Err(_) => {
                        printer.note(&why);
                        return Ok(Exit::Done);
                    }
                },
                Err(error) => return Err(error.into()),
            };
            printer.raw(&shown(added(&console, &now)))?;
            console = now;
        }
    };
    tokio::select! {
        ended = following => ended,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Done),
    }
}

/// `logs` for people.
pub(super) fn text(logs: &LogsView) -> String {
    let LogsView { console, process_log, failed_boot, .. } = logs;
    let is_told = |failed: &FailedBootView| failed.console == *console && failed.process_log == *process_log;
    let mut parts = Vec::new();
    if let Some(failed) = failed_boot {
        parts.push(format!("{} ({}) did not come up.", logs.name, logs.id));
        parts.push(failure(failed));
        if !is_told(failed) {
            parts.extend(section("Console at the failure", &failed.console));
            parts.extend(section("What its process said until the failure", &failed.process_log));
        }
    } else if process_log.is_empty() {
        return console.clone();
    }
    if failed_boot.is_some() && console.is_empty() {
        parts.push("\nThe guest wrote nothing to its console.".to_owned());
    }
    parts.extend(section("Console", console));
    parts.extend(section("What its process said", process_log));
    parts.join("\n")
}

fn failure(failed: &FailedBootView) -> String {
    let mut lines = vec![
        format!("Failed   {}", time(failed.at)),
        format!("Stage    {}", failed.stage),
        format!("Reason   {}", failed.reason),
    ];
    if failed.cause != failed.reason {
        lines.push(format!("Cause    {}", failed.cause));
    }
    lines.extend(failed.stages.iter().map(|reached| format!("{} {}", time(reached.at), reached.stage)));
    lines.join("\n")
}

/// `text` under a head of its own; nothing where there is none.
fn section(head: &str, text: &str) -> Option<String> {
    let text = text.trim_end();
    (!text.is_empty()).then(|| format!("\n{head}:\n{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use golem_api::views::StageView;

    #[test]
    fn h_14_a_failed_boot_is_told_whole_and_a_guest_that_runs_is_its_console() {
        let at = "2026-11-26T01:02:03Z".parse().unwrap();
        let failed = FailedBootView {
            at,
            stage: "boot".to_owned(),
            reason: "the guest did not answer".to_owned(),
            cause: "the guest did not answer: really".to_owned(),
            stages: ["reserved", "boot"].map(|stage| StageView { stage: stage.to_owned(), at }).to_vec(),
            console: "kernel panic\n".to_owned(),
            process_log: String::new(),
        };
        let mut logs = LogsView {
            id: "golem-abc-20250219-130424-aaaaaaaaaaaaaaaa".parse().unwrap(),
            name: "abc".parse().unwrap(),
            console: "kernel panic\n".to_owned(),
            process_log: String::new(),
            failed_boot: Some(failed),
        };
        assert_eq!(
            text(&logs),
            "abc (golem-abc-20250219-130424-aaaaaaaaaaaaaaaa) did not come up.\n\
             Failed   2026-11-26 01:02:03Z\nStage    boot\nReason   the guest did not answer\n\
             Cause    the guest did not answer: really\n\
             2026-11-26 01:02:03Z reserved\n2026-11-26 01:02:03Z boot\n\nConsole:\nkernel panic"
        );
        logs.console = "login: ".to_owned();
        assert!(text(&logs).ends_with("Console at the failure:\nkernel panic\n\nConsole:\nlogin:"));
        logs.failed_boot = None;
        assert_eq!(text(&logs), "login: ");
        logs.process_log = "qemu: no disk".to_owned();
        assert_eq!(text(&logs), "\nConsole:\nlogin:\n\nWhat its process said:\nqemu: no disk");
    }
}
