//! The closed set of backends, and the calls that each of them answers.
//!
//! Owns the contract that every backend keeps:
//! - every call is idempotent, because a node killed in mid-call repeats it after its restart;
//! - [`BackendError::Unavailable`] means "cannot see", which is never "gone";
//! - a machine outlives the node: nothing here kills a guest when it is dropped.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use golem_types::{AuthorizedKey, ImageName, SnapshotConsistency, SnapshotName, VmId};

use crate::console::LiveConsole;
use crate::machine::{BackendError, Guest, GuestNetwork, MachineSpec, Observed, OnDisk, Overhead, Started};
use crate::multipass::Multipass;
use crate::qemu::{Acceleration, Qemu};
use crate::sim::Sim;
use crate::usage::Usage;

/// How often every guest's network is checked and repaired ([`Backend::keep_networks`]). A new address of the host
/// can be reached by guests for as long.
pub const NETWORK_INTERVAL: Duration = Duration::from_secs(4);

/// A backend; the set is closed.
#[derive(Debug)]
pub enum Backend {
    /// Real guests, driven by this node.
    Qemu(Box<Qemu>),
    /// Real guests, driven by Multipass.
    Multipass(Multipass),
    /// Simulated machines, for trying the API and for tests.
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

    /// What runs guests' CPUs; `None` if this node does not decide that.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub async fn acceleration(&self) -> Result<Option<&Acceleration>, BackendError> {
        match self {
            Self::Qemu(qemu) => qemu.acceleration().await.map(Some),
            Self::Multipass(_) | Self::Sim(_) => Ok(None),
        }
    }

    /// What of this host machines can take without a bound, and what to do; `None` if they cannot.
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
    pub fn register_adopted(&self, names: BTreeMap<VmId, String>) {
        match self {
            Self::Multipass(multipass) => multipass.register_adopted(names),
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

    /// Images from which machines can be made now. Multipass, which fetches what it is asked for, tells of none.
    #[must_use]
    pub fn images(&self) -> Vec<ImageName> {
        match self {
            Self::Qemu(qemu) => qemu.images(),
            Self::Multipass(_) => Vec::new(),
            Self::Sim(sim) => sim.images(),
        }
    }

    /// Whether a renter's user-data can be given to guests. Multipass takes one cloud-config alone, and that is the provider's.
    #[must_use]
    pub const fn takes_user_data(&self) -> bool {
        matches!(self, Self::Qemu(_) | Self::Sim(_))
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

    /// Launches the machine as `spec` has it, with its memory where that was kept. Its disk grows to what is wanted, and never
    /// shrinks; it is made anew where that was ordered since it was made. A guest that is there already stays as it is, whether it
    /// runs or not.
    ///
    /// # Errors
    /// [`BackendError::NoSuchMachine`] when it was never made or its disk is lost.
    pub async fn start(&self, spec: &MachineSpec) -> Result<Started, BackendError> {
        match self {
            Self::Qemu(qemu) => qemu.start(spec).await,
            Self::Multipass(multipass) => multipass.start(spec).await.map(|()| Started::Booted),
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

    /// Shuts the guest down, and ends it after `grace`; stopped or absent is fine. Memory that is kept is thrown away.
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

    /// Whether a machine is launched with what its spec says, whatever it was made with.
    #[must_use]
    pub const fn can_remake(&self) -> bool {
        !matches!(self, Self::Multipass(_))
    }

    /// Whether guests can be suspended. Multipass keeps its guests' memory as it likes.
    #[must_use]
    pub const fn can_suspend(&self) -> bool {
        !matches!(self, Self::Multipass(_))
    }

    /// Keeps what is in the guest's memory on disk, and ends the guest; kept already is fine. Where that fails, or takes
    /// longer than `deadline`, the guest goes on.
    ///
    /// # Errors
    /// [`BackendError::Failed`] where it cannot be; [`BackendError`]; the call may be repeated.
    pub async fn suspend(&self, id: &VmId, deadline: Duration) -> Result<(), BackendError> {
        match self {
            Self::Qemu(qemu) => qemu.suspend(id, deadline).await,
            Self::Sim(sim) => sim.suspend(id).await,
            Self::Multipass(_) => Err(BackendError::Failed {
                step: "suspending the guest",
                message: "VMs of Multipass are not suspended here".to_owned(),
                source: None,
            }),
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

    /// Checks the network of every running guest, and repairs what is not as it should be; what
    /// cannot be repaired is cut off. To be called every few seconds. A guest that is being launched is not
    /// in the answer, nor is one whose backend does that itself.
    pub async fn keep_networks(&self) -> BTreeMap<VmId, GuestNetwork> {
        match self {
            Self::Qemu(qemu) => qemu.keep_networks().await,
            Self::Multipass(_) | Self::Sim(_) => BTreeMap::new(),
        }
    }

    /// Why a guest that is launched now would not reach the internet, with the fix; `None` if it would.
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

    /// Whether snapshots of machines' disks can be made. Multipass keeps its disks itself.
    #[must_use]
    pub const fn has_snapshots(&self) -> bool {
        !matches!(self, Self::Multipass(_))
    }

    /// Keeps the machine's disk as it is now under `name`, whether its guest runs or not; kept already is fine. Where a guest runs,
    /// its agent is asked to hold its file systems still for that moment.
    ///
    /// # Errors
    /// [`BackendError`]; the call may be repeated.
    pub async fn create_snapshot(
        &self,
        id: &VmId,
        name: &SnapshotName,
    ) -> Result<SnapshotConsistency, BackendError> {
        match self {
            Self::Qemu(qemu) => qemu.create_snapshot(id, name).await,
            Self::Sim(sim) => sim.create_snapshot(id, name).await,
            Self::Multipass(multipass) => Err(no_snapshots(multipass.name())),
        }
    }

    /// Forgets the snapshot `name` of the machine; absent is fine.
    ///
    /// # Errors
    /// [`BackendError`]; the call may be repeated.
    pub async fn delete_snapshot(&self, id: &VmId, name: &SnapshotName) -> Result<(), BackendError> {
        match self {
            Self::Qemu(qemu) => qemu.delete_snapshot(id, name).await,
            Self::Sim(sim) => sim.delete_snapshot(id, name).await,
            Self::Multipass(multipass) => Err(no_snapshots(multipass.name())),
        }
    }

    /// Makes the machine's disk what it was when `name` was kept. No guest may run; one that does is an error.
    ///
    /// # Errors
    /// [`BackendError`]; the call may be repeated.
    pub async fn restore_snapshot(&self, id: &VmId, name: &SnapshotName) -> Result<(), BackendError> {
        match self {
            Self::Qemu(qemu) => qemu.restore_snapshot(id, name).await,
            Self::Sim(sim) => sim.restore_snapshot(id, name).await,
            Self::Multipass(multipass) => Err(no_snapshots(multipass.name())),
        }
    }

    /// What each of `ids` uses that runs; nothing of those whose backend does not tell.
    pub async fn usages(&self, ids: &[VmId]) -> BTreeMap<VmId, Usage> {
        match self {
            Self::Qemu(qemu) => qemu.usages(ids).await,
            Self::Multipass(_) => BTreeMap::new(),
            Self::Sim(sim) => sim.usages(ids),
        }
    }

    /// Whether images lie on this host and can be added and removed.
    #[must_use]
    pub const fn has_images(&self) -> bool {
        matches!(self, Self::Qemu(_))
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

    /// Why the console of no guest can be opened here, for the renter; `None` if it can.
    #[must_use]
    pub fn console_problem(&self) -> Option<&'static str> {
        match self {
            Self::Qemu(qemu) => qemu.console_problem(),
            Self::Multipass(_) => Some("Multipass gives nobody the serial console of its instances"),
            Self::Sim(_) => None,
        }
    }

    /// Opens the guest's serial console, both ways, which nobody else can do meanwhile. What the guest writes has to be
    /// read: otherwise it waits for that. The log goes on.
    ///
    /// # Errors
    /// [`BackendError::NoSuchMachine`]; [`BackendError::Failed`] where the guest does not run, or its console is open.
    pub async fn open_console(&self, id: &VmId) -> Result<LiveConsole, BackendError> {
        match self {
            Self::Qemu(qemu) => qemu.open_console(id).await,
            Self::Multipass(_) => Err(BackendError::Failed {
                step: "opening the console",
                message: self.console_problem().unwrap_or_default().to_owned(),
                source: None,
            }),
            Self::Sim(sim) => sim.open_console(id),
        }
    }

    /// Gives the console of `id` back, which may be gone.
    pub async fn close_console(&self, id: &VmId, console: LiveConsole) {
        match self {
            Self::Qemu(qemu) => qemu.close_console(id, console).await,
            Self::Multipass(_) => drop(console),
            Self::Sim(sim) => sim.close_console(id, console),
        }
    }

    /// Closes consoles that a node which was killed held open: whose they are. To be called at a start, and now and then:
    /// a machine that does not answer is looked at again.
    pub async fn mend_consoles(&self) -> Vec<VmId> {
        match self {
            Self::Qemu(qemu) => qemu.mend_consoles().await,
            Self::Multipass(_) | Self::Sim(_) => Vec::new(),
        }
    }
}

fn no_snapshots(backend: &'static str) -> BackendError {
    BackendError::Failed {
        step: "looking for snapshots",
        message: format!("VMs of {backend} have no snapshots here"),
        source: None,
    }
}
