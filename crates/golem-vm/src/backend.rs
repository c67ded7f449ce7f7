//! The closed set of backends, and the words that all of them speak.
//!
//! Owns the contract that every backend keeps:
//! - every call is idempotent, because a node killed in mid-call repeats it after its restart;
//! - [`BackendError::Unavailable`] means "cannot see", which is never "gone";
//! - a machine outlives the node: nothing here kills a guest when it is dropped.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use golem_types::wire::NetworkTraffic;
use golem_types::{AuthorizedKey, ImageName, Resources, VmId, VmName};

use crate::multipass::Multipass;
use crate::qemu::{Acceleration, Qemu};
use crate::sim::Sim;

/// How often every guest's network is seen to ([`Backend::keep_networks`]). An address that the host is given is
/// open to guests for as long.
pub const NETWORK_INTERVAL: Duration = Duration::from_secs(4);

/// What a machine is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSpec {
    /// Its id; also the name of its folder.
    pub id: VmId,
    /// What the renter calls it; becomes the guest's host name.
    pub name: VmName,
    /// Virtual CPUs, memory and disk, enforced.
    pub resources: Resources,
    /// The catalogue name of the image that its disk starts from.
    pub image: ImageName,
    /// Keys that may log in, at least one.
    pub keys: Vec<AuthorizedKey>,
}

/// Memory that what runs a machine takes beside the machine's own, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overhead {
    /// For each machine.
    pub per_machine: u64,
    /// For each GiB of a machine's memory.
    pub per_gib: u64,
}

impl Overhead {
    /// For one machine of `gib` GiB of memory.
    #[must_use]
    pub const fn of_one(&self, gib: u32) -> u64 {
        self.per_machine + self.per_gib * gib as u64
    }

    /// GiB that `machines` machines can have together where they and what runs them have `memory` bytes.
    #[must_use]
    pub fn leaves(&self, memory: u64, machines: u32) -> u32 {
        let rest = memory.saturating_sub(self.per_machine.saturating_mul(u64::from(machines)));
        u32::try_from(rest / ((1 << 30) + self.per_gib)).unwrap_or(u32::MAX)
    }
}

/// What is on the disk of one machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OnDisk {
    /// What the node noted of it last, see [`Backend::keep_note`].
    pub note: Option<Vec<u8>>,
    /// What it was sold, where that is written down.
    pub resources: Option<Resources>,
    /// What its disk started from, where that is written down.
    pub image: Option<ImageName>,
    /// Keys that may log in.
    pub keys: Vec<AuthorizedKey>,
    /// Whether it was made to the end.
    pub complete: bool,
}

/// Where a running guest is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guest {
    /// The address on this host at which the guest's SSH server answers.
    pub ssh: SocketAddr,
    /// The guest's own private address, shown to the renter as `ip_address`.
    pub ip: IpAddr,
}

/// What a backend sees of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// Disk there, no guest: none was started, or it was shut down by us, or it crashed.
    Stopped,
    /// The guest shut itself down.
    PoweredOff,
    /// A process runs and its CPUs run; the guest may still be booting.
    Running(Guest),
    /// The machine exists, and the backend does not say how it stands: it is changing, or the
    /// backend cannot see it. Says nothing about the guest.
    Unclear,
    /// The guest is there, with all that is in its memory, and does not run.
    Halted {
        /// Why, for the operator and the renter.
        reason: String,
        /// Whether the cause is known and may be over, so that it can be told to go on.
        resumable: bool,
    },
}

/// What the operator lets every guest do on the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkLimits {
    /// Most connections that a guest may have at a time; none means no cap.
    pub connections: Option<u32>,
    /// Megabits a second that a guest may send, and receive; none means no cap.
    pub megabits: Option<u32>,
    /// Whether guests may send mail to other servers (TCP port 25).
    pub smtp: bool,
}

impl Default for NetworkLimits {
    /// The defaults of the settings: 256 connections, no mail, no cap of the bandwidth.
    fn default() -> Self {
        Self { connections: Some(256), megabits: None, smtp: false }
    }
}

