//! The `sim` backend: simulated machines, under the same rules as real ones.
//!
//! Owns a record per machine in `<data directory>/sim/<id>.json`, so that machines outlive the
//! node as QEMU's do, and one listener that greets like an SSH server and then echoes. Serves
//! operators who try the API and tests that need many machines or faults at a chosen moment.
//! Never stands in for a real guest in a test about guests.

mod console;
mod control;
mod snapshots;
mod suspend;

pub use console::{FLOOD, PROMPT};

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use golem_types::{AuthorizedKey, ImageName, VmId};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::console::HeldConsoles;
use crate::machine::{BackendError, Guest, MachineSpec, Observed, OnDisk, Started};
use crate::usage::Usage;

/// What every simulated guest says first.
pub const BANNER: &[u8] = b"SSH-2.0-sim\r\n";

/// Most connections to simulated guests at one time; more wait in the kernel's queue.
const CONNECTIONS: usize = 4096;

/// How often a waiting call looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How a simulation is set up.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// The node's data directory.
    pub data_dir: PathBuf,
    /// Images that creates may name.
    pub images: BTreeSet<ImageName>,
    /// How long a guest takes from its start to its SSH banner.
    pub boot: Duration,
}

/// What a test may do to a simulation from outside, at any time.
#[derive(Debug, Clone)]
pub struct SimControl(Arc<Shared>);

/// A call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// `create`.
    Create,
    /// `start`.
    Start,
    /// `wait_ready`.
    WaitReady,
    /// `stop`.
    Stop,
    /// `suspend`.
    Suspend,
    /// `resume`.
    Resume,
    /// `delete`.
    Delete,
    /// `list`.
    List,
    /// `add_key`.
    AddKey,
    /// `create_snapshot`, `delete_snapshot` and `restore_snapshot`.
    Snapshot,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The backend does not answer.
    Unavailable,
    /// The step fails.
    Failed,
    /// The call does not return.
    Hang,
}

/// The record of one machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    keys: Vec<String>,
    running: bool,
    /// Why a guest that is there does not run.
    #[serde(default)]
    halted: Option<String>,
    /// Whether that reason is known and over.
    #[serde(default)]
    resumable: bool,
    /// Whether the guest shut itself down.
    #[serde(default)]
    powered_off: bool,
    /// How many guests were started so far.
    #[serde(default)]
    boots: u32,
    /// Whether its memory is kept, while it does not run.
    #[serde(default)]
    suspended: bool,
    /// The last order to make its disk anew that was done.
    #[serde(default)]
    rebuilt_at: i64,
    /// Names of the snapshots of its disk.
    #[serde(default)]
    snapshots: BTreeSet<String>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    config: SimConfig,
    ssh: SocketAddr,
    /// Since when its guests are said to work.
    began: Instant,
    consoles: HeldConsoles,
    /// Takes the guests' ends of consoles that are opened.
    console_guests: mpsc::UnboundedSender<console::Guest>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    machines: BTreeMap<VmId, Record>,
    faults: HashMap<Call, (Fault, u32)>,
    delays: HashMap<Call, Duration>,
    /// Guests that are booting stay so.
    boots_held: bool,
    /// What was read of consoles that were open.
    console_logs: BTreeMap<VmId, Vec<u8>>,
}

/// The simulated backend.
#[derive(Debug)]
pub struct Sim(Arc<Shared>);

/// Name of this backend in settings and messages.
const NAME: &str = "sim";

fn failed(step: &'static str, source: io::Error) -> BackendError {
    BackendError::Failed {
        step,
        message: "the simulation's record cannot be written".to_owned(),
        source: Some(source),
    }
}

