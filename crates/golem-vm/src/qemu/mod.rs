//! The QEMU backend: real guests, each its own process that outlives the node.
//!
//! ```text
//!   <data directory>/vms/.bases/   copies of images that cannot be linked to: see `base_images`
//!   <data directory>/vms/<id>/
//!     machine.json   what the machine is; written first, read by the next node
//!     rental.json    what the node noted of its rental, for when its ledger is lost
//!     base.img       the image, mostly a hard link to it: it stays while the machine does
//!     disk.qcow2     the renter's disk, an overlay on base.img; its name means it is complete
//!     seed.img       cloud-init's data
//!     variables.fd   what the firmware remembers, where that is not QEMU's own
//!     launch.json    loopback port of the running process, and how it is connected
//!     qemu.pid       the running process
//!     uplink.pid     the process that connects it
//!     groups.json    the control groups of both
//!     console.log    the end of what was read of its console
//!     console.open   is there while somebody has the console open
//!     qemu.log       what QEMU said; it comes through qemu.err
//!     etc/           empty; QEMU mounts its own /etc here
//!     run/           its sockets; the only place where it can make files
//!     memory.img     what was in its memory when it was suspended: see `memory`
//! ```
//!
//! The folder is the node's own, so that a QEMU that was taken over can forge nothing in it.
//!
//! Owns that folder, the process and the guests' networks. Every call may be repeated after
//! a kill at any point: files appear whole under their final name or not at all. Never decides
//! whether a machine may exist, and never kills a guest but when told to.

mod acceleration;
mod base_images;
mod boot;
mod cgroup;
mod command;
mod console;
mod create;
mod launch;
mod logs;
mod memory;
mod name;
mod network;
mod process;
mod programs;
mod qmp;
mod quit;
mod rental_note;
mod requirements;
mod run_state;
mod snapshots;
mod ssh_greeting;
mod user;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use golem_files::{absent_is_fine, replace};
use golem_types::{AuthorizedKey, ImageName, Resources, VmId};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{OnceCell, RwLock};

pub use acceleration::{Acceleration, KvmHost};
pub use base_images::BASE_FILE;
pub use base_images::BASES_FOLDER;
use base_images::Bases;
use cgroup::Groups;
use network::{Connected, LAUNCH_FILE, Launched, Networks, Way};
pub use network::{ISOLATION_FOLDER, is_guest_user};
pub use requirements::missing_here;

use crate::console::HeldConsoles;
use crate::images::Images;
use crate::machine::{BackendError, Guest, GuestNetwork, NetworkLimits, Observed, Overhead};
use crate::seed;
use crate::usage::Usage;
use crate::{Accelerator, Architecture};

/// How the backend is set up.
#[derive(Debug, Clone)]
pub struct QemuConfig {
    /// The node's data directory.
    pub data_dir: PathBuf,
    /// What processors guests have; this machine's, but in tests. `None` if guests cannot have those.
    pub architecture: Option<Architecture>,
    /// How guests' CPUs are run; `None` means the best that works here.
    pub accelerator: Option<Accelerator>,
    /// Whether guests may run virtual machines themselves.
    pub nested: bool,
    /// Where KVM is looked for.
    pub kvm: KvmHost,
    /// What guests may do on the network.
    pub network: NetworkLimits,
    /// Most bytes that a guest may read from its disks in a second, and write; `None` means no cap.
    pub disk_rate: Option<u64>,
}

impl QemuConfig {
    /// The backend in `data_dir`, as it is set up where nobody says otherwise.
    #[must_use]
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            architecture: Architecture::of_host(),
            accelerator: None,
            nested: false,
            kvm: KvmHost::default(),
            network: NetworkLimits::default(),
            disk_rate: None,
        }
    }
}

