//! Taking over the VMs of a Python provider.
//!
//! ```text
//!   its files ─► what is on the host ─► plan (pure) ─► ledger, one transaction ─► files go to a backup
//! ```
//! Owns the order of that, which a crash anywhere only makes happen again. VMs run on the whole time,
//! and keep their SSH ports. Identity and settings need no import: key file and variables are the same.

mod files;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use files::FILES;
use golem_types::ImageName;
use golem_vm::BackendError;
use golem_vm::multipass::Multipass;
use jiff::Timestamp;
use serde::Serialize;

use crate::ledger::{Ledger, LedgerError};
use crate::node::LEDGER_FILE;

/// Folder of the Python provider's files after the import.
const BACKUP: &str = "python-provider-backup";

/// Most backups that are kept.
const BACKUPS: u32 = 1000;

/// What is known beside the files and the host.
#[derive(Debug, Clone)]
pub struct ImportConfig {
    /// Where the files are, and the ledger.
    pub data_dir: PathBuf,
    /// SSH ports that VMs may have.
    pub ports: Range<u16>,
    /// Chain and contract that streams are of; `None` where payments are off.
    pub contract: Option<Arc<str>>,
    /// The image that is written down for the VMs.
    pub default_image: ImageName,
}

/// Why nothing, or not all, was taken over.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// What is on the host cannot be seen.
    #[error("Multipass cannot be asked what is there")]
    Instances(#[source] BackendError),
    /// The sizes of an instance cannot be seen.
    #[error("{0} cannot be measured")]
    Sizes(String, #[source] BackendError),
    /// The ledger cannot be opened or read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger cannot be written.
    #[error("the VMs cannot be recorded")]
    Record(#[source] LedgerError),
    /// There is no name left for a backup.
    #[error("{} holds a thousand backups", .0.display())]
    Backups(PathBuf),
    /// The backup's folder cannot be made.
    #[error(transparent)]
    Folder(io::Error),
    /// A file cannot be moved.
    #[error("{} cannot be moved to the backup", .0.display())]
    Move(PathBuf, #[source] io::Error),
}

/// What was, or would be, taken over.
#[derive(Debug, Serialize)]
pub struct ImportReport {
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
    /// Its SSH port; `None`: a free one.
    pub ssh_port: Option<u16>,
    /// The stream that pays for it.
    pub stream_id: Option<String>,
}

/// Whether a Python provider left VMs in `data_dir`.
#[must_use]
pub fn is_needed(data_dir: &Path) -> bool {
    files::are_there(data_dir)
}

/// Takes over what the Python provider left, or with `dry_run` tells what would be.
///
/// # Errors
/// [`ImportError`]. Where the host cannot be seen, or the ledger fails, nothing has changed.
pub async fn run(
    config: &ImportConfig,
    multipass: &Multipass,
    dry_run: bool,
) -> Result<ImportReport, ImportError> {
    let found = files::read(&config.data_dir);
    let machines = machines(multipass).await?;
    let file = config.data_dir.join(LEDGER_FILE);
    // A try leaves no ledger behind.
    let ledger = if dry_run && !file.exists() { None } else { Some(Ledger::open(&file)?) };
    let (mut known, mut ports_taken, mut streams_taken) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    if let Some(ledger) = &ledger {
        known = ledger.backend_names().await?.into_values().collect();
        let now = ledger.now();
        ports_taken = now.ports();
        streams_taken = now.iter().filter_map(|rental| rental.vm.stream.clone()).collect();
    }
    let host = plan::Host {
        machines: &machines,
        known: &known,
        ports_taken,
        streams_taken,
        range: config.ports.clone(),
        contract: config.contract.clone(),
        image: config.default_image.clone(),
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
        let adopted = ledger.adopt(adoptions, config.ports.clone(), now).await;
        let rentals = adopted.map_err(ImportError::Record)?;
        for (taken, rental) in vms.iter_mut().zip(&rentals) {
            taken.ssh_port = Some(rental.ssh_port);
        }
        backup = Some(put_away(&config.data_dir, &found.files)?);
    }
    let notes = found.problems.into_iter().chain(said).collect();
    Ok(ImportReport { dry_run, vms, notes, backup })
}

async fn machines(multipass: &Multipass) -> Result<BTreeMap<String, plan::Machine>, ImportError> {
    let mut machines = BTreeMap::new();
    for instance in multipass.instances().await.map_err(ImportError::Instances)? {
        // Of others nothing is asked.
        let sizes = if instance.name.as_str().starts_with("golem-") {
            let sizes = multipass.sizes(&instance.name).await;
            sizes.map_err(|error| ImportError::Sizes(instance.name.to_string(), error))?
        } else {
            Default::default()
        };
        let machine = plan::Machine { state: instance.state, ip: instance.ip, sizes };
        machines.insert(instance.name.to_string(), machine);
    }
    Ok(machines)
}

/// Moves `files` from `data_dir` into the backup, where nothing is ever overwritten.
fn put_away(data_dir: &Path, files: &[PathBuf]) -> Result<PathBuf, ImportError> {
    let mut folder = data_dir.join(BACKUP);
    for number in 2.. {
        if !folder.exists() {
            break;
        }
        if number > BACKUPS {
            return Err(ImportError::Backups(data_dir.to_owned()));
        }
        folder = data_dir.join(format!("{BACKUP}-{number}"));
    }
    for file in files {
        let target = folder.join(file);
        golem_files::private_folder(target.parent().unwrap_or(&folder)).map_err(ImportError::Folder)?;
        move_file(&data_dir.join(file), &target).map_err(|error| ImportError::Move(file.clone(), error))?;
    }
    Ok(folder)
}

/// Moves `from` to `to`, which is not there; the folder of VMs may be a link to another file system.
fn move_file(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
        renamed => return renamed,
    }
    let mut copy = File::options().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut File::open(from)?, &mut copy)?;
    copy.sync_all()?;
    golem_files::sync_folder_of(to)?;
    std::fs::remove_file(from)
}

impl ImportReport {
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
