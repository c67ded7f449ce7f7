//! `rent snapshot …`.
//!
//! Owns what is typed and printed. Never decides anything: the provider does.

use golem_rent::{Renter, SnapshotView};
use serde_json::json;

use super::super::Exit;
use super::super::printer::Printer;
use super::agree;
use super::arguments::SnapshotCommand;
use crate::cli::layout::table;

/// Columns of the list.
const SNAPSHOTS: &str = "name,status,consistency,storage,created_at,error_message";

/// What may be expected of its files, for people.
fn consistency(snapshot: &SnapshotView) -> &str {
    match snapshot.consistency.as_deref() {
        Some("stopped") => "the VM was stopped",
        Some("file_system") => "file systems held still",
        Some("power_cut") => "as after a power cut",
        Some(other) => other,
        None => "-",
    }
}

fn list(all: &[SnapshotView]) -> String {
    if all.is_empty() {
        return "No snapshots.".to_owned();
    }
    let rows = all.iter().map(|snapshot| {
        [
            snapshot.name.clone(),
            snapshot.status.clone(),
            snapshot.created_at.split('.').next().unwrap_or_default().replace('T', " "),
            consistency(snapshot).to_owned(),
            snapshot.error_message.clone().unwrap_or_default(),
        ]
    });
    table(["NAME", "STATE", "MADE (UTC)", "FILES", "PROBLEM"], rows)
}

pub(super) async fn snapshot(
    renter: &Renter<'_>,
    printer: Printer,
    command: SnapshotCommand,
) -> anyhow::Result<Exit> {
    match command {
        SnapshotCommand::List { vm } => {
            let all = golem_rent::snapshots(renter, &vm).await?;
            printer.list(&all, &all, SNAPSHOTS, || list(&all));
        }
        SnapshotCommand::Create { vm, name } => {
            let made = {
                let _waiting = printer.waiting(format!("Asking the provider for a snapshot of {vm}"));
                golem_rent::create_snapshot(renter, &vm, name.as_ref()).await?
            };
            printer.done(&made, || format!("Snapshot {} of {vm}: {}.", made.name, consistency(&made)));
        }
        SnapshotCommand::Restore { vm, name, yes } => {
            if !yes && !agree::to_restore(&vm, &name)? {
                return Ok(printer.declined("Nothing was restored."));
            }
            let seen = {
                let _waiting = printer.waiting(format!("Asking the provider to restore {name}"));
                golem_rent::restore_snapshot(renter, &vm, &name).await?
            };
            let answer = json!({ "name": vm, "snapshot": name, "status": seen.status });
            printer.done(&answer, || format!("The disk of {vm} is as in {name}; the VM is {}.", seen.status));
        }
        SnapshotCommand::Delete { vm, name } => {
            golem_rent::delete_snapshot(renter, &vm, &name).await?;
            printer.done(&json!({ "name": vm, "snapshot": name }), || {
                format!("Snapshot {name} of {vm} is deleted.")
            });
        }
    }
    Ok(Exit::Done)
}