impl Sim {
    /// Opens the simulation in `config.data_dir` with the machines that it held before.
    ///
    /// # Errors
    /// Any error of reading the records, or of listening on a loopback port.
    pub fn open(config: SimConfig) -> io::Result<Self> {
        let folder = config.data_dir.join("sim");
        golem_files::private_subfolder(&folder)?;
        let mut machines = BTreeMap::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if let (Some(id), Some("json")) = (id, path.extension().and_then(|e| e.to_str())) {
                let record = serde_json::from_slice(&std::fs::read(&path)?).map_err(io::Error::other)?;
                machines.insert(id, record);
            }
        }
        let (console_guests, guests) = mpsc::unbounded_channel();
        let ssh = greet(guests)?;
        Ok(Self(Arc::new(Shared {
            folder,
            config,
            ssh,
            began: Instant::now(),
            consoles: HeldConsoles::default(),
            console_guests,
            inner: Mutex::new(Inner { machines, ..Inner::default() }),
        })))
    }

    /// The handle with which a test makes things go wrong.
    #[must_use]
    pub fn control(&self) -> SimControl {
        SimControl(Arc::clone(&self.0))
    }

    pub(crate) const fn name(&self) -> &'static str {
        NAME
    }

    pub(crate) fn has_image(&self, image: &ImageName) -> bool {
        self.0.config.images.contains(image)
    }

    pub(crate) fn images(&self) -> Vec<ImageName> {
        self.0.config.images.iter().cloned().collect()
    }

    pub(crate) async fn create(&self, spec: &MachineSpec) -> Result<(), BackendError> {
        self.0.enter(Call::Create).await?;
        if !self.has_image(&spec.image) {
            return Err(BackendError::NoSuchImage(spec.image.clone()));
        }
        let mut inner = self.0.lock();
        if inner.machines.contains_key(&spec.id) {
            return Ok(());
        }
        let keys = spec.keys.iter().map(|key| key.as_str().to_owned()).collect();
        let record = Record {
            keys,
            running: false,
            halted: None,
            resumable: false,
            powered_off: false,
            boots: 0,
            suspended: false,
            rebuilt_at: spec.rebuild_at,
            snapshots: BTreeSet::new(),
        };
        self.0.write(&spec.id, &record).map_err(|error| failed("creating the machine", error))?;
        inner.machines.insert(spec.id.clone(), record);
        Ok(())
    }

    pub(crate) async fn start(&self, spec: &MachineSpec) -> Result<Started, BackendError> {
        self.0.enter(Call::Start).await?;
        let mut started = Started::Booted;
        self.0.change(&spec.id, "starting the machine", |record| {
            // A guest that is there stays as it is.
            if !record.running {
                record.running = true;
                record.powered_off = false;
                record.rebuilt_at = record.rebuilt_at.max(spec.rebuild_at);
                if std::mem::take(&mut record.suspended) {
                    started = Started::Resumed;
                } else {
                    record.boots += 1;
                }
            }
        })?;
        Ok(started)
    }

    pub(crate) async fn wait_ready(&self, id: &VmId) -> Result<Guest, BackendError> {
        self.0.enter(Call::WaitReady).await?;
        let ready = tokio::time::Instant::now() + self.0.config.boot;
        loop {
            if let Some(guest) = self.0.ready(id, tokio::time::Instant::now() >= ready)? {
                return Ok(guest);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    pub(crate) async fn stop(&self, id: &VmId) -> Result<(), BackendError> {
        self.0.enter(Call::Stop).await?;
        match self.0.change(id, "stopping the machine", Record::end) {
            Err(BackendError::NoSuchMachine(_)) => Ok(()),
            result => result,
        }
    }

    pub(crate) async fn resume(&self, id: &VmId) -> Result<(), BackendError> {
        self.0.enter(Call::Resume).await?;
        self.0.change(id, "resuming the machine", |record| {
            if record.resumable {
                record.halted = None;
            }
        })
    }

    pub(crate) async fn delete(&self, id: &VmId) -> Result<(), BackendError> {
        self.0.enter(Call::Delete).await?;
        let mut inner = self.0.lock();
        match std::fs::remove_file(self.0.path(id)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("deleting the machine", error)),
        }
        let _ = std::fs::remove_file(self.0.note(id));
        inner.machines.remove(id);
        Ok(())
    }

    pub(crate) async fn list(&self) -> Result<BTreeMap<VmId, Observed>, BackendError> {
        self.0.enter(Call::List).await?;
        let guest = self.0.guest();
        let observed = |record: &Record| match (&record.halted, record.running) {
            (Some(reason), true) => Observed::Halted { reason: reason.clone(), resumable: record.resumable },
            (None, true) => Observed::Running(guest),
            (_, false) if record.powered_off => Observed::PoweredOff,
            (_, false) => Observed::Stopped,
        };
        Ok(self.0.lock().machines.iter().map(|(id, record)| (id.clone(), observed(record))).collect())
    }

    pub(crate) fn keep_note(&self, id: &VmId, note: &[u8]) -> io::Result<()> {
        if !self.0.lock().machines.contains_key(id) {
            return Err(io::ErrorKind::NotFound.into());
        }
        replace(&self.0.note(id), note)
    }

    pub(crate) fn on_disk(&self) -> BTreeMap<VmId, OnDisk> {
        let machine = |(id, record): (&VmId, &Record)| {
            let keys = record.keys.iter().filter_map(|key| key.parse().ok()).collect();
            let note = std::fs::read(self.0.note(id)).ok();
            (id.clone(), OnDisk { note, keys, complete: true, ..OnDisk::default() })
        };
        self.0.lock().machines.iter().map(machine).collect()
    }

    /// A simulated guest keeps a twentieth to half of a processor busy, by its id.
    pub(crate) fn usages(&self, ids: &[VmId]) -> BTreeMap<VmId, Usage> {
        let inner = self.0.lock();
        let running = ids.iter().filter(|id| inner.machines.get(id).is_some_and(|record| record.running));
        let usage = |id: &VmId| {
            let kind = id.as_str().bytes().fold(0_u64, |sum, byte| sum + u64::from(byte)) % 10;
            let busy = 50 * (kind + 1);
            let run = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let cpu_ms = run.saturating_mul(busy) / 1000;
            Usage { cpu_ms, memory_bytes: (200 + 50 * kind) << 20, disk_bytes: (500 + 100 * kind) << 20 }
        };
        running.map(|id| (id.clone(), usage(id))).collect()
    }

    pub(crate) fn process_log(&self, id: &VmId) -> String {
        match self.0.lock().machines.get(id) {
            Some(record) => format!("simulated process: {} guests were started\n", record.boots),
            None => String::new(),
        }
    }

    pub(crate) async fn add_key(&self, id: &VmId, key: &AuthorizedKey) -> Result<(), BackendError> {
        self.0.enter(Call::AddKey).await?;
        self.0.change(id, "adding the key", |record| {
            if !record.keys.iter().any(|known| known == key.as_str()) {
                record.keys.push(key.as_str().to_owned());
            }
        })
    }
}

impl Record {
    fn end(&mut self) {
        self.running = false;
        self.halted = None;
        self.powered_off = false;
        self.suspended = false;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, id: &VmId) -> PathBuf {
        self.folder.join(format!("{id}.note"))
    }

    fn path(&self, id: &VmId) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    /// The guest's address is the one that QEMU's user network gives.
    fn guest(&self) -> Guest {
        Guest { ssh: self.ssh, ip: IpAddr::V4(Ipv4Addr::new(10, 0, 2, 15)) }
    }

    /// The guest of `id`, if it is ready; an error if it will not be.
    fn ready(&self, id: &VmId, booted: bool) -> Result<Option<Guest>, BackendError> {
        let inner = self.lock();
        let record = inner.machines.get(id).ok_or_else(|| BackendError::NoSuchMachine(id.clone()))?;
        if !record.running {
            return Err(BackendError::Failed {
                step: "booting the guest",
                message: "the guest ended before it was ready".to_owned(),
                source: None,
            });
        }
        let ready = booted && !inner.boots_held && record.halted.is_none();
        Ok(ready.then(|| self.guest()))
    }

    fn write(&self, id: &VmId, record: &Record) -> io::Result<()> {
        replace(&self.path(id), &serde_json::to_vec(record).map_err(io::Error::other)?)
    }

    fn change(
        &self,
        id: &VmId,
        step: &'static str,
        change: impl FnOnce(&mut Record),
    ) -> Result<(), BackendError> {
        let mut inner = self.lock();
        let record = inner.machines.get_mut(id).ok_or_else(|| BackendError::NoSuchMachine(id.clone()))?;
        change(record);
        self.write(id, record).map_err(|error| failed(step, error))
    }

    /// Takes the time and suffers the fault that were set for `call`.
    async fn enter(&self, call: Call) -> Result<(), BackendError> {
        let (delay, fault) = {
            let mut inner = self.lock();
            let fault = match inner.faults.get_mut(&call) {
                Some((fault, times)) if *times > 0 => {
                    *times -= 1;
                    Some(*fault)
                }
                _ => None,
            };
            (inner.delays.get(&call).copied(), fault)
        };
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        match fault {
            None => Ok(()),
            Some(Fault::Unavailable) => Err(BackendError::Unavailable {
                backend: NAME,
                message: "a fault was asked for".to_owned(),
                source: None,
            }),
            Some(Fault::Failed) => Err(BackendError::Failed {
                step: "simulating",
                message: "a fault was asked for".to_owned(),
                source: None,
            }),
            Some(Fault::Hang) => std::future::pending().await,
        }
    }
}

/// Replaces the file at `path` as a whole, so that a reader or a crash never sees half of it.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    std::fs::write(&fresh, bytes)?;
    std::fs::rename(&fresh, path)
}

/// Starts the one listener that stands for every guest's SSH server, on a thread of its own that
/// lives as long as the process.
fn greet(mut consoles: mpsc::UnboundedReceiver<console::Guest>) -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("sim-guests".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            let mut guests = JoinSet::new();
            loop {
                if guests.len() >= CONNECTIONS {
                    guests.join_next().await;
                }
                while guests.try_join_next().is_some() {}
                let accepted = tokio::select! {
                    Some(console) = consoles.recv() => {
                        guests.spawn(console.serve());
                        continue;
                    }
                    accepted = listener.accept() => accepted,
                };
                if let Ok((mut stream, _)) = accepted {
                    guests.spawn(async move {
                        let (mut read, mut write) = stream.split();
                        write.write_all(BANNER).await?;
                        tokio::io::copy(&mut read, &mut write).await.map(drop)
                    });
                } else {
                    // No descriptor is left, perhaps.
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            }
        });
    })?;
    Ok(address)
}
