//! `recover`: rebuilds a lost ledger from the VMs that are on this host.
//!
//! Owns what is asked before, and what is printed. Never decides what is taken back: `golem_node::recover` does.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use golem_node::LEDGER_FILE;
use golem_node::ledger::Ledger;
use golem_node::recover::{self, Beside, Missing};
use golem_node::rental::Goal;
use golem_types::VmId;
use jiff::Timestamp;
use serde::Serialize;

use super::confirm::confirmed;
use super::layout::table;
use super::{Exit, Invocation};
use crate::{backend, payments};
use golem_host::data_dir;
use golem_host::pid_file::PidFile;

#[derive(Debug, Serialize)]
struct RecoveryReport {
    /// Whether rows were written.
    done: bool,
    vms: Vec<Taken>,
    notes: Vec<String>,
    /// Where a damaged ledger is now.
    put_aside: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Taken {
    id: VmId,
    name: String,
    status: String,
    /// Whether it is to run.
    runs: bool,
    /// `None` if it gets a free one.
    ssh_port: Option<u16>,
    stream_id: Option<String>,
}

/// `recover [--dry-run] [--yes]`.
pub(super) async fn recover(invocation: &Invocation, dry_run: bool, yes: bool) -> anyhow::Result<Exit> {
    let settings = &invocation.resolved.settings;
    if !settings.node.data_dir.exists() {
        bail!(
            "there is no data directory {}; fix: set GOLEM_PROVIDER_DATA_DIR",
            settings.node.data_dir.display()
        );
    }
    let _lock = PidFile::take(&invocation.node.pid_file)
        .await
        .context("a running provider writes its ledger itself; fix: `golem-provider stop`, VMs run on")?;
    data_dir::make(&settings.node.data_dir)
        .with_context(|| format!("the data directory {} cannot be used", settings.node.data_dir.display()))?;
    let backend = backend::open(&settings.backend())?;
    let (on_disk, seen) = recover::look(&backend).await.context("the VMs on this host cannot be seen")?;
    let file = settings.node.data_dir.join(LEDGER_FILE);
    let ledger = recover::open(&file).context("the ledger cannot be opened")?;
    let contract = payments::profile(&settings.chain())?.map(|profile| Arc::from(payments::key(&profile)));
    let range = settings.ports.ssh_ports();
    let beside =
        Beside::find(&settings.node.data_dir, range, contract, &on_disk, ledger.as_ref().ok()).await?;
    let (range, now) = (beside.range.clone(), Timestamp::now());
    let plan = recover::plan(&on_disk, &seen, beside, now);
    let vms = plan.recoveries.iter().map(|one| {
        let vm = &one.rental.vm;
        Taken {
            id: vm.id.clone(),
            name: vm.name.to_string(),
            status: vm.state.to_string(),
            runs: one.rental.goal == Goal::Running,
            ssh_port: one.keeps_port.then_some(vm.ssh_port),
            stream_id: vm.stream.as_ref().map(|key| key.id.to_string()),
        }
    });
    let mut report = RecoveryReport { done: false, vms: vms.collect(), notes: plan.notes, put_aside: None };
    let is_damaged = matches!(ledger, Err(Missing::Damaged));
    if dry_run || (report.vms.is_empty() && !is_damaged) {
        invocation.printer.answer(&report, || show(&report, is_damaged));
        return Ok(Exit::Done);
    }
    if !yes {
        invocation.printer.note(&show(&report, is_damaged));
        if !agreed(report.vms.len(), is_damaged)? {
            invocation.printer.answer(&report, || "Nothing was changed.".to_owned());
            return Ok(Exit::Failed);
        }
    }
    let ledger = match ledger {
        Ok(ledger) => ledger,
        Err(missing) => {
            if let Missing::Damaged = missing {
                let aside = recover::put_aside(&file, now);
                report.put_aside = Some(aside.context("the damaged ledger cannot be put aside")?);
            }
            Ledger::open(&file).context("a new ledger cannot be made")?
        }
    };
    let rentals = ledger.recover(plan.recoveries, range, now).await.context("the VMs cannot be recorded")?;
    ledger.checkpoint().await.context("the ledger cannot be written to its end")?;
    for (taken, vm) in report.vms.iter_mut().zip(&rentals) {
        taken.ssh_port = Some(vm.ssh_port);
    }
    report.done = true;
    invocation.printer.answer(&report, || show(&report, is_damaged));
    Ok(Exit::Done)
}

fn agreed(vms: usize, is_damaged: bool) -> anyhow::Result<bool> {
    let aside = if is_damaged { "Put the damaged ledger aside, and take" } else { "Take" };
    let refusal = "taking VMs back needs a yes; fix: look with --dry-run, then add --yes";
    confirmed(&format!("\n{aside} {vms} VM(s) back?"), refusal)
}

fn show(report: &RecoveryReport, is_damaged: bool) -> String {
    let mut text = if report.vms.is_empty() {
        "There is no VM to take back.".to_owned()
    } else {
        table(
            ["NAME", "STATE", "TO RUN", "SSH PORT", "STREAM", "ID"],
            report.vms.iter().map(|vm| {
                [
                    vm.name.clone(),
                    vm.status.clone(),
                    if vm.runs { "yes" } else { "no" }.to_owned(),
                    vm.ssh_port.map_or_else(|| "a free one".to_owned(), |port| port.to_string()),
                    vm.stream_id.clone().unwrap_or_else(|| "-".to_owned()),
                    vm.id.to_string(),
                ]
            }),
        )
    };
    for note in &report.notes {
        text.push_str(&format!("\nNote: {note}"));
    }
    match (&report.put_aside, is_damaged, report.done) {
        (Some(aside), ..) => text.push_str(&format!("\nThe damaged ledger is {}.", aside.display())),
        (None, true, false) => text.push_str("\nThe ledger is damaged."),
        _ => {}
    }
    if report.done {
        text.push_str("\n\nTaken back. Go on with: golem-provider start");
    }
    text
}
