//! A ledger that was lost, rebuilt from the machines that are there.
//!
//! ```text
//!   every change of a rental ─► a note beside its machine's disk
//!                                        │ the ledger is lost
//!   disks, what runs, rows that are left ┴─► plan (pure) ─► somebody says yes ─► rows
//! ```
//! Owns the note, the plan and what it is made of. A machine is never touched, and one of which too little is known is told of
//! and left alone. What was due for money before counts for nothing: whether a rental is paid is judged
//! anew, with the full time that an unpaid one is held.

mod found;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use golem_types::{AuthorizedKey, ImageName, Resources, StreamId, StreamKey, VmId, VmName, VmState};
use golem_vm::Backend;
use golem_vm::{Observed, OnDisk};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use found::{Missing, open, put_aside};

use crate::ledger::{Recovery, Snapshot};
use crate::rental::{Goal, Known, Rental};
use crate::vm::Vm;

/// What the node has to know of a rental beside what its machine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    name: VmName,
    owner: String,
    goal: String,
    #[serde(rename = "made")]
    has_booted: bool,
    resources: Resources,
    image: ImageName,
    keys: Vec<String>,
    ssh_port: u16,
    contract: Option<String>,
    stream_id: Option<String>,
    created_at: Timestamp,
}

impl Note {
    fn of(rental: &Rental) -> Self {
        let vm = &rental.vm;
        Self {
            name: vm.name.clone(),
            owner: vm.owner.clone(),
            goal: rental.goal.to_string(),
            has_booted: rental.has_booted,
            resources: vm.resources,
            image: vm.image.clone(),
            keys: vm.keys.iter().map(|key| key.as_str().to_owned()).collect(),
            ssh_port: vm.ssh_port,
            contract: vm.stream.as_ref().map(|stream| stream.contract.to_string()),
            stream_id: vm.stream.as_ref().map(|stream| stream.id.to_string()),
            created_at: vm.created_at,
        }
    }

    fn stream(&self) -> Option<StreamKey> {
        let id = self.stream_id.as_ref()?.parse().ok()?;
        Some(StreamKey { contract: Arc::from(self.contract.as_deref()?), id })
    }
}