impl NetworkLimits {
    /// Bytes a second that may pass each way; none means no cap.
    #[must_use]
    pub fn rate(&self) -> Option<u64> {
        self.megabits.map(|megabits| u64::from(megabits) * 125_000)
    }
}

/// How a running guest is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkState {
    /// By a network namespace of its own, whose rules are in place.
    Own,
    /// By the host's own namespace, behind the host's packet filter: a version of this program that
    /// knew no better launched it. A restart gives it one of its own.
    Shared,
    /// By nothing but SSH in, since its launch.
    Restricted {
        /// Why, with the fix.
        reason: String,
    },
    /// Not at all: its network was not as it should be, could not be mended, and was cut. It is tried
    /// again, again and again.
    Cut {
        /// Why.
        reason: String,
    },
}

/// A running guest's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// How it is connected.
    pub state: NetworkState,
    /// What passed, where that is counted.
    pub traffic: Option<NetworkTraffic>,
}

/// Why a backend could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The backend cannot be asked now. Says nothing about any machine.
    #[error("the {backend} backend does not answer: {message}")]
    Unavailable {
        /// Which backend.
        backend: &'static str,
        /// What it said, or why it could not be asked.
        message: String,
        /// The cause, where there is one.
        #[source]
        source: Option<std::io::Error>,
    },
    /// There is no such machine on the backend.
    #[error("no machine {0}")]
    NoSuchMachine(VmId),
    /// A step failed, and trying again at once would fail again.
    #[error("{step}: {message}")]
    Failed {
        /// The step, e.g. "creating the overlay disk".
        step: &'static str,
        /// What went wrong, without secrets; may be shown to the renter.
        message: String,
        /// The cause, where there is one.
        #[source]
        source: Option<std::io::Error>,
    },
    /// The image is not in the catalogue, or not on this host.
    #[error("image {0} is not available on this provider")]
    NoSuchImage(ImageName),
}

/// A backend; the set is closed.
#[derive(Debug)]
pub enum Backend {
    /// Real guests, driven by this node.
    Qemu(Box<Qemu>),
    /// Real guests, driven by Multipass.
    Multipass(Multipass),
    /// Machines on paper.
    Sim(Sim),
}

