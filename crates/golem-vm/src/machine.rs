//! The words that every backend speaks: what a machine is to be, what is seen of it, how its guest is connected, and
//! why a call failed.
//!
//! Owns types only. Which backend does what is in [`crate::backend`].

use std::net::{IpAddr, SocketAddr};

use golem_types::wire::NetworkTraffic;
use golem_types::{AuthorizedKey, FirstBoot, ImageName, Resources, VmId, VmName};

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
    /// What its renter wants of its first boot.
    pub first_boot: FirstBoot,
    /// When its renter ordered last that its disk be made anew, in microseconds since the epoch; 0 if never.
    pub rebuild_at: i64,
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
    /// What the node noted of it last, see [`crate::Backend::keep_note`].
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

/// How a guest came up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// It boots from its disk, or was there.
    Booted,
    /// It goes on where it was suspended.
    Resumed,
    /// It boots from its disk, because what was kept of its memory cannot be taken up; why.
    MemoryLost(String),
}

/// What the operator lets every guest do on the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkLimits {
    /// Most connections that a guest may have at a time; `None` means no cap.
    pub connections: Option<u32>,
    /// Megabits a second that a guest may send, and receive; `None` means no cap.
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
    /// Bytes a second that may pass each way; `None` means no cap.
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
    /// Not at all: its network was not as it should be, could not be repaired, and was cut off. It is tried
    /// again until that succeeds.
    Cut {
        /// Why.
        reason: String,
    },
}

/// A running guest's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestNetwork {
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