/// The backend.
#[derive(Debug)]
pub struct Qemu {
    folder: PathBuf,
    config: QemuConfig,
    /// What runs guests' CPUs, once that was found out.
    acceleration: OnceCell<Acceleration>,
    /// Whether guests get users of their own and the host's packet filter.
    root: bool,
    images: Arc<Images>,
    bases: Bases,
    /// Held while a machine's user is chosen.
    choosing: Mutex<()>,
    /// Read by launches, written by the lifting of the packet filter.
    launching: RwLock<()>,
    /// Held while a console's ring is emptied.
    reading: tokio::sync::Mutex<()>,
    consoles: HeldConsoles,
    networks: Networks,
    groups: Groups,
}

/// Name of this backend in settings and messages.
const NAME: &str = "qemu";

/// The address that QEMU's user network gives to every guest.
const GUEST_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 15));

/// Most guests whose network is looked at side by side.
const KEPT_AT_ONCE: usize = 4;

/// Connections of a guest for which there is memory where their number has no cap.
const CONNECTIONS_WITHOUT_CAP: u32 = 1000;

/// What the machine is; `machine.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    resources: Resources,
    image: ImageName,
    uid: Option<u32>,
    /// The last order to make its disk anew that was done, as [`crate::machine::MachineSpec`] has it.
    #[serde(default)]
    rebuilt_at: i64,
}

const RECORD_FILE: &str = "machine.json";
const DISK_FILE: &str = "disk.qcow2";
const SEED_FILE: &str = "seed.img";
const RUN_FOLDER: &str = "run";

fn failed(step: &'static str) -> impl FnOnce(io::Error) -> BackendError {
    move |source| BackendError::Failed {
        step,
        message: golem_files::disk_trouble(&source).unwrap_or("the provider failed").to_owned(),
        source: Some(source),
    }
}

fn unavailable(message: String) -> BackendError {
    BackendError::Unavailable { backend: NAME, message, source: None }
}