impl Backend {
    /// Its name in settings and messages.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Qemu(qemu) => qemu.name(),
            Self::Multipass(multipass) => multipass.name(),
            Self::Sim(sim) => sim.name(),
        }
    }

    /// Whether the backend can be used now.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`], whose message names the fix.
    pub async fn check(&self) -> Result<(), BackendError> {
        match self {
            Self::Qemu(qemu) => qemu.check().await,
            Self::Multipass(multipass) => multipass.check().await,
            Self::Sim(_) => Ok(()),
        }
    }

    /// What runs guests' CPUs; none where this node does not decide that.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub async fn acceleration(&self) -> Result<Option<&Acceleration>, BackendError> {
        match self {
            Self::Qemu(qemu) => qemu.acceleration().await.map(Some),
            Self::Multipass(_) | Self::Sim(_) => Ok(None),
        }
    }

    /// What of this host machines can take without a bound, and what to do; none where they cannot.
    pub async fn bounds_problem(&self) -> Option<String> {
        match self {
            Self::Qemu(qemu) => qemu.bounds_problem().await,
            Self::Multipass(_) | Self::Sim(_) => None,
        }
    }

    /// Whether the machine's process was ended by the host for want of memory since this was asked last.
    #[must_use]
    pub fn was_ended_for_memory(&self, id: &VmId) -> bool {
        match self {
            Self::Qemu(qemu) => qemu.was_ended_for_memory(id),
            Self::Multipass(_) | Self::Sim(_) => false,
        }
    }

    /// Tells the backend of machines that were taken over and that it knows by other names than
    /// their ids. Called once, before anything else is asked.
    pub fn know(&self, names: BTreeMap<VmId, String>) {
        match self {
            Self::Multipass(multipass) => multipass.know(names),
            // Nobody else makes machines there.
            Self::Qemu(_) | Self::Sim(_) => {}
        }
    }

    /// Tells at which address the internet sees this host: guests are kept from it as from the host's own,
    /// because behind a router it leads back to the router and to the host.
    pub fn is_seen_at(&self, address: IpAddr) {
        match self {
            Self::Qemu(qemu) => qemu.is_seen_at(address),
            // Their guests' networks are not this node's.
            Self::Multipass(_) | Self::Sim(_) => {}
        }
    }

    /// Memory that what runs a machine takes beside the machine's own.
    #[must_use]
    pub fn overhead(&self) -> Overhead {
        match self {
            Self::Qemu(qemu) => qemu.overhead(),
            Self::Multipass(multipass) => multipass.overhead(),
            Self::Sim(_) => Overhead::default(),
        }
    }

    /// Removes what machines left that are gone. Called at a start.
    pub fn tidy(&self) {
        match self {
            Self::Qemu(qemu) => qemu.tidy(),
            // They leave nothing, or it is not ours.
            Self::Multipass(_) | Self::Sim(_) => {}
        }
    }

    /// Whether machines can be made from `image` now. Cheap.
    #[must_use]
    pub fn has_image(&self, image: &ImageName) -> bool {
        match self {
            Self::Qemu(qemu) => qemu.has_image(image),
            Self::Multipass(multipass) => multipass.has_image(image),
            Self::Sim(sim) => sim.has_image(image),
        }
    }

    /// What is wrong with the disk on which machines lie, so that none can be made from `image`.
    #[must_use]
    pub fn disk_trouble(&self, image: &ImageName) -> Option<&'static str> {
        match self {
            Self::Qemu(qemu) => qemu.disk_trouble(Some(image)),
            // Multipass keeps its disks where it likes.
            Self::Multipass(_) | Self::Sim(_) => None,
        }
    }

    /// Makes disk and seed of the machine; made already is fine.
    ///
    /// # Errors
    /// [`BackendError`]; the call may be repeated.
    pub async fn create(&self, spec: &MachineSpec) -> Result<(), BackendError> {
        match self {
            Self::Qemu(qemu) => qemu.create(spec).await,
            Self::Multipass(multipass) => multipass.create(spec).await,
            Self::Sim(sim) => sim.create(spec).await,
        }
    }

    /// Launches the machine. A guest that is there already stays as it is, whether it runs or not.
    ///
    /// # Errors
    /// [`BackendError::NoSuchMachine`] when it was never made or its disk is lost.
    pub async fn start(&self, spec: &MachineSpec) -> Result<(), BackendError> {
        match self {
            Self::Qemu(qemu) => qemu.start(spec).await,
            Self::Multipass(multipass) => multipass.start(spec).await,
            Self::Sim(sim) => sim.start(spec).await,
        }
    }

    /// Waits until the guest's SSH server has greeted. The caller sets the deadline.
    ///
    /// # Errors
    /// [`BackendError::Failed`] when the guest ends meanwhile.
    pub async fn wait_ready(&self, id: &VmId) -> Result<Guest, BackendError> {
        match self {
            Self::Qemu(qemu) => qemu.wait_ready(id).await,
            Self::Multipass(multipass) => multipass.wait_ready(id).await,
            Self::Sim(sim) => sim.wait_ready(id).await,
        }
    }

    /// Shuts the guest down, and ends it after `grace`; stopped or absent is fine.
    ///
    /// # Errors
    /// [`BackendError`]; the call may be repeated.
    pub async fn stop(&self, id: &VmId, grace: Duration) -> Result<(), BackendError> {
        match self {
            Self::Qemu(qemu) => qemu.stop(id, grace).await,
            Self::Multipass(multipass) => multipass.stop(id, grace).await,
            Self::Sim(sim) => sim.stop(id).await,
        }
    }

    /// Lets a guest go on that was seen to be resumable; any other stays as it is.
    ///
    /// # Errors
    /// [`BackendError`]; the call may be repeated.
    pub async fn resume(&self, id: &VmId) -> Result<(), BackendError> {
        match self {
            Self::Qemu(qemu) => qemu.resume(id).await,
            // It says of none that it could go on.
            Self::Multipass(_) => Ok(()),
            Self::Sim(sim) => sim.resume(id).await,
        }
    }

    /// Removes every trace of the machine; absent is fine.
    ///
    /// # Errors
    /// [`BackendError`]; the call may be repeated.
    pub async fn delete(&self, id: &VmId) -> Result<(), BackendError> {
        match self {
            Self::Qemu(qemu) => qemu.delete(id).await,
            Self::Multipass(multipass) => multipass.delete(id).await,
            Self::Sim(sim) => sim.delete(id).await,
        }
    }

    /// Everything on this host that is ours, in one cheap call.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`], which says nothing about any machine.
    pub async fn list(&self) -> Result<BTreeMap<VmId, Observed>, BackendError> {
        match self {
            Self::Qemu(qemu) => qemu.list().await,
            Self::Multipass(multipass) => multipass.list().await,
            Self::Sim(sim) => sim.list().await,
        }
    }

    /// Looks at the network of every running guest, and mends what is not as it should be; what
    /// cannot be mended is cut. To be called every few seconds. A guest that is being launched is not
    /// in the answer, nor is one whose backend sees to its network itself.
    pub async fn keep_networks(&self) -> BTreeMap<VmId, Network> {
        match self {
            Self::Qemu(qemu) => qemu.keep_networks().await,
            Self::Multipass(_) | Self::Sim(_) => BTreeMap::new(),
        }
    }

    /// Why a guest that is launched now would not reach the internet, with the fix; none when it would.
    /// Tries all but the last step, in a few hundredths of a second.
    pub async fn network_problem(&self) -> Option<String> {
        match self {
            Self::Qemu(qemu) => qemu.network_problem().await,
            Self::Multipass(_) | Self::Sim(_) => None,
        }
    }

    /// Keeps `note` beside the disk of the machine `id`, and with it: what the node has to know of it if its
    /// ledger is lost. Machines that are elsewhere have no note.
    ///
    /// # Errors
    /// `NotFound` while the machine is not made; any error of writing.
    pub fn keep_note(&self, id: &VmId, note: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Qemu(qemu) => qemu.keep_note(id, note),
            Self::Sim(sim) => sim.keep_note(id, note),
            Self::Multipass(_) => Ok(()),
        }
    }

    /// Every machine whose disk is on this host, and what is written there.
    ///
    /// # Errors
    /// Any error of reading the folder of machines; what one of them holds and cannot be read is left out.
    pub fn on_disk(&self) -> std::io::Result<BTreeMap<VmId, OnDisk>> {
        match self {
            Self::Qemu(qemu) => qemu.on_disk(),
            Self::Sim(sim) => Ok(sim.on_disk()),
            Self::Multipass(_) => Ok(BTreeMap::new()),
        }
    }

    /// Lets `key` log in to the running guest, now and after every boot.
    ///
    /// # Errors
    /// [`BackendError`].
    pub async fn add_key(&self, id: &VmId, key: &AuthorizedKey) -> Result<(), BackendError> {
        match self {
            Self::Qemu(qemu) => qemu.add_key(id, key).await,
            Self::Multipass(multipass) => multipass.add_key(id, key).await,
            Self::Sim(sim) => sim.add_key(id, key).await,
        }
    }

    /// What the process that runs the guest said since its launch, for the operator alone: it names what is on
    /// the host. At most 16 KiB; nothing where there is no such process or machine.
    #[must_use]
    pub fn process_log(&self, id: &VmId) -> String {
        match self {
            Self::Qemu(qemu) => qemu.process_log(id),
            Self::Multipass(_) => String::new(),
            Self::Sim(sim) => sim.process_log(id),
        }
    }

    /// The end of what the guest wrote to its serial console since it was launched, at most 64 KiB; reading
    /// takes nothing away.
    ///
    /// # Errors
    /// [`BackendError::NoSuchMachine`]; [`BackendError::Failed`] when nothing can be read.
    pub async fn console(&self, id: &VmId) -> Result<String, BackendError> {
        match self {
            Self::Qemu(qemu) => qemu.console(id).await,
            Self::Multipass(multipass) => multipass.console(id).await,
            Self::Sim(sim) => sim.console(id),
        }
    }
}
