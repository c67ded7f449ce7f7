//! `import`: takes over a Python provider's VMs, or tells what that would do.
//!
//! Owns what is printed of it. Never decides what is taken over: [`golem_node::import`] does.

use anyhow::Context;
use golem_node::import::{self, ImportReport};

use super::layout::table;
use super::{Exit, Invocation};
use crate::backend;
use crate::start::import_config;
use golem_host::pid_file::PidFile;

/// `import [--dry-run]`.
pub(super) async fn import(invocation: &Invocation, dry_run: bool) -> anyhow::Result<Exit> {
    let settings = &invocation.resolved.settings;
    let printer = invocation.printer;
    if !import::is_needed(&settings.node.data_dir) && !backend::has_multipass(&settings.backend()) {
        let nothing = ImportReport { dry_run, vms: Vec::new(), notes: Vec::new(), backup: None };
        let place = settings.node.data_dir.display();
        printer.answer(&nothing, || {
            format!("There is nothing to import: {place} has no files of a Python provider, and Multipass is not installed.")
        });
        return Ok(Exit::Done);
    }
    let _lock = PidFile::take(&invocation.node.pid_file).await?;
    let multipass = backend::multipass_for_import(&settings.backend())
        .context("the Python provider's VMs run on Multipass")?;
    let report = {
        let _waiting = printer.waiting("Looking at the Python provider's VMs");
        import::run(&import_config(settings)?, &multipass, dry_run).await?
    };
    printer.answer(&report, || show(&report));
    Ok(Exit::Done)
}

fn show(report: &ImportReport) -> String {
    let mut text = if report.vms.is_empty() {
        "There is no VM to take over.".to_owned()
    } else {
        table(
            ["NAME", "MACHINE", "STATE", "SSH PORT", "STREAM"],
            report.vms.iter().map(|vm| {
                [
                    vm.name.clone(),
                    vm.machine.clone(),
                    vm.state.clone(),
                    vm.ssh_port.map_or_else(|| "a free one".to_owned(), |port| port.to_string()),
                    vm.stream_id.clone().unwrap_or_else(|| "-".to_owned()),
                ]
            }),
        )
    };
    for note in &report.notes {
        text.push_str(&format!("\nNote: {note}"));
    }
    text.push_str(&match &report.backup {
        Some(folder) => format!("\n\nTaken over. The Python provider's files are in {}.", folder.display()),
        None => "\n\nNothing was changed; without --dry-run it is.".to_owned(),
    });
    text
}