fn step_error(step: &'static str, message: impl Into<String>) -> BackendError {
    BackendError::Failed { step, message: message.into(), source: None }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<T> {
    serde_json::from_slice(&std::fs::read(path)?).map_err(io::Error::other)
}

impl Qemu {
    /// Opens the backend in `config.data_dir`, with the machines that are there. Makes nothing: the
    /// folder comes with the first machine.
    #[must_use]
    pub fn open(config: QemuConfig, images: Arc<Images>) -> Box<Self> {
        let folder = config.data_dir.join("vms");
        let root = rustix::process::geteuid().is_root();
        if !root {
            tracing::warn!("not started as root: guests get no user of their own");
        }
        Box::new(Self {
            bases: Bases::new(folder.clone(), Arc::clone(&images)),
            folder,
            networks: Networks::new(config.network),
            groups: Groups::new(root, config.disk_rate),
            config,
            acceleration: OnceCell::new(),
            root,
            images,
            choosing: Mutex::default(),
            launching: RwLock::default(),
            reading: tokio::sync::Mutex::default(),
            consoles: HeldConsoles::default(),
        })
    }

    pub(crate) const fn name(&self) -> &'static str {
        NAME
    }

    /// Memory and tasks that a guest's QEMU takes. Until the accelerator is known, that of translation, which takes the most.
    pub(crate) fn overhead(&self) -> Overhead {
        let accelerator = self.acceleration.get().map_or(Accelerator::Tcg, |chosen| chosen.accelerator);
        accelerator.overhead(self.config.network.connections.unwrap_or(CONNECTIONS_WITHOUT_CAP))
    }

    pub(crate) fn has_image(&self, image: &ImageName) -> bool {
        self.images.find(image).is_some()
    }

    pub(crate) fn images(&self) -> Vec<ImageName> {
        let here = self.images.list().into_iter().filter(|image| image.bytes.is_some());
        here.map(|image| image.name).collect()
    }

    fn of(&self, id: &VmId) -> PathBuf {
        self.folder.join(id.as_str())
    }

    /// What each of `ids` uses that runs.
    pub(crate) async fn usages(&self, ids: &[VmId]) -> BTreeMap<VmId, Usage> {
        let machines: Vec<_> = ids.iter().map(|id| (id.clone(), self.of(id))).collect();
        let look = move || {
            let usage = |(id, folder): (VmId, PathBuf)| {
                let (pid, _) = process::of(&folder, &id).ok()??;
                let files = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
                Some((id, Usage::of_process(&files, &folder.join(DISK_FILE)).ok()?))
            };
            machines.into_iter().filter_map(usage).collect()
        };
        // Some files for each.
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }

    /// Ids of every folder that is a machine's.
    fn ids(&self) -> io::Result<Vec<VmId>> {
        let mut ids = Vec::new();
        let entries = match std::fs::read_dir(&self.folder) {
            // A link that leads nowhere is no empty folder: its volume is not mounted.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && std::fs::symlink_metadata(&self.folder)
                        .is_err_and(|error| error.kind() == io::ErrorKind::NotFound) =>
            {
                return Ok(ids);
            }
            entries => entries?,
        };
        for entry in entries {
            ids.extend(entry?.file_name().to_str().and_then(|name| name.parse().ok()));
        }
        Ok(ids)
    }

    fn guest(&self, folder: &Path) -> io::Result<Option<Guest>> {
        let launched: Option<Launched> = process::ignore_missing(read_json(&folder.join(LAUNCH_FILE)))?;
        Ok(launched.map(|launched| {
            let ssh = SocketAddr::from((Ipv4Addr::LOCALHOST, launched.ssh_port));
            Guest { ssh, ip: GUEST_IP }
        }))
    }

    pub(crate) async fn delete(&self, id: &VmId) -> Result<(), BackendError> {
        let folder = self.of(id);
        let _held = self.networks.hold(id).await;
        process::kill(&folder, id).await.map_err(failed("ending the guest"))?;
        network::end_uplink(&folder, &name::name_word(id))
            .await
            .map_err(failed("ending the guest's uplink"))?;
        self.groups.remove(id, &folder).await.map_err(failed("removing the guest's control group"))?;
        absent_is_fine(tokio::fs::remove_dir_all(&folder).await)
            .map_err(failed("removing the machine's files"))?;
        self.networks.forget(id);
        self.lift_host_table().await;
        self.tidy();
        Ok(())
    }

    /// Removes what machines left that are gone.
    pub(crate) fn tidy(&self) {
        if let Err(error) = self.bases.tidy() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "copies of images that no machine has were not removed"
            );
        }
    }

    /// Takes the host's packet filter away once no machine is left for it.
    async fn lift_host_table(&self) {
        if self.root
            && self.ids().is_ok_and(|ids| ids.is_empty())
            && let Ok(_nobody_launches) = self.launching.try_write()
            && let Err(error) = self.networks.lift_host_table().await
        {
            golem_service::log_limited!(
                warn,
                error = &error as &dyn std::error::Error,
                "the guests' packet filter was not removed"
            );
        }
    }

    pub(crate) async fn list(&self) -> Result<BTreeMap<VmId, Observed>, BackendError> {
        let unseen = |source| BackendError::Unavailable {
            backend: NAME,
            message: "the machines cannot be looked at".to_owned(),
            source: Some(source),
        };
        let observe = async |id: VmId| {
            let observed = self.observe(&id).await?;
            Ok((id, observed))
        };
        let ids = self.ids().map_err(unseen)?;
        let seen = futures_util::future::join_all(ids.into_iter().map(observe)).await;
        seen.into_iter().collect::<io::Result<_>>().map_err(unseen)
    }

    /// What bounds guests badly here, and what to do.
    pub(crate) async fn bounds_problem(&self) -> Option<String> {
        self.groups.problem().await
    }

    /// Whether the host ended the guest's process for want of memory; told once.
    pub(crate) fn was_ended_for_memory(&self, id: &VmId) -> bool {
        self.groups.was_ended_for_memory(id)
    }

    /// Keeps the guest's control groups as they should be: bounded while it lives, gone after it. What goes
    /// wrong there says nothing about the guest.
    async fn see_to_groups(&self, id: &VmId, folder: &Path, qemu: Option<Pid>) {
        let seen_to = match qemu {
            Some(qemu) => self.groups.alive(id, folder, qemu, self.overhead()).await,
            None => self.groups.ended(id, folder),
        };
        if let Err(error) = seen_to {
            tracing::debug!(
                vm = id.redacted(),
                error = &error as &dyn std::error::Error,
                "the guest's control groups are not as they should be"
            );
        }
    }

    pub(crate) async fn keep_networks(&self) -> BTreeMap<VmId, GuestNetwork> {
        // The packet filter is not lifted meanwhile.
        let launching = self.launching.read().await;
        let ids = match self.ids() {
            Ok(ids) => ids,
            Err(error) => {
                golem_service::log_limited!(
                    warn,
                    error = &error as &dyn std::error::Error,
                    "the machines cannot be looked at; their networks are not checked"
                );
                return BTreeMap::new();
            }
        };
        let running: Vec<_> = ids.iter().filter_map(|id| self.connected(id)).collect();
        let table = if running.iter().any(|(guest, _)| guest.uid.is_some()) {
            self.networks.enforce_host_table().await
        } else {
            Ok(())
        };
        let keep = async |(guest, way): (Connected, Option<Way>)| {
            // One that is being launched or removed is somebody else's.
            let mut held = self.networks.try_hold(&guest.id)?;
            let seen = self.networks.keep(&mut held, &guest, way, &table).await;
            // It may have ended while it was looked at.
            let lives = !matches!(process::of(&guest.folder, &guest.id), Ok(None));
            lives.then_some((guest.id, seen))
        };
        let kept = futures_util::stream::iter(running).map(keep).buffer_unordered(KEPT_AT_ONCE);
        let kept = kept.filter_map(std::future::ready).collect().await;
        if ids.is_empty() && self.networks.has_host_table().await {
            drop(launching);
            // Somebody launched, or looked, when the last machine went.
            self.lift_host_table().await;
        }
        kept
    }

    pub(crate) fn is_seen_at(&self, address: IpAddr) {
        self.networks.is_seen_at(address);
    }

    pub(crate) async fn network_problem(&self) -> Option<String> {
        let uid = self.root.then(|| network::uids(&self.folder).start);
        match self.networks.way(uid).await {
            Way::Namespace => network::missing_on_host(),
            Way::Restricted(reason) => Some(format!("new guests get no network but SSH in: {reason}")),
        }
    }

    /// The machine's running process as far as its network goes, and how it was launched.
    fn connected(&self, id: &VmId) -> Option<(Connected, Option<Way>)> {
        let folder = self.of(id);
        let (qemu, _) = process::of(&folder, id).ok()??;
        // Without a record of its launch it is taken for one of an older version, which expects the least.
        let launched =
            read_json(&folder.join(LAUNCH_FILE)).unwrap_or(Launched { ssh_port: 0, network: None });
        let record: Record = read_json(&folder.join(RECORD_FILE)).ok()?;
        let guest = Connected { id: id.clone(), folder, uid: record.uid, qemu, ssh_port: launched.ssh_port };
        Some((guest, launched.network))
    }

    pub(crate) async fn add_key(&self, id: &VmId, key: &AuthorizedKey) -> Result<(), BackendError> {
        let step = "adding the key";
        let folder = self.of(id);
        if !folder.exists() {
            return Err(BackendError::NoSuchMachine(id.clone()));
        }
        let mut agent = qmp::Client::agent(&folder).await.map_err(|_| {
            step_error(step, "no QEMU guest agent answers in the VM; install qemu-guest-agent in it")
        })?;
        for user in [seed::USER, "root"] {
            let arguments = json!({ "username": user, "keys": [key.as_str()] });
            agent.call("guest-ssh-add-authorized-keys", arguments).await.map_err(|source| {
                BackendError::Failed {
                    step,
                    message: format!("the VM's guest agent refused it for {user}"),
                    source: Some(source),
                }
            })?;
        }
        Ok(())
    }
}
