//! Moving in where the Python provider was.
//!
//! ```text
//!   its files ─► what is on the host ─► plan (pure) ─► ledger, one transaction ─► files go to a backup
//! ```
//! Owns the order of that, which a crash anywhere only makes happen again. VMs run on the whole time,
//! and keep their SSH ports. Identity and settings need no import: key file and variables are the same.

mod files;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use golem_node::LEDGER_FILE;
use golem_node::ledger::Ledger;
use golem_vm::multipass::Multipass;
use jiff::Timestamp;
use serde::Serialize;

use crate::payments;
use crate::settings::Settings;

/// Folder of the Python provider's files after the import.
const BACKUP: &str = "python-provider-backup";

/// What was, or would be, taken over.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether it was only tried.
    pub dry_run: bool,
    /// The VMs.
    pub vms: Vec<Taken>,
    /// What could not be taken over, or not as it was.
    pub notes: Vec<String>,
    /// Where the files are now.
    pub backup: Option<PathBuf>,
}

/// A VM that is taken over.
#[derive(Debug, Serialize)]
pub struct Taken {
    /// What its renter calls it.
    pub name: String,
    /// What Multipass calls its machine.
    pub machine: String,
    /// How it stands.
    pub state: String,
    /// Its SSH port; none means a free one.
    pub ssh_port: Option<u16>,
    /// The stream that pays for it.
    pub stream_id: Option<String>,
}

/// Whether the Python provider left VMs in the data directory.
#[must_use]
pub fn is_needed(settings: &Settings) -> bool {
    files::are_there(&settings.data_dir)
}

/// Takes over what the Python provider left, or with `dry_run` tells what would be.
///
/// # Errors
/// When the host cannot be seen, or the ledger fails; then nothing has changed.
pub async fn run(settings: &Settings, multipass: &Multipass, dry_run: bool) -> anyhow::Result<Report> {
    let found = files::read(&settings.data_dir);
    let machines = machines(multipass).await?;
    let profile = payments::profile(settings)?;
    let contract = profile.map(|profile| payments::key(&profile));
    let file = settings.data_dir.join(LEDGER_FILE);
    // A try leaves no ledger behind.
    let ledger = if dry_run && !file.exists() { None } else { Some(Ledger::open(&file)?) };
    let (mut known, mut ports_taken, mut streams_taken) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    if let Some(ledger) = &ledger {
        known = ledger.backend_names().await?.into_values().collect();
        let now = ledger.now();
        ports_taken = now.ports();
        streams_taken = now.iter().filter_map(|rental| rental.vm.stream.clone()).collect();
    }
    let range = settings.port_range_start.get()..settings.port_range_end.get();
    let host = plan::Host {
        machines: &machines,
        known: &known,
        ports_taken,
        streams_taken,
        range: range.clone(),
        contract: contract.map(Arc::from),
        image: settings.default_vm_image.clone(),
    };
    let now = Timestamp::now();
    let (adoptions, said) = plan::plan(&found, host, now);
    let mut vms: Vec<Taken> = adoptions
        .iter()
        .map(|adoption| Taken {
            name: adoption.name.to_string(),
            machine: adoption.backend_name.clone(),
            state: adoption.state.to_string(),
            ssh_port: adoption.ssh_port,
            stream_id: adoption.stream.as_ref().map(|key| key.id.to_string()),
        })
        .collect();
    let mut backup = None;
    if let (false, Some(ledger)) = (dry_run, ledger) {
        let rentals = ledger.adopt(adoptions, range, now).await.context("the VMs cannot be recorded")?;
        for (taken, rental) in vms.iter_mut().zip(&rentals) {
            taken.ssh_port = Some(rental.ssh_port);
        }
        backup = Some(put_away(&settings.data_dir, &found.files)?);
    }
    let notes = found.problems.into_iter().chain(said).collect();
    Ok(Report { dry_run, vms, notes, backup })
}

async fn machines(multipass: &Multipass) -> anyhow::Result<BTreeMap<String, plan::Machine>> {
    let mut machines = BTreeMap::new();
    for instance in multipass.instances().await.context("Multipass cannot be asked what is there")? {
        // Of others nothing is asked.
        let sizes = if instance.name.as_str().starts_with("golem-") {
            multipass
                .sizes(&instance.name)
                .await
                .with_context(|| format!("{} cannot be measured", instance.name))?
        } else {
            Default::default()
        };
        let machine = plan::Machine { state: instance.state, ip: instance.ip, sizes };
        machines.insert(instance.name.to_string(), machine);
    }
    Ok(machines)
}

/// Moves `files` from `data_dir` into the backup, where nothing is ever overwritten.
fn put_away(data_dir: &Path, files: &[PathBuf]) -> anyhow::Result<PathBuf> {
    let mut folder = data_dir.join(BACKUP);
    for number in 2.. {
        if !folder.exists() {
            break;
        }
        if number > 1000 {
            bail!("{} holds a thousand backups", data_dir.display());
        }
        folder = data_dir.join(format!("{BACKUP}-{number}"));
    }
    for file in files {
        let target = folder.join(file);
        golem_files::private_folder(target.parent().unwrap_or(&folder))?;
        std::fs::rename(data_dir.join(file), &target)
            .with_context(|| format!("{} cannot be moved to the backup", file.display()))?;
    }
    Ok(folder)
}

impl Report {
    /// Writes it to the log.
    pub fn log(&self) {
        for vm in &self.vms {
            tracing::info!(
                name = vm.name,
                machine = vm.machine,
                port = vm.ssh_port,
                state = vm.state,
                "taken over from the Python provider"
            );
        }
        for note in &self.notes {
            tracing::warn!("{note}");
        }
    }
}