/// Keeps the notes as the ledger has it, until `stop`.
pub(crate) async fn keep_notes(
    backend: Arc<Backend>,
    mut changes: watch::Receiver<Arc<Snapshot>>,
    stop: CancellationToken,
) {
    let mut kept = BTreeMap::<VmId, Note>::new();
    loop {
        let now = Arc::clone(&changes.borrow_and_update());
        kept.retain(|id, _| now.get(id).is_some());
        for rental in now.iter().filter(|rental| rental.goal != Goal::Deleted) {
            let (id, note) = (&rental.vm.id, Note::of(rental));
            if kept.get(id) == Some(&note) {
                continue;
            }
            match keep(&backend, id.clone(), &note).await {
                Ok(()) => {
                    kept.insert(id.clone(), note);
                }
                // It is being made, and told of again when it runs; or gone.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => golem_service::log_limited_each!(
                    id,
                    error,
                    vm = id.redacted(),
                    error = &error as &dyn std::error::Error,
                    "the note on the VM cannot be kept"
                ),
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

async fn keep(backend: &Arc<Backend>, id: VmId, note: &Note) -> std::io::Result<()> {
    let (backend, bytes) = (Arc::clone(backend), serde_json::to_vec_pretty(note)?);
    tokio::task::spawn_blocking(move || backend.keep_note(&id, &bytes))
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

/// What is known beside the machines.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// What the ledger knows of each machine's id; an id that is not here it does not know.
    pub known: BTreeMap<VmId, Known>,
    /// Names by owner, ports and streams of rentals that are in the ledger.
    pub names: BTreeSet<(String, VmName)>,
    /// Ports that they hold.
    pub ports: BTreeSet<u16>,
    /// Streams that pay for them.
    pub streams: BTreeSet<StreamKey>,
    /// SSH ports that VMs may have.
    pub range: Range<u16>,
    /// Streams by machine, as the export for other programs has them.
    pub exported: BTreeMap<VmId, StreamId>,
    /// Chain and contract of those; `None` if payments are off.
    pub contract: Option<Arc<str>>,
}

/// What would be written, and what there is to say.
#[derive(Debug, Clone, Default)]
pub struct RecoveryPlan {
    /// The rows.
    pub recoveries: Vec<Recovery>,
    /// What is not as it was, or left alone.
    pub notes: Vec<String>,
}

/// What is to be written for the machines `on_disk`, of which some are `seen` by the backend.
#[must_use]
pub fn plan(
    on_disk: &BTreeMap<VmId, OnDisk>,
    seen: &BTreeMap<VmId, Observed>,
    mut beside: Beside,
    now: Timestamp,
) -> RecoveryPlan {
    let mut plan = RecoveryPlan::default();
    for (id, disk) in on_disk {
        match beside.known.get(id) {
            Some(Known::Live) => continue,
            Some(Known::Ended) => {
                plan.notes.push(format!("{}: its rental ended; the node removes it", id.redacted()));
                continue;
            }
            Some(Known::Unknown) | None => {}
        }
        match rental(id, disk, seen.get(id), &mut beside, &mut plan.notes, now) {
            Ok(recovery) => plan.recoveries.push(recovery),
            Err(why) => plan.notes.push(format!("{}: {why}; left alone", id.redacted())),
        }
    }
    plan
}

fn rental(
    id: &VmId,
    disk: &OnDisk,
    seen: Option<&Observed>,
    beside: &mut Beside,
    notes: &mut Vec<String>,
    now: Timestamp,
) -> Result<Recovery, String> {
    let note: Option<Note> = disk.note.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok());
    let (name, made_at) = id.parts().ok_or("its id holds no name and time")?;
    let runs = matches!(seen, Some(Observed::Running(_) | Observed::Unclear | Observed::Halted { .. }));
    let goal = match &note {
        Some(note) => note.goal.parse().map_err(|_| "its note cannot be understood")?,
        // Whether it should run nobody knows: it goes on as it is.
        None if runs => Goal::Running,
        None => Goal::Stopped,
    };
    if goal == Goal::Deleted {
        return Err("it was being deleted".to_owned());
    }
    let has_booted = note.as_ref().map_or(disk.complete, |note| note.has_booted);
    if note.is_none() && !has_booted {
        return Err("it was never made to the end".to_owned());
    }
    let resources = note.as_ref().map(|note| note.resources).or(disk.resources);
    let image = note.as_ref().map(|note| note.image.clone()).or_else(|| disk.image.clone());
    let (Some(resources), Some(image)) = (resources, image) else {
        return Err("what it was sold is not written down".to_owned());
    };
    let say = |notes: &mut Vec<String>, what: String| notes.push(format!("{}: {what}", id.redacted()));

    let mut owner = note.as_ref().map_or_else(|| "recovered".to_owned(), |note| note.owner.clone());
    if !beside.names.insert((owner.clone(), name.clone())) {
        // Names are one owner's once; the id is known to its renter.
        owner = format!("recovered:{id}");
        say(notes, "another VM of its renter has its name; its id works".to_owned());
    }
    let noted = note.as_ref().map(|note| note.ssh_port);
    let port = noted.filter(|port| beside.range.contains(port) && beside.ports.insert(*port));
    match (noted, port) {
        (Some(_), Some(_)) => {}
        (Some(port), None) => {
            say(notes, format!("its port {port} is taken or outside the range; it gets a free one"))
        }
        (None, _) => say(notes, "its port is not known; it gets a free one".to_owned()),
    }
    let exported = || {
        let contract = beside.contract.clone()?;
        Some(StreamKey { contract, id: *beside.exported.get(id)? })
    };
    let wanted = note.as_ref().and_then(Note::stream).or_else(exported);
    let stream = wanted.clone().filter(|key| beside.streams.insert(key.clone()));
    match (&wanted, &stream) {
        (Some(key), None) => say(notes, format!("its stream {} pays for another VM", key.id)),
        (None, _) => say(notes, "no stream is known to pay for it; it runs on without one".to_owned()),
        _ => {}
    }
    let noted_keys = note.iter().flat_map(|note| &note.keys).filter_map(|key| key.parse().ok());
    let mut keys: Vec<AuthorizedKey> = noted_keys.collect();
    if keys.is_empty() {
        keys.clone_from(&disk.keys);
    }
    let vm = Vm {
        id: id.clone(),
        name,
        owner,
        state: if runs {
            VmState::Running
        } else if has_booted {
            VmState::Stopped
        } else {
            VmState::Creating
        },
        error: None,
        resources,
        image,
        keys,
        // That was of its first boot, which is over or begins anew with what the seed says.
        first_boot: golem_types::FirstBoot::default(),
        snapshots: Vec::new(),
        ip_address: match seen {
            Some(Observed::Running(guest)) => Some(guest.ip),
            _ => None,
        },
        ssh_port: port.unwrap_or_default(),
        stream,
        unpaid: None,
        held: false,
        suspends: false,
        rebuild_at: None,
        rebuild_due: false,
        created_at: note.map_or(made_at, |note| note.created_at),
        updated_at: now,
    };
    Ok(Recovery { rental: Rental { vm: Arc::new(vm), goal, has_booted }, keeps_port: port.is_some() })
}

/// The machines of `backend`, on its disks and as it sees them.
///
/// # Errors
/// When it cannot say what is there.
pub async fn look(
    backend: &Backend,
) -> Result<(BTreeMap<VmId, OnDisk>, BTreeMap<VmId, Observed>), golem_vm::BackendError> {
    let seen = backend.list().await?;
    let on_disk = backend.on_disk().map_err(|source| golem_vm::BackendError::Unavailable {
        backend: backend.name(),
        message: "the folder of machines cannot be read".to_owned(),
        source: Some(source),
    })?;
    Ok((on_disk, seen))
}

#[cfg(test)]
mod tests;
