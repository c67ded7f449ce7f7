//! `recover`: rebuilds a lost ledger from the VMs that are on this host.
//!
//! Owns what is asked before, and putting a damaged ledger aside. What is taken back,
//! `golem_node::recover` decides.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use golem_node::LEDGER_FILE;
use golem_node::ledger::{Ledger, LedgerError};
use golem_node::recover::{self, Beside};
use golem_node::rental::Goal;
use golem_types::wire::Exact;
use golem_types::{StreamId, VmId};
use golem_vm::OnDisk;
use jiff::Timestamp;
use serde::Serialize;

use super::confirm::confirmed;
use super::layout::table;
use super::{Exit, Invocation};
use crate::pid_file::PidFile;
use crate::settings::Settings;
use crate::{backend, data_dir, payments};

/// Most bytes of `streams.json` that are read.
const EXPORT_MAXIMUM: u64 = 64 << 20;

#[derive(Debug, Serialize)]
struct Report {
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
    /// None means a free one.
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
    let _lock = PidFile::take(&invocation.pid_file)
        .await
        .context("a running provider writes its ledger itself; fix: `golem-provider stop`, VMs run on")?;
    data_dir::make(&settings.node.data_dir)
        .with_context(|| format!("the data directory {} cannot be used", settings.node.data_dir.display()))?;
    let backend = backend::open(settings)?;
    let (on_disk, seen) = recover::look(&backend).await.context("the VMs on this host cannot be seen")?;
    let file = settings.node.data_dir.join(LEDGER_FILE);
    let ledger = open(&file)?;
    let beside = beside(settings, &on_disk, ledger.as_ref().ok()).await?;
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
    let mut report = Report { done: false, vms: vms.collect(), notes: plan.notes, put_aside: None };
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
                report.put_aside = Some(put_aside(&file, now)?);
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

/// Why there is no ledger to look into.
enum Missing {
    /// It is not there. A look makes none.
    Absent,
    Damaged,
}

fn open(file: &Path) -> anyhow::Result<Result<Ledger, Missing>> {
    if !file.exists() {
        return Ok(Err(Missing::Absent));
    }
    match Ledger::open(file) {
        Ok(ledger) => Ok(Ok(ledger)),
        Err(LedgerError::Damaged(_)) => Ok(Err(Missing::Damaged)),
        Err(error) => Err(error).context("the ledger cannot be opened"),
    }
}

/// What is known beside the machines.
async fn beside(
    settings: &Settings,
    on_disk: &BTreeMap<VmId, OnDisk>,
    ledger: Option<&Ledger>,
) -> anyhow::Result<Beside> {
    let mut beside = Beside {
        range: settings.ports.port_range_start.get()..settings.ports.port_range_end.get(),
        exported: exported(&settings.node.data_dir.join("streams.json")),
        contract: payments::profile(settings)?.map(|profile| Arc::from(payments::key(&profile))),
        ..Beside::default()
    };
    if let Some(ledger) = ledger {
        let now = ledger.now();
        beside.ports = now.ports();
        beside.names = now.iter().map(|one| (one.vm.owner.clone(), one.vm.name.clone())).collect();
        beside.streams = now.iter().filter_map(|one| one.vm.stream.clone()).collect();
        for id in on_disk.keys() {
            beside.known.insert(id.clone(), ledger.known(id).await?);
        }
    }
    Ok(beside)
}

/// Which stream paid for which VM, as was exported last.
fn exported(file: &Path) -> BTreeMap<VmId, StreamId> {
    let bytes = golem_files::read(file, EXPORT_MAXIMUM).unwrap_or_default();
    let all: BTreeMap<String, Exact> = serde_json::from_slice(&bytes).unwrap_or_default();
    all.into_iter().filter_map(|(id, number)| Some((id.parse().ok()?, StreamId(number.0)))).collect()
}

/// Moves a damaged ledger, and what SQLite keeps beside it, out of the way.
fn put_aside(file: &Path, now: Timestamp) -> anyhow::Result<PathBuf> {
    let named = |base: &Path, suffix: &str| {
        let mut name: OsString = base.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let aside = named(file, &format!(".damaged-{}", now.strftime("%Y%m%d-%H%M%S")));
    for suffix in ["-wal", "-shm", ""] {
        let moved = std::fs::rename(named(file, suffix), named(&aside, suffix));
        golem_files::absent_is_fine(moved).context("the damaged ledger cannot be put aside")?;
    }
    Ok(aside)
}

fn agreed(vms: usize, is_damaged: bool) -> anyhow::Result<bool> {
    let aside = if is_damaged { "Put the damaged ledger aside, and take" } else { "Take" };
    let refusal = "taking VMs back needs a yes; fix: look with --dry-run, then add --yes";
    confirmed(&format!("\n{aside} {vms} VM(s) back?"), refusal)
}

fn show(report: &Report, is_damaged: bool) -> String {
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
